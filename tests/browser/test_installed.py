"""The lab of an installed wheel, as `mvm app` opens it away from the checkout."""

from __future__ import annotations

import pytest
from patient import seen, visit
from wheels import build, install


@pytest.fixture
def lab(serve, tmp_path, monkeypatch):
    """`mvm app` in a folder without a run, and with a package named `app` of its own."""
    for name in ("PYTHONPATH", "MVM_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    mvm, folder = install(build(tmp_path), tmp_path / "environment") / "mvm", tmp_path / "work"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").write_text("raise SystemExit('not the lab')")
    return serve(program=[mvm, "app", "--no-browser"], cwd=folder)


def test_it_shows_its_demo_in_the_working_directory_and_has_its_own_settings(lab, page, tmp_path):
    visit(page, lab.url)
    seen(page.locator("[data-live-plot='clouds.demo'][data-updates]"))
    assert (tmp_path / "work" / "checkpoints" / "demo" / "config.json").exists()
    assert page.locator(".stApp").evaluate("app => getComputedStyle(app).color") == "rgb(31, 41, 51)"  # of the theme
    assert "URL: http://localhost:" in lab.tail()
    assert "Network URL" not in lab.tail()
    assert "ScriptRunContext" not in lab.tail(), "no warning that a person can do nothing about"
