"""Each descriptor against its definition written out in numpy and plain loops."""

import numpy as np
import pytest
import scipy.spatial.distance as scipy_distance
import torch

from mvm.geometry.descriptors import DESCRIPTORS, p_diameter, two_diameter

LEADING = [(), (3,), (2, 3)]


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def diameter_by_pairs(e: np.ndarray, p: float) -> float:
    """(mean over all ordered pairs, the diagonal included, of dᵖ)^(1/p)."""
    total = 0.0
    for a in e:
        for b in e:
            total += np.sqrt(((a - b) ** 2).sum()) ** p
    return (total / len(e) ** 2) ** (1 / p)


def squared_distances(e: np.ndarray) -> np.ndarray:
    return np.array([[((a - b) ** 2).sum() for b in e] for a in e])


def hausdorff(r: np.ndarray, f: np.ndarray) -> float:
    return max(scipy_distance.directed_hausdorff(r, f)[0], scipy_distance.directed_hausdorff(f, r)[0])


DEFINITIONS = {
    "centroid": lambda r, f: np.linalg.norm(r.mean(0) - f.mean(0)),
    "diameter": lambda r, f: abs(diameter_by_pairs(r, 2) - diameter_by_pairs(f, 2)),
    "p_diameter": lambda r, f: abs(diameter_by_pairs(r, 4) - diameter_by_pairs(f, 4)),
    "distance_matrix": lambda r, f: np.linalg.norm(squared_distances(r) - squared_distances(f)) / len(r),
    "hausdorff": hausdorff,
    "covariance": lambda r, f: np.linalg.norm(np.cov(r.T, bias=True) - np.cov(f.T, bias=True)),
}


def test_every_descriptor_has_a_definition_here():
    assert set(DEFINITIONS) == set(DESCRIPTORS)


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.parametrize("leading", LEADING)
def test_gap_is_its_definition_in_every_variant(name, leading):
    real, fake = points(*leading, 9, 4), 1.7 * points(*leading, 9, 4, seed=1) + 0.3
    gap = DESCRIPTORS[name].gap(real, fake)
    assert gap.shape == leading
    for v in np.ndindex(*leading):
        expected = DEFINITIONS[name](real[v].numpy(), fake[v].numpy())
        torch.testing.assert_close(gap[v].item(), float(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_gap_gradient(name):
    real, fake = points(2, 5, 3).requires_grad_(), (1.7 * points(2, 5, 3, seed=1) + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(DESCRIPTORS[name].gap, (real, fake))


@pytest.mark.parametrize("leading", LEADING)
def test_closed_form_of_the_two_diameter_is_the_double_sum(leading):
    e = points(*leading, 12, 5) * 3 + 2
    diameter = two_diameter(e)
    assert diameter.shape == leading
    for v in np.ndindex(*leading):
        torch.testing.assert_close(diameter[v].item(), diameter_by_pairs(e[v].numpy(), 2))


def test_two_diameter_keeps_its_digits_far_from_the_origin():
    e = points(64, 10)
    torch.testing.assert_close(two_diameter((e + 1000).float()).item(), two_diameter(e).item(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4])
def test_p_diameter_is_the_double_sum(leading, p):
    e = points(*leading, 8, 5)
    diameter = p_diameter(e, p)
    assert diameter.shape == leading
    for v in np.ndindex(*leading):  # the diagonal's 0 is lifted to 1e-6 for its gradient: B of B² pairs
        torch.testing.assert_close(diameter[v].item(), diameter_by_pairs(e[v].numpy(), p), rtol=1e-6, atol=0)


def test_p_diameter_of_two_points_by_hand():
    e = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)  # half of the four ordered pairs are 5 apart
    torch.testing.assert_close(two_diameter(e).item(), (25 / 2) ** 0.5)
    torch.testing.assert_close(p_diameter(e, 1).item(), 2.5, rtol=1e-6, atol=0)
    torch.testing.assert_close(p_diameter(e, 4).item(), (625 / 2) ** 0.25)


def test_p_diameter_gradient():
    e = points(2, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: p_diameter(x, 3), (e,))


@pytest.mark.parametrize("p", [0.5, 0, -2])
def test_p_diameter_refuses_an_exponent_below_one(p):
    with pytest.raises(ValueError, match=rf"p must be at least 1, got {p}"):
        p_diameter(points(4, 2), p)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_moving_both_sets_by_one_isometry_changes_no_gap(name):
    real, fake = points(20, 4), 1.7 * points(20, 4, seed=1) + 0.3
    turn = torch.linalg.qr(points(4, 4, seed=2)).Q
    gap = DESCRIPTORS[name].gap
    torch.testing.assert_close(gap(real @ turn + 5, fake @ turn + 5), gap(real, fake))


def test_what_each_descriptor_is_blind_to():
    real = points(30, 3)
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    gaps = {name: descriptor.gap(real, real + shift).item() for name, descriptor in DESCRIPTORS.items()}
    torch.testing.assert_close(gaps["centroid"], 3.0)
    for name in ("diameter", "p_diameter", "distance_matrix", "covariance"):
        torch.testing.assert_close(gaps[name], 0.0, atol=2e-6, rtol=0)
    centred = real - real.mean(0)
    torch.testing.assert_close(DESCRIPTORS["centroid"].gap(centred, 2 * centred).item(), 0.0)
    torch.testing.assert_close(DESCRIPTORS["diameter"].gap(centred, 2 * centred), two_diameter(centred))


def test_two_diameter_is_the_trace_of_the_covariance():
    e = points(40, 6)
    torch.testing.assert_close(two_diameter(e).item() ** 2, 2 * np.trace(np.cov(e.numpy().T, bias=True)))


def test_only_the_published_distance_matrix_depends_on_how_rows_are_paired():
    real = points(20, 4)
    shuffled = real.flip(0)
    for name, descriptor in DESCRIPTORS.items():
        gap = descriptor.gap(real, shuffled).item()
        if name == "distance_matrix":
            assert gap > 1
        else:
            torch.testing.assert_close(gap, 0.0, atol=2e-6, rtol=0)
