"""A run as one ZIP, and back: for another machine, or another person.

    pack(run, FILE.zip)      <run>/config.json, note.txt, fork.json, data.npy, real.npy
                             <run>/checkpoint.safetensors, best.safetensors
                             <run>/checkpoints/, snapshots/, frames/       left out if light
                             <run>/scalars.jsonl, scores.json
    unpack(FILE.zip)         the same run under `checkpoints()`; the files may also lie at the ZIP's top

An unknown person's ZIP must be safe to open. Its list of members is judged before anything is written: only the files
above, of bounded sizes. They are unpacked into a hidden folder, where each is looked into, and one rename makes a run
of it. Equal runs give equal bytes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from safetensors import SafetensorError, safe_open

from mvm.data.points import POINT_FILES
from mvm.errors import RunError
from mvm.files import beside, cannot_write, checkpoints, sweep
from mvm.plain import MOST_TEXT, parse, read_bytes
from mvm.runs import layout
from mvm.runs.documents import MOST_SCORES, Origin, scores_in, text_in
from mvm.runs.layout import check_name
from mvm.runs.records import kind_of, record_of
from mvm.runs.run import Run
from mvm.runs.views import Views, array_in

__all__ = ["pack", "unpack"]

MiB, GiB = 2**20, 2**30
MOST_BYTES = 16 * GiB
MOST_MEMBERS = 50_000
MOST_RATIO = 200  # of a member's size to its compressed size
RATIO_FROM = MiB  # smaller members may compress as well as they like
CHUNK = MiB
EPOCH = (1980, 1, 1, 0, 0, 0)  # a ZIP's first date


@dataclass(frozen=True)
class FileKind:
    """One kind of file in a packed run.

    Attributes:
        pattern: of its name in the run's folder.
        most: bytes.
        check: given the unpacked file and its run, raises ValueError where it is not what its name says.
        heavy: left out of a light archive.
        text: worth compressing; all else is stored, since float numbers do not compress.
    """

    pattern: str
    most: int
    check: Callable[[Path, Path], None]
    heavy: bool = False
    text: bool = False

    def holds(self, name: str) -> bool:
        """Whether a file of this name is of this kind."""
        return re.fullmatch(self.pattern, name) is not None


def pack(
    run: Run, out: Path, *, light: bool = False, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Write a run into one ZIP.

    A run that is being trained may be packed: each file is read whole, the checkpoint before the records, which reach
    as far or farther. So what is unpacked is such a run as a trainer that is killed leaves, and can be resumed.

    Args:
        run: which.
        out: FILE.zip; appears when it is whole.
        light: without snapshots, frames and kept checkpoints: enough to score, sample and resume.
        on_progress: called with the bytes done and in all.

    Returns:
        Names of the members.

    Raises:
        RunError: `out` is no FILE.zip, or the run is larger than `unpack` takes.
    """
    if out.suffix.lower() != ".zip" or out.is_dir():
        raise RunError(f"out: {out} must be a file that ends in .zip")
    files = list(_files(run, light=light))
    total, done = _packable(run, files), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(out)
    try:
        with zipfile.ZipFile(temporary, "x") as archive:
            for name, path, kind in files:
                with path.open("rb") as file:
                    info = zipfile.ZipInfo(f"{run.name}/{name}", EPOCH)
                    info.compress_type = zipfile.ZIP_DEFLATED if kind.text else zipfile.ZIP_STORED
                    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                    info.file_size = left = os.fstat(file.fileno()).st_size  # records may grow meanwhile
                    with archive.open(info, "w") as member:
                        while left and (part := file.read(min(CHUNK, left))):
                            member.write(part)
                            left, done = left - len(part), done + len(part)
                            on_progress(done, total)
        temporary.replace(out)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(out)) from None  # a full disk names no file
    finally:
        temporary.unlink(missing_ok=True)
    return [f"{run.name}/{name}" for name, _, _ in files]


def unpack(
    source: str | Path | IO[bytes],
    *,
    name: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """The run in a ZIP that `pack` made, as a new run under `checkpoints()`; all of it, or nothing.

    Args:
        source: FILE.zip, or an open one.
        name: of the new run; that of the ZIP's folder when None, or of the ZIP where it has no folder.
        on_progress: called with the bytes done and in all.

    Raises:
        RunError: it is no packed run, it is damaged or not to be trusted, or the name is taken.
    """
    label = Path(source if isinstance(source, str | Path) else getattr(source, "name", "archive.zip")).name
    with _refusals(label), zipfile.ZipFile(source) as archive:
        folder, members = _members(archive.infolist(), _size(archive))
        name = _free_name(name or folder or Path(label).stem)
        total = sum(info.file_size for info in members.values())
        _find_room(total)
        with _aside(name) as aside:
            done = 0
            for inner in sorted(members, key=_order):  # the config first
                for part in _extract(archive, members[inner], aside / inner):
                    done += part
                    on_progress(done, total)
                _examine(inner, aside)
            if Run(aside).config.data.lower().endswith(POINT_FILES) and layout.POINTS not in members:
                raise ValueError(f"has no {layout.POINTS}, the points that its run is about")
            try:
                aside.rename(checkpoints() / name)
            except OSError:
                _free_name(name)  # someone has taken it meanwhile
                raise
    return Run(checkpoints() / name)


# -- packing -----------------------------------------------------------------------------------------------------------


def _files(run: Run, *, light: bool) -> Iterator[tuple[str, Path, FileKind]]:
    """(name, path, kind) of all that is packed, in the order of `FILE_KINDS`."""
    inside = sorted(path.relative_to(run.path).as_posix() for path in (*run.path.glob("*"), *run.path.glob("*/*")))
    for kind in FILE_KINDS:
        if not (light and kind.heavy):
            yield from ((name, run.path / name, kind) for name in inside if kind.holds(name))


def _packable(run: Run, files: list[tuple[str, Path, FileKind]]) -> int:
    """Bytes in all; RunError if they are more than is taken back."""
    sizes = [(name, path.stat().st_size, kind.most) for name, path, kind in files]
    total = sum(size for _, size, _ in sizes)
    if len(files) > MOST_MEMBERS:
        raise RunError(f"archive: {run.name} has {len(files):,} files; a ZIP of a run may have {MOST_MEMBERS:,}")
    for name, size, most in (*sizes, (run.name, total, MOST_BYTES)):
        if size > most:
            raise RunError(f"archive: {name} is {size:,} bytes, unpack takes {most:,}; copy the run's folder instead")
    return total


# -- the list of members -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _refusals(label: str) -> Iterator[None]:
    """Say in one line what is wrong with an archive."""
    try:
        yield
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError(f"archive: no file {error.filename}") from None
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a damaged list sends its reader to nowhere
            raise
        no_zip = "not a zip file" in str(error)
        reason = "is not a ZIP, or a part of one" if no_zip else f"is damaged: {str(error) or 'it ends too early'}"
        raise RunError(f"archive: {label} {reason}; get it again, nothing was unpacked") from None
    except ValueError as error:
        raise RunError(f"archive: {label} {error}; nothing was unpacked") from None


def _members(infos: list[zipfile.ZipInfo], size: int) -> tuple[str | None, dict[str, zipfile.ZipInfo]]:
    """The folder that all members are in, if they are in one, and the members by their name in the run's folder.

    Raises:
        ValueError: the list is not that of a packed run.
    """
    if len(infos) > MOST_MEMBERS:
        raise ValueError(f"has {len(infos):,} members; a run has at most {MOST_MEMBERS:,}")
    tops = [info.orig_filename.removesuffix(layout.CONFIG) for info in infos if _is_config(info.orig_filename)]
    if not tops:
        raise ValueError(f"has no {layout.CONFIG} in it: it is no packed run")
    top, members = tops[0], {}
    for info in infos:
        member = info.orig_filename
        shown = f"member {member[:80]!r}"
        if member in {top, *(f"{top}{folder}/" for folder in layout.FOLDERS)} and info.file_size == 0:
            continue  # a folder
        kind = _kind(member.removeprefix(top)) if member.startswith(top) else None
        if kind is None or member != info.filename:
            raise ValueError(f"has {shown}, which is no file of a run")
        if member.removeprefix(top) in members:
            raise ValueError(f"has {shown} twice")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"has {shown}, which is a link or no plain file")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"has {shown}, which is encrypted or compressed in an unusual way")
        if info.file_size > kind.most:
            raise ValueError(f"has {shown} of {info.file_size:,} bytes; at most {kind.most:,} are taken")
        if info.file_size > RATIO_FROM and info.file_size > MOST_RATIO * info.compress_size:
            raise ValueError(f"has {shown}, which would grow from {info.compress_size:,} to {info.file_size:,} bytes")
        members[member.removeprefix(top)] = info
    if (total := sum(info.file_size for info in infos)) > MOST_BYTES:
        raise ValueError(f"would be {total:,} bytes unpacked; at most {MOST_BYTES:,} are taken")
    if sum(info.compress_size for info in infos) > size:
        raise ValueError("has members that overlap")
    return top.removesuffix("/") or None, members


def _is_config(member: str) -> bool:
    """Whether this is the config at the top, or in one folder with a harmless name."""
    *folders, name = member.split("/")
    return name == layout.CONFIG and (not folders or (len(folders) == 1 and _is_plain(folders[0])))


def _is_plain(folder: str) -> bool:
    return folder not in ("", ".", "..") and "\\" not in folder and folder.isprintable()


def _kind(name: str) -> FileKind | None:
    return next((kind for kind in FILE_KINDS if kind.holds(name)), None)


def _order(name: str) -> int:
    return next(number for number, kind in enumerate(FILE_KINDS) if kind.holds(name))


def _size(archive: zipfile.ZipFile) -> int:
    """Bytes of the ZIP itself."""
    assert archive.fp is not None, "it is open"
    return archive.fp.seek(0, 2)


def _free_name(name: str) -> str:
    """The name, if a run can have it.

    Raises:
        RunError: it is taken, or no name for a run.
    """
    try:
        check_name(name)
    except RunError as error:
        raise RunError(f"{error}; give a --name") from None
    if (checkpoints() / name).exists():
        raise RunError(f"run: {name!r} exists in {checkpoints()}; give another --name")
    return name


def _find_room(total: int) -> None:
    there = next(folder for folder in (checkpoints().absolute(), *checkpoints().absolute().parents) if folder.exists())
    if (free := shutil.disk_usage(there).free) < total + 16 * MiB:
        raise RunError(f"archive: {total:,} bytes are needed in {there}, {free:,} are free; make room for the run")


# -- unpacking ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _aside(name: str) -> Iterator[Path]:
    """A hidden folder for a run that is not whole yet; it is gone in the end."""
    root = checkpoints()
    try:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        hidden = beside(root / "unpacking")
        hidden.mkdir()
    except OSError as error:
        raise cannot_write(root / name, error) from None
    try:
        (hidden / name).mkdir()
        yield hidden / name
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Iterator[int]:
    """Write one member, of no more bytes than it has declared; yields how many at a time."""
    target.parent.mkdir(exist_ok=True)
    real = 0
    with archive.open(info) as member, target.open("xb") as file:
        while part := member.read(CHUNK):
            real += len(part)
            if real > info.file_size:
                break
            file.write(part)
            yield len(part)
    if real != info.file_size:
        raise ValueError(f"declares {info.file_size:,} bytes for {info.filename!r}, which has other {real:,}")


def _examine(inner: str, folder: Path) -> None:
    """Look into one unpacked file.

    Raises:
        RunError: the config is not one of ours.
        ValueError: the file is not what its name says.
    """
    try:
        FILE_KINDS[_order(inner)].check(folder / inner, folder)
    except RunError:
        raise
    except (ValueError, SafetensorError, RecursionError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"has a damaged {inner}: {reason}") from None


def _check_config(path: Path, folder: Path) -> None:
    parse(read_bytes(path, most=MOST_TEXT))
    Run(folder)


def _check_text(path: Path, folder: Path) -> None:
    text_in(path)


def _check_fork(path: Path, folder: Path) -> None:
    Origin.of(path)


def _check_scores(path: Path, folder: Path) -> None:
    scores_in(path, Run(folder).config.members)


def _check_records(path: Path, folder: Path) -> None:
    """Lines that are no JSON are passed over, as readers do: a killed trainer leaves a part of one."""
    members = Run(folder).config.members
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            try:
                parse(line)
                record_of(value, kind_of(line), members)
            except ValueError as error:
                raise ValueError(f"line {number} is no record of {len(members)} networks: {error}") from None


def _check_points(path: Path, folder: Path) -> None:
    if (points := array_in(path)).ndim != 2:
        raise ValueError(f"{points.dtype} of shape {points.shape} in place of numbers in 2 dimensions")


def _check_reals(path: Path, folder: Path) -> None:
    Views(Run(folder).config).reals(path)


def _check_snapshot(path: Path, folder: Path) -> None:
    Views(Run(folder).config).snapshot(path)


def _check_frame(path: Path, folder: Path) -> None:
    Views(Run(folder).config).frame(path)


def _check_tensors(path: Path, folder: Path) -> None:
    """The header, which must describe the whole file; the tensors are not read."""
    with safe_open(path, framework="np") as file:
        if not file.keys():
            raise ValueError("there is nothing in it")


STEP = "[0-9]{8}"


def _named(*names: str) -> str:
    """Pattern of exactly these names."""
    return "|".join(map(re.escape, names))


# In the order of reading: a training that goes on meanwhile has written its records up to the checkpoint before it.
FILE_KINDS = (
    FileKind(_named(layout.CONFIG), MOST_TEXT, _check_config, text=True),
    FileKind(_named(layout.NOTE), MOST_TEXT, _check_text, text=True),
    FileKind(_named(layout.ORIGIN), MOST_TEXT, _check_fork, text=True),
    FileKind(_named(layout.POINTS), 4 * GiB, _check_points),
    FileKind(_named(layout.REALS), 4 * GiB, _check_reals),
    FileKind(_named(layout.CHECKPOINT, layout.BEST), 4 * GiB, _check_tensors),
    FileKind(rf"{layout.KEPT}/{STEP}\.safetensors", 4 * GiB, _check_tensors, heavy=True),
    FileKind(rf"{layout.SNAPSHOTS}/{STEP}\.safetensors", GiB, _check_snapshot, heavy=True),
    FileKind(rf"{layout.FRAMES}/{STEP}\.npy", 4 * GiB, _check_frame, heavy=True),
    FileKind(_named(layout.RECORDS), 256 * MiB, _check_records, text=True),
    FileKind(_named(layout.SCORES), MOST_SCORES, _check_scores, text=True),
)
