"""Every lens against an oracle: known topology, known dimension, known tangents, other libraries, loops."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mvm.errors import ConfigError
from mvm.geometry.dimension import dimension_mle, dimension_two_nn
from mvm.geometry.graphs import diffusion_map, graph_geodesics, isomap, spanning_tree
from mvm.geometry.holes import betti_numbers, bottleneck, diagrams
from mvm.geometry.representations import effective_rank, nuclear_norm, relative, similarity
from mvm.geometry.tangents import displacement, local_tangents, tangent_angles, true_tangents
from mvm.lenses import LENSES, Networks, Subject
from mvm.lenses.learned import dimension_from, exact_score, singular_values
from mvm.lenses.nearest import nearest_along
from toy_manifolds import MANIFOLDS
from toy_manifolds.base import Manifold

SEEN_WITH = {  # points and settings with which a sample shows the holes of its manifold
    "helix": (400, {}),  # a curve in space has the largest alpha complex
    "checkerboard": (8000, {}),  # squares meet at corners
    "von_mises_circle": (2000, {"kappa": 0}),
    "eight_gaussians": (2000, {"noise": 0.1}),
}
WITH_TANGENTS = [name for name, kind in MANIFOLDS.items() if kind.intrinsic_dim in (1, kind.ambient_dim - 1)]


def sample(name: str, n: int, seed: int = 0, **settings: float) -> tuple[Manifold, torch.Tensor]:
    manifold = MANIFOLDS[name](**settings)
    return manifold, manifold.sample(n, torch.Generator().manual_seed(seed)).points


# -- holes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_betti_numbers_that_a_manifold_states_are_those_of_its_samples(name):
    n, settings = SEEN_WITH.get(name, (2000, {}))
    manifold, points = sample(name, n, **{"noise": 0.0} | settings)
    stated = manifold.betti
    assert stated is not None
    assert len(stated) == manifold.intrinsic_dim + 1
    padded = [*stated, *[0] * manifold.ambient_dim][: manifold.ambient_dim]
    assert betti_numbers(diagrams(points)) == padded


def test_a_gap_and_a_bridge_are_seen():
    angle = torch.linspace(0, 2 * math.pi, 601)[:-1]
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    whole, broken = diagrams(circle), diagrams(circle[:510])
    assert bottleneck(whole[1], whole[1]) == pytest.approx(0)
    assert bottleneck(whole[1], broken[1]) > 0.4
    two = torch.cat([circle, circle + torch.tensor([4.0, 0.0])])
    bridge = torch.stack([torch.linspace(1, 3, 30), torch.zeros(30)], dim=1)
    assert bottleneck(diagrams(two)[0], diagrams(torch.cat([two, bridge]))[0]) == pytest.approx(0.5, abs=0.02)
    (_, death) = whole[1][np.diff(whole[1], axis=1)[:, 0].argmax()]
    assert death == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="at most 3 dimensions, not 4"):
        diagrams(torch.zeros(9, 4))


# -- dimension ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "ambient"), [(1, 2), (2, 3), (3, 5)])
def test_the_dimension_of_a_cube(dim, ambient):
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(ambient, ambient, generator=generator)).Q[:dim]
    points = torch.rand(4000, dim, generator=generator) @ frame
    found = dimension_mle(points, [10, 20])
    assert [each.neighbours for each in found] == [10, 20]
    assert found[0].radius < found[1].radius
    assert all(each.dimension == pytest.approx(dim, rel=0.1) for each in found)
    assert dimension_two_nn(points) == pytest.approx(dim, rel=0.08)


def test_noise_fills_the_plane_at_small_scales_only():
    _, points = sample("circle", 3000, noise=0.01)
    small, large = dimension_mle(points, [10, 300])
    assert small.dimension == pytest.approx(2, abs=0.25)
    assert large.dimension == pytest.approx(1, abs=0.15)


def test_the_estimate_is_a_mean_of_logarithms():
    points = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    inverse = []
    for i in range(30):
        near = sorted(float((points[i] - points[j]).norm()) for j in range(30) if j != i)[:6]
        inverse.append(np.mean([math.log(near[5] / d) for d in near[:5]]))
    (found,) = dimension_mle(points, [6])
    assert found.dimension == pytest.approx(1 / np.mean(inverse))


# -- tangents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_TANGENTS)
def test_tangents_are_those_of_close_points(name):
    manifold, points = sample(name, 40, noise=0.0)
    coordinates = manifold.project(points).double()
    tangents = true_tangents(manifold, coordinates)
    k = manifold.intrinsic_dim
    assert tangents.shape == (40, manifold.ambient_dim, k)
    torch.testing.assert_close(tangents.mT @ tangents, torch.eye(k, dtype=torch.float64).expand(len(points), -1, -1))
    step = 1e-5 * torch.tensor([1.0, 1.0 if k > 1 else 0.0][: coordinates.shape[1]])  # not to another component
    moved = manifold.embed(coordinates + step) - manifold.embed(coordinates)
    inside = (tangents @ (tangents.mT @ moved[..., None]))[..., 0]
    assert ((inside - moved).norm(dim=-1) / moved.norm(dim=-1)).max() < 1e-3


def test_local_pca_finds_the_plane_that_points_lie_in():
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(3, 3, generator=generator).double()).Q
    points = torch.randn(200, 2, generator=generator).double() @ frame[:2]
    found = local_tangents(points, points[:20], 2)
    torch.testing.assert_close((frame[2] @ found).abs().amax(), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0)
    manifold, dense = sample("circle", 4000)
    assert float(tangent_angles(manifold, dense).median()) < 0.5
    manifold, noisy = sample("circle", 4000, noise=0.05)
    assert float(tangent_angles(manifold, noisy).median()) > 10


@pytest.mark.parametrize(("name", "codimension"), [("circle", 1), ("sphere", 1), ("helix", 2)])
def test_noise_is_off_the_manifold_by_its_codimension(name, codimension):
    manifold, points = sample(name, 6000, noise=0.01)
    parts = displacement(manifold, points)
    assert float(parts.normal.square().mean().sqrt()) == pytest.approx(0.01 * codimension**0.5, rel=0.06)
    if name != "helix":  # which has ends
        assert float(parts.tangential.max()) < 1e-4


def test_beyond_an_edge_the_displacement_is_tangential():
    manifold, _ = sample("moons", 10)  # the upper one ends in (1, 0), where it goes straight down
    parts = displacement(manifold, torch.tensor([[1.02, -0.1]]))
    assert (float(parts.normal), float(parts.tangential)) == (pytest.approx(0.02), pytest.approx(0.1))


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_graph_geodesics_and_the_spanning_tree_are_networkx():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    distances = torch.cdist(points, points).numpy()
    graph = nx.Graph()
    for i in range(40):
        for j in distances[i].argsort()[1:6]:
            graph.add_edge(i, int(j), weight=distances[i, j])
    wanted = dict(nx.all_pairs_dijkstra_path_length(graph))
    found = graph_geodesics(points, k=5)
    for i, j in itertools.product(range(40), repeat=2):
        assert found[i, j] == pytest.approx(wanted[i].get(j, math.inf))
    tree = nx.minimum_spanning_tree(nx.from_numpy_array(distances))
    lengths = sorted((d["weight"] for *_, d in tree.edges(data=True)), reverse=True)
    ours = spanning_tree(points)
    np.testing.assert_allclose(ours.lengths, lengths)
    assert (ours.longest, ours.length) == (pytest.approx(lengths[0]), pytest.approx(sum(lengths)))
    assert ours.edges.shape == (39, 2)


def test_isomap_unrolls_the_swiss_roll():
    manifold, points = sample("swiss_roll", 1000)
    coordinates = manifold.project(points)
    i, j = np.triu_indices(1000, 1)
    chosen = np.random.default_rng(0).choice(len(i), 4000, replace=False)
    true = manifold.geodesic(coordinates[i[chosen]], coordinates[j[chosen]]).numpy()
    flat = isomap(points)
    length = np.linalg.norm(flat[i[chosen]] - flat[j[chosen]], axis=1)
    assert spearmanr(length, true).statistic > 0.99
    assert spearmanr(graph_geodesics(points)[i[chosen], j[chosen]], true).statistic > 0.99


def test_a_diffusion_map_of_a_circle_is_a_circle():
    _, points = sample("circle", 800)
    found = diffusion_map(points)
    radii = np.linalg.norm(found, axis=1)
    assert radii.std() / radii.mean() < 0.05
    angles = np.unwrap(np.sort(np.arctan2(found[:, 1], found[:, 0])))
    assert np.diff(angles).max() < 0.1


# -- representations ---------------------------------------------------------------------------------------------------


def test_ranks_and_norms_of_known_matrices():
    axes = torch.cat([torch.eye(4), -torch.eye(4)]).double()
    assert effective_rank(axes) == pytest.approx(4)
    assert effective_rank(axes[:, :1].expand(-1, 3)) == pytest.approx(1)
    assert effective_rank(torch.ones(5, 3)) == 0
    assert nuclear_norm(axes) == pytest.approx(4 * math.sqrt(2) / math.sqrt(8))
    stretched = axes * torch.tensor([3.0, 1.0, 0.0, 0.0]).double()
    assert effective_rank(stretched) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_relative_representations_do_not_see_a_rotation():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(100, 5, generator=generator).double()
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q
    torch.testing.assert_close(relative(first @ turn * 3 + 1, first[:20] @ turn * 3 + 1), relative(first, first[:20]))
    assert similarity(first, first @ turn, anchors=20) == pytest.approx(1)
    assert abs(similarity(first, torch.randn(100, 5, generator=generator), anchors=20)) < 0.2


# -- the registry ------------------------------------------------------------------------------------------------------


def subject_on(name: str, n: int = 160, **settings: float) -> Subject:
    """Fakes that are a third real sample: every lens should see what it sees of the baseline."""
    manifold = MANIFOLDS[name](**settings)
    real, fake, baseline = (manifold.sample(n, torch.Generator().manual_seed(seed)).points for seed in range(3))
    scale = real.std()
    square = torch.randn([manifold.ambient_dim] * 2, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(square.double()).Q

    def standardise(points: torch.Tensor) -> torch.Tensor:
        return (points.double() - 1) / scale

    networks = Networks(
        standardise=standardise, embed=standardise, untrained=standardise, other=lambda x: x.double() @ turn * 3,
        other_untrained=lambda x: x.double().square(), decode=lambda z: z,
        score=lambda x, sigma: exact_score(standardise(real), x, sigma),
    )  # fmt: skip
    return Subject(real, fake, baseline, manifold, networks)


@pytest.fixture
def few_geodesics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numerical ones take 10 ms each."""
    monkeypatch.setattr("mvm.lenses.maps.PAIRS", 6)
    monkeypatch.setattr("mvm.lenses.nearest.ASKED", 1)


@pytest.mark.usefixtures("few_geodesics")
@pytest.mark.parametrize("name", MANIFOLDS)
def test_every_lens_on_every_manifold(name):
    subject = subject_on(name, noise=0.02)
    for key, lens in LENSES.items():
        if reason := lens.refusal(subject):
            assert (key, name) == ("tangents", "eight_gaussians"), reason
            with pytest.raises(ConfigError, match="Tangents: the data are not samples of a known manifold"):
                lens.look(subject)
            continue
        reading = lens.look(subject)
        found = reading.as_json()
        assert {*reading.numbers} | {f"{number}_floor" for number in reading.numbers} <= {*found}
        json.dumps(found, allow_nan=False)
        for number in reading.numbers.values():
            assert number.label
            assert isinstance(number.value, float | int)
        for picture in reading.pictures:
            assert picture.layers
            for layer in picture.layers:
                assert layer.points.shape[1:] == (2,)
                assert layer.values is None or layer.values.shape == layer.points.shape[:1]
                assert layer.kind != "arrows" or len(layer.points) % 2 == 0
    numbers = {
        key: LENSES[key].look(subject).numbers for key in ("autoencoder", "seeds", "embeddings", "spanning_tree")
    }
    for number in numbers["autoencoder"].values():  # encoder and decoder are inverse
        assert number.value == pytest.approx(0, abs=1e-6)
    similarity = numbers["seeds"]["similarity"]  # a rotation and a scale, beside another map
    assert similarity.value > 0.98
    assert similarity.value > similarity.baseline
    assert numbers["embeddings"]["effective_rank"].value == pytest.approx(effective_rank(subject.fake), rel=1e-5)
    assert numbers["spanning_tree"]["longest"].value == pytest.approx(spanning_tree(subject.fake).longest)


def test_a_lens_sees_what_is_wrong_with_the_fakes():
    angle = torch.linspace(0, 2 * math.pi, 513)[:-1].double()
    manifold, circle = MANIFOLDS["circle"](), torch.stack([angle.cos(), angle.sin()], dim=1)
    shifted = torch.stack([(angle + 0.003).cos(), (angle + 0.003).sin()], dim=1)
    broken = Subject(circle, torch.cat([circle[:435], circle[:77]]), shifted, manifold)  # 15 % are missing
    holes = LENSES["holes"].look(broken).numbers
    assert (holes["betti_1"].value, holes["betti_1"].baseline, holes["betti_1"].truth) == (0, 1, 1)
    assert holes["bottleneck_1"].value > 0.4 > 10 * holes["bottleneck_1"].baseline
    tree = LENSES["spanning_tree"].look(broken).numbers["longest"]
    assert (tree.value, tree.baseline) == (pytest.approx(2 * math.sin(math.pi / 512), rel=1e-3),) * 2
    noise = 0.05 * torch.randn(512, 2, generator=torch.Generator().manual_seed(0)).double()
    noisy = Subject(circle, circle + noise, shifted, manifold)
    parts = LENSES["tangents"].look(noisy).numbers
    assert parts["normal"].value == pytest.approx(0.05, rel=0.1)
    assert (parts["normal"].baseline, parts["normal"].truth, parts["tangential"].value) == (0, 0, 0)
    dimension = LENSES["dimension"].look(noisy).numbers
    assert dimension["mle_10"].value > 1.5
    assert dimension["mle_200"].value == pytest.approx(dimension["mle_200"].baseline, abs=0.1)


@pytest.mark.parametrize(("dim", "ambient"), [(1, 2), (2, 3), (2, 5)])
def test_the_exact_score_of_a_subspace_tells_its_dimension(dim, ambient):
    """x = B u: the score with noise σ is −P_normal x / σ² − P_tangent x / (1 + σ²)."""
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(ambient, ambient, generator=generator).double()).Q[:, :dim]
    points = torch.randn(600, dim, generator=generator).double() @ frame.mT

    def score(x: torch.Tensor, sigma: float) -> torch.Tensor:
        inside = x @ frame @ frame.mT
        return -(x - inside) / sigma**2 - inside / (1 + sigma**2)

    assert dimension_from(score, points, 0.05) == pytest.approx(dim, abs=0.1)
    values = singular_values(score, points, 0.05).mean(0)
    assert (values < 0.5).sum() == dim
    subject = Subject(points, points, points, None, Networks(score=score))
    assert LENSES["score"].look(subject).numbers["dimension_rank"].value == dim


def test_the_exact_score_is_the_gradient_of_the_log_density():
    generator = torch.Generator().manual_seed(0)
    sample, x = torch.randn(9, 3, generator=generator).double(), torch.randn(4, 3, generator=generator).double()
    x.requires_grad_()
    density = torch.exp(-torch.cdist(x, sample).square() / (2 * 0.7**2)).sum(1).log().sum()
    (wanted,) = torch.autograd.grad(density, x)
    torch.testing.assert_close(exact_score(sample, x.detach(), 0.7), wanted)


@pytest.mark.parametrize("name", ["swiss_roll", "figure_eight", "two_circles", "torus"])
def test_the_points_nearest_along_a_manifold_are_those_of_all_geodesics(name):
    n = 40 if name == "torus" else 300
    manifold, points = sample(name, n + 1)
    points = points.double()
    coordinates = manifold.project(points)
    lengths = manifold.geodesic(coordinates[:1].expand(n, -1), coordinates[1:])
    found = nearest_along(manifold, points[0], points[1:], k=10)
    torch.testing.assert_close(lengths[found], lengths.sort().values[:10])


def test_a_lens_says_why_it_cannot_look():
    subject = subject_on("circle")
    many = torch.zeros(5, 4)
    assert "at most three dimensions" in LENSES["holes"].refusal(Subject(many, many, many))
    reasons = {
        "autoencoder": "no autoencoder", "score": "learns no score", "seeds": "learns no metric",
        "embeddings": "learns no metric", "tangents": "not samples of a known manifold",
    }  # fmt: skip
    bare = Subject(subject.real, subject.fake, subject.baseline)
    for name, reason in reasons.items():
        assert reason in LENSES[name].refusal(bare)
    one = replace(subject, networks=Networks(embed=lambda x: x))
    assert "--seeds 0 1" in LENSES["seeds"].refusal(one)
    collapsed = replace(subject, fake=torch.ones(160, 2))
    assert all("the fakes have 1" in lens.refusal(collapsed) for lens in LENSES.values())
    diverged = replace(subject, fake=torch.full((160, 2), torch.nan))
    assert all("coordinates of the fakes are no numbers" in lens.refusal(diverged) for lens in LENSES.values())
