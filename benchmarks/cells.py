"""Train one config per process, score each seed on fresh real samples, and append every result to a JSON-lines file.

A cell is a config with some seeds. Each seed is scored against a fresh pair of real samples, which neither tuning nor
the lab's own scores use:

    w2_ratio        W₂ over its baseline of the seed's own pair, as `python -m mvm score` reports it
    w2_fresh        mean over all seeds of the baselines of their pairs
    w2_over_fresh   W₂ / w2_fresh: what the tables show

A single baseline varies by a third of itself on curves, hence the mean. Training time is processor time, so that cells
sharing a machine do not slow each other's clock.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvm.config import Config
from mvm.scoring.score import ratio

if TYPE_CHECKING:
    from mvm.scoring.points import Reference

__all__ = [
    "POINTS",
    "Cell",
    "device_line",
    "markdown",
    "median",
    "row_of",
    "run",
    "steps_in",
    "write_csv",
    "write_section",
]

POINTS = 2000  # of each sample that a seed is scored on
REPEAT = 100  # seed i is scored with repeat 100 + i; the lab's own scores use repeat 0, tuning used 7 and 8
QUICK, QUICK_REPEAT = 512, 99  # most points of each check during training, and its repeat
GOOD = 1.5  # "seconds to quality" is when w2_ratio first reaches this
LOOKS = 20  # number of checks


@dataclass(frozen=True)
class Cell:
    """One row of a table.

    Attributes:
        label: name in the table.
        config: trained for its steps, or as many as fit in `seconds`.
        seconds: processor time to train for; None trains `config.steps`.
        points: size of each sample that a seed is scored on.
        supervised: train by `benchmarks.supervised` instead of the config's method.
    """

    label: str
    config: Config
    seconds: float | None = None
    points: int = POINTS
    supervised: bool = False

    @property
    def key(self) -> str:
        """Hash of everything that could change the result, the names of its scores among them."""
        result = (self.config.flat(used=True), self.label, self.seconds, self.points, REPEAT, self.supervised)
        return hashlib.sha256(f"{result}w2_over_fresh".encode()).hexdigest()[:16]


def run(cells: list[Cell], cache: Path, *, processes: int = 2) -> list[dict[str, Any]]:
    """Results of all cells in their order; cached ones are reused, new ones are appended to the cache."""
    from tqdm import tqdm

    cache.parent.mkdir(parents=True, exist_ok=True)
    known = {}
    if cache.exists():
        known = {row["key"]: row for row in map(json.loads, cache.read_text(encoding="utf-8").splitlines())}
    todo = [cell for cell in cells if cell.key not in known]
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool, cache.open("a", encoding="utf-8") as file:
        waiting = {pool.submit(measure, cell): cell for cell in todo}
        for done in tqdm(as_completed(waiting), total=len(todo), unit="cell", disable=not sys.stderr.isatty()):
            row = done.result()
            known[row["key"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    return [known[cell.key] for cell in cells]


def measure(cell: Cell) -> dict[str, Any]:
    """Train and score one cell."""
    from benchmarks.supervised import Supervised
    from mvm.data.points import load_points
    from mvm.devices import use_cpu
    from mvm.training.experiment import Experiment, fit

    use_cpu(cell.config.cpu_threads)
    config, data = cell.config, load_points(cell.config)
    if cell.seconds is not None:
        config = config.with_changes({"steps": steps_in(cell.seconds, config, data)})
    experiment = Experiment(config, data)
    if cell.supervised:
        experiment.method = Supervised(experiment)
    quick = data.reference(min(QUICK, cell.points), repeat=QUICK_REPEAT)
    noise = experiment.view_inputs(quick.size, repeat=QUICK_REPEAT)
    looks, seconds, began = max(1, config.steps // LOOKS), 0.0, time.process_time()
    reached: list[float | None] = [None] * len(config.members)
    for step in fit(experiment):
        if step.number % looks == 0:
            seconds += time.process_time() - began
            for i, fake in enumerate(data.restore(experiment.generate(noise).cpu().float())):
                value = quick.score(fake)["w2_ratio"]
                if reached[i] is None and value is not None and value <= GOOD:
                    reached[i] = seconds
            began = time.process_time()
    seconds += time.process_time() - began
    row = {"key": cell.key, "label": cell.label, "data": config.data, "method": config.method, "steps": config.steps}
    row |= {"recipe": config.recipe, "seeds": list(config.seeds), "seconds": seconds, "members": len(config.members)}
    row |= {"evaluations": config.evaluations}
    row |= {"scores": _scores(experiment, reached, cell.points)}
    return row | {
        "weights": sum(p.numel() for p in experiment.method.networks["generator"].parameters()) // len(config.members)
    }


def _scores(experiment: Any, reached: list[float | None], points: int) -> list[dict[str, Any]]:
    config, data, rows = experiment.config, experiment.data, []
    named = config.model_dump_json(include={"data", "settings", "ambient_dim"})
    references = [_reference(named, points, REPEAT + i) for i in range(len(config.seeds))]
    for i, (variant, seed) in enumerate(config.members):
        own = config.seeds.index(seed)
        fakes = experiment.generate(experiment.view_inputs(references[own].size, repeat=REPEAT + own))
        rows.append({"variant": variant, "seed": seed} | references[own].score(data.restore(fakes[i].cpu().float())))
        rows[-1]["seconds_to_quality"] = reached[i]
    fresh = statistics.fmean(reference.floors["w2_floor"] for reference in references)
    return [row | {"w2_fresh": fresh, "w2_over_fresh": ratio(row["w2"], fresh)} for row in rows]


@lru_cache(maxsize=8)
def _reference(named: str, points: int, repeat: int) -> Reference:
    """Real samples of the data that these config fields name; cached, as a process uses the same ones repeatedly."""
    from mvm.data.points import load_points

    return load_points(Config.model_validate_json(named)).reference(points, repeat=repeat)


def steps_in(seconds: float, config: Config, data: Any, trial: int = 40) -> int:
    """Steps that fit in so much processor time, extrapolated from a trial after a warm-up."""
    from mvm.training.experiment import Experiment

    experiment = Experiment(config, data)
    for _ in range(10):
        experiment.advance()
    began = time.process_time()
    for _ in range(trial):
        experiment.advance()
    return max(10, int(seconds * trial / (time.process_time() - began)))


def median(row: dict[str, Any], key: str) -> float | None:
    """Median of a score over a cell's members; None if most of them have none (diverged, or not reached)."""
    values = [score[key] if score[key] is not None else float("inf") for score in row["scores"]]
    middle = statistics.median(values)
    return None if middle == float("inf") else middle


def row_of(rows: list[dict[str, Any]], data: str, label: str) -> dict[str, Any]:
    """The result with this label on this data."""
    return next(row for row in rows if (row["data"], row["label"]) == (data, label))


def device_line(threads: str = "one thread a training") -> str:
    """The machine that the numbers were measured on."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(out: Path, key: str, title: str, command: str, *parts: str, device: str | None = None) -> None:
    """Write one section of the folder's results.md (command, device, tables); the rest of the page is kept."""
    page = out / "results.md"
    begin, end = f"<!-- {key} -->", f"<!-- end of {key} -->"
    head = [begin, f"## {title}", f"```\n{command}\n```", f"{device or device_line()}."]
    text = "\n\n".join([*head, *parts, end])
    old = page.read_text(encoding="utf-8") if page.exists() else "# Measured\n"
    if begin in old:
        before, rest = old.split(begin, 1)
        new = before + text + rest.split(end, 1)[1]
    else:
        new = f"{old.rstrip()}\n\n{text}\n"
    out.mkdir(parents=True, exist_ok=True)
    page.write_text(new, encoding="utf-8")
    print(text)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one line per member of every cell, with all its scores."""
    flat = [{k: v for k, v in row.items() if k != "scores"} | score for row in rows for score in row["scores"]]
    for line in flat:
        line.pop("seeds")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = dict.fromkeys(key for line in flat for key in line)  # cells of earlier versions have fewer scores
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(flat)
