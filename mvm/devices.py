"""Devices: resolve a config's `device` on this machine, and set up a process to train on it."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator

import torch

from mvm.errors import ConfigError

__all__ = ["computes_bf16", "device_of", "exact_float32", "one_thread", "peak_memory", "use_cpu", "use_gpu"]


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
