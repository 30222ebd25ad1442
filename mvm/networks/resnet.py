"""Networks for pictures of 32, 64, ... pixels: a residual generator and a convolutional metric.

    generator   z (m) -> Linear -> (c, 4, 4) -> log₂(size/4) blocks -> BN, ReLU, conv3 -> sigmoid
        block   conv3(relu(BN(conv3(up(relu(BN(x))))))) + conv3(up(x))        up: nearest, x2
    metric      conv4 stride 2, 3 -> 32 -> 64 -> ... channels, LeakyReLU₀.₂, down to 2 x 2 -> max-pool 2 -> Linear
    of patches  the same with five convolutions, whatever the size

At 64 x 64 these are the networks of the published code (2.04 M and 2.79 M parameters). Doubling the size adds a block
to the generator and a convolution to the metric. The paper's 32 x 32 networks are in a supplement that is not public.

Methods and the training loop handle flat points of D coordinates. `ImageStack` converts them to pictures: D = 3 · size²
in the order of an image cache (row, column, colour). This is PyTorch's memory format "channels last", its fastest for
convolutions, so the conversion copies nothing.

Nearest-neighbour upsampling turns each pixel into a 2 x 2 block, which a following 3 x 3 convolution multiplies by
several of its weights. `folded` adds up these weights first, of all `UpConv` of a generator at once, and `UpConv`
computes the same result as a transposed 4 x 4 convolution of the small picture, with 4/9 of the multiplications.

In bfloat16, the weights of convolutions are cast anew in every pass, all of them in one operation (`lowered`). Their
gradients become float32 before those of several passes add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvm.distributed import GlobalBatchNorm, rowwise
from mvm.errors import ConfigError
from mvm.networks.architecture import StackedNetwork
from mvm.networks.compiled import compilable
from mvm.networks.convolution import FullPrecisionConv
from mvm.networks.mlp import SizedBySettings
from mvm.networks.settings import NetworkSettings

__all__ = ["ImageNetworks", "ImageStack", "PatchMetric", "ResNetGenerator", "ResNetMetric", "UpConv"]


class UpConv(nn.Conv2d):
    """`conv3x3(interpolate(x, scale_factor=2, mode="nearest"))`: `(B, in, H, W)` to `(B, out, 2H, 2W)`.

    Args:
        inputs, outputs: channels.
        folded: compute a transposed convolution of the small picture; if False, compute the formula above. The results
            agree up to rounding.
    """

    def __init__(self, inputs: int, outputs: int, *, folded: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.folded = folded

    def forward(self, x: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Upsample and convolve: `(B, in, H, W)` to `(B, out, 2H, 2W)`.

        Args:
            x: pictures.
            kernel: this convolution's of `folded`, if it is known.
        """
        if not self.folded:
            return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))
        kernel = folded([self.weight])[0] if kernel is None else kernel
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


def folded(weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Transposed 4 x 4 kernels `(in, out, 4, 4)` of 3 x 3 weights `(out, in, 3, 3)` after nearest-neighbour upsampling.

    In the dtype of autocast, if it is on.
    """
    # a 3 x 3 kernel spreads one small pixel over 4 x 4 large ones; the weights of each 2 x 2 window add up
    spread = F.pad(torch.stack([*weights]).flip(3, 4).transpose(1, 2), [1, 1, 1, 1])
    kernels = F.avg_pool2d(spread.flatten(0, 1), 2, stride=1, divisor_override=1)  # sums
    if torch.is_autocast_enabled(kernels.device.type):
        kernels = kernels.to(torch.get_autocast_dtype(kernels.device.type))
    unstacked: tuple[Tensor, ...] = kernels.unflatten(0, spread.shape[:2]).unbind()
    return unstacked


class UpBlock(nn.Module):
    """Residual block that doubles height and width."""

    def __init__(self, channels: int, *, folded: bool) -> None:
        super().__init__()
        self.before, self.between = GlobalBatchNorm(channels), GlobalBatchNorm(channels)
        self.first = UpConv(channels, channels, folded=folded)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = UpConv(channels, channels, folded=folded)

    def forward(self, x: Tensor, first: Tensor, shortcut: Tensor) -> Tensor:
        """`(B, c, H, W)` to `(B, c, 2H, 2W)`, with the kernels of both `UpConv`."""
        y = self.first(self.before(x).relu(), first)
        doubled: Tensor = self.second(self.between(y).relu()) + self.shortcut(x, shortcut)
        return doubled


class ResNetGenerator(nn.Module):
    """f_θ for pictures: noise `(B, m)` to `(B, 3, size, size)` in [0, 1].

    Args:
        size: height and width in pixels, a power of two from 8.
        noise_dim: m, dimension of the noise.
        channels: channels of every block.
        folded: as in `UpConv`.

    Raises:
        ConfigError: `size` is not a power of two from 8.
    """

    def __init__(self, size: int = 64, *, noise_dim: int = 128, channels: int = 128, folded: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.input = nn.Linear(noise_dim, channels * 4 * 4)
        self.blocks = nn.Sequential(*(UpBlock(channels, folded=folded) for _ in range(_doublings(size, 4))))
        self.norm = GlobalBatchNorm(channels)
        self.output = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Generate pictures: `(B, m)` to `(B, 3, size, size)`."""
        x = self.input(z).view(len(z), self.channels, 4, 4).contiguous(memory_format=torch.channels_last)
        kernels = iter(folded([up.weight for up in self.modules() if isinstance(up, UpConv)]))
        for block in self.blocks:
            x = block(x, next(kernels), next(kernels))
        y: Tensor = self.output(self.norm(x).relu())
        return y.to(self.norm.weight.dtype).sigmoid()  # bfloat16 is too coarse for pixels


class ResNetMetric(nn.Module):
    """g_w for pictures: `(B, 3, size, size)` to embeddings `(B, n)`.

    It has no batch normalisation, so that an embedding does not depend on the rest of the batch.

    Args:
        size: height and width in pixels, a power of two from 8.
        embedding_dim: n, dimension of an embedding.
        channels: channels of the first convolution; each further convolution doubles them.
        unit_length: scale each embedding to Euclidean length 1.

    Raises:
        ConfigError: `size` is not a power of two from 8.
    """

    def __init__(
        self, size: int = 64, *, embedding_dim: int = 10, channels: int = 32, unit_length: bool = False
    ) -> None:
        super().__init__()
        self.unit_length = unit_length
        widths = [3, *(channels * 2**i for i in range(_doublings(size, 2)))]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures: `(B, 3, size, size)` to `(B, n)`."""
        return _embed(x, self.convolutions, self.output, unit_length=self.unit_length)


class PatchMetric(nn.Module):
    """g_w for patches of super-resolution: `(B, 3, size, size)` to embeddings `(B, n)`.

    The paper's metric for 192 x 192 patches is in a supplement that is not public. This is a reading: the five
    convolutions of its 64 x 64 metric, continued to 32 -> 512 channels, which leave size/32 squared features for the
    max-pool and the linear layer (2,935,296 parameters at 192 x 192 with n = 32).

    Args:
        size: height and width in pixels, a multiple of 32.
        embedding_dim: n, dimension of an embedding.
        channels: channels of the first convolution; each further convolution doubles them.
        unit_length: scale each embedding to Euclidean length 1.

    Raises:
        ConfigError: `size` is not a multiple of 32.
    """

    def __init__(
        self, size: int = 192, *, embedding_dim: int = 32, channels: int = 32, unit_length: bool = False
    ) -> None:
        super().__init__()
        if size < 32 or size % 32:
            raise ConfigError(f"size: patches of {size} pixels; give a multiple of 32: 96, 128, 192")
        self.unit_length = unit_length
        widths = [3, *(channels * 2**i for i in range(5))]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        side = -(-size // 64)  # of the pooled features; rounded up, so that no feature is left out
        self.output = nn.Linear(widths[-1] * side**2, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed patches: `(B, 3, size, size)` to `(B, n)`."""
        return _embed(x, self.convolutions, self.output, unit_length=self.unit_length)


class ImageStack(StackedNetwork):
    """V independent picture networks as one `StackedNetwork`, with flat inputs and outputs `(V, B, ·)`.

    Args:
        members: V networks, whose inputs or outputs are pictures `(B, 3, size, size)`.
        takes_images: the members' inputs are pictures.
        gives_images: the members' outputs are pictures.
        bf16: compute in bfloat16 under autocast; the output has the input's dtype.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        *,
        takes_images: bool = False,
        gives_images: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.takes_images, self.gives_images, self.bf16 = takes_images, gives_images, bf16

    def matrices(self) -> dict[str, Tensor]:
        """Every weight matrix `(1, inputs · kernel, outputs)` by its parameter's name."""
        return {name: p.flatten(1).mT[None] for name, p in self.named_parameters() if p.ndim > 1}

    @rowwise
    @compilable
    def forward(self, x: Tensor) -> Tensor:
        """Map `(V, B, in)` to `(V, B, out)`."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            members = [lowered(member) if self.bf16 else member for member in self.members]
            y = [self._forward_member(member, part) for member, part in zip(members, x, strict=True)]
        return torch.stack(y).to(x.dtype)

    def _forward_member(self, member: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Map `(B, in)` to `(B, out)`; a flat side of D numbers is a picture for the member."""
        if self.takes_images:
            x = as_pictures(x)
        y = member(x)
        if y.ndim == 1:
            return y[:, None]
        return y.permute(0, 2, 3, 1).flatten(1) if self.gives_images else y


def lowered(member: nn.Module) -> Callable[[Tensor], Tensor]:
    """A network with those weights in bfloat16 that autocast would cast one by one, in the network's pass.

    Weights that `folded` adds up, the last layer of a metric, and `FullPrecisionConv` stay in full precision.
    """
    weights = {
        f"{name}.{key}": weight
        for name, layer in member.named_modules()
        if isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and name == "input")
        for key, weight in layer.named_parameters(recurse=False)
        if not (
            isinstance(layer, FullPrecisionConv) or (isinstance(layer, UpConv) and layer.folded and key == "weight")
        )
    }
    cast: Callable[..., tuple[Tensor, ...]] = _Cast.apply
    lower = dict(zip(weights, cast(torch.bfloat16, *weights.values()), strict=True))
    return lambda x: torch.func.functional_call(member, lower, (x,))


class _Cast(torch.autograd.Function):
    """Cast tensors of one dtype to another, in one operation on a GPU, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = tensors[0].dtype
        cast = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(cast, tensors)
        return tuple(cast)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Cast.apply(ctx.dtype, *gradients)  # type: ignore[no-untyped-call]


GENERATOR, METRIC = 0, 1  # roles: offsets of the seeds of initial weights


@dataclass(frozen=True)
class ImageNetworks(SizedBySettings):
    """`Architecture` for pictures: V independent members with flat inputs and outputs.

    Args:
        settings: channels and dimensions.
        size: height and width in pixels.
        streams: one random generator per seed, for readouts.
        seeds: one seed of initial weights per random generator.
        copies: variants per seed; V = copies · len(seeds), seeds vary fastest.
        bf16: as in `ImageStack`.
    """

    settings: NetworkSettings
    size: int
    streams: Sequence[torch.Generator]
    seeds: Sequence[int]
    copies: int = 1
    bf16: bool = False
    metric_type: ClassVar[type[ResNetMetric | PatchMetric]] = ResNetMetric

    @property
    def dim(self) -> int:
        """D = 3 · size², dimension of a flat picture."""
        return 3 * self.size**2

    def generator(self, inputs: int) -> ImageStack:
        """f_θ: `(V, B, inputs)` to flat pictures `(V, B, D)` in [0, 1]."""
        return self._stack(
            lambda: ResNetGenerator(self.size, noise_dim=inputs, channels=self.settings.channels),
            GENERATOR,
            gives_images=True,
        )

    def metric(self) -> ImageStack:
        """g_w: flat pictures `(V, B, D)` to `(V, B, n)`."""
        net = self.settings
        sizes = {"embedding_dim": net.embedding_dim, "channels": net.metric_channels}
        return self._stack(
            lambda: self.metric_type(self.size, unit_length=net.unit_embedding, **sizes), METRIC, takes_images=True
        )

    def _stack(
        self, build: Callable[[], nn.Module], role: int, *, takes_images: bool = False, gives_images: bool = False
    ) -> ImageStack:
        """Build V members: variants of a seed get equal initial weights, and roles of a seed different ones."""
        members = []
        with torch.random.fork_rng(devices=[]):
            for _ in range(self.copies):
                for seed in self.seeds:
                    torch.manual_seed(seed + role)
                    members.append(build())
        return ImageStack(members, bf16=self.bf16, takes_images=takes_images, gives_images=gives_images)


def _embed(x: Tensor, convolutions: Iterable[nn.Module], output: nn.Linear, *, unit_length: bool) -> Tensor:
    """Convolutions, max-pool and linear layer of a metric: `(B, 3, size, size)` to `(B, n)`."""
    for convolution in convolutions:
        x = F.leaky_relu(convolution(x), 0.2)
    x = F.max_pool2d(x, 2, ceil_mode=True).flatten(1).to(output.weight.dtype)  # bfloat16 is too coarse for distances
    with torch.autocast(x.device.type, enabled=False):
        x = output(x)
        return F.normalize(x, dim=-1) if unit_length else x


def as_pictures(points: Tensor) -> Tensor:
    """View flat square pictures `(B, 3 · side²)`, in the order row, column, colour, as `(B, 3, side, side)`."""
    side = math.isqrt(points.shape[-1] // 3)
    return points.view(-1, side, side, 3).permute(0, 3, 1, 2)


def _doublings(size: int, start: int) -> int:
    """k with size = start · 2^k; raises ConfigError if there is none, or if size is below 8."""
    doublings = round(math.log2(size / start)) if size > 0 else 0
    if size < 8 or start * 2**doublings != size:
        near = min((2**k for k in range(3, 10)), key=lambda known: abs(known - size))
        raise ConfigError(f"size: pictures of {size} pixels; give {near}, or another power of two from 8: 32, 64, 128")
    return doublings
