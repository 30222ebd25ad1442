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
  if (root.hasChildNodes()) return;
  if (data.closable && remembered()) place.style.display = "none"; // also the gap below it
  root.setAttribute("role", "region");
  root.setAttribute("aria-label", "What this lab shows");
  const close = data.closable ? '<button type="button" class="close">Got it</button>' : "";
  root.innerHTML = `<p>${data.words}
    <span class="buttons"><button type="button" class="tour">Take the tour</button> ${close}</span></p>${data.picture}`;
  root.querySelector(".tour").onclick = () => {
    remember();
    setTriggerValue("tour", true);
  };
  if (data.closable)
    root.querySelector(".close").onclick = () => {
      remember();
      place.style.display = "none";
    };
}
