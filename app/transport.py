"""Which run is shown, what it is doing, and the buttons that say what it should do: the top of the Lab and of Faces."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import plots
from app.state import Page, Tab, paused_runs, runs, start, train
from mvm.config import FACES, Config
from mvm.errors import RunError
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.runs.events import lost_in_words
from mvm.runs.run import Run, Status
from mvm.studies.compare import data_title

__all__ = ["MOST_COLUMNS", "STATES", "ask", "choose_run", "duration", "status_line", "transport", "wake"]

MOST_COLUMNS = 4
STEP_SIZES = (1, 10, 100)
STATES = {  # colour and words of a badge
    "starting": ("blue", "starting"),
    "queued": ("blue", "queued: other trainings have all slots"),
    "running": ("green", "training"),
    "paused": ("orange", "paused"),
    "finished": ("gray", "finished"),
    "stopped": ("gray", "stopped"),
    "diverged": ("red", "diverged"),
    "failed": ("red", "failed"),
    "interrupted": ("red", "interrupted"),
    "new": ("gray", "not started"),
}


def choose_run(tab: Page) -> tuple[Run | None, Status]:
    """The run that is shown, the one asked for, else a living one, else the newest; and the state it is drawn in."""
    known = runs(images=tab.images)
    run = _chosen(tab, known) if known else None
    status = run.status() if run else Status("new", 0, 0)
    tab.state = (tab.run, status.state)
    return run, status


def _chosen(tab: Page, known: dict[str, Run]) -> Run:
    name = tab.run or st.query_params.get("run")
    if name not in known:
        if name:
            tab.tell(f"There is no run {name!r} here.")
        name = next((name for name, run in known.items() if run.status().alive), next(iter(known)))
    tab.show(name)
    if st.query_params.get("run") != name:  # each change is an entry of the browser's history
        st.query_params["run"] = name
    names = list(known)
    chosen = st.selectbox(
        "Run", names, names.index(name), key=tab.key(f"run.{tab.turn}"), label_visibility="collapsed",
        help="every experiment so far, newest first",
    )  # fmt: skip
    if chosen != name:
        tab.show(chosen)
        st.rerun()
    return known[name]


def transport(
    tab: Page,
    run: Run | None,
    status: Status,
    config: Config | str | None,
    *,
    layers: Callable[[], object] | None = None,
    beside: Callable[[], object] | None = None,
) -> None:
    """Train, pause, step, stop, reset and what is shown.

    Args:
        tab: this browser tab.
        run: what is shown.
        status: of the run.
        config: what Train would train; why it cannot, in words; None without data.
        layers: draws the page's own widgets into the popover View.
        beside: draws those that lie open beside it.
    """
    alive, state = status.alive, status.state
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        help_train = "train the settings on the left as a new run, in the background  (key T)"
        st.button(
            "Train", type="primary", icon=":material/play_arrow:", help=help_train, shortcut="T",
            on_click=_train, args=(tab, config, tab.presses), disabled=not isinstance(config, Config),
        )  # fmt: skip
        if state == "paused" or not alive:
            label, says = ("Continue", "go on training") if alive else ("Resume", "go on from the last checkpoint")
            st.button(
                label, icon=":material/resume:", help=f"{says}  (key P)", shortcut="P", on_click=wake, args=(tab, run),
                disabled=run is None or state in ("finished", "diverged"),
            )  # fmt: skip
        else:
            st.button(
                "Pause", icon=":material/pause:", help="pause  (key P)", shortcut="P", on_click=_pause, args=(tab, run)
            )
        size = tab.setting("step_size", STEP_SIZES[1])
        st.button(
            f"Step {size}", icon=":material/skip_next:", help="go on by this many steps, then pause  (key S)",
            shortcut="S", on_click=_step, args=(tab, run, size), disabled=not alive or state == "queued",
        )  # fmt: skip
        st.button(
            "Stop", icon=":material/stop:", help="save and end; it can be resumed  (key X)", shortcut="X",
            on_click=ask, args=(tab, run), kwargs={"stop": True, "pause_at": None}, disabled=not alive,
        )  # fmt: skip
        st.button(
            "Reset", icon=":material/restart_alt:",
            help="stop, and begin the shown experiment anew at step 0, paused  (key B)",
            on_click=_reset, args=(tab, run, tab.presses), disabled=run is None, shortcut="B",
        )  # fmt: skip
        help_fork = "rewind this run to a checkpoint, change one thing, train on beside it; or compare it with others"
        if st.button("Fork, compare", icon=":material/fork_right:", help=help_fork, disabled=run is None):
            st.switch_page(st.session_state["_pages"]["Runs"], query_params={"compare": run.name})
        with st.popover("View", icon=":material/tune:"):
            _view_settings(tab, run, layers)
        if beside:
            beside()
    if isinstance(config, str):
        st.error(f"These settings cannot be trained: {config}", icon=":material/error:")


def status_line(run: Run, status: Status) -> None:
    """State, progress, speed, time left, device and memory, in one line."""
    colour, words = STATES[status.state]
    if status.state == "queued" and (resting := paused_runs()):
        words += f", {', '.join(resting)} while paused; continue or stop that"
    started = next((e for e in reversed(run.records.events) if "device" in e), {})
    parts = [f":{colour}-badge[{words}]", f"step **{status.step:,}** of {status.steps:,}"]
    if status.state == "running" and status.rate:
        speed = f"{_rate(status.rate)} steps/s"
        if run.config.is_images:
            speed = f"{_rate(status.rate * run.config.batch)} images/s ({speed})"
        parts += [speed, f"{duration(status.seconds_left)} left"]
    elif status.state == "running" and status.step == 0 and run.config.data == FACES:
        parts += [f"drawing {run.config.points:,} toy faces to train on ..."]
    elif status.seconds:
        parts += [f"{duration(status.seconds)} of training"]
    if gone := lost_in_words(run.records.events, len(run.config.members)):
        parts.append(f":orange-badge[{gone}]")
    parts += [data_title(run.config.data), started.get("device", "no device yet")]
    if run.config.is_images and status.memory:
        parts += [f"{status.memory:,} MiB of memory"]
    st.markdown(" &nbsp;·&nbsp; ".join(parts))
    if status.state == "interrupted":
        st.warning(
            f"The training process ended without a word at step {status.step:,}. Nothing saved is lost: "
            "**Resume** goes on from the last checkpoint.",
            icon=":material/power_off:",
        )
    elif status.state in ("failed", "diverged"):
        st.error(f"{words.capitalize()}: {status.reason}", icon=":material/error:")


def ask(tab: Tab, run: Run, **wishes: object) -> None:
    """Ask something of the run's trainer; a refusal becomes a notice."""
    try:
        run.ask(**wishes)
    except (RunError, OSError) as error:
        tab.tell(str(error))


def _view_settings(tab: Page, run: Run | None, layers: Callable[[], object] | None) -> None:
    """What the charts show; the training does not notice."""
    st.select_slider("Step size", STEP_SIZES, STEP_SIZES[1], key=tab.key("step_size"), help="steps of the Step button")
    if layers:
        layers()
    common = {"bind": "query-params"}
    help_log = "small gaps and eigenvalues can only be told apart on a logarithmic axis"
    st.toggle("Logarithmic curves", True, key=tab.key("log"), help=help_log, **common)
    st.segmented_control(
        "Spectrum", list(SPECTRUM_FORMS), default="distance", required=True, key=tab.key("form"), **common,
        help="distance: eigenvalues of D / mean D, by magnitude. "
        "mds: those of the double-centred −½ J D² J, as shares of variance",
    )  # fmt: skip
    if run is not None and len(run.config.seeds) > 1:
        st.selectbox("Seed shown", run.config.seeds, key=f"seed.{run.name}", help="all seeds are trained and scored")
    if run is not None and len(run.config.variants) > MOST_COLUMNS:
        st.multiselect(
            "Columns", run.config.variants, run.config.variants[:MOST_COLUMNS], max_selections=MOST_COLUMNS,
            format_func=plots.title_of, key=f"columns.{run.name}", help="at most four variants are drawn",
        )  # fmt: skip


def _train(tab: Page, config: Config, press: int) -> None:
    if tab.is_new(press):
        start(tab, config)


def wake(tab: Tab, run: Run) -> None:
    """Go on training: a paused trainer, or a new one from the last checkpoint."""
    try:
        if run.alive():
            run.ask(pause_at=None)
        else:
            train(run)
    except (RunError, OSError) as error:
        tab.tell(str(error))


def _pause(tab: Page, run: Run) -> None:
    ask(tab, run, pause_at=0)


def _step(tab: Page, run: Run, size: int) -> None:
    ask(tab, run, pause_at=run.status().step + size)


def _reset(tab: Page, run: Run, press: int) -> None:
    if not tab.is_new(press):
        return
    if run.alive():
        ask(tab, run, stop=True, pause_at=None)
    start(tab, run.config, like=run, paused=True)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
