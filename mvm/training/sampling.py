"""Samples and embeddings of a trained experiment, in the data's own units."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mvm.training.experiment import Experiment

__all__ = ["between", "embedding", "generated"]


CHUNK = 2**20  # values generated at a time, per member


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


def embedding(experiment: Experiment, member: int) -> Callable[[Tensor], Tensor]:
    """Metric of a member, in full float32: maps data points in their own units `(n, ...)` to embeddings `(n, k)`."""

    def embed(points: Tensor) -> Tensor:
        with experiment.exact():
            return experiment.embed(experiment.data.standardise(points.cpu()).float())[member]

    return embed
