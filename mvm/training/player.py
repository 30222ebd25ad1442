"""A player: an optimiser and the networks that it updates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from mvm import distributed
from mvm.config import Adam
from mvm.methods import Loss

__all__ = ["Player", "member_of"]

MEMBER = re.compile(r"(?<=members\.)\d+(?=\.)")


class Player:
    """Networks updated by one Adam optimiser, with all weights in one flat tensor.

    The number of operations, not arithmetic, bounds the speed of small networks. On the flat tensor, Adam and the
    averaging are a single operation each, instead of one per parameter; where members have step sizes of their own,
    Adam is a dozen.

    Args:
        networks: networks by their name in a checkpoint; their parameters become views of `flat`.
        settings: settings of Adam of each member of the variant axis, which differ in the step size only.

    Attributes:
        flat: all weights, `(number of weights,)`.
        rate: step size before decay; 1 where there are `rates`.
        rates: step size of each weight before decay, shaped like `flat`, where those of the members differ; else None.
        lr: step size of the next `descend`, or the factor of `rates` there; a 0-dim tensor, so that a captured graph
            sees its changes.
        moments: Adam's first and second moments, shaped like `flat`, and its number of updates, 0-dim.
    """

    def __init__(self, networks: Mapping[str, nn.Module], settings: Sequence[Adam]) -> None:
        self.names: list[str] = []
        self.parameters: list[nn.Parameter] = []
        for network, module in networks.items():
            for name, parameter in module.named_parameters():
                self.names.append(f"{network}.{name}")
                self.parameters.append(parameter)
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        for parameter, part in zip(self.parameters, self.parts(self.flat), strict=True):
            parameter.data = part
        self.settings = settings[0]
        device = self.flat.device
        # fused Adam reads its step size as float32 from the GPU, or as float64 on the CPU
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        differ = len({each.lr for each in settings}) > 1
        self.rates = self._rates([each.lr for each in settings]) if differ else None
        self.rate = 1.0 if differ else self.settings.lr
        self.lr = torch.full((), self.rate, device=device, dtype=dtype)
        self.moments = {
            "exp_avg": torch.zeros_like(self.flat),
            "exp_avg_sq": torch.zeros_like(self.flat),
            "step": torch.zeros((), dtype=torch.float32, device=device),
        }

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Views of a flat tensor in the parameters' shapes."""
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(flat.split(sizes), self.parameters, strict=True)]

    def _rates(self, of_members: Sequence[float]) -> Tensor:
        """Step size of each weight, by the member that it belongs to."""
        rates = torch.empty_like(self.flat)
        for name, part in zip(self.names, self.parts(rates), strict=True):
            if (member := member_of(name)) is not None:
                part.fill_(of_members[member])
            else:
                part.copy_(part.new_tensor(of_members).view(-1, *[1] * (part.ndim - 1)))
        return rates

    def descend(self, loss: Loss) -> None:
        """Update the weights by one step of Adam on the loss summed over variants; other players get no gradient."""
        gradients = torch.autograd.grad(loss.total.sum(), self.parameters, retain_graph=loss.reused)
        gradient = distributed.sum_gradients(torch.cat([g.flatten() for g in gradients]))
        m, s = self.moments, self.settings
        if self.rates is not None:
            self._adam(gradient, self.rates)
            return
        adam(
            [self.flat], [gradient], [m["exp_avg"]], [m["exp_avg_sq"]], [],
            [m["step"]], fused=True, amsgrad=False, beta1=s.betas[0], beta2=s.betas[1], lr=self.lr,
            weight_decay=0.0, eps=s.eps, maximize=False,
        )  # fmt: skip

    @torch.no_grad()
    def _adam(self, gradient: Tensor, rates: Tensor) -> None:
        """One step of Adam with a step size for each weight (Kingma and Ba 2015, Algorithm 1)."""
        first, second, step = (self.moments[name] for name in ("exp_avg", "exp_avg_sq", "step"))
        (beta1, beta2), eps = self.settings.betas, self.settings.eps
        updates = step.add_(1).double()  # 1 − β₂ᵗ loses digits in float32
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        size = (second / (1 - beta2**updates)).sqrt_().add_(eps).mul_(1 - beta1**updates)
        self.flat.sub_(first / size * rates * self.lr)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, and Adam's first and second moment of each weight, by name."""
        named = dict(zip(self.names, self.parts(self.flat), strict=True))
        for moment in ("exp_avg", "exp_avg_sq"):
            parts = self.parts(self.moments[moment])
            named |= {f"{name}.{moment}": part for name, part in zip(self.names, parts, strict=True)}
        return named


def member_of(name: str) -> int | None:
    """Number of the member that a tensor of a picture network belongs to, by its name; None for those of all members.

    Tensors of perceptrons have a variant axis, `(V, ...)`. Tensors of picture networks belong to a member each, with
    its number in their name: `generator.members.3.input.weight`.
    """
    found = MEMBER.search(name)
    return int(found[0]) if found else None
