// A row of point clouds on one canvas. The view (pan, zoom, orbit) lives here and nowhere else, is shared by all panels of
// the row, and is untouched by new data. Drag: pan or orbit; wheel with Ctrl, or pinch: zoom; double click: back to start.
// Where points stand for pictures, hovering one shows its picture and a click picks it.
const CHARTS = new WeakMap(); // DOM node → its chart
const START = { x: 0, y: 0, zoom: 1, yaw: 0.35, pitch: 0.3 };
const GAP = 26;
const TOP = 30;
const BOTTOM = 22;
const LEFT = 40;
const NEAR = 9; // pixels within which a point is meant
const THUMBNAIL = 90;

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".cloud-plot");
  const chart = CHARTS.get(node) ?? open(node);
  chart.data = data;
  chart.fresh = true;
  chart.pick = (point) => setStateValue("picked", { ...point, when: Date.now() });
  load(chart);
  node.style.height = `${data.height}px`;
  node.dataset.livePlot = data.key;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", data.alt);
  redraw(chart);
}

function open(node) {
  const canvas = node.appendChild(document.createElement("canvas"));
  const chart = { node, canvas, view: { ...START }, data: null, fresh: false, waiting: false, updates: 0, sheet: null, sheetOf: null };
  CHARTS.set(node, chart);
  new ResizeObserver(() => redraw(chart)).observe(node);
  new MutationObserver(() => redraw(chart)).observe(document.documentElement, { attributes: true });
  let last = null;
  let start = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = start = [event.clientX, event.clientY];
  };
  canvas.onpointerup = (event) => {
    const still = start && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < 4;
    last = start = null;
    const found = still && nearest(chart, event.offsetX, event.offsetY);
    if (found) chart.pick({ panel: found.panel, layer: found.layer.name, index: found.index });
  };
  canvas.onpointercancel = () => (last = start = null);
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
    if (solid(chart)) {
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

// The sheet of pictures, loaded beside the drawing; the last one serves until it is there.
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

// The point with a picture that is nearest to a place on the canvas; later layers lie on top and win.
function nearest(chart, x, y) {
  if (!chart.data?.sheet || solid(chart)) return null;
  let [best, found] = [NEAR, null];
  frames(chart).forEach((frame, i) => {
    if (x < frame.x || x > frame.x + frame.side || y < frame.y || y > frame.y + frame.side) return;
    const { toX, toY } = place(frame, chart.data.panels[i], chart.view);
    for (const layer of chart.data.panels[i].layers) {
      if (layer.first === undefined) continue;
      for (let k = 0; k < layer.points.length; k += 2) {
        const far = Math.hypot(toX(layer.points[k]) - x, toY(layer.points[k + 1]) - y);
        if (far <= best) [best, found] = [far, { panel: i, layer, index: k / 2 }];
      }
    }
  });
  return found;
}

// The picture of the point under the cursor, beside it; on the left of the cursor near the right edge.
function hover(chart, event) {
  const { node, canvas, data, sheet } = chart;
  const found = event && sheet && nearest(chart, event.offsetX, event.offsetY);
  canvas.classList.toggle("on-point", Boolean(found));
  let box = node.querySelector(".thumbnail");
  if (!found) {
    box?.remove();
    return;
  }
  if (!box) {
    box = node.appendChild(document.createElement("div"));
    box.className = "thumbnail";
    box.append(Object.assign(document.createElement("canvas"), { width: 2 * THUMBNAIL, height: 2 * THUMBNAIL }), "");
  }
  const { layer, index } = found;
  const [{ size }, k] = [data, layer.first + index];
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

// Squares for the panels: as large as the row allows, evenly spread.
function frames({ node, data }) {
  const n = data.panels.length;
  const width = (node.clientWidth - GAP * (n - 1)) / n;
  const ticks = data.panels[0].ticks && data.panels[0].span.length === 2;
  const [left, bottom] = ticks ? [LEFT, BOTTOM] : [4, 4];
  const side = Math.max(20, Math.min(width - left, data.height - TOP - bottom));
  return data.panels.map((_, i) => ({ x: i * (width + GAP) + left, y: TOP, side, left: i * (width + GAP) }));
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
  const [width, height] = [node.clientWidth, data.height];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(node);
  const ink = style.getPropertyValue("--st-text-color") || style.color;
  pen.font = `13px ${style.fontFamily}`;
  if (chart.fresh) decode(data.panels);
  frames(chart).forEach((frame, i) => {
    const panel = data.panels[i];
    const draw = panel.span.length === 3 ? solidPanel : flatPanel;
    pen.fillStyle = ink;
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.fillText(panel.title, frame.x, TOP - 10);
    draw(pen, frame, panel, view, ink);
    if (data.ringed?.panel === i) ring(pen, frame, panel, view, ink, data.ringed);
  });
  legend(pen, width, data.panels[0].layers, ink);
  if (chart.fresh) {
    chart.fresh = false;
    node.dataset.updates = ++chart.updates;
    node.dataset.step = data.step;
  }
  node.dataset.view = JSON.stringify(view);
}

function decode(panels) {
  for (const layer of panels.flatMap((panel) => panel.layers)) {
    if (typeof layer.points !== "string") continue;
    const bytes = Uint8Array.from(atob(layer.points), (c) => c.charCodeAt(0));
    layer.points = new Float32Array(bytes.buffer);
  }
}

function legend(pen, width, layers, ink) {
  let x = width;
  pen.textAlign = "right";
  pen.textBaseline = "alphabetic";
  for (const { name, colour, line } of [...layers].reverse()) {
    pen.fillStyle = ink;
    pen.fillText(name, x, TOP - 10);
    x -= pen.measureText(name).width + 12;
    pen.fillStyle = colour;
    pen.beginPath();
    if (line) pen.rect(x - 8, TOP - 15.5, 16, 2);
    else pen.arc(x, TOP - 14.5, 4, 0, 7);
    pen.fill();
    x -= 22;
  }
}

// ---------------------------------------------------------------- two dimensions

// Where a flat panel puts data: its middle, what the side of its square shows, and the way to pixels.
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

function flatPanel(pen, frame, panel, view, ink) {
  const { x, y, side } = frame;
  const { unit, cx, cy, toX, toY } = place(frame, panel, view);
  if (panel.ticks) {
    pen.lineWidth = 1;
    pen.font = pen.font.replace("13px", "11px");
    for (const tick of nice(cx - unit / 2, cx + unit / 2)) {
      rule(pen, ink, [toX(tick), y], [toX(tick), y + side]);
      pen.textAlign = "center";
      pen.textBaseline = "top";
      pen.fillText(label(tick), toX(tick), y + side + 5);
    }
    for (const tick of nice(cy - unit / 2, cy + unit / 2)) {
      rule(pen, ink, [x, toY(tick)], [x + side, toY(tick)]);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillText(label(tick), x - 6, toY(tick));
    }
    pen.font = pen.font.replace("11px", "13px");
  } else {
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.15;
    pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    pen.globalAlpha = 1;
  }
  pen.save();
  pen.beginPath();
  pen.rect(x, y, side, side);
  pen.clip();
  for (const { points, colour, line } of panel.layers) {
    if (line) path(pen, colour, points, 2, (p, i) => [toX(p[i]), toY(p[i + 1])]);
    else {
      const dot = sprite(colour, 2.1, 0.7);
      for (let i = 0; i < points.length; i += 2) {
        const [a, b] = [toX(points[i]), toY(points[i + 1])];
        if (a > x - 4 && a < x + side + 4 && b > y - 4 && b < y + side + 4) pen.drawImage(dot, a - 3, b - 3, 6, 6);
      }
    }
  }
  pen.restore();
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

function nice(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function label(value) {
  return String(+value.toPrecision(6)).replace("-", "−");
}

// ---------------------------------------------------------------- three dimensions

function solidPanel(pen, { x, y, side }, panel, view, ink) {
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
  pen.save();
  pen.beginPath();
  pen.rect(x, y, side, side);
  pen.clip();
  box(pen, ink, centre, reach, project);
  const dots = [];
  for (const { points, colour, line } of panel.layers) {
    if (line) {
      path(pen, colour, points, 3, (p, i) => project(p[i], p[i + 1], p[i + 2]));
      continue;
    }
    const sizes = [2.3, 1.9, 1.5].map((radius, i) => sprite(colour, radius, [0.95, 0.75, 0.5][i]));
    for (let i = 0; i < points.length; i += 3) {
      const place = project(points[i], points[i + 1], points[i + 2]);
      if (place[2] === place[2]) dots.push([...place, sizes[place[2] < -0.33 ? 0 : place[2] < 0.33 ? 1 : 2]]);
    }
  }
  dots.sort((a, b) => b[2] - a[2]);
  for (const [a, b, , dot] of dots) pen.drawImage(dot, a - 3, b - 3, 6, 6);
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

function path(pen, colour, points, dim, place) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  let up = true;
  for (let i = 0; i < points.length; i += dim) {
    if (points[i] !== points[i]) {
      up = true;
      continue;
    }
    const [a, b] = place(points, i);
    if (up) pen.moveTo(a, b);
    else pen.lineTo(a, b);
    up = false;
  }
  pen.stroke();
}

const SPRITES = new Map();

// A dot drawn once, at twice its size for sharp screens; stamping it is many times faster than filling arcs.
function sprite(colour, radius, alpha) {
  const name = `${colour} ${radius} ${alpha}`;
  if (!SPRITES.has(name)) {
    const dot = document.createElement("canvas");
    dot.width = dot.height = 12;
    const pen = dot.getContext("2d");
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(6, 6, radius * 2, 0, 7);
    pen.fill();
    SPRITES.set(name, dot);
  }
  return SPRITES.get(name);
}
