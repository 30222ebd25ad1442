"""What takes over a tenth of a second is asked for by a page and computed in a thread, then kept for all browser tabs.

A page asks again at every rerun, and gets what is there. Asking for something else drops what was asked before.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.background import Work

__all__ = ["Answer", "Asked", "ask"]

KEPT = 256  # values of each kind


@dataclass
class Asked(Work):
    """Values that are being computed.

    Attributes:
        wanted: their keys.
    """

    wanted: frozenset[Hashable]


@dataclass(frozen=True)
class Answer:
    """What is known of the values that were asked for.

    Attributes:
        values: in the order of their keys; None while one is missing.
        reason: why they cannot be computed; "" if that is not known.
    """

    values: list[Any] | None
    reason: str = ""


@st.cache_resource
def kept(kind: str) -> OrderedDict[Hashable, Any]:
    """Values of a kind by key, the oldest first."""
    return OrderedDict()


def ask(kind: str, keys: Sequence[Hashable], compute: Callable[[Any], Any]) -> Answer:
    """The values of some keys; those that are missing are computed in this browser tab's thread for the kind.

    Args:
        kind: names what is asked for.
        keys: they name everything that a value depends on; the first ones are computed first.
        compute: the value of a key; called in a thread, without Streamlit.
    """
    known, slot = kept(kind), f"_asked.{kind}"
    missing = [key for key in dict.fromkeys(keys) if key not in known]
    asked: Asked | None = st.session_state.get(slot)
    if asked is not None:
        asked.seen = time.monotonic()
    if not missing:
        return Answer([known[key] for key in keys])
    fits = asked is not None and asked.wanted >= {*missing}
    if asked is not None and fits and asked.state == "failed" and asked.reason:
        return Answer(None, asked.reason)
    if asked is None or not fits or asked.state != "working":
        if asked is not None:
            asked.dropped = True
        fresh = st.session_state[slot] = Asked(wanted=frozenset(missing))
        fresh.begin(lambda: _compute(fresh, missing, compute, known))
    return Answer(None)


def _compute(asked: Asked, keys: Sequence[Hashable], compute: Callable[[Any], Any], known: OrderedDict) -> None:
    for done, key in enumerate(keys):
        asked.report(done, len(keys), "")
        known[key] = compute(key)
        while len(known) > KEPT:
            known.popitem(last=False)
