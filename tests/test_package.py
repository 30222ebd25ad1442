"""The package from outside: what importing it does, and what it offers."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import mvm
from mvm.jobs.process import TRAINING_ENVIRONMENT

MAIN = Path(__file__).parents[1] / "app" / "main.py"
REPORT = """
import os, sys

class Report:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Report())
"""


def fresh(code: str, **environment: str) -> str:
    """What a new interpreter prints, in which nobody has set how OpenMP waits."""
    unset = {name: value for name, value in os.environ.items() if name not in TRAINING_ENVIRONMENT}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=unset | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_is_cheap_and_leaves_the_environment_alone():
    code = """
import os, sys
before = dict(os.environ)
import mvm
assert os.environ == before
assert callable(mvm.load) and callable(mvm.rebuild)
print({"torch", "numpy", "matplotlib"} & set(sys.modules))
"""
    assert fresh(code) == "set()\n"


@pytest.mark.parametrize(
    "start",
    [
        "import mvm.__main__; mvm.__main__.main(['score', 'nothing'])",
        f"import runpy; runpy.run_path({str(MAIN)!r})",
        "import benchmarks.cells",
    ],
    ids=["command line", "app", "benchmarks"],
)
def test_openmp_is_set_before_torch_is_imported(start):
    assert fresh(REPORT + start) == "passive 1000\n"


def test_a_persons_own_setting_counts():
    code = REPORT + "from mvm.__main__ import main; main(['score', 'nothing'])"
    assert fresh(code, OMP_WAIT_POLICY="active") == "active None\n"


def test_rebuild_is_offered_where_recipes_of_any_version_import_it(tmp_path, capsys):
    from mvm.export import rebuild

    assert rebuild is mvm.rebuild
    assert rebuild(tmp_path) == 2
    assert "has no recipe" in capsys.readouterr().out


def test_the_lab_is_started_in_the_process_of_the_command(cli, monkeypatch):
    started = []
    monkeypatch.setattr(runpy, "run_module", lambda name, run_name: started.append((name, sys.argv)))
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # so that it is restored
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    assert cli("app", "--port", "8600", "--no-browser").status == 0
    ((program, command),) = started
    assert program == "streamlit"
    assert command == ["streamlit", "run", str(MAIN), "--server.port", "8600", "--server.headless", "true"]
    assert os.environ["PYTHONSAFEPATH"] == "1"  # a console script does not import from the working directory
    os.environ["PYTHONSAFEPATH"] = ""
    sys.path.insert(0, str(Path.cwd()))
    cli("app")
    assert started[1][1] == ["streamlit", "run", str(MAIN)]
    assert os.environ["PYTHONSAFEPATH"] == ""
    assert cli("app", "--port", "0").status == 2
