"""One member of a stacked perceptron in torch's own layers, which store W as (out, in)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mvm.networks.mlp import StackedMLP

__all__ = ["MODULES", "separate"]


class Swish4(nn.Module):
    """x / (1 + exp(−4x)), its definition."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-4 * x))


class Waves(nn.Module):
    """The input, its sines at each frequency ω over ω, and then its cosines."""

    def __init__(self, frequencies: Sequence[float]) -> None:
        super().__init__()
        self.frequencies = frequencies

    def forward(self, x: Tensor) -> Tensor:
        kinds = [wave(w * x) / w for wave in (torch.sin, torch.cos) for w in self.frequencies]
        return torch.cat([x, *kinds], dim=-1)


MODULES = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "silu": nn.SiLU, "swish4": Swish4}


def separate(network: StackedMLP, index: int, activation: str) -> nn.Sequential:
    """The member as a network of its own, in float64."""
    layers: list[nn.Module] = [Waves(network.frequencies)] if network.frequencies else []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:]).double()
        linear.weight.data = weight.detach()[index].T.contiguous().clone()
        linear.bias.data = bias.detach()[index, 0].clone()
        layers += [linear, MODULES[activation]()]
    return nn.Sequential(*layers[:-1])
