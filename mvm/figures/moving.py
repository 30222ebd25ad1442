"""What moves: a film and a supplement, by name, beside the figures of `mvm.figures.FIGURES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mvm.figures.film import FILM_FORMATS, film
from mvm.figures.selection import Selection
from mvm.figures.supplement import supplement

__all__ = ["MOVING", "MOVING_FORMATS", "Moving"]


@dataclass(frozen=True)
class Moving:
    """One entry.

    Attributes:
        title, source: as of `mvm.figures.selection.Definition`.
        formats: file endings; the first is the default.
        make: its bytes from a selection and a format; keywords are those in `look`, and on_progress.
        look: further arguments that a recipe keeps.
        uses, options: as of `mvm.figures.selection.Definition`.
    """

    title: str
    source: str
    formats: tuple[str, ...]
    make: Callable[..., bytes]
    look: tuple[str, ...]
    uses: tuple[str, ...]
    options: tuple[str, ...] = ("seed",)


def _supplement(selection: Selection, kind: str, **options: Any) -> bytes:
    return supplement(selection, **options)


USES = ("records", "scores", "snapshots", "frames")
MOVING = {
    "film": Moving(
        "Film of the generated points, or pictures, over training",
        "Talk",
        FILM_FORMATS,
        film,
        ("size", "ground", "panels"),
        USES,
    ),
    "supplement": Moving(
        "Interactive supplement: one HTML file with timeline, clouds, curves and scores",
        "Paper",
        ("html",),
        _supplement,
        (),
        USES,
    ),
}
MOVING_FORMATS = tuple(kind for each in MOVING.values() for kind in each.formats)
