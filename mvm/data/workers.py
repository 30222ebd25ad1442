"""Worker processes that decode pictures: they end with their parent, are bounded in memory, and may crash.

    for name, outcome in spread(function, source, names): ...

`function(source.read(name))` is called for each name; outcomes come in the order of the names. Whatever one picture
raises is its outcome, a `Skipped`. A decoder that crashes takes its process along: the names in work are then decoded
one by one, and the one that crashes again is skipped.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from mvm.data.picture import Unmeasured
from mvm.errors import ConfigError, line_of
from mvm.words import printable

__all__ = ["MOST_MEMORY", "Reader", "Skipped", "spread"]

CHUNK = 64  # pictures per task of a worker process, by default
MOST_MEMORY = 2**30  # bytes that a worker process may take beside what its start takes

T = TypeVar("T")


class Reader(Protocol):
    """What is read in a worker process: a `mvm.data.sources.Source`, or several together."""

    @property
    def path(self) -> Path: ...

    def read(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Skipped:
    """A file that is not used.

    Attributes:
        reason: in one line.
    """

    reason: str


@dataclass(frozen=True)
class _Task(Generic[T]):
    """What a worker does with a chunk of names."""

    function: Callable[[Any], T]
    source: Reader

    def __call__(self, names: Sequence[str]) -> list[T | Skipped]:
        return [self.outcome(name) for name in names]

    def outcome(self, name: str) -> T | Skipped:
        """The result for a name, or why there is none."""
        try:
            return self.function(self.source.read(name))
        except (ConfigError, Unmeasured):
            raise
        except MemoryError:
            return Skipped(f"more memory needed than the {MOST_MEMORY >> 20} MiB allowed")
        except Exception as error:  # whatever a picture raises costs this picture
            if isinstance(error, OSError) and not self.source.path.exists():
                raise ConfigError(
                    f"source: {printable(self.source.path)} is gone; bring it back and start again"
                ) from None
            return Skipped(line_of(error))


def spread(
    function: Callable[[Any], T],
    source: Reader,
    names: Sequence[str],
    *,
    processes: int | None = None,
    chunk: int | None = None,
) -> Iterator[tuple[str, T | Skipped]]:
    """Yield (name, outcome) for each name, in order; worker processes decode ahead.

    Args:
        function: applied to what `source.read` returns; it and the source are sent to the processes.
        source: collection that has the names.
        names: names to read; outcomes come in their order.
        processes: number of processes; the number of cores when None. 1 decodes in this process.
        chunk: names per task, whose outcomes are in memory together; `CHUNK` when None.

    Raises:
        ConfigError: the source itself fails, rather than a file of it.
        Unmeasured: raised by `function`.
    """
    task = _Task(function, source)
    if processes == 1:
        yield from ((name, task.outcome(name)) for name in names)
        return
    chunk = chunk or CHUNK
    waiting = deque(names[i : i + chunk] for i in range(0, len(names), chunk))
    count = min(processes or os.cpu_count() or 1, len(waiting))
    while waiting:
        begun: deque[tuple[Sequence[str], Future[list[T | Skipped]]]] = deque()
        try:
            with _workers(count) as pool:
                while waiting or begun:
                    while waiting and len(begun) <= 2 * count:
                        begun.append((waiting[0], _submit(pool, task, waiting[0])))
                        waiting.popleft()
                    part, future = begun[0]
                    outcomes = future.result()
                    begun.popleft()
                    yield from zip(part, outcomes, strict=True)
        except BrokenProcessPool:
            waiting.extendleft(part for part, _ in reversed(begun))
            yield from _one_by_one(task, waiting.popleft())


def _one_by_one(task: _Task[T], names: Sequence[str]) -> Iterator[tuple[str, T | Skipped]]:
    """Yield the outcomes of a chunk in which a decoder may have crashed."""
    left = deque(names)
    while left:
        try:
            with _workers(1) as pool:
                while left:
                    (outcome,) = _submit(pool, task, [left[0]]).result()
                    yield left.popleft(), outcome
        except BrokenProcessPool:
            yield left.popleft(), Skipped("its decoder crashed, or was killed")


@contextlib.contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes; they end without finishing what waits."""
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, task: _Task[T], names: Sequence[str]) -> Future[list[T | Skipped]]:
    """Submit a chunk; processes that this starts leave Ctrl-C to their parent from their first instruction on."""
    own = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(task, names)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, own)


def _begin() -> None:
    """Prepare a worker process: it ends with its parent, is bounded in memory, and prints nothing.

    The libraries that decode print what they find wrong with a picture, without its name.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(ImportError, AttributeError):
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes memory, and the processes share the cores
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_data() + MOST_MEMORY, hard))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when it has ended, however
        os._exit(1)


def _data() -> int:
    """Private memory that this process has taken, in bytes.

    Raises:
        OSError: the system does not tell, or does not bound it.
    """
    if sys.platform != "linux":
        raise OSError("no such limit")
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
