"""The Runs page as a person meets it: tick two runs, fork one and watch the branches part, take a ZIP in."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pages import MAIN
from patient import click, seen, until, visit
from trainers import small_config, write_cloud

from mvm.runs.archive import pack
from mvm.runs.recorder import train
from mvm.runs.run import Run

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
    return seen(page.locator(f"[data-live-plot^='runs.{key}'][data-updates]").first, "attached")


def tick(page, row: int) -> None:
    """The box before a row of the table, which is one canvas."""
    canvas = seen(page.get_by_test_id("stDataFrame").first.locator("canvas").first)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 35 * (row + 1) + 17)


def test_two_runs_are_ticked_and_compared(page, app) -> None:
    visit(page, f"{app.url}/runs")
    tick(page, 0)
    seen(page.get_by_role("button", name="Open in Lab"))
    tick(page, 1)
    seen(page.get_by_text("What differs"))
    names = "node => node.data.map((trace) => trace.name)"
    curves = chart(page, "curves")
    until(lambda: {"both, batch 16", "both, batch 32"} <= set(curves.evaluate(names)), "the curves of both runs")
    assert curves.evaluate("node => node.layout.xaxis.title.text") == "training step"
    before = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    chart(page, "curves").scroll_into_view_if_needed()
    below = "({ layout: { xaxis2, yaxis, yaxis2 } }) => xaxis2.domain[0] === 0 && yaxis2.domain[1] < yaxis.domain[0]"
    until(lambda: chart(page, "curves").evaluate(below), "one plot below the other on a phone")
    page.set_viewport_size(before)
    (compared,) = parse_qs(urlsplit(page.url).query)["compare"]
    assert sorted(compared.split(",")) == ["large", "small"]
    tick(page, 0)
    seen(page.get_by_text("What differs"), "detached")
    click(page.get_by_role("button", name="Open in Lab"))
    seen(page.locator("[data-live-plot^='clouds.'][data-updates]").first)
    assert "run=small" in page.url


def test_a_fork_is_made_at_a_step_and_both_branches_are_seen(page, app, folder: Path) -> None:
    visit(page, f"{app.url}/runs?compare=small")
    click(page.get_by_role("button", name="Fork"))
    change = seen(page.get_by_role("combobox", name="Change"))
    change.fill("Centroid weight")
    change.press("Enter")
    to = seen(page.get_by_role("spinbutton", name="Centroid weight"))
    to.fill("0")
    to.press("Enter")
    click(page.get_by_role("button", name="Fork and train"))
    seen(page.get_by_text("Distance of the fork"))
    made = Run(folder / "small-fork100")
    until(lambda: made.status().state == "finished", "the fork's end", progress=lambda: made.records.step)
    branches = chart(page, "branches")
    until(lambda: branches.evaluate("node => node.calcdata[0].length") >= 20, "the whole line")
    lines = branches.evaluate("node => node.calcdata.map((points) => points.map(({ x, y }) => [x, y]))")
    for line in lines:
        assert all(y == 0 for x, y in line if x <= 100)
        assert line[-1][1] > 0
    names = chart(page, "curves").evaluate("node => node.data.map((trace) => trace.name)")
    assert {"both, centroid × 1", "both, centroid × 1 → 0 at 100"} <= set(names)


def test_a_zip_is_taken_in_and_one_that_leads_outside_is_refused(page, app, folder: Path, tmp_path: Path) -> None:
    pack(Run(folder / "large"), tmp_path / "theirs.zip")
    spoiled = io.BytesIO((tmp_path / "theirs.zip").read_bytes())
    with zipfile.ZipFile(spoiled, "a") as archive:
        archive.writestr("large/../../outside.txt", "x")
    visit(page, f"{app.url}/runs")
    for content, name in ((spoiled.getvalue(), "bad"), ((tmp_path / "theirs.zip").read_bytes(), "theirs")):
        click(page.get_by_role("button", name="Import").first)
        page.locator("input[type=file]").set_input_files(
            {"name": f"{name}.zip", "mimeType": "application/zip", "buffer": content}
        )
        seen(page.get_by_test_id("stFileChipName").filter(has_text=f"{name}.zip"))
        page.get_by_label("Name").last.fill(name)
        click(page.get_by_test_id("stFormSubmitButton").get_by_role("button"))
        if name == "bad":
            seen(page.get_by_text("outside.txt").first)
            alert = page.get_by_role("alert").inner_text()
            assert "\n" not in alert.strip().removeprefix("error").strip()
            assert "Traceback" not in alert
            page.keyboard.press("Escape")
    until(lambda: "/runs?compare=theirs" in page.evaluate("location.href"), "the imported run on the page")
    assert Run(folder / "theirs").scores() == Run(folder / "large").scores()
    assert not (folder / "bad").exists()
    assert not list(folder.parent.glob("outside*"))


def test_a_knob_of_an_exhibit_draws_another_picture_and_its_link_sets_the_lab(page, app) -> None:
    visit(page, f"{app.url}/exhibits")
    chart = seen(page.locator("[data-live-plot='exhibit.likelihood.0'][data-updates]"), "attached")
    last = "node => node.data[0].y.at(-1)"
    before = chart.evaluate(last)
    click(page.locator(".st-key-exhibit-likelihood").get_by_text("2", exact=True))
    until(lambda: chart.evaluate(last) != before, "another picture")

    def asked(name: str) -> list[str] | None:
        """Values of a parameter of the URL."""
        return parse_qs(urlsplit(page.evaluate("location.href")).query).get(name)

    until(lambda: asked("exhibit.likelihood") == ["2"], "the knob in the URL")
    click(page.get_by_role("button", name="Open in Lab").first)
    until(
        lambda: asked("von_mises_circle.ambient") == ["8"],
        "the link's settings",
        progress=lambda: page.evaluate("location.href"),
    )
    seen(page.get_by_text("Settings for the next run"))
