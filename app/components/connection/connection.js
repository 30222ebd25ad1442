// While the app does not answer: that trainings go on, and how to come back. And the page's name in the address.
const EVERY = 2000; // milliseconds between two questions
const MISSED = 2; // unanswered questions in a row that count as lost

export default function ({ data }) {
  name(data);
  if (window.mvmConnection) return;
  const state = { answered: false, missed: 0, note: null };
  window.mvmConnection = state;

  const tell = () => {
    if (state.note) return;
    state.note = document.createElement("div");
    state.note.className = "connection-lost";
    state.note.setAttribute("role", "alert");
    state.note.innerHTML = `<b>No connection to the app.</b> Training goes on without it.
      To come back: if the app was closed, start it again with <code>mvm app</code>; then reload this page, whose
      address has the run and all settings.`;
    document.body.append(state.note);
  };
  const ask = async () => {
    const answer = await fetch(data.health, { cache: "no-store" }).catch(() => null);
    if (answer?.ok) {
      state.answered = true;
      state.missed = 0;
      state.note?.remove();
      state.note = null;
    } else if (state.answered && ++state.missed >= MISSED) tell();
    setTimeout(ask, EVERY);
  };
  ask();
}

// Put the page's name at the end of the path, where a proxy may have put more before it.
function name({ page, pages }) {
  const parts = location.pathname.split("/");
  if (parts.at(-1) === page) return;
  if (pages.includes(parts.at(-1)) || !parts.at(-1)) parts.pop();
  history.replaceState(history.state, "", `${[...parts, page].join("/") || "/"}${location.search}${location.hash}`);
}
