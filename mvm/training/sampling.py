"""Samples and embeddings of a trained experiment, in the data's own units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mvm.data.kind import Reference
from mvm.training.experiment import Experiment

__all__ = ["between", "embedding", "generated", "log_densities", "to_score", "upscaled"]


CHUNK = 2**20  # values generated at a time, per member
PLACES = 2**13  # at which a density is taken at a time


def between(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate spherically between noise vectors a and b `(m,)` at times t `(k,)` in [0, 1]: `(k, m)`.

        sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω · b,      ω the angle between a and b

    The points have norms as typical for Gaussian noise as a and b; points on the straight line are too short.
    """
    angle = torch.arccos(torch.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:
        return torch.lerp(a, b, t[:, None])
    return (((1 - t) * angle).sin()[:, None] * a + (t * angle).sin()[:, None] * b) / angle.sin()


def generated(experiment: Experiment, noise: Tensor) -> Tensor:
    """Generate fakes `(V, n, ...)` in the data's own units from noise `(n, m)`, in full float32."""
    restore = experiment.data.restore
    parts = noise.split(max(1, CHUNK // experiment.data.dim))
    with experiment.exact():
        return torch.cat([restore(experiment.generate(part).cpu().float()) for part in parts], dim=1)


def upscaled(experiment: Experiment, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
    """Upscale pictures `(h, w, 3)` uint8 of any size by every member: V lists of pictures `(4h, 4w, 3)` uint8."""
    networks = [experiment.upscaler(member) for member in range(len(experiment.config.members))]
    return [[_upscaled(network, picture) for picture in pictures] for network in networks]


def _upscaled(network: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    upscaled = network(picture.movedim(-1, 0)[None].float() / 255)[0].movedim(0, -1)
    return upscaled.nan_to_num(0.5).clamp(0, 1).mul(255).round().byte().cpu()


def to_score(experiment: Experiment, reference: Reference, *, repeat: int = 0) -> Sequence[Any]:
    """What each member is scored by, V arguments of `reference.score`: fakes of fixed noise, or upscaled pictures.

    Args:
        experiment: with the generators.
        reference: what they are scored against.
        repeat: index of the pair of samples; another index gives other noise.
    """
    pictures = getattr(reference, "inputs", None)
    if pictures is not None:
        return upscaled(experiment, pictures)
    return generated(experiment, experiment.view_inputs(reference.size, repeat=repeat)).unbind()


def log_densities(experiment: Experiment, reference: Reference) -> list[Tensor] | None:
    """Log density of each member at the `density_points` of a reference, V of `(m,)`; None without a density.

    It is of standardised points, in nats, as `reference.score` takes it.
    """
    points = getattr(reference, "density_points", None)
    if points is None or experiment.log_density(torch.zeros(1, experiment.data.dim)) is None:
        return None
    with experiment.exact():
        parts = [experiment.log_density(part) for part in experiment.data.standardise(points).split(PLACES)]
    return list(torch.cat([part.double().cpu() for part in parts if part is not None], dim=1).unbind())


def embedding(experiment: Experiment, member: int) -> Callable[[Tensor], Tensor]:
    """Metric of a member, in full float32: maps data points in their own units `(n, ...)` to embeddings `(n, k)`."""

    def embed(points: Tensor) -> Tensor:
        with experiment.exact():
            return experiment.embed(experiment.data.standardise(points.cpu()).float())[member]

    return embed
