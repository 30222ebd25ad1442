"""The queue: first come, first served on each kind of device; nobody who dies or leaves holds up the others."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from trainers import until

from mvm.errors import RunError
from mvm.files import checkpoints, locked
from mvm.jobs import process
from mvm.jobs.launch import launch
from mvm.jobs.local import LocalLauncher
from mvm.jobs.queue import Ticket, device_kind, slot, slot_count
from mvm.jobs.turn import turn
from mvm.jobs.warm_trainer import WarmTrainer
from mvm.processes import identity
from mvm.runs.events import Queued, Stopped, event_of
from mvm.runs.layout import fresh_name
from mvm.runs.run import Run

LONG = 1_000_000  # steps that no test waits for
LIGHT = 30 * 2**10  # KiB that a waiting training may take


def tickets():
    return list((checkpoints() / ".slots").glob("*/*.ticket"))


def state(run):
    return run.status().state


def test_one_slot_serves_those_who_wait_in_their_order(make, mvm, cli):
    runs = {name: make(name, LONG) for name in "abcd"}
    trainers = {}
    for name, run in runs.items():
        trainers[name] = mvm("train", "--queue", "--run", str(run.path), MVM_SLOTS="1")
        until(lambda: state(run) == ("running" if name == "a" else "queued"))  # noqa: B023
    assert len(tickets()) == 3

    assert cli("stop", "b").out == "b: stopped at step 0\n"
    assert trainers["b"].wait() == 0
    assert [state(run) for run in runs.values()] == ["running", "stopped", "queued", "queued"]
    trainers["a"].kill()
    until(lambda: state(runs["c"]) == "running")
    assert [state(run) for run in runs.values()] == ["interrupted", "stopped", "running", "queued"]
    runs["c"].ask(stop=True)
    assert trainers["c"].wait() == 0
    until(lambda: state(runs["d"]) == "running")
    assert state(runs["c"]) == "stopped"
    assert [event.event for event in runs["d"].records.events] == ["queued", "started"]
    assert tickets() == []

    waiting = mvm("resume", "b")  # without --queue it does not wait
    until(lambda: runs["b"].status().step > 0)
    assert state(runs["d"]) == "running"
    for name, command in (("b", waiting), ("d", trainers["d"])):
        runs[name].ask(stop=True)
        assert command.wait() == 0


def test_a_paused_run_leaves_its_slot_to_others_and_waits_for_one_to_continue(make, mvm, cli):
    """Pause, train another: it begins. Continue: queued, told, stoppable, and first in line before who came later."""
    first, second, third = (make(name, LONG) for name in ("first", "second", "third"))

    def begin(run, *arguments):
        return mvm("train", "--queue", "--run", str(run.path), MVM_SLOTS="1")

    first.ask(pause_at=5)
    trainers = {"first": begin(first)}
    until(lambda: state(first) == "paused")
    trainers["second"] = begin(second)
    until(lambda: state(second) == "running")
    trainers["third"] = begin(third)
    until(lambda: state(third) == "queued")

    assert cli("resume", "first").out == "first: continues\n"
    until(lambda: state(first) == "queued")
    assert (first.status().step, state(second), len(tickets())) == (5, "running", 2)
    assert cli("pause", "first").out == "first: waits in the queue, and will pause before its next step\n"
    until(lambda: state(first) == "paused")
    assert len(tickets()) == 1
    first.ask(pause_at=8)
    until(lambda: state(first) == "queued")

    second.ask(pause_at=0)
    until(lambda: state(second) == "paused")
    until(lambda: first.status().step == 8 and state(first) == "paused", "the first, which asked before the third")
    until(lambda: state(third) == "running")
    names = [event.event for event in first.records.poll().events]
    assert names == ["started", "paused", "queued", "paused", "queued", "continued", "paused"]
    for run in (first, second):
        run.ask(pause_at=None)
        until(lambda: state(run) == "queued")  # noqa: B023
        run.ask(stop=True)
        assert trainers[run.name].wait() == 0
        assert state(run) == "stopped"
    assert state(third) == "running"
    third.ask(stop=True)
    assert trainers["third"].wait() == 0
    assert tickets() == []


@pytest.mark.parametrize(("kind", "other_slot_serves"), [("cpu", True), ("cuda", False)])
def test_a_slot_that_was_given_back_is_taken_again(monkeypatch, kind, other_slot_serves):
    """On a GPU it is the same one, as the training's tensors are there; who waits for another is not held up."""
    monkeypatch.setenv("MVM_SLOTS", "2")

    def wait(**more):
        return slot(kind, give_up=lambda: False, on_wait=lambda: None, **more)

    with wait() as first:
        assert first.number == 0
        first.give_back()
        with contextlib.ExitStack() as others:
            assert others.enter_context(wait()).number == 0
            assert first.take() is other_slot_serves
            assert first.number == (1 if other_slot_serves else 0)
            if not other_slot_serves:
                with wait() as passing:
                    assert passing.number == 1
                assert len(tickets()) == 1
        assert first.take() or other_slot_serves
        assert tickets() == []
    with wait() as again:
        assert again.number == 0
    assert tickets() == []


def test_who_is_killed_while_waiting_is_passed_over(make, mvm):
    with slot("cpu", give_up=lambda: False, on_wait=lambda: None):
        first, second = make("first"), make("second", 20)
        trainers = []
        for run in (first, second):
            trainers.append(mvm("train", "--queue", "--run", str(run.path), MVM_SLOTS="1"))
            until(lambda: state(run) == "queued")  # noqa: B023
        trainers[0].kill()
        assert state(first) == "interrupted"
        assert len(tickets()) == 2  # the dead one's lies there still
        assert state(second) == "queued"
    assert trainers[1].wait() == 0
    assert state(second) == "finished"
    assert tickets() == []


def test_as_many_as_there_are_slots(monkeypatch):
    monkeypatch.setenv("MVM_SLOTS", "2")
    waits = []

    def take():
        return slot("cpu", give_up=lambda: len(waits) > 0, on_wait=lambda: waits.append(1))

    with take() as first:
        with take() as second, take() as third:
            assert (first.number, second.number, third) == (0, 1, None)
            assert waits == [1]
        waits.clear()
        with take() as again:
            assert again.number == 1
            assert waits == []
    assert tickets() == []


@pytest.mark.parametrize(
    ("visible", "cores", "on_cpu", "on_gpus", "auto"),
    [
        ("", 1, 1, 1, "cpu"),
        ("", 4, 3, 1, "cpu"),
        ("-1", 4, 3, 1, "cpu"),
        ("0", 4, 3, 1, "cuda"),
        ("0,2", 4, 3, 2, "cuda"),
        ("0,-1,2", 4, 3, 1, "cuda"),
        ("GPU-8932f937,MIG-b1a2", 2, 1, 2, "cuda"),
    ],
)
def test_each_kind_of_device_has_slots_of_its_own(monkeypatch, visible, cores, on_cpu, on_gpus, auto):
    monkeypatch.delenv("MVM_SLOTS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert (slot_count("cpu"), slot_count("cuda")) == (on_cpu, on_gpus)
    assert [device_kind(device) for device in ("cpu", "cuda", "auto")] == ["cpu", "cuda", auto]
    monkeypatch.setenv("MVM_SLOTS", "7")
    assert (slot_count("cpu"), slot_count("cuda")) == (7, 7)


def test_a_training_on_the_cpu_does_not_wait_for_a_gpu(make, mvm):
    """The machine shows one GPU, as far as the queue can see, and its slot is taken."""
    with slot("cuda", give_up=lambda: False, on_wait=lambda: None) as taken:
        assert taken.number == 0
        one_gpu = {"CUDA_VISIBLE_DEVICES": "0", "MVM_SLOTS": "1"}
        on_gpu, on_cpu = make("gpu", 20, device="auto"), make("cpu", 20, device="cpu")
        waiting = mvm("train", "--queue", "--run", str(on_gpu.path), **one_gpu)
        until(lambda: state(on_gpu) == "queued")
        assert mvm("train", "--queue", "--run", str(on_cpu.path), **one_gpu).wait() == 0
        assert [event.event for event in on_cpu.records.poll().events] == ["started", "finished"]
        assert state(on_gpu) == "queued"
    assert waiting.wait() == 0
    assert state(on_gpu) == "finished"
    assert tickets() == []


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
def test_a_number_of_slots_that_is_none(make, cli, monkeypatch, count):
    monkeypatch.setenv("MVM_SLOTS", count)
    with pytest.raises(RunError, match="MVM_SLOTS"):
        slot_count("cpu")
    result = cli("train", "--queue", "--run", str(make("a").path))
    assert result == (2, "", f"mvm: MVM_SLOTS: {count!r} is not a number of slots; give 1 or more\n")


# -- the order of asking, and what waiting costs -----------------------------------------------------------------------


@pytest.fixture
def taken(monkeypatch):
    """The only slot is this process's; leaving it is up to the test."""
    monkeypatch.setenv("MVM_SLOTS", "1")
    with slot("cpu", give_up=lambda: False, on_wait=lambda: None) as held:
        assert held.number == 0
        yield


def memory(pid: int) -> int:
    """Proportional share of memory of a process, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def waits_lightly(pid: int) -> bool:
    """Whether a process has loaded no library that takes memory."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return memory(pid) < LIGHT and not any(name in maps for name in ("torch", "numpy", "pydantic"))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_is_that_of_asking_whoever_comes_first(monkeypatch, seed):
    monkeypatch.setenv("MVM_SLOTS", "1")
    served, tickets_drawn = [], [Ticket.draw("cpu") for _ in range(8)]

    def wait(number: int) -> None:
        with slot("cpu", give_up=lambda: False, on_wait=lambda: None, ticket=tickets_drawn[number]):
            served.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    for thread in random.Random(seed).sample(threads, k=8):
        thread.start()
    for thread in threads:
        thread.join()
    assert served == list(range(8))
    assert tickets() == []


@pytest.mark.parametrize("clock", [-1e6, 1e6])
def test_the_order_does_not_depend_on_the_clock(monkeypatch, clock):
    first = Ticket.draw("cpu")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + clock)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + clock) * 1e9))
    second = Ticket.draw("cpu")
    assert (first.is_next(), second.is_next()) == (True, False)
    first.leave()
    third = Ticket.draw("cpu")
    assert (second.is_next(), third.is_next()) == (True, False)
    assert third.path not in (first.path, second.path), "no number is given twice"


@pytest.mark.parametrize(
    "content",
    ["", "00000000-1-1", f"{identity().rpartition('-')[0]}-1", "\xff", "x" * 5000],
    ids=["empty", "another machine", "a process of the same number", "no text", "long"],
)
def test_a_ticket_of_nobody_who_lives_holds_nobody_up(content):
    dead, ours = Ticket.draw("cpu"), Ticket.draw("cpu")
    assert not ours.is_next()
    dead.path.write_bytes(content.encode("latin-1"))
    assert ours.is_next()
    assert not dead.path.exists()


def test_a_ticket_that_was_served_is_handed_to_nobody():
    ticket = Ticket.draw("cpu")
    ticket.leave()
    ticket.hand_to(os.getpid())
    assert tickets() == []


@pytest.mark.usefixtures("taken")
def test_launched_trainings_wait_without_torch_and_hear_requests(make):
    runs = [make(name) for name in "abc"]
    trainings = [launch(run) for run in runs]
    pids = [int(training.job.split("-")[1]) for training in trainings]
    until(lambda: all(state(run) == "queued" for run in runs))
    assert [path.read_text().split("-")[1].strip() for path in sorted(tickets())] == [str(pid) for pid in pids]
    assert all(waits_lightly(pid) for pid in pids), [memory(pid) for pid in pids]
    for run in runs:
        assert [event.event for event in run.records.poll().events] == ["launched", "queued"]

    runs[0].ask(stop=True)
    until(lambda: state(runs[0]) == "stopped")
    assert not runs[0].control().stop
    os.kill(pids[1], signal.SIGTERM)
    assert trainings[1].handle.wait() == "failed"
    assert state(runs[1]) == "stopped"
    assert len(tickets()) == 1
    runs[2].ask(pause_at=7, weights={"centroid": 0.5})
    with pytest.raises(RunError, match="being trained; stop it before you delete it"):
        runs[2].delete()
    runs[2].ask(stop=True)
    until(lambda: state(runs[2]) == "stopped")
    assert runs[2].control().pause_at == 7
    assert runs[2].control().weights == {"centroid": 0.5}


def test_a_waiting_training_that_is_served_trains_in_the_same_process(make, monkeypatch):
    monkeypatch.setenv("MVM_SLOTS", "1")
    run = make("a", 20)
    with slot("cpu", give_up=lambda: False, on_wait=lambda: None):
        training = launch(run)
        until(lambda: state(run) == "queued")
    until(lambda: state(run) == "finished")
    assert [event.event for event in run.records.poll().events] == ["launched", "queued", "started", "finished"]
    assert str(run.records.events[2].pid) == training.job.split("-")[1]
    assert training.wait() == "finished"


@pytest.mark.usefixtures("taken")
def test_commands_that_make_their_run_wait_lightly_in_the_order_of_their_start(cloud, tmp_path):
    names = [fresh_name("circle") for _ in range(2)]
    fields = ("--network.width", "8", "--network.depth", "2", "--variants", "both", "--device", "cpu")
    started = []
    for name, data in zip(names, ("circle", str(cloud)), strict=True):
        with (tmp_path / name).open("wb") as log:
            arguments = ("train", "--queue", "--data", data, "--name", name, *fields)
            started.append(process.start("mvm", arguments, stdout=log, stderr=log))
    logs = [tmp_path / name for name in names]

    def queued() -> bool:
        assert all(child.poll() is None for child in started), [log.read_text() for log in logs]
        return all((checkpoints() / name).exists() and state(Run.named(name)) == "queued" for name in names)

    until(queued, "both to be queued")
    assert [path.read_text().split("-")[1].strip() for path in sorted(tickets())] == [str(c.pid) for c in started]
    assert all(waits_lightly(child.pid) for child in started)
    for child in started:
        os.kill(child.pid, signal.SIGINT)
        assert child.wait() == 130
    assert [state(Run.named(name)) for name in names] == ["stopped", "stopped"]
    assert tickets() == []


@pytest.mark.usefixtures("taken")
def test_a_warm_trainer_is_not_used_up_by_a_training_that_waits(make, monkeypatch):
    run, started = make("a"), []
    child = SimpleNamespace(pid=os.getpid(), poll=lambda: None)
    monkeypatch.setattr(process, "start", lambda module, arguments, **_: started.append(arguments) or child)
    warm = SimpleNamespace(take=lambda *_, **__: pytest.fail("it would wait with torch loaded"))
    launch(run, launcher=LocalLauncher(warm))
    assert started == [["train", "--run", str(run.path), "--queue"]]


@pytest.mark.usefixtures("taken")
def test_a_warm_trainer_that_has_to_wait_after_all_frees_its_memory(make):
    """The slot was free when it was chosen."""
    run, trainer = make("a"), WarmTrainer()
    trainer.warm()
    pid = trainer._process.pid
    until(lambda: "libtorch" in Path(f"/proc/{pid}/maps").read_text(), "torch to be loaded")
    ticket = Ticket.draw("cpu")
    log = run.path / "trainer.log"
    child = trainer.take(
        ("train", "--run", str(run.path), "--queue"), log=log, environment={"MVM_TICKET": str(ticket.path)}
    )
    ticket.hand_to(child.pid)
    until(lambda: state(run) == "queued", "the run to be queued")
    assert (child.pid, waits_lightly(pid)) == (pid, True)
    assert tickets() == [ticket.path]
    run.ask(stop=True)
    assert child.wait() == 0
    assert state(run) == "stopped"


def test_a_failure_while_it_waits_is_recorded(make, monkeypatch):
    failures = (RunError("MVM_SLOTS: 'x'"), OSError("the disk is gone"), ZeroDivisionError("0"))
    for name, error in zip("abc", failures, strict=True):
        run = make(name)
        waiting = turn(run.path, "cpu", ticket=Ticket.draw("cpu"), is_process=False)
        with monkeypatch.context() as patch, contextlib.ExitStack() as held:
            patch.setattr("mvm.jobs.queue.slot_count", lambda _, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                held.enter_context(waiting)
        reason = f"ZeroDivisionError: {error}" if name == "c" else str(error)
        assert (state(run), run.status().reason) == ("failed", reason)
    assert tickets() == []


def test_events_of_the_wait_are_events(make, mvm):
    """They are written without the types."""
    run = make("a")
    with slot("cpu", give_up=lambda: False, on_wait=lambda: None):
        waiting = mvm("train", "--queue", "--run", str(run.path), MVM_SLOTS="1")
        until(lambda: state(run) == "queued")
        run.ask(stop=True)
        assert waiting.wait() == 0
    queued, stopped = run.records.poll().events
    assert (type(queued), type(stopped)) == (Queued, Stopped)
    assert [event_of(event.record()) for event in (queued, stopped)] == [queued, stopped]


def test_a_training_that_cannot_be_started_is_not_shown_as_starting(make, monkeypatch):
    def fails(*_, **__):
        raise PermissionError(13, "Permission denied", "slots")

    run = make("a")
    for what in ("mvm.jobs.local.Ticket.draw", "mvm.jobs.process.subprocess.Popen"):
        with monkeypatch.context() as patch:
            patch.setattr(what, fails)
            with pytest.raises(PermissionError):
                launch(run)
        assert state(run) == "failed"
        assert "Permission denied" in run.status().reason
    assert tickets() == []


def test_a_command_line_that_has_to_be_checked_does_not_wait_first(make, cli, taken):
    run = make("a")
    result = cli("train", "--queue", "--run", str(run.path), "--steps", "5")
    assert (result.status, "has its config already" in result.err) == (2, True)
    result = cli("train", "--queue", "--data", "no-such-thing.csv")
    assert (result.status, result.err.count("\n")) == (2, 1)
    with locked(run.path / "lock"):
        result = cli("train", "--queue", "--run", str(run.path))
    assert result.err == "mvm: run: a is being trained by another process; stop it first\n"
    assert "--queue" in cli("train", "--queue", "--help").out
    assert tickets() == []


@pytest.mark.parametrize("module", ["mvm.commands.waiting", "mvm.jobs.turn", "mvm.jobs.queue", "mvm.__main__"])
def test_what_waits_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*{{'torch', 'numpy', 'pydantic', 'pandas'}} & {{*sys.modules}})"
    done = process.subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
