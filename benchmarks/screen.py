"""The screen as a first visitor meets it: first paint, updates of the live view, memory over a day. Printed only.

    python -m benchmarks.screen                  first paint of the demo's points, updates/s while training
    python -m benchmarks.screen --minutes 15     also memory while training, extrapolated to 24 hours

The app, the training, UMAP and a headless Chromium without a GPU share the machine. Memory is that of the app's own
processes (without trainings, which are processes of their own) and of the page's JavaScript; the slope is that of a
line through the second half of the samples, since caches fill up in the first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-background-networking"]
ARGUMENTS += ["--enable-precise-memory-info"]
CLOUDS = "[data-live-plot^='clouds.'][data-updates]"
CHART = "[data-live-plot]:not([data-live-plot^='clouds.'])[data-updates]"  # by Plotly; it comes last
TRAINING = "?data=Sphere&steps=1000000&variants=both"
PAINTED = """new MutationObserver((_, observer) => {
  if (!document.querySelector("CLOUDS")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => (window.painted = performance.now() / 1000)));
}).observe(document, { subtree: true, childList: true, attributes: true })""".replace("CLOUDS", CLOUDS)
LIMIT = 120_000  # milliseconds
DAY = 24 * 60  # minutes
REST = 3.0  # seconds that a drawn page gets to calm down
SAMPLES = 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=5, help="page openings that first paint is the median of")
    parser.add_argument("--seconds", type=float, default=20, help="of watching a training")
    parser.add_argument("--minutes", type=float, default=0, help="of watching memory (default 0: not at all)")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("MVM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with app() as (url, group), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(PAINTED)
        paints = [first_paint(context, url) for _ in range(options.visits + 1)]
        print(f"first paint of the demo's points: {paints[0]:.1f} s at the very first visit, "
              f"then {statistics.median(paints[1:]):.1f} s")  # fmt: skip
        page = context.new_page()
        page.goto(f"{url}/{TRAINING}")
        page.wait_for_selector(CLOUDS, timeout=LIMIT)
        settle(page)
        page.get_by_role("button", name="Train").click()
        page.wait_for_selector(CLOUDS.replace("clouds.", "clouds.sphere"), timeout=LIMIT)
        settle(page)
        print(f"updates while training: {updates(page, options.seconds):.1f} per second")
        if options.minutes:
            watch_memory(page, group, options.minutes)
        page.keyboard.press("x")  # where it asks, the app's end leaves no trainer behind: see `app`
        browser.close()


@contextmanager
def app() -> Iterator[tuple[str, int]]:
    """The app without any run: its address and process group; its trainings are stopped in the end."""
    from mvm.runs.run import Run

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as checkpoints:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "mvm", "app", "--no-browser", "--port", str(port)],
            cwd=REPOSITORY, env=os.environ | {"MVM_CHECKPOINTS": checkpoints, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        url = f"http://localhost:{port}"
        try:
            _wait(f"{url}/_stcore/health")
            yield url, server.pid
        finally:
            for config in Path(checkpoints).glob("[!.]*/config.json"):
                run = Run(config.parent)
                while run.alive():
                    run.ask(stop=True, pause_at=None)
                    time.sleep(0.2)
            server.terminate()
            server.wait()


def first_paint(context: Any, url: str) -> float:
    """Seconds from opening the page until its first clouds are on the screen, by the page's own clock.

    The page is then left to finish, as a visitor would.
    """
    page = context.new_page()
    page.goto(url, wait_until="commit")
    seconds = page.wait_for_function("window.painted", timeout=LIMIT).json_value()
    settle(page)
    page.close()
    return seconds


def settle(page: Any) -> None:
    """Wait until all of a page is drawn."""
    page.wait_for_selector(CHART, timeout=LIMIT)
    page.wait_for_timeout(1000 * REST)


def updates(page: Any, seconds: float) -> float:
    """Redrawn views per second."""
    drawn = page.locator(CLOUDS).first
    before, began = int(drawn.get_attribute("data-updates")), time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    return (int(drawn.get_attribute("data-updates")) - before) / (time.monotonic() - began)


def watch_memory(page: Any, group: int, minutes: float) -> None:
    """Sample memory while the training goes on; print it, and what it would be after a day.

    Of the page, what is left after its garbage is collected.
    """
    times, sizes = [], []
    engine = page.context.new_cdp_session(page)
    for sample in range(SAMPLES + 1):
        times.append(minutes * sample / SAMPLES)
        engine.send("HeapProfiler.collectGarbage")
        sizes.append((memory_of(group), page.evaluate("performance.memory.usedJSHeapSize") / 2**20))
        page.wait_for_timeout(1000 * 60 * minutes / SAMPLES)
    half = len(times) // 2
    for name, values in zip(("app", "page"), zip(*sizes, strict=True), strict=True):
        slope = np.polyfit(times[half:], values[half:], 1)[0]
        print(f"memory of the {name}: {values[-1]:,.0f} MiB after {minutes:g} minutes, {60 * slope:+.1f} MiB an hour, "
              f"{values[-1] + slope * (DAY - minutes):,.0f} MiB after 24 hours")  # fmt: skip


def memory_of(group: int) -> float:
    """MiB of resident memory of all processes of a group, from Linux's /proc."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) != group:
                continue
            lines = (folder / "status").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total / 1024


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within a minute")


if __name__ == "__main__":
    main()
