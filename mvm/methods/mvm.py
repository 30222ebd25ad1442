"""MvM: match shape descriptors under a learned metric (Dai & Hang, ICCV 2021, Algorithm 1).

    generator   L_MM  = Σ_k λ_k gap_k(g_w(R), g_w(f_θ(z)))                        (Eq. 1: centroid and 2-diameter)
    on pairs    L_img + λ₂ L_pair + λ₃ L_MM                 (Eq. 3: `mvm.methods.superres`)
    metric      L_apn = E relu(d²(a, p) − d²(a, n) + α − γ cos(n − a, p − a))      (Eq. 2)
              + ρ E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)²     u ~ N(0, I), x between an anchor and a negative

Each player has its own objective; they share no value function. In the paper, anchors a and positives p are real and
negatives n are fake. This lab's recipe swaps the sides: with real anchors, the metric looks for features in which fakes
spread wider than reals, and misses dropped modes (docs/method.md). The last line, a slope penalty, is this lab's, too
(ρ = 0 in the paper): E_u ‖∇⟨u, g⟩‖² is the squared Frobenius norm of g_w's Jacobian, so the penalty bounds the metric's
slope. Without it the two players do not settle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from mvm.geometry.descriptors import DESCRIPTORS, matched, weight_table
from mvm.methods.draws import Draws
from mvm.methods.method import PAIRED_KINDS, Loss, Method, Task, Update, squared_slope
from mvm.methods.metric_losses import metric_loss
from mvm.methods.pairs import PAIR_BETAS
from mvm.settings import Settings

__all__ = ["MvM", "MvMSettings"]

IMAGE_RATES = {"generator_lr": 1e-4, "metric_lr": 1e-4}  # of the paper
TOY_RATES = {"generator_lr": 1e-3, "metric_lr": 1e-3}  # the paper gives rates only for images: 1e-4 over far more steps


class MvMSettings(Settings):
    """MvM: loss, triplets and slope penalty of the metric."""

    metric_loss: str = Field(
        "direction_triplet",
        description="direction_triplet (Eq. 2), triplet, softplus_triplet, or pml:NAME from pytorch-metric-learning",
    )
    miner: str | None = Field(None, description="a miner of pytorch-metric-learning; with pml: losses only")
    anchors: Literal["real", "fake"] = Field(
        "real",
        description="side of the triplets' anchors and positives; negatives are from the other side (the paper: real)",
    )
    pairs: int = Field(
        1,
        ge=1,
        le=4096,
        description="(positive, negative) pairs per anchor, within groups of this size (at most half the batch); 1 is "
        "one triplet per point (the paper)",
    )
    alpha: float = Field(1.0, ge=0, le=100, description="α: margin of the triplet loss")
    gamma: float = Field(0.0, ge=0, le=10, description="γ: weight of the direction regulariser (the paper: 0.01)")
    summed_cosines: bool = Field(
        False, description="sum the direction regulariser over the batch instead of averaging, as the published code"
    )
    lipschitz: float = Field(
        1.0,
        ge=0,
        le=100,
        description="weight of the penalty on slopes of the metric network above 1; 0 disables it (the paper)",
    )
    lipschitz_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="fraction of the batch for the slope penalty, which costs a double backward pass",
    )
    fresh_batches: bool = Field(
        False,
        description="draw new batches for the metric's update, with fakes of the updated generator (Algorithm 1); when "
        "off, the metric reuses the batches and embeddings of the generator's update, which halves the work",
    )
    metric_steps: int = Field(
        1,
        ge=1,
        le=100,
        description="metric updates per generator update; only the first can reuse the batches of the generator's "
        "update",
    )
    cooperative: bool = Field(
        False,
        description="the metric also descends the generator's loss L_MM, as the published code, which keeps gradients",
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


class Side(NamedTuple):
    """Real or fake points `(V, B, D)`, and their embeddings `(V, B, n)`."""

    points: Tensor
    embeddings: Tensor


class MvM(Method[MvMSettings]):
    """Manifold matching; a variant is a set of descriptors."""

    title = "MvM"
    settings_type = MvMSettings
    matches_descriptors = True
    paired_kinds = PAIRED_KINDS
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
    kind_recipes: ClassVar = {
        "images": {  # a single variant, as steps are slow; with a single metric update, fakes lack diversity
            "stabilised": {"variants": ("both",), "mvm": {"alpha": 0.1, "pairs": 1, "metric_steps": 3}},
            "paper": {"variants": ("both",), "optimiser": IMAGE_RATES},
            "published": {"variants": ("centroid+distance_matrix",), "optimiser": IMAGE_RATES},
        },
        "superres": {
            "stabilised": {"variants": ("both",), "optimiser": PAIR_BETAS},
            "paper": {"variants": ("both",), "optimiser": IMAGE_RATES | PAIR_BETAS},
            "published": {"variants": ("centroid+distance_matrix",), "optimiser": IMAGE_RATES | PAIR_BETAS},
        },
    }

    def __init__(self, settings: MvMSettings, task: Task) -> None:
        super().__init__(settings, task)
        self.metric_loss = metric_loss(settings.metric_loss, settings.miner)
        # losses of pytorch-metric-learning pair every anchor with every positive, which needs separate batches
        self.fresh = settings.fresh_batches or settings.metric_loss.startswith("pml:")
        # at least two groups: a group's positives are the anchors of another group, so no point is its own positive
        self.group = self.batch // max(2, -(-self.batch // settings.pairs))
        self.descriptors = matched(dict.fromkeys(variant for variant, _ in task.members))
        self.state["weights"] = self._weight_table(task.weights)

    @property
    def host_work(self) -> str:
        """Losses of pytorch-metric-learning select triplets by value."""
        return "triplets of pytorch-metric-learning" if self.settings.metric_loss.startswith("pml:") else ""

    @classmethod
    def movable(cls, settings: MvMSettings) -> tuple[str, ...]:
        """α, γ and the weight of the slope penalty; losses of pytorch-metric-learning have neither α nor γ."""
        if settings.metric_loss.startswith("pml:"):
            return ("lipschitz",)
        return ("alpha", *["gamma"] * (settings.metric_loss != "triplet"), "lipschitz")

    def phase(self, step: int) -> str:
        """Parts of the metric's loss that are computed: one of weight 0 is left out."""
        parts = [name for name in ("gamma", "lipschitz") if self.acts(name)]
        return " ".join(filter(None, [super().phase(step), *parts]))

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Take new descriptor weights from the next step on."""
        self.state["weights"].copy_(self._weight_table(weights))

    def _weight_table(self, weights: Mapping[str, float]) -> Tensor:
        """λ of each matched descriptor in each variant, `(V, descriptors)`; 0 if the variant does not match it."""
        return weight_table([variant for variant, _ in self.task.members], dict(weights))

    def updates(self, draws: Draws) -> Iterator[Update]:
        """One update of the generator, then `metric_steps` updates of the metric (Algorithm 1)."""
        loss, sides = self._generator_loss(draws.real(self.batch), draws.noise(self.batch))
        yield "generator", loss
        yield from self._metric_updates(sides, draws)

    def _metric_updates(self, sides: tuple[Side, Side], draws: Draws) -> Iterator[Update]:
        """`metric_steps` updates of the metric; only the first can reuse the sides of the generator's update."""
        for update in range(self.settings.metric_steps):
            if self.fresh:
                yield "metric", self._fresh_triplet_loss(draws)
            else:
                yield "metric", self._triplet_loss(*(self._sides(draws) if update else sides), draws)

    def _generator_loss(self, real: Tensor, noise: Tensor) -> tuple[Loss, tuple[Side, Side]]:
        """L_MM of a real batch `(V, B, D)` and fakes of noise `(V, B, m)`; also both sides, for the metric's loss."""
        fake = self.networks["generator"](noise)
        sides = Side(real, self.networks["metric"](real)), Side(fake.detach(), self.networks["metric"](fake))
        matching = self._matching(sides[0].embeddings.detach(), sides[1].embeddings)
        return Loss(matching.total, matching.terms, reused=not self.fresh), sides

    def _inputs(self, draws: Draws) -> Tensor:
        """Draw generator inputs, `(V, B, m)`."""
        return draws.noise(self.batch)

    def _sides(self, draws: Draws) -> tuple[Side, Side]:
        """Draw a real and a fake batch and embed both, for a further update of the metric."""
        with torch.no_grad():
            sides = draws.real(self.batch), self.networks["generator"](self._inputs(draws))
        real, fake = self.networks["metric"](torch.cat(sides, dim=-2)).split(self.batch, dim=-2)
        return Side(sides[0], real), Side(sides[1], fake)

    def _triplet_loss(self, real: Side, fake: Side, draws: Draws) -> Loss:
        """L_apn on the points of two sides; positives are the anchors, shifted by one group."""
        anchor, negative = (fake, real) if self.settings.anchors == "fake" else (real, fake)
        positive = Side(anchor.points, anchor.embeddings.roll(self.group, dims=-2))
        return self._metric_loss(anchor, positive, negative, draws)

    def _fresh_triplet_loss(self, draws: Draws) -> Loss:
        """L_apn on three new batches (Algorithm 1)."""
        on_fakes = self.settings.anchors == "fake"
        with torch.no_grad():
            fakes = [self.networks["generator"](self._inputs(draws)) for _ in range(1 + on_fakes)]
        reals = [draws.real(self.batch) for _ in range(2 - on_fakes)]
        points = fakes + reals if on_fakes else reals + fakes
        embeddings = self.networks["metric"](torch.cat(points, dim=-2)).split(self.batch, dim=-2)
        anchor, positive, negative = map(Side, points, embeddings)
        return self._metric_loss(anchor, positive, negative, draws)

    def _metric_loss(self, anchor: Side, positive: Side, negative: Side, draws: Draws) -> Loss:
        """L_apn with the slope penalty, and with L_MM if `cooperative`."""
        s, now = self.settings, self.coefficients
        embeddings = anchor.embeddings, positive.embeddings, negative.embeddings
        margin = {"alpha": now.get("alpha", s.alpha), "gamma": now["gamma"] if self.acts("gamma") else 0.0}
        terms = {"triplet": self.metric_loss(*embeddings, **margin, summed=s.summed_cosines, group=self.group)}
        total = terms["triplet"]
        if self.acts("lipschitz"):
            terms["slope"] = self._slope_excess(anchor.points, negative.points, draws)
            total = total + now["lipschitz"] * terms["slope"]
        if s.cooperative:
            real, fake = (negative, anchor) if s.anchors == "fake" else (anchor, negative)
            total = total + self._matching(real.embeddings, fake.embeddings).total
        return Loss(total, terms)

    def _matching(self, real: Tensor, fake: Tensor) -> Loss:
        """L_MM of embeddings `(V, B, n)`, with the unweighted gaps as terms."""
        gaps = {name: DESCRIPTORS[name].gap(real, fake) for name in self.descriptors}
        return Loss((torch.stack(list(gaps.values()), dim=-1) * self.state["weights"]).sum(-1), gaps)

    def _slope_excess(self, anchor: Tensor, negative: Tensor, draws: Draws) -> Tensor:
        """E relu(‖∇_x ⟨u, g_w(x)⟩‖ − 1)², `(V,)`, with x uniform on the segment between an anchor and a negative."""
        n = max(1, int(self.batch * self.settings.lipschitz_share))
        x = torch.lerp(anchor[:, :n], negative[:, :n], draws.uniform(n, 1))

        def along_random_direction(x: Tensor) -> Tensor:
            e = self.networks["metric"](x)
            return e * draws.normal(n, e.shape[-1])

        return (squared_slope(along_random_direction, x) + 1e-12).sqrt().sub(1).relu().square().mean(-1)
