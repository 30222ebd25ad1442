"""Runs that are linked, half removed, on disks that are full, without locks or read-only, after the clock was set back.

Nothing gets stuck, nothing is half done, and each refusal is one line that says what to do.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trainers import dies, until

from mvm.errors import Lost, RunBusy, RunError
from mvm.files import advice, beside, lock_is_held, locked, sweep
from mvm.processes import age, identity, lives
from mvm.runs import events, layout
from mvm.runs.archive import pack
from mvm.runs.fork import fork
from mvm.runs.library import all_runs, sweep_runs
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies.index import summaries, unreadable


def hidden(folder: Path) -> list[str]:
    """What a person does not see at once in a folder and those in it."""
    return sorted(path.name for path in folder.rglob(".*") if path.name not in (".slots", ".index.json"))


def trained(run: Run) -> Run:
    for _ in train(run):
        pass
    return run


@pytest.fixture
def ended():
    """A process that has ended, and its identity."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = identity(child.pid)
    assert lives(mark) is True
    child.communicate()
    assert lives(mark) is False
    return mark


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def moved(run: Run, disk: Path, name: str = "") -> Path:
    """Move a run to another disk, and link it back."""
    target = disk / (name or run.name)
    shutil.move(run.path, target)
    run.path.symlink_to(target)
    return target


@pytest.mark.parametrize("name", ["", "another-name"])
def test_deleting_a_linked_run_removes_it_where_it_lies(make, cli, checkpoints, disk, name):
    run = make("big")
    target = moved(run, disk, name)
    (disk / "other").mkdir()
    with locked(target / "lock"):
        assert "is being trained; stop it" in cli("delete", "big", "--yes").err
    assert cli("delete", "big", "--yes").out == "big: deleted\n"
    assert [path.name for path in disk.iterdir()] == ["other"]
    assert list(checkpoints.glob("[!.]*")) == []


def test_deleting_a_link_of_links_removes_the_run(make, cli, checkpoints, disk):
    run = make("big")
    target = moved(run, disk)
    (disk / "hop").symlink_to(target)
    run.path.unlink()
    run.path.symlink_to(disk / "hop")
    assert cli("delete", "big", "--yes").status == 0
    assert not target.exists()
    assert not os.path.lexists(checkpoints / "big")


def test_a_second_name_of_a_run_is_deleted_alone(make, cli, checkpoints):
    run = make("a")
    (checkpoints / "alias").symlink_to("a")
    assert cli("delete", "alias", "--yes").status == 0
    assert [known.name for known in all_runs()] == ["a"]
    assert run.is_there()
    assert hidden(checkpoints) == []


def test_a_linked_run_that_cannot_be_read_is_deleted_where_it_lies(make, cli, disk, checkpoints):
    target = moved(make("big"), disk)
    (target / "config.json").write_text("{")
    assert cli("delete", "big", "--yes").status == 0
    assert list(disk.iterdir()) == list(checkpoints.glob("[!.]*")) == []


@pytest.mark.parametrize("fails", ["the run", "the link"])
def test_a_linked_run_that_cannot_be_deleted_is_kept_whole(make, cli, disk, monkeypatch, fails):
    run = make("big")
    target = moved(run, disk)
    rename, unlink = Path.rename, Path.unlink

    def refused(path: Path, *rest, **more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    if fails == "the run":
        monkeypatch.setattr(Path, "rename", lambda p, to: refused(p) if p == target else rename(p, to))
    else:
        monkeypatch.setattr(Path, "unlink", lambda p, **more: refused(p) if p == run.path else unlink(p, **more))
    result = cli("delete", "big", "--yes")
    assert (result.status, result.err.count("\n"), "Read-only file system" in result.err) == (1, 1, True)
    assert run.is_there()
    assert run.path.readlink() == target
    assert hidden(disk) == []


def test_a_linked_run_is_renamed_forked_and_packed_like_others(make, cli, disk, tmp_path):
    run = trained(make("big", 20, checkpoints=2))
    target = moved(run, disk)
    made = fork(run, 10, {"steps": 30})
    renamed = run.rename("large")
    assert (renamed.path.readlink(), made.origin.run) == (target, "large")
    assert trained(made).status().state == "finished"
    assert "checkpoint.safetensors" in " ".join(pack(renamed, tmp_path / "a.zip"))
    assert cli("delete", "large", "--yes").status == 0
    assert not target.exists()


@pytest.mark.parametrize("exists", [True, False])
def test_checkpoints_may_be_a_link(make, cli, checkpoints, disk, exists):
    checkpoints.symlink_to(disk / "runs")
    if exists:
        (disk / "runs").mkdir()
        make("a")
        assert [known.name for known in all_runs()] == ["a"]
        assert cli("delete", "a", "--yes").status == 0
        assert list((disk / "runs").glob("[!.]*")) == []
    else:
        with pytest.raises(RunError, match=f"cannot write .*/a: .* is a link to {disk}/runs, which is not there"):
            make("a")


def test_a_link_to_a_disk_that_is_not_there_is_told_and_can_be_removed(make, cli, checkpoints, disk):
    target = moved(make("big"), disk)
    target.rename(disk / "away")
    assert cli("runs").err.startswith(f"mvm: run: big is a link to {target}, which is not there; bring it back")
    assert list(unreadable()) == ["big"]
    with pytest.raises(RunError, match="is a link to"):
        Run.named("big")
    (disk / "away").rename(target)
    assert [row.name for row in summaries()] == ["big"]
    target.rename(disk / "away")
    assert cli("delete", "big", "--yes").out == "big: deleted\n"
    assert (disk / "away" / "config.json").exists()
    assert list(checkpoints.glob("[!.]*")) == []


def test_no_run_takes_the_name_of_a_link_that_leads_nowhere(make, checkpoints):
    run = make("a")
    (checkpoints / "b").symlink_to("/nowhere")
    with pytest.raises(RunError, match="'b' exists"):
        run.rename("b")
    assert run.is_there()


def test_two_names_of_a_file_are_one_lock(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with locked(tmp_path / "real" / "lock"):
        with pytest.raises(RunBusy), locked(tmp_path / "link" / "lock", wait=0):
            pass
        assert lock_is_held(tmp_path / "link" / "lock")


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "starting"), *((ahead, "interrupted") for ahead in (300, 86400, 1e9))]
)
def test_a_run_launched_before_the_clock_went_back_is_not_starting_for_ever(make, cli, ahead, state):
    run = make("a")
    run.append_event(events.Launched(step=0, time=time.time() + ahead))
    assert run.status().state == state
    if state == "interrupted":
        assert cli("rename", "a", "b").status == 0
        assert cli("delete", "b", "--yes").status == 0


def test_a_run_that_is_starting_can_be_stopped(make, cli, monkeypatch):
    run = make("a")
    run.append_event(events.Launched(step=0, time=time.time()))
    monkeypatch.setattr(events, "STARTING", 0.5)
    assert cli("stop", "a").status == 0
    assert run.control().stop


def test_the_identity_of_a_process_is_its_own(ended):
    assert lives(identity()) is True
    machine, pid, started = identity().split("-")
    assert lives(f"{machine}-{pid}-{int(started) + 1}") is False
    assert lives(f"00000000-{pid}-{started}") is None
    assert [lives(mark) for mark in ("", "7", "7@12.5", "a-b-c")] == [None] * 4
    assert 0 < age() < 86400 * 30


# -- disks without locks, full or read-only ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_named_with_what_to_do(make, cli, checkpoints, monkeypatch, code):
    run = make("a", 20)

    def lockf(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    commands = (
        ["train", "--run", str(run.path)], ["train", "--queue", "--run", str(run.path)], ["train", "--data", "circle"],
        ["rename", "a", "b"], ["delete", "a", "--yes"], ["claims"],
    )  # fmt: skip
    for command in commands:
        result = cli(*command)
        assert (result.status, result.err.count("\n")) == (2, 1), command
        assert result.err.startswith("mvm: lock: the disk of "), command
        assert str(checkpoints) in result.err
        assert "set $MVM_CHECKPOINTS to a folder there" in result.err
    assert run.is_there()
    assert run.status().state in ("new", "failed")
    assert cli("runs").status == 0


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_the_disk_of_runs_says_what_to_do(checkpoints, tmp_path, code):
    for path in (checkpoints / "a" / "lock", checkpoints, checkpoints.parent):
        line = advice(OSError(code, os.strerror(code), str(path)))
        assert line.startswith("; make ")
        assert "set $MVM_CHECKPOINTS to a folder" in line
        assert "\n" not in line
    assert advice(OSError(code, "x", str(tmp_path / "own.csv"))) == "", "not a file of runs"
    assert advice(OSError(errno.ENOENT, "x", str(checkpoints))) == ""
    assert advice(OSError("no number")) == ""


def as_someone(script: str) -> subprocess.CompletedProcess:
    """Run Python as a user whom permissions bind; root is not."""
    powers = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
    start = powers if os.geteuid() == 0 else []
    return subprocess.run([*start, sys.executable, "-c", script], capture_output=True, text=True)


def test_on_a_read_only_folder_every_command_says_what_to_do(make, checkpoints):
    run = make("a")
    (run.path / "lock").touch()
    (checkpoints / "another-user's").mkdir(mode=0)
    for folder in (run.path, checkpoints):
        folder.chmod(0o555)
    (run.path / "lock").chmod(0o444)
    commands = [
        ["rename", "a", "b"], ["delete", "a", "--yes"], ["note", "a", "text"], ["claims"],
        ["train", "--data", "circle"], ["train", "--run", str(run.path)], ["train", "--queue", "--run", str(run.path)],
    ]  # fmt: skip
    script = f"from mvm.__main__ import main\nfor c in {commands!r}: print(c, main(c), flush=True)\nmain(['runs'])"
    try:
        done = as_someone(script)
    finally:
        for path in (checkpoints, run.path, run.path / "lock"):
            path.chmod(0o755)
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands), done.stderr
    for line in lines:
        assert "Permission denied" in line
        assert f"make {checkpoints} writable, or set $MVM_CHECKPOINTS to a folder that is" in line
    assert "a   " in done.stdout, "it can be listed"
    assert run.is_there()


@pytest.mark.parametrize("which", ["fork.json", "folder"])
def test_a_rename_is_done_whole_or_not_at_all(make, cli, checkpoints, monkeypatch, which):
    run = make("a")
    for name in ("b", "c"):
        (make(name).path / "fork.json").write_text(json.dumps({"run": "a", "step": 0, "changes": {}}))
    (make("d").path / "fork.json").write_text('[{"run": "a"}]')  # no origin of any version
    write, rename = Path.write_bytes, Path.rename

    def refused(path: Path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        if which == "folder":
            patch.setattr(Path, "rename", lambda p, to: refused(p) if p == run.path else rename(p, to))
        else:
            patch.setattr(Path, "write_bytes", lambda p, b: refused(p) if p.parent.name == "c" else write(p, b))
        result = cli("rename", "a", "z")
    assert (result.status != 0, result.err.count("\n")) == (True, 1)
    assert "No space left on device; make room, or set $MVM_CHECKPOINTS" in result.err
    assert run.is_there()
    assert {Run.named(name).origin.run for name in "bc"} == {"a"}
    assert hidden(checkpoints) == []
    assert cli("rename", "a", "z").status == 0
    assert {Run.named(name).origin.run for name in "bc"} == {"z"}
    assert hidden(checkpoints) == []


# -- removed while it trains -------------------------------------------------------------------------------------------

FILES = ("config.json", "checkpoint.safetensors", "scalars.jsonl", "trainer.log", "data.npy")
FOLDERS = ("snapshots", "checkpoints")


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_training_whose_files_are_removed_fails_with_the_name_and_saves(make, cli, name):
    run = make("a", 300, checkpoints=2)
    (run.path / "trainer.log").touch()
    path, training = run.path / name, train(run)
    for step in training:
        if step.number == 190:
            assert path.exists()
            path.unlink() if path.is_file() else shutil.rmtree(path)
            break
    with pytest.raises(Lost, match=f"run: a's {name} was removed while it trained; step [0-9]+ is saved, and `python"):
        list(training)
    again = Run(run.path)
    assert int(again.checkpoint()["step"]) >= 190
    if name not in ("data.npy", "trainer.log"):
        assert cli("resume", "a").status == 0
        assert again.status().state == "finished"


@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors", "scalars.jsonl"])
def test_a_command_whose_files_are_removed_ends_with_1_and_the_run_says_why(make, mvm, name):
    run = make("a", 5_000_000)
    command = mvm("train", "--run", str(run.path))
    until(lambda: (run.path / "live.safetensors").exists() or command.has_ended())
    (run.path / name).unlink()
    assert command.wait() == 1
    assert command.err.splitlines()[-1].startswith(f"mvm: run: a's {name} was removed while it trained; step ")
    assert Run(run.path).status().state == "failed"
    assert name in Run(run.path).status().reason


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_training_without_its_folder_ends_and_leaves_another_of_its_name_alone(make, mvm, state, replaced):
    run = make("a", 5_000_000)
    if state == "paused":
        run.ask(pause_at=5)
    command = mvm("train", "--run", str(run.path))
    shown = run.path / "live.safetensors"
    until(lambda: (run.status().state == state and shown.exists()) or command.has_ended())
    run.path.rename(run.path.with_name("moved"))
    if replaced:
        make("a", 7)
    assert command.wait() == 1
    if replaced:
        assert [path.name for path in sorted(run.path.iterdir())] == ["config.json", "data.npy"]
        assert "the folder of a was removed while it trained" in command.err
    else:
        assert not run.path.exists()
        assert str(run.path) in command.err or "the folder of a" in command.err


def test_a_training_whose_lock_another_has_taken_over_saves_nothing_more(make):
    run = make("a", 300)
    with locked(run.path / "lock"):
        training = train(run)
        next(training)
        before = (run.path / "checkpoint.safetensors").read_bytes()
        (run.path / "lock").rename(run.path / "old")
        (run.path / "lock").touch()
        with pytest.raises(Lost, match="a's lock was replaced while it trained: another process trains it now"):
            list(training)
    assert (run.path / "checkpoint.safetensors").read_bytes() == before


# -- what processes that were killed have left -------------------------------------------------------------------------


def test_what_the_dead_left_is_swept_and_what_the_living_write_is_not(tmp_path, ended):
    kept = [beside(tmp_path / "mine"), tmp_path / ".note", tmp_path / ".a.2.3", tmp_path / "a.1-2-3.1234567"]
    kept += [tmp_path / f".far.00000000-1-2.{7**9}", tmp_path / f".old.4711.{7**9}"]
    gone = [tmp_path / f".index.json.{ended}.{7**9}", tmp_path / f".x.{ended}.{7**9}", tmp_path / ".y.deleted-7"]
    aged = [tmp_path / f".far2.00000000-1-2.{7**9}", tmp_path / f".old2.4711.{7**9}", tmp_path / f".ahead.9.{7**9}"]
    for path in (*kept, *gone, *aged):
        path.write_text("")
    for path in aged:
        when = time.time() + (1e6 if "ahead" in path.name else -1e6)
        os.utime(path, (when, when))
    folder = tmp_path / f".run.{ended}.{7**9 + 1}"
    (folder / "snapshots").mkdir(parents=True)
    link = tmp_path / f".link.{ended}.{7**9 + 2}"
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in kept} | {"elsewhere"}
    sweep(tmp_path / "none")


def test_the_next_command_sweeps_all_runs(make, cli, checkpoints, ended):
    run = make("a")
    places = [checkpoints, run.path, run.path / "snapshots", run.path / "frames", run.path / "checkpoints"]
    places += [checkpoints / ".slots" / "cpu", checkpoints / ".images", checkpoints / "claims" / "b" / "snapshots"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / f".left.npy.{ended}.{7**9}").write_text("")
    shutil.copy(run.path / "config.json", checkpoints / "claims" / "b")
    assert cli("runs").status == 0
    assert list(checkpoints.rglob(f"*{ended}*")) == []


def test_a_sweep_of_nothing(checkpoints):
    sweep_runs()
    assert not checkpoints.exists()


@pytest.mark.parametrize(
    "moment", ["rename config.json", "rename fork.json", "rename control.json", "open config.json"]
)
def test_a_fork_that_is_killed_on_the_way_is_not_seen_and_leaves_nothing(make, mvm, cli, checkpoints, moment):
    trained(make("a", 20, checkpoints=2))
    call, name = moment.split()
    killed = mvm("fork", "a", "--step", "10", "--name", "b", before=dies(call, 1, name))
    assert killed.wait() == -9
    assert [run.name for run in all_runs()] == ["a"]
    assert hidden(checkpoints) != []
    assert cli("runs").status == 0
    assert hidden(checkpoints) == []


def test_a_fork_that_is_killed_again_and_again_ends_as_one_that_is_not(make, mvm, cli, checkpoints):
    trained(make("a", 60, checkpoints=6))
    arguments = ("fork", "a", "--step", "20", "--set", "weights.diameter=0", "--name")
    assert cli(*arguments, "whole").status == 0
    moments = [
        dies("rename", 1, "scalars.jsonl"),
        dies("append", 1, "scalars.jsonl"),
        dies("rename", 1, "checkpoint.saf"),
    ]
    moments += [dies("append", 3, "scalars.jsonl"), dies("open", 1, ".checkpoint"), dies("rename", 1, "best")]
    for number, moment in enumerate(moments):
        command = mvm(*(("resume",) if number else arguments), "killed", before=moment)
        assert command.wait() == -9, (number, command.out, command.err)
    assert cli("resume", "killed").status == 0
    ours, theirs = (lines(Run.named(name)) for name in ("killed", "whole"))
    assert ours == theirs
    assert hidden(checkpoints) == []


def lines(run: Run) -> list[dict]:
    """Records in the order of the file, without time, memory and the events of processes."""
    found = [json.loads(line) for line in (run.path / layout.RECORDS).read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k not in ("seconds", "memory")} for line in found if "time" not in line]
    return kept
