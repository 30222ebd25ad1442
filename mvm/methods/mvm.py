"""MvM: match shape descriptors under a learned metric (Dai & Hang, ICCV 2021, Algorithm 1).

    generator   L_MM  = Σ_k λ_k gap_k(g_w(R), g_w(f_θ(z)))                        (Eq. 1: centroid and 2-diameter)
    metric      L_apn = E relu(d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a))      (Eq. 2)
              + ρ E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)²     u ~ N(0, I), x between an anchor and a negative

Each player has an objective of its own; there is no value function they share. The last line is this lab's:
E_u ‖∇⟨u, g⟩‖² is the squared Frobenius norm of g_w's Jacobian, so it bounds the metric's slope, without which the two
players never settle. ρ = 0 is the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvm.config import Config, descriptors_of
from mvm.descriptors import DESCRIPTORS
from mvm.methods.base import Draws, Loss
from mvm.metric_losses import metric_loss

__all__ = ["MvM"]


class MvM:
    """The method's three verbs over V variants.

    Args:
        config: variants, weights and `mvm` settings are read.
        generator: f_θ, noise `(V, B, m)` to data `(V, B, D)`.
        metric: g_w, data `(V, B, D)` to embeddings `(V, B, n)`.
    """

    def __init__(self, config: Config, generator: nn.Module, metric: nn.Module) -> None:
        self.generator, self.metric, self.batch = generator, metric, config.batch
        self.settings = config.mvm
        self.metric_loss = metric_loss(config.mvm.metric_loss, config.mvm.miner)
        used = {name for variant in config.variants for name in descriptors_of(variant)}
        self.terms = [name for name in DESCRIPTORS if name in used]
        self.weights = torch.zeros(len(config.members), len(self.terms))
        self.reweight(config)

    def reweight(self, config: Config) -> None:
        """Take the descriptor weights of `config`, in place: a running training feels it at its next step."""
        for row, (variant, _) in enumerate(config.members):
            names = descriptors_of(variant)
            for column, term in enumerate(self.terms):
                self.weights[row, column] = getattr(config.weights, term) if term in names else 0.0

    def generator_loss(self, draws: Draws) -> Loss:
        """L_MM of fresh fakes against a fresh real batch; its terms are the unweighted gaps."""
        self.real = draws.real(self.batch)
        self.embedded = self.metric(self.real)
        fake = self.metric(self.generator(draws.noise(self.batch)))
        return self._manifold_matching(self.embedded.detach(), fake)

    def critic_loss(self, draws: Draws) -> Loss:
        """L_apn on real anchors and positives, with negatives made by the updated generator."""
        s = self.settings
        with torch.no_grad():
            negative = self.generator(draws.noise(self.batch))
        if s.fresh_batches or s.metric_loss.startswith("pml:"):  # those pair every anchor with every positive
            anchor, positive = draws.real(self.batch), draws.real(self.batch)
            a, p, n = self.metric(torch.cat([anchor, positive, negative], dim=-2)).split(self.batch, dim=-2)
        else:
            anchor, a, n = self.real, self.embedded, self.metric(negative)
            p = a.roll(1, dims=-2)  # the batch is independent draws: each point's neighbour is a random positive
        terms = {"triplet": self.metric_loss(a, p, n, alpha=s.alpha, gamma=s.gamma, summed=s.summed_cosines)}
        total = terms["triplet"]
        if s.lipschitz:
            terms["slope"] = self._slope_excess(anchor, negative, draws)
            total = total + s.lipschitz * terms["slope"]
        if s.cooperative:
            total = total + self._manifold_matching(a, n).total
        return Loss(total, terms)

    def constrain(self) -> None:
        """Nothing to project: the slope is bounded by a penalty."""

    def _manifold_matching(self, real: Tensor, fake: Tensor) -> Loss:
        gaps = {name: DESCRIPTORS[name].gap(real, fake) for name in self.terms}
        return Loss((torch.stack(list(gaps.values()), dim=-1) * self.weights).sum(-1), gaps)

    def _slope_excess(self, anchor: Tensor, negative: Tensor, draws: Draws) -> Tensor:
        """E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)² per variant, x uniform on the segment from a real to a fake point."""
        n = max(1, int(self.batch * self.settings.lipschitz_share))
        x = torch.lerp(anchor[:, :n], negative[:, :n], draws.uniform(n, 1)).requires_grad_()
        e = self.metric(x)
        u = draws.normal(n, e.shape[-1])
        (slope,) = torch.autograd.grad((e * u).sum(), x, create_graph=True)
        return (slope.square().sum(-1) + 1e-12).sqrt().sub(1).relu().square().mean(-1)
