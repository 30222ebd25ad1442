"""Toy manifolds: sets that are known exactly, to see what a generative model has found.

>>> roll = manifold("swiss_roll", noise=0.1)
>>> sample = roll.sample(1000)
>>> roll.distance(sample.points)
"""

import difflib

from pydantic import ValidationError

from toy_manifolds.base import Embedded, Manifold, Sample, embedded
from toy_manifolds.curves import (
    Circle,
    ConcentricCircles,
    Ellipse,
    FigureEight,
    Helix,
    Moons,
    Spiral,
    TwoCircles,
    VonMisesCircle,
)
from toy_manifolds.mixtures import Checkerboard, EightGaussians
from toy_manifolds.surfaces import MobiusStrip, SCurve, Sphere, SwissRoll, Torus

__all__ = ["MANIFOLDS", "Embedded", "Manifold", "Sample", "embedded", "manifold"]

MANIFOLDS: dict[str, type[Manifold]] = {
    "circle": Circle,
    "concentric_circles": ConcentricCircles,
    "two_circles": TwoCircles,
    "ellipse": Ellipse,
    "von_mises_circle": VonMisesCircle,
    "figure_eight": FigureEight,
    "spiral": Spiral,
    "helix": Helix,
    "moons": Moons,
    "swiss_roll": SwissRoll,
    "s_curve": SCurve,
    "sphere": Sphere,
    "torus": Torus,
    "mobius_strip": MobiusStrip,
    "eight_gaussians": EightGaussians,
    "checkerboard": Checkerboard,
}


def manifold(name: str, **settings: float) -> Manifold:
    """Make the manifold called `name`.

    Raises:
        ValueError: the name is not in `MANIFOLDS`, or a setting is unknown or out of bounds; one line says which.
    """
    if name not in MANIFOLDS:
        close = difflib.get_close_matches(name, MANIFOLDS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ";"
        raise ValueError(f"unknown manifold {name!r}{hint} known: {', '.join(MANIFOLDS)}")
    kind = MANIFOLDS[name]
    try:
        return kind(**settings)
    except ValidationError as error:
        first = error.errors()[0]
    setting, value, fields = first["loc"][0], first["input"], kind.model_fields
    if setting not in fields:
        raise ValueError(f"{name} has no setting {setting!r}; its settings are: {', '.join(fields)}")
    low, high = (getattr(bound, key) for key, bound in zip(("ge", "le"), fields[setting].metadata, strict=True))
    raise ValueError(f"{name}: {setting}={value!r} must be a number from {low} to {high}")
