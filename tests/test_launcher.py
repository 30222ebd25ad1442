"""Launchers: one way to start work, and one way to know that it lives; a new launcher is one class and one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from launchers import Here
from trainers import until

from app import services
from benchmarks import engine
from mvm.errors import ConfigError, RunBusy
from mvm.files import checkpoints, locked
from mvm.jobs import process
from mvm.jobs.launch import LAUNCHERS, launch, launcher_of
from mvm.jobs.launcher import Task, last_line
from mvm.jobs.local import LocalLauncher
from mvm.processes import identity
from mvm.runs.events import Launched
from mvm.runs.liveness import hold_run


@pytest.fixture
def sleeper():
    """A process that leads a group of its own, as the launcher's do."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield started
    started.kill()
    started.wait()


def script(folder: Path, source: str, **fields) -> Task:
    """A task that runs this Python: the module `task` of a folder on its path."""
    (folder / "task.py").write_text(source)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Task("task", (), log=folder / "log", module="task", environment={"PYTHONPATH": path}, **fields)


# -- another launcher --------------------------------------------------------------------------------------------------


def test_a_launcher_of_another_kind_trains_what_the_app_starts(make, monkeypatch):
    """The dummy launcher, by the very function that the app calls."""
    here = Here()
    monkeypatch.setattr(services, "LocalLauncher", lambda *_: here)
    monkeypatch.setattr(services, "later", lambda work: None)
    run = make("a", 20)
    services.train(run)
    assert run.status().state == "finished"
    assert [event.event for event in run.records.events] == ["launched", "started", "finished"]
    assert last_line(run.path / "trainer.log") == "a: finished; `python -m mvm score a`"
    assert len(here.tasks) == 1


def test_the_handle_of_a_training_is_its_run(make):
    run, here = make("a", 20), Here(lambda task: "running")
    training = launch(run, launcher=here)
    assert training.state == "starting"
    with hold_run(run.path):
        assert training.state == "starting"
        run.append_event(Launched(step=0, time=0.0))
        assert training.state == "starting"
    assert training.state == "starting", "long launched, and its process lives"
    training.cancel()
    assert run.control().stop
    gone = launch(run, launcher=Here(lambda task: "failed"))
    assert not run.control().stop, "requests to an earlier trainer are dropped"
    assert gone.state == gone.wait() == "interrupted", "just launched, and its process is gone"
    assert (gone.log, here.tasks[0].name) == (run.path / "trainer.log", "a")


def test_a_training_says_on_what_kind_of_device_it_waits(make, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    here = Here(lambda task: "failed")
    for device in ("auto", "cpu"):
        launch(make(device, device=device), launcher=here)
    launch(make("at-once"), launcher=here, queue=False)
    assert [task.device for task in here.tasks] == ["cuda", "cpu", None]


def test_a_run_that_is_trained_is_not_launched(make):
    run, here = make("a"), Here()
    with hold_run(run.path), pytest.raises(RunBusy, match="a is being trained already"):
        launch(run, launcher=here)
    assert here.tasks == []


def test_a_launcher_is_found_by_its_name(monkeypatch):
    assert isinstance(launcher_of(), LocalLauncher)
    monkeypatch.setitem(LAUNCHERS, "here", Here)
    assert isinstance(launcher_of("here"), Here)
    with pytest.raises(ConfigError, match="launcher: unknown 'moon'; known: local, here"):
        launcher_of("moon")


# -- this machine ------------------------------------------------------------------------------------------------------


def test_a_task_is_followed_from_its_start_to_its_end(tmp_path):
    """It locks a file once it is at it, prints, and leaves a result when it is told to."""
    lock, result, go = (tmp_path / name for name in ("lock", "result", "go"))
    os.mkfifo(go)
    source = (
        "from pathlib import Path; from mvm.files import locked\n"
        f"go = open({str(go)!r})\n"
        f"with locked(Path({str(lock)!r})):\n"
        "    print('at it'); go.readline()\n"
        f"    Path({str(result)!r}).write_text('done')\n"
    )
    handle = LocalLauncher().submit(script(tmp_path, source, lock=lock, result=result))
    assert handle.state == "starting"
    with go.open("w") as told:
        until(lambda: handle.state == "running")
        until(lambda: last_line(handle.log) == "at it")
        again = LocalLauncher().attach(handle.task, handle.job)  # as after a restart
        assert (again.job, again.state) == (handle.job, "running")
        told.write("\n")
    assert handle.wait() == again.wait() == again.state == "finished"


@pytest.mark.parametrize(("source", "state", "says"), [("print(1)", "finished", "1"), ("1 / 0", "failed", "Zero")])
def test_without_a_result_the_exit_status_tells(tmp_path, source, state, says):
    handle = LocalLauncher().submit(script(tmp_path, source))
    assert handle.wait() == state
    assert last_line(handle.log).startswith(says)


def test_cancelling_ends_the_whole_group(tmp_path):
    source = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid); child.wait()\n"
    )
    handle = LocalLauncher().submit(script(tmp_path, source))
    child = int(until(lambda: last_line(handle.log)))
    handle.cancel()
    assert handle.wait() == "failed"
    until(lambda: not is_there(child))
    handle.cancel()  # there is nothing left to end


def is_there(pid: int) -> bool:
    """Whether it runs; who adopts orphans may be slow to bury them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("clock", [-1e6, -100, 0, 1e6])
def test_a_process_of_the_same_number_is_not_taken_for_the_task(tmp_path, sleeper, monkeypatch, clock):
    """Whatever the clock has been set to since."""
    now = time.time()
    task = Task("task", (), log=tmp_path / "log", lock=tmp_path / "lock")
    fresh = LocalLauncher().attach(task, identity(sleeper.pid))
    monkeypatch.setattr(time, "time", lambda: now + clock)
    assert fresh.state == "starting"
    machine, pid, started = identity(sleeper.pid).split("-")
    for job in (f"{machine}-{pid}-{int(started) - 1}", f"00000000-{pid}-{started}", f"{pid}@{now:.3f}"):
        old = LocalLauncher().attach(task, job)
        assert old.state == "failed"
        old.cancel()
        with locked(tmp_path / "lock"):
            assert old.state == "running"
            old.cancel()
        assert sleeper.poll() is None
    fresh.cancel()
    assert sleeper.wait(60) == -signal.SIGTERM
    assert fresh.state == "failed"


def test_a_background_process_puts_waiting_threads_to_sleep_unless_the_person_chose(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert process.TRAINING_ENVIRONMENT.items() <= process.environment().items()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert process.environment()["OMP_WAIT_POLICY"] == "passive"
    assert process.environment()["GOMP_SPINCOUNT"] == "7"
    assert process.environment({"OMP_NUM_THREADS": "1"})["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert process.environment()["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in process.environment()


def test_a_warm_trainer_takes_trainings_only_and_each_once(tmp_path, monkeypatch):
    taken, started = [], []
    monkeypatch.setattr(process, "start", lambda module, arguments, **_: started.append(arguments) or child)
    child = SimpleNamespace(pid=1, poll=lambda: 0, returncode=0)

    def take(arguments: list[str], *, log: Path, environment: dict[str, str]) -> SimpleNamespace | None:
        assert Path(environment["MVM_TICKET"]).exists()
        taken.append(arguments)
        return child if len(taken) == 1 else None

    launcher = LocalLauncher(SimpleNamespace(take=take))
    for device, environment in (("cpu", {}), ("cpu", {}), (None, {}), ("cpu", {"A": "b"})):
        launcher.submit(Task("a", ("train",), log=tmp_path / "log", device=device, environment=environment))
        for ticket in (checkpoints() / ".slots").glob("*/*.ticket"):
            ticket.unlink()  # it has been served
    assert taken == [["train", "--queue"]] * 2
    assert started == [["train", "--queue"], ["train"], ["train", "--queue"]]


def test_a_benchmark_whose_process_fails_leaves_with_the_reason(monkeypatch):
    def work(task: Task) -> str:
        task.log.write_text("mvm: no CUDA\n")
        return "failed"

    monkeypatch.setitem(LAUNCHERS, "local", lambda: Here(work))
    with pytest.raises(SystemExit, match="engine 0: mvm: no CUDA"):
        engine.spawn([{"kind": "engine"}])


def test_a_benchmark_reads_what_its_processes_measured(monkeypatch):
    def work(task: Task) -> str:
        assert task.module == "benchmarks.engine"
        monkeypatch.setattr(sys, "argv", ["engine", *task.arguments])
        engine.main()
        return "finished"

    monkeypatch.setitem(LAUNCHERS, "local", lambda: Here(work))
    monkeypatch.setattr(engine, "work", lambda **asked: {"asked": asked})
    measurements = [{"kind": "engine", "variants": 1}, {"kind": "plain", "variants": 3, "threads": 2}]
    assert engine.spawn(measurements) == [{"asked": asked} for asked in measurements]


def test_the_log_of_nothing_is_empty(tmp_path):
    assert last_line(tmp_path / "none") == ""
    (tmp_path / "log").write_text("\n \n")
    assert last_line(tmp_path / "log") == ""


def test_starting_a_process_needs_no_torch():
    code = "import sys, mvm.jobs.process; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
