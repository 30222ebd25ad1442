"""Measured exhibits: made here, one file for each under `checkpoints()/claims/exhibits`, or shipped with the package.

What is measured is not measured again. The files' names contain the seeds and the share of the steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mvm.errors import ConfigError
from mvm.files import checkpoints, locked, write_atomic
from mvm.runs import layout
from mvm.studies.exhibits import EXHIBITS, Result

__all__ = ["QUICK", "in_numbers", "measure", "measured", "shipped", "table_of", "to_json", "to_markdown"]

SHIPPED = Path(__file__).with_name("exhibits.json")
FOLDER, LOCK = "exhibits", "lock"
QUICK = 0.02  # share of the training steps, to see it work


def measure(
    names: Iterable[str],
    *,
    seeds: int,
    share: float = 1.0,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Result]:
    """Measure exhibits, each one once.

    Args:
        names: in `EXHIBITS`.
        seeds: how many, from 0.
        share: of the training steps; below 1 to see it work.
        on_progress: called with the share of the exhibits that are measured.

    Raises:
        ConfigError: an unknown name, or no seed.
        RunBusy: another process measures them.
    """
    chosen = list(names)
    if unknown := [name for name in chosen if name not in EXHIBITS]:
        raise ConfigError(f"--only: there is no exhibit {unknown[0]!r}; known: {', '.join(EXHIBITS)}")
    if seeds < 1:
        raise ConfigError(f"--seeds: at least 1, got {seeds}")
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, busy="exhibits: another process is measuring them; wait for it, or end it first"):
        for number, name in enumerate(chosen):
            on_progress(number / len(chosen))
            path = _path(name, seeds, share)
            if _read(path) is None:
                write_atomic(path, json.dumps(asdict(_measure(name, range(seeds), share))).encode())
    on_progress(1.0)
    return [result for name in chosen if (result := _read(_path(name, seeds, share))) is not None]


def _measure(name: str, seeds: Sequence[int], share: float) -> Result:
    threads, start = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)  # networks are small
    try:
        rows, pictures = EXHIBITS[name].measure(seeds, share)
    finally:
        torch.set_num_threads(threads)
    return Result(name, rows, pictures, round(time.process_time() - start, 1))


def measured(seeds: int = 5) -> dict[str, Result]:
    """The full measurements made here, by exhibit."""
    found = {name: _read(_path(name, seeds, 1.0)) for name in EXHIBITS}
    return {name: result for name, result in found.items() if result is not None}


def shipped() -> tuple[dict[str, Result], str]:
    """The measurements that come with the package, by exhibit, and the device they were made on."""
    try:
        content = json.loads(SHIPPED.read_text(encoding="utf-8"))
        results = [Result.read(values) for values in content["results"]]
    except (OSError, ValueError, TypeError, KeyError):
        return {}, ""
    return {result.exhibit: result for result in results if result.exhibit in EXHIBITS}, content["device"]


def in_numbers(result: Result) -> str:
    """The medians that its exhibit quotes, in words."""
    shown = EXHIBITS[result.exhibit].shown
    return "; ".join(f"{label.strip()} {result.median(column):.3g}" for column, label in shown.items())


def table_of(result: Result) -> str:
    """The medians of an exhibit's table in Markdown, the lowest of each column in bold; "" for one without a table."""
    columns, names = EXHIBITS[result.exhibit].table
    if not names:
        return ""
    medians = {(name, column): result.median(f"{column}, {name}") for name in names for column in columns}
    least = {column: min(medians[name, column] for name in names) for column in columns}
    lines = [f"| W₂ / baseline | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|"]
    for name in names:
        cells = [_bold(medians[name, column], medians[name, column] == least[column]) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bold(value: float, bold: bool) -> str:
    return f"**{value:.3g}**" if bold else f"{value:.3g}"


def to_json(results: Iterable[Result], device: str) -> str:
    """Results, with the device that they were measured on."""
    return json.dumps({"device": device, "results": [asdict(result) for result in results]})


def to_markdown(results: Sequence[Result]) -> str:
    """A table: what each exhibit says and where the survey has it, in how many seeds it holds, and medians."""
    lines = ["| Exhibit | In the survey | Verdict | Medians over the seeds |", "| --- | --- | --- | --- |"]
    for result in results:
        exhibit = EXHIBITS[result.exhibit]
        lines.append(f"| {exhibit.title} | {exhibit.source} | {result.verdict} | {in_numbers(result)} |")
    tables = [table for result in results if (table := table_of(result))]
    return "\n\n".join(["\n".join(lines), *tables])


def _folder() -> Path:
    return checkpoints() / layout.CLAIMS / FOLDER


def _path(name: str, seeds: int, share: float) -> Path:
    return _folder() / f"{name}-{seeds}seeds{'' if share == 1 else f'-{share:g}'}.json"


def _read(path: Path) -> Result | None:
    """A stored result; None where there is none that can be read."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Result.read(values)
    except (OSError, ValueError, TypeError, KeyError):
        return None
