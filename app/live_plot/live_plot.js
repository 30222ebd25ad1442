// A Plotly figure redrawn in place: Streamlit calls the default export below with every new figure, and the
// same DOM node is handed to Plotly.react, so zoom, 3-D camera and hover survive. The module is loaded once
// per page: all its charts share one queue, which draws the newest figure of each and drops the rest.

const CHARTS = new WeakMap(); // DOM node → its chart
const FRAME_BUDGET_MS = 8; // then the remaining charts wait for the next frame, so the page stays responsive
const RETRY_MS = 3000;

export default function ({ data, parentElement, setTriggerValue }) {
  const node = parentElement.querySelector(".live-plot");
  const chart = CHARTS.get(node) ?? open(node);
  chart.message = data;
  chart.send = setTriggerValue;
  node.dataset.livePlot = data.key;
  node.style.height = `${data.height}px`;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", data.alt);
  schedule(chart);
  // Streamlit may also call this for an update that was overtaken by the next one: close only what is gone.
  return () => setTimeout(() => node.isConnected || close(chart));
}

// ---------------------------------------------------------------- the life of a chart

function open(node) {
  const chart = { node, message: null, send: null, drawing: false, held: false, near: true, width: 0, updates: 0 };
  CHARTS.set(node, chart);
  const release = () => {
    if (!chart.held) return;
    chart.held = false;
    schedule(chart);
  };
  const controller = new AbortController();
  // A 2-D drag (zoom box, pan) would be cut short by a redraw: wait for its end. A 3-D drag happens on a canvas.
  const hold = (event) => (chart.held = event.button === 0 && !(event.target instanceof HTMLCanvasElement));
  node.addEventListener("pointerdown", hold, { capture: true, signal: controller.signal });
  for (const end of ["pointerup", "pointercancel", "blur"]) {
    window.addEventListener(end, release, { capture: true, signal: controller.signal });
  }
  const resized = new ResizeObserver(([{ contentRect }]) => {
    chart.width = Math.round(contentRect.width); // 0 in a closed tab
    schedule(chart);
  });
  const seen = new IntersectionObserver(
    (entries) => {
      chart.near = entries.at(-1).isIntersecting;
      if (chart.near && chart.drawn !== chart.message) schedule(chart);
    },
    { scrollMargin: "50%" },
  );
  resized.observe(node);
  seen.observe(node);
  chart.stop = () => {
    controller.abort();
    resized.disconnect();
    seen.disconnect();
  };
  return chart;
}

function close(chart) {
  waiting.delete(chart);
  CHARTS.delete(chart.node);
  chart.stop();
  const canvases = [...chart.node.querySelectorAll("canvas")];
  if (chart.updates) window.Plotly.purge(chart.node);
  // A browser allows 8 to 16 WebGL contexts and frees them late: give them back now.
  for (const canvas of canvases) {
    const gl = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

// ---------------------------------------------------------------- when to draw

const waiting = new Set();
let frame = 0;

function schedule(chart) {
  waiting.add(chart);
  frame ||= requestAnimationFrame(drawWaiting); // never fires in a hidden page: the newest is drawn at return
}

function drawWaiting() {
  frame = 0;
  const start = performance.now();
  for (const chart of waiting) {
    waiting.delete(chart);
    draw(chart);
    if (performance.now() - start > FRAME_BUDGET_MS) break;
  }
  if (waiting.size) frame = requestAnimationFrame(drawWaiting);
}

async function draw(chart) {
  const { node, message, width } = chart;
  const outOfSight = chart.updates > 0 && !chart.near;
  if (chart.drawing || chart.held || outOfSight || width === 0) return;
  chart.drawing = true;
  try {
    const Plotly = window.Plotly ?? (await library(message.plotly_url)); // no pause: the budget counts this draw
    const { data, layout } = message.figure;
    if (chart.updates === 0) {
      Plotly.purge(node); // what a failed first drawing left
      node.replaceChildren();
    }
    await Plotly.react(node, data, completed(chart, layout), (chart.config ??= config(chart)));
    if (chart.updates === 0) listen(chart);
    chart.drawn = message;
    node.dataset.updates = ++chart.updates;
    node.dataset.step = layout.meta?.step ?? "";
  } catch (error) {
    console.error(`live_plot ${message.key}:`, error);
    chart.drawn = message; // not again: wait for the next figure
    if (chart.updates === 0) node.textContent = error.message;
  } finally {
    chart.drawing = false;
    if (chart.drawn !== chart.message || chart.width !== width) schedule(chart);
  }
}

let loading = null;

function library(url) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(url, document.baseURI);
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      setTimeout(() => (loading = null), RETRY_MS);
      reject(new Error(`The chart library did not load: reload the page. (Is ${url} served?)`));
    };
    document.head.append(script);
  });
  return loading;
}

// ---------------------------------------------------------------- what to draw

function completed(chart, layout) {
  const { node, message, width } = chart;
  const { height } = message;
  // Plotly writes into its layout, and a figure may be drawn twice: give it a copy.
  const full = { ...structuredClone(layout), width, height, template: theme(chart) };
  if (layout.uirevision === chart.uirevision) {
    for (const [name, scene] of scenes(node)) full[name] = { ...full[name], camera: scene.getCamera() };
  }
  chart.uirevision = layout.uirevision;
  return full;
}

// Streamlit sets its theme as CSS variables on an element around the component, in a class named by their hash.
// Reading them makes the browser recompute styles, so that is done only when the class is another one.
function theme(chart) {
  const { className, style } = chart.node.closest(".stBidiComponent").firstElementChild;
  const sign = `${className} ${style.cssText}`;
  if (chart.themeSign !== sign) {
    const variables = getComputedStyle(chart.node);
    const [text, surface, font] = ["text-color", "background-color", "font"].map((name) =>
      variables.getPropertyValue(`--st-${name}`).trim(),
    );
    chart.themeSign = sign;
    chart.template = template({ text, surface, font });
  }
  return chart.template;
}

const PAPER = { text: "#111111", surface: "#ffffff", paper: "#ffffff", font: "Arial, Helvetica, sans-serif" };

// Only opaque colours: WebGL scenes ignore the alpha of a line.
function template({ text, surface, font, paper = "rgba(0,0,0,0)" }) {
  const [muted, line, thin, grid] = [0.75, 0.35, 0.24, 0.13].map((share) => mix(text, surface, share));
  const axis = {
    color: muted,
    gridcolor: grid,
    zerolinecolor: grid,
    zerolinewidth: 1,
    linecolor: line,
    tickcolor: line,
    tickfont: { size: 11, color: muted },
    title: { font: { size: 12, color: muted }, standoff: 6 },
  };
  const axis3d = {
    ...axis,
    gridcolor: thin,
    zerolinecolor: thin,
    title: { font: { size: 12, color: muted } },
    tickfont: { size: 10, color: muted },
    nticks: 5,
    showbackground: false,
    showspikes: false,
  };
  const colorbar = { outlinewidth: 0, thickness: 10, tickfont: { size: 11, color: muted } };
  return {
    layout: {
      paper_bgcolor: paper,
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: font, size: 13, color: text },
      title: { font: { size: 14, color: text } },
      margin: { l: 48, r: 12, t: 32, b: 40 },
      xaxis: axis,
      yaxis: axis,
      scene: {
        bgcolor: "rgba(0,0,0,0)",
        xaxis: axis3d,
        yaxis: axis3d,
        zaxis: axis3d,
        camera: { eye: { x: 1.35, y: 1.35, z: 1.05 }, center: { x: 0, y: 0, z: -0.12 } }, // the labels fit in
        dragmode: "orbit",
      },
      coloraxis: { colorbar },
      legend: { bgcolor: "rgba(0,0,0,0)", font: { size: 12, color: text } },
      hoverlabel: { bgcolor: surface, bordercolor: line, font: { family: font, size: 12, color: text } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: text },
      annotationdefaults: { font: { size: 13, color: text }, arrowcolor: muted },
      shapedefaults: { line: { color: line } },
    },
  };
}

function mix(ink, ground, share) {
  const [inks, grounds] = [channels(ink), channels(ground)];
  const mixed = inks.map((value, i) => Math.round(share * value + (1 - share) * grounds[i]));
  return `rgb(${mixed.join(",")})`;
}

function channels(colour) {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.fillStyle = colour;
  return [1, 3, 5].map((at) => parseInt(context.fillStyle.slice(at, at + 2), 16)); // it reads as #rrggbb
}

function config({ node, message }) {
  const save = (format, title) => ({
    name: `download-${format}`,
    title,
    icon: window.Plotly.Icons[format === "svg" ? "disk" : "camera"],
    click: () => download(node, format, message.key),
  });
  return {
    displaylogo: false,
    showSendToCloud: false, // nothing leaves this machine
    plotlyServerURL: "",
    displayModeBar: "hover",
    scrollZoom: "gl3d",
    modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d", "resetCameraLastSave3d"],
    modeBarButtonsToAdd: [save("svg", "Download as SVG"), save("png", "Download as PNG")],
  };
}

// As on screen (zoom, camera), but on white paper whatever the theme.
function download(node, format, filename) {
  const figure = { data: node.data, layout: { ...node.layout, template: template(PAPER) } };
  const { width, height } = node._fullLayout;
  return window.Plotly.downloadImage(figure, { format, filename, width, height, scale: format === "png" ? 3 : 1 });
}

// ---------------------------------------------------------------- what the user does

function listen(chart) {
  const { node } = chart;
  let orbit = 0;
  node.on("plotly_relayouting", (change) => {
    const moved = Object.keys(change).find((name) => name.endsWith(".camera"));
    if (moved) orbit ||= requestAnimationFrame(() => ((orbit = 0), follow(chart, moved.split(".")[0])));
  });
  node.on("plotly_relayout", (change) => {
    const moved = Object.keys(change).filter((name) => name.endsWith(".camera"));
    if (moved.length !== 1) return; // none, or all of them at once: "reset camera"
    follow(chart, moved[0].split(".")[0]);
    schedule(chart); // writes the followers' cameras into the layout
  });
  node.on("plotly_click", ({ points: [point] }) => {
    if (chart.message.clicks) chart.send("click", described(point));
  });
}

function follow({ node, message }, leader) {
  if (!message.linked_cameras) return;
  const all = new Map(scenes(node));
  const camera = all.get(leader)?.getCamera();
  for (const [name, scene] of all) {
    if (camera && name !== leader) scene.setViewport({ ...node._fullLayout[name], camera });
  }
}

// The scenes' own objects: they know the camera during a drag, which the layout learns only at its end, and
// turning one directly emits no event, so linked scenes can't chase each other.
function scenes(node) {
  const names = node._fullLayout?._subplots?.gl3d ?? [];
  return names.map((name) => [name, node._fullLayout[name]?._scene]).filter(([, scene]) => scene?.camera);
}

function described({ curveNumber, pointNumber, x, y, z, customdata }) {
  const plain = ArrayBuffer.isView(customdata) ? [...customdata] : customdata;
  return { curve: curveNumber, index: pointNumber, x, y, z, customdata: plain };
}
