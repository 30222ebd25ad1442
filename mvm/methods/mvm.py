"""MvM: match shape descriptors under a learned metric (Dai & Hang, ICCV 2021, Algorithm 1).

    generator   L_MM  = Σ_k λ_k gap_k(g_w(R), g_w(f_θ(z)))                        (Eq. 1: centroid and 2-diameter)
    metric      L_apn = E relu(d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a))      (Eq. 2)
              + ρ E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)²     u ~ N(0, I), x between an anchor and a negative

Each player has an objective of its own; there is no value function they share. In the paper anchors a and positives p
are real and negatives n fake; this lab's recipe turns them round: with real anchors the metric looks for features in
which fakes spread wider than reals, and is blind to what they leave out (docs/method.md). The last line is this lab's:
E_u ‖∇⟨u, g⟩‖² is the squared Frobenius norm of g_w's Jacobian, so it bounds the metric's slope, without which the two
players never settle. ρ = 0 is the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from mvm.geometry.descriptors import DESCRIPTORS, matched, weight_table
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, squared_slope
from mvm.methods.metric_losses import metric_loss
from mvm.settings import Settings

__all__ = ["MvM", "MvMSettings"]

TOY_RATES = {"generator_lr": 1e-3, "metric_lr": 1e-3}  # the paper gives 1e-4, for images and far more steps


class MvMSettings(Settings):
    """How the metric is learned, and how it is kept tame."""

    metric_loss: str = Field(
        "direction_triplet",
        description="direction_triplet (Eq. 2), triplet, softplus_triplet, or pml:NAME from pytorch-metric-learning",
    )
    miner: str | None = Field(None, description="a miner of pytorch-metric-learning; with pml: losses only")
    anchors: Literal["real", "fake"] = Field(
        "real",
        description="whose points are the triplets' anchors and positives; the other side's are the negatives "
        "(the paper: real)",
    )
    pairs: int = Field(
        1,
        ge=1,
        le=4096,
        description="pairs of a positive and a negative that each anchor meets, in groups of as many points (half the "
        "batch at most); 1 is one triplet a point (the paper)",
    )
    alpha: float = Field(1.0, ge=0, le=100, description="α: margin of the triplet loss")
    gamma: float = Field(0.0, ge=0, le=10, description="γ: weight of the direction regulariser (the paper: 0.01)")
    summed_cosines: bool = Field(False, description="sum the cosines over the batch, as the published code does")
    lipschitz: float = Field(
        1.0, ge=0, le=100, description="weight of the penalty on the metric's slope beyond 1; 0 is none (the paper)"
    )
    lipschitz_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="share of the batch on which the slope is measured: it costs a double backward",
    )
    fresh_batches: bool = Field(
        False,
        description="draw anchors, positives and negatives anew, the fakes from the updated generator (Algorithm 1), "
        "instead of learning from the generator step's own batches and embeddings, which halves the work",
    )
    metric_steps: int = Field(
        1,
        ge=1,
        le=100,
        description="updates of the metric for each of the generator; the first alone learns from the generator step's "
        "own batches",
    )
    cooperative: bool = Field(
        False, description="the metric also descends L_MM, as in the published code (its gradients are not cleared)"
    )

    @field_validator("metric_loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        metric_loss(name)
        return name

    @field_validator("miner")
    @classmethod
    def _known_miner(cls, miner: str | None, info: ValidationInfo) -> str | None:
        if "metric_loss" in info.data:
            metric_loss(info.data["metric_loss"], miner)
        return miner


class MvM(Method):
    """Manifold matching: `config.variants`, `config.weights` and `config.mvm` are read."""

    title = "MvM"
    settings = MvMSettings
    matches_descriptors = True
    recipes: ClassVar = {
        "stabilised": {
            "mvm": {"anchors": "fake", "alpha": 0.03, "pairs": 64},
            "optimiser": {"generator_lr": 3.5e-3, "metric_lr": 2e-3, "decay_from": 0.2},
        },
        "paper": {
            "mvm": {"gamma": 0.01, "lipschitz": 0.0, "fresh_batches": True},
            "optimiser": TOY_RATES | {"decay_to": 1.0, "ema": 0.0},
        },
        "published": {
            "variants": ("centroid", "distance_matrix", "centroid+distance_matrix"),
            "mvm": {
                "gamma": 0.01,
                "lipschitz": 0.0,
                "fresh_batches": True,
                "summed_cosines": True,
                "cooperative": True,
            },
            "optimiser": TOY_RATES | {"decay_to": 1.0, "ema": 0.0, "generator_eps": 1e-6, "metric_eps": 1e-3},
        },
    }

    def __init__(
        self, config: Settings, generator: nn.Module, metric: nn.Module, streams: Sequence[torch.Generator] = ()
    ) -> None:
        super().__init__(config, generator, metric, streams)
        self.metric_loss = metric_loss(config.mvm.metric_loss, config.mvm.miner)
        # a loss of pytorch-metric-learning pairs every anchor with every positive: they must be two batches
        self.fresh = config.mvm.fresh_batches or config.mvm.metric_loss.startswith("pml:")
        # two groups at least: the other's anchors are one's positives, so that no point is its own positive
        self.group = self.batch // max(2, -(-self.batch // config.mvm.pairs))
        self.critic_steps = config.mvm.metric_steps
        self.terms = matched(config.variants)
        self.state["weights"] = weight_table([variant for variant, _ in config.members], dict(config.weights))

    @property
    def weights(self) -> Tensor:
        """Weight of each descriptor in each variant, `(V, terms)`."""
        return self.state["weights"]

    def reweight(self, config: Settings) -> None:
        """Take the descriptor weights of `config`, in place: a running training feels it at its next step."""
        self.weights.copy_(weight_table([variant for variant, _ in config.members], dict(config.weights)))

    def generator_loss(self, draws: Draws) -> Loss:
        """L_MM of fresh fakes against a fresh real batch; its terms are the unweighted gaps."""
        real, fake = draws.real(self.batch), self.generator(draws.noise(self.batch))
        embedded = self.metric(real), self.metric(fake)
        self.left = None if self.fresh else ((real, embedded[0]), (fake.detach(), embedded[1]))
        loss = self._manifold_matching(embedded[0].detach(), embedded[1])
        return Loss(loss.total, loss.terms, reused=not self.fresh)

    def critic_loss(self, draws: Draws) -> Loss:
        """L_apn on anchors and positives of one side and negatives of the other."""
        s = self.config.mvm
        on_fakes = s.anchors == "fake"
        if self.fresh:
            with torch.no_grad():
                fakes = [self.generator(draws.noise(self.batch)) for _ in range(1 + on_fakes)]
            reals = [draws.real(self.batch) for _ in range(2 - on_fakes)]
            points = fakes + reals if on_fakes else reals + fakes
            a, p, n = self.metric(torch.cat(points, dim=-2)).split(self.batch, dim=-2)
            anchor, _, negative = points
        else:
            sides, self.left = self.left or self._embedded(draws), None
            (anchor, a), (negative, n) = reversed(sides) if on_fakes else sides
            p = a.roll(self.group, dims=-2)  # the batch is independent draws: any other point is a random positive
        how = {"alpha": s.alpha, "gamma": s.gamma, "summed": s.summed_cosines, "group": self.group}
        terms = {"triplet": self.metric_loss(a, p, n, **how)}
        total = terms["triplet"]
        if s.lipschitz:
            terms["slope"] = self._slope_excess(anchor, negative, draws)
            total = total + s.lipschitz * terms["slope"]
        if s.cooperative:
            total = total + self._manifold_matching(*((n, a) if on_fakes else (a, n))).total
        return Loss(total, terms)

    def _embedded(self, draws: Draws) -> tuple[tuple[Tensor, Tensor], ...]:
        """A real and a fake batch, each with its embedding: what a generator step leaves, for a further update."""
        with torch.no_grad():
            sides = draws.real(self.batch), self.generator(draws.noise(self.batch))
        return tuple(zip(sides, self.metric(torch.cat(sides, dim=-2)).split(self.batch, dim=-2), strict=True))

    def _manifold_matching(self, real: Tensor, fake: Tensor) -> Loss:
        gaps = {name: DESCRIPTORS[name].gap(real, fake) for name in self.terms}
        return Loss((torch.stack(list(gaps.values()), dim=-1) * self.weights).sum(-1), gaps)

    def _slope_excess(self, anchor: Tensor, negative: Tensor, draws: Draws) -> Tensor:
        """E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)² per variant, x uniform on the segment from a real to a fake point."""
        n = max(1, int(self.batch * self.config.mvm.lipschitz_share))
        x = torch.lerp(anchor[:, :n], negative[:, :n], draws.uniform(n, 1))

        def along_random_direction(x: Tensor) -> Tensor:
            e = self.metric(x)
            return e * draws.normal(n, e.shape[-1])

        return (squared_slope(along_random_direction, x) + 1e-12).sqrt().sub(1).relu().square().mean(-1)
