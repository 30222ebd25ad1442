"""A perceptual network with random weights, in place of pretrained ones that are not on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch

from mvm.networks import vgg
from mvm.networks.vgg import FEATURES, layers_of

NARROW = (4, 4, 8, 8, 8)  # channels of each block


def random_weights(name: str) -> dict[str, torch.Tensor]:
    """Weights of a network of `NARROW` blocks, the same at every call."""
    generator, weights, inputs = torch.Generator().manual_seed(0), {}, 3
    for layer in (layer for layer in layers_of(FEATURES[name]) if layer.startswith("conv")):
        outputs = NARROW[int(layer[len("conv")]) - 1]
        weights[f"{layer}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / (9 * inputs) ** 0.5
        weights[f"{layer}.bias"] = torch.zeros(outputs)
        inputs = outputs
    return weights


@contextmanager
def random_features(name: str = "vgg16_hed") -> Iterator[None]:
    """Within the context, a pretrained network is a narrow random one."""
    weights = random_weights(name)
    with (
        patch.object(vgg, "WIDTHS", NARROW),
        patch.dict(FEATURES, {name: replace(FEATURES[name], read=lambda: dict(weights))}),
    ):
        yield
