"""A square on which strokes of a brush leave points."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.components.component import component

__all__ = ["draw_points"]

_component = component(Path(__file__).parent)


def draw_points(*, key: str) -> np.ndarray | None:
    """Draw the square; return the points that were submitted with "Use these points".

    Args:
        key: identity of the widget.

    Returns:
        Points `(n, 2)` in [-1, 1]², x to the right and y up; None before the first submission.
    """
    points = _component(key=key, data={}, default={"points": None}, on_points_change=lambda: None).get("points")
    return np.array(points, dtype=np.float32).reshape(-1, 2) if points else None
