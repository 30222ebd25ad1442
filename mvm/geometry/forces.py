"""Forces: the step of each fake point that lowers each descriptor's gap fastest.

    force_k(x_j) = −∂ gap_k(g_w(R), g_w(F)) / ∂x_j        R: real points, F = {x_j}: fake points, g_w fixed

The generator's gradient is the weighted sum of these forces over k, pulled back to its weights. Forces of gaps between
means, `centroid` and the diameters, shrink as 1/n; the force of `hausdorff` acts on a single point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mvm.geometry.descriptors import DESCRIPTORS

__all__ = ["forces"]


def forces(real: Tensor, fake: Tensor, *, embed: Callable[[Tensor], Tensor], terms: Iterable[str]) -> dict[str, Tensor]:
    """Negative gradient of each gap at each fake point, unweighted.

    Args:
        real: standardised points `(m, D)`.
        fake: standardised points `(n, D)`; `distance_matrix` pairs rows and needs n = m.
        embed: g_w of one member, `(B, D)` to `(B, k)`, differentiable (`Experiment.embed` is not).
        terms: names in `DESCRIPTORS`.

    Returns:
        `(n, D)` for each term: decrease of the gap per unit step of a point. Zero, never NaN, where all fakes coincide
        and the gap has no slope.

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
