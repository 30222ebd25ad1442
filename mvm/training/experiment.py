"""The training loop: Algorithm 1 of the paper, as a generator that its caller drives.

for step in fit(experiment):      # yields after both optimiser steps
    ...                           # records, snapshots, checkpoints, early stop: the caller's business
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvm import distributed
from mvm.config import Config
from mvm.data.load import ImageData, PointData
from mvm.devices import computes_bf16, device_of
from mvm.errors import ConfigError
from mvm.methods import METHODS, Draws, Loss
from mvm.methods.draws import stream
from mvm.networks.mlp import StackedMLP, metric_perceptron
from mvm.networks.resnet import image_networks
from mvm.training.player import Player

__all__ = ["Experiment", "Step", "fit", "view_noise"]


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
        data: standardised points, or pictures; moved to the config's device.
        dtype: of weights and data; float64 is for tests.

    Attributes:
        step: steps done.
        generator, metric: the two networks, with a variant axis.
        players: what the generator's and the critic's loss move.
        average: the generator's exponential moving average, flat as its player's weights.
    """

    def __init__(self, config: Config, data: PointData | ImageData, *, dtype: torch.dtype = torch.float32) -> None:
        if config.batch % distributed.world():
            raise ConfigError(f"batch: {config.batch} does not divide among {distributed.world()} processes")
        self.config, self.data, self.step = config, data, 0
        self.device = device_of(config.device)
        opt, kind = config.optimiser, METHODS[config.method]
        streams = [torch.Generator().manual_seed(stream(seed, -1)) for seed in config.seeds]
        self.generator, self.metric = self._networks(streams)
        self.method = kind(config, self.generator, self.metric, streams)
        networks = {"metric": self.metric} | self.method.networks
        for network in (self.generator, *networks.values()):
            network.to(device=self.device, dtype=dtype)
        for name, tensor in self.method.state.items():
            self.method.state[name] = tensor.to(device=self.device, dtype=dtype)
        self.players = {
            "generator": Player(
                {"generator": self.generator}, lr=opt.generator_lr, betas=opt.generator_betas, eps=opt.generator_eps
            ),
            "metric": Player(networks, lr=opt.metric_lr, betas=opt.metric_betas, eps=opt.metric_eps),
        }
        self.average = self.players["generator"].flat.clone()
        self.average_buffers = {name: buffer.clone() for name, buffer in self._buffers().items()}
        self.noise_dim = kind.noise_dim(config, data.dim)
        self.draws = Draws(
            data.table(self.device, dtype),
            config.seeds,
            copies=len(config.variants),
            noise_dim=self.noise_dim,
        )

    def _networks(self, streams: list[torch.Generator]) -> tuple[nn.Module, nn.Module]:
        """Untrained generators and metrics of V members, flat `(V, B, ·)` in and out."""
        config, net, dim = self.config, self.config.network, self.data.dim
        copies, inputs = len(config.variants), METHODS[config.method].generator_inputs(config, dim)
        if config.is_images:
            bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_bf16(self.device))
            return image_networks(
                self.data.size, [stream(seed, -1) for seed in config.seeds], copies=copies, noise_dim=inputs,
                embedding_dim=net.embedding_dim, channels=net.channels, metric_channels=net.metric_channels,
                unit_length=net.unit_embedding, bf16=bf16,
            )  # fmt: skip
        sizes = [inputs, *[net.width] * net.depth, dim]
        generator = StackedMLP(sizes, streams, copies=copies, activation=net.generator_activation)
        return generator, metric_perceptron(net, dim, streams, copies=copies)

    def share(self) -> None:
        """Take over the first process's state, where several train together."""
        self.step = distributed.tell(self.step)
        distributed.tell_all(tensor for name, tensor in self.tensors().items() if name != "step")

    def agree(self, go: bool) -> bool:
        """Whether the first process goes on, in all that train together; and what a person has changed there."""
        if distributed.world() == 1:
            return go
        said = torch.tensor(go, dtype=torch.uint8)  # on the host: to read it from a GPU would wait for the step
        distributed.tell_all([said, *self.method.state.values()])
        return bool(said)

    @distributed.sharded()
    def advance(self) -> Step:
        """One step of Algorithm 1: the generator first, then the metric against the updated generator."""
        draws = self.draws.at(self.step)
        self._set_rates()
        matching = self.method.generator_loss(draws)
        self.players["generator"].descend(matching)
        learning = Loss(torch.zeros_like(matching.total), {})
        for _ in range(self.method.critic_steps):
            learning = self.method.critic_loss(draws)
            self.players["metric"].descend(learning)
            self.method.constrain()
        decay = min(self.config.optimiser.ema, (1 + self.step) / (10 + self.step))
        self.average.lerp_(self.players["generator"].flat, 1 - decay)
        for name, buffer in self._buffers().items():
            self.average_buffers[name].lerp_(buffer, 1 - decay)
        self.step += 1
        terms = {name: value.detach() for name, value in (matching.terms | learning.terms).items()}
        return Step(self.step, matching.total.detach(), learning.total.detach(), terms)

    def _set_rates(self) -> None:
        opt = self.config.optimiser
        late = max(0.0, self.step / self.config.steps - opt.decay_from) / max(1 - opt.decay_from, 1e-9)
        share = 1 - (1 - opt.decay_to) * min(1.0, late)
        self.players["generator"].lr = opt.generator_lr * share
        self.players["metric"].lr = opt.metric_lr * share

    def averaged(self) -> dict[str, Tensor]:
        """The averaged generator's weights and statistics by name; views, not copies."""
        names = [name for name, _ in self.generator.named_parameters()]
        return dict(zip(names, self.players["generator"].parts(self.average), strict=True)) | self.average_buffers

    def rows(self, name: str, members: Tensor) -> Tensor | slice:
        """Which rows of the tensor of this name belong to the members marked in `(V,)` bool.

        A perceptron's tensors have a variant axis; of picture networks each tensor is one member's.
        """
        found = re.search(r"members\.(\d+)\.", name)
        if found is None:
            return members
        return slice(None) if members[int(found[1])] else slice(0)

    def _buffers(self) -> dict[str, Tensor]:
        """Means and variances of the generator's batch normalisations; none in a perceptron."""
        return {name: buffer for name, buffer in self.generator.named_buffers() if buffer.is_floating_point()}

    def exactly(self) -> None:
        """From here on compute in full float32, so that scores are the same numbers on every machine."""
        torch.backends.cudnn.allow_tf32 = False
        if self.config.is_images:
            self.generator.bf16 = self.metric.bf16 = False

    @torch.no_grad()
    def generate(self, noise: Tensor, *, averaged: bool = True) -> Tensor:
        """Fakes `(V, B, D)`, standardised, from noise `(V, B, m)` or `(B, m)` shared by all variants."""
        noise = noise.to(self.average)
        if noise.ndim == 2:
            noise = noise.expand(len(self.config.members), *noise.shape)
        self.generator.eval()  # each fake by itself: batch normalisation takes what it has seen in training
        try:
            if not averaged:
                return self.method.sample(self.generator, noise)
            weights = self.averaged()
            return self.method.sample(lambda z: torch.func.functional_call(self.generator, weights, (z,)), noise)
        finally:
            self.generator.train()

    @torch.no_grad()
    def embed(self, points: Tensor) -> Tensor:
        """Embeddings `(V, B, n)` of standardised points `(V, B, D)`, or `(B, D)` shared by all variants."""
        points = points.to(self.average)
        return self.method.embed(points.expand(len(self.config.members), *points.shape[-2:]))

    def view_noise(self, n: int, *, repeat: int = 0) -> Tensor:
        """The fixed generator inputs `(n, m)` that every view and score of a run uses."""
        return view_noise(n, self.noise_dim, repeat=repeat).to(self.average)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, average, optimiser moments, method's state and step: all that is needed to continue bit for bit."""
        tensors = {"step": torch.tensor(self.step)} | self.method.state
        for name, player in self.players.items():
            tensors |= player.tensors() | {f"{name}.updates": player.moments["step"]}
        tensors |= {f"generator.{name}": buffer for name, buffer in self._buffers().items()}
        return tensors | {f"average.{name}": value for name, value in self.averaged().items()}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the state that `tensors()` gave.

        Raises:
            ConfigError: a tensor is missing or has another shape: the checkpoint belongs to another config.
        """
        for name, own in self.tensors().items():
            if name not in tensors:
                raise ConfigError(f"checkpoint does not fit its config: it has no {name}")
            if tensors[name].shape != own.shape:  # copy_ would broadcast one variant over many
                shapes = f"{tuple(tensors[name].shape)}, not {tuple(own.shape)}"
                raise ConfigError(f"checkpoint does not fit its config: {name} is {shapes}")
            own.copy_(tensors[name])
        self.step = int(tensors["step"])


def fit(experiment: Experiment) -> Iterator[Step]:
    """Train to the config's number of steps; yields after both optimiser steps of each."""
    while experiment.agree(experiment.step < experiment.config.steps):
        yield experiment.advance()


def view_noise(n: int, noise_dim: int, *, repeat: int = 0) -> Tensor:
    """The fixed generator inputs `(n, noise_dim)` of every run; others for another `repeat`."""
    return torch.randn(n, noise_dim, generator=torch.Generator().manual_seed(stream(repeat, -2)))
