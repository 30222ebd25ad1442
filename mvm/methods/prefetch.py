"""Results of later steps, computed in a thread while earlier steps train.

    step          t        t + 1    t + 2    t + 3
    the device    trains
    the thread             fetches  fetches  fetches

A batch that must be read and copied is there when its step begins.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Prefetch"]

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Results of `fetch(step, *request)`: what one step requests is fetched ahead for the next steps.

    Args:
        fetch: a function of its arguments alone; called in a thread.
        depth: how many steps ahead.
    """

    def __init__(self, fetch: Callable[..., T], *, depth: int = 3) -> None:
        self._fetch, self._depth = fetch, depth
        self._begun: dict[tuple[int, ...], Future[T]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")

    def __call__(self, step: int, *request: int) -> T:
        """Result for this step, prefetched if possible; raises what `fetch` has raised."""
        steps = range(step, step + self._depth + 1)
        for later in steps:
            if (later, *request) not in self._begun:
                self._begun[later, *request] = self._thread.submit(self._fetch, later, *request)
        result = self._begun.pop((step, *request))
        for key in [key for key in self._begun if key[0] not in steps]:  # the training jumped, or requests changed
            self._begun.pop(key).cancel()
        return result.result()
