"""Panels with layers laid over them, and the axes that points are drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import streamlit as st

from app.text import plain

__all__ = ["Axes", "Layered", "Panels", "add_layers", "draw_notes"]

Panels = list[dict[str, Any]]


@dataclass(frozen=True)
class Layered:
    """Panels for `cloud_plot` with layers over them, and notes to write above them."""

    panels: Panels
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Axes:
    """Axes of a panel: the data's own up to 3 dimensions, else the first three principal axes of the reals.

    Attributes:
        centre: mean of the reals `(D,)`; None for the data's own axes.
        basis: principal axes `(D, 3)`; None for the data's own axes.
    """

    centre: np.ndarray | None = None
    basis: np.ndarray | None = None

    @classmethod
    def of(cls, real: np.ndarray) -> Axes:
        """Axes for reals `(n, D)`."""
        if real.shape[-1] <= 3:
            return cls()
        centre = real.mean(0)
        return cls(centre, np.linalg.svd(real - centre, full_matrices=False)[2][:3].T)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points `(..., D)` to `(..., 2 or 3)`."""
        return points if self.basis is None else (points - self.centre) @ self.basis


def add_layers(panel: dict[str, Any], *layers: dict[str, Any]) -> dict[str, Any]:
    """A panel with further layers on top."""
    return panel | {"layers": [*panel["layers"], *layers]}


def draw_notes(notes: Sequence[str]) -> None:
    """Write the notes of the layers below a row's heading."""
    if notes:
        st.caption("  \n".join(map(plain, notes)))
