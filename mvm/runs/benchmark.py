"""Scores of upscaling on a folder of original pictures: Set5, Set14, BSD100, Urban100, or one's own.

    original, cropped to multiples of 4  ->  reduced by `imresize`  ->  upscaled  ->  scores beside bicubic

Every picture is decoded at its full resolution, one after the other. A picture stored in grey goes through the network
as three equal channels, and the mean of the channels that come back is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvm.data.picture import decode_whole
from mvm.data.sources import Folder
from mvm.errors import ConfigError, line_of
from mvm.imaging.resize import SCALE, imresize
from mvm.scoring.perceptual import Found, PerceptualDistance, find_distances
from mvm.scoring.superres import bicubic, measure
from mvm.words import printable

__all__ = ["BICUBIC", "FolderScores", "Upscale", "score_on"]

Upscale = Callable[[Tensor], Tensor]
"""LR picture `(h, w, 3)` uint8 to `(4h, 4w, 3)` uint8."""

BICUBIC = "bicubic"

LEAST = 12  # pixels of an original each way: what is left inside the border that does not count
GREY = ("1", "L", "LA", "La", "F", "I")  # modes of pictures without colours; of 16 bits: I;16


@dataclass(frozen=True)
class FolderScores:
    """Scores of upscaled pictures of a folder.

    Attributes:
        rows: one for each picture and setting, bicubic first: "data", "setting", "picture", and the keys of
            `mvm.scoring.superres.SUPERRES_SCORES` that are measured; None where a score has no value.
        skipped: (file, reason) of each file that is not scored.
        missing: what to do to measure the other perceptual distances, one line by key.
    """

    rows: list[dict[str, Any]]
    skipped: list[tuple[str, str]]
    missing: dict[str, str]


def score_on(
    settings: Mapping[str, Upscale],
    folder: Path,
    *,
    perceptual: bool = True,
    niqe: bool = True,
    on_progress: Callable[[float, float], None] | None = None,
) -> FolderScores:
    """Score one or more upscaling functions on the pictures below a folder, beside bicubic interpolation.

    Args:
        settings: functions by name.
        folder: of originals; subfolders count.
        perceptual: measure the perceptual distances whose networks are at hand, too.
        niqe: measure NIQE, too.
        on_progress: called with the number of files done, and their number.

    Raises:
        ConfigError: the folder does not exist, no picture in it can be used, or a setting is named bicubic; one line.
        ValueError: a function returns a picture of another size.
    """
    if BICUBIC in settings:
        raise ConfigError(f"setting: {BICUBIC!r} is the baseline; give another name")
    if not folder.is_dir():
        raise ConfigError(f"--on: {printable(folder)} is no folder; give one of original pictures")
    source = Folder(folder)
    listing = source.list()
    found = find_distances() if perceptual and listing.names else Found()
    skipped = [(printable(name), reason) for name, reason in listing.passed]
    rows: list[dict[str, Any]] = []
    data = folder.resolve().name or str(folder)
    for done, name in enumerate(listing.names):
        try:
            high = _original(source.read(name))
        except (OSError, ValueError) as error:
            skipped.append((printable(name), line_of(error)))
        else:
            about = {"data": data, "picture": printable(name)}
            rows += [about | row for row in _scored(settings, high, found.distances, niqe=niqe)]
        if on_progress:
            on_progress(done + 1, len(listing.names))
    if not rows:
        reason = ": ".join(skipped[0]) if skipped else "it is empty"
        raise ConfigError(f"--on: no picture in {printable(folder)} can be used; {reason}")
    return FolderScores(rows, skipped, found.missing)


def _original(content: bytes) -> Tensor:
    """A picture cropped to multiples of 4, `(4h, 4w, 3)` uint8, or `(4h, 4w)` of one stored in grey.

    Raises:
        ValueError: it is no picture, or too small.
    """
    pixels, mode = decode_whole(content)
    if min(pixels.shape[:2]) < LEAST:
        raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels: smaller than {LEAST}")
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    high = torch.from_numpy(pixels[:height, :width])
    stored = mode.split(",")[0].split(";")[0]
    return high[..., 0] if stored in GREY else high


def _scored(
    settings: Mapping[str, Upscale], high: Tensor, distances: Sequence[PerceptualDistance], *, niqe: bool
) -> list[dict[str, Any]]:
    """Rows of one original: setting and scores."""
    colours = high if high.ndim == 3 else high[..., None].expand(-1, -1, 3)
    low = imresize(colours, (high.shape[0] // SCALE, high.shape[1] // SCALE))
    upscalers: dict[str, Upscale] = {BICUBIC: bicubic, **settings}
    return [
        {"setting": name} | measure(upscale(low), high, niqe=niqe, distances=distances)
        for name, upscale in upscalers.items()
    ]
