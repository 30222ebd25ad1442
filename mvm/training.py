"""The training loop: Algorithm 1 of the paper, as a generator that its caller drives.

for step in fit(experiment):      # yields after both optimiser steps
    ...                           # records, snapshots, checkpoints, early stop: the caller's business
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvm.config import Config, ConfigError
from mvm.data.points import PointData
from mvm.methods import METHODS, Draws, Loss
from mvm.methods.base import stream
from mvm.networks.mlp import StackedMLP

__all__ = ["Experiment", "Step", "device_of", "fit", "view_noise"]


@dataclass(frozen=True)
class Step:
    """What one training step did; tensors are detached, `(V,)` each.

    Attributes:
        number: steps done so far, this one included.
        generator_loss, metric_loss: totals.
        terms: every named part of both.
    """

    number: int
    generator_loss: Tensor
    metric_loss: Tensor
    terms: dict[str, Tensor]


class Experiment:
    """V networks in training: everything that a checkpoint holds.

    Args:
        config: the experiment.
        data: standardised points; moved to the config's device.
        dtype: of weights and data; float64 is for tests.

    Attributes:
        step: steps done.
        generator, metric, average: the two players, and the generator's exponential moving average.
    """

    def __init__(self, config: Config, data: PointData, *, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.data, self.step = config, data, 0
        self.device = device_of(config.device)
        net, opt = config.network, config.optimiser
        streams = [torch.Generator().manual_seed(stream(seed, -1)) for seed in config.seeds]
        hidden = [net.width] * net.depth
        settings = {"copies": len(config.variants), "activation": net.activation}
        self.generator = StackedMLP([net.noise_dim, *hidden, data.dim], streams, **settings)
        self.metric = StackedMLP(
            [data.dim, *hidden, net.embedding_dim], streams, **settings, unit_length=net.unit_embedding
        )
        for network in (self.generator, self.metric):
            network.to(device=self.device, dtype=dtype)
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        adam = {"fused": True}
        self.optimisers = {
            "generator": torch.optim.Adam(
                self.generator.parameters(), opt.generator_lr, opt.generator_betas, opt.generator_eps, **adam
            ),
            "metric": torch.optim.Adam(
                self.metric.parameters(), opt.metric_lr, opt.metric_betas, opt.metric_eps, **adam
            ),
        }
        self.method = METHODS[config.method](config, self.generator, self.metric)
        self.method.weights = self.method.weights.to(device=self.device, dtype=dtype)
        self.draws = Draws(
            data.train.to(device=self.device, dtype=dtype),
            config.seeds,
            copies=len(config.variants),
            noise_dim=net.noise_dim,
        )

    @property
    def noise_like(self) -> Tensor:
        """A tensor of the device and dtype that the networks take."""
        return self.average[0]

    def advance(self) -> Step:
        """One step of Algorithm 1: the generator first, then the metric against the updated generator."""
        draws = self.draws.at(self.step)
        self._set_rates()
        matching = self.method.generator_loss(draws)
        self._descend("generator", self.generator, matching)
        learning = self.method.critic_loss(draws)
        self._descend("metric", self.metric, learning)
        self.method.constrain()
        self._average()
        self.step += 1
        terms = {name: value.detach() for name, value in (matching.terms | learning.terms).items()}
        return Step(self.step, matching.total.detach(), learning.total.detach(), terms)

    def _descend(self, player: str, network: nn.Module, loss: Loss) -> None:
        """Gradients of this player's weights only: the frozen player costs no weight gradient."""
        parameters = list(network.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss.total.sum(), parameters), strict=True):
            parameter.grad = gradient.contiguous()  # the fused kernel reads memory in order, whatever the strides
        self.optimisers[player].step()

    def _set_rates(self) -> None:
        opt = self.config.optimiser
        late = max(0.0, self.step / self.config.steps - opt.decay_from) / max(1 - opt.decay_from, 1e-9)
        share = 1 - (1 - opt.decay_to) * min(1.0, late)
        self.optimisers["generator"].param_groups[0]["lr"] = opt.generator_lr * share
        self.optimisers["metric"].param_groups[0]["lr"] = opt.metric_lr * share

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.optimiser.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, list(self.generator.parameters()), 1 - decay)

    @torch.no_grad()
    def generate(self, noise: Tensor, *, averaged: bool = True) -> Tensor:
        """Fakes `(V, B, D)`, standardised, from noise `(V, B, m)` or `(B, m)` shared by all variants."""
        if noise.ndim == 2:
            noise = noise.expand(len(self.config.members), *noise.shape)
        if not averaged:
            return self.generator(noise)
        names = [name for name, _ in self.generator.named_parameters()]
        return torch.func.functional_call(self.generator, dict(zip(names, self.average, strict=True)), (noise,))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, average, optimiser moments and step: all that is needed to continue bit for bit."""
        tensors = {"step": torch.tensor(self.step), "weights": self.method.weights}
        for player, network in (("generator", self.generator), ("metric", self.metric)):
            for i, (name, parameter) in enumerate(network.named_parameters()):
                tensors[f"{player}.{name}"] = parameter.detach()
                for moment, value in self.optimisers[player].state_dict()["state"].get(i, {}).items():
                    tensors[f"{player}.{name}.{moment}"] = value
        names = [name for name, _ in self.generator.named_parameters()]
        return tensors | {f"average.{name}": value for name, value in zip(names, self.average, strict=True)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the state that `tensors()` gave.

        Raises:
            ConfigError: a tensor is missing or has another shape: the checkpoint belongs to another config.
        """

        def take(own: Tensor, name: str) -> None:
            if tensors[name].shape != own.shape:  # copy_ would broadcast one variant over many
                raise RuntimeError(f"{name} is {tuple(tensors[name].shape)}, not {tuple(own.shape)}")
            own.copy_(tensors[name])

        try:
            self.step = int(tensors["step"])
            take(self.method.weights, "weights")
            for player, network in (("generator", self.generator), ("metric", self.metric)):
                state = {}
                for i, (name, parameter) in enumerate(network.named_parameters()):
                    take(parameter, f"{player}.{name}")
                    if self.step:
                        moments = ("step", "exp_avg", "exp_avg_sq")
                        state[i] = {m: tensors[f"{player}.{name}.{m}"].clone() for m in moments}
                optimiser = self.optimisers[player]
                optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
            for (name, _), average in zip(self.generator.named_parameters(), self.average, strict=True):
                take(average, f"average.{name}")
        except (KeyError, RuntimeError) as error:
            raise ConfigError(f"checkpoint does not fit its config: {error}") from None


def fit(experiment: Experiment) -> Iterator[Step]:
    """Train to the config's number of steps; yields after both optimiser steps of each."""
    while experiment.step < experiment.config.steps:
        yield experiment.advance()


def view_noise(config: Config, n: int, *, repeat: int = 0) -> Tensor:
    """The fixed generator inputs `(n, m)` that every view and score of a run uses."""
    return torch.randn(n, config.network.noise_dim, generator=torch.Generator().manual_seed(stream(repeat, -2)))


def device_of(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means on this machine.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' was asked for, but this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
