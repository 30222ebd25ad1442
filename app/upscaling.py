"""Pictures upscaled for the screen: what is upscaled, and the work, in the background and once for all browser tabs.

A photograph, or a person's own picture, becomes a `Scene`. The work on it is done by one thread, in the order of the
requests; a request that no page has repeated for a while is given up.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch

from mvm.data.photographs import held_out
from mvm.data.picture_file import FullPicture, opened, write
from mvm.errors import ConfigError, RunError, line_of
from mvm.imaging.resize import SCALE, imresize
from mvm.runs.evaluate import load_upscaler
from mvm.runs.layout import CHECKPOINT
from mvm.runs.run import Run
from mvm.runs.upscale import Upscaler
from mvm.scoring.perceptual import PerceptualDistance, find_distances
from mvm.scoring.superres import bicubic, measure

__all__ = ["LEAST_SIDE", "MOST_PIXELS", "PHOTOGRAPHS", "Scene", "Upscaled", "Upscaling", "own_scene", "photograph"]
__all__ += ["has_distances", "png_of", "request"]

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")  # names in `held_out()`
MOST_PIXELS = 2**19  # of a picture that is upscaled on the page
LEAST_SIDE = 12  # pixels of an original each way: scores leave out 4 at each border
KEPT = 24  # upscaled pictures, of 25 MB at most
FORGOTTEN = 20.0  # seconds after the last request for it, in which work goes on


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture to upscale.

    Attributes:
        name: of the photograph, or of the file.
        low: what is upscaled.
        high: the original, `(4h, 4w, 3)` uint8; None if it is not known.
        digest: of the pixels of `low` and `high`, and of `perceptual`.
        notes: what was converted or cropped, a line each.
        perceptual: scores include the perceptual distances whose networks are on this machine.
    """

    name: str
    low: FullPicture
    high: np.ndarray | None
    digest: str
    notes: tuple[str, ...] = ()
    perceptual: bool = False

    def with_distances(self) -> Scene:
        """The same picture, scored by perceptual distances, too."""
        return replace(self, digest=f"{self.digest}.perceptual", perceptual=True)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upscaled picture."""
        height, width = self.low.values.shape[:2]
        return SCALE * height, SCALE * width

    def bicubic(self) -> Upscaled:
        """Bicubic interpolation, with its scores."""
        return self.measured(FullPicture(bicubic(torch.from_numpy(as_rgb(self.low.values))).numpy()))

    def measured(self, picture: FullPicture) -> Upscaled:
        """An upscaled picture with its scores against the original."""
        values = as_rgb(picture.values)
        if self.high is None:
            return Upscaled(picture, values)
        distances = _distances() if self.perceptual else ()
        return Upscaled(
            picture, values, measure(torch.from_numpy(values), torch.from_numpy(self.high), distances=distances)
        )


@dataclass(frozen=True, eq=False)
class Upscaled:
    """A picture upscaled ×4.

    Attributes:
        picture: with all that the file of its input holds.
        values: `(4h, 4w, 3)` uint8, for the screen.
        scores: by keys of `mvm.scoring.superres.SUPERRES_SCORES`; None where no original is known.
    """

    picture: FullPicture
    values: np.ndarray
    scores: dict[str, float | None] | None = None


class GivenUp(RunError):
    """No page shows the picture any more."""


@dataclass(eq=False)
class Upscaling:
    """Work on a picture.

    Attributes:
        result: the upscaled picture; its error is a RunError.
        share: of the pixels that are done.
        asked: time of the last request, by the monotonic clock.
    """

    result: Future[Upscaled] = field(default_factory=Future)
    share: float = 0.0
    asked: float = field(default_factory=time.monotonic)

    def work(self, run: Run, member: int, changed: int, scene: Scene) -> None:
        """Upscale, and set the result."""

        def report(done: float, total: float) -> None:
            self.share = done / total
            if time.monotonic() - self.asked > FORGOTTEN:
                raise GivenUp("given up: no page shows this picture any more")

        try:
            torch.set_num_threads(1)  # trainings have the other cores
            report(0, 1)
            upscaler = _upscaler(run, member, changed)
            self.result.set_result(scene.measured(upscaler.full(scene.low, on_progress=report)))
        except (RunError, ConfigError) as error:
            self.result.set_exception(error)
        except Exception as error:  # whatever a picture does to a network is said beside it
            self.result.set_exception(RunError(f"not upscaled: {line_of(error)}"))


def request(run: Run, member: int, scene: Scene) -> Upscaling:
    """Work on a picture by a run's last checkpoint: begun now, begun before, or done.

    Args:
        run: on pairs.
        member: place on the variant axis.
        scene: what to upscale.

    Raises:
        RunError: there is no checkpoint.
    """
    try:
        changed = (run.path / CHECKPOINT).stat().st_mtime_ns
    except OSError:
        raise RunError("no checkpoint yet; the first is written in a moment") from None
    works, key = _works(), (str(run.path), member, changed, scene.digest)
    with works.lock:
        work = works.by_key.pop(key, None)
        if work is None or (work.result.done() and isinstance(work.result.exception(), GivenUp)):
            work = Upscaling()
            works.pool.submit(work.work, run, member, changed, scene)
        works.by_key[key] = work
        while len(works.by_key) > KEPT:
            works.by_key.pop(next(iter(works.by_key)))
    work.asked = time.monotonic()
    return work


@dataclass(eq=False)
class _Works:
    """All works of the app, those requested last at the end."""

    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    by_key: dict[tuple[Any, ...], Upscaling] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _works() -> _Works:
    return _Works()


@lru_cache(maxsize=1)
def _distances() -> list[PerceptualDistance]:
    return find_distances().distances


@lru_cache(maxsize=8)
def _upscaler(run: Run, member: int, changed: int) -> Upscaler:
    return load_upscaler(run, member)


# -- scenes ------------------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def photograph(name: str) -> Scene:
    """A photograph that no training has seen."""
    photographs = held_out()
    place = photographs.names.index(name)
    low, high = photographs.low_picture(place), photographs.high_picture(place)
    return _scene(name, FullPicture(low.copy()), high.copy())


@st.cache_resource(max_entries=8, show_spinner=False)
def own_scene(name: str, content: bytes, *, shrink: bool) -> Scene:
    """A person's own picture.

    Args:
        name: of its file.
        content: of its file.
        shrink: it is the original: a quarter of its height and width is upscaled, and compared with it.

    Raises:
        ConfigError: it is no picture, or too large or too small for the page; one line.
    """
    most = MOST_PIXELS * (SCALE**2 if shrink else 1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(content)
            with opened(path) as file:
                height, width = file.size
                if height * width > most:
                    raise ConfigError(
                        f"{name}: {width} x {height} pixels; the page upscales {most / 1e6:.1f} megapixels at most: "
                        "`python -m mvm upscale RUN FILE --out DIR` takes larger ones"
                    )
                picture = file.picture()
    except ConfigError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        raise ConfigError(f"{name}: {line_of(error)}; drop in a picture, such as PNG or JPEG") from None
    if not shrink:
        return _scene(name, picture, None, picture.notes)
    if min(height, width) < LEAST_SIDE:
        raise ConfigError(f"{name}: {width} x {height} pixels; to shrink it first takes {LEAST_SIDE} each way")
    values = as_rgb(picture.values)
    high = np.ascontiguousarray(values[: height // SCALE * SCALE, : width // SCALE * SCALE])
    low = imresize(torch.from_numpy(high), (height // SCALE, width // SCALE)).numpy()
    cropped = high.shape[:2] != values.shape[:2]
    notes = (*picture.notes, *[f"cropped to {high.shape[1]} x {high.shape[0]}, multiples of {SCALE}"] * cropped)
    return _scene(name, FullPicture(low), high, notes)


def has_distances() -> bool:
    """Whether there is a network on this machine that measures a perceptual distance."""
    return bool(_distances())


def png_of(upscaled: Upscaled) -> bytes:
    """The upscaled picture as a PNG, with the colour profile, the EXIF, the transparency and the bits of its input."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        write(path, upscaled.picture, form="PNG")
        return path.read_bytes()


def as_rgb(values: np.ndarray) -> np.ndarray:
    """Values of a `FullPicture` as the screen shows them, `(h, w, 3)` uint8: 8 bits, over white where transparent."""
    whole = values if values.dtype == np.uint8 else np.round(values / 257).astype(np.uint8)
    if whole.shape[2] == 3:
        return whole
    if whole.shape[2] == 1:
        return whole.repeat(3, axis=2)
    alpha = whole[..., -1:].astype(np.float32) / 255
    rgb = np.round(whole[..., :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return rgb if rgb.shape[2] == 3 else rgb.repeat(3, axis=2)


def _scene(name: str, low: FullPicture, high: np.ndarray | None, notes: tuple[str, ...] = ()) -> Scene:
    digest = hashlib.sha256()
    for values in (low.values, *([] if high is None else [high])):
        digest.update(repr((values.shape, values.dtype.str)).encode())
        digest.update(np.ascontiguousarray(values).data)
    return Scene(name, low, high, digest.hexdigest(), notes)
