"""Super-resolution: MvM on aligned pairs (Eq. 3), and the peers of the paper's Tables 3 and 6.

    L1          L_img alone: where the perceptual methods start
    GAN         L_img + L_adv, standard or relativistic: SRGAN without its perceptual loss
    SRGAN       + features of the last block, after their activation (Ledig et al., CVPR 2017)
    EnhanceNet  + features of two poolings (Sajjadi et al., ICCV 2017)
    ESRGAN      + features of the last block, before their activation (Wang et al., ECCV workshops 2018)
    NatSR       + unnaturalness by a discriminator of natural pictures (Soh et al., CVPR 2019)
    MvM         L_img + λ₂ L_pair + λ₃ L_MM (setting A), + L_adv (setting B)

In the paper, the anchors and positives of MvM's triplets are HR patches, and negatives are upscaled ones. This lab's
recipe swaps the sides, as for other data: with HR anchors the metric shrank to a point in every trial
(docs/superres.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from mvm.methods.draws import Draws, Pair
from mvm.methods.method import PAIRED_KINDS, Loss, Task, Update
from mvm.methods.mvm import MvM, MvMSettings, Side
from mvm.methods.naturalness import ANNEALINGS, anneal, graded_batch, naturalness_loss, nmd_loss, noisy_rows
from mvm.methods.pairs import PAIR_BETAS, OnPairs, PairSettings
from mvm.methods.perceptual import PERCEPTUAL_LOSSES, PerceptualLoss
from mvm.networks.architecture import Architecture, PairArchitecture, StackedNetwork
from mvm.networks.resnet import as_pictures
from mvm.networks.vgg import FEATURES, Features, layers_of, load_features
from mvm.settings import Settings

__all__ = ["ESRGAN", "GAN", "L1", "SRGAN", "EnhanceNet", "NatSR", "PairedMvM", "Perceptual"]

GANS = {"standard": "GAN", "relativistic": "RaGAN"}  # beside the name of another method
PAPER = {"generator_lr": 1e-4, "metric_lr": 1e-4, "decay_to": 1.0, "ema": 0.0}  # section 4.2
RECIPES: dict[str, dict[str, Any]] = {
    "stabilised": {"optimiser": PAIR_BETAS},
    "paper": {"optimiser": PAIR_BETAS | PAPER},
}


def _with_defaults(**values: Any) -> dict[str, dict[str, Any]]:
    """Config defaults of a method on pairs, for each recipe."""
    return {kind: dict.fromkeys(RECIPES, values) for kind in PAIRED_KINDS}


class PairedMvM(OnPairs[MvMSettings], MvM):
    """MvM on pairs (Eq. 3); a variant is a set of descriptors."""

    own_terms = ("image", "pair", "matching")

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """MvM (descriptors), and its discriminator in setting B."""
        return f"{cls.title} ({title})" + (f" + {GANS[pairs.gan]}" if pairs.gan != "none" else "")

    @classmethod
    def perceptual_part(cls, pairs: PairSettings) -> str:
        """The metric that it learns."""
        return "learned metric"

    def further_updates(self, terms: dict[str, Tensor], real: Tensor, fake: Tensor, draws: Draws) -> Iterator[Update]:
        """The generator's loss with L_pair and L_MM, then `metric_steps` updates of the metric."""
        sides = Side(real, self.networks["metric"](real)), Side(fake.detach(), self.networks["metric"](fake))
        target, embedding = sides[0].embeddings.detach(), sides[1].embeddings
        matching = self._matching(target, embedding)
        terms = terms | {
            "pair": (target - embedding).square().sum(-1).add(1e-12).sqrt().mean(-1),
            "matching": matching.total,
        }
        yield "generator", Loss(self._weighted(terms), terms | matching.terms, reused=not self.fresh)
        yield from self._metric_updates(sides, draws)

    def _inputs(self, draws: Draws) -> Tensor:
        """Draw LR patches, `(V, B, m)`."""
        return draws.pair(self.batch).inputs


class L1Settings(Settings):
    """L1: no settings of its own."""


class L1(OnPairs[L1Settings]):
    """Regression on pixels."""

    title = "L1"
    settings_type = L1Settings
    gans = ("none",)
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}
    recipes: ClassVar = RECIPES


class GANSettings(Settings):
    """GAN: its settings are those of super-resolution."""


class GAN(OnPairs[Settings]):
    """Regression on pixels, and a discriminator."""

    title = "GAN"
    opponent = "discriminator"
    settings_type: ClassVar[type[Settings]] = GANSettings
    gans = ("relativistic", "standard")
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}
    recipes: ClassVar = RECIPES
    kind_recipes: ClassVar = _with_defaults(superres={"gan": "relativistic"})

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """Standard or relativistic GAN."""
        return f"{pairs.gan} {title}"


class PerceptualSettings(Settings):
    """Perceptual loss: its network is a setting of super-resolution."""


class Perceptual(GAN):
    """GAN with a distance of features of a pretrained network."""

    settings_type: ClassVar[type[Settings]] = PerceptualSettings
    pretrained = True
    own_terms = ("image", "perceptual")
    loss: ClassVar[str]

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """The title and the network whose features are compared: SRGAN's, for one, is not always that of its paper."""
        return f"{title} · {FEATURES[pairs.features].title}"

    @classmethod
    def perceptual_part(cls, pairs: PairSettings) -> str:
        """The network and its layers."""
        return f"{FEATURES[pairs.features].title}: {', '.join(cls._loss_on(pairs).layers)}"

    @classmethod
    def _loss_on(cls, pairs: PairSettings) -> PerceptualLoss:
        """The loss with the layers of the network that is compared."""
        return PERCEPTUAL_LOSSES[cls.loss].resolve(layers_of(FEATURES[pairs.features]))

    @cached_property
    def distance(self) -> tuple[PerceptualLoss, Features]:
        """The loss, and the network whose features it compares."""
        loss = self._loss_on(self.pairs)
        return loss, load_features(self.pairs.features, loss.layers)

    def prepare(self) -> None:
        """Load the pretrained network at the first step, whatever its phase."""
        terms = self.state["terms"]
        self.distance[1].to(device=terms.device, dtype=terms.dtype)

    def further_updates(self, terms: dict[str, Tensor], real: Tensor, fake: Tensor, draws: Draws) -> Iterator[Update]:
        """The generator's loss with the perceptual term."""
        loss, features = self.distance
        pictures = [as_pictures(points.flatten(0, 1)) for points in (real, fake)]
        with torch.no_grad():
            on_real = features(pictures[0])
        perceptual = loss(on_real, features(pictures[1])).unflatten(0, real.shape[:2]).mean(-1)
        yield from super().further_updates(terms | {"perceptual": perceptual}, real, fake, draws)


class SRGAN(Perceptual):
    """Features of the last block."""

    title, loss = "SRGAN", "srgan"


class EnhanceNet(Perceptual):
    """Features of two poolings."""

    title, loss = "EnhanceNet", "enhancenet"


class ESRGAN(Perceptual):
    """Features of the last block before their activation."""

    title, loss = "ESRGAN", "esrgan"


class NatSRSettings(Settings):
    """NatSR: the discriminator of natural pictures learns in the first `image_steps`, then it is fixed."""


class NatSR(GAN):
    """GAN with unnaturalness by a discriminator that has learnt natural from noisy and blurred pictures."""

    title, own_terms = "NatSR", ("image", "perceptual")
    settings_type: ClassVar[type[Settings]] = NatSRSettings
    players: ClassVar = {"generator": ("generator",), "naturalness": ("naturalness",)}
    kind_recipes: ClassVar = _with_defaults(
        superres={"gan": "relativistic", "image_steps": 1000}, weights={"perceptual": 1e-3}
    )

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """Its title."""
        return title

    @classmethod
    def perceptual_part(cls, pairs: PairSettings) -> str:
        """The discriminator of natural pictures."""
        return "discriminator of natural pictures"

    def __init__(self, settings: Settings, task: Task) -> None:
        super().__init__(settings, task)
        self.state["naturalness_updates"] = torch.zeros(len(task.members))

    @classmethod
    def refusal(cls, pairs: Any) -> str:
        """Also refuse to train against a discriminator that has learnt nothing."""
        if not pairs.image_steps:
            return "superres.image_steps: NatSR's discriminator of natural pictures learns in these steps; give some"
        return super().refusal(pairs)

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """The networks of a GAN, and the discriminator of natural pictures."""
        return super().build(architecture) | {"naturalness": cast(PairArchitecture, architecture).naturalness()}

    def image_updates(self, terms: dict[str, Tensor], pair: Pair, draws: Draws) -> Iterator[Update]:
        """The generator's loss on pixels, then an update of the discriminator of natural pictures."""
        yield from super().image_updates(terms, pair, draws)
        updates = self.state["naturalness_updates"]
        strength = anneal(updates[0], max(1, self.pairs.image_steps // (ANNEALINGS + 1)))
        noise = draws.normal(noisy_rows(self.batch), pair.targets.shape[-1])
        graded = graded_batch(pair.targets, pair.inputs, noise, strength)
        logits = self.networks["naturalness"](graded.points).squeeze(-1)
        loss = nmd_loss(logits, graded.natural)
        yield "naturalness", Loss(loss, {"naturalness": loss})
        updates.add_(1)

    def further_updates(self, terms: dict[str, Tensor], real: Tensor, fake: Tensor, draws: Draws) -> Iterator[Update]:
        """The generator's loss with its unnaturalness."""
        perceptual = naturalness_loss(self.networks["naturalness"](fake).squeeze(-1))
        yield from super().further_updates(terms | {"perceptual": perceptual}, real, fake, draws)
