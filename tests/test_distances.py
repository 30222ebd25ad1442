"""Distances against scipy, blocks against the whole, gradients against finite differences."""

import numpy as np
import pytest
import scipy.spatial.distance as scipy_distance
import torch

import mvm.geometry.distances
from mvm.geometry.distances import directed_hausdorff, pairwise

LEADING = [(), (3,), (2, 3)]


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("squared", [False, True])
def test_pairwise_is_scipy_cdist_in_every_variant(leading, squared):
    x, y = points(*leading, 7, 4), points(*leading, 5, 4, seed=1)
    kind = "sqeuclidean" if squared else "euclidean"
    cross, own = pairwise(x, y, squared=squared), pairwise(x, squared=squared)
    assert cross.shape == (*leading, 7, 5)
    assert own.shape == (*leading, 7, 7)
    for v in np.ndindex(*leading):
        a, b = x[v].numpy(), y[v].numpy()
        torch.testing.assert_close(cross[v], torch.from_numpy(scipy_distance.cdist(a, b, kind)))
        torch.testing.assert_close(own[v], torch.from_numpy(scipy_distance.cdist(a, a, kind)))


@pytest.mark.parametrize("squared", [False, True])
def test_far_from_the_origin_the_diagonal_is_exactly_zero_and_nothing_is_negative(squared):
    x = points(40, 6).float() * 1e-3 + 1000  # ‖x‖² + ‖y‖² − 2⟨x, y⟩ cancels: unguarded, it dips below zero
    own, cross = pairwise(x, squared=squared), pairwise(x, x.clone(), squared=squared)
    assert torch.equal(own.diagonal(), torch.zeros(40))
    assert own.min() == 0
    assert cross.min() == 0


@pytest.mark.parametrize("squared", [False, True])
def test_pairwise_gradient(squared):
    x, y = points(2, 4, 3).requires_grad_(), points(2, 5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: pairwise(a, b, squared=squared), (x, y))
    # off the diagonal, where d has no derivative and is taken as constant
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda a: pairwise(a, squared=squared)[:, off], (x,))


@pytest.mark.parametrize("squared", [False, True])
def test_coinciding_points_have_zero_gradient(squared):
    x = points(1, 3).expand(4, 3).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pairwise(x, squared=squared).sum(), x)
    torch.testing.assert_close(gradient, torch.zeros(4, 3, dtype=torch.float64))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("chunk", [1, 100, 2**24])
def test_directed_hausdorff_is_scipys_whatever_the_block(leading, chunk, monkeypatch):
    monkeypatch.setattr(mvm.geometry.distances, "CHUNK", chunk)
    x, y = points(*leading, 11, 4), points(*leading, 9, 4, seed=1)
    got = directed_hausdorff(x, y)
    assert got.shape == leading
    for v in np.ndindex(*leading):
        expected, _, _ = scipy_distance.directed_hausdorff(x[v].numpy(), y[v].numpy())
        torch.testing.assert_close(got[v], torch.tensor(expected, dtype=torch.float64))


def test_directed_hausdorff_is_directed():
    x = torch.tensor([[0.0, 0.0]])
    y = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert directed_hausdorff(x, y) == 0
    assert directed_hausdorff(y, x) == 5


def test_directed_hausdorff_gradient():
    x, y = points(2, 4, 3).requires_grad_(), points(2, 5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(directed_hausdorff, (x, y))
