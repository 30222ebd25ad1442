"""The live chart keeps its node and its zoom while five figures a second arrive."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_plot_page import cloud
from patient import seen, until, visit

SCRIPT = Path(__file__).with_name("live_plot_page.py")


@pytest.fixture(scope="module")
def server(serve) -> Iterator:
    server = serve(SCRIPT)
    yield server
    server.stop()


@pytest.fixture
def charts(page, server):
    """The page with its chart drawn."""
    visit(page, server.url)
    seen(page.locator("[data-live-plot=flat][data-updates]"))
    return page


def test_plotly_comes_from_its_own_package_where_static_cannot_be_written(page, serve, tmp_path):
    script = tmp_path / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    (tmp_path / "static" / "plotly.min.js").mkdir(parents=True)  # no permission stops root; a folder in the way does
    visit(page, serve(script).url)
    seen(page.locator("[data-live-plot=flat][data-updates]"))
    served = page.evaluate("performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)")
    assert [path.split("/")[1] for path in served if path.endswith("/plotly.min.js")] == ["component"]


def node(page):
    return page.locator("[data-live-plot=flat]")


def wait_updates(page, count: int) -> float:
    """Wait for further redraws; returns the updates per second."""

    def updates() -> int:
        return int(node(page).get_attribute("data-updates"))

    first, start = updates(), time.monotonic()
    until(lambda: updates() >= first + count, f"{count} redraws", progress=updates)
    return count / (time.monotonic() - start)


def drag(page, box: dict, *, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag between two points given as fractions of a box, slowly enough for a user."""
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=8)
    page.mouse.up()


def test_the_node_survives_and_every_number_arrives(charts):
    node(charts).evaluate("node => node.mine = 42")
    print(f"\nlive_plot: {wait_updates(charts, 12):.1f} updates/s")
    assert node(charts).evaluate("node => node.mine") == 42
    step, x, y = node(charts).evaluate(
        """node => [+node.dataset.step, Array.from(node._fullData[2].x), Array.from(node._fullData[2].y)]"""
    )
    np.testing.assert_array_equal(np.transpose([x, y]), cloud(step, 1).astype(np.float32))
    titles = node(charts).locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
    assert {"Download as SVG", "Download as PNG"} <= set(titles)
    assert not [title for title in titles if re.search("share|cloud", title, re.IGNORECASE)]  # nothing leaves here


def test_zoom_survives_updates(charts):
    box = node(charts).locator(".nsewdrag").nth(1).bounding_box()
    drag(charts, box, start=(0.2, 0.2), end=(0.7, 0.8))
    zoomed = node(charts).evaluate("node => node._fullLayout.xaxis2.range")
    np.testing.assert_allclose(zoomed, [-2, 3], atol=0.15)
    wait_updates(charts, 5)
    assert node(charts).evaluate("node => node._fullLayout.xaxis2.range") == zoomed
    assert node(charts).evaluate("node => node._fullLayout.xaxis.range") == [-4, 6]


def test_legible_in_both_themes_and_when_the_theme_changes(charts):
    assert node(charts).get_attribute("role") == "img"
    assert node(charts).get_attribute("aria-label") == "Three growing clouds of points"
    for scheme in ("light", "dark"):
        charts.emulate_media(color_scheme=scheme)
        wait_updates(charts, 3)
        ground = charts.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
        ink, tick = node(charts).evaluate(
            "node => ['.legendtext', '.xtick text'].map(text => getComputedStyle(node.querySelector(text)).fill)"
        )
        assert (luminance(ground) < 0.5) == (scheme == "dark")
        assert contrast(ink, ground) > 7
        assert contrast(tick, ground) > 4.5


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of a CSS rgb() or rgba()."""
    channels = np.array([float(number) for number in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(ink: str, ground: str) -> float:
    """Contrast ratio (WCAG 2), 1 to 21; 4.5 is legible text, 7 is comfortable."""
    bright, dim = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
