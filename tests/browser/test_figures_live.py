"""The Figures page as a person uses it: choose, look, take a PDF home."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import MAIN
from patient import click, seen, until, visit
from trainers import small_config, write_cloud

from mvm.runs.recorder import train
from mvm.runs.run import Run


@pytest.fixture(scope="module")
def figures(serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address, over one finished run."""
    folder = tmp_path_factory.mktemp("runs")
    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), steps=40), path=folder / "ring")
    for _ in train(run):
        pass
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder)})
    yield f"{server.url}/figures"
    server.stop()


def test_a_pdf_is_taken_home_at_its_true_width(page, figures: str, tmp_path: Path) -> None:
    visit(page, f"{figures}?runs=ring&figures.venue=ICML")
    seen(page.get_by_text("3.25 in wide, one column of ICML"))
    picture = seen(page.locator("[data-testid=stImage] img"))
    assert picture.bounding_box()["width"] == pytest.approx(338, abs=2), "beside NeurIPS as on paper"
    with page.expect_download(timeout=0) as taken:
        click(page.get_by_role("button", name="Download PDF"))
        until(lambda: page.title() and taken.is_done(), "the download")
    assert taken.value.suggested_filename == "spectrum.pdf"
    taken.value.save_as(tmp_path / "spectrum.pdf")
    content = (tmp_path / "spectrum.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    width = float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content).group(1)) / 72
    assert width == pytest.approx(3.25, abs=0.01)
