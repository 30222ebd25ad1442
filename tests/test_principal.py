"""PCA of embeddings: the plane, its shares of variance, and that it turns with no more than the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from test_learned_metric import begun

from mvm.files import write_tensors
from mvm.geometry.principal import principal_plane
from mvm.runs.history import History


def embeddings(seed: int, k: int = 6) -> np.ndarray:
    """Two sets of 50 embeddings that spread unequally."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(2, 50, k)) * np.linspace(2, 0.2, k) + 3


def test_the_plane_is_that_of_pca() -> None:
    real, fake = embeddings(0), embeddings(1)
    plane = principal_plane(real)
    for member in range(2):
        oracle = PCA(n_components=2).fit(real[member])
        sign = np.sign((oracle.components_.T * plane.basis[member]).sum(0))
        np.testing.assert_allclose(plane.basis[member], oracle.components_.T * sign, atol=1e-9)
        np.testing.assert_allclose(plane.shares[member], oracle.explained_variance_ratio_)
        np.testing.assert_allclose(plane.project(fake)[member], oracle.transform(fake[member]) * sign, atol=1e-5)


def test_it_is_turned_onto_the_plane_before() -> None:
    real = embeddings(0)
    before = principal_plane(real).project(real)
    angle = 2.1
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])  # a reflection, too
    plane = principal_plane(real, previous=before @ turn)
    np.testing.assert_allclose(plane.project(real), before @ turn, atol=1e-5)
    np.testing.assert_allclose(plane.shares.sum(1), principal_plane(real).shares.sum(1))
    moved = real @ np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]  # another basis of the embedding
    np.testing.assert_allclose(principal_plane(moved, previous=before).project(moved), before, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2])
def test_few_dimensions(k: int) -> None:
    real = embeddings(0, k=k)
    plane = principal_plane(real)
    np.testing.assert_allclose(plane.shares.sum(1), 1)
    assert plane.project(real).shape == (2, 50, 2)


def test_points_that_coincide_and_points_that_diverged() -> None:
    real = embeddings(0)
    real[0] = 4.0
    real[1, 7, 2] = np.inf
    plane = principal_plane(real, previous=np.zeros((2, 50, 2)))
    np.testing.assert_array_equal(plane.project(real)[0], 0)
    np.testing.assert_array_equal(plane.shares[0], 0)
    assert np.isnan(plane.shares[1]).all()
    assert np.isnan(plane.project(embeddings(0))[1]).all()


def test_the_order_of_looking_does_not_matter() -> None:
    run, _ = begun("order", data="circle", variants="both", view_points=50, points=300)
    first = run.snapshot(0)
    for step in (10, 20):
        mixed = np.random.default_rng(step).normal(size=(first["real_embedding"].shape[-1],) * 2)
        moved = {name: (first[name] @ mixed).astype(np.float32) for name in ("real_embedding", "fake_embedding")}
        arrays = first | moved | {"step": np.array(step)}
        write_tensors(run.snapshot_path(step), {name: torch.from_numpy(array) for name, array in arrays.items()})
    straight, back = History(run).refresh(), History(run).refresh()
    last = straight.principal(20)
    assert last is not None
    for step in (0, 10, 20):
        plane = back.principal(step)
        assert plane is not None
        np.testing.assert_array_equal(plane.basis, straight.principal(step).basis)
    np.testing.assert_array_equal(plane.basis, last.basis)
    assert straight.principal(15) is None
