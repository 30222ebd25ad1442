"""A fully convolutional ×4 network applied to a picture of any size, by overlapping tiles.

    y[4t : 4(t + n)] = f(x[t − o : t + n + o])[4o : 4(o + n)]

Equal to f(x), border included, if every value of f depends on input pixels at most o away from its own: windows end
where the picture ends, so a network pads at the picture's border and nowhere else. Memory is that of one window.

    upscale_tiled(f, x)              the whole picture
    averaged_turns(f), on_grey(f)    networks made of networks
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mvm.imaging.resize import SCALE

__all__ = ["TILE", "Network", "averaged_turns", "memory_of", "on_grey", "upscale_tiled"]

TILE = 192  # input pixels each way
PROBE = 48  # input pixels each way of the window on which memory is measured
WORKSPACE = 2.5  # process memory per byte of living tensors: convolutions reorder theirs, and malloc keeps freed blocks
LIBRARIES = 64 * 2**20  # bytes that PyTorch takes for itself when it first computes

Network = Callable[[Tensor], Tensor]  # (1, C, h, w) in [0, 1] to (1, C, 4h, 4w)


@torch.inference_mode()
def upscale_tiled(
    network: Network,
    picture: Tensor,
    *,
    overlap: int,
    tile: int = TILE,
    out: Tensor | None = None,
    on_progress: Callable[[float, float], None] | None = None,
) -> Tensor:
    """Upscale a picture ×4 in memory that does not depend on its size, beside the picture and the result.

    Args:
        network: fully convolutional, `(1, C, h, w)` in [0, 1] to `(1, C, 4h, 4w)`.
        picture: `(C, h, w)`, floating point in [0, 1], or uint8 or uint16 of full range; a view will do.
        overlap: input pixels around each tile that its result depends on; at least the receptive field of the network.
        tile: input pixels each way of a tile, without the overlap.
        out: where to write, `(C, 4h, 4w)`: uint8 or uint16 values are clipped and rounded, floating-point values are
            the network's own. A new float32 tensor when None.
        on_progress: called with input pixels done, and how many there are.

    Returns:
        `out`.

    Raises:
        ValueError: the overlap is negative, the tile or the picture is empty, `out` has another shape, or the network
            returns another size or values that are not finite.
    """
    channels, height, width = picture.shape
    if overlap < 0 or min(tile, channels, height, width) < 1:
        raise ValueError(f"a picture of {channels} x {height} x {width}, tile {tile}, overlap {overlap}: too small")
    size = (channels, SCALE * height, SCALE * width)
    out = torch.empty(size) if out is None else out
    if tuple(out.shape) != size:
        raise ValueError(f"out: {size} wanted, got {tuple(out.shape)}")
    done = 0
    for rows, window_rows in _cuts(height, tile, overlap):
        for columns, window_columns in _cuts(width, tile, overlap):
            window = _unit(picture[:, window_rows, window_columns])[None]
            values = network(window)
            wanted = (1, channels, SCALE * window.shape[2], SCALE * window.shape[3])
            if tuple(values.shape) != wanted:
                raise ValueError(f"the network gives {tuple(values.shape)} where {wanted} is wanted")
            inner = values[0, :, _scaled(rows, window_rows), _scaled(columns, window_columns)]
            if not inner.isfinite().all():
                raise ValueError("the network gives values that are not finite")
            out[:, _scaled(rows), _scaled(columns)] = _stored(inner, out.dtype).to(out.device)
            done += (rows.stop - rows.start) * (columns.stop - columns.start)
            if on_progress:
                on_progress(done, height * width)
    return out


def averaged_turns(network: Network) -> Network:
    """The mean of a network's results over the eight turns and flips of its input, each turned back."""

    def mean(window: Tensor) -> Tensor:
        total: Tensor | None = None
        for turns in range(4):
            for flips in ((), (3,)):
                turned = network(window.rot90(turns, (2, 3)).flip(flips).contiguous())
                back = turned.flip(flips).rot90(-turns, (2, 3))
                total = back.contiguous() if total is None else total.add_(back)
        assert total is not None
        return total / 8

    return mean


def on_grey(network: Network) -> Network:
    """A network of colour on grey, `(1, 1, h, w)`: it is given three equal channels, and their mean is taken."""
    return lambda window: network(window.expand(-1, 3, -1, -1).contiguous()).mean(1, keepdim=True)


@torch.inference_mode()
def memory_of(size: tuple[int, int], network: Network, *, overlap: int, tile: int = TILE) -> int:
    """Bytes that `upscale_tiled` needs beside the picture and the result, bounded from above.

    The network is run once on a small window, and its largest sum of tensors is scaled to that of a tile.

    Args:
        size: height and width of the picture.
        network: of three channels.
        overlap: as for `upscale_tiled`.
        tile: as for `upscale_tiled`.
    """
    window = [min(tile + 2 * overlap, side) for side in size]
    probe = [min(PROBE, side) for side in window]
    values = torch.full((1, 3, *probe), 0.5)
    with _Peak() as peak:
        network(values)
    pixels = window[0] * window[1]
    own = 4 * 3 * pixels * (1 + 2 * SCALE**2)  # the window, and the result as it is checked and rounded
    return int(LIBRARIES + own + WORKSPACE * peak.most * pixels / (probe[0] * probe[1]))


class _Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that live at the same time inside the context.

    Attributes:
        most: largest sum so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self._known:
                self._known.add(storage._cdata)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())
        self.most = max(self.most, self._now)
        return result

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _cuts(side: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """Tiles along one axis, each with its window."""
    starts = range(0, side, tile)
    stops = [min(start + tile, side) for start in starts]
    return [
        (slice(start, stop), slice(max(0, start - overlap), min(side, stop + overlap)))
        for start, stop in zip(starts, stops, strict=True)
    ]


def _scaled(cut: slice, window: slice | None = None) -> slice:
    """Output pixels of a tile; counted from the start of its window if one is given."""
    start = window.start if window else 0
    return slice(SCALE * (cut.start - start), SCALE * (cut.stop - start))


def _unit(values: Tensor) -> Tensor:
    """Values in [0, 1], float32, contiguous."""
    if values.is_floating_point():
        return values.float().contiguous()
    return values.contiguous().float() / torch.iinfo(values.dtype).max


def _stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in [0, 1] as integers of full range, rounded; floating-point values as they are."""
    if dtype.is_floating_point:
        return values.to(dtype)
    return (values.clamp(0, 1) * torch.iinfo(dtype).max).round_().to(dtype)
