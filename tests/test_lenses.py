"""Every lens against an oracle: known topology, known dimension, known tangents, other libraries, loops."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mvm.geometry.dimension import dimension_mle, dimension_two_nn
from mvm.geometry.graphs import diffusion_map, graph_geodesics, isomap, spanning_tree
from mvm.geometry.holes import betti_numbers, bottleneck, diagrams
from mvm.geometry.representations import effective_rank, nuclear_norm, relative, similarity
from mvm.geometry.tangents import displacement, local_tangents, tangent_angles, true_tangents
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
