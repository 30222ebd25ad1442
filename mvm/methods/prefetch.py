"""Work on later steps, done in a thread while the steps before them are computed.

    step          t        t + 1    t + 2    t + 3
    the device    trains
    the thread             fetches  fetches  fetches

So a batch that must be read and copied is there when its step begins.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Results of `fetch(step, *what)`, begun before they are asked for: what one step asks, the next ones will.

    Args:
        fetch: a function of its arguments alone; called in a thread.
        depth: how many steps ahead.
    """

    def __init__(self, fetch: Callable[..., T], *, depth: int = 3) -> None:
        self._fetch, self._depth = fetch, depth
        self._begun: dict[tuple[int, ...], Future[T]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def __call__(self, step: int, *what: int) -> T:
        """That of this step; fetched now if nobody could know of it. Raises what `fetch` has raised."""
        ahead = range(step, step + self._depth + 1)
        for later in ahead:
            if (later, *what) not in self._begun:
                self._begun[later, *what] = self._thread.submit(self._fetch, later, *what)
        wanted = self._begun.pop((step, *what))
        for key in [key for key in self._begun if key[0] not in ahead]:  # the training has jumped, or asked otherwise
            self._begun.pop(key).cancel()
        return wanted.result()
