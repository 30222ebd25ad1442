"""The training loop: the paper's Algorithm 1, as a generator that its caller drives.

    for step in fit(experiment):      # yields after all optimiser updates of a step
        ...                           # the caller records, saves snapshots and checkpoints, or stops early

A step has three parts:

    prepare    on the host: set random streams, step sizes and the averaging weight
    compute    on the device only, without synchronising with the host: losses, optimiser updates, averages; on a GPU
               captured as a graph (`mvm.training.graph`)
    commit     on the host: count the step and return its results to the caller
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from mvm import distributed
from mvm.config import Adam, Config
from mvm.data.kind import Dataset, Members, PairedDataset
from mvm.data.kinds import KINDS
from mvm.devices import computes_bf16, device_of, exact_float32
from mvm.errors import ConfigError
from mvm.methods import Draws, Method, Task, method_on
from mvm.methods.draws import stream
from mvm.methods.method import PAIRED_KINDS, Moment, Network
from mvm.networks.backbones import Backbone
from mvm.networks.compiled import compile_networks, training_step
from mvm.networks.resnet import ImageStack
from mvm.training.compiling import seconds_gained
from mvm.training.graph import Computed, CudaGraph, Graph, StepGraph
from mvm.training.player import Player

__all__ = ["NO_GPU", "Experiment", "Step", "build_method", "fit", "view_noise"]


NO_GPU = "no CUDA device"
MOST_OF_REASON = 200  # letters of a compiler's error that are kept


@dataclass(frozen=True)
class Step:
    """Results of a training step; tensors are detached, `(V,)` each.

    Attributes:
        number: number of steps done, including this step.
        losses: last total that each player descended, by player.
        terms: named parts of all losses.
    """

    number: int
    losses: dict[str, Tensor]
    terms: dict[str, Tensor]


class Experiment:
    """State of a training of V members: everything that a checkpoint holds.

    Args:
        config: settings of the experiment.
        data: real data; the training points are moved to the config's device.
        dtype: dtype of weights and data; float64 is for tests.

    Attributes:
        step: number of steps done.
        method: the method with its networks.
        players: optimiser and networks of each player, by player.
        averages: exponential moving average of each averaged player's flat weights, by player.
        moved: present values of the movable settings but the weights, which are in the method's state, by dotted name.
        buffers: averaged buffers of the averaged networks (batch normalisation), by name.
        averaging: weight of the current weights in the averages, a 0-dim tensor.
        compiled: whether training steps compute by compiled networks.
        not_compiled: why compiling failed, one line; steps compute as written then. "" if nothing failed.
    """

    graph: Callable[[Sequence[torch.Generator]], Graph] = CudaGraph
    compiler = "inductor"

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
        for name, tensor in self.method.coefficients.items():
            self.method.coefficients[name] = tensor.to(device=self.device, dtype=dtype)
        flat = config.flat()
        self.moved: dict[str, float] = {name: flat[name] for name in config.movable if not name.startswith("weights.")}
        self.optimiser = config.optimiser
        self.players = {
            player: Player({name: self.method.networks[name] for name in names}, self._adam_of(player))
            for player, names in self.method.players.items()
        }
        self.averages = {player: self.players[player].flat.clone() for player in self.method.averaged}
        live = self._live_buffers()
        self._averaged_buffers = _flat(live.values())  # averaged in one operation
        parts = self._averaged_buffers.split([buffer.numel() for buffer in live.values()])
        self.buffers = {name: part.view(live[name].shape) for name, part in zip(live, parts, strict=True)}
        self.averaging = torch.zeros((), device=self.device, dtype=dtype)
        self.draws = Draws(
            data.table(self.device, dtype),
            config.seeds,
            copies=len(config.variants),
            noise_dim=self.method.noise_dim,
        )
        self._graphs: dict[str, StepGraph] = {}
        self.compiled, self._phases_compiled = self._compiles(), set[str]()
        self.not_compiled = "several processes" if config.compile == "on" and not self.compiled else ""

    def _adam_of(self, player: str) -> list[Adam]:
        """A player's settings of Adam for each member."""
        of_variant = {variant: self.config.of_variant(variant) for variant in self.config.variants}
        return [of_variant[variant].optimiser.of(player) for variant, _ in self.config.members]

    def _compiles(self) -> bool:
        """Whether the networks are to be compiled, by the config and `seconds_gained`."""
        if self.config.compile != "auto" or distributed.world() > 1:
            return self.config.compile == "on" and distributed.world() == 1
        stacks = [network for network in self.method.networks.values() if isinstance(network, ImageStack)]
        if not stacks or self.device.type != "cuda" or self.config.kind in PAIRED_KINDS:  # nothing measured for pairs
            return False
        config, size = self.config, math.isqrt(self.data.dim // 3)
        sizes = {"size": size, "channels": config.network.channels, "batch": config.batch}
        return seconds_gained(config.steps, **sizes, members=len(config.members)) > 0

    @property
    def noise_dim(self) -> int:
        """m, dimension of the noise for `generate`."""
        return self.method.noise_dim

    def move(self, settings: Mapping[str, float]) -> None:
        """Take new values of some settings in `moved` from the next step on, by dotted name; others are ignored."""
        groups: dict[str, dict[str, float]] = {"optimiser": {}, self.config.method: {}}
        for dotted in settings.keys() & self.moved.keys():
            group, _, name = dotted.partition(".")
            self.moved[dotted] = groups[group][name] = settings[dotted]
        before, self.optimiser = self.optimiser, self.optimiser.model_copy(update=groups["optimiser"])
        for player in self.players:
            if (new := self.optimiser.of(player).lr) != before.of(player).lr:
                self.players[player].rate = new
        self.method.move(groups[self.config.method])

    # -- a step ------------------------------------------------------------------------------------------------------

    def advance(self) -> Step:
        """Do one training step; on a GPU by a graph, if the config and the method allow it."""
        self.prepare()
        if self.compiled and self.method.phase(self.step) not in self._phases_compiled:
            return self.commit(*self._compile())
        return self.commit(*self._computed())

    def _computed(self) -> Computed:
        return self.compute() if self.eager else self._captured()()

    def _compile(self) -> Computed:
        """Compute a phase's first step, in which its networks are compiled; if that fails, compute it as written."""
        before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        compile_networks(self.method.networks.values(), self.compiler)
        self._phases_compiled.add(self.method.phase(self.step))
        try:
            return self._computed()
        except Exception as error:  # whatever a compiler may raise: training does not need it
            self.not_compiled = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_OF_REASON]
            self.compiled = False
            compile_networks(self.method.networks.values(), "")
            self.load(before)
            self.prepare()
            return self._computed()

    @property
    def eager(self) -> str:
        """Why steps are not replayed from a CUDA graph, in a few words; "" if they are."""
        if self.device.type != "cuda":
            return NO_GPU
        if self.config.graph == "off":
            return "--graph off"
        if self.method.host_work:
            return f"{self.method.host_work} on the host"
        return next((graph.failure for graph in self._graphs.values() if graph.failure), "")

    def _captured(self) -> StepGraph:
        """The graph of the present phase."""
        phase = self.method.phase(self.step)
        if phase not in self._graphs:
            self.release()
            self._graphs = {phase: StepGraph(self.compute, self.draws, graph=type(self).graph)}
        return self._graphs[phase]

    def release(self) -> None:
        """Free the memory of captured steps."""
        for graph in self._graphs.values():
            graph.release()
        self._graphs = {}

    def prepare(self) -> None:
        """Set the values that change from step to step: random streams, step sizes, the averaging weight."""
        opt = self.optimiser
        self.method.prepare()
        self.draws.at(self.step)
        late = max(0.0, self.step / self.config.steps - opt.decay_from) / max(1 - opt.decay_from, 1e-9)
        share = 1 - (1 - opt.decay_to) * min(1.0, late)
        for player in self.players.values():
            player.lr.fill_(player.rate * share)
        self.averaging.fill_(1 - min(opt.ema, (1 + self.step) / (10 + self.step)))

    @distributed.sharded()
    @training_step()
    def compute(self) -> Computed:
        """Do every update of the step, and update the averages, on the device; returns losses by player, and terms."""
        losses: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        for player, loss in self.method.updates(self.draws):
            self.players[player].descend(loss)
            losses[player] = loss.total.detach()
            terms |= {name: value.detach() for name, value in loss.terms.items()}
        for player, average in self.averages.items():
            average.lerp_(self.players[player].flat, self.averaging)
        if self.buffers:
            self._averaged_buffers.lerp_(_flat(self._live_buffers().values()), self.averaging)
        return losses, terms

    def commit(self, losses: dict[str, Tensor], terms: dict[str, Tensor]) -> Step:
        """Count the step and return its results."""
        self.step += 1
        return Step(self.step, losses, terms)

    # -- several processes -------------------------------------------------------------------------------------------

    def share(self) -> None:
        """Broadcast rank 0's state to all processes that train together."""
        self.step = distributed.broadcast_object(self.step)
        distributed.broadcast(tensor for name, tensor in self.tensors().items() if name != "step")

    def agree(self, proceed: bool) -> bool:
        """Broadcast rank 0's decision to continue, and the settings that a user may have changed on rank 0."""
        if distributed.world() == 1:
            return proceed
        decision = torch.tensor(proceed, dtype=torch.uint8)  # on the host, to be read without waiting for a GPU
        values = torch.tensor([*self.moved.values()], dtype=torch.float64)
        distributed.broadcast([decision, values, *self.method.state.values()])
        if distributed.rank():
            self.move(dict(zip(self.moved, values.tolist(), strict=True)))
        return bool(decision)

    # -- samples and embeddings --------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, noise: Tensor, *, averaged: bool = True) -> Tensor:
        """Generate standardised fakes `(V, B, D)` from noise `(V, B, m)`, or `(B, m)` shared by all variants."""
        with self._evaluating():
            return self.method.sample(self._networks(averaged=averaged), self._inputs(noise))

    @torch.no_grad()
    def path(self, noise: Tensor) -> list[Moment]:
        """Standardised fakes at every time of their sampling, the last as `generate` returns; empty without a path."""
        with self._evaluating():
            return [*(self.method.path(self._networks(averaged=True), self._inputs(noise)) or ())]

    def _inputs(self, noise: Tensor) -> Tensor:
        """Generator inputs `(V, B, m)`, of the experiment's device and dtype."""
        noise = noise.to(device=self.device, dtype=self.dtype)
        return noise.expand(len(self.config.members), *noise.shape) if noise.ndim == 2 else noise

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Batch normalisation uses running moments inside, so that fakes do not depend on each other."""
        sampled = [
            self.method.networks[name] for player in self.method.averaged for name in self.method.players[player]
        ]
        for network in sampled:
            network.eval()
        try:
            yield
        finally:
            for network in sampled:
                network.train()

    @torch.no_grad()
    def embed(self, points: Tensor) -> Tensor:
        """Embed standardised points `(V, B, D)`, or `(B, D)` shared by all variants, as `(V, B, n)`.

        Without a metric, the embeddings are the points, `(V, B, D)`.
        """
        points = points.to(device=self.device, dtype=self.dtype)
        points = points.expand(len(self.config.members), *points.shape[-2:])
        embeddings = self.method.embed(points)
        return points.clone() if embeddings is None else embeddings

    @torch.no_grad()
    def log_density(self, points: Tensor, *, averaged: bool = True) -> Tensor | None:
        """log p of standardised points `(V, B, D)`, or `(B, D)` for all variants: `(V, B)`; None without a density."""
        points = points.to(device=self.device, dtype=self.dtype)
        points = points.expand(len(self.config.members), *points.shape[-2:])
        return self.method.log_density(self._networks(averaged=averaged), points)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor | None:
        """Standardised points `(V, B, D)` of latents `(V, B, n)` by averaged networks; None without a decoder."""
        latents = latents.to(device=self.device, dtype=self.dtype)
        return self.method.decode(self._networks(averaged=True), latents)

    @torch.no_grad()
    def score(self, points: Tensor, sigma: float) -> Tensor | None:
        """Score of standardised points `(V, B, D)` with noise σ by averaged networks; None where none is learned."""
        points = points.to(device=self.device, dtype=self.dtype)
        return self.method.score(self._networks(averaged=True), points, sigma)

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Compute in full float32 inside the context, so that scores do not depend on the machine's precision."""
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

    def view_inputs(self, n: int, *, repeat: int = 0) -> Tensor:
        """Fixed generator inputs `(n, m)` for all views and scores of a run: noise, or the inputs of paired data."""
        if self.config.kind in PAIRED_KINDS:
            inputs = cast(PairedDataset, self.data).view_inputs[:n]
        else:
            inputs = view_noise(n, self.noise_dim, repeat=repeat)
        return inputs.to(device=self.device, dtype=self.dtype)

    def upscaler(self, member: int) -> Callable[[Tensor], Tensor]:
        """Averaged generator of a member on paired data, for pictures of any size: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`.

        It computes in full float32, and does not clip.
        """
        stack = self.method.networks["generator"]
        assert isinstance(stack, ImageStack)
        module, prefix = stack.members[member], f"members.{member}."
        averaged = {name.removeprefix("average."): tensor for name, tensor in self.averaged().items()}
        weights = {name.removeprefix(prefix): t for name, t in averaged.items() if name.startswith(prefix)}

        @torch.no_grad()
        def upscale(pictures: Tensor) -> Tensor:
            module.eval()
            try:
                with exact_float32():
                    return _call_with(module, weights, pictures.to(device=self.device, dtype=self.dtype))
            finally:
                module.train()

        return upscale

    @property
    def receptive_field(self) -> int:
        """Input pixels on each side of its source pixel that an output pixel of `upscaler` depends on."""
        stack = self.method.networks["generator"]
        assert isinstance(stack, ImageStack)
        backbone = stack.members[0]
        assert isinstance(backbone, Backbone)
        return backbone.receptive_field

    def _networks(self, *, averaged: bool) -> dict[str, Network]:
        """The method's networks by name; with `averaged`, networks of averaged players use averaged weights."""
        networks: dict[str, Network] = dict(self.method.networks)
        if averaged:
            for player, average in self.averages.items():
                weights = dict(zip(self.players[player].names, self.players[player].parts(average), strict=True))
                for name in self.method.players[player]:
                    tensors = {
                        k.removeprefix(f"{name}."): v
                        for k, v in (weights | self.buffers).items()
                        if k.startswith(f"{name}.")
                    }
                    networks[name] = partial(_call_with, self.method.networks[name], tensors)
        return networks

    def _live_buffers(self) -> dict[str, Tensor]:
        """Running means and variances of batch normalisation in averaged networks, by name; empty for perceptrons."""
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
        weights: dict[str, Tensor] = {}
        for player, average in self.averages.items():
            weights |= dict(zip(self.players[player].names, self.players[player].parts(average), strict=True))
        return {_average_name(name): tensor for name, tensor in (weights | self.buffers).items()}

    def tensors(self) -> dict[str, Tensor]:
        """The full training state by name: step, method's state, weights, optimiser moments, buffers, averages.

        Training continues bit for bit from these tensors.
        """
        tensors = {"step": torch.tensor(self.step)} | self.method.state
        for name, player in self.players.items():
            tensors |= player.tensors() | {f"{name}.updates": player.moments["step"]}
        return tensors | self._live_buffers() | self.averaged()

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Load the training state that `tensors` returned.

        Raises:
            ConfigError: a tensor is missing or has another shape, as in a checkpoint of another config.
        """
        for name, target in self.tensors().items():
            if name not in tensors:
                raise ConfigError(f"checkpoint does not fit its config: it has no {name}")
            if tensors[name].shape != target.shape:  # copy_ would broadcast a single variant over many
                shapes = f"{tuple(tensors[name].shape)}, not {tuple(target.shape)}"
                raise ConfigError(f"checkpoint does not fit its config: {name} is {shapes}")
            target.copy_(tensors[name])
        self.step = int(tensors["step"])


def build_method(config: Config, data: Dataset, device: torch.device) -> Method[Any]:
    """Build the config's method with untrained networks for a data set, on the CPU.

    Args:
        config: settings of the experiment.
        data: the data set, or its units.
        device: device that will train the networks; decides whether precision "auto" means bf16.
    """
    bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_bf16(device))
    seeds = [stream(seed, -1) for seed in config.seeds]
    members = Members([torch.Generator().manual_seed(seed) for seed in seeds], seeds, len(config.variants))
    architecture = KINDS[config.kind].architecture(data, config.network, members, bf16=bf16)
    task = Task(architecture, config.batch, config.members, dict(config.weights), config.pairs, config.steps)
    return method_on(config.kind, config.method)(config.method_settings, task)


def fit(experiment: Experiment) -> Iterator[Step]:
    """Train to the config's number of steps; yields after each step."""
    while experiment.agree(experiment.step < experiment.config.steps):
        yield experiment.advance()


def view_noise(n: int, noise_dim: int, *, repeat: int = 0) -> Tensor:
    """Fixed generator inputs `(n, noise_dim)`, equal for all runs; each `repeat` gives other inputs."""
    return torch.randn(n, noise_dim, generator=torch.Generator().manual_seed(stream(repeat, -2)))


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    """A copy of tensors as one flat tensor."""
    parts = [tensor.flatten() for tensor in tensors]
    return torch.cat(parts) if parts else torch.empty(0)


def _call_with(network: torch.nn.Module, weights: dict[str, Tensor], x: Tensor, **verbs: str) -> Tensor:
    """Output of a network at x with other weights and buffers."""
    output: Tensor = torch.func.functional_call(network, weights, (x,), verbs)
    return output


def _average_name(name: str) -> str:
    """Name of an averaged tensor in a checkpoint; the generator's omit "generator.", as in every earlier version."""
    return f"average.{name.removeprefix('generator.')}"
