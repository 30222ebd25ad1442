"""The thread that writes for a training: order, bounds, errors; nothing waits for the clock."""

from __future__ import annotations

import threading

import pytest

from mvm.runs.writer import Writer

PATIENCE = 60  # seconds after which a test that hangs fails


def test_work_is_done_in_order_and_all_of_it() -> None:
    done: list[int] = []
    with Writer(size=3) as writer:
        for number in range(100):
            writer.put(lambda number=number: done.append(number))
        writer.flush()
        assert done == [*range(100)]
        assert writer.idle
        writer.put(lambda: done.append(100))
    assert done == [*range(101)]


def test_slow_work_delays_nobody_until_the_queue_is_full() -> None:
    go_on, begun, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        done.append("slow")

    with Writer(size=3) as writer:
        writer.put(slow)
        assert begun.wait(PATIENCE)
        for number in range(3):  # the disk stands still, and these return at once
            writer.put(lambda number=number: done.append(number))
        assert done == []
        assert not writer.idle
        full = threading.Thread(target=lambda: writer.put(lambda: done.append("last")))
        full.start()
        full.join(0.05)
        assert full.is_alive(), "a full queue makes the training wait, and loses nothing"
        go_on.set()
        full.join(PATIENCE)
        writer.flush()
    assert done == ["slow", 0, 1, 2, "last"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "scalars.jsonl"), ValueError("bad")])
@pytest.mark.parametrize("meeting", ["put", "flush", "end"])
def test_an_error_is_met_at_the_next_occasion_and_ends_the_work(error: Exception, meeting: str) -> None:
    done: list[int] = []

    def fails() -> None:
        raise error

    def training() -> None:
        with Writer(size=8) as writer:
            writer.put(fails)
            while meeting == "put":
                writer.put(lambda: done.append(1))
            if meeting == "flush":
                writer.flush()

    with pytest.raises(type(error)) as met:
        training()
    assert met.value is error
    assert done == []


def test_an_error_of_the_training_is_not_hidden_and_its_work_is_done() -> None:
    done: list[int] = []

    def training() -> None:
        with Writer() as writer:
            writer.put(lambda: done.append(1))
            raise KeyError("of the training")

    with pytest.raises(KeyError, match="of the training"):
        training()
    assert done == [1]


def test_the_thread_is_prepared_before_its_work() -> None:
    seen: list[object] = []
    with Writer(begin=lambda: seen.append(threading.current_thread().name)) as writer:
        writer.put(lambda: seen.append("work"))
    assert seen == ["writer", "work"]
