"""A square to draw a point cloud on: every stroke leaves points behind, spread like a brush."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.components.component import component

__all__ = ["draw_points"]

_component = component(Path(__file__).parent)


def draw_points(*, key: str) -> np.ndarray | None:
    """What has been drawn and handed over with "Use these points".

    Args:
        key: the widget's identity on the page.

    Returns:
        Points `(n, 2)`, x to the right and y up, the square being [-1, 1]²; None before anything was handed over.
    """
    points = _component(key=key, data={}, default={"points": None}, on_points_change=lambda: None).get("points")
    return np.array(points, dtype=np.float32).reshape(-1, 2) if points else None
