"""Charts of the app as figures: eigenvalues, scores, losses, factors of toy faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.figures.drawing import legend, log_axis, panels_of, place_of, ribbon_over, step_axis
from mvm.figures.paper import FAINT
from mvm.figures.selection import NoFigure, Selection
from mvm.figures.superres_tables import score_text
from mvm.figures.tables import digits, latex_table, rows_of, seeds_note, signs
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.bands import QUARTILES
from mvm.look.palette import QUIET, REAL
from mvm.methods import method_on
from mvm.scoring.images import FACTOR_SCORES, describe
from mvm.scoring.superres import SUPERRES_SCORES
from mvm.studies.compare import Series, label_of
from mvm.words import mathtext, tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mvm.runs.history import Scores

__all__ = [
    "draw_eigenvalues",
    "draw_factors",
    "draw_loss",
    "draw_scores",
    "eigenvalues_data",
    "eigenvalues_latex",
    "factors_data",
    "factors_latex",
    "loss_data",
    "scores_data",
    "scores_latex",
]

BETTER = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "floor": r"$\to 1$"}
MEAN = "mean of all"
MOST_WITH_QUARTILES = 3  # largest number of series whose quartiles fit into a table
MARKERS = "osD^v"
SCALES = {  # of scores of photographs, by the first part of a key
    "psnr": "PSNR (dB)", "ssim": "SSIM", "niqe": "NIQE", "vgg16": "distance of features", "lpips": "LPIPS",
}  # fmt: skip


# -- eigenvalues -------------------------------------------------------------------------------------------------------


def eigenvalues_data(selection: Selection) -> pd.DataFrame:
    """Each eigenvalue before training and at the shown step."""
    parts = []
    read = [history.spectrum(selection.form) for history in selection.histories]
    for series, place, member in selection.members():
        steps, values = read[place]
        kept = np.flatnonzero(steps <= selection.steps[place])
        if len(kept) < 2:
            name = selection.runs[place].name
            raise NoFigure(f"eigenvalues: {name} has one snapshot so far; before and after need two")
        before, now = values[kept[0], member], values[kept[-1], member]
        grid = {"step": int(steps[kept[-1]]), "rank": np.arange(1, len(now) + 1), "before": before, "now": now}
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def draw_eigenvalues(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Magnitudes by rank, one panel for each series: medians and quartiles over the seeds."""
    from matplotlib.lines import Line2D

    series = selection.series()
    panels = panels_of(figure, [each.title for each in series], shape=0.8, sharey=True)
    style: dict[str, Any] = {"marker": "o", "markersize": 2.5, "markeredgewidth": 0.6}
    least = FAINT * table[["before", "now"]].abs().max().max()
    for axes, each in zip(panels, series, strict=True):
        by_rank = table[table["series"] == each.title].groupby("rank")
        ranks = sorted(by_rank.groups)
        before, now = (by_rank[column].apply(lambda values: values.abs().median()) for column in ("before", "now"))
        before, now = (values.where(values > least) for values in (before, now))
        axes.plot(
            ranks,
            before,
            color=QUIET,
            linestyle=(0, (1, 1.5)),
            markerfacecolor="white",
            label="before training",
            **style,
        )
        axes.plot(ranks, now, color=each.colour, **style)
        if len(each.members) > 1:
            low, high = (by_rank["now"].apply(lambda values, q=q: values.abs().quantile(q)) for q in (0.25, 0.75))
            shown = low > least
            axes.vlines(np.array(ranks)[shown], low[shown], high[shown], color=each.colour, linewidth=0.8)
        axes.set_xlim(0.4, ranks[-1] + 0.6)
        axes.set_xticks([rank for rank in (1, 5, 10) if rank <= ranks[-1]])
        if place_of(axes).is_last_row():
            axes.set_xlabel("rank")
    for axes in panels:
        log_axis(axes)
    figure.supylabel(signs(SPECTRUM_FORMS[selection.form].label), fontsize=panels[0].yaxis.label.get_fontsize())
    now = Line2D([], [], color="black", **style)
    legend(figure, [panels[0].get_lines()[0], now], ["before training", f"at step {table['step'].max()}"])


def eigenvalues_latex(table: pd.DataFrame, selection: Selection) -> str:
    """The five leading eigenvalues before training and at the shown step."""
    ranks = [rank for rank in range(1, 6) if rank <= table["rank"].max()]
    rows = []
    for title, part in table.groupby("series", sort=False):
        middle = part.groupby("rank")[["before", "now"]].median()
        for column in ("before", "now"):
            name = tex(title) if column == "before" else ""
            rows.append([name, column, *(digits(middle.loc[rank, column]) for rank in ranks)])
    caption = (
        f"Leading eigenvalues of the real embeddings ({SPECTRUM_FORMS[selection.form].title}) before training and at "
        f"step {table['step'].max()}. {seeds_note(table, quartiles=False)}"
    )
    head = ["matched", "", *(rf"$\lambda_{{{rank}}}$" for rank in ranks)]
    return latex_table("ll" + "r" * len(ranks), [head], rows, caption=caption, label="eigenvalues")


# -- scores ------------------------------------------------------------------------------------------------------------


def scores_data(selection: Selection) -> pd.DataFrame:
    """Scores of every member that have a baseline; factors of faces have a figure of their own."""
    parts = []
    scored = _scored(selection, "scores")
    for series, place, member in selection.members():
        row = scored[place].rows[member]
        keys = [key for key in row if f"{key}_floor" in row and not key.startswith("factor")]
        floors = [row[f"{key}_floor"] for key in keys]
        grid = {"step": scored[place].step, "n": scored[place].n, "score": keys}
        grid |= {"value": [row[key] for key in keys], "floor": floors}
        parts.append(rows_of(selection, series, place, member, grid))
    table = pd.concat(parts, ignore_index=True).astype({"value": float, "floor": float})
    table["over_floor"] = (table["value"] / table["floor"]).where(table["floor"] != 0)
    table["gain"] = (table["value"] - table["floor"]).where(_is_compared(table, "difference"))
    drawn = (table["over_floor"] > 0) & _has_ratio(table) | table["gain"].notna()
    if not drawn.any():
        raise NoFigure("scores: every generator of these runs diverged; there is no score to draw")
    if table["gain"].notna().any() and table.loc[drawn, "gain"].isna().any():
        raise NoFigure("scores: these runs have other baselines; give runs on photographs alone, or none of them")
    return table[table.groupby("score")["value"].transform("count") > 0].reset_index(drop=True)


def _is_compared(table: pd.DataFrame, how: str) -> pd.Series:
    """Rows whose score is compared with its baseline so, as `Score.compared`."""
    return table["score"].map(lambda key: describe(key).compared == how)


def _has_ratio(table: pd.DataFrame) -> pd.Series:
    """Whether a score is compared by a ratio, and its baseline is far enough from zero for that."""
    return _is_compared(table, "ratio") & ~table["score"].map(lambda key: describe(key).about_zero)


def _scored(selection: Selection, figure: str) -> list[Scores]:
    found: list[Scores] = []
    for run, history, step in zip(selection.runs, selection.histories, selection.steps, strict=True):
        if (scores := history.scores(step)) is None:
            raise NoFigure(f"{figure}: {run.name} has no scores up to step {step}; train it on")
        found.append(scores)
    return found


def draw_scores(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Each score over its baseline, on a logarithmic axis; scores of zero are marked at its left end.

    Scores of photographs are drawn by their difference to bicubic interpolation.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if table["gain"].notna().any():
        _draw_gains(figure, table, selection)
        return
    table = table[_has_ratio(table)]
    axes = _dots(figure, table, selection, "score", "over_floor", label=_label)
    known = table["over_floor"][(table["over_floor"] > 0) & np.isfinite(table["over_floor"])]
    low, high = min(0.8, known.min() / 1.25), max(1.25, known.max() * 1.25)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    marks = [handle for handle in axes.get_legend_handles_labels()[0] if isinstance(handle, Line2D)]
    for line in marks:  # a logarithmic axis cannot show zero
        x = np.asarray(line.get_xdata(), dtype=float)
        if (x == 0).any():
            y = np.asarray(line.get_ydata(), dtype=float)[x == 0]
            axes.plot(np.full(len(y), low), y, "<", color=line.get_color(), markersize=4, clip_on=False, zorder=5)
    axes.axvline(1, color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("score / baseline (real against real)")
    legend(figure, *axes.get_legend_handles_labels())


def _draw_gains(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Differences to bicubic interpolation, one panel for the scores of each scale."""
    from matplotlib.ticker import MaxNLocator

    scales = {key: SCALES[key.split("_")[0]] for key in table["score"].unique()}
    panels = dict.fromkeys(scales.values())
    parts = [table[table["score"].map(scales) == scale] for scale in panels]
    heights = [part["score"].nunique() for part in parts]
    series = selection.series()
    figure.set_figheight(sum(heights) * (0.09 + 0.07 * max(1, len(series))) + 0.42 * len(parts) + 0.1)
    grid = figure.subplots(len(parts), 1, height_ratios=[height + 1 for height in heights], squeeze=False)
    for axes, part, scale in zip(grid.flat, parts, panels, strict=True):
        _dots_on(axes, part, series, "score", "gain", label=_label)
        axes.axvline(0, color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(f"{scale} − bicubic", labelpad=1)
    legend(figure, *grid.flat[0].get_legend_handles_labels())


def _label(key: str, escaped: Callable[[str], str] = mathtext) -> str:
    """Label of a score with the direction that is better; `escaped` is `mathtext` or `tex`."""
    return f"{signs(escaped(label_of(key)))} {BETTER[describe(key).direction]}"


def scores_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Scores with their baselines."""
    quartiles = table["series"].nunique() <= MOST_WITH_QUARTILES
    return _across(
        table,
        "score",
        "value",
        lambda key: _label(key, tex).replace("$\\to 1$", r"$\to$ baseline"),
        quartiles,
        _scores_caption(table),
        "scores",
        baseline=_baseline(table),
        number=_number,
    )


def _number(key: str, value: float) -> str:
    """A score in LaTeX."""
    return score_text(key, value, unknown="--") if key in SUPERRES_SCORES else digits(value)


def _baseline(table: pd.DataFrame) -> str:
    """Title of the baseline of these scores."""
    return describe(table["score"].iloc[0]).baseline


def _scores_caption(table: pd.DataFrame) -> str:
    counts = sorted(int(n) for n in table["n"].dropna().unique())
    photographs = _baseline(table) == "bicubic"
    size = f" of {counts[-1]} {'photographs' if photographs else 'samples'}" if counts else ""
    against = "bicubic: of bicubic interpolation" if photographs else "baseline: real against real"
    return f"Scores{size} at step {table['step'].max()}; {against}."


def _across(
    table: pd.DataFrame,
    key: str,
    value: str,
    label: Any,
    quartiles: bool,
    caption: str,
    name: str,
    *,
    baseline: str = "baseline",
    number: Callable[[str, float], str] = lambda key, value: digits(value),
) -> str:
    """A LaTeX table with a row for each key, and columns for the baseline and each series."""
    titles = list(table["series"].unique())
    rows = []
    for row, part in table.groupby(key, sort=False):
        cells = [label(row), number(row, part["floor"].median())]
        for title in titles:
            values = part.loc[part["series"] == title, value].dropna()
            low, middle, high = np.quantile(values, QUARTILES) if len(values) else (np.nan,) * 3
            spread = f" [{number(row, low)}, {number(row, high)}]" if quartiles and low < high else ""
            cells.append(number(row, middle) + spread)
        rows.append(cells)
    caption = f"{caption} {seeds_note(table, quartiles=quartiles)}"
    head = ["", baseline, *map(tex, titles)]
    return latex_table("lr" + "r" * len(titles), [head], rows, caption=caption, label=name)


def _dots(
    figure: Figure, table: pd.DataFrame, selection: Selection, key: str, value: str, *, label: Callable[[str], str]
) -> Axes:
    """One row per key, with a mark for each series at the median of its seeds and a line between their quartiles.

    Series with the same colour have different marks.
    """
    series = [each for each in selection.series() if (table["series"] == each.title).any()]
    figure.set_figheight(table[key].nunique() * (0.09 + 0.07 * max(1, len(series))) + 0.5)
    axes = figure.subplots()
    _dots_on(axes, table, series, key, value, label=label)
    return axes


def _dots_on(
    axes: Axes, table: pd.DataFrame, series: list[Series], key: str, value: str, *, label: Callable[[str], str]
) -> None:
    """The rows of `_dots`, on given axes."""
    keys = list(table[key].unique())
    spread = 0.7 / max(1, len(series))
    for place, each in enumerate(series):
        marker = MARKERS[sum(other.colour == each.colour for other in series[:place]) % len(MARKERS)]
        by_key = table[table["series"] == each.title].groupby(key)[value]
        low, middle, high = (by_key.quantile(q).reindex(keys).to_numpy() for q in QUARTILES)
        y = np.arange(len(keys)) + spread * (place - (len(series) - 1) / 2)
        axes.plot(middle, y, marker, color=each.colour, markersize=3.2, markeredgewidth=0, label=mathtext(each.title))
        wide = np.isfinite(low) & np.isfinite(high) & (low < high)
        axes.hlines(y[wide], low[wide], high[wide], color=each.colour, linewidth=1)
    axes.set_yticks(range(len(keys)), list(map(label, keys)))
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for line in np.arange(0.5, len(keys) - 0.5):
        axes.axhline(line, color="#E4E6E9", linewidth=0.5, zorder=0)


# -- losses ------------------------------------------------------------------------------------------------------------


def loss_data(selection: Selection) -> pd.DataFrame:
    """Losses of each player at every record that has them."""
    parts, players = [], _players(selection)
    for series, place, member in selection.members():
        run = selection.held[place]
        records = [record for record in run.records.scalars if any(f"{player}_loss" in record for player in players)]
        if len(records) < 2:
            raise NoFigure(f"loss: {run.name} has {len(records)} losses so far; a curve needs two")
        grid: dict[str, Any] = {"step": [record["step"] for record in records]}
        for player in players:
            values = [record.get(f"{player}_loss", [None] * (member + 1))[member] for record in records]
            grid[player] = np.array(values, dtype=float)
        parts.append(rows_of(selection, series, place, member, grid))
    table = pd.concat(parts, ignore_index=True)
    if not np.isfinite(table[players].to_numpy()).any():
        raise NoFigure("loss: every generator of these runs diverged; there is no loss to draw")
    return table


def draw_loss(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """One panel for each player; logarithmic if all its losses are positive."""
    shown = [name for name in _players(selection) if np.isfinite(table[name]).any() and (table[name] != 0).any()]
    panels = panels_of(figure, [_player_title(name, selection) for name in shown], shape=0.6)
    for axes, name in zip(panels, shown, strict=True):
        log = bool((table[name].dropna() > 0).all())
        for each in selection.series():
            part, several = table[table["series"] == each.title], len(each.members) > 1
            ribbon_over(axes, part, name, colour=each.colour, label=mathtext(each.title), log=log, several=several)
        if log:
            log_axis(axes)
        step_axis(axes, table["step"])
    panels[0].set_ylabel("loss")
    legend(figure, *panels[0].get_legend_handles_labels())


def _player_title(player: str, selection: Selection) -> str:
    """What the methods of these runs call a player."""
    methods = [method_on(run.config.kind, run.config.method) for run in selection.runs]
    opponents = dict.fromkeys(method.opponent for method in methods if player in method.players)
    return " or ".join(opponents) if player == "metric" and opponents else player


def _players(selection: Selection) -> list[str]:
    """Players with recorded losses, in the order of their first appearance."""
    keys = (key for run in selection.held for record in run.records.scalars for key in record if key.endswith("_loss"))
    return [key.removesuffix("_loss") for key in dict.fromkeys(keys)]


# -- factors -----------------------------------------------------------------------------------------------------------


def factors_data(selection: Selection) -> pd.DataFrame:
    """Overlap of generated and real faces in each factor."""
    parts = []
    scored = _scored(selection, "factors")
    for series, place, member in selection.members():
        row = scored[place].rows[member]
        keys = [key for key in FACTOR_SCORES if row.get(key) is not None]
        if not keys:
            name = selection.runs[place].name
            raise NoFigure(f"factors: {name} has no scores of factors; give runs on toy faces")
        names = [MEAN if key == "factor_mean" else FACTOR_SCORES[key].label for key in keys]
        grid = {"step": scored[place].step, "n": scored[place].n, "factor": names}
        grid |= {"overlap": [row[key] for key in keys], "floor": [row[f"{key}_floor"] for key in keys]}
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def draw_factors(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Overlap of each factor, with a mark at its baseline: the overlap of a second real sample."""
    keys = list(table["factor"].unique())
    axes = _dots(figure, table, selection, "factor", "overlap", label=str)
    floors = table.groupby("factor")["floor"].median().reindex(keys)
    rows = np.arange(len(keys))
    axes.vlines(floors, rows - 0.36, rows + 0.36, color=REAL, linewidth=1.4, label="baseline: real against real")
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("overlap of generated and real")
    legend(figure, *axes.get_legend_handles_labels())


def factors_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Overlaps, their baseline beside them."""
    caption = (
        f"Overlap of generated and real in each factor at step {table['step'].max()}; baseline: real against real."
    )
    quartiles = table["series"].nunique() <= MOST_WITH_QUARTILES
    return _across(table, "factor", "overlap", tex, quartiles, caption, "factors")
