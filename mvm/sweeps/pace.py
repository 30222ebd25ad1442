"""How long a step of a sweep's runs takes on this machine, and what sharing a process gains: measured, not modelled."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.training.experiment import Experiment

__all__ = ["Pace", "pace_of"]

WARM = 3  # steps before the clock starts; on a GPU they are captured in these
SECONDS = 1.0  # of steps that are measured
MOST = 100  # steps that are measured


@dataclass(frozen=True)
class Pace:
    """Time of a training step.

    Attributes:
        step: of all trainings of a run, s.
        alone: of one of them by itself, s.
        count: number of trainings of the run.
    """

    step: float
    alone: float
    count: int

    @property
    def gain(self) -> float:
        """How many times as long the run's trainings would take one after the other."""
        return self.count * self.alone / self.step


def pace_of(config: Config) -> Pace:
    """Train a run for a moment without writing anything, then one of its trainings alone.

    Raises:
        ConfigError: its data cannot be trained on, or its device is missing; one line.
    """
    data = load_data(config)
    variant, seed = config.members[0]
    alone = config.with_changes({"variants": (variant,), "seeds": (seed,)})
    step, of_one = (_seconds_per_step(Experiment(each, data)) for each in (config, alone))
    return Pace(step, of_one, len(config.members))


def _seconds_per_step(experiment: Experiment) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(experiment.config.cpu_threads)
    try:
        for _ in range(WARM):
            experiment.advance()
        _wait(experiment)
        began, steps = time.perf_counter(), 0
        while steps < MOST and (not steps or time.perf_counter() - began < SECONDS):
            experiment.advance()
            steps += 1
        _wait(experiment)
        return (time.perf_counter() - began) / steps
    finally:
        torch.set_num_threads(threads)
        experiment.release()


def _wait(experiment: Experiment) -> None:
    if experiment.device.type == "cuda":
        torch.cuda.synchronize(experiment.device)
