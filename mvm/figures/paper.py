"""Figures 5, 6, 7, 10 and Table 2 of the paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mvm.figures.clouds import NARROWEST_CLOUD, clouds_table, draw_points, kinds_of, shows_clouds
from mvm.figures.drawing import (
    BAR,
    LABELS,
    dot,
    framed,
    legend,
    log_axis,
    page_of,
    panels_of,
    ribbon_over,
    size_of,
    step_axis,
    tint,
    wrapped,
)
from mvm.figures.selection import NoFigure, Selection
from mvm.figures.tables import digits, interval, latex_table, rows_of, seeds_note, signs
from mvm.geometry.descriptors import GAPS
from mvm.geometry.spectrum import SPECTRUM_FORMS, uniformity
from mvm.look.bands import QUARTILES
from mvm.look.palette import FAKE, QUIET, REAL, VARIANTS
from mvm.look.scales import MARGIN
from mvm.look.sheets import sheet
from mvm.methods import method_on
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.events import lost_members
from mvm.runs.run import Run
from mvm.scoring.points import SCORES
from mvm.studies.compare import PAIR_DISTANCE, quality
from mvm.words import mathtext, tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "batch_data",
    "batch_latex",
    "distances_data",
    "distances_latex",
    "draw_batch",
    "draw_distances",
    "draw_samples",
    "draw_spectrum",
    "samples_data",
    "spectrum_data",
    "spectrum_latex",
]

FAINT = 1e-5  # share of the largest eigenvalue below which one is rounding error
PICTURE = 0.21  # width of an image in a contact sheet, inches

# -- Fig. 5: spectrum --------------------------------------------------------------------------------------------------


def spectrum_data(selection: Selection) -> pd.DataFrame:
    """Leading eigenvalues of each member at every snapshot up to the shown step."""
    parts = []
    read = [history.spectrum(selection.form) for history in selection.histories]
    for series, place, member in selection.members():
        steps, values = read[place]
        kept = steps <= selection.steps[place]
        if kept.sum() < 2:
            name = selection.runs[place].name
            raise NoFigure(f"spectrum: {name} has one snapshot so far; a curve needs two")
        values = values[kept, member]
        grid = {"step": np.repeat(steps[kept].astype(int), values.shape[1])}
        grid |= {"rank": np.tile(np.arange(1, values.shape[1] + 1), len(values)), "eigenvalue": values.ravel()}
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def draw_spectrum(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Median magnitudes over training, one panel for each series, one shade for each rank."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    series = selection.series()
    ranks = int(table["rank"].max())
    colours = [tint(VARIANTS[0], 1 - 0.7 * rank / max(1, ranks - 1)) for rank in range(ranks)]
    panels = panels_of(figure, [each.title for each in series], shape=0.8, sharey=True, beside=LABELS + BAR)
    table = table.assign(eigenvalue=table["eigenvalue"].abs())
    table["eigenvalue"] = table["eigenvalue"].where(table["eigenvalue"] > FAINT * table["eigenvalue"].max())
    for axes, each in zip(panels, series, strict=True):
        middle = table[table["series"] == each.title].groupby(["step", "rank"])["eigenvalue"].median().unstack()
        for rank, values in reversed(list(middle.items())):
            axes.plot(middle.index, values, color=colours[rank - 1])
        step_axis(axes, middle.index)
    for axes in panels:
        log_axis(axes)
    figure.supylabel(signs(SPECTRUM_FORMS[selection.form].label), fontsize=size_of(panels[0].yaxis.label))
    shades = ScalarMappable(BoundaryNorm(np.arange(0.5, ranks + 1), ranks), ListedColormap(colours))
    bar = figure.colorbar(
        shades, ax=panels, ticks=sorted({1, ranks // 2, ranks} - {0}), aspect=18, fraction=0.05, pad=0.02
    )
    bar.ax.invert_yaxis()
    bar.ax.tick_params(length=0, which="both")
    bar.outline.set_visible(False)
    bar.set_label("rank", labelpad=1)


def spectrum_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Uniformity of the spectrum before and after training, median and quartiles over the seeds."""
    rows = []
    for title, part in table.groupby("series", sort=False):
        found = []
        for _, member in part.groupby(["run", "seed"], sort=False):
            wide = member.pivot(index="step", columns="rank", values="eigenvalue")
            ends = torch.tensor(wide.iloc[[0, -1]].to_numpy(dtype=np.float64))
            found.append(uniformity(ends).tolist())
        rows.append([tex(title), *(interval(*np.quantile(values, QUARTILES)) for values in np.transpose(found))])
    caption = (
        f"Uniformity of the spectrum of the real embeddings ({SPECTRUM_FORMS[selection.form].title}): entropy of the "
        f"magnitudes of its {int(table['rank'].max())} leading eigenvalues over the largest possible. "
        f"{seeds_note(table)}"
    )
    head = ["matched", "before training", "after training"]
    return latex_table("lrr", [head], rows, caption=caption, label="spectrum")


# -- Fig. 6: samples ---------------------------------------------------------------------------------------------------


def samples_data(selection: Selection) -> pd.DataFrame:
    """Real and generated points with the UMAP of their embeddings; images have the UMAP only."""
    parts = []
    for series, place, member in selection.samples():
        snapshot, frame = selection.snapshot(place), selection.frame(place)[member]
        half = len(frame) // 2
        grid: dict[str, Any] = kinds_of(half, half)
        if shows_clouds(snapshot):
            grid |= dict(clouds_table(snapshot["real"][:half], snapshot["fake"][member, :half]))
        grid |= {"umap1": frame[:, 0], "umap2": frame[:, 1]}
        parts.append(rows_of(selection, series, place, member, {"step": selection.steps[place]} | grid))
    return pd.concat(parts, ignore_index=True)


def draw_samples(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """For each series, its samples above the UMAP of the embeddings; side by side for a single series."""
    from matplotlib import rcParams

    series = selection.series()
    bands = -(-len(series) // int(figure.get_figwidth() / NARROWEST_CLOUD))
    columns = -(-len(series) // bands)
    alone = len(series) == 1  # above and UMAP stand side by side
    side = min((figure.get_figwidth() - 0.3) / max(columns, 2), 2.2)
    size = rcParams["axes.titlesize"]
    titles = [wrapped(each.title, side, size) for each in series]
    lines = max(title.count("\n") for title in titles) + 1
    figure.set_figheight((side * (1 if alone else 2) + 0.02 * size * lines + 0.05) * bands + 0.03)
    grid = figure.subplots(1, 2, squeeze=False) if alone else figure.subplots(2 * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, each in enumerate(series):
        band, column = divmod(number, columns)
        above, below = (grid[0, 0], grid[0, 1]) if alone else (grid[2 * band, column], grid[2 * band + 1, column])
        part = table[table["series"] == each.title]
        place, member = selection.shown(each)
        what = _draw_above(above, part, selection, place, member, side)
        framed(above)
        above.set_title(titles[number], linespacing=0.9)
        points = part[["umap1", "umap2"]].to_numpy()
        real = (part["kind"] == "real").to_numpy()
        draw_points(below, points[real], points[~real], around=points, margin=0.08)
        framed(below)
        if alone:
            below.set_title("UMAP")
        elif column == 0:
            below.set_ylabel("UMAP of embeddings" if side > 1.1 else "UMAP")
            above.set_ylabel(what)
    handles = [dot(REAL), dot(FAKE)]
    legend(figure, handles, ["real", "generated"])


def _draw_above(axes: Axes, part: pd.DataFrame, selection: Selection, place: int, member: int, side: float) -> str:
    """Draw points in data space, or a contact sheet; returns the label of the panel."""
    snapshot = selection.snapshot(place)
    if shows_clouds(snapshot):
        points, real = part[["plane1", "plane2"]].to_numpy(), (part["kind"] == "real").to_numpy()
        draw_points(axes, points[real], points[~real], around=points[real], margin=MARGIN)
        return "data space"
    pictures = snapshot["fake"][member]
    across = min(max(4, round(side / PICTURE)), int(len(pictures) ** 0.5))
    axes.imshow(sheet(pictures[: across**2], columns=across, gap=1), interpolation="none", zorder=1)
    return "generated"


# -- Figs. 7 and 10: distances -----------------------------------------------------------------------------------------

TITLES = {PAIR_DISTANCE: "pairs", **{symbol: gap.title for symbol, gap in GAPS.items()}}


def _distances_in(table: pd.DataFrame) -> list[str]:
    """The distances that a table has, in the order of their panels."""
    return [name for name in TITLES if name in table]


def distances_data(selection: Selection) -> pd.DataFrame:
    """Recorded gaps of each member at every record up to the shown step; on pairs, their mean distance too."""
    parts = []
    _check_units(selection)
    paired = all(run.config.kind in PAIRED_KINDS for run in selection.runs)
    names = [*GAPS, *([PAIR_DISTANCE] if paired else [])]
    for series, place, member in selection.members():
        run, last = selection.runs[place], selection.steps[place]
        records = [record for record in run.records.poll().scalars if record["step"] <= last]
        if len(records) < 2:
            raise NoFigure(f"distances: {run.name} has {len(records)} record so far; a curve needs two")
        grid: dict[str, Any] = {"step": [record["step"] for record in records]}
        grid |= {gap: np.array([record[gap][member] for record in records], dtype=float) for gap in names}
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def _check_units(selection: Selection) -> None:
    """Raise `NoFigure` if some methods embed points and others do not: their distances have other units."""
    embedded = {run.name: method_on(run.config.kind, run.config.method).learns_metric for run in selection.runs}
    if len(set(embedded.values())) > 1:
        without = next(run for run in selection.runs if not embedded[run.name])
        title = method_on(without.config.kind, without.config.method).title
        raise NoFigure(
            f"distances: {without.name} is of {title}, which learns no metric: its distances are of data, not of "
            "embeddings; leave it out"
        )


def draw_distances(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """One panel for each gap, in a column on a narrow page."""
    series, names = selection.series(), _distances_in(table)
    stacked = figure.get_figwidth() < 3 * 1.4
    if stacked:
        figure.set_figheight(len(names) * 1.0 + 0.55)
        panels = list(figure.subplots(len(names), 1, sharex=True))
    else:
        panels = panels_of(figure, names, shape=0.75)
    for axes, gap in zip(panels, names, strict=True):
        for each in series:
            part, several = table[table["series"] == each.title], len(each.members) > 1
            ribbon_over(axes, part, gap, colour=each.colour, label=mathtext(each.title), log=True, several=several)
        axes.set_title(f"${gap}$  {TITLES[gap]}")
        log_axis(axes)
        step_axis(axes, table["step"])
    legend(figure, *panels[0].get_legend_handles_labels())


def distances_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Each gap in the first and the last tenth of training."""
    rows, gaps = [], _distances_in(table)
    for title, part in table.groupby("series", sort=False):
        cells = [tex(title)]
        for gap in gaps:
            ends = []
            for _, member in part.groupby(["run", "seed"], sort=False):
                tenth = max(1, len(member) // 10)
                ends.append([member[gap].iloc[:tenth].median(), member[gap].iloc[-tenth:].median()])
            cells += [digits(value) for value in np.median(ends, axis=0)]
        rows.append(cells)
    names = [rf"\multicolumn{{2}}{{c}}{{${gap[0]}_{gap[-1]}$}}" for gap in gaps]
    head = [["", *names], ["matched"] + ["first", "last"] * len(gaps)]
    rules = [" ".join(rf"\cmidrule(lr){{{2 * i + 2}-{2 * i + 3}}}" for i in range(len(gaps)))]
    caption = f"Distances in the first and the last tenth of training. {seeds_note(table, quartiles=False)}"
    return latex_table("l" + "rr" * len(gaps), head, rows, caption=caption, label="distances", rules=rules)


# -- Table 2: batch size -----------------------------------------------------------------------------------------------


def batch_data(selection: Selection) -> pd.DataFrame:
    """Quality, success and seconds per epoch of each member, by batch size."""
    sizes = sorted({run.config.batch for run in selection.runs})
    if len(sizes) < 2:
        raise NoFigure(f"batch: all runs have batch {sizes[0]}; give runs of several batch sizes")
    scored = [history.scores(step) for history, step in zip(selection.histories, selection.steps, strict=True)]
    parts = []
    for run in selection.runs:
        if run.config.kind in PAIRED_KINDS:
            raise NoFigure(f"batch: {run.name} draws patches of photographs, which make no epochs; give other runs")
    for series, place, member in selection.members(but=["batch"]):
        run, scores, last = selection.runs[place], scored[place], selection.steps[place]
        records = [record for record in run.records.scalars if 0 < record["step"] <= last]
        if scores is None or not records:
            raise NoFigure(f"batch: {run.name} has no scores up to step {last}; train it on")
        key, value = quality(scores.rows[member])
        failed = value is None or member in lost_members(e for e in run.records.events if e.step <= last)
        step_seconds = records[-1]["seconds"] / records[-1]["step"]
        row = {"batch": run.config.batch, "step": scores.step, "score": key, "value": value, "n": scores.n}
        row |= {"trained": not failed, "networks": len(run.config.members)}
        row |= {"seconds_per_epoch": step_seconds * _examples(run) / run.config.batch}
        parts.append(rows_of(selection, series, place, member, {key: [value] for key, value in row.items()}))
    table = pd.concat(parts, ignore_index=True)
    if table["score"].nunique() > 1:
        raise NoFigure(f"batch: these runs have other scores each ({', '.join(table['score'].unique())})")
    return table.astype({"value": float}).sort_values("batch", kind="stable", ignore_index=True)


@lru_cache(maxsize=64)
def _examples(run: Run) -> int:
    """Number of training examples."""
    return Run(run.path).data.train_size  # of a run of its own, that frees the points when it goes


def _quality_title(key: str, escaped: Callable[[str], str]) -> str:
    """Title of the main score; `escaped` is `mathtext` or `tex`."""
    return "$W_2$ / baseline" if key in SCORES else f"Fréchet distance ({escaped(key.split('.')[0])}) / baseline"


def draw_batch(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Quality and seconds per epoch over batch size; crosses mark seeds that collapsed or diverged."""
    from matplotlib.ticker import NullLocator

    series = selection.series(but=["batch"])
    left, right = panels_of(figure, ["", ""], shape=0.6)
    for number, each in enumerate(series):
        part = table[table["series"] == each.title]
        shift = 2 ** (0.12 * (number - (len(series) - 1) / 2))  # side by side, not on top of each other
        by_batch = part.groupby("batch")
        place = np.array(sorted(by_batch.groups)) * shift
        for axes, column in ((left, "value"), (right, "seconds_per_epoch")):
            low, middle, high = (by_batch[column].quantile(q) for q in QUARTILES)
            axes.plot(place, middle, color=each.colour, marker="o", markersize=3, label=mathtext(each.title))
            if (by_batch[column].count() > 1).any():
                axes.vlines(place, low, high, color=each.colour, linewidth=1)
        failed = part[~part["trained"] & np.isfinite(part["value"])]
        left.plot(failed["batch"] * shift, failed["value"], "x", color=each.colour, markersize=4, markeredgewidth=0.8)
    left.axhline(1, color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)))
    left.set_ylabel(_quality_title(table["score"].iloc[0], mathtext))
    right.set_ylabel("seconds per epoch")
    sizes = sorted(table["batch"].unique())
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in _thinned(sizes, axes)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("batch size")
        log_axis(axes)
    handles, labels = left.get_legend_handles_labels()
    if (~table["trained"]).any():
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], color="black", marker="x", linestyle="none", markersize=4, markeredgewidth=0.8))
        labels.append("collapsed or diverged")
    legend(figure, handles, labels)


def _thinned(sizes: list[int], axes: Axes) -> list[int | str]:
    """Tick labels, without those that would touch the one before."""
    inches = page_of(axes).get_figwidth() / 2 - 0.6
    span = np.log2(sizes[-1] / sizes[0])
    kept: list[int | str] = []
    last = -np.inf
    for size in sizes:
        place = np.log2(size / sizes[0]) / span * inches
        kept.append(size if place - last >= 0.27 else "")
        last = place if kept[-1] else last
    return kept


def batch_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Table 2 of the paper: one column per batch size."""
    sizes = sorted(table["batch"].unique())
    titles = list(table["series"].unique())
    rows: list[list[str] | str] = []
    for title in titles:
        part = dict(iter(table[table["series"] == title].groupby("batch")))
        if len(titles) > 1:
            rows += [r"\midrule"] if rows else []
            rows.append([rf"\multicolumn{{{len(sizes) + 1}}}{{l}}{{{tex(title)}}}"])
        lines: dict[str, Callable[[pd.DataFrame], str]] = {
            "Effective training (seeds)": lambda rows: f"{int(rows['trained'].sum())}/{len(rows)}",
            _quality_title(table["score"].iloc[0], tex): lambda rows: digits(rows["value"].median()),
            "Time (s) / epoch": lambda rows: digits(rows["seconds_per_epoch"].median()),
        }
        rows += [
            [name, *(cell(part[size]) if size in part else "--" for size in sizes)] for name, cell in lines.items()
        ]
    side = sorted(table["networks"].unique())
    together = f"{side[0]}" if len(side) == 1 else f"{side[0]} to {side[-1]}"
    seeds = seeds_note(table, quartiles=False)
    caption = f"Results by batch size, time of {together} network pairs trained side by side. {seeds}"
    return latex_table("l" + "r" * len(sizes), [["Batch size", *map(str, sizes)]], rows, caption=caption, label="batch")
