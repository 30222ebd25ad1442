"""Each guide is followed as it is written, in a process of its own, and its entry used as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guides import DOCS, blocks

TESTS = Path(__file__).parent
CONTRACTS = {  # which tests run over every entry of the guide's registry
    "adding-a-descriptor": ["test_contracts.py"],
    "adding-a-manifold": ["test_contracts.py", "test_toy_manifolds.py"],
    "adding-a-method": ["test_contracts.py"],
    "adding-a-figure": [],
}


def test_every_guide_with_code_is_followed_here() -> None:
    assert {page.stem for page in DOCS.glob("adding-*.md") if blocks(page.stem)} == set(CONTRACTS)


@pytest.mark.parametrize("guide", CONTRACTS)
def test_a_guide_leads_to_an_entry_that_works_everywhere(guide: str, tmp_path: Path) -> None:
    guided = TESTS / "guided" / f"{guide.rpartition('-')[2]}.py"
    files = [guided, *(TESTS / name for name in CONTRACTS[guide])]
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "guides",
        "--guide",
        guide,
        "--basetemp",
        tmp_path / "t",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", *map(str, options), *map(str, files)]
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
