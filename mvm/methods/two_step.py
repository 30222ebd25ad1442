"""Two-step model: an autoencoder finds the manifold, then a density is learned on its latents.

    1  autoencoder   E ‖x − f_θ(g_w(x))‖²                  the metric network encodes, the generator decodes
    2  prior         a density of the whitened latents u = L⁻¹ (g_w(x) − μ),   μ, L Lᵀ: their mean and covariance
                     gaussian    u ~ N(0, I)
                     flow        optimal-transport flow matching   (mvm.methods.flow_matching)
                     diffusion   EDM                               (mvm.methods.diffusion)

A fake is f_θ(μ + L u). The autoencoder is fixed in the second step, so that the prior has a fixed target: W₂ of fakes
and reals is at most the reconstruction error plus the decoder's Lipschitz constant times W₂ of the latents. The
Gaussian needs no second step. Fakes lie on the decoder's surface, so that they have no density in data space.

Source: Loaiza-Ganem et al., Diagnosing and fixing manifold overfitting in deep generative models, TMLR 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.autoencoder import Autoencoder
from mvm.methods.diffusion import denoiser, denoising_loss, heun, levels
from mvm.methods.draws import Draws
from mvm.methods.flow_matching import euler
from mvm.methods.method import Loss, Moment, Network, Task, Update, last
from mvm.networks.architecture import Architecture, StackedNetwork
from mvm.settings import Settings

__all__ = ["TwoStep", "TwoStepSettings"]

PRIORS = {"gaussian": "Gaussian", "flow": "flow", "diffusion": "diffusion"}
LOG_MEAN, LOG_STD, LOWEST, HIGHEST = -1.2, 1.2, 0.002, 80.0  # noise levels of the diffusion prior, EDM's
RATE = 0.01  # of the moving averages of the latents' moments
JITTER = 1e-6  # added to the latents' variances, as a share of their mean


class TwoStepSettings(Settings):
    """Two-step: autoencoder, then a density of latents."""

    prior: Literal["gaussian", "flow", "diffusion"] = Field(
        "diffusion", description="model of the density of the latents"
    )
    autoencoder_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="fraction of the training steps that train the autoencoder; the remaining steps train the prior",
    )
    evaluations: int = Field(39, ge=3, le=1000, description="evaluations of the prior's network per sample")


class TwoStep(Autoencoder[TwoStepSettings]):
    """An autoencoder, then a density on its latents."""

    title = "Two-step"
    times = "The prior's latents on their way from noise, decoded"
    settings_type = TwoStepSettings
    players: ClassVar = {"generator": ("generator", "metric"), "prior": ("prior",)}
    averaged: ClassVar[tuple[str, ...]] = ("generator", "prior")

    def __init__(self, settings: TwoStepSettings, task: Task) -> None:
        super().__init__(settings, task)
        v, n = len(task.members), task.architecture.embedding_dim
        self.state = {"latent_mean": torch.zeros(v, n), "latent_covariance": torch.eye(n).repeat(v, 1, 1)}
        self.first_steps = max(1, int(settings.autoencoder_share * task.steps))

    def build(self, architecture: Architecture) -> dict[str, StackedNetwork]:
        """The autoencoder, and the prior's network of a latent and a time, `(V, B, n + 1)` to `(V, B, n)`."""
        networks = super().build(architecture)
        if self.settings.prior == "gaussian":
            self.players, self.averaged = {"generator": ("generator", "metric")}, ("generator",)  # type: ignore[misc]
            return networks
        n = architecture.embedding_dim
        return networks | {"prior": architecture.perceptron(n + 1, n)}

    @classmethod
    def label(cls, title: str, settings: Any, pairs: Any) -> str:
        """The title with the prior."""
        return f"{title} ({PRIORS[settings.prior]})"

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """The prior's, and one of the decoder."""
        assert isinstance(settings, TwoStepSettings)
        return 1 if settings.prior == "gaussian" else settings.evaluations + 1

    def phase(self, step: int) -> str:
        """The autoencoder's or the prior's."""
        return "autoencoder" if self.settings.prior == "gaussian" or step < self.first_steps else "prior"

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield the loss of the autoencoder, or of the prior."""
        real, s = draws.real(self.batch), self.settings
        if self.phase(draws.step) == "autoencoder":
            latents = self.networks["metric"](real)
            self._follow(latents.detach())
            error = (self.networks["generator"](latents) - real).square().sum(-1).mean(-1)
            yield "generator", Loss(error, {"reconstruction": error})
            return
        with torch.no_grad():
            latents = self.networks["metric"](real)
            self._follow(latents)
            clean = self.whiten(latents)
        noise, prior = draws.noise(self.batch), self.networks["prior"]
        if s.prior == "flow":
            t = draws.uniform(self.batch, 1)
            velocity = prior(torch.cat([torch.lerp(noise, clean, t), t], dim=-1))
            error = (velocity - (clean - noise)).square().sum(-1).mean(-1)
        else:
            error = denoising_loss(prior, clean, noise, (LOG_MEAN + LOG_STD * draws.normal(self.batch, 1)).exp())
        yield "prior", Loss(error, {"prior": error})

    def sample(self, networks: Mapping[str, Network], noise: Tensor) -> Tensor:
        """Decode latents of the prior from Gaussian noise `(V, B, n)`."""
        return networks["generator"](self.colour(last(self._latents(networks, noise))))

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment] | None:
        """Decode the prior's latents at every time of their sampling; None for a Gaussian."""
        if self.settings.prior == "gaussian":
            return None
        decoder, latents = networks["generator"], self._latents(networks, noise)
        return (Moment(time, decoder(self.colour(white))) for time, white in latents)

    def _latents(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment]:
        """Whitened latents of the prior at every time of their sampling, `(V, B, n)`."""
        s = self.settings
        if s.prior == "gaussian":
            return iter([Moment("", noise)])
        if s.prior == "flow":
            velocity = networks["prior"]
            return euler(lambda x, t: velocity(torch.cat([x, t], dim=-1)), noise, steps=s.evaluations)
        sigmas = levels((s.evaluations + 1) // 2, lowest=LOWEST, highest=HIGHEST)
        return heun(denoiser(networks["prior"]), noise, sigmas=sigmas)

    def whiten(self, latents: Tensor) -> Tensor:
        """L⁻¹ (e − μ) of latents e, `(V, B, n)`."""
        centred = latents - self.state["latent_mean"][:, None]
        white: Tensor = torch.linalg.solve_triangular(self._factor().mT, centred, upper=True, left=False)
        return white

    def colour(self, white: Tensor) -> Tensor:
        """μ + L u of whitened latents u, `(V, B, n)`."""
        return self.state["latent_mean"][:, None] + white @ self._factor().mT

    def _follow(self, latents: Tensor) -> None:
        """Move the averages of mean and covariance towards those of a batch of latents `(V, B, n)`."""
        mean = latents.mean(-2)
        centred = latents - mean[:, None]
        self.state["latent_mean"].lerp_(mean, RATE)
        self.state["latent_covariance"].lerp_(centred.mT @ centred / latents.shape[-2], RATE)

    def _factor(self) -> Tensor:
        """L of the covariance L Lᵀ, `(V, n, n)`."""
        covariance = self.state["latent_covariance"]
        mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        eye = torch.eye(covariance.shape[-1], device=covariance.device, dtype=covariance.dtype)
        factor: Tensor = torch.linalg.cholesky_ex(covariance + JITTER * mean * eye).L
        return factor
