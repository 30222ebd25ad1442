"""Score and sample a run: its generators against held-out real points, each score beside its floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mvm.data.points import PointData
from mvm.runs import Run
from mvm.scores import Reference
from mvm.training import Experiment

__all__ = ["FINAL", "load_experiment", "reference", "sample_run", "score_run"]

FINAL = 2000


def reference(data: PointData, n: int, *, repeat: int = 0) -> Reference:
    """Two held-out real samples of at most n points, ready to score any number of fakes against."""
    held_out = data.evaluation(n, repeat=repeat)
    return Reference(held_out.real, held_out.floor, manifold=data.manifold, real_coordinates=held_out.coordinates)


def load_experiment(run: Run, *, best: bool = False) -> Experiment:
    """The trained networks of a run, on whatever device this machine has.

    Args:
        run: a run with a checkpoint.
        best: put the best generators in place of the last ones.

    Raises:
        RunError: there is no such checkpoint.
    """
    experiment = Experiment(run.config.with_changes({"device": "auto"}), run.data)
    experiment.load(run.checkpoint())
    if best:
        kept = run.checkpoint(best=True)
        for name, average in experiment.averaged().items():
            average.copy_(kept[f"average.{name}"])
    return experiment


def score_run(
    run: Run, *, experiment: Experiment | None = None, n: int = FINAL, best: bool = False, repeat: int = 0
) -> list[dict[str, Any]]:
    """All scores of every member of the variant axis.

    Args:
        run: what to score.
        experiment: its networks, if they are at hand; loaded from the checkpoint when None.
        n: points of each sample; an own file may hold fewer.
        best: score the best generators in place of the last ones.
        repeat: another pair of held-out samples, and other noise, for another number.

    Returns:
        One dict per member: variant, seed, step, n, and every key of `mvm.scores.SCORE_KEYS`; None where a score has
        no meaning for the data.
    """
    experiment = experiment or load_experiment(run, best=best)
    untrained = Experiment(experiment.config, run.data)
    against = reference(run.data, n, repeat=repeat)
    noise = experiment.view_noise(against.size, repeat=repeat)
    fakes = run.data.restore(experiment.generate(noise).cpu().float())
    rows = []
    for member, (variant, seed) in enumerate(run.config.members):
        metrics = [_embedding(e, member) for e in (experiment, untrained)]
        scores = against.score(fakes[member], embed=metrics[0], initial_embed=metrics[1])
        rows.append({"variant": variant, "seed": seed, "step": experiment.step, "n": against.size} | scores)
    return rows


def sample_run(run: Run, n: int, *, seed: int = 0, best: bool = False) -> Tensor:
    """n fakes of every member, `(V, n, D)`, in the data's own units.

    Args:
        run: a run with a checkpoint.
        n: how many.
        seed: of the generators' noise, the same for all members.
        best: from the best generators in place of the last ones.
    """
    experiment = load_experiment(run, best=best)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, experiment.noise_dim, generator=generator)
    parts = [experiment.generate(part).cpu().float() for part in noise.split(2**16)]
    return run.data.restore(torch.cat(parts, dim=1))


def _embedding(experiment: Experiment, member: int) -> Callable[[Tensor], Tensor]:
    return lambda points: experiment.embed(experiment.data.standardise(points.float()))[member]
