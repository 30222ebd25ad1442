"""A supplement as a reader opens it: from disk, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from patient import until
from trainers import small_config

from mvm.figures.export import export
from mvm.figures.supplement import MOST_BYTES
from mvm.runs.recorder import train
from mvm.runs.run import Run


@pytest.fixture(scope="module")
def supplement(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a short run."""
    folder = tmp_path_factory.mktemp("supplement")
    run = Run.create(small_config("circle", steps=40), path=folder / "ring")
    for _ in train(run):
        pass
    export(["supplement"], [run], out=folder / "ring.html", project=False)
    return folder / "ring.html"


def test_it_plays_scrubs_turns_and_asks_for_nothing(page, supplement: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(supplement.as_uri())

    def place() -> int:
        return int(page.locator("body").get_attribute("data-place") or -1)

    last = int(page.locator("#place").get_attribute("max"))
    until(lambda: place() == last, "the last snapshot")
    canvas = page.locator("#data canvas").first
    green = (
        "canvas => { const p = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let n = 0;"
        " for (let i = 0; i < p.length; i += 4) n += p[i + 1] > 120 && p[i] < 60 && p[i + 3] > 90; return n; }"
    )
    assert canvas.evaluate(green) > 50, "reals are drawn"
    density = page.locator("#density canvas").first
    density.scroll_into_view_if_needed()
    drawn = "canvas => canvas.getContext('2d').getImageData(60, 40, 1, 200).data.some((value) => value)"
    until(lambda: density.evaluate(drawn), "the density's band")
    assert "off-manifold" in page.locator("#density figcaption").first.text_content()
    canvas.scroll_into_view_if_needed()
    at_end = canvas.evaluate("canvas => canvas.toDataURL()")

    page.keyboard.press("Home")
    until(lambda: place() == 0, "the first snapshot")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != at_end
    page.keyboard.press("ArrowRight")
    until(lambda: place() == 1, "the next snapshot")
    page.locator("#speed").select_option("4")
    page.locator("#play").click()
    until(lambda: place() == last and page.locator("#play").text_content() == "▶", "the film's end")
    assert canvas.evaluate("canvas => canvas.toDataURL()") == at_end
    page.locator("#place").fill("0")
    until(lambda: page.locator("#step").text_content() == "step 0", "the scrubbed step")

    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    until(lambda: page.evaluate("getComputedStyle(document.body).backgroundColor") != dark, "the other ground")
    page.keyboard.press("?")
    until(lambda: page.get_by_text("one snapshot back or on").is_visible(), "the keys")
    assert asked == [supplement.as_uri()]
    assert supplement.stat().st_size <= MOST_BYTES


def test_it_fits_a_phone(page, supplement: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(supplement.as_uri())
    until(lambda: page.locator("body").get_attribute("data-place"), "the page")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
