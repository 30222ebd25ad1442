"""How long an arrow is drawn and which values have a colour of their own, the same on screen and on paper.

    factor    round(ARROW · width / q.95(‖moves‖))    round: to the nearest of 1, 2, 5, 10, ... in ratio
    limits    [q_c, q_1−c] of the values, or ±max(|q_c|, |q_1−c|)
    shade     log(x) / log(WORST), within [0, 1]

q are quantiles over all panels: what is drawn side by side has one scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["arrow_factor", "floors_shade", "limits", "round_number"]

ARROW = 0.12  # of a panel's width: about the length of the longest of twenty arrows
WORST = 30.0  # a score of so many floors has the last colour


def arrow_factor(moves: Sequence[np.ndarray], span: Sequence[Sequence[float]]) -> float:
    """By how much to lengthen arrows `(n, d)`: 95 % of those that are any are then about `ARROW` long at most."""
    lengths = np.concatenate([np.linalg.norm(part, axis=-1) for part in moves])
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    if not len(lengths):
        return 1.0
    return round_number(ARROW * max(high - low for low, high in span) / float(np.quantile(lengths, 0.95)))


def round_number(value: float) -> float:
    """The nearest of 1, 2, 5, 10, ... in ratio; a factor on the screen is not to tremble."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * min((1, 2, 5, 10), key=lambda k: abs(np.log(value / power / k))))


def limits(values: Sequence[np.ndarray], *, symmetric: bool = False, cut: float = 0.02) -> tuple[float, float]:
    """Ends of a scale of these values, but for the share `cut` of them at either end; symmetric about 0 or not."""
    known = np.concatenate([np.ravel(part) for part in values])
    known = known[np.isfinite(known)]
    low, high = np.quantile(known, [cut, 1 - cut]) if len(known) else (0.0, 1.0)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return float(low), float(high)


def floors_shade(scores: np.ndarray) -> np.ndarray:
    """Where on a scale from 0 to 1 scores over their floors lie: the floor is at 0."""
    return np.log(np.clip(scores, 1, WORST)) / np.log(WORST)
