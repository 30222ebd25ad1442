// A frame by a style sheet, which holds for elements that are redrawn; the place is scrolled into view once per turn.
const WAIT_MS = 200;
const MOST_WAITS = 50; // the place may be drawn a little later

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".spotlight");
  root.innerHTML = `<style>${data.place} { outline: 3px solid var(--st-primary-color); outline-offset: 4px;
    border-radius: 6px; }</style>`;
  if (root.dataset.turn === data.turn) return;
  root.dataset.turn = data.turn;
  let waits = 0;
  const look = () => {
    if (!root.isConnected || root.dataset.turn !== data.turn) return;
    const place = document.querySelector(data.place);
    if (place) place.scrollIntoView({ block: "nearest", behavior: "smooth" });
    else if (++waits < MOST_WAITS) setTimeout(look, WAIT_MS);
  };
  look();
}
