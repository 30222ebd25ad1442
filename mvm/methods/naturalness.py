"""Naturalness: a discriminator of natural pictures that is trained on fakes made from real ones (NatSR).

    noisy       x + σ n,            n: Gaussian noise in the high frequencies of the DCT of 8 x 8 blocks
    blurred     α x + (1 − α) b,    b: the bicubic enlargement of x's LR patch
    NMD         mean over a batch of −log p(real) or −log(1 − p(fake)),    p: logistic function of the NMD's logit
    generator   −E log p(f_θ(y))

Half of a batch are real patches, a quarter noisy and a quarter blurred ones.
Both kinds of fakes get more natural in training: after k updates of the annealing, σ = 0.1 · 0.8ᵏ, and α goes evenly
from 0.5 to 0.9. High frequencies are those that the LR picture cannot hold: from 2 of 8 along either axis. Blocks,
frequencies and the number of updates (`ANNEALINGS`) are a reading: the paper's annealing waits for an accuracy, which a
captured step cannot read. Fakes are clipped to [0, 1], so that their range does not give them away.

All functions take and return flat points: HR patches `(V, B, D)` with D = 3 · side², in the order row, column, colour.

Source: Soh et al., Natural and Realistic Single Image Super-Resolution with Explicit Natural Manifold Discrimination,
CVPR 2019.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mvm.imaging.resize import SCALE
from mvm.networks.upsampling import bicubic

__all__ = [
    "ANNEALINGS",
    "Annealing",
    "Graded",
    "anneal",
    "block_noise",
    "dct_matrix",
    "enlarge",
    "graded_batch",
    "naturalness_loss",
    "nmd_loss",
    "noisy_rows",
]

BLOCK = 8  # pixels
ANNEALINGS = 14  # updates of the fakes' strength


class Annealing(NamedTuple):
    """Strength of the fakes: σ of the noise, and α, the share of the real patch in a blurred one; scalars."""

    sigma: Tensor
    alpha: Tensor


class Graded(NamedTuple):
    """A batch for the NMD: points `(V, B, D)`, and labels `(B,)`, 1 for natural and 0 for made."""

    points: Tensor
    natural: Tensor


def anneal(step: Tensor, every: int) -> Annealing:
    """Strength of the fakes at a step.

    Args:
        step: number of the step, a scalar on the device.
        every: steps from one update of the annealing to the next.
    """
    k = torch.div(step, every, rounding_mode="floor").clamp(max=ANNEALINGS)
    return Annealing(sigma=0.1 * 0.8**k, alpha=0.5 + 0.4 * k / ANNEALINGS)


def noisy_rows(batch: int) -> int:
    """Number of noisy patches in a batch, a quarter; as many are blurred."""
    return batch // 4


def graded_batch(high: Tensor, low: Tensor, noise: Tensor, strength: Annealing) -> Graded:
    """Replace the last half of a real batch by fakes, first noisy, then blurred ones.

    Args:
        high: HR patches `(V, B, D)`, their side a multiple of 8.
        low: their LR patches `(V, B, D/16)`.
        noise: standard Gaussian numbers `(V, noisy_rows(B), D)`.
        strength: of the fakes.
    """
    q = noisy_rows(high.shape[1])
    clean, to_noise, to_blur = high.split([high.shape[1] - 2 * q, q, q], dim=1)
    noisy = to_noise + strength.sigma * block_noise(noise)
    blurred = torch.lerp(enlarge(low[:, high.shape[1] - q :]), to_blur, strength.alpha)
    natural = torch.ones(high.shape[1], dtype=high.dtype, device=high.device)
    natural[high.shape[1] - 2 * q :] = 0
    return Graded(torch.cat([clean, noisy.clamp(0, 1), blurred.clamp(0, 1)], dim=1), natural)


def nmd_loss(logits: Tensor, natural: Tensor) -> Tensor:
    """Binary cross-entropy of the NMD's logits `(V, B)` with labels `(B,)`: `(V,)`."""
    return (softplus(logits) - natural * logits).mean(-1)


def naturalness_loss(logits: Tensor) -> Tensor:
    """−E log p of the NMD's logits `(V, B)` on upscaled patches: `(V,)`."""
    return softplus(-logits).mean(-1)


def block_noise(noise: Tensor) -> Tensor:
    """Filter noise to the high frequencies of the DCT of 8 x 8 blocks.

    Args:
        noise: coefficients `(..., D)`, in the order row, column, colour; the side is a multiple of 8.

    Returns:
        Cᵀ (M ∘ n) C of every block n, `(..., D)`; M is 0 where both frequencies are below 2, else 1.
    """
    side = _side(noise)
    c = dct_matrix(noise.device, noise.dtype)
    blocks = noise.unflatten(-1, (side // BLOCK, BLOCK, side // BLOCK, BLOCK, 3))
    low = BLOCK // SCALE
    high = blocks.clone()
    high[..., :low, :, :low, :] = 0
    return torch.einsum("...aubvk,ui,vj->...aibjk", high, c, c).flatten(-5)


@lru_cache(maxsize=8)
def dct_matrix(device: torch.device, dtype: torch.dtype) -> Tensor:
    """C of the orthonormal DCT-II of 8 numbers, x ↦ C x: `(8, 8)`, a row for each frequency."""
    with torch.inference_mode(False):  # a tensor made in inference mode could not take part in training later
        place = torch.arange(BLOCK, dtype=dtype, device=device)
        c = (math.pi / BLOCK * (place + 0.5) * place[:, None]).cos() * math.sqrt(2 / BLOCK)
        c[0] /= math.sqrt(2)
        return c


def enlarge(low: Tensor) -> Tensor:
    """Bicubic enlargement of flat LR patches `(V, B, D/16)` to `(V, B, D)`."""
    side = _side(low)
    pictures = low.flatten(0, 1).unflatten(-1, (side, side, 3)).permute(0, 3, 1, 2)
    return bicubic(pictures).permute(0, 2, 3, 1).reshape(*low.shape[:2], -1)


def _side(points: Tensor) -> int:
    """Height and width of flat square patches in pixels."""
    return math.isqrt(points.shape[-1] // 3)
