"""The training loop: the paper's Algorithm 1, as a generator that its caller drives.

    for step in fit(experiment):      # yields after all optimiser steps
        ...                           # records, snapshots, checkpoints, early stop: the caller's business

A step has three parts:

    prepare    on the host: the streams of this step, the step sizes, the averaging weight
    compute    on the device only: every loss, descent and average; it asks the host for nothing
    commit     on the host: counts the step; the caller keeps its results
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mvm import distributed
from mvm.config import Config
from mvm.data.kind import Dataset, Members
from mvm.data.kinds import KINDS
from mvm.devices import computes_bf16, device_of, exact_float32
from mvm.errors import ConfigError
from mvm.methods import METHODS, Draws, Method, Task
from mvm.methods.draws import stream
from mvm.methods.method import Network
from mvm.networks.resnet import ImageStack
from mvm.training.player import Player

__all__ = ["Experiment", "Step", "build_method", "fit", "view_noise"]


@dataclass(frozen=True)
class Step:
    """What one training step computed; tensors are detached, `(V,)` each.

    Attributes:
        number: steps done so far, this one included.
        losses: the last total that each player descended, by player.
        terms: every named part of all losses.
    """

    number: int
    losses: dict[str, Tensor]
    terms: dict[str, Tensor]


class Experiment:
    """V networks in training: everything that a checkpoint holds.

    Args:
        config: the experiment.
        data: the real data; moved to the config's device.
        dtype: of weights and data; float64 is for tests.

    Attributes:
        step: steps done.
        method: the method with its networks.
        players: what each player's losses move, by player.
        averages: exponential moving average of each averaged player's weights, as flat as these.
        buffers: averages of their networks' buffers (batch normalisation), by name in a checkpoint.
        averaging: weight of the newest weights in the averages, a 0-dim tensor.
    """

    def __init__(self, config: Config, data: Dataset, *, dtype: torch.dtype = torch.float32) -> None:
        if config.batch % distributed.world():
            raise ConfigError(f"batch: {config.batch} does not divide among {distributed.world()} processes")
        self.config, self.data, self.step = config, data, 0
        self.device, self.dtype = device_of(config.device), dtype
        self.method = build_method(config, data, self.device)
        for network in self.method.networks.values():
            network.to(device=self.device, dtype=dtype)
        for name, tensor in self.method.state.items():
            self.method.state[name] = tensor.to(device=self.device, dtype=dtype)
        self.players = {
            player: Player({name: self.method.networks[name] for name in names}, config.optimiser.of(player))
            for player, names in self.method.players.items()
        }
        self.averages = {player: self.players[player].flat.clone() for player in self.method.averaged}
        self.buffers = {name: buffer.clone() for name, buffer in self._live_buffers().items()}
        self.averaging = torch.zeros((), device=self.device, dtype=dtype)
        self.draws = Draws(
            data.table(self.device, dtype),
            config.seeds,
            copies=len(config.variants),
            noise_dim=self.method.noise_dim,
        )

    @property
    def noise_dim(self) -> int:
        """m, dimension of the noise that samples are generated from."""
        return self.method.noise_dim

    # -- a step ------------------------------------------------------------------------------------------------------

    def advance(self) -> Step:
        """One training step."""
        self.prepare()
        return self.commit(*self.compute())

    def prepare(self) -> None:
        """Set on the host what differs from the step before: streams, step sizes, the averaging weight."""
        opt = self.config.optimiser
        self.draws.at(self.step)
        late = max(0.0, self.step / self.config.steps - opt.decay_from) / max(1 - opt.decay_from, 1e-9)
        share = 1 - (1 - opt.decay_to) * min(1.0, late)
        for player in self.players.values():
            player.lr.fill_(player.settings.lr * share)
        self.averaging.fill_(1 - min(opt.ema, (1 + self.step) / (10 + self.step)))

    @distributed.sharded()
    def compute(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every update of the step and the averages, on the device alone; gives the losses by player, and the terms."""
        losses: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        for player, loss in self.method.updates(self.draws):
            self.players[player].descend(loss)
            losses[player] = loss.total.detach()
            terms |= {name: value.detach() for name, value in loss.terms.items()}
        for player, average in self.averages.items():
            average.lerp_(self.players[player].flat, self.averaging)
        for name, buffer in self._live_buffers().items():
            self.buffers[name].lerp_(buffer, self.averaging)
        return losses, terms

    def commit(self, losses: dict[str, Tensor], terms: dict[str, Tensor]) -> Step:
        """Count the step that was computed."""
        self.step += 1
        return Step(self.step, losses, terms)

    # -- processes that train together -------------------------------------------------------------------------------

    def share(self) -> None:
        """Take over rank 0's state, where several processes train together."""
        self.step = distributed.broadcast_object(self.step)
        distributed.broadcast(tensor for name, tensor in self.tensors().items() if name != "step")

    def agree(self, proceed: bool) -> bool:
        """Broadcast rank 0's decision to continue, and the method's state that a person has changed there."""
        if distributed.world() == 1:
            return proceed
        decision = torch.tensor(
            proceed, dtype=torch.uint8
        )  # on the host: reading it from a GPU would wait for the step
        distributed.broadcast([decision, *self.method.state.values()])
        return bool(decision)

    # -- samples and embeddings --------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, noise: Tensor, *, averaged: bool = True) -> Tensor:
        """Fakes `(V, B, D)`, standardised, from noise `(V, B, m)` or `(B, m)` shared by all variants."""
        noise = noise.to(device=self.device, dtype=self.dtype)
        if noise.ndim == 2:
            noise = noise.expand(len(self.config.members), *noise.shape)
        sampled = [
            self.method.networks[name] for player in self.method.averaged for name in self.method.players[player]
        ]
        for network in sampled:
            network.eval()  # each fake by itself: batch normalisation takes the moments seen in training
        try:
            return self.method.sample(self._networks(averaged=averaged), noise)
        finally:
            for network in sampled:
                network.train()

    @torch.no_grad()
    def embed(self, points: Tensor) -> Tensor:
        """Embeddings `(V, B, n)` of standardised points `(V, B, D)`, or `(B, D)` shared by all variants.

        A method without a metric embeds nothing: the points are their own embeddings.
        """
        points = points.to(device=self.device, dtype=self.dtype)
        points = points.expand(len(self.config.members), *points.shape[-2:])
        embeddings = self.method.embed(points)
        return points if embeddings is None else embeddings

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Compute in full float32 inside, so that scores are the same numbers on every machine."""
        stacks = [network for network in self.method.networks.values() if isinstance(network, ImageStack)]
        before = [network.bf16 for network in stacks]
        for network in stacks:
            network.bf16 = False
        try:
            with exact_float32():
                yield
        finally:
            for network, bf16 in zip(stacks, before, strict=True):
                network.bf16 = bf16

    def view_noise(self, n: int, *, repeat: int = 0) -> Tensor:
        """The fixed generator inputs `(n, m)` that every view and score of a run uses."""
        return view_noise(n, self.noise_dim, repeat=repeat).to(device=self.device, dtype=self.dtype)

    def _networks(self, *, averaged: bool) -> dict[str, Network]:
        """The method's networks, those of averaged players with their averaged weights."""
        networks: dict[str, Network] = dict(self.method.networks)
        if averaged:
            for player, average in self.averages.items():
                weights = dict(zip(self.players[player].names, self.players[player].parts(average), strict=True))
                for name in self.method.players[player]:
                    own = {
                        k.removeprefix(f"{name}."): v
                        for k, v in (weights | self.buffers).items()
                        if k.startswith(f"{name}.")
                    }
                    networks[name] = partial(_call_with, self.method.networks[name], own)
        return networks

    def _live_buffers(self) -> dict[str, Tensor]:
        """Means and variances of batch normalisations in averaged networks, by name; none in a perceptron."""
        return {
            f"{name}.{key}": buffer
            for player in self.method.averaged
            for name in self.method.players[player]
            for key, buffer in self.method.networks[name].named_buffers()
            if buffer.is_floating_point()
        }

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def averaged(self) -> dict[str, Tensor]:
        """Averaged weights and buffers by name in a checkpoint; views, not copies."""
        found: dict[str, Tensor] = {}
        for player, average in self.averages.items():
            found |= dict(zip(self.players[player].names, self.players[player].parts(average), strict=True))
        return {_average_name(name): tensor for name, tensor in (found | self.buffers).items()}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averages, optimiser moments, method's state and step: all that is needed to continue bit for bit."""
        tensors = {"step": torch.tensor(self.step)} | self.method.state
        for name, player in self.players.items():
            tensors |= player.tensors() | {f"{name}.updates": player.moments["step"]}
        return tensors | self._live_buffers() | self.averaged()

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


def build_method(config: Config, data: Dataset, device: torch.device) -> Method[Any]:
    """The config's method with untrained networks for a data set, on the CPU."""
    bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_bf16(device))
    seeds = [stream(seed, -1) for seed in config.seeds]
    members = Members([torch.Generator().manual_seed(seed) for seed in seeds], seeds, len(config.variants))
    architecture = KINDS[config.kind].architecture(data, config.network, members, bf16=bf16)
    task = Task(architecture, config.batch, config.members, dict(config.weights))
    return METHODS[config.method](config.method_settings, task)


def fit(experiment: Experiment) -> Iterator[Step]:
    """Train to the config's number of steps; yields after all optimiser steps of each."""
    while experiment.agree(experiment.step < experiment.config.steps):
        yield experiment.advance()


def view_noise(n: int, noise_dim: int, *, repeat: int = 0) -> Tensor:
    """The fixed generator inputs `(n, noise_dim)` of every run; others for another `repeat`."""
    return torch.randn(n, noise_dim, generator=torch.Generator().manual_seed(stream(repeat, -2)))


def _call_with(network: torch.nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    output: Tensor = torch.func.functional_call(network, weights, (x,))
    return output


def _average_name(name: str) -> str:
    """An averaged tensor's name in a checkpoint: the generator's without its network, as runs have always had it."""
    return f"average.{name.removeprefix('generator.')}"
