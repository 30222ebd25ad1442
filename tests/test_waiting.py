"""Waits end with their condition, last as long as there is progress, and fail when nothing moves."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
import waiting
from waiting import MARK, Pace, cost, growth, processes, until


@pytest.mark.parametrize(
    ("passed", "ran", "waited", "expected"),
    [
        (8, 0, 0, 8),  # nothing wants a processor
        (8, 8, 0, 2),  # one process works
        (8, 16, 0, 4),  # two do
        (8, 2, 0, 6.5),  # a page that polls
        (8, 1, 7, 0.25),  # others hold the processors
        (8, 0, 8, 0),
        (8, 1, 90, 0.25),  # many threads wait
    ],
)
def test_only_standing_still_costs_all_of_the_time(passed, ran, waited, expected) -> None:
    assert cost(passed, ran, waited) == expected


def test_a_wait_returns_what_its_condition_gave() -> None:
    answers = iter([0, "", None, "found"])
    assert until(lambda: next(answers), every=0) == "found"


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every poll looks at the processes, and costs 1 of a patience of 3."""
    monkeypatch.setattr(waiting, "SAMPLE", 0)
    monkeypatch.setattr(waiting, "PATIENCE", 3)
    monkeypatch.setattr(waiting, "cost", lambda *_: 1)


@pytest.mark.usefixtures("costly")
def test_a_wait_fails_when_nothing_moves() -> None:
    polls = count()
    with pytest.raises(AssertionError, match="waited in vain for rain; progress stands at 7; "):
        until(lambda: next(polls) > 10, "rain", progress=lambda: 7, every=0)
    assert next(polls) == 4, "the first is free"


@pytest.mark.usefixtures("costly")
def test_progress_restores_patience() -> None:
    polls, steps = count(), count()
    assert until(lambda: next(polls) > 10, progress=lambda: next(steps) // 2, every=0)


def test_processes_that_outlive_their_starter_belong_to_the_session(tmp_path: Path) -> None:
    sleep = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}.'); time.sleep(600)"
    starter = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
    subprocess.run([sys.executable, "-c", starter], check=True)
    note = tmp_path / "pid"
    until(lambda: note.exists() and note.read_text().endswith("."), "its id")
    path = Path("/proc", note.read_text()[:-1])
    found = processes()
    assert {path, Path("/proc/self").resolve()} <= found
    assert Path("/proc/1") not in found
    subprocess.run(["kill", path.name], check=True)
    until(lambda: path not in processes(), "its end")


def test_a_child_that_works_is_seen_to_work() -> None:
    before = Pace.now()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], env={}) as child:
        until(lambda: Pace.now().since(before)[0] > 0.2, "a fifth of a second of work")
        assert Path("/proc", str(child.pid)) in processes(), f"by its parent: it has no {MARK}"
        child.kill()


def test_the_thread_that_waits_does_not_count() -> None:
    assert threading.get_native_id() not in Pace.now().ran


def test_growth_sees_new_files_and_longer_ones(tmp_path: Path) -> None:
    seen = [growth(tmp_path / "none"), growth(tmp_path)]
    (tmp_path / "run").mkdir()
    for text in ("a", "ab"):
        (tmp_path / "run" / "log").write_text(text)
        seen.append(growth(tmp_path))
    assert [(n, size) for n, size, _ in seen[:2]] == [(0, 0)] * 2
    assert len(set(seen[1:])) == 3
