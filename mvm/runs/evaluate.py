"""Score and sample a run: its generators against held-out real points, each score beside its baseline."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from mvm.config import Config
from mvm.data.images import load_images
from mvm.data.kind import Dataset
from mvm.errors import ConfigError, RunError
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.layout import CHECKPOINT
from mvm.runs.run import Run
from mvm.runs.upscale import Upscaler
from mvm.training.checkpoint import load_member
from mvm.training.experiment import Experiment
from mvm.training.sampling import embedding, generated, log_densities, to_score

if TYPE_CHECKING:
    from mvm.scoring.images import Gallery

__all__ = [
    "FINAL",
    "SamplingPath",
    "check_samples",
    "load_experiment",
    "load_generator",
    "load_upscaler",
    "sample_run",
    "samples_along",
    "sampling_path",
    "score_run",
    "training_gallery",
]

FINAL = 2000
MOST_WORKERS = 8  # threads that score members side by side: each holds some 200 MB
GALLERY = 10_000  # training pictures that a screen or a figure looks for the nearest among
MOST_TRAIN = 200_000  # that scores do: more than CelebA has; of a larger set this many, evenly spread
MOST_TIMES = 41  # frames of a path of sampling, evenly spread over its evaluations
COARSE = 16  # pixels each way by which a screen looks for the nearest: its axes are fitted 20 times as fast


def load_experiment(
    run: Run, *, best: bool = False, step: int | None = None, data: Dataset | None = None, device: str | None = None
) -> Experiment:
    """The trained networks of a run in float32, on whatever device this machine has, unless the run asks for the CPU.

    Args:
        run: a run with a checkpoint.
        best: put the best generators in place of the last ones.
        step: of a kept checkpoint, in place of the last one.
        data: in place of the run's own data set, if that is not at hand.
        device: auto, cpu or cuda, in place of the run's.

    Raises:
        RunError: there is no such checkpoint.
    """
    device = device or ("cpu" if run.config.device == "cpu" else "auto")
    experiment = Experiment(run.config.with_changes({"device": device}), data or run.data)
    experiment.load(run.checkpoint(step=step))
    if best:
        kept = run.checkpoint(best=True)
        for name, average in experiment.averaged().items():
            average.copy_(kept[name])
    return experiment


def score_run(
    run: Run,
    *,
    experiment: Experiment | None = None,
    n: int = FINAL,
    best: bool = False,
    repeat: int = 0,
    inception: bool = False,
    on_progress: Callable[[float, float], None] | None = None,
) -> list[dict[str, Any]]:
    """All scores of every member of the variant axis.

    Args:
        run: what to score.
        experiment: its networks, if they are at hand; loaded from the checkpoint when None.
        n: points of each sample; an own file may hold fewer.
        best: score the best generators in place of the last ones.
        repeat: another pair of held-out samples, and other noise, for another number.
        inception: the FID, too.
        on_progress: called with the number of samples measured, and how many there are: two real ones, and the fakes
            of every member.

    Returns:
        One dict per member: variant, seed, the generator's step, n, the coordinates that are compared, and every key of
        `mvm.scoring.points.SCORE_KEYS` for points, of `mvm.scoring.images` for pictures; None where a score has no
        meaning for the data.

    Raises:
        ConfigError: Inception is not available, or was asked for where there are no pictures.
    """
    experiment = experiment or load_experiment(run, best=best)
    data = experiment.data
    members = run.config.members

    def report(measured: float) -> None:
        if on_progress:
            on_progress(measured, 2 + len(members))

    against = data.reference(n, repeat=repeat, inception=inception, on_progress=report)
    fakes = to_score(experiment, against, repeat=repeat)
    densities = log_densities(experiment, against)
    untrained = Experiment(experiment.config, data) if data.scores_metric else None
    steps = run.checkpoint(best=True)["step"].tolist() if best else [experiment.step] * len(members)

    def row_of(member: int) -> dict[str, Any]:
        (variant, seed), metrics = members[member], dict[str, Any]()
        if untrained is not None:
            metrics = {"embed": embedding(experiment, member), "initial_embed": embedding(untrained, member)}
        if densities is not None:
            metrics["log_density"] = densities[member]
        row = {"variant": variant, "seed": seed, "step": steps[member], "n": against.size}
        row |= {"evaluations": run.config.evaluations}
        return row | {"coordinates": against.coordinates} | against.score(fakes[member], **metrics)

    threads = torch.get_num_threads()
    workers = min(MOST_WORKERS, max(1, (os.cpu_count() or 1) // threads))
    with (
        experiment.exact(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,)) as pool,
    ):
        return list(pool.map(row_of, range(len(members))))


class SamplingPath(NamedTuple):
    """Fakes on their way from noise.

    Attributes:
        step: training step of the networks.
        times: the time of each frame, in the method's terms.
        frames: `(T, V, n, D)` float32 in the data's own units.
    """

    step: int
    times: list[str]
    frames: np.ndarray


def samples_along(run: Run) -> bool:
    """Whether the run's fakes come from a path of sampling, not from one pass of a generator."""
    return run.config.kind == "points" and run.config.evaluations > 1


def sampling_path(run: Run, *, step: int, n: int) -> SamplingPath:
    """Sampling of the run's fixed noise by the checkpoint that was last kept up to a step, on the CPU.

    Args:
        run: `samples_along` a path.
        step: of the training.
        n: points; the fakes of a snapshot of the checkpoint's step are the last frame.

    Raises:
        RunError: there is no such checkpoint, or it is damaged.
    """
    kept = run.kept_step(step)
    if kept is None:
        raise RunError(f"run: {run.name} has no checkpoint up to step {step:,} yet; the first is written in a moment")
    experiment = load_experiment(run, step=kept, data=run.units, device="cpu")
    with experiment.exact():
        path = experiment.path(experiment.view_inputs(n))
    chosen = np.unique(np.linspace(0, len(path) - 1, MOST_TIMES).round().astype(int))
    frames = [experiment.data.restore(path[i].points.float()) for i in chosen]
    return SamplingPath(kept, [path[i].time for i in chosen], torch.stack(frames).numpy())


def load_generator(run: Run, member: int, *, step: int | None = None) -> Callable[[Tensor], Tensor]:
    """One averaged generator of a run as it was saved, on the CPU: noise `(B, m)` to data points in their own units.

    Neither the data set nor what else a checkpoint holds is read.

    Args:
        run: a run with a checkpoint.
        member: place on the variant axis.
        step: of a kept checkpoint; the last one saved when None.

    Raises:
        RunError: there is no readable checkpoint.
    """
    experiment = _load_averages(run, member, step)
    return lambda noise: generated(experiment, noise)[0]


def load_upscaler(run: Run, member: int) -> Upscaler:
    """One averaged generator of a run on pairs as it was saved last, on the CPU, ready for pictures of any size.

    Args:
        run: a run on pairs, with a checkpoint.
        member: place on the variant axis.

    Raises:
        RunError: there is no readable checkpoint.
    """
    experiment = _load_averages(run, member, None)
    return Upscaler(experiment.upscaler(0), experiment.receptive_field)


def _load_averages(run: Run, member: int, step: int | None) -> Experiment:
    """An experiment of one member with its averaged weights and the method's state; nothing else is read."""
    path = run.path / CHECKPOINT if step is None else run.kept_path(step)
    try:
        return load_member(path, run.config, member, run.units, prefixes=("average.",))
    except RunError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = "has no checkpoint yet" if isinstance(error, FileNotFoundError) else f"checkpoint: {error}"
        raise RunError(f"run: {run.name} {reason}") from None


def training_gallery(config: Config) -> Gallery:
    """Up to 10,000 training pictures, to look the nearest of a fake up in; of toy faces by what is in them.

    Raises:
        ConfigError: the pictures are not there any more.
    """
    from mvm.scoring.features import FactorRegressor, PixelPCA
    from mvm.scoring.images import Gallery

    data = load_images(config)
    images, numbers = data.train_sample(GALLERY), torch.from_numpy(data.train_rows(GALLERY))
    features = FactorRegressor() if data.faces is not None else PixelPCA(images, size=COARSE)
    return Gallery(images, features, numbers=numbers, flips=data.flips)


def check_samples(run: Run) -> None:
    """Refuse to sample a run whose generators take pictures, not noise.

    Raises:
        ConfigError: it is of super-resolution.
    """
    if run.config.kind in PAIRED_KINDS:
        raise ConfigError(f"run: {run.name} upscales pictures; `python -m mvm upscale {run.name} FILE --out DIR` does")


def sample_run(run: Run, n: int, *, seed: int = 0, best: bool = False) -> Tensor:
    """n fakes of every member, `(V, n, D)` in the data's own units, or pictures `(V, n, size, size, 3)` uint8.

    Args:
        run: a run with a checkpoint.
        n: how many.
        seed: of the generators' noise, the same for all members.
        best: from the best generators in place of the last ones.
    """
    check_samples(run)
    experiment = load_experiment(run, best=best)
    generator = torch.Generator().manual_seed(seed)
    return generated(experiment, torch.randn(n, experiment.noise_dim, generator=generator))
