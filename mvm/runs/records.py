"""Records of a run: `scalars.jsonl`, read as it grows.

{"step": 20, "event": "started", ...}              an event: mvm.runs.events
{"step": 20, "n": 512, "scores": [...]}            quick scores, one dict per member of the variant axis
{"step": 20, "seconds": 1.5, "d_c": [...], ...}    scalars: losses and gaps, one number per member
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mvm.errors import RunError, line_of
from mvm.files import append_line, write_atomic
from mvm.geometry.descriptors import GAPS
from mvm.plain import open_plain, parse
from mvm.runs.documents import Members, Number, check_rows, fit
from mvm.runs.events import (
    Count,
    Event,
    MemberChanged,
    Seconds,
    SettingsChanged,
    Step,
    Unknown,
    WeightsChanged,
    Words,
    event_of,
)

__all__ = ["MOST_RECORDS", "Kind", "PastRecords", "Records", "kind_of", "last_records", "record_of", "write_records"]

Kind = Literal["event", "scores", "scalars"]
MOST_RECORDS = 2**30  # bytes of a file that are read
MOST_LINE = 2**24  # bytes of a record
KEY = re.compile(rb'"(event|scores)"\s*:')  # in JSON the quotes inside of a string are escaped: this is a key


def kind_of(line: bytes) -> Kind:
    """The kind of record on a line, by its first telling key; the line is not parsed."""
    if b'"event"' not in line and b'"scores"' not in line:  # far quicker than the expression
        return "scalars"
    found = KEY.search(line)
    return "scalars" if found is None else "event" if found[1] == b"event" else "scores"


class Scalars(BaseModel):
    """Losses and gaps of every member at a step; further keys hold a list with one number per member, or one value."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, list[Number | None] | Number | Words | None]

    step: Step
    seconds: Seconds


class QuickScores(BaseModel):
    """Scores of every member at a step of the training; `check_rows` looks into the rows."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Number | Words | None]

    step: Step
    n: Count | None = None
    scores: list[Any]


def record_of(value: Any, kind: Kind, members: Members | None = None) -> Event | dict[str, Any]:
    """The event, or else the record, that a line of `scalars.jsonl` holds.

    Args:
        value: JSON of the line.
        kind: of the line.
        members: (variant, seed) along the variant axis, which it must fit; None: any.

    Raises:
        ValueError: it is no record of this kind; one line.
    """
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    if kind == "event":
        event = fit(event_of, value)
        if isinstance(event, MemberChanged) and members is not None and event.member >= len(members):
            raise ValueError(f"member: there are {len(members)} (got {event.member})")
        return event
    if kind == "scores":
        check_rows(fit(QuickScores.model_validate, value).scores, members)
        return value
    for name, numbers in (fit(Scalars.model_validate, value).model_extra or {}).items():
        if not isinstance(numbers, list):
            if name in GAPS or name.endswith("_loss"):
                raise ValueError(f"{name[:40]!r} is no list of numbers")
        elif members is not None and len(numbers) != len(members):
            raise ValueError(f"{name[:40]!r} has {len(numbers)} numbers for {len(members)} networks")
    return value


@dataclass
class Records:
    """Everything in scalars.jsonl so far; `poll` reads only what was appended since.

    Attributes:
        path: of the file.
        members: (variant, seed) along the variant axis, which every record is checked against; None: of any.
        scalars: one dict per record: step, seconds, and lists with one value per member of the variant axis.
        scores: records that hold scores.
        events: oldest first, each with the step at which it happened.
        offset: bytes read.
        inode: of the file they were read from.
        passed_over: lines that are no record of this run.
        reason: what is wrong with the first of them.
        problem: why the file could not be read the last time; what was read before is kept.
    """

    path: Path
    members: Members | None = field(default=None, compare=False)
    scalars: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    offset: int = 0
    inode: int = 0
    passed_over: int = 0
    reason: str = ""
    problem: OSError | ValueError | None = field(default=None, compare=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def poll(self) -> Records:
        """Read on to the last complete line; start anew if a resumed trainer replaced the file."""
        with self._reading:
            try:
                self._poll()
                self.problem = None
            except FileNotFoundError:
                self.problem = None
            except (OSError, ValueError) as error:
                self.problem = error
            return self

    def _poll(self) -> None:
        with open_plain(self.path, most=MOST_RECORDS) as file:
            stat = os.fstat(file.fileno())
            if stat.st_ino != self.inode or stat.st_size < self.offset:
                self.scalars, self.scores, self.events, self.offset = [], [], [], 0
                self.passed_over, self.reason = 0, ""
                self.inode = stat.st_ino
            file.seek(self.offset)
            while tail := file.read(MOST_LINE):
                complete = tail[: tail.rfind(b"\n") + 1]
                if not complete and len(tail) == MOST_LINE:
                    raise ValueError(f"a line has more than {MOST_LINE:,} bytes")
                if not complete:
                    break
                self.offset += len(complete)
                for line in complete.splitlines():
                    self._add(line)
                file.seek(self.offset)

    def _add(self, line: bytes) -> None:
        """Keep the record on a line; a line that is no record of this run is passed over, and counted."""
        kind, value = kind_of(line), None
        try:
            value = parse(line)
            record = record_of(value, kind, self.members)
        except ValueError as error:
            self.passed_over += 1
            self.reason = self.reason or str(error)
            with contextlib.suppress(ValueError):  # another version may know it: an event stays on record
                if kind == "event" and isinstance(value, dict):
                    self.events.append(Unknown.model_validate(value))
            return
        if isinstance(record, Event):
            self.events.append(record)
        else:
            (self.scores if kind == "scores" else self.scalars).append(record)

    @property
    def damage(self) -> str:
        """What could not be read, in words; empty if all could be."""
        if self.problem is not None:
            return f"{self.path.name} cannot be read: {line_of(self.problem)}"
        if self.passed_over:
            lines = "1 line" if self.passed_over == 1 else f"{self.passed_over:,} lines"
            return f"{lines} of {self.path.name} passed over: {self.reason}"
        return ""

    @property
    def step(self) -> int:
        """The newest step of any record."""
        newest = [kind[-1]["step"] for kind in (self.scalars, self.scores) if kind]
        return max([*newest, *(event.step for event in self.events[-1:])], default=0)

    def up_to(self, step: int) -> PastRecords:
        """The records of no later step; they do not grow."""
        events = [event for event in self.events if event.step <= step]
        return PastRecords(self.path, self.members, _up_to(self.scalars, step), _up_to(self.scores, step), events)

    def rewind(self, step: int) -> None:
        """Delete all records of later steps from the file; the events of trainer processes stay.

        Records of one step keep their order: those of a run that was killed are those of one that was not.

        Raises:
            RunError: the file cannot be read, so that nothing of it could be kept.
        """
        if self.poll().problem is not None:
            raise RunError(f"run: {self.path.parent.name}'s {self.damage}")
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        steps = [self._step_if_kept(line, step) for line in lines]
        kept = [(at, line) for at, line in zip(steps, lines, strict=True) if at is not None]
        write_atomic(self.path, b"".join(line for _, line in sorted(kept, key=lambda pair: pair[0])))
        self.poll()

    def _step_if_kept(self, line: bytes, step: int) -> int | None:
        """Step of a line that is a record of no later step, or an event of a trainer process; None for other lines."""
        read = Records(self.path, self.members)
        read._add(line)
        if read.events:
            event = read.events[0]
            return event.step if event.step <= step or event.clock is not None else None
        return next((at for record in (*read.scalars, *read.scores) if (at := record["step"]) <= step), None)

    def setting_changes(self) -> list[WeightsChanged | SettingsChanged]:
        """Settings moved while training, weights among them, oldest first."""
        return [event for event in self.events if isinstance(event, WeightsChanged | SettingsChanged)]


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


def last_records(path: Path, members: Members | None = None) -> Records:
    """All events, the last scalars and the last scores of a file; the other records are not parsed."""
    found = Records(path, members)
    try:
        with open_plain(path, most=MOST_RECORDS) as file:
            content = file.read()
    except FileNotFoundError:
        return found
    except (OSError, ValueError) as error:
        found.problem = error
        return found
    for line in reversed(content[: content.rfind(b"\n") + 1].splitlines()):
        kind = kind_of(line)
        if kind == "event" or not (found.scores if kind == "scores" else found.scalars):
            found._add(line)
    found.events.reverse()
    return found


def _up_to(records: Iterable[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    return [record for record in records if record["step"] <= step]
