// While the app does not answer: that trainings go on, and how to come back.
const EVERY = 2000; // milliseconds between two questions
const MISSED = 2; // unanswered questions in a row that count as lost

export default function ({ data }) {
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
