"""Super-resolution: MvM on aligned pairs (Eq. 3), and the peers of the paper's Tables 3 and 6.

    L1          L_img alone: where the perceptual methods start
    GAN         L_img + L_adv, standard or relativistic: SRGAN without its perceptual loss
    MvM         L_img + λ₂ L_pair + λ₃ L_MM (setting A), + L_adv (setting B)

MvM's metric learns from triplets of which anchors and positives are HR patches, and negatives are upscaled ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Update
from mvm.methods.mvm import MvM, MvMSettings, Side
from mvm.methods.pairs import OnPairs, PairSettings
from mvm.settings import Settings

__all__ = ["GAN", "L1", "GANSettings", "L1Settings", "PairedMvM"]

BETAS = {"generator_betas": (0.9, 0.999), "metric_betas": (0.9, 0.999)}
PAPER = {"generator_lr": 1e-4, "metric_lr": 1e-4, "decay_to": 1.0, "ema": 0.0}  # section 4.2
RECIPES = {"stabilised": {"optimiser": BETAS}, "paper": {"optimiser": BETAS | PAPER}}


class PairedMvM(OnPairs[MvMSettings], MvM):
    """MvM on pairs (Eq. 3); a variant is a set of descriptors."""

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
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}
    recipes: ClassVar = RECIPES

    @classmethod
    def refusal(cls, pairs: PairSettings) -> str:
        """Refuse a discriminator, which the name does not say."""
        return "" if pairs.gan == "none" else "superres.gan: l1 has no discriminator; choose the method gan"


class GANSettings(Settings):
    """GAN: settings are in the group superres."""


class GAN(OnPairs[GANSettings]):
    """Regression on pixels and a discriminator."""

    title = "GAN"
    settings_type = GANSettings
    learns_metric = False
    players: ClassVar = {"generator": ("generator",)}
    recipes: ClassVar = RECIPES
    kind_recipes: ClassVar = {"superres": {recipe: {"superres": {"gan": "relativistic"}} for recipe in RECIPES}}

    @classmethod
    def refusal(cls, pairs: PairSettings) -> str:
        """Ask for a discriminator."""
        return "" if pairs.gan != "none" else "superres.gan: gan trains with a discriminator, standard or relativistic"
