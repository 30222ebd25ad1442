"""Load a single member from a checkpoint of V members, reading only the member's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mvm.config import Config
from mvm.data.kind import Dataset
from mvm.training.experiment import Experiment
from mvm.training.player import member_of

__all__ = ["load_member", "rows_of"]


def rows_of(name: str, members: Tensor) -> Tensor | slice:
    """Index of the rows of a checkpoint's tensor that belong to some members, marked by `(V,)` bool."""
    member = member_of(name)
    if member is None:
        return members
    return slice(None) if members[member] else slice(0)


@torch.no_grad()
def load_member(
    path: Path, config: Config, member: int, data: Dataset, *, prefixes: tuple[str, ...] = ("",)
) -> Experiment:
    """Build an experiment of a single member (V = 1) on the CPU: its weights, averages and method state.

    Optimiser moments are not read.

    Args:
        path: checkpoint file.
        config: config of the checkpoint's run.
        member: index on the variant axis.
        data: the run's data set, or its units.
        prefixes: read only tensors whose names start with one of these prefixes, and the method's state.

    Raises:
        OSError, SafetensorError, KeyError, ValueError, RuntimeError: the file is missing or damaged.
    """
    variant, seed = config.members[member]
    single = config.model_copy(update={"variants": (variant,), "seeds": (seed,), "device": "cpu"})
    experiment = Experiment(single, data)
    players = experiment.players
    moments = {"step", *(f"{name}.updates" for name in players)}
    moments |= {name for player in players.values() for name in player.tensors().keys() - {*player.names}}
    with safe_open(path, framework="pt") as file:
        known = set(file.keys())
        for name, target in experiment.tensors().items():
            if name in moments or not (name.startswith(prefixes) or name in experiment.method.state):
                continue
            alone = member_of(name) is not None
            saved = name.replace("members.0.", f"members.{member}.") if alone else name
            if name in experiment.method.state and saved not in known:
                continue
            tensor = _rows(file, saved, member, alone=alone)
            if name in experiment.method.state and tensor.shape != target.shape:
                continue  # the table of descriptor weights has columns for the descriptors of all variants
            target.copy_(tensor)
        if "step".startswith(prefixes):
            experiment.step = int(file.get_tensor("step"))
    return experiment


def _rows(file: Any, name: str, member: int, *, alone: bool) -> Tensor:
    """Read a tensor whole if it belongs to the member `alone`, else the member's row, `(1, ...)`."""
    tensor: Tensor = file.get_tensor(name) if alone else file.get_slice(name)[member : member + 1]
    return tensor
