"""The wheel, in an environment of its own and away from the checkout; `browser/test_installed.py` opens its lab."""

from __future__ import annotations

import json
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from trainers import write_cloud
from wheels import PACKAGES, ROOT, build, install

KINDS = {".py", ".js", ".css", ".svg", ".toml", ".json", ".safetensors", ".typed", ".zip"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it."""
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def run(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a program of that environment in an empty folder; returns what it prints."""
    for name in ("PYTHONPATH", "MVM_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run([installed / program, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_has_every_file_of_the_packages_and_no_other(wheel):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in KINDS and path.name != "plotly.min.js"
    }
    assert {
        "app/main.py",
        "app/.streamlit/config.toml",
        "app/static/icon.svg",
        "app/demo.zip",
        "mvm/studies/claims.json",
    } <= wanted
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == wanted


def test_it_trains_and_scores_in_the_working_directory(run, tmp_path, installed):
    code = "import app, mvm, toy_manifolds as toys; print(app.__file__, mvm.__file__, toys.__file__, sep='\\n')"
    for path in run("python", "-c", code).splitlines():
        assert Path(path).is_relative_to(installed.parent)
    data = write_cloud(tmp_path / "cloud.csv").name  # of few points, which are scored in an instant
    run("python", "-m", "mvm", "train", "--data", data, "--steps", "3", "--variants", "both", "--name", "a")
    assert (tmp_path / "checkpoints" / "a" / "config.json").exists()
    (row,) = json.loads(run("mvm", "score", "a", "--json"))
    assert row["variant"] == "both"
    assert row["w2_floor"] > 0


def test_the_claims_numbers_are_inside(run):
    code = "from mvm.studies.claims import CLAIMS, shipped; print({f.claim for f in shipped()[0]} == set(CLAIMS))"
    assert run("python", "-c", code) == "True\n"


def test_the_console_script_and_the_wheel_have_the_same_version(run, wheel):
    version = run("mvm", "--version").split()[1]
    assert wheel.name.startswith(f"mvm_lab-{version}-")


# -- requirements ------------------------------------------------------------------------------------------------------


def pins(name: str) -> dict[str, str]:
    """Versions that a requirements file pins, by package."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    required = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(each.name): next(iter(each.specifier)).version for each in required}


def within(required: list[str], pinned: dict[str, str]) -> set[str]:
    """The packages required, each with a pin that it allows."""
    names = set()
    for each in map(Requirement, required):
        names.add(name := canonicalize_name(each.name))
        assert each.specifier.contains(pinned[name]), f"{each} does not allow {pinned[name]}"
    return names


def test_the_requirements_pin_what_the_project_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pins("requirements.txt")
    assert within(project["dependencies"], pinned) == set(pinned)
    assert "-e ." in (ROOT / "requirements.txt").read_text().splitlines()
    extras = project["optional-dependencies"]
    own = Requirement(extras["test"].pop())
    assert own.name == project["name"]
    tests = [*extras["test"], *(line for extra in own.extras for line in extras[extra])]
    assert within(tests, pins("requirements-dev.txt")) <= set(pins("requirements-dev.txt"))
