"""Build the wheel, and install it into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "build", "install"]

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "mvm", "toy_manifolds")
BUILD = "import setuptools.build_meta as build; build.build_wheel({!r})"


def build(folder: Path) -> Path:
    """Build a wheel in an empty folder, of a copy of the source: setuptools leaves a `build/` beside it."""
    source, out = folder / "source", folder / "wheel"
    ignored = shutil.ignore_patterns("__pycache__", "plotly.min.js")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    out.mkdir()
    subprocess.run([sys.executable, "-c", BUILD.format(str(out))], cwd=source, check=True, capture_output=True)
    (wheel,) = out.iterdir()
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Make an environment with a wheel and with this one's packages, except its editable install of the checkout.

    A folder named in a .pth file is searched for packages, but its own .pth files, which make an install editable, are
    not read.

    Returns:
        The folder of its programs.
    """
    venv.create(environment, with_pip=False)
    programs = environment / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    here = Path(sysconfig.get_path("purelib"))
    (environment / here.relative_to(sys.prefix) / "dependencies.pth").write_text(str(here))
    return programs
