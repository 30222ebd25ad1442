"""Take the README's pictures: train a run and fork it, open the Lab and Runs in a headless Chromium. `make screenshot`.

lab.png    the Lab on the run
runs.png   the run beside its fork, which goes on from half way without the centroid
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-background-networking"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="swiss_roll", help="a toy manifold (default: swiss_roll)")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="folder of the pictures")
    options = parser.parse_args()
    chromium = os.environ.get("MVM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as checkpoints, socket.socket() as probe:
        environment = os.environ | {"MVM_CHECKPOINTS": checkpoints}
        train = ["train", "--data", options.data, "--steps", str(options.steps), "--name", options.data]
        fork = [
            "fork",
            options.data,
            "--step",
            str(options.steps // 2),
            "--set",
            "weights.centroid=0",
            "--name",
            "fork",
        ]
        for arguments in (train, fork):
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
                page.goto(f"{url}/?run={options.data}&data={options.data}")
                page.wait_for_selector(
                    f"[data-live-plot='umap.{options.data}'][data-step='{options.steps}']", timeout=120_000
                )
                page.wait_for_timeout(2000)
                page.screenshot(path=options.out / "lab.png")
                page.set_viewport_size({"width": 1440, "height": 1480})
                page.goto(f"{url}/runs?compare={options.data},fork&runs.quantities=w2_ratio&runs.quantities=d_c")
                for chart in ("curves", "branches", "matrix"):
                    page.wait_for_selector(f"[data-live-plot^='runs.{chart}'][data-updates]", timeout=120_000)
                page.wait_for_timeout(2000)
                page.screenshot(path=options.out / "runs.png")
        finally:
            server.terminate()
            server.wait()
    print(options.out / "lab.png", options.out / "runs.png")


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
