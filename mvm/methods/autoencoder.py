"""Autoencoders with a Gaussian prior on latents: the metric network encodes, the generator decodes.

    vae    E ‖x − f_θ(e + s·ε)‖² / (2 τ²) + KL(N(e, s²) ‖ N(0, I)),   e = g_w(x), ln s² = h(x)
    wae    E ‖x − f_θ(e)‖² + λ MMD(e, z),   z ~ N(0, I)

A fake is f_θ(z). The embeddings that UMAP and the spectrum show are latents, for a VAE their means.

Sources: Kingma & Welling, ICLR 2014 (VAE); Tolstikhin et al., ICLR 2018 (WAE).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, Network, Update, peer_recipes
from mvm.methods.moment_matching import mmd
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["VAE", "Autoencoder", "VAESettings"]

LATENTS = {"network": {"noise_dim": 2, "embedding_dim": 2}}
PEERS = peer_recipes(lr=1e-3, betas=(0.9, 0.999))


class VAESettings(Settings):
    """VAE: autoencoder with a Gaussian prior."""

    regulariser: Literal["kl", "mmd"] = Field("kl", description="kl: a VAE; mmd: a Wasserstein autoencoder (WAE)")
    noise: float = Field(0.05, gt=0, le=10, description="kl: τ, standard deviation of the decoder's Gaussian")
    strength: float = Field(1.0, gt=0, le=1000, description="mmd: λ, weight of the distance of latents to the prior")


S = TypeVar("S", bound=Settings)


class Autoencoder(Method[S]):
    """What methods share that decode latents: the metric network is the encoder, the generator the decoder."""

    recipes: ClassVar[dict[str, dict[str, Any]]] = {name: recipe | LATENTS for name, recipe in PEERS.items()}
    kinds = ("points",)

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """Decoder f_θ, `(V, B, n)` to `(V, B, D)`, and encoder g_w."""
        return {"generator": architecture.generator(architecture.embedding_dim), "metric": architecture.metric()}

    @property
    def noise_dim(self) -> int:
        """n: noise is drawn in the place of latents."""
        return self.task.architecture.embedding_dim

    def decode(self, networks: Mapping[str, Network], latents: Tensor) -> Tensor:
        """f_θ of latents."""
        return networks["generator"](latents)


class VAE(Autoencoder[VAESettings]):
    """Variational or Wasserstein autoencoder."""

    title = "VAE"
    settings_type = VAESettings
    players: ClassVar = {"generator": ("generator", "metric", "spread")}

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """The autoencoder, and for a VAE the log variance of latents h."""
        networks = super().build(architecture)
        if self.settings.regulariser == "mmd":
            self.players = {"generator": ("generator", "metric")}  # type: ignore[misc]
            return networks
        return networks | {"spread": architecture.metric()}

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """VAE or WAE."""
        return title if settings.regulariser == "kl" else "WAE"

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield one loss of encoder and decoder together."""
        real, s = draws.real(self.batch), self.settings
        latents = self.networks["metric"](real)
        noise = draws.noise(self.batch)
        if s.regulariser == "mmd":
            error = (self.networks["generator"](latents) - real).square().sum(-1).mean(-1)
            regular = s.strength * mmd(noise, latents)
            yield "generator", Loss(error + regular, {"reconstruction": error, "prior": regular})
            return
        log_variance = self.networks["spread"](real)
        decoded = self.networks["generator"](latents + (log_variance / 2).exp() * noise)
        error = (decoded - real).square().sum(-1).mean(-1)
        kl = ((latents.square() + log_variance.exp() - 1 - log_variance) / 2).sum(-1).mean(-1)
        yield "generator", Loss(error / (2 * s.noise**2) + kl, {"reconstruction": error, "prior": kl})
