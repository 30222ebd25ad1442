"""Settings that were moved while training: those it began with, and each change.

settings_of(run)["optimiser.generator_lr"]    ((0, 3e-3), (70, 1e-3)): 3e-3 until step 70, then 1e-3
settings_at(run, 70)["weights.centroid"]      the value that training after step 70 uses
moves(events, first_settings(run))            what each event moved, such as {"weights.centroid": 0.5}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mvm.config import Config
from mvm.runs.control import WEIGHTS
from mvm.runs.events import Event, Forked, SettingsChanged, WeightsChanged
from mvm.runs.run import Run

__all__ = ["WeightFrom", "first_settings", "moves", "settings_at", "settings_of"]


class WeightFrom(NamedTuple):
    """A weight, or another setting that may be moved, that training after a step uses.

    Attributes:
        step: after which it acts.
        value: the weight; None for the first one of an old fork, which is not on record.
    """

    step: int
    value: float | None


def settings_of(run: Run) -> dict[str, tuple[WeightFrom, ...]]:
    """Every weight, and every other setting that may be moved, over a run's training, by dotted name.

    Of each the first value, and each that differs from the one before.
    """
    events, config = run.records.poll().events, _movable(run.config)
    found = {name: [WeightFrom(0, value)] for name, value in first_settings(run).items()}
    last_fork = max((place for place, event in enumerate(events) if isinstance(event, Forked)), default=None)
    for place, event in enumerate(events):
        changed = config if place == last_fork else _changed_by(event)
        for name in changed.keys() & found.keys():
            _append(found[name], WeightFrom(event.step, changed[name]))
    return {name: tuple(path) for name, path in found.items()}


def settings_at(run: Run, step: int) -> dict[str, float]:
    """Values, by dotted name, that training after a step uses; those of the config where the record has none."""
    config = _movable(run.config)
    for name, path in settings_of(run).items():
        value = [each.value for each in path if each.step <= step][-1]
        config[name] = config[name] if value is None else value
    return config


def first_settings(run: Run) -> dict[str, float | None]:
    """Values, by dotted name, with which a run, or the one that it was first forked from, began."""
    events = run.records.poll().events
    fork = next((event for event in events if isinstance(event, Forked)), None)
    first: dict[str, float | None] = dict(_movable(run.config))
    if fork is None:
        return first
    known = {f"{WEIGHTS}{name}": value for name, value in (fork.first or {}).items()} | (fork.first_settings or {})
    changed = {name for event in events for name in _changed_by(event)}
    return {name: known.get(name, None if name in changed else value) for name, value in first.items()}


def moves(events: Sequence[Event], first: Mapping[str, float | None]) -> list[dict[str, float]]:
    """New values, by dotted name, that each event gave to settings that had others before; oldest event first.

    Args:
        events: of the run.
        first: values before the first event, as from `first_settings`.
    """
    known = dict(first)
    found: list[dict[str, float]] = []
    for event in events:
        new = {name: value for name, value in _changed_by(event).items() if known.get(name) != value}
        known |= new
        found.append(new)
    return found


def _movable(config: Config) -> dict[str, float]:
    """Values of a config's weights, and of its other settings that may be moved, by dotted name."""
    flat = config.flat()
    return {name: flat[name] for name in dict.fromkeys([*(n for n in flat if n.startswith(WEIGHTS)), *config.movable])}


def _changed_by(event: Event) -> dict[str, float]:
    """New values by an event of the training, by dotted name."""
    if isinstance(event, WeightsChanged | SettingsChanged):
        return event.moved
    if isinstance(event, Forked):
        return {name: value for name, value in event.changes.items() if isinstance(value, int | float)}
    return {}


def _append(path: list[WeightFrom], new: WeightFrom) -> None:
    """Add a value to a path, unless it is the last one; of two from one step the later one holds."""
    if path[-1].step == new.step:
        path.pop()
    if not path or path[-1].value != new.value:
        path.append(new)
