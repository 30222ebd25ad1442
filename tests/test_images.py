"""Image caches from every kind of source, with broken files in it, killed half-way, on a full disk."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import mvm.data.cache as images
from mvm.data.cache import image_caches, image_folder, open_cache, open_source, prepare, progress
from mvm.data.picture import decode
from mvm.data.sources import Folder, Parquet, Zip
from mvm.data.splits import find_partition, read_partition
from mvm.errors import ConfigError
from mvm.jobs.prepare import cache_path, preparations

SIZE = 16


def picture(seed: int = 0, *, width: int = 40, height: int = 50) -> Image.Image:
    """A smooth picture, so that JPEG changes it little."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(3 * x + seed + k) + np.cos(2 * y * (k + 1)) for k in range(3)]
    return Image.fromarray((np.stack(waves, -1) * 60 + 128).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def expected(image: Image.Image, size: int = SIZE) -> np.ndarray:
    """The centred square, resized: written out."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def assert_alike(got: np.ndarray, wanted: np.ndarray, within: float = 4) -> None:
    assert np.abs(got.astype(float) - wanted).mean() < within


def huge_png() -> bytes:
    """A PNG header that promises 100,000 x 100,000 pixels."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.jpg": (lambda: encoded(picture(width=200, height=200), quality=95)[:4000], "truncated or damaged"),
    "text.jpg": (lambda: b"this is no picture", "not a picture"),
    "empty.png": (lambda: b"", "not a picture"),
    "tiny.png": (lambda: encoded(picture(width=10, height=90), "PNG"), "10 x 90 pixels: smaller than 16"),
    "bomb.png": (huge_png, "100000 x 100000 pixels: larger than 64 megapixels"),
}
MODES = {
    "grey.jpg": lambda: encoded(picture().convert("L")),
    "cmyk.jpg": lambda: encoded(picture().convert("CMYK")),
    "palette.gif": lambda: encoded(picture().quantize(64), "GIF"),
    "alpha.png": lambda: encoded(picture().convert("RGBA"), "PNG"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of every mode, broken files among them, and things that are not meant."""
    root = tmp_path / "pictures"
    (root / "deeper").mkdir(parents=True)
    for i in range(5):
        (root / f"{i}.jpg").write_bytes(encoded(picture(i), quality=95))
    for name, (content, _) in BROKEN.items():
        (root / name).write_bytes(content())
    for name, content in MODES.items():
        (root / "deeper" / name).write_bytes(content())
    (root / "readme.txt").write_text("hello")
    (root / ".hidden.jpg").write_bytes(b"x")
    return root


# -- one picture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(40, 50), (50, 40), (33, 33), (400, 300), (1000, 1500)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_centre_crop_and_resize(width, height, kind):
    image = picture(width=width, height=height)
    got, mode = decode(encoded(image, kind, quality=95), SIZE)
    assert (got.shape, got.dtype, mode) == ((SIZE, SIZE, 3), np.uint8, "RGB")
    assert_alike(got, expected(image))


def test_a_reduced_decoding_keeps_twice_the_size():
    """A fine pattern averages to grey whichever way it is decoded: nothing is aliased."""
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    got, _ = decode(encoded(Image.fromarray(stripes), quality=95, subsampling=0), 32)
    assert np.abs(got.astype(float) - 127).max() < 12


def test_crop_takes_the_centred_pixels():
    image = Image.new("RGB", (60, 80), "red")
    image.paste((0, 0, 255), (20, 30, 40, 50))
    blue = np.broadcast_to(np.array([0, 0, 255]), (SIZE, SIZE, 3))
    assert np.array_equal(decode(encoded(image, "PNG"), SIZE, crop=20)[0], blue)
    with pytest.raises(ValueError, match="60 x 80 pixels: smaller than the crop of 61"):
        decode(encoded(image, "PNG"), SIZE, crop=61)


@pytest.mark.parametrize("name", MODES)
def test_other_modes_become_rgb(name):
    got, mode = decode(MODES[name](), SIZE)
    wanted = picture().convert("L").convert("RGB") if name == "grey.jpg" else picture()
    assert mode == {"grey.jpg": "L", "cmyk.jpg": "CMYK", "palette.gif": "P", "alpha.png": "RGBA"}[name]
    assert_alike(got, expected(wanted), within=9)


def test_sixteen_bits_and_transparency():
    grey = Image.fromarray(np.full((20, 20), 257 * 100, dtype=np.uint16))
    assert np.abs(decode(encoded(grey, "PNG"), SIZE)[0].astype(int) - 100).max() <= 1
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert decode(encoded(clear, "PNG"), SIZE)[0].min() == 255


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (40, 40), "black")
    image.paste("white", (0, 0, 40, 20))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    got, _ = decode(encoded(image, exif=exif), SIZE)
    assert got[:, : SIZE // 2 - 2].mean() < 20
    assert got[:, SIZE // 2 + 2 :].mean() > 235


def test_a_damaged_exif_block_costs_the_rotation_only():
    image = picture(3)
    got, _ = decode(encoded(image, quality=95, exif=b"Exif\0\0garbagegarbage"), SIZE)
    assert_alike(got, expected(image))


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_used_is_said(name):
    content, reason = BROKEN[name]
    with pytest.raises(ValueError, match=reason):
        decode(content(), SIZE)


# -- all of them -------------------------------------------------------------------------------------------------------


def test_a_folder_with_broken_files(folder, tmp_path):
    out, seen = image_folder() / "mine.npy", []
    made = prepare(Folder(folder), out, size=SIZE, processes=1, on_progress=lambda *p: seen.append(p))
    cached, sidecar = open_cache(out)
    assert sidecar == made
    assert cached.shape == (9, SIZE, SIZE, 3)
    assert np.array_equal(np.load(out), cached)
    assert made.splits == {"train": [0, 9]}
    reasons = {name: reason for name, (_, reason) in BROKEN.items()}
    reasons |= {"readme.txt": "not a picture", ".hidden.jpg": "hidden"}
    assert {name for name, _ in made.skipped} == set(reasons)
    assert all(reason.startswith(reasons[name]) for name, reason in made.skipped)
    assert made.reasons["not a picture"] == 3
    assert made.converted == {"L": 1, "CMYK": 1, "P": 1, "RGBA": 1}
    assert seen[-1] == (15, 15)
    for i in range(5):  # sorted: the folder's own files come before those in deeper/
        assert_alike(cached[i], expected(picture(i)))
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".")] == []
    assert list(image_caches()) == ["mine"]


def test_every_source_gives_the_same_cache(folder, tmp_path):
    made = {"folder": prepare(Folder(folder), tmp_path / "folder.npy", size=SIZE, processes=2)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in Folder(folder).list().names:
            archive.write(folder / name, name)
    made["zip"] = prepare(open_source(tmp_path / "a.zip"), tmp_path / "zip.npy", size=SIZE, processes=2)
    shards = tmp_path / "shards" / "data"
    shards.mkdir(parents=True)
    names = Zip(tmp_path / "a.zip").list().names
    for shard, own in enumerate((names[:6], names[6:])):
        rows = [{"bytes": (folder / name).read_bytes(), "path": name} for name in own]
        table = pyarrow.table({"label": list(range(len(rows))), "image": rows})
        parquet.write_table(table, shards / f"train-{shard:05d}.parquet", row_group_size=4)
    made["parquet"] = prepare(open_source(tmp_path / "shards"), tmp_path / "parquet.npy", size=SIZE, processes=1)
    assert isinstance(open_source(tmp_path / "shards"), Parquet)
    counts = {kind: sorted(Path(n).suffix for n, r in m.skipped if r != "hidden") for kind, m in made.items()}
    assert {m.count for m in made.values()} == {9}
    assert counts["folder"] == counts["zip"]
    as_set = [{row.tobytes() for row in np.load(tmp_path / f"{kind}.npy")} for kind in made]
    assert as_set[0] == as_set[1] == as_set[2]
    assert made["zip"].sha256 == made["parquet"].sha256


def test_lsun_from_lmdb(tmp_path):
    with (
        lmdb.open(str(tmp_path / "bedroom_lmdb"), map_size=2**24) as environment,
        environment.begin(write=True) as write,
    ):
        for i in range(3):
            write.put(f"{i}".encode(), encoded(picture(i), "WEBP", quality=95))
    made = prepare(open_source(tmp_path / "bedroom_lmdb"), tmp_path / "bedroom.npy", size=SIZE, processes=1)
    assert (made.count, made.kind) == (3, "lmdb")
    assert_alike(np.load(tmp_path / "bedroom.npy")[2], expected(picture(2)))


def test_celebas_official_split(tmp_path):
    root = tmp_path / "img_align_celeba"
    root.mkdir()
    split = {}
    for i in range(150):
        name = f"{i:06d}.jpg"
        (root / name).write_bytes(b"broken" if i == 7 else encoded(picture(i), quality=95))
        split[name] = 2 if i % 3 == 0 else 0
    lines = [f"{name} {number}" for name, number in split.items() if name != "000149.jpg"]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines))
    partition = find_partition(Folder(root))
    assert partition is not None
    assert partition[0] == str(tmp_path / "list_eval_partition.txt")
    made = prepare(Folder(root), tmp_path / "celeba.npy", size=SIZE, partition=partition, processes=1)
    assert made.splits == {"train": [0, 98], "test": [98, 148]}
    cached = np.load(tmp_path / "celeba.npy")
    kept = [i for i in range(149) if i != 7]
    order = [i for i in kept if i % 3] + [i for i in kept if not i % 3]
    for place in (0, 97, 98, 147):
        assert_alike(cached[place], expected(picture(order[place])))
    as_csv = tmp_path / "list.csv"
    as_csv.write_text("image_id,partition\n" + "\n".join(line.replace(" ", ",") for line in lines))
    again = prepare(Folder(root), tmp_path / "csv.npy", size=SIZE, partition=read_partition(as_csv), processes=1)
    assert again.sha256 == made.sha256


def killing(done: int) -> Callable[[int, int], None]:
    """End a preparation at this file."""

    def on_progress(now: int, _: int) -> None:
        if now == done:
            raise KeyboardInterrupt

    return on_progress


@pytest.mark.parametrize("killed_after", [3, 6])
def test_a_killed_preparing_goes_on(tmp_path, monkeypatch, killed_after):
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(10):
        (root / f"{i}.png").write_bytes(encoded(picture(i), "PNG") if i != 4 else b"broken")
    monkeypatch.setattr(images, "SAVE_EVERY", 0.0)
    whole = prepare(Folder(root), tmp_path / "whole.npy", size=SIZE, processes=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(Folder(root), tmp_path / "cut.npy", size=SIZE, processes=1, on_progress=killing(killed_after))
    assert not (tmp_path / "cut.npy").exists()
    with (tmp_path / ".cut.npy.part").open("ab") as file:
        file.write(b"half a picture")  # what a kill between the pixels and their note leaves
    seen = []
    resumed = prepare(
        Folder(root), tmp_path / "cut.npy", size=SIZE, processes=1, on_progress=lambda *p: seen.append(p[0])
    )
    assert seen[0] == killed_after, "the one after the last that was saved"
    assert (resumed.sha256, resumed.skipped, resumed.splits) == (whole.sha256, whole.skipped, whole.splits)


def test_another_size_does_not_go_on_from_it(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(images, "_save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        prepare(Folder(folder), tmp_path / "a.npy", size=SIZE, processes=1)
    monkeypatch.undo()
    assert prepare(Folder(folder), tmp_path / "a.npy", size=8, processes=1).size == 8


def test_another_split_does_not_go_on_from_it(tmp_path, monkeypatch):
    """CelebA's split keeps the order of the files: without this, pictures held out now would stay among train's."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(10):
        (root / f"{i}.png").write_bytes(encoded(picture(i), "PNG"))
    monkeypatch.setattr(images, "SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        prepare(Folder(root), tmp_path / "cut.npy", size=SIZE, processes=1, on_progress=killing(9))
    partition = tmp_path / "list_eval_partition.txt"
    partition.write_text("\n".join(f"{i}.png {0 if i < 5 else 2}" for i in range(10)))
    made = prepare(Folder(root), tmp_path / "cut.npy", size=SIZE, partition=read_partition(partition), processes=1)
    assert made.splits == {"train": [0, 5], "test": [5, 10]}


def test_sources_that_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(b"PK but no zip")
    with pytest.raises(ConfigError, match="no file or folder"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"a\.zip is no \(complete\) ZIP"):
        open_source(tmp_path / "a.zip")
    with pytest.raises(ConfigError, match="no picture in"):
        prepare(open_source(tmp_path / "empty"), tmp_path / "x.npy", size=SIZE)
    (tmp_path / "empty" / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(ConfigError, match=r"none of 1 files could be used; the first, bad\.jpg: not a picture"):
        prepare(open_source(tmp_path / "empty"), tmp_path / "x.npy", size=SIZE)
    with pytest.raises(ConfigError, match="size: pictures of 4 pixels"):
        prepare(open_source(tmp_path / "empty"), tmp_path / "x.npy", size=4)
    with pytest.raises(ConfigError, match="crop: 9 centred pixels"):
        prepare(open_source(tmp_path / "empty"), tmp_path / "x.npy", size=SIZE, crop=9)


def test_a_zip_with_a_damaged_and_a_climbing_member(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.png", encoded(picture(0), "PNG"))
        archive.writestr("damaged.png", encoded(picture(1), "PNG"))
    content = bytearray(path.read_bytes())
    at = content.rfind(b"IDAT") + 20
    content[at] ^= 0xFF
    path.write_bytes(content)
    made = prepare(open_source(path), tmp_path / "caches" / "a.npy", size=SIZE, processes=1)
    assert made.count == 1
    assert "CRC" in made.skipped[0][1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "caches"]  # nothing was extracted


def test_a_zip_with_a_broken_stream_and_one_with_a_broken_list(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(picture(0), "BMP").replace(b"BM", b"XX"))
        archive.writestr("b.png", encoded(picture(1), "PNG"))
    whole = path.read_bytes()
    start = whole.index(b"a.png") + len("a.png")
    path.write_bytes(whole[:start] + b"\x07" + whole[start + 1 :])  # a block of a kind that there is not
    made = prepare(open_source(path), tmp_path / "caches" / "a.npy", size=SIZE, processes=1)
    assert (made.count, [name for name, _ in made.skipped]) == (1, ["a.png"])
    assert "invalid block type" in made.skipped[0][1]
    listed = whole.rindex(b"PK\x01\x02")
    (tmp_path / "b.zip").write_bytes(whole[:listed] + b"XX" + whole[listed + 2 :])
    with pytest.raises(ConfigError, match=r"b\.zip is a damaged ZIP file"):
        prepare(open_source(tmp_path / "b.zip"), tmp_path / "caches" / "b.npy", size=SIZE, processes=1)


@pytest.mark.parametrize(("width", "height", "size"), [(1025, 768, 64), (1001, 800, 32), (768, 1025, 64)])
def test_a_jpeg_decoded_small_is_cropped_within_its_bounds(width, height, size):
    white = decode(encoded(Image.new("RGB", (width, height), "white")), size)[0]
    assert white.min() == 255


def test_a_name_is_made_of_the_folders(tmp_path, monkeypatch, checkpoints):
    (tmp_path / "My Pictures").mkdir()
    monkeypatch.chdir(tmp_path / "My Pictures")
    names = [cache_path("images", Path(path), SIZE, None).name for path in (".", "../My Pictures", "/")]
    assert names == ["My-Pictures-16.npy", "My-Pictures-16.npy", "pictures-16.npy"]


def test_caches_that_are_none(tmp_path, folder):
    path = tmp_path / "a.npy"
    with pytest.raises(ConfigError, match=r"a\.npy is no image cache"):
        open_cache(path)
    prepare(Folder(folder), path, size=SIZE, processes=1)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(sidecar | {"schema_version": 9}))
    with pytest.raises(ConfigError, match="prepared by a newer program"):
        open_cache(path)
    path.with_suffix(".json").write_text(json.dumps(sidecar | {"count": 3}))
    with pytest.raises(ConfigError, match="its sidecar says otherwise"):
        open_cache(path)
    os.truncate(path, 200)
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(ConfigError, match=r"a\.npy is no image cache"):
        open_cache(path)


@pytest.mark.parametrize("content", ["[]", "7", "[" * 5000, '{"count": NaN}', '{"source": "\\ud800"}', "folder"])
def test_a_sidecar_that_someone_else_wrote_is_refused(tmp_path, checkpoints, content):
    path = checkpoints / ".images" / "mine.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.zeros((1, SIZE, SIZE, 3), np.uint8))
    for file in (path.with_suffix(".json"), path.with_name(".mine.npy.part.json"), path.with_name(".x.prepare.json")):
        file.mkdir() if content == "folder" else file.write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.npy is no image cache") as refused:
        open_cache(path)
    assert len(str(refused.value).splitlines()) == 1
    assert progress(path) is None
    assert preparations() == []


def test_the_command(cli, folder, checkpoints, tmp_path):
    done = cli("prepare", "images", str(folder), "--size", "16", "--processes", "1")
    assert done.status == 0
    cache = checkpoints / ".images" / "pictures-16.npy"
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{cache}: 9 pictures of 16 x 16 (train 9) in ")
    assert set(lines[1].removeprefix("converted to RGB: ").split(", ")) == {"1 L", "1 CMYK", "1 P", "1 RGBA"}
    assert lines[2] == (
        "it cannot be trained on: it has 9 pictures, 9 to train on and 0 held out; at least 32 of each are needed"
    )
    assert lines[3].startswith("skipped 7: 3 not a picture")
    assert "no list_eval_partition.txt" in cli("prepare", "celeba", str(folder), "--size", "16", "--name", "c").out
    again = cli("prepare", "images", str(folder), "--size", "16")
    assert (again.status, again.err) == (
        2,
        f"mvm: name: {cache} exists; give another --name, or remove it and its .json\n",
    )
    for arguments, words in (
        (["lsun", str(folder)], "is no LMDB export of LSUN"),
        (["celeba", str(tmp_path / "nowhere")], "no file or folder"),
        (["images", str(folder), "--name", "a/b"], "cannot name pictures"),
        (["images", str(folder), "--name", "faces"], "'faces' names a toy data set"),
        (["images", str(folder), "--name", "circle"], "'circle' names a toy data set"),
        (["images", str(folder), "--name", "a.csv"], "or a file of points already"),
        (
            ["images", str(folder), "--size", "20"],
            "size: pictures of 20 pixels; give 16, or another power of two from 8",
        ),
        (["images", str(folder), "--size", "64", "--crop", "40"], "give size 32 or a crop of 64 or more"),
    ):
        bad = cli("prepare", *arguments)
        assert bad.status == 2
        assert words in bad.err
        assert bad.err.count("\n") == 1
