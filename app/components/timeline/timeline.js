// The timeline: progress of the training, marks at events, and a handle. The handle follows the newest step until it is
// moved; "Live" lets it follow again. Only this file moves it, so that no update from the server can.
const LINES = new WeakMap(); // DOM node → its timeline
const REPORT_MS = 80;

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".timeline");
  const line = LINES.get(root) ?? open(root);
  line.data = data;
  line.report = (step) => setStateValue("step", step);
  if (data.sought && data.sought[0] !== line.sought) {
    [line.sought, line.step] = data.sought;
    line.report(line.step);
  }
  draw(line);
}

function open(root) {
  root.innerHTML = `<div class="track" role="slider" tabindex="0" aria-label="Step shown" aria-valuemin="0">
    <div class="rail"></div><div class="done"></div><div class="handle"></div><div class="value"></div></div>
    <button type="button" title="Follow the newest step; drag the handle, or use the arrow keys, to look back">Live</button>`;
  const line = { root, step: null, held: false, timer: null, marks: "" };
  LINES.set(root, line);
  const track = root.querySelector(".track");
  const at = (event) => {
    const box = track.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * line.data.steps;
  };
  track.onpointerdown = (event) => {
    line.held = true;
    track.setPointerCapture(event.pointerId);
    look(line, at(event));
  };
  track.onpointermove = (event) => line.held && look(line, at(event));
  track.onpointerup = track.onpointercancel = () => (line.held = false);
  track.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const to = { Home: 0, End: line.data.done }[event.key];
    if (by === undefined && to === undefined) return;
    event.preventDefault();
    look(line, to ?? shown(line) + by * line.data.every);
  };
  root.querySelector("button").onclick = () => {
    line.step = null;
    draw(line);
    line.report(null);
  };
  return line;
}

function shown({ step, data }) {
  return Math.min(step ?? data.done, data.done);
}

function look(line, step) {
  const { every, done } = line.data;
  line.step = Math.max(0, Math.min(done, Math.round(step / every) * every));
  draw(line);
  // While the handle moves, report at most once in REPORT_MS, and always the last place.
  line.timer ??= setTimeout(() => {
    line.timer = null;
    line.report(line.step);
  }, REPORT_MS);
}

function draw(line) {
  const { root, data, step } = line;
  const part = (n) => `${(100 * n) / data.steps}%`;
  const [track, done, handle, value, live] = [".track", ".done", ".handle", ".value", "button"].map((s) => root.querySelector(s));
  done.style.width = part(data.done);
  handle.style.left = value.style.left = part(shown(line));
  value.textContent = shown(line).toLocaleString("en");
  track.setAttribute("aria-valuemax", data.steps);
  track.setAttribute("aria-valuenow", shown(line));
  live.setAttribute("aria-pressed", step === null);
  const marks = JSON.stringify(data.marks);
  if (marks === line.marks) return;
  line.marks = marks;
  track.querySelectorAll(".mark").forEach((mark) => mark.remove());
  for (const { step: when, colour, text } of data.marks) {
    const mark = document.createElement("div");
    mark.className = "mark";
    mark.title = text;
    mark.setAttribute("aria-label", text);
    mark.style.left = part(when);
    mark.style.background = colour;
    track.append(mark);
  }
}
