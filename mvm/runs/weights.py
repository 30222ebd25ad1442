"""Descriptor weights over a training: those it began with, and each change while it trained.

weights_of(run)["centroid"]        (WeightFrom(0, 1.0), WeightFrom(70, 1.5)): 1 until step 70, 1.5 from step 71 on
weights_at(run, 70)["centroid"]    1.5, which training after step 70 uses
"""

from __future__ import annotations

from typing import NamedTuple

from mvm.config import Weights
from mvm.runs.events import Event, Forked, WeightsChanged
from mvm.runs.run import Run

__all__ = ["WeightFrom", "first_weights", "weights_at", "weights_of"]

GROUP = "weights."  # of a config, before the name of a weight


class WeightFrom(NamedTuple):
    """A weight that training after a step uses.

    Attributes:
        step: after which it acts.
        value: the weight; None for the first one of an old fork, which is not on record.
    """

    step: int
    value: float | None


def weights_of(run: Run) -> dict[str, tuple[WeightFrom, ...]]:
    """Every weight of a run over its training, by name: the first one, and each that differs from the one before."""
    events = run.records.poll().events
    found = {name: [WeightFrom(0, value)] for name, value in first_weights(run).items()}
    last_fork = max((place for place, event in enumerate(events) if isinstance(event, Forked)), default=None)
    for place, event in enumerate(events):
        changed = dict(run.config.weights) if place == last_fork else _changed_by(event)
        for name, value in changed.items():
            _append(found[name], WeightFrom(event.step, value))
    return {name: tuple(path) for name, path in found.items()}


def weights_at(run: Run, step: int) -> dict[str, float]:
    """The weights, by name, that training after a step uses; those of the config where the record has none."""
    config = dict(run.config.weights)
    for name, path in weights_of(run).items():
        value = [each.value for each in path if each.step <= step][-1]
        config[name] = config[name] if value is None else value
    return config


def first_weights(run: Run) -> dict[str, float | None]:
    """The weights, by name, with which a run, or the one that it was first forked from, began."""
    events = run.records.poll().events
    fork = next((event for event in events if isinstance(event, Forked)), None)
    weights: dict[str, float | None] = dict(run.config.weights)
    if fork is None:
        return weights
    if fork.first is None:
        changed = {name for event in events for name in _changed_by(event)}
        return {name: None if name in changed else value for name, value in weights.items()}
    return weights | {name: value for name, value in fork.first.items() if name in weights}


def _changed_by(event: Event) -> dict[str, float]:
    """New weights by an event of the training."""
    if isinstance(event, WeightsChanged):
        changed = event.weights
    elif isinstance(event, Forked):
        numbers = {name: value for name, value in event.changes.items() if isinstance(value, int | float)}
        changed = {name.removeprefix(GROUP): value for name, value in numbers.items() if name.startswith(GROUP)}
    else:
        return {}
    return {name: value for name, value in changed.items() if name in Weights.model_fields}


def _append(path: list[WeightFrom], new: WeightFrom) -> None:
    """Add a weight to a path, unless it is the last one; of two from one step the later one holds."""
    if path[-1].step == new.step:
        path.pop()
    if not path or path[-1].value != new.value:
        path.append(new)
