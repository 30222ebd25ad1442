"""Runs that someone else wrote: whatever is in their files, they are named and harm no other run.

Each file of a run is changed in many ways (MUTATIONS), and every reader must give a result, or one line that says
what is wrong; a healthy run beside it is listed, compared and shown as before.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from trainers import small_config, write_cloud

from mvm.errors import Stopped
from mvm.runs.recorder import train
from mvm.runs.run import Run

STEPS = 40


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A run that was stopped half way and one that is finished, with quick scores, snapshots and checkpoints."""
    folder = tmp_path_factory.mktemp("originals")
    cloud = write_cloud(folder / "cloud.csv")
    config = small_config(cloud, steps=STEPS, seeds=(0, 1), checkpoints=4, snapshots=4)
    for name in ("whole", "half"):
        run = Run.create(config, path=folder / name)
        try:
            for step in train(run):
                if name == "half" and step.number == 21:
                    run.ask(stop=True)
        except Stopped:
            pass
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
    **{f"{file}, {name}": (file, replaced(content)) for file in EVERY for name, content in CODES.items()},
    **{f"{file}, {make.__name__}": (file, make) for file in EVERY for make in (folder, pipe, endless)},
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
    np.save(frames / "00000020.npy", np.zeros((V, 2 * snapshot["fake"].shape[1], 2), np.float32) + np.arange(2))
    file, change = MUTATIONS[name]
    change(run.path / file)


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_command_answers(pair, cli, tmp_path, name) -> None:
    run, _ = pair
    damage(run, name)
    commands = {
        "runs": ["runs"],
        "runs --json": ["runs", "--json"],
        "compare": ["compare", "mine", "foreign", "--baseline", "foreign"],
        "note": ["note", "foreign"],
        "sample": ["sample", "foreign", "-n", "4", "--out", str(tmp_path / "made")],
        "sample --best": ["sample", "foreign", "-n", "4", "--best", "--out", str(tmp_path / "best")],
        "score": ["score", "foreign", "-n", "16", "--json"],
        "export": [
            "export",
            "foreign",
            "mine",
            "--figure",
            "curves",
            "branches",
            "scores",
            "--out",
            str(tmp_path / "figures"),
            "--format",
            "svg",
        ],
        "fork": ["fork", "foreign", "--step", "20", "--set", "steps=21", "--name", "forked"],
        "pack": ["pack", "foreign", "--out", str(tmp_path / "foreign.zip")],
        "pause": ["pause", "foreign"],
        "rename": ["rename", "foreign", "foreigner"],
        "resume": ["resume", "foreigner"],
    }
    bad = []
    for said, command in commands.items():
        try:
            result = cli(*command)
        except BaseException as error:
            import traceback

            tb = traceback.extract_tb(error.__traceback__)[-1]
            bad.append(
                f"{said}: {type(error).__name__}: {str(error)[:100]} at {tb.filename.split('/')[-1]}:{tb.lineno}"
            )
            continue
        if result.err and not all(
            line.startswith(("mvm:", "warning:")) and len(line) < 1000 for line in result.err.splitlines()
        ):
            bad.append(f"{said}: {result.err[:300]}")
        if said == "runs --json" and "mine" not in [row["name"] for row in json.loads(result.out)]:
            bad.append("mine is not listed")
    assert not bad, "\n".join(bad)
