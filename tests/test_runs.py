"""Run directories: names, records, requests, locks, whole files, and trainings that outlive their launchers."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from trainers import until

from mvm.errors import ConfigError, RunBusy, RunError
from mvm.files import append_line, beside, locked, write_atomic, write_tensors
from mvm.jobs.launch import launch
from mvm.runs import events
from mvm.runs import run as runs
from mvm.runs.events import append_event
from mvm.runs.library import all_runs
from mvm.runs.records import Records
from mvm.runs.run import Control, Run


def log(run):
    return run.path / "scalars.jsonl"


# -- directories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-flag", "with space", "ü", "x" * 101, "a\n"])
def test_a_name_that_cannot_be_a_folder_is_refused(make, checkpoints, name):
    with pytest.raises(RunError, match=r"name: .*cannot name a run"):
        make(name)
    assert not checkpoints.exists()


def test_a_new_run_is_complete_and_its_name_is_taken(make, cloud):
    run = make("a")
    cloud.unlink()
    again = Run.named("a")
    assert again.config == run.config
    assert again.status() == runs.Status("new", 0, 100)
    assert again.data.train.shape == (160, 2)
    with pytest.raises(ConfigError, match="no file"):
        make("b")
    with pytest.raises(RunError, match=r"has no checkpoint\.safetensors yet"):
        again.checkpoint()
    assert again.snapshot_steps() == []


def test_own_points_are_copied_in_their_own_units(make, cloud):
    copied = np.load(make("a").path / "data.npy")
    own = np.loadtxt(cloud, delimiter=",")
    assert np.array_equal(copied, own.astype(np.float32)), "and in their own order"


def test_a_run_that_cannot_be_written_leaves_nothing(make, monkeypatch, checkpoints):
    def full(path, content, durable=False):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_atomic", full)
        with pytest.raises(RunError, match=r"cannot write .*/a: No space left"):
            make("a")
    assert list(checkpoints.iterdir()) == []
    assert make("a").status().state == "new"


def test_all_runs_passes_over_what_is_no_run(make, checkpoints):
    old, new = make("old"), make("new")
    os.utime(old.path / "config.json", (0, 0))
    for name, text in (("cut", '{"data": "cir'), ("list", "[1]"), ("later", '{"schema_version": 99}')):
        (checkpoints / name).mkdir()
        (checkpoints / name / "config.json").write_text(text)
    (checkpoints / "empty").mkdir()
    assert [run.name for run in all_runs()] == [new.name, old.name]
    reasons = {"cut": "cannot be read", "list": "not valid", "later": "schema 99", "empty": "no run 'empty'"}
    for name, reason in reasons.items():
        with pytest.raises(RunError, match=reason):
            Run.named(name)


def test_a_run_that_takes_the_name_of_another_is_opened_anew(make):
    known: dict[str, Run] = {}
    old = make("a", 100)
    (first,) = all_runs(known)
    assert list(all_runs(known)) == [first]
    old.rename("b")
    assert not first.is_there()
    make("a", 200)
    assert {run.name: run.config.steps for run in all_runs(known)} == {"a": 200, "b": 100}
    Run.named("a").delete()
    make("a", 300)
    assert {run.name: run.config.steps for run in all_runs(known)} == {"a": 300, "b": 100}


def test_a_run_in_the_making_is_not_listed(make):
    run = make("a")
    shutil.copytree(run.path, run.path.with_name(".b.fork.1"))
    assert [run.name for run in all_runs()] == ["a"]


def test_all_runs_without_a_folder_is_none(checkpoints):
    assert list(all_runs()) == []


def test_only_a_dead_run_can_be_deleted_or_renamed(make, checkpoints):
    run = make("a")
    for what, act in (("delete", run.delete), ("rename", lambda: run.rename("b"))):
        message = f"a is being trained; stop it before you {what} it"
        with locked(run.path / "lock"), pytest.raises(RunBusy, match=message):
            act()
        run.append_event(events.Launched(step=0, time=time.time()))
        with pytest.raises(RunBusy, match=message):  # its trainer is on its way
            act()
        run.append_event(events.Stopped(step=0, time=time.time()))
    (checkpoints / ".b.deleted-1" / "snapshots").mkdir(parents=True)  # another process was killed at it
    run.delete()
    assert list(checkpoints.iterdir()) == []


def test_a_renamed_run_is_the_same_run_and_its_forks_know(make, checkpoints):
    run = make("a")
    fork = make("b")
    (fork.path / "fork.json").write_text(json.dumps({"run": "a", "step": 0, "changes": {}}))
    config = run.config
    renamed = run.rename("c")
    assert (renamed.name, renamed.config, run.path.exists()) == ("c", config, False)
    assert json.loads((fork.path / "fork.json").read_text()) == {"run": "c", "step": 0, "changes": {}}
    for name, message in (("b", "'b' exists"), ("../d", "cannot name a run")):
        with pytest.raises(RunError, match=message):
            renamed.rename(name)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["b", "c"]


def test_a_note_is_kept_replaced_and_taken_away(make):
    run = make("a")
    assert run.note == ""
    run.write_note("  collapses after 2,000 – γ too large\n")
    assert Run(run.path).note == "collapses after 2,000 – γ too large"
    with pytest.raises(RunError, match="takes at most 10,000"):
        run.write_note("x" * 10_001)
    assert run.note.startswith("collapses")
    run.write_note(" ")
    assert run.note == ""
    assert not (run.path / "note.txt").exists()


# -- records -----------------------------------------------------------------------------------------------------------


def test_records_are_read_on_and_only_whole_lines(tmp_path):
    path = tmp_path / "scalars.jsonl"
    records = Records(path)
    assert records.poll().step == 0
    append_event(tmp_path, events.Started(step=0))
    append_line(path, {"step": 10, "seconds": 1.0, "loss": torch.tensor([0.1, float("nan")])})
    with path.open("ab") as file:
        file.write(b'{"step":20,"seco')
    assert records.poll().scalars == [{"step": 10, "seconds": 1.0, "loss": [0.1, None]}]
    assert records.step == 10
    with path.open("ab") as file:
        file.write(b'nds":2.0}\n\xff broken \n7\n{"step":20,"scores":[{"w2":1}]}\n')
    before = records.scalars[0]
    assert [r["step"] for r in records.poll().scalars] == [10, 20]
    assert records.scalars[0] is before  # read once
    assert [r["step"] for r in records.scores] == [20]
    assert records.events == [events.Started(step=0)]


@pytest.mark.parametrize("longer", [False, True])
def test_records_start_anew_when_the_file_was_replaced(tmp_path, longer):
    path, other = tmp_path / "scalars.jsonl", tmp_path / "rewound"
    for step in (10, 20, 30):
        append_line(path, {"step": step, "seconds": 0.0})
    records = Records(path).poll()
    steps = [10, 20, 30, 40, 50] if longer else [10]
    for step in steps:
        append_line(other, {"step": step, "seconds": 1.0})
    other.replace(path)
    assert [(r["step"], r["seconds"]) for r in records.poll().scalars] == [(step, 1.0) for step in steps]
    assert records.step == steps[-1]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "scalars.jsonl"
    append_line(path, {"step": 1})
    with monkeypatch.context() as patch:
        write = os.write
        patch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:5]))
        with pytest.raises(OSError, match="No space left") as error:
            append_line(path, {"step": 2})
    assert error.value.filename == str(path)
    append_line(path, {"step": 3})
    assert path.read_text() == '{"step":1}\n{"step":3}\n'


@pytest.mark.parametrize(
    ("event", "dead", "alive"),
    [
        (None, "new", "starting"),
        ("queued", "interrupted", "queued"),
        ("started", "interrupted", "running"),
        ("resumed", "interrupted", "running"),
        ("paused", "interrupted", "paused"),
        ("continued", "interrupted", "running"),
        ("finished", "finished", "starting"),
        ("stopped", "stopped", "starting"),
        ("diverged", "diverged", "starting"),
        ("failed", "failed", "starting"),
    ],
)
def test_status_is_the_last_event_and_the_lock(make, event, dead, alive):
    run = make("a")
    if event:
        run.append_event(events.Started(step=0))
        append_line(log(run), {"step": 30, "event": event, "time": 1.0, "reason": "why"})
        run.append_event(events.WeightsChanged(step=30, weights={}, serial=1))  # does not change the state
    assert run.status().state == dead
    assert run.status().reason == ("why" if event in ("failed", "diverged") else None)
    with locked(run.path / "lock"):
        assert run.status().state == alive
        assert run.status().alive
    assert run.status().state == dead


def test_status_tells_progress_and_pace(make):
    run = make("a")
    for step in (10, 20, 30):
        append_line(log(run), {"step": step, "seconds": step / 20})
    status = run.status()
    assert (status.step, status.steps, status.seconds, status.rate) == (30, 100, 1.5, 20.0)
    assert status.seconds_left == 3.5


# -- requests ----------------------------------------------------------------------------------------------------------


def test_requests_add_up(make):
    run = make("a")
    assert run.control() == Control()
    run.ask(weights={"centroid": 0.5})
    run.ask(pause_at=30)
    run.ask(weights={"diameter": 2})
    expected = Control(pause_at=30, weights={"centroid": 0.5, "diameter": 2}, serial=2)
    assert run.control() == Run.named("a").control() == expected


def test_a_request_to_a_run_from_elsewhere_keeps_its_weights(make):
    """Its changes are on record, but the file that asked for them was not packed."""
    run = make("a")
    run.append_event(events.WeightsChanged(step=9, serial=4, weights={"centroid": 0.5}))
    run.ask(weights={"diameter": 2})
    assert run.control() == Control(weights={"centroid": 0.5, "diameter": 2}, serial=5)
    run.ask(weights={"diameter": 3})
    assert run.control() == Control(weights={"centroid": 0.5, "diameter": 3}, serial=6)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bogus": 1}', "null"])
def test_an_unreadable_control_file_holds_no_requests(make, text):
    run = make("a")
    (run.path / "control.json").write_text(text)
    assert run.control() == Control()
    run.ask(stop=True)
    assert run.control() == Control(stop=True)


@pytest.mark.parametrize("weights", [{"centroid": -1}, {"centroid": float("nan")}, {"bogus": 1}, {"centroid": "heavy"}])
def test_weights_that_no_config_may_have_are_refused(make, weights):
    run = make("a")
    run.ask(weights={"centroid": 2})
    with pytest.raises(ConfigError, match=next(iter(weights))):
        run.ask(weights=weights)
    assert run.control().weights == {"centroid": 2}


def test_requests_of_many_at_once_are_all_kept(make):
    run = make("a")
    names = list(runs.Config.model_fields["weights"].annotation.model_fields)
    threads = [threading.Thread(target=run.ask, kwargs={"weights": {name: 0.5}}) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.control().weights == dict.fromkeys(names, 0.5)
    assert run.control().serial == len(names)


@pytest.mark.parametrize(("resumed", "pause_at"), [(False, 5), (True, None)])
def test_a_new_run_keeps_its_request_to_pause(make, resumed, pause_at):
    run = make("a")
    if resumed:
        write_tensors(run.path / "checkpoint.safetensors", {"step": torch.tensor(0)})
    run.ask(pause_at=5, stop=True, weights={"centroid": 2})
    run.clear_requests()
    assert run.control() == Control(pause_at, False, {"centroid": 2}, 1)


# -- files and locks ---------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    beside(path).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(path, b"new")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_lock_excludes_others_and_looking_does_not_free_it(make, mvm):
    run = make("a")
    lock = run.path / "lock"
    with locked(lock):
        with pytest.raises(RunBusy, match="a is being trained by another process; stop it first"), locked(lock, wait=0):
            pass
        assert run.alive()
        other = mvm("train", "--run", str(run.path))
        assert other.wait() == 2
        assert other.err == "mvm: run: a is being trained by another process; stop it first\n"
        with pytest.raises(RunBusy, match="being trained already"):
            launch(run)
    assert not run.alive()
    with locked(lock, wait=0):
        assert run.alive()


# -- launch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "by a warm trainer"])
def test_a_launched_training_outlives_its_launcher(make, warm):
    run = make("a", 60)
    program = (
        f"from mvm.jobs.warm_trainer import WarmTrainer; trainer = WarmTrainer(); {warm} and trainer.warm()\n"
        "from mvm.jobs.launch import launch; from mvm.jobs.local import LocalLauncher; from mvm.runs.run import Run\n"
        "run = Run.named('a'); launch(run, launcher=LocalLauncher(trainer)); run.ask(pause_at=30)\n"
        "print(run.status().state, flush=True); import time; time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    with parent:
        assert parent.stdout.readline() == b"starting\n"
        os.killpg(parent.pid, signal.SIGKILL)
    until(lambda: run.status().state == "paused")  # asked before the trainer had begun
    assert run.status().step == 30
    run.ask(pause_at=None)
    until(lambda: not run.status().alive)
    assert run.status().state == "finished"
    assert [event.event for event in run.records.events] == ["launched", "started", "paused", "continued", "finished"]
    assert json.loads((run.path / "scores.json").read_text())[1]["variant"] == "both"
    until(lambda: "a: finished" in (run.path / "trainer.log").read_text())  # said once the run's lock is free
