"""A search through the settings of a sweep: one process that makes runs, and reads their scores from disk.

    tpe        tree-structured Parzen estimator (Bergstra et al. 2011; Optuna's): values under `[random]` are chosen by
               the scores so far; `count` settings for each combination of `[grid]` and `[zip]`
    halving    successive halving (Jamieson and Talwalkar 2016) of all settings of the file: each is trained to a tenth
               of its steps, the best third of them to three tenths, and the best third of these to the end

    checkpoints/.sweeps/NAME/search/asked.json    settings that tpe has asked for, in their order
                                    lock          held by the process that searches

The score of a setting is that of its best variant, the median over the seeds. Every decision follows from what is on
disk, so that a search that was killed goes on as it would have: with one worker it asks for the same settings. A run of
halving is held at its rung: its trainer saves and leaves, and continues exactly if it is among the best. Rates decay
along all of the steps: a rung compares the same trainings, seen early. Settings of different data do not compete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints, write_atomic
from mvm.plain import MOST_LISTS, read_object
from mvm.runs.events import Queued
from mvm.runs.liveness import hold_run
from mvm.runs.run import Run
from mvm.studies.compare import is_gain, quality
from mvm.studies.index import Summary
from mvm.sweeps.spec import Point, Space, Spec, members_in_full, point_key, space_of, trainings_of
from mvm.sweeps.sweep import ENDED, SEARCH, Progress, Sweep, make, progress_of, sweep_named

__all__ = ["SEARCHES", "Halving", "Search", "Tpe", "Trial", "best_third", "rungs_of", "search", "suggest", "wait"]

ASKED = "asked.json"
POLL = 0.5  # seconds between two looks at runs that others train
FACTOR = 3  # of the settings at a rung, one in so many goes on
TENTHS = 10  # of a run, at which it is scored: the rungs
DRAWS = 100  # in a row that were tried before: the space has no more
FAILED = ("failed", "stopped")


class Search(ABC):
    """A search through the settings of a sweep.

    Args:
        spec: of the sweep.
        at_once: settings in training at once, at least one.

    Raises:
        ConfigError: the file has no such settings, or some that cannot be compared.
    """

    def __init__(self, spec: Spec, *, at_once: int = 1) -> None:
        self.spec, self.at_once = spec, at_once
        self.rows: dict[str, Summary] = {}
        self._runs: dict[str, Run] = {}
        self._by_key: dict[str, list[tuple[Run, set[tuple[str, int]]]]] = {}  # runs, and what they train

    @abstractmethod
    def in_words(self) -> str:
        """How far it is, in words."""

    @abstractmethod
    def plan(self) -> str:
        """What it is going to train, in words."""

    @abstractmethod
    def _decide(self) -> bool:
        """Make what is to be trained now; returns whether there may be more after it."""

    @property
    @abstractmethod
    def share(self) -> tuple[int, int]:
        """Decisions made, and all."""

    def advance(self, rows: Iterable[Summary]) -> bool:
        """Read scores and make what is to be trained next; returns whether there may be more after it.

        Args:
            rows: summaries of the sweep's runs, as they are now.
        """
        self.rows = {row.name: row for row in rows}
        self._find_runs()
        return self._decide()

    def _find_runs(self) -> None:
        """Find the sweep's runs on disk; those that cannot be read count as deleted."""
        before, self._runs, self._by_key = self._runs, {}, {}
        with contextlib.suppress(RunError):  # none was made yet
            for name in sweep_named(self.spec.name).runs:
                with contextlib.suppress(RunError):
                    is_known = name in before and before[name].is_there()
                    run = self._runs[name] = before[name] if is_known else Run(checkpoints() / name)
                    self._by_key.setdefault(point_key(run.config), []).append((run, trainings_of(run.config)))

    def _runs_of(self, point: Point) -> list[Run]:
        """Runs that train a setting, with all its variants and seeds together."""
        wanted = trainings_of(point.config)
        return [run for run, trained in self._by_key.get(point.key, []) if wanted & trained]

    def _make(self, *points: Point) -> None:
        """Make runs of settings that lack some, each its own: another may be held while one goes on."""
        make(replace(self.spec, points=points, apart=True))
        self._find_runs()

    def _state(self, run: Run) -> str:
        """State of a run; one that was made just now is new."""
        return self.rows[run.name].status if run.name in self.rows else "new"


# -- scores ------------------------------------------------------------------------------------------------------------


def loss_of(rows: Mapping[tuple[str, int], Mapping[str, Any] | None]) -> float:
    """Score of a setting by the scores of its members, lower is better: median over seeds, of the best variant."""
    by_variant: dict[str, list[float]] = {}
    for (variant, _), row in rows.items():
        key, value = quality(dict(row or {}))
        by_variant.setdefault(variant, []).append(math.inf if value is None else -value if is_gain(key) else value)
    medians = [float(np.quantile(values, 0.5, method="nearest")) for values in by_variant.values()]
    return min(medians, default=math.inf)


def _members(point: Point, run: Run, rows: Sequence[Mapping[str, Any]] | None) -> dict[tuple[str, int], Any]:
    """Scores of the members of a run that a point trains; None where the run has none."""
    found: Sequence[Mapping[str, Any] | None] = [None] * len(run.config.members) if rows is None else rows
    wanted = trainings_of(point.config)
    return {m: row for m, row in zip(members_in_full(run.config), found, strict=True) if m in wanted}


# -- tree-structured Parzen estimator ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A setting that was asked for.

    Attributes:
        settings: by dotted name.
        loss: its score, lower is better, infinite if it diverged; None if it failed, or is not known yet.
        is_open: whether it is still to be trained.
    """

    settings: dict[str, Any]
    loss: float | None
    is_open: bool = False


def suggest(space: Space, trials: Sequence[Trial], *, draw: str = "") -> dict[str, Any]:
    """The settings under random that promise most after some trials; a function of these, and of the draw.

    Trials that a space does not hold count for nothing.

    Raises:
        RunError: Optuna is not installed.
    """
    optuna = _optuna()
    choices = {name: axis for name, axis in space.axes.items() if isinstance(axis, list)}
    distributions = {name: _distribution(optuna, space, name) for name in space.axes}
    seed = random.Random(f"{space.seed} {draw}").getrandbits(32)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    states = optuna.trial.TrialState
    for trial in trials:
        given = {name: value for name, value in trial.settings.items() if name in space.axes}
        if not _is_within(space, given):
            continue
        state = states.RUNNING if trial.is_open else states.FAIL if trial.loss is None else states.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                params={n: _place(choices[n], v) if n in choices else v for n, v in given.items()},
                distributions={name: distributions[name] for name in given},
                value=trial.loss,
                state=state,
            )
        )
    chosen = study.ask(distributions).params
    return {name: choices[name][value] if name in choices else value for name, value in chosen.items()}


def _distribution(optuna: Any, space: Space, name: str) -> Any:
    """Optuna's form of an axis; entries of a list by their place, as they may be lists themselves."""
    axis = space.axes[name]
    if isinstance(axis, list):
        return optuna.distributions.CategoricalDistribution(range(len(axis)))
    scale, low, high = axis
    if space.is_whole(name):
        return optuna.distributions.IntDistribution(round(low), round(high), log=scale == "log")
    return optuna.distributions.FloatDistribution(low, high, log=scale == "log")


def _is_within(space: Space, settings: Mapping[str, Any]) -> bool:
    for name, value in settings.items():
        axis = space.axes[name]
        if isinstance(axis, list):
            if _place(axis, value) is None:
                return False
        elif not axis[1] <= value <= axis[2]:
            return False
    return True


def _place(values: list[Any], value: Any) -> int | None:
    """Place of a value in a list, by its text in JSON: 1 is not true."""
    texts = [json.dumps(each) for each in values]
    return texts.index(json.dumps(value)) if json.dumps(value) in texts else None


def _optuna() -> Any:
    """Optuna, silent.

    Raises:
        RunError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise RunError(
            'search: Optuna is not installed; `pip install "mvm-lab[search]"`, or use --search halving'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Tpe(Search):
    """Chooses the settings under random by what has been scored."""

    def __init__(self, spec: Spec, *, at_once: int = 1) -> None:
        super().__init__(spec, at_once=at_once)
        self.space = space_of(spec)
        _optuna()
        if refused := [name for name in ("data", "variants") if name in self.space.axes]:
            raise ConfigError(
                f"search: tpe cannot choose {refused[0]}, which scores do not rank; write it under [grid] or [base]"
            )
        self.trials: list[Trial] = []  # settings that were asked for, in their order
        self.is_used_up = False
        self._points: list[Point] | None = None  # of the trials

    @property
    def share(self) -> tuple[int, int]:
        """Settings tried, and all."""
        return sum(not trial.is_open for trial in self.trials), self.space.count * len(self.space.others)

    def plan(self) -> str:
        """What it is going to train, in words."""
        groups, seeds = len(self.space.others), len(self.space.seeds)
        of = f" for each of {groups} combinations" if groups > 1 else ""
        each = f"with {seeds} seed{'s' * (seeds > 1)} each, {self.at_once} at a time"
        return f"tpe tries {self.space.count} settings{of}, {each}"

    def in_words(self) -> str:
        """How far it is, in words."""
        done, wanted = self.share
        return f"{done} of {wanted} settings tried" + ", there are no others" * self.is_used_up

    def _trial(self, point: Point) -> Trial:
        rows: dict[tuple[str, int], Any] = {}
        runs = self._runs_of(point)
        states = [self._state(run) for run in runs]
        if not runs or any(state not in ENDED for state in states):
            return Trial(point.settings, None, is_open=True)
        for run, state in zip(runs, states, strict=True):
            found = run.scores() if state == "finished" else None
            if found is None and state != "diverged":
                return Trial(point.settings, None)
            rows |= _members(point, run, found)
        return Trial(point.settings, loss_of(rows))

    def _decide(self) -> bool:
        if self._points is None:
            self._points = self._asked()
            if self._points:  # a process that was killed may have asked for runs that it did not make
                self._make(*self._points)
        self.trials = [self._trial(point) for point in self._points]
        groups: dict[int, list[Trial]] = {place: [] for place in range(len(self.space.others))}
        for point, trial in zip(self._points, self.trials, strict=True):
            groups[self._group(point)].append(trial)
        going = [place for place, trials in groups.items() if len(trials) < self.space.count]
        while going and sum(trial.is_open for trial in self.trials) < self.at_once:
            place = min(going, key=lambda place: len(groups[place]))
            if (asked := self._ask(place, groups[place])) is None:
                self.is_used_up = True
                going.remove(place)
                continue
            self._points.append(asked)
            self._write(self._points)  # first: of a process that is killed between, the next one makes its runs
            self._make(asked)
            self.trials.append(self._trial(asked))
            groups[place].append(self.trials[-1])
            if len(groups[place]) == self.space.count:
                going.remove(place)
        return bool(going)

    def _ask(self, group: int, trials: Sequence[Trial]) -> Point | None:
        """A setting that was not tried, for a combination of others; None if there seems to be none."""
        seen = {_digest(point) for point in self._points or ()}
        for attempt in range(DRAWS):
            found = suggest(self.space, trials, draw=f"{group} {len(trials)} {attempt}")
            point = self.space.point(self.space.others[group] | found)
            if _digest(point) not in seen:
                return point
        return None

    def _group(self, point: Point) -> int:
        """Place of the combination of other settings that a point has.

        Raises:
            LookupError: it is none of them.
        """
        for place, others in enumerate(self.space.others):
            if all(point.settings[name] == value for name, value in others.items() if name in point.settings):
                return place
        raise LookupError("no such combination")

    def _asked(self) -> list[Point]:
        """Settings that were asked for with this base, and that the space holds."""
        found = []
        with contextlib.suppress(OSError, ValueError):
            for entry in read_object(_folder(self.spec) / ASKED, most=MOST_LISTS)["asked"]:
                with contextlib.suppress(ConfigError, LookupError, TypeError):
                    point = self.space.point(entry["settings"])
                    drawn = {name: value for name, value in point.settings.items() if name in self.space.axes}
                    self._group(point)
                    if _digest(point) == entry["digest"] and _is_within(self.space, drawn):
                        found.append(point)
        return found

    def _write(self, points: Sequence[Point]) -> None:
        entries = [{"settings": point.settings, "digest": _digest(point)} for point in points]
        write_atomic(_folder(self.spec) / ASKED, json.dumps({"asked": entries}).encode(), durable=True)


def _digest(point: Point) -> str:
    """Digest of all settings of a point but its seeds."""
    return hashlib.sha256(json.dumps([point.key, point.config.variants]).encode()).hexdigest()[:16]


# -- successive halving ------------------------------------------------------------------------------------------------


def rungs_of(steps: int, every: int) -> list[int]:
    """Steps at which settings are compared, ascending; the last one is the end.

    Args:
        steps: of the training.
        every: steps between two scores.
    """
    found, rung = {steps}, float(steps)
    while (rung := rung / FACTOR) >= every * 0.99:
        found.add(max(1, round(rung / every)) * every)
    return sorted(found)


def best_third(losses: Sequence[float]) -> list[int]:
    """Places of the best third, in ascending order and at least one; of equal ones the first. None that diverged."""
    order = sorted(range(len(losses)), key=lambda place: losses[place])[: max(1, len(losses) // FACTOR)]
    return sorted(place for place in order if losses[place] < math.inf)


class Halving(Search):
    """Trains all settings for a while, and the best for longer."""

    def __init__(self, spec: Spec, *, at_once: int = 1) -> None:
        super().__init__(spec, at_once=at_once)
        self.groups: dict[str, list[Point]] = {}
        for point in spec.points:
            self.groups.setdefault(point.config.data, []).append(point)
        self.rungs = {data: _rungs(points[0]) for data, points in self.groups.items()}
        lengths = sorted({point.config.steps for point in spec.points})
        if len(lengths) > 1:
            raise ConfigError(f"search: halving needs one number of steps; write it under [base] (got {lengths})")
        if len(rungs := next(iter(self.rungs.values()))) == 1:
            raise ConfigError(f"search: halving needs at least 30 steps (got {rungs[0]})")
        self.there: dict[str, list[int]] = {}
        self._is_made = False

    @property
    def share(self) -> tuple[int, int]:
        """Rungs reached over all settings, and all."""
        done = sum(map(sum, self.there.values()))
        return done, sum(sum(self._counts(data)) for data in self.groups)

    def plan(self) -> str:
        """What it is going to train, in words."""
        told, steps, full = [], 0, 0
        for data, points in self.groups.items():
            counts, rungs = self._counts(data), self.rungs[data]
            told.append(", ".join(f"{n} to step {rung}" for n, rung in zip(counts, rungs, strict=True)))
            steps += sum(n * (r - b) for n, r, b in zip(counts, rungs, [0, *rungs], strict=False))
            full += len(points) * rungs[-1]
        return f"halving trains {'; '.join(dict.fromkeys(told))} ({steps / full:.0%} of all steps)"

    def in_words(self) -> str:
        """How far it is, in words."""
        found = []
        for data, there in self.there.items():
            place = len(there) - 1
            found.append(f"{there[place]} of {self._counts(data)[place]} settings at step {self.rungs[data][place]}")
        return "; ".join(found)

    def _counts(self, data: str) -> list[int]:
        """Number of settings that are trained to each rung, if none fails."""
        counts = [len(self.groups[data])]
        for _ in self.rungs[data][1:]:
            counts.append(max(1, counts[-1] // FACTOR))
        return counts

    def _decide(self) -> bool:
        if not self._is_made:
            self._make(*self.spec.points)
            self._is_made = True
        goals: dict[str, int] = {}
        runs = {id(point): self._runs_of(point) for point in self.spec.points}
        waits = False
        for data, points in self.groups.items():
            going, self.there[data] = points, []
            for rung in self.rungs[data]:
                goals |= {run.name: rung for point in going for run in runs[id(point)]}  # rungs ascend
                losses = [self._loss_at(point, runs[id(point)], rung) for point in going]
                self.there[data].append(sum(loss is not None for loss in losses))
                if rung == self.rungs[data][-1]:
                    break
                known = [loss for loss in losses if loss is not None]
                if len(known) < len(losses):
                    waits = True
                    break
                going = [going[place] for place in best_third(known)]
        for name, goal in goals.items():
            self._lead(self._runs[name], goal)
        return waits

    def _loss_at(self, point: Point, runs: Sequence[Run], step: int) -> float | None:
        """Score of a setting at a step; None if a run has not come to it."""
        rows: dict[tuple[str, int], Any] = {}
        for run in runs:
            found = run.scores() if step == run.config.steps else self._quick_scores(run, step)
            if found is None and not self._has_ended(run):
                return None
            rows |= _members(point, run, found)
        return loss_of(rows)

    def _quick_scores(self, run: Run, step: int) -> list[dict[str, Any]] | None:
        """Scores of a run during training, at a step."""
        run.records.poll()
        return next((record["scores"] for record in run.quick_scores if record["step"] == step), None)

    def _has_ended(self, run: Run) -> bool:
        """Whether a run is not trained on, other than by a decision of this search."""
        state = self._state(run)
        return state in ("failed", "diverged", "finished") or (state == "stopped" and not run.is_held())

    def _lead(self, run: Run, goal: int) -> None:
        """Let a run be trained up to a step, and no further."""
        stop_at = None if goal >= run.config.steps else goal
        if run.control().stop_at != stop_at:
            run.ask(stop_at=stop_at)
        if self._state(run) == "stopped" and run.is_held() and run.records.step < goal:
            run.append_event(Queued(step=run.records.step, time=time.time()))


def _rungs(point: Point) -> list[int]:
    return rungs_of(point.config.steps, point.config.every(TENTHS))


# -- the process that searches -----------------------------------------------------------------------------------------

SEARCHES: dict[str, type[Search]] = {"tpe": Tpe, "halving": Halving}


def search(found: Search, train: Callable[[Sweep], Generator[Progress, None, None]]) -> Generator[Progress, None, None]:
    """Search through the settings of a sweep, yielding its progress until all is trained.

    Args:
        found: the search.
        train: trains the runs that the sweep has, those added meanwhile, too; it may end before more are asked for,
            and is then called again.

    Raises:
        RunBusy: another process searches.
    """
    name = found.spec.name
    _folder(found.spec).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as searching:
        searching.enter_context(hold_run(_folder(found.spec), busy=f"search: another process searches {name}"))
        rows: Sequence[Summary] = ()
        with contextlib.suppress(RunError):
            rows = progress_of(sweep_named(name)).rows
        has_more = is_left = True
        while has_more or is_left:
            if has_more and not (has_more := found.advance(rows)):
                searching.close()  # from now on workers leave once nothing is left
            with closing(train(sweep_named(name))) as training:
                for progress in training:
                    rows = progress.rows
                    if has_more and not (has_more := found.advance(rows)):
                        searching.close()
                    yield progress
            progress = progress_of(sweep_named(name))
            rows, is_left = progress.rows, progress.left > 0
        found.advance(rows)


def wait(sweep: Sweep) -> Generator[Progress, None, None]:
    """Wait for workers that were started elsewhere, yielding the sweep's progress until nothing is left."""
    while (progress := progress_of(sweep_named(sweep.name))).left:
        yield progress
        time.sleep(POLL)
    yield progress


def _folder(spec: Spec) -> Path:
    return checkpoints() / ".sweeps" / spec.name / SEARCH
