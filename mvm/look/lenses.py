"""Colours of the layers of lenses' pictures, the same on screen and on paper."""

from __future__ import annotations

from mvm.look.palette import FAKE, QUIET, REAL, ROUTES, VARIANTS

__all__ = ["QUIET_LAYERS", "colour_of_layer"]

QUIET_LAYERS = ("no lifetime", "same metric", "real, untrained metric")  # drawn dashed: to compare with
COLOURS = {
    "real": REAL,
    "fake": FAKE,
    "baseline": VARIANTS[0],
    "components": VARIANTS[0],
    "loops": VARIANTS[3],
    "voids": VARIANTS[2],
    "longest edge": ROUTES["geodesic"],
    "nearest": ROUTES["geodesic"],
    "point": ROUTES["true"],
    "trained": VARIANTS[2],
}


def colour_of_layer(name: str) -> str:
    """Colour of a layer by its name, or by the word before a colon."""
    return COLOURS.get(name.partition(":")[0], QUIET)
