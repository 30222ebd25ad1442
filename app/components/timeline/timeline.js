// The timeline: progress of the training, marks at events, and a handle. The handle follows the newest step until it is
// moved; "Live" lets it follow again. Only this file moves it, so that no update from the server can.
//
// Play moves it from snapshot to snapshot, RATE of them a second at speed 1. The next step is asked for once the page has
// drawn the last one (the server sends the step back as `shown`), and is the one that the clock is at by then: a busy page
// shows fewer steps, none late.
const LINES = new Map(); // name → its timeline, which outlives its DOM node
const REPORT_MS = 80;
const RATE = 5; // snapshots a second
const PATIENCE_MS = 2000; // for an answer that is lost
const SPEEDS = [0.5, 1, 2, 4];

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".timeline");
  const line = LINES.get(data.name) ?? { step: null, held: false, timer: null, playing: null, loop: false, speed: 1 };
  LINES.set(data.name, line);
  line.data = data;
  line.report = (step) => setStateValue("step", step);
  line.tell = (playing) => setStateValue("playing", playing);
  if (line.root !== root) {
    open(line, root);
    if (line.step !== (data.shown ?? null)) line.report(line.step); // the page was left, and does not know it
  }
  if (data.sought && data.sought[0] !== line.sought) {
    hold(line);
    [line.sought, line.step] = data.sought;
    line.report(line.step);
  }
  draw(line);
}

function open(line, root) {
  line.root = root;
  line.marks = "";
  root.innerHTML = `<button type="button" class="play"></button>
    <div class="track" role="slider" tabindex="0" aria-label="Step shown" aria-valuemin="0">
    <div class="rail"></div><div class="done"></div><div class="handle"></div><div class="value"></div></div>
    <label>step <input class="step" type="text" inputmode="numeric" aria-label="Go to step" title="Type a step"></label>
    <select aria-label="Speed" title="Speed of playing">${SPEEDS.map((s) => `<option value="${s}">${s}×</option>`)}</select>
    <button type="button" class="loop" title="Begin again at the newest step" aria-label="Loop">⟲</button>
    <button type="button" class="live" title="Follow the newest step; drag the handle, or use the arrow keys, to look back">
    Live</button>`;
  const [track, input] = [root.querySelector(".track"), root.querySelector(".step")];
  const at = (event) => {
    const box = track.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * line.data.steps;
  };
  const seek = (step) => {
    hold(line);
    look(line, step);
  };
  track.onpointerdown = (event) => {
    line.held = true;
    track.setPointerCapture(event.pointerId);
    seek(at(event));
  };
  track.onpointermove = (event) => line.held && look(line, at(event));
  track.onpointerup = track.onpointercancel = () => (line.held = false);
  track.onkeydown = (event) => {
    if (event.key === " ") {
      event.preventDefault();
      return line.playing ? hold(line) : play(line);
    }
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const to = { Home: 0, End: line.data.done }[event.key];
    if (by === undefined && to === undefined) return;
    event.preventDefault();
    seek(to ?? shown(line) + by * line.data.every);
  };
  root.querySelector(".play").onclick = () => (line.playing ? hold(line) : play(line));
  root.querySelector(".loop").onclick = () => {
    line.loop = !line.loop;
    draw(line);
  };
  root.querySelector("select").value = line.speed;
  root.querySelector("select").onchange = (event) => {
    line.speed = Number(event.target.value);
    if (line.playing) play(line); // from here at the new speed
  };
  input.onchange = () => {
    const typed = Number(input.value.replace(/[\s,]/g, ""));
    if (input.value.trim() && Number.isFinite(typed)) seek(typed);
    input.blur();
    draw(line); // the step that is shown in place of what is none
  };
  root.querySelector(".live").onclick = () => follow(line);
}

function shown({ step, data }) {
  return Math.min(step ?? data.done, data.done);
}

function follow(line) {
  hold(line);
  line.step = null;
  draw(line);
  line.report(null);
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

// ---------------------------------------------------------------- playing

function play(line) {
  if (!line.playing) line.tell(true);
  clearTimeout(line.playing?.timer);
  const from = shown(line) >= line.data.done ? 0 : shown(line);
  line.playing = { from, since: performance.now(), timer: null };
  show(line, from);
}

function hold(line) {
  if (line.playing) line.tell(false);
  clearTimeout(line.playing?.timer);
  line.playing = null;
  draw(line);
}

// The step that the clock is at, unless the page is still drawing the one before.
function tick(line) {
  const { playing, data, step } = line;
  const now = performance.now();
  if (data.shown !== step && now - playing.asked < PATIENCE_MS) return wait(line);
  if (step >= data.done) return line.loop ? again(line) : data.done < data.steps ? follow(line) : hold(line);
  const passed = Math.floor(((now - playing.since) / 1000) * RATE * line.speed);
  const next = Math.min(data.done, (Math.floor(playing.from / data.every) + passed) * data.every);
  if (next > step) show(line, next);
  else wait(line);
}

function again(line) {
  line.step = 0;
  play(line);
}

function show(line, step) {
  line.step = step;
  line.playing.asked = performance.now();
  draw(line);
  line.report(step);
  wait(line);
}

function wait(line) {
  const { playing, root } = line;
  playing.gone = root.isConnected ? null : (playing.gone ?? performance.now()); // a redrawn page puts another in its place
  const left = playing.gone !== null && performance.now() - playing.gone > PATIENCE_MS;
  const next = left ? hold : root.isConnected ? tick : wait;
  playing.timer = setTimeout(() => line.playing && next(line), 20);
}

// ---------------------------------------------------------------- drawing

function draw(line) {
  const { root, data, step } = line;
  const part = (n) => `${(100 * n) / data.steps}%`;
  const names = [".track", ".done", ".handle", ".value", ".live", ".play", ".loop", ".step"];
  const [track, done, handle, value, live, button, loop, input] = names.map((name) => root.querySelector(name));
  const words = data.times ? data.times[shown(line)] : shown(line).toLocaleString("en");
  done.style.width = part(data.done);
  handle.style.left = value.style.left = part(shown(line));
  value.textContent = words;
  if (document.activeElement !== input) input.value = words;
  track.setAttribute("aria-valuemax", data.steps);
  track.setAttribute("aria-valuenow", shown(line));
  track.setAttribute("aria-label", data.times ? "Sampling time shown" : "Step shown");
  track.setAttribute("aria-valuetext", data.times ? words : `step ${words} of ${data.steps.toLocaleString("en")}`);
  for (const of of [live, input.parentElement]) of.hidden = Boolean(data.times);
  live.setAttribute("aria-pressed", step === null);
  loop.setAttribute("aria-pressed", line.loop);
  button.textContent = line.playing ? "❚❚" : "▶";
  button.title = line.playing ? "Hold  (Space on the timeline)" : `Play the ${data.times ? "sampling" : "training"}  (Space on the timeline)`;
  button.setAttribute("aria-label", line.playing ? "Hold" : "Play");
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
