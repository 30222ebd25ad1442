"""A thread that does work for a training in order, so that the training waits neither for a disk nor for scores.

    writer.put(work)      the training hands over work and goes on; it waits only while the queue is full
    writer.flush()        waits until all work is done

Work is done one by one, in the order in which it was put: what is on disk is always what an earlier moment of the
training has left. An error of one piece of work ends the thread; the training meets it at its next `put` or `flush`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

__all__ = ["Writer"]

Work = Callable[[], None]


class Writer:
    """A thread with a bounded queue; a context, which ends it.

    Args:
        size: largest number of pieces of work that wait.
        begin: called first in the thread.

    Attributes:
        waited: seconds for which `put` and `flush` have waited.
        worked: seconds for which the thread has worked.
    """

    def __init__(self, *, size: int = 8, begin: Work | None = None) -> None:
        self.waited = self.worked = 0.0
        self._queue: queue.Queue[Work | None] = queue.Queue(size)
        self._begin = begin
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._running = False

    def __enter__(self) -> Writer:
        self._thread.start()
        self._running = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do what is left, and end the thread; raises the work's error unless another one is on its way."""
        self._queue.put(None)
        self._thread.join()
        self._running = False
        if error is None:
            self._raise()

    @property
    def idle(self) -> bool:
        """Whether all work is done."""
        return self._queue.unfinished_tasks == 0

    def put(self, work: Work) -> None:
        """Do work after all that was put before; waits while the queue is full. Outside of the context, do it now.

        Raises:
            Exception: the error of earlier work.
        """
        if not self._running:
            return work()
        began = time.perf_counter()
        self._queue.put(work)
        self.waited += time.perf_counter() - began
        self._raise()

    def flush(self) -> None:
        """Wait until all work is done.

        Raises:
            Exception: the error of earlier work.
        """
        began = time.perf_counter()
        self._queue.join()
        self.waited += time.perf_counter() - began
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        if self._begin:
            self._begin()
        while (work := self._queue.get()) is not None:
            began = time.perf_counter()
            try:
                if self._error is None:  # later work may build on what has failed
                    work()
            except BaseException as error:
                self._error = error
            finally:
                self.worked += time.perf_counter() - began
                self._queue.task_done()
        self._queue.task_done()
