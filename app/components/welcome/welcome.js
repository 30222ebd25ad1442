// A card for the first visit. The browser remembers that it was closed; without storage, as in some private windows, it
// comes back with the next visit.
const CLOSED = "mvm.welcome.closed";

const remembered = () => {
  try {
    return localStorage.getItem(CLOSED) !== null;
  } catch {
    return false;
  }
};

const remember = () => {
  try {
    localStorage.setItem(CLOSED, "1");
  } catch {
    // no storage
  }
};

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".welcome");
  const place = root.closest("[data-testid=stElementContainer]") ?? root;
  place.hidden = data.closable && (remembered() || root.dataset.closed !== undefined);
  if (place.hidden) place.style.display = "none"; // also the gap below it
  if (root.hasChildNodes()) return;
  root.setAttribute("role", "region");
  root.setAttribute("aria-label", "What this lab shows");
  root.innerHTML = `<p>${data.words}</p>${data.picture}<div class="buttons">
    <button type="button" class="tour">Take the tour</button>
    ${data.closable ? '<button type="button" class="close">Got it</button>' : ""}</div>`;
  root.querySelector(".tour").onclick = () => {
    remember();
    setTriggerValue("tour", true);
  };
  const close = root.querySelector(".close");
  if (close)
    close.onclick = () => {
      remember();
      root.dataset.closed = "";
      place.hidden = true;
      place.style.display = "none";
    };
}
