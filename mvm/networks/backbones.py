"""Generators of super-resolution: fully convolutional networks that enlarge pictures by 4.

    Small       bicubic(x) + tail(blocks(head(x)))           block  x + conv(relu(conv(x)))
    SRResNet    output(up(up(y + BN(conv(blocks(y))))))      block  x + BN(conv(prelu(BN(conv(x)))))
    RDN         output(up(up(y + fusion(b₁, b₂, ...))))      block  x + conv1(dense(x)),    bᵢ: output of block i
    NSRNet      output(up(up(y + conv(blocks(y)))))          block  x + conv1(dense(x)) / 10

    y = head(x);   dense: x ← (x, relu(conv(x))), repeated;   up: a convolution to four phases per channel, interleaved

Every network maps `(B, 3, h, w)` in [0, 1] to `(B, 3, 4h, 4w)` for any h and w; outputs are not clipped. Its
`receptive_field` is the number of input pixels on each side of an output pixel's source pixel that the output depends
on: tiles that overlap by as much give the result of the whole picture.

Under autocast, what makes the pixels keeps full precision, since bfloat16 is too coarse for them: the last convolution,
or in `Small` the bicubic part, to which its last convolution adds small numbers.

Sources: SRResNet, Ledig et al., CVPR 2017. RDN, Zhang et al., CVPR 2018. NSRNet, the network of NatSR, Soh et al., CVPR
2019. `Small` has EDSR's blocks (Lim et al., CVPR workshops 2017), which have no normalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mvm.distributed import GlobalBatchNorm
from mvm.imaging.resize import SCALE
from mvm.networks.convolution import FullPrecisionConv
from mvm.networks.upsampling import BICUBIC_REACH, bicubic_phases, interleave

__all__ = ["BACKBONES", "RDN", "Backbone", "NSRNet", "SRResNet", "Small"]


class Backbone(nn.Module):
    """A network that enlarges pictures by 4.

    Attributes:
        receptive_field: input pixels on each side of an output pixel's source pixel that the output depends on.
    """

    receptive_field: int

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        raise NotImplementedError


class Small(Backbone):
    """A light residual network that adds detail to the bicubic picture; untrained, it is bicubic enlargement.

    After equal work on a CPU (some 40 s of a core, L1 loss, a single seed), four blocks of 32 channels reached 30.4 dB
    on Set5, one block of 64 channels 29.6, and blocks with every other convolution dilated 30.3. With half the batch
    and twice the steps, four blocks reached 30.6, and eight convolutions with a single skip 29.4. Depthwise
    convolutions need more time for fewer weights.

    Args:
        channels: channels of every convolution but the last.
        blocks: residual blocks.
    """

    def __init__(self, channels: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.head = _conv(3, channels)
        self.blocks = nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))
        self.tail = _conv(channels, 3 * SCALE**2)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)
        self.receptive_field = max(1 + 2 * blocks + 1, BICUBIC_REACH)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        x = x.contiguous(memory_format=torch.channels_last)
        return interleave(bicubic_phases(x) + self.tail(self.blocks(self.head(x))), SCALE)


class PlainBlock(nn.Module):
    """Residual block of EDSR: `x + conv(relu(conv(x)))`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, h, w)` to the same shape."""
        y: Tensor = x + self.second(self.first(x).relu_())
        return y


class SRResNet(Backbone):
    """Residual network with batch normalisation, the generator of SRGAN.

    Args:
        channels: channels of every hidden picture.
        blocks: residual blocks.
    """

    def __init__(self, channels: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.head = nn.Sequential(_conv(3, channels, 9), nn.PReLU())
        self.blocks = nn.Sequential(*(NormalisedBlock(channels) for _ in range(blocks)))
        self.end = nn.Sequential(_conv(channels, channels), GlobalBatchNorm(channels))
        self.up = nn.Sequential(Up(channels), nn.PReLU(), Up(channels), nn.PReLU())
        self.output = FullPrecisionConv(channels, size=9)
        self.receptive_field = 4 + 2 * blocks + 1 + _reach_of_two_ups(9)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        y = self.head(x.contiguous(memory_format=torch.channels_last))
        enlarged: Tensor = self.output(self.up(y + self.end(self.blocks(y))))
        return enlarged


class NormalisedBlock(nn.Module):
    """Residual block of SRResNet: `x + BN(conv(prelu(BN(conv(x)))))`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(channels, channels),
            GlobalBatchNorm(channels),
            nn.PReLU(),
            _conv(channels, channels),
            GlobalBatchNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, h, w)` to the same shape."""
        y: Tensor = x + self.layers(x)
        return y


class RDN(Backbone):
    """Residual dense network: every block's output takes part in a global fusion.

    Args:
        channels: G₀, channels of every hidden picture.
        growth: G, channels that each dense convolution adds.
        blocks: D, residual dense blocks.
        layers: C, dense convolutions of a block.
    """

    def __init__(self, channels: int = 64, growth: int = 64, blocks: int = 16, layers: int = 8) -> None:
        super().__init__()
        self.head, self.second = _conv(3, channels), _conv(channels, channels)
        self.blocks = nn.ModuleList(DenseBlock(channels, growth, layers) for _ in range(blocks))
        self.fusion = nn.Sequential(_conv(blocks * channels, channels, 1), _conv(channels, channels))
        self.up = nn.Sequential(Up(channels), Up(channels))
        self.output = FullPrecisionConv(channels)
        self.receptive_field = 2 + layers * blocks + 1 + _reach_of_two_ups(3)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        shallow = self.head(x.contiguous(memory_format=torch.channels_last))
        y, outputs = self.second(shallow), []
        for block in self.blocks:
            outputs.append(y := block(y))
        enlarged: Tensor = self.output(self.up(shallow + self.fusion(torch.cat(outputs, 1))))
        return enlarged


class NSRNet(Backbone):
    """Network of NatSR: residual dense blocks in pairs, with a skip around each block, each pair and all of them.

    Residuals are scaled by 0.1: those of blocks, and, as a reading, those of pairs, so that the skips together keep the
    range of the features.

    Args:
        channels: channels of every hidden picture.
        growth: channels that each dense convolution adds.
        pairs: pairs of residual dense blocks.
        layers: dense convolutions of a block.
    """

    def __init__(self, channels: int = 64, growth: int = 64, pairs: int = 4, layers: int = 5) -> None:
        super().__init__()
        self.head, self.end = _conv(3, channels), _conv(channels, channels)
        self.pairs = nn.ModuleList(
            nn.Sequential(*(DenseBlock(channels, growth, layers, residual=0.1) for _ in range(2))) for _ in range(pairs)
        )
        self.up = nn.Sequential(Up(channels), Up(channels))
        self.output = FullPrecisionConv(channels)
        self.receptive_field = 1 + layers * 2 * pairs + 1 + _reach_of_two_ups(3)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        shallow = y = self.head(x.contiguous(memory_format=torch.channels_last))
        for pair in self.pairs:
            y = y + 0.1 * pair(y)
        enlarged: Tensor = self.output(self.up(shallow + self.end(y)))
        return enlarged


class DenseBlock(nn.Module):
    """Residual dense block: each convolution reads the outputs of all before it, and a 1 x 1 convolution fuses them.

    Args:
        channels: channels of the block's input and output.
        growth: channels that each convolution adds.
        layers: 3 x 3 convolutions.
        residual: factor of the fused output.
    """

    def __init__(self, channels: int, growth: int, layers: int, *, residual: float = 1.0) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(_conv(channels + i * growth, growth) for i in range(layers))
        self.fusion = _conv(channels + layers * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, h, w)` to the same shape."""
        features = x
        for layer in self.layers:
            features = torch.cat([features, layer(features).relu_()], 1)
        return torch.add(x, self.fusion(features), alpha=self.residual)


class Up(nn.Module):
    """Enlarge by 2: a 3 x 3 convolution to four phases per channel, interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, h, w)` to `(B, c, 2h, 2w)`."""
        return interleave(self.conv(x), 2)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "small": Small,
    "srresnet": SRResNet,
    "rdn": RDN,
    "nsrnet": NSRNet,
}
"""Backbones by name, each with the sizes of its paper by default."""


def _conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """A convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


def _reach_of_two_ups(size: int) -> int:
    """Reach, in input pixels, of two `Up` layers with a `size` x `size` convolution after them."""
    phases = []
    for phase in range(SCALE):
        low, high = phase - size // 2, phase + size // 2
        for _ in range(2):
            low, high = low // 2 - 1, high // 2 + 1
        phases += [-low, high]
    return max(phases)
