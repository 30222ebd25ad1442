"""Colours and names of the lab, the same on screen and on paper.

The colours are near Okabe & Ito's set, which colour-blind people can tell apart. Real is green and fake is orange
everywhere; variants have others, none of them orange. Each has a contrast of at least 3:1 on the backgrounds of both
themes, hence no colour is light and none dark. A scale lists its colours from the lowest value to the highest, and is
visible on white and on black.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.methods import METHODS
from mvm.variants import base_of

__all__ = [
    "DIVERGING",
    "FAKE",
    "MARKS",
    "QUIET",
    "RATIOS",
    "REAL",
    "ROUTES",
    "SEQUENTIAL",
    "VARIANTS",
    "VOLUME",
    "descriptor_colour",
    "rgba",
    "title_of",
    "variant_colours",
]

REAL = "#009E73"
FAKE = "#DD7A00"
VARIANTS = ("#0072B2", "#CC79A7", "#7940FF", "#C8203C", "#7F7F7F", "#8F8500")
QUIET = "#8A8F98"
ROUTES = {"geodesic": "#D81B60", "straight": QUIET, "true": "#3D8BFF"}
DIVERGING = ("#0B4FA8", "#5B93D3", "#B4B8BF", "#E58A4E", "#B33A00")
SEQUENTIAL = ("#7B2CBF", "#C2408C", "#EE7B51", "#F2C14E")
RATIOS = ((0, "#E8F3EE"), (0.35, "#FBE9C6"), (1, "#E58A4E"))  # shades of scores over baselines; dark ink reads on all
VOLUME = ("#6A5ACD08", "#6A5ACDC8")  # one colour with growing opacity, behind points
MARKS = {  # event of a run or of a member of its variant axis: colour and words
    "collapsed": ("#D55E00", "collapsed"),
    "diverged": ("#C0392B", "diverged"),
    "recovered": ("#009E73", "recovered"),
    "weights": ("#0072B2", "weights changed"),
    "settings": ("#0072B2", "settings changed"),
    "forked": ("#CC79A7", "forked"),
    "paused": (QUIET, "paused"),
    "resumed": ("#3D8BFF", "resumed"),
    "stopped": (QUIET, "stopped"),
    "failed": ("#C0392B", "failed"),
}
TITLES = {"centroid": "centroid only", "diameter": "2-diameter only", "both": "both"}  # in the order of their colours


def title_of(variant: str) -> str:
    """Displayed name of a variant, without its own settings; that of a method without descriptors is the method's."""
    variant = base_of(variant)
    if variant in METHODS:
        return METHODS[variant].title
    if variant in TITLES:
        return TITLES[variant]
    parts = variant.split("+")
    return "+".join(DESCRIPTORS[part].title.lower() if part in DESCRIPTORS else part for part in parts)


def variant_colours(variants: Sequence[str], *, of: Sequence[str] = VARIANTS) -> list[str]:
    """One colour for each variant, in their order; colours repeat if there are more variants than colours.

    Centroid, 2-diameter and both keep their colours in any company, whatever settings of their own they have; other
    variants, and repeated ones, take the next colour left.
    """
    bases = [*map(base_of, variants)]
    own = {name: colour for name, colour in zip(TITLES, of, strict=False) if name in bases}
    left = itertools.cycle([colour for colour in of if colour not in own.values()])
    return [own.pop(name) if name in own else next(left) for name in bases]


def descriptor_colour(name: str) -> str:
    """Colour of a descriptor's force: by its place in the registry, the first ones as `VARIANTS`.

    Past the palette, colours lie between two neighbours in it, at shares ½, ¼, ¾, ⅛, ...: no two are the same.
    """
    turn, place = divmod(list(DESCRIPTORS).index(name), len(VARIANTS))
    share = int(f"{turn:b}"[::-1], 2) / 2 ** turn.bit_length()
    first, second = (_channels(VARIANTS[i % len(VARIANTS)]) for i in (place, place + 1))
    return "#" + "".join(f"{round(a + share * (b - a)):02X}" for a, b in zip(first, second, strict=True))


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency, for Plotly and CSS."""
    red, green, blue = _channels(colour)
    return f"rgba({red},{green},{blue},{alpha})"


def _channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of a hex colour, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
