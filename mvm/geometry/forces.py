"""Forces: where each descriptor would move each fake point, if the points were free.

    force_k(x_j) = −∂ gap_k(g_w(R), g_w(F)) / ∂x_j        R: real points, F = {x_j}: fake ones, g_w held

The generator's step is the sum of these over k, weighted, pulled back to its weights. A gap is of a mean or a maximum:
the forces of `centroid` and the diameters shrink as 1/n, that of `hausdorff` rests on a single point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mvm.geometry.descriptors import DESCRIPTORS

__all__ = ["forces"]


def forces(real: Tensor, fake: Tensor, *, embed: Callable[[Tensor], Tensor], terms: Iterable[str]) -> dict[str, Tensor]:
    """The negative gradient of each gap at each fake point, unweighted.

    Args:
        real: points `(m, D)` as g_w takes them: standardised.
        fake: points `(n, D)`; `distance_matrix` pairs rows and needs n = m.
        embed: g_w of one member, `(B, D)` to `(B, k)`; differentiable, as `Experiment.embed` is not.
        terms: names in `DESCRIPTORS`.

    Returns:
        `(n, D)` for each term: fall of the gap for a unit step of that one point. Zero, never NaN, where the fakes have
        shrunk to one point and the gap has no slope.

    Raises:
        ValueError: an unknown term.
    """
    terms = list(terms)
    for name in terms:
        if name not in DESCRIPTORS:
            raise ValueError(f"unknown descriptor {name!r}: choose from {', '.join(DESCRIPTORS)}")
    with torch.no_grad():
        target = embed(real)
    with torch.inference_mode(False), torch.enable_grad():
        points = fake.detach().clone().requires_grad_()
        embedding = embed(points)
        gaps = [DESCRIPTORS[name].gap(target.clone(), embedding) for name in terms]
        gradients = [torch.autograd.grad(gap, points, retain_graph=True)[0] for gap in gaps]
    return {name: -gradient for name, gradient in zip(terms, gradients, strict=True)}
