"""Look at a run through lenses: at a snapshot of one member, or at fresh samples of every member.

    looked_at(run, member, step)          reals and fakes of a snapshot, a second sample of reals, networks of that step
    measure(run, ["holes"])               numbers of every member, on held-out reals

The baseline of a snapshot is a sample that no training and no score saw; of a user's file, held-out points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from mvm.data.points import PointData
from mvm.errors import ConfigError, RunError, check_known
from mvm.lenses import LENSES, Networks, Subject
from mvm.runs.evaluate import load_experiment
from mvm.runs.run import Run
from mvm.studies.learned_metric import checkpoint_at
from mvm.training.checkpoint import load_member
from mvm.training.experiment import Experiment
from mvm.training.sampling import generated

__all__ = ["POINTS", "looked_at", "measure", "networks_of"]

POINTS = 2000  # of each sample; more take minutes
REPEAT = 1000  # the pair of held-out samples that gives snapshots their baseline: no score uses it


def looked_at(run: Run, member: int, snapshot: dict[str, np.ndarray], *, data: PointData | None = None) -> Subject:
    """The points of a snapshot, with the networks of the last checkpoint up to its step, if there is one.

    Args:
        run: on points.
        member: place on the variant axis.
        snapshot: its arrays.
        data: the run's data set, if it is at hand.

    Raises:
        ConfigError: the run is not on points, or its data have been removed.
    """
    data = data or data_of(run)
    real, fake = (torch.from_numpy(array) for array in (snapshot["real"], snapshot["fake"][member]))
    baseline = data.evaluation(len(real), repeat=REPEAT).real
    compare = comparison(data)
    try:
        networks = networks_of(run, member, int(snapshot["step"]), data=data)
    except RunError:
        networks = Networks()
    return Subject(compare(real), compare(fake), compare(baseline), data.manifold, networks)


def data_of(run: Run) -> PointData:
    """The data set of a run on points.

    Raises:
        ConfigError: the run is not on points, or its data have been removed.
    """
    data = run.data if run.config.kind == "points" else None
    if not isinstance(data, PointData):
        raise ConfigError(f"lenses: {run.name} is on {run.config.kind}; lenses look at points")
    return data


def comparison(data: PointData) -> Callable[[Tensor], Tensor]:
    """Map to the coordinates that are compared: own units of a manifold, standardised ones of a file."""
    return (lambda points: points) if data.manifold is not None else (lambda points: data.standardise(points).double())


def networks_of(run: Run, member: int, step: int, *, data: PointData) -> Networks:
    """A member's networks at the last checkpoint up to a step, of compared coordinates.

    Raises:
        RunError: there is no readable checkpoint.
    """
    path, config = checkpoint_at(run, step), run.config
    variant, seed = config.members[member]
    others = [place for place, (v, s) in enumerate(config.members) if v == variant and s != seed]
    try:
        trained, *beside = [load_member(path, config, place, data) for place in (member, *others[:1])]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise RunError(f"run: {run.name}'s {path.relative_to(run.path)}: {str(error).splitlines()[0]}") from None
    standardise = data.standardise if data.manifold is not None else (lambda points: points)

    def embed_by(experiment: Experiment) -> Callable[[Tensor], Tensor]:
        return lambda points: experiment.embed(standardise(points).float())[0].double()

    def untrained(seed: int) -> Callable[[Tensor], Tensor]:
        single = config.model_copy(update={"variants": (variant,), "seeds": (seed,), "device": "cpu"})
        return embed_by(Experiment(single, data))

    def decode(latents: Tensor) -> Tensor:
        points = trained.decode(latents[None].float())
        assert points is not None, "asked before"
        return points[0].double()

    def score(points: Tensor, sigma: float) -> Tensor:
        found = trained.score(points[None].float(), sigma)
        assert found is not None, "asked before"
        return found[0].double()

    learns = trained.method.embed(torch.zeros(1, 1, data.dim)) is not None
    latent = torch.zeros(1, 1, trained.noise_dim)
    return Networks(
        standardise=lambda points: standardise(points).double(),
        embed=embed_by(trained) if learns else None,
        untrained=untrained(seed) if learns else None,
        other=embed_by(beside[0]) if learns and beside else None,
        other_untrained=untrained(config.members[others[0]][1]) if learns and beside else None,
        decode=decode if trained.decode(latent) is not None else None,
        score=score if trained.score(torch.zeros(1, 1, data.dim), 1.0) is not None else None,
    )


def measure(
    run: Run,
    names: Sequence[str],
    *,
    n: int = POINTS,
    best: bool = False,
    repeat: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Look at every member of a run through some lenses.

    Args:
        run: on points, with a checkpoint.
        names: in `LENSES`.
        n: points of each sample, at most `POINTS`; an own file may hold fewer.
        best: look at the best generators in place of the last ones.
        repeat: another pair of held-out samples, and other noise, for another number.
        on_progress: called with the number of looks done, and of all.

    Returns:
        For each member {lens: its numbers as `Reading.as_json`, or {"not_measured": reason}}.

    Raises:
        ConfigError: an unknown lens, or the run is not on points.
        RunError: there is no checkpoint.
    """
    for name in names:
        check_known("lenses", name, LENSES)
    data = data_of(run)
    experiment = load_experiment(run, best=best, data=data)
    held_out, compare = data.evaluation(min(n, POINTS), repeat=repeat), comparison(data)
    fakes = generated(experiment, experiment.view_inputs(len(held_out.real), repeat=repeat))
    rows: list[dict[str, Any]] = []
    for member, fake in enumerate(fakes):
        networks = networks_of(run, member, run.config.steps, data=data)
        subject = Subject(compare(held_out.real), compare(fake), compare(held_out.floor), data.manifold, networks)
        row: dict[str, Any] = {}
        for done, name in enumerate(names, 1):
            refusal = LENSES[name].refusal(subject)
            row[name] = {"not_measured": refusal} if refusal else LENSES[name].look(subject).as_json()
            if on_progress:
                on_progress(member * len(names) + done, len(fakes) * len(names))
        rows.append(row)
    return rows
