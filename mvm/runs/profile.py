"""Where the time of a training went: seconds by part, of the training's thread and beside it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import TypeVar

__all__ = ["Profile"]

T = TypeVar("T")


class Profile:
    """Seconds by the name of a part.

    Attributes:
        seconds: of each part, in the order of their first end.
        began: when the profile was made, by `time.perf_counter`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.began = time.perf_counter()
        self._adding = Lock()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside for a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._add(name, time.perf_counter() - began)

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count the time that each takes to come for a part."""
        iterator = iter(items)
        while True:
            with self.part(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def _add(self, name: str, seconds: float) -> None:
        with self._adding:
            self.seconds[name] += seconds

    def table(self) -> list[tuple[str, float, float]]:
        """Part, seconds and share of the whole; what was done beside the steps is no share of it."""
        whole = time.perf_counter() - self.began
        own = {name: seconds for name, seconds in self.seconds.items() if not name.endswith(BESIDE)}
        own["rest"] = max(0.0, whole - sum(own.values()))
        beside = {name: seconds for name, seconds in self.seconds.items() if name.endswith(BESIDE)}
        return [(name, seconds, seconds / whole) for name, seconds in (*own.items(), *beside.items())]


BESIDE = ", beside the steps"
