"""One picture: every mode and format, values of more than 8 bits, and files that would take the memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from mvm.data import picture
from mvm.data.picture import HEAD, Unmeasured, decode, decode_whole, measure, recognise, tonal_range

SIZE = 16


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(width: int = 40, height: int = 50) -> Image.Image:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(3 * x + k) + np.cos(2 * y * (k + 1)) for k in range(3)]
    return Image.fromarray((np.stack(waves, -1) * 60 + 128).clip(0, 255).astype(np.uint8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written out, as Pillow writes no 16-bit colour."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def deep(value: int, *, alpha: bool = False, side: int = 20) -> bytes:
    """A PNG of one colour, of 16 bits a channel."""
    pixel = struct.pack(">4H", value, value, value, 65535)[: 8 if alpha else 6]
    return png(side, side, depth=16, colour=6 if alpha else 2, rows=(b"\0" + pixel * side) * side)


def largest(side: int) -> bytes:
    """A PNG that promises `side` x `side` pixels, of which it has none."""
    return png(side, side, depth=8, colour=0, rows=b"")


# -- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI"])
def test_a_format_is_known_by_its_content(kind):
    content = encoded(smooth(), kind)
    assert recognise(content[:HEAD]) == kind
    got, _ = decode(content, SIZE)
    wanted = np.asarray(smooth().crop((0, 5, 40, 45)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert np.abs(got.astype(float) - wanted).mean() < 9


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture"),
        (b"image_id,partition\n", "not a picture"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 Thumbs.db", "not a picture"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "not a picture"),  # a film
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: Pillow cannot open it"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC: Pillow cannot open it"),
        (b"\xff\x0a\x00\x00", "JPEG XL: Pillow cannot open it"),
        (b"<svg xmlns=", "SVG: a drawing without pixels"),
        (b"%PDF-1.7", "PDF: save its pages as PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript: save it as PNG"),  # Pillow would start Ghostscript
        (b"8BPS\0\1", "PSD: save it as PNG"),
        (b"\x93NUMPY\1\0", "an array: prepare the .npy file by itself"),
        (b"PK\3\4", "a ZIP in the source"),
    ],
)
def test_what_is_not_read_says_why(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode(content, SIZE)


def hostile() -> bytes:
    """A picture that Pillow opens as one of a format that is not on our list."""
    return b"P7\nWIDTH 2\n" + b"\xff" * 40


@pytest.mark.parametrize(
    "content",
    [
        encoded(smooth(), "AVIF")[:-200],
        encoded(smooth(), "AVIF")[:30] + b"\xff" * 500,
        encoded(smooth(), "WEBP")[:-60],
        encoded(smooth(), "JPEG2000")[:150],
        encoded(smooth(), "QOI")[:60],
        encoded(smooth(), "GIF")[:200],
        hostile(),
        b"BMW is not a bitmap, although it begins like one",
    ],
)
def test_a_damaged_picture_of_any_format_is_a_value_error(content):
    with pytest.raises(ValueError, match="truncated or damaged"):
        decode(content, SIZE)


@pytest.mark.parametrize(
    ("width", "height", "size", "advice"),
    [(28, 28, 32, "--size 16 would use it"), (200, 100, 128, "--size 64 would use it"), (64, 63, 64, "--size 32")],
)
def test_a_picture_that_is_too_small_names_the_size_that_works(width, height, size, advice):
    with pytest.raises(ValueError, match=f"{width} x {height} pixels: smaller than {size}; {advice}"):
        decode(encoded(smooth(width, height)), size)
    with pytest.raises(ValueError, match=r"5 x 90 pixels: smaller than 8$"):
        decode(encoded(smooth(5, 90)), 8)


MODES: dict[str, Callable[[], Image.Image]] = {
    "1": lambda: smooth().convert("1"),
    "L": lambda: smooth().convert("L"),
    "LA": lambda: smooth().convert("LA"),
    "PA": lambda: smooth().quantize(32).convert("PA"),
    "P": lambda: smooth().quantize(32),
    "CMYK": lambda: smooth().convert("CMYK"),
    "YCbCr": lambda: smooth().convert("YCbCr"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_converted_as_pillow_does(mode):
    image = MODES[mode]()
    kind = {"PA": "PNG"}.get(mode, "TIFF")
    image = image.convert("LA") if mode == "PA" else image
    got, stored = decode(encoded(image, kind), SIZE)
    wanted = image.convert("RGB").crop((0, 5, 40, 45)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert stored == image.mode
    assert np.array_equal(got, np.asarray(wanted))


def test_transparency_becomes_white_in_every_mode():
    clear = Image.new("LA", (20, 20), (0, 0))
    assert decode(encoded(clear), SIZE)[0].min() == 255
    palette = Image.new("P", (20, 20), 0)
    assert decode(encoded(palette, transparency=0), SIZE)[0].min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_the_first_is_taken_and_this_is_said(kind):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "lime")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    got, mode = decode(content, SIZE)
    assert mode.endswith(", first frame")
    assert np.abs(got.astype(int) - [255, 0, 0]).max() < 12
    assert "first frame" not in decode(encoded(frames[0], kind), SIZE)[1]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_a_turned_picture_is_cropped_as_it_is_shown(kind, turn):
    """A picture of 64 x 32 with a mark in a corner of its centred square: oracle is Pillow's own transposition."""
    from PIL import ImageOps

    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (16, 0, 32, 8))
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    left, top = (upright.width - 32) // 2, (upright.height - 32) // 2
    wanted = upright.crop((left, top, left + 32, top + 32)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.abs(decode(content, SIZE)[0].astype(float) - np.asarray(wanted)).mean() < 3


# -- values of more than 8 bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "greatest", "wanted"),
    [
        (0, 0.9, (0, 1)),
        (0.1, 1, (0, 1)),
        (0, 1e-3, (0, 1e-3)),
        (-1, 1, (-1, 1)),
        (-0.3, 0.2, (-1, 1)),
        (-3.5, 2, (-3.5, 2)),
        (0, 1.7, (0, 1.7)),
        (3, 254, (0, 255)),
        (0, 300, (0, 1023)),
        (0, 4095, (0, 4095)),
        (90, 16000, (0, 16383)),
        (0, 25700, (0, 65535)),
        (0, 40, (0, 40)),
        (-100, 4000, (-100, 4000)),
        (1e5, 2e5, (1e5, 2e5)),
        (250, 320, (250, 320)),
        (700, 700, (0, 1023)),
    ],
)
def test_black_and_white_follow_from_the_values(least, greatest, wanted):
    assert tonal_range(least, greatest) == wanted


WIDE: dict[str, Callable[[float], bytes]] = {  # a picture of one value, a share of full scale
    "float": lambda v: encoded(Image.fromarray(np.full((20, 20), v, np.float32)), "TIFF"),
    "float of 255": lambda v: encoded(Image.fromarray(np.full((20, 20), v * 255, np.float32)), "TIFF"),
    "float from -1": lambda v: encoded(Image.fromarray(np.full((20, 20), 2 * v - 1, np.float32)), "TIFF"),
    "kelvin": lambda v: encoded(Image.fromarray(np.full((20, 20), 250 + 70.0 * v, np.float32)), "TIFF"),
    "10 bits": lambda v: encoded(Image.fromarray(np.full((20, 20), round(v * 1023), np.uint16))),
    "12 bits": lambda v: encoded(Image.fromarray(np.full((20, 20), round(v * 4095), np.uint16))),
    "16 bits": lambda v: encoded(Image.fromarray(np.full((20, 20), round(v * 65535), np.uint16)), "TIFF"),
    "int32": lambda v: encoded(Image.fromarray(np.full((20, 20), round(v * 4095), np.int32)), "TIFF"),
    "pgm of 16 bits": lambda v: b"P5 20 20 65535\n" + struct.pack(">H", round(v * 65535)) * 400,
}


@pytest.mark.parametrize("kind", WIDE)
def test_one_range_holds_for_all_pictures_of_a_source(kind):
    shares = [0, 0.25, 0.5, 1]
    contents = [WIDE[kind](share) for share in shares]
    spans = [measure(content, SIZE) for content in contents]
    mode = spans[0][0]
    tones = {mode: (min(low for _, low, _ in spans), max(high for _, _, high in spans))}
    with pytest.raises(Unmeasured):
        decode(contents[0], SIZE, tones={})
    for content, share in zip(contents, shares, strict=True):
        got, stored = decode(content, SIZE, tones=tones)
        assert stored == mode
        assert np.abs(got.astype(int) - 255 * share).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_costs_the_picture(bad):
    values = np.zeros((20, 20), np.float32)
    values[10, 10] = bad
    for content in (encoded(Image.fromarray(values), "TIFF"), values, values.astype(np.float64)[..., None]):
        with pytest.raises(ValueError, match="NaN or infinite"):
            decode(content, SIZE, tones={"F": (0, 1), "float32": (0, 1), "float64": (0, 1)})
        with pytest.raises(ValueError, match="NaN or infinite"):
            measure(content, SIZE)


@pytest.mark.parametrize("alpha", [False, True])
def test_colour_of_16_bits_keeps_its_upper_bits_or_is_refused(alpha):
    got, mode = decode(deep(200 * 256, alpha=alpha), SIZE)
    assert (mode, got.min(), got.max()) == ("16-bit colour", 200, 200)
    assert decode(deep(1, alpha=alpha), SIZE, tones={mode: (0, 255)})[0].max() == 0, "a dark picture among bright ones"
    with pytest.raises(ValueError, match="16-bit colour that uses 14 bits or fewer"):
        decode(deep(4095, alpha=alpha), SIZE)


# -- memory ------------------------------------------------------------------------------------------------------------


def icon(content: bytes) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(content), 22) + content


def text_bomb() -> bytes:
    """A PNG whose compressed text is 200 MB long."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    return png(20, 20, depth=8, colour=0, rows=(b"\0" + b"\0" * 20) * 20, extra=text)


def gif_bomb() -> bytes:
    """A GIF of 20 x 20 pixels, whose first frame is 60,000 x 60,000."""
    content = bytearray(encoded(Image.new("P", (20, 20)), "GIF"))
    at = content.rindex(b"\x2c\0\0\0\0")
    content[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    return bytes(content)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png": (lambda: largest(40_000), "40000 x 40000 pixels: larger than 64 megapixels"),
    "icon of a png": (lambda: icon(largest(40_000)), "ICO: an icon that holds other files"),
    "icns of a png": (lambda: b"icns" + struct.pack(">I", 99) + b"ic10" + largest(40_000), "ICNS: an icon"),
    "text": (text_bomb, "truncated or damaged: .*too large"),
    "gif": (gif_bomb, "60000 x 60000 pixels: larger than 64 megapixels"),
    "webp": (
        lambda: b"RIFF\x1e\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0" + b"VP8 \0\0\0\0",
        "larger than 32 megapixels|truncated or damaged",
    ),
    "bmp": (
        lambda: (
            encoded(Image.new("RGB", (20, 20)), "BMP")[:18]
            + struct.pack("<ii", 50_000, 50_000)
            + encoded(Image.new("RGB", (20, 20)), "BMP")[26:]
        ),
        "50000 x 50000 pixels: larger than 64 megapixels",
    ),
    "pgm": (lambda: b"P5 30000 30000 255\n", "30000 x 30000 pixels: larger than 64 megapixels"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_never_decoded(name, monkeypatch):
    content, reason = BOMBS[name]
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=reason):
        decode(content(), SIZE)


def test_formats_that_hold_several_copies_have_half_the_pixels(monkeypatch):
    monkeypatch.setattr(picture, "MOST_COSTLY", 2000)
    for kind in ("AVIF", "JPEG2000", "WEBP"):
        with pytest.raises(ValueError, match="larger than 0 megapixels"):
            decode(encoded(smooth(50, 50), kind), SIZE)
        assert decode(encoded(smooth(40, 40), kind), SIZE)[0].shape == (SIZE, SIZE, 3)
    assert decode(encoded(smooth(50, 50)), SIZE)[0].shape == (SIZE, SIZE, 3)


PEAK = """
import resource, sys
from mvm.data.picture import decode
from PIL import Image, PngImagePlugin
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
content = sys.stdin.buffer.read()
before = peak()
decode(content, 64)
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["16-bit RGBA", "RGBA", "grey of 16 bits"])
def test_a_large_picture_takes_at_most_8_bytes_a_pixel(kind):
    """4,000 x 4,000 pixels, in a process of its own; the conversion of all of them at once took 14 bytes for each."""
    side, megapixels = 4000, 16
    width = {"16-bit RGBA": 8, "RGBA": 4, "grey of 16 bits": 2}[kind]
    content = png(side, side, depth=8 if kind == "RGBA" else 16, colour=0 if width == 2 else 6,
                  rows=(b"\0" + bytes(range(1, 201)) * (side * width // 200)) * side)  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PEAK], input=content, capture_output=True, check=True)
    assert int(done.stdout) < 8 * megapixels


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "F"])
def test_a_large_picture_looks_as_if_decoded_at_once(mode):
    """Bands and the reduction change the resized picture by less than JPEG does."""
    image = smooth(1500, 1400)
    if mode in ("I;16", "F"):
        values = np.asarray(image.convert("L"))
        whole = image.convert("L")
        image = Image.fromarray((values * np.uint16(257)) if mode == "I;16" else (values / np.float32(255)))
    else:
        image = image.quantize(256) if mode == "P" else image.convert(mode)
        whole = image
    got, stored = decode(encoded(image, "TIFF" if mode == "F" else "PNG"), SIZE)
    square = whole.convert("RGB").crop((50, 0, 1450, 1400)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert stored == mode
    assert np.abs(got.astype(int) - np.asarray(square)).max() <= 4


# -- whole pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("band", [60, 2**20])
def test_a_whole_picture_is_decoded_upright_in_bands_of_rows(monkeypatch, turn, band):
    monkeypatch.setattr(picture, "BAND", band)
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(smooth(), "PNG", exif=exif)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    pixels, mode = decode_whole(content)
    np.testing.assert_array_equal(pixels, np.asarray(wanted))
    assert mode == "RGB"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_a_whole_picture_keeps_all_its_pixels(kind):
    content = encoded(smooth(300, 200), kind)
    np.testing.assert_array_equal(decode_whole(content)[0], np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_a_whole_picture_of_more_than_8_bits_has_its_own_range():
    values = np.linspace(0, 4095, 40 * 60).reshape(40, 60).astype(np.uint16)
    for content in (values, encoded(Image.fromarray(values), "TIFF")):
        pixels, _ = decode_whole(content)
        assert pixels.shape == (40, 60, 3)
        assert np.abs(pixels[..., 0] - values / 4095 * 255).max() <= 0.5
    with pytest.raises(ValueError, match="14 bits or fewer"):
        decode_whole(deep(0x3F00))


def test_a_whole_picture_within_the_limits_only():
    with pytest.raises(ValueError, match="20000 x 20000 pixels: larger than 64 megapixels"):
        decode_whole(largest(20_000))
    with pytest.raises(ValueError, match="not a picture"):
        decode_whole(b"text")
