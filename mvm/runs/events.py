"""Events of a run, and the state that they tell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

__all__ = ["ALIVE", "STATE_OF_EVENT", "lost", "lost_in_words", "state_of"]


ALIVE = ("starting", "queued", "running", "paused")


STARTING = 120  # seconds that a launched process may take to get hold of its run: a busy machine needs long to import


STATE_OF_EVENT = {
    "launched": "starting",
    "queued": "queued",
    "started": "running",
    "resumed": "running",
    "paused": "paused",
    "continued": "running",
    "finished": "finished",
    "stopped": "stopped",
    "diverged": "diverged",
    "failed": "failed",
}


def state_of(event: dict | None, *, alive: bool) -> str:
    """What a run is doing, by the last event that speaks of it and whether a trainer holds its lock."""
    state = STATE_OF_EVENT[event["event"]] if event else "new"
    if alive:
        return state if state in ALIVE else "starting"
    if state == "starting" and time.time() - event["time"] < STARTING:
        return state
    return "interrupted" if state in ALIVE else state


LOST = ("collapsed", "diverged")


def lost(events: Iterable[dict]) -> dict[int, str]:
    """Members that are collapsed or diverged: what events, oldest first, have last said of them."""
    last = {event["member"]: event["what"] for event in events if event["event"] == "member"}
    return {member: what for member, what in last.items() if what in LOST}


def lost_in_words(events: Iterable[dict], members: int) -> str:
    """The same in words, such as "1 of 6 diverged"; empty if none is lost."""
    counts = Counter(lost(events).values())
    return ", ".join(f"{counts[what]} of {members} {what}" for what in LOST if counts[what])
