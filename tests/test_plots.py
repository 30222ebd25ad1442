"""Figures are plain dictionaries: Plotly itself is the oracle of their validity, the data of their contents."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from app.charts import clouds, density, training
from app.charts.axes import log_axis
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.palette import FAKE, REAL, VARIANTS, title_of, variant_colours
from mvm.look.scales import arrow_factor, round_number, thinned
from mvm.scoring.density import density_along
from toy_manifolds import manifold

RANDOM = np.random.default_rng(0)
TITLES = ["centroid only", "2-diameter only", "both"]


def drawn(figure: dict) -> go.Figure:
    """The figure as Plotly reads it; it refuses what is not in its schema."""
    return go.Figure(figure)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("variants", [1, 3, 4])
def test_cloud(dim: int, variants: int) -> None:
    """Every variant's panel holds its own fakes, and every panel all reals, in the palette's colours."""
    real, fake = RANDOM.normal(size=(40, dim)), RANDOM.normal(size=(variants, 50, dim))
    grid = RANDOM.normal(size=(variants, 5, 5, dim))
    panels = clouds.data_panels(real, fake, titles=TITLES[:1] * variants, grid=grid)
    assert len(panels) == variants
    for panel, points in zip(panels, fake, strict=True):
        layers = {layer["name"]: layer for layer in panel["layers"]}
        assert list(layers) == ["generator grid", "real", "fake"]
        np.testing.assert_array_equal(layers["fake"]["points"], points)
        np.testing.assert_array_equal(layers["real"]["points"], real)
        assert (layers["real"]["colour"], layers["fake"]["colour"]) == (REAL, FAKE)
        assert len(panel["span"]) == dim


def test_cloud_layers() -> None:
    """A layer that is switched off is not sent to the browser."""
    real, fake = RANDOM.normal(size=(40, 2)), RANDOM.normal(size=(1, 50, 2))
    (panel,) = clouds.data_panels(real, fake, titles=["a"], show_real=False)
    assert [layer["name"] for layer in panel["layers"]] == ["fake"]


def test_cloud_axes_do_not_follow_wild_fakes() -> None:
    """The view is that of the real manifold: a fake far away does not shrink it."""
    real = np.array([[-1.0, -1.0], [1.0, 1.0]])
    near, far = (clouds.data_panels(real, np.full((1, 5, 2), v), titles=["a"])[0]["span"] for v in (0.0, 1e6))
    assert near == far == [[-1.35, 1.35]] * 2


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_descriptor_has_one_name_wherever_it_is_named(name: str) -> None:
    title = DESCRIPTORS[name].title.lower()
    assert title_of(name).removesuffix(" only") == title
    assert title_of(f"{name}+hausdorff").startswith(f"{title}+")


def test_what_the_frame_leaves_out_is_said() -> None:
    """A variant of which everything is far away, one with a tenth lost, one that is not finite, and one in view."""
    fake = np.zeros((4, 50, 2))
    fake[0], fake[1, :5, 1], fake[2, :, 0] = 1e6, -3.0, np.nan
    said = clouds.outside(fake, [[-1.0, 1.0], [-1.0, 1.0]], titles=["far", "tail", "lost", "fine"])
    assert said == ", fakes outside the frame: far 100%, tail 10%, lost 100%"
    assert clouds.outside(fake[3:], [[-1.0, 1.0], [-1.0, 1.0]], titles=["fine"]) == ""


def test_a_single_record_is_a_dot_on_an_axis_from_0() -> None:
    steps, history = np.array([40]), RANDOM.random((1, 2, 5))
    gaps = {name: RANDOM.random((1, 2, 3)) for name in ("d_c", "d_g", "d_H")}
    common = {"titles": ["a", "b"], "step": 40, "log": True, "colours": VARIANTS[:2]}
    for figure in (
        drawn(training.spectrum_history(steps, history, form="distance", **common)),
        drawn(training.gap_curves(steps, gaps, **common)),
    ):
        assert figure.layout.xaxis.range == (0, 80)
        assert "markers" in {trace.mode for trace in figure.data}


def test_grid_lines_are_broken_between() -> None:
    """L lines each way of L points: 2 L breaks, so that no line runs back across the picture."""
    grid = RANDOM.normal(size=(1, 5, 5, 2))
    (panel,) = clouds.data_panels(np.zeros((3, 2)), np.zeros((1, 3, 2)), titles=["a"], grid=grid)
    lines = panel["layers"][0]["points"]
    assert lines.shape == (2 * 5 * 6, 2)
    assert np.isnan(lines[:, 0]).sum() == 10


def test_planar_splits_real_and_fake() -> None:
    """Each panel is scaled to its own points; a diverged variant's NaNs do not break it."""
    frame = RANDOM.normal(size=(2, 60, 2))
    frame[0] = np.nan
    broken, panel = clouds.umap_panels(frame, titles=TITLES[:2])
    assert [(layer["name"], len(layer["points"])) for layer in panel["layers"]] == [("real", 30), ("fake", 30)]
    np.testing.assert_array_equal(panel["layers"][1]["points"], frame[1, 30:])
    assert panel["span"][0][0] < frame[1, :, 0].min()
    assert np.isfinite(broken["span"]).all()


@pytest.mark.parametrize("form", ["distance", "mds"])
def test_spectra(form: str) -> None:
    """Bars are magnitudes now, the dotted line those before training; the history has one line per rank."""
    now, before = -np.abs(RANDOM.normal(size=(2, 10))), RANDOM.normal(size=(2, 10))
    figure = drawn(training.spectrum_now(now, before, titles=TITLES[:2], step=1, form=form, colours=VARIANTS[:2]))
    bars = [trace for trace in figure.data if trace.type == "bar"]
    np.testing.assert_allclose(bars[1].y, np.abs(now[1]))
    history = RANDOM.normal(size=(6, 2, 10))
    over = drawn(
        training.spectrum_history(
            np.arange(6), history, titles=TITLES[:2], step=1, form=form, log=True, colours=VARIANTS[:2]
        )
    )
    assert len(over.data) == 20
    np.testing.assert_allclose(over.data[13].y, np.abs(history[:, 1, 3]))
    assert over.layout.yaxis.title.text == SPECTRUM_FORMS[form].label


@pytest.mark.parametrize("log", [True, False])
def test_curves_show_median_and_range_of_seeds(log: bool) -> None:
    values = {name: np.abs(RANDOM.normal(size=(8, 2, 3))) + 0.1 for name in ("d_c", "d_g", "d_H")}
    figure = drawn(training.gap_curves(np.arange(8), values, titles=TITLES[:2], step=4, log=log, colours=VARIANTS[:2]))
    lines = [trace for trace in figure.data if trace.fill is None]
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(lines) == len(bands) == 6
    np.testing.assert_allclose(lines[3].y, np.median(values["d_g"][:, 1], axis=-1))
    np.testing.assert_allclose(bands[3].y[:8], values["d_g"][:, 1].max(-1))
    np.testing.assert_allclose(bands[3].y[8:], values["d_g"][::-1, 1].min(-1))
    assert figure.layout.yaxis.type == ("log" if log else None)


def test_gaps_of_pairs_have_a_curve_more() -> None:
    values = {name: np.ones((8, 1, 1)) * place for place, name in enumerate(("d_p", "d_c", "d_g", "d_H"), 1)}
    figure = drawn(training.gap_curves(np.arange(8), values, titles=["a"], step=4, log=True, colours=VARIANTS[:1]))
    assert [trace.y[0] for trace in figure.data] == [1, 2, 3, 4]
    assert figure.layout.annotations[0].text == "<i>d</i><sub>p</sub>  of pairs"
    assert figure.layout.xaxis4.title.text == "training step"


def test_scores_over_training_lie_beside_their_baselines() -> None:
    """A line of medians and a band per variant and score, and one dashed line per score, named once in the legend."""
    values = {name: RANDOM.random((5, 2, 3)) for name in ("PSNR", "SSIM")}
    steps = np.arange(5) * 10
    figure = drawn(
        training.score_curves(
            steps, values, {"PSNR": 0.25, "SSIM": None}, baseline="bicubic", titles=TITLES[:2], step=20,
            colours=VARIANTS[:2],
        )
    )  # fmt: skip
    (dashed,) = [trace for trace in figure.data if trace.line.dash == "dash"]
    assert (dashed.name, list(dashed.x), list(dashed.y), dashed.xaxis) == ("bicubic", [0, 40], [0.25, 0.25], "x")
    lines = [trace for trace in figure.data if trace.fill is None and trace.line.dash is None]
    np.testing.assert_allclose(lines[3].y, np.median(values["SSIM"][:, 1], axis=-1))
    assert sum(trace.showlegend is not False for trace in figure.data) == 3


@pytest.mark.parametrize(
    ("values", "decades", "every"),
    [([0.02, 0.3], (-2, 0), 1), ([1.0, 1.0], (0, 1), 1), ([1e-9, 3.0, np.nan, 0.0], (-9, 1), 2), ([np.nan], (0, 1), 1)],
)
def test_a_logarithmic_axis_has_whole_decades_and_labels_at_decades_alone(
    values: list[float], decades: tuple[int, int], every: int
) -> None:
    axis = go.Layout(yaxis=log_axis([np.array(values)])).yaxis
    assert (axis.type, axis.range, axis.dtick, axis.exponentformat) == ("log", decades, every, "power")


def test_fakes_never_hide_reals() -> None:
    """Fakes are drawn after reals, and smaller: a real below a fake has a rim."""
    points = np.zeros((1, 3, 2))
    for panel in (*clouds.data_panels(points[0], points, titles=["a"]), *clouds.umap_panels(points, titles=["a"])):
        real, fake = panel["layers"]
        assert (real["name"], fake["name"]) == ("real", "fake")
        assert real["radius"] > 1.5 * fake["radius"]


def test_a_diverged_variant_leaves_a_gap_in_its_curve() -> None:
    values = {name: np.ones((4, 1, 2)) for name in ("d_c", "d_g", "d_H")}
    values["d_c"][2:] = np.nan
    figure = training.gap_curves(np.arange(4), values, titles=["a"], step=4, log=True, colours=VARIANTS)
    line = next(trace for trace in figure["data"] if trace.get("fill") is None)
    np.testing.assert_array_equal(line["y"], [1, 1, np.nan, np.nan])


def test_a_variant_has_its_colour_whatever_stands_beside_it() -> None:
    whole = dict(zip(("centroid", "diameter", "both"), variant_colours(("centroid", "diameter", "both")), strict=True))
    assert list(whole.values()) == list(VARIANTS[:3])
    for names in (("both",), ("both", "centroid"), ("hausdorff", "diameter", "covariance", "both")):
        colours = variant_colours(names)
        assert all(whole.get(name, colour) == colour for name, colour in zip(names, colours, strict=True))
        assert len(set(colours)) == len(names)
    assert len(set(variant_colours(["both"] * 6))) == 6
    own = ["both@mvm.gamma=0", "both@mvm.gamma=1"]
    assert variant_colours(own) == variant_colours(["both", "both"]), "in legends of the screen as in figures"
    assert len(variant_colours(["both"] * 20)) == 20


def test_colours_by_value_keep_reals_and_fakes_apart() -> None:
    """Values go to the layers that they are named for; fakes become rings, the grid stays what it is."""
    real, fake = RANDOM.normal(size=(40, 2)), RANDOM.normal(size=(1, 50, 2))
    panels = clouds.data_panels(real, fake, titles=["a"], grid=RANDOM.normal(size=(1, 5, 5, 2)))
    values = {"real": RANDOM.normal(size=40), "fake": RANDOM.normal(size=50)}
    scale = clouds.scale_of(list(values.values()), title="v", stops=["#000000", "#FFFFFF"], symmetric=True)
    grid, reals, fakes = clouds.coloured(panels, [values], scale)[0]["layers"]
    assert "values" not in grid
    np.testing.assert_array_equal(reals["values"], values["real"])
    assert (reals["ring"], fakes["ring"]) == (False, True)
    assert "values" not in panels[0]["layers"][1], "the panels given are not changed"


def test_a_scale_leaves_out_what_is_wild() -> None:
    values = [np.arange(100.0), np.array([np.nan, np.inf, -np.inf])]
    scale = clouds.scale_of(values, title="v", stops=["#000000"], cut=0.1)
    assert (scale["low"], scale["high"]) == pytest.approx((9.9, 89.1))
    both = clouds.scale_of(values, title="v", stops=["#000000"], symmetric=True, cut=0.0)
    assert (both["low"], both["high"]) == (-99, 99)
    same = clouds.scale_of([np.ones(3)], title="v", stops=["#000000"])
    assert same["low"] < 1 < same["high"]
    assert clouds.scale_of([np.full(3, np.nan)], title="v", stops=["#000000"])["low"] < np.inf


def test_arrows_are_as_long_as_can_be_read() -> None:
    """Of twenty arrows nineteen are about an eighth of the panel at most, whatever their unit; zero has no say."""
    moves = RANDOM.normal(size=(400, 2))
    for unit in (1e-6, 1.0, 1e4):
        factor = arrow_factor([unit * moves, np.zeros((400, 2)), np.full((9, 2), np.nan)], [[-1, 1], [-2, 2]])
        longest = np.quantile(np.linalg.norm(factor * unit * moves, axis=-1), 0.95)
        assert 0.12 * 4 / 1.6 < longest < 0.12 * 4 * 1.6
    assert arrow_factor([np.zeros((3, 2))], [[-1, 1], [-1, 1]]) == 1.0
    layer = clouds.arrows(np.ones((3, 2)), np.ones((3, 2)), term="centroid", factor=2.0)
    np.testing.assert_array_equal(layer["points"], [[1, 1, 3, 3]] * 3)


def test_arrows_lie_apart_and_stay_where_they_were() -> None:
    points, span = RANDOM.uniform(size=(300, 2)), [[0, 1], [0, 1]]
    points[5] = np.nan
    chosen = thinned(points, span, most=1000)
    between = np.linalg.norm(points[chosen][:, None] - points[chosen], axis=-1) + np.eye(len(chosen))
    assert between.min() >= 0.06
    known = np.isfinite(points).all(1)
    assert np.linalg.norm(points[known][:, None] - points[chosen], axis=-1).min(1).max() < 0.06  # no place is left out
    np.testing.assert_array_equal(thinned(points, span, most=7), chosen[:7])
    moved = thinned(points + 1e-4 * RANDOM.normal(size=points.shape), span, most=1000)
    assert len({*chosen} & {*moved}) > 0.7 * len(chosen)
    assert not len(thinned(np.full((3, 2), np.nan), span, most=7))


@pytest.mark.parametrize(
    ("value", "rounded"), [(1, 1), (1.3, 1), (1.5, 2), (3.4, 5), (7.2, 10), (0.04, 0.05), (940, 1000)]
)
def test_round_numbers(value: float, rounded: float) -> None:
    assert round_number(value) == pytest.approx(rounded)


def test_outlines_are_closed_and_have_their_values() -> None:
    shapes, values = RANDOM.normal(size=(4, 6, 3)), np.arange(4.0)
    layer = clouds.outlines(shapes, values, {"title": "v"}, name="steps")
    points = layer["points"].reshape(4, 8, 3)
    np.testing.assert_array_equal(points[:, 0], points[:, 6])
    assert np.isnan(points[:, 7]).all()
    np.testing.assert_array_equal(layer["values"].reshape(4, 8), values[:, None].repeat(8, 1))


@pytest.mark.parametrize("name", ["moons", "sphere"])
def test_density_along_a_manifold(name: str) -> None:
    """Curves have a line of ratios on one scale, surfaces a map with crosses where fakes are missing."""
    m = manifold(name)
    whole = m.sample(512, torch.Generator().manual_seed(0))
    half = m.embed(whole.coordinates[whole.coordinates[:, 0] < 1.5])
    found = [density_along(m, points) for points in (whole.points, half)]
    figure = drawn(density.density_chart(found, titles=TITLES[:2], step=40, colours=VARIANTS[:2]))
    if name == "sphere":
        maps = [trace for trace in figure.data if trace.type == "heatmap"]
        np.testing.assert_allclose(maps[0].z.T, np.clip(np.log2(found[0].charts[0].ratio), -2, 2))
        crosses = [trace for trace in figure.data if trace.type == "scatter"]
        assert not len(crosses[0].x)
        assert len(crosses[1].x) > 5
        assert min(crosses[1].x) > np.degrees(1.5) - 40
    else:
        lines = [trace for trace in figure.data if trace.line.color == VARIANTS[0]]
        assert len(lines) == len(found[0].charts) == 2
        np.testing.assert_allclose(lines[1].y[::2], found[0].charts[1].ratio)
        assert figure.layout.yaxis.range == figure.layout.yaxis2.range
        assert figure.layout.yaxis.range[1] <= 4
