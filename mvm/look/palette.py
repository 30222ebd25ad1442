"""The lab's colours and names, the same on screen and on paper.

The colours are Okabe & Ito's set, which colour-blind people can tell apart. Real is green and fake is orange
everywhere; variants have others. A scale is its colours from the lowest value to the highest, and
is seen on white and on black.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.methods import METHODS

__all__ = [
    "DIVERGING",
    "FAKE",
    "MARKS",
    "QUIET",
    "RATIOS",
    "REAL",
    "ROUTES",
    "SEQUENTIAL",
    "TERMS",
    "VARIANTS",
    "VOLUME",
    "rgba",
    "title_of",
    "variant_colours",
]

REAL = "#009E73"
FAKE = "#E69F00"
VARIANTS = ("#0072B2", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F", "#B8A800")
QUIET = "#8A8F98"
TERMS = {  # a descriptor's force; centroid and 2-diameter as the variants that match them alone
    "centroid": "#0072B2",
    "diameter": "#CC79A7",
    "p_diameter": "#D55E00",
    "distance_matrix": "#56B4E9",
    "hausdorff": "#7F7F7F",
    "covariance": "#B8A800",
}
ROUTES = {"geodesic": "#D81B60", "straight": QUIET, "true": "#3D8BFF"}
DIVERGING = ("#0B4FA8", "#5B93D3", "#B4B8BF", "#E58A4E", "#B33A00")
SEQUENTIAL = ("#7B2CBF", "#C2408C", "#EE7B51", "#F2C14E")
RATIOS = ((0, "#E8F3EE"), (0.35, "#FBE9C6"), (1, "#E58A4E"))  # shades of scores over baselines; dark ink reads on all
VOLUME = ("#6A5ACD08", "#6A5ACDC8")  # one colour of growing opacity, behind points
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
TITLES = {"centroid": "centroid only", "diameter": "2-diameter only", "both": "both"}  # in the order of their colours


def title_of(variant: str) -> str:
    """What the lab calls a variant; a method without descriptors has one, of its own name."""
    if variant in METHODS:
        return METHODS[variant].title
    if variant in TITLES:
        return TITLES[variant]
    parts = variant.split("+")
    return "+".join(DESCRIPTORS[part].title.lower() if part in DESCRIPTORS else part for part in parts)


def variant_colours(variants: Sequence[str], *, of: Sequence[str] = VARIANTS) -> list[str]:
    """One for each variant, in their order; they repeat where there are too many to tell apart.

    Centroid, 2-diameter and both have theirs whatever stands beside them; others, and one named again, take the next of
    those that are left.
    """
    own = {name: colour for name, colour in zip(TITLES, of, strict=False) if name in variants}
    left = itertools.cycle([colour for colour in of if colour not in own.values()])
    return [own.pop(name) if name in own else next(left) for name in variants]


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency, as Plotly and CSS take it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
