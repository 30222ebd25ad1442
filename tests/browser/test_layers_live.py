"""The layers in a real browser: they are drawn, the legend holds them, and two clicks make a geodesic."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_layers_are_drawn_and_two_clicks_make_a_geodesic(page, serve, run: Run) -> None:
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(run.path.parent)})
    visit(page, f"{server.url}/?run=ring&layers=real&layers=fake")
    drawn = seen(chart(page, run), "attached")
    assert drawn.get_attribute("data-layers") == "real, fake"
    assert drawn.evaluate(COUNT, CENTROID) == 0
    click(page.get_by_role("button", name="View"))
    for name, layer in (
        ("forces", "Centroid force"),
        ("metric", "metric distance"),
        ("geodesic", "geodesic of the metric"),
    ):
        click(page.get_by_role("button", name=name, exact=True))
        until(lambda layer=layer: layer in drawn.get_attribute("data-layers"), layer)
    page.keyboard.press("Escape")
    assert drawn.evaluate(COUNT, CENTROID) > 50
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
