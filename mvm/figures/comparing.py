"""Figures that compare runs: curves, the ablation matrix, a fork and its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.errors import RunError
from mvm.figures.drawing import legend, log_axis, panels_of, ribbon, ribbon_over, size_of, step_axis, wrapped
from mvm.figures.selection import NoFigure, Selection
from mvm.figures.tables import counts_note, digits, interval, latex_table, signs
from mvm.look.bands import QUARTILES
from mvm.look.palette import QUIET, RATIOS, VARIANTS, variant_colours
from mvm.look.scales import quality_shade
from mvm.runs.documents import Origin
from mvm.runs.fork import PARTED, Branches
from mvm.runs.run import Run
from mvm.scoring.superres import SUPERRES_SCORES
from mvm.studies.compare import AXES, curves, in_words, is_gain, main_score, matrix, quality_title, quantities
from mvm.studies.labels import settings_in_words, variant_label
from mvm.words import mathtext, tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ablation_data",
    "ablation_latex",
    "branches_data",
    "branches_latex",
    "curves_data",
    "curves_latex",
    "draw_ablation",
    "draw_branches",
    "draw_curves",
]

DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))  # distinguish series that share a colour
INK, INK_QUIET = "#1F2933", "#3F4A54"
RANGE_WIDTH = 0.95  # least width of a cell with a range, inches


# -- curves ------------------------------------------------------------------------------------------------------------


def curves_data(selection: Selection) -> pd.DataFrame:
    """Median and quartiles of the quantity in each series, over the chosen axis."""
    quantity = selection.quantity or _default_quantity(selection)
    parts = []
    for curve in curves(selection.held, quantity, axis=selection.axis):
        grid = {"series": curve.series.title, "quantity": quantity, "axis": selection.axis, "x": curve.x}
        parts.append(
            pd.DataFrame(grid | {"low": curve.low, "median": curve.middle, "high": curve.high, "seeds": curve.members})
        )
    if max(map(len, parts), default=0) < 2:
        raise NoFigure(f"curves: {quantity} is recorded less than twice so far; a curve needs two")
    return pd.concat(parts, ignore_index=True)


def _default_quantity(selection: Selection) -> str:
    """The main score if it is recorded more than once, or else d_c."""
    score = main_score(quantities(selection.held))
    often = any(len(run.quick_scores) > 1 for run in selection.held)
    return score if score is not None and often else "d_c"


def draw_curves(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """All series in one panel, logarithmic if all medians are positive."""
    quantity, axis = table["quantity"].iloc[0], table["axis"].iloc[0]
    (axes,) = panels_of(figure, [""], shape=0.5)
    figure.set_figheight(min(max(0.5 * figure.get_figwidth(), 1.7), 2.6))
    log = bool((table["median"].dropna() > 0).all()) and not _is_compared_by_difference(quantity)
    colours = {each.title: each.colour for each in selection.series()}
    for place, (title, part) in enumerate(table.groupby("series", sort=False)):
        values = part[["low", "median", "high"]].to_numpy().T
        dash = DASHES[place // len(VARIANTS) % len(DASHES)]
        several = bool((part["seeds"] > 1).any())
        ribbon(
            axes, part["x"], values, colour=colours[title], label=mathtext(title), log=log, several=several, dash=dash
        )
    if log:
        log_axis(axes)
    if axis == "step":
        step_axis(axes, table["x"])
    else:
        axes.set_xlim(0, table["x"].max())
        axes.set_xlabel(AXES[axis])
    axes.set_ylabel(signs(mathtext(quantities(selection.runs)[quantity])))
    legend(figure, *axes.get_legend_handles_labels())


def _is_compared_by_difference(quantity: str) -> bool:
    """Whether differences of a quantity are read off, as of decibels; factors are read off a logarithmic axis."""
    return quantity in SUPERRES_SCORES and SUPERRES_SCORES[quantity].compared == "difference"


def curves_latex(table: pd.DataFrame, selection: Selection) -> str:
    """First, last and least value of each series."""
    rows = []
    for title, part in table.groupby("series", sort=False):
        known = part.dropna(subset="median")
        ends = [known.iloc[0], known.iloc[-1], known.loc[known["median"].idxmin()]]
        rows.append([tex(title), *(interval(end["low"], end["median"], end["high"]) for end in ends)])
    label = signs(tex(quantities(selection.runs)[table["quantity"].iloc[0]]))
    last = f"{digits(table['x'].max())}" if table["axis"].iloc[0] != "step" else f"{table['x'].max():.0f}"
    caption = f"{label[0].upper() + label[1:]}, up to {tex(AXES[table['axis'].iloc[0]])} {last}. {_seeds(table)}"
    return latex_table("lrrr", [["matched", "first", "last", "least"]], rows, caption=caption, label="curves")


def _seeds(table: pd.DataFrame) -> str:
    return counts_note(table.groupby("series")["seeds"].max())


# -- ablation ----------------------------------------------------------------------------------------------------------


def ablation_data(selection: Selection) -> pd.DataFrame:
    """`mvm.studies.compare.matrix` of the runs up to their steps."""
    table = matrix(selection.held)
    if len(table) < 2:
        what = "has no score" if table.empty else "is a single cell"
        raise NoFigure(f"ablation: the matrix of these runs {what}; give scored runs of several variants or data")
    return table


def draw_ablation(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Colour and median of each cell, with the range over seeds if there is room; `shade` in a table is its colour."""
    from matplotlib import rcParams
    from matplotlib.colors import LinearSegmentedColormap

    rows, columns = list(table["what"].unique()), list(table["data"].unique())
    small = rcParams["xtick.labelsize"]
    names = [wrapped(row, 1.4, small) for row in rows]
    named = max(len(line) for name in names for line in name.split("\n")) * 0.45 * small / 72
    width = (figure.get_figwidth() - named - 0.1) / len(columns)
    heads = [wrapped(column, width, small) for column in columns]
    ranged = width >= RANGE_WIDTH and (table["n"] > 1).any()
    deep = max(name.count("\n") for name in names) + 1
    height = max(0.42 if ranged else 0.27, 0.13 * deep + 0.1)
    figure.set_figheight(len(rows) * height + 0.16 * (max(head.count("\n") for head in heads) + 1) + 0.08)
    axes = figure.subplots()
    shades = LinearSegmentedColormap.from_list("ratio", RATIOS)
    over = table.pivot(index="what", columns="data", values="median").reindex(index=rows, columns=columns)
    gains = [is_gain(key) for key in table.drop_duplicates("data")["score"]]
    own = table.pivot(index="what", columns="data", values="shade").reindex_like(over) if "shade" in table else None
    places = own.to_numpy() if own is not None else quality_shade(over.to_numpy(), gains)
    shade = np.ma.masked_invalid(places)
    axes.pcolormesh(shade, cmap=shades, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for _, cell in table.iterrows():
        x, y = columns.index(cell["data"]) + 0.5, rows.index(cell["what"]) + 0.5
        spread = ranged and cell["n"] > 1
        size = rcParams["axes.labelsize"]
        axes.text(x, y - 0.14 * spread, _quality(cell, "median"), ha="center", va="center", color=INK, fontsize=size)
        if spread:
            said = f"{_quality(cell, 'low')} to {_quality(cell, 'high')}"
            axes.text(x, y + 0.24, said, ha="center", va="center", color=INK_QUIET, fontsize=7)
    axes.set_xticks(np.arange(len(columns)) + 0.5, heads)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _quality(cell: pd.Series, column: str) -> str:
    """A quality for mathtext and LaTeX."""
    value = float(cell[column])
    return in_words(value, cell["score"]).removesuffix(" dB") if is_gain(cell["score"]) else digits(value)


def ablation_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Median and range over seeds of each cell."""
    rows, columns = table["what"].unique(), table["data"].unique()
    cells = table.set_index(["what", "data"])
    lines = [
        [
            tex(row),
            *(_spread(cells.loc[(row, column)]) if (row, column) in cells.index else "--" for column in columns),
        ]
        for row in rows
    ]
    said = counts_note(table["n"], quartiles=False).removesuffix(".").replace("Median", "Median [range]")
    ratios = not all(map(is_gain, table["score"]))
    texts = (
        ["Score over its baseline, real against real, by what is matched and data; 1 is the baseline."]
        if ratios
        else []
    )
    texts += [f"{signs(tex(quality_title(key)))}." for key in table["score"].unique() if is_gain(key)]
    caption = f"{' '.join(texts)} {said}."
    head = ["matched", *map(tex, columns)]
    return latex_table("l" + "r" * len(columns), [head], lines, caption=caption, label="ablation")


def _spread(cell: pd.Series) -> str:
    """A median with its extremes in brackets."""
    low, middle, high = (_quality(cell, column) for column in ("low", "median", "high"))
    return middle if cell["low"] == cell["high"] else f"{middle} [{low}, {high}]"


# -- branches ----------------------------------------------------------------------------------------------------------


def branches_data(selection: Selection) -> pd.DataFrame:
    """Mean distance of paired fakes, in units of the reals' 2-diameter, at every common snapshot."""
    pairs = [(trunk, run, _origin_in(trunk, run)) for run in selection.runs for trunk in selection.runs]
    forks = [(trunk, run, made) for trunk, run, made in pairs if made is not None]
    if len(selection.runs) != 2 or not forks:
        raise NoFigure("branches: give two runs, one of them a fork of the other")
    trunk, run, made = forks[0]
    try:
        steps, distance = Branches(trunk, run).distance()
    except RunError as error:
        raise NoFigure(f"branches: {error}") from None
    kept = steps <= min(selection.steps)
    if kept.sum() < 2:
        raise NoFigure(
            f"branches: {trunk.name} and {run.name} have {kept.sum()} common snapshots so far; two are needed"
        )
    parts = [
        pd.DataFrame(
            {"run": trunk.name, "fork": run.name, "forked_at": made.step, "variant": variant, "seed": seed}
            | {"step": steps[kept].astype(int), "distance": distance[kept, member]}
        )
        for member, (variant, seed) in enumerate(run.config.members)
    ]
    return pd.concat(parts, ignore_index=True)


def _origin_in(trunk: Run, run: Run) -> Origin | None:
    """Where the run left the trunk; None if it is no fork of it."""
    made = run.origin
    return made if made is not None and made.run == trunk.name and run.path != trunk.path else None


def _fork_in(table: pd.DataFrame, selection: Selection) -> Run:
    """The fork, with its records up to its step."""
    return next(run for run in selection.held if run.name == table["fork"].iloc[0])


def draw_branches(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """One curve for each variant, with a vertical line at the fork."""
    fork = _fork_in(table, selection)
    made, forked_at = fork.origin, int(table["forked_at"].iloc[0])
    variants = list(table["variant"].unique())
    (axes,) = panels_of(figure, [""], shape=0.45)
    figure.set_figheight(min(max(0.45 * figure.get_figwidth(), 1.7), 2.4))
    for variant, colour in zip(variants, variant_colours(variants), strict=True):
        part = table[table["variant"] == variant]
        look = {
            "colour": colour,
            "label": mathtext(variant_label(fork, variant)),
            "log": False,
            "several": part["seed"].nunique() > 1,
        }
        ribbon_over(axes, part, "distance", **look)
    step_axis(axes, table["step"])
    axes.set_ylim(-0.02 * axes.get_ylim()[1], None)  # keeps a curve at zero visible
    axes.axvline(forked_at, color=QUIET, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
    text = f"fork: {settings_in_words(made.changes)}" if made is not None and made.changes else "fork"
    _note(axes, forked_at, wrapped(text, 1.6, size_of(axes.xaxis.label)))
    axes.set_ylabel("distance / 2-diameter")
    legend(figure, *axes.get_legend_handles_labels())


def _note(axes: Axes, x: float, text: str) -> None:
    """Annotate a vertical line, on the side with more room."""
    left = x > sum(axes.get_xlim()) / 2
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    place |= {"xytext": (-3, -1), "ha": "right"} if left else {"xytext": (3, -1), "ha": "left"}
    size = axes.xaxis.label.get_fontsize()
    axes.annotate(text, (x, 1), va="top", fontsize=size, color=INK_QUIET, **place)


def branches_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Step at which fork and run are 1 % apart, and their final distance."""
    fork = _fork_in(table, selection)
    rows = []
    for variant, part in table.groupby("variant", sort=False):
        at, last = [], []
        for _, member in part.groupby("seed"):
            far = member.loc[member["distance"] > PARTED, "step"]
            at.append(float(far.iloc[0]) if len(far) else np.nan)
            last.append(member["distance"].iloc[-1])
        known = [step for step in at if np.isfinite(step)]
        first = f"{np.median(known):.0f} ({len(known)}/{len(at)})" if known else "not yet"
        rows.append([tex(variant_label(fork, str(variant))), first, interval(*np.quantile(last, QUARTILES))])
    percent = rf"{100 * PARTED:g}\,\%"
    caption = (
        f"Distance of the samples of a run and of its fork at step {table['forked_at'].iloc[0]}, in the real data's "
        f"2-diameter, at step {table['step'].max()}. {counts_note(table.groupby('variant')['seed'].nunique())}"
    )
    head = ["matched", rf"{percent} apart at step (seeds)", "distance"]
    return latex_table("lrr", [head], rows, caption=caption, label="branches")
