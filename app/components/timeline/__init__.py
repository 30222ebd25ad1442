"""The timeline of a run: a slider with event marks on it, that follows the training until someone takes hold of it.

A Streamlit slider cannot be moved by the program and by a person at once without losing one of the two. Here only the
browser decides what is shown: a step, or the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.components.component import component
from mvm.look.palette import MARKS, title_of
from mvm.runs.fork import Origin

__all__ = ["timeline"]

_component = component(Path(__file__).parent)


def timeline(events: Sequence[dict], *, done: int, steps: int, every: int, key: str) -> int | None:
    """Draw the timeline and say which step is wanted.

    Args:
        events: records of `scalars.jsonl` that have a mark in `mvm.look.palette.MARKS`; others are passed over.
        done: steps trained so far.
        steps: steps of the whole run.
        every: steps between two snapshots: what the slider snaps to.
        key: the widget's identity on the page.

    Returns:
        The step to show, or None to follow the newest.
    """
    marks = [_mark(event) for event in events if event.get("what", event["event"]) in MARKS]
    data = {"marks": marks, "done": done, "steps": steps, "every": every}
    return _component(key=key, data=data, default={"step": None}, on_step_change=lambda: None).get("step")


def _mark(event: dict) -> dict:
    colour, words = MARKS[event.get("what", event["event"])]
    detail = ""
    if "weights" in event:
        detail = ": " + ", ".join(f"{name} {value:g}" for name, value in event["weights"].items())
    elif "changes" in event:
        made = Origin(event["of"], event["step"], event["changes"])
        detail = f" off {made.run}" + (f", {made.changed}" if made.changed else "")
    elif "variant" in event:
        detail = f": {title_of(event['variant'])}, seed {event['seed']}"
    elif event.get("reason"):
        detail = f": {event['reason']}"
    return {"step": event["step"], "colour": colour, "text": f"step {event['step']:,}: {words}{detail}"}
