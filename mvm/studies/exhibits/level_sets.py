"""Exhibit of level sets: curves of several pieces as the zeros of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mvm.studies.exhibits.exhibit import Measured, Panel, points
from mvm.studies.exhibits.latents import AWAY
from mvm.studies.exhibits.training import follow, study

__all__ = ["measure_level_sets"]

STEPS = 1000
SAMPLED = 400
DATA = {"circle": "circle", "two circles": "two_circles", "concentric circles": "concentric_circles"}
MOST_AWAY = 0.01


def measure_level_sets(seeds: Sequence[int], share: float) -> Measured:
    """Points on the level set of a network, and samples of the density on it."""
    rows: list[dict[str, Any]] = [{"seed": seed, "holds": True} for seed in seeds]
    pictures = {}
    steps = max(20, round(STEPS * share))
    for name, data in DATA.items():
        own = study(seeds, steps=steps, data=data, method="implicit")
        for _ in follow(own, []):
            pass
        projected = study(seeds, steps=steps, data=data, method="implicit", implicit={"langevin_steps": 0})
        projected.experiment.load(own.experiment.tensors())  # whose samples are Gaussian points, projected
        zeros, fakes = projected.fakes(SAMPLED), own.fakes(SAMPLED)
        away = torch.stack([own.manifold.distance(cloud.double()) > AWAY for cloud in fakes]).double().mean(-1)
        for row, found in zip(rows, away.tolist(), strict=True):
            row[f"off, {name}"] = found
            row["holds"] &= found <= MOST_AWAY
        real: Tensor = own.data.restore(own.held_out())[0]
        pictures[name] = [
            Panel("Gaussian points, projected", [points("data", real, "real"), points("F = 0", zeros[0], "first")]),
            Panel("Samples", [points("data", real, "real"), points("model", fakes[0], "fake")]),
        ]
    return rows, pictures
