"""placeholder until the losses of `nets` arrive"""
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(on_real: Tensor, on_fake: Tensor, *, relativistic: bool) -> Tensor:
    if relativistic:
        a, b = on_real - on_fake.mean(-1, keepdim=True), on_fake - on_real.mean(-1, keepdim=True)
        return (F.softplus(-a) + F.softplus(b)).mean(-1) / 2
    return (F.softplus(-on_real) + F.softplus(on_fake)).mean(-1)


def generator_loss(on_real: Tensor, on_fake: Tensor, *, relativistic: bool) -> Tensor:
    if relativistic:
        a, b = on_real - on_fake.mean(-1, keepdim=True), on_fake - on_real.mean(-1, keepdim=True)
        return (F.softplus(a) + F.softplus(-b)).mean(-1) / 2
    return F.softplus(-on_fake).mean(-1)
