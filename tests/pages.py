"""The app's pages without a browser: open one, and find what a person would."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest, local_script_runner
from trainers import few_scored, small_held_out
from waiting import until

import app.session
import mvm.runs.recorder
from mvm.__main__ import main

__all__ = [
    "TINY",
    "TINY_SR",
    "as_read",
    "button",
    "drawn",
    "open_page",
    "run_list",
    "shown",
    "train_faces",
    "train_superres",
    "words",
]

TINY = ("--data", "faces", "--points", "200", "--batch", "16", "--view-points", "32", "--size", "16",
        "--network.channels", "4", "--network.metric-channels", "4", "--threads", "1",
        "--variants", "centroid", "both")  # fmt: skip
TINY_SR = ("--data", "sr", "--patch", "8", "--batch", "4", "--view-points", "16", "--threads", "1",
           "--network.metric-channels", "4", "--variants", "centroid", "both")  # fmt: skip
MAIN = Path(__file__).parents[1] / "app" / "main.py"


def _await_script(runner: local_script_runner.LocalScriptRunner, timeout: float) -> None:
    """In place of AppTest's own wait of some seconds, which a busy machine may exceed."""
    try:
        until(runner.script_stopped, "the page's script")
    finally:
        runner.request_stop()


local_script_runner.require_widgets_deltas = _await_script
app.session.PAINT_SECONDS = 0.0  # no browser paints
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)  # looks at every package


def train_faces(path: Path) -> None:
    """A run of 20 steps on toy faces, scored with few pictures."""
    with pytest.MonkeyPatch.context() as patch, few_scored():
        patch.setattr(mvm.runs.recorder, "QUICK", 48)
        assert main(["train", "--run", str(path), *TINY, "--steps", "20"]) == 0


def train_superres(path: Path, *arguments: str) -> None:
    """A run of 20 steps of super-resolution, scored with parts of two photographs."""
    with small_held_out():
        assert main(["train", "--run", str(path), *TINY_SR, "--steps", "20", *arguments]) == 0


def open_page(script: Path | str = MAIN, **query: str) -> AppTest:
    """A page by its file or its source, opened with this in its URL."""
    make = AppTest.from_file if isinstance(script, Path) else AppTest.from_string
    app = make(script)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def as_read(markdown: str) -> str:
    """What a reader sees of escaped Markdown: without its backslashes and word joiners."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown).replace("\u2060", "")


def words(app: AppTest) -> str:
    """Everything that the page says, as a reader sees it."""
    assert not app.exception, app.exception
    kinds = ("title", "header", "subheader", "markdown", "error", "warning", "info", "success", "caption")
    return "\n".join(as_read(element.value) for kind in kinds for element in app.get(kind))


def button(app: AppTest, label: str):
    return next(b for b in app.button if b.label.startswith(label))


def drawn(app: AppTest, key: str) -> dict:
    """What a component on the page shows, by the beginning of its key."""
    element = next(element for element in app.get("bidi_component") if element.key.startswith(key))
    return json.loads(element.proto.json)


def run_list(app: AppTest):
    return next(box for box in app.selectbox if box.label == "Run")


def shown(app: AppTest) -> str:
    """Name of the run on the page, by the list of runs and by the URL."""
    assert app.query_params["run"] in (run_list(app).value, [run_list(app).value])
    return run_list(app).value
