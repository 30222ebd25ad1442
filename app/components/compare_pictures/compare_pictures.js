// Pictures of one scene: side by side, one before and one after a divider, or their differences to a reference. Only this
// file holds the view (zoom and centre), which all canvases share. Wheel: zoom about the pointer; drag: pan; double click or
// 0: the whole picture; arrow keys, + and −: the same without a mouse. At the whole picture a wheel turned down scrolls the page.
const COMPARISONS = new WeakMap(); // DOM node → its comparison
const MODES = { side: "Side by side", slider: "Before / after", difference: "Difference" };
const MOST_HEIGHT = 560; // CSS pixels of a canvas
const MOST_SCALE = 24; // CSS pixels of a picture's pixel
const GAIN = 4; // of the difference map
const LEAST_WIDTH = 200; // CSS pixels of a panel in a row of all
const NEAR = 10; // pixels between the pointer and the divider that it takes hold of

export default function ({ data, parentElement }) {
  const node = parentElement.querySelector(".compare-pictures");
  const shown = COMPARISONS.get(node) ?? open(node);
  node.dataset.livePlot = data.key;
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", data.alt);
  show(shown, data);
}

function open(node) {
  node.innerHTML = `<div class="tools"><span class="modes" role="group" aria-label="View"></span>
    <button type="button" class="whole" title="Show the whole picture (double click, or key 0)">Whole picture</button>
    <span class="zoom"></span><span class="sides"></span><span class="hint"></span></div>
    <div class="panels"></div><input type="range" min="0" max="1000" value="500" aria-label="Place of the divider">`;
  const shown = { node, data: null, images: [], differences: [], panels: [], mode: "side", sides: [0, 1], divider: 0.5, scene: null, turn: 0, updates: 0, waiting: false };
  shown.view = { zoom: 1, x: 0, y: 0 };
  COMPARISONS.set(node, shown);
  for (const [mode, title] of Object.entries(MODES)) {
    const button = node.querySelector(".modes").appendChild(document.createElement("button"));
    Object.assign(button, { type: "button", textContent: title });
    button.dataset.mode = mode;
    button.onclick = () => {
      shown.mode = mode;
      build(shown);
    };
  }
  node.querySelector(".whole").onclick = () => reset(shown);
  node.querySelector("input").oninput = ({ target }) => {
    shown.divider = target.value / 1000;
    redraw(shown);
  };
  new ResizeObserver(() => redraw(shown)).observe(node.querySelector(".panels"));
  return shown;
}

// Decode all pictures before drawing, so that no panel is ever empty; of two overlapping updates the later one is drawn.
async function show(shown, data) {
  const turn = ++shown.turn;
  const old = new Map(shown.images.map((image) => [image.src, image]));
  const images = await Promise.all(data.panels.map(async ({ source }) => {
    if (old.has(source)) return old.get(source);
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }));
  if (turn !== shown.turn) return;
  const titles = (from) => from?.panels.map(({ title }) => title).join("\n");
  if (titles(data) !== titles(shown.data)) shown.sides = [data.before, data.after];
  Object.assign(shown, { data, images, differences: [] });
  if (data.scene !== shown.scene) {
    shown.scene = data.scene;
    shown.view = { zoom: 1, x: data.width / 2, y: data.height / 2 };
  }
  build(shown);
  shown.node.dataset.updates = ++shown.updates;
}

// The panels and tools of the mode.
function build(shown) {
  const { node, data, mode } = shown;
  if (!data) return;
  node.dataset.mode = mode;
  for (const button of node.querySelectorAll(".modes button")) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  node.querySelector("input").hidden = mode !== "slider";
  const reference = data.panels[data.reference].title;
  node.querySelector(".hint").textContent = {
    side: "wheel: zoom, drag: move, double click: whole picture; all move together",
    slider: "drag the line, or the slider below",
    difference: `difference to ${reference}, times ${GAIN}: black where equal`,
  }[mode];
  buildSides(shown);
  const holder = node.querySelector(".panels");
  const wanted = mode === "slider" ? [-1] : data.panels.map((_, i) => i).filter((i) => mode === "side" || i !== data.reference);
  while (shown.panels.length > wanted.length) shown.panels.pop().figure.remove();
  while (shown.panels.length < wanted.length) shown.panels.push(makePanel(shown, holder));
  shown.panels.forEach((panel, place) => {
    panel.index = wanted[place];
    const { title, lines, strong } = data.panels[panel.index] ?? { title: sidesTitle(shown), lines: [], strong: [] };
    panel.caption.textContent = title;
    panel.canvas.setAttribute("aria-label", `${title}; arrow keys move, + and − zoom, 0 shows the whole picture`);
    panel.lines.replaceChildren(...lines.map((line, i) => {
      const item = document.createElement("div");
      item.textContent = line;
      item.className = strong[i] ? "best" : "";
      return item;
    }));
  });
  redraw(shown);
}

function sidesTitle({ data, sides }) {
  return sides.map((side) => data.panels[side].title).join("  |  ");
}

// The choice of the two pictures of the slider.
function buildSides(shown) {
  const holder = shown.node.querySelector(".sides");
  if (shown.mode !== "slider") {
    holder.replaceChildren();
    return;
  }
  holder.replaceChildren(...["Left", "Right"].map((label, place) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", `${label} picture`);
    shown.data.panels.forEach(({ title }, i) => select.add(new Option(title, i, false, i === shown.sides[place])));
    select.onchange = () => {
      shown.sides[place] = Number(select.value);
      build(shown);
    };
    return select;
  }));
}

function makePanel(shown, holder) {
  const figure = holder.appendChild(document.createElement("figure"));
  const caption = figure.appendChild(document.createElement("figcaption"));
  const canvas = figure.appendChild(document.createElement("canvas"));
  const lines = figure.appendChild(document.createElement("div"));
  lines.className = "lines";
  Object.assign(canvas, { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  const panel = { figure, caption, canvas, lines, index: 0, width: 1, height: 1 };
  listen(shown, panel);
  return panel;
}

function listen(shown, panel) {
  const { canvas } = panel;
  let last = null;
  let divides = false;
  const onDivider = ({ offsetX }) => shown.mode === "slider" && Math.abs(offsetX - shown.divider * panel.width) < NEAR;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    divides = onDivider(event);
    last = [event.clientX, event.clientY];
  };
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
  canvas.onpointermove = (event) => {
    if (!last) {
      canvas.classList.toggle("on-divider", onDivider(event));
      return;
    }
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    last = [event.clientX, event.clientY];
    if (divides) {
      shown.divider = Math.max(0, Math.min(1, event.offsetX / panel.width));
      shown.node.querySelector("input").value = 1000 * shown.divider;
      redraw(shown);
    } else {
      const scale = scaleOf(shown, panel);
      move(shown, panel, -dx / scale, -dy / scale);
    }
  };
  canvas.addEventListener("wheel", (event) => {
    if (event.deltaY > 0 && shown.view.zoom <= 1) return; // the page scrolls
    event.preventDefault();
    zoom(shown, panel, Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) * 0.002), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.ondblclick = () => reset(shown);
  canvas.onkeydown = (event) => {
    const step = panel.width / 8 / scaleOf(shown, panel);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    const factor = { "+": 1.25, "=": 1.25, "-": 0.8 }[event.key];
    if (!by && !factor && event.key !== "0") return;
    event.preventDefault();
    event.stopPropagation();
    if (by) move(shown, panel, ...by);
    else if (factor) zoom(shown, panel, factor, panel.width / 2, panel.height / 2);
    else reset(shown);
  };
}

// CSS pixels of a picture's pixel.
function scaleOf({ data, view }, { width, height }) {
  return Math.min(width / data.width, height / data.height) * view.zoom;
}

function reset(shown) {
  const { data } = shown;
  shown.view = { zoom: 1, x: data.width / 2, y: data.height / 2 };
  redraw(shown);
}

function move(shown, panel, dx, dy) {
  shown.view.x += dx;
  shown.view.y += dy;
  hold(shown, panel);
  redraw(shown);
}

// Zoom so that the picture's point under (x, y) of the canvas stays there.
function zoom(shown, panel, factor, x, y) {
  const before = scaleOf(shown, panel);
  const most = MOST_SCALE / (before / shown.view.zoom);
  shown.view.zoom = Math.max(1, Math.min(Math.max(1, most), shown.view.zoom * factor));
  const after = scaleOf(shown, panel);
  shown.view.x += (x - panel.width / 2) * (1 / before - 1 / after);
  shown.view.y += (y - panel.height / 2) * (1 / before - 1 / after);
  hold(shown, panel);
  redraw(shown);
}

// Keep the picture over the whole canvas, or centred where it is smaller.
function hold(shown, panel) {
  const { view, data } = shown;
  const scale = scaleOf(shown, panel);
  for (const [axis, length, side] of [["x", data.width, panel.width], ["y", data.height, panel.height]]) {
    const half = side / 2 / scale;
    view[axis] = 2 * half >= length ? length / 2 : Math.max(half, Math.min(length - half, view[axis]));
  }
}

function redraw(shown) {
  if (shown.waiting || !shown.data) return;
  shown.waiting = true;
  requestAnimationFrame(() => {
    shown.waiting = false;
    draw(shown);
  });
}

function draw(shown) {
  const { data, panels, view, node, mode } = shown;
  const ratio = window.devicePixelRatio || 1;
  arrange(node.querySelector(".panels"), panels.length);
  const widths = panels.map(({ figure }) => figure.clientWidth); // read all sizes before setting any
  panels.forEach((panel, place) => {
    if (widths[place] < 2) return;
    const { canvas } = panel;
    panel.width = widths[place];
    panel.height = Math.max(1, Math.round(Math.min(MOST_HEIGHT, (panel.width * data.height) / data.width)));
    const [wide, high] = [Math.round(panel.width * ratio), Math.round(panel.height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
      [canvas.width, canvas.height] = [wide, high];
      canvas.style.height = `${panel.height}px`;
    }
  });
  if (!panels.length) return;
  hold(shown, panels[0]);
  for (const panel of panels) {
    const pen = panel.canvas.getContext("2d");
    const scale = scaleOf(shown, panel);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, panel.width, panel.height);
    pen.imageSmoothingEnabled = scale * ratio < 1;
    pen.imageSmoothingQuality = "high";
    const paint = (picture) => pen.drawImage(
      picture, panel.width / 2 - view.x * scale, panel.height / 2 - view.y * scale, data.width * scale, data.height * scale,
    );
    if (mode === "slider") drawSides(shown, panel, pen, paint);
    else paint(mode === "side" ? shown.images[panel.index] : differenceOf(shown, panel.index));
    panel.canvas.dataset.view = JSON.stringify(view);
  }
  const scale = scaleOf(shown, panels[0]);
  node.querySelector(".zoom").textContent = `${Math.round(100 * scale)} %`;
  node.dataset.view = JSON.stringify(view);
}

// Columns of the panels: all in a row where there is room, else rows of about the same length.
function arrange(holder, count) {
  const fit = Math.max(1, Math.min(4, Math.floor(holder.clientWidth / LEAST_WIDTH)));
  holder.style.setProperty("--columns", Math.ceil(count / Math.ceil(count / fit)));
}

function drawSides(shown, panel, pen, paint) {
  const { images, sides, divider } = shown;
  const x = divider * panel.width;
  for (const [place, left, width] of [[0, 0, x], [1, x, panel.width - x]]) {
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width, panel.height);
    pen.clip();
    paint(images[sides[place]]);
    pen.restore();
  }
  pen.fillStyle = "#fff";
  pen.fillRect(x - 1.5, 0, 3, panel.height);
  pen.fillStyle = "#000";
  pen.fillRect(x - 0.5, 0, 1, panel.height);
}

// |picture − reference| · GAIN, computed once for each picture.
function differenceOf(shown, index) {
  const { data, images, differences } = shown;
  if (differences[index]) return differences[index];
  const [width, height] = [data.width, data.height];
  const pixels = (picture) => {
    const canvas = new OffscreenCanvas(width, height);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(picture, 0, 0);
    return [canvas, pen, pen.getImageData(0, 0, width, height)];
  };
  const [canvas, pen, own] = pixels(images[index]);
  const other = pixels(images[data.reference])[2];
  for (let i = 0; i < own.data.length; i++) {
    own.data[i] = i % 4 === 3 ? 255 : GAIN * Math.abs(own.data[i] - other.data[i]);
  }
  pen.putImageData(own, 0, 0);
  return (differences[index] = canvas);
}
