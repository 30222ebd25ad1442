"""The panel Lenses of the Lab: one lens at a time, looked through in a thread, as it may take seconds.

Readings are kept for all browser tabs. A step that is not looked at yet leaves the last reading on the screen.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.background import Work
from app.charts.lenses import lens_chart
from app.columns import Columns, columns_of
from app.components.live_plot import live_plot
from app.link import linked
from app.live import height_of
from app.session import Page
from app.text import plain
from mvm.errors import ConfigError
from mvm.lenses import LENSES, Reading
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.studies.lenses import looked_at

__all__ = ["HEIGHT", "Looking", "draw_lens", "readings"]

HEIGHT = 380  # pixels of the pictures
KEPT = 256  # readings

Key = tuple[Any, ...]
Readings = OrderedDict[Key, Reading | str]
"""What a lens found, or why it cannot look, by run, member, step and lens; the oldest go first."""


@dataclass
class Looking(Work):
    """Some looks at one snapshot.

    Attributes:
        wanted: their keys.
    """

    wanted: frozenset[Key]


@st.cache_resource
def readings() -> Readings:
    """All that was looked at."""
    return OrderedDict()


def draw_lens(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw the choice of a lens, its pictures of one variant, and its numbers of all shown variants."""
    shown = columns_of(run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        lens = linked(
            st.selectbox, "Lens", list(LENSES), format_func=lambda name: LENSES[name].title, key=tab.key("lens"),
            help="one way to look at the generated points beside real ones; what takes longer than a moment is "
            "computed in the background",
        )  # fmt: skip
        place = 0
        if len(shown.members) > 1:
            titles = dict(enumerate(shown.titles))
            place = st.segmented_control(
                "Pictures of", list(titles), format_func=titles.get, default=len(titles) - 1, required=True,
                key=f"lens-of.{run.name}.{len(titles)}", help="the variant that is drawn; the table has all of them",
            )  # fmt: skip
    st.caption(plain(LENSES[lens].how_to_read))
    keys = [(str(run.path), run.identity, member, step, lens) for member in shown.members]
    found, at = _found(tab, run, records, step, lens, keys, first=place), step
    last = st.session_state.setdefault("_lens.last", {})
    named = (run.name, lens, tuple(shown.members))
    if len(found) == len(keys):
        last[named] = (step, found)
    elif named in last:
        at, found = last[named]
    if len(found) < len(keys):
        with st.container(height=height_of(tab, HEIGHT), border=False):
            st.caption(f"Looking at step {step:,} ...")
        return None
    _draw(tab, run, shown, found, place, at)
    waiting = f"; looking at step {step:,} ..." if at != step else ""
    return f"Step {at:,}{waiting}."


def _draw(tab: Page, run: Run, shown: Columns, found: Sequence[Reading | str], place: int, step: int) -> None:
    """Draw pictures of one variant, and the table of all."""
    chosen = found[place]
    if isinstance(chosen, str):
        st.info(plain(f"{chosen[:1].upper()}{chosen[1:]}."), icon=":material/info:")
    else:
        numbers = "; ".join(
            f"{n.label} {_number(n.value)}, baseline {_number(n.baseline)}" for n in chosen.numbers.values()
        )
        live_plot(
            lens_chart(chosen.pictures, step=step), key=f"lens.{run.name}", height=height_of(tab, HEIGHT),
            alt=f"{shown.titles[place]} at step {step}: {numbers}",
        )  # fmt: skip
    if not all(isinstance(each, str) for each in found):
        table = numbers_table(found, shown.titles)
        st.dataframe(table, hide_index=True, width="stretch", height=35 * (len(table) + 1) + 3)


def numbers_table(found: Sequence[Reading | str], titles: Sequence[str]) -> pd.DataFrame:
    """One row per number: label, truth, baseline, and each variant's value, beside its own baseline if it has one."""
    known = [each for each in found if isinstance(each, Reading)]
    rows = []
    for key, first in known[0].numbers.items():
        baselines = {each.numbers[key].baseline for each in known}
        own = len({_number(baseline) for baseline in baselines}) > 1
        row = {"number": first.label, "truth": "–" if first.truth is None else _number(first.truth)}
        row["baseline"] = "in brackets" if own else _number(first.baseline)
        for title, each in zip(titles, found, strict=True):
            if isinstance(each, str):
                row[title] = "–"
                continue
            number = each.numbers[key]
            row[title] = _number(number.value) + (f" ({_number(number.baseline)})" if own else "")
        rows.append(row)
    return pd.DataFrame(rows)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _found(
    tab: Page, run: Run, records: History, step: int, lens: str, keys: Sequence[Key], *, first: int
) -> list[Reading | str]:
    """Readings of these keys, in order, or fewer while some are awaited."""
    known = readings()
    missing = [key for key in [keys[first], *keys] if key not in known]
    looking: Looking | None = st.session_state.get("_lens.looking")
    if looking is not None:
        looking.seen = time.monotonic()
        if looking.state == "working" and not looking.wanted & {*missing}:
            looking.dropped = True  # for another lens or step
            looking = None
    if missing:
        tab.behind = True
        failed = looking is not None and looking.state == "failed" and looking.wanted >= {*missing}
        if failed and looking is not None and looking.reason:
            return [looking.reason] * len(keys)
        view = records.at(step)
        if view is not None and (looking is None or looking.state != "working"):
            looking = Looking(wanted=frozenset(missing))
            st.session_state["_lens.looking"] = looking
            looking.begin(partial(_look, looking, run, view, dict.fromkeys(missing), lens))
    return [known[key] for key in keys if key in known] if not missing else []


def _look(looking: Looking, run: Run, view: Any, keys: dict[Key, None], lens: str) -> None:
    """Look at some members, and keep what is found."""
    known = readings()
    for done, key in enumerate(keys):
        looking.report(done, len(keys), LENSES[lens].title)
        subject = looked_at(run, key[2], view)
        try:
            known[key] = LENSES[lens].look(subject)
        except ConfigError as error:
            known[key] = str(error).removeprefix(f"{LENSES[lens].title}: ")
        while len(known) > KEPT:
            known.popitem(last=False)
