"""Timeline of a run: a slider with marks at events, which follows the training until it is moved.

A Streamlit slider that both the program and a person move loses one of the two moves. Here the browser alone decides
which step is shown, also while it plays: it then asks for the next step once this one is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from app.components.component import component
from mvm.look.palette import MARKS, title_of
from mvm.runs.events import Diverged, Event, Failed, Forked, MemberChanged, SettingsChanged, WeightsChanged
from mvm.runs.weights import moves
from mvm.studies.labels import settings_in_words
from mvm.words import visible

__all__ = ["Shown", "clock", "timeline"]

_component = component(Path(__file__).parent)


class Shown(NamedTuple):
    """What a timeline shows.

    Attributes:
        step: to show; None for the newest.
        playing: whether it plays.
    """

    step: int | None
    playing: bool


def timeline(
    events: Sequence[Event],
    *,
    first: Mapping[str, float | None],
    done: int,
    steps: int,
    every: int,
    key: str,
    sought: tuple[str, int, int | None] | None = None,
) -> Shown:
    """Draw the timeline; return what it shows.

    Args:
        events: of the run; those without a mark in `mvm.look.palette.MARKS` are ignored.
        first: values of settings that may be moved, as from `mvm.runs.weights.first_settings`.
        done: trained steps.
        steps: steps of the whole run.
        every: steps between two snapshots, to which the slider snaps.
        key: identity of the widget.
        sought: number of a wish, second, and step to go to, last, once for each number; None without a wish.
    """
    moved = moves(events, first)
    marks = [_mark(event, new) for event, new in zip(events, moved, strict=True) if event.mark in MARKS]
    asked = st.session_state.get(key, {}).get("step")  # sent back: playing goes on once a step is drawn
    data = {"name": key, "marks": marks, "done": done, "steps": steps, "every": every, "shown": asked}
    data |= {"sought": sought and sought[1:]}
    default = {"step": None, "playing": False}
    found = _component(key=key, data=data, default=default, on_step_change=lambda: None, on_playing_change=lambda: None)
    return Shown(found.get("step"), bool(found.get("playing")))


def clock(times: Sequence[str], *, key: str) -> int:
    """Draw a timeline of named times, which plays; return the index of the one it shows, at first the last.

    Args:
        times: in their order.
        key: identity of the widget.
    """
    asked, last = st.session_state.get(key, {}).get("step"), len(times) - 1
    data = {"name": key, "marks": [], "done": last, "steps": last, "every": 1, "shown": asked, "times": [*times]}
    default = {"step": None, "playing": False}
    found = _component(key=key, data=data, default=default, on_step_change=lambda: None, on_playing_change=lambda: None)
    step = found.get("step")
    return last if step is None else min(int(step), last)


def _mark(event: Event, moved: Mapping[str, float]) -> dict:
    colour, words = MARKS[event.mark]
    return {
        "step": event.step,
        "colour": colour,
        "text": visible(f"step {event.step:,}: {words}{_detail(event, moved)}"),
    }


def _detail(event: Event, moved: Mapping[str, float]) -> str:
    match event:
        case WeightsChanged() | SettingsChanged() if moved:
            return f": {settings_in_words(moved)}"
        case Forked():
            return f" off {event.of}" + (f": {settings_in_words(event.changes)}" if event.changes else "")
        case MemberChanged():
            return f": {title_of(event.variant)}, seed {event.seed}"
        case Diverged() | Failed() if event.reason:
            return f": {event.reason}"
    return ""
