"""Every method under every recipe trains to the weights recorded of version 0.1, in float64 on the CPU.

`data/method_weights.json` holds per case the config's values, the number of steps, and `[sum, sum of squares]` of each
tensor of the checkpoint.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.training.experiment import Experiment

CASES = json.loads(Path(__file__).with_name("data").joinpath("method_weights.json").read_text())
RTOL = 1e-9  # another CPU's matrix products differ in the last bits


def trained(values: dict, steps: int) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint after this many steps in float64."""
    config = Config.make(**values)
    experiment = Experiment(config, load_data(config), dtype=torch.float64)
    for _ in range(steps):
        experiment.advance()
    return experiment.tensors()


def is_moved(name: str, method: str) -> bool:
    """Whether a player of the method moves this tensor; flow matching moves the generator alone."""
    return method != "flow_matching" or name.startswith(("generator.", "average."))


@pytest.mark.parametrize("case", CASES)
def test_a_method_trains_to_the_recorded_weights(case: str) -> None:
    values, steps, expected = (CASES[case][key] for key in ("config", "steps", "tensors"))
    found = trained(values, steps)
    method = Config.make(**values).method
    assert {name for name in expected if is_moved(name, method)} - found.keys() == set()
    for name, (total, squares) in expected.items():
        if name in found:
            tensor = found[name].detach().double()
            scale = math.sqrt(tensor.numel() * squares)  # at least |sum|, which terms of both signs make small
            assert float(tensor.square().sum()) == pytest.approx(squares, rel=RTOL), name
            assert float(tensor.sum()) == pytest.approx(total, rel=0, abs=RTOL * scale), name
