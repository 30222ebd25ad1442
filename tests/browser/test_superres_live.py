"""The Super-resolution page as a person meets it: drop a picture in, zoom, download, move λ₂ while it trains."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import MAIN, TINY_SR, train_superres
from patient import click, seen, until, visit
from PIL import Image

from mvm.data.photographs import held_out
from mvm.runs.events import WeightsChanged
from mvm.runs.run import Run
from mvm.runs.trained import load
from mvm.scoring.superres import bicubic

COMPARISON = "[data-live-plot='superres.pictures'][data-updates]"
COLOURS = """nodes => nodes.map(node => {
  const at = [Math.floor(node.width / 2), Math.floor(node.height / 2), 1, 1];
  return [...node.getContext("2d").getImageData(...at).data.slice(0, 3)];
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module: a finished one."""
    folder = tmp_path_factory.mktemp("runs")
    train_superres(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def superres(serve, folder: Path) -> Iterator[str]:
    """The page's address."""
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder)})
    yield f"{server.url}/superres"
    server.stop()


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def pictures(page, count: int):
    """The comparison, once it has this many canvases."""
    node = page.locator(COMPARISON)
    until(lambda: node.count() and node.locator("canvas").count() == count, f"{count} pictures")
    return node


def test_a_picture_is_dropped_in_and_its_quadruple_downloaded(page, superres: str, folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    visit(page, f"{superres}?run=tiny&superres.picture=Own picture&superres.shrink=false")
    seen(page.locator("input[type=file]"), "attached").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png(values)}
    )
    assert json.loads(pictures(page, 3).get_attribute("data-view")) == {"zoom": 1, "x": 80, "y": 48}
    with page.expect_download() as download:
        click(page.get_by_role("button", name="×4 by MvM (both)"))
    assert download.value.suggested_filename == "mine-x4-tiny.png"
    got = np.asarray(Image.open(download.value.path()))
    np.testing.assert_array_equal(got, load(folder / "tiny", variant="both").upscale(values))


def test_one_zoom_and_pan_for_all_pictures(page, superres: str, folder: Path) -> None:
    """What lies in the middle of every canvas is the pixel of its own picture that the common view names."""
    visit(page, f"{superres}?run=tiny&superres.picture=coffee")
    node = pictures(page, 4)
    canvases = node.locator("canvas")
    box = canvases.nth(1).bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    for _ in range(12):
        page.mouse.wheel(0, -200)
    view = until(lambda: (now := json.loads(node.get_attribute("data-view")))["zoom"] > 8 and now, "a zoom")
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    page.mouse.up()
    until(lambda: json.loads(node.get_attribute("data-view"))["x"] < view["x"], "a move to the left")
    views = canvases.evaluate_all("nodes => nodes.map(node => node.dataset.view)")
    assert len(set(views)) == 1
    view, scale = json.loads(views[0]), json.loads(views[0])["zoom"] * box["width"] / 600
    width, height = canvases.first.evaluate("node => [node.width, node.height]")
    x = int(view["x"] + (width // 2 + 0.5 - width / 2) / scale)
    y = int(view["y"] + (height // 2 + 0.5 - height / 2) / scale)
    low, high = (torch.tensor(side(held_out().names.index("coffee"))) for side in
                 (held_out().low_picture, held_out().high_picture))  # fmt: skip
    upscaled = [load(folder / "tiny", variant=name).upscale(low.numpy()) for name in ("centroid", "both")]
    wanted = [picture[y, x].tolist() for picture in (bicubic(low), *upscaled, high)]
    assert canvases.evaluate_all(COLOURS) == wanted
    canvases.nth(2).focus()
    page.keyboard.press("0")
    until(lambda: json.loads(node.get_attribute("data-view"))["zoom"] == 1, "the whole picture")
    click(node.get_by_role("button", name="Difference"))
    until(lambda: canvases.count() == 3, "differences of all but the original")
    click(node.get_by_role("button", name="Before / after"))
    until(lambda: canvases.count() == 1, "one canvas")
    node.get_by_label("Left picture").select_option("3")
    seen(node.get_by_text("Original  |  MvM (centroid only) · tiny"))


def test_a_slider_of_a_term_acts_while_it_trains(page, superres: str, folder: Path, mvm) -> None:
    trainer = mvm("train", "--run", str(folder / "living"), *TINY_SR, "--steps", "100000")
    run = until(lambda: (folder / "living" / "live.safetensors").exists() and Run(folder / "living"), "its first view")
    visit(page, f"{superres}?run=living&superres.show=Training")
    grid = seen(page.locator("[data-live-plot='patches.living'][data-updates]"), "attached")
    slider = page.locator(".st-key-superres-w-pair").get_by_role("slider")
    until(slider.count, "the slider")
    slider.focus()
    page.keyboard.press("ArrowRight")

    def changed() -> list[WeightsChanged]:
        return [event for event in run.records.poll().events if isinstance(event, WeightsChanged)]

    (event,) = until(changed, "the new weight", progress=lambda: run.records.step)
    assert event.weights == {"pair": 0.003}
    step = int(grid.get_attribute("data-step"))
    until(lambda: int(grid.get_attribute("data-step")) > step, "patches of a later step")
    trainer.kill()
