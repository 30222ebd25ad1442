"""Losses of the metric network (paper, section 3.3).

For embeddings of anchors a, positives p (both real in the paper) and negatives n (fake), and the Euclidean distance d:

    triplet             L_tri = relu(d²(a, p) − d²(a, n) + α)                                   (Def. 3.5)
    direction_triplet   L_apn = relu(d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a))              (Eq. 2)
    softplus_triplet    softplus(d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a))      (published StyleGAN2 variant)

Every loss takes anchors, positives and negatives, `(..., B, n)` each, and returns the mean over triplets per variant,
`(...)`. In the paper, triplet i is (a_i, p_i, n_i). With groups of k points, each anchor forms a triplet with each of
the k pairs (p_j, n_j) of its group: the same embeddings give k times the triplets, and a mean with less variance.
`pml:NAME` is any loss of pytorch-metric-learning, with any of its miners.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["METRIC_LOSSES", "PytorchMetricLearningLoss", "metric_loss"]


def _violation(
    a: Tensor,
    p: Tensor,
    n: Tensor,
    *,
    alpha: float | Tensor,
    gamma: float | Tensor = 0.0,
    summed: bool = False,
    group: int = 1,
) -> Tensor:
    """d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a), per triplet: `(..., triplets)`.

    α and γ may be tensors: 0-dim, or of the leading dimensions.
    """
    alpha, gamma = (value[..., None] if isinstance(value, Tensor) and value.ndim else value for value in (alpha, gamma))
    if group == 1:
        violation = (a - p).square().sum(-1) - (a - n).square().sum(-1) + alpha
    else:
        a, p, n = (_grouped(e, group) for e in (a, p, n))
        shift = alpha[..., None] if isinstance(alpha, Tensor) and alpha.ndim else alpha
        per_pair = p.square().sum(-1) - n.square().sum(-1) + shift  # |a|² cancels: all triplets are one matrix product
        violation = (per_pair.unsqueeze(-2) - 2 * a @ (p - n).mT).flatten(-3)
        a, p, n = a.unsqueeze(-2), p.unsqueeze(-3), n.unsqueeze(-3)
    if not isinstance(gamma, Tensor) and gamma == 0:
        return violation
    cosine = F.cosine_similarity(n - a, p - a, dim=-1, eps=1e-6).reshape(violation.shape)
    return violation - gamma * (cosine.sum(-1, keepdim=True) / group if summed else cosine)


def _grouped(embedded: Tensor, size: int) -> Tensor:
    """Split `(..., B, n)` into groups `(..., B // size, size, n)`; drops the remainder."""
    count = embedded.shape[-2] // size
    groups: Tensor = embedded[..., : count * size, :].unflatten(-2, (count, size))
    return groups


def triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, alpha: float | Tensor, group: int = 1, **_: object
) -> Tensor:
    """Hinge triplet loss (Def. 3.5); arguments and result as in `direction_triplet`, with γ = 0."""
    return _violation(anchor, positive, negative, alpha=alpha, group=group).relu().mean(-1)


def direction_triplet(anchor: Tensor, positive: Tensor, negative: Tensor, **settings: Any) -> Tensor:
    """Direction-regularised hinge triplet loss (Eq. 2).

    Args:
        anchor, positive, negative: embeddings `(..., B, n)`.
        alpha: margin α in squared embedding units.
        gamma: direction weight γ.
        summed: replace each triplet's cosine by the batch's sum, as in the published code (effective γ is γ·B).
        group: k, group size: each anchor forms k triplets; 1 is one triplet per point (the paper).

    Returns:
        Mean over triplets per variant, `(...)`.
    """
    return _violation(anchor, positive, negative, **settings).relu().mean(-1)


def softplus_triplet(anchor: Tensor, positive: Tensor, negative: Tensor, **settings: Any) -> Tensor:
    """Smooth form of `direction_triplet`, which is never zero, so that every triplet has a gradient.

    The published StyleGAN2 variant uses it with margin 3, γ = 0.1 and unit-length embeddings. Arguments and result
    as in `direction_triplet`.
    """
    return F.softplus(_violation(anchor, positive, negative, **settings)).mean(-1)


UNREPEATABLE = {  # classes whose results a resumed run could not repeat, with the reason
    "DistanceWeightedMiner": "draws from torch's global generator",
    "UniformHistogramMiner": "draws from numpy's global generator",
    "DynamicSoftMarginLoss": "keeps a histogram that no checkpoint holds",
}


class PytorchMetricLearningLoss:
    """Any loss (and miner) of pytorch-metric-learning as a metric loss.

    Anchors and positives have label 0, negatives label 1; negatives are never anchors. The library has no variant axis,
    so variants are computed one after another.

    Args:
        loss: class name in `pytorch_metric_learning.losses`, such as "TripletMarginLoss".
        miner: class name in `pytorch_metric_learning.miners`; None lets the loss use all tuples.

    Raises:
        ValueError: the class is unknown, needs settings or class proxies, is in `UNREPEATABLE`, or does not accept
            reference points.
    """

    def __init__(self, loss: str, miner: str | None = None) -> None:
        from pytorch_metric_learning import losses, miners

        self.loss = self._make(losses, loss, "loss")
        self._check_references(self._make(losses, loss, "loss"), loss)
        self.miner = self._make(miners, miner, "miner") if miner else None

    @staticmethod
    def _make(module: object, name: str, kind: str) -> Callable[..., Any]:
        """Instantiate a class of the library with its default settings."""
        if name in UNREPEATABLE:
            raise ValueError(f"metric loss: {name} {UNREPEATABLE[name]}, so a run could not be repeated; take another")
        known = sorted(n for n in vars(module) if n.endswith(("Loss", "Miner")) and not n.startswith("Base"))
        if name not in known:
            raise ValueError(f"metric loss: no {kind} {name!r} in pytorch-metric-learning; known: {', '.join(known)}")
        try:
            made: Callable[..., Any] = getattr(module, name)()
        except (TypeError, KeyError) as error:
            raise ValueError(f"metric loss: pytorch-metric-learning's {name} needs settings ({error})") from None
        return made

    @staticmethod
    def _check_references(loss: Callable[..., Any], name: str) -> None:
        """Reject losses that compare a batch only with itself, before the first step."""
        points, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
        try:
            loss(points[:2], labels[:2], ref_emb=points, ref_labels=labels)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"metric loss: pytorch-metric-learning's {name} cannot compare anchors with other points ({error})"
            ) from None

    def __call__(self, anchor: Tensor, positive: Tensor, negative: Tensor, **_: object) -> Tensor:
        """Arguments and result as in `direction_triplet`; α, γ and group are ignored for the loss's own settings."""
        leading = anchor.shape[:-2]
        flat = [e.reshape(-1, *e.shape[-2:]) for e in (anchor, positive, negative)]
        return torch.stack([self._variant(*variant) for variant in zip(*flat, strict=True)]).reshape(leading)

    def _variant(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Loss of a single variant from embeddings `(B, n)`, 0-dim."""
        anchor_labels = torch.zeros(len(anchor), dtype=torch.long, device=anchor.device)
        reference = torch.cat([positive, negative])
        labels = torch.cat([anchor_labels, torch.ones_like(anchor_labels)])
        tuples = self.miner(anchor, anchor_labels, reference, labels) if self.miner else None
        loss: Tensor = self.loss(anchor, anchor_labels, tuples, ref_emb=reference, ref_labels=labels)
        return loss


METRIC_LOSSES: dict[str, Callable[..., Tensor]] = {
    "direction_triplet": direction_triplet,
    "triplet": triplet,
    "softplus_triplet": softplus_triplet,
}


def metric_loss(name: str, miner: str | None = None) -> Callable[..., Tensor]:
    """Find a metric loss by name: an entry of `METRIC_LOSSES`, or `pml:NAME` from pytorch-metric-learning.

    Args:
        name: key of `METRIC_LOSSES`, or "pml:" and a class name.
        miner: class name of a pytorch-metric-learning miner; only with "pml:".

    Raises:
        ValueError: the name is unknown, or the miner is given without a "pml:" loss.
    """
    if name.startswith("pml:"):
        return PytorchMetricLearningLoss(name.removeprefix("pml:"), miner)
    if name not in METRIC_LOSSES:
        raise ValueError(f"metric loss: unknown {name!r}; known: {', '.join(METRIC_LOSSES)}, pml:NAME")
    if miner:
        raise ValueError(
            f"metric loss: miner {miner!r} needs a loss of pytorch-metric-learning (pml:NAME), not {name!r}"
        )
    return METRIC_LOSSES[name]
