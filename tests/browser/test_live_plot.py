"""The live chart keeps its node, its zoom and its camera while five figures a second arrive."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_plot_page import cloud

SCRIPT = Path(__file__).with_name("live_plot_page.py")
CAMERAS = "node => ['scene', 'scene2'].map(name => node._fullLayout[name]._scene.getCamera().eye)"


@pytest.fixture(scope="module")
def server(serve) -> Iterator:
    server = serve(SCRIPT)
    yield server
    server.stop()


@pytest.fixture
def charts(page, server):
    """The page with both charts drawn."""
    page.goto(server.url)
    for key in ("flat", "solid"):
        page.wait_for_selector(f"[data-live-plot={key}][data-updates]", timeout=60_000)
    return page


def node(page, key: str):
    return page.locator(f"[data-live-plot={key}]")


def wait_updates(page, key: str, count: int) -> float:
    """Wait for further redraws; returns the updates per second."""
    script = "([key, n]) => document.querySelector(`[data-live-plot=${key}]`).dataset.updates >= n"
    first, start = int(node(page, key).get_attribute("data-updates")), time.monotonic()
    page.wait_for_function(script, arg=[key, first + count], timeout=60_000)
    return count / (time.monotonic() - start)


def drag(page, box: dict, *, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag between two points given as fractions of a box, slowly enough for a user."""
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=8)
    page.mouse.up()


def test_node_survives_updates(charts):
    for key in ("flat", "solid"):
        node(charts, key).evaluate("node => node.mine = 42")
    rate = wait_updates(charts, "flat", 12)
    wait_updates(charts, "solid", 1)
    print(f"\nlive_plot: {rate:.1f} updates/s with two charts")
    for key in ("flat", "solid"):
        assert node(charts, key).evaluate("node => node.mine") == 42


def test_zoom_survives_updates(charts):
    box = node(charts, "flat").locator(".nsewdrag").nth(1).bounding_box()
    drag(charts, box, start=(0.2, 0.2), end=(0.7, 0.8))
    zoomed = node(charts, "flat").evaluate("node => node._fullLayout.xaxis2.range")
    np.testing.assert_allclose(zoomed, [-2, 3], atol=0.15)
    wait_updates(charts, "flat", 5)
    assert node(charts, "flat").evaluate("node => node._fullLayout.xaxis2.range") == zoomed
    assert node(charts, "flat").evaluate("node => node._fullLayout.xaxis.range") == [-4, 6]


def test_camera_survives_updates_and_is_shared(charts):
    solid = node(charts, "solid")
    before = solid.evaluate(CAMERAS)
    drag(charts, solid.bounding_box(), start=(0.2, 0.5), end=(0.35, 0.6))
    wait_updates(charts, "solid", 1)
    turned, follower = solid.evaluate(CAMERAS)
    assert abs(turned["x"] - before[0]["x"]) > 0.1
    assert follower == pytest.approx(turned)
    wait_updates(charts, "solid", 5)
    for camera in solid.evaluate(CAMERAS):
        assert camera == pytest.approx(turned)


def test_camera_moves_while_figures_arrive(charts):
    solid = node(charts, "solid")
    box = solid.bounding_box()
    x, y = box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"]
    charts.mouse.move(x, y)
    charts.mouse.down()
    eyes = []
    for turn in range(4):
        charts.mouse.move(x + 30 * (turn + 1), y, steps=4)
        wait_updates(charts, "solid", 1)
        eyes.append(solid.evaluate(CAMERAS)[0])
    charts.mouse.up()
    angles = np.unwrap([np.arctan2(eye["y"], eye["x"]) for eye in eyes])
    steps = np.abs(np.diff(angles))
    assert (steps > 0.03).all(), f"a redraw stopped or undid the drag: {angles}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legible_in_both_themes(charts, scheme):
    charts.emulate_media(color_scheme=scheme)
    flat = node(charts, "flat")
    assert flat.get_attribute("role") == "img"
    assert flat.get_attribute("aria-label") == "Three growing clouds of points"
    wait_updates(charts, "flat", 2)
    ground = charts.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    ink, tick = flat.evaluate(
        "node => ['.legendtext', '.xtick text'].map(text => getComputedStyle(node.querySelector(text)).fill)"
    )
    assert (luminance(ground) < 0.5) == (scheme == "dark")
    assert contrast(ink, ground) > 7
    assert contrast(tick, ground) > 4.5


def test_numbers_arrive(charts):
    step, x, y = node(charts, "flat").evaluate(
        """node => [+node.dataset.step, Array.from(node._fullData[2].x), Array.from(node._fullData[2].y)]"""
    )
    np.testing.assert_array_equal(np.transpose([x, y]), cloud(step, 1, 2).astype(np.float32))
    step, z = node(charts, "solid").evaluate("node => [+node.dataset.step, Array.from(node._fullData[1].z)]")
    np.testing.assert_array_equal(z, cloud(step, 1, 3)[:, 2].astype(np.float32))


def test_nothing_is_sent_to_plotlys_cloud(charts):
    titles = node(charts, "flat").locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
    assert {"Download as SVG", "Download as PNG"} <= set(titles)
    assert not [title for title in titles if re.search("share|cloud", title, re.IGNORECASE)]


def test_click_reports_the_point(charts):
    flat = node(charts, "flat")
    point = flat.locator(".trace.scatter").nth(1).locator("path.point").first.bounding_box()
    charts.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    charts.get_by_text(re.compile(r"clicked Click\(curve=[01], index=\d+, x=")).wait_for(timeout=60_000)


def test_webgl_contexts_are_given_back(charts):
    """A browser has 8 to 16 of them: a chart that left the page must not hold any."""
    canvases = node(charts, "solid").evaluate_handle("node => [...node.querySelectorAll('canvas')]")
    lost = "all => all.map(canvas => (canvas.getContext('webgl2') ?? canvas.getContext('webgl')).isContextLost())"
    assert canvases.evaluate(lost) == [False, False]
    charts.get_by_text("3-D", exact=True).click()
    node(charts, "solid").wait_for(state="detached", timeout=60_000)
    wait_updates(charts, "flat", 1)
    assert canvases.evaluate(lost) == [True, True]
    charts.get_by_text("3-D", exact=True).click()
    charts.wait_for_selector("[data-live-plot=solid][data-updates]", timeout=60_000)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of a CSS rgb() or rgba()."""
    channels = np.array([float(number) for number in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(ink: str, ground: str) -> float:
    """Contrast ratio (WCAG 2), 1 to 21; 4.5 is legible text, 7 is comfortable."""
    bright, dim = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
