"""A graph of operations on the CPU with the rules of a CUDA graph, to test what is captured.

`capture` runs a function once and records every operation that PyTorch dispatches, with the tensors it read and made.
`replay` repeats these operations on the same memory: a number that the host computed stays as it was at the capture, as
on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["RecordedGraph"]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, made))
        return made


class RecordedGraph:
    """As `mvm.training.graph.CudaGraph`; unlike a GPU, it also does the operations that it records."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators, self._operations = generators, []

    def warm_up(self, compute: Callable[[], Any]) -> Any:
        return compute()

    def capture(self, compute: Callable[[], Any]) -> Any:
        kept = [(tensor, tensor.clone()) for tensor in self.memory()]
        states = [generator.get_state() for generator in self._generators]
        recorder = _Recorder()
        with recorder:
            made = compute()
        self._operations = recorder.operations
        with torch.no_grad():
            for tensor, before in kept:  # a capture leaves all values as they were
                tensor.copy_(before)
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)
        return made

    def memory(self) -> list[Tensor]:
        """Tensors that a capture must not change; set by the test."""
        return []

    @torch.no_grad()
    def replay(self) -> None:
        assert self._operations, "replayed without a capture"
        for function, args, kwargs, made in self._operations:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def release(self) -> None:
        self._operations = []
