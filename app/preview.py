"""A look at the data of the next run: real points or pictures, drawn where they are chosen, before training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch

from app.components.cloud_plot import cloud_plot
from app.components.picture_grid import picture_grid
from app.layers import Axes
from app.link import linked
from app.text import plain
from mvm.config import Config
from mvm.data.columns import Column, dropped_at_first
from mvm.data.points import Look, look_at
from mvm.errors import ConfigError
from mvm.look.palette import REAL
from mvm.look.scales import span_of
from mvm.look.thumbnails import thumbnail
from toy_manifolds import MANIFOLDS, manifold

__all__ = ["choose_columns", "choose_rows", "draw_pictures", "draw_points", "draw_shapes", "in_app", "take_shape"]

TITLE = "**Data of the next run**"
HEIGHT = 240
THUMBNAIL_POINTS = 700
MOST_BOXES = 60  # columns with a box each
UNEVEN = 20.0  # ratio of the axes' lengths from which on a drawing in own units is a line
DROPPED = "file.drop_columns"  # in the URL
STYLE = (
    "<style>.st-key-shapes { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.8rem, 1fr)) } "
    ".st-key-shapes button { padding: .2rem } .st-key-shapes p { font-size: .75rem; line-height: 1.2 } "
    ".st-key-shapes img { display: block; height: 3.4rem; max-height: none; margin: 0 auto .1rem } "
    ".st-key-columns label strong { display: block }</style>"
)


# -- points ------------------------------------------------------------------------------------------------------------


def draw_points(data: dict[str, Any], *, own: Path | None = None, summary: str = "") -> None:
    """Draw real points of a data set, with their number, dimension and scale; or one line why there are none.

    Args:
        data: fields of the config that name it.
        own: file to read in its place: a run's copy of own points.
        summary: in place of number and dimension.
    """
    try:
        look = _look(Config.make(**data).model_dump_json(), own)
    except (ConfigError, OSError) as error:
        st.error(plain(error), icon=":material/error:")
        return
    points, uneven = look.points, _is_uneven(look.points)
    if uneven:
        deviation = points.std(0)
        points = (points - points.mean(0)) / np.where(deviation > 0, deviation, 1)
    drawn = Axes.of(points)(points)
    scale = "each column in its standard deviations" if uneven else _ranges(drawn) if look.dim <= 3 else ""
    if look.dim > 3:
        share = drawn.var(0).sum() / points.var(0).sum()
        scale = f"drawn on the first three principal components, {share:.0%} of the variance" + f"; {scale}" * uneven
    summary = summary or f"{look.count:,} points in {look.dim} dimensions"
    st.caption(f"{TITLE}  \n{plain(summary)}  \n{plain(scale)}")
    panel = {
        "title": "", "span": span_of(drawn, margin=0.1).tolist(), "ticks": True,
        "layers": [{"name": "real", "colour": REAL, "points": drawn}],
    }  # fmt: skip
    cloud_plot(
        [panel], key="preview", height=HEIGHT, step=0,
        alt=f"{len(points)} of the {look.count:,} real points that the next run trains on, in {look.dim} dimensions",
    )  # fmt: skip


@st.cache_data(max_entries=64, show_spinner=False)
def _look(config: str, own: Path | None) -> Look:
    return look_at(Config.model_validate_json(config), own=own)


def _is_uneven(points: np.ndarray) -> bool:
    """Whether axes with one unit would show a line, as columns have very different scales."""
    deviations = points.std(0)
    deviations = deviations[deviations > 0]
    return len(deviations) > 1 and bool(deviations.max() > UNEVEN * deviations.min())


def _ranges(points: np.ndarray) -> str:
    """The extent of each axis, such as "x −1 to 1, y −1 to 1"."""
    ends = zip("xyz", points.min(0), points.max(0), strict=False)
    return ", ".join(f"{axis} {_digits(low, 2)} to {_digits(high, 2)}" for axis, low, high in ends)


def _digits(value: float, most: int = 3) -> str:
    """A number with so many significant digits, all of its whole ones up to a million, and a minus of full width."""
    whole = 10**most <= abs(value) < 1e6
    return (f"{value:,.0f}" if whole else f"{value:.{most}g}").replace("-", "−")


# -- toy manifolds -----------------------------------------------------------------------------------------------------


def take_shape(key: str) -> None:
    """Give the widget of this key the manifold that was pressed in `draw_shapes`; before the widget is drawn."""
    if "_shape" in st.session_state:
        st.session_state[key] = st.session_state.pop("_shape")


@st.fragment  # so that the dialog does not wait for the page
def draw_shapes() -> None:
    """Draw a button that opens small pictures of all toy manifolds, to choose one of them."""
    if st.button("All shapes", icon=":material/apps:", width="stretch"):
        _shapes()


@st.dialog("All shapes")
def _shapes() -> None:
    st.html(STYLE)
    with st.container(key="shapes", gap="xsmall"):
        for name, kind in MANIFOLDS.items():
            if st.button(
                f"![]({_thumbnail(name)}) {kind.title}", key=f"shape.{name}", width="stretch",
                on_click=_choose, args=(name,),
            ):  # fmt: skip
                st.rerun()


def _choose(name: str) -> None:
    st.session_state["_shape"] = name


@st.cache_resource
def _thumbnail(name: str) -> str:
    points = manifold(name).sample(THUMBNAIL_POINTS, torch.Generator().manual_seed(0)).points
    return thumbnail((points.numpy(), REAL))


# -- columns of a file -------------------------------------------------------------------------------------------------


def choose_columns(path: Path, columns: Sequence[Column]) -> tuple[str, ...]:
    """Draw a check box for each column of a file; return the columns to leave out, by number or name.

    An index and columns of text begin without a tick, unless a link names the columns to leave out.
    """
    first = st.session_state.setdefault("_columns", {}).setdefault(path, _first_choice(columns))
    if len(columns) > MOST_BOXES:
        words = linked(
            st.text_input, "Columns to leave out", " ".join(first), key=DROPPED, placeholder="none",
            help=f"of {len(columns):,} columns, by number from 1 or by name",
        )  # fmt: skip
        return tuple(words.split())
    st.markdown("Columns to train on")
    if index := [column for column in columns if column.is_index and str(column.number) in first]:
        st.caption(plain(f"{_name(index[0])} numbers the rows and is left out; tick it to train on it."))
    dropped = []
    st.html(STYLE)
    with st.container(key="columns", gap="xsmall"):
        for column in columns:
            ticked = st.checkbox(
                f"**{plain(_name(column))}** :small[:gray[{plain(_scale(column))}]]", str(column.number) not in first,
                key=f"{path.parent.name}.{path.name}.{column.number}", disabled=bool(column.refusal),
                width="stretch",
            )  # fmt: skip
            if not ticked or column.refusal:
                dropped.append(str(column.number))
    if tuple(dropped) != dropped_at_first(columns):
        st.query_params[DROPPED] = " ".join(dropped)
    else:
        st.query_params.pop(DROPPED, None)
    return tuple(dropped)


def choose_rows(columns: Sequence[Column], dropped: Sequence[str], missing: Sequence[str]) -> dict[str, Any]:
    """Draw a switch that leaves out rows in which a number is missing, where there are some in the chosen columns.

    Args:
        columns: of the file.
        dropped: the columns to leave out.
        missing: numbers that mark a missing one.

    Returns:
        `missing` as a field of the config, if it differs.
    """
    count = sum(c.empty for c in columns if not {str(c.number), c.name} & {*dropped})
    if "nan" in missing or not count or not st.toggle(
        "Leave out rows with a missing number", key="file.absent",
        help=f"{count:,} cells of the chosen columns are empty, NA, null or nan",
    ):  # fmt: skip
        return {}
    return {"missing": (*missing, "nan")}


def _first_choice(columns: Sequence[Column]) -> tuple[str, ...]:
    """Numbers of the columns that are left out at first: by the link, for the first file of a browser tab."""
    asked = {*" ".join(st.query_params.get_all(DROPPED)).split()} if not st.session_state["_columns"] else set()
    unknown = asked - {str(column.number) for column in columns} - {column.name for column in columns}
    if not asked or unknown:
        return dropped_at_first(columns)
    return tuple(str(column.number) for column in columns if {str(column.number), column.name} & asked)


def _name(column: Column) -> str:
    return column.name or f"column {column.number}"


def _scale(column: Column) -> str:
    if column.refusal:
        return column.refusal
    missing = f", {column.missing:,} missing" if column.missing else ""
    ends = f"{_digits(column.low)} to {_digits(column.high)}"
    return f"{_digits(column.mean)} ± {_digits(column.deviation)} ({ends}), {column.unique:,} distinct{missing}"


def in_app(line: str) -> str:
    """A line of advice with the app's widgets in place of the command line's switches."""
    line = line.removeprefix("data: ")
    line = re.sub(r"--header true", "switch on “Header”", line)
    line = re.sub(r"--missing ((?:\S+ ?)+)", r"write \1 into “Missing”", line)
    line = re.sub(r"leave the column out: --drop-columns \d+", "untick the column", line)
    return re.sub(r"--drop-columns ((?:[\d.]+ ?)+)", r"untick \1 above", line)


# -- pictures ----------------------------------------------------------------------------------------------------------


def draw_pictures(panels: dict[str, np.ndarray], summary: str, *, columns: int = 4) -> None:
    """Draw panels of pictures `(n, size, size, 3)` uint8, by their titles, below a summary of the data set."""
    st.caption(f"{TITLE}  \n{plain(summary)}")
    picture_grid(
        [{"title": title, "images": images} for title, images in panels.items()], key="preview", step=0, cell=72,
        columns=columns, alt=f"Some pictures of the data of the next run: {summary}",
    )  # fmt: skip
