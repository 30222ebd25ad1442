"""Qualities in words: a score over its baseline, or the gain over it in dB. A list of runs needs no more: no torch."""

from __future__ import annotations

import math

__all__ = ["in_words", "is_gain"]


def is_gain(key: str) -> bool:
    """Whether the quality under this key is a difference to its baseline, of which higher is better."""
    return key.endswith("_gain")


def in_words(value: float, key: str = "") -> str:
    """Text of a quality of `scoreboard` or `matrix` under its key."""
    if math.isinf(value):
        return "diverged"
    return f"{value:+.2f} dB" if is_gain(key) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
