"""Point data: toy manifolds, and the split of a user's points into those trained on and those scored."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mvm.config import Config
from mvm.data.points import load_points
from mvm.errors import ConfigError
from toy_manifolds import MANIFOLDS


def table(n: int = 80, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).round(4)


def own(path: Path, rows: np.ndarray, **values):
    np.save(path, rows)
    return load_points(Config.make(data=str(path), **values))


def test_own_points_are_split_once_and_scores_see_none_that_was_trained_on(tmp_path):
    rows = table(200, 3)
    data = own(tmp_path / "points.npy", rows)
    assert data.train.shape == (160, 3)
    assert data.held_out.shape == (40, 3)
    trained = data.restore(data.train)
    everything = torch.cat([trained, data.held_out])
    ordered = everything[everything[:, 0].argsort()]
    torch.testing.assert_close(ordered, torch.from_numpy(rows[rows[:, 0].argsort()]).float())
    for repeat in range(3):
        held_out = data.evaluation(1000, repeat=repeat)
        assert held_out.coordinates is None
        assert held_out.real.shape == held_out.floor.shape == (20, 3)
        used = torch.cat([held_out.real, held_out.floor])
        assert len(used.unique(dim=0)) == 40
        assert torch.cdist(used, trained).min() > 1e-3
    assert not torch.equal(data.evaluation(9, repeat=0).real, data.evaluation(9, repeat=1).real)
    assert torch.equal(data.evaluation(9).real, data.evaluation(9).real)
    assert data.evaluation(9).real.shape == (9, 3)
    again = load_points(Config.make(data=str(tmp_path / "points.npy")))
    assert torch.equal(again.train, data.train)


def test_at_most_4000_points_are_held_out(tmp_path):
    data = own(tmp_path / "points.npy", table(30_000, 2))
    assert (len(data.train), len(data.held_out)) == (26_000, 4000)


def test_each_column_of_an_own_file_has_its_own_unit(tmp_path):
    rows = table(500, 3) * [1e-4, 1.0, 1e5] + [3.0, -2.0, 4e5]
    data = own(tmp_path / "points.npy", rows, view_points=100)
    torch.testing.assert_close(data.train.mean(0), torch.zeros(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(data.train.std(0), torch.ones(3), atol=1e-3, rtol=0)
    kept = data.restore(data.train).double().numpy()
    np.testing.assert_allclose(data.mean, kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.scale, kept.std(0, ddof=1), rtol=1e-2)
    assert torch.equal(data.view, data.train[:100])


@pytest.mark.parametrize("value", [0.0, 0.1, 3.3, 1e6 + 0.1, -7.7])
def test_a_constant_column_is_moved_to_zero_and_not_blown_up(tmp_path, value):
    rows = table(500, 3)
    rows[:, 1] = value
    data = own(tmp_path / "points.npy", rows)
    assert data.scale[1] == 1
    assert torch.equal(data.train[:, 1], torch.zeros(400))
    assert torch.equal(data.restore(data.train)[:, 1], torch.full((400,), value))


def test_standardise_and_restore_are_inverse(tmp_path):
    for data in (
        own(tmp_path / "points.npy", table(500, 3) * [1.0, 20.0, 0.1] + [1.0, -5.0, 2.0]),
        load_points(Config.make(data="swiss_roll", points=500)),
    ):
        points = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(data.standardise(data.restore(points)), points, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(data.restore(data.standardise(points)), points, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(data.standardise(points), (points - data.mean) / data.scale)


def test_a_toy_manifold_is_scaled_by_one_number_and_keeps_its_shape():
    data = load_points(Config.make(data="swiss_roll", points=3000))
    assert torch.equal(data.scale, data.scale[:1].expand(3))
    torch.testing.assert_close(data.train.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(data.train.square().mean().item(), 1.0, atol=1e-4, rtol=0)
    distance = data.manifold.distance(data.restore(data.train[:200]))
    torch.testing.assert_close(distance, torch.zeros(200), atol=1e-4, rtol=0)


def test_a_toy_manifolds_samples_are_independent():
    config = Config.make(data="circle", points=300, view_points=200)
    data = load_points(config)
    assert data.held_out is None
    first, second = data.evaluation(250), data.evaluation(250, repeat=1)
    samples = [data.restore(data.train), data.restore(data.view), first.real, first.floor, second.real, second.floor]
    for i, one in enumerate(samples):
        for other in samples[:i]:
            shared = (one[:, None] - other[None]).abs().amax(-1).amin(1) < 1e-6
            assert shared.sum() < 10
    torch.testing.assert_close(data.manifold.embed(first.coordinates.double()).float(), first.real)
    assert torch.equal(first.real, load_points(config).evaluation(250).real)


def test_training_points_do_not_depend_on_how_many_are_shown():
    few, many = (load_points(Config.make(points=200, view_points=n)) for n in (16, 400))
    assert torch.equal(few.train, many.train)
    assert (few.view.shape, many.view.shape) == ((16, 2), (400, 2))


def test_a_manifolds_settings_reach_it():
    data = load_points(Config.make(data="circle", settings={"noise": 0.2}, points=5000))
    spread = data.manifold.distance(data.restore(data.train))
    torch.testing.assert_close(spread.square().mean().sqrt().item(), 0.2, atol=0.02, rtol=0)


def test_ambient_dim_is_an_isometry():
    flat, placed = (load_points(Config.make(data="circle", points=100, ambient_dim=d)) for d in (None, 6))
    assert placed.dim == 6
    one, other = (torch.pdist(data.restore(data.train).double()) for data in (flat, placed))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "cirle"}, "unknown 'cirle'; give a toy manifold (circle, "),
        ({"data": "circle", "settings": {"wobble": 1}}, "circle has no setting 'wobble'; its settings are: "),
        ({"data": "circle", "settings": {"noise": -1}}, "noise=-1.0 "),
        ({"data": "swiss_roll", "ambient_dim": 2}, "needs at least 3 dimensions"),
        ({"data": "points.csv", "settings": {"noise": 0.1}}, "only toy manifolds have them, not the file points.csv"),
        ({"data": "points.csv", "ambient_dim": 5}, "only toy manifolds have them"),
    ],
)
def test_data_that_cannot_be_made_is_refused_in_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        load_points(Config.make(**values))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_runs_own_copy_is_read_in_place_of_the_file(tmp_path):
    copy = tmp_path / "data.npy"
    np.save(copy, table(100, 4))
    data = load_points(Config.make(data="/gone/points.csv"), own=copy)
    assert data.dim == 4
    assert data.manifold is None
    shadow = load_points(Config.make(data="circle"), own=copy)
    assert shadow.manifold is None
    assert "circle" in MANIFOLDS
