"""Flow matching with optimal-transport couplings, a reference peer through `torchcfm` (Tong et al., TMLR 2024).

    generator   E ‖v_θ(x_t, t) − (x_1 − x_0)‖²,   x_t = (1 − t) x_0 + t x_1,   (x_0, x_1) from the batch's OT plan
    sample      x ← x + v_θ(x, t)/N,   t = 0, 1/N, …, (N − 1)/N:  N evaluations of the network

It has no critic: the metric network is never trained. The library's pairing draws from numpy's global generator; pairs
are drawn here from its plan by the run's own, so that a training can be resumed exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from mvm.errors import ConfigError
from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Method, peer_recipes
from mvm.settings import Settings

__all__ = ["FlowMatching", "FlowMatchingSettings"]


class FlowMatchingSettings(Settings):
    """Flow matching: optimal-transport couplings."""

    evaluations: int = Field(50, ge=1, le=1000, description="N: Euler steps, each one network evaluation, per sample")


class FlowMatching(Method):
    """Optimal-transport flow matching: `config.flow_matching` is read; needs `pip install --no-deps torchcfm`."""

    title = "Flow matching"
    settings = FlowMatchingSettings
    learns_metric = False
    makes_images = False
    recipes = peer_recipes(lr=1e-3, betas=(0.9, 0.999))

    def __init__(
        self, config: Settings, generator: nn.Module, metric: nn.Module, streams: Sequence[torch.Generator] = ()
    ) -> None:
        super().__init__(config, generator, metric, streams)
        try:
            from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
            from torchcfm.optimal_transport import OTPlanSampler
        except ImportError:
            raise ConfigError("method: flow_matching needs torchcfm; pip install --no-deps torchcfm==1.0.7") from None
        self.critic_steps = 0
        self.matcher, self.plans = ConditionalFlowMatcher(sigma=0.0), OTPlanSampler(method="exact")

    @classmethod
    def noise_dim(cls, config: Settings, dim: int) -> int:
        """The flow starts from Gaussian points of the data's own dimension."""
        return dim

    @classmethod
    def generator_inputs(cls, config: Settings, dim: int) -> int:
        """A point and a time."""
        return dim + 1

    @classmethod
    def evaluations(cls, config: Settings) -> int:
        """One for each Euler step."""
        return config.flow_matching.evaluations

    def generator_loss(self, draws: Draws) -> Loss:
        """Squared error of the velocity along the paths between coupled points."""
        start, end, t = draws.noise(self.batch), draws.real(self.batch), draws.uniform(self.batch, 1)
        rows, columns = self._couple(start, end, draws.uniform(self.batch))
        start, end = (torch.take_along_dim(x, i[..., None], dim=-2) for x, i in ((start, rows), (end, columns)))
        flat = start.flatten(0, 1), end.flatten(0, 1), t.flatten()  # the library knows one batch axis
        x = self.matcher.compute_mu_t(*flat)
        velocity = self.matcher.compute_conditional_flow(*flat, x).view_as(end)
        x = x.view_as(end)
        error = (self._velocity(self.generator, x, t) - velocity).square().sum(-1).mean(-1)
        return Loss(error, {"flow_error": error})

    def sample(self, generator: nn.Module, noise: Tensor) -> Tensor:
        """Integrate the flow by Euler steps."""
        x, n = noise, self.config.flow_matching.evaluations
        for i in range(n):
            x = x + self._velocity(generator, x, noise.new_full((*noise.shape[:-1], 1), i / n)) / n
        return x

    def _couple(self, start: Tensor, end: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of rows drawn from each variant's optimal plan, two times `(V, B)`."""
        pairs = []
        for x, y, u in zip(start.cpu(), end.cpu(), chance.cpu(), strict=True):
            mass = torch.from_numpy(self.plans.get_map(x, y)).flatten().cumsum(0)
            pairs.append(torch.searchsorted(mass / mass[-1], u.double()).clamp(max=len(mass) - 1))
        flat = torch.stack(pairs).to(start.device)
        return flat // self.batch, flat % self.batch

    def _velocity(self, generator: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        return generator(torch.cat([x, t], dim=-1))
