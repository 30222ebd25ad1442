"""The top of a kind's page: the choice of the shown run, buttons for its training, and its status."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.caches import runs, training_beside
from app.kinds import PAGES
from app.link import linked
from app.services import ask, continue_training, start
from app.session import Page
from app.sidebar import NextRun
from app.text import plain, quoted
from mvm.config import Config
from mvm.data.images import FACES
from mvm.data.kinds import KINDS
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.runs.events import compiled_networks, describe_lost_members, training_device, why_not_captured
from mvm.runs.run import Run, Status
from mvm.studies.compare import data_title, settings_changed

__all__ = ["STATES", "choose_run", "draw_buttons", "draw_status", "duration"]

MOST_CHANGES = 6  # named between the shown run and the next one
STEP_SIZES = (1, 10, 100)
STATES = {  # colour and words of a badge
    "starting": ("blue", "starting"),
    "queued": ("blue", "queued: all slots are taken"),
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
    """Draw the list of runs, and return the shown run and its status; None without a run.

    The shown run is the requested one, else one in training, else the newest.
    """
    known = runs(tab.kind)
    run = _chosen(tab, known) if known else None
    status = run.status() if run else Status("new", 0, 0)
    tab.state = (tab.run, status.state)
    return run, status


def _chosen(tab: Page, known: dict[str, Run]) -> Run:
    name = tab.run or st.query_params.get("run")
    if name not in known:
        if name:
            tab.notify(f"There is no run {quoted(name)} here.")
        name = next((name for name, run in known.items() if run.status().alive), next(iter(known)))
    tab.show(name)
    if st.query_params.get("run") != name:  # each change is an entry of the browser's history
        st.query_params["run"] = name
    names = list(known)
    chosen = st.selectbox(
        "Run", names, names.index(name), key=tab.key(f"run.{tab.turn}"), label_visibility="collapsed",
        help="all runs, newest first",
    )  # fmt: skip
    if chosen != name:
        tab.show(chosen)
        st.rerun()
    return known[name]


def draw_buttons(
    tab: Page,
    run: Run | None,
    status: Status,
    next_run: NextRun,
    *,
    layers: Callable[[], object] | None = None,
    beside: Callable[[], object] | None = None,
) -> None:
    """Draw Train, Pause, Step, Stop, Reset, Fork and View.

    Args:
        tab: page of the kind of data.
        run: the shown run.
        status: of the shown run.
        next_run: settings that Train starts a run with.
        layers: draws the page's own widgets into the popover View.
        beside: draws further widgets beside the popover.
    """
    alive, state = status.alive, status.state
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Train", type="primary", icon=":material/play_arrow:", shortcut="T", on_click=_train,
            help="start a new run with the settings on the left, in the background  (key T)",
            args=(tab, next_run, tab.presses), disabled=next_run.config is None,
        )  # fmt: skip
        if state == "paused" or not alive:
            label, action = ("Continue", "continue") if alive else ("Resume", "continue from the last checkpoint")
            st.button(
                label, icon=":material/resume:", help=f"{action}  (key P)", shortcut="P", on_click=continue_training,
                args=(tab, run), disabled=run is None or state in ("finished", "diverged"),
            )  # fmt: skip
        else:
            st.button(
                "Pause", icon=":material/pause:", help="pause  (key P)", shortcut="P", on_click=ask, args=(tab, run),
                kwargs={"pause_at": 0},
            )  # fmt: skip
        size = tab.setting("step_size", STEP_SIZES[1])
        st.button(
            f"Step {size:,}", icon=":material/skip_next:", help="train this many steps, then pause  (key S)",
            shortcut="S", on_click=_step, args=(tab, run, size), disabled=not alive or state == "queued",
        )  # fmt: skip
        st.button(
            "Stop", icon=":material/stop:", help="save and stop; the run can be resumed  (key X)", shortcut="X",
            on_click=ask, args=(tab, run), kwargs={"stop": True, "pause_at": None}, disabled=not alive,
        )  # fmt: skip
        st.button(
            "Reset", icon=":material/restart_alt:",
            help="stop, and start a new run with the shown run's settings, paused at step 0  (key B)",
            on_click=_reset, args=(tab, run, tab.presses), disabled=run is None, shortcut="B",
        )  # fmt: skip
        help_fork = "fork this run at a checkpoint with one setting changed, or compare it with other runs"
        if st.button("Fork, compare", icon=":material/fork_right:", help=help_fork, disabled=run is None):
            st.switch_page(st.session_state["_pages"]["Runs"], query_params={"compare": run.name})
        with st.popover("View", icon=":material/tune:"):
            _draw_view_settings(tab, run, layers)
        if beside:
            beside()
    if run is not None and next_run.config is not None:
        st.caption(f"**Train** starts {plain(_next_in_words(run, next_run.config))}.")
    if next_run.problem:
        st.error(f"These settings cannot be trained: {plain(next_run.problem)}", icon=":material/error:")


def draw_status(run: Run, status: Status) -> None:
    """Draw state, progress, speed, time left, device and memory in one line, and a message if the training failed."""
    colour, words = STATES[status.state]
    throughput = PAGES[run.config.kind].throughput
    noun = PAGES[run.config.kind].examples or KINDS[run.config.kind].noun
    if status.state == "queued" and (others := training_beside(run)):
        words += f"; it begins when one of these ends or pauses: {', '.join(others)}"
    parts = [f":{colour}-badge[{plain(words)}]", f"step **{status.step:,}** of {status.steps:,}"]
    if status.state == "running" and status.rate:
        speed = f"{_rate(status.rate)} steps/s"
        if throughput:
            speed = f"{_rate(status.rate * run.config.batch)} {noun}/s ({speed})"
        parts += [speed, f"{duration(status.seconds_left)} left"]
    elif status.state == "running" and status.step == 0 and run.config.data == FACES:
        parts += [f"rendering {run.config.points:,} toy faces ..."]
    elif status.seconds:
        parts += [f"{duration(status.seconds)} of training"]
    if lost := describe_lost_members(run.records.events, len(run.config.members)):
        parts.append(f":orange-badge[{plain(lost)}]")
    parts += [plain(data_title(run.config.data)), plain(training_device(run.records.events) or "no device yet")]
    if reason := why_not_captured(run.records.events):
        parts.append(plain(f"steps not captured as a graph: {reason}"))
    if compiled := compiled_networks(run.records.events):
        parts.append(plain(compiled))
    if throughput and status.memory:
        parts += [f"{status.memory:,} MiB of memory"]
    st.markdown(" &nbsp;·&nbsp; ".join(parts))
    if run.damage:
        st.warning("Files of this run are damaged; the parts below are passed over.", icon=":material/heart_broken:")
        st.text(run.damage)
    if status.state == "interrupted":
        st.warning(
            f"The trainer exited unexpectedly at step {status.step:,}. Saved data are intact: **Resume** continues "
            "from the last checkpoint.",
            icon=":material/power_off:",
        )
    elif status.state in ("failed", "diverged"):
        st.error(f"{plain(words.capitalize())}: {plain(status.reason)}", icon=":material/error:")


def duration(seconds: float) -> str:
    """Seconds in words, such as 3 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _draw_view_settings(tab: Page, run: Run | None, layers: Callable[[], object] | None) -> None:
    """Draw settings of the charts; they do not change the training."""
    help_step = "steps of the Step button"
    linked(st.select_slider, "Step size", STEP_SIZES, STEP_SIZES[1], key=tab.key("step_size"), help=help_step)
    if layers:
        layers()
    help_log = "a logarithmic axis separates small gaps and small eigenvalues"
    linked(st.toggle, "Logarithmic curves", True, key=tab.key("log"), help=help_log)
    linked(
        st.segmented_control, "Spectrum", list(SPECTRUM_FORMS), default="distance", required=True, key=tab.key("form"),
        help="distance: eigenvalues of D / mean D, by magnitude. "
        "mds: eigenvalues of the double-centred −½ J D² J, as shares of variance",
    )  # fmt: skip
    if run is not None and len(run.config.seeds) > 1:
        help_seed = "all seeds are trained and scored"
        linked(st.selectbox, "Seed shown", run.config.seeds, key=f"seed.{run.name}", help=help_seed)


def _next_in_words(run: Run, config: Config) -> str:
    """How the next run differs from the shown one, such as: a run that differs from ring: steps 700 (shown: 30)."""
    changes = [f"{name} {new} (shown: {old})" for name, (old, new) in settings_changed(run, config).items()]
    if not changes:
        return f"another run with the settings of {run.name}"
    more = f" and {len(changes) - MOST_CHANGES} more settings" if len(changes) > MOST_CHANGES else ""
    return f"a run that differs from {run.name}: {', '.join(changes[:MOST_CHANGES])}{more}"


def _train(tab: Page, next_run: NextRun, press: int) -> None:
    if next_run.config is not None and tab.serve(press):
        start(tab, next_run.config, like=next_run.like)


def _step(tab: Page, run: Run, size: int) -> None:
    ask(tab, run, pause_at=run.status().step + size)


def _reset(tab: Page, run: Run, press: int) -> None:
    if not tab.serve(press):
        return
    if run.alive():
        ask(tab, run, stop=True, pause_at=None)
    start(tab, run.config, like=run, paused=True)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
