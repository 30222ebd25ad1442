"""A player: an optimiser and the networks that it updates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from mvm import distributed
from mvm.config import Adam
from mvm.methods import Loss

__all__ = ["Player"]


class Player:
    """Networks updated by one Adam optimiser, with all weights in one flat tensor.

    The number of operations, not arithmetic, bounds the speed of small networks. On the flat tensor, Adam and the
    averaging are a single operation each, instead of one per parameter.

    Args:
        networks: networks by their name in a checkpoint; their parameters become views of `flat`.
        settings: settings of Adam.

    Attributes:
        flat: all weights, `(number of weights,)`.
        lr: step size of the next `descend`, a 0-dim tensor, so that a captured graph sees its changes.
        moments: Adam's first and second moments, shaped like `flat`, and its number of updates, 0-dim.
    """

    def __init__(self, networks: Mapping[str, nn.Module], settings: Adam) -> None:
        self.names: list[str] = []
        self.parameters: list[nn.Parameter] = []
        for network, module in networks.items():
            for name, parameter in module.named_parameters():
                self.names.append(f"{network}.{name}")
                self.parameters.append(parameter)
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        for parameter, part in zip(self.parameters, self.parts(self.flat), strict=True):
            parameter.data = part
        self.settings = settings
        device = self.flat.device
        # fused Adam reads its step size as float32 from the GPU, or as float64 on the CPU
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        self.lr = torch.full((), settings.lr, device=device, dtype=dtype)
        self.moments = {
            "exp_avg": torch.zeros_like(self.flat),
            "exp_avg_sq": torch.zeros_like(self.flat),
            "step": torch.zeros((), dtype=torch.float32, device=device),
        }

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Views of a flat tensor in the parameters' shapes."""
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(flat.split(sizes), self.parameters, strict=True)]

    def descend(self, loss: Loss) -> None:
        """Update the weights by one step of Adam on the loss summed over variants; other players get no gradient."""
        gradients = torch.autograd.grad(loss.total.sum(), self.parameters, retain_graph=loss.reused)
        gradient = distributed.sum_gradients(torch.cat([g.flatten() for g in gradients]))
        m, s = self.moments, self.settings
        adam(
            [self.flat], [gradient], [m["exp_avg"]], [m["exp_avg_sq"]], [],
            [m["step"]], fused=True, amsgrad=False, beta1=s.betas[0], beta2=s.betas[1], lr=self.lr,
            weight_decay=0.0, eps=s.eps, maximize=False,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Weights, and Adam's first and second moment of each weight, by name."""
        named = dict(zip(self.names, self.parts(self.flat), strict=True))
        for moment in ("exp_avg", "exp_avg_sq"):
            parts = self.parts(self.moments[moment])
            named |= {f"{name}.{moment}": part for name, part in zip(self.names, parts, strict=True)}
        return named
