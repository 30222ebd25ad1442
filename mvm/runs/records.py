"""Records of a run: `scalars.jsonl`, read as it grows."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Records"]


@dataclass
class Records:
    """Everything in scalars.jsonl so far; `poll` reads only what was appended since.

    Attributes:
        scalars: one dict per record: step, seconds, and lists with one value per member of the variant axis.
        scores: records that hold scores.
        events: what happened, with the step at which it happened.
    """

    path: Path
    scalars: list[dict] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    offset: int = 0
    inode: int = 0
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def poll(self) -> Records:
        """Read on to the last complete line; start anew if a resumed trainer replaced the file."""
        with self._reading:
            return self._poll()

    def _poll(self) -> Records:
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self.inode or stat.st_size < self.offset:
                    self.scalars, self.scores, self.events, self.offset = [], [], [], 0
                    self.inode = stat.st_ino
                file.seek(self.offset)
                tail = file.read(stat.st_size - self.offset)
        except FileNotFoundError:
            return self
        complete = tail[: tail.rfind(b"\n") + 1]
        self.offset += len(complete)
        for line in complete.splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                kind = "event" if "event" in record else "scores" if "scores" in record else "scalars"
                {"event": self.events, "scores": self.scores, "scalars": self.scalars}[kind].append(record)
        return self

    @property
    def step(self) -> int:
        """The newest step that any record speaks of."""
        return max((records[-1]["step"] for records in (self.scalars, self.events) if records), default=0)
