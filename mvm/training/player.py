"""An optimiser and the networks that it moves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from mvm import distributed
from mvm.methods.method import Loss

__all__ = ["Player"]


class Player:
    """Networks that one optimiser moves, their weights side by side in one flat tensor.

    A step of a small network is bound by the number of operations, not by arithmetic: Adam and the averaging are one
    operation each on the flat tensor, where they were one on each of its parts.

    Args:
        networks: by the name they have in a checkpoint; their parameters become views of `flat`.
        lr, betas, eps: Adam's.

    Attributes:
        flat: all weights.
        lr: step size of the next `descend`.
        moments: Adam's first and second moment, as flat as the weights, and its number of steps.
    """

    def __init__(self, networks: dict[str, nn.Module], *, lr: float, betas: tuple[float, float], eps: float) -> None:
        self.names, self.parameters = [], []
        for network, module in networks.items():
            for name, parameter in module.named_parameters():
                self.names.append(f"{network}.{name}")
                self.parameters.append(parameter)
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        for parameter, part in zip(self.parameters, self.parts(self.flat), strict=True):
            parameter.data = part
        self.lr, self.betas, self.eps = lr, betas, eps
        step = torch.zeros((), dtype=torch.float32, device=self.flat.device)
        self.moments = {"exp_avg": torch.zeros_like(self.flat), "exp_avg_sq": torch.zeros_like(self.flat), "step": step}

    def parts(self, flat: Tensor) -> list[Tensor]:
        """The views of a flat tensor that have the parameters' shapes."""
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(flat.split(sizes), self.parameters, strict=True)]

    def descend(self, loss: Loss) -> None:
        """One step of Adam; other players' weights cost no gradient."""
        gradients = torch.autograd.grad(loss.total.sum(), self.parameters, retain_graph=loss.reused)
        gradient = distributed.sum_gradients(torch.cat([g.flatten() for g in gradients]))
        m = self.moments
        adam(
            [self.flat], [gradient], [m["exp_avg"]], [m["exp_avg_sq"]], [],
            [m["step"]], fused=True, amsgrad=False, beta1=self.betas[0], beta2=self.betas[1], lr=self.lr,
            weight_decay=0.0, eps=self.eps, maximize=False,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Weights, and Adam's moments of each, by name."""
        named = dict(zip(self.names, self.parts(self.flat), strict=True))
        for moment in ("exp_avg", "exp_avg_sq"):
            parts = self.parts(self.moments[moment])
            named |= {f"{name}.{moment}": part for name, part in zip(self.names, parts, strict=True)}
        return named
