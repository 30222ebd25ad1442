"""The timeline of a run: a slider with event marks on it, that follows the training until someone takes hold of it.

A Streamlit slider cannot be moved by the program and by a person at once without losing one of the two. Here only the
browser decides what is shown: a step, or the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.component import component
from app.plots import title_of
from mvm.look.palette import MARKS
from mvm.runs.events import Diverged, Event, Failed, Forked, MemberChanged, WeightsChanged
from mvm.runs.fork import Origin

__all__ = ["timeline"]

_component = component(Path(__file__).parent)


def timeline(events: Sequence[Event], *, done: int, steps: int, every: int, key: str) -> int | None:
    """Draw the timeline and say which step is wanted.

    Args:
        events: of the run; those that have no mark in `mvm.look.palette.MARKS` are passed over.
        done: steps trained so far.
        steps: steps of the whole run.
        every: steps between two snapshots: what the slider snaps to.
        key: the widget's identity on the page.

    Returns:
        The step to show, or None to follow the newest.
    """
    marks = [_mark(event) for event in events if event.mark in MARKS]
    data = {"marks": marks, "done": done, "steps": steps, "every": every}
    return _component(key=key, data=data, default={"step": None}, on_step_change=lambda: None).get("step")


def _mark(event: Event) -> dict:
    colour, words = MARKS[event.mark]
    return {"step": event.step, "colour": colour, "text": f"step {event.step:,}: {words}{_detail(event)}"}


def _detail(event: Event) -> str:
    match event:
        case WeightsChanged():
            return ": " + ", ".join(f"{name} {value:g}" for name, value in event.weights.items())
        case Forked():
            made = Origin(event.of, event.step, event.changes)
            return f" off {made.run}" + (f", {made.changed}" if made.changed else "")
        case MemberChanged():
            return f": {title_of(event.variant)}, seed {event.seed}"
        case Diverged() | Failed() if event.reason:
            return f": {event.reason}"
    return ""
