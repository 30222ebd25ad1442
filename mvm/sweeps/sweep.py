"""A sweep on disk: the runs that belong to it, those that are missing, and how far it is.

    checkpoints/.sweeps/NAME/spec.toml    its specification, as it was last read
                             runs.json    its runs, by folder name, with the swept settings of each
                             lock         held while runs are made
                             search/      what a search has asked for, and the lock of its process
    checkpoints/NAME-torus-wgan_gp-1f2e3d4c    a run like any other

Making a sweep again adds what is missing: what is there is known by its settings, not by its name. Trainings that
differ in variant, seed, rates or weights of losses only share a run, along its variant axis.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvm.config import Config
from mvm.data.kind import Dataset, DataSettings
from mvm.data.kinds import load_data
from mvm.errors import RunError, line_of
from mvm.files import checkpoints, locked, write_atomic
from mvm.plain import MOST_LISTS, read_object
from mvm.runs.events import ALIVE
from mvm.runs.layout import CONFIG, check_name
from mvm.runs.liveness import is_alive
from mvm.runs.run import Run
from mvm.studies.index import HELD, Summary, listing
from mvm.sweeps.spec import LAID_OUT, Spec, point_key, read_spec, trainings_of
from mvm.variants import own_settings

__all__ = [
    "ENDED",
    "Plan",
    "PlannedRun",
    "Progress",
    "Sweep",
    "all_sweeps",
    "disk_of",
    "make",
    "plan",
    "progress_of",
    "sweep_named",
]

SPEC, RUNS = "spec.toml", "runs.json"
SEARCH = "search"  # folder within a sweep's: held by the process that searches, mvm.sweeps.search
ENDED = ("finished", "failed", "diverged", "stopped", HELD)


@dataclass(frozen=True)
class Sweep:
    """A sweep under `checkpoints()`.

    Attributes:
        name: of the sweep.
        runs: swept settings of each of its runs but those of variants' own, by folder name, in the order of training.
    """

    name: str
    runs: dict[str, dict[str, Any]]

    @property
    def folder(self) -> Path:
        """Its hidden folder."""
        return _folder(self.name)

    @property
    def is_searched(self) -> bool:
        """Whether a living process searches: more runs may come."""
        return is_alive(self.folder / SEARCH)

    @property
    def spec(self) -> Spec:
        """Its specification; errors as for `read_spec`."""
        return read_spec(self.folder / SPEC, name=self.name)


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep lacks.

    Attributes:
        name: of its folder.
        settings: swept settings, by dotted name, without variants.
        config: of the run.
    """

    name: str
    settings: dict[str, Any]
    config: Config


@dataclass(frozen=True)
class Plan:
    """What a specification asks for, beside what is there.

    Attributes:
        spec: the specification.
        there: runs of the sweep that exist, also unreadable ones, with their swept settings.
        missing: runs to make.
        trainings: number of (settings, variant, seed) that the specification asks for.
    """

    spec: Spec
    there: dict[str, dict[str, Any]]
    missing: tuple[PlannedRun, ...]
    trainings: int


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        states: number of runs by state; "held" is stopped by a search.
        trainings: trainings of variants and seeds: finished ones, and all.
        steps: trained and wanted, over the runs that go on.
        seconds: of training so far, over all runs.
        per_step: mean training time of a step of a run, s; None before the first.
        rows: summary of each run, in the sweep's order.
        removed: runs whose folder is gone.
        unreadable: why each run that cannot be read cannot, by name.
    """

    states: Counter[str]
    trainings: tuple[int, int]
    steps: tuple[int, int]
    seconds: float
    per_step: float | None
    rows: tuple[Summary, ...]
    removed: tuple[str, ...]
    unreadable: dict[str, str]

    @property
    def alive(self) -> int:
        """Number of runs being trained."""
        return sum(self.states[state] for state in ALIVE)

    @property
    def left(self) -> int:
        """Number of runs that are still to be trained, or are being trained."""
        return sum(count for state, count in self.states.items() if state not in ENDED)

    def seconds_left(self, workers: int = 0) -> float | None:
        """Time until the last step with so many workers, those at work if there are more; None before the first."""
        at_once = min(max(workers, self.alive, 1), max(self.left, 1))
        return None if self.per_step is None else (self.steps[1] - self.steps[0]) * self.per_step / at_once


def sweep_named(name: str) -> Sweep:
    """The sweep of this name.

    Raises:
        RunError: there is none, or its list of runs cannot be read.
    """
    path = _folder(check_name(name, "a sweep")) / RUNS
    try:
        found = read_object(path, most=MOST_LISTS)
        if not all(isinstance(settings, dict) for settings in found.values()):
            raise ValueError("it is no list of runs")
        return Sweep(name, {check_name(run): settings for run, settings in found.items()})
    except FileNotFoundError:
        known = ", ".join(all_sweeps()) or "none yet"
        raise RunError(f"sweep: no sweep {name!r} (there are: {known}); `mvm sweep SPEC.toml` makes one") from None
    except (OSError, ValueError) as error:
        raise RunError(f"sweep: {path} cannot be read: {line_of(error)}; `mvm sweep SPEC.toml` repairs it") from None


def all_sweeps() -> list[str]:
    """Names of the sweeps under `checkpoints()`, newest first."""
    found = (checkpoints() / ".sweeps").glob(f"[!.]*/{RUNS}")
    return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def plan(spec: Spec) -> Plan:
    """The runs of a specification that are there, and those that are missing."""
    wanted = [*_wanted(spec)]
    settings_of = {key: settings for key, settings, _ in wanted}
    there: dict[str, dict[str, Any]] = {}
    members: dict[str, set[tuple[str, int]]] = {}
    for name, listed in _known_runs(spec.name).items():
        with contextlib.suppress(RunError):  # deleted: made anew; or unreadable, see below
            config = Run(checkpoints() / name).config
            key = point_key(config)
            if listed is not None or key in settings_of:
                members.setdefault(key, set()).update(trainings_of(config))
                there[name] = settings_of[key] if listed is None else listed
    planned = [
        PlannedRun(_run_name(spec.name, settings, part), settings, part)
        for key, settings, config in wanted
        for part in _runs_of(config, members.get(key, set()), spec.together(config))
    ]
    unreadable = {run.name: run.settings for run in planned if (checkpoints() / run.name / CONFIG).exists()}
    missing = [run for run in planned if run.name not in unreadable]
    return Plan(spec, there | unreadable, tuple(missing), sum(len(config.members) for _, _, config in wanted))


def make(spec: Spec, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Plan:
    """Make the runs that a specification lacks; returns what was planned.

    Args:
        spec: the specification.
        on_progress: called with the number of runs made, and of all to make.

    Raises:
        ConfigError: data cannot be trained on.
        RunError: a run cannot be written, or its name is taken by another.
        RunBusy: another process makes the runs of this sweep.
    """
    folder = _folder(spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"sweep: another process makes the runs of {spec.name}; try again"
    with locked(folder / "lock", wait=5, busy=busy):
        planned = plan(spec)
        runs = planned.there | {run.name: run.settings for run in planned.missing}
        # first: of a process that is killed between, the next one knows the runs by this list
        write_atomic(folder / RUNS, json.dumps(runs).encode(), durable=True)
        write_atomic(folder / SPEC, spec.text.encode(), durable=True)
        loaded: dict[str, Dataset] = {}
        for done, run in enumerate(planned.missing, 1):
            data = DataSettings.model_validate({name: getattr(run.config, name) for name in DataSettings.model_fields})
            key = data.model_dump_json()
            if key not in loaded:
                loaded = {key: load_data(run.config)}  # grids vary data slowest if these stand first; keep one
            Run.create(run.config, name=run.name, data=loaded[key])
            on_progress(done, len(planned.missing))
    return planned


def progress_of(sweep: Sweep) -> Progress:
    """How far the runs of a sweep are."""
    listed, others = listing()
    found = {row.name: row for row in listed if row.name in sweep.runs}
    unreadable = {name: others[name].reason for name in sweep.runs if name in others}
    rows = tuple(found[name] for name in sweep.runs if name in found)
    going = [row for row in rows if row.status not in ENDED]
    timed = sum(row.seconds_step for row in rows)  # fewer than are trained: the last ones have no time on record yet
    seconds = sum(row.seconds for row in rows)
    members = [len(row.variants) * len(row.seeds) for row in rows]
    ended = [row.status == "finished" for row in rows]
    return Progress(
        Counter(row.state for row in rows),
        (sum(count for count, is_ended in zip(members, ended, strict=True) if is_ended), sum(members)),
        (sum(row.step for row in going), sum(row.steps for row in going)),
        seconds,
        seconds / timed if timed and seconds else None,
        rows,
        tuple(name for name in sweep.runs if name not in {*found, *unreadable}),
        unreadable,
    )


def disk_of(run_dir: Path) -> int:
    """Bytes of disk that a run takes; a file with two names counts once."""
    sizes = {}
    for folder, _, names in os.walk(run_dir):
        for name in names:
            with contextlib.suppress(OSError):
                stat = Path(folder, name).stat(follow_symlinks=False)
                sizes[stat.st_ino] = stat.st_blocks * 512
    return sum(sizes.values())


def _folder(name: str) -> Path:
    return checkpoints() / ".sweeps" / name


def _known_runs(name: str) -> dict[str, dict[str, Any] | None]:
    """Runs of a sweep with their swept settings; if its list is lost, those named after it, with None."""
    try:
        return {**sweep_named(name).runs}
    except RunError:
        return {path.name: None for path in sorted(checkpoints().glob(f"{_stem(name)}-*"))}


def _wanted(spec: Spec) -> Iterator[tuple[str, dict[str, Any], Config]]:
    """Keys, swept settings and configs to train; of a key, one has all variants, unless the points are `apart`."""
    found: dict[tuple[str, int], tuple[str, dict[str, Any], Config]] = {}
    for place, point in enumerate(spec.points):
        key = point.key, place if spec.apart else 0
        own = {name for variant in point.config.variants for name in own_settings(variant)}
        settings = {name: value for name, value in point.settings.items() if name not in {*LAID_OUT, *own}}
        known = found[key][-1] if key in found else point.config
        variants = dict.fromkeys((*known.variants, *point.config.variants))
        found[key] = point.key, settings, known.with_changes({"variants": tuple(variants)})
    yield from found.values()


def _runs_of(config: Config, there: set[tuple[str, int]], together: int) -> Iterator[Config]:
    """Configs that train the trainings of a config that are not `there`, so many in one run at most."""
    lacking: dict[tuple[int, ...], list[str]] = {}
    for variant in config.variants:
        alone = config.model_copy(update={"variants": (variant,)})
        lacks = {seed for _, seed in trainings_of(alone) - there}
        lacking.setdefault(tuple(seed for seed in config.seeds if seed in lacks), []).append(variant)
    for seeds, variants in lacking.items():
        for some in _chunks(variants, together):
            for few in _chunks(seeds, max(1, together // len(some))):
                yield config.with_changes({"variants": tuple(some), "seeds": tuple(few)})


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _run_name(sweep: str, settings: dict[str, Any], config: Config) -> str:
    """Folder name: the sweep, the swept values as far as there is room, and a digest of all settings."""
    digest = hashlib.sha256(json.dumps([point_key(config), config.variants, config.seeds]).encode()).hexdigest()[:8]
    words = "-".join(_word(name, value) for name, value in settings.items())
    words = re.sub(r"[^A-Za-z0-9.+_]+", "-", words)[:60].strip("-.")
    return "-".join(filter(None, (_stem(sweep), words, digest)))


def _stem(sweep: str) -> str:
    """How the names of its runs begin."""
    return sweep[:28].rstrip("-.")


def _word(name: str, value: Any) -> str:
    last = name.rpartition(".")[2]
    if isinstance(value, str):
        return Path(value).stem if name == "data" else value
    return f"{last}{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else f"{last}{value}"
