"""Pictures upscaled by stand-in networks, and read again by Pillow or byte by byte."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, ImageSequence, JpegImagePlugin
from test_tiles import NETWORKS
from torch import Tensor
from torch.nn import functional
from trainers import small_config

import mvm as lab
from mvm.data import picture_file
from mvm.data.picture_file import FullPicture, opened, write
from mvm.errors import ConfigError
from mvm.runs import trained, upscale
from mvm.runs.trained import Trained
from mvm.runs.upscale import Done, Plan, Skipped, Upscaler, upscale_files, upscale_picture

NETWORK = NETWORKS[0]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def nearest(window: Tensor) -> Tensor:
    return functional.interpolate(window, scale_factor=4, mode="nearest")


UPSCALER = Upscaler(NETWORK, NETWORK.receptive_field, tile=8)
FAST = Upscaler(nearest, 0)


def noise(height: int, width: int, channels: int = 3, *, full: int = 255, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, full + 1, (height, width, channels))
    return values.astype(np.uint8 if full == 255 else np.uint16)


def image_of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


@torch.inference_mode()
def by_network(values: np.ndarray, network=NETWORK) -> np.ndarray:
    """The whole picture at once, before it is rounded: `(h, w, 3)` or grey `(h, w, 1)` to values in [0, 255]."""
    unit = torch.from_numpy(values.astype(np.float32) / np.iinfo(values.dtype).max).permute(2, 0, 1)[None]
    result = network(unit.expand(-1, 3, -1, -1))[0].clamp(0, 1).permute(1, 2, 0).double().numpy()
    return result if values.shape[2] == 3 else network(unit.expand(-1, 3, -1, -1))[0].mean(0)[..., None].clamp(0, 1)


def assert_values(got: np.ndarray, wanted: np.ndarray, *, full: int = 255, within: float = 0.51) -> None:
    got = got[..., None] if got.ndim == 2 else got
    assert got.shape == wanted.shape
    assert np.abs(got.astype(float) - full * np.asarray(wanted, float)).max() <= within


def upscaled(source: Path, out: Path, upscaler: Upscaler = UPSCALER, **options) -> list[Done | Skipped]:
    plan = Plan.of(source, out, **options)
    return [*plan.skipped, *upscale_files(plan, upscaler)]


def sole(outcomes: list[Done | Skipped]) -> Done:
    (outcome,) = outcomes
    assert isinstance(outcome, Done), outcome
    return outcome


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- formats -----------------------------------------------------------------------------------------------------------

SAVED = {
    "a.png": ("PNG", {}),
    "b.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "c.bmp": ("BMP", {}),
    "d.webp": ("WEBP", {"lossless": True}),
    "e.jpeg": ("JPEG", {"quality": 70}),
    "f.webp": ("WEBP", {"quality": 70}),
}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("size", [(9, 13), (21, 4)])
def test_a_file_keeps_its_format_and_the_network_is_seen_in_it(name, size, tmp_path):
    form, options = SAVED[name]
    image_of(noise(*size)).save(tmp_path / name, form, **options)
    done = sole(upscaled(tmp_path / name, tmp_path / "out"))
    assert (done.target, done.notes) == (tmp_path / "out" / name, ())
    read = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    with Image.open(done.target) as again:
        assert (again.format, again.mode, again.size) == (form, "RGB", (4 * size[1], 4 * size[0]))
        values, head = np.asarray(again).astype(float), done.target.read_bytes()
        if form == "JPEG":
            assert JpegImagePlugin.get_sampling(again) == 0  # 4:4:4
            best = io.BytesIO()
            image_of(noise(8, 8)).save(best, "JPEG", quality=95)
            assert again.quantization == Image.open(best).quantization
    if options.get("quality"):  # WebP halves the resolution of colour, which this noise has much of
        wanted = Image.fromarray((255 * by_network(read)).round().astype(np.uint8))
        kept = np.asarray(
            Image.open(io.BytesIO(saved(wanted, form, quality=95, **({"subsampling": 0} if form == "JPEG" else {}))))
        )
        assert np.abs(values - kept).mean() < 1
    else:
        assert_values(values, by_network(read))
    if form == "WEBP":
        assert (b"VP8L" in head) == (name == "d.webp")


@pytest.mark.parametrize(("asked", "suffix"), [("PNG", ".png"), ("TIFF", ".tiff"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_a_format_that_is_asked_for(asked, suffix, tmp_path):
    image_of(noise(5, 6)).save(tmp_path / "a.bmp")
    done = sole(upscaled(tmp_path / "a.bmp", tmp_path / "out", form=asked))
    assert done.target == tmp_path / "out" / f"a{suffix}"
    assert Image.open(done.target).format == asked


@pytest.mark.parametrize(("name", "form"), [("a.gif", "GIF"), ("b.jp2", "JPEG2000"), ("c.ppm", "PPM")])
def test_formats_that_are_not_written_become_png(name, form, tmp_path):
    image_of(noise(6, 5)).quantize(16).convert("P" if form == "GIF" else "RGB").save(tmp_path / name, form)
    done = sole(upscaled(tmp_path / name, tmp_path / "out"))
    assert done.notes[0] == f"{form} is not written: written as PNG"
    with Image.open(done.target) as again:
        assert (done.target.suffix, again.format, again.size) == (".png", "PNG", (20, 24))


def test_a_suffix_that_lies_is_put_right(tmp_path):
    image_of(noise(6, 5)).save(tmp_path / "a.jpg", "PNG")
    image_of(noise(6, 5)).save(tmp_path / "b.PNG", "PNG")
    names = [sole(upscaled(tmp_path / name, tmp_path / "out")).target.name for name in ("a.jpg", "b.PNG")]
    assert names == ["a.png", "b.PNG"]


@pytest.mark.parametrize(("form", "reason"), [("JPEG", "holds at most 40 pixels"), ("WEBP", "holds at most 40 pixels")])
def test_sides_that_a_format_cannot_hold(form, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_file, "MOST_SIDE", {form: 40})
    for name, width, wanted in (("a", 10, form), ("b", 11, "PNG")):
        image_of(noise(4, width)).save(tmp_path / name, form)
        done = sole(upscaled(tmp_path / name, tmp_path / "out"))
        assert Image.open(done.target).format == wanted
        assert (reason in " ".join(done.notes)) == (wanted == "PNG")


# -- what a file holds besides colour ----------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "b.tif", "d.webp", "e.jpeg"])
def test_orientation_is_applied_and_other_exif_kept(turn, name, tmp_path):
    form, options = SAVED[name]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = turn, "A maker", {0x9003: "2020:01:02 03:04:05", 0xA002: 7, 0xA003: 5}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    image = image_of(noise(5, 7, seed=turn))
    options = {} if form == "TIFF" else options  # Pillow puts no EXIF into a compressed one
    image.save(tmp_path / name, form, exif=exif.tobytes(), **options)
    done = sole(upscaled(tmp_path / name, tmp_path / "out"))
    stored = Image.open(tmp_path / name).convert("RGB") if form == "JPEG" else image  # with JPEG's losses
    stored.getexif()[0x0112] = turn
    upright = np.asarray(ImageOps.exif_transpose(stored))
    with Image.open(done.target) as again:
        found = again.getexif()
        assert found.get(0x0112, 1) == 1
        assert found[0x010F] == "A maker"
        inner = found.get_ifd(0x8769)
        assert (inner[0x9003], inner[0xA002], inner[0xA003]) == ("2020:01:02 03:04:05", *again.size)
        assert found.get_ifd(0x8825)[1] == "N"
        if form != "JPEG":
            assert_values(np.asarray(again), by_network(upright))
        else:
            assert np.abs(np.asarray(again) - 255 * by_network(upright)).mean() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("damage", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03"])
def test_damaged_exif_costs_the_exif_only(form, damage, tmp_path):
    image_of(noise(5, 7)).save(tmp_path / "a", form, exif=damage)
    done = sole(upscaled(tmp_path / "a", tmp_path / "out", FAST))
    with Image.open(done.target) as again:
        assert (again.size, again.info.get("exif")) == ((28, 20), None)


@pytest.mark.parametrize("name", ["a.png", "b.tif", "d.webp", "e.jpeg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_colour_profile_is_kept(name, mode, tmp_path):
    form, options = SAVED[name]
    image_of(noise(5, 7)).convert(mode).save(tmp_path / name, form, icc_profile=PROFILE, **options)
    done = sole(upscaled(tmp_path / name, tmp_path / "out", FAST))
    assert Image.open(done.target).info["icc_profile"] == PROFILE


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["a.png", "b.tif"])
def test_alpha_is_upscaled_by_itself_and_what_is_opaque_stays_so(channels, name, tmp_path):
    values = noise(7, 9, channels, seed=channels)
    values[:4, ..., -1] = 255
    image_of(values).save(tmp_path / name)
    done = sole(upscaled(tmp_path / name, tmp_path / "out"))
    with Image.open(done.target) as again:
        assert again.mode == ("LA" if channels == 2 else "RGBA")
        got = np.asarray(again)
    assert_values(got[..., :-1], by_network(values[..., :-1]))
    assert (got[:8, ..., -1] == 255).all()
    alpha = Image.fromarray(values[..., -1]).resize((36, 28), Image.Resampling.BICUBIC)  # of the same kernel
    inner = (slice(8, -8), slice(8, -8))  # at borders Pillow leaves taps out
    assert np.abs(np.asarray(alpha)[inner].astype(int) - got[..., -1][inner]).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "b.tif", "c.bmp", "e.jpeg"])
def test_grey_stays_grey(name, tmp_path):
    form, options = SAVED[name]
    image_of(noise(8, 11, 1)).save(tmp_path / name, form, **options)
    done = sole(upscaled(tmp_path / name, tmp_path / "out"))
    with Image.open(done.target) as again:
        assert again.mode == "L"
        if form != "JPEG":
            assert_values(np.asarray(again), by_network(noise(8, 11, 1)))


def test_palette_bilevel_and_cmyk(tmp_path):
    base = image_of(noise(8, 8)).quantize(8)
    base.save(tmp_path / "palette.png")
    base.save(tmp_path / "clear.png", transparency=3)
    image_of(noise(8, 8)).convert("1").save(tmp_path / "bilevel.png")
    image_of(noise(8, 8)).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    image_of(noise(8, 8)).convert("CMYK").save(tmp_path / "cmyk.tif")
    outcomes = {outcome.name: outcome for outcome in upscaled(tmp_path, tmp_path / "out", FAST)}
    modes = {name: Image.open(outcome.target).mode for name, outcome in outcomes.items()}
    assert modes == {
        "palette.png": "RGB", "clear.png": "RGBA", "bilevel.png": "L", "cmyk.jpg": "RGB", "cmyk.tif": "RGB",
    }  # fmt: skip
    for name in ("palette.png", "clear.png"):
        wanted = np.asarray(Image.open(tmp_path / name).convert(modes[name])).repeat(4, 0).repeat(4, 1)
        got = np.asarray(Image.open(tmp_path / "out" / name))
        assert (got[..., :3] == wanted[..., :3]).all()
    for name in ("cmyk.jpg", "cmyk.tif"):
        assert outcomes[name].notes == ("CMYK was converted to RGB, without a profile",)
    assert all(not outcomes[name].notes for name in ("palette.png", "clear.png", "bilevel.png"))


# -- 16 bits -----------------------------------------------------------------------------------------------------------


def png16(values: np.ndarray, *, transparent: tuple[int, ...] = ()) -> bytes:
    """A 16-bit PNG by the specification, its rows unfiltered."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    clear = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + clear + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def read_png16(content: bytes) -> np.ndarray:
    """Values of a 16-bit PNG whose rows are filtered by "None" or "Up"."""
    position, packed, head = 8, b"", ()
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        data = content[position + 8 : position + 8 + length]
        assert struct.unpack(">I", content[position + 8 + length :][:4])[0] == zlib.crc32(name + data)
        head = struct.unpack(">IIBBBBB", data) if name == b"IHDR" else head
        packed += data if name == b"IDAT" else b""
        position += length + 12
    width, height, bits, kind = head[:4]
    assert bits == 16
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[kind]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)
    bytes_, above = [], np.zeros(rows.shape[1] - 1, np.uint8)
    for row in rows:
        assert row[0] in (0, 2)
        above = row[1:] + (above if row[0] == 2 else 0)
        bytes_.append(above.astype(np.uint8))
    return np.stack(bytes_).view(">u2").reshape(height, width, channels)


def tiff16(values: np.ndarray, order: str, *, compressed: bool = False) -> bytes:
    """A 16-bit TIFF by the specification: one strip."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    bits_at = 8 + len(data)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits_at if channels > 2 else 16)]
    entries += [(259, 3, 1, 8 if compressed else 1), (262, 3, 1, 2 if channels > 2 else 1), (273, 4, 1, 8)]
    entries += [(277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data))]
    entries += [(338, 3, 1, 2)] if channels == 4 else []
    packed = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in entries
    )
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, bits_at + len(bits))
    return head + data + bits + struct.pack(f"{order}H", len(entries)) + packed + bytes(4)


def read_tiff16(path: Path) -> np.ndarray:
    """Values of a deflated 16-bit TIFF of differences to the left, by its own tags."""
    with Image.open(path) as image:
        tags = dict(image.tag_v2)
    content, order = path.read_bytes(), {b"II": "<", b"MM": ">"}[path.read_bytes()[:2]]
    strips = (zlib.decompress(content[at : at + n]) for at, n in zip(tags[273], tags[279], strict=True))
    assert (set(tags[258]), tags[259], tags[317]) == ({16}, 8, 2)
    values = np.frombuffer(b"".join(strips), f"{order}u2").reshape(tags[257], tags[256], tags.get(277, 1))
    return (np.cumsum(values.astype(np.int64), 1) % 65536).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_of_a_png_stay_16_bits(channels, tmp_path):
    values = noise(6, 7, channels, full=65535)
    (tmp_path / "a.png").write_bytes(png16(values))
    done = sole(upscaled(tmp_path / "a.png", tmp_path / "out"))
    got = read_png16(done.target.read_bytes())
    colours = channels - (channels in (2, 4))
    assert_values(got[..., :colours], by_network(values[..., :colours]), full=65535, within=2)
    exact = sole(upscaled(tmp_path / "a.png", tmp_path / "exact", FAST))
    got = read_png16(exact.target.read_bytes())
    assert (got[..., :colours] == values[..., :colours].repeat(4, 0).repeat(4, 1)).all()
    with Image.open(exact.target) as again:  # Pillow reads it, too
        assert again.size == (28, 24)
        again.load()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compressed", [False, True])
def test_16_bits_of_a_tiff_stay_16_bits(order, channels, compressed, tmp_path):
    values = noise(6, 7, channels, full=65535, seed=3)
    values[..., 3:] = 65535
    (tmp_path / "a.tif").write_bytes(tiff16(values, order, compressed=compressed))
    done = sole(upscaled(tmp_path / "a.tif", tmp_path / "out", FAST))
    assert (read_tiff16(done.target) == values.repeat(4, 0).repeat(4, 1)).all()
    with Image.open(done.target) as again:
        assert again.size == (28, 24)
        again.load()


def test_16_bits_where_the_format_has_none(tmp_path):
    values = noise(6, 7, 3, full=65535)
    (tmp_path / "a.png").write_bytes(png16(values))
    done = sole(upscaled(tmp_path / "a.png", tmp_path / "out", FAST, form="JPEG"))
    assert done.notes == ("JPEG holds no 16 bits: written as PNG",)
    assert (read_png16(done.target.read_bytes()) == values.repeat(4, 0).repeat(4, 1)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_one_transparent_value_of_16_bits(channels, tmp_path):
    values = noise(6, 7, channels, full=65535)
    values[2:4, 2:4] = values[2, 2]
    (tmp_path / "a.png").write_bytes(png16(values, transparent=tuple(int(value) for value in values[2, 2])))
    got = read_png16(sole(upscaled(tmp_path / "a.png", tmp_path / "out", FAST)).target.read_bytes())
    assert got.shape == (24, 28, channels + 1)
    assert got[12, 12, -1] < 1000 < 60000 < got[0, 0, -1]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_too_large_for_pillows_encoder(form, channels, tmp_path, monkeypatch):
    """Written row by row, also in bands that end within the picture; Pillow reads them."""
    monkeypatch.setattr(picture_file, "MOST_ENCODED", 100)
    monkeypatch.setattr(picture_file, "BAND", 500)
    values = noise(37, 29, channels)
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    write(tmp_path / "a", FullPicture(values, PROFILE, exif), form=form)
    with Image.open(tmp_path / "a") as again:
        assert (np.asarray(again).reshape(values.shape) == values).all()
        assert (again.format, again.info["icc_profile"], again.getexif()[0x010F]) == (form, PROFILE, "A maker")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_tiff_beyond_4_gb_is_a_bigtiff(channels, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_file, "MOST_TIFF", 1000)
    monkeypatch.setattr(picture_file, "BAND", 300)
    for side, magic in ((4, b"II*\0"), (40, b"II+\0")):
        values = noise(side, side, channels)
        write(tmp_path / "a", FullPicture(values), form="TIFF")
        assert (tmp_path / "a").read_bytes()[:4] == magic
        with Image.open(tmp_path / "a") as again:
            assert (np.asarray(again).reshape(values.shape) == values).all()


# -- files that cannot be upscaled -------------------------------------------------------------------------------------


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A PNG header that promises many pixels."""
    content = bytearray(saved(Image.new("RGB", (8, 8)), "PNG"))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


FRAMES = [image_of(noise(6, 6, seed=seed)) for seed in range(3)]
BROKEN = {
    "text.png": (b"no picture at all, but text", "not a picture"),
    "empty.jpg": (b"", "not a picture"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: Pillow cannot open it"),
    "bomb.png": (bomb(), "larger than 100 megapixels"),
    "large.png": (bomb(11_000), "11000 x 11000 pixels: larger than 100 megapixels"),
    "cut.png": (saved(image_of(noise(60, 60)), "PNG")[:3000], "truncated or damaged"),
    "cut.jpg": (saved(image_of(noise(60, 60)), "JPEG")[:900], "truncated or damaged"),
    "moving.gif": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "holds several frames or pages"),
    "moving.png": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "holds several frames or pages"),
    "moving.webp": (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "holds several frames or pages"),
    "pages.tif": (saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "holds several frames or pages"),
    "float.tif": (saved(Image.fromarray(np.ones((5, 5), np.float32)), "TIFF"), "floating-point values"),
    "deep.tif": (saved(Image.fromarray(np.full((5, 5), 70_000, np.int32)), "TIFF"), "values from 70000 to 70000"),
}


def test_the_moving_ones_move():
    for name in ("moving.gif", "moving.png", "moving.webp", "pages.tif"):
        assert len(list(ImageSequence.Iterator(Image.open(io.BytesIO(BROKEN[name][0]))))) == 3


def test_a_folder_lists_what_it_skips_and_does_the_others(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    for name, (content, _) in BROKEN.items():
        (source / name).write_bytes(content)
    for name in ("a.png", "deep/b.jpg", "deep/er/c.webp"):
        image_of(noise(5, 6)).save(source / name)
    (source / "link.png").symlink_to(source / "nowhere")
    os.mkfifo(source / "pipe.png")
    seen: list[tuple[float, float]] = []
    plan = Plan.of(source, out)
    outcomes = [*plan.skipped, *upscale_files(plan, FAST, on_progress=lambda *done: seen.append(done))]
    assert files_below(out) == ["a.png", "deep/b.jpg", "deep/er/c.webp"]
    assert sorted(outcome.name for outcome in outcomes if isinstance(outcome, Done)) == files_below(out)
    reasons = {outcome.name: outcome.reason for outcome in outcomes if isinstance(outcome, Skipped)}
    assert reasons.keys() == {*BROKEN, "link.png", "pipe.png"}
    for name, (_, reason) in BROKEN.items():
        assert reasons[name].startswith(reason)
        assert "\n" not in reasons[name]
    total = sum(job.pixels for job in plan.jobs)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", [name for name in BROKEN if not name.startswith(("cut", "float", "deep"))])
def test_a_single_file_that_cannot_be_read_is_refused_in_a_line(name, tmp_path):
    (tmp_path / name).write_bytes(BROKEN[name][0])
    with pytest.raises(ConfigError, match=BROKEN[name][1]) as refused:
        Plan.of(tmp_path / name, tmp_path / "out")
    assert name in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_names_that_would_meet(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for seed, name in enumerate(("a.gif", "a.png", "b.gif", "c.PNG")):
        image_of(noise(5, 5, seed=seed)).convert("P" if name.endswith("gif") else "RGB").save(source / name)
    image_of(noise(5, 5, seed=9)).save(source / "a.gif.png")
    outcomes = {outcome.name: outcome for outcome in upscaled(source, out, FAST)}
    assert files_below(out) == ["a.gif.png", "a.png", "b.png", "c.PNG"]
    lost = [outcome for outcome in outcomes.values() if isinstance(outcome, Skipped)]
    assert [(outcome.name, outcome.reason) for outcome in lost] == [
        ("a.gif.png", "a.gif.png is written for another picture; rename one")
    ]
    assert (np.asarray(Image.open(out / "a.png"))[::4, ::4] == noise(5, 5, seed=1)).all()


@pytest.mark.parametrize("single", [True, False])
def test_nothing_is_overwritten_unless_asked(single, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    image_of(noise(5, 5)).save(source / "a.png")
    (out / "a.png").write_bytes(b"precious")
    what = source / "a.png" if single else source
    if single:
        with pytest.raises(ConfigError, match="exists; --overwrite"):
            upscaled(what, out)
    else:
        (outcome,) = upscaled(what, out)
        assert isinstance(outcome, Skipped)
        assert outcome.is_done
    assert (out / "a.png").read_bytes() == b"precious"
    plan = Plan.of(what, tmp_path / "new")  # made by another process since it was planned
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(b"precious")
    assert [outcome.is_done for outcome in upscale_files(plan, FAST)] == [True]
    sole(upscaled(what, out, overwrite=True))
    assert Image.open(out / "a.png").size == (20, 20)


def test_originals_are_never_replaced(tmp_path):
    source = tmp_path / "in"
    (source / "in").mkdir(parents=True)
    image_of(noise(5, 5)).save(source / "a.png")
    image_of(noise(6, 6)).save(source / "in" / "a.png")
    with pytest.raises(ConfigError, match="is the folder of the source"):
        Plan.of(source, source, overwrite=True)
    with pytest.raises(ConfigError, match="is the folder of the source"):
        Plan.of(source / "a.png", source, overwrite=True)
    outcomes = upscaled(source, tmp_path, FAST, overwrite=True)  # in/a.png of the source would come to in/a.png
    assert [(outcome.name, type(outcome)) for outcome in outcomes] == [("in/a.png", Skipped), ("a.png", Done)]
    assert Image.open(source / "a.png").size == (5, 5)


def test_results_below_the_source_are_no_sources(tmp_path):
    image_of(noise(5, 5)).save(tmp_path / "a.png")
    for _ in range(2):
        outcomes = upscaled(tmp_path, tmp_path / "out", FAST, overwrite=True)
        assert [outcome.name for outcome in outcomes] == ["a.png"]
    assert files_below(tmp_path) == ["a.png", "out/a.png"]


def test_work_that_is_stopped_leaves_whole_files_only_and_goes_on(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        image_of(noise(9, 9)).save(source / name)
    seen = []

    def stop(done: float, total: float) -> None:
        seen.append(done)
        if done > 81:  # within the second picture
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(upscale_files(Plan.of(source, out), Upscaler(nearest, 0, tile=4), on_progress=stop))
    assert files_below(out) == ["a.png"]
    assert len(seen) > 1
    outcomes = upscaled(source, out, FAST)
    assert [outcome.name for outcome in outcomes if isinstance(outcome, Done)] == ["b.png", "c.png"]
    assert files_below(out) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("name", ["a.png", "e.jpeg"])
def test_a_full_disk_leaves_no_part_of_a_file(name, tmp_path, monkeypatch):
    image_of(noise(5, 5)).save(tmp_path / name)

    def full(image, file, form, **options) -> None:
        file.write(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space") as failed:
        upscaled(tmp_path / name, tmp_path / "out", FAST)
    assert failed.value.filename == str(tmp_path / "out" / name)
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.png", "b.tif"])
def test_a_result_on_disk_equals_one_in_memory(name, tmp_path, monkeypatch):
    image_of(noise(19, 23, 4)).save(tmp_path / name)
    sole(upscaled(tmp_path / name, tmp_path / "memory"))
    monkeypatch.setattr(upscale, "IN_MEMORY", 0)
    plan = Plan.of(tmp_path / name, tmp_path / "disk")
    assert plan.scratch == 16 * 19 * 23 * 4
    list(upscale_files(plan, UPSCALER))
    assert files_below(tmp_path / "disk") == [name]
    memory, disk = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("memory", "disk"))
    assert (memory == disk).all()


MEASURED = """
import sys
from pathlib import Path
import torch
from torch.nn import functional
from PIL import Image
from mvm.runs.upscale import Plan, Upscaler, upscale_files
torch.set_num_threads(1)
def resident(what):
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(what))
plan = Plan.of(Path(sys.argv[1]), Path(sys.argv[2]))
upscaler = Upscaler(lambda window: functional.interpolate(window, scale_factor=4), 0)
told = plan.memory(upscaler)
with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
    file.write("5")  # the peak from here on
before = resident("VmRSS")
assert len(list(upscale_files(plan, upscaler))) == 1
print(told, resident("VmHWM") - before)
"""


@pytest.mark.parametrize("name", ["a.jpg", "deep.png"])
def test_the_memory_told_bounds_the_memory_taken(name, tmp_path):
    if not sys.platform.startswith("linux"):
        return
    if name == "a.jpg":
        Image.new("RGB", (700, 500), (10, 200, 90)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(png16(np.full((300, 400, 3), 3000, np.uint16)))
    command = [sys.executable, "-c", MEASURED, str(tmp_path / name), str(tmp_path / "out")]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    told, taken = map(int, printed.stdout.split())
    assert taken <= told <= 10 * max(taken, 32 * 2**20)


# -- in Python ---------------------------------------------------------------------------------------------------------


def trained_by(network) -> Trained:
    return Trained(small_config(Path("x.csv")), "both", 0, 1, 0, torch.nn.Identity(), torch.nn.Identity(), network, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7), (6, 4, 3), (5, 5, 4), (5, 6, 1)])
def test_arrays_keep_their_type(dtype, shape):
    full = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = (np.random.default_rng(2).random(shape) * full).astype(dtype)
    got = trained_by(NETWORK).upscale(values)
    assert (got.dtype, got.shape) == (dtype, (4 * shape[0], 4 * shape[1], *shape[2:]))
    unit = values.astype(float) / full
    unit = unit[..., None] if unit.ndim == 2 else unit[..., :3]
    with torch.inference_mode():
        wanted = NETWORK(torch.from_numpy(unit).float().permute(2, 0, 1)[None].expand(-1, 3, -1, -1))[0]
        wanted = (wanted if unit.shape[2] == 3 else wanted.mean(0, keepdim=True)).permute(1, 2, 0).clamp(0, 1)
    got = got[..., None] if got.ndim == 2 else got[..., :3]
    assert_values(got, wanted, full=full, within=1e-5 if full == 1 else 0.51 + full * 1e-5)


@pytest.mark.parametrize("ensemble", [False, True])
def test_images_and_paths_keep_what_they_hold(ensemble, tmp_path):
    image = image_of(noise(5, 7))
    image.info["icc_profile"] = PROFILE
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A maker"
    image.save(tmp_path / "a.png", exif=exif)
    for picture in (Image.open(tmp_path / "a.png"), tmp_path / "a.png", str(tmp_path / "a.png")):
        got = trained_by(NETWORK).upscale(picture, ensemble=ensemble)
        turned = noise(5, 7).swapaxes(0, 1)[:, ::-1].copy()
        wanted = Upscaler(NETWORK, 3, ensemble=ensemble).values(turned)
        assert (got.mode, got.size, got.info["icc_profile"]) == ("RGB", (20, 28), PROFILE)
        assert (np.asarray(got) == wanted).all()
        got.save(tmp_path / "b.png", exif=got.info["exif"])
        found = Image.open(tmp_path / "b.png").getexif()
        assert (found[0x0112], found[0x010F]) == (1, "A maker")
    assert (wanted != UPSCALER.values(turned)).any() == ensemble


@pytest.mark.parametrize(("mode", "wanted"), [("L", "L"), ("P", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16"), ("1", "L")])
def test_a_page_upscales_an_image(mode, wanted):
    base = image_of(noise(6, 5, 4 if mode == "RGBA" else 3))
    image = image_of(noise(6, 5, 1, full=65535)) if mode == "I;16" else base.convert(mode)
    seen = []
    got = upscale_picture(image, nearest, receptive_field=0, tile=3, on_progress=lambda *done: seen.append(done))
    assert (got.mode, got.size, seen[-1]) == (wanted, (20, 24), (30, 30))
    colours = np.asarray(got)[..., :3] if mode == "RGBA" else np.asarray(got)
    exact = np.asarray(image if mode == "I;16" else image.convert(wanted)).repeat(4, 0).repeat(4, 1)
    assert (colours == (exact[..., :3] if mode == "RGBA" else exact)).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4), 200.0), "in \\[0, 1\\] wanted, got 200 to 200"),
        (np.full((4, 4), np.nan), "in \\[0, 1\\] wanted, got nan to nan"),
        (np.zeros((4, 4), np.int64), "got int64"),
        (np.zeros((4, 4, 5), np.uint8), "got \\(4, 4, 5\\)"),
        (np.zeros((0, 4), np.uint8), "got \\(0, 4\\)"),
    ],
)
def test_arrays_that_are_no_pictures(values, reason):
    with pytest.raises(ValueError, match=reason):
        UPSCALER.values(values)


def test_16_bit_colour_of_a_path_is_an_array_only(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(noise(4, 4, 3, full=65535)))
    with pytest.raises(ValueError, match="give an array"):
        trained_by(nearest).upscale(tmp_path / "a.png")
    with opened(tmp_path / "a.png") as file:
        assert trained_by(nearest).upscale(file.picture().values).dtype == np.uint16


def test_a_diverged_network_is_named(tmp_path):
    image_of(noise(4, 4)).save(tmp_path / "a.png")
    (outcome,) = upscaled(tmp_path / "a.png", tmp_path / "out", Upscaler(lambda window: nearest(window) / 0, 0))
    assert isinstance(outcome, Skipped)
    assert "not finite" in outcome.reason


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Put a stand-in in place of every run; lists how it was asked for."""
    asked: list[dict] = []

    def load(run, **options) -> Trained:
        asked.append({"run": run, **options})
        return trained_by(nearest)

    monkeypatch.setattr(trained, "load", load)
    return asked


def test_the_command_upscales_a_file(cli, network, tmp_path):
    image_of(noise(5, 6)).save(tmp_path / "a.png")
    flags = ("--variant", "both", "--seed", "3", "--best", "--device", "cpu", "--tile", "16")
    result = cli("upscale", "my-run", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *flags)
    assert result.status == 0, result.err
    assert network == [{"run": "my-run", "variant": "both", "seed": 3, "best": True, "device": "cpu"}]
    assert (np.asarray(Image.open(tmp_path / "out" / "a.png")) == noise(5, 6).repeat(4, 0).repeat(4, 1)).all()
    memory, last = result.out.strip().splitlines()
    assert memory.startswith("a.png: 6 x 5: at most ")
    assert memory.endswith("MB of memory")
    assert last == f"{tmp_path / 'out' / 'a.png'}: 1 picture upscaled x4"


def test_the_command_upscales_a_folder(cli, network, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    image_of(noise(5, 6)).save(source / "a.png")
    image_of(noise(9, 6)).convert("CMYK").save(source / "b.jpg")
    (source / "c.txt").write_text("no picture", encoding="utf-8")
    first = cli("upscale", "my-run", str(source), "--out", str(out), "--format", "webp")
    assert first.status == 0, first.err
    lines = first.out.strip().splitlines()
    assert lines[0].startswith("2 pictures, the largest 6 x 9: at most ")
    assert lines[1:] == [
        "b.jpg: CMYK was converted to RGB, without a profile",
        "skipped c.txt: not a picture",
        f"{out}: 2 pictures upscaled x4, 1 file skipped",
    ]
    assert files_below(out) == ["a.webp", "b.webp"]
    again = cli("upscale", "my-run", str(source), "--out", str(out), "--format", "webp")
    assert again.status == 0
    assert again.out.count("exists; --overwrite replaces it") == 2
    assert cli("upscale", "my-run", str(source), "--out", str(out), "--format", "webp", "--overwrite").status == 0


@pytest.mark.parametrize("more", [0, 7])
def test_the_command_lists_a_hundred_skipped_files_and_counts_the_rest(more, cli, network, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    image_of(noise(5, 6)).save(source / "a.png")
    for number in range(100 + more):
        (source / f"{number:03}.txt").write_text("no picture", encoding="utf-8")
    lines = cli("upscale", "my-run", str(source), "--out", str(tmp_path / "out")).out.strip().splitlines()
    assert [line for line in lines if line.startswith("skipped 0")][-1] == "skipped 099.txt: not a picture"
    assert ("skipped 7 more: not a picture" in lines) == (more == 7)
    assert lines[-1].endswith(f"1 picture upscaled x4, {100 + more} files skipped")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nowhere.png", "--out", "out"), "source: no file or folder nowhere.png"),
        (("text.png", "--out", "out"), "source: text.png: not a picture"),
        (("cut.png", "--out", "out"), "source: nothing of cut.png was upscaled, 1 file skipped"),
        (("a.png", "--out", "text.png"), "out: text.png is a file; give a folder"),
        (("a.png", "--out", "."), "out: . is the folder of the source; give another, to keep the originals"),
        (("a.png", "--out", "out", "--tile", "4"), "--tile: 8 to 4096 pixels, got 4"),
    ],
)
def test_bad_use_is_one_line(cli, network, arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_of(noise(5, 5)).save("a.png")
    for name in ("text.png", "cut.png"):
        Path(name).write_bytes(BROKEN[name][0])
    result = cli("upscale", "my-run", *arguments)
    assert (result.status, result.err) == (2, f"mvm: {line}\n")


def test_a_run_of_another_kind_is_refused(cli, make, tmp_path):
    run = make("points", steps=2)
    assert cli("train", "--run", str(run.path)).status == 0
    image_of(noise(5, 5)).save(tmp_path / "a.png")
    result = cli("upscale", "points", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"))
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "it generates points; to upscale takes a run of super-resolution" in result.err
    with pytest.raises(ConfigError, match="it generates points"):
        lab.load("points", device="cpu").upscale(noise(4, 4))
