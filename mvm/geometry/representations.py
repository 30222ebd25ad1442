"""What a metric makes of the points, whatever the coordinates of its embedding.

effective rank      exp of the Shannon entropy of the singular values' shares           (Roy & Vetterli, 2007)
nuclear norm        sum of the singular values of the centred embeddings, over √n
relative            cosines of each embedding with those of some anchors: equal for two metrics that differ by a
                    rotation and a scale                                              (Moschella et al., ICLR 2023)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["effective_rank", "nuclear_norm", "relative", "similarity"]


def effective_rank(embeddings: Tensor) -> float:
    """Effective rank of embeddings `(n, k)`, between 1 and k; 0 if all coincide."""
    values = _singular_values(embeddings)
    total = values.sum()
    if total == 0:
        return 0.0
    share = values[values > 0] / total
    return float((-(share * share.log()).sum()).exp())


def nuclear_norm(embeddings: Tensor) -> float:
    """Nuclear norm of centred embeddings `(n, k)` over √n: the sum of the standard deviations along principal axes."""
    return float(_singular_values(embeddings).sum() / len(embeddings) ** 0.5)


def relative(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """Cosines of embeddings `(n, k)` with anchors `(a, k)`, both centred at the anchors' mean: `(n, a)`."""
    centre = anchors.double().mean(0)
    return F.normalize(embeddings.double() - centre, dim=-1) @ F.normalize(anchors.double() - centre, dim=-1).mT


def similarity(first: Tensor, second: Tensor, *, anchors: int) -> float:
    """Mean cosine between the relative representations of the same points by two metrics, `(n, k)` and `(n, l)`.

    Args:
        first, second: embeddings; 1 if the metrics agree up to a rotation and a scale.
        anchors: the first points serve as anchors.
    """
    one, other = (relative(e[anchors:], e[:anchors]) for e in (first, second))
    return float(F.cosine_similarity(one, other, dim=-1).mean())


def _singular_values(embeddings: Tensor) -> Tensor:
    e = embeddings.double()
    values: Tensor = torch.linalg.svdvals(e - e.mean(0))
    return values
