"""The clouds in a real browser: linked points are marked, layers drawn, and two clicks make a geodesic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pages import MAIN
from patient import click, seen, until, visit
from test_lab import chart

from mvm.config import Config
from mvm.runs.recorder import Recorder
from mvm.runs.run import Run
from mvm.training.experiment import Experiment

COUNT = """(node, [r, g, b]) => {
  const canvas = node.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 60, canvas.width, canvas.height - 60);
  let found = 0;
  for (let i = 0; i < data.length; i += 4) {
    found += Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40 && data[i + 3] > 120;
  }
  return found;
}"""
CENTROID, GEODESIC = [0, 114, 178], [216, 27, 96]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a circle that was left at its first step; its fakes lie far enough apart to see an arrow at each."""
    monkeypatch.setenv("MVM_CHECKPOINTS", str(tmp_path))
    network = {"width": 16, "generator_activation": "relu", "noise_dim": 8}
    config = Config.make(data="circle", variants="both", points=300, view_points=64, network=network, steps=20)
    run = Run.create(config, name="ring")
    Recorder(run, Experiment(run.config, run.data)).start()
    return run


class Canvas:
    """A chart's canvas, which is pointed at by places in its first panel, from 0 to 1 rightwards and upwards."""

    def __init__(self, page, chart) -> None:
        self.page, self.chart, self.mouse = page, chart, page.mouse

    def at(self, place) -> tuple[float, float]:
        frame = json.loads(self.chart.get_attribute("data-frames"))[0]
        box = self.chart.bounding_box()
        x, y = map(float, place)
        return box["x"] + frame["x"] + frame["side"] * x, box["y"] + frame["y"] + frame["side"] * (1 - y)

    def loop(self, low, high) -> None:
        """Drag around a rectangle."""
        self.chart.scroll_into_view_if_needed()
        corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
        self.mouse.move(*self.at(corners[0]))
        self.mouse.down()
        for corner in corners[1:]:
            self.mouse.move(*self.at(corner), steps=3)
        self.mouse.up()

    def marked(self) -> dict[str, list[int]]:
        return json.loads(self.chart.get_attribute("data-marked") or "{}")


def places(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Places in a panel of data space, from 0 to 1."""
    low, high = real.min(0), real.max(0)
    return 0.5 + (points - (low + high) / 2) / ((high - low).max() * 1.35)


def check_linked_points(page, run: Run) -> None:
    """Mark points in data space, then in the embeddings: each time both charts mark the same ones."""
    view = run.snapshot(0)
    data = Canvas(page, seen(chart(page, run), "attached"))
    embedded = Canvas(page, seen(chart(page, run, "umap"), "attached"))
    both = (data, embedded)
    where = {kind: places(points, view["real"]) for kind, points in (("real", view["real"]), ("fake", view["fake"][0]))}
    (rightmost,) = np.flatnonzero(where["real"][:, 0] == where["real"][:, 0].max())
    data.chart.scroll_into_view_if_needed()
    data.mouse.move(*data.at(where["real"][rightmost]), steps=2)
    until(
        lambda: all(one.chart.get_attribute("data-hovered") == f"real {rightmost}" for one in both), "a hovered point"
    )
    page.keyboard.down("Shift")
    low, high = (0.31, 0.42), (0.97, 0.98)
    data.loop(low, high)
    page.keyboard.up("Shift")
    inside = {kind: ((of > low) & (of < high)).all(1).nonzero()[0].tolist() for kind, of in where.items()}
    expected = {kind: of for kind, of in inside.items() if of}
    assert 5 < len(expected["real"]) < 60
    until(lambda: all(one.marked() == expected for one in both), f"the marks {expected}")
    counts = ", ".join(f"{len(of)} {kind}" for kind, of in expected.items())
    words = f"{sum(map(len, expected.values()))} marked: {counts}"
    seen(embedded.chart.get_by_role("button", name=words))
    page.keyboard.press("Escape")
    until(lambda: not any(one.marked() for one in both), "no marks")
    click(embedded.chart.get_by_role("button", name="Select", exact=True))
    embedded.loop((0.01, 0.01), (0.99, 0.99))
    everything = {kind: [*range(64)] for kind in ("real", "fake")}
    until(lambda: all(one.marked() == everything for one in both), "all points marked")
    click(data.chart.get_by_role("button", name="128 marked"))
    until(lambda: not any(one.marked() for one in both), "no marks")


def test_points_are_linked_layers_are_drawn_and_two_clicks_make_a_geodesic(page, serve, run: Run) -> None:
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(run.path.parent)})
    visit(page, f"{server.url}/?run=ring&layers=real&layers=fake")
    drawn = seen(chart(page, run), "attached")
    assert drawn.get_attribute("data-layers") == "real, fake"
    assert drawn.evaluate(COUNT, CENTROID) == 0
    check_linked_points(page, run)
    click(page.get_by_role("button", name="View"))
    click(page.get_by_text("Several layers at once"))
    for name, layer in (
        ("forces", "Centroid force"),
        ("metric", "metric distance"),
        ("geodesic", "geodesic of the metric"),
    ):
        click(page.get_by_role("button", name=name, exact=True))
        until(lambda layer=layer: layer in drawn.get_attribute("data-layers"), layer)
    page.keyboard.press("Escape")
    assert drawn.evaluate(COUNT, CENTROID) > 20
    assert drawn.evaluate(COUNT, GEODESIC) > 50
    real = run.snapshot(0)["real"]
    ends = [int(real[:, axis].argmax()) for axis in (0, 1)]  # the rightmost and the uppermost point
    low, high = real.min(0), real.max(0)
    width = (high - low).max() * 1.35
    for end, (a, b) in zip(ends, ((ends[0], 1), ends), strict=True):
        frame = json.loads(drawn.get_attribute("data-frames"))[0]
        x, y = ((real[end] - (low + high) / 2) / width * frame["side"]).tolist()
        middle = {axis: frame[axis] + frame["side"] / 2 for axis in "xy"}
        drawn.locator("canvas").click(position={"x": middle["x"] + x, "y": middle["y"] - y})
        seen(page.get_by_text(f"From real {a} (A) to real {b} (B)"))  # it may move the chart
        until(lambda parameter=f"ends={a}-{b}": parameter in page.evaluate("location.search"), f"ends={a}-{b}")
    click(page.get_by_role("tab", name="Spectrum of the distance matrix"))
    bars = seen(page.locator("[data-live-plot='spectrum.ring.distance'][data-updates] .bars .point path").nth(2))
    bars.scroll_into_view_if_needed()
    box = bars.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(lambda: "rank=3" in page.evaluate("location.search"), "the third eigenvector")
    seen(page.get_by_text("eigenvector 3 of D / mean D"))
