"""The lab of an installed wheel, as `mvm app` opens it away from the checkout."""

from __future__ import annotations

import subprocess

import pytest
from wheels import build, install


@pytest.fixture
def lab(serve, tmp_path, monkeypatch):
    """`mvm app` in a folder with a run, and with a package named `app` of its own."""
    for name in ("PYTHONPATH", "MVM_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    mvm, folder = install(build(tmp_path), tmp_path / "environment") / "mvm", tmp_path / "work"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").write_text("raise SystemExit('not the lab')")
    train = [mvm, "train", "--data", "circle", "--steps", "20", "--variants", "both", "--name", "a"]
    subprocess.run(train, cwd=folder, check=True, capture_output=True)
    return serve(program=[mvm, "app", "--no-browser"], cwd=folder)


def test_it_shows_the_runs_of_the_working_directory_and_has_its_own_settings(lab, page):
    page.goto(lab.url)
    page.wait_for_selector("[data-live-plot='gaps.a'][data-updates]", timeout=120_000)
    assert page.locator(".stApp").evaluate("app => getComputedStyle(app).color") == "rgb(31, 41, 51)"  # of the theme
    assert "URL: http://localhost:" in lab.tail()
    assert "Network URL" not in lab.tail()
