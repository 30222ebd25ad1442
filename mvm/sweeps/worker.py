"""A worker trains the runs of a sweep one after the other, and owns none of them.

It takes the first run that is unfinished and that no process holds, trains or resumes it, and goes on with the next. A
worker that is killed drops its lock: another one continues its run from the checkpoint. So any number of workers may
start and end at any time, on any machine that sees the folder of runs.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from mvm.devices import use_gpu
from mvm.errors import Diverged, RunBusy, RunError, Stopped, TakenOver, reason_of
from mvm.files import NO_ROOM, checkpoints
from mvm.jobs.queue import Slot, device_kind, slot
from mvm.runs import events, layout
from mvm.runs.liveness import hold_run, is_alive
from mvm.runs.records import last_records
from mvm.runs.run import Run
from mvm.sweeps.sweep import Sweep, sweep_named

__all__ = ["LEFT", "Worker", "train_held"]

LEFT = 75  # exit status of a worker that left before the end: another is to go on (EX_TEMPFAIL)
POLL = 0.5  # seconds between two looks at runs that other processes hold
DEATHS = 10  # of trainers in a row, without a step saved in between: the run is given up
LEFT_ALONE = ("failed", "diverged", "stopped")
FULL = "the disk is full"
ROOM = 5.0  # seconds of waiting for room on a full disk
HELD = Path()  # in place of a run: others hold all that are left


class _Left(BaseException):
    """A worker is asked to leave while it has nothing to save."""


class Worker:
    """Takes runs of a sweep until none is left.

    Args:
        sweep: whose runs.
        retry: also those that failed, diverged or were stopped before this worker began.
        queue: wait for a device slot of this machine before each run, as trainings of the app do.
        say: gets one line about each run.
        only: name of the only run that it takes.
        leave_file: once it is there, save and end.

    Attributes:
        leaving: save and end; set by `leave_on_signals`.
        unreadable: runs that are passed over, as they cannot be read.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        retry: bool = False,
        queue: bool = False,
        say: Callable[[str], None] = lambda line: None,
        only: str | None = None,
        leave_file: Path | None = None,
    ) -> None:
        self.sweep, self.retry, self.queue, self.say, self.only = sweep, retry, queue, say, only
        self.leaving = False
        self._loses_nothing = False  # if it is interrupted now
        self._leave_file, self._looked = leave_file, 0.0
        self.unreadable: list[str] = []
        self._began = time.time()
        self._read: dict[Path, tuple[tuple[int, int], events.Event | None, int]] = {}

    def work(self) -> bool:
        """Train until nothing is left to train, or `leaving` is set; returns whether nothing is left."""
        told, ended = False, ""
        while not self._leaves():
            self._loses_nothing = True
            free = self._first_free()
            if free is None:
                return True
            if free is HELD:
                if not told:
                    self.say("the runs that are left are being trained by others, or not chosen yet; waits for them")
                told = True
                self._wait(POLL)
                continue
            with contextlib.ExitStack() as held:
                got = self._wait_for_slot(free, held) if self.queue else None
                if (run := self._take(held)) is not None:
                    told = False
                    self.say(f"{run.name}: begins at step {run.status().step} of {run.config.steps}")
                    ended = train_held(run, slot=got, leaving=self._leaves, on_begin=self._begin)
                    self.say(f"{run.name}: {ended}")
            self._wait(ROOM if run is not None and ended.startswith(FULL) else 0.0)
        return self._first_free() is None

    @contextlib.contextmanager
    def leave_on_signals(self) -> Iterator[None]:
        """Set `leaving` on SIGTERM and Ctrl-C; a second Ctrl-C interrupts at once.

        A worker that waits, imports or reads is interrupted, and the block with it: on a busy machine it would take a
        minute to come to its first step, only to leave then.
        """

        def leave(number: int, frame: FrameType | None) -> None:
            if self.leaving and number == signal.SIGINT:
                raise KeyboardInterrupt
            is_told, self.leaving = self.leaving, True
            if self._loses_nothing and not is_told:
                raise _Left

        before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        except _Left:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _begin(self) -> None:
        """A run has made a step: from now on there is something to save."""
        self._loses_nothing = False

    def _leaves(self) -> bool:
        """Whether to save and end; the file is looked for twice a second."""
        if self._leave_file is not None and time.monotonic() - self._looked > POLL:
            self._looked = time.monotonic()
            self.leaving = self.leaving or self._leave_file.exists()
        return self.leaving

    def _wait(self, seconds: float) -> None:
        """Wait, or until `leaving` is set."""
        end = time.monotonic() + seconds
        while not self._leaves() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL))

    def _wait_for_slot(self, path: Path, held: contextlib.ExitStack) -> Slot | None:
        """Hold a device slot for a run; None if `leaving` was set meanwhile."""
        try:
            kind = device_kind(Run(path).config.device)
        except RunError:  # `_take` says so
            return None
        got = held.enter_context(slot(kind, give_up=self._leaves, on_wait=lambda: None))
        if got is not None and got.number is not None and kind == "cuda":
            use_gpu(got.number)
        return got

    def _take(self, held: contextlib.ExitStack) -> Run | None:
        """Hold the first free run; None without any."""
        while not self._leaves() and (path := self._first_free()) not in (None, HELD):
            assert path is not None
            holding = contextlib.ExitStack()
            try:
                holding.enter_context(hold_run(path))
                if self._is_open(path) and not self._is_given_up(path):  # another worker may have ended it meanwhile
                    run = Run(path)
                    held.push(holding.pop_all())
                    return run
            except (RunBusy, FileNotFoundError):  # another worker was faster; deleted just now
                pass
            except RunError as error:
                self.unreadable.append(path.name)
                self.say(str(error))
            finally:
                holding.close()
        return None

    def _first_free(self) -> Path | None:
        """Folder of the first run to train that nobody holds; `HELD` if others hold all of these, None without any.

        While a search goes on, there may be more to come: `HELD`, too.
        """
        any_held = self.only is None and self.sweep.is_searched  # asked before the runs: none is missed
        with contextlib.suppress(RunError):  # runs may have been added
            self.sweep = sweep_named(self.sweep.name)
        for name in [self.only] if self.only else self.sweep.runs:
            path = checkpoints() / name
            if name not in self.unreadable and self._is_open(path):
                if not is_alive(path) and events.state_of(self._last_event(path)[0], alive=False) != "starting":
                    return path
                any_held = True
        return HELD if any_held else None

    def _is_open(self, path: Path) -> bool:
        """Whether a run is still to be trained."""
        last, _ = self._last_event(path)
        if last is None:
            return (path / layout.CONFIG).exists()
        if last.state in LEFT_ALONE:
            return self.retry and (last.clock or 0) < self._began
        return last.state != "finished"

    def _is_given_up(self, path: Path) -> bool:
        """Whether the trainers of a held run die before they save a step; this is put on record as its failure."""
        last, deaths = self._last_event(path)
        if last is None or deaths < DEATHS:
            return False
        reason = (
            f"its trainer was killed {deaths} times at step {last.step}, before it could save another one; it may need "
            "more memory than there is; `mvm work --retry-failed` tries again"
        )
        events.append_event(path, events.Failed(step=last.step, time=time.time(), reason=reason))
        self.say(f"{path.name}: {reason}")
        return True

    def _last_event(self, path: Path) -> tuple[events.Event | None, int]:
        """Last event of a run that tells its state, and how many trainers in a row died where they had begun."""
        try:
            stat = (path / layout.RECORDS).stat()
        except OSError:
            return None, 0
        stamp = stat.st_size, stat.st_mtime_ns
        if path not in self._read or self._read[path][0] != stamp:
            found = [event for event in last_records(path / layout.RECORDS).events if event.state]
            deaths = 0
            for event in reversed(found):
                if not isinstance(event, events.Started | events.Resumed) or event.step != found[-1].step:
                    break
                deaths += 1
            self._read[path] = stamp, found[-1] if found else None, deaths
        return self._read[path][1:]


def train_held(
    run: Run,
    *,
    slot: Slot | None = None,
    leaving: Callable[[], bool] = lambda: False,
    on_begin: Callable[[], None] = lambda: None,
) -> str:
    """Train a run that this process holds; returns how it ended, in words. What ended it is on record.

    Args:
        run: what is trained.
        slot: that is held, given back while the training pauses.
        leaving: asked at each step; once true, the run is saved and left to others.
        on_begin: called after each step; before the first one, there is nothing to save.
    """
    from mvm.runs.recorder import train

    is_leaving = False
    try:
        run.clear_requests(searched=True)
        for _ in train(run, slot=slot):
            on_begin()
            if not is_leaving and leaving():
                is_leaving = True
                run.ask(stop=True)
    except _Left:
        _waits(run)  # on record, or its trainer counts as one that was killed
        raise
    except (Diverged, TakenOver) as reason:
        return str(reason)
    except Stopped:
        step = run.status().step
        if is_leaving:  # not by a person's request: it waits for the next worker
            _waits(run)
        how = "saved and left" if is_leaving else "held by the search" if run.is_held() else "stopped"
        return f"{how} at step {step}"
    except Exception as error:
        if _is_full(error):
            while not _waits(run) and not leaving():  # on record, or this trainer counts as one that was killed
                time.sleep(POLL)
            return f"{FULL}; it waits for room"
        with contextlib.suppress(OSError):
            if run.is_there():
                run.append_event(events.Failed(step=run.status().step, time=time.time(), reason=reason_of(error)))
        return f"failed: {reason_of(error)}"
    return "finished"


def _waits(run: Run) -> bool:
    """Put on record that a run waits for the next worker; returns whether its disk has taken the line."""
    try:
        run.append_event(events.Queued(step=run.status().step, time=time.time()))
    except OSError as error:
        return error.errno not in NO_ROOM
    return True


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
