"""The panel Lenses of the Lab: one lens at a time, looked through in a thread, as it may take seconds.

A step that is not looked at yet leaves the last reading on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.asked import ask
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

__all__ = ["HEIGHT", "draw_lens", "numbers_table", "take_link"]

HEIGHT = 380  # pixels of the pictures


def take_link(tab: Page) -> None:
    """Put a lens's title in the place of its name in the URL; to be called before any fragment is drawn."""
    asked = st.query_params.get(key := tab.key("lens"))
    if asked in LENSES and key not in st.session_state:
        st.query_params[key] = LENSES[asked].title  # the widget reads it at the start of a run
        st.rerun()


def draw_lens(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw the choice of a lens, its pictures of one variant, and its numbers of all shown variants."""
    shown, view = columns_of(run), records.at(step)
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
    if view is None:
        return None
    keys = [(str(run.path), run.identity, member, step, lens) for member in shown.members]
    order = [keys[place], *keys[:place], *keys[place + 1 :]]
    answer, at = ask("lens", order, lambda key: _look(run, view, key)), step
    found = answer.values and [*answer.values[1 : place + 1], answer.values[0], *answer.values[place + 1 :]]
    last = st.session_state.setdefault("_lens.last", {})
    named = (run.name, lens, tuple(shown.members))
    if answer.reason:
        st.info(plain(answer.reason), icon=":material/info:")
        return None
    if found is None:
        tab.behind = True
        at, found = last.get(named, (step, None))
    else:
        last[named] = (step, found)
    if found is None:
        with st.container(height=height_of(tab, HEIGHT), border=False):
            st.caption(f"Looking at step {step:,} ...")
        return None
    _draw(tab, run, shown, found, place, at)
    waiting = f"; looking at step {step:,} ..." if at != step else ""
    return f"Step {at:,}{waiting}."


def _look(run: Run, view: dict[str, np.ndarray], key: tuple[Any, ...]) -> Reading | str:
    """What a lens finds of a member of a snapshot, or why it cannot look."""
    *_, member, _, lens = key
    try:
        return LENSES[lens].look(looked_at(run, member, view))
    except ConfigError as error:
        return str(error).removeprefix(f"{LENSES[lens].title}: ")


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
