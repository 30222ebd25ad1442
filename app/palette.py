"""The colours of the lab, the same in every chart: Okabe & Ito's set, which colour-blind people can tell apart.

Real is green and fake is orange everywhere; variants have four others in a fixed order.
"""

from __future__ import annotations

__all__ = ["FAKE", "MARKS", "QUIET", "REAL", "VARIANTS", "rgba"]

REAL = "#009E73"
FAKE = "#E69F00"
VARIANTS = ("#0072B2", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F", "#B8A800")
QUIET = "#8A8F98"
MARKS = {  # event or member state: colour, Plotly symbol, words
    "collapsed": ("#D55E00", "triangle-down", "collapsed"),
    "diverged": ("#C0392B", "x", "diverged"),
    "recovered": ("#009E73", "triangle-up", "recovered"),
    "weights": ("#0072B2", "diamond", "weights changed"),
    "paused": (QUIET, "square", "paused"),
    "resumed": ("#56B4E9", "circle", "resumed"),
    "stopped": (QUIET, "square", "stopped"),
    "failed": ("#C0392B", "x", "failed"),
}


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency, as Plotly and CSS take it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
