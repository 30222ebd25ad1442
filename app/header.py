"""The top of a kind's page: the choice of the shown run, buttons for its training, and its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from app.caches import runs, training_beside
from app.components.keyboard import keyboard
from app.kinds import PAGES
from app.link import linked
from app.services import ask, continue_training, start
from app.session import Page, page
from app.sidebar import NextRun
from app.sweep_spec import sweep_from
from app.text import plain, quoted
from app.thumbnails import thumbnail_of
from app.widgets import setting_title
from mvm.config import Config
from mvm.data.images import FACES
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.palette import title_of
from mvm.methods import METHODS
from mvm.runs.events import ALIVE, compiled_networks, describe_lost_members, training_device, why_not_captured
from mvm.runs.layout import LOG, is_fresh_name
from mvm.runs.run import Run, Status
from mvm.studies.compare import data_title, in_a_word, is_gain, settings_changed
from mvm.studies.index import HELD, Summary, run_titles, summaries
from mvm.studies.labels import RECIPES, grouped_titles, run_title

__all__ = ["KEYS", "STATES", "draw_buttons", "draw_head", "draw_status", "duration", "in_units"]

MOST_CHANGES = 6  # named between the shown run and the next one
STEP_SIZES = (1, 10, 100)
STATES = {  # colour and words of a badge
    "starting": ("blue", "starting"),
    "queued": ("blue", "queued: all slots are taken"),
    "running": ("green", "training"),
    "paused": ("orange", "paused"),
    "finished": ("gray", "finished"),
    "stopped": ("gray", "stopped"),
    HELD: ("orange", "held: its search may train it on"),
    "diverged": ("red", "diverged"),
    "failed": ("red", "failed"),
    "interrupted": ("red", "interrupted"),
    "new": ("gray", "not started"),
}
DOTS = {
    **{"starting": "◌", "queued": "◌", "running": "●", "paused": "◐", HELD: "◐"},
    **{"finished": "○", "stopped": "○", "new": "○"},
}
KEYS = {
    "T": "train with the settings on the left",
    "P": "pause, or resume",
    "S": "train a few steps, then pause (how many: under View)",
    "X": "stop; asks first",
    "B": "begin again with the shown run's settings; asks first while it trains",
    "Y or N": "answer what is asked",
    "Space": "on the timeline: play, or hold",
    "← →": "on the timeline: one snapshot back or on; Page up and Page down: ten; Home and End: the first and newest",
    "?": "show these keys",
}
AGES = ((86_400, "day"), (3_600, "h"), (60, "min"))  # seconds of a unit


def draw_head(
    tab: Page, title: str, *, view: Callable[[Run | None], object] | None = None
) -> tuple[Run | None, Status]:
    """Draw the page's title, the list of runs and View; return the shown run and its status; None without a run.

    The shown run is the requested one, else one in training, else the newest.

    Args:
        tab: page of the kind of data.
        title: of the page.
        view: draws the page's own widgets into the popover View.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"# {title}", width="content", anchors=False)
        known = runs(tab.kind)
        run = _chosen(tab, known) if known else None
        if run is not None and (picture := thumbnail_of(run)):
            words = f"Real and generated {KINDS[tab.kind].noun} of the shown run"
            st.html(f'<img src="{picture}" alt="{words}" style="height: 2.5rem; display: block">', width="content")
        with st.popover("View", icon=":material/tune:"):
            _draw_view_settings(tab, run, view)
    status = run.status() if run else Status("new", 0, 0)
    tab.state = (tab.run, status.state)
    return run, status


def _chosen(tab: Page, known: dict[str, Run]) -> Run:
    name = tab.run or st.query_params.get("run")
    if name not in known:
        if name:
            tab.notify(f"There is no run {quoted(name)} here.")
        name = next((row.name for row in summaries() if row.name in known and row.status in ALIVE), next(iter(known)))
    tab.show(name)
    if st.query_params.get("run") != name:  # each change is an entry of the browser's history
        st.query_params["run"] = name
    st.fragment(_draw_runs, run_every=20.0)(tab, list(known), name)  # runs of other tabs, and their ages
    return known[name]


def _draw_runs(tab: Page, names: list[str], shown: str) -> None:
    """Draw the list of runs, newest first; another choice is shown by a rerun of the page."""
    rows = {row.name: row for row in summaries()}
    titles = run_titles(rows.values())
    words = {name: _in_the_list(rows[name], titles[name]) if name in rows else name for name in names}
    chosen = st.selectbox(
        "Run", names, names.index(shown), key=tab.key(f"run.{tab.turn}"), label_visibility="collapsed",
        format_func=lambda name: words.get(name, name), help="all runs, newest first; type to search",
    )  # fmt: skip
    if chosen != shown:
        tab.show(chosen)
        st.rerun()


def _in_the_list(row: Summary, title: str) -> str:
    """A run's line in the list: state, title, best score beside its baseline, and age."""
    score = in_units(row.score, row.quality) + " so far" * (not row.final) if row.quality is not None else ""
    state = [STATES[row.state][1].split(":")[0], row.lost, score, _age(row.created)]
    parts = [title, "" if is_fresh_name(row.name) else row.trained, ", ".join(filter(None, state))]
    return f"{DOTS.get(row.state, '✕')} {' — '.join(filter(None, parts))}"


def in_units(score: str, quality: float) -> str:
    """A run's best quality in words, such as 1.11 × baseline."""
    return f"{quality:+.2f} dB over bicubic" if is_gain(score) else f"{quality:.3g} × baseline"


def _age(when: float) -> str:
    passed = time.time() - when
    found = next(((round(passed / unit), word) for unit, word in AGES if passed >= unit), None)
    return "just now" if found is None else f"{found[0]} {found[1]}{'s' * (found[1] == 'day' and found[0] > 1)} ago"


def draw_buttons(
    tab: Page,
    run: Run | None,
    status: Status,
    next_run: NextRun,
) -> None:
    """Draw Train, Pause, Step, Stop, Reset and Fork; start the run that Train has asked for.

    Args:
        tab: page of the kind of data.
        run: the shown run.
        status: of the shown run.
        next_run: settings that Train starts a run with.
    """
    _serve(tab, next_run)
    alive, state = status.alive, status.state
    training = state in ("starting", "queued", "running")
    question = tab.question if run is not None and alive and tab.question and tab.question[0] == run.name else None
    if run is not None and question:
        _draw_question(tab, run, status, question[1])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Train another" if training else "Train", type="secondary" if training else "primary",
            icon=":material/play_arrow:", shortcut="T", on_click=_want_training, key=f"{tab.kind}.train",
            help="start a new run with the settings on the left; it trains in the background, and waits its turn while "
            "others train  (key T)", args=(tab, tab.presses), disabled=next_run.config is None,
        )  # fmt: skip
        if training:
            st.button(
                "Pause", type="primary", icon=":material/pause:", help="pause, and let others train  (key P)",
                shortcut="P", on_click=ask, args=(tab, run), kwargs={"pause_at": 0},
            )  # fmt: skip
        else:
            help_resume = "go on with the training" if alive else "go on from the last checkpoint"
            st.button(
                "Resume", icon=":material/resume:", help=f"{help_resume}  (key P)", shortcut="P",
                on_click=continue_training, args=(tab, run), disabled=run is None or state in ("finished", "diverged"),
            )  # fmt: skip
        size = tab.setting("step_size", STEP_SIZES[1])
        st.button(
            f"Step {size:,}", icon=":material/skip_next:", help="train this many steps, then pause  (key S)",
            shortcut="S", on_click=_step, args=(tab, run, size), disabled=not alive or state == "queued",
        )  # fmt: skip
        st.button(
            "Stop", icon=":material/stop:", help="save and stop; the run can be resumed; asks first  (key X)",
            shortcut="X", on_click=_ask_about, args=(tab, run, "stop"), disabled=not alive,
        )  # fmt: skip
        st.button(
            "Reset", icon=":material/restart_alt:",
            help="stop, and start a new run with the shown run's settings, paused at step 0; asks first  (key B)",
            on_click=_ask_about if alive else _reset, args=(tab, run, "reset" if alive else tab.presses),
            disabled=run is None, shortcut="B",
        )  # fmt: skip
        help_fork = "fork this run at a checkpoint with one setting changed, or compare it with other runs"
        if st.button("Fork, compare", icon=":material/fork_right:", help=help_fork, disabled=run is None):
            st.switch_page(st.session_state["_pages"]["Runs"], query_params={"compare": run.name})
        help_sweep = "begin a sweep with the settings on the left: train many values of some of them"
        if st.button("Sweep", icon=":material/grid_on:", help=help_sweep, disabled=next_run.config is None):
            try:
                sweep_from(next_run.config)
            except ConfigError as error:
                tab.notify(str(error))
        keyboard(KEYS, train=f"{tab.kind}.train")
    if run is not None and next_run.config is not None:
        st.caption(f"**Train** starts {plain(_next_in_words(run, next_run.config))}.")
    if next_run.problem:
        st.error(f"These settings cannot be trained: {plain(next_run.problem)}", icon=":material/error:")


def _draw_question(tab: Page, run: Run, status: Status, what: str) -> None:
    """Draw what Stop or Reset would end, and two buttons."""
    resets = what == "reset"
    then = (
        " and begin again with its settings, paused at step 0? What it has learned stays in the list of runs."
        if resets
        else "? What it has learned is kept, and **Resume** goes on from there."
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small", border=True):
        st.markdown(f"Stop **{plain(run_title(run))}** at step {status.step:,}{then}", width="content")
        st.button(
            "Stop and begin again" if resets else "Stop training", type="primary", key=f"{tab.kind}.yes", shortcut="Y",
            on_click=_reset if resets else _stop, args=(tab, run, tab.presses),
        )  # fmt: skip
        st.button("Keep training", key=f"{tab.kind}.no", shortcut="N", on_click=_ask_about, args=(tab, None, ""))


def draw_status(run: Run, status: Status) -> None:
    """Draw state, progress, speed, time left, device and memory in one line, and a message if the training failed."""
    is_held = status.state == "stopped" and run.is_held()
    colour, words = STATES[HELD if is_held else status.state]
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
        parts += [f"trained for {duration(status.seconds)}"]
    if lost := describe_lost_members(run.records.events, len(run.config.members)):
        parts.append(f":orange-badge[{plain(lost)}]")
    if device := training_device(run.records.events):
        parts.append(plain(f"on the {device}"))
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
    if status.state in ("interrupted", "failed", "diverged"):
        _draw_failure(run, status)


def _draw_failure(run: Run, status: Status) -> None:
    """Draw why a training ended before its time, what can be done, and a button that does it."""
    if status.state == "interrupted":
        why = f"The trainer exited unexpectedly at step {status.step:,}. Saved data are intact."
    else:
        why = f"{STATES[status.state][1].capitalize()}: {plain(status.reason)}"
    log = run.path / LOG
    if status.state == "diverged":
        what = (
            "Fork it before that step with smaller learning rates or a larger γ, or train with the recommended recipe."
        )
    elif log.exists() and status.state == "failed":
        what = f"Mend that, then try again: it goes on from the last checkpoint. More is in {plain(log)}."
    else:
        what = "It can go on from the last checkpoint."
    tab, key = page(run.config.kind), f"mend.{run.name}"
    killed = status.state == "interrupted"
    with st.container(horizontal=True, vertical_alignment="center"):
        draw, icon = (st.warning, "power_off") if killed else (st.error, "error")
        draw(f"{why}  \n{what}", icon=f":material/{icon}:")
        if status.state != "diverged":
            label = "Go on from there" if killed else "Try again"
            st.button(label, icon=":material/resume:", key=key, on_click=continue_training, args=(tab, run))
        elif st.button("Fork from an earlier step", icon=":material/fork_right:", key=key):
            st.switch_page(st.session_state["_pages"]["Runs"], query_params={"compare": run.name})


def duration(seconds: float) -> str:
    """Seconds in words, such as 3 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _draw_view_settings(tab: Page, run: Run | None, view: Callable[[Run | None], object] | None) -> None:
    """Draw settings of the charts; they do not change the training."""
    help_step = "steps of the Step button"
    linked(st.select_slider, "Step size", STEP_SIZES, STEP_SIZES[1], key=tab.key("step_size"), help=help_step)
    if view:
        view(run)
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
    changes = [
        f"{_within_a_sentence(setting_title(name, owned=False))} {_value(name, new)} (shown: {_value(name, old)})"
        for name, (old, new) in settings_changed(run, config).items()
    ]
    if not changes:
        return f"another run with the settings of {run_title(run)}"
    more = f" and {len(changes) - MOST_CHANGES} more settings" if len(changes) > MOST_CHANGES else ""
    return f"a run that differs from {run_title(run)}: {', '.join(changes[:MOST_CHANGES])}{more}"


def _within_a_sentence(title: str) -> str:
    return title if title[:2].isupper() else title[0].lower() + title[1:]


def _value(name: str, value: Any) -> str:
    """A setting's value as its widget shows it."""
    match name:
        case "method":
            return METHODS[value].title
        case "recipe":
            return RECIPES.get(value, "recommended")
        case "data":
            return data_title(value)
        case "size" if value is None:
            return "the dataset's own"
        case "variants":
            return ", ".join(grouped_titles(map(title_of, value)))
        case "seeds" if tuple(value) == tuple(range(len(value))):
            return str(len(value))
    return f"{value:,}" if type(value) is int else in_a_word(value)


def _want_training(tab: Page, press: int) -> None:
    if tab.serve(press):
        tab.wants_training = True


def _serve(tab: Page, next_run: NextRun) -> None:
    """Start the run that Train asked for, with the settings that the widgets have by now.

    The press itself knows only the settings drawn before it; a value typed in the same moment belongs to the run.
    """
    wanted, tab.wants_training = tab.wants_training, False
    if wanted and next_run.config is not None and start(tab, next_run.config, like=next_run.like):
        tab.question = None
        st.rerun()


def _step(tab: Page, run: Run, size: int) -> None:
    ask(tab, run, pause_at=run.status().step + size)


def _ask_about(tab: Page, run: Run | None, what: str) -> None:
    tab.question = (run.name, what) if run is not None else None


def _stop(tab: Page, run: Run, press: int) -> None:
    if tab.serve(press):
        tab.question = None
        ask(tab, run, stop=True, pause_at=None)


def _reset(tab: Page, run: Run, press: int) -> None:
    if not tab.serve(press):
        return
    tab.question = None
    if run.alive():
        ask(tab, run, stop=True, pause_at=None)
    start(tab, run.config, like=run, paused=True)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
