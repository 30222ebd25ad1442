"""One member out of a checkpoint of V: its rows alone are read.

A perceptron's tensors have a variant axis, `(V, ...)`; a picture network's tensors belong to one member each, and say
so in their name: `generator.members.3.input.weight`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mvm.config import Config
from mvm.data.kind import Dataset
from mvm.training.experiment import Experiment

__all__ = ["load_member", "rows_of"]

MEMBER = re.compile(r"members\.(\d+)\.")


def rows_of(name: str, members: Tensor) -> Tensor | slice:
    """Rows of a checkpoint's tensor that belong to the members marked in `(V,)` bool."""
    found = MEMBER.search(name)
    if found is None:
        return members
    return slice(None) if members[int(found[1])] else slice(0)


@torch.no_grad()
def load_member(
    path: Path, config: Config, member: int, data: Dataset, *, prefixes: tuple[str, ...] = ("",)
) -> Experiment:
    """An experiment of one member of a run, on the CPU, with the member's weights, averages and method state.

    The optimiser's moments are not read.

    Args:
        path: a checkpoint.
        config: of its run.
        member: place on the variant axis.
        data: the run's data set, or its units.
        prefixes: read only tensors whose name starts with one of them.

    Raises:
        OSError, SafetensorError, KeyError, ValueError, RuntimeError: there is no such file, or it is damaged.
    """
    variant, seed = config.members[member]
    single = config.model_copy(update={"variants": (variant,), "seeds": (seed,), "device": "cpu"})
    experiment = Experiment(single, data)
    players = experiment.players
    moments = {"step", *(f"{name}.updates" for name in players)}
    moments |= {name for player in players.values() for name in player.tensors().keys() - {*player.names}}
    with safe_open(path, framework="pt") as file:
        known = set(file.keys())
        for name, own in experiment.tensors().items():
            if name in moments or not name.startswith(prefixes):
                continue
            saved = MEMBER.sub(f"members.{member}.", name)
            if name in experiment.method.state and saved not in known:
                continue
            tensor = _rows(file, saved, member, alone=saved != name or MEMBER.search(name) is not None)
            if name in experiment.method.state and tensor.shape != own.shape:
                continue  # weights of descriptors may be of more variants
            own.copy_(tensor)
        experiment.step = int(file.get_tensor("step"))
    return experiment


def _rows(file: Any, name: str, member: int, *, alone: bool) -> Tensor:
    """A tensor of one member, or the member's row of a tensor with a variant axis."""
    tensor: Tensor = file.get_tensor(name) if alone else file.get_slice(name)[member : member + 1]
    return tensor
