"""Parallel coordinates: every training as a line over axes, one for each swept setting and the last for the score.

    place     (v − min) / (max − min) of numbers, of log v where max > 10 min > 0
              i / (n − 1) of the i-th of n other values

The same places and ticks are drawn on screen and on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvm.sweeps.results import Result, axes_of, axis_title, score_title, value_title

__all__ = ["Axis", "parallel_axes"]

MOST_TICKS = 8  # distinct values that all have a tick
TICKS = 5  # of an axis with more values
MARGIN = 0.1  # between the numbers of an axis and the place of trainings that do not use it, or diverged
WIDEST = 10.0  # ratio of two numbers from which their axis is logarithmic


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: of the setting, or of the score.
        places: of each training, from 0 to 1 `(n,)`.
        ticks: place and text of each tick.
    """

    title: str
    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_axes(results: Sequence[Result]) -> list[Axis]:
    """An axis for each setting in which the trainings differ, in their order, and the last for their score."""
    found = []
    for name, known in axes_of(results).items():
        values = [result.settings.get(name) for result in results]
        is_number = all(type(value) in (int, float) for value in known if value is not None)
        make = _of_numbers if is_number else _of_words
        found.append(make(axis_title(name), name, values))
    if not results:
        return found
    scores = [result.score if np.isfinite(result.score) else None for result in results]
    return [*found, _of_numbers(score_title(results[0].key), "score", scores, missing="diverged")]


def _of_words(title: str, name: str, values: Sequence[Any]) -> Axis:
    texts = [value_title(name, value) for value in values]
    known = list(dict.fromkeys(texts))
    place = {text: index / max(1, len(known) - 1) for index, text in enumerate(known)}
    return Axis(title, tuple(place[text] for text in texts), tuple((place[text], text) for text in known))


def _of_numbers(title: str, name: str, values: Sequence[float | None], missing: str = "–") -> Axis:
    known = sorted({float(value) for value in values if value is not None}) or [0.0]
    is_log = known[0] > 0 and known[-1] > WIDEST * known[0]
    low, high = (np.log(known[0]), np.log(known[-1])) if is_log else (known[0], known[-1])
    base = MARGIN * any(value is None for value in values)

    def place(value: float) -> float:
        share = ((np.log(value) if is_log else value) - low) / (high - low) if high > low else 0.5
        return float(base + (1 - base) * share)

    if len(known) <= MOST_TICKS and name != "score":
        ticks = [(place(value), value_title(name, value)) for value in known]
    else:
        at = np.linspace(low, high, TICKS if high > low else 1)
        ticks = [
            (place(value), f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")
            for value in (np.exp(at) if is_log else at)
        ]
    if base:
        ticks = [(0.0, missing), *ticks]
    return Axis(title, tuple(0.0 if value is None else place(value) for value in values), tuple(ticks))
