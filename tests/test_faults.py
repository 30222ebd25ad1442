"""The benchmarks of sweeps: how faults are counted, and packed trainings compared."""

from __future__ import annotations

import subprocess
import sys
import time
import types

import pytest
from trainers import until

from benchmarks import faults, packing
from benchmarks.exits import Exits
from mvm.runs import events


@pytest.mark.parametrize(
    ("ended", "lets_go", "until_then"),
    [(15.0, False, 15.0), (25.0, False, 25.0), (25.0, True, 12.0), (float("inf"), False, float("inf"))],
)
def test_a_trainer_is_with_its_run_until_it_lets_go_or_its_process_ends(make, ended, lets_go, until_then):
    """It begins at 10 and the next one at 20."""
    run = make("a")
    run.append_event(events.Started(step=0, time=10.0, pid=41))
    if lets_go:
        run.append_event(events.Queued(step=0, time=12.0))
    run.append_event(events.Resumed(step=0, time=20.0, pid=42))
    run.records.poll()
    known = types.SimpleNamespace(after=lambda pid, moment: ended if (pid, moment) == (41, 10.0) else 30.0)
    assert faults.ends(run, known) == [until_then, 30.0]


def test_the_kernel_tells_when_processes_end():
    with Exits() as exits:
        began = time.time()
        child = subprocess.Popen(["true"])
        child.wait()
        ended = time.time()
        if not exits.problem:  # as root
            until(lambda: exits.after(child.pid, began) < float("inf"), "the end of a process")
            assert began < exits.after(child.pid, began) < ended
        assert exits.after(child.pid, ended) == float("inf")


def test_packing_compares_ways_in_one_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["packing", "--rounds", "2", "--trainings", "6", "--workers", "2"])
    monkeypatch.setattr(packing, "find_spec", lambda name: None)
    times = {packing.PACKED: 2.0, packing.WORKERS: 12.0, packing.PROCESSES: 24.0}
    monkeypatch.setattr(packing, "measure", lambda way, options: (times[way], 3.0))
    packing.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        ["one run", "1", "2.0", "1.0 x", "3.0"],
        ["a run each, by workers", "6, 2 at once", "12.0", "6.0 x", "3.0"],
        ["a process each", "6, 2 at once", "24.0", "12.0 x", "3.0"],
    ]
