"""Toy manifolds: sets with known geometry, as ground truth for generative models.

>>> roll = manifold("swiss_roll", noise=0.1)
>>> sample = roll.sample(1000)
>>> roll.distance(sample.points)
"""

import difflib

from pydantic import ValidationError
from pydantic.fields import FieldInfo

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
    """Make the manifold with this name.

    Raises:
        ValueError: unknown name, or a setting that is unknown or out of bounds; one line.
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
    fields, reason = kind.model_fields, first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # a combination of settings
        raise ValueError(f"{name}: {reason}")
    setting, value = first["loc"][0], first["input"]
    if setting not in fields:
        raise ValueError(f"{name} has no setting {setting!r}; its settings are: {', '.join(fields)}")
    if first["type"] == "value_error":  # from the setting's own validator
        raise ValueError(f"{name}: {setting}={value!r}: {reason}")
    raise ValueError(f"{name}: {setting}={value!r} must be a number{_bounds(fields[setting])}")


def _bounds(field: FieldInfo) -> str:
    """Bounds of a setting in words."""
    found = {key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)}
    if found.keys() == {"ge", "le"}:
        return f" from {found['ge']} to {found['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and".join(f" {words[key]} {bound}" for key, bound in found.items())
