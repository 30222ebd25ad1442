"""Forces, modes, pull-back metric and preserved neighbourhoods, each against its values on a known map."""

import math

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as published_trustworthiness

from mvm.geometry.descriptors import DESCRIPTORS, p_diameter, two_diameter
from mvm.geometry.forces import forces
from mvm.geometry.neighbourhoods import continuity, preservation_of, trustworthiness
from mvm.geometry.pullback import ellipses, geodesic, log_volume, pull_back, restrict, tangents
from mvm.geometry.spectrum import SPECTRUM_FORMS, eigenvalues, modes
from mvm.geometry.umap_film import project
from mvm.networks.mlp import StackedMLP
from mvm.scoring.images import Gaussian, frechet, kernel_distance, overlap
from mvm.scoring.points import Reference
from toy_manifolds import MANIFOLDS, embedded, manifold

FORMS = list(SPECTRUM_FORMS)
close = torch.testing.assert_close


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rotation(dim: int) -> torch.Tensor:
    return torch.linalg.qr(points(dim, dim, seed=9)).Q


def network(*sizes: int, activation: str = "relu", gain: float = 1.0):
    """One member's g_w, `(B, D)` to `(B, k)`, float64."""
    mlp = StackedMLP(sizes, [torch.Generator().manual_seed(3)], activation=activation).double()
    with torch.no_grad():
        for weight in mlp.weights:
            weight *= gain
    return lambda x: mlp(x[None])[0]


def straight(start: torch.Tensor, end: torch.Tensor, embed) -> float:
    """Length of the straight line in embedding space, as `geodesic` measures a path."""
    line = torch.lerp(start, end, torch.linspace(0, 1, 513).to(start)[:, None])
    return embed(line).diff(dim=0).norm(dim=-1).sum().item()


def polar(q: torch.Tensor) -> torch.Tensor:
    r, angle = q.unbind(-1)
    return torch.stack([r * angle.cos(), r * angle.sin()], dim=-1)


# Forces


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_force_is_the_fall_of_its_gap_by_finite_differences(name):
    embed, real, fake = network(3, 16, 4, activation="silu", gain=2), points(7, 3), 1.7 * points(7, 3, seed=1) + 0.4
    force = forces(real, fake, embed=embed, terms=[name])[name]
    assert force.shape == fake.shape
    expected, step = torch.zeros_like(fake), 1e-6
    with torch.no_grad():
        for j in np.ndindex(*fake.shape):
            gaps = []
            for side in (step, -step):
                moved = fake.clone()
                moved[j] += side
                gaps.append(DESCRIPTORS[name].gap(embed(real), embed(moved)))
            expected[j] = (gaps[1] - gaps[0]) / (2 * step)
    assert expected.abs().max() > 1e-3
    close(force, expected, rtol=1e-5, atol=1e-8)


def test_forces_are_those_of_autograd_and_add_up_to_that_of_the_loss():
    embed, real, fake = network(2, 32, 5), points(20, 2), points(20, 2, seed=1)
    found = forces(real, fake, embed=embed, terms=DESCRIPTORS)
    assert list(found) == list(DESCRIPTORS)
    moving = fake.clone().requires_grad_()
    sum(d.gap(embed(real).detach(), embed(moving)) for d in DESCRIPTORS.values()).backward()
    close(sum(found.values()), -moving.grad)
    assert not fake.requires_grad


def test_the_centroid_pulls_all_alike_and_the_diameter_radially():
    real, fake = points(30, 3), 0.2 * points(30, 3, seed=1) + 2
    found = forces(real, fake, embed=lambda e: e, terms=["centroid", "diameter", "hausdorff"])
    gap = real.mean(0) - fake.mean(0)
    close(found["centroid"], (gap / gap.norm() / 30).expand(30, 3))
    centred = fake - fake.mean(0)
    close(found["diameter"], centred * math.sqrt(2 / centred.square().sum(-1).mean().item()) / 30)
    assert (found["hausdorff"].norm(dim=-1) > 0).sum() == 1


@pytest.mark.parametrize("unit_length", [False, True])
def test_forces_on_collapsed_and_on_perfect_fakes_are_finite(unit_length):
    mlp = StackedMLP([2, 16, 4], [torch.Generator().manual_seed(0)], unit_length=unit_length)
    real = points(12, 2).float()
    for fake in (real[:1].expand(12, 2), real, torch.zeros(12, 2), 1e-20 * real):
        for some in (real, fake):
            found = forces(some, fake, embed=lambda x: mlp(x[None])[0], terms=DESCRIPTORS)
            assert all(force.isfinite().all() for force in found.values())
    assert all(parameter.grad is None for parameter in mlp.parameters())


def test_forces_are_had_where_gradients_are_off():
    mlp = StackedMLP([2, 16, 4], [torch.Generator().manual_seed(0)])
    real, fake = points(12, 2).float(), points(12, 2, seed=1).float()

    def force() -> torch.Tensor:
        return forces(real, fake, embed=lambda x: mlp(x[None])[0], terms=["diameter"])["diameter"]

    with torch.inference_mode():
        inside = force()
    close(inside, force())


def test_an_unknown_term_is_named():
    with pytest.raises(ValueError, match="unknown descriptor 'radius': choose from centroid, diameter"):
        forces(points(3, 2), points(3, 2), embed=lambda e: e, terms=["radius"])


# Arguments

CALLS = {
    "forces": lambda x, y: forces(x, y, embed=lambda e: e.sin(), terms=DESCRIPTORS),
    "pull_back": lambda x, y: pull_back(x, lambda e: e @ y.T),
    "geodesic": lambda x, y: geodesic(x[0], y[:1], embed=lambda e: e.sin(), bounds=(x.amin(0), x.amax(0)), segments=4),
    "modes": lambda x, y: [modes(x, y, k=3, form=form) for form in FORMS],
    "preservation_of": lambda x, y: preservation_of(x, y, k=3),
    "project": lambda x, y: project(x.numpy(), previous=y[:, :2].numpy()),
    "gaps": lambda x, y: [descriptor.gap(x, y) for descriptor in DESCRIPTORS.values()],
    "diameters": lambda x, y: [two_diameter(x), p_diameter(y, 3)],
    "points": lambda x, y: Reference(x, y).score(x[:8]),
    "images": lambda x, y: [frechet(Gaussian.of(x), Gaussian.of(y)), kernel_distance(x, y), overlap(x[:, 0], y[:, 0])],
}


@pytest.mark.parametrize("name", CALLS)
def test_no_function_changes_its_arguments(name):
    x, y = points(12, 3), points(12, 3, seed=1)
    kept = x.clone(), y.clone()
    CALLS[name](x, y)
    assert not x.requires_grad
    assert not y.requires_grad
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


# Modes


def matrix(x: np.ndarray, form: str) -> np.ndarray:
    """The matrix whose eigenvalues `eigenvalues` gives, written out."""
    d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    if form == "distance":
        return d / d.mean()
    centring = np.eye(len(x)) - 1 / len(x)
    b = -0.5 * centring @ d**2 @ centring
    return b / np.trace(b)


@pytest.mark.parametrize("form", FORMS)
def test_modes_solve_the_explicit_matrix_in_the_order_of_the_eigenvalues(form):
    x = points(24, 6) * vector(6, 5, 4, 3, 2, 1)
    found = modes(x, k=5, form=form)
    assert found.real.shape == (5, 24)
    assert found.fake is None
    close(found.values, eigenvalues(x, k=5, form=form))
    d = torch.from_numpy(matrix(x.numpy(), form))
    close(found.real @ d, found.values[:, None] * found.real, atol=1e-10, rtol=1e-9)
    close(found.real @ found.real.T, torch.eye(5, dtype=x.dtype))
    peaks = found.real.gather(1, found.real.abs().argmax(1, keepdim=True))
    assert (peaks > 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("leading", [(), (2,)])
def test_fakes_that_are_reals_have_the_reals_values(form, leading):
    x = points(*leading, 24, 6)
    found = modes(x, x[..., [3, 1, 20], :], k=5, form=form)
    assert found.fake.shape == (*leading, 5, 3)
    close(found.fake, found.real[..., [3, 1, 20]])


def test_mds_modes_of_fakes_are_their_principal_components():
    x, y = points(30, 3) * vector(3, 2, 1), points(8, 3, seed=1)
    found = modes(x, y, k=3, form="mds")
    _, singular, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = axes @ (y - x.mean(0)).T / singular[:, None]
    signs = (axes @ (x - x.mean(0)).T * found.real).sum(1, keepdim=True).sign()
    close(found.fake, signs * expected)


def test_distance_modes_of_fakes_are_nystroems_sum():
    x, y = points(16, 3), points(5, 3, seed=1)
    found = modes(x, y, k=4)
    mean = torch.cdist(x, x).mean()
    for i, j in np.ndindex(4, 5):
        total = sum((y[j] - x[l]).norm() / mean * found.real[i, l] for l in range(16))
        close(found.fake[i, j], total / found.values[i])


@pytest.mark.parametrize("form", FORMS)
def test_modes_do_not_feel_where_the_set_lies(form):
    x, y = points(20, 4), points(6, 4, seed=1)
    found, moved = (
        modes(a, b, form=form, k=4) for a, b in ((x, y), (3 * x @ rotation(4) + 5, 3 * y @ rotation(4) + 5))
    )
    close(moved.real, found.real)
    close(moved.fake, found.fake)


@pytest.mark.parametrize("form", FORMS)
def test_modes_of_collapsed_flat_and_diverged_sets(form):
    y = points(5, 4, seed=1)
    y[2] = torch.nan
    others = [0, 1, 3, 4]
    flat = modes(points(8, 1) * torch.ones(4, dtype=torch.float64), y, k=10, form=form)
    assert flat.real.shape == (10, 8)
    assert flat.fake[:, 2].isnan().all()
    assert flat.fake[:, others].isfinite().all()
    assert flat.fake[:, others].abs().max() < 1e3
    collapsed = modes(torch.ones(8, 4, dtype=torch.float64), y, k=3, form=form)
    assert (collapsed.fake[:, others] == 0).all()
    diverged = points(8, 4)
    diverged[0, 0] = torch.inf
    assert modes(diverged, y, k=3, form=form).fake.isnan().all()


# Pull-back metric


@pytest.mark.parametrize(("dim", "out"), [(2, 5), (3, 3), (4, 2)])
def test_a_linear_map_has_the_same_known_metric_everywhere(dim, out):
    a = points(out, dim, seed=4)
    metric = pull_back(points(6, dim), lambda x: x @ a.T)
    close(metric, (a.T @ a).expand(6, dim, dim))
    if out >= dim:
        close(log_volume(metric), (torch.linalg.slogdet(a.T @ a).logabsdet / 2).expand(6))
    else:
        assert (log_volume(metric) < -15).all()  # a direction is lost


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu"])
def test_the_pull_back_of_a_network_is_that_of_its_jacobian_row_by_row(activation):
    embed, x = network(3, 16, 16, 5, activation=activation), points(9, 3)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda r: embed(r[None])[0], row) for row in x])
    close(pull_back(x, embed), jacobian.mT @ jacobian)
    shifted = embed(x + 1e-6 * torch.eye(3, dtype=x.dtype)[:1]) - embed(x)
    close(pull_back(x, embed)[:, 0, 0].sqrt(), shifted.norm(dim=-1) / 1e-6, rtol=1e-4, atol=1e-8)


def test_the_metric_of_polar_coordinates():
    q = torch.stack([points(5).abs() + 0.5, points(5, seed=1)], dim=-1)
    metric = pull_back(q, polar)
    close(metric, torch.diag_embed(torch.stack([torch.ones_like(q[:, 0]), q[:, 0].square()], dim=-1)))
    close(log_volume(metric), q[:, 0].log())


def test_turning_the_embedding_changes_nothing_and_turning_the_data_turns_the_ellipses():
    embed, x = network(2, 16, 5), points(6, 2)
    q, p = rotation(5), rotation(2)
    metric = pull_back(x, embed)
    close(pull_back(x, lambda x: embed(x) @ q), metric)
    turned = pull_back(x @ p, lambda x: embed(x @ p.T))
    close(turned, p.T @ metric @ p)
    close(log_volume(turned), log_volume(metric))
    lines = [geodesic(x[0], x[1], embed=e, segments=8) for e in (embed, lambda x: embed(x) @ q)]
    close(lines[1].length, lines[0].length)
    found = forces(x, 2 * x, embed=embed, terms=["hausdorff", "covariance"])
    for name, force in forces(x, 2 * x, embed=lambda x: embed(x) @ q, terms=found).items():
        close(force, found[name])


def test_an_ellipse_has_the_half_axes_of_its_metric():
    polygon = ellipses(torch.diag(vector(4, 0.25))[None], scale=0.1, points=8)[0]
    close(polygon[[0, 2, 4, 6]], torch.stack([vector(0.05, 0), vector(0, 0.2), vector(-0.05, 0), vector(0, -0.2)]))
    turn = rotation(2)
    metric = turn @ torch.diag(vector(4, 0.25)) @ turn.T
    polygon = ellipses(metric[None], points=4000)[0]
    lengths = polygon.norm(dim=-1)
    close(torch.stack([lengths.min(), lengths.max()]), vector(0.5, 2), rtol=1e-5, atol=0)
    close((turn.T @ polygon[lengths.argmax()]).abs(), vector(0, 2), rtol=1e-3, atol=5e-3)


def test_a_step_to_an_ellipse_has_the_asked_length_in_embedding_space():
    embed, x = network(2, 32, 5, activation="silu", gain=2), points(7, 2)
    polygons = ellipses(pull_back(x, embed), scale=1e-5, points=12)
    steps = embed((x[:, None] + polygons).reshape(-1, 2)).view(7, 12, 5) - embed(x)[:, None]
    close(steps.norm(dim=-1), torch.full((7, 12), 1e-5, dtype=x.dtype), rtol=1e-3, atol=0)


def test_degenerate_ellipses_are_capped_and_broken_ones_are_nan():
    metric = torch.zeros(3, 2, 2, dtype=torch.float64)
    metric[1] = torch.diag(vector(1, 0))
    metric[2, 0, 0] = torch.nan
    polygons = ellipses(metric, longest=3.0)
    close(polygons[0].norm(dim=-1), torch.full((48,), 3.0, dtype=torch.float64))
    close(polygons[1].abs().amax(0), vector(1, 3))
    assert polygons[2].isnan().all()
    volume = log_volume(metric)
    assert (volume[:2] == -torch.inf).all()
    assert volume[2].isnan()
    with pytest.raises(ValueError, match="restrict them"):
        ellipses(torch.eye(3).expand(4, 3, 3))


@pytest.mark.parametrize("name", MANIFOLDS)
def test_tangents_are_orthonormal_and_point_along_the_manifold(name):
    made = embedded(manifold(name), 5) if name == "torus" else manifold(name)
    c = made.sample(20, torch.Generator().manual_seed(0)).coordinates.double()
    basis = tangents(made, c)
    d = made.intrinsic_dim
    assert basis.shape == (20, made.ambient_dim, d)
    close(basis.mT @ basis, torch.eye(d, dtype=c.dtype).expand(20, d, d))
    for i in range(d):
        ahead, back = c.clone(), c.clone()
        ahead[:, i] += 1e-5
        back[:, i] -= 1e-5
        step = made.embed(ahead) - made.embed(back)
        inside = (basis @ (basis.mT @ step[..., None]))[..., 0]
        close(inside, step, atol=1e-8 * step.norm(dim=-1).max().item(), rtol=0)


def test_the_volume_on_a_sphere_is_that_of_the_map_restricted_to_it():
    sphere = manifold("sphere")
    c = torch.stack([points(9), points(9, seed=1).clamp(-1, 1)], dim=-1)
    basis, a = tangents(sphere, c), points(3, 3, seed=5)
    x = sphere.embed(c)
    close(log_volume(restrict(pull_back(x, lambda x: 3 * x), basis)), math.log(9) * torch.ones_like(x[:, 0]))
    east = torch.nn.functional.normalize(vector(0, 0, 1).expand(9, 3).cross(x, dim=-1), dim=-1)
    north = x.cross(east, dim=-1)
    area = (east @ a.T).cross(north @ a.T, dim=-1).norm(dim=-1)
    close(log_volume(restrict(pull_back(x, lambda x: x @ a.T), basis)), area.log())


@pytest.mark.parametrize(("dim", "out"), [(2, 4), (3, 3), (4, 2)])
def test_a_geodesic_of_a_linear_map_is_straight(dim, out):
    a, ends = points(out, dim, seed=4), points(2, dim)
    found = geodesic(*ends, embed=lambda x: x @ a.T)
    expected = (a @ (ends[1] - ends[0])).norm().item()
    close(found.length, expected)
    close(found.path[[0, -1]], ends)
    along = found.path - ends[0]
    direction = (ends[1] - ends[0]) / (ends[1] - ends[0]).norm()
    close(along, (along @ direction)[:, None] * direction)


def test_a_geodesic_in_polar_coordinates_is_a_straight_line_of_the_plane():
    start, end = vector(1, 0.2), vector(2, 2.6)
    found = geodesic(start, end, embed=polar)
    flat = polar(torch.stack([start, end]))
    close(found.length, (flat[1] - flat[0]).norm().item(), rtol=1e-3, atol=0)
    finer = geodesic(start, end, embed=polar, segments=64)  # what is left is the polyline's own error, O(1/N²)
    close(finer.length, (flat[1] - flat[0]).norm().item(), rtol=2e-4, atol=0)
    across = polar(finer.path) - flat[0]
    side = vector(flat[0, 1] - flat[1, 1], flat[1, 0] - flat[0, 0])
    close(across @ side / side.norm(), torch.zeros(len(across), dtype=side.dtype), atol=2e-3, rtol=0)
    assert straight(start, end, polar) > 1.15 * found.length


def test_a_geodesic_across_a_kink_is_refracted():
    """x > 0 is stretched by 3 along x, x < 0 sheared: the image is the plane, where the straight line is shortest."""

    def fold(x: torch.Tensor) -> torch.Tensor:
        right, left = x[..., 0].relu(), (-x[..., 0]).relu()
        return torch.stack([3 * right - left, x[..., 1] + 2 * left], dim=-1)

    start, end = vector(-1, -1), vector(1, 1.5)
    found = geodesic(start, end, embed=fold)
    close(found.length, (fold(end) - fold(start)).norm().item(), rtol=5e-3, atol=0)
    assert straight(start, end, fold) > 1.05 * found.length


def test_a_geodesic_round_the_tip_of_a_cone_is_that_of_the_unrolled_sector():
    def cone(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 1.5 * (x.square().sum(-1, keepdim=True) + 1e-24).sqrt()], dim=-1)

    slant, angle = math.sqrt(1 + 1.5**2), 2.8
    start, end = vector(1, 0), vector(math.cos(angle), math.sin(angle))
    found = geodesic(start, end, embed=cone)
    close(found.length, 2 * slant * math.sin(angle / slant / 2), rtol=1e-3, atol=0)
    assert straight(start, end, cone) > 1.2 * found.length


@pytest.mark.parametrize(
    ("name", "start", "end", "periods"),
    [
        ("sphere", (0.3, -0.4), (4.0, 0.6), (math.tau, 0)),
        ("torus", (0.3, -0.4), (5.0, 1.0), (math.tau, 0)),
        ("ellipse", (0.3,), (5.0,), (math.tau,)),
        ("helix", (1.0,), (7.0,), None),
        ("s_curve", (-3.0, 0.2), (4.0, 1.8), None),
        ("swiss_roll", (5.0, 2.0), (13.0, 20.0), None),
    ],
)
def test_with_the_identity_and_a_chart_a_geodesic_is_the_manifolds_own(name, start, end, periods):
    made, start, end = manifold(name), vector(*start), vector(*end)
    ends = end if periods is None else torch.stack([end, end - vector(*periods)])
    found = geodesic(start, ends, embed=lambda x: x, chart=made.embed)
    close(found.length, made.geodesic(start[None], end[None]).item(), rtol=1e-3, atol=0)
    close(made.distance(found.path), torch.zeros(len(found.path), dtype=start.dtype), atol=1e-6, rtol=0)
    close(found.path[[0, -1]], made.embed(torch.stack([start, end])))


def test_a_bounded_chart_keeps_its_path():
    """A half-annulus, r in [1, 2], between points that see the hole: the path hugs the inner circle."""
    start, end = vector(1.5, 0), vector(1.5, math.pi)
    bounds = vector(1, -1), vector(2, 4)
    found = geodesic(start, end, embed=lambda x: x, chart=polar, bounds=bounds)
    assert found.path.norm(dim=-1).min() > 0.99
    tangent = math.acos(1 / 1.5)  # a taut string: two tangents and an arc
    close(found.length, 2 * math.sqrt(1.5**2 - 1) + math.pi - 2 * tangent, rtol=2e-3, atol=0)


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_geodesic_under_a_network_is_no_longer_than_the_straight_line(activation, dtype):
    mlp = StackedMLP([2, 64, 64, 10], [torch.Generator().manual_seed(3)], activation=activation).to(dtype)
    with torch.no_grad():
        for weight in mlp.weights:
            weight *= 3

    def embed(x: torch.Tensor) -> torch.Tensor:
        return mlp(x[None])[0]

    for start, end in points(2, 2, 2).to(dtype):
        found = geodesic(start, end, embed=embed)
        assert found.length <= straight(start, end, embed) * (1 + 1e-6)
        close(found.path[[0, -1]], torch.stack([start, end]))
        inner = [torch.lerp(found.path[:-1], found.path[1:], t) for t in (0, 0.25, 0.5, 0.75)]
        fine = torch.cat([torch.stack(inner, dim=1).flatten(0, 1), found.path[-1:]])
        close(found.length, embed(fine).diff(dim=0).norm(dim=-1).sum().item(), rtol=1e-4, atol=0)


def test_geodesics_where_there_is_nothing_to_find():
    same = geodesic(vector(1, 2), vector(1, 2), embed=polar)
    close(same.path, vector(1, 2).expand_as(same.path))
    assert same.length == 0
    flat = geodesic(vector(0, 0), vector(1, 2), embed=lambda x: 0 * x)
    close(flat.path[:, 1], 2 * flat.path[:, 0])
    assert flat.length == 0
    with pytest.raises(ValueError, match="finite ends"):
        geodesic(vector(0, math.nan), vector(1, 2), embed=polar)


def test_an_embedding_without_gradients_is_refused():
    with pytest.raises(RuntimeError, match="does not require grad"):
        pull_back(points(3, 2), torch.no_grad()(polar))


# Honesty


def naive_trustworthiness(x: np.ndarray, y: np.ndarray, k: int) -> list[float]:
    n, values = len(x), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        near = [sorted(others, key=lambda j, z=z: np.linalg.norm(z[i] - z[j])) for z in (x, y)]
        excess = sum(max(0, near[0].index(j) + 1 - k) for j in near[1][:k])
        values.append(1 - 2 / (k * (2 * n - 3 * k - 1)) * excess)
    return values


@pytest.mark.parametrize("k", [1, 5, 14])
def test_trustworthiness_and_continuity_of_each_point(k):
    x, y = points(30, 5), points(30, 2, seed=1)
    trust, continuous = trustworthiness(x, y, k=k), continuity(x, y, k=k)
    close(trust, torch.tensor(naive_trustworthiness(x.numpy(), y.numpy(), k), dtype=x.dtype))
    close(trust.mean().item(), float(published_trustworthiness(x.numpy(), y.numpy(), n_neighbors=k)))
    close(continuous.mean().item(), float(published_trustworthiness(y.numpy(), x.numpy(), n_neighbors=k)))
    assert trust.min() < 0.9


def test_a_projection_that_only_turns_and_scales_preserves_neighbourhoods():
    x = points(40, 3)
    for score in (trustworthiness, continuity):
        assert (score(x, 3 * x @ rotation(3) + 1) == 1).all()


def test_a_tear_breaks_continuity_and_an_overlay_breaks_trust_there_only():
    t = torch.rand(100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort(dim=0).values
    right = t[:, 0] > 0.5
    near = (t - t.T).abs().argsort(dim=1)[:, 1:6]
    beside = (right[near] != right[:, None]).any(1)  # a neighbour lies beyond the cut
    torn = t + right[:, None]  # the line, cut in the middle and drawn apart
    assert 2 < beside.sum() < 12
    assert ((continuity(t, torn, k=5) < 1) == beside).all()
    assert ((trustworthiness(torn, t, k=5) < 1) == beside).all()  # and glued together again
    folded = (t - 0.5).abs()
    assert trustworthiness(t, folded, k=5)[0] < continuity(t, folded, k=5)[0]


def test_coinciding_and_broken_points():
    x = points(20, 3)
    x[:8] = x[0]
    assert (trustworthiness(x, x[:, :3], k=5) == 1).all()
    x[3, 0] = torch.nan
    assert trustworthiness(x, points(20, 2), k=5).isnan().all()
    assert continuity(x, points(20, 2), k=5).isnan().all()


def test_bad_use_of_preservation_is_named():
    with pytest.raises(ValueError, match="less than n/2 = 5, got 5"):
        trustworthiness(points(10, 3), points(10, 2), k=5)
    with pytest.raises(ValueError, match="same rows, got 9 and 10"):
        continuity(points(9, 3), points(10, 2), k=2)
