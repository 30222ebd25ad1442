"""Leases: a second trainer is refused on any machine, and the run of a dead machine is taken over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trainers import until

from mvm.errors import RunBusy, TakenOver
from mvm.files import write_atomic
from mvm.processes import identity, lives
from mvm.runs import lease
from mvm.runs.layout import LEASE
from mvm.runs.lease import EXPIRES, held_elsewhere, hold_lease, network_disk
from mvm.runs.liveness import hold_run, is_alive
from mvm.runs.recorder import train
from mvm.sweeps import presence
from mvm.sweeps.presence import present

ELSEWHERE = "00000000-17-4711 node7"  # a process of another machine


@pytest.fixture
def shared(monkeypatch):
    """All disks are seen by several machines."""
    monkeypatch.setenv("MVM_LEASES", "always")
    lease._clocks.clear()


def take_elsewhere(run, *, age: float = 0.0) -> None:
    write_atomic(run.path / LEASE, ELSEWHERE.encode())
    then = time.time() - age
    os.utime(run.path / LEASE, (then, then))


@pytest.mark.parametrize("disk", ["always", "never"])
def test_a_run_of_another_machine_is_alive_and_refused_until_its_heart_stops(make, monkeypatch, disk):
    monkeypatch.setenv("MVM_LEASES", disk)
    run = make("a")
    assert not is_alive(run.path)
    take_elsewhere(run)
    assert is_alive(run.path)
    assert run.status().alive
    with pytest.raises(RunBusy, match="a is being trained on node7; stop it first"), hold_run(run.path):
        pass
    take_elsewhere(run, age=EXPIRES + 5)
    assert not is_alive(run.path)
    with hold_run(run.path):
        mark = (run.path / LEASE).read_text().split()[0]
        assert (mark == identity()) == (disk == "always")
    assert (run.path / LEASE).exists() == (disk == "never")


def test_a_lease_of_this_machine_counts_for_nothing(make, shared):
    """The kernel has dropped the lock of a process that was killed, at once."""
    run = make("a")
    write_atomic(run.path / LEASE, f"{identity(1).rsplit('-', 1)[0]}-1 here".encode())
    assert not is_alive(run.path)
    with hold_run(run.path):
        pass


def test_times_are_compared_by_the_clock_of_the_disk(make, shared, monkeypatch):
    """This machine's clock is a day ahead: the other one's heart still beats."""
    run, real = make("a"), time.time
    take_elsewhere(run)
    monkeypatch.setattr(time, "time", lambda: real() + 86400)
    assert held_elsewhere(run.path) == "node7"


def test_the_heart_beats_while_it_is_held(make, shared, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT", 0.01)
    run = make("a")
    with hold_lease(run.path):
        os.utime(run.path / LEASE, (0, 0))
        until(lambda: (run.path / LEASE).stat().st_mtime > 0, "a heartbeat")
    assert not (run.path / LEASE).exists()


def test_a_trainer_that_slept_too_long_writes_nothing(make, shared):
    run = make("a", steps=100)
    with hold_run(run.path):
        steps = train(run)
        for _ in range(15):
            next(steps)
        take_elsewhere(run)
        before = (run.path / "checkpoint.safetensors").stat().st_ino
        with pytest.raises(TakenOver, match="a's lease was replaced while it trained"):
            list(steps)
    assert (run.path / "checkpoint.safetensors").stat().st_ino == before
    assert (run.path / LEASE).read_text() == ELSEWHERE


def test_an_entry_that_a_killed_process_left_holds_nobody_up(make, shared):
    run = make("a")
    entry = run.path / f".{LEASE}.entry"
    entry.touch()
    with pytest.raises(RunBusy, match="being taken by another machine"), hold_lease(run.path):
        pass
    os.utime(entry, (0, 0))
    with hold_lease(run.path):
        assert not entry.exists()


def test_only_disks_of_a_network_need_a_lease(tmp_path, monkeypatch):
    monkeypatch.delenv("MVM_LEASES", raising=False)
    runs = f"{tmp_path}/my\\040runs"
    mounts = f"disk / ext4 rw 0 0\nserver:/home {runs} nfs4 rw 0 0\nfast {runs}/fast xfs rw 0 0\n"
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: mounts)
    found = [network_disk(tmp_path / name) for name in ("other", "my runs", "my runs/x", "my runs/fast/x", "my runs2")]
    assert found == ["", "nfs4", "nfs4", "", ""]


def test_the_other_machine_is_one():
    assert lives(ELSEWHERE.split()[0]) is None


# -- locks that do not hold --------------------------------------------------------------------------------------------

HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
file.write("node7")
file.flush()
if sys.argv[2] == "locked":
    fcntl.lockf(file, fcntl.LOCK_EX)
print("ready", flush=True)
while os.getppid() == int(sys.argv[3]):
    os.utime(sys.argv[1])
    time.sleep(.01)
"""


@pytest.fixture
def quick(checkpoints, monkeypatch):
    """Hearts that beat fast; gives a function that makes a worker of another machine, a process with its identity."""
    monkeypatch.delenv("MVM_LEASES", raising=False)
    monkeypatch.setattr(presence, "HEARTBEAT", 0.1)
    monkeypatch.setattr(lease, "HEARTBEAT", 0.02)
    lease._clocks.clear()
    started = []

    def worker(lock: str) -> Path:
        folder = checkpoints / ".sweeps" / ".workers"
        folder.mkdir(parents=True)
        path = folder / ELSEWHERE
        command = [sys.executable, "-ISc", HOLDER, str(path), lock, str(os.getpid())]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"
        return path

    yield worker
    for process in started:
        process.kill()
        process.communicate()


def weak(checkpoints) -> str:
    return (checkpoints / ".leases").read_text() if (checkpoints / ".leases").exists() else ""


def test_a_worker_finds_that_locks_do_not_hold_between_machines(quick, make, checkpoints):
    """A trainer that had begun without a lease has one by then."""
    run, said = make("a"), []
    quick("no lock")
    with hold_run(run.path):
        assert not (run.path / LEASE).exists()
        with present(said.append):
            assert (run.path / LEASE).read_text().split()[0] == identity()
    assert not (run.path / LEASE).exists()
    assert (weak(checkpoints), said[0]) == ("machines", "node7 holds a lock that this machine could take as well")
    assert "trainers keep leases there (locks there do not hold between machines): one whose machine dies" in said[1]
    with present(said.append), hold_run(run.path):
        assert (run.path / LEASE).exists()
    assert len(said) == 3
    assert [path.name for path in (checkpoints / ".sweeps" / ".workers").iterdir()] == [ELSEWHERE]


def test_locks_that_hold_between_machines_need_no_lease(quick, checkpoints):
    quick("locked")
    with present(pytest.fail):
        assert not weak(checkpoints)


def test_a_worker_that_was_killed_says_nothing_about_locks(quick, checkpoints):
    """Its file stays for a while, its lock does not."""
    folder = checkpoints / ".sweeps" / ".workers"
    folder.mkdir(parents=True)
    for name, age in ((ELSEWHERE, 0), ("00000000-17-4712", EXPIRES + 5), (f"{identity().rsplit('-', 1)[0]}-1", 0)):
        (folder / name).write_text("node7")
        os.utime(folder / name, (time.time() - age,) * 2)
    with present(pytest.fail):
        assert {path.name for path in folder.iterdir()} == {ELSEWHERE, identity()}
    assert [path.name for path in folder.iterdir()] == [ELSEWHERE]


def test_without_locks_between_processes_leases_decide_on_one_machine(quick, make, checkpoints, monkeypatch):
    monkeypatch.setattr("mvm.files.fcntl.lockf", lambda *_: None)  # as on some disks: it succeeds, and does nothing
    run, said = make("a"), []
    with present(said.append), hold_run(run.path):
        assert (run.path / LEASE).exists()
    assert (weak(checkpoints), len(said)) == ("processes", 1)
    write_atomic(run.path / LEASE, f"{identity(os.getppid())} here".encode())
    with pytest.raises(RunBusy, match="a is being trained on this machine; stop it first"), hold_run(run.path):
        pass
    assert is_alive(run.path)
