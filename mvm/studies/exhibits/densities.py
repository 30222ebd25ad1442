"""Exhibits of full-dimensional densities on curves: exploding likelihood, manifold overfitting, noise as a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mvm.studies.exhibits.exhibit import Colour, Measured, Panel, Series, line, points
from mvm.studies.exhibits.training import Along, Study, follow, median_distance, study

__all__ = ["FLOW", "measure_likelihood", "measure_noise", "measure_overfitting"]

FLOW: dict[str, Any] = {
    "data": "von_mises_circle",
    "method": "normalizing_flow",
    "network": {"width": 32, "depth": 2},
    "normalizing_flow": {"couplings": 4},
}
SLOW = {"generator_lr": 1e-3}
STEPS = 1200
DIMENSIONS = (2, 4, 8)
BLUR = 0.1  # of data that fill the space
KINDS: tuple[tuple[float, str, Colour], ...] = ((0.0, "data on the curve", "first"), (BLUR, "data with noise", "quiet"))
SHOWN: tuple[tuple[int, Colour, str], ...] = ((0, "first", "one training"), (1, "second", "another seed"))
NOISES = (0.0, 0.03, 0.1, 0.3)


def _likelihood(study: Study) -> np.ndarray:
    """Mean log-likelihood of held-out points, `(V,)`."""
    logs = study.experiment.log_density(study.held_out())
    assert logs is not None
    return logs.double().mean(-1).numpy()


def measure_likelihood(seeds: Sequence[int], share: float) -> Measured:
    """Held-out log-likelihood during training, by ambient dimension, of data on a curve and of data around it."""
    steps = max(20, round(STEPS * share))
    at = [round(steps * part) for part in np.linspace(0.1, 1, 10)]
    rows: list[dict[str, Any]] = [{"seed": seed} for seed in seeds]
    pictures: dict[str, list[Panel]] = {}
    rise: dict[int, np.ndarray] = {}
    for dim in DIMENSIONS:
        curves = {}
        for blur in (0.0, BLUR):
            own = study(
                seeds, steps=steps, ambient_dim=dim if dim > 2 else None, settings={"noise": blur},
                optimiser=SLOW, **FLOW,
            )  # fmt: skip
            curves[blur] = np.array([_likelihood(own) for _ in follow(own, at)])
        late = curves[0.0][-1] - curves[0.0][len(at) // 2]
        late_of_blurred = curves[BLUR][-1] - curves[BLUR][len(at) // 2]
        rise[dim] = curves[0.0][-1] - curves[BLUR][-1]
        for row, first, second, gap in zip(rows, late, late_of_blurred, rise[dim], strict=True):
            row |= {f"late rise, {dim}": float(first), f"late rise with noise, {dim}": float(second)}
            row |= {f"above noisy data, {dim}": float(gap)}
        series = [
            line(name if not i else "", at, curve, colour)
            for blur, name, colour in KINDS
            for i, curve in enumerate(curves[blur].T)
        ]
        title = "Held-out log-likelihood, every seed"
        pictures[f"{dim}"] = [Panel(title, series, "step", "nats per point")]
    by_dimension = [line("", DIMENSIONS, [rise[dim][i] for dim in DIMENSIONS], "first") for i in range(len(seeds))]
    for panels in pictures.values():
        panels.append(Panel("Gain over noisy data, every seed", by_dimension, "ambient dimension", "nats per point"))
    for row in rows:
        rises = all(row[f"late rise, {dim}"] > max(0.1, row[f"late rise with noise, {dim}"]) for dim in DIMENSIONS)
        gaps = [row[f"above noisy data, {dim}"] for dim in DIMENSIONS]
        row["holds"] = rises and gaps == sorted(gaps)
    return rows, pictures


def measure_overfitting(seeds: Sequence[int], share: float) -> Measured:
    """Likelihood and density along the curve of trainings that differ in their seeds alone."""
    steps = max(20, round(STEPS * share))
    at = [round(steps * part) for part in (0.1, 0.2, 0.3, 0.5, 0.75, 1)]
    own = study(seeds, steps=steps, optimiser=SLOW, **FLOW)
    along = Along(own)
    likelihoods, densities = [], []
    for _ in follow(own, at):
        likelihoods.append(_likelihood(own))
        densities.append(along.density(own.experiment))
    variation = np.array([along.variation(density) for density in densities])
    logs = np.array(likelihoods)
    pictures = {}
    shown = SHOWN[: len(seeds)]
    for step, density in zip(at, densities, strict=True):
        now = [line(name, along.place, density[i], colour) for i, colour, name in shown]
        truth: Series = line("data", along.place, along.truth, "real", "dashed")
        pictures[f"{step}"] = [
            Panel("Density along the curve", [*now, truth], "arc length", "density (mean 1)"),
            Panel("Held-out log-likelihood", _with_mark(at, logs, step, shown), "step", "nats per point"),
            Panel("Error of the density", _with_mark(at, variation, step, shown), "step", "total variation"),
        ]
    rows = [
        {
            "seed": seed,
            "likelihood, early": float(logs[1, i]),
            "likelihood, end": float(logs[-1, i]),
            "error, early": float(variation[1, i]),
            "error, least before the end": float(variation[:-1, i].min()),
            "error, end": float(variation[-1, i]),
            "holds": bool(logs[-1, i] > logs[1, i] + 0.5 and variation[-1, i] > variation[:-1, i].min()),
        }
        for i, seed in enumerate(seeds)
    ]
    return rows, pictures


def _with_mark(
    at: Sequence[int], values: np.ndarray, step: int, shown: Sequence[tuple[int, Colour, str]]
) -> list[Series]:
    """Curves of the shown seeds, values `(len(at), V)`, each with a mark at a step."""
    now = [*at].index(step)
    curves = [line("", at, values[:, i], colour) for i, colour, _ in shown]
    return curves + [line("", [step], [values[now, i]], colour, "points") for i, colour, _ in shown]


def measure_noise(seeds: Sequence[int], share: float) -> Measured:
    """The same flow on data with noise of several sizes, its samples before and after denoising."""
    steps = max(20, round(STEPS * share))
    error: dict[float, np.ndarray] = {}
    raw_off, off = {}, {}
    pictures = {}
    for sigma in NOISES:
        settings = FLOW["normalizing_flow"] | {"noise": sigma}
        own = study(seeds, steps=steps, **FLOW | {"normalizing_flow": settings})
        for _ in follow(own, []):
            pass
        along = Along(own)
        density = along.density(own.experiment)
        error[sigma] = along.variation(density)
        raw = own.networks["generator"](own.noise().expand(len(seeds), -1, -1)).detach()
        before, after = own.data.restore(raw), own.fakes()
        raw_off[sigma], off[sigma] = (median_distance(own.manifold, cloud) for cloud in (before, after))
        real = points("data", own.data.restore(own.held_out())[0], "real")
        truth = line("data", along.place, along.truth, "real", "dashed")
        pictures[f"{sigma:g}"] = [
            Panel("Samples", [real, points("model", before[0], "fake")]),
            Panel("Samples, denoised", [real, points("model", after[0], "fake")]),
            Panel(
                "Density along the curve",
                [line("model", along.place, density[0], "fake"), truth],
                "arc length",
                "density (mean 1)",
            ),
        ]
    chosen = 0.1
    rows = []
    for i, seed in enumerate(seeds):
        row: dict[str, Any] = {"seed": seed} | {f"error, σ = {sigma:g}": float(error[sigma][i]) for sigma in NOISES}
        row |= {f"off, σ = {sigma:g}": float(raw_off[sigma][i]) for sigma in NOISES}
        row |= {f"off, denoised, σ = {sigma:g}": float(off[sigma][i]) for sigma in NOISES[1:]}
        row["holds"] = bool(error[chosen][i] < error[0.0][i] and off[chosen][i] < raw_off[chosen][i] / 2)
        rows.append(row)
    return rows, pictures
