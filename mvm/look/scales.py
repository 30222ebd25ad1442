"""Scales of drawings, the same on screen and on paper: axis ranges, arrow lengths, ranges of colours.

    span      centre of the points ± (1 + margin) · half their longest extent, on every axis
    factor    round(ARROW · width / q.95(‖moves‖))    round: to the nearest of 1, 2, 5, 10, ... in ratio
    limits    [q_c, q_1−c] of the values, or ±max(|q_c|, |q_1−c|)
    shade     log(x) / log(WORST), within [0, 1]      x: a score over its baseline
              ½ − x / (2 · GAIN), within [0, 1]       x: a score minus its baseline, in dB

q are quantiles over all panels: what is drawn side by side has one scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["MARGIN", "arrow_factor", "limits", "quality_shade", "ratio_shade", "round_number", "span_of", "thinned"]

MARGIN = 0.35  # shown beyond the reals on each side, as a share of half their extent
APART = 0.06  # least distance of two arrows' tails, as a share of a panel's width
ARROW = 0.12  # length of the longest of twenty arrows, as a share of a panel's width
WORST = 30.0  # ratio of a score to its baseline that has the last colour
GAIN = 3.0  # dB above the baseline that have the first colour, and below it the last


def span_of(points: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Axis ranges with equal units about the finite points `(n, d)`: lower and upper end, `(d, 2)`."""
    finite = points[np.isfinite(points).all(1)]
    low, high = (finite.min(0), finite.max(0)) if len(finite) else (np.zeros(points.shape[1]), np.ones(points.shape[1]))
    centre, reach = (low + high) / 2, (1 + margin) * (float((high - low).max()) / 2 or 1.0)
    return np.stack([centre - reach, centre + reach], axis=1)


def arrow_factor(moves: Sequence[np.ndarray], span: np.ndarray | Sequence[Sequence[float]]) -> float:
    """Factor that lengthens arrows `(n, d)` so that 95 % of the nonzero ones are at most about `ARROW` long."""
    lengths = np.concatenate([np.linalg.norm(part, axis=-1) for part in moves])
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    if not len(lengths):
        return 1.0
    return round_number(ARROW * max(high - low for low, high in span) / float(np.quantile(lengths, 0.95)))


def thinned(points: np.ndarray, span: np.ndarray | Sequence[Sequence[float]], *, most: int) -> np.ndarray:
    """Indices of at most `most` finite points `(n, d)` that lie at least `APART` from each other.

    Points are taken in their order: while they move from frame to frame, the first of them stay chosen.
    """
    least = APART * max(high - low for low, high in span)
    chosen: list[int] = []
    for index in np.flatnonzero(np.isfinite(points).all(1)):
        if len(chosen) == most:
            break
        if not chosen or (np.linalg.norm(points[chosen] - points[index], axis=1) >= least).all():
            chosen.append(int(index))
    return np.array(chosen, dtype=int)


def round_number(value: float) -> float:
    """The nearest of 1, 2, 5, 10, ... in ratio: a factor on the screen must not change with every frame."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * min((1, 2, 5, 10), key=lambda k: abs(np.log(value / power / k))))


def limits(values: Sequence[np.ndarray], *, symmetric: bool = False, cut: float = 0.02) -> tuple[float, float]:
    """Ends of a scale for these values without the share `cut` at either end; symmetric about 0 on request."""
    known = np.concatenate([np.ravel(part) for part in values])
    known = known[np.isfinite(known)]
    low, high = np.quantile(known, [cut, 1 - cut]) if len(known) else (0.0, 1.0)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return float(low), float(high)


def ratio_shade(ratios: np.ndarray) -> np.ndarray:
    """Place on a colour scale from 0 to 1 of scores over their baselines: 0 at the baseline, 1 at `WORST`."""
    shade: np.ndarray = np.log(np.clip(ratios, 1, WORST)) / np.log(WORST)
    return shade


def quality_shade(values: np.ndarray, gains: Sequence[bool]) -> np.ndarray:
    """Place on a colour scale from 0, the best, to 1 of qualities `(rows, columns)`; `gains` tells columns in dB."""
    return np.where(gains, np.clip(0.5 - values / (2 * GAIN), 0, 1), ratio_shade(values))
