"""Exhibits: results of the survey on manifolds and generative models, each with a picture, a knob and a verdict."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.charts.exhibits import exhibit_chart
from app.components.live_plot import live_plot
from app.link import keep, linked
from app.text import plain
from mvm.studies.exhibits import EXHIBITS, SURVEY, Exhibit, Result
from mvm.studies.exhibits.results import in_numbers, measured, shipped, table_of

__all__ = ["exhibits", "lab_link"]

HEIGHT = 280
INTRODUCTION = (
    "Real data have many dimensions and few degrees of freedom: they lie near a surface of low dimension, a "
    "*manifold*. What follows for generative models, theory says; here each result is measured on toy data whose "
    "manifold is known. "
    f"Source: {SURVEY}."
)
COLOURS = {True: "green", False: "orange"}


def exhibits() -> None:
    """Draw the page."""
    st.title("Why manifolds", anchor=False)
    st.caption(INTRODUCTION)
    own = measured()
    known, device = shipped()
    found = known | own
    draw_scoreboard(found)
    where = f"Measured on {plain(device)} by `python -m mvm claims --survey`" if device else "Not measured yet"
    here = f"; measured here: {', '.join(map(plain, own))}" if own else ""
    st.caption(f"{where}{here}. A verdict counts the random seeds for which the criterion is met.")
    for name, exhibit in EXHIBITS.items():
        with st.container(border=True):
            draw_exhibit(name, exhibit, found.get(name))


def draw_scoreboard(found: dict[str, Result]) -> None:
    """Draw one line for each exhibit, with its verdict."""
    lines = []
    for name, exhibit in EXHIBITS.items():
        lines.append(f"1. [{plain(exhibit.title)}](#{name}) {badge(found.get(name))}")
    st.markdown("\n".join(lines))


def badge(result: Result | None) -> str:
    """The verdict as a badge."""
    if result is None:
        return ":gray-badge[not measured]"
    return f":{COLOURS[result.held == len(result.rows)]}-badge[{plain(result.verdict)}]"


def draw_exhibit(name: str, exhibit: Exhibit, result: Result | None) -> None:
    """Draw one exhibit: title, text, knob, picture, verdict, links."""
    st.subheader(plain(exhibit.title), anchor=name)
    st.markdown(exhibit.description.replace("~", r"\~"))
    if result is not None:
        draw_picture(name, result)
        verdict = f"{badge(result)} Criterion: {plain(exhibit.criterion)}."
        numbers = in_numbers(result)
        st.markdown(verdict + (f"  \n:gray[Medians over the seeds: {plain(numbers)}.]" if numbers else ""))
        if table := table_of(result):
            st.markdown(table)
    else:
        keep(f"exhibit.{name}")
        st.info(f"`python -m mvm claims --survey --only {plain(name)}` measures it.", icon=":material/science:")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Open in Lab", key=f"open.{name}", icon=":material/science:",
            help="Go to the Lab with these data and this model set for the next run",
        ):  # fmt: skip
            st.switch_page(st.session_state["_pages"]["Lab"], query_params=lab_link(exhibit.settings))
        st.caption(f"In the survey: {plain(exhibit.source)}", width="content")


@st.fragment  # so that a knob draws its own exhibit anew, and no other
def draw_picture(name: str, result: Result) -> None:
    """Draw the knob, and the panels of its value, which stand below each other on a narrow screen."""
    values = list(result.pictures)
    value = linked(
        st.segmented_control, EXHIBITS[name].knob, values, default=values[-1], required=True, key=f"exhibit.{name}",
        help="Each value was measured; the pictures show the first random seed unless they say otherwise",
    )  # fmt: skip
    panels = result.pictures[value]
    width = 4 if len(panels) > 4 else len(panels)
    for start in range(0, len(panels), width):
        row = panels[start : start + width]
        for number, (column, panel) in enumerate(zip(st.columns(width), row, strict=False), start):
            with column:
                st.markdown(f"**{plain(panel.title)}**")
                about = ", ".join(series.name for series in panel.series if series.name)
                live_plot(
                    exhibit_chart(panel), key=f"exhibit.{name}.{number}", height=HEIGHT, alt=f"{panel.title}: {about}"
                )


def lab_link(settings: dict[str, Any]) -> dict[str, str]:
    """Parameters of the Lab's URL for settings as for `Config.make`."""
    values = dict(settings)
    data, method = values.pop("data"), values.pop("method")
    found = {"data": data, "method": method}
    if dim := values.pop("ambient_dim", None):
        found[f"{data}.ambient"] = f"{dim}"
    prefix = "" if method == "mvm" else f"{method}."
    for group, members in values.items():
        found |= {f"{prefix}{group}.{name}": f"{value}" for name, value in members.items()}
    return found
