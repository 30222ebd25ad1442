// Cells of a sweep: a button for each run. Known buttons are kept over updates, so that the pointer and the focus stay.
const SIDES = [[60, 44], [400, 24], [Infinity, 14]]; // most cells, and the pixels of a side

export default function ({ data, parentElement, setTriggerValue }) {
  const node = parentElement.querySelector(".sweep-cells");
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", data.alt);
  node.dataset.key = data.key;
  if (!node.firstChild) {
    for (const name of ["legend", "cells"]) node.appendChild(document.createElement("div")).className = name;
  }
  const [legend, grid] = node.children;
  legend.replaceChildren(...data.legend.map(({ words, colour }) => {
    const entry = document.createElement("span");
    entry.appendChild(document.createElement("i")).style.background = colour;
    entry.append(words);
    return entry;
  }));
  node.style.setProperty("--side", `${SIDES.find(([most]) => data.cells.length <= most)[1]}px`);
  while (grid.children.length > data.cells.length) grid.lastChild.remove();
  while (grid.children.length < data.cells.length) grid.appendChild(document.createElement("button")).type = "button";
  data.cells.forEach(([name, colour, text, share, line], i) => {
    const cell = grid.children[i];
    cell.onclick = () => setTriggerValue("picked", name);
    cell.style.background = colour;
    cell.title = text;
    cell.setAttribute("aria-label", text);
    cell.replaceChildren(...(line.length > 1 ? [curve(line)] : []), ...(share > 0 && share < 1 ? [bar(share)] : []));
  });
}

function curve(line) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  const path = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  path.setAttribute("points", line.map((y, i) => `${i / (line.length - 1)},${1 - y}`).join(" "));
  return svg;
}

function bar(share) {
  const made = document.createElement("div");
  made.className = "done";
  made.style.width = `${100 * share}%`;
  return made;
}
