"""The learned metric against the training's own networks, finite differences, and known manifolds."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mvm.config import Config
from mvm.data.points import PointData
from mvm.errors import RunError
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.geometry.pullback import log_volume, pull_back
from mvm.methods import METHODS
from mvm.runs.recorder import Recorder
from mvm.runs.run import Run
from mvm.studies.learned_metric import LearnedMetric, checkpoint_at, metric_at, moves, on_manifold, routes, true_route
from mvm.training.experiment import Experiment
from toy_manifolds import MANIFOLDS, embedded, manifold

SMALL = {
    "steps": 20,
    "batch": 16,
    "view_points": 32,
    "network": {"width": 8},
    "checkpoints": 2,
    "flow_matching": {"evaluations": 2},
}


def begun(name: str = "begun", steps: int = 3, **fields) -> tuple[Run, Experiment]:
    """A run with checkpoints of step 0 and of a later step, and the experiment in memory as it was at the later one."""
    run = Run.create(Config.make(**SMALL | fields), name=name)
    experiment = Experiment(run.config, run.data)
    recorder = Recorder(run, experiment)
    recorder.start()
    for _ in range(steps):
        experiment.advance()
    recorder.save()
    return run, experiment


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Own points whose columns have other units: millimetres beside kilometres."""
    points = np.random.default_rng(0).normal(size=(120, 2)) * [100.0, 0.01] + [5000.0, 3.0]
    np.save(tmp_path / "uneven.npy", points)
    return tmp_path / "uneven.npy"


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].learns("points")])
def test_the_learned_metric_is_the_trainings_own_embedding(method: str) -> None:
    """Of every member and method, whatever that makes of its weights; and it can be differentiated."""
    variants = {"variants": ("centroid", "both+covariance")} if method == "mvm" else {}
    network = {"width": 8, "frequencies": (2, 8) if method in ("mvm", "sngan") else ()}
    run, experiment = begun(method=method, points=64, seeds=(0, 1), network=network, **variants)
    x = run.data.view[:9]
    for member in range(len(run.config.members)):
        metric = metric_at(run, member, 3)
        assert metric.step == 3
        assert_close(metric(run.data.restore(x)), experiment.embed(x)[member], rtol=1e-4, atol=1e-5)
        assert pull_back(x, metric).isfinite().all()


def test_the_last_checkpoint_up_to_a_step_is_taken() -> None:
    run, _ = begun(points=64)
    assert [metric_at(run, 0, step).step for step in (0, 2, 3, 99)] == [0, 0, 3, 3]
    run.kept_path(0).unlink()
    assert metric_at(run, 0, 0).step == 3, "an old run keeps none: the last one serves"


def test_a_missing_or_damaged_checkpoint_is_one_line() -> None:
    run, _ = begun(points=64)
    run.kept_path(0).write_bytes(b"\0" * 99)
    with pytest.raises(RunError, match=r"00000000\.safetensors is damaged") as caught:
        metric_at(run, 0, 0)
    assert "\n" not in str(caught.value)
    assert metric_at(run, 0, 3).step == 3
    run.kept_path(0).unlink()
    os.truncate(run.path / "checkpoint.safetensors", 100)
    with pytest.raises(RunError, match="damaged"):
        metric_at(run, 0, 3)
    (run.path / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="no checkpoint yet"):
        checkpoint_at(run, 3)


@pytest.mark.parametrize("term", DESCRIPTORS)
def test_moves_are_steps_of_training_in_the_datas_own_units(uneven: Path, term: str) -> None:
    """Finite differences of the gap in training's units, mapped back by `restore`: no column is forgotten."""
    run, _ = begun(data=str(uneven))
    metric = metric_at(run, 0, 3)
    units, embed = metric.units, metric.embed
    double = LearnedMetric(3, lambda x: embed(x.float()).double(), units)
    real, fake = run.data.view, 0.7 * run.data.view.flip(0) + 0.2

    def gap(points: torch.Tensor) -> torch.Tensor:
        return DESCRIPTORS[term].gap(double.embed(real), double.embed(points))

    found = moves(metric, units.restore(real), units.restore(fake), [term])[term]
    slope, h = torch.zeros(len(fake), 2, dtype=torch.float64), 4e-3
    strongest = (found / units.scale).norm(dim=-1).topk(3).indices
    for row in strongest:
        for column in range(2):
            step = torch.zeros_like(fake)
            step[row, column] = h
            slope[row, column] = (gap(fake + step) - gap(fake - step)) / (2 * h)
    expected = units.restore(-slope) - units.restore(torch.zeros_like(slope))
    assert_close(
        (found.double() / units.scale)[strongest],
        (expected / units.scale)[strongest],
        rtol=0.1,
        atol=float(slope.abs().max()) / 20,
    )


def test_the_metric_is_of_steps_in_own_units(uneven: Path) -> None:
    """G of own units is S⁻¹ G S⁻¹ with S the columns' scales: their volume is smaller by their product."""
    run, _ = begun(data=str(uneven))
    metric = metric_at(run, 0, 3)
    x, scale = run.data.view[:7], run.data.scale.double()
    standard, own = pull_back(x, metric.embed), pull_back(run.data.restore(x), metric)
    assert_close(own, standard / scale / scale[:, None], rtol=1e-3, atol=1e-12)
    assert_close(log_volume(own), log_volume(standard) - scale.log().sum(), rtol=1e-3, atol=1e-3)


def known(made, factor: float = 3.0, scale: float = 2.0) -> LearnedMetric:
    """A learned metric that multiplies all lengths by factor / scale."""
    dim = made.ambient_dim
    units = PointData(
        torch.zeros(0, dim), torch.zeros(0, dim), torch.full((dim,), 0.5), torch.full((dim,), scale), made
    )
    return LearnedMetric(0, lambda x: factor * x, units)


@pytest.mark.parametrize("name", ["sphere", "torus", "helix", "mobius_strip"])
def test_inside_a_manifold_a_similarity_is_the_same_everywhere(name: str) -> None:
    made = manifold(name)
    near = made.sample(9, torch.Generator().manual_seed(0)).points * 1.001
    found = on_manifold(known(made), near)
    d = made.intrinsic_dim
    assert_close(found.metric, 2.25 * torch.eye(d, dtype=torch.float64).expand(9, d, d), rtol=1e-4, atol=1e-4)
    assert_close(made.distance(found.centres), torch.zeros(9, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [n for n in MANIFOLDS if n not in ("eight_gaussians", "checkerboard", "figure_eight")])
def test_the_true_route_is_the_manifolds_geodesic(name: str) -> None:
    """Its points lie on the manifold and its length is the known one: over seams and poles, too."""
    made = manifold(name)
    x = made.sample(4, torch.Generator().manual_seed(1)).points
    measured = 0
    for start, end in zip(x[::2], x[1::2], strict=True):
        found = true_route(made, start, end)
        own = made.geodesic(made.project(start[None]), made.project(end[None])).item()
        assert found.length == pytest.approx(own, rel=1e-4)
        if math.isinf(own):
            assert found.path is None
            continue
        measured += 1
        assert found.path.diff(dim=0).norm(dim=-1).sum().item() == pytest.approx(own, rel=0.011)
        assert_close(found.path[[0, -1]], torch.stack([start, end]), atol=1e-4, rtol=1e-4)
        assert made.distance(found.path).max() < 1e-3
    assert measured


def test_the_true_route_goes_over_the_pole_of_a_sphere() -> None:
    sphere = manifold("sphere")
    start, end = sphere.embed(torch.tensor([[0.0, 1.2], [math.pi, 1.1]]))
    found = true_route(sphere, start, end)
    assert found.length == pytest.approx(math.pi - 2.3, rel=1e-4)
    assert found.path[:, 2].max() > 0.999


def test_where_there_is_no_true_route_and_in_a_higher_dimension() -> None:
    gaussians = manifold("eight_gaussians")
    assert true_route(gaussians, torch.zeros(2), torch.ones(2)) is None
    assert true_route(None, torch.zeros(2), torch.ones(2)) is None
    roll = embedded(manifold("circle"), 3)
    start, end = roll.embed(torch.tensor([[0.1], [6.2]], dtype=torch.float64)).float()
    assert true_route(roll, start, end).length == pytest.approx(math.tau - 6.1, rel=1e-4)


def test_routes_under_a_similarity_have_lengths_that_are_known() -> None:
    sphere = manifold("sphere")
    start, end = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    ways = routes(
        known(sphere), start, end, bounds=(-torch.ones(3), torch.ones(3)), true=true_route(sphere, start, end)
    )
    assert_close(ways["geodesic"].metric_length, 1.5 * math.sqrt(2), rtol=1e-4, atol=0)
    assert_close(ways["straight"].metric_length, 1.5 * math.sqrt(2), rtol=1e-4, atol=0)
    assert_close(ways["true"].metric_length, 1.5 * math.pi / 2, rtol=1e-3, atol=0)
    assert_close(ways["true"].length, math.pi / 2, rtol=1e-4, atol=0)
