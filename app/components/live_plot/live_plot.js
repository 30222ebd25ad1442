// A Plotly figure redrawn in place: Streamlit calls the default export with every new figure, and Plotly.react draws it
// into the same DOM node, so that zoom and hover are kept. The module is loaded once per page; its charts share one queue,
// which draws the newest figure of each and drops older ones.

const CHARTS = new WeakMap(); // DOM node → its chart
const FRAME_BUDGET_MS = 8; // drawing time per frame; remaining charts wait, so that the page stays responsive
const RETRY_MS = 3000;
const IDLE_MS = 3000; // the longest wait for an idle page
const NARROW = 480; // pixels of a chart below which its subplots stand one below the other
const TILT = 25; // degrees
const TILTED_HEIGHT = 60; // pixels that tilted titles need more
const SIDES = 130; // pixels left and right of parallel axes
const BETWEEN = 62; // pixels between them: tick labels, the axis's title, and the next one's title

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".live-plot");
  const chart = CHARTS.get(node) ?? open(node);
  chart.message = data;
  chart.report = (clicked) => setStateValue("clicked", clicked);
  node.classList.toggle("pickable", data.pickable);
  node.dataset.livePlot = data.key;
  node.style.height = `${data.height}px`;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", data.alt);
  schedule(chart);
  // Streamlit may also call this for a superseded update: close only charts that have left the page.
  return () => setTimeout(() => node.isConnected || close(chart));
}

// ---------------------------------------------------------------- the life of a chart

function open(node) {
  const chart = { node, message: null, drawing: false, held: false, near: true, width: 0, updates: 0 };
  CHARTS.set(node, chart);
  const release = () => {
    if (!chart.held) return;
    chart.held = false;
    schedule(chart);
  };
  const controller = new AbortController();
  // A redraw would interrupt a drag (zoom box, pan): wait for its end.
  const hold = (event) => (chart.held = event.button === 0);
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
      if (chart.near && (chart.drawn !== chart.message || chart.drawnWidth !== chart.width)) schedule(chart);
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
  if (chart.updates) window.Plotly.purge(chart.node);
}

// ---------------------------------------------------------------- when to draw

const waiting = new Set();
let frame = 0;

function schedule(chart) {
  waiting.add(chart);
  frame ||= requestAnimationFrame(drawWaiting); // never fires in a hidden page; the newest figure is drawn once it is shown
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
    const Plotly = window.Plotly ?? (await library(message.plotly_url)); // no await when loaded: the budget counts this draw
    const { data, layout } = message.figure;
    if (chart.updates === 0) {
      Plotly.purge(node); // remains of a failed first drawing
      node.replaceChildren();
    }
    await Plotly.react(node, tilted(chart, data), completed(chart, layout), (chart.config ??= config(chart)));
    if (chart.updates === 0) {
      node.on("plotly_click", ({ points }) => {
        if (chart.message.pickable) chart.report({ index: points[0].pointNumber, when: Date.now() });
      });
    }
    chart.drawn = message;
    chart.drawnWidth = width;
    node.dataset.updates = ++chart.updates;
    node.dataset.step = layout.meta?.step ?? "";
  } catch (error) {
    console.error(`live_plot ${message.key}:`, error);
    chart.drawn = message; // not drawn again: wait for the next figure
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
    // Its five megabytes take a second to run: after what the page can draw without it.
    requestIdleCallback(() => document.head.append(script), { timeout: IDLE_MS });
  });
  return loading;
}

// ---------------------------------------------------------------- what to draw

function completed(chart, layout) {
  const { message, width } = chart;
  // Plotly writes into its layout, and a figure may be drawn twice: pass a copy.
  const own = structuredClone(layout);
  const height = width < NARROW ? stack(own, message.height) : message.height;
  if (message.figure.data.some((trace) => isCrowded(trace, width))) own.margin.t += TILTED_HEIGHT;
  chart.node.style.height = `${height}px`;
  return { ...own, width, height, template: theme(chart) };
}

// Titles of parallel axes that have no room beside each other are tilted.
function tilted({ width }, data) {
  return data.map((trace) => (isCrowded(trace, width) ? { ...trace, labelangle: -TILT } : trace));
}

function isCrowded({ type, dimensions, labelfont }, width) {
  if (type !== "parcoords") return false;
  const longest = Math.max(...dimensions.map(({ label }) => label.length));
  return 0.55 * labelfont.size * longest * (dimensions.length - 1) > width - SIDES;
}

// Put subplots of a row (app/charts/axes.py) one below the other, each as high as the row; returns the height of all.
function stack(layout, height) {
  const columns = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name) && layout[name].domain);
  if (columns.length < 2) return height;
  const plot = height - (layout.margin?.t ?? 0) - (layout.margin?.b ?? 0);
  const step = plot + BETWEEN;
  const total = columns.length * step - BETWEEN;
  columns.forEach((name, place) => {
    const top = 1 - (place * step) / total;
    const title = layout.annotations?.find(({ x, y }) => x === layout[name].domain[0] && y > 1);
    if (title) Object.assign(title, { x: 0, y: top + 2 / total });
    layout[name].domain = [0, 1];
    layout[name.replace("x", "y")].domain = [top - plot / total, top];
  });
  return height + total - plot;
}

// Streamlit sets its theme as CSS variables on an element around the component, in a class named by their hash. Reading
// them makes the browser recompute styles, hence they are read only when the class changes.
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

function template({ text, surface, font, paper = "rgba(0,0,0,0)" }) {
  const [muted, line, grid] = [0.75, 0.35, 0.13].map((share) => mix(text, surface, share));
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
    typesetMath: false, // names and notes may contain dollar signs
    showSendToCloud: false, // nothing leaves this machine
    plotlyServerURL: "",
    displayModeBar: "hover",
    modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"],
    modeBarButtonsToAdd: [save("svg", "Download as SVG"), save("png", "Download as PNG")],
  };
}

// As on screen, including the zoom, but on white in every theme.
function download(node, format, filename) {
  const figure = { data: node.data, layout: { ...node.layout, template: template(PAPER) } };
  const { width, height } = node._fullLayout;
  return window.Plotly.downloadImage(figure, { format, filename, width, height, scale: format === "png" ? 3 : 1 });
}
