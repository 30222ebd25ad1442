"""What pictures are compared by: extractors, each a callable with a name.

    features = extractor(images)      images (n, size, size, 3) uint8 -> (n, d) float32, on the CPU

    pixels      pixels at 32 x 32 or less on the 64 principal axes of a real sample; any pictures, nothing to download
    faces       last hidden layer of the network that reads toy faces; its 12 factors, too
    inception   2048 pooled activations of Inception-v3, whose Fréchet distance is the FID; weights must be fetched

Averaging large pictures down to few pixels keeps the first two cheap; they see nothing finer than that.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mvm.errors import ConfigError
from mvm.scoring.face_regressor import load_regressor

__all__ = ["FIT", "Extractor", "FactorRegressor", "Inception", "PixelPCA", "check_images"]

CHUNK = 128  # pictures taken at a time
FIT = 2048  # reals that the axes are fitted on
INCEPTION_PACKAGES = "torch-fidelity==0.4.0 torchvision==0.28.0"  # the latter is made for torch 2.13
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"


class Extractor(Protocol):
    """Images `(n, size, size, 3)` uint8 to features `(n, d)` float32."""

    name: str

    def __call__(self, images: Tensor) -> Tensor: ...


class PixelPCA:
    """Pixels on the principal axes of a real sample, in units of the reals' mean deviation along them.

    Args:
        real: images `(n, size, size, 3)` uint8; the axes are those of the first `FIT`.
        k: axes; fewer where the sample has fewer.
        size: larger pictures are averaged down to this many pixels each way.

    Raises:
        ValueError: `real` is no such images.
    """

    name = "pixels"

    def __init__(self, real: Tensor, *, k: int = 64, size: int = 32) -> None:
        from sklearn.decomposition import PCA

        self.size = size
        check_images("real", real)
        pixels = self._pixels(real[:FIT]).double()
        fitted = PCA(min(k, len(pixels) - 1, pixels.shape[1]), random_state=0).fit(pixels.numpy())
        scale = torch.tensor(fitted.explained_variance_).mean().sqrt()
        self._mean = pixels.mean(0).float()
        self._axes = (torch.tensor(fitted.components_).mT / scale.where(scale > 0, 1)).float()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Coordinates along the axes, `(n, k)`."""
        return (self._pixels(images) - self._mean) @ self._axes

    def _pixels(self, images: Tensor) -> Tensor:
        return torch.cat([part.flatten(1) for part in _small(images, min(self.size, images.shape[1]))])


class FactorRegressor:
    """What the trained network sees in toy faces of any size.

    Args:
        weights: file of `python -m mvm.scoring.face_regressor`; the repository's when None.
    """

    name = "faces"

    def __init__(self, weights: Path | None = None) -> None:
        self.network = load_regressor() if weights is None else load_regressor(weights)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The last hidden layer, `(n, 64)`."""
        return torch.cat([self.network.features(part) for part in _small(images, self.network.size)])

    @torch.no_grad()
    def read(self, features: Tensor) -> Tensor:
        """The factors that features `(n, 64)` stand for."""
        return self.network.read(features)


class Inception:
    """Inception-v3 as the FID takes it, by the package torch-fidelity; nothing is downloaded here.

    That package imports torchvision, which must be made for the installed torch: with a CPU one, add
    `--index-url https://download.pytorch.org/whl/cpu` to its installation.

    Args:
        weights: file; when None that of $MVM_INCEPTION, else the one in torch's cache of downloads.
        device: to compute on; a GPU where there is one when None. A CPU core takes two or three pictures a second.

    Raises:
        ConfigError: the packages or the weights are missing; one line with what to do.
    """

    name = "inception"

    def __init__(self, weights: Path | None = None, *, device: str | None = None) -> None:
        try:
            module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        except (ImportError, RuntimeError) as error:  # the latter: a torchvision made for another torch
            reason = str(error).splitlines()[0]
            raise ConfigError(f"inception: {reason}; pip install --no-deps {INCEPTION_PACKAGES}") from None
        cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
        path = Path(weights or os.environ.get("MVM_INCEPTION") or cached)
        if not path.is_file():
            raise ConfigError(
                f"inception: no weights at {path}; download {INCEPTION_URL} to there, or name a file in $MVM_INCEPTION"
            )
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        network = module.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
        self.network = network.to(self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The pooled activations, `(n, 2048)`."""
        parts = images.permute(0, 3, 1, 2).split(CHUNK)
        return torch.cat([self.network(part.to(self.device))[0].float().cpu() for part in parts])


def check_images(name: str, images: Tensor) -> None:
    """Raise ValueError unless they are images `(n, size, size, 3)` uint8."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"{name} must be (n, size, size, 3) uint8, got {tuple(images.shape)} {images.dtype}")


def _small(images: Tensor, size: int) -> Iterator[Tensor]:
    """The images in parts, `(·, 3, size, size)` float32 in [0, 1], each pixel the mean of those it covers."""
    for part in images.split(CHUNK):
        pixels = part.cpu().permute(0, 3, 1, 2) / 255
        yield pixels if pixels.shape[-1] == size else F.interpolate(pixels, size=size, mode="area")
