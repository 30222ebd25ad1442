"""One training on many devices: every process computes its rows of the batch, and all of them see the whole batch.

    torchrun --nproc-per-node N -m mvm train ...

Every process draws the same batches and noise. A network computes its process's rows and gathers the outputs, so
descriptors and losses are computed on the global batch, the same numbers in every process, whatever the method. `shard`
and `gather` are each other's derivative, to any order. A parameter's gradient is the sum of the processes' gradients
through their own rows: exact, slope penalties included. Batch normalisation takes the moments of the global batch.

    shard     x ↦ x_r          backward: gather
    gather    x_r ↦ x          backward: shard
    total     x_r ↦ Σ_r x_r    backward: total
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

__all__ = [
    "GlobalBatchNorm",
    "broadcast",
    "broadcast_object",
    "gather",
    "process_group",
    "rank",
    "rowwise",
    "shard",
    "sharded",
    "sum_gradients",
    "world",
]

PATIENCE = datetime.timedelta(days=7)  # the other ranks wait while rank 0 is paused

_active = False


@contextlib.contextmanager
def process_group() -> Iterator[bool]:
    """Join torchrun's group, if there is one; yield whether this is rank 0, the process that records."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    if (own := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # for --device cpu, too
    distributed.init_process_group(backend, timeout=PATIENCE)
    yield rank() == 0
    distributed.barrier()
    distributed.destroy_process_group()


def world() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def broadcast_object(value: Any = None) -> Any:
    """Broadcast an object from rank 0."""
    objects = [value]
    if world() > 1:
        distributed.broadcast_object_list(objects, 0)
    return objects[0]


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by rank 0's."""
    if world() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextlib.contextmanager
def sharded() -> Iterator[None]:
    """Shard batches among the processes inside, where all of them must run the same code; not outside."""
    global _active
    _active, before = world() > 1, _active
    try:
        yield
    finally:
        _active = before


M = TypeVar("M", bound=nn.Module)


def rowwise(forward: Callable[[M, Tensor], Tensor]) -> Callable[[M, Tensor], Tensor]:
    """Decorate a network's method `(V, B, in) -> (V, B, out)` that treats rows independently: `sharded` splits them."""

    @functools.wraps(forward)
    def share(self: M, x: Tensor) -> Tensor:
        return gather(forward(self, shard(x)), x.shape[1]) if _active else forward(self, x)

    return share


def sum_gradients(gradient: Tensor) -> Tensor:
    """Sum the processes' gradients, in place."""
    if _active:
        distributed.all_reduce(gradient)
    return gradient


def shard(x: Tensor) -> Tensor:
    """This process's rows `(V, b, ...)` of a batch `(V, B, ...)` that all processes have; B need not divide evenly."""
    return _apply(_Shard, x)


def gather(x: Tensor, rows: int) -> Tensor:
    """Gather every process's rows into the whole batch `(V, B, ...)`; B = `rows`."""
    return _apply(_Gather, x, rows)


def _apply(function: type[torch.autograd.Function], x: Tensor, *rest: int) -> Tensor:
    apply: Callable[..., Tensor] = function.apply
    return apply(x, *rest)


class _Shard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[1]
        return x[:, _own(ctx.rows)].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gather(gradient, ctx.rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        most = -(-rows // world())
        padded = x.new_zeros(x.shape[0], most, *x.shape[2:])
        padded[:, : x.shape[1]] = x
        parts = [torch.empty_like(padded) for _ in range(world())]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:, : _length(rows, r)] for r, part in enumerate(parts)], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return shard(gradient), None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _apply(_Total, gradient)


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of pictures `(B, c, H, W)` by the moments of the global batch."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None  # only for a cumulative average; counting is an operation in every pass

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; as `nn.BatchNorm2d` with one process, or in evaluation."""
        if not (self.training and _active):
            return super().forward(x)
        numbers = x.float() if x.dtype == torch.bfloat16 else x
        n = world() * numbers.numel() // numbers.shape[1]
        mean = _apply(_Total, numbers.sum((0, 2, 3))) / n
        centred = numbers - mean[:, None, None]
        variance = _apply(_Total, centred.square().sum((0, 2, 3))) / n
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised: Tensor = (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
        return normalised


def _own(rows: int) -> slice:
    first = sum(_length(rows, r) for r in range(rank()))
    return slice(first, first + _length(rows, rank()))


def _length(rows: int, r: int) -> int:
    """Rows of rank r: the lowest ranks take the rest that does not divide evenly."""
    return rows // world() + (r < rows % world())
