"""Work behind a page: it is done in a thread that ends when it is dropped, or when no page watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mvm.errors import ConfigError, RunError, line_of
from mvm.jobs.umap_worker import Projector
from mvm.runs.run import Run

__all__ = ["Abandoned", "Report", "Work", "await_frames"]

ABANDONED_AFTER = 15.0  # seconds without a page that watches

Report = Callable[[int, int, str], None]
"""Takes the number of parts that are done, that of all, and the part in progress."""


class Abandoned(Exception):
    """No page waits for the work."""


@dataclass(kw_only=True)
class Work:
    """Some work, and how far it is.

    Attributes:
        state: working, done or failed.
        done: number of finished parts.
        total: number of all parts.
        doing: part in progress.
        reason: why it failed; "" if it was given up.
        seen: when a page last watched it, on the monotonic clock.
        dropped: whether the page has given it up.
    """

    state: Literal["working", "done", "failed"] = "working"
    done: int = 0
    total: int = 1
    doing: str = ""
    reason: str = ""
    seen: float = field(default_factory=time.monotonic)
    dropped: bool = False

    @property
    def share(self) -> float:
        """Of the parts that are done, from 0 to 1."""
        return min(1.0, self.done / max(1, self.total))

    def begin(self, make: Callable[[], None]) -> None:
        """Start the thread."""
        threading.Thread(target=self.attempt, args=(make,), daemon=True).start()

    def attempt(self, make: Callable[[], None]) -> None:
        """Do the work here, and set the state."""
        try:
            make()
            self.state = "done"
        except Abandoned:
            self.state = "failed"
        except (ConfigError, RunError, OSError) as error:
            self.state, self.reason = "failed", str(error)
        except Exception as error:  # shown on the page; the thread has no caller
            self.state, self.reason = "failed", f"{type(error).__name__}: {line_of(error)}"
            raise

    def report(self, done: int, total: int, doing: str) -> None:
        """Take the progress.

        Raises:
            Abandoned: no page waits for it.
        """
        if self.dropped or time.monotonic() - self.seen > ABANDONED_AFTER:
            raise Abandoned
        self.done, self.total, self.doing = done, total, doing


def await_frames(wanted: Sequence[tuple[Run, int]], service: Projector, report: Report, *, seconds: float) -> None:
    """Wait for UMAP frames of the app's one projector; those that do not come in time are left out."""
    until = time.monotonic() + seconds
    for done, (run, step) in enumerate(wanted):
        while run.frame(step) is None and (str(run.path), step) not in service.errors:
            service.request(run.path, step)
            report(done, len(wanted), f"UMAP of {run.name}")
            if service.gave_up or time.monotonic() > until:
                return
            time.sleep(0.2)
