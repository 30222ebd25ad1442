"""Points of a file are trained on and scored alike in any unit and at any offset, and keep their digits."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from trainers import small_config

from mvm.config import Config
from mvm.data.points import load_points
from mvm.figures.export import csv_of
from mvm.files import read_tensors, write_tensors
from mvm.runs.liveness import hold_run
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.scoring.points import Reference
from mvm.scoring.score import NEIGHBOURS

STEPS = 20


def ring(n: int = 400) -> np.ndarray:
    """A noisy ring with numbers of few bits, which a power of two does not round."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, n)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * rng.normal(size=(n, 2))
    return np.round(points * 2**12) / 2**12


def data_of(folder: Path, points: np.ndarray):
    np.save(folder / "points.npy", points)
    return load_points(Config.make(data=str(folder / "points.npy")))


def trained(cli, folder: Path, name: str, points: np.ndarray) -> Run:
    np.save(folder / f"{name}.npy", points)
    settings = ("--variants", "both", "--steps", str(STEPS), "--device", "cpu", "--view-points", "32")
    assert cli("train", "--data", str(folder / f"{name}.npy"), "--name", name, *settings).status == 0
    return Run.named(name)


# -- units -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [(1.0, 1024.0), (2.0**-20, 1.0), (2.0**40, 2.0**-40)])
def test_powers_of_two_change_no_bit_of_a_training_or_a_score(
    cli, tmp_path: Path, factors: tuple[float, float]
) -> None:
    plain, scaled = (trained(cli, tmp_path, name, ring() * by) for name, by in (("plain", (1, 1)), ("scaled", factors)))
    for file in ("checkpoint.safetensors", "best.safetensors"):
        ours, theirs = (read_tensors(run.path / file) for run in (plain, scaled))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), file
    assert scaled.scores() == plain.scores()
    assert scaled.records.poll().scores == plain.records.poll().scores
    assert plain.scores()[0]["w2"] > 0


@pytest.mark.parametrize("factor", [3.0, 1e-9, 1e12, 2.0**-140, 2.0**300])
@pytest.mark.parametrize("offset", [0.0, 5e6, -1.7e12])
def test_scores_do_not_depend_on_unit_and_offset(tmp_path: Path, factor: float, offset: float) -> None:
    fakes = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    plain = data_of(tmp_path, ring())
    expected = plain.reference(2000).score(plain.restore(fakes))
    moved = data_of(tmp_path, ring() * [1, factor] + [offset, offset * factor])
    found = moved.reference(2000).score(moved.restore(fakes))
    known = {key for key, value in expected.items() if value is not None}
    assert {"w2_ratio", "mmd", "c2st", "recall"} <= known == {key for key, value in found.items() if value is not None}
    for key in known:
        assert found[key] == pytest.approx(expected[key], rel=1e-2, abs=1e-3), key


def test_a_toy_manifold_is_scored_in_its_own_units() -> None:
    data = load_points(Config.make(data="swiss_roll", points=500))
    reference = data.reference(64)
    assert reference.coordinates == "own"
    held_out = data.evaluation(64)
    own = Reference(held_out.real, held_out.floor, manifold=data.manifold, real_coordinates=held_out.coordinates)
    assert reference.floors == own.floors


# -- offsets -----------------------------------------------------------------------------------------------------------

FAR_OFF = {
    "metres of UTM, to the millimetre": ring() * [120.0, 80.0] + [448_262.0, 5_411_932.0],
    "Unix milliseconds": np.stack([1_732_752_000_000 + 250.0 * np.arange(400), ring()[:, 0]], axis=1),
    "Julian days, to the second": np.stack([2_460_000.5 + np.arange(400) / 86_400, ring()[:, 1]], axis=1),
    "a constant identifier beside": np.column_stack([ring(), np.full(400, 123_456_789_012.0)]),
}


@pytest.mark.parametrize("case", FAR_OFF)
def test_numbers_far_from_zero_keep_their_digits(cli, tmp_path: Path, case: str) -> None:
    points = FAR_OFF[case]
    run = trained(cli, tmp_path, "far", points)
    assert np.array_equal(np.load(run.path / "data.npy"), points)
    data = run.data
    exact = torch.from_numpy(points)
    expected = (exact[:, :2] - exact[:, :2].mean(0)) / exact[:, :2].std(0)
    for column in range(2):
        assert len(data.train[:, column].unique()) >= 0.99 * len(np.unique(points[: len(data.train), column]))
    torch.testing.assert_close(data.standardise(exact)[:, :2].double(), expected, atol=0.1, rtol=0.1)
    assert data.train.dtype == data.view.dtype == data.standardise(exact).dtype == torch.float32
    torch.testing.assert_close(data.restore(data.standardise(exact)), exact, rtol=0, atol=1e-4 * float(exact.std()))

    snapshot = run.snapshot(STEPS)
    assert len(np.unique(snapshot["real"], axis=0)) == 32
    assert cli("sample", "far", "-n", "200", "--out", str(tmp_path / "made.npy")).status == 0
    made = np.load(tmp_path / "made.npy")
    assert made.dtype == np.float64
    varying = points.std(0) > 0
    assert all(len(np.unique(column)) > 190 for column in made.T[varying])
    exported = pd.read_csv(io.BytesIO(csv_of(pd.DataFrame(points, columns=[*"xyz"][: points.shape[1]]))))
    lost = np.abs(exported.to_numpy() - points)
    assert (lost <= 1e-6 * points.std(0)).all()
    assert all(row["coordinates"] == "standardised" and row["w2"] > 0 for row in run.scores())


def test_ordinary_numbers_stay_float32(tmp_path: Path) -> None:
    points = ring() * [1e-3, 1e5] + [0.1, 1e6]
    data = data_of(tmp_path, points)
    assert data.own.dtype == data.mean.dtype == data.restore(data.view).dtype == torch.float32
    assert np.array_equal(data.copied(), points.astype(np.float32))


@pytest.mark.parametrize("largest", [1e151, -3e200])
def test_numbers_whose_squares_overflow_are_refused(cli, tmp_path: Path, largest: float) -> None:
    points = ring()
    points[17, 1] = largest
    np.save(tmp_path / "large.npy", points)
    result = cli("train", "--data", str(tmp_path / "large.npy"), "--name", "large")
    assert result.status == 2
    assert f"{largest:g} in point 18, column 2" in result.err
    assert result.err.count("\n") == 1


# -- discrete data -----------------------------------------------------------------------------------------------------


def discrete(n: int, seed: int, what: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return {
        "answers 1 to 7": rng.integers(1, 8, (n, 3)),
        "counts": rng.poisson(2.0, (n, 2)),
        "binarised pixels": (rng.random((n, 16)) < np.linspace(0.05, 0.95, 16)).astype(int),
        "tenths": rng.integers(0, 12, (n, 2)) / 10,
    }[what]


def by_loops(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage of small samples, in exact arithmetic."""

    def exact(points):
        return [[Fraction(value).limit_denominator(1000) for value in row] for row in points.tolist()]

    def squared(a, b):
        return sum((s - t) ** 2 for s, t in zip(a, b, strict=True))

    def radii(points):
        return [sorted(squared(a, b) for b in points)[NEIGHBOURS] for a in points]

    x, y = exact(real), exact(fake)
    r, s = radii(x), radii(y)
    inside = [[squared(a, b) <= r[i] for b in y] for i, a in enumerate(x)]
    recalled = [any(squared(a, b) <= s[j] for j, b in enumerate(y)) for a in x]
    return {
        "precision": np.mean([any(row[j] for row in inside) for j in range(len(y))]),
        "recall": np.mean(recalled),
        "density": np.sum(inside) / NEIGHBOURS / len(y),
        "coverage": np.mean([any(row) for row in inside]),
    }


@pytest.mark.parametrize("what", ["answers 1 to 7", "counts", "binarised pixels", "tenths"])
def test_equal_distances_are_within_a_neighbourhood(what: str) -> None:
    real, fake = discrete(40, 0, what), discrete(40, 1, what)
    mean, scale = real.mean(0), 0.37
    x, y = (torch.from_numpy((each - mean) / scale) for each in (real, fake))
    scores = Reference(x, x.roll(1, 0)).score(y)
    for key, value in by_loops(real, fake).items():
        assert scores[key] == pytest.approx(value, abs=1e-12), key


@pytest.mark.parametrize("what", ["answers 1 to 7", "counts", "binarised pixels", "tenths"])
def test_two_real_samples_of_discrete_data_agree(tmp_path: Path, what: str) -> None:
    data = data_of(tmp_path, discrete(3000, 0, what).astype(float))
    floors = data.reference(2000).floors
    assert min(floors[f"{key}_floor"] for key in ("precision", "recall", "coverage")) > 0.9
    assert floors["c2st_floor"] == pytest.approx(0.5, abs=0.1)


# -- scores of an earlier version --------------------------------------------------------------------------------------


def outdate(run: Run) -> None:
    """Take away what an earlier version did not write: the coordinates."""
    if (scores := run.scores()) is not None:
        (run.path / "scores.json").write_text(json.dumps([without_coordinates(row) for row in scores]))
    lines = [json.loads(line) for line in (run.path / "scalars.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(without_coordinates(line)) + "\n" for line in lines)
    (run.path / "scalars.jsonl").write_text(text)


def without_coordinates(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != "coordinates"}


def test_scores_of_an_earlier_version_rank_nothing_until_they_are_measured_anew(cli, tmp_path: Path) -> None:
    run = trained(cli, tmp_path, "mine", ring())
    new = run.scores()
    outdate(run)
    assert (Run.named("mine").scores(), Run.named("mine").quick_scores) == (None, [])
    listed = json.loads(cli("runs", "--json").out)[0]
    assert (listed["quality"], listed["best"], listed["outdated"]) == (None, None, True)
    table = cli("runs").out
    assert " old " in table
    assert "mvm score mine" in table
    compared = cli("compare", "mine").out
    assert "nan" in compared.split("both")[1].split("\n")[0]
    assert "mvm score mine" in compared

    assert cli("score", "mine", "--repeat", "1").status == 0
    assert Run.named("mine").scores() is None
    assert cli("score", "mine").status == 0
    assert Run.named("mine").scores() == new
    assert json.loads(cli("runs", "--json").out)[0]["quality"] == new[0]["w2_ratio"]


def test_a_resumed_training_scores_its_best_generator_anew(cli, tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", ring() * [1.0, 512.0])
    run = Run.create(small_config(tmp_path / "points.npy", steps=2 * STEPS), name="mine")
    with hold_run(run.path):
        next(step for step in train(run) if step.number == STEPS)
    best = run.checkpoint(best=True)
    outdate(run)
    write_tensors(run.path / "best.safetensors", best | {"w2": best["w2"] / 1000})  # in other units nothing is better
    assert cli("resume", "mine").status == 0
    after = Run.named("mine").checkpoint(best=True)
    assert (after["w2"] > 0.1 * best["w2"]).all()
    assert (after["w2"] <= best["w2"]).all()
    assert Run.named("mine").scores() is not None
