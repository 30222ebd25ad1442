"""A picture file with all that it holds: every pixel and bit, transparency, colour profile, EXIF; read and written.

    with opened(path) as file: ...      the header of a file
    file.picture()                      its pixels
    unwritable(form, ...)               why a format cannot hold a picture, before it is made
    write(path, picture, form=...)      a file of a format, whole or not at all

Pillow decodes 16-bit colour to the upper 8 bits of each value; decoded again as if the byte order were the other one,
the file gives the lower 8. Pillow writes neither 16-bit colour nor row by row: `_write_png` and `_write_tiff` do both.

Not kept: XMP and IPTC, which hold the size and the turn of the picture that was read, and resolutions.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, TiffTags

from mvm.data.picture import COSTLY, HEAD, Refused, reasons, recognise
from mvm.errors import line_of
from mvm.files import new_file
from mvm.plain import open_plain

__all__ = [
    "FORMS",
    "MOST_PIXELS",
    "FullPicture",
    "PictureFile",
    "encoding_memory",
    "opened",
    "picture_of",
    "unwritable",
    "write",
]

MOST_PIXELS = 100_000_000  # of a picture that is read
MOST_BYTES = 2**30  # of its file: uncompressed 16-bit colour with alpha, and room for what else is in it
DECODED = 20  # bytes of memory per pixel that decoding takes at most, of 8 or 16 bits
DECODED_COSTLY = 28  # of formats whose decoders hold several copies
MOST_ENCODED = 2**28  # pixels that Pillow encodes; larger pictures are written row by row
MOST_TIFF = 2**32 - 2**24  # bytes of the strips of a classic TIFF
BAND = 2**22  # bytes that are compressed at a time when a file is written row by row

FORMS = {  # formats that are written, with their suffixes, the first for new names
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "WEBP": (".webp",), "TIFF": (".tiff", ".tif"),
    "BMP": (".bmp", ".dib"),
}  # fmt: skip
QUALITY = 95  # of JPEG, with colour at full resolution (4:4:4), and of WebP that had losses
PNG_LEVEL = 1  # of deflate: four times as fast as the usual 6, and files a fifth larger
MOST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # pixels
BY_ROW = ("PNG", "TIFF")  # formats that hold 16 bits and pictures beyond `MOST_ENCODED`
WITH_ALPHA = ("PNG", "TIFF", "WEBP")
SRGB_MODES = ("CMYK", "LAB", "YCbCr", "HSV")  # modes of Pillow that are converted to sRGB

ORIENTATION, PHOTOMETRIC = 0x0112, 0x0106  # tags of TIFF and EXIF
EXIF_IFD, GPS_IFD, EXIF_WIDTH, EXIF_HEIGHT = 0x8769, 0x8825, 0xA002, 0xA003
LAYOUT = frozenset([  # tags that describe the file that was read, not the photograph
    *range(254, 270), *range(273, 274), *range(277, 292), 296, 297, 301, 317, *range(320, 348), *range(512, 533), 330,
    700, 33723, 34377, 34675,
])  # fmt: skip


@dataclass(frozen=True)
class FullPicture:
    """A picture, upright, with what its file holds besides pixels.

    Attributes:
        values: `(h, w, C)` uint8 or uint16: grey, grey and alpha, RGB, RGB and alpha for C = 1 to 4.
        icc: colour profile.
        exif: without what described the file alone: sizes, preview; an orientation is 1, upright.
        notes: what was converted or left out, a line each.
    """

    values: np.ndarray
    icc: bytes | None = None
    exif: Image.Exif | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureFile:
    """A picture file, of which the header is read.

    Attributes:
        file: open to read.
        image: Pillow's image, not decoded yet.
        form: its format, by its first bytes.
        size: height and width of the picture upright.
        channels: 1 to 4, as `FullPicture.values` will have.
        is_deep: it has more than 8 bits, which are read.
        is_lossless: False for JPEG, and for WebP with losses.
    """

    file: IO[bytes]
    image: Any
    form: str
    size: tuple[int, int]
    channels: int
    is_deep: bool
    is_lossless: bool

    @property
    def memory(self) -> int:
        """Bytes that decoding takes at most."""
        return (DECODED_COSTLY if self.form in COSTLY else DECODED) * self.size[0] * self.size[1]

    def picture(self) -> FullPicture:
        """Decode it.

        Raises:
            ValueError: it is damaged, or holds values that are not converted; one line.
        """
        notes = []
        layout = self.image.tile[0].args if self.image.tile else ()
        if self.form == "PPM" and self.image.mode == "RGB" and isinstance(layout, tuple) and layout[1] > 255:
            notes.append("16-bit colour of a PPM is read as 8 bits")
        if self.image.mode == "CMYK" and any(";16" in _raw(tile) for tile in self.image.tile):
            notes.append("16-bit CMYK is read as 8 bits")
        with reasons(self.form):
            if not _is_deep_colour(self.image):
                self.image.load()
                return picture_of(self.image, notes)
            values = self._deep_colour()
            return _picture(self.image, values, self.image.info.get("icc_profile"), notes)

    def _deep_colour(self) -> np.ndarray:
        """Values `(h, w, C)` uint16 of 16-bit colour, or of 16-bit grey with alpha."""
        raws = {_raw(tile) for tile in self.image.tile}
        if raws == {"LA;16B"}:  # four bytes to a pixel, as RGBA of 8 bits
            self.image.tile = [_with_raw(tile, "RGBA") for tile in self.image.tile]
            whole = np.asarray(self.image)
            return _joined(whole[..., ::2], whole[..., 1::2])
        if any(raw.startswith("RGBa") for raw in raws):
            raise Refused("16-bit colour multiplied by its alpha; save it with its alpha apart")
        upper = np.asarray(self.image)
        self.file.seek(0)
        again = Image.open(self.file, formats=[self.form])
        again.tile = [_with_raw(tile, _swapped(_raw(tile))) for tile in again.tile]
        values = _joined(upper, np.asarray(again))
        if isinstance(transparent := self.image.info.get("transparency"), tuple):
            return _with_alpha(values, (values != np.array(transparent)).any(-1, keepdims=True))
        return values


@contextlib.contextmanager
def opened(path: Path) -> Iterator[PictureFile]:
    """Open a picture file and read its header.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no picture that is read, is too large, or holds several; one line.
    """
    with open_plain(path, most=MOST_BYTES) as file:
        head = file.read(HEAD)
        form = recognise(head)
        is_lossless = form != "JPEG" and (form != "WEBP" or _is_lossless_webp(file))
        file.seek(0)
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow raises beyond twice this
        with reasons(form):
            try:
                image = Image.open(file, formats=[form])
            except Image.DecompressionBombError:
                raise Refused(f"larger than {MOST_PIXELS // 10**6} megapixels") from None
            height, width = _size(image)
        if height * width > MOST_PIXELS:
            raise Refused(f"{width} x {height} pixels: larger than {MOST_PIXELS // 10**6} megapixels")
        if form != "JPEG" and _has_frames(image):  # a JPEG holds previews of itself
            raise Refused("holds several frames or pages; save the one to upscale as PNG")
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") or _raws(image) == {"LA;16B"}
        channels = (1 if grey else 3) + bool(image.has_transparency_data)
        deep = image.mode.startswith("I") or _is_deep_colour(image)
        yield PictureFile(file, image, form, (height, width), channels, deep, is_lossless)


def picture_of(image: Image.Image, notes: list[str] | None = None) -> FullPicture:
    """A decoded image of Pillow's, of any mode.

    Args:
        image: left as it is.
        notes: lines to put before those of the conversion.

    Raises:
        ValueError: its values are not converted: floating-point ones, or integers beyond 16 bits.
    """
    notes = list(notes or ())
    icc = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        return _picture(image, _wide(image), icc, notes)
    if image.mode in SRGB_MODES:
        image, icc = _to_srgb(image, icc, notes), None
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = "A" if image.has_transparency_data else ""
    mode = ("L" if grey else "RGB") + alpha
    values = np.asarray(image if image.mode == mode else image.convert(mode))
    return _picture(image, values if values.ndim == 3 else values[..., None], icc, notes)


def _picture(image: Image.Image, values: np.ndarray, icc: bytes | None, notes: list[str]) -> FullPicture:
    """Turn the values upright, and take what else the image holds."""
    values = np.ascontiguousarray(_upright(values, _orientation(image)))
    exif = _exif(image, notes)
    return FullPicture(values, icc or None, exif, tuple(notes))


def _wide(image: Image.Image) -> np.ndarray:
    """Values `(h, w, 1 or 2)` uint16 of a grey picture with more than 8 bits."""
    if image.mode == "F":
        raise Refused("floating-point values; convert them to 16 bits")
    values = np.asarray(image)
    if values.size and not 0 <= values.min() <= values.max() < 2**16:
        raise Refused(f"values from {values.min()} to {values.max()}; convert them to 16 bits")
    values = values.astype(np.uint16)[..., None]
    tags = getattr(image, "tag_v2", {})
    if tags.get(258) == (12,):
        values = values << 4 | values >> 8
    if tags.get(PHOTOMETRIC) == 0:  # white is 0, which Pillow minds with 8 bits only
        values = 65535 - values
    transparent = image.info.get("transparency")
    return _with_alpha(values, values != transparent) if isinstance(transparent, int) else values


def _to_srgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """A picture of another colour space in sRGB, by its profile if that can be used."""
    if icc and image.mode in ("CMYK", "LAB"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            made = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if made is not None:
                notes.append(f"{image.mode} was converted to sRGB by its profile")
                return made
    if image.mode == "LAB":
        raise Refused("LAB without a profile; convert it to RGB")
    notes.append(f"{image.mode} was converted to RGB, without a profile")
    return image.convert("RGB")


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def _with_alpha(values: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.where(opaque, 65535, 0).astype(np.uint16)], -1)


def _raw(tile: Any) -> str:
    """How the values of a tile are laid out in the file."""
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def _raws(image: Image.Image) -> set[str]:
    return {_raw(tile) for tile in getattr(image, "tile", ())}


def _with_raw(tile: Any, raw: str) -> Any:
    return tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))


def _swapped(raw: str) -> str:
    """The same layout in the other byte order."""
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    return raw[:-1] + order[raw[-1]]


def _is_deep_colour(image: Image.Image) -> bool:
    return image.mode in ("RGB", "RGBA") and any(";16" in raw for raw in _raws(image))


def _has_frames(image: Image.Image) -> bool:
    with contextlib.suppress(Exception):  # later frames may be damaged
        return bool(getattr(image, "is_animated", False))
    return False


def _is_lossless_webp(file: IO[bytes]) -> bool:
    """Whether the first picture of a WebP file is in a lossless chunk."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        file.seek(length + length % 2, io.SEEK_CUR)
    return True


# -- turns and EXIF ----------------------------------------------------------------------------------------------------


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) to 8; of a TIFF 1 after it is decoded, since Pillow turns it."""
    with contextlib.suppress(Exception):  # a damaged block makes the parser raise arbitrary exceptions
        turn = image.getexif().get(ORIENTATION, 1)
        return turn if turn in range(1, 9) else 1
    return 1


def _size(image: Image.Image) -> tuple[int, int]:
    """Height and width of the upright picture, from its header."""
    width, height = image.size  # of a TIFF upright already; EXIF at the end of a PNG would decode the picture
    turned = image.format != "TIFF" and "exif" in image.info and _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `(h, w, C)` as EXIF says that it is seen."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    down = orientation in (3, 4, 7, 8)
    right = orientation in (2, 3, 6, 7)
    return values[:: -1 if down else 1, :: -1 if right else 1]


def _exif(image: Image.Image, notes: list[str]) -> Image.Exif | None:
    """EXIF without what describes the file alone."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        for tag, value in found.items():
            if tag not in LAYOUT | {EXIF_IFD, GPS_IFD}:
                kept[tag] = 1 if tag == ORIENTATION else value
        for tag in (EXIF_IFD, GPS_IFD):
            if inner := found.get_ifd(tag):
                kept[tag] = dict(inner)
        if not kept:
            return None
        kept.tobytes()
    except Exception:  # whatever a damaged block raises
        notes.append("its EXIF is damaged, and left out")
        return None
    return kept


def _exif_of_size(exif: Image.Exif | None, height: int, width: int) -> bytes:
    """EXIF of a picture of this size; empty without any."""
    if exif is None:
        return b""
    inner = exif.get(EXIF_IFD)
    if isinstance(inner, dict):
        inner.update({tag: side for tag, side in ((EXIF_WIDTH, width), (EXIF_HEIGHT, height)) if tag in inner})
    return exif.tobytes()


# -- writing -----------------------------------------------------------------------------------------------------------


def unwritable(form: str, size: tuple[int, int], *, channels: int, is_deep: bool) -> str:
    """Why a format cannot hold a picture of height and width `size`; empty if it can."""
    if form not in FORMS:
        return f"{form} is not written"
    if is_deep and form not in BY_ROW:
        return f"{form} holds no 16 bits"
    if form == "TIFF" and is_deep and channels == 2:
        return "TIFF of 16-bit grey with transparency is not written"  # Pillow would not read it
    if channels in (2, 4) and form not in WITH_ALPHA:
        return f"{form} holds no transparency"
    if max(size) > MOST_SIDE.get(form, max(size)):
        return f"{form} holds at most {MOST_SIDE[form]:,} pixels each way"
    if size[0] * size[1] > MOST_ENCODED and form not in BY_ROW:
        return f"{form} of more than {MOST_ENCODED >> 20} megapixels is not written"
    return ""


def encoding_memory(size: tuple[int, int], *, channels: int, is_deep: bool) -> int:
    """Bytes that `write` takes at most beside the values."""
    pixels = size[0] * size[1]
    by_row = is_deep or pixels > MOST_ENCODED
    return 8 * max(BAND, size[1] * channels * 2) if by_row else pixels * (8 + channels)


def write(path: Path, picture: FullPicture, *, form: str, is_lossless: bool = True) -> list[str]:
    """Write a picture in a format that can hold it; the file appears whole or not at all.

    Returns:
        What was left out, a line each.

    Raises:
        OSError: the disk is full or may not be written.
        ValueError: the format cannot hold it.
    """
    height, width, channels = picture.values.shape
    is_deep = picture.values.dtype == np.uint16
    if reason := unwritable(form, (height, width), channels=channels, is_deep=is_deep):
        raise ValueError(reason)
    exif, notes = _exif_of_size(picture.exif, height, width), []
    if form == "JPEG" and len(exif) > 65533:
        exif, notes = b"", ["its EXIF is too long for a JPEG, and left out"]
    if form == "BMP" and (exif or picture.icc):
        notes.append("BMP holds neither EXIF nor a colour profile: left out")
    with new_file(path) as file:
        if form == "TIFF":  # Pillow puts no EXIF into a compressed one
            _write_tiff(file, picture.values, picture.icc, exif, path.parent)
        elif is_deep or height * width > MOST_ENCODED:
            _write_png(file, picture.values, picture.icc, exif)
        else:
            values = picture.values[..., 0] if channels == 1 else picture.values
            image = Image.fromarray(np.ascontiguousarray(values), ("L", "LA", "RGB", "RGBA")[channels - 1])
            held = {} if form == "BMP" else {"icc_profile": picture.icc, "exif": exif}
            options: dict[str, dict[str, Any]] = {
                "JPEG": {"quality": QUALITY, "subsampling": 0},
                "PNG": {"compress_level": PNG_LEVEL},
                "WEBP": {"lossless": True, "exact": True} if is_lossless else {"quality": QUALITY},
            }
            try:
                image.save(file, form, **options.get(form, {}), **{key: value for key, value in held.items() if value})
            except OSError as error:
                if error.errno is not None:
                    raise
                raise ValueError(f"Pillow cannot write it as {form}: {line_of(error)}") from None
    return notes


def _write_png(file: IO[bytes], values: np.ndarray, icc: bytes | None, exif: bytes) -> None:
    """A PNG of 8 or 16 bits, row by row (PNG specification, 5, 9 and 11); rows as differences to those above."""
    height, width, channels = values.shape

    def chunk(name: bytes, content: bytes) -> None:
        check = zlib.crc32(content, zlib.crc32(name))
        file.write(b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", check))))

    file.write(b"\x89PNG\r\n\x1a\n")
    kind = (0, 4, 2, 6)[channels - 1]
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, kind, 0, 0, 0))
    if icc:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    packer = zlib.compressobj(PNG_LEVEL)
    before = np.zeros((1, width * channels * values.itemsize), np.uint8)
    for band in _bands(values):
        rows = np.concatenate([before, band])
        before = rows[-1:]
        filtered = np.empty((len(band), 1 + band.shape[1]), np.uint8)
        filtered[:, 0] = 2  # "Up"
        np.subtract(rows[1:], rows[:-1], out=filtered[:, 1:])
        chunk(b"IDAT", packer.compress(filtered.data))
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _write_tiff(file: IO[bytes], values: np.ndarray, icc: bytes | None, exif: bytes, folder: Path) -> None:
    """A TIFF of 8 or 16 bits, by strips (TIFF 6.0) of differences to the left, deflated; beyond 4 GB a BigTIFF.

    Where a strip begins is written before it, so all are compressed into a temporary file of `folder` first.
    """
    height, width, channels = values.shape
    rows = min(height, max(1, BAND // values[0].nbytes))  # of a strip
    with tempfile.TemporaryFile(dir=folder) as strips:
        lengths = []
        for start in range(0, height, rows):
            band = values[start : start + rows].astype(values.dtype.newbyteorder("<"))
            band[:, 1:] -= values[start : start + rows, :-1]
            lengths.append(strips.write(zlib.compress(band.data)))
        is_big = sum(lengths) > MOST_TIFF
        tags = TiffImagePlugin.ImageFileDirectory_v2(b"II+\0" + bytes(12) if is_big else b"II*\0" + bytes(4))
        if exif:
            held = Image.Exif()
            held.load(exif)
            for tag in held:
                tags[tag] = held.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else held[tag]
        if icc:
            tags[34675] = icc
        tags[256], tags[257], tags[258], tags[259] = width, height, (8 * values.itemsize,) * channels, 8  # deflate
        tags[PHOTOMETRIC], tags[277], tags[278], tags[284] = (1 if channels < 3 else 2), channels, rows, 1
        tags[317] = 2  # differences to the left
        if channels in (2, 4):
            tags[338] = 2  # alpha, not multiplied in
        for tag, numbers in ((273, [0, *itertools.accumulate(lengths[:-1])]), (279, lengths)):
            tags.tagtype[tag] = TiffTags.LONG8 if is_big else TiffTags.LONG
            tags[tag] = tuple(numbers)  # Pillow adds where the first strip begins
        tags.save(file)
        strips.seek(0)
        shutil.copyfileobj(strips, file)


def _bands(values: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of bytes `(n, bytes)`, values in big-endian order, some `BAND` bytes at a time."""
    row = values[0].nbytes
    step = max(1, BAND // row)
    for start in range(0, len(values), step):
        band = np.ascontiguousarray(values[start : start + step]).astype(values.dtype.newbyteorder(">"), copy=False)
        yield band.view(np.uint8).reshape(len(band), row)
