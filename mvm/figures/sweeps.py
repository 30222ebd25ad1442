"""Figures of a sweep: a score over two settings, every training in parallel coordinates, the best settings, importance.

They compare the settings in which the trainings of some runs differ, with all seeds: of a sweep these are its axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.figures.comparing import draw_ablation
from mvm.figures.drawing import extent_of, scale_of, size_of, tint, wrapped
from mvm.figures.selection import NoFigure, Selection
from mvm.figures.tables import counts_note, interval, latex_table, signs
from mvm.look.palette import QUIET, SEQUENTIAL, VARIANTS
from mvm.look.scales import limits
from mvm.studies.compare import in_words, is_gain
from mvm.sweeps.parallel import parallel_axes
from mvm.sweeps.results import (
    UNUSED,
    Result,
    axes_of,
    axis_title,
    by_score,
    importance,
    pooled,
    ranked,
    results_in,
    score_title,
    scores_in,
    shades,
    spread_of,
    value_title,
)
from mvm.words import capital, mathtext, tex

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "best_data",
    "best_latex",
    "draw_best",
    "draw_heatmap",
    "draw_importance",
    "draw_parallel",
    "heatmap_data",
    "heatmap_latex",
    "importance_data",
    "importance_latex",
    "parallel_data",
]

MOST_RANKED = 12  # settings in a drawing or a table
LINE = 0.19  # height of a row of a drawing, inches


def _results(figure: str, selection: Selection, *, axes: int = 1) -> list[Result]:
    """Scores of the trainings, which differ in so many settings at least."""
    found = results_in(selection.held)
    if not found:
        raise NoFigure(f"{figure}: no training of these runs has its final scores yet")
    if selection.quantity is not None:
        found = by_score(found, selection.quantity)
        if not found:
            known = ", ".join(scores_in(results_in(selection.held)))
            raise NoFigure(f"{figure}: no final scores have {selection.quantity!r}; they have {known}")
    if len(axes_of(found)) < axes:
        least = "two settings" if axes > 1 else "a setting"
        raise NoFigure(f"{figure}: these trainings do not differ in {least}; give the runs of a sweep")
    return found


# -- a score over two settings -----------------------------------------------------------------------------------------


def heatmap_data(selection: Selection) -> pd.DataFrame:
    """Median and quartiles of the score for each pair of values of two settings; seeds and other settings are pooled.

    The settings are the first two of `Selection.over`, or else the first two in which the runs differ.
    """
    found = _results("heatmap", selection, axes=2)
    axes = axes_of(found)
    if unknown := [name for name in selection.over if name not in axes]:
        raise NoFigure(f"heatmap: these trainings do not differ in {unknown[0]}; they do in {', '.join(axes)}")
    across, down = [*dict.fromkeys((*selection.over, *axes))][:2]
    shade, rows = shades(found, [down, across]), []
    cells = pooled(found, [down, across])
    for at in sorted(cells, key=lambda at: (_order(axes, down, at[0]), _order(axes, across, at[1]))):
        low, median, high = spread_of(cells[at])
        names = {"rows": axis_title(down), "what": value_title(down, at[0])}
        names |= {"columns": axis_title(across), "data": value_title(across, at[1])}
        numbers = {"median": median, "low": low, "high": high, "n": len(cells[at]), "shade": shade[at]}
        rows.append(names | numbers | {"score": found[0].key})
    return pd.DataFrame(rows)


def _order(axes: dict[str, list[Any]], name: str, value: Any) -> int:
    """Place of a value on its axis; trainings that do not use the setting come last."""
    return axes[name].index(value) if value in axes[name] else len(axes[name])


def draw_heatmap(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Colour and median of each cell, with the quartiles if there is room."""
    draw_ablation(figure, table, selection)
    axes = figure.axes[0]
    axes.set_xlabel(table["columns"].iloc[0])
    axes.xaxis.set_label_position("top")
    axes.set_ylabel(table["rows"].iloc[0])
    axes.set_title(signs(mathtext(score_title(table["score"].iloc[0]))))
    figure.set_figheight(figure.get_figheight() + 0.36)


def heatmap_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Median and quartiles of each cell."""
    rows, columns = table["what"].unique(), table["data"].unique()
    cells = table.set_index(["what", "data"])
    key, down, across = table["score"].iloc[0], table["rows"].iloc[0], table["columns"].iloc[0]
    lines = [
        [
            tex(row),
            *(_spread(key, cells.loc[(row, column)]) if (row, column) in cells.index else "--" for column in columns),
        ]
        for row in rows
    ]
    caption = f"{capital(signs(tex(score_title(key))))} by {tex(down)} and {tex(across)}. {_trainings(table['n'])}"
    return latex_table("l" + "r" * len(columns), [[tex(down), *map(tex, columns)]], lines, caption=caption,
                       label="heatmap")  # fmt: skip


def _trainings(counts: pd.Series) -> str:
    """Sentence for a caption with the number of trainings behind each number."""
    return counts_note(counts).replace("seeds", "trainings").replace("One seed", "One training")


def _spread(key: str, row: Any) -> str:
    """Median with its quartiles, for LaTeX."""
    if is_gain(key):
        low, median, high = (in_words(row[name], key).removesuffix(" dB") for name in ("low", "median", "high"))
        return median if low == high else f"{median} [{low}, {high}]"
    return interval(row["low"], row["median"], row["high"])


# -- all trainings -----------------------------------------------------------------------------------------------------


def parallel_data(selection: Selection) -> pd.DataFrame:
    """One row per training: its run, variant and seed, its settings, and the score."""
    found = _results("parallel", selection)
    rows = []
    for each in found:
        settings = {axis_title(name): value_title(name, each.settings.get(name)) for name in axes_of(found)}
        of = {"run": each.run, "variant": each.settings["variants"], "seed": each.seed}
        rows.append(of | settings | {"score": each.key, "value": each.score})
    return pd.DataFrame(rows)


def draw_parallel(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """A line for each training over vertical axes, one for each setting and the last for the score, which colours it.

    Good ones are drawn last, over the others.
    """
    from matplotlib import rcParams
    from matplotlib.collections import LineCollection

    found = _results("parallel", selection)
    axes, plot = parallel_axes(found), figure.subplots()
    figure.set_figheight(min(max(0.42 * figure.get_figwidth(), 1.9), 2.8))
    losses = np.array([each.loss for each in found])
    worst = np.max(losses, where=np.isfinite(losses), initial=0.0)
    finite = np.where(np.isfinite(losses), losses, worst)
    colours, norm = scale_of(SEQUENTIAL, *limits([finite]))
    places = np.stack([axis.places for axis in axes], axis=1)
    order = np.argsort(-finite, kind="stable")
    lines = [np.column_stack([np.arange(len(axes)), places[index]]) for index in order]
    shade = colours(1 - norm(finite[order]))
    strength = float(np.clip(12 / len(found) ** 0.5, 0.35, 1))
    plot.add_collection(LineCollection(lines, colors=shade, linewidths=0.9 * strength, alpha=max(0.5, strength)))
    size = rcParams["xtick.labelsize"]
    for x, axis in enumerate(axes):
        plot.axvline(x, color=QUIET, linewidth=0.6, zorder=0)
        for place, text in axis.ticks:
            plot.plot([x, x - 0.02], [place, place], color=QUIET, linewidth=0.6)
            is_last = x == len(axes) - 1
            plot.annotate(
                signs(mathtext(text)), (x, place), textcoords="offset points", xytext=(4 if is_last else -4, 0),
                ha="left" if is_last else "right", va="center", fontsize=size,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3},
            )  # fmt: skip
    before = max(extent_of(text, size) for _, text in axes[0].ticks) + 0.1
    after = max(extent_of(text, size) for _, text in axes[-1].ticks) + 0.1
    step = (figure.get_figwidth() - before - after) / max(1, len(axes) - 1)
    plot.set_xlim(-before / step, len(axes) - 1 + after / step)
    plot.set_ylim(-0.06, 1.06)
    heads = [_head(axis.title, step - 0.05, size) for axis in axes]
    plot.set_xticks(range(len(axes)), heads)
    plot.xaxis.tick_top()
    plot.tick_params(length=0)
    plot.set_yticks([])
    for spine in plot.spines.values():
        spine.set_visible(False)


def _head(title: str, width: float, size: float) -> str:
    """A title in lines that fit, or as a formula in one line."""
    formula = signs(mathtext(title))
    return formula if "$" in formula else wrapped(title, width, size)


# -- the best settings -------------------------------------------------------------------------------------------------


def best_data(selection: Selection) -> pd.DataFrame:
    """Combinations of settings, the best median first, with the quartiles over seeds."""
    found = _results("best", selection)
    axes, rows = axes_of(found), []
    for each in ranked(found)[:MOST_RANKED]:
        settings = {axis_title(name): value_title(name, each.settings.get(name)) for name in axes}
        numbers = {"median": each.median, "low": each.low, "high": each.high, "seeds": each.count}
        rows.append(settings | {"score": found[0].key} | numbers)
    return pd.DataFrame(rows)


def draw_best(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """A dot for the median of each combination, with a line between its quartiles, the best on top."""
    settings = list(table.columns[: table.columns.get_loc("score")])
    rows = table[settings].to_dict("records")
    names = [", ".join(_in_words(*each) for each in row.items() if each[1] != UNUSED) for row in rows]
    plot = _rows_plot(figure, names)
    for y, row in enumerate(table.itertuples()):
        if np.isfinite([row.low, row.high]).all():
            plot.plot([row.low, row.high], [y, y], color=VARIANTS[0], linewidth=1.2, alpha=0.5)
        if np.isfinite(row.median):
            plot.plot([row.median], [y], color=VARIANTS[0], marker="o", markersize=3.5)
    key = table["score"].iloc[0]
    if key.endswith("_ratio"):
        plot.axvline(1, color=QUIET, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
    plot.set_xlabel(signs(mathtext(score_title(key))))


def _in_words(name: str, value: str) -> str:
    """A setting with its value; methods, data and descriptors speak for themselves."""
    return value if name in ("method", "data", "descriptors") else f"{name} {value}"


def best_latex(table: pd.DataFrame, selection: Selection) -> str:
    """The settings, and the median with its quartiles."""
    settings = list(table.columns[: table.columns.get_loc("score")])
    key = table["score"].iloc[0]
    rows = [[*(tex(row[name]) for name in settings), _spread(key, row), str(row["seeds"])]
            for _, row in table.iterrows()]  # fmt: skip
    title = signs(tex(score_title(key)))
    head = [*map(tex, settings), title, "seeds"]
    caption = f"Settings by {title}, the best first. {counts_note(table['seeds'])}"
    return latex_table("l" * len(settings) + "rr", [head], rows, caption=caption, label="best")


# -- importance --------------------------------------------------------------------------------------------------------


def importance_data(selection: Selection) -> pd.DataFrame:
    """Share of the score's variance that each setting explains by itself, the largest first."""
    found = _results("importance", selection)
    shares = importance(found)
    if not shares:
        raise NoFigure("importance: the scores of these trainings do not differ")
    return pd.DataFrame([
        {"setting": axis_title(name), "share": share, "trainings": len(found), "score": found[0].key}
        for name, share in shares.items()
    ])  # fmt: skip


def draw_importance(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """A bar for each setting."""
    from matplotlib.ticker import PercentFormatter

    plot = _rows_plot(figure, list(table["setting"]))
    bars = plot.barh(range(len(table)), table["share"], height=0.6, color=tint(VARIANTS[0], 0.7))
    size = size_of(plot.xaxis.label)
    plot.bar_label(bars, [f"{share:.0%}" for share in table["share"]], padding=2, fontsize=size)
    plot.xaxis.set_major_formatter(PercentFormatter(1))
    plot.set_xlim(0, min(1.12, 1.2 * max(table["share"])))
    plot.set_xlabel(f"share of the variance of {signs(mathtext(score_title(table['score'].iloc[0])))}")


def importance_latex(table: pd.DataFrame, selection: Selection) -> str:
    """The share of each setting."""
    rows = [[tex(row.setting), f"{row.share:.2f}"] for row in table.itertuples()]
    title = signs(tex(score_title(table["score"].iloc[0])))
    caption = (
        f"Share of the variance of {title} that each setting explains by itself, over {table['trainings'].iloc[0]} "
        "trainings."
    )
    return latex_table("lr", [["setting", "share"]], rows, caption=caption, label="importance")


def _rows_plot(figure: Figure, names: list[str]) -> Any:
    """Axes with a named row for each name, the first on top."""
    from matplotlib import rcParams

    size = rcParams["ytick.labelsize"]
    texts = [wrapped(name, 0.45 * figure.get_figwidth(), size) for name in names]
    lines = sum(max(1.0, 0.72 * (text.count("\n") + 1)) for text in texts)
    figure.set_figheight(LINE * lines + 0.45)
    plot = figure.subplots()
    plot.set_yticks(range(len(texts)), texts)
    plot.set_ylim(len(texts) - 0.5, -0.5)
    plot.tick_params(axis="y", length=0)
    plot.spines["left"].set_visible(False)
    return plot
