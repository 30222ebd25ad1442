"""Sources of pictures in two resolutions: high (HR), and the low (LR) ones that belong to them.

    DIV2K_train_HR/0001.png                 HR: a folder, or a ZIP, named ..._HR
    DIV2K_train_LR_bicubic/X4/0001x4.png    its LR: beside it, or in the same source, as a folder or as ..._X4.zip

This is how DIV2K, Flickr2K and the benchmarks of EDSR are published. Without a folder named HR, all pictures are HR and
have no LR. LR pictures of other scales and other degradations are passed over, and so are the HR pictures of official
validation and test sets.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mvm.data.cache import image_caches, open_cache, open_source
from mvm.data.picture import decode_whole
from mvm.data.sources import Folder, Listing, Source, Zip, split_of, walk
from mvm.data.splits import in_splits
from mvm.errors import ConfigError, line_of
from mvm.words import printable

__all__ = ["Decoded", "Pairs", "decode_pair", "find_pairs"]

FOLDER = re.compile(r"(?:(?P<set>.*)_)?(?:(?P<high>HR)|LR(?:_(?P<how>[a-z]+))?(?:_X(?P<scale>[0-9]))?)")
SCALED = re.compile(r"(?P<stem>.+)x(?P<scale>[0-9])[a-z]?")  # 0001x4, of "mild" and "difficult" 0001x4m and 0001x4d
HR_ARCHIVE = re.compile(r"(.*_)?HR\.zip")


class _Place(NamedTuple):
    """Where a file of a source belongs.

    Attributes:
        set: folder and name of its set, such as DIV2K_train.
        stem: name of the picture in the set.
        resolution: HR, LR, or "" if no folder says so.
        reason: why it is passed over; "" if it is not.
        split: train, valid or test, by the name of its set.
    """

    set: str
    stem: str
    resolution: str
    reason: str
    split: str


@dataclass(frozen=True)
class Pairs:
    """HR pictures of a source, and LR pictures where it has some; `read` is called in worker processes.

    Attributes:
        high: source of the HR pictures.
        low: source of the LR pictures; None without any.
        names: names of the HR pictures, as `high` has them.
        given: name in `low` of the LR picture, by the HR picture's name.
        passed: [file, reason] for each file that is passed over.
    """

    high: Source
    low: Source | None
    names: list[str]
    given: dict[str, str] = field(default_factory=dict)
    passed: list[list[str]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Path of the HR pictures."""
        return self.high.path

    def read(self, name: str) -> tuple[bytes | np.ndarray, bytes | np.ndarray | None]:
        """An HR picture, encoded or as an array, and its LR picture, or None."""
        high, low = self.high.read(name), None
        if self.low is not None and name in self.given:
            try:
                low = self.low.read(self.given[name])
            except (OSError, ValueError) as error:
                raise ValueError(f"its LR picture: {line_of(error)}") from None
        return high, low

    def stamp(self) -> str:
        """Digest of the names, lengths and times of all files, which changes when the source does.

        Raises:
            ConfigError: a file has gone meanwhile.
        """
        state = []
        for source in (self.high, self.low):
            if source is None:
                continue
            for name in [""] if source.path.is_file() else walk(source.path, []):
                try:
                    found = (source.path / name).stat()
                except OSError as error:
                    raise ConfigError(f"source: {printable(source.path / name)}: {line_of(error)}") from None
                state.append([name, found.st_size, found.st_mtime_ns])
        return hashlib.sha256(json.dumps([state, self.names]).encode()).hexdigest()


@dataclass(frozen=True)
class Decoded:
    """An HR picture, and its LR picture if the source has one.

    Attributes:
        high: `(H, W, 3)` uint8.
        low: `(h, w, 3)` uint8, or None.
        mode: mode in which the HR picture was stored.
    """

    high: np.ndarray
    low: np.ndarray | None
    mode: str


def decode_pair(contents: tuple[bytes | np.ndarray, bytes | np.ndarray | None]) -> Decoded:
    """Decode what `Pairs.read` returns; called in worker processes.

    Raises:
        ValueError: one of the two is not a picture, truncated or too large; the message gives the reason.
    """
    high, mode = decode_whole(contents[0])
    if contents[1] is None:
        return Decoded(high, None, mode)
    try:
        return Decoded(high, decode_whole(contents[1])[0], mode)
    except ValueError as error:
        raise ValueError(f"its LR picture: {error}") from None


def find_pairs(source: str, *, scale: int) -> Pairs:
    """Find the HR pictures of a source, and the LR pictures in it or beside it.

    Args:
        source: name of an image cache, or a path.
        scale: HR pixels per pixel of the LR pictures to find, along each axis.

    Raises:
        ConfigError: there is nothing at the path, it is of no kind that is read, or has no HR pictures; one line.
    """
    if source in (caches := image_caches()):
        return _of_cache(caches[source])
    path = Path(source).expanduser()
    if not path.exists():
        known = f", or one of the prepared {', '.join(caches)}" if caches else ""
        raise ConfigError(f"source: no file or folder {printable(path)}; give a folder or a ZIP of photographs{known}")
    return _of_source(open_source(path), scale)


def _of_cache(path: Path) -> Pairs:
    """Training pictures of an image cache."""
    images, prepared = open_cache(path)
    start, stop = prepared.splits.get("train", [0, 0])
    listing = open_source(path).list()
    return Pairs(open_source(path), None, listing.names[start:stop] if stop > start else listing.names[: len(images)])


def _of_source(source: Source, scale: int) -> Pairs:
    """HR pictures of a source, and their LR pictures."""
    listing = source.list()
    places = _places(source, listing, scale)
    if archive := _archive(source, listing, places):
        return _of_source(open_source(archive), scale)
    has_hr = any(place.resolution == "HR" for place in places.values())
    passed = list(listing.passed)
    chosen = Listing(splits=[], titles=listing.titles and [])
    for i, (name, place) in enumerate(places.items()):
        if place.reason:
            passed.append([name, place.reason])
        elif place.resolution == "LR":
            continue
        elif has_hr and place.resolution != "HR":
            passed.append([name, "not in a folder of HR pictures"])
        else:
            chosen.names.append(name)
            assert chosen.splits is not None
            chosen.splits.append(place.split if has_hr or not listing.splits else listing.splits[i])
    ordered, ranges = in_splits(chosen, None)
    names = ordered[slice(*ranges["train"])]
    passed += [[name, "of an official validation or test set"] for name in ordered[ranges["train"][1] :]]
    if not names and any(place.resolution == "LR" for place in places.values()):
        raise ConfigError(f"source: {printable(source.path)} holds LR pictures only, by the names of its folders")
    if not names:
        first = f"; passed over {len(passed):,} files, such as {': '.join(passed[0])}" if passed else ""
        raise ConfigError(f"source: no HR picture in {printable(source.path)}{printable(first)}")
    inside = {place[:2]: name for name, place in places.items() if place.resolution == "LR" and not place.reason}
    low, given = (source, inside) if inside else _beside(source, scale)
    matched = {name: given[places[name][:2]] for name in names if places[name][:2] in given}
    return Pairs(source, low if matched else None, names, matched, passed)


def _places(source: Source, listing: Listing, scale: int) -> dict[str, _Place]:
    """Where each name of a source belongs."""
    if not isinstance(source, Folder | Zip):
        return {name: _Place("", name, "", "", "train") for name in listing.names}
    return {name: _place(source.path.absolute().name.removesuffix(".zip"), name, scale) for name in listing.names}


def _place(own: str, name: str, scale: int) -> _Place:
    """Where a file belongs; the source's own name counts as its outermost folder."""
    *folders, file = PurePosixPath(own, name).parts
    stem = PurePosixPath(file).stem
    for depth, folder in enumerate(folders):
        if found := FOLDER.fullmatch(folder):
            inside = "/".join([*folders[1:depth], found["set"] or ""])
            if found["high"]:
                return _Place(inside, stem, "HR", "", split_of(folder))
            scaled = SCALED.fullmatch(stem)
            scales = [found["scale"], scaled and scaled["scale"]]
            scales += [each[1:] for each in folders if re.fullmatch("X[0-9]", each)]
            reason = ""
            if found["how"] not in (None, "bicubic"):
                reason = "an LR picture of another degradation"
            elif {*scales} - {None, str(scale)}:
                reason = "an LR picture of another scale"
            return _Place(inside, scaled["stem"] if scaled else stem, "LR", reason, "")
    return _Place("", stem, "", "", "train")


def _archive(source: Source, listing: Listing, places: dict[str, _Place]) -> Path | None:
    """The ZIP of HR pictures in a folder that holds HR pictures in ZIPs alone; that of the training set."""
    if not isinstance(source, Folder) or any(place.resolution == "HR" for place in places.values()):
        return None
    archives = [name for name in listing.names if HR_ARCHIVE.fullmatch(PurePosixPath(name).name)]
    train = [name for name in archives if split_of(PurePosixPath(name).name) == "train"]
    if len(train) > 1:
        found = printable(", ".join(train))
        raise ConfigError(f"source: {printable(source.path)} holds {found}; give one of these")
    return source.path / train[0] if train else None


def _beside(source: Source, scale: int) -> tuple[Source | None, dict[tuple[str, str], str]]:
    """Source of the LR pictures beside a folder or ZIP of HR pictures, and its names by set and stem."""
    path = source.path.absolute()
    found = FOLDER.fullmatch(path.name.removesuffix(".zip"))
    if found is None or not found["high"]:
        return None, {}
    stem = f"{found['set']}_LR_bicubic" if found["set"] else "LR_bicubic"
    for name in (stem, f"{stem}_X{scale}", f"{stem}_X{scale}.zip", f"{stem}.zip"):
        if (path.parent / name).exists():
            low = open_source(path.parent / name)
            places = _places(low, low.list(), scale)
            return low, {place[:2]: name for name, place in places.items() if not place.reason}
    return None, {}
