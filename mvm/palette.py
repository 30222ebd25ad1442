"""The lab's colours and names, the same on screen and on paper.

The colours are Okabe & Ito's set, which colour-blind people can tell apart. Real is green and fake is orange
everywhere; variants have four others in a fixed order.
"""

from __future__ import annotations

from mvm.methods import METHODS

__all__ = ["FAKE", "MARKS", "QUIET", "REAL", "VARIANTS", "rgba", "title_of", "variant_colours"]

REAL = "#009E73"
FAKE = "#E69F00"
VARIANTS = ("#0072B2", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F", "#B8A800")
QUIET = "#8A8F98"
MARKS = {  # event, or what a member of the variant axis did: colour and words
    "collapsed": ("#D55E00", "collapsed"),
    "diverged": ("#C0392B", "diverged"),
    "recovered": ("#009E73", "recovered"),
    "weights": ("#0072B2", "weights changed"),
    "forked": ("#CC79A7", "forked"),
    "paused": (QUIET, "paused"),
    "resumed": ("#56B4E9", "resumed"),
    "stopped": (QUIET, "stopped"),
    "failed": ("#C0392B", "failed"),
}
TITLES = {"both": "both", "centroid": "centroid only", "diameter": "2-diameter only"}


def title_of(variant: str) -> str:
    """What the lab calls a variant; a method without descriptors has one, of its own name."""
    if variant in METHODS:
        return METHODS[variant].title
    return TITLES.get(variant, variant.replace("diameter", "2-diameter").replace("_", " "))


def variant_colours(count: int) -> list[str]:
    """One for each variant, in their order; they repeat where there are too many to tell apart."""
    return [VARIANTS[i % len(VARIANTS)] for i in range(count)]


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency, as Plotly and CSS take it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
