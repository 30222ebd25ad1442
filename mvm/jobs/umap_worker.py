"""The UMAP worker: a process that makes frames for the app, fed by a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TextIO

import numpy as np

from mvm.geometry.umap_film import project
from mvm.jobs.process import PROJECTION, TRAINING, give_way, start
from mvm.runs.frames import make_frame, read_frame
from mvm.runs.layout import FRAMES, SNAPSHOTS, steps_in

__all__ = ["Projector"]


IDLE_SECONDS = 1.0  # without a request, before missing frames are filled


ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("NUMBA", "OMP", "MKL", "OPENBLAS")}


class Projector:
    """The app's side of the worker: starts it at the first request, never blocks, revives it when it died.

    Args:
        restarts: how many deaths of the worker to answer with a new one.

    Attributes:
        ready: the worker is warm.
        errors: {(run directory, step): reason} of the frames that could not be made.
        last_line: the last line that a worker printed: why it does not start.
    """

    def __init__(self, *, restarts: int = 3):
        self.ready = False
        self.errors: dict[tuple[str, int], str] = {}
        self.last_line = ""
        self._starts_left = restarts + 1
        self._worker: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def request(self, run_dir: Path | str, step: int, *, fill: bool = False) -> bool:
        """Ask for a frame; it appears at `frame_path(run_dir, step)`. Ask again as often as you like.

        Args:
            run_dir: the run.
            step: of an existing snapshot.
            fill: the run is not being trained, so make its other missing frames too when idle.

        Returns:
            Whether a worker took the request: False when it died more often than `restarts` allows, or when
            its pipe is full for the moment.
        """
        line = json.dumps({"run": str(run_dir), "step": int(step), "fill": bool(fill)}) + "\n"
        with self._lock:
            worker = self._living_worker()
            if worker is None:
                return False
            try:  # one write, all or nothing: a line is shorter than what a pipe takes atomically
                os.write(_input(worker).fileno(), line.encode())
            except OSError:  # full, or the worker died just now
                return False
            return True

    @property
    def gave_up(self) -> bool:
        """Whether the worker has died too often to be started again."""
        return self._starts_left == 0 and (self._worker is None or self._worker.poll() is not None)

    def close(self, *, timeout: float = 2.0) -> None:
        """End the worker: it stops after the variant it is at, or is killed `timeout` seconds later."""
        with self._lock:
            worker, self._worker, self._starts_left, self.ready = self._worker, None, 0, False
        if worker is None:
            return
        _input(worker).close()
        try:
            worker.wait(timeout)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def __enter__(self) -> Projector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _living_worker(self) -> subprocess.Popen[bytes] | None:
        """The worker, started if there is none; None if it has died too often."""
        if self._worker is not None and self._worker.poll() is None:
            return self._worker
        if self._worker is not None:
            _input(self._worker).close()
        self._worker, self.ready = None, False
        if self._starts_left == 0:
            return None
        self._starts_left -= 1
        pipe = subprocess.PIPE
        self._worker = start("mvm.jobs.umap_worker", stdin=pipe, stdout=pipe, stderr=pipe, more=ONE_THREAD)
        os.set_blocking(_input(self._worker).fileno(), False)
        for read in (self._listen, self._pass_on):
            threading.Thread(target=read, args=(self._worker,), daemon=True).start()
        return self._worker

    def _listen(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdout is not None, "a pipe"
        with worker.stdout as answers:
            for line in answers:
                try:
                    answer = json.loads(line)
                except ValueError:  # the worker died in the middle of a line
                    continue
                if "ready" in answer:
                    self.ready = worker is self._worker
                elif "error" in answer:
                    self.errors[answer.get("run"), answer.get("step")] = answer["error"]
                else:
                    self.errors.pop((answer["run"], answer["step"]), None)

    def _pass_on(self, worker: subprocess.Popen[bytes]) -> None:
        """Print on this process's standard error what a worker prints on its own."""
        assert worker.stderr is not None, "a pipe"
        with worker.stderr as lines:
            for line in lines:
                text = line.decode(errors="replace")
                self.last_line = text.strip() or self.last_line
                with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
                    sys.stderr.write(text)


def _input(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdin is not None, "a pipe"
    return worker.stdin


class _Requests:
    """What the worker has to do, newest first, fed by a thread that reads lines until the input ends."""

    def __init__(self, lines: TextIO, report: Callable[..., None]):
        self.closed = False
        self._waiting: list[tuple[str, int]] = []
        self._fill: str | None = None
        self._last = time.monotonic()
        self._failed: set[tuple[str, int]] = set()
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(lines, report), daemon=True).start()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(run, step) until the input closes: the newest request, or when idle the next frame to fill."""
        while (job := self._next()) is not None:
            yield job

    def failed(self, run: str, step: int) -> None:
        """Do not try this one again when idle."""
        self._failed.add((run, step))

    def _next(self) -> tuple[str, int] | None:
        with self._news:
            while not self.closed:
                if self._waiting:
                    return self._waiting.pop()
                missing = self._missing()
                patience = self._last + IDLE_SECONDS - time.monotonic()
                if missing and patience <= 0:
                    return missing
                self._news.wait(patience if missing else None)
        return None

    def _missing(self) -> tuple[str, int] | None:
        """The earliest frame that the run to fill lacks."""
        if self._fill is None:
            return None
        done = set(steps_in(Path(self._fill) / FRAMES))
        for step in steps_in(Path(self._fill) / SNAPSHOTS):
            if step not in done and (self._fill, step) not in self._failed:
                return self._fill, step
        return None

    def _read(self, lines: TextIO, report: Callable[..., None]) -> None:
        for line in lines:
            try:
                request = json.loads(line)
                job = str(request["run"]), int(request["step"])
            except (ValueError, TypeError, KeyError) as error:
                report(error=f"not a request: {line.strip()!r} ({error})")
                continue
            with self._news:
                if job in self._waiting:
                    self._waiting.remove(job)
                self._waiting.append(job)
                self._fill = job[0] if request.get("fill") else None
                self._last = time.monotonic()
                self._news.notify()
        with self._news:
            self.closed = True
            self._news.notify()


def _work(lines: TextIO, answers: TextIO) -> None:
    """Serve requests until `lines` ends."""

    def report(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    requests = _Requests(lines, report)
    project(np.random.default_rng(0).normal(size=(64, 4)))  # compiles
    report(ready=True)
    for count, (run, step) in enumerate(requests):
        if count == 1:
            give_way(PROJECTION)  # the screen has its first frame
        start = time.perf_counter()
        try:
            if read_frame(run, step) is None and not make_frame(run, step, stop=lambda: requests.closed):
                break
        except Exception as error:  # a broken snapshot, a full disk: say so and go on
            requests.failed(run, step)
            report(run=run, step=step, error=f"{type(error).__name__}: {error}")
        else:
            report(run=run, step=step, seconds=round(time.perf_counter() - start, 4))


def _leave_with(parent: int) -> None:
    """End with the app, also in the middle of a projection: on a busy machine that takes minutes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """The worker: lines on standard input, answers on standard output."""
    os.environ.update(ONE_THREAD)  # before numba is imported
    give_way(TRAINING)
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing a library prints may pass for an answer
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # the app is gone
        _work(sys.stdin, answers)


if __name__ == "__main__":
    main()
