"""Flow matching with optimal-transport couplings (Tong et al., TMLR 2024): a path, a coupling and a solver.

    path        x_t = (1 − t) x_0 + t x_1,   velocity x_1 − x_0
    coupling    (x_0, x_1) drawn from the batch's optimal plan of the squared distance
    generator   E ‖v_θ(x_t, t) − (x_1 − x_0)‖²
    density     along dx/dt = v_θ(x, t), which the solver follows (`mvm.methods.transport`)
    solver      x ← x + v_θ(x, t)/N,   t = 0, 1/N, …, (N − 1)/N:  N evaluations of the network

There is no metric. Pairs are drawn from the plan with the step's random numbers, so that a training resumes exactly.

An exact plan takes a data-dependent number of operations, which no graph of a GPU repeats: the couplings are drawn and
computed on the host, ahead of their steps (`Draws.planned`), so that every device trains on the same couplings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mvm.methods.draws import Draws
from mvm.methods.method import Loss, Moment, Network, Update
from mvm.methods.transport import Transport, log_density_by_path
from mvm.settings import Settings

__all__ = ["FlowMatching", "FlowMatchingSettings", "PathSample", "euler", "optimal_pairs", "straight_path"]

DENSITY_STEPS = 16  # of the solver for the density: within 1e-4 nats on a circle


class FlowMatchingSettings(Settings):
    """Flow matching: optimal-transport couplings."""

    evaluations: int = Field(50, ge=1, le=1000, description="N: Euler steps, each one network evaluation, per sample")


class PathSample(NamedTuple):
    """Points on paths and the velocities there, `(V, B, D)` each."""

    point: Tensor
    velocity: Tensor


class FlowMatching(Transport[FlowMatchingSettings]):
    """Optimal-transport flow matching."""

    title = "Flow matching"
    times = "Time t runs from noise at 0 to data at 1"
    settings_type = FlowMatchingSettings

    @classmethod
    def evaluations(cls, settings: Settings) -> int:
        """Number of Euler steps."""
        assert isinstance(settings, FlowMatchingSettings)
        return settings.evaluations

    def updates(self, draws: Draws) -> Iterator[Update]:
        """Yield one loss: the squared error of the velocity on the paths between coupled points."""
        start, end, t = draws.planned(self.couple)
        path = straight_path(start, end, t)
        error = (_velocity(self.networks["generator"], path.point, t) - path.velocity).square().sum(-1).mean(-1)
        yield "generator", Loss(error, {"flow_error": error})

    def couple(self, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Draw coupled Gaussian and real points `(V, B, D)`, and times `(V, B, 1)`; on the host (`optimal_pairs`)."""
        start, end, t = draws.noise(self.batch), draws.real(self.batch), draws.uniform(self.batch, 1)
        rows, columns = optimal_pairs(start, end, draws.uniform(self.batch))
        start, end = (torch.take_along_dim(x, i[..., None], dim=-2) for x, i in ((start, rows), (end, columns)))
        return start, end, t

    def path(self, networks: Mapping[str, Network], noise: Tensor) -> Iterator[Moment]:
        """Integrate the flow from Gaussian points `(V, B, D)`."""
        generator = networks["generator"]
        return euler(lambda x, t: _velocity(generator, x, t), noise, steps=self.settings.evaluations)

    def log_density(self, networks: Mapping[str, Network], x: Tensor) -> Tensor | None:
        """log p(x) of the flow in continuous time, `(V, B)`; None in many dimensions."""
        generator = networks["generator"]
        times = [1 - step / DENSITY_STEPS for step in range(DENSITY_STEPS + 1)]

        def velocity(x: Tensor, t: float) -> Tensor:
            return _velocity(generator, x, x.new_full((*x.shape[:-1], 1), t))

        return log_density_by_path(velocity, x, times=times, scale=1.0)


def straight_path(start: Tensor, end: Tensor, t: Tensor) -> PathSample:
    """The point at time t `(V, B, 1)` on the straight line from start to end `(V, B, D)`, and the velocity there."""
    return PathSample(t * end + (1 - t) * start, end - start)


def optimal_pairs(start: Tensor, end: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Draw B pairs from each variant's optimal transport plan: row numbers of `start` and of `end`, `(V, B)` each.

    Args:
        start, end: points `(V, B, D)`.
        chance: uniform numbers in [0, 1), `(V, B)`; each selects a pair with probability equal to its mass in the plan.
    """
    import ot  # takes seconds to import

    batch = start.shape[-2]
    uniform, pairs = torch.full((batch,), 1 / batch, dtype=torch.float64).numpy(), []
    for x, y, u in zip(start.cpu(), end.cpu(), chance.cpu(), strict=True):
        plan = ot.emd(uniform, uniform, (torch.cdist(x, y) ** 2).double().numpy())
        mass = torch.from_numpy(plan).flatten().cumsum(0)
        pairs.append(torch.searchsorted(mass / mass[-1], u.double()).clamp(max=len(mass) - 1))
    flat = torch.stack(pairs).to(start.device)
    return flat // batch, flat % batch


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, *, steps: int) -> Iterator[Moment]:
    """Integrate dx/dt = velocity(x, t) from t = 0 to 1 by Euler steps, with x `(V, B, D)` and t `(V, B, 1)`.

    Yields the points at every t, the start and the end included.
    """
    yield Moment("t = 0", x)
    for i in range(steps):
        x = x + velocity(x, x.new_full((*x.shape[:-1], 1), i / steps)) / steps
        yield Moment(f"t = {(i + 1) / steps:.3g}", x)


def _velocity(generator: Network, x: Tensor, t: Tensor) -> Tensor:
    """v_θ(x, t) `(V, B, D)` at points `(V, B, D)` and times `(V, B, 1)`."""
    return generator(torch.cat([x, t], dim=-1))
