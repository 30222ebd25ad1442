"use strict";
// The page of a supplement: `content` of supplement.py is its data. Text from the data becomes text nodes, never markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const { steps, columns } = DATA;
const trained = columns.filter(({ still }) => !still);
const START = { x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.3 };
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const SECONDS = 9; // of the whole timeline at speed 1
const LEVELS = 65534; // of a coordinate; the one above is no number
const state = { place: steps.length - 1, playing: false, speed: 1, since: 0, waiting: false };
const views = { data: { ...START }, umap: { ...START } }; // shared by all columns
const drawings = []; // [canvas, draw(pen, width, height)]

function make(tag, given = {}, ...children) {
  const { data, on, ...properties } = given;
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, act] of Object.entries(on ?? {})) element.addEventListener(name, act);
  element.append(...children);
  return element;
}

const written = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential() : String(value));
const round = (value, digits = 3) => (value === null || value === undefined ? "–" : written(+value.toPrecision(digits)).replaceAll("-", "−"));
const whole = (value) => value.toLocaleString("en");

// ---------------------------------------------------------------- the timeline

const slider = make("input", { type: "range", min: 0, max: steps.length - 1, value: state.place, id: "place", on: { input: () => go(+slider.value, true) } });
slider.setAttribute("aria-label", "Training step");
const stepped = make("output", { id: "step" });
const player = make("button", { type: "button", id: "play", on: { click: play } });
const speeds = make("select", { id: "speed", on: { change: () => (state.speed = +speeds.value) } }, ...SPEEDS.map((each) => make("option", { value: each, selected: each === 1 }, `${each} ×`)));
speeds.setAttribute("aria-label", "Speed");

function go(place, stop = false) {
  state.place = Math.max(0, Math.min(steps.length - 1, place));
  if (stop) state.playing = false;
  show();
}

function play() {
  state.playing = !state.playing;
  if (state.playing && state.place === steps.length - 1) state.place = 0;
  state.since = performance.now();
  state.from = state.place;
  show();
  if (state.playing) requestAnimationFrame(tick);
}

function tick(now) {
  if (!state.playing) return;
  const pause = 1000 / state.speed / (steps.length / SECONDS);
  const passed = Math.floor((now - state.since) / pause);
  if (passed > 0) {
    state.since += passed * pause;
    if (state.place + passed >= steps.length - 1) state.playing = false;
    go(state.place + passed);
  }
  requestAnimationFrame(tick);
}

// ---------------------------------------------------------------- the page

function page() {
  document.body.append(
    make("header", {},
      make("div", {}, make("h1", {}, DATA.title), make("p", {}, DATA.subject)),
      make("div", { className: "tools" },
        make("button", { type: "button", id: "theme", title: "Light or dark", on: { click: theme } }, "Light / dark"),
        make("button", { type: "button", title: "Keys", on: { click: () => keys.showModal() } }, "Keys (?)"))),
    make("nav", {}, player, slider, stepped, speeds),
    make("main", {},
      section("data", columns.some(({ pictures }) => pictures) ? "Samples" : "Data space", DATA.reading.data, legend(), row(columns, dataPanel)),
      columns.some(({ umap }) => umap) ? section("embeddings", "Embeddings, UMAP", DATA.reading.embeddings, row(trained, umapPanel)) : "",
      columns.some(({ density }) => density) ? section("density", "Density along the manifold", DATA.reading.density, row(trained, densityPanel)) : "",
      section("gaps", "Gaps over training", DATA.reading.gaps, seriesLegend(), row(DATA.curves.filter(({ gap }) => gap), curvePanel)),
      columns.some(({ spectrum }) => spectrum.some((part) => part.some((v) => v !== null)))
        ? section("spectrum", "Spectrum of the distance matrix", DATA.reading.spectrum, row(trained, spectrumPanel)) : "",
      scoreSection(),
      settingsSection()),
    make("footer", {}, ...DATA.notes.map((note) => make("p", {}, note))),
    keys);
}

function section(name, title, reading, ...parts) {
  return make("section", { id: name }, make("h2", {}, title), make("p", { className: "reading" }, reading), ...parts);
}

function row(items, panel) {
  return make("div", { className: "row" }, ...items.map(panel));
}

function legend() {
  if (columns.every(({ pictures }) => pictures)) return "";
  const dot = (colour, word) => make("span", {}, coloured("i", colour), word);
  return make("p", { className: "legend" }, dot(DATA.colours.real, "real"), dot(DATA.colours.fake, "generated"), make("small", {}, "drag to turn or move, Ctrl and wheel or pinch to zoom, double click to reset"));
}

function seriesLegend() {
  const lines = DATA.curves[0]?.lines ?? [];
  return make("p", { className: "legend" }, ...lines.map(({ title, colour }) => make("span", {}, coloured("b", colour), title)));
}

function coloured(tag, colour) {
  const mark = make(tag);
  mark.style.background = colour;
  return mark;
}

function panel(title, colour, words, alt, shape, draw, more) {
  const canvas = make("canvas", { tabIndex: more ? 0 : -1 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", alt);
  canvas.style.aspectRatio = shape;
  drawings.push([canvas, draw]);
  if (more) listen(canvas, more);
  const figure = make("figure", {}, make("figcaption", {}, make("strong", {}, title), words), canvas);
  if (colour) figure.style.borderTopColor = colour;
  return figure;
}

function named(column) {
  return column.seeds > 1 ? `${column.title}, seed ${column.seed}` : column.title;
}

function dataPanel(column) {
  const words = make("span", { className: "score" });
  const alt = `${named(column)}: ${column.still ? "pictures to compare with" : column.pictures ? "generated pictures" : "generated points beside real ones"}`;
  if (!column.still) updates.push(() => (words.textContent = column.scores[column.at[state.place]] || "no score yet"));
  if (column.pictures) {
    column.images = column.pictures.map((source) => make("img", { src: source, on: { load: show } }));
    return panel(named(column), column.colour, words, alt, "1", (pen, w) => picture(pen, column, w));
  }
  column.real = unpacked(column.real, column.box, column.dim);
  const all = unpacked(column.fake, column.box, column.dim);
  const size = all.length / column.shots.length;
  column.fakes = column.shots.map((_, i) => all.subarray(i * size, (i + 1) * size));
  const cloud = () => [column.real, column.fakes[column.at[state.place]]];
  const draw = column.dim === 3 ? solid : flat;
  return panel(named(column), column.colour, words, alt, "1", (pen, w, h) => draw(pen, w, h, column.span, cloud(), views.data), { view: views.data, solid: column.dim === 3 });
}

function umapPanel(column) {
  const words = make("span", { className: "score" });
  if (!column.umap) return panel(named(column), column.colour, "none of this run", `${column.title}: no UMAP`, "1", () => {});
  const { shots, span, points } = column.umap;
  const all = unpacked(points, span, 2);
  const size = all.length / shots.length / 2;
  const shown = () => Math.max(0, shots.findLastIndex((step) => step <= steps[state.place]));
  updates.push(() => (words.textContent = `of step ${whole(shots[shown()])}`));
  const cloud = () => [0, 1].map((half) => all.subarray((2 * shown() + half) * size, (2 * shown() + half + 1) * size));
  return panel(named(column), column.colour, words, `${named(column)}: UMAP of real and generated embeddings`, "1", (pen, w, h) => flat(pen, w, h, span, cloud(), views.umap, true), { view: views.umap, solid: false });
}

function densityPanel(column) {
  const words = make("span", { className: "score" });
  if (!column.density) return panel(named(column), column.colour, "not known", `${column.title}: no density`, "1.5", () => {});
  const { axes: names, shots, missed, far } = column.density;
  const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);
  const shown = () => Math.max(0, shots.findLastIndex((step) => step <= steps[state.place]));
  updates.push(() => (words.textContent = `missed ${percent(missed[shown()])}, off-manifold ${percent(far[shown()])} at step ${whole(shots[shown()])}`));
  const draw = names.length === 2 ? densityMap : densitySteps;
  return panel(named(column), column.colour, words, `${named(column)}: density of generated points along the manifold, over the data's`, "1.5", (pen, w, h) => draw(pen, w, h, column, shown()));
}

function curvePanel(curve) {
  return panel(curve.label, "", "", `${curve.label} over training, one curve for each of ${curve.lines.map(({ title }) => title).join(", ")}`, "1.5", (pen, w, h) => chart(pen, w, h, curve));
}

function spectrumPanel(column) {
  return panel(named(column), column.colour, "", `${named(column)}: leading eigenvalues at this step, and before training as dots`, "1.5", (pen, w, h) => bars(pen, w, h, column));
}

function scoreSection() {
  const { tables, series, labels, alike } = DATA.scores;
  const body = make("tbody");
  const when = make("p", { className: "reading" });
  updates.push(() => {
    const table = tables.findLast(({ step }) => step <= steps[state.place]);
    when.textContent = table ? `At step ${whole(table.step)}${table.n ? `, from samples of ${table.n}` : ""}. Baseline: ${DATA.baseline}` : "No score yet at this step.";
    body.replaceChildren(...Object.entries(table?.rows ?? {}).map(([key, [floor, values]]) => scoreRow(labels[key], floor, values, alike || key.endsWith("_ratio"))));
  });
  const drawn = DATA.curves.filter(({ gap }) => !gap);
  const head = ["score", "baseline", ...series].map((word) => make("th", { scope: "col" }, word));
  if (!tables.length) return section("scores", "Scores", "No score was measured yet.");
  return section("scores", "Scores beside their baselines", DATA.reading.scores, when,
    make("div", { className: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), body)),
    drawn.length ? row(drawn, curvePanel) : "");
}

function scoreRow([label, direction], floor, values, compared) {
  const middles = values.map((value) => value[0] ?? null);
  const far = (value) => (direction === "higher" ? -value : direction === "lower" ? value : Math.abs(value - (floor ?? 0)));
  const best = Math.min(...middles.filter((value) => value !== null).map(far));
  const cells = values.map(([middle, low, high]) => {
    const several = low !== undefined && low !== high;
    const cell = make("td", {}, round(middle), several ? make("small", {}, ` ${round(low, 2)} to ${round(high, 2)}`) : "");
    if (compared && values.length > 1 && middle !== undefined && middle !== null && far(middle) === best) cell.className = "best";
    return cell;
  });
  const arrow = { lower: " ↓", higher: " ↑" }[direction] ?? " ≈";
  return make("tr", {}, make("th", { scope: "row" }, label + arrow), make("td", {}, round(floor)), ...cells);
}

function settingsSection() {
  const { runs, differ, all } = DATA.settings;
  const table = (rows) => make("div", { className: "wide" }, make("table", {},
    make("thead", {}, make("tr", {}, ...["setting", ...runs].map((word) => make("th", { scope: "col" }, word)))),
    make("tbody", {}, ...rows.map(([name, ...words]) => make("tr", {}, make("th", { scope: "row" }, name), ...words.map((word) => make("td", {}, word)))))));
  const parts = differ.length ? [make("p", { className: "reading" }, "Settings that differ between these runs:"), table(differ)] : [];
  return make("section", { id: "settings" }, make("h2", {}, "Settings"), ...parts, make("details", {}, make("summary", {}, "All settings"), table(all)));
}

const keys = make("dialog", { on: { click: () => keys.close() } },
  make("h2", {}, "Keys"),
  make("table", {}, make("tbody", {}, ...[
    ["Space", "play or pause"], ["← →", "one snapshot back or on"], ["Home, End", "first or last snapshot"],
    ["+ −", "faster or slower"], ["0", "reset all views"], ["D", "light or dark"], ["arrows on a cloud", "turn or move it"],
  ].map(([key, words]) => make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, words))))),
  make("form", { method: "dialog" }, make("button", {}, "Close")));

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  show();
}

// ---------------------------------------------------------------- drawing

const updates = []; // set words at each place
let ink = "#000";

function show() {
  if (state.waiting) return;
  state.waiting = true;
  requestAnimationFrame(() => {
    state.waiting = false;
    slider.value = state.place;
    slider.setAttribute("aria-valuetext", `step ${whole(steps[state.place])}`);
    stepped.textContent = `step ${whole(steps[state.place])}`;
    player.textContent = state.playing ? "❚❚" : "▶";
    player.setAttribute("aria-label", state.playing ? "Pause" : "Play");
    updates.forEach((act) => act());
    ink = getComputedStyle(document.body).color;
    for (const [canvas, draw] of drawings) {
      const { top, bottom, width } = canvas.getBoundingClientRect();
      if (bottom < 0 || top > innerHeight || !width) continue;
      const ratio = window.devicePixelRatio || 1;
      const [w, h] = [canvas.clientWidth, canvas.clientHeight];
      if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
        [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
      }
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, w, h);
      pen.font = "11px system-ui, sans-serif";
      draw(pen, w, h);
    }
    document.body.dataset.place = state.place;
  });
}

function unpacked(text, box, dim) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const levels = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const level = levels.getUint16(2 * i, true);
    const [low, high] = box[i % dim];
    return level > LEVELS ? NaN : low + (level / LEVELS) * (high - low);
  });
}

const SPRITES = new Map();

// A dot as an image; copying one is many times faster than filling arcs.
function dot(colour, radius, alpha) {
  const name = `${colour} ${radius} ${alpha}`;
  if (!SPRITES.has(name)) {
    const image = make("canvas", { width: 24, height: 24 });
    const pen = image.getContext("2d");
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(12, 12, 2.5 * radius, 0, 7);
    pen.fill();
    SPRITES.set(name, image);
  }
  return SPRITES.get(name);
}

const stamp = (pen, image, x, y) => pen.drawImage(image, x - 4.8, y - 4.8, 9.6, 9.6);

function flat(pen, w, h, span, [real, fake], view, bare = false) {
  const [[x0, x1], [y0, y1]] = span;
  const unit = Math.max(x1 - x0, y1 - y0) / view.zoom;
  const [cx, cy] = [(x0 + x1) / 2 - (view.x / w) * unit, (y0 + y1) / 2 + (view.y / h) * unit];
  const toX = (value) => ((value - cx) / unit + 0.5) * w;
  const toY = (value) => (0.5 - (value - cy) / unit) * h;
  if (!bare) {
    pen.strokeStyle = pen.fillStyle = ink;
    pen.lineWidth = 1;
    for (const [low, high, place, across] of [[cx - unit / 2, cx + unit / 2, toX, true], [cy - unit / 2, cy + unit / 2, toY, false]]) {
      for (const value of ticks(low, high, 4)) {
        const at = place(value);
        pen.globalAlpha = 0.1;
        line(pen, across ? [at, 0, at, h] : [0, at, w, at]);
        pen.globalAlpha = 0.65;
        pen.textAlign = across ? "center" : "left";
        if (across ? at > 24 && at < w - 16 : at > 12 && at < h - 18) pen.fillText(round(value), across ? at : 3, across ? h - 4 : at - 3);
      }
    }
    pen.globalAlpha = 1;
  }
  for (const [points, image] of [[real, dot(DATA.colours.real, 2.6, 0.75)], [fake, dot(DATA.colours.fake, 1.3, 0.9)]]) {
    for (let i = 0; i < points.length; i += 2) {
      const [a, b] = [toX(points[i]), toY(points[i + 1])];
      if (a > -5 && a < w + 5 && b > -5 && b < h + 5) stamp(pen, image, a, b);
    }
  }
}

const NEARNESS = [[1.35, 0.95], [1.1, 0.75], [0.9, 0.5]]; // size and opacity of near, middle and far dots

function solid(pen, w, h, span, [real, fake], view) {
  const centre = span.map(([low, high]) => (low + high) / 2);
  const reach = Math.max(...span.map(([low, high]) => high - low)) / 2.5;
  const [sy, cy, sp, cp] = [Math.sin(view.yaw), Math.cos(view.yaw), Math.sin(view.pitch), Math.cos(view.pitch)];
  const scale = (w / 2 / 1.7) * view.zoom;
  const project = (a, b, c) => {
    const [u, v, z] = [(a - centre[0]) / reach, (b - centre[1]) / reach, (c - centre[2]) / reach];
    const away = cy * v - sy * u;
    const depth = cp * away - sp * z;
    const near = scale / (1 + 0.18 * depth);
    return [w / 2 + (cy * u + sy * v) * near, h / 2 - (sp * away + cp * z) * near, depth];
  };
  const corner = (k) => project(...centre.map((c, axis) => c + reach * (k & (1 << axis) ? 1 : -1)));
  pen.strokeStyle = ink;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.2;
  for (let k = 0; k < 8; k++) {
    for (const bit of [1, 2, 4]) if (!(k & bit)) line(pen, [...corner(k).slice(0, 2), ...corner(k | bit).slice(0, 2)]);
  }
  pen.globalAlpha = 1;
  const dots = [];
  for (const [points, colour, larger] of [[real, DATA.colours.real, 2.2], [fake, DATA.colours.fake, 1.2]]) {
    for (let i = 0; i < points.length; i += 3) {
      const [a, b, depth] = project(points[i], points[i + 1], points[i + 2]);
      const [radius, alpha] = NEARNESS[depth < -0.33 ? 0 : depth < 0.33 ? 1 : 2];
      if (depth === depth) dots.push([a, b, depth, dot(colour, radius * larger, alpha)]);
    }
  }
  dots.sort((one, other) => other[2] - one[2]);
  for (const [a, b, , image] of dots) stamp(pen, image, a, b);
}

function picture(pen, column, width) {
  const image = column.images[column.at[state.place]];
  if (!image.complete || !image.naturalWidth) return;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, width, width);
}

function line(pen, [x0, y0, x1, y1]) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

// Round numbers between two.
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((each) => each >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, i) => (first + i) * step);
}

// Decades of a logarithmic axis; on a short one 1, 2 and 5 of each.
function decades(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const k of high - low < 2 ? [1, 2, 5] : [1]) {
      const value = Math.log10(k) + power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found.length > 1 ? found : ticks(low, high, 3);
}

const FRAME = { left: 44, right: 8, top: 8, bottom: 22 };

// Axes of a chart: draws them, and returns functions from data to pixels; `log` takes values, not powers; `exact` gives the ends.
function axes(pen, w, h, [x0, x1], values, log, exact) {
  const known = values.filter((value) => value !== null && Number.isFinite(value) && (!log || value > 0)).map((value) => (log ? Math.log10(value) : value));
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const pad = 0.06 * (high - low) || 0.5;
  [low, high] = exact ?? [log || low < 0 || low > Math.max(1, 0.8 * high) ? low - pad : Math.min(0, low), high + pad];
  const toX = (value) => FRAME.left + ((value - x0) / (x1 - x0 || 1)) * (w - FRAME.left - FRAME.right);
  const toY = (value) => h - FRAME.bottom - (((log ? Math.log10(value) : value) - low) / (high - low)) * (h - FRAME.top - FRAME.bottom);
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 1;
  for (const place of log ? decades(low, high) : ticks(low, high, 4)) {
    const value = log ? 10 ** place : place;
    pen.globalAlpha = 0.12;
    line(pen, [FRAME.left, toY(value), w - FRAME.right, toY(value)]);
    pen.globalAlpha = 0.75;
    pen.textAlign = "right";
    pen.fillText(round(value), FRAME.left - 5, toY(value) + 4);
  }
  pen.globalAlpha = 1;
  return { toX, toY };
}

function chart(pen, w, h, { lines, log, baseline }) {
  const range = [Math.min(...lines.map(({ x }) => x[0]), steps[0]), Math.max(...lines.map(({ x }) => x.at(-1)), steps.at(-1))];
  const values = lines.flatMap(({ low, high, middle }) => [...low, ...high, ...middle]);
  const { toX, toY } = axes(pen, w, h, range, [...values, baseline], log);
  pen.globalAlpha = 0.75;
  pen.textAlign = "center";
  for (const step of ticks(...range, 4)) pen.fillText(whole(step), Math.min(toX(step), w - 16), h - 6);
  const good = (value) => value !== null && (!log || value > 0);
  for (const { x, low, middle, high, colour, members } of lines) {
    pen.fillStyle = pen.strokeStyle = colour;
    if (members > 1) {
      pen.globalAlpha = 0.18;
      pen.beginPath();
      x.forEach((step, i) => good(high[i]) && pen.lineTo(toX(step), toY(high[i])));
      for (let i = x.length - 1; i >= 0; i--) if (good(low[i])) pen.lineTo(toX(x[i]), toY(low[i]));
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1.8;
    pen.beginPath();
    x.forEach((step, i) => good(middle[i]) && pen.lineTo(toX(step), toY(middle[i])));
    pen.stroke();
  }
  if (baseline !== null && good(baseline)) {
    pen.strokeStyle = DATA.colours.quiet;
    pen.setLineDash([5, 4]);
    line(pen, [FRAME.left, toY(baseline), w - FRAME.right, toY(baseline)]);
    pen.setLineDash([]);
  }
  pen.strokeStyle = ink;
  pen.lineWidth = 1.5;
  line(pen, [toX(steps[state.place]), FRAME.top, toX(steps[state.place]), h - FRAME.bottom]);
}

const APART = 0.06; // between components, as a share of the whole length

// Density over the data's, as steps beside the band of real samples; components one after another.
function densitySteps(pen, w, h, { density, colour }, shot) {
  const lengths = density.charts.map(({ edges: [edges] }) => edges.at(-1) - edges[0]);
  const gap = APART * lengths.reduce((sum, each) => sum + each, 0);
  const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, each) => sum + each + gap, density.charts[0].edges[0][0]));
  const range = [starts[0], starts.at(-1) + lengths.at(-1)];
  const top = Math.min(2 ** DATA.colours.reach, 1.05 * Math.max(...density.charts.flatMap(({ high }) => high), ...density.ratios.flat(2)));
  const { toX, toY } = axes(pen, w, h, range, [0, top / 1.06], false);
  density.charts.forEach(({ title, edges: [edges], low, high }, c) => {
    const places = edges.map((edge) => toX(edge - edges[0] + starts[c]));
    const at = (value) => toY(Math.min(value, top));
    pen.fillStyle = DATA.colours.real;
    pen.globalAlpha = 0.18;
    low.forEach((value, i) => pen.fillRect(places[i], at(high[i]), places[i + 1] - places[i], at(value) - at(high[i])));
    pen.globalAlpha = 1;
    pen.strokeStyle = colour;
    pen.lineWidth = 1.8;
    pen.beginPath();
    density.ratios[shot][c].forEach((value, i) => [places[i], places[i + 1]].forEach((x) => value !== null && pen.lineTo(x, at(value))));
    pen.stroke();
    pen.fillStyle = ink;
    pen.textAlign = "center";
    if (title) pen.fillText(title, (places[0] + places.at(-1)) / 2, FRAME.top + 10);
  });
  pen.strokeStyle = DATA.colours.quiet;
  pen.lineWidth = 1;
  pen.setLineDash([5, 4]);
  line(pen, [FRAME.left, toY(1), w - FRAME.right, toY(1)]);
  pen.setLineDash([]);
  pen.fillText(density.axes[0], (FRAME.left + w - FRAME.right) / 2, h - 6);
}

// Colours of log₂ of the density over the data's, with a cross in each cell below the band.
function densityMap(pen, w, h, { density }, shot) {
  const [{ edges: [across, up], low }] = density.charts;
  const { toX, toY } = axes(pen, w, h, [across[0], across.at(-1)], [], false, [up[0], up.at(-1)]);
  pen.strokeStyle = "#ffffff";
  pen.lineWidth = 1.2;
  density.ratios[shot][0].forEach((value, cell) => {
    const [i, j] = [Math.floor(cell / (up.length - 1)), cell % (up.length - 1)];
    const [left, right, bottom, top] = [toX(across[i]), toX(across[i + 1]), toY(up[j]), toY(up[j + 1])];
    if (value === null) return;
    pen.fillStyle = shade(Math.log2(value) / DATA.colours.reach);
    pen.fillRect(left, top, right - left + 0.5, bottom - top + 0.5);
    if (value >= low[cell]) return;
    const [x, y] = [(left + right) / 2, (bottom + top) / 2];
    line(pen, [x - 2.5, y - 2.5, x + 2.5, y + 2.5]);
    line(pen, [x - 2.5, y + 2.5, x + 2.5, y - 2.5]);
  });
  pen.fillStyle = ink;
  pen.textAlign = "center";
  pen.fillText(`${density.axes[0]} (across), ${density.axes[1]} (up); blue: fewer than the data, orange: more`, w / 2, h - 6);
}

// The colour of a number from −1 to 1; those beyond have that of the end.
function shade(value) {
  const stops = DATA.colours.diverging;
  const place = ((Math.max(-1, Math.min(1, value)) + 1) / 2) * (stops.length - 1);
  const [at, share] = [Math.min(Math.floor(place), stops.length - 2), place - Math.min(Math.floor(place), stops.length - 2)];
  const parts = [1, 3, 5].map((k) => [stops[at], stops[at + 1]].map((stop) => parseInt(stop.slice(k, k + 2), 16)));
  return `rgb(${parts.map(([one, other]) => Math.round(one + share * (other - one)))})`;
}

function bars(pen, w, h, { spectrum, at, colour }) {
  const now = spectrum[at[state.place]];
  const { toX, toY } = axes(pen, w, h, [0.5, now.length + 0.5], spectrum.flat(), false);
  const wide = 0.7 * (toX(2) - toX(1));
  pen.textAlign = "center";
  now.forEach((value, i) => {
    pen.fillStyle = colour;
    if (value !== null) pen.fillRect(toX(i + 1) - wide / 2, toY(value), wide, toY(0) - toY(value));
    pen.fillStyle = ink;
    pen.fillText(i + 1, toX(i + 1), h - 6);
    if (spectrum[0][i] === null) return;
    pen.beginPath();
    pen.arc(toX(i + 1), toY(spectrum[0][i]), 2.4, 0, 7);
    pen.fill();
  });
}

// ---------------------------------------------------------------- hands and keys

function listen(canvas, { view, solid: turns }) {
  const held = new Map();
  const spread = () => {
    const [one, other] = [...held.values()];
    return Math.hypot(one[0] - other[0], one[1] - other[1]);
  };
  const zoom = (factor) => (view.zoom = Math.max(0.2, Math.min(50, view.zoom * factor)));
  const move = (dx, dy) => {
    if (turns) {
      view.yaw += dx * 0.01;
      view.pitch = Math.max(-1.55, Math.min(1.55, view.pitch + dy * 0.01));
    } else {
      view.x += dx / view.zoom;
      view.y += dy / view.zoom;
    }
    show();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return;
    const [x, y] = held.get(event.pointerId);
    const before = held.size === 2 ? spread() : 0;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (before) zoom(spread() / before);
    move(before ? 0 : event.clientX - x, before ? 0 : event.clientY - y);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => held.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.002));
    show();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => reset(view));
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    move(...by);
  });
}

function reset(view) {
  Object.assign(view, START);
  show();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  if (event.target.matches("select, summary") || (event.target.matches("button") && event.key === " ")) return;
  const acts = {
    " ": play,
    ArrowLeft: () => go(state.place - 1, true),
    ArrowRight: () => go(state.place + 1, true),
    Home: () => go(0, true),
    End: () => go(steps.length - 1, true),
    "+": () => faster(1),
    "-": () => faster(-1),
    0: () => Object.values(views).forEach(reset),
    d: theme,
    "?": () => keys.showModal(),
  };
  const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function faster(by) {
  const at = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(state.speed) + by));
  speeds.value = state.speed = SPEEDS[at];
}

page();
addEventListener("resize", show);
addEventListener("scroll", show, { passive: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
document.addEventListener("toggle", show, true);
show();
