"""What can be trained on: points and pictures."""

from __future__ import annotations

from pathlib import Path

from mvm.config import Config
from mvm.data.images import ImageData, load_images
from mvm.data.points import PointData, load_points

__all__ = ["ImageData", "PointData", "load_data"]


def load_data(config: Config, *, own: Path | None = None) -> PointData | ImageData:
    """The data set that a config names.

    Args:
        config: `data` and what belongs to it.
        own: read this file of points in place of `config.data` (a run keeps a copy of a person's own points).

    Raises:
        ConfigError: it cannot be trained on; one line.
    """
    return load_images(config) if config.is_images else load_points(config, own=own)
