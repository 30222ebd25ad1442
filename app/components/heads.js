// Title of a panel and its scores, as HTML: a screen reader reads them, and a pointer on a score gets its meaning.
// Written only when they change, so that a reader may select them while the panel below is redrawn.
function writeHead(box, { title, scores = [], best = false }) {
  const said = JSON.stringify([title, scores, best]);
  if (box.dataset.said === said) return;
  box.dataset.said = said;
  box.classList.add("panel-head");
  const element = (name, className, text, meaning = "") =>
    Object.assign(document.createElement(name), { className, textContent: text, title: meaning });
  const star = best ? [element("span", "star", " ★", `best by ${scores[0].text.split(" ")[0]}`)] : [];
  const line = element("div", "scores", "");
  line.append(...scores.map((score) => element("span", score.best ? "best" : "", score.text, score.help)));
  box.replaceChildren(element("span", "", title), ...star, line);
}
