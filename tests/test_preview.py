"""What the pages show of data before they are trained on: points, columns of a file, pictures, patches."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import as_read, button, open_page, words

from app import preview
from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.data.pairs import sample_patches
from mvm.data.photographs import Collection
from mvm.data.points import look_at
from mvm.imaging.resize import imresize
from mvm.look.thumbnails import thumbnail
from mvm.runs.run import Run
from toy_manifolds import MANIFOLDS, manifold

pytestmark = pytest.mark.usefixtures("no_processes")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Panels of each preview, in the order in which they are drawn."""
    panels: list[dict[str, Any]] = []
    monkeypatch.setattr(preview, "cloud_plot", lambda of, **_: panels.append(of[0]))
    monkeypatch.setattr(preview, "picture_grid", lambda of, **_: panels.extend(of))
    return panels


def points_of(panel: dict[str, Any]) -> np.ndarray:
    return panel["layers"][0]["points"]


# -- points ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [{"data": "torus"}, {"data": "spiral", "ambient_dim": 7}, "file"])
def test_a_look_shows_the_points_that_the_run_will_show(data: Any, cloud: Path) -> None:
    config = Config.make(**({"data": str(cloud)} if data == "file" else data))
    look, whole = look_at(config), load_data(config)
    torch.testing.assert_close(torch.from_numpy(look.points), whole.restore(whole.view), rtol=1e-5, atol=1e-5)
    assert look.count == (len(np.loadtxt(cloud, delimiter=",")) if data == "file" else config.points)


def test_points_are_drawn_anew_with_every_setting(drawn: list, checkpoints: Path) -> None:
    """Of a manifold of one's choice, with its settings and in more dimensions; it trains as it was seen."""
    app = open_page(data="torus")
    assert "**Data of the next run**  \n50,000 points in 3 dimensions" in words(app)
    seen = points_of(drawn[-1])
    assert manifold("torus").distance(torch.from_numpy(seen)).max() < 1e-5
    app.slider(key="torus.tube").set_value(0.3).run()
    thin = points_of(drawn[-1])
    assert manifold("torus", tube=0.3).distance(torch.from_numpy(thin)).max() < 1e-5
    app.number_input(key="torus.ambient").set_value(9).run()
    assert "50,000 points in 9 dimensions" in words(app)
    assert "first three principal components, 100 % of the variance" in words(app).replace("100%", "100 %")
    lengths = np.linalg.svd(points_of(drawn[-1]), compute_uv=False)
    np.testing.assert_allclose(lengths, np.linalg.svd(thin - thin.mean(0), compute_uv=False), rtol=1e-4)


def test_shapes_are_seen_before_one_is_chosen(drawn: list) -> None:
    app = open_page()
    assert not [b for b in app.button if (b.key or "").startswith("shape.")], "they are drawn when asked for"
    button(app, "All shapes").click().run()
    shapes = {b.key.removeprefix("shape."): b for b in app.button if b.key and b.key.startswith("shape.")}
    assert list(shapes) == list(MANIFOLDS)
    assert all(b.label.endswith(f" {MANIFOLDS[name].title}") for name, b in shapes.items())
    shapes["mobius_strip"].click().run()
    assert app.selectbox(key="data").value == "mobius_strip"
    assert not [b for b in app.button if (b.key or "").startswith("shape.")], "it closes"
    assert manifold("mobius_strip").distance(torch.from_numpy(points_of(drawn[-1]))).max() < 1e-5
    assert app.query_params["data"] in ("Möbius strip", ["Möbius strip"])


@pytest.mark.parametrize("name", ["figure_eight", "sphere"])
def test_a_thumbnail_has_a_dot_per_point_within_its_frame(name: str) -> None:
    points = manifold(name).sample(200, torch.Generator().manual_seed(0)).points.numpy()
    svg = base64.b64decode(thumbnail((points, "#123456")).partition(",")[2]).decode()
    dots = np.array(re.findall(r"M(\S+) (\S+)h0", svg), dtype=float)
    assert dots.shape == (200, 2)
    assert dots.min() >= 0
    assert dots.max() <= 60
    if name == "figure_eight":  # in the plane: the same shape, with y up
        expected = (points - (points.min(0) + points.max(0)) / 2) * [1, -1]
        got = dots - 30
        np.testing.assert_allclose(got / np.abs(got).max(), expected / np.abs(expected).max(), atol=0.01)


# -- columns of a file -------------------------------------------------------------------------------------------------


def test_columns_are_chosen_by_check_boxes(drawn: list, no_processes: list[str]) -> None:
    """An index and text begin unticked; the preview follows the boxes, and the run leaves the same columns out."""
    rows = np.random.default_rng(0).normal(size=(90, 4)) * [1, 2, 3, 5000]
    lines = [
        "id,a,b,c,wide,species",
        *(f"{i},{','.join(map(repr, row.tolist()))},setosa" for i, row in enumerate(rows)),
    ]
    lines[5] = "4,1.5,,3,7,setosa"
    app = open_page(source="Own file")
    app.file_uploader[0].set_value(("iris.csv", "\n".join(lines).encode(), "text/csv")).run()
    boxes = {box.key.rpartition(".")[2]: box for box in app.checkbox if "iris.csv" in (box.key or "")}
    assert {number: box.value for number, box in boxes.items()} == dict(zip("123456", [0, 1, 1, 1, 1, 0], strict=True))
    assert "id numbers the rows and is left out; tick it to train on it." in words(app)
    assert "1 missing" in boxes["3"].label
    assert "text: 'setosa' in line 2" in as_read(boxes["6"].label)
    assert boxes["6"].disabled
    (error,) = app.error
    assert "line 6, column 3 (b): '' is not a number" in as_read(error.value)
    app.toggle(key="file.absent").set_value(True).run()
    assert not app.error
    assert "89 points, 4 columns: a, b, c, wide; 1 rows left out" in words(app)
    assert points_of(drawn[-1]).shape == (72, 3)
    assert "each column in its standard deviations" in words(app), "one column would hide the others"
    for number in "45":
        next(box for box in app.checkbox if box.key.endswith(f"iris.csv.{number}")).uncheck().run()
    assert points_of(drawn[-1]).shape[1] == 2
    assert app.query_params["file.drop_columns"] in ("1 4 5 6", ["1 4 5 6"])
    button(app, "Train").click().run()
    run = Run.named(no_processes[-1])
    assert (run.config.drop_columns, run.config.missing) == (("1", "4", "5", "6"), ("nan",))
    assert np.load(run.path / "data.npy").shape == (89, 2)


def test_a_link_names_the_columns_to_leave_out(drawn: list) -> None:
    content = "a,b,c\n" + "".join(f"{x},{x**2},{-x}\n" for x in range(2, 90))
    app = open_page(source="Own file", **{"file.drop_columns": "b"})
    app.file_uploader[0].set_value(("linked.csv", content.encode(), "text/csv")).run()
    assert [box.value for box in app.checkbox if "linked.csv" in (box.key or "")] == [True, False, True]
    assert not app.warning
    assert points_of(drawn[-1]).shape[1] == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x; if it holds the columns' names: --header true", "switch on “Header”"),
        ("x; if it marks missing numbers: --missing -9999 99", "write -9999 99 into “Missing”"),
        ("mend it, or leave the column out: --drop-columns 3", "untick the column"),
        ("x never change, and can be left out: --drop-columns 2 5 ...", "untick 2 5 ... above"),
    ],
)
def test_advice_names_widgets_and_no_switch(line: str, says: str) -> None:
    assert says in preview.in_app(line)
    assert "--" not in preview.in_app(line)


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_toy_faces_are_seen_in_the_chosen_size(drawn: list) -> None:
    app = open_page(
        "from app.kinds import PAGES; PAGES['images'].draw()", **{"faces.source": "Toys", "faces.size": "16"}
    )
    assert drawn[-1]["images"].shape == (8, 16, 16, 3)
    assert "20,000 pictures of 16 × 16 pixels" in words(app)
    assert not app.warning, "a link with its earlier name"


def test_patches_of_the_photographs_are_seen(drawn: list) -> None:
    app = open_page("from app.kinds import PAGES; PAGES['superres'].draw()")
    low, high = drawn[-2:]
    assert low["images"].shape == high["images"].shape == (4, 96, 96, 3)
    small = imresize(torch.from_numpy(high["images"]), (24, 24)).numpy().astype(int)
    assert np.abs(small[:, 4:-4, 4:-4] - low["images"][:, ::4, ::4][:, 4:-4, 4:-4]).max() <= 1, "the same places"
    assert "4 photographs" in words(app)


def test_sampled_patches_lie_in_the_pictures() -> None:
    low = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(-1, 3)
    high = low.reshape(8, 9, 3).repeat(4, 0).repeat(4, 1).reshape(-1, 3)
    small, large = sample_patches(Collection(high, low, np.array([[8, 9]]), ("p",), (), ""), 8, 5)
    assert torch.equal(small.repeat_interleave(4, 1).repeat_interleave(4, 2), large)
