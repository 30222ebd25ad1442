"""Network that reads the factors of toy faces; `python -m mvm.scoring.face_regressor` trains it in five minutes.

    minimise mean ‖regressor(blur(x) + σε) − c‖²,   x = render(c), c uniform in [0, 1]¹², σ up to 0.06

Every face is new. A quarter are rendered at 64 x 64 and averaged down, because thin parts then look different than at
32 x 32. Half are blurred by up to about a pixel and half are noisy, so that generated faces, which are never clean, are
read as well as rendered ones. The weights in the repository have these held-out errors:

                   32 px: R²   |error|   64 px: R²   |error|
    skin               0.994     0.018       0.993     0.019
    width              0.995     0.015       0.995     0.016
    eye_size           0.990     0.022       0.978     0.034
    eye_spacing        0.987     0.025       0.983     0.029
    gaze               0.987     0.024       0.976     0.035
    mouth_curve        0.988     0.025       0.985     0.027
    mouth_width        0.984     0.029       0.979     0.034
    hair_colour        0.996     0.014       0.995     0.016
    hair_length        0.991     0.020       0.991     0.021
    turn               0.994     0.017       0.994     0.018
    light              0.991     0.022       0.990     0.023
    background         0.997     0.011       0.997     0.012
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from toy_manifolds.faces import FACTORS, Faces

__all__ = ["WEIGHTS", "Error", "augment", "fit", "held_out", "load_regressor", "save_regressor"]

WEIGHTS = Path(__file__).with_name("faces_regressor.safetensors")
STEPS = 2000
BATCH = 128
SIZES, LARGE = (32, 64), 32  # sizes of the faces in pixels; number of large faces per batch
RATE = 4e-3  # peak learning rate: rises in the first tenth of training, then decays to zero
NOISE, BLUR = 0.06, 0.6  # upper limits; blur: weight of the mean of the four neighbours


class Error(NamedTuple):
    """Error of one factor: coefficient of determination R² and mean absolute error."""

    r2: float
    absolute: float


def fit(regressor: Regressor, *, steps: int = STEPS, seed: int = 0) -> Iterator[float]:
    """Train on new faces; yields the loss after each step.

    Args:
        regressor: trained in place.
        steps: number of batches of 128 faces.
        seed: seeds the faces and their augmentation.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(regressor.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, pct_start=0.1)
    regressor.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's hints lack it
    for _ in range(steps):
        factors = Faces().draw(BATCH, generator)
        parts = factors.split((BATCH - LARGE, LARGE))
        with torch.no_grad():
            images = torch.cat([_render(part, size) for part, size in zip(parts, SIZES, strict=True)])
            images = augment(images, generator)
        loss = F.mse_loss(regressor(images), factors)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        yield loss.item()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images `(n, 3, size, size)`, half of them blurred and half noisy by random amounts, clipped to [0, 1]."""
    blur, noise = (
        (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1).clamp_min(0) * most for most in (BLUR, NOISE)
    )
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    near = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:] + padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return (torch.lerp(images, near / 4, blur) + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)


@torch.no_grad()
def held_out(regressor: Regressor, *, size: int = 32, n: int = 1024, seed: int = 2**31) -> dict[str, Error]:
    """Errors {factor: error} on `n` clean faces of a size, drawn with a seed that no training uses."""
    regressor.eval()
    factors = Faces().draw(n, torch.Generator().manual_seed(seed))
    missed = torch.cat([regressor(_render(part, size)) for part in factors.split(BATCH)]) - factors
    r2 = 1 - missed.square().mean(0) / factors.var(0, correction=0)
    return {name: Error(float(r2[i]), float(missed[:, i].abs().mean())) for i, name in enumerate(FACTORS)}


def save_regressor(regressor: Regressor, path: Path, **about: object) -> None:
    """Write the weights in half precision, with `about` as metadata."""
    weights = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in regressor.state_dict().items()}
    save_file(weights, path, {key: json.dumps(value) for key, value in about.items()})


def load_regressor(path: Path = WEIGHTS) -> Regressor:
    """The trained network, in evaluation mode."""
    regressor = Regressor()
    regressor.load_state_dict(load_file(path))
    return regressor.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> None:
    """Train, save, and print the held-out error of each factor."""
    parser = argparse.ArgumentParser(
        prog="mvm.scoring.face_regressor", description="Train the network that reads toy faces."
    )
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches of {BATCH} faces (default {STEPS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file of the weights (default: the repository's)")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    regressor = Regressor()
    for step, loss in enumerate(fit(regressor, steps=options.steps, seed=options.seed), start=1):
        if step % 100 == 0 or step == options.steps:
            print(f"step {step:5d}   loss {loss:.5f}", flush=True)
    save_regressor(regressor, options.out, steps=options.steps, seed=options.seed)
    trained = load_regressor(options.out)
    errors = [held_out(trained, size=size) for size in SIZES]
    print("\n" + " " * 12 + "".join(f"{size:5d} px: R²   |error|" for size in SIZES))
    for name in FACTORS:
        print(f"{name:12s}" + "".join(f"{error[name].r2:12.3f} {error[name].absolute:9.3f}" for error in errors))


def _render(factors: Tensor, size: int) -> Tensor:
    """Faces with factors `(n, 12)` rendered at this size and averaged to the network's, `(n, 3, 32, 32)`."""
    return F.interpolate(Faces(size).render(factors), size=Regressor.size, mode="area")


if __name__ == "__main__":
    main()


WIDTHS, STRIDES = (3, 32, 32, 48, 64), (2, 1, 2, 2)


class Regressor(nn.Module):
    """Faces `(n, 3, 32, 32)` in [0, 1] to factors `(n, 12)`, each about in [0, 1]."""

    size = 32
    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (a, b), stride in zip(pairwise(WIDTHS), STRIDES, strict=True):
            kernel = 4 if a == 3 else 3
            layers += [nn.Conv2d(a, b, kernel, stride=stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * 4 * 4, self.feature_dim, bias=False),
            nn.BatchNorm1d(self.feature_dim, affine=False),
        )
        self.head = nn.Linear(self.feature_dim, len(FACTORS))

    def forward(self, images: Tensor) -> Tensor:
        """Factors `(n, 12)` of each face `(n, 3, 32, 32)`."""
        return self.read(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Last hidden layer `(n, 64)`, normalised to mean 0 and variance 1 over the training faces."""
        features: Tensor = self.body(images.to(memory_format=torch.channels_last))
        return features

    def read(self, features: Tensor) -> Tensor:
        """Factors `(n, 12)` of faces with features `(n, 64)`."""
        factors: Tensor = self.head(features.relu())
        return factors
