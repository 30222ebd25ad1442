"""Timeline of a run: a slider with marks at events, which follows the training until it is moved.

A Streamlit slider that both the program and a person move loses one of the two moves. Here the browser alone decides
which step is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.components.component import component
from mvm.look.palette import MARKS, title_of
from mvm.runs.documents import Origin
from mvm.runs.events import Diverged, Event, Failed, Forked, MemberChanged, WeightsChanged
from mvm.words import visible

__all__ = ["timeline"]

_component = component(Path(__file__).parent)


def timeline(
    events: Sequence[Event],
    *,
    done: int,
    steps: int,
    every: int,
    key: str,
    sought: tuple[str, int, int | None] | None = None,
) -> int | None:
    """Draw the timeline; return the chosen step.

    Args:
        events: of the run; those without a mark in `mvm.look.palette.MARKS` are ignored.
        done: trained steps.
        steps: steps of the whole run.
        every: steps between two snapshots, to which the slider snaps.
        key: identity of the widget.
        sought: number of a wish, second, and step to go to, last, once for each number; None without a wish.

    Returns:
        The step to show; None for the newest.
    """
    marks = [_mark(event) for event in events if event.mark in MARKS]
    data = {"marks": marks, "done": done, "steps": steps, "every": every, "sought": sought and sought[1:]}
    return _component(key=key, data=data, default={"step": None}, on_step_change=lambda: None).get("step")


def _mark(event: Event) -> dict:
    colour, words = MARKS[event.mark]
    return {"step": event.step, "colour": colour, "text": visible(f"step {event.step:,}: {words}{_detail(event)}")}


def _detail(event: Event) -> str:
    match event:
        case WeightsChanged():
            return ": " + ", ".join(f"{name} {value:g}" for name, value in event.weights.items())
        case Forked():
            origin = Origin(event.of, event.step, event.changes)
            return f" off {origin.run}" + (f", {origin.changed}" if origin.changed else "")
        case MemberChanged():
            return f": {title_of(event.variant)}, seed {event.seed}"
        case Diverged() | Failed() if event.reason:
            return f": {event.reason}"
    return ""
