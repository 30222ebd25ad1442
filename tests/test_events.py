"""Events: what is written is what older versions wrote, and what other versions write is read or passed over."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mvm.files import append_line
from mvm.look.palette import MARKS
from mvm.runs import events, layout
from mvm.runs.events import EVENTS, Event, append_event, event_of, read_event, state_of
from mvm.runs.history import History
from mvm.runs.records import Records, kind_of, last_records

LINES = {  # as they stand in runs of the first version
    "launched": b'{"step":0,"event":"launched","time":1795827075.25}',
    "queued": b'{"step":0,"event":"queued","time":1795827075.25}',
    "started": b'{"step":0,"event":"started","device":"CPU","time":1795827075.3272562,"pid":29941}',
    "resumed": b'{"step":51,"event":"resumed","device":"CPU","time":1795827172,"pid":31037}',
    "paused": b'{"step":7,"event":"paused","time":1795827077.829408}',
    "continued": b'{"step":7,"event":"continued","time":1795827077.829408}',
    "stopped": b'{"step":51,"event":"stopped","time":1795827077.829408}',
    "finished": b'{"step":100,"event":"finished","time":1795827185.2194064}',
    "diverged": b'{"step":40,"event":"diverged","time":1795827185.5,"reason":"every variant diverged"}',
    "failed": b'{"step":40,"event":"failed","time":1795827185.5,"reason":"No space left on device"}',
    "weights": b'{"step":31,"event":"weights","weights":{"centroid":2,"diameter":0.5},"serial":1}',
    "settings": b'{"step":32,"event":"settings","settings":{"optimiser.metric_lr":0.001,"mvm.gamma":1},"serial":2}',
    "forked": b'{"step":40,"event":"forked","of":"a","changes":{"weights.diameter":0.0,"steps":200}}',
    "member": b'{"step":30,"event":"member","member":0,"variant":"both","seed":1,"what":"collapsed"}',
    "not captured": b'{"step":4,"event":"not captured","reason":"--graph off"}',
    "compiles": b'{"step":0,"event":"compiles"}',
    "not compiled": b'{"step":4,"event":"not compiled","reason":"RuntimeError: no C++ compiler"}',
}
STRANGE = {
    "unknown": b'{"step":3,"event":"moved","to":"a cluster","time":12.5}',
    "with another part": b'{"step":0,"event":"started","device":"CPU","time":1.5,"pid":3,"host":"b"}',
    "without its parts": b'{"step":30,"event":"weights"}',
    "out of bounds": b'{"step":30,"event":"settings","settings":{"optimiser.metric_lr":2},"serial":1}',
    "with parts of another type": b'{"step":30,"event":"weights","weights":{"centroid":[1,2]},"serial":"x"}',
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / layout.RECORDS


def test_every_event_has_a_line_here_and_a_class():
    assert list(LINES) == list(EVENTS)
    assert all(kind.__doc__ and issubclass(kind, Event) for kind in EVENTS.values())


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_an_event_is_written_as_it_was_read(line: bytes, tmp_path: Path, log: Path):
    event = event_of(json.loads(line))
    assert type(event) is EVENTS[event.event]
    append_event(tmp_path, event)
    assert log.read_bytes() == line + b"\n"
    assert Records(log).poll().events == [event]


@pytest.mark.parametrize("line", STRANGE.values(), ids=STRANGE)
def test_what_another_version_wrote_is_kept_and_passed_over(line: bytes, log: Path, make):
    run = make("a")
    (run.path / layout.RECORDS).write_bytes(LINES["started"] + b"\n" + line + b"\n")
    assert run.status().state == "interrupted"
    assert run.records.setting_changes() == []
    assert History(run).refresh().marks() == []
    run.records.rewind(100)
    assert (run.path / layout.RECORDS).read_bytes().splitlines() == [LINES["started"], line]


@pytest.mark.parametrize("line", [b'{"event":"finished"}', b'{"step":1,"event":7}', b'{"step":-1,"event":"paused"}'])
def test_what_has_no_step_or_name_is_no_event(line: bytes):
    assert read_event(json.loads(line)) is None


def test_a_rewound_run_keeps_the_events_of_trainers_and_loses_those_of_later_steps(log: Path):
    for line in LINES.values():
        append_line(log, json.loads(line))
    for step in (0, 20, 40, 60):
        append_line(log, {"step": step, "seconds": 0.5})
    records = Records(log).poll()
    records.rewind(30)
    assert {event.event for event in records.events} == {*LINES} - {"weights", "settings", "forked"}
    assert [record["step"] for record in records.scalars] == [0, 20]
    steps = [json.loads(line)["step"] for line in log.read_bytes().splitlines()]
    assert steps == sorted(steps)
    assert Records(log).poll() == records


@pytest.mark.parametrize("space", ["", " ", "  "])
def test_a_line_is_of_the_same_kind_whatever_its_separators(space: str, log: Path):
    """Another program may write the same JSON with spaces."""
    lines = {
        "event": {"step": 1, "event": "failed", "time": 1.0, "reason": 'the word "scores": and more'},
        "scores": {"step": 2, "n": 4, "scores": [{"w2": 1.0}]},
        "scalars": {"step": 3, "seconds": 1.0, "d_c": [0.5]},
    }
    encoded = {kind: json.dumps(line, separators=(f",{space}", f"{space}:{space}")) for kind, line in lines.items()}
    assert {kind: kind_of(line.encode()) for kind, line in encoded.items()} == {kind: kind for kind in lines}
    log.write_text("".join(f"{line}\n" for line in encoded.values()))
    records = Records(log).poll()
    assert (records.scores, records.scalars, records.step) == ([lines["scores"]], [lines["scalars"]], 3)
    assert records.events == [events.Failed(step=1, time=1.0, reason=lines["event"]["reason"])]


def test_the_last_records_are_those_of_all_records(log: Path):
    for step in range(5):
        append_line(log, {"step": step, "seconds": step})
        append_line(log, {"step": step, "scores": [{"w2": step}]})
        append_line(log, events.Paused(step=step, time=1.0).record())
    with log.open("ab") as file:
        file.write(b'{"step":9,"sec')
    every, last = Records(log).poll(), last_records(log)
    assert last.events == every.events
    assert (last.scalars, last.scores, last.step) == (every.scalars[-1:], every.scores[-1:], every.step)
    assert last_records(log.with_name("none")).step == 0


def test_a_launched_process_is_waited_for_but_not_for_ever():
    now = time.time()
    assert state_of(events.Launched(step=0, time=now), alive=False) == "starting"
    assert state_of(events.Launched(step=0, time=now - 1000), alive=False) == "interrupted"
    assert state_of(None, alive=False) == "new"


def test_the_device_and_the_clock_are_those_of_the_trainers():
    every = [event_of(json.loads(line)) for line in LINES.values()]
    assert events.training_device(every) == "CPU"
    assert events.training_device(every[:2]) is None
    assert len(events.times(every)) == 10
    unclocked = ["weights", "settings", "forked", "member", "not captured", "compiles", "not compiled"]
    assert [event.event for event in every if event.clock is None] == unclocked


def test_what_is_said_of_the_compiler_is_of_the_last_training():
    started, compiles, failed = (event_of(json.loads(LINES[name])) for name in ("started", "compiles", "not compiled"))
    assert events.compiled_networks([]) == events.compiled_networks([started]) == ""
    assert events.compiled_networks([started, compiles]) == "compiled networks"
    failure = "networks not compiled: RuntimeError: no C++ compiler"
    assert events.compiled_networks([started, compiles, failed]) == failure
    assert events.compiled_networks([started, compiles, failed, started]) == ""


def test_marks_are_of_events_and_of_what_becomes_of_members():
    known = {*EVENTS, "collapsed", "diverged", "recovered"}
    assert set(MARKS) < known
    assert event_of(json.loads(LINES["member"])).mark == "collapsed"
    assert event_of(json.loads(LINES["weights"])).mark == "weights"
