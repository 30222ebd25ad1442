"""Ground truth must be true: every manifold meets one contract, and agrees with oracles that share no code with it."""

import inspect
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field, field_validator, model_validator
from scipy import special, stats
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from sklearn.datasets import make_moons, make_s_curve, make_swiss_roll

from toy_manifolds import MANIFOLDS, Manifold, embedded, manifold
from toy_manifolds.curves import Curve
from toy_manifolds.geodesics import shortest_length

CURVES = [name for name, kind in MANIFOLDS.items() if issubclass(kind, Curve)]
COORDINATES = {"concentric_circles": 2, "two_circles": 2, "moons": 2, "eight_gaussians": 1}  # the others: intrinsic_dim


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(m, n: int, seed: int = 0):
    """Coordinates of n random pairs, float64."""
    return m.draw(2 * n, seeded(seed)).split(n)


def chord(m, u, v):
    return torch.linalg.vector_norm(m.embed(u) - m.embed(v), dim=-1)


def close(actual, expected, *, atol: float, rtol: float = 0.0):
    actual, expected = (torch.as_tensor(np.asarray(x), dtype=torch.float64) for x in (actual, expected))
    torch.testing.assert_close(actual, expected.expand_as(actual), atol=atol, rtol=rtol)


@pytest.fixture(params=MANIFOLDS)
def name(request) -> str:
    return request.param


@pytest.fixture
def m(name):
    return manifold(name, noise=0)


@pytest.fixture(params=[False, True], ids=["flat", "embedded"])
def placed(request, m):
    """The manifold itself, and in seven dimensions."""
    return embedded(m, 7, seed=3) if request.param else m


# The contract: every entry of the registry.


def test_sample_has_the_promised_shape(name, placed):
    sample = placed.sample(257, seeded())
    assert sample.points.shape == (257, placed.ambient_dim)
    assert sample.coordinates.shape == (257, COORDINATES.get(name, placed.intrinsic_dim))
    assert sample.points.dtype == sample.coordinates.dtype == torch.float32
    assert placed.sample(0).points.shape == (0, placed.ambient_dim)


def test_sample_depends_on_the_generator_alone(placed):
    first = placed.sample(100, seeded(1))
    torch.manual_seed(7)
    again, other = placed.sample(100, seeded(1)), placed.sample(100, seeded(2))
    assert torch.equal(first.points, again.points)
    assert torch.equal(first.coordinates, again.coordinates)
    assert not torch.equal(first.points, other.points)


def test_coordinates_say_where_the_points_are(placed):
    sample = placed.sample(500, seeded())
    close(placed.embed(sample.coordinates.double()), sample.points, atol=0, rtol=1e-6)


def test_samples_lie_on_the_manifold(placed):
    sample = placed.sample(500, seeded())
    distance = placed.distance(sample.points)
    assert distance.dtype == torch.float32
    close(distance, 0, atol=3e-7 * sample.points.abs().max().item())


def test_projections_lie_on_the_manifold(placed):
    x = 3 * torch.randn(300, placed.ambient_dim, generator=seeded(), dtype=torch.float64)
    feet = placed.embed(placed.project(x))
    assert placed.distance(x).dtype == torch.float64
    close(placed.distance(feet), 0, atol=1e-12)
    close(torch.linalg.vector_norm(x - feet, dim=-1), placed.distance(x), atol=1e-12)


def test_distance_is_that_to_the_nearest_of_many_samples(m):
    known = m.embed(m.draw(60_000, seeded()))
    scale = 1.5 * known.abs().amax(0)
    x = (2 * torch.rand(300, m.ambient_dim, generator=seeded(1), dtype=torch.float64) - 1) * scale
    tree = cKDTree(known.numpy())
    nearest, gap = tree.query(x.numpy())[0], tree.query(known[:500].numpy(), k=7)[0][:, -1].max()
    excess = torch.as_tensor(nearest) - m.distance(x)
    assert excess.min() > -1e-9
    assert excess.max() < 2 * gap + 1e-9  # some sample lies that near to the true foot
    if m.intrinsic_dim < m.ambient_dim:  # a foot off by h costs h², except at a boundary
        assert excess.median() < gap**2 + 1e-9


def test_distance_falls_at_unit_rate_towards_the_manifold(placed):
    """Also after a first use in inference mode, whose tensors must not be kept."""
    with torch.inference_mode():
        placed.distance(placed.sample(5).points)
    x = 3 * torch.randn(50, placed.ambient_dim, generator=seeded(), dtype=torch.float64)
    x.requires_grad_()
    distance = placed.distance(x)
    (slope,) = torch.autograd.grad(distance.sum(), x)
    off = distance.detach() > 1e-9
    close(torch.linalg.vector_norm(slope, dim=-1)[off], 1, atol=1e-9)
    assert off.sum() > 10


def test_distance_of_nan_is_nan_and_of_its_neighbours_is_not(placed):
    x = torch.zeros(3, placed.ambient_dim)
    x[1] = torch.nan
    distance = placed.distance(x)
    assert distance.isnan().tolist() == [False, True, False]


def test_geodesic_is_a_metric(m):
    u, v, w = m.draw(150, seeded()).split(50)
    uv, vw, uw, vu, uu = m.geodesic(torch.cat([u, v, u, v, u]), torch.cat([v, w, w, u, u])).split(50)
    close(vu, uv, atol=1e-12, rtol=1e-5)
    close(uu, 0, atol=1e-12)
    assert (uv >= chord(m, u, v) * (1 - 1e-5)).all()
    assert (uw <= (uv + vw) * (1 + 1e-5)).all()


def test_geodesic_of_near_points_is_their_chord(m):
    u = m.draw(100, seeded())
    v = m.project(m.embed(u) + 1e-4 * torch.randn(100, m.ambient_dim, generator=seeded(1), dtype=torch.float64))
    geodesic, straight = m.geodesic(u, v), chord(m, u, v)
    close(geodesic, straight, atol=1e-9, rtol=1e-4)


def test_geodesic_is_infinite_exactly_between_components(name, m):
    u, v = pairs(m, 80)
    component = {"eight_gaussians": 0}.get(name, 1)
    apart = u[:, component] != v[:, component] if name in COORDINATES else torch.zeros(80, dtype=torch.bool)
    assert torch.equal(m.geodesic(u, v).isinf(), apart)


def test_lifts_are_coordinates_of_one_point(placed):
    u, v = pairs(placed, 20)
    for start, end in zip(u, v, strict=True):
        lifts = placed.lifts(start, end)
        assert lifts.shape[1:] == end.shape
        close(placed.embed(lifts), placed.embed(end), atol=1e-12)


def test_chart_bounds_hold_the_coordinates_of_samples(placed):
    if (bounds := placed.chart_bounds) is not None:
        coordinates = placed.draw(500, seeded())
        assert ((bounds[0] <= coordinates) & (coordinates <= bounds[1])).all()


def test_charts_hold_the_samples_each_on_one(placed):
    coordinates = placed.draw(500, seeded())
    held = torch.zeros(500, dtype=torch.int)
    for chart in placed.charts:
        places = chart.place(coordinates)
        assert places.shape == (500, len(chart.axes))
        assert places.dtype == torch.float64
        on = places.isfinite().all(-1)
        held += on
        low, high = torch.tensor([chart.low, chart.high], dtype=torch.float64)
        assert ((places[on] >= low - 1e-9) & (places[on] <= high + 1e-9)).all()
        if chart.density is not None:
            assert (chart.density(places[on]) > 0).all()
    assert (held == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_geodesic_keeps_shape_and_dtype(m, dtype):
    u, v = (x.to(dtype) for x in pairs(m, 3))
    geodesic = m.geodesic(u, v)
    assert geodesic.shape == (3,)
    assert geodesic.dtype == dtype
    assert m.geodesic(u[:0], v[:0]).shape == (0,)


def test_settings_have_bounds_and_help(name):
    kind = MANIFOLDS[name]
    assert kind.__doc__
    assert kind.title
    for field in kind.model_fields.values():
        low, high = field.metadata[0].ge, field.metadata[1].le
        assert low <= field.default <= high
        assert len(field.description) > 5


@pytest.mark.parametrize("end", ["ge", "le"])
def test_both_ends_of_every_setting_work(name, end):
    for key, field in MANIFOLDS[name].model_fields.items():
        value = getattr(field.metadata[end == "le"], end)
        sample = manifold(name, **{"noise": 0, key: value}).sample(200, seeded())
        distance = manifold(name, **{"noise": 0, key: value}).distance(sample.points)
        assert sample.points.isfinite().all()
        if key != "noise":
            close(distance, 0, atol=3e-7 * sample.points.abs().max().item())


def test_noise_has_the_stated_deviation(placed):
    noisy = placed.model_copy(update={"noise": 0.3})
    clean, shaken = placed.sample(20_000, seeded()), noisy.sample(20_000, seeded())
    assert torch.equal(clean.coordinates, shaken.coordinates)
    shift = shaken.points - clean.points
    close(shift.std(0), 0.3, atol=0.01)
    close(shift.mean(0), 0, atol=0.01)
    close(torch.corrcoef(shift.T), torch.eye(placed.ambient_dim), atol=0.04)


def test_embedding_is_an_isometry(m):
    high = embedded(m, 9, seed=5)
    u, v = pairs(m, 100)
    close(chord(high, u, v), chord(m, u, v), atol=1e-12)
    if m.intrinsic_dim < 2 or m.title == "Sphere":  # the solver is slow, and gets the same coordinates
        assert torch.equal(high.geodesic(u, v), m.geodesic(u, v))
    low = torch.randn(50, m.ambient_dim, generator=seeded(1), dtype=torch.float64)
    frame = torch.linalg.lstsq(m.embed(u), high.embed(u)).solution.T
    off = torch.randn(50, 9, generator=seeded(2), dtype=torch.float64)
    off = off - off @ frame @ frame.T
    away = torch.linalg.vector_norm(off, dim=-1)
    close(high.distance(low @ frame.T + off), torch.hypot(m.distance(low), away), atol=1e-9)


def test_embedding_is_seeded_and_keeps_the_settings():
    circle = manifold("circle", radius=2, noise=0.1)
    first, again, other = (embedded(circle, 10, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.sample(9, seeded()).points, again.sample(9, seeded()).points)
    assert not torch.equal(first.sample(9, seeded()).points, other.sample(9, seeded()).points)
    assert (first.noise, first.manifold.radius, first.ambient_dim, first.intrinsic_dim) == (0.1, 2, 10, 1)


# Mistakes, and what they get.


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: manifold("swis_roll"), ["swis_roll", "did you mean 'swiss_roll'", "checkerboard"]),
        (lambda: manifold("klein"), ["klein", *MANIFOLDS]),
        (lambda: manifold("circle", radius=-1), ["circle", "radius=-1", "from 0.1 to 5"]),
        (lambda: manifold("circle", radius="wide"), ["radius='wide'", "from 0.1 to 5"]),
        (lambda: manifold("moons", noise=math.nan), ["moons", "noise=nan", "from 0 to 1"]),
        (lambda: manifold("torus", radios=1), ["torus", "radios", "noise, radius, tube"]),
        (lambda: embedded(manifold("torus"), 2), ["ambient_dim=2", "Torus", "3"]),
    ],
)
def test_mistakes_get_one_clear_line(make, says):
    with pytest.raises(ValueError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


class Bounded(Manifold):
    """Settings with every kind of bound."""

    title: ClassVar[str] = "Bounded"

    above: float = Field(default=1.0, gt=0, le=5)
    below: float = Field(default=1.0, lt=2)
    least: float = Field(default=1.0, ge=1)
    free: float = 1.0
    even: int = Field(default=2, ge=0, le=9)

    @field_validator("even")
    @classmethod
    def _even(cls, even: int) -> int:
        if even % 2:
            raise ValueError("not even")
        return even

    @model_validator(mode="after")
    def _ordered(self) -> "Bounded":
        if self.below > self.above:
            raise ValueError("below must not exceed above")
        return self


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("above", 0, "must be a number above 0 and at most 5"),
        ("below", 2, "must be a number below 2"),
        ("least", 0.5, "must be a number at least 1"),
        ("free", "wide", "must be a number"),
        ("even", 11, "must be a number from 0 to 9"),
        ("even", 3, "not even"),
    ],
)
def test_any_bound_is_told(monkeypatch, setting, value, says):
    monkeypatch.setitem(MANIFOLDS, "bounded", Bounded)
    with pytest.raises(ValueError, match=rf"^bounded: {setting}={value!r}:? {says}$"):
        manifold("bounded", **{setting: value})
    with pytest.raises(ValueError, match=r"^bounded: below must not exceed above$"):
        manifold("bounded", below=1.5)


@pytest.mark.parametrize(
    ("kind", "use", "method"),
    [
        (Bounded, lambda m: m.sample(3), r"draw\(n, generator\)"),
        (Bounded, lambda m: m.distance(torch.zeros(3, 2)), r"project\(points\)"),
        (Bounded, lambda m: m.embed(torch.zeros(3, 1)), r"embed\(coordinates\)"),
        (Bounded, lambda m: m.geodesic(torch.zeros(3, 1), torch.zeros(3, 1)), r"geodesic\(u, v\)"),
        (type("Line", (Curve,), {}), lambda m: m.sample(3), r"tangent\(t\)"),
        (type("Line", (Curve,), {}), lambda m: m.embed(torch.zeros(3, 1)), r"at\(t\)"),
    ],
)
def test_a_missing_method_is_named(kind, use, method):
    with pytest.raises(NotImplementedError, match=rf"^{kind.__name__} must define {method}$"):
        use(kind())


def test_settings_cannot_change_underneath():
    circle = manifold("circle")
    with pytest.raises(ValueError, match="Instance is frozen"):
        circle.radius = 2


# Uniform in volume.


def polyline(curve: Curve, n: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and cumulated chord lengths."""
    t = torch.linspace(*curve.interval, n, dtype=torch.float64)
    steps = np.linalg.norm(np.diff(curve.at(t).numpy(), axis=0), axis=1)
    return t.numpy(), np.concatenate([[0], steps.cumsum()])


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_sampled_as_they_say(name):
    curve = manifold(name)
    t = curve.draw(20_000, seeded(4))[:, 0].numpy()
    knots, length = polyline(curve)
    share = np.interp(t, knots, length) / length[-1]
    uniform = stats.kstest(share, "uniform").pvalue
    if name == "von_mises_circle":
        assert uniform < 1e-9
        centred = (t + np.pi) % (2 * np.pi) - np.pi
        assert stats.kstest(centred, stats.vonmises(curve.kappa).cdf).pvalue > 0.01
    else:
        assert uniform > 0.01


@pytest.mark.parametrize(
    ("name", "settings", "box"),
    [
        ("swiss_roll", {}, ((1.5 * math.pi, 4.5 * math.pi), (0, 21))),
        ("s_curve", {}, ((-1.5 * math.pi, 1.5 * math.pi), (0, 2))),
        ("sphere", {}, ((0, math.tau), (-math.pi / 2, math.pi / 2))),
        ("torus", {}, ((0, math.tau), (0, math.tau))),
        ("mobius_strip", {"half_width": 0.9}, ((0, math.tau), (-0.9, 0.9))),
    ],
)
def test_surfaces_are_sampled_by_area(name, settings, box):
    """Chi-square over 8 x 8 cells of coordinates, their areas from ∫ √det JᵀJ with J by automatic differentiation."""
    surface = manifold(name, **settings)
    axes = [low + (high - low) * (torch.arange(160, dtype=torch.float64) + 0.5) / 160 for low, high in box]
    grid = torch.cartesian_prod(*axes).requires_grad_()
    rows = [torch.autograd.grad(column.sum(), grid, retain_graph=True)[0] for column in surface.embed(grid).T]
    jacobian = torch.stack(rows, dim=1)
    area = torch.linalg.det(jacobian.mT @ jacobian).sqrt().view(8, 20, 8, 20).sum((1, 3)).numpy()
    counts = np.histogram2d(*surface.draw(50_000, seeded(6)).T.numpy(), bins=8, range=box)[0]
    assert counts.sum() == 50_000
    assert stats.chisquare(counts.ravel(), 50_000 * (area / area.sum()).ravel()).pvalue > 0.01


@pytest.mark.parametrize("name", ["concentric_circles", "two_circles", "moons"])
def test_arcs_are_sampled_by_length(name):
    arcs = manifold(name)
    angle, component = arcs.draw(20_000, seeded(6)).T.numpy()
    lengths = np.array([arc.radius * arc.span for arc in arcs.arcs])
    counts = np.bincount(component.astype(int))
    assert stats.chisquare(counts, len(angle) * lengths / lengths.sum()).pvalue > 0.01
    assert stats.kstest(angle / arcs.arcs[0].span, "uniform").pvalue > 0.01


def test_mixtures_are_balanced():
    component = manifold("eight_gaussians").draw(20_000, seeded(7))[:, 0].numpy()
    assert stats.chisquare(np.bincount(component.astype(int), minlength=8)).pvalue > 0.01
    points = manifold("checkerboard").draw(20_000, seeded(8)).numpy()
    counts = np.histogram2d(*points.T, bins=8, range=[(-4, 4)] * 2)[0]
    black = np.kron(np.indices((4, 4)).sum(0) % 2 == 0, np.ones((2, 2), dtype=bool))
    assert counts[~black].sum() == 0
    assert stats.chisquare(counts[black]).pvalue > 0.01


# Oracles: scikit-learn, closed forms, graphs.


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("moons", make_moons(500, noise=0, random_state=0)[0]),
        ("swiss_roll", make_swiss_roll(500, noise=0, random_state=0)[0]),
        ("s_curve", make_s_curve(500, noise=0, random_state=0)[0]),
    ],
)
def test_scikit_learns_points_lie_on_ours_and_fill_it(name, points):
    m = manifold(name)
    close(m.distance(torch.as_tensor(points)), 0, atol=1e-9)
    assert m.distance(torch.as_tensor(points + 0.05)).max() > 0.01
    ours = m.sample(20_000, seeded()).points.numpy()
    np.testing.assert_allclose(ours.min(0), points.min(0), atol=0.5 if name == "swiss_roll" else 0.05)
    np.testing.assert_allclose(ours.max(0), points.max(0), atol=0.5 if name == "swiss_roll" else 0.05)


def test_swiss_roll_coordinates_are_scikit_learns():
    points, t = make_swiss_roll(300, random_state=1)
    coordinates = manifold("swiss_roll").project(torch.as_tensor(points))
    close(coordinates[:, 0], t, atol=1e-9)
    close(coordinates[:, 1], points[:, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "settings", "length"),
    [
        ("circle", {"radius": 3}, 6 * math.pi),
        ("ellipse", {}, 8 * special.ellipe(1 - 1 / 4)),
        ("ellipse", {"semi_axis_x": 5, "semi_axis_y": 0.2}, 20 * special.ellipe(1 - 0.04**2)),
        ("figure_eight", {}, special.gamma(0.25) ** 2 / math.sqrt(math.tau)),
        ("spiral", {}, (lambda t: (t * math.hypot(1, t) + math.asinh(t)) / (4 * math.pi))(4 * math.pi)),
        ("helix", {"turns": 3, "pitch": 2}, 3 * math.hypot(math.tau, 2)),
    ],
)
def test_curves_have_the_length_of_the_textbook(name, settings, length):
    close(manifold(name, **settings).length, length, atol=0, rtol=1e-9)


@pytest.mark.parametrize("name", CURVES)
def test_tangent_is_the_derivative(name):
    curve = manifold(name)
    t = curve.draw(50, seeded())[:, 0].requires_grad_()
    columns = [torch.autograd.grad(column.sum(), t, retain_graph=True)[0] for column in curve.at(t).T]
    close(curve.tangent(t).detach(), torch.stack(columns, dim=-1), atol=1e-12)


def graph_distances(points: np.ndarray, radius: float, sources: int) -> np.ndarray:
    """Shortest paths over chords of at most `radius` from the first points to all, (sources, n)."""
    links = cKDTree(points).sparse_distance_matrix(cKDTree(points), radius, output_type="coo_matrix")
    return dijkstra(csr_matrix(links), directed=False, indices=range(sources))


@pytest.mark.parametrize(("name", "radius"), [("swiss_roll", 2.5), ("torus", 0.34), ("mobius_strip", 0.18)])
def test_geodesics_agree_with_a_neighbourhood_graph(name, radius):
    m = manifold(name)
    coordinates = m.draw(6000, seeded(9))
    graph = torch.as_tensor(graph_distances(m.embed(coordinates).numpy(), radius, 4)[:, 4:304])
    u, v = coordinates[:4].repeat_interleave(300, 0), coordinates[4:304].repeat(4, 1)
    ratio = graph.flatten() / m.geodesic(u, v)
    far = graph.flatten() > 4 * radius
    assert far.sum() > 800
    close(ratio[far], 1.01, atol=0.03)


def test_figure_eight_paths_may_change_branch():
    eight = manifold("figure_eight")
    t = torch.linspace(*eight.interval, 2001, dtype=torch.float64)[:-1, None]
    spacing = eight.length / 2000
    points = eight.embed(t).numpy()
    links = cKDTree(points).sparse_distance_matrix(cKDTree(points), 1.2 * spacing, output_type="coo_matrix")
    graph = dijkstra(csr_matrix(links), directed=False, indices=[10, 400, 1300])
    for row, i in zip(graph, (10, 400, 1300), strict=True):
        close(eight.geodesic(t[i : i + 1].expand_as(t), t), row, atol=4 * spacing, rtol=0.01)


def test_points_at_a_crossing_find_their_own_branch():
    eight = manifold("figure_eight")
    points = eight.at(math.pi / 2 + torch.linspace(-0.02, 0.021, 400, dtype=torch.float64))
    close(eight.distance(points), 0, atol=1e-12)


@pytest.mark.parametrize("name", ["two_circles", "concentric_circles", "moons"])
def test_geodesics_of_arcs_are_angles(name):
    """Radius times the angle between two points, by their dot product."""
    arcs = manifold(name)
    u, v = pairs(arcs, 400)
    same = u[:, 1] == v[:, 1]
    u, v = u[same], v[same]
    centre, radius = (
        torch.tensor([getattr(arcs.arcs[int(i)], key) for i in u[:, 1]], dtype=torch.float64)
        for key in ("centre", "radius")
    )
    cosine = ((arcs.embed(u) - centre) * (arcs.embed(v) - centre)).sum(-1) / radius**2
    close(arcs.geodesic(u, v), radius * cosine.clamp(-1, 1).acos(), atol=1e-6)


def test_checkerboard_geodesics_agree_with_a_visibility_graph():
    """Points and corners, linked where the segment between them stays black at 400 places."""
    board = manifold("checkerboard")
    u, v = pairs(board, 60)
    corners = torch.cartesian_prod(*[torch.tensor([-2.0, 0, 2], dtype=torch.float64)] * 2)
    nodes = torch.cat([u, v, corners])
    s = torch.linspace(0, 1, 401, dtype=torch.float64)[1:-1, None, None, None]
    places = nodes[:, None] + s * (nodes - nodes[:, None])
    cell = ((places + 4) / 2).clamp(0, 3.999)
    inner, corner = cell.floor().sum(-1) % 2 == 0, ((cell - cell.round()).abs() < 1e-9).any(-1)
    visible = (inner | corner).all(0).fill_diagonal_(False)
    weights = torch.where(visible, torch.cdist(nodes, nodes), 0).numpy()
    graph = dijkstra(csr_matrix(weights), directed=False, indices=range(60))[range(60), range(60, 120)]
    close(board.geodesic(u, v), graph, atol=1e-9)


def test_checkerboard_distances_by_hand():
    x = torch.tensor([(-1.0, -3.0), (-1.5, -3.0), (-3.9, 0.5), (5.0, 5.0), (-5.0, 4.0), (-2.0, -2.0), (9.0, 1.0)])
    expected = torch.tensor([1, 0.5, 0, 2**0.5, 5**0.5, 0, 26**0.5])
    close(manifold("checkerboard").distance(x), expected, atol=1e-6)


def test_checkerboard_geodesics_by_hand():
    board = manifold("checkerboard", side=1)
    u = torch.tensor([(-1.5, -1.5), (-1.5, -1.5), (-1.5, -1.5), (-1.0, -1.0), (-1.9, -1.1)])
    v = torch.tensor([(1.5, 1.5), (-0.5, -0.5), (-1.5, 0.5), (-0.5, -0.5), (-1.1, -1.9)])
    root = math.sqrt(2)
    close(board.geodesic(u, v), torch.tensor([3 * root, root, 1 + root, root / 2, 0.8 * root]), atol=1e-6)


def test_sphere_geodesics_of_poles_and_quarters():
    sphere = manifold("sphere", radius=2)
    pole, south, east = (0.3, math.pi / 2), (1.0, -math.pi / 2), (0.0, 0.0)
    u = torch.tensor([pole, pole, east, east, east], dtype=torch.float64)
    v = torch.tensor([south, east, (math.pi, 0), (1e-9, 0), (math.tau, 0)], dtype=torch.float64)
    expected = torch.tensor([2 * math.pi, math.pi, 2 * math.pi, 2e-9, 0], dtype=torch.float64)
    close(sphere.geodesic(u, v), expected, atol=1e-14)


def test_solver_finds_the_great_circles():
    """Away from the poles, where longitude and latitude are no coordinates."""
    sphere = manifold("sphere", radius=1.5)
    u, v = (torch.rand(200, 2, generator=seeded(seed), dtype=torch.float64) * 2 - 1 for seed in (0, 1))
    turn = v.new_tensor([math.tau, 0])
    found = shortest_length(sphere.embed, u, torch.stack([v - turn, v, v + turn]))
    close(found, sphere.geodesic(u, v), atol=0, rtol=1e-7)


def test_torus_geodesics_known_by_symmetry():
    torus = manifold("torus", radius=2, tube=0.5)
    steps = torch.linspace(0, math.pi, 7, dtype=torch.float64)
    zero = torch.zeros_like(steps)

    def at(theta, phi):
        return torch.stack([theta, phi], dim=-1)

    starts = torch.cat([at(zero, zero + math.pi), at(zero + 1, zero - 1), at(zero, zero)])
    ends = torch.cat([at(steps, zero + math.pi), at(zero + 1, zero - 1 + steps), at(steps, zero)])
    inner, meridian, outer = torus.geodesic(starts, ends).split(7)
    close(inner, 1.5 * steps, atol=0, rtol=1e-5)
    close(meridian, 0.5 * steps, atol=0, rtol=1e-5)
    # The outer equator is shortest up to its conjugate point, π √(r (R + r)) = 3.51, and not beyond.
    length = 2.5 * steps
    close(outer[length < 3.5], length[length < 3.5], atol=0, rtol=1e-5)
    assert (outer[length > 3.6] < 0.999 * length[length > 3.6]).all()


def test_a_finer_search_finds_nothing_shorter_on_a_thin_torus():
    torus = manifold("torus", radius=3, tube=0.3)
    u, v = (torch.rand(40, 2, generator=seeded(seed), dtype=torch.float64) * 3 for seed in (0, 1))
    u[:20, 1], v[:20, 1] = u[:20, 1] * 0.05, v[:20, 1] * 0.05  # near the outer equator, a saddle
    rounds, pushes = torch.cartesian_prod(torch.tensor([-1.0, 0, 1]), torch.tensor([-3.0, -1.5, 1.5, 3])).double().T
    ends = v + math.tau * torch.stack([0 * rounds, rounds], dim=-1)[:, None]
    bulges = torch.stack([0 * pushes, pushes], dim=-1)[:, None].expand_as(ends)
    best = shortest_length(torus.embed, u, ends, bulges=bulges, segments=(40, 80), iterations=(30, 10))
    close(torus.geodesic(u, v), best, atol=0, rtol=1e-5)


def test_torus_geodesics_do_not_change_under_its_symmetries():
    torus = manifold("torus")
    u, v = pairs(torus, 30)
    shift, mirror = u.new_tensor([2.0, 0]), u.new_tensor([-1.0, -1])
    starts, ends = torch.cat([u, u + shift, u * mirror]), torch.cat([v, v + shift, v * mirror])
    plain, shifted, mirrored = torus.geodesic(starts, ends).split(30)
    close(shifted, plain, atol=0, rtol=1e-5)
    close(mirrored, plain, atol=0, rtol=1e-5)


def test_mobius_strip_is_glued_with_a_flip():
    strip = manifold("mobius_strip")
    u, v = pairs(strip, 30)
    turned = torch.stack([v[:, 0] + math.tau, -v[:, 1]], dim=-1)
    close(strip.embed(turned), strip.embed(v), atol=1e-12)
    close(strip.geodesic(u, turned), strip.geodesic(u, v), atol=0, rtol=1e-5)
    across = torch.stack([u[:, 0], -u[:, 1]], dim=-1)
    close(strip.geodesic(u, across), 2 * u[:, 1].abs(), atol=1e-9)  # a ruling is a straight line


@pytest.mark.parametrize("name", [name for name in CURVES if MANIFOLDS[name].closed])
def test_closed_curves_close(name):
    curve = manifold(name)
    u, v = pairs(curve, 60)
    low, high = curve.interval
    close(curve.geodesic(u + (high - low), v), curve.geodesic(u, v), atol=1e-9)
    assert curve.geodesic(u, v).max() <= curve.length / 2 + 1e-9


def test_import_is_light():
    """The package itself needs torch and pydantic only."""
    import toy_manifolds
    from toy_manifolds import base, curves, geodesics, mixtures, nearest, surfaces

    for module in (toy_manifolds, base, curves, geodesics, mixtures, nearest, surfaces):
        assert not any(word in inspect.getsource(module) for word in ("scipy", "sklearn", "streamlit", "mvm"))
