// A canvas that turns strokes into points, with Gaussian scatter about the stroke.
const SIDE = 480;
const RADIUS = 7;
const PER_PIXEL = 0.5;
const ENOUGH = 64;

export default function ({ parentElement, setStateValue }) {
  const root = parentElement.querySelector(".draw-points");
  if (root.dataset.ready) return;
  root.dataset.ready = "yes";
  root.innerHTML = `<canvas width="${SIDE}" height="${SIDE}" role="img" aria-label="Square to draw points on"></canvas>
    <div class="row"><span class="count"></span><button class="clear">Clear</button>
    <button class="use">Use these points</button></div>`;
  const canvas = root.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const [clear, use, count] = ["clear", "use", "count"].map((name) => root.querySelector("." + name));
  let points = [];
  let last = null;

  const gauss = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const tell = () => {
    count.textContent = points.length < ENOUGH ? `${points.length} of ${ENOUGH}` : `${points.length} points`;
    use.disabled = points.length < ENOUGH;
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  const spray = (from, to) => {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    for (let i = 0; i < Math.max(1, length * PER_PIXEL); i++) {
      const t = Math.random();
      const [x, y] = [0, 1].map((k) => from[k] + t * (to[k] - from[k]) + (RADIUS / 2) * gauss());
      points.push([(2 * x) / SIDE - 1, 1 - (2 * y) / SIDE]);
      pen.fillStyle = "#009E73";
      pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
    tell();
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    spray(last, last);
  };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const now = place(event);
    spray(last, now);
    last = now;
  };
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
  clear.onclick = () => {
    points = [];
    pen.clearRect(0, 0, SIDE, SIDE);
    tell();
    setStateValue("points", null);
  };
  use.onclick = () => setStateValue("points", points.map((p) => p.map((v) => Math.round(v * 1e4) / 1e4)));
  tell();
}
