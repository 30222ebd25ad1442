"""Runs that someone else wrote: whatever is in their files, they are named and harm no other run.

Each file of a run is changed in many ways (MUTATIONS), and every reader must give a result, or one line that says
what is wrong; a healthy run beside it is listed, compared and shown as before.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from pages import open_page, shown, words
from safetensors.numpy import load_file, save
from trainers import small_config, write_cloud

from mvm.errors import ConfigError, RunError, Stopped
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.runs.archive import unpack
from mvm.runs.fork import Branches, config_at
from mvm.runs.history import History
from mvm.runs.library import all_runs, delete_unreadable
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies.compare import AXES, curves, differences, matrix, other_scores, quantities, scoreboard
from mvm.studies.index import summaries, unreadable

STEPS = 40


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A run that was stopped half way and one that is finished, with quick scores, snapshots and checkpoints."""
    folder = tmp_path_factory.mktemp("originals")
    cloud = write_cloud(folder / "cloud.csv")
    config = small_config(cloud, steps=STEPS, seeds=(0, 1), checkpoints=4, snapshots=4)
    for name in ("whole", "half"):
        run = Run.create(config, path=folder / name)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stopped):
            patch.setattr("mvm.runs.recorder.POLL", 0)  # it looks at every step for what it is asked
            for step in train(run):
                if name == "half" and step.number == 21:
                    run.ask(stop=True)
    return folder


@pytest.fixture
def pair(originals: Path, checkpoints: Path) -> tuple[Run, Run]:
    """A run to damage, and a healthy one."""
    shutil.copytree(originals / "half", checkpoints / "foreign")
    shutil.copytree(originals / "whole", checkpoints / "mine")
    return Run.named("foreign"), Run.named("mine")


# -- mutations ---------------------------------------------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000
CODES = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "deep": DEEP,
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "list": b"[]",
    "number": b"7",
    "huge number": b'{"step": ' + b"9" * 5000 + b"}",
    "null": b"null",
    "binary": bytes(range(256)),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
}


def replaced(content: bytes) -> Callable[[Path], None]:
    """In place of the file."""
    return lambda path: path.write_bytes(content)


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    """10 GB, without a line break."""
    with path.open("ab") as file:
        file.truncate(10 * 2**30)


def changed(**values: Any) -> Callable[[Path], None]:
    """A JSON object with other values."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


def added(*lines: Any) -> Callable[[Path], None]:
    """Further lines of scalars.jsonl."""

    def add(path: Path) -> None:
        with path.open("ab") as file:
            for line in lines:
                file.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")

    return add


def arrays(**made: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Other arrays in a file of tensors; None leaves one out."""

    def change(path: Path) -> None:
        found = load_file(path)
        found |= {name: make(found[name]) for name, make in made.items()}
        path.write_bytes(save({name: np.ascontiguousarray(a) for name, a in found.items() if a is not None}))

    return change


def an_array(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Another array in an .npy file."""

    def change(path: Path) -> None:
        buffer = io.BytesIO()
        np.save(buffer, make(np.load(path)))
        path.write_bytes(buffer.getvalue())

    return change


def rows(*made: dict[str, Any], **values: Any) -> Callable[[Path], None]:
    """A scores.json."""
    row = {"step": 40, "n": 100, "w2_ratio": 2.0}
    return lambda path: path.write_text(json.dumps([row | values] * 4 if not made else list(made)))


OUT = {"step": 30, "seconds": 1.0}
SNAPSHOT = "snapshots/00000020.safetensors"
EVERY = ("config.json", "scalars.jsonl", "scores.json", "fork.json", "control.json", "note.txt", "live.safetensors",
         SNAPSHOT, "checkpoint.safetensors", "best.safetensors", "data.npy", "frames/00000020.npy")  # fmt: skip
ODD_STEPS = {"negative": -1, "2^62": 2**62, "2^70": 2**70, "float": 1.5, "word": "x", "list": [1], "bool": True}
V = 4
MUTATIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "config.json, deep": ("config.json", replaced(DEEP)),
    "scalars.jsonl, folder": ("scalars.jsonl", folder),
    "scores.json, pipe": ("scores.json", pipe),
    **{
        f"records, step {n}": ("scalars.jsonl", added({**OUT, "step": s, "d_c": [1.0] * V}))
        for n, s in ODD_STEPS.items()
    },
    **{
        f"scores, step {n}": ("scalars.jsonl", added({"step": s, "n": 9, "scores": [{"w2": 1}] * V}))
        for n, s in ODD_STEPS.items()
    },
    **{
        f"event, step {n}": ("scalars.jsonl", added({"step": s, "event": "paused", "time": 1.0}))
        for n, s in ODD_STEPS.items()
    },
    **{
        f"checkpoint, step {n}": ("checkpoint.safetensors", arrays(step=lambda a, s=s: np.array(s)))
        for n, s in ODD_STEPS.items()
        if n in ("negative", "2^62", "float")
    },
    **{
        f"snapshot, step {n}": (SNAPSHOT, arrays(step=lambda a, s=s: np.array(s)))
        for n, s in ODD_STEPS.items()
        if n in ("negative", "2^62", "float", "list")
    },
    "records, NaN": ("scalars.jsonl", added(b'{"step":NaN,"seconds":1}', b'{"step":30,"seconds":Infinity}')),
    "records, 1e999": ("scalars.jsonl", added(b'{"step":30,"seconds":1e999,"d_c":[1e999,1,1,1]}')),
    "records, words": ("scalars.jsonl", added({**OUT, "d_c": ["a"] * V}, {**OUT, "d_c": "a"})),
    "records, empty axis": ("scalars.jsonl", added({**OUT, "d_c": [], "d_g": [], "d_H": []})),
    "records, longer axis": ("scalars.jsonl", added({**OUT, "d_c": [1.0] * 9, "d_g": [1.0] * 9, "d_H": [1.0] * 9})),
    "records, nested": ("scalars.jsonl", added({**OUT, "d_c": [[1.0]] * V}, {**OUT, "d_g": {"a": 1}})),
    "records, no gaps": (
        "scalars.jsonl",
        replaced(b'{"step":10,"seconds":1}\n{"step":20,"seconds":2,"d_c":[1,1,1,1]}\n'),
    ),
    "records, no seconds": ("scalars.jsonl", replaced(b'{"step":10}\n{"step":20}\n')),
    "records, a deep line": ("scalars.jsonl", added(DEEP, b'{"step":30,"event":' + DEEP + b"}")),
    "records, surrogates": ("scalars.jsonl", added(b'{"step":30,"event":"failed","time":1,"reason":"\\ud800"}')),
    "records, NUL": ("scalars.jsonl", added(b'{"step":30,"event":"failed","time":1,"reason":"a\\u0000b"}')),
    "records, long words": (
        "scalars.jsonl",
        added({"step": 30, "event": "failed", "time": 1.0, "reason": "a" * 10**6}),
    ),
    "event, device": ("scalars.jsonl", added({"step": 30, "event": "started", "device": 7, "time": 1.0, "pid": 3})),
    "event, time": (
        "scalars.jsonl",
        added({"step": 30, "event": "started", "time": 1e300}, {"step": 30, "event": "stopped", "time": "now"}),
    ),
    "event, weights": (
        "scalars.jsonl",
        added({"step": 10, "event": "weights", "weights": {"centroid": "x"}, "serial": 1}),
    ),
    "event, heavy weights": (
        "scalars.jsonl",
        added({"step": 10, "event": "weights", "weights": {"centroid": 1e9}, "serial": 1}),
    ),
    "event, other weights": (
        "scalars.jsonl",
        added({"step": 10, "event": "weights", "weights": {"bogus": 1}, "serial": 1}),
    ),
    "event, no member": ("scalars.jsonl", added({"step": 30, "event": "member", "what": "diverged"})),
    "event, member 99": (
        "scalars.jsonl",
        added({"step": 30, "event": "member", "member": 99, "variant": "x", "seed": 0, "what": "diverged"}),
    ),
    "event, what": (
        "scalars.jsonl",
        added({"step": 30, "event": "member", "member": 0, "variant": "both", "seed": 0, "what": "![](http://x)"}),
    ),
    "event, forked": ("scalars.jsonl", added({"step": 30, "event": "forked", "of": 3, "changes": []})),
    "event, a list": ("scalars.jsonl", added({"step": 30, "event": ["started"]})),
    "quick scores, words": ("scalars.jsonl", added({"step": 30, "n": 9, "scores": [{"w2_ratio": "x"}] * V})),
    "quick scores, few": (
        "scalars.jsonl",
        added({"step": 30, "n": 9, "scores": []}, {"step": 30, "n": 9, "scores": [{"w2": 1}]}),
    ),
    "quick scores, n": ("scalars.jsonl", added({"step": 30, "n": "x", "scores": [{"w2": 1}] * V})),
    "quick scores, no list": (
        "scalars.jsonl",
        added({"step": 30, "n": 9, "scores": {"w2": 1}}, {"step": 30, "scores": None}),
    ),
    "quick scores, other keys": (
        "scalars.jsonl",
        added({"step": 30, "n": 9, "scores": [{"joy": 1.0, "joy_floor": 2}] * V}),
    ),
    "final scores": ("scores.json", rows()),
    "final scores, no step": ("scores.json", rows(step=None)),
    "final scores, words": ("scores.json", rows(w2_ratio="x")),
    "final scores, few": ("scores.json", rows({"step": 40, "n": 1})),
    "final scores, none": ("scores.json", replaced(b"[]")),
    "final scores, infinite": ("scores.json", rows(w2_ratio=math.inf)),
    "final scores, of others": ("scores.json", rows(variant="x", seed=9)),
    "final scores, other keys": ("scores.json", rows(joy=1.0, joy_floor=2.0)),
    "config, no variants": ("config.json", changed(variants=[])),
    "config, other variants": ("config.json", changed(variants=["both"])),
    "config, more variants": ("config.json", changed(variants=["centroid", "diameter", "both"])),
    "config, newer": ("config.json", changed(schema_version=99)),
    "config, schema": ("config.json", changed(schema_version=[1])),
    "config, steps": ("config.json", changed(steps=0)),
    "config, data NUL": ("config.json", changed(data="a\0.csv")),
    "config, data": ("config.json", changed(data="\ud800.csv")),
    "config, long data": ("config.json", changed(data="x" * 100_000 + ".csv")),
    "config, long key": ("config.json", changed(**{"x" * 100_000 + "\n": 1})),
    "config, other width": ("config.json", changed(network={"width": 16, "depth": 2})),
    "config, other view": ("config.json", changed(view_points=32)),
    "config, fewer steps": ("config.json", changed(steps=10)),
    "fork, of a list": ("fork.json", replaced(b'{"run":["a"],"step":3,"changes":{}}')),
    "fork, step": ("fork.json", replaced(b'{"run":"a","step":-3,"changes":{}}')),
    "fork, changes": (
        "fork.json",
        replaced(b'{"run":"mine","step":20,"changes":{"steps":[[[]]],"weights.diameter":{"a":1}}}'),
    ),
    "control, pause": ("control.json", replaced(b'{"pause_at":"x"}')),
    "control, weights": ("control.json", replaced(b'{"weights":{"centroid":99},"serial":3}')),
    "control, serial": ("control.json", replaced(b'{"weights":{"centroid":1},"serial":1e400}')),
    "note, half a character": ("note.txt", replaced(b"\xed\xa0\x80")),
    "note, long": ("note.txt", replaced(b"x" * (2**21))),
    **{
        f"snapshot, {name}": (SNAPSHOT, change)
        for name, change in {
            "no fakes": arrays(fake=lambda a: None),
            "no reals": arrays(real=lambda a: None),
            "no grid": arrays(grid=lambda a: None),
            "no embeddings": arrays(real_embedding=lambda a: None),
            "fewer networks": arrays(fake=lambda a: a[:1]),
            "no networks": arrays(fake=lambda a: a[:0]),
            "no points": arrays(fake=lambda a: a[:, :0], real=lambda a: a[:0]),
            "flat": arrays(fake=lambda a: a.ravel()),
            "other dimension": arrays(fake=lambda a: a[..., :1]),
            "3 dimensions": arrays(
                **{n: lambda a: np.concatenate([a, a[..., :1]], -1) for n in ("fake", "real", "grid")}
            ),
            "integers": arrays(fake=lambda a: a.astype(np.int64)),
            "endless reals": arrays(real=lambda a: a * np.nan),
            "endless fakes": arrays(fake=lambda a: a * np.inf, fake_embedding=lambda a: a * np.nan),
            "fewer points": arrays(fake=lambda a: a[:, :7]),
            "fewer eigenvalues": arrays(spectrum_distance=lambda a: a[:, :3]),
            "spectrum of more": arrays(spectrum_mds=lambda a: np.concatenate([a, a])),
            "grid of lines": arrays(grid=lambda a: a[:, :3]),
        }.items()
    },
    "live, other networks": ("live.safetensors", arrays(fake=lambda a: a[:1])),
    "live, later": ("live.safetensors", arrays(step=lambda a: np.array(2**60))),
    "checkpoint, no step": ("checkpoint.safetensors", arrays(step=lambda a: None)),
    "checkpoint, no state": ("checkpoint.safetensors", arrays(state=lambda a: None)),
    "checkpoint, states": ("checkpoint.safetensors", arrays(state=lambda a: a + 99)),
    "checkpoint, words": ("checkpoint.safetensors", arrays(step=lambda a: np.array([1, 2]))),
    "best, no step": ("best.safetensors", arrays(step=lambda a: None)),
    "best, no w2": ("best.safetensors", arrays(w2=lambda a: None)),
    "best, other steps": ("best.safetensors", arrays(step=lambda a: a[:1])),
    "best, odd steps": ("best.safetensors", arrays(step=lambda a: a - 2**60)),
    "points, of words": ("data.npy", an_array(lambda a: a.astype(str))),
    "points, flat": ("data.npy", an_array(lambda a: a.ravel())),
    "points, endless": ("data.npy", an_array(lambda a: a * np.nan)),
    "points, of 3 dimensions": ("data.npy", an_array(lambda a: np.concatenate([a, a[:, :1]], 1))),
    "frame, of others": ("frames/00000020.npy", an_array(lambda a: a[:1])),
    "frame, few": ("frames/00000020.npy", an_array(lambda a: a[:, :3])),
    "frame, of words": ("frames/00000020.npy", an_array(lambda a: a.astype(str))),
    "frame, endless": ("frames/00000020.npy", an_array(lambda a: a * np.nan)),
}


def damage(run: Run, name: str) -> None:
    """Change a file of a run; files that it may lack are made first."""
    frames = run.path / "frames"
    frames.mkdir(exist_ok=True)
    snapshot = load_file(run.path / SNAPSHOT)
    np.save(frames / "00000020.npy", np.ones((V, 2 * snapshot["fake"].shape[1], 2), np.float32))
    file, change = MUTATIONS[name]
    change(run.path / file)


def read_all(run: Path) -> dict[str, str]:
    """Call every reader of a run; returns what each of them refused, in words, by its name."""
    refused: dict[str, str] = {}

    def call(read: Callable[..., Any], *values: Any, **options: Any) -> Any:
        try:
            return read(*values, **options)
        except (RunError, ConfigError) as error:
            refused[getattr(read, "__name__", str(read))] = str(error)

    opened = call(Run, run)
    if opened is None:
        return refused
    mine = Run.named("mine")
    history = History(opened).refresh()
    for step in (0, 20, STEPS):
        history.at(step), history.scores(step)
        call(config_at, opened, step)
    history.newest(), history.gaps(), history.marks()
    for form in SPECTRUM_FORMS:
        history.spectrum(form)
    opened.status(), opened.control()
    assert isinstance(opened.note, str)
    both = [opened, mine]
    for number, key in enumerate([*quantities(both)][::8]):
        curves(both, key, axis=[*AXES][number % len(AXES)])
    differences(both), matrix(both), scoreboard(both, baseline=opened, keys=other_scores(both))
    call(opened.checkpoint), call(opened.checkpoint, best=True), call(opened.real_view), opened.frame(20)
    for branch in (opened, mine):
        call(lambda branch=branch: Branches(branch, opened).parted())
    assert all("\n" not in line and len(line) < 1000 for line in refused.values()), refused
    return refused


def neighbour() -> Any:
    """What the list says of the healthy run."""
    return next(row for row in summaries() if row.name == "mine")


@pytest.mark.parametrize("file", EVERY)
def test_any_content_of_any_file_is_read_or_refused(pair, file: str) -> None:
    run, before = pair[0].path, neighbour()
    (run / "frames").mkdir()
    contents = [replaced(content) for content in CODES.values()]
    for change in (*contents, endless, pipe, lambda path: (path.unlink(), path.mkdir())):
        change(run / file)
        refused = read_all(run)
        assert neighbour() == before
        told = [row.damage for row in summaries() if row.name == "foreign"] + [
            str(why) for why in unreadable().values()
        ]
        assert len(told) == 1
        if file in ("config.json", "scalars.jsonl", "scores.json", "fork.json"):
            assert refused or told[0] or file == "scalars.jsonl"


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_reader_takes_or_refuses_a_mutated_run(pair, name: str) -> None:
    before = neighbour()
    damage(pair[0], name)
    read_all(pair[0].path)
    assert neighbour() == before


ODD = [
    None,
    True,
    -1,
    0,
    2**62,
    2**70,
    1e308,
    1.5,
    "",
    "x",
    "\ud800",
    "a\0b",
    "![](http://localhost)",
    [],
    [[]],
    {},
    {"a": {"b": []}},
]


def mutant(value: Any, random: Random) -> Any:
    """A JSON value with one place that is another, or is gone."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return random.choice(ODD)
    place = random.choice([*value]) if isinstance(value, dict) else random.randrange(len(value))
    made = copy(value)
    if random.random() < 0.15:
        del made[place]
    elif random.random() < 0.1 and isinstance(made, list):
        made.append(copy(made[place]))
    else:
        made[place] = mutant(made[place], random)
    return made


@pytest.mark.parametrize("file", ["config.json", "scores.json", "fork.json", "control.json", "scalars.jsonl"])
def test_no_mutant_of_a_document_breaks_a_reader(pair, file: str) -> None:
    run, random, before = pair[0], Random(file), neighbour()
    shutil.copy(pair[1].path / "scores.json", run.path)
    (run.path / "fork.json").write_text(
        json.dumps({"run": "mine", "step": 20, "changes": {"steps": 50, "mvm.gamma": 0.1}})
    )
    run.ask(weights={"centroid": 2})
    lines = (run.path / file).read_text().splitlines() if file == "scalars.jsonl" else [(run.path / file).read_text()]
    for _ in range(20):
        made = list(lines)
        for _ in range(random.choice((1, 3))):
            place = random.randrange(len(made))
            made[place] = json.dumps(mutant(json.loads(made[place]), random))
        (run.path / file).write_text("\n".join(made) + "\n")
        read_all(run.path)
        assert neighbour() == before


COMMANDS = (  # one mutation of each kind: each command costs what it costs
    "config.json, deep", "config, other width", "scalars.jsonl, folder", "records, words", "event, heavy weights",
    "final scores, other keys", "control, weights", "snapshot, fewer networks", "checkpoint, step 2^62",
    "best, odd steps", "points, of 3 dimensions",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_in_one_line(pair, cli, tmp_path: Path, name: str) -> None:
    damage(pair[0], name)
    figures = "curves spectrum"
    for command in (
        "runs", "runs --json", "compare mine foreign --baseline foreign", "note foreign",
        f"sample foreign -n 4 --out {tmp_path}/made", f"sample foreign -n 4 --best --out {tmp_path}/best",
        "score foreign -n 16 --json", f"export foreign mine --figure {figures} --out {tmp_path}/x --format svg",
        "fork foreign --step 20 --set steps=21 --name forked", f"pack foreign --out {tmp_path}/foreign.zip",
        "pause foreign", "rename foreign foreigner", "resume foreigner",
    ):  # fmt: skip
        result = cli(*command.split())
        assert result.status in (0, 1, 2), command
        for line in result.err.splitlines():
            assert line.startswith(("mvm:", "warning:")), (command, result.err)
            assert len(line) < 1000, command
        if command == "runs --json":
            assert "mine" in [row["name"] for row in json.loads(result.out)]


REFUSED = ("config", "records, words", "quick scores, words", "final scores, few", "fork, step", "event, member 99",
           "snapshot, fewer networks", "frame, of others", "points, flat")  # fmt: skip


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name.startswith(REFUSED)])
def test_a_pack_of_a_mutated_run_is_refused_or_a_run(pair, checkpoints: Path, tmp_path: Path, name: str) -> None:
    """A mutation is written into the ZIP of a healthy run, as its packing would refuse it."""
    source = tmp_path / "foreign.zip"
    (pair[0].path / "fork.json").write_text(json.dumps({"run": "mine", "step": 20, "changes": {}}))
    shutil.copy(pair[1].path / "scores.json", pair[0].path)
    damage(pair[0], name)
    with zipfile.ZipFile(source, "w") as archive:
        for path in sorted(pair[0].path.rglob("*.*")):
            if path.is_file() and path.name not in ("live.safetensors", "control.json", "control.lock", "lock"):
                archive.write(path, f"foreign/{path.relative_to(pair[0].path)}")
    before = sorted(checkpoints.iterdir())
    if name in ("config, other view", "config, other width", "config, fewer steps"):
        assert unpack(source, name="back").name == "back"
        return
    with pytest.raises(RunError, match=r"nothing was unpacked|schema 99|config\.json is not valid"):
        unpack(source, name="back")
    assert sorted(checkpoints.iterdir()) == before


PAGES = ("records, words", "event, member 99", "snapshot, 3 dimensions", "snapshot, no grid", "frame, few",
         "final scores, other keys", "config, other variants", "fork, changes")  # fmt: skip
RUNS_PAGE = """
import streamlit as st
from app.views.runs import runs_page
st.session_state.setdefault("_pages", {})
runs_page()
"""


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("name", PAGES)
def test_the_lab_and_the_table_show_a_mutated_run_and_its_neighbour(pair, name: str) -> None:
    damage(pair[0], name)
    app = open_page(run="foreign")
    assert shown(app) == "foreign"
    fits = name in ("final scores, other keys", "fork, changes", "frame, few")  # or is made anew
    assert ("Files of this run are damaged" in words(app)) != fits
    table = open_page(RUNS_PAGE, compare="foreign,mine")
    assert words(table)
    assert {"foreign", "mine"} == set(table.dataframe[0].value["name"])


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("name", ["config, newer", "config.json, deep", "scores.json, pipe"])
def test_pages_name_a_run_that_cannot_be_opened_and_show_its_neighbour(pair, name: str) -> None:
    damage(pair[0], name)
    assert shown(open_page(run="foreign")) == "mine"
    table = open_page(RUNS_PAGE)
    assert "foreign" in words(table)
    assert [b.label for b in table.button].count("Delete for good") == (name != "config, newer")
    assert list(table.dataframe[0].value["name"]) == ["mine"]


# -- pictures ----------------------------------------------------------------------------------------------------------

LAST = "snapshots/00000020.safetensors"
PICTURES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "reals, flat": ("real.npy", an_array(np.ravel)),
    "reals, of words": ("real.npy", an_array(lambda a: a.astype(str))),
    "reals, float": ("real.npy", an_array(lambda a: a.astype(np.float32) * np.nan)),
    "reals, smaller": ("real.npy", an_array(lambda a: a[:, :4, :4])),
    "reals, oblong": ("real.npy", an_array(lambda a: a[:, :4])),
    "reals, grey": ("real.npy", an_array(lambda a: a[..., 0])),
    "reals, none": ("real.npy", an_array(lambda a: a[:0])),
    "fakes, float": (LAST, arrays(fake=lambda a: a.astype(np.float32))),
    "fakes, grey": (LAST, arrays(fake=lambda a: a[..., :1])),
    "fakes, smaller": (LAST, arrays(fake=lambda a: a[:, :, :4, :4])),
    "fakes, few": (LAST, arrays(fake=lambda a: a[:, :3])),
    "raw, none": (LAST, arrays(raw=lambda a: None)),
}


@pytest.fixture
def faces(checkpoints: Path) -> Run:
    """A finished run on pictures."""
    with zipfile.ZipFile(Path(__file__).with_name("data") / "runs_0_1.zip") as archive:
        archive.extractall(checkpoints, [name for name in archive.namelist() if name.startswith("faces/")])
    return Run.named("faces")


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_do_not_fit_are_refused(faces: Run, cli, tmp_path: Path, name: str) -> None:
    file, change = PICTURES[name]
    faces.snapshot(0)  # its sizes are the run's
    change(faces.path / file)
    if file == "real.npy":
        with pytest.raises(RunError, match=r"real\.npy is damaged"):
            faces.real_view()
        result = cli("export", "faces", "--figure", "nearest", "sheet", "--out", str(tmp_path / "x"), "--format", "svg")
        assert result.status == 2, result
    else:
        assert faces.snapshot(20) is None
        assert faces.snapshot(10) is not None
        assert LAST in faces.damage
        result = cli("export", "faces", "--figure", "sheet", "--out", str(tmp_path / "x"), "--format", "svg")
        assert result.err == "mvm: run: faces's 00000020.safetensors is damaged; choose another --step\n"


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("name", ["reals, smaller", "fakes, grey", "scores, other keys"])
def test_the_page_of_pictures_shows_what_fits(faces: Run, name: str) -> None:
    if name == "scores, other keys":
        path = faces.path / "scores.json"
        path.write_text(json.dumps([row | {"joy": 1, "joy_floor": 2} for row in json.loads(path.read_text())]))
    else:
        file, change = PICTURES[name]
        change(faces.path / file)
    app = open_page("from app.views.faces import faces; faces()", run="faces")
    assert ("Files of this run are damaged" in words(app)) == (name != "scores, other keys")


# -- a moment's failure ------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None, int], None]:
    """Let a file fail to open with this error number from now on; None: all is well again."""
    real = os.open

    def fail(path: Path | None, number: int = 0) -> None:
        def opened(name: Any, *rest: Any, **more: Any) -> int:
            if path is not None and str(name) == str(path):
                raise OSError(number, os.strerror(number), str(name))
            return real(name, *rest, **more)

        monkeypatch.setattr(os, "open", opened)

    return fail


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
@pytest.mark.parametrize("file", ["config.json", "scalars.jsonl", "scores.json", "note.txt"])
def test_what_cannot_be_read_for_a_moment_is_read_at_the_next(pair, cli, failing, file: str, number: int) -> None:
    mine = pair[1]
    mine.write_note("kept")
    expected = neighbour()
    (mine.path.parent / ".index.json").unlink()
    failing(mine.path / file, number)
    said = cli("runs").err
    assert os.strerror(number) in said
    assert "removes it" not in said
    if file == "config.json":
        refused = cli("delete", "mine", "--yes")
        assert (refused.status, os.strerror(number) in refused.err, mine.path.exists()) == (2, True, True)
        assert [why.damaged for why in unreadable().values()] == [False]
    failing(None)
    assert neighbour() == expected
    assert unreadable() == {}
    assert cli("runs").err == ""


def test_a_damaged_run_is_looked_at_again_before_it_is_deleted(pair, checkpoints: Path) -> None:
    whole = (checkpoints / "mine" / "config.json").read_bytes()
    (checkpoints / "mine" / "config.json").write_bytes(whole[:50])
    assert [why.damaged for why in unreadable().values()] == [True]
    (checkpoints / "mine" / "config.json").write_bytes(whole)
    with pytest.raises(RunError, match="mine can be read again"):
        delete_unreadable("mine")
    (checkpoints / "mine" / "config.json").write_bytes(b"{}{}")
    delete_unreadable("mine")
    assert not (checkpoints / "mine").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row | {"step": "x"},
        lambda row: row | {"created": 1e300},
        lambda row: row | {"kind": "songs"},
        lambda row: row | {"steps": 0},
        lambda row: row | {"seeds": None},
        lambda row: [row],
    ],
)
def test_a_list_that_someone_else_cached_is_made_anew(pair, checkpoints: Path, spoil) -> None:
    before, cache = summaries(), checkpoints / ".index.json"
    entries = json.loads(cache.read_bytes())
    cache.write_text(json.dumps({name: entry | {"row": spoil(entry["row"])} for name, entry in entries.items()}))
    assert summaries() == before
    cache.write_bytes(DEEP)
    assert summaries() == before


def test_a_folder_whose_name_no_page_can_show_is_named_and_harms_none(pair, cli, checkpoints: Path) -> None:
    before = neighbour()
    for name in ("a\nb", os.fsdecode(b"caf\xe9")):
        shutil.copytree(checkpoints / "foreign", checkpoints / name)
        assert repr(name)[1:-1] in cli("runs").err
    assert neighbour() == before
    assert sorted(run.name for run in all_runs()) == ["foreign", "mine"]
