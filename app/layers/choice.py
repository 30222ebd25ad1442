"""Which layers a person has switched on: the widgets, their values, and the two ends of a geodesic."""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from app.components.live_plot import Clicked
from app.components.picture_grid import Picked
from app.link import linked, tell
from app.session import Page
from app.text import quoted
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.geometry.spectrum import MOST_RANKS
from mvm.runs.run import Run

__all__ = ["Choice", "choice_of", "colour_by_eigenvector", "draw_controls", "take_click"]

LAYERS = ["real", "fake", "grid", "forces", "metric", "geodesic", "density", "nearest"]
DEFAULT_LAYERS = LAYERS[:3]
OVERLAYS = LAYERS[2:]  # of which one is shown at a time, unless several are asked for
COLOURS = ["kind", "eigenvector", "trust", "continuity"]
MOST_POINTS = 4096  # in a view, before its run is known
ENDS, NEAR = "_layers.ends", "_layers.near"  # keys in the session
WANTED, CLICKED = "_layers.wanted", "_layers.clicked"  # rank to colour by from the next rerun on; time of that click
SHOWN = "_layers.shown"  # key in the session: layers at the last rerun


@dataclass(frozen=True)
class Choice:
    """Layers and colours to draw.

    Attributes:
        layers: names in `LAYERS`.
        terms: descriptors whose forces are drawn where a variant matches them.
        unmatched: whether forces are drawn, faintly, where the variant does not match the descriptor.
        colour: a name in `COLOURS`.
        rank: of the eigenvector, from 1.
        ends: indices of the two reals that a geodesic joins.
        near: kind, real or fake, and index of the point whose nearest points are marked.
    """

    layers: list[str]
    terms: list[str]
    unmatched: bool
    colour: str
    rank: int
    ends: tuple[int, int]
    near: tuple[str, int] = ("real", 0)

    @property
    def picks(self) -> bool:
        """Whether a click on a point chooses it."""
        return self.picks_ends or "nearest" in self.layers

    @property
    def picks_ends(self) -> bool:
        """Whether a click on a real chooses an end of the geodesic."""
        return "geodesic" in self.layers and "real" in self.layers


def draw_controls(tab: Page, run: Run | None) -> None:
    """Draw the widgets of the layers into the popover View."""
    if WANTED in st.session_state:
        st.session_state[tab.key("colour")], rank = "eigenvector", st.session_state.pop(WANTED)
        if tab.key("rank") in st.session_state:
            st.session_state[tab.key("rank")] = rank
    layers = linked(
        st.segmented_control, "Layers", LAYERS, selection_mode="multi", default=DEFAULT_LAYERS, key=tab.key("layers"),
        on_change=_replace_overlay, args=(tab,),
        help="grid: image of a square grid of noise under the generator. forces: the direction in which a fake lowers "
        "each descriptor's gap fastest. metric: log area distortion of the learned metric, and points at equal metric "
        "distance from a centre. geodesic: shortest path between two reals under the metric. density: log density of "
        "the model, if it has one; with level curves in the plane, else at the reals. nearest: the ten reals nearest "
        "to the point that you click, by three distances",
    )  # fmt: skip
    st.session_state[SHOWN] = layers
    linked(
        st.toggle, "Several layers at once", False, key=tab.key("several"),
        help="off: a chosen layer replaces the one before; reals and fakes stay",
    )  # fmt: skip
    if "forces" in layers:
        linked(
            st.segmented_control, "Forces of", list(DESCRIPTORS), selection_mode="multi", default=list(DESCRIPTORS),
            key=tab.key("terms"), format_func=lambda name: DESCRIPTORS[name].title,
            help="negative gradient of each descriptor's gap with respect to a fake, not weighted; a panel shows the "
            "descriptors that its variant matches",
        )  # fmt: skip
        linked(
            st.toggle, "Also forces that a variant does not match", False, key=tab.key("unmatched"),
            help="faint arrows: descriptors that the variant does not train on",
        )  # fmt: skip
    if "geodesic" in layers:
        _draw_ends(run)
    colour = linked(
        st.segmented_control, "Colour of the points", COLOURS, default=COLOURS[0], required=True, key=tab.key("colour"),
        help="kind: real or fake. eigenvector: of the real embeddings' distance matrix. Below, for the projection of "
        "the embeddings: trust: 1 where all neighbours in the plot are neighbours under the metric; continuity: 1 "
        "where the plot keeps all neighbours under the metric",
    )  # fmt: skip
    if colour == "eigenvector":
        linked(
            st.select_slider, "Eigenvector", list(range(1, MOST_RANKS + 1)), 2, key=tab.key("rank"),
            help="rank of its eigenvalue in the spectrum below; the first of D / mean D is nearly constant",
        )  # fmt: skip


def _replace_overlay(tab: Page) -> None:
    """Let the layer that was just chosen replace the others over the points, unless several are wanted."""
    chosen, earlier = tab.setting("layers", DEFAULT_LAYERS), st.session_state.get(SHOWN, ())
    new = [name for name in chosen if name in OVERLAYS and name not in earlier]
    if new and not tab.setting("several", False):
        st.session_state[tab.key("layers")] = [name for name in chosen if name not in OVERLAYS or name in new]


def colour_by_eigenvector(tab: Page, clicked: Clicked | None) -> None:
    """Colour the points by the eigenvector whose eigenvalue was clicked in the spectrum, and rerun."""
    if clicked is not None and clicked.when > st.session_state.get(CLICKED, 0.0):
        st.session_state[CLICKED], st.session_state[WANTED] = clicked.when, clicked.index + 1
        if tab.key("rank") not in st.session_state:
            st.query_params[tab.key("rank")] = str(clicked.index + 1)  # where a widget that is new reads its value
        st.rerun()


def choice_of(tab: Page) -> Choice:
    """Values of the widgets; defaults for those that are not drawn."""
    return Choice(
        tab.setting("layers", DEFAULT_LAYERS), tab.setting("terms", list(DESCRIPTORS)),
        tab.setting("unmatched", False), tab.setting("colour", COLOURS[0]), tab.setting("rank", 2), _ends().indices,
        _near().point,
    )  # fmt: skip


def take_click(picked: Picked | None, choice: Choice) -> None:
    """Take a click on a point and rerun: mark its nearest points; a real becomes an end of the geodesic.

    Clicks move the two ends in turn.
    """
    ends, near = _ends(), _near()
    if picked is None or not choice.picks or picked.when <= max(ends.when, near.when):
        return
    if "nearest" in choice.layers:
        near.choose(picked.layer, picked.index)
    if choice.picks_ends and picked.layer == "real":
        start, end = ends.indices
        ends.move(*((picked.index, end) if ends.clicks % 2 == 0 else (start, picked.index)))
        ends.clicks += 1
    ends.when = near.when = picked.when
    st.rerun()


@dataclass
class _Near:
    """The point whose nearest points are marked in one browser tab.

    Attributes:
        point: its kind, real or fake, and index.
        when: time of the last click, as for `_Ends`.
    """

    point: tuple[str, int] = ("real", 0)
    when: float = 0.0

    def choose(self, kind: str, index: int) -> None:
        """Mark the nearest points of this one, and write it to the URL."""
        self.point = (kind, index)
        st.query_params["near"] = f"{kind}-{index}"


def _near() -> _Near:
    if NEAR not in st.session_state:
        words = st.query_params.get("near")
        asked = re.fullmatch(r"(real|fake)-([0-9]{1,9})", words or "")
        if words is not None and asked is None:
            tell(f"near: must be a point such as real-3 or fake-41, not {quoted(words)}")
        st.session_state[NEAR] = _Near((asked[1], int(asked[2])) if asked else ("real", 0))
    return st.session_state[NEAR]


@dataclass
class _Ends:
    """The two reals that a geodesic joins in one browser tab.

    Attributes:
        indices: of the two reals.
        clicks: number of clicks that moved an end; keys of the widgets contain it, as widgets in a closed popover
            keep their old value.
        when: time of the last click, ms since the epoch, by the browser's clock.
    """

    indices: tuple[int, int] = (0, 1)
    clicks: int = 0
    when: float = 0.0

    def move(self, start: int, end: int) -> None:
        """Join these two reals, and write them to the URL."""
        self.indices = (start, end)
        st.query_params["ends"] = f"{start}-{end}"


def _ends() -> _Ends:
    if ENDS not in st.session_state:
        words = st.query_params.get("ends")
        ends = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", words or "")
        if words is not None and ends is None:
            tell(f"ends: must be two indices of real points, such as 3-41, not {quoted(words)}")
        st.session_state[ENDS] = _Ends((int(ends[1]), int(ends[2])) if ends else (0, 1))
    return st.session_state[ENDS]


def _draw_ends(run: Run | None) -> None:
    """Draw a number input for each end."""
    ends, most = _ends(), (MOST_POINTS if run is None else run.config.view_points) - 1
    typed = [
        st.number_input(
            label, 0, most, min(index, most), key=f"{label}.{ends.clicks}.{most}",
            help=f"index of a real point, at most {most:,}; or click two real points in data space",
        )
        for label, index in zip(("Geodesic from real", "Geodesic to real"), ends.indices, strict=True)
    ]  # fmt: skip
    ends.move(typed[0], typed[1])
