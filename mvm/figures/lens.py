"""What one lens sees, as a figure: its pictures side by side, a row for each series, and a table of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.errors import ConfigError
from mvm.figures.drawing import legend, page_of, scale_of, size_of, wrapped
from mvm.figures.selection import NoFigure, Selection, require_kind
from mvm.figures.tables import digits, latex_table, rows_of
from mvm.lenses import LENSES, Reading
from mvm.look.lenses import QUIET_LAYERS, colour_of_layer
from mvm.look.palette import SEQUENTIAL
from mvm.studies.lenses import looked_at
from mvm.words import mathtext, tex

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_lens", "lens_data", "lens_latex"]

LOWEST, HIGHEST = 1.2, 1.7  # inches, of a panel
NUMBER = "number"  # kind of a row that is no point


def lens_data(selection: Selection) -> pd.DataFrame:
    """One row per point of each picture's layers, then one per number: x its value, y its baseline, value the truth."""
    require_kind("points", "lens", selection.runs)
    lens, parts = LENSES[selection.lens], []
    for series, place, member in selection.samples():
        run = selection.runs[place]
        try:
            reading = lens.look(looked_at(run, member, selection.snapshot(place)))
        except ConfigError as error:
            raise NoFigure(f"lens: {run.name}: {error}") from None
        shared = {"step": selection.steps[place], "lens": selection.lens}
        parts += [rows_of(selection, series, place, member, shared | columns) for columns in _columns(reading)]
    return pd.concat(parts, ignore_index=True)


def _columns(reading: Reading) -> Iterator[dict[str, Any]]:
    """Columns of each layer of each picture, then of the numbers."""
    for picture in reading.pictures:
        look = {"picture": picture.title, "x_axis": picture.x, "y_axis": picture.y}
        for layer in picture.layers:
            x, y = layer.points.astype(float).T
            values = np.full(len(x), np.nan) if layer.values is None else layer.values
            points = {"layer": layer.name, "kind": layer.kind, "x": x, "y": y, "value": values}
            yield {**look, "equal": picture.equal, "log": picture.log, **points}
    numbers = list(reading.numbers.values())
    yield {
        **{"picture": "", "x_axis": "", "y_axis": "", "equal": False, "log": False, "kind": NUMBER},
        "layer": [number.label for number in numbers],
        "value": [np.nan if number.truth is None else number.truth for number in numbers],
        "x": [number.value for number in numbers],
        "y": [number.baseline for number in numbers],
    }


def draw_lens(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """A row of pictures for each series."""
    table = table[table["kind"] != NUMBER]
    titles, series = list(table["picture"].unique()), list(table["series"].unique())
    width = figure.get_figwidth() / len(titles)
    equal = bool(table["equal"].any())
    figure.set_figheight(len(series) * min(HIGHEST, max(LOWEST, width if equal else 0.8 * width)) + 0.5)
    grid = figure.subplots(len(series), len(titles), squeeze=False)
    handles: dict[str, Artist] = {}
    for place, (row, name) in enumerate(zip(grid, series, strict=True)):
        for axes, title in zip(row, titles, strict=True):
            part = table[(table["series"] == name) & (table["picture"] == title)]
            if part.empty:
                axes.remove()
                continue
            _draw_picture(axes, part, handles)
            if place == 0:
                axes.set_title(wrapped(title, width, size_of(axes.title)), linespacing=0.9)
            if place < len(series) - 1:
                axes.set_xlabel("")
            if title != titles[0] and axes.get_ylabel() == row[0].get_ylabel():
                axes.set_ylabel("")
        if len(series) > 1:
            row[0].set_ylabel("\n".join(part for part in (mathtext(name), row[0].get_ylabel()) if part))
    legend(figure, list(handles.values()), [mathtext(label) for label in handles])


def _draw_picture(axes: Axes, part: pd.DataFrame, handles: dict[str, Artist]) -> None:
    first = part.iloc[0]
    for name, layer in part.groupby("layer", sort=False):
        colour, label = colour_of_layer(str(name)), str(name)
        x, y = layer["x"].to_numpy(), layer["y"].to_numpy()
        if layer["kind"].iloc[0] == "dots":
            large = name in ("nearest", "point")
            if layer["value"].notna().any():
                shades, norm = scale_of(SEQUENTIAL, 0, 1)
                look: dict[str, Any] = {"c": layer["value"], "cmap": shades, "norm": norm}
            else:
                look = {"color": colour}
            drawn: Artist = axes.scatter(x, y, s=9 if large else 1.5, linewidths=0, rasterized=True, **look)
            if layer["value"].notna().any():
                continue
        elif layer["kind"].iloc[0] == "arrows":
            (dx, dy) = x[1::2] - x[::2], y[1::2] - y[::2]
            drawn = axes.quiver(
                x[::2], y[::2], dx, dy, angles="xy", scale_units="xy", scale=1, color=colour, width=0.006
            )
        else:
            dash = (0, (3, 2)) if name in QUIET_LAYERS else "-"
            (drawn,) = axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.4 if name == "longest edge" else 0.9)
        handles.setdefault(label, drawn)
    if first["log"]:
        axes.set_xscale("log")
    if first["equal"]:
        axes.set_aspect("equal", adjustable="datalim")
    if first["x_axis"]:
        axes.set_xlabel(wrapped(first["x_axis"], axes.get_position().width * page_of(axes).get_figwidth(), 8))
        axes.set_ylabel(mathtext(first["y_axis"]))
    else:
        axes.set(xticks=[], yticks=[])


def lens_latex(table: pd.DataFrame, selection: Selection) -> str:
    """The lens's numbers: truth, baseline and value of each series."""
    numbers = table[table["kind"] == NUMBER]
    labels, series = list(numbers["layer"].unique()), list(numbers["series"].unique())
    rows = [[tex(label), *_cells(numbers[numbers["layer"] == label], series)] for label in labels]
    head = ["", "truth", *(tex(name) for name in series)]
    caption = f"{tex(LENSES[selection.lens].title)}: in brackets the baseline, a second sample of real points."
    return latex_table("l" + "r" * (len(series) + 1), [head], rows, caption=caption, label=f"lens-{selection.lens}")


def _cells(part: pd.DataFrame, series: Sequence[str]) -> list[str]:
    by_series = part.set_index("series")
    truth = part["value"].dropna()
    known = [digits(float(truth.iloc[0])) if len(truth) else "--"]
    found = [(by_series.loc[name, "x"], by_series.loc[name, "y"]) for name in series]
    return known + [f"{digits(float(value))} ({digits(float(baseline))})" for value, baseline in found]
