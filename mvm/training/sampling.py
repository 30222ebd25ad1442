"""Samples and embeddings of a trained experiment, in the data's own units."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mvm.training.experiment import Experiment

__all__ = ["between", "embedding", "generated"]


CHUNK = 2**20  # numbers generated at a time


def between(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate two noise vectors `(m,)` spherically at places `(k,)` in [0, 1]: `(k, m)`.

    sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω · b with ω the angle between them: each point is as typical a noise as its
    ends, which points on the straight line are not.
    """
    angle = torch.arccos(torch.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:
        return torch.lerp(a, b, t[:, None])
    return (((1 - t) * angle).sin()[:, None] * a + (t * angle).sin()[:, None] * b) / angle.sin()


def generated(experiment: Experiment, noise: Tensor) -> Tensor:
    """Fakes `(V, n, ...)` of every member in the data's own units, in full float32, from noise `(n, m)`."""
    restore = experiment.data.restore
    parts = noise.split(max(1, CHUNK // experiment.data.dim))
    with experiment.exact():
        return torch.cat([restore(experiment.generate(part).cpu().float()) for part in parts], dim=1)


def embedding(experiment: Experiment, member: int) -> Callable[[Tensor], Tensor]:
    """The metric of one member in full float32: data points in their own units, `(n, ...)` to `(n, k)`."""

    def embed(points: Tensor) -> Tensor:
        with experiment.exact():
            return experiment.embed(experiment.data.standardise(points.cpu().float()))[member]

    return embed
