"""The queue: first come, first served on each kind of device; nobody who dies or leaves holds up the others."""

import pytest
from trainers import until

from mvm.errors import RunError
from mvm.files import checkpoints
from mvm.jobs.queue import device_kind, slot, slot_count


def tickets():
    return list((checkpoints() / ".slots").glob("*/*.ticket"))


def state(run):
    return run.status().state


def test_one_slot_serves_those_who_wait_in_their_order(make, mvm, cli):
    runs = {name: make(name) for name in "abcd"}
    trainers = {}
    for name, run in runs.items():
        run.ask(pause_at=5)  # who has the slot keeps it
        trainers[name] = mvm("train", "--queue", "--run", str(run.path), MVM_SLOTS="1")
        until(lambda: state(run) == ("paused" if name == "a" else "queued"))  # noqa: B023
    assert len(tickets()) == 3

    assert cli("stop", "b").out == "b: stopped at step 0\n"
    assert trainers["b"].wait() == 0
    assert [state(run) for run in runs.values()] == ["paused", "stopped", "queued", "queued"]
    trainers["a"].kill()
    until(lambda: state(runs["c"]) == "paused")
    assert [state(run) for run in runs.values()] == ["interrupted", "stopped", "paused", "queued"]
    runs["c"].ask(pause_at=None)
    assert trainers["c"].wait() == 0
    until(lambda: state(runs["d"]) == "paused")
    assert state(runs["c"]) == "finished"
    assert [event.event for event in runs["d"].records.events] == ["queued", "started", "paused"]
    assert tickets() == []

    waiting = mvm("resume", "b")  # without --queue it does not wait
    until(lambda: runs["b"].status().step > 0)
    assert state(runs["d"]) == "paused"
    assert waiting.wait() == 0


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
            assert (first, second, third) == (0, 1, None)
            assert waits == [1]
        waits.clear()
        with take() as again:
            assert again == 1
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
        assert taken == 0
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
