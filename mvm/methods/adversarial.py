"""Adversarial losses of a discriminator C of real data x and fakes y, both sides.

    standard        discriminator   −E log σ(C(x)) − E log(1 − σ(C(y)))
                    generator       −E log σ(C(y))                                      (non-saturating)
    relativistic    discriminator   −E log σ(C(x) − E C(y)) − E log(1 − σ(C(y) − E C(x)))
                    generator       −E log(1 − σ(C(x) − E C(y))) − E log σ(C(y) − E C(x))

σ is the logistic function; −log σ(c) = softplus(−c) and −log(1 − σ(c)) = softplus(c). The relativistic one is RaGAN:
the discriminator estimates whether a real point is more realistic than the mean fake, and a fake than the mean real.

Sources: Goodfellow et al., NeurIPS 2014. Jolicoeur-Martineau, ICLR 2019: RaSGAN.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["discriminator_loss", "generator_loss"]


def discriminator_loss(on_real: Tensor, on_fake: Tensor, *, relativistic: bool) -> Tensor:
    """Loss of the discriminator.

    Args:
        on_real, on_fake: its logits C(x) and C(y), `(..., B)`.
        relativistic: the relativistic average loss instead of the standard one.

    Returns:
        `(...)`.
    """
    real, fake = _relative(on_real, on_fake) if relativistic else (on_real, on_fake)
    return softplus(-real).mean(-1) + softplus(fake).mean(-1)


def generator_loss(on_real: Tensor, on_fake: Tensor, *, relativistic: bool) -> Tensor:
    """Loss of the generator; the standard one ignores `on_real`.

    Args:
        on_real, on_fake: the discriminator's logits C(x) and C(y), `(..., B)`.
        relativistic: the relativistic average loss instead of the standard one.

    Returns:
        `(...)`.
    """
    if not relativistic:
        return softplus(-on_fake).mean(-1)
    real, fake = _relative(on_real, on_fake)
    return softplus(real).mean(-1) + softplus(-fake).mean(-1)


def _relative(on_real: Tensor, on_fake: Tensor) -> tuple[Tensor, Tensor]:
    """Each side's logits relative to the mean of the other."""
    return on_real - on_fake.mean(-1, keepdim=True), on_fake - on_real.mean(-1, keepdim=True)
