"""Results of a sweep: final scores of its trainings by their settings, pooled over seeds.

results_of(sweep)             one per (settings, variant, seed) of the finished runs
results_in(runs)              the same of any runs, by the settings in which they differ
by_score(results, key)        the same trainings by another of `scores_in` them, such as coverage
pooled(results, axes)         scores by the values of some axes; seeds and the other axes are pooled
ranked(results)               settings from the best to the worst, with the spread over seeds
importance(results)           share of the score's variance that each axis explains: η² = Var(E[s | axis]) / Var(s)
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.errors import RunError
from mvm.files import checkpoints
from mvm.look.glossary import SCORE_TERMS
from mvm.look.palette import title_of
from mvm.look.scales import quality_shade
from mvm.methods import METHODS
from mvm.runs.documents import is_comparable
from mvm.runs.documents import scores_in as read_scores
from mvm.runs.layout import SCORES
from mvm.runs.run import Run
from mvm.scoring.images import describe
from mvm.studies.compare import NO_DIFFERENCE, data_title, in_a_word, is_gain, label_of, quality, quality_title
from mvm.studies.index import Summary
from mvm.studies.labels import setting_title
from mvm.sweeps.sweep import Sweep, progress_of
from mvm.variants import base_of, own_settings

__all__ = [
    "UNUSED",
    "Ranked",
    "Result",
    "axes_of",
    "axis_title",
    "by_score",
    "course_of",
    "importance",
    "pooled",
    "ranked",
    "results_in",
    "results_of",
    "score_title",
    "scored_runs",
    "scores_in",
    "shades",
    "spread_of",
    "value_title",
]

MOST_PLACES = 24  # of a small line
UNUSED = "–"  # in place of the value of a setting that a training does not use
GIVEN = ("data", "method", "recipe")  # settings that the defaults of all others depend on


@dataclass(frozen=True)
class Result:
    """Score of one training.

    Attributes:
        run: name of its run.
        settings: swept settings by dotted name, and its variant as `variants`.
        seed: of the training.
        key: of its score, as from `mvm.studies.compare.quality`, or one of `scores_in`.
        score: the score; infinite if the training diverged.
        row: all its scores and their baselines by key.
    """

    run: str
    settings: dict[str, Any]
    seed: int
    key: str
    score: float
    row: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def loss(self) -> float:
        """How bad the score is: less is better, whichever way the score goes."""
        if not np.isfinite(self.score):
            return float("inf")
        direction = _direction(self.key)
        if direction == "floor":
            return abs(self.score - (self.row.get(f"{self.key}_floor") or 0.0))
        return -self.score if direction == "higher" else self.score


@dataclass(frozen=True)
class Ranked:
    """Scores of one combination of settings.

    Attributes:
        settings: swept settings by dotted name.
        median, low, high: over the seeds, with the quartiles.
        count: number of seeds.
        runs: names of the runs.
        loss: median of `Result.loss`, by which they are ranked.
    """

    settings: dict[str, Any]
    median: float
    low: float
    high: float
    count: int
    runs: tuple[str, ...]
    loss: float


def results_of(sweep: Sweep, rows: Iterable[Summary] | None = None) -> list[Result]:
    """Scores of the trainings of a sweep's finished runs, in the order of its runs.

    Args:
        sweep: whose runs.
        rows: summaries of its runs, such as `Progress.rows`; read when None. No run is opened beside its scores.
    """
    found, own = [], dict[str, dict[str, Any]]()
    for each in progress_of(sweep).rows if rows is None else rows:
        path = checkpoints() / each.name / SCORES
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            continue
        coordinates = KINDS[each.kind].coordinates(each.data)
        for variant, seed, key, score, row in _scores(path, stamp, (*each.variants,), (*each.seeds,), coordinates):
            if variant not in own:
                own[variant] = own_settings(variant) | {"variants": base_of(variant)}
            found.append(Result(each.name, sweep.runs[each.name] | own[variant], seed, key, score, row))
    return found


def scored_runs(sweep: Sweep) -> list[Run]:
    """The runs of a sweep that have final scores, in its order; one that cannot be read is left out."""
    found = []
    for name in sweep.runs:
        if (checkpoints() / name / SCORES).exists():
            with contextlib.suppress(RunError):
                found.append(Run(checkpoints() / name))
    return found


def results_in(runs: Sequence[Run]) -> list[Result]:
    """Scores of the trainings of any runs, by the settings in which they differ; runs without scores are left out.

    A setting that only follows from the data, method or recipe, being the default of each, is none of them.
    """
    flats = {(run, variant): _flat_of(run.config, variant) for run in runs for variant in run.config.variants}
    values: dict[str, set[str]] = {}
    for flat in flats.values():
        for name, value in flat.items():
            values.setdefault(name, set()).add(repr(value))
    shared = NO_DIFFERENCE - {"variants"}
    names = [name for name, each in values.items() if len(each) > 1 and name not in shared]
    defaults = {(run, variant): _defaults_of(flat) for (run, variant), flat in flats.items()} if names else {}
    chosen = [
        name
        for name in names
        if name in GIVEN or any(repr(flat.get(name)) != repr(defaults[key].get(name)) for key, flat in flats.items())
    ]
    found = []
    for run in runs:
        for (variant, seed), row in zip(run.config.members, run.scores() or [], strict=False):
            key, score = _quality(row)
            flat = flats[run, variant]
            settings = {name: flat.get(name) for name in chosen if name != "variants"} | {"variants": base_of(variant)}
            if key != "none":
                found.append(Result(run.name, settings, seed, key, score, row))
    return found


def scores_in(results: Iterable[Result]) -> dict[str, str]:
    """Scores that some of these trainings have, with their titles; first the quality that ranks them."""
    found: dict[str, str] = {}
    for result in results:
        found.setdefault(result.key, score_title(result.key))
        for key, value in result.row.items():
            if key not in found and type(value) in (int, float) and _is_score(key, result.row):
                found[key] = score_title(key)
    return found


def by_score(results: Iterable[Result], key: str) -> list[Result]:
    """The same trainings with another score, a key of `scores_in`; those in which it was not measured are left out."""
    found = []
    for result in results:
        value = result.row.get(key)
        if key == result.key:
            found.append(result)
        elif value is not None:
            found.append(replace(result, key=key, score=float(value)))
        elif not np.isfinite(result.score):
            worst = -np.inf if _direction(key) == "higher" else np.inf
            found.append(replace(result, key=key, score=worst))
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
        low, middle, high = spread_of([r.score for r in group])
        runs = tuple(dict.fromkeys(r.run for r in group))
        rows.append(Ranked(group[0].settings, middle, low, high, len(group), runs, median(r.loss for r in group)))
    return sorted(rows, key=lambda row: row.loss)


def spread_of(scores: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; the quartiles are scores among them, as some may be infinite."""
    ordered = sorted(scores)  # a few seeds each, and thousands of settings: quicker than arrays
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.75))
    return low, median(ordered), high


def shades(results: Sequence[Result], axes: Sequence[str]) -> dict[tuple[Any, ...], float]:
    """Place on a colour scale of each median of `pooled`, from 0, the best, to 1.

    Qualities have the scale of all tables, on which two sweeps can be compared; other scores that of these trainings.
    """
    if not results:
        return {}
    key = results[0].key
    if key == _quality(results[0].row)[0]:
        found = pooled(results, axes)
        return {at: float(quality_shade(np.array([[median(v)]]), [is_gain(key)])[0, 0]) for at, v in found.items()}
    losses = pooled([replace(result, key="", score=result.loss) for result in results], axes)
    medians = {at: median(each) for at, each in losses.items()}
    finite = [loss for loss in medians.values() if np.isfinite(loss)] or [0.0]
    width = max(finite) - min(finite) or 1.0
    return {at: min(1.0, (loss - min(finite)) / width) for at, loss in medians.items()}


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


def course_of(run: Run) -> tuple[float, ...]:
    """How a training goes, for a small line: the quality so far, or d_c before, on a logarithmic scale from 0 to 1."""
    records = run.records.poll()
    quick = [[abs(_quality(row)[1]) for row in each["scores"]] for each in run.quick_scores]
    values = quick if len(quick) > 2 else [each["d_c"] for each in records.scalars if each.get("d_c")]
    known = [np.array([x for x in each if x is not None and 0 < x < np.inf]) for each in values]
    medians = np.log([np.median(each) for each in known if len(each)])
    if len(medians) < 2 or not (width := float(np.ptp(medians))):
        return ()
    thinned = medians[np.linspace(0, len(medians) - 1, min(len(medians), MOST_PLACES)).round().astype(int)]
    return tuple(float(y) for y in (thinned - medians.min()) / width)


def score_title(key: str) -> str:
    """Title of the score under a key, such as W₂ / baseline."""
    if is_gain(key):
        return quality_title(key)
    return label_of(key) if key in SCORE_TERMS else f"{label_of(key.removesuffix('_ratio'))} / baseline"


def axis_title(name: str) -> str:
    """Title of a swept setting, in small letters as within a sentence."""
    if name == "variants":
        return "descriptors"
    return setting_title(name) + " weight" * name.startswith("weights.")


def value_title(name: str, value: Any) -> str:
    """A value of a swept setting beside the setting's title; a training that does not use the setting has a dash."""
    if value is None:
        return UNUSED
    match name:
        case "variants":
            if value in METHODS:  # the one variant of a method without descriptors
                return UNUSED
            return title_of(value) if isinstance(value, str) else ", ".join(map(title_of, value))
        case "method":
            return METHODS[value].title if value in METHODS else str(value)
        case "data":
            return data_title(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else in_a_word(value).replace("_", " ")


@lru_cache(maxsize=4096)
def _scores(
    path: Path, stamp: int, variants: tuple[str, ...], seeds: tuple[int, ...], coordinates: str
) -> list[tuple[str, int, str, float, dict[str, Any]]]:
    """Variant, seed, key, score and all scores of each member in a file of this time; outdated ones are left out."""
    members = [*product(variants, seeds)]
    try:
        rows = read_scores(path, members)
    except (OSError, ValueError):
        return []
    found = []
    for (variant, seed), row in zip(members, rows, strict=True):
        key, score = _quality(row) if is_comparable(row, coordinates) else ("none", 0.0)
        if key != "none":
            found.append((variant, seed, key, score, row))
    return found


def _quality(row: dict[str, Any]) -> tuple[str, float]:
    """Key and value of the quality in a row of scores; infinitely bad if the training diverged."""
    key, value = quality(row)
    return key, (-np.inf if is_gain(key) else np.inf) if value is None else value


def _is_score(key: str, row: dict[str, Any]) -> bool:
    return not key.endswith(("_floor", "_initial")) and (key in SCORE_TERMS or f"{key}_floor" in row)


def _direction(key: str) -> str:
    """Which scores under a key are better: lower, higher, or those near their baseline, "floor"."""
    if is_gain(key):
        return "higher"
    return "lower" if key.endswith("_ratio") else describe(key).direction


def _flat_of(config: Config, variant: str) -> dict[str, Any]:
    """Every setting that a variant of a config uses."""
    return config.flat(used=True) | own_settings(variant) | {"variants": base_of(variant)}


def _defaults_of(flat: dict[str, Any]) -> dict[str, Any]:
    """Every setting that a training with this one's data, method and recipe uses, unless it is given."""
    given = {name: flat[name] for name in GIVEN}
    found = _default_flat(*given.values())
    return found | {"variants": None if METHODS[flat["method"]].matches_descriptors else flat["variants"]}


@lru_cache(maxsize=256)
def _default_flat(data: str, method: str, recipe: str) -> dict[str, Any]:
    return Config.make(data=data, method=method, recipe=recipe).flat(used=True)


def _is_crossed(results: Iterable[Result]) -> bool:
    """Whether a method has several variants."""
    variants: dict[Any, set[Any]] = {}
    for result in results:
        variants.setdefault(result.settings.get("method"), set()).add(result.settings["variants"])
    return any(len(each) > 1 for each in variants.values())


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
