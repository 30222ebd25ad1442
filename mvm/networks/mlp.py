"""Multilayer perceptrons with a variant axis: V independent networks evaluated together.

    x ← φ(x W_v + b_v)                      x: (V, B, in),  W: (V, in, out),  b: (V, 1, out)
    x ← (x, sin(ωx)/ω, cos(ωx)/ω, ...)      before the first layer, for given frequencies ω: each part has slope ≤ 1

One batched matrix product per layer computes all variants. No variant's loss depends on another's weights, so the
gradient of the losses summed over V is the gradient of each variant's loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvm.distributed import rowwise
from mvm.networks.architecture import StackedNetwork
from mvm.networks.compiled import compilable
from mvm.networks.settings import NetworkSettings

__all__ = ["ACTIVATIONS", "Perceptrons", "SizedBySettings", "StackedMLP", "waves"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "silu": F.silu,
    "swish4": lambda x: F.silu(4 * x) / 4,  # x σ(βx) with β = 4 (Ramachandran et al. 2017): between SiLU and ReLU
}


class StackedMLP(StackedNetwork):
    """V perceptrons `sizes[0] -> ... -> sizes[-1]`, with the activation after every layer but the last.

    Args:
        sizes: layer widths, input and output included.
        generators: one random generator per seed, on any device; weights and biases are drawn from U(−1/√in, 1/√in),
            so that equal seeds give equal initial weights.
        copies: variants per seed; V = copies · len(generators), seeds vary fastest.
        activation: name in `ACTIVATIONS`.
        frequencies: ω of the sines and cosines appended to the input.
        unit_length: scale each output to Euclidean length 1.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        copies: int = 1,
        activation: str = "relu",
        frequencies: Sequence[float] = (),
        unit_length: bool = False,
    ) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]
        self.unit_length = unit_length
        self.frequencies = tuple(frequencies)
        sizes = [sizes[0] * (1 + 2 * len(frequencies)), *sizes[1:]]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            bound = inputs**-0.5
            drawn = torch.stack(
                [(torch.rand(inputs + 1, outputs, generator=g, device=g.device) * 2 - 1) * bound for g in generators]
            ).repeat(copies, 1, 1)
            self.weights.append(nn.Parameter(drawn[:, :-1].contiguous()))
            self.biases.append(nn.Parameter(drawn[:, -1:].contiguous()))

    def matrices(self) -> dict[str, Tensor]:
        """Every weight matrix `(V, in, out)` by its parameter's name."""
        return {f"weights.{layer}": weight for layer, weight in enumerate(self.weights)}

    def member(self, index: int) -> StackedMLP:
        """Network of the single member at `index` (V = 1), which shares its weights' memory with this network."""
        single = copy.deepcopy(self, {id(p): p for p in self.parameters()})
        for stack in (single.weights, single.biases):
            for layer, parameter in enumerate(stack):
                stack[layer] = nn.Parameter(parameter.detach()[index : index + 1], requires_grad=False)
        return single

    @rowwise
    @compilable
    def forward(self, x: Tensor) -> Tensor:
        """Map `(V, B, in)` to `(V, B, out)`."""
        last = len(self.weights) - 1
        if self.frequencies:
            x = waves(x, self.frequencies)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                x = self.activation(x)
        return F.normalize(x, dim=-1) if self.unit_length else x


class SizedBySettings:
    """What every `Architecture` takes from `NetworkSettings`: the dimensions, and linear layers on embeddings."""

    settings: NetworkSettings
    streams: Sequence[torch.Generator]
    copies: int

    @property
    def noise_dim(self) -> int:
        """m, dimension of the generator's noise."""
        return self.settings.noise_dim

    @property
    def embedding_dim(self) -> int:
        """n, dimension of an embedding."""
        return self.settings.embedding_dim

    def perceptron(self, inputs: int, outputs: int) -> StackedMLP:
        """A perceptron of the settings' width and depth, for a density: `(V, B, inputs)` to `(V, B, outputs)`."""
        net = self.settings
        sizes = [inputs, *[net.width] * net.depth, outputs]
        return StackedMLP(sizes, self.streams, copies=self.copies, activation=net.generator_activation)

    def readout(self, outputs: int) -> StackedMLP:
        """A linear layer on embeddings: `(V, B, n)` to `(V, B, outputs)`."""
        return StackedMLP([self.embedding_dim, outputs], self.streams, copies=self.copies)


@dataclass(frozen=True)
class Perceptrons(SizedBySettings):
    """`Architecture` for points: stacked perceptrons.

    Args:
        settings: sizes and activations.
        dim: D, dimension of a point.
        streams: one random generator per seed, from which networks draw initial weights in the order they are built.
        copies: variants per seed; V = copies · len(streams), seeds vary fastest.
    """

    settings: NetworkSettings
    dim: int
    streams: Sequence[torch.Generator]
    copies: int = 1

    def generator(self, inputs: int) -> StackedMLP:
        """f_θ: `(V, B, inputs)` to `(V, B, D)`."""
        sizes = [inputs, *self._hidden, self.dim]
        return StackedMLP(sizes, self.streams, copies=self.copies, activation=self.settings.generator_activation)

    def metric(self) -> StackedMLP:
        """g_w: `(V, B, D)` to `(V, B, n)`."""
        net = self.settings
        return StackedMLP(
            [self.dim, *self._hidden, net.embedding_dim], self.streams, copies=self.copies,
            activation=net.activation, frequencies=net.frequencies, unit_length=net.unit_embedding,
        )  # fmt: skip

    @property
    def _hidden(self) -> list[int]:
        return [self.settings.width] * self.settings.depth


def waves(x: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Append sin(ωx)/ω, then cos(ωx)/ω, for k frequencies ω: `(..., D)` to `(..., D (1 + 2k))`.

    Small ReLU networks learn fine detail slowly (spectral bias: Rahaman et al. 2019); Fourier features speed this up
    (Tancik et al. 2020). The loop over frequencies is deliberate: CPUs do not vectorise elementwise operations over a
    short last axis.
    """
    phases = [x * w for w in frequencies]
    waved = [wave(phase) / w for wave in (torch.sin, torch.cos) for phase, w in zip(phases, frequencies, strict=True)]
    return torch.cat([x, *waved], dim=-1)
