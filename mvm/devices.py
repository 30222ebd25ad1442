"""Devices: resolve a config's `device` on this machine, and set up a process to train on it."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.errors import ConfigError

__all__ = [
    "Arrival",
    "SideStream",
    "computes_bf16",
    "device_of",
    "exact_float32",
    "one_thread",
    "peak_memory",
    "use_cpu",
    "use_gpu",
]


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>


def device_of(name: str) -> torch.device:
    """Resolve "auto", "cpu" or "cuda" to a device of this machine.

    Raises:
        ConfigError: `name` is "cuda", and the machine has no CUDA device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' was asked for, but this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether a device computes bfloat16 natively; GPUs before Ampere emulate it, far slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Compute convolutions in full float32 inside the context; outside, GPUs may round their factors to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside the context: sums in one order give the same bytes on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def use_cpu(threads: int) -> None:
    """Set up this process to train on the CPU: thread count, denormals flushed to zero, freed memory kept.

    Every step allocates the same large arrays. By default, glibc maps each array anew and unmaps it after use, and the
    kernel clears its pages: up to a third of a step's time with wide batches.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc only
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def use_gpu(number: int) -> None:
    """Make GPU `number`, modulo the number of GPUs, the current CUDA device; does nothing without a GPU."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process in MiB: GPU memory for a CUDA device, else main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak >> (20 if sys.platform == "darwin" else 10)


@dataclass(frozen=True)
class Arrival:
    """Tensors that are copied to a device; on CUDA, the event after their copies."""

    tensors: list[Tensor]
    event: torch.cuda.Event | None = None

    def wait(self) -> list[Tensor]:
        """Queue what the current stream does next behind the copies, without a wait of the host."""
        if self.event is not None:
            current = torch.cuda.current_stream(self.tensors[0].device)
            current.wait_event(self.event)
            for tensor in self.tensors:
                tensor.record_stream(current)  # their memory was allocated for the side stream
        return self.tensors


class SideStream:
    """Copies tensors to a device; on CUDA on a stream of its own, beside what the device computes.

    Args:
        device: where they are copied to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, tensors: Sequence[Tensor]) -> Arrival:
        """Start the copies, which are asynchronous from pinned memory; from any thread."""
        if self._stream is None:
            return Arrival([tensor.to(self._device) for tensor in tensors])
        with torch.cuda.stream(self._stream):
            return Arrival(
                [tensor.to(self._device, non_blocking=True) for tensor in tensors], self._stream.record_event()
            )
