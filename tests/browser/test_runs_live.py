"""The Runs page as a person meets it: tick two runs, fork one and watch the branches part, take a ZIP in."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from trainers import small_config, write_cloud

from mvm.runs.archive import pack
from mvm.runs.recorder import train
from mvm.runs.run import Run

MAIN = Path(__file__).parents[2] / "app" / "main.py"
PATIENCE = 60_000
STEPS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two finished runs."""
    folder = tmp_path_factory.mktemp("runs")
    cloud = write_cloud(folder / "cloud.csv")
    for name, batch in (("small", 16), ("large", 32)):
        run = Run.create(small_config(cloud, steps=STEPS, batch=batch, snapshots=20), path=folder / name)
        for _ in train(run):
            pass
    return folder


@pytest.fixture(scope="module")
def app(serve, folder: Path):
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder)})
    yield server
    server.stop()


def chart(page, key: str):
    found = page.locator(f"[data-live-plot^='runs.{key}'][data-updates]").first
    found.wait_for(state="attached", timeout=PATIENCE)
    return found


def tick(page, row: int) -> None:
    """The box before a row of the table, which is one canvas."""
    canvas = page.get_by_test_id("stDataFrame").first.locator("canvas").first
    canvas.wait_for(timeout=PATIENCE)
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 35 * (row + 1) + 17)


def test_two_runs_are_ticked_and_compared(page, app) -> None:
    page.goto(f"{app.url}/runs")
    tick(page, 0)
    page.get_by_role("button", name="Open in Lab").wait_for(timeout=PATIENCE)
    tick(page, 1)
    page.get_by_text("What differs").wait_for(timeout=PATIENCE)
    figure = chart(page, "curves").evaluate(
        "node => ({ names: node.data.map((t) => t.name), x: node.layout.xaxis.title.text })"
    )
    assert {"both, batch 16", "both, batch 32"} <= set(figure["names"])
    assert figure["x"] == "training step"
    (compared,) = parse_qs(urlsplit(page.url).query)["compare"]
    assert sorted(compared.split(",")) == ["large", "small"]
    tick(page, 0)
    page.get_by_text("What differs").wait_for(state="detached", timeout=PATIENCE)
    page.get_by_role("button", name="Open in Lab").click()
    page.locator("[data-live-plot^='clouds.'][data-updates]").first.wait_for(timeout=PATIENCE)
    assert "run=small" in page.url


def test_a_fork_is_made_at_a_step_and_both_branches_are_seen(page, app, folder: Path) -> None:
    page.goto(f"{app.url}/runs?compare=small")
    page.get_by_role("button", name="Fork").click()
    to = page.get_by_label("To", exact=True)
    to.wait_for(timeout=PATIENCE)
    to.fill("0")
    to.press("Enter")
    page.get_by_role("button", name="Fork and train").click()
    page.get_by_text("Where they part").wait_for(timeout=PATIENCE)
    made = Run(folder / "small-fork100")
    end = time.monotonic() + 60
    while made.status().state != "finished":
        assert time.monotonic() < end, f"the fork is {made.status()}"
        time.sleep(0.1)
    branches = chart(page, "branches")
    page.wait_for_function(
        "node => node.data[0].x.length >= 20 || (node.data[0].x._inputArray || []).length >= 20",
        arg=branches.element_handle(), timeout=PATIENCE,
    )  # fmt: skip
    lines = branches.evaluate("node => node.calcdata.map((points) => points.map(({ x, y }) => [x, y]))")
    for line in lines:
        assert all(y == 0 for x, y in line if x <= 100)
        assert line[-1][1] > 0
    names = chart(page, "curves").evaluate("node => node.data.map((trace) => trace.name)")
    assert {"both, centroid × 1", "both, centroid × 0"} <= set(names)


def test_a_zip_is_taken_in_and_one_that_leads_outside_is_refused(page, app, folder: Path, tmp_path: Path) -> None:
    pack(Run(folder / "large"), tmp_path / "theirs.zip")
    spoiled = io.BytesIO((tmp_path / "theirs.zip").read_bytes())
    with zipfile.ZipFile(spoiled, "a") as archive:
        archive.writestr("large/../../outside.txt", "x")
    page.goto(f"{app.url}/runs")
    for content, name in ((spoiled.getvalue(), "bad"), ((tmp_path / "theirs.zip").read_bytes(), "theirs")):
        page.get_by_role("button", name="Import").first.click()
        page.locator("input[type=file]").set_input_files(
            {"name": f"{name}.zip", "mimeType": "application/zip", "buffer": content}
        )
        page.get_by_test_id("stFileChipName").filter(has_text=f"{name}.zip").wait_for(timeout=PATIENCE)
        page.get_by_label("Name").last.fill(name)
        page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
        if name == "bad":
            page.get_by_text("outside.txt").first.wait_for(timeout=PATIENCE)
            alert = page.get_by_role("alert").inner_text()
            assert "\n" not in alert.strip().removeprefix("error").strip()
            assert "Traceback" not in alert
            page.keyboard.press("Escape")
    page.wait_for_url("**/runs?compare=theirs*", timeout=PATIENCE)
    assert Run(folder / "theirs").scores() == Run(folder / "large").scores()
    assert not (folder / "bad").exists()
    assert not list(folder.parent.glob("outside*"))
