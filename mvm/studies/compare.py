"""Comparison of runs: on one axis, with every seed, each score beside its baseline.

    quality    points, pictures    W₂ or Fréchet distance over its value between two real samples: 1 is the best
               photographs         PSNR (Y) minus that of bicubic interpolation, in dB: higher is better

series_of(runs)       what a legend distinguishes: variants and differing settings; seeds are pooled
curves(...)           median and quartiles over the seeds of each series, of any recorded quantity, on a common axis
differences(runs)     settings that differ between the runs
matrix(...)           quality by descriptor set and data, with the range over seeds
scoreboard(...)       last scores of each series, beside those of a reference run
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mvm.config import OF_DATA, Config
from mvm.data.images import FACES, TOY_SIZE
from mvm.data.kinds import kind_of
from mvm.geometry.descriptors import DESCRIPTORS, GAPS, matched
from mvm.look.bands import QUARTILES, quantiles
from mvm.look.palette import variant_colours
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.control import WEIGHTS
from mvm.runs.events import SettingsChanged, WeightsChanged
from mvm.runs.history import History, Scores, middle
from mvm.runs.run import Run
from mvm.runs.weights import settings_of
from mvm.scoring.images import describe
from mvm.scoring.score import ratio
from mvm.studies.gains import in_words, is_gain
from mvm.studies.labels import Label, acts, footnotes, label_of_variant, own_title, setting_label, trained_settings
from mvm.variants import base_of, own_settings

__all__ = [
    "AXES",
    "PAIR_DISTANCE",
    "Curve",
    "Series",
    "beside",
    "best_variant",
    "curves",
    "data_title",
    "differences",
    "footnote_of",
    "in_a_word",
    "in_words",
    "is_gain",
    "main_score",
    "matrix",
    "other_scores",
    "qualities",
    "quality",
    "quality_title",
    "quantities",
    "scoreboard",
    "series_of",
    "settings_changed",
    "to_baseline",
]

AXES = {
    "step": "training step",
    "share": "share of the run",
    "seconds": "training time (s)",
    "examples": "examples seen",
}
NO_DIFFERENCE = {  # settings that do not change what is learned: runs that differ in these alone are pooled
    "variants", "seeds", "device", "graph", "compile", "threads", "records", "snapshots", "checkpoints", "view_points",
}  # fmt: skip
SAID_FIRST = ("data", "recipe", "batch")  # named first in titles; variants name the method
SHOWN = (
    "precision", "recall", "coverage", "density", "distance_mean", "geodesic_spearman", "log_likelihood",
    "total_variation",
    "ssim_y", "psnr_rgb", "ssim_rgb", "niqe",
)  # fmt: skip
PAIR_DISTANCE = "d_p"  # recorded on pairs beside `GAPS`: mean distance of an embedded fake to its own real
PHOTOGRAPHS = "psnr_y"  # the main score of super-resolution
MOST_PLACES = 400  # largest number of places on a common axis
HUGE = 1e300  # replaces infinity where values are interpolated


@dataclass(frozen=True)
class Series:
    """Members drawn in one colour, or in one panel.

    Attributes:
        title: its name in a legend.
        colour: hex colour.
        members: (place of the run, place on its variant axis) of each.
        variant: the variant of all members, without settings of its own.
        number: place among the series of this variant.
        note: footnote to the title, which then ends with `mvm.studies.labels.MARK`; "" if the title says all.
    """

    title: str
    colour: str
    members: list[tuple[int, int]] = field(default_factory=list)
    variant: str = ""
    number: int = 0
    note: str = ""


def series_of(runs: Sequence[Run], *, but: Iterable[str] = ()) -> list[Series]:
    """Series of runs, one for each variant and combination of differing settings, in order of first appearance.

    A setting counts alike whether it is of a whole run or of a variant's own.

    Args:
        runs: one or more.
        but: settings that do not distinguish series.
    """
    but = tuple(but)
    flats = {
        (place, variant): settings | own_settings(variant)
        for place, (run, settings) in enumerate(zip(runs, map(_trained_settings, runs), strict=True))
        for variant in run.config.variants
    }
    hidden = NO_DIFFERENCE | set(but)
    names = dict.fromkeys(name for flat in flats.values() for name in flat)
    keys = [n for n in names if n not in hidden and len({repr(flat.get(n)) for flat in flats.values()}) > 1]
    found: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for place, run in enumerate(runs):
        for member, (variant, seed) in enumerate(run.config.members):
            flat = flats[place, variant]
            what = tuple(repr(flat.get(key)) for key in keys if acts(run.config, variant, key))
            identity = (base_of(variant), what, seed, *(repr(flat.get(key)) for key in but))
            copy = seen[identity] = seen.get(identity, -1) + 1  # a seed counts once
            found.setdefault((base_of(variant), what, copy), []).append((place, member))
    labels = []
    firsts = {series: (place, runs[place].config.members[member][0]) for series, [(place, member), *_] in found.items()}
    own = {series: own_title(runs[place].config, series[0]) for series, (place, _) in firsts.items()}
    for series, first_of_it in firsts.items():
        alike = [flats[firsts[other]] for other in found if own[other] == own[series]]
        said = [key for key in SAID_FIRST if key in keys]
        said = said or [key for key in keys if len({repr(flat.get(key)) for flat in alike}) > 1]
        run, variant = runs[first_of_it[0]], first_of_it[1]
        said = [key for key in said if acts(run.config, variant, key)]
        words = [setting_label(key, flats[first_of_it].get(key), run.config) for key in said[:2]]
        labels.append(label_of_variant(run, variant, said=said[:2], words=words))
    titles = [label.text for label in labels]
    first = [runs[members[0][0]].name for members in found.values()]
    titles = [f"{t} ({name})" if titles.count(t) > 1 else t for t, name in zip(titles, first, strict=True)]
    variants = [variant for variant, *_ in found]
    numbers = [variants[:place].count(variant) for place, variant in enumerate(variants)]
    notes = [label.note for label in labels]
    parts = zip(titles, variant_colours(variants), found.values(), variants, numbers, notes, strict=True)
    return [Series(*each) for each in parts]


def _trained_settings(run: Run) -> dict[str, Any]:
    """`Config.flat` with what was trained: of a setting that was moved, its path from `settings_of`."""
    moved = {name: path if len(path) > 1 else path[0].value for name, path in trained_settings(run).items()}
    return run.config.flat() | moved


def footnote_of(series: Iterable[Series]) -> str:
    """The footnotes to the titles of series in one line; "" without any."""
    return footnotes(Label(each.title, each.note) for each in series)


def data_title(data: str) -> str:
    """What tables call the data that a config names."""
    return kind_of(data).data_title(data)


def _data_titles(datas: Iterable[str]) -> dict[str, str]:
    """Distinct titles: of two files with the same name, the paths."""
    titles = {data: data_title(data) for data in datas}
    shared = [*titles.values()]
    return {data: title if shared.count(title) == 1 else data for data, title in titles.items()}


# -- curves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """One series over training.

    Attributes:
        series: the series.
        x: places on the axis, ascending `(s,)`.
        low, middle, high: quartiles and median over its members `(s,)`; NaN where none has a value.
        members: number of members with values.
    """

    series: Series
    x: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    members: int


def quantities(runs: Sequence[Run]) -> dict[str, str]:
    """Quantities that at least one of these runs records over training: {key: label}."""
    found = {symbol: f"{symbol}, {gap.label}" for symbol, gap in GAPS.items()}
    for run in runs:
        records = run.records.poll()
        for row in run.quick_scores[-1]["scores"] if run.quick_scores else ():
            found |= {key: label_of(key) for key, value in row.items() if isinstance(value, int | float)}
        for record in records.scalars[-1:]:
            found |= {key: key.replace("_", " ") for key in record if isinstance(record[key], list) and key not in GAPS}
            found |= {PAIR_DISTANCE: f"{PAIR_DISTANCE}, mean distance of pairs"} if PAIR_DISTANCE in record else {}
    return {key: label for key, label in found.items() if not key.endswith("_floor")}


def label_of(key: str) -> str:
    """Label of a score; its key if the score is unknown."""
    try:
        return describe(key).label
    except KeyError:
        return key


def curves(runs: Sequence[Run], quantity: str, *, axis: str = "step") -> list[Curve]:
    """A recorded quantity over training, one curve for each series that has it.

    Args:
        runs: one or more.
        quantity: a key of `quantities`.
        axis: a name in `AXES`. Members with records at other places are interpolated, never extrapolated.
    """
    drawn = []
    for series in series_of(runs):
        lines = [_line(runs[place], member, quantity, axis) for place, member in series.members]
        lines = [(x, y) for x, y in lines if len(x)]
        if lines:
            x, values = _aligned(lines)
            low, median, high = quantiles(values, QUARTILES)
            drawn.append(Curve(series, x, low, median, high, members=len(lines)))
    return drawn


def _line(run: Run, member: int, quantity: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Places and finite values of one member, `(s,)` each."""
    records = run.records.poll()
    scalars = [r for r in records.scalars if isinstance(r.get(quantity), list)]
    source = scalars or [r for r in run.quick_scores if quantity in r["scores"][member]]
    values = [r[quantity][member] if scalars else r["scores"][member][quantity] for r in source]
    steps = np.array([r["step"] for r in source], dtype=float)
    y = np.array([np.nan if value is None else value for value in values], dtype=float)
    if axis == "share":
        x = steps / run.config.steps
    elif axis == "examples":
        x = steps * run.config.batch
    elif axis == "seconds":
        known = [(r["step"], r["seconds"]) for r in records.scalars]
        x = np.interp(steps, *np.array(known, dtype=float).T) if known else steps[:0]
    else:
        x = steps
    keep = np.isfinite(y[: len(x)])
    return x[keep], y[: len(x)][keep]


def _aligned(lines: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Common places `(s,)`, and every line at these `(lines, s)`; NaN outside a line's own range."""
    if all(np.array_equal(x, lines[0][0]) for x, _ in lines):
        return lines[0][0], np.stack([y for _, y in lines])
    places = np.unique(np.concatenate([x for x, _ in lines]))
    if len(places) > MOST_PLACES:
        places = np.linspace(places[0], places[-1], MOST_PLACES)
    return places, np.stack([np.interp(places, x, y, left=np.nan, right=np.nan) for x, y in lines])


# -- settings ----------------------------------------------------------------------------------------------------------


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings that differ between runs, and changes made by hand: {setting: one word per run}.

    A setting that a run does not use (of another method, or of networks for other data) is a dash.
    """
    flats = [run.config.flat(used=True) for run in runs]
    table = {}
    for name in runs[0].config.flat():
        words = [in_a_word(flat[name]) if name in flat else None for flat in flats]
        if len({*words} - {None}) > 1:
            table[name] = [word or "–" for word in words]
    moved = [run.records.poll().setting_changes() for run in runs]
    for title, kind in (("weights", WeightsChanged), ("settings", SettingsChanged)):
        own = [[change for change in changes if isinstance(change, kind)] for changes in moved]
        if any(own):
            table[f"{title} moved while training"] = [
                "; ".join(f"step {change.step}: {_values(change.moved)}" for change in changes) or "–"
                for changes in own
            ]
    origins = [run.origin for run in runs]
    if any(origins):
        table["forked from"] = [found.place if found else "–" for found in origins]
    return table


def _values(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removeprefix(WEIGHTS)} {value:g}" for name, value in settings.items())


UNTRAINED = {  # settings that no weight depends on
    "schema_version", "device", "graph", "compile", "threads", "view_points", "snapshots", "records", "checkpoints",
}  # fmt: skip


def settings_changed(run: Run, config: Config) -> dict[str, tuple[Any, Any]]:
    """Settings of a config that differ from those that a run has trained with last: {setting: (the run's, its own)}.

    The method comes first. Settings that only one of the two methods has, weights of descriptors that neither matches,
    and those of what is recorded and on which processors, are left out.
    """
    moved = {name: path[-1].value for name, path in settings_of(run).items()}
    before, after = run.config.flat(used=True), config.flat(used=True)
    before |= {name: value for name, value in moved.items() if name in before and value is not None}
    for settings in (before, after):
        if settings["data"] == FACES:
            settings["size"] = settings["size"] or TOY_SIZE
    left_out = {f"weights.{name}" for name in DESCRIPTORS} - {
        f"weights.{name}" for each in (run.config, config) for name in matched(each.variants)
    }
    left_out |= UNTRAINED | ({"variants"} if before["method"] != after["method"] else set())
    shared = [name for name in after if name in before and name not in left_out]
    shared.sort(key=lambda name: name != "method")
    return {name: (before[name], after[name]) for name in shared if before[name] != after[name]}


def in_a_word(value: Any) -> str:
    """Text of a setting's value, for a table."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{key} {item}" for key, item in value.items()) or "–"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# -- scores ------------------------------------------------------------------------------------------------------------


def main_score(keys: Iterable[str]) -> str | None:
    """The score that ranks generators: W₂ over its baseline for points, a Fréchet distance for images, PSNR (Y)."""
    return next((key for key in keys if key in ("w2_ratio", PHOTOGRAPHS) or key.endswith(".fd")), None)


def beside(row: dict[str, Any], name: str) -> str:
    """Key of a score shown beside the main one: for images, by the same features."""
    return "".join((main_score(row) or "").rpartition(".")[:2]) + name


def other_scores(runs: Iterable[Run]) -> list[str]:
    """Keys of the scores shown beside the main one."""
    rows = [row for run in runs if (scores := last_scores(run)) for row in scores.rows]
    keys = [key for name in SHOWN for row in rows if row.get(key := beside(row, name)) is not None]
    return list(dict.fromkeys(keys))


def quality(row: dict[str, Any]) -> tuple[str, float | None]:
    """Key and value of the main score beside its baseline: KEY_ratio, or KEY_gain (`is_gain`); "none" without one."""
    key = main_score(row)
    if key is None:
        return "none", None
    end = "gain" if describe(key).compared == "difference" else "ratio"
    return f"{key.removesuffix('_ratio')}_{end}", to_baseline(row, key)


def quality_title(key: str) -> str:
    """Title of the quality under a key: "score / baseline", or "PSNR (Y) − bicubic (dB)"."""
    return f"{label_of(key.removesuffix('_gain'))} − bicubic (dB)" if is_gain(key) else "score / baseline"


def _standing(row: dict[str, Any]) -> float | None:
    """The quality; of a generator that diverged infinitely bad, so that a median counts it as the worst."""
    key, value = quality(row)
    main = main_score(row)
    return (-np.inf if is_gain(key) else np.inf) if main is not None and row[main] is None else value


def qualities(scores: Scores) -> dict[str, float]:
    """Median quality of each scored variant; infinite if half of its seeds have diverged."""
    variants = dict.fromkeys(variant for variant, _ in scores.members)
    found = {variant: middle(_standing(row) for row in scores.of_variant(variant)) for variant in variants}
    return {variant: value for variant, value in found.items() if value is not None}


def best_variant(scores: Scores) -> tuple[str, float] | None:
    """The variant of the best median quality, and that quality; None if all diverged or none is scored."""
    known = {variant: value for variant, value in qualities(scores).items() if np.isfinite(value)}
    if not known:
        return None
    best = (max if is_gain(_quality_key(scores.rows)) else min)(known, key=known.__getitem__)
    return best, known[best]


def _quality_key(rows: Iterable[dict[str, Any]]) -> str:
    """Key of the quality that rows of one run have."""
    return next((key for row in rows if (key := quality(row)[0]) != "none"), "none")


def to_baseline(row: dict[str, Any], key: str) -> float | None:
    """A score over its baseline, or minus it, as `Score.compared` says; a ratio as it is.

    None if either is unknown, or if a ratio's baseline is zero.
    """
    if key.endswith("_ratio"):
        return row.get(key)
    value, floor = row.get(key), row.get(f"{key}_floor")
    if describe(key).compared == "difference":
        return None if value is None or floor is None else float(value) - float(floor)
    return ratio(value, floor)


def last_scores(run: Run) -> Scores | None:
    """The final scores, or else the last quick ones."""
    run.records.poll()
    return History(run).scores(run.config.steps)


def scoreboard(runs: Sequence[Run], *, keys: Sequence[str] = (), baseline: Run | None = None) -> pd.DataFrame:
    """Last scores of each series: median and quartiles of the quality, medians of other scores.

    Args:
        runs: one or more.
        keys: scores to show beside the quality of `quality`.
        baseline: run that the quality is compared with, by its same variant or else its last one.

    Returns:
        Columns series, seeds, step, score (key of the quality), evaluations (of networks per sample), quality, low,
        high, one per key, and against: quality / the baseline's − 1, or for a gain quality − the baseline's; NaN for
        other data. The quality of a diverged seed is infinite; other scores are NaN if half of the seeds diverged.
    """
    scored = [last_scores(run) for run in runs]
    base_scores = last_scores(baseline) if baseline is not None else None
    against = qualities(base_scores) if base_scores is not None else {}
    rows = []
    for series in series_of(runs):
        known = [(scores, member) for place, member in series.members if (scores := scored[place]) is not None]
        found = [scores.rows[member] for scores, member in known]
        values = np.array([max(-HUGE, min(value, HUGE)) for row in found if (value := _standing(row)) is not None])
        row: dict[str, Any] = {
            "series": series.title,
            "seeds": len(series.members),
            "step": max((s.step for s, _ in known), default=0),
            "score": _quality_key(found),
            "evaluations": runs[series.members[0][0]].config.evaluations,
        }
        low, middle, high = np.quantile(values, QUARTILES) if len(values) else (np.nan,) * 3
        row |= {"quality": middle, "low": low, "high": high}
        row |= {key: np.sign(row[key]) * np.inf for key in ("quality", "low", "high") if abs(row[key]) > HUGE / 100}
        for key in keys:
            numbers = [each[key] for each in found if each.get(key) is not None]
            row[key] = float(np.median(numbers)) if 2 * len(numbers) > len(found) else np.nan
        place, member = series.members[0]
        variant = runs[place].config.members[member][0]
        base = against.get(variant, next(reversed(against.values()), np.nan))
        if baseline is not None and not _are_scored_alike(baseline, runs[place]):
            base = np.nan
        change = row["quality"] - base if is_gain(row["score"]) else row["quality"] / base - 1
        change = change if np.isfinite(base) else np.nan
        rows.append(row | {"against": change})
    return pd.DataFrame(rows)


def _are_scored_alike(one: Run, other: Run) -> bool:
    """Whether two runs have the same data; super-resolution is scored on the same photographs whatever it learns."""
    if one.config.kind == other.config.kind and one.config.kind in PAIRED_KINDS:
        return True
    return all(getattr(one.config, name) == getattr(other.config, name) for name in OF_DATA)


def matrix(runs: Sequence[Run]) -> pd.DataFrame:
    """Ablation matrix: quality by matched descriptors (rows) and data (columns), with the range over seeds.

    Runs that differ in more than data and seeds have rows of their own, as they are separate series.

    Args:
        runs: any; those without scores are left out.

    Returns:
        One row per cell: what, data, median, low and high (extremes), n, the number of seeds in all runs, and score,
        the key of the quality. The quality of a diverged seed is infinite.
    """
    scored = [(run, scores) for run in runs if (scores := last_scores(run))]
    cells: dict[tuple[str, str], list[float]] = {}
    keys: dict[str, str] = {}
    for series in series_of([run for run, _ in scored], but=("data",)):
        for place, member in series.members:
            run, scores = scored[place]
            value = _standing(scores.rows[member])
            if value is not None:
                cells.setdefault((series.title, run.config.data), []).append(value)
                keys[run.config.data] = quality(scores.rows[member])[0]
    titles = _data_titles([data for _, data in cells])
    rows = [
        {"what": what, "data": titles[data], "median": float(np.median(v)), "low": min(v), "high": max(v), "n": len(v)}
        | {"score": keys[data]}
        for (what, data), v in cells.items()
    ]
    return pd.DataFrame(rows, columns=["what", "data", "median", "low", "high", "n", "score"])
