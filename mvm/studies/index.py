"""All runs at a glance, in the time of one: the files of a run are read once, and again when one has changed.

    checkpoints/.index.json     what was read, by folder, with sizes and times of the files it was read from

The cache may be deleted, damaged or out of date at any time: what it lacks is read anew (`mvm.studies.summary`). A run
that could not be read is not in it: that may have been so for a moment only. Whether a trainer is alive is looked at
every time. As long as no file has changed, nothing here loads torch or numpy.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from mvm.errors import RunDamaged, RunError, line_of
from mvm.files import checkpoints, write_atomic
from mvm.plain import parse, read_bytes
from mvm.runs import layout
from mvm.runs.events import Seconds, Step, Stopped, read_event, state_of
from mvm.runs.layout import is_fresh_name
from mvm.runs.library import run_folders
from mvm.runs.liveness import is_alive
from mvm.studies.gains import is_gain
from mvm.words import visible

__all__ = ["HELD", "SORTS", "Summary", "Unreadable", "listing", "run_titles", "summaries", "unreadable"]

HELD = "held"  # state of a run that a search has stopped, and may train on
MOST_INDEX = 64 * 2**20  # bytes of the cache that are read
SHIPPED = ("points", "superres", "images")  # kinds of data
FILES = (layout.CONFIG, layout.RECORDS, layout.SCORES, layout.NOTE, layout.ORIGIN)  # that a summary is made of


@dataclass(frozen=True)
class Summary:
    """One run in a table.

    Attributes:
        name: of the run.
        status: as `mvm.runs.run.Status.state`.
        step, steps: done and wanted.
        data, method, recipe, variants, seeds, batch: of its config.
        title: what tables call the data.
        kind: kind of its data, a name in `mvm.data.kinds.KINDS`.
        titles: displayed names of the variants, in their order.
        score: key of the quality; empty while there is none.
        quality: score over its baseline (W₂ of points, a Fréchet distance of pictures) of its best variant, the seeds'
            median; of photographs PSNR (Y) minus that of bicubic interpolation, in dB.
        best: which variant that is.
        final: whether they are a finished run's; those of a training are of fewer samples, whose baseline is another.
        coverage, recall: of that variant.
        created: seconds since the epoch.
        seconds: of training, up to `seconds_step`: steps after the last record have no time yet.
        device: that it was trained on last.
        note: what a person has written about it.
        fork_of: name of the run that it was forked from, and the step.
        reason: why it failed.
        lost: how many of its generators are diverged or collapsed, in words; empty if none.
        outdated: its only scores are in coordinates of an earlier version, and rank nothing.
        damage: files that were passed over, with the reasons; empty without any.
        held: it was stopped by a search, which decides whether it is trained on.
    """

    name: str
    status: str
    step: Step
    steps: Annotated[int, Field(ge=1)]
    data: str
    title: str
    method: str
    recipe: str
    variants: list[str]
    titles: list[str]
    seeds: list[int]
    batch: int
    kind: str
    score: str
    quality: float | None
    best: str | None
    final: bool
    coverage: float | None
    recall: float | None
    created: Seconds
    seconds: Seconds
    seconds_step: Step
    device: str | None
    note: str
    fork_of: str | None
    reason: str | None
    lost: str
    outdated: bool
    damage: str
    held: bool = False

    @property
    def state(self) -> str:
        """What it is doing, in a word: its status, or `HELD`."""
        return HELD if self.held else self.status

    @property
    def trained(self) -> str:
        """Its data, and what was trained on them."""
        from mvm.studies.labels import trained_in_words

        return trained_in_words(self.title, self.titles, self.recipe)

    def order(self, column: str) -> Any:
        """What a column is sorted by, the best quality first."""
        value = getattr(self, column)
        return (self.score, -value if is_gain(self.score) else value) if column == "quality" else value

    def matches(self, words: str) -> bool:
        """Whether every word is found in something that the table says, in any case."""
        if not (wanted := words.lower().split()):
            return True
        text = " ".join(map(str, [*vars(self).values(), self.state])).lower()
        return all(word in text for word in wanted)


SORTS = tuple(field.name for field in fields(Summary))
SUMMARY = TypeAdapter(Summary)
READ = {*SORTS, "event"} - {"name", "status", "held"}  # what is kept of a run: its lock has a part in the status


@dataclass(frozen=True)
class Unreadable:
    """A run that cannot be listed.

    Attributes:
        reason: why, in one line.
        damaged: its files were read and are not those of a run: it can only be deleted. Otherwise it may be readable
            later, by another user or by a newer version.
    """

    reason: str
    damaged: bool


def listing() -> tuple[list[Summary], dict[str, Unreadable]]:
    """Every readable run under `checkpoints()`, newest first, and those that cannot be read, by name."""
    found = _read()
    rows = [_summary(checkpoints() / name, row) for name, row in found.items() if isinstance(row, dict)]
    rows.sort(key=lambda row: row.created, reverse=True)
    return rows, {name: row for name, row in found.items() if isinstance(row, Unreadable)}


def summaries() -> list[Summary]:
    """Every readable run under `checkpoints()`, newest first."""
    return listing()[0]


def run_titles(rows: Iterable[Summary]) -> dict[str, str]:
    """What each run is called, by name: as `mvm.studies.labels.run_title`, and no two alike."""
    from mvm.studies.labels import title_in_words

    rows = list(rows)
    titles = {row.name: visible(row.name) for row in rows}
    fresh = [row for row in rows if is_fresh_name(row.name)]
    for exact in (False, True):
        found = {row.name: title_in_words(row.trained, row.created, exact=exact) for row in fresh}
        shared = Counter((titles | found).values())
        titles |= found
        fresh = [row for row in fresh if shared[found[row.name]] > 1]
    return titles | {row.name: f"{titles[row.name]} ({row.name})" for row in fresh}


def unreadable() -> dict[str, Unreadable]:
    """Runs there that cannot be read, by name."""
    return {name: row for name, row in _read().items() if isinstance(row, Unreadable)}


def _read() -> dict[str, dict[str, Any] | Unreadable]:
    """What the files of each run say, or why they cannot be read."""
    cache = checkpoints() / ".index.json"
    known = _read_cache(cache, *(_stamp(cache) or [0, 0]))
    rows: dict[str, dict[str, Any] | Unreadable] = {}
    kept: dict[str, dict[str, Any]] = {}
    for path in run_folders():
        name, stamp = path.name, [_stamp(f"{path}/{file}") for file in FILES]
        if known.get(name, {}).get("stamp") == stamp:
            rows[name], kept[name] = known[name]["row"], known[name]
            continue
        try:
            row, lasting = _row(path)
        except RunError as error:
            rows[name] = Unreadable(str(error), isinstance(error, RunDamaged))
        except OSError as error:  # it is being deleted, or its disk is gone
            rows[name] = Unreadable(f"run: {name} cannot be read: {line_of(error)}", damaged=False)
        else:
            rows[name] = row
            if lasting:
                kept[name] = {"stamp": stamp, "row": row}
    if kept != known:
        with contextlib.suppress(OSError):  # a cache that cannot be kept is made anew next time
            write_atomic(cache, json.dumps(kept).encode())
    return rows


@lru_cache(maxsize=1)
def _read_cache(path: Path, size: int, changed: int) -> dict[str, dict[str, Any]]:
    """Valid entries with this version's columns; anyone may have written the file, which has this size and time."""
    try:
        entries = parse(read_bytes(path, most=MOST_INDEX))
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in entries.items() if _is_entry(entry)} if isinstance(entries, dict) else {}


def _is_entry(entry: Any) -> bool:
    try:
        if {*entry} != {"stamp", "row"} or {*entry["row"]} != READ or not _is_kind(entry["row"]["kind"]):
            return False
        columns = {name: value for name, value in entry["row"].items() if name != "event"}
        SUMMARY.validate_json(json.dumps({"name": "", "status": "", **columns}), strict=True)
    except (TypeError, ValueError):
        return False
    return True


def _is_kind(name: str) -> bool:
    """Whether there is such a kind of data; those that come with the program are known without loading them."""
    if name in SHIPPED:
        return True
    from mvm.data.kinds import KINDS

    return name in KINDS


def _stamp(path: Path | str) -> list[int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 (a Path for each file of each run takes more time than the look at it)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _summary(path: Path, row: dict[str, Any]) -> Summary:
    row = dict(row)
    event = row.pop("event")
    last = read_event(event) if isinstance(event, dict) else None
    status = state_of(last, alive=is_alive(path))
    held = status == "stopped" and isinstance(last, Stopped) and last.held
    return Summary(name=path.name, status=status, held=held, **row)


def _row(path: Path) -> tuple[dict[str, Any], bool]:
    """As `mvm.studies.summary.row_of` the run in a folder; errors as for `Run`."""
    from mvm.runs.run import Run
    from mvm.studies.summary import row_of

    return row_of(Run(path))
