"""Collections of photographs: what is decoded, reduced, skipped, cached, and found in the folders of DIV2K."""

from __future__ import annotations

import io
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from architecture import FILES, imports_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mvm.data import photographs
from mvm.data.cache import image_folder, prepare
from mvm.data.photographs import Collection, built_in, describe_collection, held_out, open_collection
from mvm.data.sources import Folder
from mvm.errors import ConfigError
from mvm.imaging.resize import SCALE, imresize


def pixels(height: int = 41, width: int = 50, *, seed: int = 0) -> np.ndarray:
    """A smooth random picture, `(height, width, 3)` uint8."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.random.default_rng(seed).uniform(2, 9, (3, 3))
    picture = np.stack([np.sin(a * x + b) * np.cos(c * y) for a, b, c in waves], -1)
    return (picture * 110 + 128).astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def quarter(picture: np.ndarray) -> np.ndarray:
    height, width = (side // SCALE for side in picture.shape[:2])
    cropped = picture[: height * SCALE, : width * SCALE].copy()
    return imresize(torch.from_numpy(cropped), (height, width)).numpy()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def opened(source: Path | str, *, smallest: int = 4, **options) -> Collection:
    return open_collection(str(source), smallest=smallest, **{"processes": 1} | options)


def caches() -> list[str]:
    """What the folder of caches holds, but for locks."""
    return sorted(path.name for path in image_folder().glob("*") if path.suffix != ".lock")


def check(collection: Collection, wanted: dict[str, np.ndarray]) -> None:
    """Check that a collection holds these pictures, cropped, and their quarters."""
    assert collection.names == tuple(wanted)
    for i, picture in enumerate(wanted.values()):
        height, width = (side // SCALE for side in picture.shape[:2])
        assert tuple(collection.sizes[i]) == (height, width)
        np.testing.assert_array_equal(collection.high_picture(i), picture[: height * SCALE, : width * SCALE])
        np.testing.assert_array_equal(collection.low_picture(i), quarter(picture))
    assert len(collection.high) == SCALE**2 * len(collection.low) == SCALE**2 * collection.sizes.prod(1).sum()


# -- the photographs that come with libraries --------------------------------------------------------------------------


def test_the_built_in_photographs_are_those_of_the_packages():
    import skimage.data
    from sklearn.datasets import load_sample_image

    assert held_out().names == ("astronaut", "coffee", "chelsea", "rocket")
    for i, name in enumerate(held_out().names):
        whole = getattr(skimage.data, name)()
        np.testing.assert_array_equal(held_out().low_picture(i), quarter(whole))
    named = dict(zip(built_in().names, range(len(built_in())), strict=True))
    for name in ("china", "flower"):
        np.testing.assert_array_equal(built_in().low_picture(named[name]), quarter(load_sample_image(f"{name}.jpg")))
    assert not set(named) & set(held_out().names)


def test_the_packages_of_the_photographs_are_not_loaded_for_them():
    assert not {"skimage", "sklearn"} & {name.split(".")[0] for name in imports_of("mvm.data.photographs")}


def test_bicubic_on_the_held_out_photographs_has_the_known_psnr():
    """28.89 dB on rounded Y, MATLAB's protocol: 4 pixels cropped."""
    values = []
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    for i in range(len(held_out())):
        high = torch.from_numpy(held_out().high_picture(i))
        bicubic = imresize(torch.from_numpy(held_out().low_picture(i)), tuple(high.shape[:2]))
        luma = [(16 + picture.double() @ weights).round()[4:-4, 4:-4] for picture in (high, bicubic)]
        values.append(10 * torch.log10(255**2 / (luma[0] - luma[1]).square().mean()).item())
    assert np.mean(values) == pytest.approx(28.89, abs=0.01)


@given(st.data())
def test_an_lr_patch_is_the_quarter_of_its_hr_patch_away_from_borders(data):
    collection, around = built_in(), 2  # LR pixels that the kernel reaches
    i = data.draw(st.integers(0, len(collection) - 1))
    height, width = (int(side) for side in collection.sizes[i])
    patch = data.draw(st.integers(1, 24))
    top = data.draw(st.integers(around, height - patch - around))
    left = data.draw(st.integers(around, width - patch - around))
    rows, columns = (slice(SCALE * (start - around), SCALE * (start + patch + around)) for start in (top, left))
    reduced = quarter(collection.high_picture(i)[rows, columns])[around:-around, around:-around]
    wanted = collection.low_picture(i)[top : top + patch, left : left + patch]
    np.testing.assert_array_equal(reduced, wanted)


# -- pictures of every kind --------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    """A PNG that promises `side` x `side` pixels, of which it has none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_every_kind_of_picture_is_converted_or_skipped_with_a_reason(tmp_path):
    plain, grey = pixels(), pixels(seed=1)[..., 0]
    cmyk = Image.fromarray(plain).convert("CMYK")
    alpha = np.dstack([plain, np.full_like(plain[..., :1], 128)])
    over_white = Image.alpha_composite(Image.new("RGBA", (50, 41), "white"), Image.fromarray(alpha)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(plain, "JPEG", exif=exif)
    frames = [Image.fromarray(pixels(seed=seed)).convert("P") for seed in (2, 3)]
    folder = write(
        tmp_path / "pictures",
        {
            "alpha.png": encoded(alpha),
            "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            "bomb.png": bomb(20_000),
            "broken.png": b"broken",
            "cmyk.tif": encoded(cmyk, "TIFF"),
            "cut.jpg": encoded(plain, "JPEG")[:400],
            "deep.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257)),
            "grey.png": encoded(grey),
            "plain.png": encoded(plain),
            "tiny.png": encoded(pixels(12, 50)),
            "turned.jpg": turned,
        },
    )
    collection = opened(folder)
    check(
        collection,
        {
            "alpha.png": np.asarray(over_white),
            "animated.gif": np.asarray(frames[0].convert("RGB")),
            "cmyk.tif": np.asarray(cmyk.convert("RGB")),
            "deep.png": np.stack([grey] * 3, -1),
            "grey.png": np.stack([grey] * 3, -1),
            "plain.png": plain,
            "turned.jpg": np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))),
        },
    )
    assert tuple(collection.sizes[-1]) == (12, 10)
    reasons = dict(collection.skipped)
    assert reasons.keys() == {"bomb.png", "broken.png", "cut.jpg", "tiny.png"}
    assert reasons["bomb.png"] == "20000 x 20000 pixels: larger than 64 megapixels"
    assert reasons["broken.png"] == "not a picture"
    assert reasons["cut.jpg"].startswith("truncated or damaged")
    assert reasons["tiny.png"] == "50 x 12 pixels: smaller than 4 x 4"
    lines = describe_collection(collection)
    assert lines[0] == "7 photographs of 48 x 40 to 40 x 48 pixels, 0.01 megapixels"
    assert "1 RGBA" in lines[1]
    assert "4 files skipped" in lines
    assert "broken.png: not a picture" in lines


def test_a_long_list_of_skipped_files_is_cut(tmp_path):
    folder = write(tmp_path / "p", {f"{i:02}.txt": b"text" for i in range(30)} | {"a.png": encoded(pixels())})
    lines = describe_collection(opened(folder))
    assert len(lines) == 1 + 1 + photographs.MOST_SKIPPED + 1
    assert lines[-1] == "10 more skipped"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no HR picture in"),
        ({"a.txt": b"text", "b.txt": b"text"}, "none of 2 files in .* can be used.*; the first, a.txt: not a picture"),
        ({"a.png": encoded(pixels(12, 12))}, "at 4 LR pixels or more; the first, a.png: 12 x 12 pixels: smaller"),
        ({"LR/a.png": encoded(pixels())}, "holds LR pictures only, by the names of its folders"),
    ],
)
def test_a_source_without_a_usable_picture_is_refused_in_one_line(tmp_path, files, message):
    (tmp_path / "p").mkdir()
    with pytest.raises(ConfigError, match=message) as raised:
        opened(write(tmp_path / "p", files))
    assert "\n" not in str(raised.value)
    assert caches() == []


def test_a_missing_source_is_refused_with_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match=r"no file or folder .*; give a folder or a ZIP of photographs$"):
        opened(tmp_path / "none")


# -- sources -----------------------------------------------------------------------------------------------------------


def test_a_zip_gives_what_its_folder_gives_and_nothing_is_extracted(tmp_path):
    files = {"a.png": encoded(pixels()), "in/b.png": encoded(pixels(seed=1)), "../out.png": encoded(pixels(seed=2))}
    archive = zipped(tmp_path / "photographs.zip", files)
    before = sorted(tmp_path.rglob("*"))
    collection = opened(archive)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and "runs" not in path.parts] == []
    check(collection, {"../out.png": pixels(seed=2), "a.png": pixels(), "in/b.png": pixels(seed=1)})
    assert not (tmp_path.parent / "out.png").exists()


def test_an_image_cache_is_a_source_by_its_name(tmp_path):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(32, 32, seed=i)) for i in range(3)})
    prepare(Folder(folder), image_folder() / "small-32.npy", size=32, processes=1)
    collection = opened("small-32")
    assert [tuple(size) for size in collection.sizes] == [(8, 8)] * 3
    np.testing.assert_array_equal(collection.high_picture(2), pixels(32, 32, seed=2))
    with pytest.raises(ConfigError, match="one of the prepared small-32"):
        opened("unknown")


def test_worker_processes_give_what_one_process_gives(tmp_path):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(40 + i, 50, seed=i)) for i in range(5)} | {"x": b"x"})
    fractions: list[float] = []
    many = opened(folder, processes=2, on_progress=fractions.append)
    assert fractions == [i / 6 for i in range(1, 7)]
    one = opened(folder.rename(tmp_path / "q"))
    assert (one.sha256, one.names, one.skipped) == (many.sha256, many.names, many.skipped)


def test_worker_processes_load_no_torch():
    """It takes seconds in each of them."""
    waiting, loaded = ["mvm.data.resolutions"], set[str]()
    while waiting:
        module = waiting.pop()
        loaded.add(module)
        waiting += imports_of(module, lazy=False) & set(FILES) - loaded
        assert "torch" not in imports_of(module, lazy=False), module
    assert {"mvm.data.cache", "mvm.data.picture"} <= loaded


# -- DIV2K -------------------------------------------------------------------------------------------------------------

STEMS = {"0001": pixels(), "0002": pixels(60, 44, seed=1)}
HIGH = {f"DIV2K_train_HR/{stem}.png": encoded(picture) for stem, picture in STEMS.items()}
LOW = {f"DIV2K_train_LR_bicubic/X4/{stem}x4.png": encoded(quarter(picture)) for stem, picture in STEMS.items()}
OTHERS = {
    "DIV2K_train_LR_bicubic/X2/0001x2.png": encoded(pixels(20, 25)),
    "DIV2K_train_LR_unknown/X4/0001x4.png": encoded(pixels(10, 12)),
    "DIV2K_train_LR_mild/0001x4m.png": encoded(pixels(10, 12)),
    "DIV2K_valid_HR/0801.png": encoded(pixels(seed=5)),
    "DIV2K_valid_LR_bicubic/X4/0801x4.png": encoded(quarter(pixels(seed=5))),
}


def archives(folder: Path, name: str) -> Path:
    """DIV2K's archives as they are downloaded."""
    folder.mkdir()
    zipped(folder / "DIV2K_train_HR.zip", HIGH)
    zipped(folder / "DIV2K_train_LR_bicubic_X4.zip", LOW)
    zipped(folder / "DIV2K_valid_HR.zip", {"DIV2K_valid_HR/0801.png": OTHERS["DIV2K_valid_HR/0801.png"]})
    return folder / name


def benchmark(folder: Path) -> Path:
    """A benchmark as EDSR's authors publish it."""
    low = {f"LR_bicubic/X4/{stem}x4.png": encoded(quarter(picture)) for stem, picture in STEMS.items()}
    return write(folder, {f"HR/{stem}.png": encoded(picture) for stem, picture in STEMS.items()} | low)


LAYOUTS = {
    "folder that holds all": lambda folder: write(folder, HIGH | LOW | OTHERS),
    "HR folder": lambda folder: write(folder, HIGH | LOW | OTHERS) / "DIV2K_train_HR",
    "HR archive": lambda folder: archives(folder, "DIV2K_train_HR.zip"),
    "folder of archives": lambda folder: archives(folder, ""),
    "one archive": lambda folder: zipped(folder.with_suffix(".zip"), HIGH | LOW | OTHERS),
    "benchmark": benchmark,
    "HR folder of a benchmark": lambda folder: benchmark(folder) / "HR",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_published_layouts_give_their_own_lr_pictures(tmp_path, layout):
    collection = opened(LAYOUTS[layout](tmp_path / "DIV2K"))
    assert [Path(name).stem for name in collection.names] == [*STEMS]
    check(collection, dict(zip(collection.names, STEMS.values(), strict=True)))
    assert collection.notes == ("2 of 2 LR pictures are given, and agree with MATLAB's bicubic",)


def test_what_is_not_trained_on_is_listed(tmp_path):
    skipped = dict(opened(write(tmp_path / "DIV2K", HIGH | LOW | OTHERS)).skipped)
    assert skipped == {
        "DIV2K_train_LR_bicubic/X2/0001x2.png": "an LR picture of another scale",
        "DIV2K_train_LR_mild/0001x4m.png": "an LR picture of another degradation",
        "DIV2K_train_LR_unknown/X4/0001x4.png": "an LR picture of another degradation",
        "DIV2K_valid_HR/0801.png": "of an official validation or test set",
    }


def test_the_given_lr_pictures_are_used_and_another_degradation_is_named(tmp_path):
    nearest = {name: np.ascontiguousarray(STEMS[name][:side:4, :width:4]) for name, side, width in
               [("0001", 40, 48), ("0002", 60, 44)]}  # fmt: skip
    low = {f"DIV2K_train_LR_bicubic/X4/{stem}x4.png": encoded(picture) for stem, picture in nearest.items()}
    given = opened(write(tmp_path / "given", HIGH | low))
    for i, picture in enumerate(nearest.values()):
        np.testing.assert_array_equal(given.low_picture(i), picture)
    (note,) = given.notes
    assert note.startswith("2 of 2 LR pictures are given; 2 are of another degradation than MATLAB's bicubic")
    own = opened(write(tmp_path / "own", HIGH))
    assert own.notes == ()
    assert own.sha256 != given.sha256
    np.testing.assert_array_equal(own.high, given.high)


def test_a_wrong_or_broken_lr_picture_costs_its_pair(tmp_path):
    stems = {f"{i:04}": encoded(pixels(seed=i)) for i in range(4)}
    low = {
        "0000x4.png": encoded(quarter(pixels())),
        "0001x4.png": encoded(pixels(11, 12)),
        "0002x4.png": b"broken",
    }
    folder = write(tmp_path / "HR", {f"{stem}.png": content for stem, content in stems.items()})
    write(tmp_path / "LR_bicubic" / "X4", low)
    collection = opened(folder)
    assert collection.names == ("0000.png", "0003.png")
    assert collection.notes == ("1 of 2 LR pictures are given, and agree with MATLAB's bicubic",)
    assert dict(collection.skipped) == {
        "0001.png": "its LR picture: 12 x 11 pixels, not 12 x 10",
        "0002.png": "its LR picture: not a picture",
    }


# -- what is kept on disk ----------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """Sources that are decoded, as they are."""
    found: list[str] = []
    build = photographs._build

    def counted(pairs, *arguments, **options):
        found.append(pairs.path.name)
        build(pairs, *arguments, **options)

    monkeypatch.setattr(photographs, "_build", counted)
    return found


def test_a_source_is_decoded_once_until_its_files_change(tmp_path, builds):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(seed=i)) for i in range(2)})
    first = opened(folder)
    check(opened(folder), {f"{i}.png": pixels(seed=i) for i in range(2)})
    assert len(builds) == 1
    write(folder, {"2.png": encoded(pixels(seed=2))})
    assert len(opened(folder)) == 3
    write(folder, {"0.png": encoded(pixels(seed=9))})
    changed = opened(folder)
    np.testing.assert_array_equal(changed.high_picture(0)[:, :], pixels(seed=9)[:40, :48])
    (folder / "1.png").unlink()
    assert opened(folder).names == ("0.png", "2.png")
    write(folder.parent / "LR", {"0.png": encoded(quarter(pixels(seed=9)))})  # not of this source
    opened(folder)
    assert len(builds) == 4
    assert len(caches()) == 1, "what is out of date is removed"
    np.testing.assert_array_equal(first.high_picture(1), pixels(seed=1)[:40, :48])


def test_a_new_lr_picture_beside_the_source_counts(tmp_path, builds):
    folder = write(tmp_path / "HR", {"0.png": encoded(pixels())})
    assert opened(folder).notes == ()
    write(tmp_path / "LR_bicubic" / "X4", {"0x4.png": encoded(quarter(pixels()))})
    assert len(opened(folder).notes) == 1
    assert len(builds) == 2


def test_another_least_size_decodes_anew_only_if_it_matters(tmp_path, builds):
    folder = write(tmp_path / "p", {"small.png": encoded(pixels(41, 50)), "large.png": encoded(pixels(80, 90))})
    for smallest, names in [(10, 2), (3, 2), (11, 1), (20, 1), (12, 1), (10, 2)]:
        assert len(opened(folder, smallest=smallest)) == names
    assert len(builds) == 3


def test_a_large_collection_is_memory_mapped(tmp_path, monkeypatch):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(seed=i)) for i in range(2)})
    whole = opened(folder)
    monkeypatch.setattr(photographs, "IN_MEMORY", whole.high.nbytes)
    mapped = opened(folder)
    assert isinstance(mapped.high, np.memmap)
    assert not isinstance(whole.high, np.memmap)
    check(mapped, {f"{i}.png": pixels(seed=i) for i in range(2)})


@pytest.mark.parametrize("name", ["high.rgb", "low.rgb", "collection.json"])
def test_a_damaged_cache_is_made_anew(tmp_path, builds, name):
    folder = write(tmp_path / "p", {"0.png": encoded(pixels())})
    opened(folder)
    (path,) = image_folder().glob(f"pairs-*/{name}")
    path.write_bytes(path.read_bytes()[:-1])
    check(opened(folder), {"0.png": pixels()})
    assert len(builds) == 2


KILLED = """
import os, signal, sys
from mvm.data.photographs import open_collection
open_collection(sys.argv[1], smallest=4, processes=1, on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_who_asks_for_the_same_source_waits_for_the_one_who_decodes_it(tmp_path, builds):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(seed=i)) for i in range(3)})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(opened, [folder] * 4))
    assert len(builds) == 1
    assert {collection.sha256 for collection in found} == {found[0].sha256}


def test_a_killed_build_leaves_nothing_that_is_opened(tmp_path):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(seed=i)) for i in range(3)})
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)])
    assert done.returncode == -signal.SIGKILL
    (left,) = caches()
    assert left.startswith(".pairs-")
    assert len(opened(folder)) == 3
    (made,) = caches()
    assert made.startswith("pairs-")


def test_an_interrupted_build_leaves_nothing(tmp_path):
    folder = write(tmp_path / "p", {f"{i}.png": encoded(pixels(seed=i)) for i in range(3)})

    def interrupt(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(folder, on_progress=interrupt)
    assert caches() == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MVM_CHECKPOINTS", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="checkpoints: cannot write in"):
        opened(write(tmp_path / "p", {"0.png": encoded(pixels())}))
