"""A film of a training: generated points, or pictures, beside real ones, as they were at each snapshot.

    mp4     H.264, plays everywhere
    webm    VP9, plays in browsers
    gif     for a README or a chat; 10 frames a second and few colours

A frame shows a snapshot as it is: nothing is interpolated. Upscaled photographs stand beside bicubic interpolation and
the originals. Axes are fixed. Surfaces are seen from a camera that swings
gently and ends where it began, so that the film can loop. Below, the main score over training has a moving line.
"""

from __future__ import annotations

import io
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mvm.errors import RunError, check_known
from mvm.figures.drawing import log_axis
from mvm.figures.over_training import (
    Column,
    Progress,
    baseline_of,
    columns_of,
    on_log_axis,
    project_frames,
    score_words,
    subject_of,
    timeline,
)
from mvm.figures.selection import NoFigure, Selection
from mvm.figures.upscaling import stills
from mvm.geometry.descriptors import GAPS
from mvm.look.palette import FAKE, QUIET, REAL
from mvm.look.scales import span_of
from mvm.look.sheets import sheet
from mvm.studies.compare import Curve, curves, main_score, quantities
from mvm.words import mathtext

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["FILM_FORMATS", "GROUNDS", "PANELS", "SIZES", "encode", "film", "film_frames"]

FILM_FORMATS = ("mp4", "webm", "gif")
SIZES = {"large": (1920, 1080), "small": (960, 540), "tiny": (640, 360)}
PANELS = {"data": "data space", "umap": "UMAP of the embeddings"}
GROUNDS = {"light": ("#FFFFFF", "#1F2329"), "dark": ("#0E1117", "#EDEFF3")}  # paper, ink
RATE = {"mp4": 24, "webm": 24, "gif": 10}  # frames a second
SECONDS, HELD = 9, 1  # of training, and of its last frame
MOST_SHOTS = SECONDS * RATE["mp4"]
SWING, YAW, PITCH = 30.0, 35.0, 18.0  # degrees, of the camera
REAL_DOT, FAKE_DOT = 1.3, 0.65  # shares of a dot's size: where a fake lies on a real, its dot has a green rim
REACH = 1.75  # half the side of a panel, in half widths of the box that turns in it
BOX_MARGIN = 0.08  # about the reals
DPI = 100
COLOURS = 64  # of a GIF
NEARNESS = ((1.0, 0.35), (1.2, 0.6), (1.45, 0.9))  # size and opacity of far, middle and near points
QUALITY = {"mp4": {"crf": "20", "preset": "fast"}, "webm": {"crf": "32", "b": "0", "deadline": "good", "cpu-used": "5"}}
CODECS = {"mp4": "libx264", "webm": "libvpx-vp9"}


def film(
    selection: Selection,
    kind: str = "mp4",
    *,
    size: str = "large",
    ground: str = "light",
    panels: Sequence[str] = ("data",),
    on_progress: Progress = lambda done, of, what: None,
) -> bytes:
    """A film of some runs up to the steps of a selection.

    Args:
        selection: the runs; their series are the columns.
        kind: a name in `FILM_FORMATS`.
        size: a name in `SIZES`.
        ground: light or dark.
        panels: names in `PANELS`, from top to bottom.
        on_progress: called before each part of the work; an exception that it raises ends the work.

    Raises:
        ConfigError: an unknown name.
        NoFigure: these runs give no film.
        RunError: a snapshot is damaged.
    """
    check_known("format", kind, FILM_FORMATS)
    check_known("size", size, SIZES)
    check_known("ground", ground, GROUNDS)
    for panel in panels or ("",):
        check_known("panels", panel, PANELS)
    if "umap" in panels:
        project_frames(selection, on_progress)
    steps = timeline(selection, MOST_SHOTS)
    columns = columns_of(selection, steps, on_progress)
    stage = Stage(selection, steps, [*columns, *stills(selection, columns)], SIZES[size], ground, panels)
    return encode(film_frames(stage, RATE[kind], on_progress), kind)


def film_frames(stage: Stage, rate: int, on_progress: Progress) -> Iterator[np.ndarray]:
    """Every frame `(height, width, 3)` uint8 of a film at so many frames a second."""
    moving, held = SECONDS * rate, HELD * rate
    for number in range(moving + held):
        on_progress(number, moving + held, "frames")
        share = min(1.0, number / (moving - 1))
        yaw = YAW + SWING * np.sin(2 * np.pi * number / (moving + held))
        yield stage.frame(round(share * (len(stage.steps) - 1)), float(yaw))


class Stage:
    """What stays from frame to frame, drawn once, and what moves on it.

    Args:
        selection: the runs.
        steps: of the timeline.
        columns: at these steps.
        size: width and height, pixels.
        ground: a name in `GROUNDS`.
        panels: names in `PANELS`.
    """

    def __init__(
        self,
        selection: Selection,
        steps: Sequence[int],
        columns: Sequence[Column],
        size: tuple[int, int],
        ground: str,
        panels: Sequence[str],
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.selection, self.steps, self.columns = selection, list(steps), list(columns)
        self._paper, self._ink = GROUNDS[ground]
        self._unit = size[1] / 1080
        self._figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor=self._paper)
        self._canvas = cast(Any, FigureCanvasAgg(self._figure))  # it has no types
        self._last: tuple[Any, np.ndarray] | None = None
        self._moving: list[Artist] = []
        rows = [panel for panel in panels if panel == "data" or any(column.frames for column in columns)]
        if not rows:
            raise NoFigure("film: no UMAP frame is there; look at the embeddings in the app, or leave --panels out")
        self._clouds = [self._cloud(place, *where) for place, where in enumerate(self._places(rows))]
        self._step = self._text(0.975, 0.955, "", 30, ha="right", animated=True)
        self._scores = self._headings(rows)
        self._cursor = self._strip()
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    def frame(self, place: int, yaw: float) -> np.ndarray:
        """The frame `(height, width, 3)` uint8 at a place of the timeline, with the camera at an angle in degrees."""
        turns = any(column.real is not None and column.real.shape[1] == 3 for column in self.columns)
        key = place, yaw if turns else 0.0
        if self._last is None or self._last[0] != key:
            self._last = key, self._drawn(place, yaw)
        return self._last[1]

    def _drawn(self, place: int, yaw: float) -> np.ndarray:
        step = self.steps[place]
        self._canvas.restore_region(self._background)
        self._step.set_text(f"step {step:,}")
        for column, text in zip(self.columns, self._scores, strict=True):
            if not column.is_still:
                history = self.selection.histories[column.place]
                text.set_text(score_words(history, int(column.steps[place]), column.member))
        self._cursor.set_xdata([step, step])
        moving: list[Artist] = [self._step, *self._scores, self._cursor]
        for cloud in self._clouds:
            moving += cloud.at(place, step, yaw)
        for artist in moving:
            self._figure.draw_artist(artist)
        return np.array(np.asarray(self._canvas.buffer_rgba())[..., :3])

    # -- what stays --------------------------------------------------------------------------------------------------

    def _places(self, rows: Sequence[str]) -> list[tuple[Column, str, tuple[float, float, float, float]]]:
        """Each cloud: its column, its panel, and its square as shares of the page."""
        width, height = self._figure.get_size_inches()
        top, bottom, gap = 0.83, 0.2, 0.02 * width
        room = (0.95 * width - gap * (len(self.columns) - 1)) / len(self.columns)
        side = min(room, (top - bottom) * height / len(rows) - 0.01 * height * (len(rows) - 1))
        room = min(room, 1.9 * side)  # a heading needs more width than a small square
        left = (width - room * len(self.columns) - gap * (len(self.columns) - 1)) / 2
        self._centres = [(left + n * (room + gap) + room / 2) / width for n in range(len(self.columns))]
        self._room, self._below = room, top - len(rows) * side / height - 0.01 * (len(rows) - 1)
        found = []
        for row, panel in enumerate(rows):
            y = top - ((row + 1) * side + row * 0.01 * height) / height
            for column, centre in zip(self.columns, self._centres, strict=True):
                found.append((column, panel, (centre - side / width / 2, y, side / width, side / height)))
        return found

    def _cloud(self, place: int, column: Column, panel: str, where: tuple[float, float, float, float]) -> Any:
        axes = self._figure.add_axes(where, facecolor=self._paper)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=QUIET, linewidth=0.8, alpha=0.5)
        axes.spines["top"].set(color=column.colour, linewidth=3 * self._unit, alpha=1)
        if place % len(self.columns) == 0 and panel == "umap":
            axes.set_ylabel("UMAP", color=self._ink, fontsize=self._size(15))
        side = where[3] * self._figure.get_figheight()
        size = max(3.0, min(7.5, 110 / len(column.fakes[0]) ** 0.5)) * 1.1 * (side / 5.8) ** 0.7
        if panel == "umap":
            if not column.frames:
                why = "" if column.is_still else "no UMAP of this run"
                axes.text(0.5, 0.5, why, color=QUIET, fontsize=self._size(15), ha="center")
            return FlatCloud(axes, column, size, umap=True)
        if column.real is None:
            return Sheet(axes, column)
        if column.real.shape[1] == 2:
            return FlatCloud(axes, column, size, umap=False)
        return SolidCloud(axes, column, size, self._ink)

    def _headings(self, rows: Sequence[str]) -> list[Any]:
        """Draw the name of the film and of each column; returns the lines of scores, which move."""
        names = ", ".join(dict.fromkeys(run.name for run in self.selection.runs))
        head = self._text(0.025, 0.955, mathtext(names), 30, weight="bold")
        head.set_text(_cut(mathtext(names), 60))
        self._text(0.025, 0.918, _cut(mathtext(subject_of(self.selection.runs)), 90), 19, color=QUIET)
        for x, colour, word in ((0.862, REAL, "real"), (0.915, FAKE, "generated")):
            if self.columns[0].real is not None or "umap" in rows:
                self._text(x - 0.007, 0.918, "●", 15, color=colour, ha="right")
                self._text(x, 0.918, word, 19)
        shrink = min(1.0, self._room / self._unit / 4)  # many columns: smaller letters
        size, found = 22 * shrink, []
        if max(len(column.title) for column in self.columns) > self._letters(size):
            size = 17 * shrink
        under = min(16.0, self._room * DPI / self._unit / 24)  # 45 letters fit
        for column, x in zip(self.columns, self._centres, strict=True):
            lines = textwrap.wrap(column.title, self._letters(size), max_lines=2, placeholder="…")
            self._text(x, 0.876, "\n".join(map(mathtext, lines)), size, ha="center", weight="bold", linespacing=1)
            found.append(self._text(x, 0.843, "", under, ha="center", animated=True))
        return found

    def _letters(self, size: float) -> int:
        """How many bold letters of a size fit over a column."""
        return max(1, int(self._room * 72 / (self._size(size) * 0.66)))

    def _strip(self) -> Line2D:
        """Draw the main score, or the gap d_H, over training; returns the line at the shown step."""
        from matplotlib.ticker import FuncFormatter

        axes = self._figure.add_axes((0.075, 0.07, 0.9, self._below - 0.105), facecolor=self._paper)
        found, key = _main_curves(self.selection)
        for curve in found:
            axes.plot(curve.x, curve.middle, color=curve.series.colour, linewidth=2.2 * self._unit)
            if curve.members > 1:
                axes.fill_between(curve.x, curve.low, curve.high, color=curve.series.colour, alpha=0.2, linewidth=0)
        baseline = baseline_of(self.selection, key)
        if baseline is not None:
            axes.axhline(baseline, color=QUIET, linestyle="--", linewidth=1.4 * self._unit)
        if on_log_axis(key, found):
            log_axis(axes)
        axes.set_xlim(self.steps[0], self.steps[-1])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("training step", color=self._ink, fontsize=self._size(15), labelpad=1)
        label = f"${key}$" if key in GAPS else quantities(self.selection.held).get(key, key)
        axes.set_ylabel(_cut(label, 22), color=self._ink, fontsize=self._size(14))
        axes.tick_params(colors=self._ink, labelsize=self._size(14), length=3)
        for side, spine in axes.spines.items():
            spine.set(color=QUIET, visible=side in ("left", "bottom"))
        return axes.axvline(self.steps[0], color=self._ink, linewidth=2.4 * self._unit, animated=True, clip_on=False)

    def _text(self, x: float, y: float, text: str, size: float, **look: Any) -> Any:
        return self._figure.text(x, y, text, fontsize=self._size(size), **{"color": self._ink, "va": "center"} | look)

    def _size(self, pixels: float) -> float:
        """Font size in points of letters of so many pixels at full size."""
        return pixels * self._unit * 72 / DPI


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: max(1, letters - 1)]}…"


def _main_curves(selection: Selection) -> tuple[list[Curve], str]:
    """Curves of the main score of these runs, and its key; of d_H where it has not been measured twice."""
    for run in selection.held:
        key = main_score(run.quick_scores[0]["scores"][0]) if len(run.quick_scores) > 1 else None
        if key is not None:
            return curves(selection.held, key), key
    return curves(selection.held, "d_H"), "d_H"


# -- what moves --------------------------------------------------------------------------------------------------------


@dataclass
class FlatCloud:
    """Points on a plane: data of two dimensions, or UMAP."""

    axes: Axes
    column: Column
    size: float
    umap: bool

    def __post_init__(self) -> None:
        span = self.column.frame_span if self.umap else self.column.span
        if span is not None:
            self.axes.set_xlim(*span[0])
            self.axes.set_ylim(*span[1])
        self._real = _dots(self.axes, REAL, REAL_DOT * self.size, 0.75)
        self._fake = _dots(self.axes, FAKE, FAKE_DOT * self.size, 0.85)
        self._shown = [self._real, self._fake] if span is not None else []

    def at(self, place: int, step: int, yaw: float) -> list[Line2D]:
        """Artists to draw at a place of the timeline."""
        real, fake = self.column.real, self.column.fakes[place]
        if self.umap and (found := self.column.frame_at(step)) is not None:
            half = len(found[1]) // 2
            real, fake = found[1][:half], found[1][half:]
        if real is not None and self._shown:
            self._real.set_data(*real.T[:2])
            self._fake.set_data(*fake.T[:2])
        return self._shown


@dataclass
class SolidCloud:
    """Points in space, in a box that turns."""

    axes: Axes
    column: Column
    size: float
    ink: str

    def __post_init__(self) -> None:
        self.axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH))
        self._box = self.axes.plot([], [], color=self.ink, alpha=0.22, linewidth=1, animated=True)[0]
        self._parts = []
        for more, alpha in NEARNESS:
            real = _dots(self.axes, REAL, REAL_DOT * more * self.size, alpha)
            self._parts.append((real, _dots(self.axes, FAKE, FAKE_DOT * more * self.size, alpha)))

    def at(self, place: int, step: int, yaw: float) -> list[Line2D]:
        """Artists to draw at a place of the timeline, from far to near."""
        real = self.column.real
        if real is None:
            return []
        span = span_of(real, BOX_MARGIN)
        centre, reach = span.mean(1), float((span[:, 1] - span[:, 0]).max()) / 2
        self._box.set_data(*_turned(BOX, yaw)[:, :2].T)
        seen = [_turned((points - centre) / reach, yaw) for points in (real, self.column.fakes[place])]
        for number, part in enumerate(self._parts):
            for points, line in zip(seen, part, strict=True):
                kept = np.digitize(points[:, 2], (-0.33, 0.33)) == 2 - number
                line.set_data(*points[kept, :2].T)
        return [self._box, *(line for part in self._parts for line in part)]


@dataclass
class Sheet:
    """Generated pictures of fixed noise."""

    axes: Axes
    column: Column

    def __post_init__(self) -> None:
        self._count = int(min(8, len(self.column.fakes[0]) ** 0.5)) ** 2
        first = self._sheet(0)
        self._image = self.axes.imshow(first, interpolation="nearest", animated=True, aspect="equal")

    def at(self, place: int, step: int, yaw: float) -> list[Artist]:
        """Artists to draw at a place of the timeline."""
        self._image.set_data(self._sheet(place))
        return [self._image]

    def _sheet(self, place: int) -> np.ndarray:
        return sheet(self.column.fakes[place][: self._count], gap=1)


def _dots(axes: Axes, colour: str, size: float, alpha: float) -> Line2D:
    look: dict[str, Any] = {"marker": "o", "markersize": size, "markeredgewidth": 0, "linestyle": "none"}
    return axes.plot([], [], color=colour, alpha=alpha, animated=True, **look)[0]


def _corners() -> np.ndarray:
    """Edges of a cube as one broken line `(36, 3)`."""
    edges = []
    for axis in range(3):
        for a in (-1, 1):
            for b in (-1, 1):
                ends = np.insert(np.array([[a, b], [a, b]], dtype=float), axis, [-1.0, 1.0], axis=1)
                edges += [*ends, np.full(3, np.nan)]
    return np.array(edges)


BOX = _corners()


def _turned(points: np.ndarray, yaw: float) -> np.ndarray:
    """Points `(n, 3)` as seen by the camera: right, up, and depth from −1, near, to 1."""
    turn, tilt = np.deg2rad(yaw), np.deg2rad(PITCH)
    right = np.cos(turn) * points[:, 0] + np.sin(turn) * points[:, 1]
    away = np.cos(turn) * points[:, 1] - np.sin(turn) * points[:, 0]
    depth = np.cos(tilt) * away - np.sin(tilt) * points[:, 2]
    near = 1 / (1 + 0.18 * depth)  # a little perspective
    up = np.sin(tilt) * away + np.cos(tilt) * points[:, 2]
    return np.stack([right * near, up * near, depth], axis=1)


# -- encoding ----------------------------------------------------------------------------------------------------------


def encode(frames: Iterator[np.ndarray], kind: str) -> bytes:
    """Frames `(height, width, 3)` uint8 as a film; equal frames give equal bytes with the same encoder.

    Raises:
        RunError: the package av is missing.
    """
    return _gif(frames) if kind == "gif" else _video(frames, kind)


def _video(frames: Iterator[np.ndarray], kind: str) -> bytes:
    try:
        import av
    except ImportError:
        raise RunError('film: MP4 and WebM need the package av: pip install "av>=18"; a GIF needs nothing') from None
    flags = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if kind == "mp4" else {})
    with tempfile.TemporaryDirectory() as folder:  # the index can be moved to the front in a named file only
        path = Path(folder) / f"film.{kind}"
        with av.open(path, "w", format=kind, options=flags) as container:
            stream: Any = None
            for frame in frames:
                if stream is None:
                    stream = container.add_stream(CODECS[kind], rate=RATE[kind], options=QUALITY[kind])
                    stream.height, stream.width = frame.shape[:2]
                    stream.pix_fmt, stream.thread_count = "yuv420p", 1
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path.read_bytes()


def _gif(frames: Iterator[np.ndarray]) -> bytes:
    from PIL import Image

    first = Image.fromarray(next(frames))
    palette = first.quantize(COLOURS, dither=Image.Dither.NONE)

    def reduced() -> Iterator[Image.Image]:
        for frame in frames:
            yield Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)

    buffer = io.BytesIO()
    look: dict[str, Any] = {"save_all": True, "append_images": reduced(), "duration": 1000 // RATE["gif"], "loop": 0}
    palette.save(buffer, "GIF", optimize=False, **look)
    return buffer.getvalue()
