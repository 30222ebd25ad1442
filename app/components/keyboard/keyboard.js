// Links that skip to the navigation and to Train stand first in the page, so that both are within five Tab stops.
const NAVIGATION = "[data-testid=stTopNavLink], [data-testid=stSidebarNavLink]";
const DIALOGS = new WeakMap(); // DOM node → its dialog

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".keyboard");
  const dialog = DIALOGS.get(root) ?? draw(root, data.keys);
  const onKey = (event) => {
    const typing = event.target.closest?.("input, textarea, [contenteditable]");
    if (event.key === "?" && !typing && !dialog.open) dialog.showModal();
  };
  window.mvmKeyboard?.(); // what an earlier page left
  document.addEventListener("keydown", onKey);
  const links = skipLinks(`.st-key-${data.train.replace(/[^a-zA-Z0-9_-]/g, "-")} button`);
  document.body.prepend(links);
  const leave = () => {
    document.removeEventListener("keydown", onKey);
    links.remove();
  };
  window.mvmKeyboard = leave;
  return leave;
}

function draw(root, keys) {
  root.innerHTML = `<button type="button" title="Keys  (key ?)" aria-label="Keys" aria-haspopup="dialog">?</button>
    <dialog aria-label="Keys"><h2>Keys</h2><dl></dl><form method="dialog"><button>Close</button></form></dialog>`;
  const dialog = root.querySelector("dialog");
  for (const [key, words] of keys) {
    const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
    term.innerHTML = "<kbd></kbd>";
    term.firstChild.textContent = key;
    meaning.textContent = words;
    root.querySelector("dl").append(term, meaning);
  }
  root.querySelector("button").onclick = () => dialog.showModal();
  dialog.onclick = (event) => event.target === dialog && dialog.close(); // beside it
  DIALOGS.set(root, dialog);
  return dialog;
}

function skipLinks(train) {
  const links = document.createElement("div");
  links.className = "skip-links";
  for (const [words, target] of [["Skip to the pages", NAVIGATION], ["Skip to Train", train]]) {
    const link = document.createElement("a");
    link.href = "#";
    link.textContent = words;
    link.onclick = (event) => {
      event.preventDefault();
      document.querySelector(target)?.focus();
    };
    links.append(link);
  }
  return links;
}
