"""Density along the manifold as a figure: generated points over the expected ones, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mvm.data.points import truth_of
from mvm.figures.drawing import BAR, LABELS, panels_of, place_of, scale_of, size_of
from mvm.figures.selection import NoFigure, Selection, require_kind
from mvm.figures.tables import latex_table, rows_of
from mvm.look.palette import DIVERGING, QUIET
from mvm.scoring.density import MOST_OVER, density_along
from mvm.words import tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["density_data", "density_latex", "draw_density"]

GAP = 0.06  # between components, as a share of the whole length


def density_data(selection: Selection) -> pd.DataFrame:
    """One row per cell: its ends along each axis, the points in it, the expected ones, and the band."""
    require_kind("points", "density", selection.runs)
    parts = []
    for series, place, member in selection.samples():
        run = selection.runs[place]
        manifold = truth_of(run.config)
        found = manifold and density_along(manifold, torch.from_numpy(selection.snapshot(place)["fake"][member]))
        if not found:
            raise NoFigure(f"density: {run.name} is not on a toy manifold: the true density is not known")
        for chart in found.charts:
            cells = np.indices(chart.count.shape).reshape(len(chart.axes), -1)
            grid: dict[str, Any] = {"step": selection.steps[place], "component": chart.title, "aspect": chart.aspect}
            for number, (axis, edges, index) in enumerate(zip(chart.axes, chart.edges, cells, strict=True), 1):
                grid |= {f"axis{number}": axis, f"from{number}": edges[index], f"to{number}": edges[index + 1]}
            grid |= {name: getattr(chart, name).ravel() for name in ("count", "expected", "low", "high")}
            grid |= {"points": found.n, "missed": found.missed, "off_manifold": found.far}
            parts.append(rows_of(selection, series, place, member, grid))
    table = pd.concat(parts, ignore_index=True)
    if table.groupby("series").agg({"axis1": "first"})["axis1"].nunique() > 1 or len({_dims(p) for p in parts}) > 1:
        raise NoFigure("density: these runs are on manifolds of different kinds; give runs on one")
    return table


def _dims(part: pd.DataFrame) -> int:
    return 2 if "axis2" in part and part["axis2"].notna().any() else 1


def draw_density(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Curves as steps beside the band of real samples, surfaces as maps of the ratio; one panel for each series."""
    series = selection.series()
    surface = _dims(table) == 2
    panels = panels_of(figure, [each.title for each in series], shape=0.8, sharey=True, beside=LABELS + BAR * surface)
    size = size_of(panels[0].xaxis.label)
    for axes, each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        missed = f"missed {100 * part['missed'].iloc[0]:.0f} %"
        far = part["off_manifold"].iloc[0]
        notes = [missed, *([f"off-manifold {100 * far:.0f} %"] if far >= 0.005 else [])]
        axes.set_title("\n".join([axes.get_title(), *notes]), linespacing=0.95, fontsize=size)
        if surface:
            _draw_map(axes, part)
        else:
            _draw_steps(axes, part, each.colour)
        if place_of(axes).is_last_row():
            axes.set_xlabel(part["axis1"].iloc[0])
    if surface:
        _bar(figure, panels)
        panels[0].set_ylabel(table["axis2"].iloc[0])
    else:
        panels[0].set_ylabel("density / data's density")
        panels[0].set_ylim(0, min(panels[0].get_ylim()[1], 2.0**MOST_OVER))  # so that the band is seen


def _draw_steps(axes: Axes, part: pd.DataFrame, colour: str) -> None:
    """The components one after another."""
    from matplotlib.ticker import MaxNLocator

    start, ends = 0.0, []
    whole = sum(float(each["to1"].max() - each["from1"].min()) for _, each in part.groupby("component"))
    for title, each in part.groupby("component", sort=False):
        edges = np.append(each["from1"], each["to1"].iloc[-1]) - each["from1"].iloc[0] + start
        if part["axis1"].iloc[0] == "mode":
            edges += each["from1"].iloc[0]
        ratio, low, high = (np.append(each[name] / each["expected"], np.nan) for name in ("count", "low", "high"))
        low[-1], high[-1], ratio[-1] = low[-2], high[-2], ratio[-2]
        axes.fill_between(edges, low, high, step="post", color=QUIET, alpha=0.25, linewidth=0)
        axes.step(edges, ratio, where="post", color=colour)
        if title:
            size = axes.xaxis.label.get_fontsize()
            middle = (edges[0] + edges[-1]) / 2
            axes.text(middle, 1, str(title), transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=size)
        ends.append(edges[-1])
        start = edges[-1] + GAP * whole
    axes.axhline(1, color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.set_xlim(0.5 if part["axis1"].iloc[0] == "mode" else 0, ends[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(ends) > 1:  # each component has a scale of its own
        axes.set_xticks([])


def _draw_map(axes: Axes, part: pd.DataFrame) -> None:
    """Colours of log₂ of the ratio, with a dot in each cell below the band."""
    x, y = (np.append(np.sort(part[f"from{i}"].unique()), part[f"to{i}"].max()) for i in (1, 2))
    shape = len(x) - 1, len(y) - 1
    count, expected, low = (part[name].to_numpy(dtype=float).reshape(shape) for name in ("count", "expected", "low"))
    with np.errstate(divide="ignore", invalid="ignore"):
        shade = np.ma.masked_invalid(np.clip(np.log2(count / expected), -MOST_OVER, MOST_OVER))
    shades, norm = scale_of(DIVERGING, -MOST_OVER, MOST_OVER)
    axes.pcolormesh(x, y, shade.T, cmap=shades, norm=norm)
    centres = np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, indexing="ij")
    missed = count < low
    axes.plot(*(centre[missed] for centre in centres), "x", color="white", markersize=3, markeredgewidth=0.8)
    if str(part["axis1"].iloc[0]).endswith("(°)"):
        axes.set_xticks([0, 180, 360])


def _bar(figure: Figure, panels: list[Axes]) -> None:
    from matplotlib.cm import ScalarMappable

    shades, norm = scale_of(DIVERGING, -MOST_OVER, MOST_OVER)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=panels, aspect=18, fraction=0.05, pad=0.02)
    bar.set_ticks(range(-MOST_OVER, MOST_OVER + 1), labels=["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    bar.set_label("density / data's density", labelpad=2)


def density_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Shares of the law's mass that are missed, and of the points that are off the manifold."""
    parts = table.groupby("series", sort=False)[["seed", "missed", "off_manifold"]].first()
    rows = [
        [tex(title), f"{int(seed)}", rf"{100 * missed:.0f}\,\%", rf"{100 * off:.0f}\,\%"]
        for title, (seed, missed, off) in zip(parts.index, parts.to_numpy(), strict=True)
    ]
    points, cells = int(table["points"].iloc[0]), int(table.groupby("series").size().iloc[0])
    caption = (
        f"Missed: share of the data in cells with fewer of {points} generated points than the band of 95\\,\\% of "
        f"real samples in all {cells} cells at once. Off-manifold: share of points too far from the manifold to count."
    )
    return latex_table("lrrr", [["matched", "seed", "missed", "off-manifold"]], rows, caption=caption, label="density")
