"""The paper's figures, made of one's own runs (Dai & Hang 2021, section 4).

    spectrum     Fig. 5     ten leading eigenvalues of the real embeddings' distances over training
    samples      Fig. 6     generated points, or pictures, and UMAP of the embeddings, per descriptor
    distances    Fig. 7     d_c, d_g and d_H over training; a band spans the quartiles of the seeds
    batch        Table 2    quality and time by batch size, from several runs

A figure is a table of the numbers that a run holds, a drawing of that table, and for most a LaTeX table. What is
shown side by side is a series: a variant, or where runs differ in more, a variant and what differs. Runs that differ in
nothing but their seeds are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mvm.compare import QUARTILES, Series, quality, series_of
from mvm.config import FACES, ConfigError
from mvm.files import RunError
from mvm.history import GAPS, History
from mvm.palette import FAKE, QUIET, REAL, VARIANTS
from mvm.projection import make_frame, read_frame
from mvm.runs import Run
from mvm.scores import SCORES
from mvm.sheets import sheet
from mvm.spectrum import SPECTRUM_FORMS, uniformity
from mvm.venues import Venue, styled, venue_of
from toy_manifolds import MANIFOLDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Definition", "NoFigure", "Selection", "Series", "data", "figure_of", "latex", "render"]

GAP_TITLES = {"d_c": "$d_c$  centroid", "d_g": "$d_g$  2-diameter", "d_H": "$d_H$  Hausdorff"}
SPECTRUM_LABELS = {"distance": "eigenvalue of $D$ / mean $D$", "mds": "share of variance (MDS)"}
SPECTRUM_NAMES = {"distance": "distance matrix", "mds": "classical MDS"}
NARROWEST, NARROWEST_CLOUD = 1.0, 0.72  # inches, of a panel with axes and one without
FAINT = 1e-5  # of the largest: less is no eigenvalue but rounding
PICTURE = 0.21  # inches, of one in a contact sheet
MARGIN = 0.35  # of the reals' size: how far beyond them the fakes are shown
VIEW = np.array(
    [[0.5, -0.866, 0.0], [0.433, 0.25, 0.866]]
).T  # 3-D from azimuth -60°, elevation 30°, as Plotly shows it
FAILED = ("collapsed", "diverged")


class NoFigure(RunError):
    """A figure that these runs cannot give, and why."""


@dataclass(frozen=True)
class Selection:
    """What of which runs is shown.

    Attributes:
        runs: one or more.
        steps: the step of each up to which it is shown: one with a snapshot.
        seed: whose samples are shown; the first when None.
        form: reading of the spectrum, of `mvm.spectrum.SPECTRUM_FORMS`.
        project: make a UMAP frame that is missing, which takes seconds.
    """

    runs: tuple[Run, ...]
    steps: tuple[int, ...]
    seed: int | None = None
    form: str = "distance"
    project: bool = True

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        *,
        step: int | Sequence[int] | None = None,
        seed: int | None = None,
        form: str = "distance",
        project: bool = True,
    ) -> Selection:
        """Check what is asked, and find the steps.

        Args:
            runs: one or more; the same one twice counts once. They are shown in the order of their batch sizes.
            step: the last step to show, of all or of each run; their last snapshots' when None.
            seed, form, project: as above.

        Raises:
            ConfigError: an unknown form or seed.
            RunError: a run without a snapshot up to the step.
        """
        runs = tuple({run.path.resolve(): run for run in runs}.values())
        if form not in SPECTRUM_FORMS:
            raise ConfigError(f"form: unknown {form!r}; known: {', '.join(SPECTRUM_FORMS)}")
        known = sorted({known for run in runs for known in run.config.seeds})
        if seed is not None and seed not in known:
            raise ConfigError(f"seed: no run has seed {seed}; known: {', '.join(map(str, known))}")
        wanted = [step] * len(runs) if step is None or isinstance(step, int) else list(step)
        steps = [_step_of(run, step) for run, step in zip(runs, wanted, strict=True)]
        order = sorted(range(len(runs)), key=lambda place: runs[place].config.batch)
        return cls(tuple(runs[i] for i in order), tuple(steps[i] for i in order), seed, form, project)

    def series(self, *, but: Iterable[str] = ()) -> list[Series]:
        """Variants, and what else differs but for some settings, in the order of their first appearance."""
        return series_of(self.runs, but=but)

    @cached_property
    def histories(self) -> list[History]:
        """A reader of each run."""
        return [History(run).refresh() for run in self.runs]

    def snapshot(self, place: int) -> dict[str, np.ndarray]:
        """The shown snapshot of a run.

        Raises:
            RunError: it cannot be read.
        """
        run, step = self.runs[place], self.steps[place]
        snapshot = run.snapshot(step)
        if snapshot is None:
            raise RunError(f"run: {run.name}'s {run.snapshot_path(step).name} is damaged; choose another --step")
        return snapshot

    def shown(self, series: Series) -> tuple[int, int]:
        """The run's place and the member whose samples stand for a series."""
        seeds = [self.runs[place].config.members[member][1] for place, member in series.members]
        if self.seed is not None and self.seed not in seeds:
            raise NoFigure(f"samples: {series.title} has no seed {self.seed}; it has {', '.join(map(str, seeds))}")
        return series.members[0 if self.seed is None else seeds.index(self.seed)]


def _step_of(run: Run, wanted: int | None) -> int:
    steps = [step for step in run.snapshot_steps() if wanted is None or step <= wanted]
    if not steps:
        until = "" if wanted is None else f" up to step {wanted}"
        raise RunError(f"run: {run.name} has no snapshot{until} yet; train it first")
    return steps[-1]


@dataclass(frozen=True)
class Definition:
    """One figure.

    Attributes:
        title: what it shows.
        source: where the paper has it.
        needs: what a run must have for it.
        data: its numbers from a selection; raises `NoFigure`.
        draw: those into a figure that is empty but for its width.
        latex: those as a LaTeX table; None if it has none.
        uses: what of a run it is made of, for the fingerprint: records, scores, snapshots, snapshot, frame.
    """

    title: str
    source: str
    needs: str
    data: Callable[[Selection], pd.DataFrame]
    draw: Callable[[Figure, pd.DataFrame, Selection], None]
    latex: Callable[[pd.DataFrame, Selection], str] | None
    uses: tuple[str, ...]


def figure_of(name: str) -> Definition:
    """The figure of this name.

    Raises:
        ConfigError: it is unknown.
    """
    if name not in FIGURES:
        raise ConfigError(f"figure: unknown {name!r}; known: {', '.join(FIGURES)}, all")
    return FIGURES[name]


def data(name: str, runs: Sequence[Run], **options: Any) -> pd.DataFrame:
    """The numbers of a figure, one row each.

    Args:
        name: of the figure.
        runs: one or more.
        options: of `Selection.of`.

    Raises:
        ConfigError, RunError: as for `Selection.of`.
        NoFigure: these runs cannot give it.
    """
    return figure_of(name).data(Selection.of(runs, **options))


def latex(name: str, runs: Sequence[Run], **options: Any) -> str | None:
    """The LaTeX table of a figure, for the package booktabs; None if it has none. Arguments are those of `data`."""
    definition, selection = figure_of(name), Selection.of(runs, **options)
    return definition.latex and definition.latex(definition.data(selection), selection)


def render(name: str, runs: Sequence[Run], *, venue: str = "neurips", wide: bool = False, **options: Any) -> Figure:
    """A figure at its true width; `mvm.export.encoded` makes a file of it. Arguments are those of `data`, and

    venue: whose widths and font sizes it has.
    wide: across both columns, where the venue has two.
    """
    definition, selection = figure_of(name), Selection.of(runs, **options)
    return drawn(definition, definition.data(selection), selection, venue=venue_of(venue), wide=wide)


def drawn(
    definition: Definition, table: pd.DataFrame, selection: Selection, *, venue: Venue, wide: bool = False
) -> Figure:
    """A figure from its numbers."""
    from matplotlib.figure import Figure

    with styled(venue):
        figure = Figure(figsize=(venue.width(wide=wide), 1), layout="constrained")
        definition.draw(figure, table, selection)
        return figure


# -- Fig. 5: spectrum --------------------------------------------------------------------------------------------------


def _spectrum_data(selection: Selection) -> pd.DataFrame:
    parts = []
    read = [history.spectrum(selection.form) for history in selection.histories]
    for series in selection.series():
        for place, member in series.members:
            steps, values = read[place]
            kept = steps <= selection.steps[place]
            if kept.sum() < 2:
                name = selection.runs[place].name
                raise NoFigure(f"spectrum: {name} has one snapshot so far; a curve needs two")
            values = values[kept, member]
            grid = {"step": np.repeat(steps[kept].astype(int), values.shape[1])}
            grid |= {"rank": np.tile(np.arange(1, values.shape[1] + 1), len(values)), "eigenvalue": values.ravel()}
            parts.append(_rows(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def _draw_spectrum(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    series = selection.series()
    ranks = int(table["rank"].max())
    colours = [_tint(VARIANTS[0], 1 - 0.7 * rank / max(1, ranks - 1)) for rank in range(ranks)]
    panels = _panels(figure, [one.title for one in series], shape=0.8, sharey=True)
    table = table.assign(eigenvalue=table["eigenvalue"].abs())
    table["eigenvalue"] = table["eigenvalue"].where(table["eigenvalue"] > FAINT * table["eigenvalue"].max())
    for axes, one in zip(panels, series, strict=True):
        middle = table[table["series"] == one.title].groupby(["step", "rank"])["eigenvalue"].median().unstack()
        for rank, values in reversed(list(middle.items())):
            axes.plot(middle.index, values, color=colours[rank - 1])
        _step_axis(axes, middle.index)
    for axes in panels:
        _log_axis(axes)
    figure.supylabel(SPECTRUM_LABELS[selection.form], fontsize=panels[0].yaxis.label.get_size())
    shades = ScalarMappable(BoundaryNorm(np.arange(0.5, ranks + 1), ranks), ListedColormap(colours))
    bar = figure.colorbar(
        shades, ax=panels, ticks=sorted({1, ranks // 2, ranks} - {0}), aspect=18, fraction=0.05, pad=0.02
    )
    bar.ax.invert_yaxis()
    bar.ax.tick_params(length=0, which="both")
    bar.outline.set_visible(False)
    bar.set_label("rank", labelpad=1)


def _spectrum_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Uniformity of the spectrum before and after, the median of the seeds."""
    rows = []
    for title, part in table.groupby("series", sort=False):
        found = []
        for _, member in part.groupby(["run", "seed"], sort=False):
            wide = member.pivot(index="step", columns="rank", values="eigenvalue")
            ends = torch.tensor(wide.iloc[[0, -1]].to_numpy(dtype=np.float64))
            found.append(uniformity(ends).tolist())
        rows.append([_tex(title), *(_three(*np.quantile(values, QUARTILES)) for values in np.transpose(found))])
    caption = (
        f"Uniformity of the spectrum of the real embeddings ({SPECTRUM_NAMES[selection.form]}): entropy of its "
        f"{int(table['rank'].max())} leading eigenvalues over the largest possible. {_over(table)}"
    )
    head = ["matched", "before training", "after training"]
    return _table("lrr", [head], rows, caption=caption, label="spectrum")


# -- Fig. 6: samples ---------------------------------------------------------------------------------------------------


def _samples_data(selection: Selection) -> pd.DataFrame:
    parts = []
    for series in selection.series():
        place, member = selection.shown(series)
        snapshot, frame = selection.snapshot(place), _frame(selection, place)[member]
        half = len(frame) // 2
        grid: dict[str, Any] = {"kind": ["real"] * half + ["fake"] * half, "point": [*range(half), *range(half)]}
        if not selection.runs[place].config.is_images:
            real, fake = snapshot["real"], snapshot["fake"][member]
            own = np.concatenate([real[:half], fake[:half]])
            if own.shape[1] <= 3:
                grid |= {f"x{axis + 1}": own[:, axis] for axis in range(own.shape[1])}
            plane = _plane(own, real)
            grid |= {"plane1": plane[:, 0], "plane2": plane[:, 1]}
        grid |= {"umap1": frame[:, 0], "umap2": frame[:, 1]}
        parts.append(_rows(selection, series, place, member, {"step": selection.steps[place]} | grid))
    return pd.concat(parts, ignore_index=True)


def _frame(selection: Selection, place: int) -> np.ndarray:
    run, step = selection.runs[place], selection.steps[place]
    frame = read_frame(run.path, step)
    if frame is None and selection.project:
        try:
            make_frame(run.path, step)
        except (ValueError, RuntimeError) as error:
            raise NoFigure(f"samples: {run.name} has no UMAP at step {step}: {error}") from None
        frame = read_frame(run.path, step)
    if frame is None or len(frame) != len(run.config.members):
        raise NoFigure(f"samples: {run.name} has no UMAP frame of step {step} yet; look at it in the app, or export it")
    return frame


def _plane(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    """What a flat page shows of points: 2-D as they are, 3-D as seen from a corner, more on the reals' main axes."""
    if points.shape[1] == 2:
        return points
    if points.shape[1] == 3:
        return points @ VIEW.astype(points.dtype)
    axes = np.linalg.svd(real - real.mean(0), full_matrices=False)[2][:2].T
    return (points - real.mean(0)) @ axes


def _draw_samples(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    from matplotlib import rcParams

    series = selection.series()
    bands = -(-len(series) // int(figure.get_figwidth() / NARROWEST_CLOUD))
    columns = -(-len(series) // bands)
    alone = len(series) == 1  # above and UMAP stand side by side
    side = min((figure.get_figwidth() - 0.3) / max(columns, 2), 2.2)
    size = rcParams["axes.titlesize"]
    titles = [_wrapped(one.title, side, size) for one in series]
    lines = max(title.count("\n") for title in titles) + 1
    figure.set_figheight((side * (1 if alone else 2) + 0.02 * size * lines + 0.05) * bands + 0.24)
    grid = figure.subplots(1, 2, squeeze=False) if alone else figure.subplots(2 * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, one in enumerate(series):
        band, column = divmod(number, columns)
        above, below = (grid[0, 0], grid[0, 1]) if alone else (grid[2 * band, column], grid[2 * band + 1, column])
        part = table[table["series"] == one.title]
        place, member = selection.shown(one)
        what = _draw_above(above, part, selection, place, member, side)
        _framed(above)
        above.set_title(titles[number], linespacing=0.9)
        points = part[["umap1", "umap2"]].to_numpy()
        real = (part["kind"] == "real").to_numpy()
        _draw_points(below, points[real], points[~real], around=points, margin=0.08)
        _framed(below)
        if alone:
            below.set_title("UMAP")
        elif column == 0:
            below.set_ylabel("UMAP of embeddings" if side > 1.1 else "UMAP")
            above.set_ylabel(what)
    handles = [_dot(REAL), _dot(FAKE)]
    figure.legend(handles, ["real", "generated"], loc="outside lower center", ncols=2, handletextpad=0.1)


def _draw_above(axes: Axes, part: pd.DataFrame, selection: Selection, place: int, member: int, side: float) -> str:
    """Data space, or pictures; returns what to call it."""
    if not selection.runs[place].config.is_images:
        points, real = part[["plane1", "plane2"]].to_numpy(), (part["kind"] == "real").to_numpy()
        _draw_points(axes, points[real], points[~real], around=points[real], margin=MARGIN)
        return "data space"
    pictures = selection.snapshot(place)["fake"][member]
    across = min(max(4, round(side / PICTURE)), int(len(pictures) ** 0.5))
    axes.imshow(sheet(pictures[: across**2], columns=across, gap=1), interpolation="none", zorder=1)
    return "generated"


def _draw_points(axes: Axes, real: np.ndarray, fake: np.ndarray, *, around: np.ndarray, margin: float) -> None:
    """Both clouds as pixels, with equal units; says which share of the fakes lies outside, or is no number."""
    whole = around[np.isfinite(around).all(1)]
    low, high = (whole.min(0), whole.max(0)) if len(whole) else (np.zeros(2), np.ones(2))
    centre, reach = (low + high) / 2, (1 + margin) * (float((high - low).max()) / 2 or 1.0)
    size = min(2.0, 30 / len(fake) ** 0.5)
    for points, colour in ((real, REAL), (fake, FAKE)):
        style = {"marker": "o", "markersize": size, "markeredgewidth": 0, "linestyle": "none", "alpha": 0.7}
        axes.plot(points[:, 0], points[:, 1], color=colour, rasterized=True, **style)
    axes.set_aspect("equal")
    axes.set_xlim(centre[0] - reach, centre[0] + reach)
    axes.set_ylim(centre[1] - reach, centre[1] + reach)
    out = float((~(np.abs(fake - centre) <= reach).all(1)).mean())
    if out >= 0.005:
        place = {"transform": axes.transAxes, "ha": "right", "va": "bottom", "fontsize": axes.xaxis.label.get_size()}
        behind = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        axes.text(0.98, 0.02, f"{100 * out:.0f} % outside", bbox=behind, **place)


# -- Fig. 7: distances -------------------------------------------------------------------------------------------------


def _distances_data(selection: Selection) -> pd.DataFrame:
    parts = []
    for series in selection.series():
        for place, member in series.members:
            run, last = selection.runs[place], selection.steps[place]
            records = [record for record in run.records.poll().scalars if record["step"] <= last]
            if len(records) < 2:
                raise NoFigure(f"distances: {run.name} has {len(records)} record so far; a curve needs two")
            grid: dict[str, Any] = {"step": [record["step"] for record in records]}
            grid |= {gap: np.array([record[gap][member] for record in records], dtype=float) for gap in GAPS}
            parts.append(_rows(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def _draw_distances(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    series = selection.series()
    stacked = figure.get_figwidth() < 3 * 1.4
    if stacked:
        figure.set_figheight(3 * 1.0 + 0.55)
        panels = list(figure.subplots(3, 1, sharex=True))
    else:
        panels = _panels(figure, GAPS, shape=0.75)
    for axes, gap in zip(panels, GAPS, strict=True):
        for one in series:
            by_step = table[table["series"] == one.title].groupby("step")[gap]
            middle = by_step.median()
            if len(one.members) > 1:
                low, high = by_step.quantile(0.25), by_step.quantile(0.75)
                band = np.isfinite(low) & (low > 0)
                axes.fill_between(
                    middle.index, low.where(band), high.where(band), color=one.colour, alpha=0.25, linewidth=0
                )
            axes.plot(middle.index, middle.where(middle > 0), color=one.colour, label=one.title)
        axes.set_title(GAP_TITLES[gap])
        _log_axis(axes)
        _step_axis(axes, table["step"])
    _legend(figure, *panels[0].get_legend_handles_labels())


def _distances_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Each gap in the first and the last tenth of training."""
    rows = []
    for title, part in table.groupby("series", sort=False):
        cells = [_tex(title)]
        for gap in GAPS:
            ends = []
            for _, member in part.groupby(["run", "seed"], sort=False):
                tenth = max(1, len(member) // 10)
                ends.append([member[gap].iloc[:tenth].median(), member[gap].iloc[-tenth:].median()])
            cells += [_number(value) for value in np.median(ends, axis=0)]
        rows.append(cells)
    names = [rf"\multicolumn{{2}}{{c}}{{${gap[0]}_{gap[-1]}$}}" for gap in GAPS]
    head = [["", *names], ["matched"] + ["first", "last"] * len(GAPS)]
    rules = [r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}"]
    caption = f"Distances in the first and the last tenth of training. {_over(table, quartiles=False)}"
    return _table("l" + "rr" * len(GAPS), head, rows, caption=caption, label="distances", rules=rules)


# -- Table 2: batch size -----------------------------------------------------------------------------------------------


def _batch_data(selection: Selection) -> pd.DataFrame:
    sizes = sorted({run.config.batch for run in selection.runs})
    if len(sizes) < 2:
        raise NoFigure(f"batch: all runs have batch {sizes[0]}; give runs of several batch sizes")
    scored = [history.scores(step) for history, step in zip(selection.histories, selection.steps, strict=True)]
    parts = []
    for series in selection.series(but=["batch"]):
        for place, member in series.members:
            run, scores, last = selection.runs[place], scored[place], selection.steps[place]
            records = [record for record in run.records.scalars if 0 < record["step"] <= last]
            if scores is None or not records:
                raise NoFigure(f"batch: {run.name} has no scores up to step {last}; train it on")
            key, value = quality(scores.rows[member])
            marks = [e for e in run.records.events if e["event"] == "member" and e["step"] <= last]
            states = [e["what"] for e in marks if e["member"] == member]
            failed = value is None or (states and states[-1] in FAILED)
            step_seconds = records[-1]["seconds"] / records[-1]["step"]
            row = {"batch": run.config.batch, "step": scores.step, "score": key, "value": value, "n": scores.n}
            row |= {"trained": not failed, "networks": len(run.config.members)}
            row |= {"seconds_per_epoch": step_seconds * _examples(run) / run.config.batch}
            parts.append(_rows(selection, series, place, member, {key: [value] for key, value in row.items()}))
    table = pd.concat(parts, ignore_index=True)
    if table["score"].nunique() > 1:
        raise NoFigure(f"batch: these runs have other scores each ({', '.join(table['score'].unique())})")
    return table.astype({"value": float}).sort_values("batch", kind="stable", ignore_index=True)


def _examples(run: Run) -> int:
    """How many there are to train on."""
    if run.config.data in MANIFOLDS or run.config.data == FACES:
        return run.config.points
    return len(run.data.images if run.config.is_images else run.data.train)


def _quality_title(key: str) -> str:
    """The score's name for mathtext and LaTeX alike."""
    return "$W_2$ / floor" if key in SCORES else f"Fréchet distance ({key.split('.')[0]}) / floor"


def _draw_batch(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    from matplotlib.ticker import NullLocator

    series = selection.series(but=["batch"])
    left, right = _panels(figure, ["", ""], shape=0.6)
    for number, one in enumerate(series):
        part = table[table["series"] == one.title]
        shift = 2 ** (0.12 * (number - (len(series) - 1) / 2))  # side by side, not on top of each other
        by_batch = part.groupby("batch")
        place = np.array(sorted(by_batch.groups)) * shift
        for axes, column in ((left, "value"), (right, "seconds_per_epoch")):
            low, middle, high = (by_batch[column].quantile(q) for q in QUARTILES)
            axes.plot(place, middle, color=one.colour, marker="o", markersize=3, label=one.title)
            if (by_batch[column].count() > 1).any():
                axes.vlines(place, low, high, color=one.colour, linewidth=1)
        failed = part[~part["trained"] & np.isfinite(part["value"])]
        left.plot(failed["batch"] * shift, failed["value"], "x", color=one.colour, markersize=4, markeredgewidth=0.8)
    left.axhline(1, color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)))
    left.set_ylabel(_quality_title(table["score"].iloc[0]))
    right.set_ylabel("seconds per epoch")
    sizes = sorted(table["batch"].unique())
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in _thinned(sizes, axes)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("batch size")
        _log_axis(axes)
    handles, labels = left.get_legend_handles_labels()
    if (~table["trained"]).any():
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], color="black", marker="x", linestyle="none", markersize=4, markeredgewidth=0.8))
        labels.append("collapsed or diverged")
    _legend(figure, handles, labels)


def _thinned(sizes: list[int], axes: Axes) -> list[int | str]:
    """Tick labels, every other one left out where they would touch."""
    inches = axes.get_figure().get_figwidth() / 2 - 0.6
    span = np.log2(sizes[-1] / sizes[0])
    kept: list[int | str] = []
    last = -np.inf
    for size in sizes:
        place = np.log2(size / sizes[0]) / span * inches
        kept.append(size if place - last >= 0.27 else "")
        last = place if kept[-1] else last
    return kept


def _batch_latex(table: pd.DataFrame, selection: Selection) -> str:
    """The paper's Table 2: batch sizes across."""
    sizes = sorted(table["batch"].unique())
    titles = list(table["series"].unique())
    rows: list[list[str] | str] = []
    for title in titles:
        part = dict(iter(table[table["series"] == title].groupby("batch")))
        if len(titles) > 1:
            rows += [r"\midrule"] if rows else []
            rows.append([rf"\multicolumn{{{len(sizes) + 1}}}{{l}}{{{_tex(title)}}}"])
        lines = {
            "Effective training (seeds)": lambda rows: f"{int(rows['trained'].sum())}/{len(rows)}",
            _quality_title(table["score"].iloc[0]): lambda rows: _number(rows["value"].median()),
            "Time (s) / epoch": lambda rows: _number(rows["seconds_per_epoch"].median()),
        }
        rows += [
            [name, *(cell(part[size]) if size in part else "--" for size in sizes)] for name, cell in lines.items()
        ]
    side = sorted(table["networks"].unique())
    together = f"{side[0]}" if len(side) == 1 else f"{side[0]} to {side[-1]}"
    caption = (
        f"Results by batch size, time of {together} network pairs trained side by side. {_over(table, quartiles=False)}"
    )
    return _table("l" + "r" * len(sizes), [["Batch size", *map(str, sizes)]], rows, caption=caption, label="batch")


# -- parts of tables ---------------------------------------------------------------------------------------------------

TEX = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}


def _rows(selection: Selection, series: Series, place: int, member: int, values: dict[str, Any]) -> pd.DataFrame:
    """Values of one member, with what they are of."""
    run = selection.runs[place]
    variant, seed = run.config.members[member]
    return pd.DataFrame({"series": series.title, "run": run.name, "variant": variant, "seed": seed} | values)


def _tex(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(TEX.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text.replace(r"\$", "$"))


def _number(value: float) -> str:
    """Three digits, as a person writes them."""
    if not np.isfinite(value):
        return "--"
    if value and not 1e-3 <= abs(value) < 1e4:
        digits, power = f"{value:.1e}".split("e")
        return rf"${digits}\times10^{{{int(power)}}}$"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}" if value else "0"


def _three(low: float, middle: float, high: float) -> str:
    return _number(middle) if low == high else f"{_number(middle)} [{_number(low)}, {_number(high)}]"


def _over(table: pd.DataFrame, *, quartiles: bool = True) -> str:
    """How many seeds the numbers are of."""
    keys = ["series", *(["batch"] if "batch" in table else [])]
    seeds = sorted(table[[*keys, "run", "seed"]].drop_duplicates().groupby(keys).size().unique())
    if seeds == [1]:
        return "One seed."
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"Median{' [quartiles]' if quartiles else ''} of {count} seeds."


def _table(
    columns: str,
    head: list[list[str]],
    rows: list[list[str] | str],
    *,
    caption: str,
    label: str,
    rules: Sequence[str] = (),
) -> str:
    """A LaTeX table; `rules` are put between the head's lines, a row that is no list as it is."""
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"  \centering", rf"  \caption{{{caption}}}"]
    lines += [rf"  \label{{tab:{label}}}", rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
    for place, line in enumerate(head):
        lines += [rf"    {' & '.join(line)} \\"] + [f"    {rule}" for rule in rules[place : place + 1]]
    lines += [r"    \midrule"]
    lines += [f"    {row}" if isinstance(row, str) else rf"    {' & '.join(row)} \\" for row in rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


# -- parts of drawings -------------------------------------------------------------------------------------------------


def _panels(figure: Figure, titles: Sequence[str], *, shape: float, sharey: bool = False) -> list[Axes]:
    """Panels in as few rows as the width allows, their height a share of their width."""
    width = figure.get_figwidth()
    rows = -(-len(titles) // max(1, int(width / NARROWEST)))
    columns = -(-len(titles) // rows)
    height = min(max(shape * width / columns, 1.3), 1.8)
    figure.set_figheight(rows * height + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=rows > 1, sharey=sharey)
    panels = list(grid.flat)
    for axes in panels[len(titles) :]:
        axes.remove()
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(_wrapped(title, width / columns, axes.title.get_size()), linespacing=0.9)
    return panels[: len(titles)]


def _wrapped(title: str, width: float, size: float) -> str:
    """A title in lines that fit a panel of so many inches."""
    import textwrap

    lines = textwrap.wrap(title.replace("+", "+ "), max(8, int(width * 72 / (0.47 * size))), break_long_words=False)
    return "\n".join(line.replace("+ ", "+") for line in lines)


def _step_axis(axes: Axes, steps: Iterable[float]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = float(max(steps))
    axes.set_xlim(0, last)
    if axes.get_subplotspec().is_last_row():
        axes.set_xlabel("training step")
    narrow = axes.get_figure().get_figwidth() / max(1, axes.get_subplotspec().get_gridspec().ncols) < 1.5
    axes.xaxis.set_major_locator(MaxNLocator(2 if narrow else 4, steps=[1, 2, 2.5, 5, 10], integer=True))
    if last >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step else "0"))


def _log_axis(axes: Axes) -> None:
    """A logarithmic scale about what was drawn, with enough numbers on it to read others off."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.autoscale(axis="y")
    low, high = np.log10(axes.get_ylim())
    powers = int(np.floor(high) - np.ceil(low)) + 1
    if powers < 2:
        axes.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if high - low < 0.5 else (1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    else:
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_major_formatter(LogFormatterMathtext())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", labelleft=False)  # no text to lay out


def _legend(figure: Figure, handles: list, labels: list[str]) -> None:
    """Below all panels, in as many columns as there is room for; a single series needs none."""
    if len(labels) < 2:
        return
    size = figure.axes[0].xaxis.label.get_size()
    widths = [len(label) * 0.44 * size / 72 + 0.35 for label in labels]
    fits = sum(widths) < figure.get_figwidth()
    columns = len(labels) if fits else max(1, int(figure.get_figwidth() / max(widths)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.16 * rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // rows))


def _framed(axes: Axes) -> None:
    """No ticks, a thin frame: units have no meaning, or are equal and not needed."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _dot(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="o", markersize=4, markeredgewidth=0, linestyle="none")


def _tint(colour: str, share: float) -> tuple[float, ...]:
    """A hex colour on white paper."""
    return tuple(1 - share * (1 - int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))


FIGURES: dict[str, Definition] = {
    "spectrum": Definition(
        "Leading eigenvalues of the real embeddings over training",
        "Fig. 5",
        "a run with two snapshots",
        _spectrum_data,
        _draw_spectrum,
        _spectrum_latex,
        ("snapshots",),
    ),
    "samples": Definition(
        "Samples and UMAP of the embeddings for each set of descriptors",
        "Fig. 6",
        "a run with a snapshot",
        _samples_data,
        _draw_samples,
        None,
        ("snapshot", "frame"),
    ),
    "distances": Definition(
        "Distances between real and generated embeddings over training",
        "Fig. 7",
        "a run with two records",
        _distances_data,
        _draw_distances,
        _distances_latex,
        ("records",),
    ),
    "batch": Definition(
        "Quality and time by batch size",
        "Table 2",
        "runs of two or more batch sizes, with scores",
        _batch_data,
        _draw_batch,
        _batch_latex,
        ("records", "scores"),
    ),
}
