"""Layers of the Lab as figures: forces, learned metric, density of the model, a mode of the embeddings, trust in UMAP.

Forces, metric and density use the weights of the last checkpoint up to the shown step, or of the earliest one; the
panel names the checkpoint's step if it differs from that of the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mvm.errors import ConfigError, RunError
from mvm.figures.clouds import (
    NARROWEST_CLOUD,
    clouds_table,
    columns_of,
    draw_points,
    flat,
    kinds_of,
    look_at,
    shows_clouds,
)
from mvm.figures.drawing import BAR, GAP, dot, framed, legend, scale_of, wrapped
from mvm.figures.selection import NoFigure, Selection, require_kind
from mvm.figures.tables import digits, latex_table, rows_of, seeds_note
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.geometry.neighbourhoods import neighbours, preservation_of
from mvm.geometry.pullback import half_axes, log_volume
from mvm.geometry.spectrum import modes_shown
from mvm.look.palette import DIVERGING, FAKE, QUIET, REAL, SEQUENTIAL, VOLUME, descriptor_colour
from mvm.look.scales import MARGIN, arrow_factor, limits, span_of
from mvm.methods import METHODS
from mvm.studies.compare import Series
from mvm.studies.learned_metric import FIELD, FILL, LearnedMetric, cells, field_on, metric_at, moves, step_length
from mvm.studies.model_density import GRID, SHARES, ModelDensity, density_at, levels, shade_limits
from mvm.words import tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

    Scale = tuple[Colormap, Normalize]

__all__ = [
    "draw_forces",
    "draw_likelihood",
    "draw_metric",
    "draw_modes",
    "draw_trust",
    "forces_data",
    "likelihood_data",
    "metric_data",
    "modes_data",
    "trust_data",
    "trust_latex",
]

MOST_ARROWS = 128  # largest number of arrows in a panel
WIDEST = 2.4  # largest width of a panel, inches
INK = "#3B3384"  # colour of ellipses: a darker shade of the field's


# -- shared parts ------------------------------------------------------------------------------------------------------


def _learned_metric(selection: Selection, place: int, member: int, figure: str) -> LearnedMetric:
    """The learned metric of a member; `NoFigure` with the reason if there is none."""
    run = selection.runs[place]
    try:
        return metric_at(run, member, selection.steps[place])
    except (RunError, ConfigError, OSError) as error:
        raise NoFigure(f"{figure}: {str(error).removeprefix('run: ')}") from None


def _embeddings(selection: Selection, place: int, member: int, half: int, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the reals and fakes in the UMAP frame, `(half, k)` each."""
    snapshot, run = selection.snapshot(place), selection.runs[place]
    if "real_embedding" not in snapshot or snapshot["real_embedding"].shape[1] != half:
        step = selection.steps[place]
        raise NoFigure(f"{figure}: {run.name} has no embeddings of the points in its UMAP at step {step}")
    return snapshot["real_embedding"][member], snapshot["fake_embedding"][member]


def _seen_through(
    selection: Selection,
    series: Series,
    place: int,
    member: int,
    learned: LearnedMetric | ModelDensity,
    rows: Sequence[pd.DataFrame],
) -> pd.DataFrame:
    """Rows of several kinds joined and labelled with the member, its step and the step of its metric or density."""
    about = {"step": selection.steps[place], "metric_step": learned.step}
    return rows_of(selection, series, place, member, about | dict(pd.concat(rows, ignore_index=True)))


def _split(part: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the real and of the fake rows, `(n, columns)` each."""
    return tuple(part.loc[part["kind"] == kind, list(columns)].to_numpy(dtype=float) for kind in ("real", "fake"))


def _panels(
    figure: Figure,
    titles: Sequence[str],
    *,
    rows: int = 1,
    notes: Sequence[str] = (),
    below: int = 0,
    beside: float = BAR,
) -> np.ndarray:
    """Square panels `(series, rows)`, side by side while there is room; a series alone has its rows side by side.

    Args:
        figure: of which the width is set.
        titles: of the series.
        rows: panels of each.
        notes: a further line of each title.
        below: lines that are written below each panel.
        beside: width of a colour bar, inches.
    """
    from matplotlib import rcParams

    figure.set_layout_engine("compressed")  # squares side by side, and the colour bar beside them
    width, alone = figure.get_figwidth() - beside, len(titles) == 1
    bands = -(-len(titles) // max(1, int(width / NARROWEST_CLOUD)))
    columns = -(-len(titles) // bands)
    side = min(width / (rows if alone else columns), WIDEST / (1 if alone else rows**0.5))
    texts = [wrapped(title, side - GAP, rcParams["axes.titlesize"]) for title in titles]
    texts = [f"{text}\n{note}" for text, note in zip(texts, notes, strict=True)] if notes else texts
    lines = max(text.count("\n") for text in texts) + 1
    high = side * (1 if alone else rows) + 0.017 * rcParams["axes.titlesize"] * lines + 0.15 * below + 0.06
    figure.set_figheight(high * bands)
    if alone:
        grid = figure.subplots(1, rows, squeeze=False)
    else:
        grid = figure.subplots(rows * bands, columns, squeeze=False)
        grid = grid.reshape(bands, rows, columns).swapaxes(1, 2).reshape(bands * columns, rows)
        for axes in grid[len(titles) :].flat:
            axes.remove()
    for text, panels in zip(texts, grid, strict=False):
        panels[0].set_title(text, linespacing=0.95)
        for axes in panels:
            framed(axes)
    return grid[: len(titles)]


def _bar(figure: Figure, panels: np.ndarray, scale: Scale, title: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    shades, norm = scale
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=list(panels.flat), aspect=18, fraction=0.05, pad=0.02)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.outline.set_visible(False)
    bar.set_label(title, labelpad=2)


def _coloured(
    axes: Axes, part: pd.DataFrame, columns: Sequence[str], value: str, scale: Scale, *, margin: float, whole: bool
) -> None:
    """Reals as dots and fakes as rings, rasterised and coloured by a value; points without a value are left out."""
    shades, norm = scale
    real, fake = _split(part, columns)
    size = min(2.4, 36 / max(1, len(fake)) ** 0.5)
    for points, kind in ((real, "real"), (fake, "fake")):
        values = part.loc[part["kind"] == kind, value].to_numpy(dtype=float)
        known = np.isfinite(values) & np.isfinite(points).all(1)
        colours = shades(norm(values[known]))
        dots: dict[str, Any] = {"color": colours, "linewidths": 0}
        rings: dict[str, Any] = {"facecolors": "none", "edgecolors": colours, "linewidths": 0.5}
        style = dots if kind == "real" else rings
        axes.scatter(points[known, 0], points[known, 1], s=size**2, rasterized=True, **style)
    around = np.concatenate([real, fake]) if whole else real
    look_at(axes, span_of(around, margin), fake)


def _ring() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=QUIET, marker="o", markersize=4, markerfacecolor="none", markeredgewidth=0.7, linestyle="none"
    )


def _kinds(figure: Figure, *handles: Any) -> None:
    """Legend of reals and fakes."""
    legend(figure, handles, ["real", "generated"])


def _metric_note(part: pd.DataFrame, what: str = "metric") -> str:
    """Note with the step of the metric or density, if it differs from the step of the points."""
    seen, step = int(part["metric_step"].iloc[0]), int(part["step"].iloc[0])
    return "" if seen == step else f"{what} of step {seen}"


# -- forces ------------------------------------------------------------------------------------------------------------


def forces_data(selection: Selection) -> pd.DataFrame:
    """Both clouds, and the unweighted force of each matched descriptor on some fakes: components d in own units."""
    require_kind("points", "forces", selection.runs)
    parts = []
    for series, place, member in selection.samples():
        run = selection.runs[place]
        if not METHODS[run.config.method].matches_descriptors:
            title = METHODS[run.config.method].title
            raise NoFigure(f"forces: {run.name} is of {title}, which matches no descriptors; give a run that does")
        snapshot, metric = selection.snapshot(place), _learned_metric(selection, place, member, "forces")
        real, fake = snapshot["real"], snapshot["fake"][member]
        terms = descriptors_of(run.config.members[member][0])
        found = moves(metric, torch.from_numpy(real), torch.from_numpy(fake), terms)
        rows = [clouds_table(real, fake)]
        for term, move in found.items():
            at, force = fake[:MOST_ARROWS], move[:MOST_ARROWS].numpy()
            start = flat(at, real)
            columns = {"kind": "force", "point": np.arange(len(at)), "term": term}
            columns |= columns_of(at, "x") | columns_of(start, "plane")
            rows.append(pd.DataFrame(columns | columns_of(force, "d") | columns_of(_turned(force, real), "dplane")))
        parts.append(_seen_through(selection, series, place, member, metric, rows))
    table = pd.concat(parts, ignore_index=True)
    reals = [_split(part, ["plane1", "plane2"])[0] for _, part in table.groupby("series")]
    span = max((span_of(real, MARGIN) for real in reals), key=lambda span: np.diff(span).max())
    for _, part in table.groupby("term"):
        table.loc[part.index, "factor"] = arrow_factor([part[["dplane1", "dplane2"]].to_numpy(dtype=float)], span)
    return table


def _turned(force: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Steps on a flat page: the linear part of `flat`."""
    real, force = real.astype(np.float64), force.astype(np.float64)  # a force may be far smaller than a point
    turned: np.ndarray = flat(real[:1] + force, real) - flat(real[:1], real)
    return turned


def draw_forces(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Points with arrows in the descriptors' colours, lengthened by round factors that the legend gives."""
    from matplotlib.lines import Line2D

    series = selection.series()
    noted = any(_metric_note(part) for _, part in table.groupby("series"))
    panels = _panels(figure, [each.title for each in series], below=noted, beside=0.1)
    for (axes,), each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        real, fake = _split(part, ["plane1", "plane2"])
        draw_points(axes, real, fake, around=real, margin=MARGIN)
        for term, arrows in part.groupby("term", sort=False):
            start, step = (arrows[[f"{name}1", f"{name}2"]].to_numpy(dtype=float) for name in ("plane", "dplane"))
            any_at_all = np.isfinite(start).all(1) & np.isfinite(step).all(1) & (step != 0).any(1)
            start, step = start[any_at_all], step[any_at_all] * arrows["factor"].iloc[0]
            style = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "inches", "width": 0.007}
            head = {"headwidth": 4.5, "headlength": 5, "headaxislength": 4.5, "linewidth": 0, "zorder": 2.5}
            axes.quiver(*start.T, *step.T, color=descriptor_colour(term), **style, **head)
        axes.set_xlabel(_metric_note(part))
    handles, labels = [dot(REAL), dot(FAKE)], ["real", "generated"]
    for term in DESCRIPTORS:
        factors = table.loc[table["term"] == term, "factor"]
        if len(factors):
            arrow: dict[str, Any] = {"marker": r"$\rightarrow$", "markersize": 8, "markeredgewidth": 0}
            handles.append(Line2D([], [], color=descriptor_colour(term), linestyle="none", **arrow))
            labels.append(f"{DESCRIPTORS[term].title.lower()} × {_factor(factors.iloc[0])}")
    legend(figure, handles, labels)


def _factor(value: float) -> str:
    if 1 <= value < 1e5:
        return f"{value:.0f}"
    power = math.floor(math.log10(value) + 1e-9)
    return f"{value:g}" if -3 <= power < 0 else rf"${value / 10.0**power:.0f}\cdot10^{{{power}}}$"


# -- metric ------------------------------------------------------------------------------------------------------------


def metric_data(selection: Selection) -> pd.DataFrame:
    """Both clouds, the log volume of the metric on a grid, and half-axes a and b of ellipses of equal steps."""
    require_kind("points", "metric", selection.runs)
    parts = []
    for series, place, member in selection.samples():
        run = selection.runs[place]
        if not METHODS[run.config.method].learns_metric:
            raise NoFigure(f"metric: {run.name} is of {METHODS[run.config.method].title}, which learns no metric")
        snapshot = selection.snapshot(place)
        real, fake = snapshot["real"], snapshot["fake"][member]
        if real.shape[1] != 2:
            dims = f"{run.name}'s points have {real.shape[1]} dimensions"
            raise NoFigure(f"metric: {dims}; on paper the metric is drawn in 2 only")
        metric, span = _learned_metric(selection, place, member, "metric"), span_of(real, MARGIN)
        found = field_on(metric, span.tolist())
        length = step_length(found.local, found.spacing)
        halves = half_axes(found.local.metric, scale=length, longest=FILL * found.spacing).numpy()
        middles, centres = cells(span.tolist(), FIELD).numpy(), found.local.centres.numpy()
        volume = {"log_volume": found.volume.flatten().numpy()}
        small = {"log_volume": log_volume(found.local.metric).numpy(), "step_length": length}
        rows = [
            clouds_table(real, fake).drop(columns=["plane1", "plane2"]),
            _places("field", middles, volume),
            _places("ellipse", centres, columns_of(halves[:, 0], "a") | columns_of(halves[:, 1], "b") | small),
        ]
        parts.append(_seen_through(selection, series, place, member, metric, rows))
    table = pd.concat(parts, ignore_index=True)
    if not np.isfinite(table["log_volume"]).any():
        raise NoFigure("metric: the embedding is the same all over, or no number: there is nothing to draw")
    return table


def draw_metric(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Log volume and points as pixels, ellipses as vectors."""
    from matplotlib.collections import EllipseCollection

    series = selection.series()
    below = 1 + any(_metric_note(part) for _, part in table.groupby("series"))
    panels = _panels(figure, [each.title for each in series], below=below)
    low, high = limits([table.loc[table["kind"] == "field", "log_volume"].to_numpy()])
    scale = scale_of(VOLUME, low, high)
    for (axes,), each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        real, fake = _split(part, ["x1", "x2"])
        field = part.loc[part["kind"] == "field", "log_volume"].to_numpy().reshape(FIELD, FIELD)
        field = np.ma.masked_invalid(np.where(np.isneginf(field), low, field))
        _draw_field(axes, field, scale, around=real)
        draw_points(axes, real, fake, around=real, margin=MARGIN)
        ellipse = part[part["kind"] == "ellipse"].dropna(subset=["a1", "a2", "b1", "b2"])
        a, b, centres = (ellipse[[f"{name}1", f"{name}2"]].to_numpy(dtype=float) for name in "abx")
        sizes = (2 * np.hypot(*a.T), 2 * np.hypot(*b.T), np.degrees(np.arctan2(a[:, 1], a[:, 0])))
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 0.5, "zorder": 2.5}
        shapes = EllipseCollection(*sizes, units="xy", offsets=centres, offset_transform=axes.transData, **style)
        axes.add_collection(shapes, autolim=False)
        length = f"steps of {_factor(part['step_length'].dropna().iloc[0])}"
        axes.set_xlabel("\n".join(line for line in (length, _metric_note(part)) if line))
    _bar(figure, panels, scale, "log volume")
    _kinds(figure, dot(REAL), dot(FAKE))


def _places(kind: str, points: np.ndarray, values: dict[str, Any]) -> pd.DataFrame:
    """Rows of points `(n, 2)` that are no data, with values of each."""
    return pd.DataFrame({"kind": kind, "point": np.arange(len(points))} | columns_of(points, "x") | values)


def _draw_field(axes: Axes, values: np.ndarray, scale: Scale, *, around: np.ndarray) -> None:
    """Draw values on a grid as pixels, below all else, over the span of some points."""
    (x0, x1), (y0, y1) = span_of(around, MARGIN).tolist()
    extent = (x0, x1, y0, y1)
    image = axes.imshow(values, cmap=scale[0], norm=scale[1], extent=extent, interpolation="nearest", zorder=0)
    image.set_rasterized(True)


# -- density -----------------------------------------------------------------------------------------------------------


def likelihood_data(selection: Selection) -> pd.DataFrame:
    """log p of the model at both clouds and, in the plane, on a grid; in nats, in standardised coordinates."""
    require_kind("points", "likelihood", selection.runs)
    parts = []
    for series, place, member in selection.samples():
        run, snapshot = selection.runs[place], selection.snapshot(place)
        real, fake = snapshot["real"], snapshot["fake"][member]
        try:
            density = density_at(run, member, selection.steps[place])
        except (RunError, ConfigError, OSError) as error:
            raise NoFigure(f"likelihood: {str(error).removeprefix('run: ')}") from None
        clouds = clouds_table(real, fake)
        clouds["log_density"] = density(torch.from_numpy(np.concatenate([real, fake]))).numpy()
        rows = [clouds]
        if real.shape[1] == 2:
            span = span_of(real, MARGIN).tolist()
            middles = cells(span, GRID).numpy()
            rows.append(_places("field", middles, {"log_density": density.on_plane(span).ravel()}))
        parts.append(_seen_through(selection, series, place, member, density, rows))
    table = pd.concat(parts, ignore_index=True)
    if not np.isfinite(table["log_density"]).any():
        raise NoFigure("likelihood: the density is no number anywhere: there is nothing to draw")
    return table


def draw_likelihood(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """In the plane log p as pixels, level curves as vectors, and points; elsewhere points coloured by log p."""
    series, plane = selection.series(), bool((table["kind"] == "field").any())
    below = any(_metric_note(part) for _, part in table.groupby("series"))
    panels = _panels(figure, [each.title for each in series], below=plane + below)
    kind = "field" if plane else "real"
    scale = scale_of(VOLUME if plane else SEQUENTIAL, *shade_limits([table.loc[table["kind"] == kind, "log_density"]]))
    for (axes,), each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        notes = [_metric_note(part, "density")]
        if plane:
            _draw_plane(axes, part, scale)
            notes.insert(0, f"curves: {', '.join(f'{100 * share:.0f}' for share in SHARES)} % of samples")
        else:
            _coloured(axes, part, ["plane1", "plane2"], "log_density", scale, margin=MARGIN, whole=False)
        axes.set_xlabel("\n".join(note for note in notes if note))
    _bar(figure, panels, scale, "log density (nats)")
    _kinds(figure, *([dot(REAL), dot(FAKE)] if plane else [dot(QUIET), _ring()]))


def _draw_plane(axes: Axes, part: pd.DataFrame, scale: Scale) -> None:
    """The field, its level curves and the points."""
    real, fake = _split(part, ["x1", "x2"])
    field = part.loc[part["kind"] == "field", ["x1", "x2", "log_density"]].to_numpy(dtype=float)
    x, y, values = field.T.reshape(3, GRID, GRID)
    values = np.ma.masked_invalid(values)
    _draw_field(axes, values, scale, around=real)
    if at := levels(part.loc[part["kind"] == "fake", "log_density"].to_numpy(dtype=float)):
        axes.contour(x, y, values, levels=at, colors=INK, linewidths=0.5, linestyles="solid", zorder=2.5)
    draw_points(axes, real, fake, around=real, margin=MARGIN)


# -- modes and trust ---------------------------------------------------------------------------------------------------


def _projected(
    selection: Selection, figure: str, values: Callable[[Tensor, Tensor, np.ndarray], dict[str, Any]]
) -> pd.DataFrame:
    """Points (of a run on points), their UMAP, and values of each point."""
    parts = []
    for series, place, member in selection.samples():
        frame = selection.frame(place, figure)[member]
        half = len(frame) // 2
        sets = _embeddings(selection, place, member, half, figure)
        grid: dict[str, Any] = kinds_of(half, half)
        snapshot = selection.snapshot(place)
        if figure == "modes" and shows_clouds(snapshot):
            grid |= dict(clouds_table(snapshot["real"][:half], snapshot["fake"][member, :half]))
        grid |= {"umap1": frame[:, 0], "umap2": frame[:, 1]}
        real, fake = (torch.from_numpy(of) for of in sets)
        grid |= values(real, fake, frame)
        parts.append(rows_of(selection, series, place, member, {"step": selection.steps[place]} | grid))
    return pd.concat(parts, ignore_index=True)


def modes_data(selection: Selection) -> pd.DataFrame:
    """An eigenvector of D / mean D at each point, scaled to mean square 1 on the reals that define it."""
    rank = selection.rank

    def values(real: Tensor, fake: Tensor, frame: np.ndarray) -> dict[str, Any]:
        found = modes_shown(real, fake, k=rank)
        assert found.fake is not None
        entries = torch.cat([found.real[rank - 1], found.fake[rank - 1]]).numpy()
        return {"rank": rank, "eigenvalue": found.values[rank - 1].item(), "entry": entries}

    return _projected(selection, "modes", values)


def draw_modes(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Points coloured by the eigenvector, in data space and in the UMAP, one panel for each series."""
    series = selection.series()
    points = "plane1" in table and bool(table["plane1"].notna().any())
    values = table.groupby("series")["eigenvalue"].first()
    found = [digits(values[each.title]).strip("$") for each in series]
    notes = ["no number" if value == "--" else rf"$\lambda_{{{selection.rank}}}={value}$" for value in found]
    panels = _panels(figure, [each.title for each in series], rows=1 + points, notes=notes)
    low, high = limits([table.loc[table["kind"] == "real", "entry"].to_numpy()], symmetric=True)
    scale = scale_of(DIVERGING, low, high)
    for of, each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        if points:
            _coloured(of[0], part, ["plane1", "plane2"], "entry", scale, margin=MARGIN, whole=False)
        _coloured(of[-1], part, ["umap1", "umap2"], "entry", scale, margin=0.08, whole=True)
    if points:
        panels[0, 0].set_ylabel("data space")
        panels[0, 1].set_ylabel("UMAP")
    _bar(figure, panels, scale, f"eigenvector {selection.rank}")
    _kinds(figure, dot(QUIET), _ring())


def trust_data(selection: Selection) -> pd.DataFrame:
    """Trustworthiness and continuity of the UMAP at each point."""

    def values(real: Tensor, fake: Tensor, frame: np.ndarray) -> dict[str, Any]:
        points, shown = torch.cat([real, fake]), torch.from_numpy(frame)
        k = neighbours(len(points))
        found = preservation_of(points, shown, k=k)
        scores = {"trustworthiness": found.trustworthiness.numpy(), "continuity": found.continuity.numpy()}
        return {"neighbours": k} | scores

    return _projected(selection, "honesty", values)


def draw_trust(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """The UMAP coloured by trustworthiness, one panel for each series."""
    series = selection.series()
    means = table.groupby("series")["trustworthiness"].mean()
    notes = [f"mean {means[each.title]:.3f}".replace("mean nan", "no number") for each in series]
    panels = _panels(figure, [each.title for each in series], notes=notes)
    scale = scale_of(SEQUENTIAL, min(limits([table["trustworthiness"].to_numpy()])[0], 0.999), 1.0)
    for (axes,), each in zip(panels, series, strict=True):
        part = table[table["series"] == each.title]
        _coloured(axes, part, ["umap1", "umap2"], "trustworthiness", scale, margin=0.08, whole=True)
    _bar(figure, panels, scale, "trustworthiness")
    _kinds(figure, dot(QUIET), _ring())


def trust_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Mean trustworthiness and continuity over the points of both clouds."""
    names = ["trustworthiness", "continuity"]
    means = table.groupby("series", sort=False)[names].mean()
    rows = [
        [tex(title), *(f"{mean:.3f}" if np.isfinite(mean) else "--" for mean in row)]
        for title, row in zip(means.index, means.to_numpy(), strict=True)
    ]
    caption = (
        f"Trustworthiness and continuity of the UMAP of real and generated embeddings "
        f"({table['neighbours'].iloc[0]} neighbours), means over its points. {seeds_note(table)}"
    )
    return latex_table("lrr", [["matched", *names]], rows, caption=caption, label="honesty")
