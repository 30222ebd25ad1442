"""Networks compiled by `torch.compile`: fused kernels in training steps, the plain network everywhere else.

    inside `training_step`          the compiled form, if the network has a compiler
    inside `twice_differentiable`   the plain form: a compiled one has no second derivative, which slope penalties take
    elsewhere                       the plain form: samples, embeddings and scores do not depend on the compiler

Only the function is compiled: parameters, buffers and their names in a checkpoint stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mvm.library_caches import find_compiler_cache

__all__ = ["Compilable", "compilable", "compile_networks", "training_step", "twice_differentiable"]

MOST_FORMS = 64  # of one function: for each network, with and without gradients, by size of the batch

_in_step = False


class Compilable(Protocol):
    """A network; `compiler` is a backend of `torch.compile`, or "" to compute as written."""

    compiler: str


N = TypeVar("N", bound=Compilable)


def compilable(forward: Callable[[N, Tensor], Tensor]) -> Callable[[N, Tensor], Tensor]:
    """Decorate a network's method `(V, B, in) -> (V, B, out)`, to be compiled where the network has a compiler."""

    @functools.wraps(forward)
    def call(self: N, x: Tensor) -> Tensor:
        return (_compiled(forward, self.compiler) if _in_step and self.compiler else forward)(self, x)

    return call


@functools.cache
def _compiled(forward: Callable[[N, Tensor], Tensor], compiler: str) -> Callable[[N, Tensor], Tensor]:
    compiled: Callable[[N, Tensor], Tensor] = torch.compile(forward, backend=compiler, dynamic=False)
    return compiled


def compile_networks(networks: Iterable[Compilable], compiler: str) -> None:
    """Compile networks at their next call in a training step; "" returns to the plain form."""
    if compiler:
        find_compiler_cache()
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_FORMS)
        # two losses of a step descend the same pass of the metric: its buffers must outlive the first backward pass
        torch._functorch.config.donated_buffer = False
    for network in networks:
        network.compiler = compiler


@contextlib.contextmanager
def training_step() -> Iterator[None]:
    """Compute by compiled forms inside."""
    with _set(True):
        yield


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Compute by plain forms inside, which can be differentiated twice."""
    with _set(False):
        yield


@contextlib.contextmanager
def _set(in_step: bool) -> Iterator[None]:
    global _in_step
    _in_step, before = in_step, _in_step
    try:
        yield
    finally:
        _in_step = before
