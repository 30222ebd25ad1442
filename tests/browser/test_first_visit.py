"""The first thirty seconds, as docs/first-visit.md tells them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pages import MAIN
from patient import click, seen, until, visit

CLOUDS = "[data-live-plot='clouds.demo'][data-updates]"
FRAMED = "node => getComputedStyle(node).outlineStyle === 'solid'"


@pytest.fixture
def lab(serve, tmp_path: Path):
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(tmp_path)})
    yield server
    server.stop()


def test_the_first_thirty_seconds(browser, lab) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})  # a browser that was never here
    page = context.new_page()
    began = time.monotonic()
    visit(page, lab.url)

    # 1: a finished run is there, with words and a picture above it
    drawn = seen(page.locator(CLOUDS))
    print(f"first paint of the demo's points: {time.monotonic() - began:.1f} s")
    card = seen(page.get_by_role("region", name="What this lab shows"))
    assert card.get_by_role("img").count() == 4
    for term in ("generator", "metric network", "reals", "fakes", "centroid", "2-diameter", "baseline"):
        assert term in card.inner_text()
    assert drawn.get_attribute("data-step") == "4000"

    # 2: the tour, at its first step; the place that it speaks of is framed
    click(card.get_by_role("button", name="Take the tour"))
    seen(page.get_by_text("1 of 8 · What you see"))
    until(lambda: "story=1" in page.url, "the step in the address")
    until(lambda: drawn.evaluate(FRAMED), "a frame around data space")
    click(page.get_by_role("button", name="Go to the beginning"))
    until(lambda: drawn.get_attribute("data-step") == "0", "the first step")

    # 3: the centroid alone is not enough
    click(page.get_by_role("button", name="Next"))
    seen(page.get_by_text("2 of 8 · The centroid alone is not enough"))
    click(page.get_by_role("button", name="Go to the end"))
    until(lambda: drawn.get_attribute("data-step") == "4000", "the last step")

    # 4: the address leads back to the same step
    page.reload()
    seen(page.get_by_text("2 of 8 · The centroid alone is not enough"))
    click(page.get_by_role("button", name="End the tour"))
    seen(page.get_by_text("2 of 8"), "detached")

    # 5: the words do not come back by themselves, but on the page Story
    visit(page, lab.url)
    seen(page.locator(CLOUDS))
    assert not page.get_by_role("region", name="What this lab shows").is_visible()
    click(page.get_by_role("link", name="Story"))
    seen(page.get_by_role("region", name="What this lab shows"))
    context.close()
