"""Scores against other libraries (POT, scipy, prdc, scikit-learn) and against naive loops."""

import json
import math

import numpy as np
import ot
import pytest
import torch
from prdc import compute_prdc
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp, spearmanr
from sklearn.neighbors import NearestNeighbors

from mvm.scoring.points import SCORE_KEYS, SCORES, Reference, spearman
from mvm.scoring.score import ratio, thinned
from toy_manifolds import manifold

N = 60


class Circle:
    """The unit circle in the plane, angle as coordinate."""

    intrinsic_dim = 1
    ambient_dim = 2
    charts = ()

    def evenly(self, n):
        return 2 * math.pi * (torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n

    def density(self, coordinates):
        return torch.ones_like(coordinates[:, 0])

    def project(self, points):
        return torch.atan2(points[:, 1], points[:, 0]).remainder(2 * math.pi)[:, None]

    def embed(self, coordinates):
        return torch.cat([coordinates.cos(), coordinates.sin()], dim=-1)

    def geodesic(self, u, v):
        apart = (u - v).abs().squeeze(-1)
        return torch.minimum(apart, 2 * math.pi - apart)


class Halves(Circle):
    """The circle cut in two arcs that no path joins."""

    def geodesic(self, u, v):
        joined = ((u < math.pi) == (v < math.pi)).squeeze(-1)
        return super().geodesic(u, v).where(joined, torch.inf)


class Dots(Circle):
    """No intrinsic coordinates, but a distance."""

    intrinsic_dim = 0


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circle(n, seed, *, radius=1.0):
    angle = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 * math.pi
    return radius * torch.cat([angle.cos(), angle.sin()], dim=-1), angle


def scored(fake, real, floor_sample, *, manifold=None, real_coordinates=None, **metrics):
    """All scores of one fake cloud."""
    return Reference(real, floor_sample, manifold=manifold, real_coordinates=real_coordinates).score(fake, **metrics)


@pytest.fixture(scope="module", params=[2, 3], ids=["plane", "space"])
def clouds(request):
    dim = request.param
    return 0.8 * normal(N, dim, seed=1) + 0.3, normal(N, dim, seed=2), normal(N, dim, seed=3)


@pytest.fixture(scope="module")
def scores(clouds):
    return scored(*clouds)


def close(value, expected, **tolerance):
    torch.testing.assert_close(
        torch.tensor(value, dtype=torch.float64),
        torch.tensor(float(expected), dtype=torch.float64),
        **tolerance,
    )


def pairs(scores, key):
    """A score and its floor, each with the index of the cloud it compares to the reals."""
    return (scores[key], 0), (scores[SCORES[key].floor], 2)


def test_w2_is_the_optimal_assignment(clouds, scores):
    for value, other in pairs(scores, "w2"):
        cost = torch.cdist(clouds[1], clouds[other]).square().numpy()
        i, j = linear_sum_assignment(cost)
        close(value, math.sqrt(cost[i, j].mean()))
    close(scores["w2_ratio"], scores["w2"] / scores["w2_floor"])


def test_w2_of_a_translation_is_its_length():
    x, floor = normal(N, 2, seed=0), normal(N, 2, seed=1)
    close(scored(x.flip(0) + torch.tensor([3.0, 4.0]), x, floor)["w2"], 5.0)
    assert scored(x.flip(0), x, floor)["w2"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("dim", [2, 3, 16, 64])
def test_the_best_generator_is_never_one_that_is_too_narrow(dim):
    """Between so few points of many dimensions W₂ is less for half the spread than for a second real sample."""
    reference = Reference(normal(500, dim, seed=0), normal(500, dim, seed=1))
    good, narrow = (reference.score(scale * normal(500, dim, seed=2)) for scale in (1.0, 0.5))
    assert good[reference.criterion] < narrow[reference.criterion]
    assert (reference.criterion == "w2") == (dim < 10)
    assert (good["w2"] < narrow["w2"]) == (dim < 10)


def test_sliced_w2_is_that_of_pot(clouds, scores):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(128, clouds[1].shape[1], generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=-1, keepdim=True)).T.numpy()
    for value, other in pairs(scores, "sliced_w2"):
        expected = ot.sliced_wasserstein_distance(clouds[1].numpy(), clouds[other].numpy(), projections=directions)
        close(value, expected)
    close(scores["sliced_w2_ratio"], scores["sliced_w2"] / scores["sliced_w2_floor"])


def test_mmd_is_the_naive_double_loop(clouds, scores):
    real = clouds[1].numpy()
    sigma = np.sort([np.linalg.norm(a - b) for i, a in enumerate(real) for b in real[:i]])
    sigma = sigma[(len(sigma) - 1) // 2]  # torch's median: the lower of the two middle values

    def kappa(a, b):
        d2 = ((a - b) ** 2).sum()
        return np.mean([np.exp(-d2 / (2 * (s * sigma) ** 2)) for s in (0.25, 0.5, 1, 2, 4)])

    for value, other in pairs(scores, "mmd"):
        y = clouds[other].numpy()
        within = [np.mean([kappa(a[i], a[j]) for i in range(N) for j in range(N) if i != j]) for a in (real, y)]
        across = np.mean([kappa(a, b) for a in real for b in y])
        close(value, sum(within) - 2 * across, atol=1e-12, rtol=1e-9)


def test_c2st_is_leave_one_out_nearest_neighbour(clouds, scores):
    for value, other in pairs(scores, "c2st"):
        x = torch.cat([clouds[1], clouds[other]]).numpy()
        nearest = NearestNeighbors(n_neighbors=1).fit(x).kneighbors(return_distance=False)[:, 0]  # not itself
        labels = np.repeat([0, 1], N)
        close(value, (labels[nearest] == labels).mean())


def test_c2st_counts_ties_by_half_and_sees_copies():
    x = normal(N, 2, seed=0)
    twice = torch.cat([x[: N // 2], x[: N // 2]])  # each fake has a twin fake and a twin real at distance 0
    assert scored(twice, x, normal(N, 2, seed=1))["c2st"] < 0.5
    assert scored(x, x, normal(N, 2, seed=1))["c2st"] == 0
    assert scored(x + 100, x, normal(N, 2, seed=1))["c2st"] == 1
    assert scored(torch.zeros(N, 2), torch.zeros(N, 2), x)["c2st"] == 0.5


def test_precision_recall_density_coverage_are_those_of_prdc(clouds, scores):
    for index, other in ((0, 0), (1, 2)):
        expected = compute_prdc(clouds[1].numpy(), clouds[other].numpy(), nearest_k=5)
        for key in ("precision", "recall", "density", "coverage"):
            close(pairs(scores, key)[index][0], expected[key])


def test_chamfer_is_the_mean_nearest_distance(clouds, scores):
    for value, other in pairs(scores, "chamfer"):
        tree = NearestNeighbors(n_neighbors=1).fit(clouds[other].numpy())
        close(value, tree.kneighbors(clouds[1].numpy())[0].mean())


def test_distance_and_ks_on_the_circle():
    manifold = Circle()
    (real, angle), (floor, floor_angle) = circle(N, 0), circle(N, 1)
    fake, _ = circle(N, 2, radius=1.25)
    fake = fake[fake[:, 1] > -0.6]  # an arc is missing, the cloud is smaller than the reals
    scores = scored(fake, real, floor, manifold=manifold)
    close(scores["distance_mean"], 0.25)
    close(scores["distance_p99"], 0.25)
    close(scores["distance_mean_floor"], 0.0, atol=1e-12, rtol=0)
    same_size = scored(real * 0.5 + 0.1, real, floor, manifold=manifold)
    projected = manifold.project(real * 0.5 + 0.1)
    close(same_size["ks_max"], ks_2samp(projected[:, 0].numpy(), angle[:, 0].numpy()).statistic)
    close(same_size["ks_max_floor"], ks_2samp(floor_angle[:, 0].numpy(), angle[:, 0].numpy()).statistic)
    off = ((real * 0.5 + 0.1).norm(dim=-1) - 1).abs().numpy()
    close(same_size["distance_mean"], off.mean())
    close(same_size["distance_p99"], np.quantile(off, 0.99))


class Plane:
    """A plane whose coordinates are the points themselves."""

    intrinsic_dim = 2
    charts = ()

    def evenly(self, n):
        return torch.zeros(n, 2)

    def project(self, points):
        return points

    def embed(self, coordinates):
        return coordinates


def test_ks_is_that_of_the_coordinate_with_the_largest_gap():
    real, floor = normal(N, 2, seed=0), normal(N, 2, seed=1)
    fake = normal(N, 2, seed=2) * torch.tensor([1.0, 0.3])
    fake[:5] = real[:5]  # ties
    statistics = [ks_2samp(real[:, c].numpy(), fake[:, c].numpy()).statistic for c in range(2)]
    assert statistics[0] < statistics[1]
    close(scored(fake, real, floor, manifold=Plane())["ks_max"], statistics[1])


def test_spearman_is_the_correlation_of_mean_ranks():
    x, y = normal(80, seed=0), normal(80, seed=1)
    for a, b in ((x, y), ((x * 2).round(), (x + y).round())):  # distinct values, many ties
        ranks = [((v < v[:, None]).sum(1) + (v <= v[:, None]).sum(1)).double() for v in (a, b)]
        close(spearman(a, b), np.corrcoef(*ranks)[0, 1])
    assert spearman(torch.ones(9), x[:9]) is None
    assert spearman(torch.full((9,), torch.nan), x[:9]) is None


def test_geodesic_correlation_tells_a_good_metric_from_a_bad_one():
    (real, angle), (floor, _) = circle(200, 0), circle(200, 1)
    scores = scored(
        floor,
        real,
        floor,
        manifold=Circle(),
        real_coordinates=angle,
        embed=lambda x: x[:, :1],  # folds the circle onto a segment
        initial_embed=lambda x: 7 * x,
    )
    close(scores["geodesic_spearman_euclidean"], 1.0)  # on a circle chord and arc have one order
    close(scores["geodesic_spearman_initial"], 1.0)
    folded = (real[:, None, 0] - real[None, :, 0]).abs().numpy()[~np.eye(200, dtype=bool)]
    arc = Circle().geodesic(angle[:, None], angle[None]).numpy()[~np.eye(200, dtype=bool)]
    expected = spearmanr(folded, arc).statistic  # over all pairs; the score draws 1024 of them
    close(scores["geodesic_spearman"], expected, atol=0.08, rtol=0)


def test_geodesics_between_components_are_left_out():
    (real, angle), (floor, _) = circle(200, 0), circle(200, 1)
    scores = scored(floor, real, floor, manifold=Halves(), real_coordinates=angle, embed=torch.tanh)
    close(scores["geodesic_spearman_euclidean"], 1.0)


def test_keys_are_those_of_the_table_and_json_holds_them(clouds, scores):
    assert tuple(scores) == SCORE_KEYS
    assert len(set(SCORE_KEYS)) == len(SCORE_KEYS)
    for name, score in SCORES.items():
        assert name in scores
        assert score.floor == (f"{name}_floor" if f"{name}_floor" in scores else None)
        assert score.direction in ("lower", "higher", "floor")
        assert score.label
        assert "\n" not in score.meaning
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_what_has_no_meaning_is_none(clouds, scores):
    density = {"log_likelihood", "total_variation"}
    counts = {"total_variation_samples", "total_variation_samples_floor"}  # these circles have no charts
    ground_truth = {key for key in SCORE_KEYS if key.startswith(("distance", "ks", "geodesic", "total_variation"))}
    assert {key for key, value in scores.items() if value is None} == ground_truth | density
    dots = scored(circle(N, 0)[0], circle(N, 1)[0], circle(N, 2)[0], manifold=Dots(), embed=torch.sin)
    assert {key for key, value in dots.items() if value is None} == {
        key for key in ground_truth | density if not key.startswith("distance")
    }
    untrained = scored(circle(N, 0)[0], circle(N, 1)[0], circle(N, 2)[0], manifold=Circle(), embed=torch.sin)
    assert {key for key, value in untrained.items() if value is None} == density | counts | {
        "geodesic_spearman_initial"
    }


def test_the_likelihood_and_the_density_on_a_circle_are_those_of_a_von_mises_law():
    """A planar Gaussian about (a, 0) with deviation s is ∝ exp(a/s² cos t) on the unit circle: κ = a/s²."""
    truth, law = manifold("von_mises_circle", kappa=2.0), stats.vonmises(2.0)
    real, floor, fake = (truth.sample(200, torch.Generator().manual_seed(seed)).points for seed in range(3))
    reference = Reference(real, floor, manifold=truth)

    def score(kappa, points=fake):
        mean = torch.tensor([kappa * 0.3**2, 0.0])
        density = torch.distributions.Normal(mean.double(), 0.3)
        return reference.score(points, log_density=density.log_prob(reference.density_points.double()).sum(-1))

    angle = np.linspace(-np.pi, np.pi, 20_001)
    for kappa in (0.5, 2.0, 5.0):
        difference = np.abs(stats.vonmises(kappa).pdf(angle) - law.pdf(angle))
        assert score(kappa)["total_variation"] == pytest.approx(np.trapezoid(difference, angle) / 2, abs=1e-5)
    density = stats.multivariate_normal([0.18, 0], 0.3**2)
    assert score(2.0)["log_likelihood"] == pytest.approx(density.logpdf(real.numpy()).mean(), rel=1e-6)
    assert score(2.0)["total_variation_floor"] == 0
    fewer = score(2.0, fake[:50])
    assert (fewer["log_likelihood"], fewer["total_variation"]) == (score(2.0)["log_likelihood"], approx_zero(1e-6))
    broken = reference.score(fake, log_density=torch.full((len(reference.density_points),), torch.nan))
    assert broken["log_likelihood"] is broken["total_variation"] is None


def approx_zero(tolerance):
    return pytest.approx(0, abs=tolerance)


def test_the_density_of_own_points_has_a_likelihood_but_no_truth():
    real, floor, fake = (normal(N, 2, seed=seed) for seed in range(3))
    scores = scored(fake, real, floor, log_density=torch.arange(N, dtype=torch.float64))
    assert (scores["log_likelihood"], scores["total_variation"]) == ((N - 1) / 2, None)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e300])
def test_diverged_fakes_keep_the_floors(bad):
    (fake, _), (real, _), (floor, _) = circle(N, 0), circle(N, 1), circle(N, 2)
    good = scored(fake, real, floor, manifold=Circle(), embed=torch.tanh)
    fake[3, 1] = bad
    scores = scored(fake, real, floor, manifold=Circle(), embed=torch.tanh)
    fakes_own = {key for key in SCORES if not key.startswith("geodesic")} | {"total_variation_samples_floor"}
    for key, value in scores.items():
        assert value == (None if key in fakes_own else good[key])


def test_a_diverged_metric_has_no_correlation():
    (fake, _), (real, _), (floor, _) = circle(N, 0), circle(N, 1), circle(N, 2)
    scores = scored(fake, real, floor, manifold=Circle(), embed=lambda x: x * torch.nan)
    assert scores["geodesic_spearman"] is None
    collapsed = scored(fake, real, floor, manifold=Circle(), embed=lambda x: x * 0)
    assert collapsed["geodesic_spearman"] is None


def test_collapsed_fakes_have_finite_scores(clouds):
    _, real, floor = clouds
    scores = scored(real[:1].expand(N, -1), real, floor)
    close(scores["w2"], (real - real[0]).square().sum(-1).mean().sqrt())
    assert scores["recall"] == 1 / N  # the real point that they copy
    assert scores["coverage"] < 0.5
    assert None not in {
        value for key, value in scores.items() if not key.startswith(("d", "ks", "geo", "total", "log"))
    }


def test_reals_without_spread_do_not_crash():
    flat, x = torch.ones(N, 2), normal(N, 2, seed=0)
    scores = scored(x, flat, flat)
    assert scores["mmd"] is None
    assert scores["w2_ratio"] is None
    assert scores["w2_floor"] == 0
    json.dumps(scores, allow_nan=False)


def test_a_reference_scores_many_clouds_each_like_the_first(clouds):
    fake, real, floor = clouds
    reference = Reference(real, floor)
    assert reference.score(fake) == scored(fake, real, floor)
    assert reference.score(fake + 1) == scored(fake + 1, real, floor)
    assert reference.floors == {key: value for key, value in reference.score(fake).items() if "floor" in key}


def test_unequal_sizes_are_thinned_the_same_way_every_time(clouds):
    fake, real, floor = clouds
    reference = Reference(real, floor)
    few = reference.score(fake[:30])
    assert few == Reference(real, floor, size=30).score(fake[:30]) == reference.score(fake[:30])
    assert few["w2_floor"] != reference.floors["w2_floor"]  # the floor of 30 points, not of 60
    many = torch.cat([fake, fake + 0.1])
    assert reference.score(many) == reference.score(many)
    assert scored(fake, real, floor[:40])["c2st"] == Reference(real, floor[:40]).score(fake)["c2st"]
    assert Reference(real, floor[:40]).size == 40


def test_embed_sees_the_reals_as_they_came():
    real, floor = circle(N, 0)[0].float(), circle(N, 1)[0].float()
    linear = torch.nn.Linear(2, 3)
    scores = scored(floor, real, floor, manifold=Circle(), embed=linear)
    assert scores["geodesic_spearman"] is not None
    assert linear.weight.grad is None


@pytest.mark.parametrize(
    ("which", "points", "message"),
    [
        ("fake", torch.zeros(N, 5), r"fake must be \(n, 2\)"),
        ("fake", torch.zeros(5, 2), "fake has 5 points"),
        ("fake", torch.zeros(2, N, 2), "fake must be"),
        ("real", torch.full((N, 2), torch.nan), "real has non-finite"),
        ("floor_sample", torch.full((N, 2), torch.inf), "floor_sample has non-finite"),
        ("floor_sample", torch.zeros(3, 2), "floor_sample has 3 points"),
    ],
)
def test_bad_input_is_named(which, points, message):
    given = {"fake": normal(N, 2, seed=0), "real": normal(N, 2, seed=1), "floor_sample": normal(N, 2, seed=2)}
    with pytest.raises(ValueError, match=message):
        scored(**(given | {which: points}))


def test_a_sample_is_thinned_at_random_and_keeps_its_order():
    x = torch.arange(100)
    kept = thinned(x, 30, seed=0)
    assert len(kept) == 30
    assert (kept.diff() > 0).all()
    assert torch.equal(kept, thinned(x, 30, seed=0))
    assert not torch.equal(kept, thinned(x, 30, seed=1))
    assert torch.equal(thinned(x, 100, seed=0), x)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None), (1.0, 1e-320, None), (-1.0, -2.0, 0.5)],
)
def test_a_ratio_is_a_finite_number_or_none(value, unit, expected):
    assert ratio(value, unit) == expected
