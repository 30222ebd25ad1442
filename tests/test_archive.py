"""A run as one ZIP: what comes back is what went in, and a ZIP that is not to be trusted leaves nothing behind."""

import errno
import io
import json
import math
import re
import shutil
import stat
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from trainers import small_config, until, write_cloud

from mvm.__main__ import main
from mvm.errors import RunError
from mvm.files import append_line
from mvm.runs.archive import pack, unpack
from mvm.runs.run import Run

TRACES = {"lock", "control.json", "control.lock", "trainer.log", "live.safetensors"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A trained run on a person's own points with a note and a UMAP frame, and the ZIP of it."""
    folder = tmp_path_factory.mktemp("packed")
    cloud = write_cloud(folder / "cloud.csv")
    run = Run.create(small_config(cloud, steps=40, checkpoints=2), path=folder / "ring")
    assert main(["train", "--run", str(run.path)]) == 0
    (run.path / "note.txt").write_text("for Ada")
    (run.path / "frames").mkdir()
    np.save(run.path / "frames" / "00000040.npy", np.zeros((2, 32, 2), dtype=np.float32))
    (run.path / "trainer.log").write_text("private")
    cloud.unlink()
    assert main(["pack", str(run.path), "--out", str(folder / "ring.zip")]) == 0
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewritten(source, out, *, change=None, drop=(), add=()):
    """A copy of a ZIP: `change` maps a member's name to other bytes, `add` is of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename not in drop:
                new.writestr(info, (change or {}).get(info.filename, old.read(info)))
        for name, content in add:
            new.writestr(name, content)
    return out


# -- there and back ----------------------------------------------------------------------------------------------------


def test_what_comes_back_is_what_went_in(cli, packed, checkpoints, tmp_path):
    result = cli("unpack", str(packed / "ring.zip"))
    assert (result.status, result.err) == (0, "")
    assert result.out == f"ring: finished at step 40 of 40, in {checkpoints / 'ring'}\n"
    there, back = contents(packed / "ring"), contents(checkpoints / "ring")
    assert back == {name: content for name, content in there.items() if name not in TRACES}
    assert {"note.txt", "data.npy", "frames/00000040.npy", "checkpoints/00000020.safetensors"} <= set(back)
    assert {path.name for path in checkpoints.iterdir()} == {"ring"}
    for name, run in (("there", packed / "ring"), ("back", "ring")):
        assert cli("sample", str(run), "-n", "20", "--out", str(tmp_path / f"{name}.npy")).status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), np.load(tmp_path / "back.npy"))


def test_the_same_run_gives_the_same_bytes(cli, packed, tmp_path):
    result = cli("pack", str(packed / "ring"), "--out", str(tmp_path / "deep" / "again.zip"))
    written = (tmp_path / "deep" / "again.zip").read_bytes()
    assert written == (packed / "ring.zip").read_bytes()
    assert result.out.endswith(f" files, {len(written):,} bytes\n")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["again.zip"]


def test_a_full_disk_is_said_of_the_zip(packed, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.open", full)
    with pytest.raises(OSError) as caught:
        pack(Run(packed / "ring"), tmp_path / "x.zip")
    assert caught.value.filename == str(tmp_path / "x.zip")
    assert not list(tmp_path.iterdir())


def test_a_light_one_can_be_sampled_and_is_smaller(cli, packed, checkpoints, tmp_path):
    light = tmp_path / "light.zip"
    assert cli("pack", str(packed / "ring"), "--out", str(light), "--light").status == 0
    assert light.stat().st_size < 0.7 * (packed / "ring.zip").stat().st_size
    assert cli("unpack", str(light), "--name", "b").status == 0
    run = Run(checkpoints / "b")
    assert (run.snapshot_steps(), run.checkpoint_steps(), run.status().state) == ([], [], "finished")
    assert not (run.path / "frames").exists()
    assert cli("score", "b", "--json").status == 0


def test_a_run_packed_while_it_trains_goes_on_to_the_same_end(cli, mvm, make, checkpoints, tmp_path):
    run = make("a", steps=60, checkpoints=6)
    run.ask(pause_at=30)
    trainer = mvm("train", "--run", str(run.path))
    until(lambda: run.status().state == "paused")
    assert cli("pack", "a", "--out", str(tmp_path / "a.zip")).status == 0
    run.ask(pause_at=None)
    assert trainer.wait() == 0
    assert cli("unpack", str(tmp_path / "a.zip"), "--name", "b").out.startswith("b: interrupted at step 30 of 60")
    assert cli("resume", "b").status == 0
    for name, content in contents(run.path).items():
        if name.endswith(".safetensors") and "live" not in name:
            assert (checkpoints / "b" / name).read_bytes() == content, name


def test_the_files_may_lie_at_the_top_and_folders_may_be_listed(packed, checkpoints, tmp_path):
    flat = tmp_path / "flat.zip"
    with zipfile.ZipFile(packed / "ring.zip") as old, zipfile.ZipFile(flat, "w") as new:
        new.mkdir("snapshots")
        for info in old.infolist():
            new.writestr(info.filename.removeprefix("ring/"), old.read(info))
    assert unpack(flat).name == "flat"
    with flat.open("rb") as file:
        assert unpack(io.BytesIO(file.read()), name="c").status().state == "finished"
    assert contents(checkpoints / "flat") == contents(checkpoints / "c")


def test_progress_ends_at_the_whole(packed):
    seen = []
    unpack(packed / "ring.zip", on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(len(content) for content in contents(Run.named("ring").path).values())
    assert seen == sorted(seen)


# -- what is refused ---------------------------------------------------------------------------------------------------


def linked(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}] * 100, dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros((100, 2)))
    return buffer.getvalue()


def config(packed, **values):
    return json.dumps(json.loads((packed / "ring" / "config.json").read_text()) | values).encode()


def scores(packed, **values):
    return json.dumps([row | values for row in json.loads((packed / "ring" / "scores.json").read_text())]).encode()


def only(line):
    """A run with one record, and what is said of it."""
    return lambda packed: {"change": {"ring/scalars.jsonl": line + b"\n"}}, "line 1 is no record of 2 networks"


def records(packed, line):
    return (packed / "ring" / "scalars.jsonl").read_bytes() + line + b"\n"


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def of_more_networks(packed):
    arrays = load_file(packed / "ring" / "snapshots" / "00000040.safetensors")
    return save({name: np.concatenate([a, a[:1]]) if a.ndim > 2 else a for name, a in arrays.items()})


def cut(packed, name, share=0.5):
    content = (packed / "ring" / name).read_bytes()
    return content[: int(len(content) * share)]


BAD = {
    "climbs out": (lambda p: {"add": [("../x", b"")]}, r"has member '\.\./x', which is no file of a run"),
    "climbs out of the folder": (lambda p: {"add": [("ring/../../x", b"")]}, r"'ring/\.\./\.\./x', which is no"),
    "absolute": (lambda p: {"add": [("/etc/x", b"")]}, "'/etc/x', which is no file"),
    "backslash": (lambda p: {"add": [("ring\\snapshots\\00000001.safetensors", b"")]}, "which is no file"),
    "other folder": (lambda p: {"add": [("other/note.txt", b"")]}, "'other/note.txt', which is no file"),
    "two configs": (lambda p: {"add": [("config.json", b"{}")]}, "'config.json', which is no file"),
    "unknown file": (lambda p: {"add": [("ring/run.py", b"")]}, "'ring/run.py', which is no file"),
    "deeper file": (lambda p: {"add": [("ring/frames/deep/00000001.npy", b"")]}, "which is no file"),
    "other digits": (lambda p: {"add": [("ring/frames/0000000\u0661.npy", b"")]}, "which is no file"),
    "escape codes": (lambda p: {"add": [("ring/\x1b[2J", b"")]}, r"'ring/\\x1b\[2J', which is no file"),
    "duplicate": (lambda p: {"add": [("ring/note.txt", b"again")]}, "'ring/note.txt' twice"),
    "link": (lambda p: {"drop": ["ring/note.txt"], "add": [linked("ring/note.txt", "/etc/passwd")]}, "is a link"),
    "no config": (lambda p: {"drop": ["ring/config.json"]}, "no config.json in it: it is no packed run"),
    "no points": (lambda p: {"drop": ["ring/data.npy"]}, "has no data.npy"),
    "bomb": (lambda p: {"change": {"ring/data.npy": bytes(8 * 2**20)}, "deflate": True}, "would grow from [0-9,]+ to"),
    "huge config": (lambda p: {"change": {"ring/config.json": bytes(2 * 2**20)}}, "of 2,097,152 bytes; at most"),
    "pickled array": (lambda p: {"change": {"ring/data.npy": pickled()}}, "damaged data.npy: .*Python objects"),
    "npz as array": (lambda p: {"change": {"ring/data.npy": npz()}}, "damaged data.npy: .*magic"),
    "cut array": (lambda p: {"change": {"ring/data.npy": cut(p, "data.npy")}}, "damaged data.npy"),
    "array of another shape": (
        lambda p: {"change": {"ring/data.npy": (p / "ring" / "frames" / "00000040.npy").read_bytes()}},
        r"damaged data.npy: float32 of shape \(2, 32, 2\)",
    ),
    "cut tensors": (
        lambda p: {"change": {"ring/checkpoint.safetensors": cut(p, "checkpoint.safetensors")}},
        "damaged checkpoint.safetensors: ",
    ),
    "no tensors": (
        lambda p: {"change": {"ring/snapshots/00000040.safetensors": b"\xff" * 100}},
        "damaged snapshots/00000040.safetensors: ",
    ),
    "newer schema": (lambda p: {"change": {"ring/config.json": config(p, schema_version=99)}}, "has schema 99, this"),
    "foreign config": (lambda p: {"change": {"ring/config.json": config(p, speed=3)}}, "unknown setting 'speed'"),
    "cut config": (lambda p: {"change": {"ring/config.json": cut(p, "config.json")}}, "damaged config.json"),
    "deep config": (lambda p: {"change": {"ring/config.json": b"[" * 10**6}}, "damaged config.json: .*recursion"),
    "record without step": (
        lambda p: {"change": {"ring/scalars.jsonl": records(p, b'{"event":"finished"}')}},
        "damaged scalars.jsonl: line [0-9]+ is no record of 2 networks",
    ),
    "record that is a number": only(b"7"),
    "record of more networks": only(b'{"step":1,"seconds":1,"d_c":[1,2,3]}'),
    "event without its parts": only(b'{"step":1,"event":"weights"}'),
    "fork without its parts": (
        lambda p: {"add": [("ring/fork.json", b'{"run":"a","changes":{}}')]},
        "damaged fork.json",
    ),
    "fork event without its parts": only(b'{"step":1,"event":"forked","changes":{}}'),
    "scores of another run": (lambda p: {"change": {"ring/scores.json": b"[{}]"}}, "1 rows of scores, not 2"),
    "scores that are words": (
        lambda p: {"change": {"ring/scores.json": scores(p, w2_ratio="x")}},
        "0.w2_ratio: must be a number",
    ),
    "scores without a step": (lambda p: {"change": {"ring/scores.json": scores(p, step=None)}}, "scores without step"),
    "endless scores": (
        lambda p: {"change": {"ring/scores.json": scores(p, w2_ratio=math.inf)}},
        "Infinity is no number",
    ),
    "quick scores that are words": only(b'{"step":1,"scores":[{"w2_ratio":"x"},{}]}'),
    "event at the end of time": only(b'{"step":1,"event":"started","time":Infinity}'),
    "event with a list": only(b'{"step":1,"event":"started","time":1,"device":["CPU"]}'),
    "record of words": only(b'{"step":1,"seconds":1,"d_c":["1",2],"d_g":[1,2]}'),
    "record of another time": only(b'{"step":4611686018427387904,"seconds":1}'),
    "member that there is not": only(
        b'{"step":1,"event":"member","member":2,"variant":"a","seed":0,"what":"diverged"}'
    ),
    "record that is half a character": only(b'{"step":1,"event":"failed","time":1,"reason":"\\ud800"}'),
    "snapshot of more networks": (
        lambda p: {"change": {"ring/snapshots/00000040.safetensors": of_more_networks(p)}},
        r"damaged snapshots/00000040.safetensors: .* shape \(3, ",
    ),
    "frame of more networks": (
        lambda p: {"change": {"ring/frames/00000040.npy": npy(np.zeros((3, 32, 2), np.float32))}},
        r"damaged frames/00000040.npy: it is float32 of shape \(3, 32, 2\)",
    ),
    "note in another code": (lambda p: {"change": {"ring/note.txt": b"\xff\xfe"}}, "damaged note.txt"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_run_is_refused_by_one_line_and_leaves_nothing(cli, packed, checkpoints, tmp_path, bad):
    how, line = BAD[bad]
    options = how(packed)
    if options.pop("deflate", False):
        options["add"] = [(name, options["change"][name]) for name in options["change"]]
        options["drop"] = list(options.pop("change"))
    if bad == "duplicate":
        with pytest.warns(UserWarning, match="Duplicate"):
            source = rewritten(packed / "ring.zip", tmp_path / "bad.zip", **options)
    else:
        source = rewritten(packed / "ring.zip", tmp_path / "bad.zip", **options)
    refused(cli, source, line, checkpoints)
    assert not (tmp_path.parent / "x").exists()


def refused(cli, source, line, checkpoints, *options):
    result = cli("unpack", str(source), *options)
    assert result.status == 2
    assert re.fullmatch(rf"mvm: .*{line}.*\n", result.err), result.err
    assert result.out == ""
    assert list(checkpoints.glob("*")) == []


def with_declared(source, out, member, *, size=None, flags=None, method=None):
    """A copy of a ZIP in which a member's headers, both of them, say something else."""
    with zipfile.ZipFile(source) as archive:
        info, start = archive.getinfo(member), archive.start_dir
    data = bytearray(source.read_bytes())
    central = data.index(b"PK\x01\x02", start)
    while data[central + 46 : central + 46 + len(member)] != member.encode():
        central = data.index(b"PK\x01\x02", central + 4)
    for at, places in ((info.header_offset, (6, 8, 22)), (central, (8, 10, 24))):
        if flags is not None:
            struct.pack_into("<H", data, at + places[0], flags)
        if method is not None:
            struct.pack_into("<H", data, at + places[1], method)
        if size is not None:
            struct.pack_into("<I", data, at + places[2], size)
    out.write_bytes(data)
    return out


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ({"member": "ring/data.npy", "size": 4 * 2**30 - 1}, "(would grow|declares)"),
        ({"member": "ring/scalars.jsonl", "size": 257 * 2**20}, "of 269,484,032 bytes; at most 268,435,456 are taken"),
        ({"member": "ring/note.txt", "size": 8}, "declares 8 bytes for 'ring/note.txt', which has other 7"),
        ({"member": "ring/note.txt", "size": 5}, "Bad CRC-32 for file 'ring/note.txt'"),
        ({"member": "ring/note.txt", "flags": 1}, "'ring/note.txt', which is encrypted"),
        ({"member": "ring/note.txt", "method": 14}, "compressed in an unusual way"),
    ],
)
def test_headers_that_lie_are_refused(cli, packed, checkpoints, tmp_path, declared, line):
    refused(cli, with_declared(packed / "ring.zip", tmp_path / "bad.zip", **declared), line, checkpoints)


def test_more_than_a_run_can_be_is_refused(cli, packed, checkpoints, tmp_path, monkeypatch):
    source = packed / "ring.zip"
    with monkeypatch.context() as smaller:
        smaller.setattr("mvm.runs.archive.MOST_MEMBERS", 5)
        refused(cli, source, "has [0-9]+ members; a run has at most 5", checkpoints)
    with monkeypatch.context() as smaller:
        smaller.setattr("mvm.runs.archive.MOST_BYTES", 10_000)
        refused(cli, source, "bytes unpacked; at most 10,000 are taken", checkpoints)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    refused(cli, source, "bytes are needed in .*, 1,000 are free; make room", checkpoints)


def test_what_would_be_refused_is_not_packed(cli, make, tmp_path, monkeypatch):
    run = make("a")
    with (run.path / "scalars.jsonl").open("ab") as file:
        file.truncate(257 * 2**20)  # sparse: no disk, no time
    result = cli("pack", "a", "--out", str(tmp_path / "a.zip"))
    assert result.status == 2
    assert "scalars.jsonl is 269,484,032 bytes, unpack takes 268,435,456; copy the run's folder" in result.err
    monkeypatch.setattr("mvm.runs.archive.MOST_MEMBERS", 1)
    assert "files; a ZIP of a run may have 1" in cli("pack", "a", "--out", str(tmp_path / "a.zip")).err
    assert not list(tmp_path.glob("*.zip*"))


def test_what_is_no_whole_zip_is_refused(cli, packed, checkpoints, tmp_path):
    whole = (packed / "ring.zip").read_bytes()
    for name, content in {"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        refused(cli, tmp_path / f"{name}.zip", f"{name}.zip is not a ZIP, or a part of one; get it again", checkpoints)
    refused(cli, tmp_path / "none.zip", "no file .*none.zip", checkpoints)
    turned = bytearray(whole)
    with zipfile.ZipFile(packed / "ring.zip") as archive:
        turned[archive.getinfo("ring/checkpoint.safetensors").header_offset + 5000] ^= 1  # one bit of a weight
    (tmp_path / "turned.zip").write_bytes(turned)
    refused(cli, tmp_path / "turned.zip", "turned.zip is damaged: Bad CRC-32 .*; get it again", checkpoints)


def test_a_name_that_is_taken_or_none_is_refused(cli, packed, checkpoints, make):
    for bad in ("../x", "a/b", ".hidden", ".."):
        refused(
            cli,
            packed / "ring.zip",
            f"name: {re.escape(repr(bad))} cannot name a run.*--name",
            checkpoints,
            "--name",
            bad,
        )
    mine = contents(make("ring").path)
    result = cli("unpack", str(packed / "ring.zip"))
    assert result.status == 2
    assert result.err == f"mvm: run: 'ring' exists in {checkpoints}; give another --name\n"
    assert contents(checkpoints / "ring") == mine
    assert cli("unpack", str(packed / "ring.zip"), "--name", "ring2").status == 0
    assert {path.name for path in checkpoints.iterdir()} == {"ring", "ring2"}


def test_a_run_that_someone_else_makes_meanwhile_is_kept(packed, checkpoints, make):
    def meanwhile(done, total):
        if not (checkpoints / "ring").exists():
            make("ring")

    with pytest.raises(RunError, match="'ring' exists"):
        unpack(packed / "ring.zip", on_progress=meanwhile)
    assert Run.named("ring").status().state == "new"
    assert {path.name for path in checkpoints.iterdir()} == {"ring"}


def test_it_packs_into_a_zip_only(cli, make, tmp_path):
    make("a")
    for out in (tmp_path / "a.tar", tmp_path):
        result = cli("pack", "a", "--out", str(out))
        assert (result.status, result.err) == (2, f"mvm: out: {out} must be a file that ends in .zip\n")
    (tmp_path / "file").write_text("mine")
    assert cli("pack", "a", "--out", str(tmp_path / "file" / "a.zip")).status == 1
    assert cli("pack", "none", "--out", str(tmp_path / "a.zip")).status == 2
    assert not list(tmp_path.glob("*.zip*"))


def test_a_run_that_is_not_trained_yet_comes_back_too(cli, make, checkpoints, tmp_path):
    run = make("a")
    append_line(run.path / "scalars.jsonl", {"step": 0, "event": "launched", "time": 1.0})
    with (run.path / "scalars.jsonl").open("ab") as file:
        file.write(b'{"step":0,"ev')  # a killed trainer's last line
    assert cli("pack", "a", "--out", str(tmp_path / "a.zip")).status == 0
    assert cli("unpack", str(tmp_path / "a.zip"), "--name", "b").out.startswith("b: interrupted at step 0 of 100")
    assert contents(checkpoints / "b") == contents(run.path)
