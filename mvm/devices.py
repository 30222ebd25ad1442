"""Devices: what a config's `device` means here, and how a process is set up to train on it."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator

import torch

from mvm.errors import ConfigError

__all__ = ["computes_bf16", "device_of", "exact_float32", "peak_memory", "use_cpu", "use_gpu"]


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>


def device_of(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means on this machine.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' was asked for, but this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """GPUs before Ampere only emulate it, without cuDNN: far slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Let convolutions compute in full float32 inside; outside, GPUs may round their factors to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def use_cpu(threads: int) -> None:
    """Let this process train on so many threads of the CPU, quickly: denormal numbers are zeros, and memory is kept.

    A step allocates the same arrays again and again. The C library has the kernel map each large one, which clears it
    page by page, and unmaps it: up to a third of a step of wide batches.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # of glibc
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def use_gpu(number: int) -> None:
    """Let "cuda" mean the GPU of this number, counted round where there are fewer; nothing where there is none."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def peak_memory(device: torch.device) -> int:
    """The most memory that this process has used, MiB: of the GPU where it computes on one, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak >> (20 if sys.platform == "darwin" else 10)
