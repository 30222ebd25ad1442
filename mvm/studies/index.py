"""All runs at a glance, in the time of one: the files of a run are read once, and again when one has changed.

    checkpoints/.index.json     what was read, by folder, with sizes and times of the files it was read from

The cache may be deleted, damaged or out of date at any time: what it lacks is read anew. Whether a trainer is alive is
looked at every time.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mvm.errors import RunError
from mvm.files import checkpoints, write_atomic
from mvm.runs import layout
from mvm.runs.events import (
    describe_lost_members,
    last_state_event,
    read_event,
    reason_of,
    state_of,
    times,
    training_device,
)
from mvm.runs.fork import origin
from mvm.runs.history import Scores
from mvm.runs.library import run_folders
from mvm.runs.liveness import is_alive
from mvm.runs.records import last_records
from mvm.runs.run import Run
from mvm.studies.compare import beside, data_title, qualities

__all__ = ["SORTS", "Summary", "summaries", "unreadable"]

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
        quality: score over floor (W₂ of points, a Fréchet distance of pictures) of its best variant, the seeds' median.
        best: which variant that is.
        final: whether they are a finished run's; those of a training are of fewer samples, whose floor is another.
        coverage, recall: of that variant.
        created: seconds since the epoch.
        seconds: of training.
        device: that it was trained on last.
        note: what a person has written about it.
        fork_of: name of the run that it was forked from, and the step.
        reason: why it failed.
        lost: how many of its generators are diverged or collapsed, in words; empty if none.
        outdated: its only scores are in coordinates of an earlier version, and rank nothing.
    """

    name: str
    status: str
    step: int
    steps: int
    data: str
    title: str
    method: str
    recipe: str
    variants: list[str]
    seeds: list[int]
    batch: int
    kind: str
    quality: float | None
    best: str | None
    final: bool
    coverage: float | None
    recall: float | None
    created: float
    seconds: float
    device: str | None
    note: str
    fork_of: str | None
    reason: str | None
    lost: str
    outdated: bool

    def matches(self, words: str) -> bool:
        """Whether every word is found in something that the table says, in any case."""
        text = " ".join(map(str, asdict(self).values())).lower()
        return all(word in text for word in words.lower().split())


SORTS = tuple(field.name for field in fields(Summary))
READ = {*SORTS, "event"} - {"name", "status"}  # what is kept of a run: its folder has the name, its lock the status


def summaries() -> list[Summary]:
    """Every readable run under `checkpoints()`, newest first."""
    rows = [_summary(checkpoints() / name, row) for name, row in _read().items() if isinstance(row, dict)]
    return sorted(rows, key=lambda row: row.created, reverse=True)


def unreadable() -> dict[str, str]:
    """Why each of the other runs there cannot be read, by its name."""
    return {name: row for name, row in _read().items() if isinstance(row, str)}


def _read() -> dict[str, dict[str, Any] | str]:
    """What the files of each run say, or why they cannot be read."""
    cache = checkpoints() / ".index.json"
    known = _read_cache(cache)
    found = dict(_entries(known))
    if found != known:
        with contextlib.suppress(OSError):  # a cache that cannot be kept is made anew next time
            write_atomic(cache, json.dumps(found).encode())
    return {name: entry["row"] for name, entry in found.items()}


def _read_cache(path: Path) -> dict[str, dict[str, Any]]:
    """Entries that are whole, and of this version's columns."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        entries = json.loads(path.read_bytes()).items()
        known = {name: entry for name, entry in entries if {*entry} == {"stamp", "row"}}
        return {name: e for name, e in known.items() if isinstance(e["row"], str) or {*e["row"]} == READ}
    return {}


def _entries(known: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in run_folders():
        name = path.name
        stamp = [_stamp(path / file) for file in FILES]
        if known.get(name, {}).get("stamp") == stamp:
            yield name, known[name]
        else:
            try:
                row: dict[str, Any] | str = _row(Run(path))
            except Exception as error:  # files that no version of this program wrote may hold anything
                row = str(error) if isinstance(error, RunError) else f"run: {name}: {type(error).__name__}: {error}"
            yield name, {"stamp": stamp, "row": row}


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _summary(path: Path, row: dict[str, Any]) -> Summary:
    row = dict(row)
    event = row.pop("event")
    status = state_of(read_event(event) if isinstance(event, dict) else None, alive=is_alive(path))
    return Summary(name=path.name, status=status, **row)


def _row(run: Run) -> dict[str, Any]:
    """The columns of a run by its files; whether its trainer is alive is not among them."""
    config, records = run.config, last_records(run.path / layout.RECORDS)
    event = last_state_event(records.events)
    final = run.scores()
    quick = [record for record in records.scores if run.is_comparable(record)]
    scores = final or (quick[-1]["scores"] if quick else None)
    made = origin(run)
    row = {
        "step": records.step,
        "steps": config.steps,
        "data": config.data,
        "title": data_title(config.data),
        "method": config.method,
        "recipe": config.recipe,
        "variants": list(config.variants),
        "seeds": list(config.seeds),
        "batch": config.batch,
        "kind": config.kind,
        "created": min(times(records.events), default=(run.path / layout.CONFIG).stat().st_mtime),
        "seconds": records.scalars[-1].get("seconds", 0.0) if records.scalars else 0.0,
        "device": training_device(records.events),
        "note": run.note,
        "fork_of": made.place if made else None,
        "final": final is not None,
        "event": event.record() if event else None,
        "reason": reason_of(event),
        "lost": describe_lost_members(records.events, len(config.members)),
        "outdated": scores is None and (bool(records.scores) or (run.path / layout.SCORES).exists()),
    }
    return row | _best(Scores(records.step, scores or [], config.members))


def _best(scores: Scores) -> dict[str, Any]:
    """Scores of the variant with the least quality, by the median over its seeds."""
    known = {variant: value for variant, value in qualities(scores).items() if math.isfinite(value)}
    if not known:
        return dict.fromkeys(("quality", "best", "coverage", "recall"))
    best = min(known, key=known.__getitem__)
    others = {key: scores.of(beside(scores.rows[0], key), best) for key in ("coverage", "recall")}
    return {"quality": known[best], "best": best} | others
