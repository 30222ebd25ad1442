"""Names of variants: descriptors, or a method without any, with settings of the variant's own behind them.

    both                                         centroid and 2-diameter
    centroid+distance_matrix                     descriptors joined by +
    both@optimiser.generator_lr=0.001            both, at another rate than the run's other variants
    wgan_gp@optimiser.generator_lr=0.001@wgan_gp.penalty=1

A variant's own settings are those that may also be moved while training (`Config.movable`): its networks share every
operation of a step with those of the other variants.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PAIRED_KINDS", "base_of", "own_settings", "variant_named"]

PAIRED_KINDS = ("superres",)
"""Kinds of data whose data points are targets of aligned inputs; elsewhere a generator's inputs are noise."""


def base_of(variant: str) -> str:
    """A variant without its own settings: its descriptors, or its method."""
    return variant.partition("@")[0]


def own_settings(variant: str) -> dict[str, float]:
    """A variant's own settings, by name.

    Raises:
        ValueError: one has no number, or stands twice; one line.
    """
    found: dict[str, float] = {}
    for part in variant.split("@")[1:]:
        name, _, number = part.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        try:
            value = float(number)
        except ValueError:
            raise ValueError(f"{variant!r} needs a number after each @, as in both@weights.diameter=2") from None
        if name in found:
            raise ValueError(f"{variant!r} sets {name} twice")
        found[name] = value
    return found


def variant_named(base: str, own: Mapping[str, float]) -> str:
    """The name of a variant with these settings of its own, always spelled alike."""
    return "@".join([base, *(f"{name}={float(own[name])!r}".removesuffix(".0") for name in sorted(own))])
