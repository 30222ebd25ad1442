"""The paper's claims, each a measurement over seeds with a verdict (Dai & Hang 2021, sections 3.3 and 4).

    both        both descriptors beat either alone                                       Fig. 6
    spectrum    the spectrum of real embeddings becomes more uniform                     Fig. 5
    gaps        d_c, d_g and d_H decrease and converge                                   Fig. 7
    batch       results do not depend on the batch from 32 to 512, and fail at 1024      Table 2
    straight    the learned metric straightens the manifold                              section 3.3
    diameter    the paper's diameter term, against the published code's                  Eq. 1
    similarity  on pairs, MvM beats GAN in similarity under every backbone               Table 3
    falling     on pairs, d_p and d_c, d_g, d_H keep falling                             Fig. 10
    perceptual  on pairs, MvM as a perceptual part improves on none                      Table 5

The trainings are ordinary runs under `checkpoints()/claims`, named after their settings: what is there is not trained
again, an interrupted one is resumed, and the verdicts are read from what the runs have saved.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mvm.config import Config
from mvm.errors import RunError
from mvm.files import checkpoints, lock_is_held, locked, write_atomic
from mvm.geometry.spectrum import SPECTRUM_FORMS, uniformity
from mvm.jobs.launch import Training, launcher_of
from mvm.jobs.launch import launch as launch_training
from mvm.jobs.launcher import Launcher, Task, last_line
from mvm.runs import layout
from mvm.runs.events import ALIVE
from mvm.runs.run import Run
from mvm.scoring.superres import SUPERRES_SCORES
from mvm.studies.compare import PAIR_DISTANCE

__all__ = [
    "CLAIMS",
    "RULE",
    "Claim",
    "Finding",
    "Plan",
    "Trial",
    "findings",
    "in_numbers",
    "launch",
    "shipped",
    "train",
]

WITHOUT_EFFECT = {"device", "graph", "compile", "threads"}  # settings that no result depends on
RECIPES = ("stabilised", "paper")
PUBLISHED = "centroid+distance_matrix"
VARIANTS = ("centroid", "diameter", "both", PUBLISHED)
SHIPPED = Path(__file__).with_name("claims.json")
LOCK = "lock"  # held by the process that measures
ON_CPU = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # of each training: many at once, of small networks
SUPERRES = "sr"  # the data of the claims on pairs
SETTINGS: dict[str, dict[str, Any]] = {  # of super-resolution
    "mvm": {"method": "mvm", "variants": ("both",)},
    "mvm-ragan": {"method": "mvm", "variants": ("both",), "superres": {"gan": "relativistic"}},
    "gan": {"method": "gan", "superres": {"gan": "standard"}},
    "ragan": {"method": "gan", "superres": {"gan": "relativistic"}},
}
PEERS = {"gan": "standard GAN", "ragan": "relativistic GAN"}
BACKBONE, PAIR_STEPS, PAIR_BATCH, PATCH = "small", 600, 8, 24
FALLS = -0.5  # largest rank correlation of a distance that keeps falling with the step
ENDED = ("finished", "diverged")  # the latter is a result too: no generator reached the data
SEEDS = re.compile(r"(\d+) of (\d+) seeds")
MOST = 0.8  # share of the seeds that makes an outcome
ALIKE, FAILS = 1.5, 2.0  # factors between medians, of Table 2
RULE = (
    f"A row passes if true for at least {100 * MOST:g} % of seeds (Table 2: if the medians of 32 to 512 differ by a "
    f"factor of at most {ALIKE:g}, and if that of 1024 is at least {FAILS:g} times theirs). A claim holds for a recipe "
    "if all of its rows pass, does not hold if none does, and is mixed otherwise."
)


class Trial(NamedTuple):
    """Which training: recipe, data, batch size of Table 2 (0: the recipe's), setting of super-resolution ("": none)."""

    recipe: str
    data: str
    batch: int = 0
    setting: str = ""


Trials = dict[Trial, Run]


@dataclass(frozen=True)
class Plan:
    """Which trainings the verdicts rest on.

    Attributes:
        steps: of each training on a manifold.
        seeds: how many.
        batches: sizes that Table 2 is measured at, on the first manifold.
        manifolds: where the others are.
        pair_steps, pair_seeds: of each training of super-resolution.
    """

    steps: int = 2000
    seeds: int = 5
    batches: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    manifolds: tuple[str, ...] = ("circle", "swiss_roll")
    pair_steps: int = PAIR_STEPS
    pair_seeds: int = 3

    @classmethod
    def quick(cls) -> Plan:
        """A short form, to see it work: too short for a verdict that means anything."""
        return cls(steps=200, seeds=1, batches=(256, 1024), manifolds=("circle",), pair_steps=20, pair_seeds=1)

    @cached_property
    def trials(self) -> dict[Trial, Config]:
        """Config of every training."""
        trials = {}
        for recipe in RECIPES:
            for data in self.manifolds:
                trials[Trial(recipe, data)] = self._config(recipe, data, variants=VARIANTS)
            for batch in self.batches:
                config = self._config(recipe, self.manifolds[0], variants=("both",), batch=batch)
                trials[Trial(recipe, self.manifolds[0], batch)] = config
        for setting in SETTINGS:
            trials[Trial(RECIPES[0], SUPERRES, 0, setting)] = self._pairs(setting)
        return trials

    def _pairs(self, setting: str) -> Config:
        small: dict[str, Any] = {"steps": self.pair_steps, "snapshots": 4, "checkpoints": 2, "records": 60}
        small |= {"threads": 1, "batch": PAIR_BATCH, "patch": PATCH, "network": {"backbone": BACKBONE}}
        return Config.make(data=SUPERRES, seeds=tuple(range(self.pair_seeds)), **small | SETTINGS[setting])

    def _config(self, recipe: str, data: str, **values: Any) -> Config:
        small = {"steps": self.steps, "snapshots": 20, "view_points": 256, "checkpoints": 4, "records": 400}
        return Config.make(data=data, recipe=recipe, seeds=tuple(range(self.seeds)), **small | values)

    @cached_property
    def names(self) -> dict[Trial, str]:
        """Folder of every training's run; another config has another."""
        names = {}
        for trial, config in self.trials.items():
            digest = hashlib.sha256(config.model_dump_json(exclude=WITHOUT_EFFECT).encode()).hexdigest()[:8]
            own = f"-batch{trial.batch}" if trial.batch else f"-{trial.setting}" if trial.setting else ""
            names[trial] = f"{trial.data}-{trial.recipe}{own}-{digest}"
        return names

    def path(self, trial: Trial) -> Path:
        """Folder of a trial's run."""
        return _folder() / self.names[trial]

    def runs(self) -> Trials:
        """The runs that exist, finished or not."""
        existing = {}
        for trial in self.trials:
            try:
                existing[trial] = Run(self.path(trial))
            except RunError:
                continue
        return existing

    def progress(self) -> float:
        """Share of all steps done; a training that has ended has none left."""
        found = [(run.status(), run.config.steps) for run in self.runs().values()]
        done = sum(steps if status.state in ENDED else status.step for status, steps in found)
        return done / sum(config.steps for config in self.trials.values())

    def being_measured(self) -> bool:
        """Whether a process measures the claims."""
        return lock_is_held(_folder() / LOCK)


@dataclass(frozen=True)
class Finding:
    """What was measured of one claim.

    Attributes:
        claim: its name in `CLAIMS`.
        verdicts: "holds", "does not hold" or "mixed" by recipe; empty while nothing is measured.
        rows: the numbers, one dict per line of its table; "holds" is that line's outcome.
    """

    claim: str
    verdicts: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        title: what the paper says.
        source: where it says it.
        measure: how it is judged here.
        rows: lines of its table from the finished runs.
        recipes: that it is measured under.
        shown: columns whose medians over the rows `in_numbers` shows, with a word for each.
    """

    title: str
    source: str
    measure: str
    rows: Callable[[Trials], Iterator[dict[str, Any]]]
    recipes: tuple[str, ...] = RECIPES
    shown: Mapping[str, str] = field(default_factory=dict)


# -- from runs to rows -------------------------------------------------------------------------------------------------


def _ablations(runs: Trials) -> Iterator[tuple[dict[str, Any], Run]]:
    for trial, run in runs.items():
        if not trial.batch and not trial.setting:
            yield {"recipe": trial.recipe, "data": trial.data}, run


def _score(run: Run, variant: str, key: str) -> np.ndarray:
    """A final score of every seed; infinite where it has none because it diverged."""
    values = [row[key] for row in run.scores() or [] if row["variant"] == variant] or [None] * len(run.config.seeds)
    return np.array([np.inf if value is None else value for value in values])


def _members(run: Run, variant: str) -> list[int]:
    return [i for i, (name, _) in enumerate(run.config.members) if name == variant]


def _both(runs: Trials) -> Iterator[dict[str, Any]]:
    for row, run in _ablations(runs):
        ratios = {variant: _score(run, variant, "w2_ratio") for variant in ("centroid", "diameter", "both")}
        better = ratios["both"] < np.minimum(ratios["centroid"], ratios["diameter"])
        medians = {f"W₂ / floor, {variant}": _median(values) for variant, values in ratios.items()}
        yield row | medians | _seeds(better, "both is best")


def _spectrum(runs: Trials) -> Iterator[dict[str, Any]]:
    for row, run in _ablations(runs):
        steps = run.snapshot_steps()
        for form in SPECTRUM_FORMS:
            before, after = (_uniformity(run, step, form) for step in (steps[0], steps[-1]))
            values = {"spectrum": form, "before": _median(before), "after": _median(after)}
            yield row | values | _seeds(after > before, "more uniform")


def _uniformity(run: Run, step: int, form: str) -> np.ndarray:
    """Uniformity of the spectrum at a step, one number per seed of both; NaN where the snapshot is damaged."""
    members = _members(run, "both")
    spectrum = run.snapshot_tensor(step, f"spectrum_{form}")
    return (
        np.full(len(members), np.nan) if spectrum is None else uniformity(torch.from_numpy(spectrum[members])).numpy()
    )


def _gaps(runs: Trials) -> Iterator[dict[str, Any]]:
    for row, run in _ablations(runs):
        scalars, members = run.records.poll().scalars, _members(run, "both")
        none = [None] * len(run.config.members)
        for gap in ("d_c", "d_g", "d_H"):
            series = np.array([record.get(gap) or none for record in scalars], dtype=float)[:, members]
            early, late = series[: max(1, len(series) // 10)], series[-max(1, len(series) // 10) :]
            with np.errstate(invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # members that diverged are NaN, as is the result
                start, end = np.nanmedian(early, axis=0), np.nanmedian(late, axis=0)
                wobble = np.ptp(late, axis=0) / np.ptp(series, axis=0)
            values = {"gap": gap, "first tenth": _median(start), "last tenth": _median(end), "wobble": _median(wobble)}
            yield row | values | _seeds((end < start) & (wobble < 0.1), "less, and settled")


def _batch(runs: Trials) -> Iterator[dict[str, Any]]:
    for recipe in RECIPES:
        medians = {
            batch: float(np.median(_score(run, "both", "w2_ratio")))  # inf where a training diverged
            for (own, _, batch, _), run in runs.items()
            if own == recipe and batch
        }
        small = {batch: value for batch, value in medians.items() if batch <= 512}
        if not small or 1024 not in medians:
            continue
        values = {"recipe": recipe} | {f"batch {batch}": _finite(value) for batch, value in medians.items()}
        usual = statistics.median(small.values())
        spread = max(small.values()) / min(small.values())  # not a number, and no limit met, where all diverged
        fails = medians[1024] / usual if usual < math.inf else 1.0  # it fails no more than they did
        yield values | {"part": "32 to 512 alike", "factor": _finite(spread), "holds": spread <= ALIKE}
        yield values | {"part": "1024 fails", "factor": _finite(fails), "holds": fails >= FAILS}


def _straight(runs: Trials) -> Iterator[dict[str, Any]]:
    for row, run in _ablations(runs):
        names = {"trained": "", "untrained": "_initial", "Euclidean": "_euclidean"}
        ranks = {label: _score(run, "both", f"geodesic_spearman{suffix}") for label, suffix in names.items()}
        better = (ranks["trained"] > ranks["untrained"]) & (ranks["trained"] > ranks["Euclidean"])
        medians = {f"rank correlation, {label}": _median(values) for label, values in ranks.items()}
        yield row | medians | _seeds(better & np.isfinite(ranks["trained"]), "straighter")


def _diameter(runs: Trials) -> Iterator[dict[str, Any]]:
    for row, run in _ablations(runs):
        paper, published = (_score(run, variant, "w2_ratio") for variant in ("both", PUBLISHED))
        medians = {"W₂ / floor, paper's term": _median(paper), "W₂ / floor, published term": _median(published)}
        yield row | medians | _seeds(paper < published, "paper's is better")


def _settings(runs: Trials) -> tuple[dict[str, Any], dict[str, Run]]:
    """Start of a row of the claims on pairs, and the runs by setting."""
    return {"recipe": RECIPES[0]}, {trial.setting: run for trial, run in runs.items() if trial.setting}


def _similarity(runs: Trials) -> Iterator[dict[str, Any]]:
    row, found = _settings(runs)
    for peer in (peer for peer in PEERS if {"mvm", peer} <= found.keys()):
        for key in ("psnr_y", "ssim_y"):
            yield row | _versus(key, ("MvM", found["mvm"]), (PEERS[peer], found[peer]))


def _perceptual(runs: Trials) -> Iterator[dict[str, Any]]:
    row, found = _settings(runs)
    if {"mvm-ragan", "ragan"} <= found.keys():
        for key in ("psnr_y", "ssim_y", "niqe"):
            yield row | _versus(key, ("MvM + RaGAN", found["mvm-ragan"]), (PEERS["ragan"], found["ragan"]))


def _versus(key: str, one: tuple[str, Run], other: tuple[str, Run]) -> dict[str, Any]:
    """Medians of a final score of two runs on the held-out photographs, and of how many seeds the first is better."""
    about = SUPERRES_SCORES[key]
    sign = 1 if about.direction == "higher" else -1
    first, second = (_pair_score(run, key, worst=-sign * math.inf) for _, run in (one, other))
    floors = [row[f"{key}_floor"] for row in other[1].scores() or [] if row.get(f"{key}_floor") is not None]
    values = {"score": about.label, "bicubic": floors[0] if floors else None, "of": one[0], "value": _median(first)}
    values |= {"against": other[0], "its value": _median(second)}
    return values | _seeds(sign * first > sign * second, "better")


def _pair_score(run: Run, key: str, *, worst: float) -> np.ndarray:
    """A final score of every seed; `worst` where it has none because it diverged."""
    values = [row.get(key) for row in run.scores() or []] or [None] * len(run.config.members)
    return np.array([worst if value is None else value for value in values])


def _falling(runs: Trials) -> Iterator[dict[str, Any]]:
    from scipy.stats import spearmanr

    row, found = _settings(runs)
    if "mvm" not in found:
        return
    run = found["mvm"]
    none = [None] * len(run.config.members)
    scalars = run.records.poll().scalars
    for gap in (PAIR_DISTANCE, "d_c", "d_g", "d_H"):
        series = np.array([record.get(gap) or none for record in scalars], dtype=float)
        tenth = max(1, len(series) // 10)
        start, end = np.median(series[:tenth], axis=0), np.median(series[-tenth:], axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a constant series has no ranks
            ranks = np.array([spearmanr(np.arange(len(series)), each).statistic for each in series.T])
        values = {"distance": gap, "first tenth": _median(start), "last tenth": _median(end)}
        values |= {"rank correlation": _median(ranks)}
        yield row | values | _seeds((end < start) & (ranks <= FALLS), "keeps falling")


def _median(values: np.ndarray) -> float | None:
    return _finite(float(np.median(values)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seeds(outcome: np.ndarray, words: str) -> dict[str, Any]:
    return {words: f"{int(outcome.sum())} of {len(outcome)} seeds", "holds": bool(outcome.mean() >= MOST)}


PAIRED = f"{BACKBONE} backbone, {PAIR_STEPS} steps of {PAIR_BATCH} patches of the built-in photographs"

CLAIMS: dict[str, Claim] = {
    "both": Claim(
        "Both descriptors together beat either alone",
        "Fig. 6",
        "W₂ / baseline of both below that of centroid only and of 2-diameter only, seed by seed",
        _both,
        shown={
            "W₂ / floor, centroid": "W₂ / baseline: centroid",
            "W₂ / floor, diameter": "2-diameter",
            "W₂ / floor, both": "both",
        },
    ),
    "spectrum": Claim(
        "The spectrum of the real embeddings becomes more uniform",
        "Fig. 5",
        "uniformity: Shannon entropy of the ten leading eigenvalues of 256 real points, over log 10, before and after "
        "training with both, in both readings of “distance matrix”",
        _spectrum,
        shown={"before": "uniformity: before", "after": "after"},
    ),
    "gaps": Claim(
        "d_c, d_g and d_H decrease and converge",
        "Fig. 7",
        "median of the last tenth of the training below that of the first, and the range over the last tenth below a "
        "tenth of the whole range (wobble), on fixed view points, both descriptors",
        _gaps,
    ),
    "batch": Claim(
        "The batch does not matter from 32 to 512, and 1024 fails",
        "Table 2 (there: FID of images)",
        f"W₂ / baseline on the circle with both: largest over smallest at most {ALIKE:g}; that of 1024 at least "
        f"{FAILS:g} times the median",
        _batch,
    ),
    "straight": Claim(
        "The learned metric straightens the manifold",
        "section 3.3",
        "Spearman correlation of the distance with the true geodesic: trained above untrained and above Euclidean",
        _straight,
        shown={
            "rank correlation, trained": "rank correlation: trained",
            "rank correlation, untrained": "untrained",
            "rank correlation, Euclidean": "Euclidean",
        },
    ),
    "diameter": Claim(
        "The paper's diameter term is better than its published code's",
        "Eq. 1; not claimed there: the two differ",
        "W₂ / baseline with centroid + 2-diameter below that with centroid + distance matrix, seed by seed",
        _diameter,
        shown={"W₂ / floor, paper's term": "W₂ / baseline: paper's", "W₂ / floor, published term": "published code's"},
    ),
    "similarity": Claim(
        "Super-resolution: MvM beats GAN in similarity under every backbone",
        "Table 3; here under the small backbone only",
        "PSNR and SSIM of luma on the four held-out photographs, seed by seed: L_img + λ₂ L_pair + λ₃ L_MM above "
        f"L_img + L_adv of a GAN; {PAIRED}",
        _similarity,
        RECIPES[:1],
    ),
    "falling": Claim(
        "Super-resolution: the distance of pairs d_p and the distances d_c, d_g, d_H keep falling",
        "Fig. 10",
        "median of the last tenth of the training below that of the first, and rank correlation with the step of at "
        f"most {FALLS:g}, on fixed patches of the held-out photographs, MvM without a GAN; {PAIRED}",
        _falling,
        RECIPES[:1],
    ),
    "perceptual": Claim(
        "Super-resolution: MvM as a perceptual part improves on none",
        "Table 5",
        "PSNR, SSIM and NIQE on the four held-out photographs, seed by seed: MvM + RaGAN better than RaGAN alone; "
        f"{PAIRED}",
        _perceptual,
        RECIPES[:1],
    ),
}


# -- measuring ---------------------------------------------------------------------------------------------------------


def findings(plan: Plan) -> list[Finding]:
    """Every claim's verdict from the finished runs of a plan; claims without such runs have none."""
    finished = {trial: run for trial, run in plan.runs().items() if run.status().state in ENDED}
    return [_finding(name, list(claim.rows(finished))) for name, claim in CLAIMS.items()]


def _finding(name: str, rows: list[dict[str, Any]]) -> Finding:
    verdicts = {}
    for recipe in RECIPES:
        outcomes = [row["holds"] for row in rows if row["recipe"] == recipe]
        if outcomes:
            verdicts[recipe] = "holds" if all(outcomes) else "mixed" if any(outcomes) else "does not hold"
    return Finding(name, verdicts, rows)


def in_numbers(finding: Finding, recipe: str) -> str:
    """What was measured of a claim under a recipe, in a line: rows that pass, seeds in each row, medians over the rows.

    Returns:
        Such as "0 of 2 rows pass; both is best: 2 of 5 seeds in each; W₂ / baseline: centroid 7.13, both 1.11"; ""
        without rows.
    """
    rows = [row for row in finding.rows if row["recipe"] == recipe]
    counts: dict[str, list[tuple[int, int]]] = {}
    words = [f"{sum(row['holds'] for row in rows)} of {len(rows)} rows pass"] if rows else []
    for row in rows:
        if "part" in row:  # of Table 2: a factor between medians, no count of seeds
            words.append(f"{row['part']}: factor {_short(row['factor'])}")
        for key, value in row.items():
            if isinstance(value, str) and (match := SEEDS.fullmatch(value)):
                counts.setdefault(key, []).append((int(match[1]), int(match[2])))
    words += [f"{key}: {_seeds_in_each(each)}" for key, each in counts.items()]
    shown = CLAIMS[finding.claim].shown if rows else {}
    values = {word: [row[key] for row in rows if row.get(key) is not None] for key, word in shown.items()}
    medians = [f"{word} {_short(statistics.median(found) if found else None)}" for word, found in values.items()]
    return "; ".join([*words, *([", ".join(medians)] if medians else [])])


def _seeds_in_each(counts: list[tuple[int, int]]) -> str:
    """Seeds of which an outcome is true, of the seeds in each row: "2 of 5 seeds in each", or "2 to 5 of 5 seeds"."""
    true, seeds = (sorted({count[part] for count in counts}) for part in (0, 1))
    of = " to ".join(str(seeds[place]) for place in range(0, len(seeds), max(1, len(seeds) - 1)))
    if len(true) == 1:
        return f"{true[0]} of {of} seeds" + " in each" * (len(counts) > 1)
    return f"{true[0]} to {true[-1]} of {of} seeds"


def _short(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.3g}"


def train(
    plan: Plan,
    *,
    processes: int,
    on_progress: Callable[[float], None] = lambda share: None,
    launcher: Launcher | None = None,
) -> None:
    """Train the runs that a plan still lacks, some at a time.

    Args:
        plan: which trainings.
        processes: how many at once.
        on_progress: called twice a second with the share of all steps done.
        launcher: where they run; this machine when None.

    Raises:
        RunBusy: another process measures the claims.
        RunError: a training failed or was stopped; what is done is kept.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, busy="claims: another process is measuring them; wait for it, or end it first"):
        _stop_request().unlink(missing_ok=True)
        missing = [trial for trial in plan.trials if not _is_finished(plan.path(trial))]
        # the long ones first, so that no process waits for a last one alone
        waiting = deque(sorted(missing, key=lambda trial: (not trial.setting, -(trial.batch or 2000))))
        running: list[Training] = []
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    trial = waiting.popleft()
                    running.append(_begin(plan.trials[trial], plan.path(trial), launcher))
                on_progress(plan.progress())
                if _stop_request().exists():
                    raise RunError("claims: stopped; what is done is kept, and the same command goes on")
                ended = [training for training in running if training.state not in ALIVE]
                for training in ended:
                    running.remove(training)
                    _check(training)
                if not ended:
                    time.sleep(0.5)
        except BaseException:
            _stop_all(running)
            raise
    on_progress(plan.progress())


def _begin(config: Config, path: Path, launcher: Launcher | None) -> Training:
    run = Run(path) if (path / layout.CONFIG).exists() else Run.create(config, path=path)
    return launch_training(run, launcher=launcher, queue=False, environment=ON_CPU)


def _check(training: Training) -> None:
    """Raise RunError unless a training that has ended has a result."""
    if training.state not in ENDED:
        words = last_line(training.log)
        reason = f": {words}" if words.startswith("mvm: ") else ""
        raise RunError(f"claims: {training.run.name} is {training.state}{reason}; the same command goes on")


def _stop_all(trainings: list[Training]) -> None:
    """Stop trainings and wait for their ends; a trainer that is starting drops requests, and is asked again."""
    while living := [training for training in trainings if training.state in ALIVE]:
        for training in living:
            training.cancel()
        time.sleep(0.2)


def stop() -> None:
    """Ask the process that measures the claims to end; what is done is kept."""
    write_atomic(_stop_request(), b"")


def launch(*, processes: int) -> None:
    """Train the runs that `Plan()` still lacks in the background; returns once a process is at it, or has failed."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ("claims", "--processes", str(processes))
    handle = launcher_of().submit(Task("claims", arguments, log=folder / "claims.log", lock=folder / LOCK))
    while handle.state == "starting":
        time.sleep(0.1)


def _folder() -> Path:
    return checkpoints() / layout.CLAIMS


def _stop_request() -> Path:
    return _folder() / "stop"


def _is_finished(path: Path) -> bool:
    try:
        return Run(path).status().state in ENDED
    except RunError:
        return False


def to_json(found: list[Finding], plan: Plan, device: str) -> str:
    """Findings with what they rest on."""
    return json.dumps({"plan": asdict(plan), "device": device, "findings": [asdict(f) for f in found]}, indent=1)


def shipped() -> tuple[list[Finding], dict[str, Any]]:
    """The findings that come with the repository, and what they rest on: {"plan": ..., "device": ...}.

    Returns:
        A finding for each claim, without a verdict where the file lacks it; none where there is no readable file.
    """
    try:
        content = json.loads(SHIPPED.read_text(encoding="utf-8"))
        found = {finding.claim: finding for finding in (Finding(**values) for values in content.pop("findings"))}
        return [found.get(name, Finding(name)) for name in CLAIMS], content
    except (OSError, ValueError, TypeError, KeyError):
        return [], {}
