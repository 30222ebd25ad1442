"""Figures of images: a contact sheet, nearest training images, and interpolations."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mvm.config import Config
from mvm.data.images import cache_digest
from mvm.devices import one_thread
from mvm.errors import ConfigError, RunError
from mvm.figures.drawing import framed, place_of, wrapped
from mvm.figures.selection import NoFigure, Selection, require_kind
from mvm.figures.tables import rows_of
from mvm.look.sheets import sheet
from mvm.runs.evaluate import load_generator, training_gallery
from mvm.runs.layout import REALS
from mvm.runs.run import Run
from mvm.training.experiment import view_noise
from mvm.training.sampling import between

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mvm.scoring.images import Gallery

__all__ = ["draw_nearest", "draw_sheet", "draw_walk", "nearest_data", "sheet_data", "walk_data"]

ACROSS = 6  # images per row of a contact sheet
EDGE = 0.05  # room about all axes, inches
NARROWEST_SHEET = 1.25  # inches
FAKES, NEAREST = 6, 5  # generated images, and training images beside each
NARROWEST_NEAREST, WIDEST_NEAREST = 1.55, 2.7
ENDS = ((0, 1), (2, 3), (4, 5))  # noise vectors at both ends of each row
PLACES = 9  # images per row
NARROWEST_WALK, WIDEST_WALK = 2.4, 5.0
COLOURS = ("red", "green", "blue")


# -- contact sheets ----------------------------------------------------------------------------------------------------


def sheet_data(selection: Selection) -> pd.DataFrame:
    """Numbers and mean colours of the images shown."""
    parts = []
    for series, place, member in selection.samples():
        for kind, pictures in zip(("real", "generated"), _pictures(selection, place, member), strict=True):
            grid: dict[str, Any] = {"step": selection.steps[place], "kind": kind, "picture": np.arange(len(pictures))}
            parts.append(rows_of(selection, series, place, member, grid | _mean_colours(pictures)))
    return pd.concat(parts, ignore_index=True)


def _mean_colours(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Mean colour of each image in [0, 1], which identifies it in the CSV."""
    colours = pictures.reshape(len(pictures), -1, 3).mean(1, dtype=np.float64) / 255
    return dict(zip(COLOURS, colours.T, strict=True))


def _pictures(selection: Selection, place: int, member: int) -> tuple[np.ndarray, np.ndarray]:
    """First reals and fakes, as many as fit on a sheet, `(n, size, size, 3)` uint8 each."""
    reals = _reals("sheet", selection.runs[place])
    fakes = selection.snapshot(place)["fake"][member]
    across = min(ACROSS, int(min(len(reals), len(fakes)) ** 0.5))
    return np.array(reals[: across**2]), fakes[: across**2]


def _reals(figure: str, run: Run) -> np.ndarray:
    """Real images of a run's views, memory-mapped, `(n, size, size, 3)` uint8."""
    require_kind("images", figure, [run])
    try:
        return run.real_view()
    except RunError:
        raise NoFigure(f"{figure}: {run.name} has lost its {REALS}, the pictures that it is compared with") from None


def draw_sheet(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """A panel of reals for each data set, and a panel of fakes for each series."""
    panels: list[tuple[str, np.ndarray]] = []
    seen: set[str] = set()
    several = len({run.config.data for run in selection.runs}) > 1
    for series, place, member in selection.samples():
        data = selection.runs[place].config.data
        reals, fakes = _pictures(selection, place, member)
        panels += [(f"real, {data}" if several else "real", reals)] if data not in seen else []
        panels.append((series.title, fakes))
        seen.add(data)
    blocks = _blocks(figure, [title for title, _ in panels], shape=1, narrowest=NARROWEST_SHEET, widest=2.4)
    for axes, (_, pictures) in zip(blocks, panels, strict=True):
        axes.imshow(sheet(pictures, columns=int(len(pictures) ** 0.5), gap=1), interpolation="none", zorder=1)
        framed(axes)


def _blocks(
    figure: Figure,
    titles: list[str],
    *,
    shape: float,
    narrowest: float,
    widest: float,
    below: float = 0,
    beside: float = 0,
) -> list[Axes]:
    """Axes with titles, in as few rows as the width allows.

    Args:
        figure: its height is set.
        titles: of the axes.
        shape: height over width of the content.
        narrowest, widest: limits of the width, inches.
        below, beside: space for labels below and beside the content, inches.
    """
    from matplotlib import rcParams

    width = figure.get_figwidth()
    rows = -(-len(titles) // max(1, int(width / narrowest)))
    columns = -(-len(titles) // rows)
    side, size = min(width / columns, widest), rcParams["axes.titlesize"]
    titles = [wrapped(title, side, size) for title in titles]
    lines = max(title.count("\n") for title in titles) + 1
    figure.set_figheight(rows * (shape * (side - beside) + 0.02 * size * lines + below) + EDGE)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(titles) :]:
        axes.remove()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, linespacing=0.9)
    return grid[: len(titles)]


# -- nearest training pictures -----------------------------------------------------------------------------------------


@one_thread()
def nearest_data(selection: Selection) -> pd.DataFrame:
    """Training images nearest to the first fakes, in the feature space that the page Faces uses.

    The search covers at most 10,000 training images, which are rendered or read once per data set and process; that
    takes seconds.
    """
    parts = []
    for series, place, member in selection.samples():
        gallery = _gallery(selection.runs[place])
        found = gallery.nearest(torch.from_numpy(_fakes(selection, place, member)), NEAREST)
        count, k = found.indices.shape
        grid = {
            "step": selection.steps[place],
            "generated": np.repeat(np.arange(count), k),
            "rank": np.tile(np.arange(1, k + 1), count),
            "training": gallery.numbers[found.indices].flatten().numpy(),
            "distance": found.distances.flatten().numpy(),
        }
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True)


def _fakes(selection: Selection, place: int, member: int) -> np.ndarray:
    """Fakes of the first fixed noise vectors, `(FAKES, size, size, 3)` uint8."""
    fakes: np.ndarray = selection.snapshot(place)["fake"][member][:FAKES]
    return fakes


def _gallery(run: Run) -> Gallery:
    """Training images of the run with their features."""
    require_kind("images", "nearest", [run])
    try:
        data = run.config.model_dump_json(include={"data", "points", "size", "flips"})
        return _made_gallery(data, cache_digest(run.config))
    except ConfigError as error:
        raise NoFigure(f"nearest: {run.name}'s training pictures are gone: {error}") from None


@lru_cache(maxsize=2)
@one_thread()
def _made_gallery(data: str, digest: str | None) -> Gallery:
    """The gallery of a data set, kept in memory; `digest` changes when a cache is prepared anew."""
    return training_gallery(Config.model_validate_json(data))


def draw_nearest(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Rows of a generated image and its nearest training images, nearest first."""
    from matplotlib import rcParams
    from matplotlib.patches import Rectangle

    series = selection.series()
    ranks = int(table["rank"].max())
    shape = table["generated"].nunique() / (1 + ranks + 1 / 3)
    line = 0.02 * rcParams["axes.labelsize"]
    bounds = {"narrowest": NARROWEST_NEAREST, "widest": WIDEST_NEAREST, "below": 1.5 * line, "beside": 1.25 * line}
    blocks = _blocks(figure, [each.title for each in series], shape=shape, **bounds)
    narrow = figure.get_figwidth() / place_of(blocks[0]).get_gridspec().ncols < 2
    for axes, each in zip(blocks, series, strict=True):
        place, member = selection.shown(each)
        gallery, fakes = _gallery(selection.runs[place]), _fakes(selection, place, member)
        numbers = torch.tensor(table.loc[table["series"] == each.title, "training"].to_numpy())
        left = sheet(fakes, columns=1, gap=1)
        right = sheet(gallery.images[torch.searchsorted(gallery.numbers, numbers)].numpy(), columns=ranks, gap=1)
        height, side = left.shape[:2]
        gap = np.full((height, side // 3, 3), 255, dtype=np.uint8)
        axes.imshow(np.concatenate([left, gap, right], axis=1), interpolation="none", zorder=1)
        start = side + side // 3
        axes.set_yticks([])
        what = "nearest in training" if narrow else "nearest training pictures"
        axes.set_xticks([start + right.shape[1] / 2 - 0.5], [what], fontsize=rcParams["axes.labelsize"])
        axes.tick_params(length=0)
        axes.set_ylabel("generated")
        axes.spines[:].set_visible(False)
        frame = {"fill": False, "edgecolor": rcParams["axes.edgecolor"], "linewidth": rcParams["axes.linewidth"]}
        for x, wide in ((0, side), (start, right.shape[1])):
            axes.add_patch(Rectangle((x - 0.5, -0.5), wide, height, clip_on=False, zorder=2, **frame))


# -- interpolations ----------------------------------------------------------------------------------------------------


def walk_data(selection: Selection) -> pd.DataFrame:
    """Place of each image between its two noise vectors, in [0, 1], and its mean colour."""
    parts = []
    for series, place, member in selection.samples():
        rows, across = len(ENDS), np.linspace(0, 1, PLACES)
        grid = {
            "step": selection.steps[place],
            "checkpoint": _kept(selection, place),
            "row": np.repeat(np.arange(rows), PLACES),
            "place": np.tile(across, rows),
            "from": np.repeat([start for start, _ in ENDS], PLACES),
            "to": np.repeat([end for _, end in ENDS], PLACES),
        }
        parts.append(rows_of(selection, series, place, member, grid | _mean_colours(_walk(selection, place, member))))
    return pd.concat(parts, ignore_index=True)


def _kept(selection: Selection, place: int) -> int:
    """Step of the last kept checkpoint up to the shown step."""
    run, step = selection.runs[place], selection.steps[place]
    require_kind("images", "walk", [run])
    kept = run.kept_step(step)
    if kept is None:
        raise NoFigure(f"walk: {run.name} has kept no checkpoint up to step {step}")
    return kept


@one_thread()
def _walk(selection: Selection, place: int, member: int) -> np.ndarray:
    """Images of all rows by the averaged generator of that checkpoint, `(rows · PLACES, size, size, 3)` uint8."""
    run = selection.runs[place]
    count = len(_reals("walk", run))  # every fixed noise has its real
    step = _kept(selection, place)
    try:
        generate = load_generator(run, member, step=step)
    except RunError as error:
        raise NoFigure(f"walk: {str(error).removeprefix('run: ')}") from None
    noise, across = view_noise(count, run.config.network.noise_dim), torch.linspace(0, 1, PLACES)
    return generate(torch.cat([between(noise[start], noise[end], across) for start, end in ENDS])).numpy()


def draw_walk(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """One row of images for each pair of noise vectors."""
    from matplotlib import rcParams

    series = selection.series()
    bounds = {"narrowest": NARROWEST_WALK, "widest": WIDEST_WALK, "below": 0.02 * rcParams["axes.labelsize"]}
    blocks = _blocks(figure, [each.title for each in series], shape=len(ENDS) / PLACES, **bounds)
    for axes, each in zip(blocks, series, strict=True):
        pictures = _walk(selection, *selection.shown(each))
        axes.imshow(sheet(pictures, columns=PLACES, gap=1), interpolation="none", zorder=1)
        framed(axes)
        axes.set_xlabel("from one noise to another")
