"""Density along a manifold: real samples lie in the band, gaps are found where they are, counts are those of a loop."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mvm.scoring.density import ALPHA, density_along, nodes_of, variation_of_counts, variation_of_density
from toy_manifolds import MANIFOLDS, Manifold, embedded, manifold


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_law_has_mass_one_and_a_real_sample_lies_in_the_band_in_any_ambient_space(name):
    m = manifold(name)
    points = m.sample(300, seeded()).points
    found = density_along(m, points)
    assert sum(chart.expected.sum() for chart in found.charts) == pytest.approx(300, abs=1e-9)
    assert sum(chart.count.sum() for chart in found.charts) == 300
    assert (found.n, found.far, found.missed, found.crowded) == (300, 0, 0, 0)
    placed = embedded(m, 5, seed=2)
    lifted = density_along(placed, placed.embed(m.project(points.double())))
    for one, other in zip(found.charts, lifted.charts, strict=True):
        np.testing.assert_array_equal(one.edges[0], other.edges[0])
        assert abs(one.count - other.count).sum() <= 2  # rounding at an edge


@pytest.mark.parametrize(
    ("name", "settings"),
    [("circle", {}), ("von_mises_circle", {}), ("torus", {}), ("moons", {"noise": 0.3}), ("sphere", {"noise": 0.2})],
)
def test_real_samples_leave_the_band_as_seldom_as_stated(name, settings):
    m, tries = manifold(name, **settings), 120
    found = [density_along(m, m.sample(256, seeded(seed)).points) for seed in range(tries)]
    outside = sum(any(chart.verdict.any() for chart in each.charts) for each in found)
    assert outside <= stats.binom.ppf(0.999, tries, ALPHA)


def test_an_arc_that_is_missing_is_found_where_it_was():
    m = manifold("circle", radius=2)
    angle = m.draw(4000, seeded())[:, 0]
    kept = angle[(angle < 1) | (angle > 1 + 0.15 * math.tau)][:2000]
    found = density_along(m, m.embed(kept[:, None]))
    (chart,) = found.charts
    middle = (chart.edges[0][1:] + chart.edges[0][:-1]) / 2 / 2  # an angle: arc length over the radius
    width = math.tau / len(middle)
    below = middle[chart.verdict < 0]
    assert below.min() > 1 - width
    assert below.max() < 1 + 0.15 * math.tau + width
    assert found.missed == pytest.approx(0.15, abs=1.5 / len(middle))


def test_counts_are_those_of_a_loop_and_far_points_count_nowhere():
    m = manifold("concentric_circles")
    points = torch.cat([m.sample(200, seeded()).points, torch.tensor([[9.0, 9.0], [torch.nan, 0.0]])])
    found = density_along(m, points)
    assert found.far == pytest.approx(2 / 202)
    for chart, radius in zip(found.charts, (0.5, 1.0), strict=True):
        wanted = np.zeros_like(chart.count)
        for x, y in points.tolist():
            if abs(math.hypot(x, y) - radius) < 0.1:
                length = radius * (math.atan2(y, x) % math.tau)
                wanted[next(k for k, end in enumerate(chart.edges[0][1:]) if length < end)] += 1
        np.testing.assert_array_equal(chart.count, wanted)


def test_cells_have_the_area_of_the_textbook_and_the_exact_binomial_band():
    (chart,) = density_along(manifold("sphere"), manifold("sphere").sample(500, seeded()).points).charts
    zones = np.diff(np.sin(np.radians(chart.edges[1]))) / 2  # Archimedes: a zone's area is its height
    np.testing.assert_allclose(chart.expected, 500 * np.outer(np.diff(chart.edges[0]) / 360, zones), rtol=1e-9)
    torus = manifold("torus", radius=2, tube=0.5)
    (ring,) = density_along(torus, torus.sample(500, seeded()).points).charts
    angle = np.radians(ring.edges[1])
    around = np.diff(angle + 0.25 * np.sin(angle)) / math.tau
    np.testing.assert_allclose(ring.expected, 500 * np.outer(np.diff(ring.edges[0]) / 360, around), rtol=1e-9)
    tail = ALPHA / 2 / chart.count.size
    for p, low, high in zip(chart.expected.flat / np.float64(500), chart.low.flat, chart.high.flat, strict=True):
        assert stats.binom.cdf(low - 1, 500, p) < tail <= stats.binom.cdf(low, 500, p)
        assert stats.binom.sf(high, 500, p) <= tail < stats.binom.sf(high - 1, 500, p)


def test_the_total_variation_of_counts_is_that_of_a_histogram_with_far_points_apart():
    m = manifold("circle")
    points = torch.cat([m.sample(190, seeded()).points, torch.full((10, 2), 9.0)])
    angle = np.arctan2(*points[:190].numpy().T[::-1]) % math.tau
    (chart,) = density_along(m, points).charts
    share = np.histogram(angle, bins=len(chart.count), range=(0, math.tau))[0] / 200
    wanted = (np.abs(share - 1 / len(share)).sum() + 10 / 200) / 2
    assert variation_of_counts(m, points) == pytest.approx(wanted)
    assert variation_of_counts(m, points, m.project(points.double())) == pytest.approx(wanted)
    assert variation_of_counts(m, torch.tensor([[1.0, 0.0]]).expand(200, 2)) == pytest.approx(1 - 1 / len(share))


@pytest.mark.parametrize("name", MANIFOLDS)
def test_a_density_that_is_the_law_has_no_variation_and_half_of_it_has_one_half(name):
    """The places are uniform in volume: about half of the law's mass lies where they say so."""
    m = manifold(name)
    nodes = nodes_of(m)
    if nodes is None:
        assert m.intrinsic_dim == 0
        return
    law = m.density(nodes)
    assert variation_of_density(m, law.log() + 7) == pytest.approx(0, abs=1e-9)
    points = m.embed(nodes)
    half = points[:, 0] > m.embed(m.draw(20_000, seeded(1)))[:, 0].median()
    assert variation_of_density(m, law.log().where(half, -torch.inf)) == pytest.approx(0.5, abs=0.04)
    placed = embedded(m, 5)
    torch.testing.assert_close(placed.evenly(len(nodes)), nodes)
    torch.testing.assert_close(placed.density(nodes), law)


def test_a_manifold_without_charts_is_not_offered():
    class Bare(Manifold):
        title, intrinsic_dim, ambient_dim = "Bare", 1, 2

    assert density_along(Bare(), torch.zeros(100, 2)) is None
    assert variation_of_counts(Bare(), torch.zeros(100, 2)) is None
