// Panels of pictures, each a canvas drawn from one sheet; the number of columns follows the width, pixels stay sharp.
const GRIDS = new WeakMap(); // DOM node → its grid
const GAP = 2;
const LEAST = 28; // least pixels of a picture where the number of columns is free
const CAPTION = 16;

export default function ({ data, parentElement, setStateValue }) {
  const node = parentElement.querySelector(".picture-grid");
  const grid = GRIDS.get(node) ?? open(node);
  grid.pick = (panel, index) => setStateValue("picked", { panel, layer: "fake", index, when: Date.now() });
  node.classList.toggle("stacked", Boolean(data.columns));
  node.dataset.livePlot = data.key;
  node.setAttribute("role", "group"); // no img: its captions are read, too
  node.setAttribute("aria-label", data.alt);
  show(grid, data);
}

function open(node) {
  const grid = { node, data: null, sheets: [], panels: [], updates: 0, turn: 0 };
  GRIDS.set(node, grid);
  new ResizeObserver(() => grid.data && draw(grid)).observe(node);
  return grid;
}

// Decode all sheets before drawing, so that no panel is ever empty; of two overlapping updates the later one is drawn.
async function show(grid, data) {
  const turn = ++grid.turn;
  const old = new Map(grid.sheets.map((sheet) => [sheet.src, sheet]));
  const sheets = await Promise.all(data.panels.map(async ({ sheet }) => {
    if (old.has(sheet)) return old.get(sheet);
    const image = new Image();
    image.src = sheet;
    await image.decode();
    return image;
  }));
  if (turn !== grid.turn) return;
  Object.assign(grid, { data, sheets });
  while (grid.panels.length > sheets.length) grid.panels.pop().figure.remove();
  while (grid.panels.length < sheets.length) grid.panels.push(panel(grid, grid.panels.length));
  draw(grid);
  grid.node.dataset.step = data.step;
  grid.node.dataset.updates = ++grid.updates;
}

function panel(grid, place) {
  const figure = grid.node.appendChild(document.createElement("figure"));
  const caption = figure.appendChild(document.createElement("figcaption"));
  const canvas = figure.appendChild(document.createElement("canvas"));
  const made = { figure, caption, canvas, cell: 1, columns: 1 };
  canvas.onclick = ({ offsetX, offsetY }) => {
    const { count, pickable } = grid.data.panels[place];
    const [x, y] = [Math.floor(offsetX / (made.cell + GAP)), Math.floor(offsetY / made.row)];
    const index = y * made.columns + x;
    if (pickable && x < made.columns && index < count) grid.pick(place, index);
  };
  return made;
}

function draw({ data, sheets, panels }) {
  const ratio = window.devicePixelRatio || 1;
  // Read all sizes before setting any, so that the browser lays the page out once.
  const widths = panels.map(({ figure }) => figure.clientWidth);
  panels.forEach((made, i) => {
    const { title, size, count, captions, marked, pickable } = data.panels[i];
    const most = Math.min(16, count, Math.max(4, Math.floor((widths[i] + GAP) / (LEAST + GAP))));
    made.columns = data.columns ?? even(count, most);
    made.cell = Math.min(data.cell, Math.floor((widths[i] + GAP) / made.columns) - GAP);
    if (made.cell < 1) return;
    made.row = made.cell + GAP + (captions ? CAPTION : 0);
    const width = made.columns * (made.cell + GAP) - GAP;
    const height = Math.ceil(count / made.columns) * made.row - GAP;
    const { canvas } = made;
    writeHead(made.caption, data.panels[i]);
    made.caption.hidden = !title;
    canvas.className = pickable ? "clickable" : "";
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.imageSmoothingEnabled = made.cell < size / 2;
    const style = getComputedStyle(made.figure);
    pen.font = `12px ${style.fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const across = Math.round(sheets[i].width / size);
    for (let k = 0; k < count; k++) {
      const [x, y] = [(k % made.columns) * (made.cell + GAP), Math.floor(k / made.columns) * made.row];
      pen.drawImage(sheets[i], (k % across) * size, Math.floor(k / across) * size, size, size, x, y, made.cell, made.cell);
      if (captions) {
        pen.fillStyle = style.color;
        pen.fillText(captions[k], x + made.cell / 2, y + made.cell + 3, made.cell);
      }
      if (k === marked) {
        pen.lineWidth = 3;
        pen.strokeStyle = style.getPropertyValue("--st-primary-color");
        pen.strokeRect(x + 1.5, y + 1.5, made.cell - 3, made.cell - 3);
      }
    }
  });
}

// The number of columns, up to a maximum, that fills the last row most; the largest of equal ones.
function even(count, most) {
  let [best, empty] = [most, count];
  for (let columns = most; columns > most / 2; columns--) {
    const rest = Math.ceil(count / columns) * columns - count;
    if (rest < empty) [best, empty] = [columns, rest];
  }
  return best;
}
