"""A training step captured as one CUDA graph and replayed: the host starts one operation instead of hundreds.

    step       1, 2, 3                   4                       5, 6, ...
               computed eagerly          captured, replayed      replayed

Networks of this size leave a GPU idle while the host starts the next operation; a replay leaves no gaps. A replay
repeats operations on fixed memory, so whatever changes from step to step is a tensor that `Experiment.prepare` fills:
random streams, step sizes, the weight in the averages, descriptor weights, streamed batches, what a method plans on the
host. Replayed steps equal eager ones bit for bit.

The eager steps let libraries choose kernels and allocate workspaces, which must not happen while a graph is captured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mvm.methods import Draws

__all__ = ["EAGER_STEPS", "Computed", "CudaGraph", "Graph", "StepGraph"]

EAGER_STEPS = 3

Computed = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Losses by player and named terms of a step, `(V,)` each."""


class Graph(Protocol):
    """Recorder of the operations of a function, which can repeat them on the same memory."""

    def warm_up(self, compute: Callable[[], Computed]) -> Computed:
        """Compute eagerly, as a preparation of `capture`."""
        ...

    def capture(self, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Record the operations without doing them; returns tensors that `replay` fills."""
        ...

    def replay(self) -> None:
        """Do the recorded operations."""
        ...

    def release(self) -> None:
        """Free the memory of the recorded operations."""
        ...


class CudaGraph:
    """`torch.cuda.CUDAGraph` with the random generators that its operations draw from.

    Args:
        generators: on the device; a replay draws from their streams as they are set then.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)

    def warm_up(self, compute: Callable[[], Computed]) -> Computed:
        """As for `Graph`: on a side stream, as the default stream cannot be captured."""
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            computed = compute()
        current.wait_stream(side)
        return computed

    def capture(self, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """As for `Graph`; other threads may allocate pinned memory meanwhile."""
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            return compute()

    def replay(self) -> None:
        """As for `Graph`."""
        self._graph.replay()

    def release(self) -> None:
        """As for `Graph`."""
        torch.cuda.synchronize()
        self._graph.reset()
        torch.cuda.empty_cache()


class StepGraph:
    """Computes training steps: the first ones eagerly, later ones by replays of a captured step.

    Args:
        compute: does the updates of a step and returns losses and terms.
        draws: of the step; streamed batches get fixed places before the capture.
        graph: makes a graph for random generators.

    Attributes:
        failure: why the step could not be captured, one line; steps stay eager then. "" if nothing failed.
    """

    def __init__(
        self,
        compute: Callable[[], Computed],
        draws: Draws,
        *,
        graph: Callable[[Sequence[torch.Generator]], Graph] = CudaGraph,
    ) -> None:
        self._compute, self._draws = compute, draws
        self._graph: Graph | None = graph(draws.generators)
        self._eager_steps = EAGER_STEPS
        self._results: Tensor | None = None  # (losses + terms, V)
        self._names: tuple[list[str], list[str]] = [], []
        self.failure = ""

    @property
    def captured(self) -> bool:
        """Whether the last step was a replay."""
        return self._results is not None

    def __call__(self) -> Computed:
        """Compute a step that was prepared."""
        if self._graph is None:
            return self._compute()
        if self._eager_steps:
            self._eager_steps -= 1
            return self._graph.warm_up(self._compute)
        if self._results is None:
            try:
                self._capture(self._graph)
            except RuntimeError as error:
                self.failure = str(error).strip().partition("\n")[0]
                self.release()
                self._draws.restart()
                return self._compute()
        assert self._results is not None
        self._graph.replay()
        values = self._results.clone().unbind()  # the next replay overwrites the results
        losses, terms = self._names
        return dict(zip(losses, values, strict=False)), dict(zip(terms, values[len(losses) :], strict=True))

    def _capture(self, graph: Graph) -> None:
        def compute() -> list[Tensor]:
            losses, terms = self._compute()
            self._names = [*losses], [*terms]
            return [torch.stack([*losses.values(), *terms.values()])]

        self._draws.fix()
        (self._results,) = graph.capture(compute)

    def release(self) -> None:
        """Compute eagerly from now on, and free the graph's memory."""
        if self._graph is not None:
            self._graph.release()
        self._graph = self._results = None
        self._draws.unfix()
