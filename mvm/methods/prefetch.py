"""Prefetching: threads compute results for later steps while the device trains.

    step          t        t + 1    t + 2    t + 3
    the device    trains
    the threads            fetch    fetch    fetch

This hides the time to read and copy a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

__all__ = ["Prefetch"]

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Results of `fetch(step, *request)`; a request at one step is also fetched for the next `depth` steps.

    Args:
        fetch: pure function of its arguments, called in a thread.
        depth: number of steps to prefetch.
        threads: number of steps that are fetched side by side.
    """

    def __init__(self, fetch: Callable[..., T], *, depth: int = 3, threads: int = 1) -> None:
        self._fetch, self._depth = fetch, depth
        self._begun: dict[tuple[int, ...], Future[T]] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")

    def __call__(self, step: int, *request: int) -> T:
        """Result for this step, prefetched if possible; re-raises errors of `fetch`."""
        steps = range(step, step + self._depth + 1)
        for later in steps:
            if (later, *request) not in self._begun:
                self._begun[later, *request] = self._threads.submit(self._fetch, later, *request)
        result = self._begun.pop((step, *request))
        for key in [key for key in self._begun if key[0] not in steps]:  # training jumped, or requests changed
            self._begun.pop(key).cancel()
        return result.result()

    def settle(self) -> None:
        """Wait until the threads are idle; an error is raised where its result is asked for."""
        wait(self._begun.values())
