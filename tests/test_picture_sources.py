"""Collections of pictures as people have them: folders, ZIPs, Parquet, LMDB, arrays, and CelebA as it is published."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import mvm.data.cache as cache
from mvm.data import sources
from mvm.data.arrays import Arrays
from mvm.data.cache import Prepared, open_cache, open_source, prepare
from mvm.data.images import load_images
from mvm.data.kind import DataSettings
from mvm.data.sources import Folder, Lmdb, Parquet, split_of
from mvm.data.splits import find_partition, read_partition
from mvm.errors import ConfigError
from mvm.jobs.prepare import launch
from mvm.words import printable

SIZE = 8


def value_picture(value: int, side: int = 12) -> Image.Image:
    """A picture of one grey value, so that it is known again in a cache."""
    return Image.new("RGB", (side, side), (value, value, value))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def made_from(path: Path, out: Path, **options) -> tuple[Prepared, list[int]]:
    """Prepare a source in this process: the sidecar, and the value of each picture in the order of the cache."""
    prepared = prepare(open_source(path), out, size=SIZE, processes=1, **options)
    return prepared, [round(image.mean()) for image in np.load(out)]


# -- folders and ZIPs --------------------------------------------------------------------------------------------------

ODD_NAMES = {  # picture files under names that tell nothing, or something else
    "a.jfif": "JPEG", "b.avif": "AVIF", "c.pgm": "PPM", "d": "JPEG", "e.JPG.download": "PNG", "f.txt": "GIF",
    "g.jpg": "WEBP", "h.jp2": "JPEG2000", "i.qoi": "QOI", "j.png": "BMP", "k.dat": "TIFF",
}  # fmt: skip
OTHERS = {  # files that are none, with the reason
    "Thumbs.db": (b"\xd0\xcf\x11\xe0", "not a picture"),
    "labels.csv": (b"name,label\n", "not a picture"),
    "film.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0", "not a picture"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "more.zip": (b"PK\3\4", "a ZIP in the source"),
    "drawing.svg": (b"<svg ", "SVG"),
    "table.npy": (b"\x93NUMPY\1\0", "an array"),
}


def odd_files() -> dict[str, bytes]:
    pictures = {name: encoded(value_picture(10 * i + 40), kind) for i, (name, kind) in enumerate(ODD_NAMES.items(), 1)}
    return pictures | {name: content for name, (content, _) in OTHERS.items()}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_pictures_are_known_by_content_and_all_others_are_listed(tmp_path, kind):
    files = odd_files() | {".DS_Store": b"x", "__MACOSX/._a.jpg": b"x"}
    source = tmp_path / "source"
    if kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        (source / "__MACOSX").mkdir(parents=True)
        for name, content in files.items():
            (source / name).write_bytes(content)
    made, values = made_from(source, tmp_path / "out.npy")
    wanted = [10 * i + 40 for i in range(1, len(ODD_NAMES) + 1)]
    assert np.abs(np.array(values) - wanted).max() <= 2  # sorted by name; JPEG and AVIF change a little
    reasons = dict(made.skipped)
    assert all(reasons[name].startswith(reason) for name, (_, reason) in OTHERS.items())
    assert {name for name, reason in reasons.items() if reason == "hidden"} >= {".DS_Store"}
    assert len(made.skipped) == len(OTHERS) + 2
    assert made.reasons["not a picture"] == 3


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "own").mkdir(parents=True)
    (elsewhere / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes(encoded(value_picture(50)))
    (elsewhere / "b.png").write_bytes(encoded(value_picture(100)))
    (elsewhere / "deep" / "c.png").write_bytes(encoded(value_picture(150)))
    (root / "linked").symlink_to(elsewhere)
    (root / "own" / "file.png").symlink_to(elsewhere / "b.png")
    (elsewhere / "deep" / "up").symlink_to(root)
    (root / "own" / "self").symlink_to(root / "own")
    (root / "gone.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "pipe.png")
    made, values = made_from(root, tmp_path / "out.npy")
    assert sorted(values) == [50, 100, 100, 150]
    assert dict(made.skipped) == {
        "linked/deep/up": "a folder seen already",
        "own/self": "a folder seen already",
        "gone.png": "No such file or directory",
        "pipe.png": "no regular file",
    }


def test_names_that_are_not_utf8_are_shown_with_a_replacement(tmp_path, cli, checkpoints):
    root = tmp_path / "cafe"
    root.mkdir()
    for i, name in enumerate([b"\xe9t\xe9.png", b"na\xefve", b"plain.png"]):
        (root / os.fsdecode(name)).write_bytes(encoded(value_picture(50 * i + 50)))
    (root / os.fsdecode(b"\xfcble.txt")).write_bytes(b"text")
    done = cli("prepare", "images", str(root), "--size", "8", "--processes", "1", "--name", "mine")
    assert done.status == 0, done.err
    sidecar = (checkpoints / ".images" / "mine.json").read_text(encoding="utf-8")
    made = json.loads(sidecar)
    assert (made["count"], made["skipped"]) == (3, [["\ufffdble.txt", "not a picture"]])
    assert json.dumps(made, ensure_ascii=False).encode()
    refused = cli("prepare", "images", str(tmp_path / os.fsdecode(b"caf\xe9")), "--size", "8")
    assert refused.status == 2
    assert refused.err.endswith("the name is not in UTF-8; rename the file or folder\n")
    assert printable("na\udcefve \u03b1") == "na\ufffdve \u03b1"


def test_a_zip_with_names_of_another_encoding(tmp_path):
    """Old programs write names in a code page; a name that claims to be UTF-8 and is not refuses the archive."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cafe1.png", encoded(value_picture(90)))
        archive.writestr("cafe2.png", encoded(value_picture(190)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"cafe1", b"caf\xe9\xe1"))
    assert made_from(path, tmp_path / "out.npy")[1] in ([90, 190], [190, 90])
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("é1.png", encoded(value_picture(90)))
    damaged = (tmp_path / "b.zip").read_bytes().replace("é1".encode(), b"\xff\xff1")
    (tmp_path / "b.zip").write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"b\.zip is a damaged ZIP file"):
        made_from(tmp_path / "b.zip", tmp_path / "b.npy")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to decode frame 0"),
        SystemError("x"),
        KeyError("y"),
        RecursionError("deep"),
        struct.error("short"),
        MemoryError(),
        AssertionError(),
    ],
)
def test_whatever_one_picture_raises_costs_this_picture(tmp_path, monkeypatch, error):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encoded(value_picture(50 * i + 50)))
    real = Image.open

    def opened(file, **options):
        if file.getvalue() == (tmp_path / "2.png").read_bytes():
            raise error
        return real(file, **options)

    monkeypatch.setattr(Image, "open", opened)
    made, values = made_from(tmp_path, tmp_path.parent / f"{tmp_path.name}.npy")
    assert values == [50, 100, 200]
    assert [name for name, _ in made.skipped] == ["2.png"]
    assert "\n" not in made.skipped[0][1]
    assert made.skipped[0][1]


def test_a_file_that_cannot_be_read_is_skipped_but_a_source_that_is_gone_ends_it(tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(value_picture(50 * i + 50)))
    real = Folder.read

    def read(source: Folder, name: str) -> bytes:
        if name == "1.png":
            raise OSError(errno.EIO, "Input/output error", name)
        return real(source, name)

    monkeypatch.setattr(Folder, "read", read)
    made, values = made_from(tmp_path, tmp_path.parent / f"{tmp_path.name}.npy")
    assert (values, made.skipped) == ([50, 150], [["1.png", "Input/output error"]])
    monkeypatch.setattr(Folder, "read", lambda *_: (_ for _ in ()).throw(FileNotFoundError(2, "gone")))
    source = Folder(tmp_path / "unplugged")
    monkeypatch.setattr(Folder, "list", lambda _: sources.Listing(["a.png", "b.png"]))
    with pytest.raises(ConfigError, match="unplugged is gone; bring it back"):
        prepare(source, tmp_path / "out.npy", size=SIZE, processes=1)


def test_a_member_of_a_zip_may_be_no_longer_than_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_BYTES", 5000)
    path = tmp_path / "a.zip"
    bomb = encoded(value_picture(9)) + bytes(3_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(value_picture(90)))
        archive.writestr("bomb.png", bomb)
        archive.writestr("notes.txt", bytes(3_000_000))  # not a picture: not read beyond its first bytes
    made, values = made_from(path, tmp_path / "out.npy")
    assert values == [90]
    assert dict(made.skipped) == {"bomb.png": "file larger than 0 MiB", "notes.txt": "not a picture"}
    content = path.read_bytes().replace(struct.pack("<I", len(bomb)), struct.pack("<I", 500))  # a length that lies
    path.write_bytes(content)
    assert made_from(path, tmp_path / "lie.npy")[1] == [90]


def test_a_value_of_a_database_may_be_no_longer_than_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_BYTES", 5000)
    rows = [encoded(value_picture(90)), encoded(value_picture(9)) + bytes(100_000), encoded(value_picture(190))]
    with lmdb.open(str(tmp_path / "lmdb"), map_size=2**24) as environment, environment.begin(write=True) as write:
        for i, row in enumerate(rows):
            write.put(f"{i}".encode(), row)
    parquet.write_table(pyarrow.table({"image": rows}), tmp_path / "a.parquet")
    for kind, path in ((Lmdb, tmp_path / "lmdb"), (Parquet, tmp_path / "a.parquet")):
        assert isinstance(open_source(path), kind)
        made, values = made_from(path, tmp_path / f"{kind.__name__}.npy")
        assert values == [90, 190]
        assert made.reasons == {"file larger than 0 MiB": 1}


def test_a_row_group_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    rows = [encoded(value_picture(50 * i + 40)) for i in range(4)]
    parquet.write_table(pyarrow.table({"image": rows[:2]}), tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"image": [rows[2], bytes(2**20)]}), tmp_path / "b.parquet")
    monkeypatch.setattr(sources, "MOST_GROUP", 2**19)
    made, values = made_from(tmp_path, tmp_path.parent / f"{tmp_path.name}.npy")
    assert values == [40, 90]
    assert made.reasons == {"row group of 1 MiB": 2}


# -- CelebA as it is published -----------------------------------------------------------------------------------------

NAMES = [f"{number:06d}" for number in range(1, 13)]
SPLIT = [0, 2, 0, 1, 0, 0, 1, 2, 0, 2, 0, 0]
VALUES = [20 * i + 10 for i in range(12)]
ORDERED = [value for split in range(3) for value, own in zip(VALUES, SPLIT, strict=True) if own == split]
RANGES = {"train": [0, 7], "valid": [7, 9], "test": [9, 12]}
LIST = "".join(f"{name}.jpg {split}\n" for name, split in zip(NAMES, SPLIT, strict=True))
CSV = "image_id,partition\n" + LIST.replace(" ", ",")


def write_pictures(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True)
    for name, value in zip(NAMES, VALUES, strict=True):
        (folder / f"{name}.{kind.lower()}").write_bytes(encoded(value_picture(value), kind))


LISTS: dict[str, tuple[str, bytes]] = {
    "text": ("list_eval_partition.txt", LIST.encode()),
    "tabs and blanks": ("list_eval_partition.txt", LIST.replace(" ", "  \t").replace("\n", "\r\n").encode()),
    "csv": ("list_eval_partition.csv", CSV.encode()),
    "csv with a mark": ("list_eval_partition.csv", codecs.BOM_UTF8 + CSV.encode()),
    "utf-16": ("list_eval_partition.csv", CSV.encode("utf-16")),
    "semicolons and quotes": ("list_eval_partition.csv", CSV.replace(",", '";"').replace("\n", '"\n"').encode()),
    "without endings": ("list_eval_partition.txt", LIST.replace(".jpg", "").encode()),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("form", LISTS)
def test_celebas_list_holds_for_every_form_of_it_and_of_the_pictures(tmp_path, form, kind):
    folder = tmp_path / "celeba" / "img_align_celeba"
    write_pictures(folder, kind)
    name, content = LISTS[form]
    (tmp_path / "celeba" / name).write_bytes(content)
    made, values = made_from(folder, tmp_path / "out.npy", partition=find_partition(Folder(folder)))
    assert made.splits == RANGES
    assert np.abs(np.array(values) - ORDERED).max() <= 2


@pytest.mark.parametrize(
    ("pictures", "listed", "source"),
    [
        ("c/Img/x/img_align_celeba_png", "c/Eval/list_eval_partition.txt", "c/Img/x/img_align_celeba_png"),
        ("c/Img/img_align_celeba", "c/list_eval_partition.txt", "c/Img/img_align_celeba"),
        ("c/img_align_celeba", "c/list_eval_partition.txt", "c"),
        ("c/img", "c/Eval/list_eval_partition.txt", "c"),
    ],
)
def test_celebas_list_is_found_where_downloads_put_it(tmp_path, pictures, listed, source):
    write_pictures(tmp_path / pictures, "PNG")
    (tmp_path / listed).parent.mkdir(exist_ok=True)
    (tmp_path / listed).write_text(LIST)
    found = find_partition(Folder(tmp_path / source))
    assert found is not None
    assert Path(found[0]) == tmp_path / listed
    made, values = made_from(tmp_path / source, tmp_path / "out.npy", partition=found)
    assert (made.splits, values) == (RANGES, ORDERED)
    assert made.skipped == [], "the list is no picture that was left out"


@pytest.mark.parametrize("inside", ["", "archive/", "a/b/Eval/"])
def test_celebas_list_is_found_inside_the_zip(tmp_path, cli, checkpoints, inside):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in zip(NAMES, VALUES, strict=True):
            archive.writestr(f"img_align_celeba/{name}.jpg", encoded(value_picture(value)))
        archive.writestr(f"{inside}list_eval_partition.csv", CSV)
    done = cli("prepare", "celeba", str(path), "--size", "8", "--processes", "1", "--name", "c")
    assert "(train 7, valid 2, test 3)" in done.out, done.err
    assert "skipped" not in done.out
    assert [round(image.mean()) for image in np.load(checkpoints / ".images" / "c.npy")] == ORDERED


def shards(folder: Path, *, paths: bool, split_names: bool) -> None:
    """CelebA as data set hubs have it: a shard or more of each split, in `data/`."""
    folder.mkdir(parents=True)
    for split, word in enumerate(("train", "valid", "test")):
        own = [i for i in range(12) if SPLIT[i] == split]
        rows = [{"bytes": encoded(value_picture(VALUES[i])), "path": f"{NAMES[i]}.jpg" if paths else None} for i in own]
        name = f"{word}-00000-of-00001.parquet" if split_names else f"part-{2 - split}.parquet"
        parquet.write_table(pyarrow.table({"id": own, "image": rows}), folder / name, row_group_size=2)


@pytest.mark.parametrize(("paths", "split_names"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("listed", [True, False])
def test_parquet_shards_keep_the_split_of_their_paths_or_names(tmp_path, paths, split_names, listed):
    shards(tmp_path / "hub" / "data", paths=paths, split_names=split_names)
    if listed:
        (tmp_path / "hub" / "list_eval_partition.txt").write_text(LIST)
    source = open_source(tmp_path / "hub" / "data")
    made, values = made_from(source.path, tmp_path / "out.npy", partition=find_partition(source))
    if listed or split_names:
        assert (made.splits, values) == (RANGES, ORDERED)
    else:
        assert made.splits == {"train": [0, 12]}


def test_a_single_parquet_file_is_a_source(tmp_path):
    shards(tmp_path / "data", paths=True, split_names=True)
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    path.rename(tmp_path / "renamed")  # by its content
    made, values = made_from(tmp_path / "renamed", tmp_path / "out.npy")
    assert (made.kind, made.splits, values) == ("parquet", {"train": [0, 3]}, ORDERED[9:])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "renamed").read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"cut\.parquet is no complete Parquet file"):
        made_from(tmp_path / "cut.parquet", tmp_path / "cut.npy")


def test_a_parquet_file_of_labels_among_pictures_and_one_without_pictures(tmp_path):
    labels = pyarrow.table({"file": NAMES, "label": VALUES})
    write_pictures(tmp_path / "mixed", "PNG")
    parquet.write_table(labels, tmp_path / "mixed" / "metadata.parquet")
    made, values = made_from(tmp_path / "mixed", tmp_path / "out.npy")
    assert (made.kind, values) == ("folder", VALUES)
    assert made.skipped == [["metadata.parquet", "a Parquet file in the source: prepare it by itself"]]
    (tmp_path / "alone").mkdir()
    parquet.write_table(labels, tmp_path / "alone" / "a.parquet")
    (tmp_path / "alone" / "README.md").write_text("# Labels")
    with pytest.raises(ConfigError, match="has no column of pictures; it has file, label, and needs image"):
        made_from(tmp_path / "alone", tmp_path / "alone.npy")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no lines of NAME 0|1|2"),
        (b"name split\n", "has no lines of NAME 0|1|2"),
        (b"000001.jpg 0\n000002.jpg 3\n", "line 2: '000002.jpg 3' is not NAME 0|1|2"),
        (b"000001.jpg 0\n\n000003.jpg\n", "line 3: '000003.jpg' is not"),
        (b"\x89PNG\r\n\x1a\n\0\0 1 2", "is not NAME 0|1|2"),
    ],
)
def test_a_list_that_is_none_names_the_line(tmp_path, content, words):
    path = tmp_path / "list_eval_partition.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_partition(path)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_partition(tmp_path / "nothing")


def test_a_list_of_other_pictures_is_refused(tmp_path):
    write_pictures(tmp_path / "faces", "PNG")
    (tmp_path / "faces" / "list_eval_partition.txt").write_text("x1.jpg 0\nx2.jpg 1\n")
    source = Folder(tmp_path / "faces")
    with pytest.raises(ConfigError, match=r"has none of the 13 names, such as 000001\.png"):
        prepare(source, tmp_path / "out.npy", size=SIZE, partition=find_partition(source), processes=1)


# -- arrays ------------------------------------------------------------------------------------------------------------

STEPS = np.linspace(0, 1, 5)  # values of five pictures, as a share of full scale


def values_of(dtype: str) -> np.ndarray:
    """Five values from black to white, as people store them in this type."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return STEPS.astype(kind)
    if kind.kind == "b":
        return STEPS > 0.4
    return (STEPS * (255 if kind.itemsize == 1 and kind.kind == "u" else 127 if kind.itemsize == 1 else 4095)).astype(
        kind
    )


def stack(values: np.ndarray, *shape: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(values.reshape(-1, *[1] * len(shape)), (len(values), *shape)))


DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", "<i4", "<i8", "<f2", "<f4", ">f4", "<f8", "?"]
SHAPES = {"grey": (10, 12), "grey, C last": (10, 12, 1), "colour": (10, 12, 3), "colour, C first": (3, 10, 12)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["npy", "npz", "compressed npz"])
def test_what_an_array_holds_is_what_is_cached(tmp_path, form, dtype, shape):
    values = values_of(dtype)
    array, path = stack(values, *SHAPES[shape]), tmp_path / "pictures"
    with path.open("wb") as file:
        save = {"npy": np.save, "npz": np.savez, "compressed npz": np.savez_compressed}[form]
        save(file, array)
    made, cached = made_from(path, tmp_path / "out.npy")
    assert made.kind == "arrays"
    span = float(values.max()) if values.dtype != bool else 1
    full = {127: 255}.get(span, span)  # of 8 bits, of which signed ones use half
    assert np.abs(np.array(cached) - np.asarray(values, float) / full * 255).max() <= 1
    assert not made.skipped
    assert bool(made.assumed) == (dtype not in ("u1", "?"))


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_mnist_as_it_is_published(tmp_path, packed, dtype):
    train, test = stack(values_of(dtype), 28, 28), stack(values_of(dtype)[::-1], 28, 28)
    files = {
        "train-images-idx3-ubyte": idx(train), "train-labels-idx1-ubyte": idx(np.arange(5, dtype="u1")),
        "t10k-images-idx3-ubyte": idx(test), "t10k-labels-idx1-ubyte": idx(np.arange(5, dtype="u1")),
    }  # fmt: skip
    root = tmp_path / "raw"
    root.mkdir()
    for name, content in files.items():
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (root / name).write_bytes(content)
    if not packed:  # torchvision keeps both
        (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(files["train-images-idx3-ubyte"]))
    made, values = made_from(root, tmp_path / "out.npy")
    grey = np.round(STEPS * 255)
    assert made.splits == {"train": [0, 5], "test": [5, 10]}
    assert np.abs(np.array(values) - [*grey, *grey[::-1]]).max() <= 1
    assert made.reasons["no pictures"] == 2
    single, values = made_from(next(root.glob("t10k-images*")), tmp_path / "single.npy")
    assert (single.count, single.splits) == (5, {"train": [0, 5]})
    with pytest.raises(ConfigError, match="28 x 28 pixels: smaller than 32; --size 16 would use it"):
        prepare(open_source(root), tmp_path / "large.npy", size=32, processes=1)


def test_a_note_beside_pictures_that_are_too_small_does_not_hide_the_size_that_works(tmp_path):
    (tmp_path / "README.md").write_text("# Digits")
    for i in range(3):
        (tmp_path / f"d{i}.png").write_bytes(encoded(value_picture(50 * i, side=28)))
    with pytest.raises(ConfigError, match=r"none of 4 files .* d0\.png: 28 x 28 .*; --size 16 would use it"):
        prepare(open_source(tmp_path), tmp_path.parent / f"{tmp_path.name}.npy", size=32, processes=1)


@pytest.mark.parametrize("labels", [1, 2])
def test_cifars_binary_version(tmp_path, labels):
    """Records of labels, then the red, green and blue plane."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (12, 3), dtype=np.uint8)
    records = np.concatenate(
        [rng.integers(0, 10, (12, labels), dtype=np.uint8), np.repeat(colours, 32 * 32, axis=1)], axis=1
    )
    root = tmp_path / "cifar"
    root.mkdir()
    train, test = ("data_batch_1.bin", "test_batch.bin") if labels == 1 else ("train.bin", "test.bin")
    (root / train).write_bytes(records[:8].tobytes())
    (root / test).write_bytes(records[8:].tobytes())
    (root / "batches.meta.txt").write_text("airplane\n")
    made, _ = made_from(root, tmp_path / "out.npy")
    assert np.array_equal(np.load(tmp_path / "out.npy")[:, 4, 4], colours)
    assert made.splits == {"train": [0, 8], "test": [8, 12]}
    assert made.skipped == [["batches.meta.txt", "not a picture"]]


def test_an_npz_of_several_arrays_keeps_its_splits(tmp_path):
    """As MedMNIST's and Keras' are: pictures and labels of each split."""
    arrays = {f"{split}_images": stack(np.array([value], np.uint8), 12, 12)
              for split, value in (("test", 30), ("train", 10), ("val", 20))}  # fmt: skip
    arrays |= {f"{split}_labels": np.zeros((1, 1), np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    made, values = made_from(tmp_path / "m.npz", tmp_path / "out.npy")
    assert (made.splits, values) == ({"train": [0, 1], "valid": [1, 2], "test": [2, 3]}, [10, 20, 30])
    assert made.reasons == {"no pictures": 3}
    assert split_of("x_train") == split_of("data_batch_1.bin") == "train"
    assert split_of("y-test.npy") == "test"


class Harmful:
    """Unpickling this would end the tests."""

    def __reduce__(self):
        return (sys.exit, ("unpickled",))


def cut(content: bytes, by: int) -> bytes:
    return content[:-by]


def as_npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def pickled() -> bytes:
    import pickle

    return pickle.dumps({b"data": Harmful()}, protocol=2)


def promising(shape: tuple[int, ...]) -> bytes:
    """An NPY header with nothing behind it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "points": (lambda: as_npy(np.zeros((80, 3))), "no pictures: shape (80, 3) is not (N, H, W)"),
    "flat": (lambda: as_npy(np.zeros((80, 784), np.uint8)), "no pictures: shape (80, 784) is not"),
    "films": (lambda: as_npy(np.zeros((2, 3, 4, 5, 3), np.uint8)), "no pictures: shape (2, 3, 4, 5, 3) is not"),
    "seven channels": (lambda: as_npy(np.zeros((9, 20, 20, 7))), "no pictures: shape (9, 20, 20, 7) is not"),
    "complex": (lambda: as_npy(np.zeros((9, 20, 20), complex)), "complex128 values; pictures are integers, floats"),
    "text": (lambda: as_npy(np.full((9, 20, 20), "x")), "values; pictures are integers, floats or booleans"),
    "objects": (lambda: as_npy(np.full((9, 20, 20), Harmful()), allow_pickle=True), "pickled objects, which are never"),
    "columns first": (lambda: as_npy(np.asfortranarray(np.zeros((9, 20, 20)))), "saved in Fortran order"),
    "cut": (
        lambda: cut(as_npy(np.zeros((9, 20, 20), np.uint8)), 30),
        "truncated; the file ends before its last picture",
    ),
    "a lie": (lambda: promising((10**6, 64, 64, 3)), "truncated; the file ends before"),
    "a great lie": (lambda: promising((10**12, 64, 64)), "more than 10,000,000 pictures"),
    "a large picture": (lambda: promising((2, 10**6, 10**6)), "pictures larger than 128 MiB"),
    "no width": (lambda: as_npy(np.zeros((10**6, 20, 0), np.uint8)), "no pictures: shape (1000000, 20, 0) is not"),
    "no rows": (lambda: as_npy(np.zeros((0, 20, 20), np.uint8)), "no pictures: shape (0, 20, 20) is not"),
    "idx, no width": (lambda: idx(np.zeros((10**6, 20, 0), "u1")), "no pictures: shape (1000000, 20, 0) is not"),
    "a broken header": (lambda: as_npy(np.zeros((9, 20, 20))).replace(b"'shape'", b"'shape("), "damaged: its header"),
    "idx, cut": (lambda: cut(idx(np.zeros((9, 20, 20), "u1")), 1), "truncated; the file ends before"),
    "idx of labels": (lambda: idx(np.zeros(99, "u1")), "no pictures: shape (99,) is not"),
    "a pickle": (pickled, "a Python pickle, which is never opened; download the binary version"),
    "tar": (lambda: bytes(257) + b"ustar\0" + bytes(300), "is a tar archive; unpack it"),
    "gz of text": (lambda: gzip.compress(b"hello" * 9), "is a gzip file; unpack it"),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(50), "is a 7z archive; unpack it"),
    "a picture": (lambda: encoded(value_picture(9)), "is a single PNG picture; give its folder"),
    "text file": (lambda: b"hello", "is no (complete) ZIP, Parquet or array file"),
    "nothing": (lambda: b"", "is no (complete) ZIP, Parquet or array file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_source_says_why(tmp_path, name):
    content, words = REFUSED[name]
    path = tmp_path / "source"
    path.write_bytes(content())
    with pytest.raises(ConfigError) as refused:
        made_from(path, tmp_path / "out.npy")
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("form", ["gz", "gz of few", "npz"])
def test_what_is_compressed_may_promise_no_more_than_it_holds(tmp_path, form):
    """Else each of millions of pictures would be looked for."""
    pictures = np.random.default_rng(0).integers(0, 255, (50, 12, 12)).astype("u1")
    more = struct.pack(">i", 9_000_000)
    path = tmp_path / "train"
    if form == "npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", promising((9_000_000, 12, 12)) + pictures.tobytes())
    else:
        content = idx(pictures)
        content = content if form == "gz" else content[:4] + more + content[8:]
        path.write_bytes(gzip.compress(content)[: 4000 if form == "gz" else None])
    with pytest.raises(ConfigError, match=r"truncated|Compressed file ended"):
        made_from(path, tmp_path / "out.npy")


def test_arrays_among_pictures_are_passed_over_and_one_array_of_many_is_a_source(tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i in range(3):
        (mixed / f"{i}.png").write_bytes(encoded(value_picture(60 * i + 60)))
    np.save(mixed / "labels.npy", np.zeros((3, 20, 20)))
    made, values = made_from(mixed, tmp_path / "mixed.npy")
    assert (made.kind, values) == ("folder", [60, 120, 180])
    assert made.skipped == [["labels.npy", "an array: prepare the .npy file by itself"]]
    alone = tmp_path / "alone"
    alone.mkdir()
    np.save(alone / "a.npy", stack(np.array([10, 200], np.uint8), 20, 20))
    np.save(alone / "labels.npy", np.zeros(2))
    made, values = made_from(alone, tmp_path / "alone.npy")
    assert (made.kind, values) == ("arrays", [10, 200])
    assert isinstance(open_source(alone), Arrays)


def test_pictures_in_an_npy_given_to_train_are_sent_to_prepare(tmp_path, cli):
    for shape in ((80, 12, 12), (80, 12, 12, 3)):
        np.save(tmp_path / "a.npy", np.zeros(shape))
        refused = cli("train", "--data", str(tmp_path / "a.npy"), "--steps", "5")
        assert refused.status == 2
        assert "mvm prepare images" in refused.err
        assert refused.err.count("\n") == 1


# -- values of more than 8 bits, equal pictures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "kind", "ending"), [("f4", "TIFF", "tif"), ("u2", "PNG", "png"), ("i4", "TIFF", "tif")]
)
def test_wide_pictures_among_others_get_one_range_also_after_a_kill(tmp_path, monkeypatch, dtype, kind, ending):
    root = tmp_path / "wide"
    root.mkdir()
    (root / "0.png").write_bytes(encoded(value_picture(77)))
    top = 1.0 if dtype == "f4" else 4095
    for i, share in enumerate(STEPS, 1):
        wide = Image.fromarray(np.full((12, 12), share * top, dtype))
        (root / f"{i}.{ending}").write_bytes(encoded(wide, kind))
    made, values = made_from(root, tmp_path / "out.npy")
    assert np.abs(np.array(values) - [77, *STEPS * 255]).max() <= 1
    (sentence,) = made.assumed
    assert f"0 is taken as black and {top:g} as white; values go from 0 to {top:g}" in sentence
    monkeypatch.setattr(cache, "SAVE_EVERY", 0.0)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_from(root, tmp_path / "again.npy", on_progress=stop)
    again, _ = made_from(root, tmp_path / "again.npy")
    assert (again.sha256, again.assumed) == (made.sha256, made.assumed)


def test_a_cache_of_equal_pictures_is_refused(tmp_path, checkpoints):
    root = tmp_path / "black"
    root.mkdir()
    for i in range(4):
        tiny = Image.fromarray(np.full((12, 12), 5.0 + i * 0, np.float32))
        (root / f"{i}.tif").write_bytes(encoded(tiny, "TIFF"))
    with pytest.raises(ConfigError, match="all 4 pictures are equal after cropping and resizing; F: "):
        made_from(root, tmp_path / "out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["black"]
    np.save(tmp_path / "same.npy", np.full((9, 20, 20, 3), 7, np.uint8))
    with pytest.raises(ConfigError, match="all 9 pictures are equal"):
        made_from(tmp_path / "same.npy", tmp_path / "out.npy")
    old = checkpoints / ".images" / "old.npy"  # as earlier versions made
    old.parent.mkdir(parents=True)
    np.save(old, np.zeros((400, 8, 8, 3), np.uint8))
    sidecar = Prepared("x", "folder", 8, None, 400, {"train": [0, 400]}, [], {}, "", 1.0)
    values = {key: value for key, value in vars(sidecar).items() if key not in ("assumed", "schema_version")}
    old.with_suffix(".json").write_text(json.dumps(values | {"schema_version": 1}))
    assert open_cache(old)[1].assumed == []
    with pytest.raises(ConfigError, match="all pictures of old are equal"):
        load_images(DataSettings(data="old"))


# -- where it cannot be written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["mvm.jobs.prepare.locked", "mvm.data.cache._save"])
def test_a_folder_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch, cli, checkpoints, number, where):
    root = tmp_path / "p"
    write_pictures(root, "PNG")

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(where, fail)
    done = cli("prepare", "images", str(root), "--size", "8", "--processes", "1")
    assert done.status == (2 if number in (errno.EROFS, errno.EACCES) else 1)
    assert os.strerror(number) in done.err
    assert "$MVM_CHECKPOINTS" in done.err
    assert str(checkpoints / ".images") in done.err
    assert done.err.count("\n") == 1


def test_a_file_in_place_of_the_folder_names_the_variable_also_on_the_page(tmp_path, monkeypatch):
    write_pictures(tmp_path / "p", "PNG")
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MVM_CHECKPOINTS", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"checkpoints: cannot write in .*set \$MVM_CHECKPOINTS"):
        launch("images", str(tmp_path / "p"), size=8)


def test_an_odd_number_of_processes_is_refused(tmp_path, cli):
    write_pictures(tmp_path / "p", "PNG")
    for processes in ("0", "-3"):
        done = cli("prepare", "images", str(tmp_path / "p"), "--size", "8", "--processes", processes)
        assert (done.status, done.err) == (2, f"mvm: processes: {processes}; give 1 or more\n")
