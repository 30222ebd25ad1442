"""Fixtures of every test: runs go into a temporary folder, and commands are started as a user starts them."""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("MVM_NICE", "0")  # two test workers leave little to whom gives way
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # numbers are expected to be a CPU's
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; two test workers share the machine
os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")  # as the app has it
os.environ["MVM_TEST_SESSION"] = str(os.getpid())  # waiting.py knows the processes of this session by it

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trainers
from trainers import small_config, write_cloud

from mvm.__main__ import main
from mvm.files import append_line
from mvm.runs.run import Run


class Result(NamedTuple):
    """What a command has left: exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """AppTest leaves its script as `__main__`, and a process that a later test starts would run it first."""
    own = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = own


@pytest.fixture(autouse=True)
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all runs."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("MVM_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture
def tiny(trained: Path, checkpoints: Path) -> Run:
    """A module's finished run, the folder that its fixture `trained` gives, among all runs."""
    checkpoints.mkdir()
    (checkpoints / "tiny").symlink_to(trained)
    return Run(checkpoints / "tiny")


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """A person's own CSV: 200 points about a ring. It has no ground truth, so that its scores cost nothing."""
    return write_cloud(tmp_path / "cloud.csv")


@pytest.fixture
def write(tmp_path: Path, cloud: Path) -> Callable[..., Path]:
    """Write a sweep's specification of small trainings on the cloud, and return its path."""

    def spec(text: str = "", top: str = "seeds = 2", name: str = "s") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(f'{top}\n{trainers.SMALL_SWEEP}data = "{cloud}"\n{text}', encoding="utf-8")
        return path

    return spec


@pytest.fixture
def mvm(tmp_path: Path) -> Iterator[Callable[..., trainers.Command]]:
    """Start a command in a process of its own; see `trainers.start`."""
    started: list[trainers.Command] = []

    def start(*arguments: str, **options) -> trainers.Command:
        started.append(trainers.start(tmp_path / f"command{len(started)}", *arguments, **options))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.join()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    """Run a command in this process, to its end."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as leaving:
            status = leaving.code
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def few_scored() -> Iterator[None]:
    """Final scores of trainings in this process compare few points; see `trainers.few_scored`."""
    with trainers.few_scored():
        yield


@pytest.fixture
def make(cloud: Path) -> Callable[..., Run]:
    """Make a small run of two variants that is not trained yet: name, steps, further fields of `Config`."""

    def new(name: str, steps: int = 100, **fields) -> Run:
        return Run.create(small_config(cloud, steps=steps, **fields), name=name)

    return new


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For pages: trainings and the UMAP worker are not started; the runs that would be are listed."""
    import streamlit as st

    started: list[str] = []
    monkeypatch.setattr("mvm.jobs.umap_worker.Projector.request", lambda *_, **__: True)
    monkeypatch.setattr("mvm.jobs.warm_trainer.WarmTrainer.warm", lambda _: None)
    monkeypatch.setattr("app.services.later", lambda _: None)  # it would outlive the test

    def launch(run: Run, **_: object) -> None:
        started.append(run.name)
        append_line(run.path / "scalars.jsonl", {"step": 0, "event": "launched", "time": time.time()})

    monkeypatch.setattr("app.services.launch", launch)
    st.cache_resource.clear()
    return started
