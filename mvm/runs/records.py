"""Records of a run: `scalars.jsonl`, read as it grows.

{"step": 20, "event": "started", ...}              an event: mvm.runs.events
{"step": 20, "n": 512, "scores": [...]}            quick scores, one dict per member of the variant axis
{"step": 20, "seconds": 1.5, "d_c": [...], ...}    scalars: losses and gaps, one number per member
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mvm.files import append_line, write_atomic
from mvm.runs.events import Event, WeightsChanged, read_event

__all__ = ["Kind", "PastRecords", "Records", "kind_of", "last_records", "write_records"]

Kind = Literal["event", "scores", "scalars"]
KEY = re.compile(rb'"(event|scores)"\s*:')  # in JSON the quotes inside of a string are escaped: this is a key


def kind_of(line: bytes) -> Kind:
    """The kind of record on a line, by its first telling key; the line is not parsed."""
    if b'"event"' not in line and b'"scores"' not in line:  # far quicker than the expression
        return "scalars"
    found = KEY.search(line)
    return "scalars" if found is None else "event" if found[1] == b"event" else "scores"


@dataclass
class Records:
    """Everything in scalars.jsonl so far; `poll` reads only what was appended since.

    Attributes:
        path: of the file.
        scalars: one dict per record: step, seconds, and lists with one value per member of the variant axis.
        scores: records that hold scores.
        events: oldest first, each with the step at which it happened.
        offset: bytes read.
        inode: of the file they were read from.
    """

    path: Path
    scalars: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    offset: int = 0
    inode: int = 0
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

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
            self._add(line)
        return self

    def _add(self, line: bytes) -> None:
        """Keep the record on a line; a line that is no record of any version is passed over."""
        try:
            record = json.loads(line)
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        kind = kind_of(line)
        if kind == "event":
            event = read_event(record)
            if event is not None:
                self.events.append(event)
        else:
            (self.scores if kind == "scores" else self.scalars).append(record)

    @property
    def step(self) -> int:
        """The newest step of any record."""
        newest = [kind[-1]["step"] for kind in (self.scalars, self.scores) if kind]
        return max([*newest, *(event.step for event in self.events[-1:])], default=0)

    def up_to(self, step: int) -> PastRecords:
        """The records of no later step; they do not grow."""
        events = [event for event in self.events if event.step <= step]
        return PastRecords(self.path, _up_to(self.scalars, step), _up_to(self.scores, step), events)

    def rewind(self, step: int) -> None:
        """Delete all records of later steps from the file; the events of trainer processes stay.

        Records of one step keep their order: those of a run that was killed are those of one that was not.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        steps = [_step_if_kept(line, step) for line in lines]
        kept = [(at, line) for at, line in zip(steps, lines, strict=True) if at is not None]
        write_atomic(self.path, b"".join(line for _, line in sorted(kept, key=lambda pair: pair[0])))
        self.poll()

    def weight_changes(self) -> list[WeightsChanged]:
        """Changes of descriptor weights, oldest first."""
        return [event for event in self.events if isinstance(event, WeightsChanged)]


class PastRecords(Records):
    """Records that no longer grow."""

    def poll(self) -> Records:
        """Read nothing."""
        return self


def write_records(path: Path, records: Records) -> None:
    """Append records in the order of their steps, at each of them events first."""
    lines = [*(event.record() for event in records.events), *records.scalars, *records.scores]
    for line in sorted(lines, key=lambda line: line["step"]):
        append_line(path, line)


def _step_if_kept(line: bytes, step: int) -> int | None:
    """Step of a line that is a record of no later step, or an event of a trainer process; None for other lines."""
    read = Records(Path())
    read._add(line)
    if read.events:
        event = read.events[0]
        return event.step if event.step <= step or event.clock is not None else None
    return next((at for record in (*read.scalars, *read.scores) if (at := record["step"]) <= step), None)


def last_records(path: Path) -> Records:
    """All events, the last scalars and the last scores of a file; the other records are not parsed."""
    found = Records(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return found
    for line in reversed(content[: content.rfind(b"\n") + 1].splitlines()):
        kind = kind_of(line)
        if kind == "event" or not (found.scores if kind == "scores" else found.scalars):
            found._add(line)
    found.events.reverse()
    return found


def _up_to(records: Iterable[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    return [record for record in records if record["step"] <= step]
