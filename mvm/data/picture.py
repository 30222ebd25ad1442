"""One picture: from the bytes of a file, or a row of an array, to RGB: a square of it, or the whole.

    v ↦ 255 · (v − black) / (white − black)     for values of more than 8 bits; one range for all pictures of a source

A format is recognised by its first bytes, never by the file's name. Formats that hold other pictures inside (ICO, ICNS,
PSD) are not opened, so that the limit on pixels holds for everything that is decoded. Memory is bounded: decoding takes
at most 640 MiB beside the encoded picture, which is 8 bytes for each of `MOST_PIXELS` or 20 for each of `MOST_COSTLY`;
a picture larger than `BAND` pixels is converted and reduced band by band.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "COSTLY",
    "DEEP",
    "HEAD",
    "MOST_BYTES",
    "Refused",
    "Tones",
    "Unmeasured",
    "decode",
    "decode_whole",
    "measure",
    "reasons",
    "recognise",
    "tonal_range",
]

MOST_PIXELS = 64 * 2**20  # larger pictures count as decompression bombs and are never decoded
MOST_COSTLY = 32 * 2**20  # the same for `COSTLY` formats, whose decoders hold several copies
MOST_BYTES = 128 * 2**20  # per encoded picture
BAND = 2**20  # pixels converted to RGB at a time; larger pictures are reduced to about twice their final size first
HEAD = 32  # bytes that `recognise` needs
LEAST_SIZE = 8  # side of the smallest picture that the networks accept
FULL_SCALES = (1, 255, 1023, 4095, 16383, 65535)  # white in [0, 1], 8, 10, 12, 14 and 16 bits
DEEP = "16-bit colour"  # of which Pillow keeps the upper 8 bits

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")  # that Pillow may open
COSTLY = ("AVIF", "JPEG2000", "WEBP")
SIGNATURES = {  # first bytes of the formats that are read
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000", b"qoif": "QOI",
    **{b"P%c%c" % (kind, blank): "PPM" for kind in b"1234567fF" for blank in b" \t\r\n"},
}  # fmt: skip
UNREAD = {  # first bytes of what holds pictures, but is not read: the reason
    b"\0\0\1\0": "ICO: an icon that holds other files; save its pictures as PNG",
    b"icns": "ICNS: an icon that holds other files; save its pictures as PNG",
    b"8BPS": "PSD: save it as PNG",
    b"\xff\x0a": "JPEG XL: Pillow cannot open it; convert it to JPEG or PNG",
    b"\0\0\0\x0cJXL ": "JPEG XL: Pillow cannot open it; convert it to JPEG or PNG",
    b"\x93NUMPY": "an array: prepare the .npy file by itself",
    b"PK\3\4": "a ZIP in the source: prepare it by itself",
    b"PAR1": "a Parquet file in the source: prepare it by itself",
    b"%PDF": "PDF: save its pages as PNG",
    b"%!PS": "PostScript: save it as PNG",
    b"<svg": "SVG: a drawing without pixels; save it as PNG",
}
HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # brands; AVIF names avif or avis too

Tones = Mapping[str, tuple[float, float]]  # least and greatest value in a whole source, by the mode it is stored in


class Unmeasured(Exception):
    """A picture stores values of more than 8 bits, and the range of its source is not measured yet."""


@dataclass
class _Opened:
    """A picture of which the header is read; `load` decodes it.

    Attributes:
        image: Pillow's image, or the values `(H, W)` or `(H, W, C)` of a row of an array.
        mode: mode it is stored in.
        size: width and height in the header.
        side: side of the centred square to take; None for the whole picture.
        form: format of a file; empty for a row of an array.
    """

    image: Any
    mode: str
    size: tuple[int, int]
    side: int | None
    form: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether its values need the range of their source."""
        return self.mode in ("F", DEEP) or self.mode.startswith(("I", "float", "int", "uint"))

    @property
    def stored(self) -> str:
        """Mode it is stored in, and whether it is the first frame of several; before `load`."""
        return f"{self.mode}, first frame" if self.is_first else self.mode

    @property
    def is_first(self) -> bool:
        """Whether it is the first frame of several; a JPEG holds previews of itself."""
        with contextlib.suppress(Exception):  # later frames may be damaged
            return self.form != "JPEG" and bool(getattr(self.image, "is_animated", False))
        return False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part to take, in pixels of the decoded picture."""
        if isinstance(self.image, np.ndarray):
            width, height = self.size
        else:
            width, height = self.image.size  # draft mode reduces it, and a TIFF is turned
        if self.side is None:
            return 0, 0, width, height
        side = min(round(self.side * max(width, height) / max(self.size)), width, height)  # draft mode rounds up
        return (width - side) // 2, (height - side) // 2, side, side

    def load(self, size: int | None = None) -> None:
        """Decode it, a JPEG to twice `size` or more, so that the resize still antialiases; None for all pixels."""
        if isinstance(self.image, np.ndarray):
            return
        width, height = self.size
        with reasons(self.form):
            if size is not None and self.side is not None:
                scale = self.side / size / 2
                self.image.draft("RGB", (max(1, int(width / scale)), max(1, int(height / scale))))  # JPEG only
            self.image.load()


def recognise(head: bytes) -> str:
    """Name the format of a picture from its first `HEAD` bytes.

    Raises:
        ValueError: it is none, or of a format that is not read; the message gives the reason.
    """
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        if any(brand in head[8:HEAD] for brand in (b"avif", b"avis")):
            return "AVIF"
        if head[8:12] in HEIF:
            raise ValueError("HEIC: Pillow cannot open it; convert it to JPEG or PNG")
    reason = next((reason for signature, reason in UNREAD.items() if head.startswith(signature)), "not a picture")
    raise ValueError(reason)


def decode(
    content: bytes | np.ndarray, size: int, *, crop: int | None = None, tones: Tones | None = None
) -> tuple[np.ndarray, str]:
    """Decode, crop and resize a picture to `(size, size, 3)` uint8 RGB; also returns the mode it was stored in.

    Converts grey, palette, CMYK, 16-bit and float pictures, composites transparency over white, applies the EXIF
    rotation. Of several frames the first is taken.

    Args:
        content: an encoded picture, or a row of an array: `(H, W)` or `(H, W, C)`, of 1 to 4 channels.
        size: height and width of the result in pixels.
        crop: side of the centred square to crop, in pixels; the largest possible when None.
        tones: ranges of the source as `measure` gives them, for values of more than 8 bits; the picture's own if None.

    Raises:
        ValueError: the content is not a picture, truncated, too small or too large; the message gives the reason.
        Unmeasured: `tones` lacks the picture's mode.
    """
    from PIL import Image

    opened = _open(content, lambda width, height: _side(width, height, size, crop))
    if tones is not None and opened.is_wide and opened.mode not in tones:
        raise Unmeasured(opened.mode)
    mode = opened.stored
    opened.load(size)
    found = _span(opened) if tones is None else tones.get(opened.mode)
    _check_depth(opened, found)
    left, top, side, _ = opened.box
    factor = max(1, side // (2 * size)) if side * side > BAND else 1  # keeps twice the final size, as for a JPEG
    whole = -(-side // factor)
    reduced = Image.new("RGB", (whole, whole))
    rows = max(1, BAND // max(side, 1) // factor) * factor
    for start in range(0, side, rows):
        stop = min(start + rows, side)
        band = _rgb(_cut(opened.image, (left, top + start, left + side, top + stop)), found)
        reduced.paste(band.reduce(factor) if factor > 1 else band, (0, start // factor))
    square = reduced.resize((size, size), Image.Resampling.BICUBIC, box=(0, 0, side / factor, side / factor))
    return _upright(np.asarray(square), _orientation(opened.image)), mode


def decode_whole(content: bytes | np.ndarray) -> tuple[np.ndarray, str]:
    """Decode all pixels of a picture to `(H, W, 3)` uint8 RGB; also returns the mode it was stored in.

    Converts as `decode` does, values of more than 8 bits by the picture's own range.

    Args:
        content: as for `decode`.

    Raises:
        ValueError: the content is not a picture, truncated or too large; the message gives the reason.
    """
    opened = _open(content, lambda width, height: None)
    mode = opened.stored
    opened.load()
    found = _span(opened)
    _check_depth(opened, found)
    _, _, width, height = opened.box
    whole = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND // width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        whole[start:stop] = np.asarray(_rgb(_cut(opened.image, (0, start, width, stop)), found))
    return _upright(whole, _orientation(opened.image)), mode


def measure(content: bytes | np.ndarray, size: int, *, crop: int | None = None) -> tuple[str, float, float] | None:
    """Mode, least and greatest value of a picture with more than 8 bits; None for any other.

    Raises:
        ValueError: as for `decode`.
    """
    opened = _open(content, lambda width, height: _side(width, height, size, crop))
    if not opened.is_wide:
        return None
    opened.load(size)
    span = _span(opened)
    return span if span is None else (opened.mode, *span)


def tonal_range(least: float, greatest: float) -> tuple[float, float]:
    """Values shown as black and white: the smallest full scale that holds the values, if they use a quarter of it.

    Full scales are [0, 1], [-1, 1], and those of 8, 10, 12, 14 and 16 bits. Other values span from black to white, and
    so do values that differ by less than a quarter of the greatest.
    """
    if least < 0:
        return (-1.0, 1.0) if 0.25 <= max(-least, greatest) <= 1 else (least, greatest)
    full = next((scale for scale in FULL_SCALES if greatest <= scale), 0)
    narrow = 0 < greatest - least < greatest / 4
    return (0.0, float(full)) if greatest >= full / 4 > 0 and not narrow else (least, greatest)


def _open(content: bytes | np.ndarray, side_of: Callable[[int, int], int | None]) -> _Opened:
    """Read the header of a picture, and check it against the limits.

    Args:
        content: an encoded picture, or a row of an array.
        side_of: side of the square to take by width and height, or None; raises `Refused` for sizes not used.
    """
    if isinstance(content, np.ndarray):
        return _row(content, side_of)
    from PIL import Image

    form = recognise(content[:HEAD])
    most = MOST_COSTLY if form in COSTLY else MOST_PIXELS
    Image.MAX_IMAGE_PIXELS = most // 2  # Pillow raises beyond twice this, for whatever is inside a file, too
    with reasons(form):
        try:
            image = Image.open(io.BytesIO(content), formats=[form])
        except Image.DecompressionBombError:
            raise Refused(f"{_promised(content)}: larger than {most >> 20} megapixels") from None
        side = _allowed(*image.size, side_of)
        stored = str([tile[3] for tile in image.tile])
        mode = DEEP if ";16" in stored and image.mode in ("RGB", "RGBA", "LA") else image.mode
        return _Opened(image, mode, image.size, side, form)


@contextlib.contextmanager
def reasons(form: str) -> Iterator[None]:
    """Turn whatever a decoder raises, `Refused` aside, into a ValueError with the reason; warnings are left out."""
    from PIL import UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Refused:
            raise
        except UnidentifiedImageError:
            raise ValueError(f"truncated or damaged: no {form} that Pillow can open") from None
        except MemoryError:
            raise ValueError("more memory than allowed is needed to decode it") from None
        except Exception as error:  # decoders raise arbitrary exceptions
            raise ValueError(f"truncated or damaged: {error or type(error).__name__}") from None


def _row(values: np.ndarray, side_of: Callable[[int, int], int | None]) -> _Opened:
    """A picture of an array: 8-bit values as Pillow's image, others as they are."""
    from PIL import Image

    height, width = values.shape[:2]
    side = _allowed(width, height, side_of)
    values = values[..., 0] if values.shape[2:] == (1,) else values
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        return _Opened(values, values.dtype.name, (width, height), side)
    image = Image.fromarray(np.ascontiguousarray(values))
    return _Opened(image, image.mode, (width, height), side)


class Refused(ValueError):
    """The picture is not used, though it is not damaged: it is too large, or of a layout that is not read."""


def _allowed(width: int, height: int, side_of: Callable[[int, int], int | None]) -> int | None:
    """Side of the square to take, for a picture that is not too large."""
    if width * height > MOST_PIXELS:
        raise Refused(f"{width} x {height} pixels: larger than {MOST_PIXELS >> 20} megapixels")
    return side_of(width, height)


def _side(width: int, height: int, size: int, crop: int | None) -> int:
    """Side of the centred square to crop."""
    side = min(width, height)
    if crop is not None and crop > side:
        raise Refused(f"{width} x {height} pixels: smaller than the crop of {crop}")
    side = side if crop is None else crop
    if side < size:
        fits = 1 << side.bit_length() - 1 if side else 0
        advice = f"; --size {fits} would use it" if fits >= LEAST_SIZE else ""
        raise Refused(f"{width} x {height} pixels: smaller than {size}{advice}")
    return side


def _promised(content: bytes) -> str:
    """Size in the header of a picture that Pillow refuses as too large."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with contextlib.suppress(Exception):
        width, height = Image.open(io.BytesIO(content), formats=FORMATS).size  # decodes nothing
        return f"{width} x {height} pixels"
    return "its pixels"


def _span(opened: _Opened) -> tuple[float, float] | None:
    """Least and greatest value in the part to take of a picture with more than 8 bits; None for any other.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    if not opened.is_wide:
        return None
    left, top, width, height = opened.box
    rows = max(1, BAND // max(width, 1))
    least, greatest = np.inf, -np.inf
    for start in range(top, top + height, rows):
        band = np.asarray(_cut(opened.image, (left, start, left + width, min(start + rows, top + height))))
        if opened.mode == DEEP and band.shape[-1] in (2, 4):
            band = band[..., :-1]
        if not np.isfinite(band).all():
            raise ValueError("NaN or infinite values")
        least, greatest = min(least, float(band.min())), max(greatest, float(band.max()))
    return least, greatest


def _check_depth(opened: _Opened, found: tuple[float, float] | None) -> None:
    """Refuse 16-bit colour of which the upper 8 bits hold little."""
    if opened.mode == DEEP and found is not None and found[1] < 64:
        raise ValueError("16-bit colour that uses 14 bits or fewer: Pillow keeps the upper 8; convert it to 8 bits")


def _cut(image: Any, box: tuple[int, int, int, int]) -> Any:
    """A rectangle of an image or an array."""
    if isinstance(image, np.ndarray):
        return image[box[1] : box[3], box[0] : box[2]]
    return image.crop(box)


def _rgb(image: Any, found: tuple[float, float] | None) -> Any:
    """Convert a picture of any mode to RGB, values of more than 8 bits by their range, transparency over white."""
    from PIL import Image

    if found is not None and (isinstance(image, np.ndarray) or image.mode[0] in "FI"):
        black, white = tonal_range(*found)
        with np.errstate(all="ignore"):
            values = np.asarray(image).astype(np.float64)
            scaled = (values - black) / (white - black) * 255 if white > black else np.zeros_like(values)
        if not np.isfinite(values).all():
            raise ValueError("NaN or infinite values")
        image = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white_ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white_ground, image).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Any) -> int:
    """EXIF's orientation, 1 (upright) to 8; 1 if there is none."""
    with contextlib.suppress(Exception):  # a damaged EXIF block makes the parser raise arbitrary exceptions
        turn = image.getexif().get(0x0112, 1)
        return turn if turn in range(1, 9) else 1
    return 1


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels `(H, W, 3)` turned as an EXIF orientation demands."""
    if turn >= 5:  # mirrored along the diagonal
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
