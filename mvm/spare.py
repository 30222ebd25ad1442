"""A trainer in waiting: a process that has imported everything, so that Train shows its first frame at once.

Importing torch takes most of the time between a click and the first step. `python -m mvm.spare` does that ahead, then
waits for one line on its standard input, a run's folder, and becomes that run's trainer. It outlives who started
it from that moment on; before it, it ends with them.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from mvm.background import TRAINING, give_way

__all__ = ["Spare"]


class Spare:
    """Keeps one waiting trainer ready; safe to use from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start a waiting trainer if there is none; returns at once."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mvm.spare"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )

    def train(self, run: Path) -> bool:
        """Hand a run to the waiting trainer, whether or not it has finished importing; False if there is none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            process.stdin.write(f"{run.absolute()}\n".encode())
            process.stdin.close()
            return True
        return False


def main() -> int:
    """Import, wait for a run's folder, train it."""
    give_way(TRAINING)

    import mvm.evaluation
    import mvm.recorder  # noqa: F401
    from mvm.__main__ import main as command

    if not select.select([sys.stdin], [], [], 0)[0]:  # no one is waiting yet
        import scipy.optimize  # noqa: F401  what the first quick score needs

    line = sys.stdin.readline().strip()
    if not line:
        return 0
    log = os.open(Path(line) / "trainer.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    return command(["train", "--run", line, "--queue"])


if __name__ == "__main__":
    sys.exit(main())
