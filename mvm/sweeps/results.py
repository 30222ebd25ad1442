"""Results of a sweep: final scores of its trainings by their settings, pooled over seeds.

results_of(sweep)             one per (settings, variant, seed) of the finished runs
pooled(results, axes)         scores by the values of some axes; seeds and the other axes are pooled
ranked(results)               settings from the best to the worst, with the spread over seeds
importance(results)           share of the score's variance that each axis explains: η² = Var(E[s | axis]) / Var(s)
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mvm.errors import RunError
from mvm.files import checkpoints
from mvm.runs.layout import SCORES
from mvm.runs.run import Run
from mvm.studies.compare import is_gain, quality
from mvm.sweeps.sweep import Sweep
from mvm.variants import base_of, own_settings

__all__ = ["Ranked", "Result", "axes_of", "importance", "pooled", "ranked", "results_of"]


@dataclass(frozen=True)
class Result:
    """Score of one training.

    Attributes:
        run: name of its run.
        settings: swept settings by dotted name, and its variant as `variants`.
        seed: of the training.
        key: of its score, as from `mvm.studies.compare.quality`.
        score: the score; infinite if the training diverged.
    """

    run: str
    settings: dict[str, Any]
    seed: int
    key: str
    score: float


@dataclass(frozen=True)
class Ranked:
    """Scores of one combination of settings.

    Attributes:
        settings: swept settings by dotted name.
        median, low, high: over the seeds, with the quartiles.
        count: number of seeds.
        runs: names of the runs.
    """

    settings: dict[str, Any]
    median: float
    low: float
    high: float
    count: int
    runs: tuple[str, ...]


def results_of(sweep: Sweep) -> list[Result]:
    """Scores of the trainings of a sweep's finished runs, in the order of its runs."""
    found = []
    for name, settings in sweep.runs.items():
        path = checkpoints() / name
        try:
            stamp = (path / SCORES).stat().st_mtime_ns
        except OSError:
            continue
        for variant, seed, key, score in _scores(path, stamp):
            own = own_settings(variant) | {"variants": base_of(variant)}
            found.append(Result(name, settings | own, seed, key, score))
    return found


def axes_of(results: Iterable[Result]) -> dict[str, list[Any]]:
    """Settings that differ among results, with their values in ascending order, or in that of the runs."""
    values: dict[str, dict[Hashable, Any]] = {}
    for result in results:
        for name, value in result.settings.items():
            values.setdefault(name, {})[_hashable(value)] = value
    found = {name: [*each.values()] for name, each in values.items() if len(each) > 1}
    if "method" in found:  # the variant of a method without descriptors is named like the method
        found = {name: each for name, each in found.items() if name != "variants" or _is_crossed(results)}
    is_number = {name: all(type(value) in (int, float) for value in each) for name, each in found.items()}
    return {name: sorted(each) if is_number[name] else each for name, each in found.items()}


def pooled(results: Iterable[Result], axes: Sequence[str]) -> dict[tuple[Any, ...], list[float]]:
    """Scores by the values of axes; a training that does not use one of these has None there."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for result in results:
        found.setdefault(tuple(_hashable(result.settings.get(name)) for name in axes), []).append(result.score)
    return found


def ranked(results: Sequence[Result]) -> list[Ranked]:
    """Combinations of settings, the best median first."""
    groups: dict[Hashable, list[Result]] = {}
    for result in results:
        groups.setdefault(json.dumps(result.settings, sort_keys=True), []).append(result)
    rows = []
    for group in groups.values():
        low, median, high = np.quantile([r.score for r in group], (0.25, 0.5, 0.75), method="nearest")
        runs = tuple(dict.fromkeys(r.run for r in group))
        rows.append(Ranked(group[0].settings, float(median), float(low), float(high), len(group), runs))
    best_is_high = bool(results) and is_gain(results[0].key)
    return sorted(rows, key=lambda row: -row.median if best_is_high else row.median)


def importance(results: Sequence[Result]) -> dict[str, float]:
    """Share of the variance of finite scores that each axis explains by itself, the largest first."""
    finite = [result for result in results if np.isfinite(result.score)]
    total = np.var([result.score for result in finite]) if finite else 0.0
    if not total:
        return {}
    mean = np.mean([result.score for result in finite])
    shares = {}
    for name in axes_of(finite):
        groups = pooled(finite, [name]).values()
        explained = sum(len(group) * (np.mean(group) - mean) ** 2 for group in groups) / len(finite)
        shares[name] = float(explained / total)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


@lru_cache(maxsize=4096)
def _scores(path: Path, stamp: int) -> list[tuple[str, int, str, float]]:
    """Variant, seed, key and score of each member of a run whose scores have this time."""
    try:
        run = Run(path)
    except RunError:
        return []
    found = []
    for (variant, seed), row in zip(run.config.members, run.scores() or [], strict=False):
        key, value = quality(row)
        if key != "none":
            found.append((variant, seed, key, (-np.inf if is_gain(key) else np.inf) if value is None else value))
    return found


def _is_crossed(results: Iterable[Result]) -> bool:
    """Whether a method has several variants."""
    variants: dict[Any, set[Any]] = {}
    for result in results:
        variants.setdefault(result.settings.get("method"), set()).add(result.settings["variants"])
    return any(len(each) > 1 for each in variants.values())


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
