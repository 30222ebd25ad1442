"""Take the README's pictures: train runs, open the app's pages in a headless Chromium. `make screenshot`.

lab.png       the Lab on a run
runs.png      the run beside its fork, which goes on from half way without the centroid
superres.png  a held-out photograph, upscaled by the default training of super-resolution
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-background-networking"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=["lab", "superres"], default=["lab", "superres"])
    parser.add_argument("--data", default="swiss_roll", help="a toy manifold (default: swiss_roll)")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--checkpoints", type=Path, help="folder for the runs; those that it has are not trained anew")
    parser.add_argument("--superres-run", type=Path, help="run of super-resolution to show, in place of a new one")
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="folder of the pictures")
    options = parser.parse_args()
    chromium = os.environ.get("MVM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as own, socket.socket() as probe:
        checkpoints = str(options.checkpoints or own)
        environment = os.environ | {"MVM_CHECKPOINTS": checkpoints}
        for arguments in _commands(options, Path(checkpoints)):
            subprocess.run([sys.executable, "-m", "mvm", *arguments], env=environment, check=True, cwd=REPOSITORY)
        probe.bind(("127.0.0.1", 0))
        url = f"http://localhost:{probe.getsockname()[1]}"
        probe.close()
        command = ["run", "app/main.py", "--server.headless", "true", "--server.port", url.rsplit(":", 1)[1]]
        server = subprocess.Popen([sys.executable, "-m", "streamlit", *command], env=environment, cwd=REPOSITORY)
        try:
            _wait(f"{url}/_stcore/health")
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                size = {"width": 1440, "height": options.height}
                page = browser.new_page(viewport=size, color_scheme=options.scheme)
                if "lab" in options.only:
                    _take_lab(page, url, options)
                if "superres" in options.only:
                    _take_superres(page, url, options)
        finally:
            server.terminate()
            server.wait()


def _commands(options: argparse.Namespace, checkpoints: Path) -> list[list[str]]:
    """Commands that make the runs of the pictures."""
    commands = []
    if "lab" in options.only:
        commands.append(["train", "--data", options.data, "--steps", str(options.steps), "--name", options.data])
        half = str(options.steps // 2)
        commands.append(["fork", options.data, "--step", half, "--set", "weights.centroid=0", "--name", "fork"])
        commands = [command for command in commands if not (checkpoints / command[-1]).exists()]
    if "superres" in options.only and options.superres_run is None:
        commands.append(["train", "--data", "sr", "--name", "photographs"])
    elif "superres" in options.only:
        shutil.copytree(options.superres_run, checkpoints / "photographs", dirs_exist_ok=True)
    return commands


def _take_lab(page: Page, url: str, options: argparse.Namespace) -> None:
    """lab.png and runs.png"""
    page.goto(f"{url}/?run={options.data}&data={options.data}")
    page.wait_for_selector(f"[data-live-plot='umap.{options.data}'][data-step='{options.steps}']", timeout=120_000)
    welcome = page.get_by_role("button", name="Got it")
    if welcome.is_visible():
        welcome.click()
        welcome.wait_for(state="detached")
    page.get_by_text("until UMAP is ready").wait_for(state="detached", timeout=120_000)
    page.wait_for_timeout(2000)
    page.screenshot(path=options.out / "lab.png")
    page.set_viewport_size({"width": 1440, "height": 1480})
    page.goto(f"{url}/runs?compare={options.data},fork")
    for chart in ("curves", "branches", "matrix"):
        page.wait_for_selector(f"[data-live-plot^='runs.{chart}'][data-updates]", timeout=120_000)
    page.wait_for_timeout(2000)
    page.screenshot(path=options.out / "runs.png")
    print(options.out / "lab.png", options.out / "runs.png")


def _take_superres(page: Page, url: str, options: argparse.Namespace) -> None:
    """superres.png: the cat's eye, as the page compares it, in 256 colours"""
    page.goto(f"{url}/superres?run=photographs&superres.picture=chelsea&superres.show=Pictures")
    page.wait_for_function("document.querySelectorAll('.compare-pictures canvas').length === 3", timeout=120_000)
    canvas = page.locator(".compare-pictures canvas").first.bounding_box()
    page.mouse.move(canvas["x"] + 0.4 * canvas["width"], canvas["y"] + 0.42 * canvas["height"])
    for _ in range(3):
        page.mouse.wheel(0, -200)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    content = page.locator(".compare-pictures").screenshot()
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(256)
    picture.save(options.out / "superres.png", optimize=True)
    print(options.out / "superres.png")


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} did not answer within a minute")


if __name__ == "__main__":
    main()
