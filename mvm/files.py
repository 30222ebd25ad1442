"""Atomic writes, and locks that the kernel releases when their process ends.

    write_atomic, write_array, write_tensors     write a temporary file beside the target, then rename it
    new_file, new_folder                         the same for a file written piece by piece, and for a folder
    append_line                                  append a line in a single write
    link                                         give a file a second name; files are replaced, never modified
    locked, lock_is_held                         an exclusive lock of the kernel on a file
    sweep                                        remove what killed processes have left in a folder
    advice, cannot_write                         what to do about an OSError of a disk that is full or read-only

After a crash, readers find either the old or the new content; with `durable`, even after a power failure. No pickle.
Processes that only wait import this module: it loads neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mvm.errors import RunBusy, RunError, line_of
from mvm.processes import MARK, identity, lives

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = [
    "NO_RIGHT",
    "NO_ROOM",
    "advice",
    "append_line",
    "beside",
    "cannot_write",
    "checkpoints",
    "hide_folder",
    "inode_of",
    "link",
    "lock_is_held",
    "locked",
    "lost_target",
    "new_file",
    "new_folder",
    "read_tensors",
    "remove_hidden",
    "sweep",
    "write_array",
    "write_atomic",
    "write_tensors",
]


def checkpoints() -> Path:
    """Folder of all runs: $MVM_CHECKPOINTS, else checkpoints/ in the working directory."""
    return Path(os.environ.get("MVM_CHECKPOINTS") or Path.cwd() / "checkpoints")


def beside(path: Path) -> Path:
    """Path of a hidden temporary file beside `path`, unique to the calling thread; `sweep` knows whose it is."""
    return path.with_name(f".{path.name[:150]}.{identity()}.{threading.get_ident()}")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, and rename it to `target` at the end; an exception removes it.

    Raises:
        FileExistsError: `target` exists and is not an empty folder.
        FileNotFoundError: a link above it is broken.
    """
    _check_links(target.parent)
    temporary = beside(target)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            temporary.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def new_file(target: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Yield a temporary file to write, and rename it to `target` at the end; an exception removes it.

    `durable` waits until the content is on disk.
    """
    temporary = beside(target)
    try:
        with _named(target), temporary.open("w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file's content; `durable` waits until the content is on disk."""
    with new_file(path, durable=durable) as file:
        file.write(content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def write_tensors(path: Path, tensors: dict[str, Tensor], *, durable: bool = False) -> None:
    """Write tensors as safetensors, atomically."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomic(path, content, durable=durable)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load

    return load(path.read_bytes())


def append_line(path: Path, record: dict[str, Any], *, create: bool = True) -> None:
    """Append one JSON line in a single write; non-finite numbers become null.

    Raises:
        FileNotFoundError: the file is not there, and `create` is false.
    """
    line = json.dumps(_plain(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if create else 0), 0o644)
    try:
        with _named(path):
            written = os.write(descriptor, line)
            if written < len(line):  # the disk is full: remove the partial line, so that the next record starts a line
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """Replace `target` by a hard link to `source`, or by a copy where the file system has no hard links.

    Files of a run are replaced but never modified, so both names keep their content.
    """
    temporary = beside(target)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def hide_folder(folder: Path) -> Path:
    """Rename a folder to a hidden name that marks it for deletion; returns the new path.

    For a link, its target is hidden in place, and the link removed. A link to a folder beside it is hidden alone: that
    folder is listed under its own name.
    """
    real = Path(os.path.realpath(folder))
    if not folder.is_symlink() or real.parent == Path(os.path.realpath(folder.parent)):
        return folder.rename(_condemned(folder))
    hidden = real.rename(_condemned(real))
    try:
        folder.unlink()
    except OSError:
        hidden.rename(real)
        raise
    return hidden


def _condemned(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.deleted-{identity()}")


def remove_hidden(gone: Path) -> None:
    """Remove a hidden folder, and what killed processes left beside it."""
    if gone.is_symlink():
        gone.unlink()
    else:
        shutil.rmtree(gone)
    sweep(gone.parent)


OWNER = rf"{MARK}|[0-9]+"  # earlier versions: the number alone
LEFT = re.compile(rf"\..+\.(?:deleted-(?P<deleter>{OWNER})|(?P<writer>{OWNER})\.[0-9]{{6,}})")
STALE = 86400.0  # seconds after which a temporary file of another machine is of a process that was killed


def sweep(folder: Path | str) -> None:
    """Remove temporary files and folders of processes that were killed; those of living processes stay.

    On a shared disk, those of other machines go when their time is more than a day from now, past or future.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and (found := LEFT.fullmatch(entry.name)) and _is_left(entry, found):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()


def _is_left(entry: os.DirEntry[str], found: re.Match[str]) -> bool:
    """Whether the process that made a temporary file has ended; what was to be deleted goes in any case."""
    if found["deleter"]:
        return True
    if (living := lives(found["writer"])) is not None:
        return not living
    with contextlib.suppress(OSError):
        return abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) > STALE
    return False


def inode_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder, which a later one of the same name lacks; None if it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def lost_target(path: Path) -> Path | None:
    """Target of a broken link; None for other paths."""
    return path.readlink() if os.path.islink(path) and not os.path.exists(path) else None  # noqa: PTH110, PTH114


def _check_links(folder: Path) -> None:
    """Raise FileNotFoundError for a broken link in a path; the system's error would be that it exists."""
    for part in (folder, *folder.parents):
        if target := lost_target(part):
            raise FileNotFoundError(errno.ENOENT, f"{part} is a link to {target}, which is not there", str(part))


NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def advice(error: OSError) -> str:
    """Advice on a disk of runs that is full or read-only, after a semicolon; "" on any other error."""
    runs = checkpoints().absolute()
    named = Path(os.fsdecode(error.filename)).absolute() if isinstance(error.filename, str | bytes) else None
    if named is None or not (named.is_relative_to(runs) or runs.is_relative_to(named)):
        return ""
    if error.errno in NO_RIGHT:
        return f"; make {runs} writable, or set $MVM_CHECKPOINTS to a folder that is"
    if error.errno in NO_ROOM:
        return "; make room, or set $MVM_CHECKPOINTS to a folder on another disk"
    return ""


def cannot_write(path: Path, error: OSError) -> RunError:
    """The error of a run or a file of it that could not be written: the system's reason, and advice."""
    return RunError(f"run: cannot write {path}: {line_of(error)}{advice(error)}")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the path to an OSError of the system, which has none on a full disk; a library's own stays as it is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _plain(value: Any) -> Any:
    """Convert to JSON values: tensors to lists with float32's number of digits, non-finite numbers to None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain([float(f"{number:.8g}") for number in value.tolist()])
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# -- locks -------------------------------------------------------------------------------------------------------------

# POSIX locks do not exclude threads of the same process, and closing any descriptor of the file releases them
_held: set[Path] = set()
_holding = threading.Lock()


@contextlib.contextmanager
def locked(path: Path, *, wait: float = 0.5, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it when the process ends for any reason.

    Args:
        path: lock file, created if missing.
        wait: seconds to wait for the lock.
        busy: message of the error; by default, that another process trains the run.

    Raises:
        RunBusy: another thread or process still holds the lock after `wait`.
        RunError: the disk has no locks.
    """
    path = _real(path)
    give_up = time.monotonic() + wait
    while (file := _try_lock(path)) is None:
        if time.monotonic() > give_up:
            raise RunBusy(busy or f"run: {path.parent.name} is being trained by another process; stop it first")
        time.sleep(0.02)
    try:
        yield
    finally:
        with _holding:
            file.close()
            _held.discard(path)


def _try_lock(path: Path) -> IO[bytes] | None:
    """Lock a file and return it open; None if another thread or process holds the lock."""
    with _holding:
        if path in _held:
            return None
        file = path.open("a+b")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in NO_LOCKS:
                raise RunError(
                    f"lock: the disk of {path.parent} has no locks ({error.strerror}), and a run needs them; keep runs "
                    "on another disk: set $MVM_CHECKPOINTS to a folder there"
                ) from None
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise OSError(error.errno, error.strerror, str(path)) from None
            return None
        _held.add(path)
        return file


def lock_is_held(path: Path) -> bool:
    """Whether a living process holds the lock; the test itself holds a shared lock for an instant only.

    No process holds a lock on a disk without locks, nor one that this user may not read.
    """
    with _holding:
        if _held and _real(path) in _held:
            return True
        try:
            file = path.open("rb")
        except OSError:
            return False
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                return error.errno in (errno.EACCES, errno.EAGAIN)
        return False


NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


def _real(path: Path) -> Path:
    """The path without links: a file that has two of them is locked once."""
    return Path(os.path.realpath(path))
