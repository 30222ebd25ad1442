"""Exhibits of scores and samples: the score near a manifold, losses that see manifolds, all methods beside MvM."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from mvm.data.points import PointData
from mvm.scoring.points import Reference
from mvm.studies.exhibits.exhibit import Colour, Measured, Panel, line, points
from mvm.studies.exhibits.training import Study, follow, study

__all__ = ["DATA", "PEERS", "measure_peers", "measure_score", "measure_weak_losses"]

SCORE_STEPS, WEAK_STEPS, PEER_STEPS = 2000, 1000, 800
SCORED = 512  # points of each sample
SIGMAS = tuple(np.geomspace(1, 0.02, 9).tolist())
READ_AT = SIGMAS[5]  # σ at which the dimension is read off: .087
SMALL_NOISE = {"log_mean": -2.0}  # what matters here: a network that has seen little of it takes noise for data
CURVES: dict[str, dict[str, Any]] = {
    "circle": {"data": "circle"},
    "circle in 4 dimensions": {"data": "circle", "ambient_dim": 4},
    "sphere": {"data": "sphere"},
}
SHIFTS = tuple(np.linspace(0, 1, 11).tolist())
WEAK: dict[str, dict[str, Any]] = {
    "MMD": {"method": "moment_matching"},
    "sliced W₂": {"method": "moment_matching", "moment_matching": {"distance": "sliced"}},
    "MvM": {"method": "mvm", "variants": ("both",)},
}
DISTANCES = {"w2": "W₂", "sliced_w2": "sliced W₂", "mmd": "MMD²"}
FLOW_SIZE = {"normalizing_flow": {"couplings": 4}, "network": {"width": 32, "depth": 2}}
PEERS: dict[str, dict[str, Any]] = {
    "MvM": {"method": "mvm", "variants": ("both",)},
    "MMD": {"method": "moment_matching"},
    "sliced W₂": {"method": "moment_matching", "moment_matching": {"distance": "sliced"}},
    "diffusion": {"method": "diffusion"},
    "two-step, diffusion": {"method": "two_step"},
    "VAE": {"method": "vae"},
    "normalizing flow": {"method": "normalizing_flow", **FLOW_SIZE},
}
BY_LIKELIHOOD = ("VAE", "normalizing flow")
DATA = {"circle": "circle", "two circles": "two_circles", "swiss roll": "swiss_roll"}


def _trained(seeds: Sequence[int], steps: int, **values: Any) -> Study:
    own = study(seeds, steps=steps, **values)
    for _ in follow(own, []):
        pass
    return own


@torch.no_grad()
def measure_score(seeds: Sequence[int], share: float) -> Measured:
    """Norm of a diffusion model's score on noisy data, by the size of the noise, and the dimension that it tells."""
    rows: list[dict[str, Any]] = [{"seed": seed, "holds": True} for seed in seeds]
    pictures = {}
    for name, values in CURVES.items():
        with torch.enable_grad():
            own = _trained(
                seeds, max(20, round(SCORE_STEPS * share)), method="diffusion", diffusion=SMALL_NOISE, **values
            )
        x, generator = own.held_out(), torch.Generator().manual_seed(0)
        noise, dim = torch.randn(x.shape, generator=generator), own.data.dim
        squares = []  # mean of σ²‖score‖² for each σ, (V,)
        for sigma in SIGMAS:
            noisy = x + sigma * noise
            score = own.experiment.score(noisy, sigma)
            assert score is not None
            squares.append((sigma * score).square().sum(-1).double().mean(-1).numpy())
        means = np.array(squares)
        norms, dimensions = np.sqrt(means) / np.array(SIGMAS)[:, None], dim - means
        small = (np.array(SIGMAS) <= 0.25) & (np.array(SIGMAS) >= 0.03)
        slopes = np.polyfit(np.log(np.array(SIGMAS)[small]), np.log(norms[small]), 1)[0]
        true, read = own.manifold.intrinsic_dim, dimensions[SIGMAS.index(READ_AT)]
        for row, slope, found in zip(rows, slopes, read, strict=True):
            row |= {f"dimension, {name}": float(found), f"slope, {name}": float(slope)}
            row["holds"] &= bool(abs(found - true) < 0.25 and abs(slope + 1) < 0.15)
        limit = np.sqrt(dim - true) / np.array(SIGMAS)
        pictures[name] = [
            Panel(
                "Length of the score",
                [line("" if i else "model", SIGMAS, values, "first") for i, values in enumerate(norms.T)]
                + [line("√(D − d) / σ", SIGMAS, limit, "quiet", "dashed")],
                "noise σ",
                "root mean square of the score",
                "xy",
            ),
            Panel(
                "Dimension told by the score",
                [line("" if i else "D − σ² ‖score‖²", SIGMAS, values, "first") for i, values in enumerate(dimensions.T)]
                + [line("true dimension", SIGMAS, [true] * len(SIGMAS), "real", "dashed")],
                "noise σ",
                "dimension",
                "x",
            ),
        ]
    return rows, pictures


def measure_weak_losses(seeds: Sequence[int], share: float) -> Measured:
    """Distances between a circle and a shifted one, and generators that were trained by such distances."""
    steps = max(20, round(WEAK_STEPS * share))
    trained = {name: _trained(seeds, steps, data="circle", **values) for name, values in WEAK.items()}
    untrained = study(seeds, steps=1, data="circle", **WEAK["MMD"])
    start = [row["w2_ratio"] for row in untrained.scores(SCORED)]
    data = untrained.data
    shifted = [_shifted(data, seed) for seed in seeds]
    end = {name: [row["w2_ratio"] for row in own.scores(SCORED)] for name, own in trained.items()}
    rows = []
    for i, seed in enumerate(seeds):
        falls = {key: _falls(shifted[i][key]) for key in DISTANCES}
        row: dict[str, Any] = {"seed": seed, "distances that fall all the way": sum(falls.values())}
        row |= {"W₂ / baseline, untrained": start[i]} | {f"W₂ / baseline, {name}": end[name][i] for name in WEAK}
        row["holds"] = all(falls.values()) and all((end[name][i] or np.inf) < (start[i] or 0) / 5 for name in WEAK)
        rows.append(row)
    colours: tuple[Colour, ...] = ("first", "second", "third")
    curves = [
        line(title, SHIFTS, np.array(shifted[0][key]) / max(shifted[0][key]), colour)
        for (key, title), colour in zip(DISTANCES.items(), colours, strict=True)
    ]
    ratio = [line("KL, where finite", [0], [0], "quiet", "points")]
    real = points("data", data.evaluation(SCORED).real, "real")
    pictures = {
        name: [
            Panel("Two circles, one moved by a shift", [*curves, *ratio], "shift (radii)", "distance / largest"),
            Panel("Before training", [real, points("model", untrained.fakes()[0], "fake")]),
            Panel(f"Trained by {name}", [real, points("model", own.fakes()[0], "fake")]),
        ]
        for name, own in trained.items()
    }
    return rows, pictures


def _shifted(data: PointData, seed: int) -> dict[str, list[float]]:
    """Distances between a real sample and a second one, moved along the first axis, by the shift."""
    held_out = data.evaluation(SCORED, repeat=seed)
    reference = Reference(held_out.real, held_out.floor, seed=seed)
    along = torch.zeros(data.dim)
    along[0] = 1
    scores = [reference.score(held_out.floor + shift * along) for shift in SHIFTS]
    return {key: [max(0.0, row[key] or 0.0) for row in scores] for key in DISTANCES}


def _falls(values: Sequence[float]) -> bool:
    """Whether values by a growing shift grow all the way."""
    return all(near < far for near, far in pairwise(values))


def measure_peers(seeds: Sequence[int], share: float) -> Measured:
    """W₂ over its baseline, and the distance from the data, of each method on each manifold, after equal steps."""
    steps = max(20, round(PEER_STEPS * share))
    rows: list[dict[str, Any]] = [{"seed": seed} for seed in seeds]
    pictures = {}
    for title, data in DATA.items():
        clouds = {}
        for name, values in PEERS.items():
            own = _trained(seeds, steps, data=data, **values)
            clouds[name] = own.fakes()[0]
            for row, scores in zip(rows, own.scores(SCORED), strict=True):
                row[f"{title}, {name}"] = scores["w2_ratio"] if scores["w2_ratio"] is not None else np.inf
        real = points("data", own.data.evaluation(SCORED).real, "real")
        pictures[title] = [
            Panel(name, [real, points("model", cloud, "fake", most=150)]) for name, cloud in clouds.items()
        ]
    for row in rows:
        row["holds"] = all(row[f"{data}, MvM"] < row[f"{data}, {peer}"] for data in DATA for peer in BY_LIKELIHOOD)
    return rows, pictures
