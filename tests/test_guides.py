"""All guides are followed as they are written, in a process of their own, and their entries used as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from guides import DOCS, blocks

TESTS = Path(__file__).parent
GUIDES = ("adding-a-descriptor", "adding-a-manifold", "adding-a-method", "adding-a-figure")
CONTRACTS = ("test_contracts.py", "test_toy_manifolds.py")  # tests that run over every entry of the guides' registries


def test_every_guide_with_code_is_followed_here() -> None:
    assert {page.stem for page in DOCS.glob("adding-*.md") if blocks(page.stem)} == {*GUIDES}


def test_each_guide_leads_to_an_entry_that_works_everywhere(tmp_path: Path) -> None:
    guided = [f"guided/{guide.rpartition('-')[2]}.py" for guide in GUIDES]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "guides", "--basetemp", str(tmp_path / "t")]
    options += [f"--guide={guide}" for guide in GUIDES]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", *options, *(str(TESTS / name) for name in (*guided, *CONTRACTS))]
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
