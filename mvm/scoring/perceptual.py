"""Perceptual distances: distances of two pictures in the features of a pretrained network.

    d(x, y) = Σ_l mean over h, w of Σ_c w_lc (φ̂_l(x) − φ̂_l(y))²        φ̂ = φ / ‖φ‖ over the channels c

    vgg16_hed   φ: relu1_2, 2_2, 3_3, 4_3, 5_3 of a VGG16 that was trained on to find edges; w = 1. As LPIPS without its
                learnt weights and on another network: named VGG16-HED, not comparable with LPIPS
    lpips       φ: the same layers of the VGG16 of ImageNet; w learnt from judgements of people, version 0.1. Only where
                $MVM_LPIPS names its file of weights and VGG16's are at hand

Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, 2018.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from mvm.errors import ConfigError, line_of
from mvm.networks.vgg import Features, load_features, stride_of

__all__ = ["LAYERS", "Found", "PerceptualDistance", "find_distances"]

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
LEAST = 16  # pixels that four poolings leave one of
TINY = 1e-10  # added to the norm of features
SIDE, CONTEXT = 800, 112  # pixels of a tile, and around it: more than an activation of relu5_3 depends on


class PerceptualDistance:
    """Distance of two pictures in the features of a network, to relu5_3 at most.

    Large pictures are measured tile by tile, with the same result: at most 2 GB of memory are needed.

    Args:
        name: key of the score.
        features: at the layers that are compared.
        weights: of the channels of each layer, `(c,)`; all 1 when None.
        device: to compute on; when None, a GPU if there is one. A CPU core needs 15 seconds for each megapixel.
    """

    def __init__(
        self,
        name: str,
        features: Features,
        *,
        weights: Mapping[str, Tensor] | None = None,
        device: str | None = None,
    ) -> None:
        self.name = name
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.features = features.to(self.device)
        self._weights = {layer: weight.to(self.device) for layer, weight in (weights or {}).items()}

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor) -> float | None:
        """Distance of two pictures `(h, w, 3)` in 0 to 255; None if a side is shorter than 16 pixels."""
        if min(*x.shape[:2], *y.shape[:2]) < LEAST:
            return None
        height, width = x.shape[:2]
        sums = dict.fromkeys(self.features.layers, 0.0)
        cells = dict.fromkeys(self.features.layers, 0)
        for top, left in product(range(0, height, SIDE), range(0, width, SIDE)):
            start, first = max(0, top - CONTEXT), max(0, left - CONTEXT)
            rows, columns = slice(start, top + SIDE + CONTEXT), slice(first, left + SIDE + CONTEXT)
            pair = torch.stack([x[rows, columns], y[rows, columns]]).permute(0, 3, 1, 2)
            for layer, activations in self.features.each(pair.to(self.device, torch.float32) / 255):
                stride = stride_of(layer)
                above, before, side = (top - start) // stride, (left - first) // stride, SIDE // stride
                own = activations[:, :, above : above + side, before : before + side]
                unit = own / (own.square().sum(1, keepdim=True).sqrt() + TINY)
                difference = (unit[0] - unit[1]).square().sum((1, 2), dtype=torch.float64)
                weight = self._weights.get(layer)
                sums[layer] += float(difference.sum() if weight is None else difference @ weight.double())
                cells[layer] += own[0, 0].numel()
        return sum(sums[layer] / cells[layer] for layer in sums)


@dataclass
class Found:
    """Perceptual distances whose networks are at hand.

    Attributes:
        distances: to measure with.
        missing: what to do about each of the others, one line by key.
    """

    distances: list[PerceptualDistance] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def find_distances(*, device: str | None = None) -> Found:
    """The perceptual distances for which there are weights on this machine."""
    found = Found()
    for name, load in (("vgg16_hed", _vgg16_hed), ("lpips", _lpips)):
        try:
            found.distances.append(load(device))
        except ConfigError as error:
            found.missing[name] = str(error)
    return found


def _vgg16_hed(device: str | None) -> PerceptualDistance:
    return PerceptualDistance("vgg16_hed", load_features("vgg16_hed", LAYERS), device=device)


def _lpips(device: str | None) -> PerceptualDistance:
    """LPIPS of version 0.1 on VGG16.

    Raises:
        ConfigError: weights are missing or damaged; one line.
    """
    if not (named := os.environ.get("MVM_LPIPS")):
        raise ConfigError("lpips: name its weights, weights/v0.1/vgg.pth of the package lpips, in $MVM_LPIPS")
    path = Path(named)
    if not path.is_file():
        raise ConfigError(f"lpips: no weights at {path}, which $MVM_LPIPS names")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        weights = {layer: held[f"lin{place}.model.1.weight"].flatten() for place, layer in enumerate(LAYERS)}
    except Exception as error:  # a damaged file makes the reader raise arbitrary exceptions
        raise ConfigError(f"lpips: {path} does not hold weights/v0.1/vgg.pth: {line_of(error)}") from None
    return PerceptualDistance("lpips", load_features("vgg16", LAYERS), weights=weights, device=device)
