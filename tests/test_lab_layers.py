"""The Lab's layers: what is drawn and said for every kind of run, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
import torch
from pages import open_page, words
from scipy.spatial.distance import cdist, pdist
from test_learned_metric import begun
from torch.testing import assert_close
from waiting import until

from app import layers
from app.components.live_plot import Clicked
from app.components.picture_grid import Picked
from app.layers import scene
from mvm.files import append_line, write_array
from mvm.geometry.graphs import diffusion_map, isomap
from mvm.geometry.neighbourhoods import trustworthiness
from mvm.geometry.pullback import log_volume, pull_back
from mvm.geometry.representations import effective_rank
from mvm.geometry.spectrum import modes
from mvm.lenses import LENSES
from mvm.runs.run import Run
from mvm.studies.learned_metric import metric_at
from mvm.training.experiment import Experiment

pytestmark = pytest.mark.usefixtures("no_processes")
AREA = "log area distortion of the metric"
DENSITY = "log density of the model"
ALL = ["real", "fake", "grid", "forces", "metric", "geodesic"]
POINTS = {"view_points": 64, "points": 300}


@pytest.fixture(autouse=True)
def no_values_are_kept() -> None:
    """Two tests may make runs of the same name in the same second."""
    st.cache_data.clear()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """What `cloud_plot` was given last, by row; `clicks` are handed back in turn."""
    rows: dict[str, Any] = {"clicks": []}

    def draw(panels: list[dict[str, Any]], *, key: str, **options: Any) -> Picked | None:
        rows[key.split(".")[0]] = panels
        rows[f"{key.split('.')[0]} options"] = options
        return rows["clicks"][0] if rows["clicks"] and key.startswith("clouds") else None

    monkeypatch.setattr("app.views.lab.cloud_plot", draw)
    return rows


def names(panel: dict[str, Any]) -> list[str]:
    return [layer["name"] for layer in panel["layers"]]


def layer(panel: dict[str, Any], name: str) -> dict[str, Any]:
    return next(layer for layer in panel["layers"] if layer["name"] == name)


def opened(run: Run, *, shown: list[str] = ALL, **query: str) -> str:
    """What the page says with these layers on."""
    text = words(open_page(run=run.name, layers=shown, **query))
    assert "Traceback" not in text
    return text


def test_all_layers_in_the_plane(drawn: dict) -> None:
    run, _ = begun("moons", data="moons", **POINTS)
    text = opened(run, colour="eigenvector", rank="3")
    first, second, both = drawn["clouds"]
    (ellipses,) = (name for name in names(first) if "from the centre" in name)
    assert ellipses.startswith("points at ")
    plain = [AREA, ellipses, "generator grid", "real", "fake", "Centroid force", "straight line"]
    assert [name for name in names(first) if name != "true geodesic"] == [*plain, "geodesic of the metric", "ends"]
    assert "Centroid force" not in names(second)
    assert {"Centroid force", "2-diameter force"} <= set(names(both))
    assert "how each descriptor would move a fake, not weighted" in text
    assert "Centroid ×" in text
    assert "eigenvector 3" in text
    assert "lengths under the metric" in text
    assert drawn["clouds options"]["pickable"]
    rows = layer(both, AREA)["values"]
    (x0, x1), (y0, y1) = both["span"]
    upper_left = torch.tensor([[x0 + (x1 - x0) / 128, y1 - (y1 - y0) / 128]])

    def embed(x: torch.Tensor) -> torch.Tensor:
        points = run.data.standardise(x).expand(3, -1, -1)
        return Experiment(run.config, run.data).method.embed(points)[2]

    assert_close(float(rows[0, 0]), log_volume(pull_back(upper_left, embed)).item(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["sphere", "helix"])
def test_all_layers_in_space(drawn: dict, name: str) -> None:
    run, _ = begun(name, data=name, variants="both", **POINTS)
    text = opened(run, unmatched="true")
    (panel,) = drawn["clouds"]
    assert {"Centroid force", "2-diameter force", "geodesic of the metric"} <= set(names(panel))
    assert AREA not in names(panel)
    arrows = layer(panel, "Centroid force")
    assert 0 < len(arrows["points"]) <= 40
    moves = (arrows["points"][:, 3:] - arrows["points"][:, :3]) / arrows["factor"]
    assert np.isfinite(moves).all()
    (steps,) = (layer for layer in panel["layers"] if "metric distance" in layer["name"])
    assert steps["scale"]["title"] == (AREA.replace("area", "length") if name == "helix" else AREA)
    assert len(steps["points"]) == len(steps["values"])
    assert "data space" in text


def test_own_points_in_space_have_no_tangents_that_are_known(drawn: dict, tmp_path: Path) -> None:
    write_array(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32))
    run, _ = begun("own", data=str(tmp_path / "own.npy"), variants="both", view_points=64)
    text = opened(run)
    assert "drawn on the manifold, which is unknown" in text
    assert "true geodesic is unknown" in text
    assert not [name for name in names(drawn["clouds"][0]) if "metric distance" in name]
    assert "geodesic of the metric" in names(drawn["clouds"][0])


def test_beyond_three_dimensions_forces_are_projected_and_the_microscope_is_not_offered(drawn: dict) -> None:
    run, _ = begun("high", data="circle", ambient_dim=6, variants="both", **POINTS)
    text = opened(run)
    (panel,) = drawn["clouds"]
    assert "drawn in 2 and 3 dimensions; these points have 6" in text
    assert layer(panel, "Centroid force")["points"].shape[1] == 6
    assert "ends" not in names(panel)


@pytest.mark.parametrize(
    ("method", "says"), [("wgan", "matches no descriptors"), ("flow_matching", "learns no metric")]
)
def test_peers(drawn: dict, method: str, says: str) -> None:
    run, _ = begun(method, data="circle", method=method, **POINTS)
    assert says in opened(run, colour="eigenvector")
    (panel,) = drawn["clouds"]
    assert not [layer for layer in panel["layers"] if layer.get("arrows")]
    assert ("geodesic of the metric" in names(panel)) == (method == "wgan")
    assert "values" in layer(panel, "real")


def test_the_density_of_a_model_is_a_field_in_the_plane_and_colours_in_space(drawn: dict) -> None:
    run, _ = begun("flow", data="moons", method="normalizing_flow", **POINTS)
    text = opened(run, shown=["real", "fake", "density"])
    (panel,) = drawn["clouds"]
    assert names(panel) == [DENSITY, "level curves, 50 / 90 / 99 % of the fakes", "real", "fake"]
    assert "50 / 90 / 99 % lie where the density is higher" in text
    field = layer(panel, DENSITY)
    (x0, _), (y0, y1) = panel["span"]
    width = (y1 - y0) / 96
    corner = run.data.standardise(torch.tensor([[x0 + width / 2, y1 - width / 2]]))
    assert_close(
        torch.tensor(field["values"][0, 0]),
        Experiment(run.config, run.data).log_density(corner)[0, 0],
        rtol=1e-3,
        atol=1e-3,
    )
    assert field["scale"]["high"] == pytest.approx(float(field["values"].max()))
    run, _ = begun("space", data="sphere", method="normalizing_flow", **POINTS)
    assert "at the reals" in opened(run, shown=["real", "density"])
    values = layer(drawn["clouds"][0], "real")["values"]
    real = run.data.standardise(torch.from_numpy(run.snapshot(0)["real"]))
    assert_close(torch.from_numpy(values), Experiment(run.config, run.data).log_density(real)[0], rtol=1e-3, atol=1e-3)
    run, _ = begun("none", data="circle", method="wgan", **POINTS)
    assert "WGAN has no density to draw" in opened(run, shown=["real", "density"])


def test_forces_that_a_variant_does_not_match_are_faint_and_only_on_request(drawn: dict) -> None:
    run, _ = begun("faint", data="circle", variants=("centroid", "both"), **POINTS)
    opened(run, shown=["fake", "forces"], unmatched="true", terms="2-diameter")
    first, both = drawn["clouds"]
    assert names(first) == names(both) == ["fake", "2-diameter force"]
    assert [layer(panel, "2-diameter force")["faint"] for panel in (first, both)] == [True, False]
    opened(run, shown=["fake", "forces"])
    assert names(drawn["clouds"][0]) == ["fake", "Centroid force"]


def test_what_is_off_reads_no_checkpoint(drawn: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = begun("off", data="circle", **POINTS)
    monkeypatch.setattr(scene, "checkpoint_at", lambda *_: pytest.fail("read"))
    opened(run, shown=["real", "fake", "grid"])
    assert names(drawn["clouds"][0]) == ["generator grid", "real", "fake"]
    assert not drawn["clouds options"]["pickable"]


def test_an_older_metric_is_said_and_a_damaged_or_missing_one_is_one_line(drawn: dict) -> None:
    run, _ = begun("old", data="circle", **POINTS)
    view = run.snapshot(0)
    wanted = layers.Choice(ALL, ["centroid"], False, "kind", 2, (0, 1))
    panels = [{"title": "a", "span": [[-1, 1], [-1, 1]], "layers": []}]

    def notes(step: int) -> str:
        shown = view | {"step": np.array(step)}
        return "\n".join(layers.over_clouds(panels, wanted, run, shown, [0], layers.Axes()).notes)

    assert "from the checkpoint of step 3" in notes(7)
    assert "from the checkpoint" not in notes(3)
    (run.path / "checkpoint.safetensors").write_bytes(b"broken")
    run.kept_path(0).write_bytes(b"broken")
    assert "is damaged" in notes(3)
    assert "is damaged" in opened(run)
    for path in (run.path / "checkpoint.safetensors", run.kept_path(0)):
        path.unlink()
    assert "no checkpoint yet" in notes(3)


def test_a_run_that_has_not_begun(make: Callable[..., Run], drawn: dict) -> None:
    run = make("new")
    append_line(run.path / "scalars.jsonl", {"step": 0, "event": "launched", "time": 0})
    assert "Nothing was recorded here." in opened(run, colour="trust")
    assert "clouds" not in drawn


def test_two_clicks_choose_the_ends(drawn: dict) -> None:
    run, _ = begun("click", data="circle", variants="both", **POINTS)
    app = open_page(run="click", layers=["real", "geodesic"], ends="3-4")

    def ends() -> list[int]:
        return [box.value for box in app.number_input if box.label.startswith("Geodesic")]

    assert ends() == [3, 4]
    for when, index, wanted in ((1.0, 7, [7, 4]), (2.0, 9, [7, 9]), (3.0, 5, [5, 9])):
        drawn["clicks"] = [Picked(0, "real", index, when)]
        app.run()
        assert not app.exception
        assert ends() == wanted
    next(box for box in app.number_input if box.label == "Geodesic from real").set_value(8).run()
    assert app.query_params["ends"] in ("8-9", ["8-9"])
    real = run.snapshot(0)["real"]
    np.testing.assert_array_equal(layer(drawn["clouds"][0], "ends")["points"], real[[8, 9]])
    assert layer(drawn["clouds"][0], "real")["offset"] == 0


def test_points_have_the_modes_of_their_embeddings() -> None:
    run, _ = begun("modes", data="moons", **POINTS)
    view = run.snapshot(0)
    panels = [{"title": "a", "span": [[-1, 1]] * 2, "layers": [{"name": "real"}, {"name": "fake"}]}]
    wanted = layers.Choice([], [], False, "eigenvector", 3, (0, 1))
    layered = layers.over_clouds(panels, wanted, run, view, [1], layers.Axes())
    (panel,), notes = layered.panels, layered.notes
    real, fake = (torch.from_numpy(view[f"{kind}_embedding"][1]) for kind in ("real", "fake"))
    expected = modes(real, fake)
    assert_close(torch.from_numpy(layer(panel, "real")["values"]), 8 * expected.real[2])
    assert_close(torch.from_numpy(layer(panel, "fake")["values"]), 8 * expected.fake[2])
    assert f"{expected.values[2]:.3g}".replace("-", "−") in notes[0]
    scale = layer(panel, "real")["scale"]
    assert scale["low"] == -scale["high"]
    live = {name: value for name, value in view.items() if "embedding" not in name}  # it has no embeddings of its own
    (again,) = layers.over_clouds(panels, wanted, run, live, [1], layers.Axes()).panels
    untrained = Experiment(run.config, run.data).embed(run.data.view)[1]
    assert_close(untrained, real, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(again, "real")["values"], layer(panel, "real")["values"], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("colour", ["trust", "continuity", "eigenvector"])
def test_the_projection_is_coloured_and_its_mean_is_said(drawn: dict, colour: str) -> None:
    run, _ = begun("honest", data="circle", **POINTS)
    snapshot = run.snapshot(0)
    frame = np.random.default_rng(0).normal(size=(3, 128, 2)).astype(np.float32)
    (run.path / "frames").mkdir()
    write_array(run.path / "frames" / "00000000.npy", frame)
    text = opened(run, shown=["real"], colour=colour)
    last = drawn["umap"][2]
    values = np.concatenate([layer(last, kind)["values"] for kind in ("real", "fake")])
    assert layer(last, "fake")["ring"]
    if colour == "trust":
        points = np.concatenate([snapshot["real_embedding"][2], snapshot["fake_embedding"][2]])
        expected = trustworthiness(torch.from_numpy(points), torch.from_numpy(frame[2]))
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert f"both {expected.mean():.3f}" in text


def test_a_chosen_layer_replaces_the_one_before_unless_several_are_wanted(drawn: dict) -> None:
    begun("single", data="circle", variants="both", **POINTS)
    app = open_page(run="single")

    def choose(name: str) -> list[str]:
        def group():
            return next(group for group in app.get("button_group") if group.key == "layers")

        group().set_value([*group().value, name]).run()
        assert not app.exception
        return group().value

    assert choose("forces") == ["real", "fake", "forces"]
    assert "Centroid force" in names(drawn["clouds"][0])
    assert choose("geodesic") == ["real", "fake", "geodesic"]
    next(toggle for toggle in app.toggle if toggle.key == "several").set_value(True).run()
    assert choose("forces") == ["real", "fake", "geodesic", "forces"]


def test_pca_is_there_before_umap_and_on_request(drawn: dict) -> None:
    run, _ = begun("pca", data="circle", **POINTS)
    snapshot = run.snapshot(0)
    text = words(open_page(run="pca", colour="trust"))
    assert "until UMAP is ready" in text
    assert "Trustworthiness" in text
    for panel, real in zip(drawn["umap"], snapshot["real_embedding"].astype(float), strict=True):
        centred = real - real.mean(0)
        u, singular, _ = np.linalg.svd(centred, full_matrices=False)
        points, expected = layer(panel, "real")["points"], u[:, :2] * singular[:2]
        np.testing.assert_allclose(np.abs(points), np.abs(expected), rtol=1e-3, atol=1e-5 * singular[0])
        shares = singular[:2] ** 2 / (singular**2).sum()
        assert panel["axes"] == [f"{share:.0%} of variance" for share in shares]
    (run.path / "frames").mkdir()
    write_array(run.path / "frames" / "00000000.npy", np.zeros((3, 128, 2), dtype=np.float32))
    open_page(run="pca")
    assert "axes" not in drawn["umap"][0]
    assert "the plane in which the real embeddings vary most" in words(open_page(run="pca", projection="PCA"))
    assert "axes" in drawn["umap"][0]


def test_a_click_in_the_spectrum_colours_by_its_eigenvector(drawn: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("bars", data="circle", variants="both", **POINTS)
    clicks: list[Clicked] = []

    def draw(figure: dict[str, Any], *, key: str, pickable: bool = False, **options: Any) -> Clicked | None:
        assert pickable == (key == "spectrum.bars.distance")
        return clicks[-1] if clicks and pickable else None

    monkeypatch.setattr("app.live.live_plot", draw)
    app = open_page(run="bars", panel="Spectrum of the distance matrix")
    assert "values" not in layer(drawn["clouds"][0], "real")
    for when, index in ((1.0, 2), (2.0, 4)):
        clicks.append(Clicked(index, when))
        assert f"eigenvector {index + 1}" in words(app.run())
        assert layer(drawn["clouds"][0], "real")["scale"]["title"] == f"eigenvector {index + 1}"
    assert app.query_params["colour"] in ("eigenvector", ["eigenvector"])


def test_every_layer_has_help_and_a_place_in_the_url() -> None:
    begun("help", data="circle", **POINTS)
    app = open_page(run="help", layers=ALL, colour="eigenvector")
    for key in ("layers", "several", "terms", "unmatched", "colour", "rank"):
        (widget,) = [w for kind in ("button_group", "toggle", "number_input", "select_slider") for w in app.get(kind)
                     if getattr(w, "key", None) == key]  # fmt: skip
        assert widget.proto.help
    assert app.query_params["layers"] == ALL


def test_a_click_marks_the_points_nearest_to_it(drawn: dict) -> None:
    run, _ = begun("near", data="circle", variants="both", **POINTS)
    app = open_page(run="near", layers=["real", "fake", "nearest"], near="real-3")
    rings = ["nearest under the learned metric", "nearest in space", "nearest along the data"]
    assert names(drawn["clouds"][0]) == ["real", "fake", *rings, "chosen point"]
    assert "The 10 reals nearest to real 3." in words(app)
    assert drawn["clouds options"]["pickable"]
    drawn["clicks"] = [Picked(0, "fake", 5, 1.0)]
    assert "The 10 reals nearest to fake 5." in words(app.run())
    assert app.query_params["near"] in ("fake-5", ["fake-5"])
    view = run.snapshot(run.snapshot_steps()[-1])
    gaps = np.linalg.norm(view["real"] - view["fake"][0][5], axis=1)
    nearest = np.linalg.norm(layer(drawn["clouds"][0], rings[1])["points"] - view["fake"][0][5], axis=1)
    np.testing.assert_allclose(nearest, np.sort(gaps)[:10], rtol=1e-5)
    assert "near: must be a point such as real-3" in words(open_page(run="near", near="3"))


def test_a_lens_is_looked_through_in_the_background(drawn: dict) -> None:
    run, _ = begun("lens", data="circle", **POINTS)
    app = open_page(run="lens", panel="Lenses", lens="embeddings")
    until(lambda: app.dataframe or not app.run(), "the lens")
    assert LENSES["embeddings"].how_to_read in words(app)
    table = app.dataframe[0].value.set_index("number")
    snapshot = run.snapshot(run.snapshot_steps()[-1])
    titles = {"centroid": "centroid only", "diameter": "2-diameter only", "both": "both"}
    for variant, title in titles.items():
        member = run.config.members.index((variant, run.config.seeds[0]))
        rank = effective_rank(metric_at(run, member, int(snapshot["step"]))(torch.from_numpy(snapshot["fake"][member])))
        assert table.loc["effective rank", title].split(" ")[0] == f"{rank:.3g}"
    app = open_page(run="lens", panel="Lenses", lens="Autoencoder")
    until(lambda: "no autoencoder, such as vae" in words(app) or not app.run(), "the reason")


def test_isomap_and_diffusion_maps_are_projections(drawn: dict) -> None:
    run, _ = begun("maps", data="circle", variants="both", **POINTS)
    snapshot = run.snapshot(run.snapshot_steps()[-1])
    embeddings = np.concatenate([snapshot[f"{kind}_embedding"][0] for kind in ("real", "fake")])
    for way, flatten in (("Isomap", isomap), ("Diffusion map", diffusion_map)):
        app = open_page(run="maps", projection=way)
        until(lambda app=app, way=way: f"until the {way} is ready" not in words(app) or not app.run(), way)
        shown = np.concatenate([layer(drawn["umap"][0], kind)["points"] for kind in ("real", "fake")])
        np.testing.assert_allclose(pdist(shown), pdist(flatten(torch.from_numpy(embeddings))), rtol=1e-3, atol=1e-4)


def test_two_eigenvectors_are_a_projection(drawn: dict) -> None:
    run, _ = begun("maps", data="circle", variants="both", **POINTS)
    snapshot = run.snapshot(run.snapshot_steps()[-1])
    real, fake = (snapshot[f"{kind}_embedding"][0].astype(float) for kind in ("real", "fake"))
    first = real[:256]  # whose eigenvectors extend to all other points
    values, vectors = np.linalg.eigh(cdist(first, first))
    order = np.argsort(-np.abs(values))[[2, 4]]  # the third and the fifth by magnitude
    values, vectors = values[order], vectors[:, order] * np.sqrt(len(first))
    app = open_page(run="maps", projection="Eigenvectors", across="3", up="5")
    panel = drawn["umap"][0]
    signs = np.sign((layer(panel, "real")["points"][: len(first)] * vectors).sum(0))
    for kind, points in (("real", real), ("fake", fake)):
        expected = signs * (cdist(points, first) @ vectors / values)
        np.testing.assert_allclose(layer(panel, kind)["points"], expected, rtol=1e-2, atol=1e-2)
    third, fifth = -values / cdist(first, first).mean()
    assert panel["axes"] == [f"eigenvector 3 (λ −{third:.3g})", f"eigenvector 5 (λ −{fifth:.3g})"]
    app.number_input(key="across").set_value(2).run()
    assert drawn["umap"][0]["axes"][0].startswith("eigenvector 2 (λ −")
