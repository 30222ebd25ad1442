// Point clouds on one canvas, side by side while there is room. Only this file holds the view (pan, zoom, orbit); all panels
// share it, and new data do not change it. Drag: pan or orbit; Ctrl and wheel, or pinch: zoom; double click: reset. Where
// points stand for pictures, hovering a point shows its picture and a click picks it. A panel may also hold lines, arrows, a
// field behind all other layers, points coloured by values, and lettered rings: see `flatPanel` and `solidPanel`.
//
// Charts of one group are linked: the point under the cursor, and the points inside a loop drawn with Shift or after Select,
// are marked in all of their panels, by layer and index. Streamlit loads this module once per page, so it holds the marks.
const CHARTS = new Map(); // DOM node → its chart
const GROUPS = new Map(); // name of a group → its marks
const START = { x: 0, y: 0, zoom: 1, yaw: 0.35, pitch: 0.3 };
const GAP = 26;
const SELECT = 74; // pixels of the button Select, beside the legend
const TOP = 30;
const LEGEND_ROW = 20;
const BAR = 56; // pixels of a colour bar
const BINS = 32; // colours of a scale
const BOTTOM = 22;
const LEFT = 40;
const NEAR = 9; // pixels between the cursor and the point that it picks
const THUMBNAIL = 90;
const LEAST = 215; // pixels of a column; more columns stand in further rows
const TIGHT = 165; // the same, where the last one would stand alone

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".cloud-plot");
  const chart = CHARTS.get(node) ?? open(node);
  chart.data = data;
  chart.fresh = true;
  chart.pick = (point) => setStateValue("picked", { ...point, when: Date.now() });
  load(chart);
  node.dataset.livePlot = data.key;
  chart.canvas.setAttribute("role", "img"); // not the node: its heads are read, too
  chart.canvas.setAttribute("aria-label", data.alt);
  chart.button.hidden = !data.linked;
  redraw(chart);
  // Streamlit may also call this for a superseded update: close only charts that have left the page.
  return () => setTimeout(() => node.isConnected || close(chart));
}

function close(chart) {
  chart.stop();
  CHARTS.delete(chart.node);
}

function open(node) {
  const canvas = node.appendChild(document.createElement("canvas"));
  const chart = { node, canvas, view: { ...START }, data: null, top: TOP, heads: [], head: 0, fresh: false, waiting: false, updates: 0, sheet: null, sheetOf: null, selecting: false, loop: null };
  CHARTS.set(node, chart);
  const resized = new ResizeObserver(() => redraw(chart));
  const themed = new MutationObserver(() => redraw(chart));
  resized.observe(node);
  themed.observe(document.documentElement, { attributes: true });
  chart.stop = () => {
    resized.disconnect();
    themed.disconnect();
  };
  addMarking(chart);
  let last = null;
  let start = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = start = [event.clientX, event.clientY];
    if (chart.data.linked && (chart.selecting || event.shiftKey)) {
      chart.loop = { panel: panelAt(chart, event.offsetX, event.offsetY), path: [[event.offsetX, event.offsetY]] };
    }
  };
  canvas.onpointerup = (event) => {
    const still = start && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < 4;
    const loop = chart.loop;
    last = start = chart.loop = null;
    if (still) press(chart, event.offsetX, event.offsetY);
    else if (loop) mark(chart, inside(chart, loop));
  };
  canvas.onpointercancel = () => {
    last = start = chart.loop = null;
    redraw(chart);
  };
  canvas.onpointerleave = () => hover(chart, null);
  canvas.onpointermove = (event) => {
    if (!last) {
      hover(chart, event);
      return;
    }
    hover(chart, null);
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    last = [event.clientX, event.clientY];
    const { view } = chart;
    if (chart.loop) {
      chart.loop.path.push([event.offsetX, event.offsetY]);
    } else if (solid(chart)) {
      view.yaw += dx * 0.01;
      view.pitch = Math.max(-1.55, Math.min(1.55, view.pitch + dy * 0.01));
    } else {
      const side = frames(chart)[0].side;
      view.x -= dx / side / view.zoom;
      view.y += dy / side / view.zoom;
    }
    redraw(chart);
  };
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    chart.view.zoom = Math.max(0.2, Math.min(50, chart.view.zoom * Math.exp(-event.deltaY * 0.002)));
    redraw(chart);
  }, { passive: false });
  canvas.ondblclick = () => {
    chart.view = { ...START };
    redraw(chart);
  };
  return chart;
}

// A click: on a pickable point it picks that, on another linked point it marks that, elsewhere it takes all marks away.
function press(chart, x, y) {
  const picked = nearest(chart, x, y, (layer) => pickable(chart, layer));
  if (picked) chart.pick({ panel: picked.panel, layer: picked.layer.name, index: picked.index });
  else if (chart.data.linked) {
    const found = nearest(chart, x, y, (layer) => linked(chart, layer));
    mark(chart, found ? { [found.layer.name]: [found.index] } : {});
  }
}

// Load the sheet of pictures in the background; the previous sheet is used until then.
function load(chart) {
  const { sheet } = chart.data;
  if (!sheet || chart.sheetOf === sheet) return;
  chart.sheetOf = sheet;
  const image = new Image();
  image.onload = () => {
    if (chart.sheetOf === sheet) chart.sheet = image;
  };
  image.src = sheet;
}

// ---------------------------------------------------------------- linked points

// The marks that a chart shares: indices of the marked points by layer, the point under the cursor, and a line that counts.
function marksOf({ data }) {
  if (!data?.linked) return null;
  if (!GROUPS.has(data.linked)) GROUPS.set(data.linked, { marked: {}, hovered: null, count: 0, text: "" });
  return GROUPS.get(data.linked);
}

// Whether the points of a layer are the same in all charts of the group.
function linked({ data }, layer) {
  return Boolean(data.linked && data.same[layer.name] && layer.points && !layer.line && !layer.arrows && !layer.letters);
}

// Mark these indices by layer in all charts of the group, in place of earlier ones.
function mark(chart, indices) {
  const marks = marksOf(chart);
  const kinds = Object.entries(indices).filter(([, of]) => of.length);
  marks.marked = Object.fromEntries(kinds.map(([name, of]) => [name, new Set(of)]));
  marks.count = kinds.reduce((sum, [, of]) => sum + of.length, 0);
  const words = kinds.map(([name, of]) => `${of.length.toLocaleString("en")} ${name}`);
  marks.text = marks.count ? `${marks.count.toLocaleString("en")} marked: ${words.join(", ")}` : "";
  redrawGroup(chart);
}

function redrawGroup({ data }) {
  for (const other of CHARTS.values()) {
    if (other.data?.linked === data.linked) redraw(other);
  }
}

window.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const chart of CHARTS.values()) {
    chart.loop = null;
    if (marksOf(chart)?.count) mark(chart, {});
  }
});

// The button that lets a drag draw a loop, and the count of marked points.
function addMarking(chart) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "select", textContent: "Select" });
  button.onclick = () => {
    chart.selecting = !chart.selecting;
    button.setAttribute("aria-pressed", chart.selecting);
    chart.canvas.classList.toggle("selecting", chart.selecting);
  };
  button.title = "Draw around points to mark the same points in every chart; or drag with Shift. Escape unmarks them.";
  button.setAttribute("aria-pressed", false);
  const count = document.createElement("button");
  Object.assign(count, { type: "button", className: "marked", hidden: true });
  count.onclick = () => mark(chart, {});
  chart.node.append(button, count);
  Object.assign(chart, { button, count });
}

function showCount(chart, marks) {
  const { count, data } = chart;
  const text = marks?.text ?? "";
  if (chart.counted === text) return;
  chart.counted = text;
  count.hidden = !text;
  count.textContent = `${text} ✕`;
  const same = Object.entries(data.same ?? {}).map(([name, what]) => `${name}: ${what} in every panel`);
  count.title = `${same.join("; ")}. Click, or press Escape, to unmark.`;
  chart.node.dataset.marked = marks ? JSON.stringify(Object.fromEntries(Object.entries(marks.marked).map(([k, of]) => [k, [...of]]))) : "";
}

function panelAt(chart, x, y) {
  const away = ({ x: left, y: top, side }) => Math.hypot(x - left - side / 2, y - top - side / 2);
  const all = frames(chart).map(away);
  return all.indexOf(Math.min(...all));
}

// Indices by layer of the linked points inside a loop drawn on a panel.
function inside(chart, { panel, path }) {
  const [dim, where] = projection(frames(chart)[panel], chart.data.panels[panel], chart.view);
  const found = {};
  for (const layer of chart.data.panels[panel].layers.filter((layer) => linked(chart, layer))) {
    const within = (k) => encloses(path, where(layer.points, k * dim));
    found[layer.name] = Array.from({ length: layer.points.length / dim }, (_, k) => k).filter(within);
  }
  return found;
}

// Even-odd rule.
function encloses(path, [x, y]) {
  let odd = false;
  path.forEach(([x1, y1], k) => {
    const [x0, y0] = path.at(k - 1);
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) odd = !odd;
  });
  return odd;
}

function drawLoop(pen, { path }, ink) {
  pen.beginPath();
  path.forEach(([x, y]) => pen.lineTo(x, y));
  pen.closePath();
  pen.fillStyle = pen.strokeStyle = ink;
  pen.globalAlpha = 0.08;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineWidth = 1.2;
  pen.setLineDash([4, 3]);
  pen.stroke();
  pen.setLineDash([]);
}

// Ring the point under the cursor in every panel, and name it in the panel where it is pointed at.
function drawHovered(pen, chart, marks, ink, ground) {
  const { hovered } = marks;
  frames(chart).forEach((frame, i) => {
    const panel = chart.data.panels[i];
    const layer = panel.layers.find((layer) => layer.name === hovered.name && linked(chart, layer));
    const [dim, where] = projection(frame, panel, chart.view);
    if (!layer || hovered.index * dim >= layer.points.length) return;
    const [a, b] = where(layer.points, hovered.index * dim);
    if (!(a > frame.x - 8 && a < frame.x + frame.side + 8 && b > frame.y - 8 && b < frame.y + frame.side + 8)) return;
    pen.beginPath();
    pen.arc(a, b, 7, 0, 7);
    pen.lineWidth = 4;
    pen.strokeStyle = ground;
    pen.stroke();
    pen.lineWidth = 2;
    pen.strokeStyle = ink;
    pen.stroke();
    if (hovered.chart !== chart || hovered.panel !== i || chart.sheet) return;
    const text = `${hovered.name} ${hovered.index}`;
    const wide = pen.measureText(text).width;
    const x = a + 14 + wide < frame.x + frame.side ? a + 12 : a - 12 - wide;
    pen.fillStyle = ground;
    pen.globalAlpha = 0.85;
    pen.fillRect(x - 3, b - 9, wide + 6, 18);
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(text, x, b);
  });
}

// ---------------------------------------------------------------- the point under the cursor

function pickable({ data }, layer) {
  return Boolean((data?.sheet || data?.pickable) && layer.offset !== undefined);
}

// The wanted point nearest to a place on the canvas; ties go to later layers, in three dimensions to nearer points.
function nearest(chart, x, y, wanted) {
  if (!chart.data) return null;
  let [best, found] = [NEAR, null];
  frames(chart).forEach((frame, i) => {
    if (x < frame.x || x > frame.x + frame.side || y < frame.y || y > frame.y + frame.side) return;
    const [dim, where] = projection(frame, chart.data.panels[i], chart.view);
    for (const layer of chart.data.panels[i].layers) {
      if (!wanted(layer)) continue;
      for (let k = 0; k < layer.points.length; k += dim) {
        const [a, b, depth] = where(layer.points, k);
        const far = Math.hypot(a - x, b - y) + (depth === undefined ? 0 : 2 * (depth + 1));
        if (far <= best) [best, found] = [far, { panel: i, layer, index: k / dim }];
      }
    }
  });
  return found;
}

// Dimension of a panel, and a function from an index into an array of points to pixels and, in three dimensions, depth.
function projection(frame, panel, view) {
  if (panel.span.length === 3) {
    const { project } = camera(frame, panel, view);
    return [3, (p, i) => project(p[i], p[i + 1], p[i + 2])];
  }
  const { toX, toY } = place(frame, panel, view);
  return [2, (p, i) => [toX(p[i]), toY(p[i + 1])]];
}

// Mark the point under the cursor in all linked charts, and show its picture: on its right, or left near the right edge.
function hover(chart, event) {
  const { node, canvas, data, sheet } = chart;
  const marks = marksOf(chart);
  const wanted = (layer) => pickable(chart, layer) || linked(chart, layer);
  const found = event && event.pointerType !== "touch" && nearest(chart, event.offsetX, event.offsetY, wanted);
  canvas.classList.toggle("on-point", Boolean(found));
  const now = found && linked(chart, found.layer) ? { chart, panel: found.panel, name: found.layer.name, index: found.index } : null;
  if (marks && (now || marks.hovered?.chart === chart) && `${now?.panel} ${now?.name} ${now?.index}` !== chart.pointed) {
    chart.pointed = `${now?.panel} ${now?.name} ${now?.index}`;
    marks.hovered = now;
    redrawGroup(chart);
  }
  let box = node.querySelector(".thumbnail");
  if (!found || !sheet) {
    box?.remove();
    return;
  }
  if (!box) {
    box = node.appendChild(document.createElement("div"));
    box.className = "thumbnail";
    box.append(Object.assign(document.createElement("canvas"), { width: 2 * THUMBNAIL, height: 2 * THUMBNAIL }), "");
  }
  const { layer, index } = found;
  const [{ size }, k] = [data, layer.offset + index];
  const across = Math.round(sheet.width / size);
  const pen = box.firstChild.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(sheet, (k % across) * size, Math.floor(k / across) * size, size, size, 0, 0, 2 * THUMBNAIL, 2 * THUMBNAIL);
  box.lastChild.textContent = `${layer.name} ${index}`;
  box.style.borderColor = layer.colour;
  const [x, y] = [event.offsetX, event.offsetY];
  box.style.left = `${x + 14 + 96 < node.clientWidth ? x + 14 : x - 14 - 96}px`;
  box.style.top = `${Math.max(0, Math.min(y - 40, data.height - 116))}px`;
}

function solid(chart) {
  return chart.data.panels[0]?.span.length === 3;
}

// Pixels for ticks, left of a panel and below it.
function margins({ panels }) {
  return panels[0].ticks && panels[0].span.length === 2 ? [LEFT, BOTTOM] : [4, 4];
}

// Panels in a row: all if they are wide enough, else as many as make the rows alike; of three, none stands alone.
function across({ node, data }) {
  const most = (least) => Math.max(1, Math.floor((node.clientWidth + GAP) / (least + GAP)));
  const count = data.panels.length;
  if (count === 3 && most(TIGHT) >= 3) return 3;
  return Math.ceil(count / Math.ceil(count / most(LEAST)));
}

// Squares of the panels: as large as the row allows, evenly spaced. A panel's head is above its square.
function frames(chart) {
  const { node, data, top, head } = chart;
  const n = across(chart);
  const width = (node.clientWidth - GAP * (n - 1)) / n;
  const [left, bottom] = margins(data);
  const side = Math.max(20, Math.min(width - left, data.height - top - bottom));
  const below = head + 10 + side + bottom;
  return data.panels.map((_, i) => {
    const at = (i % n) * (width + GAP);
    return { x: at + left, y: top + Math.floor(i / n) * below, side, left: at, width };
  });
}

// Write the heads; return the height of the highest one.
function writeHeads(chart) {
  const { node, data, heads } = chart;
  while (heads.length > data.panels.length) heads.pop().remove();
  while (heads.length < data.panels.length) heads.push(node.appendChild(document.createElement("div")));
  const squares = frames(chart);
  heads.forEach((box, i) => {
    writeHead(box, data.panels[i]);
    box.style.left = `${squares[i].x}px`;
    box.style.width = `${squares[i].width - (squares[i].x - squares[i].left)}px`;
  });
  return Math.max(...heads.map((box) => box.offsetHeight));
}

function redraw(chart) {
  if (chart.waiting || !chart.data) return;
  chart.waiting = true;
  requestAnimationFrame(() => {
    chart.waiting = false;
    if (chart.node.clientWidth > 0) draw(chart);
  });
}

function draw(chart) {
  const { node, canvas, data, view } = chart;
  const ratio = window.devicePixelRatio || 1;
  const width = node.clientWidth;
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(node);
  const ink = style.getPropertyValue("--st-text-color") || style.color;
  const ground = style.getPropertyValue("--st-background-color") || "#fff";
  pen.font = `13px ${style.fontFamily}`;
  if (chart.fresh) decode(data.panels);
  const marks = marksOf(chart);
  const room = width - (data.linked ? SELECT : 0);
  const keys = entries(pen, data.panels, ink, frames(chart)[0], view);
  chart.head = writeHeads(chart);
  const last = across(chart) - 1; // of the first row
  const beside = room - frames(chart)[last].x - pen.measureText(data.panels[last].title + (data.panels[last].best ? " ★" : "")).width - 4;
  const rows = wrapped(keys, beside, room);
  chart.top = TOP - 18 + chart.head + LEGEND_ROW * (rows.length - 1);
  const height = frames(chart).at(-1).y + frames(chart)[0].side + margins(data)[1]; // narrow panels are also low
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    node.style.height = `${height}px`;
    pen.font = `13px ${style.fontFamily}`; // resizing a canvas resets its context
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  frames(chart).forEach((frame, i) => {
    const panel = data.panels[i];
    const draw = panel.span.length === 3 ? solidPanel : flatPanel;
    pen.fillStyle = ink;
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    chart.heads[i].style.top = `${frame.y - chart.head - 8}px`;
    draw(pen, frame, panel, view, ink, (layer) => looks(chart, marks, layer, ink));
    if (panel.axes) nameAxes(pen, frame, panel.axes, ink, ground);
    if (data.ringed?.panel === i) ring(pen, frame, panel, view, ink, data.ringed);
  });
  rows.forEach((row, i) => legend(pen, row, room, TOP - 13 + LEGEND_ROW * i, ink));
  if (marks?.hovered) drawHovered(pen, chart, marks, ink, ground);
  node.dataset.hovered = marks?.hovered ? `${marks.hovered.name} ${marks.hovered.index}` : "";
  if (chart.loop) drawLoop(pen, chart.loop, ink);
  showCount(chart, marks);
  if (chart.fresh) {
    chart.fresh = false;
    node.dataset.updates = ++chart.updates;
    node.dataset.step = data.step;
    node.dataset.layers = named(data.panels).map(({ name }) => name).join(", ");
  }
  node.dataset.view = JSON.stringify(view);
  node.dataset.frames = JSON.stringify(frames(chart));
}

function decode(panels) {
  for (const layer of panels.flatMap((panel) => panel.layers)) {
    for (const name of ["points", "values"]) {
      if (typeof layer[name] !== "string") continue;
      const bytes = Uint8Array.from(atob(layer[name]), (c) => c.charCodeAt(0));
      layer[name] = new (name === "points" && layer.double ? Float64Array : Float32Array)(bytes.buffer);
    }
  }
}

// ---------------------------------------------------------------- legend

// Layers of all panels, without duplicate names.
function named(panels) {
  const found = new Map();
  for (const layer of panels.flatMap((panel) => panel.layers)) {
    if (!found.has(layer.name)) found.set(layer.name, layer);
  }
  return [...found.values()];
}

// Entries of the legend with their widths: mark and name of each layer, then a colour bar per scale.
function entries(pen, panels, ink, frame, view) {
  const layers = named(panels);
  const wide = (text) => pen.measureText(text).width;
  const keys = layers
    .filter(({ image, letters: texts }) => !image && !texts)
    .map((layer) => {
      const [text, long] = layer.factor ? ruler(layer, frame, panels[0], view) : [layer.name, 18];
      return { layer, text, long, width: wide(text) + long + 14, colour: layer.scale ? ink : layer.colour };
    });
  const scales = new Map(layers.filter(({ scale }) => scale).map(({ scale }) => [scale.title, scale]));
  for (const scale of scales.values()) {
    const [low, high] = [label(+scale.low.toPrecision(2)), label(+scale.high.toPrecision(2))];
    keys.push({ scale, low, high, text: scale.title, width: wide(scale.title) + wide(low) + wide(high) + BAR + 40 });
  }
  return keys;
}

// An arrow of a round length for the legend: its text and its pixels.
function ruler({ name, factor }, frame, panel, view) {
  const reach = Math.max(...panel.span.map(([low, high]) => high - low));
  const pixels = (factor * frame.side * view.zoom) / (panel.span.length === 3 ? 1.65 * reach : reach); // of length 1
  const power = 10 ** Math.floor(Math.log10(40 / pixels));
  const length = [5, 2, 1].map((k) => k * power).find((value) => value * pixels <= 40);
  return [`${name} of ${label(length)}`, Math.max(8, length * pixels)];
}

// Rows of the legend: one beside the last panel's title if it fits, else as many as needed above the titles.
function wrapped(keys, beside, width) {
  const fits = (row) => row.reduce((sum, key) => sum + key.width, 0) <= beside;
  if (fits(keys)) return [keys];
  const rows = [[]];
  let left = width;
  for (const key of keys) {
    if (key.width > left && rows.at(-1).length) {
      rows.push([]);
      left = width;
    }
    rows.at(-1).push(key);
    left -= key.width;
  }
  return fits(rows.at(-1)) ? rows : [...rows, []]; // the last row holds the titles
}

function legend(pen, row, width, y, ink) {
  let x = width - row.reduce((sum, key) => sum + key.width, 0);
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  for (const { layer, scale, low, high, text, colour, long, width: wide } of row) {
    if (scale) {
      pen.fillStyle = ink;
      pen.fillText(text, x + 16, y);
      const at = x + 22 + pen.measureText(text).width;
      pen.fillText(low, at, y);
      const from = at + pen.measureText(low).width + 5;
      colours(scale).forEach((shade, i) => {
        pen.fillStyle = shade;
        pen.fillRect(from + (i * BAR) / BINS, y - 9, BAR / BINS + 0.5, 9);
      });
      pen.fillStyle = ink;
      pen.fillText(high, from + BAR + 5, y);
    } else {
      symbol(pen, layer, colour, x + 9, y - 4.5, long);
      pen.fillStyle = ink;
      pen.fillText(text, x + 14 + long, y);
    }
    x += wide;
  }
}

// Draw a layer's symbol in the legend, `long` pixels wide.
function symbol(pen, layer, colour, from, y, long) {
  const x = from + long / 2;
  pen.fillStyle = pen.strokeStyle = colour;
  pen.beginPath();
  if (layer.line) {
    pen.lineWidth = layer.wide ?? 2;
    pen.setLineDash(layer.dash ?? []);
    pen.moveTo(x - 9, y);
    pen.lineTo(x + 9, y);
    pen.stroke();
    pen.setLineDash([]);
  } else if (layer.arrows) {
    pen.lineWidth = 1.5;
    shaft(pen, [from, y], [from + long, y]);
    pen.stroke();
  } else if (layer.ring) {
    pen.lineWidth = 1.8;
    pen.arc(x, y, 3.6, 0, 7);
    pen.stroke();
  } else {
    pen.arc(x, y, 4, 0, 7);
    pen.fill();
  }
}

// ---------------------------------------------------------------- colour scales

const SCALES = new Map();

// Colours of a scale, from low to high.
function colours({ stops }) {
  const name = stops.join();
  if (!SCALES.has(name)) {
    const parts = stops.map((stop) => [1, 3, 5, 7].map((i) => parseInt(stop.slice(i, i + 2) || "ff", 16)));
    SCALES.set(name, Array.from({ length: BINS }, (_, i) => {
      const at = (i / (BINS - 1)) * (parts.length - 1);
      const [one, other] = [parts[Math.floor(at)], parts[Math.ceil(at)]];
      const [r, g, b, a] = one.map((value, k) => value + (other[k] - value) * (at % 1));
      return `rgba(${Math.round(r)},${Math.round(g)},${Math.round(b)},${(a / 255).toFixed(3)})`;
    }));
  }
  return SCALES.get(name);
}

// Index of a value in the colours of its scale; −1 for NaN.
function binOf(value, { low, high }) {
  if (value !== value) return -1;
  return Math.max(0, Math.min(BINS - 1, Math.floor(((value - low) / (high - low || 1)) * BINS)));
}

function shadeOf(layer, index) {
  const bin = binOf(layer.values[index], layer.scale);
  return bin < 0 ? "#8A8F98" : colours(layer.scale)[bin];
}

// ---------------------------------------------------------------- two dimensions

// Mapping of a two-dimensional panel: centre, visible width, and a function from data to pixels.
function place({ x, y, side }, panel, view) {
  const [[x0, x1], [y0, y1]] = panel.span;
  const unit = Math.max(x1 - x0, y1 - y0) / view.zoom;
  const [cx, cy] = [(x0 + x1) / 2 + view.x * unit * view.zoom, (y0 + y1) / 2 + view.y * unit * view.zoom];
  const toX = (value) => x + ((value - cx) / unit + 0.5) * side;
  const toY = (value) => y + (0.5 - (value - cy) / unit) * side;
  return { unit, cx, cy, toX, toY };
}

function ring(pen, frame, panel, view, ink, { layer, index }) {
  const points = panel.layers.find(({ name }) => name === layer)?.points;
  if (!points || 2 * index >= points.length) return;
  const { toX, toY } = place(frame, panel, view);
  pen.strokeStyle = ink;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(toX(points[2 * index]), toY(points[2 * index + 1]), 7, 0, 7);
  pen.stroke();
}

function flatPanel(pen, frame, panel, view, ink, looksOf) {
  const { x, y, side } = frame;
  const { unit, cx, cy, toX, toY } = place(frame, panel, view);
  if (panel.ticks) {
    pen.lineWidth = 1;
    pen.font = pen.font.replace("13px", "11px");
    for (const [tick, text] of nice(cx - unit / 2, cx + unit / 2)) {
      rule(pen, ink, [toX(tick), y], [toX(tick), y + side]);
      pen.textAlign = "center";
      pen.textBaseline = "top";
      pen.fillText(text, toX(tick), y + side + 5);
    }
    for (const [tick, text] of nice(cy - unit / 2, cy + unit / 2)) {
      rule(pen, ink, [x, toY(tick)], [x + side, toY(tick)]);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillText(text, Math.max(x - 6, frame.left + pen.measureText(text).width), toY(tick));
    }
    pen.font = pen.font.replace("11px", "13px");
  } else {
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.15;
    pen.lineWidth = 1;
    pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    pen.globalAlpha = 1;
  }
  pen.save();
  pen.beginPath();
  pen.rect(x, y, side, side);
  pen.clip();
  const where = (p, i) => [toX(p[i]), toY(p[i + 1])];
  const front = [];
  for (const layer of panel.layers) {
    const { points, colour, ring } = layer;
    if (layer.image) field(pen, layer, toX, toY);
    else if (layer.line) path(pen, layer, 2, where);
    else if (layer.arrows) arrows(pen, layer, 2, where);
    else if (layer.letters) letters(pen, layer, ink, 2, where);
    else {
      const { marked, faded, enlarged } = looksOf(layer);
      const plain = layer.values ? null : sprite(colour, layer.radius ?? 2.1, 0.75 * faded, ring);
      for (let i = 0; i < points.length; i += 2) {
        const [a, b] = [toX(points[i]), toY(points[i + 1])];
        if (!(a > x - 4 && a < x + side + 4 && b > y - 4 && b < y + side + 4)) continue;
        if (marked.has(i / 2)) front.push([enlarged(i / 2), a, b]);
        else stamp(pen, plain ?? sprite(shadeOf(layer, i / 2), 2.3, 0.9 * faded, ring), a, b);
      }
    }
  }
  for (const [dot, a, b] of front) stamp(pen, dot, a, b);
  pen.restore();
}

// Name the axes of a panel inside its frame, readable over points.
function nameAxes(pen, { x, y, side }, [across, up], ink, ground) {
  const write = (text, at, down) => {
    pen.strokeText(text, at, down);
    pen.fillText(text, at, down);
  };
  pen.font = pen.font.replace("13px", "11px");
  pen.fillStyle = ink;
  pen.strokeStyle = ground;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.textAlign = "right";
  pen.textBaseline = "bottom";
  write(`${across} →`, x + side - 5, y + side - 4);
  pen.save();
  pen.translate(x + 5, y + 5);
  pen.rotate(-Math.PI / 2);
  pen.textBaseline = "top";
  write(`${up} →`, 0, 0);
  pen.restore();
  pen.font = pen.font.replace("11px", "13px");
}

// Draw values `rows x columns`, top row first, stretched over their extent.
function field(pen, layer, toX, toY) {
  const { rows, columns, extent: [[x0, x1], [y0, y1]] } = layer;
  if (!layer.canvas) {
    layer.canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const ink = layer.canvas.getContext("2d");
    layer.values.forEach((_, k) => {
      ink.fillStyle = shadeOf(layer, k);
      ink.fillRect(k % columns, Math.floor(k / columns), 1, 1);
    });
  }
  pen.imageSmoothingEnabled = true;
  pen.drawImage(layer.canvas, toX(x0), toY(y1), toX(x1) - toX(x0), toY(y0) - toY(y1));
}

function rule(pen, ink, from, to) {
  pen.strokeStyle = ink;
  pen.globalAlpha = 0.12;
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
  pen.globalAlpha = 1;
}

// Round numbers between two, with their labels; far from zero the first in full, and by how much the others are larger.
function nice(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  const far = Math.max(Math.abs(low), Math.abs(high)) >= 1e6 * step;
  const text = (i) => (!far ? label((first + i) * step) : i ? `+${label(i * step)}` : label(first * step, 15));
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => [(first + i) * step, text(i)]);
}

function label(value, digits = 6) {
  return String(+value.toPrecision(digits)).replace("-", "−");
}

// ---------------------------------------------------------------- three dimensions

// Mapping of a three-dimensional panel: centre, half width, and a function from data to pixels and depth (−1 near, 1 far).
function camera({ x, y, side }, panel, view) {
  const centre = panel.span.map(([low, high]) => (low + high) / 2);
  const reach = Math.max(...panel.span.map(([low, high]) => high - low)) / 2;
  const [sy, cy, sp, cp] = [Math.sin(view.yaw), Math.cos(view.yaw), Math.sin(view.pitch), Math.cos(view.pitch)];
  const scale = (side / 2 / 1.65) * view.zoom;
  const project = (a, b, c) => {
    const [u, v, w] = [(a - centre[0]) / reach, (b - centre[1]) / reach, (c - centre[2]) / reach];
    const right = cy * u + sy * v;
    const away = -sy * u + cy * v;
    const depth = cp * away - sp * w;
    const near = 1 / (1 + 0.18 * depth); // a little perspective
    return [x + side / 2 + right * near * scale, y + side / 2 - (sp * away + cp * w) * near * scale, depth];
  };
  return { centre, reach, project };
}

const NEARNESS = [[2.3, 0.95], [1.9, 0.75], [1.5, 0.5]]; // radius and opacity of near, middle and far dots

// Thin lines are drawn below the points; wide lines, layers with values, arrows and letters above.
function solidPanel(pen, frame, panel, view, ink, looksOf) {
  const { centre, reach, project } = camera(frame, panel, view);
  pen.save();
  pen.beginPath();
  pen.rect(frame.x, frame.y, frame.side, frame.side);
  pen.clip();
  box(pen, ink, centre, reach, project);
  const where = (p, i) => project(p[i], p[i + 1], p[i + 2]);
  const [dots, above, front] = [[], [], []];
  for (const layer of panel.layers) {
    const { points, colour, ring } = layer;
    if (layer.arrows || layer.letters || (layer.line && (layer.wide || layer.values))) above.push(layer);
    else if (layer.line) path(pen, layer, 3, where);
    else {
      const { marked, faded, enlarged } = looksOf(layer);
      for (let i = 0; i < points.length; i += 3) {
        const [a, b, depth] = where(points, i);
        if (depth !== depth) continue;
        const [radius, alpha] = NEARNESS[depth < -0.33 ? 0 : depth < 0.33 ? 1 : 2];
        if (marked.has(i / 3)) front.push([a, b, depth, enlarged(i / 3)]);
        else dots.push([a, b, depth, sprite(layer.values ? shadeOf(layer, i / 3) : colour, radius * Math.sqrt((layer.radius ?? 2.1) / 2.1), alpha * faded, ring)]);
      }
    }
  }
  for (const layered of [dots, front]) {
    layered.sort((a, b) => b[2] - a[2]);
    for (const [a, b, , dot] of layered) stamp(pen, dot, a, b);
  }
  for (const layer of above) {
    if (layer.line) path(pen, layer, 3, where);
    else if (layer.arrows) arrows(pen, layer, 3, where);
    else letters(pen, layer, ink, 3, where);
  }
  pen.restore();
}

function box(pen, ink, centre, reach, project) {
  const corner = (k) => project(...centre.map((c, axis) => c + reach * (k & (1 << axis) ? 1 : -1)));
  pen.strokeStyle = ink;
  pen.globalAlpha = 0.2;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let k = 0; k < 8; k++) {
    for (const bit of [1, 2, 4]) {
      if (k & bit) continue;
      pen.moveTo(...corner(k).slice(0, 2));
      pen.lineTo(...corner(k | bit).slice(0, 2));
    }
  }
  pen.stroke();
  pen.globalAlpha = 0.7;
  pen.fillStyle = ink;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  [1, 2, 4].forEach((bit, axis) => {
    const [a, b] = [corner(0), corner(bit)];
    pen.fillText("xyz"[axis], (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
  });
  pen.globalAlpha = 1;
}

// ---------------------------------------------------------------- marks

// Draw a path broken by NaN rows; with values, a segment has the colour of its start, and fades with depth.
function path(pen, { points, colour, wide, dash, values, ...layer }, dim, place) {
  pen.strokeStyle = colour;
  pen.lineWidth = wide ?? 1;
  pen.lineJoin = "round";
  pen.setLineDash(dash ?? []);
  pen.beginPath();
  let up = true;
  for (let i = 0; i < points.length; i += dim) {
    if (points[i] !== points[i]) {
      up = true;
      continue;
    }
    const [a, b, depth] = place(points, i);
    if (up && values) {
      pen.stroke();
      pen.globalAlpha = depth > 0 ? 0.25 : 1;
      pen.beginPath();
      pen.strokeStyle = shadeOf({ ...layer, values }, i / dim);
    }
    if (up) pen.moveTo(a, b);
    else pen.lineTo(a, b);
    up = false;
  }
  pen.stroke();
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

// Draw arrows; a row holds tail and tip.
function arrows(pen, { points, colour, faint }, dim, place) {
  pen.globalAlpha = faint ? 0.4 : 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.3;
  pen.beginPath();
  for (let i = 0; i < points.length; i += 2 * dim) {
    if (points[i] !== points[i] || points[i + dim] !== points[i + dim]) continue;
    shaft(pen, place(points, i), place(points, i + dim));
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function shaft(pen, [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const long = Math.hypot(dx, dy);
  if (!(long > 1)) return;
  const head = Math.min(5, 1.5 + 0.25 * long) / long;
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.lineTo(x1 - head * (0.87 * dx - 0.5 * dy), y1 - head * (0.87 * dy + 0.5 * dx));
  pen.moveTo(x1, y1);
  pen.lineTo(x1 - head * (0.87 * dx + 0.5 * dy), y1 - head * (0.87 * dy - 0.5 * dx));
}

// Draw rings with a letter beside each.
function letters(pen, { points, colour, letters: texts }, ink, dim, place) {
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const font = pen.font;
  pen.font = `bold ${font}`;
  [...texts].forEach((text, k) => {
    const [a, b] = place(points, k * dim);
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(a, b, 6, 0, 7);
    pen.stroke();
    pen.fillStyle = ink;
    pen.fillText(text, a + 9, b - 8);
  });
  pen.font = font;
}

const NONE = new Set();

// How the points of a layer look: which are marked, how opaque the others are, and a marked one's enlarged dot.
function looks(chart, marks, layer, ink) {
  if (!marks?.count || !linked(chart, layer)) return { marked: NONE, faded: 1 };
  const shade = (index) => (layer.values ? shadeOf(layer, index) : layer.colour);
  return { marked: marks.marked[layer.name] ?? NONE, faded: 0.22, enlarged: (index) => sprite(shade(index), 3, 1, layer.ring, ink) };
}

const SPRITES = new Map();
const DOT = 8; // pixels of a sprite

// A dot or a ring as an image at twice its size; copying an image is many times faster than filling arcs.
function sprite(colour, radius, alpha, ring, outline) {
  const name = `${colour} ${radius} ${alpha} ${ring} ${outline}`;
  if (!SPRITES.has(name)) {
    const dot = document.createElement("canvas");
    const middle = outline ? 10 : 8;
    dot.width = dot.height = 2 * middle;
    const pen = dot.getContext("2d");
    pen.globalAlpha = alpha;
    pen.fillStyle = pen.strokeStyle = colour;
    pen.lineWidth = 2.2;
    pen.beginPath();
    pen.arc(middle, middle, radius * 2 - (ring ? 0.2 : 0), 0, 7);
    if (ring) pen.stroke();
    else pen.fill();
    if (outline) {
      pen.strokeStyle = outline;
      pen.globalAlpha = 0.75;
      pen.lineWidth = 1.4;
      pen.beginPath();
      pen.arc(middle, middle, radius * 2 + (ring ? 1.6 : 0.6), 0, 7);
      pen.stroke();
    }
    SPRITES.set(name, dot);
  }
  return SPRITES.get(name);
}

function stamp(pen, dot, a, b) {
  const side = dot.width / 2;
  pen.drawImage(dot, a - side / 2, b - side / 2, side, side);
}
