"""Forks: rewind a run to a kept checkpoint, change something, and train on beside what the run did.

    fork(run, step, {"weights.diameter": 0})     a new run, with the first one's past up to that step
    Branches(run, fork)                          d(t) = mean over z of ‖f_t(z) − f'_t(z)‖ / δ₂(R)

The draws of a step depend on the step alone (mvm.methods.draws): both branches meet the same batches and the same
noise, so that all that parts them is the change. (Where a change alters what a metric update draws, such as the penalty
of its slope, further updates of the same step get other draws.) d is 0 up to the fork, in units of the reals'
2-diameter.
The past (records, snapshots, UMAP frames, checkpoints) is linked, not copied; what a fork was made of stands in its
fork.json.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvm.config import Config
from mvm.errors import RunError
from mvm.files import cannot_write, checkpoints, link, new_folder, write_atomic
from mvm.geometry.descriptors import matched, two_diameter, weight_table
from mvm.methods import METHODS
from mvm.methods.method import PAIRED_KINDS
from mvm.methods.pairs import TERMS
from mvm.runs import layout
from mvm.runs.control import WEIGHTS
from mvm.runs.documents import Origin
from mvm.runs.events import Forked, SettingsChanged, WeightsChanged, append_event
from mvm.runs.layout import check_name, frame_path, kept_path, snapshot_path
from mvm.runs.records import PastRecords, write_records
from mvm.runs.run import Control, Run
from mvm.runs.weights import first_settings, settings_at
from mvm.variants import own_settings

__all__ = ["Branches", "changeable", "config_at", "fork", "forked_config", "fresh_name"]

PARTED = 0.01  # of the reals' 2-diameter


def changeable(config: Config) -> dict[str, Any]:
    """Settings that a fork may change, with their values: all but what shapes networks, data and batches.

    What a variant has of its own stays as it is.
    """
    flat, names = config.flat(), [name for name in config.movable if name.startswith(WEIGHTS)]
    own = {name for variant in config.variants for name in own_settings(variant)}
    for group in (f"{config.method}.", "optimiser."):
        names += [name for name in flat if name.startswith(group)]
    return {name: flat[name] for name in [*names, "steps"] if name not in own}


def config_at(run: Run, step: int) -> Config:
    """The config with the weights, rates and other moved settings that the run itself trained on with after a step.

    A change on record at that very step acts from the next one on, and is among them: what a fork does not change stays
    as in its run.
    """
    return run.config.with_changes(settings_at(run, step))


def forked_config(run: Run, step: int, changes: Mapping[str, Any]) -> Config:
    """The config of a fork, whose arguments are checked; arguments and errors as for `fork`."""
    steps = run.checkpoint_steps()
    if step not in steps:
        near = sorted(sorted(steps, key=lambda known: abs(known - step))[:5])
        known = f"near it are {', '.join(map(str, near))}" if near else "it kept none: train it further"
        raise RunError(f"step: {run.name} has no checkpoint of step {step}; {known}")
    config = _changed(config_at(run, step), changes, run)
    if step >= config.steps:
        raise RunError(f"step: nothing is left to train after step {step} of {config.steps}; fork from an earlier one")
    return config


def fork(run: Run, step: int, changes: Mapping[str, Any], *, name: str | None = None) -> Run:
    """A new run that has the past of another up to a step, and goes on with some settings changed.

    Args:
        run: what is rewound; it may be in training, and is not touched.
        step: one of `run.checkpoint_steps()`.
        changes: settings by dotted name, of `changeable`; none to repeat what the run did.
        name: of the fork; made from the run's name and the step when None.

    Raises:
        ConfigError: an unknown setting, or a value that cannot be.
        RunError: no checkpoint of that step, a setting that cannot change or has that value, a bad or taken name.
    """
    config = forked_config(run, step, changes)
    target = checkpoints() / check_name(name or fresh_name(run, step))
    made = Origin(run.name, step, {key: config.flat()[key] for key in changes})
    try:
        with new_folder(target) as folder:
            _fill(folder, run, config, made)
    except FileExistsError:
        raise RunError(f"run: {target.name!r} exists in {target.parent}; give another --name") from None
    except OSError as error:
        raise cannot_write(target, error) from None
    return Run(target)


def _changed(before: Config, changes: Mapping[str, Any], run: Run) -> Config:
    flat, allowed = before.flat(), changeable(before)
    config = before.with_changes(dict(changes))  # says which name or value is wrong
    for name in changes:
        if name not in allowed:
            reason = "it shapes the networks or the data"
            if any(name in own_settings(variant) for variant in before.variants):
                reason = "variants have it of their own"
            elif name.startswith(WEIGHTS):
                reason = "no variant matches it"
            raise RunError(f"set: a fork of {run.name} cannot change {name}: {reason}; it can: {', '.join(allowed)}")
        if config.flat()[name] == flat[name]:
            raise RunError(f"set: {name} is {flat[name]} already at that step; give another value")
    return config


def _fill(folder: Path, run: Run, config: Config, made: Origin) -> None:
    """Write all that the fork has before its first step."""
    for own in (layout.POINTS, layout.REALS):
        if (run.path / own).exists():
            link(run.path / own, folder / own)
    past = _past(run, made.step)
    write_records(folder / layout.RECORDS, past)
    first, settings = _first_values(run)
    event = Forked(step=made.step, of=made.run, changes=made.changes, first=first, first_settings=settings)
    append_event(folder, event)
    for inner in (layout.SNAPSHOTS, layout.FRAMES, layout.KEPT):
        (folder / inner).mkdir()
    for step in run.snapshot_steps():
        if step <= made.step:
            link(run.snapshot_path(step), snapshot_path(folder, step))
            with contextlib.suppress(FileNotFoundError):
                link(frame_path(run.path, step), frame_path(folder, step))
    for step in run.checkpoint_steps():
        if step <= made.step:
            link(run.kept_path(step), kept_path(folder, step))
    link(run.kept_path(made.step), folder / layout.CHECKPOINT)
    weights = _other_weights(run, made.step, config)
    serial = max((change.serial for change in past.setting_changes()), default=0)
    control = Control(weights=weights, serial=serial + bool(weights))
    write_atomic(folder / layout.CONTROL, json.dumps(asdict(control)).encode())
    write_atomic(folder / layout.ORIGIN, json.dumps(asdict(made)).encode())
    write_atomic(folder / layout.CONFIG, config.model_dump_json(indent=1).encode())


def _other_weights(run: Run, step: int, config: Config) -> dict[str, float]:
    """Weights of a fork's config that its first checkpoint lacks: the trainer takes the others from there."""
    matches, paired = METHODS[config.method].matches_descriptors, config.kind in PAIRED_KINDS
    if not (matches or paired):
        return {}
    held, wanted, names = run.checkpoint(step=step), dict(config.weights), list[str]()
    if matches:
        table = weight_table([variant for variant, _ in config.members], wanted)
        names += itertools.compress(matched(config.variants), (held["weights"] != table).any(dim=0))
    if paired:
        names += itertools.compress(TERMS, held["terms"][0] != torch.tensor([wanted[name] for name in TERMS]))
    return {name: wanted[name] for name in names}


def _first_values(run: Run) -> tuple[dict[str, float], dict[str, float]]:
    """Known first weights, and other settings by dotted name, of a run."""
    known = {name: value for name, value in first_settings(run).items() if value is not None}
    weights = {name.removeprefix(WEIGHTS): value for name, value in known.items() if name.startswith(WEIGHTS)}
    return weights, {name: value for name, value in known.items() if not name.startswith(WEIGHTS)}


def _past(run: Run, step: int) -> PastRecords:
    """Records of a run that its fork at a step shares: no trainer's events, nor settings that count after the step."""
    past = run.records.poll().up_to(step)
    past.events = [
        event
        for event in past.events
        if event.clock is None and not (isinstance(event, WeightsChanged | SettingsChanged) and event.step == step)
    ]
    return past


def fresh_name(run: Run, step: int) -> str:
    """A name for a fork that no run has: the run's, the step, and if need be a number."""
    stem = f"{run.name[:80]}-fork{step}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(checkpoints() / name))


class Branches:
    """A reader of how far two runs have parted that keeps what it has read.

    Args:
        run, other: of the same members, seeds and noise, such as a run and its fork; both may be in training.

    Raises:
        RunError: their members or data differ, so that no fake of one belongs to one of the other.
    """

    def __init__(self, run: Run, other: Run) -> None:
        ours, theirs = run.config, other.config
        if ours.members != theirs.members or ours.data != theirs.data or ours.network != theirs.network:
            raise RunError(f"run: {run.name} and {other.name} are no branches of one run")
        self.runs = (run, other)
        self._distance: dict[int, np.ndarray] = {}

    def distance(self) -> tuple[np.ndarray, np.ndarray]:
        """Common snapshots' steps `(s,)`, and the mean distance of the paired fakes in units of the reals' 2-diameter,
        `(s, V)`."""
        first, second = self.runs
        for step in sorted({*first.snapshot_steps()} & {*second.snapshot_steps()} - {*self._distance}):
            ours, theirs = (run.snapshot_tensor(step, "fake") for run in self.runs)
            if ours is not None and theirs is not None and ours.shape == theirs.shape:
                apart = (ours.astype(np.float32) - theirs).reshape(*ours.shape[:2], -1)
                self._distance[step] = np.linalg.norm(apart, axis=-1).mean(-1) / self._unit
        steps = sorted(self._distance)
        distance = np.array([self._distance[step] for step in steps])
        return np.array(steps), distance.reshape(len(steps), len(first.config.members))

    def parted(self) -> list[int | None]:
        """The first step at which each member's fakes are 1 % of the reals' 2-diameter apart; None before."""
        steps, distance = self.distance()
        far = distance > PARTED
        return [int(steps[column.argmax()]) if column.any() else None for column in far.T]

    @cached_property
    def _unit(self) -> float:
        real = torch.from_numpy(self.runs[0].real_view().astype(np.float32))
        return float(two_diameter(real.flatten(1))) or 1.0
