"""The spectrum against explicit numpy matrices."""

import numpy as np
import pytest
import torch

from mvm.geometry.spectrum import SPECTRUM_FORMS, eigenpairs, eigenvalues, uniformity

FORMS = list(SPECTRUM_FORMS)


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def explicit(x: np.ndarray, form: str) -> np.ndarray:
    """The n x n matrix of the definition, written out."""
    n = len(x)
    d = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])
    if form == "distance":
        return d / d.mean()
    j = np.eye(n) - np.ones((n, n)) / n
    return -0.5 * j @ d**2 @ j


def oracle(x: np.ndarray, form: str, k: int) -> np.ndarray:
    values = np.linalg.eigvalsh(explicit(x, form))
    if form == "distance":
        return values[np.argsort(-np.abs(values))][:k]
    return values[::-1][:k] / values.sum()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "dim"), [(24, 3), (24, 12), (9, 20)])
def test_eigenvalues_are_those_of_the_explicit_matrix(form, n, dim):
    x = points(2, 3, n, dim)
    values = eigenvalues(x, k=8, form=form)
    assert values.shape == (2, 3, 8)
    for i in range(2):
        for j in range(3):
            expected = torch.from_numpy(oracle(x[i, j].numpy(), form, 8).copy())
            torch.testing.assert_close(values[i, j], expected, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(eigenvalues(x[1, 2], k=8, form=form), values[1, 2], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variants", [(), (2,)])
def test_eigenpairs_solve_the_explicit_matrix(form, variants):
    x = points(*variants, 20, 4) * torch.tensor([4.0, 3.0, 2.0, 1.0])
    pairs = eigenpairs(x, k=4, form=form)
    assert pairs.vectors.shape == (*variants, 20, 4)
    torch.testing.assert_close(pairs.values, eigenvalues(x, k=4, form=form))
    for i in np.ndindex(*variants):
        matrix = torch.from_numpy(explicit(x[i].numpy(), form))
        scale = matrix.trace() if form == "mds" else 1.0
        v = pairs.vectors[i]
        torch.testing.assert_close(matrix @ v, v * pairs.values[i] * scale, atol=1e-9, rtol=1e-8)
        torch.testing.assert_close(v.T @ v, torch.eye(4, dtype=v.dtype))
        assert (v.gather(0, v.abs().argmax(0, keepdim=True)) > 0).all()


def test_a_euclidean_distance_matrix_has_one_positive_eigenvalue():
    values = eigenvalues(points(30, 5), k=30)
    assert values[0] > 0
    assert (values[1:] < 0).all()


def test_equal_distances_have_a_known_spectrum():
    x = torch.eye(5, dtype=torch.float64)  # 5 points, all √2 apart: D/mean = (11ᵀ − I)·25/20
    expected = torch.tensor([4.0, -1, -1, -1, -1], dtype=torch.float64) * 1.25
    torch.testing.assert_close(eigenvalues(x, k=5), expected)
    torch.testing.assert_close(eigenvalues(x, k=4, form="mds"), torch.full((4,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("form", FORMS)
def test_scale_shift_and_rotation_leave_the_spectrum_alone(form):
    x = points(16, 4)
    rotation = torch.linalg.qr(points(4, 4, seed=1)).Q
    torch.testing.assert_close(eigenvalues(3 * x @ rotation + 5, form=form), eigenvalues(x, form=form))


@pytest.mark.parametrize("form", FORMS)
def test_missing_eigenvalues_are_zero(form):
    pairs = eigenpairs(points(6, 2), k=9, form=form)
    assert pairs.values.shape == (9,)
    assert pairs.vectors.shape == (6, 9)
    assert (pairs.values[6:] == 0).all()
    assert (pairs.vectors[:, 6:] == 0).all()
    assert eigenvalues(points(6, 2), k=9, form=form).shape == (9,)


@pytest.mark.parametrize("form", FORMS)
def test_collapsed_and_diverged_variants_leave_the_others_alone(form):
    x = points(3, 12, 4)
    x[1] = 7.0
    x[2, 5, 1] = torch.nan
    values = eigenvalues(x, k=4, form=form)
    torch.testing.assert_close(values[0], eigenvalues(x[0], k=4, form=form))
    assert (values[1] == 0).all()
    assert values[2].isnan().all()
    pairs = eigenpairs(x, k=4, form=form)
    assert pairs.vectors[2].isnan().all()
    assert pairs.vectors[:2].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_lifted(form):
    x = points(12, 3).bfloat16()
    torch.testing.assert_close(eigenvalues(x, form=form), eigenvalues(x.float(), form=form))


def test_uniformity():
    flat = torch.full((2, 8), 0.1, dtype=torch.float64)
    torch.testing.assert_close(uniformity(flat), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(uniformity(torch.tensor([1.0, 0, 0])), torch.tensor(0.0))
    p = np.array([0.5, 0.3, 0.15, 0.05])
    expected = -(p * np.log(p)).sum() / np.log(4)
    signed = torch.tensor([10.0, -6, -3, -1], dtype=torch.float64)  # the same shares, signed and unnormalised
    torch.testing.assert_close(uniformity(signed), torch.tensor(expected))
    assert uniformity(torch.zeros(5)) == 0
    assert uniformity(torch.ones(1)) == 1
    assert uniformity(torch.tensor([1.0, torch.nan])).isnan()


def test_bad_use_names_the_choices():
    with pytest.raises(ValueError, match="distance, mds"):
        eigenvalues(points(5, 2), form="pca")
    with pytest.raises(ValueError, match="k must be at least 1"):
        eigenvalues(points(5, 2), k=0)
