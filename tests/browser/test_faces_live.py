"""The Faces page as a person meets it: pictures that change while it trains, and points that show theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import MAIN, TINY, train_faces
from patient import click, seen, until, visit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module: a finished one, with a projection."""
    folder = tmp_path_factory.mktemp("runs")
    train_faces(folder / "tiny")
    (folder / "tiny" / "frames").mkdir()
    frame = np.random.default_rng(0).normal(size=(2, 64, 2)).astype(np.float32)
    np.save(folder / "tiny" / "frames" / "00000020.npy", frame)
    return folder


@pytest.fixture(scope="module")
def faces(serve, folder: Path) -> Iterator[str]:
    """The page's address."""
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder)})
    yield f"{server.url}/faces"
    server.stop()


def test_samples_change_while_it_trains(page, faces: str, folder: Path, mvm) -> None:
    trainer = mvm("train", "--run", str(folder / "living"), *TINY, "--steps", "100000")
    until((folder / "living" / "live.safetensors").exists, "its first view")
    visit(page, faces)  # a living run is shown first
    grid = seen(page.locator("[data-live-plot='samples.living'][data-updates]"), "attached")
    canvas = grid.locator("canvas").first.element_handle()

    def number(name: str) -> int:
        return int(grid.get_attribute(f"data-{name}"))

    updates, step = number("updates"), number("step")
    until(
        lambda: number("updates") >= updates + 3 and number("step") > step,
        "three redraws of later steps",
        progress=lambda: number("updates"),
    )
    click(page.get_by_role("button", name="View"))
    click(page.get_by_text("Averaged generator (EMA)"))
    seen(page.get_by_text("not averaged"))
    updates = number("updates")
    until(lambda: number("updates") > updates, "another redraw")
    assert canvas.evaluate("node => node.isConnected"), "the pictures are drawn in place"
    trainer.kill()


def test_a_point_shows_its_picture_and_its_neighbours(page, faces: str) -> None:
    visit(page, f"{faces}?run=tiny")
    chart = seen(page.locator("[data-live-plot='umap.tiny'][data-updates]"), "attached")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    thumbnail = chart.locator(".thumbnail")

    def hovers() -> bool:
        for x in range(60, 280, 8):
            page.mouse.move(box["x"] + x, box["y"] + 180)
            if thumbnail.count():
                return True
        return False

    until(hovers, "a point under the pointer")
    assert thumbnail.bounding_box()["width"] == pytest.approx(96)
    words = thumbnail.inner_text()
    assert words.split()[0] in ("real", "fake")
    page.mouse.down()
    page.mouse.up()
    seen(page.get_by_text(f"to {words}"))
    nearest = page.locator("[data-live-plot='nearest.tiny'][data-updates]")
    until(lambda: nearest.count() and nearest.locator("canvas").bounding_box()["width"] > 400, "its neighbours")
