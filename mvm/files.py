"""Atomic writes, and locks that the kernel releases when their process ends.

    write_atomic, write_array, write_tensors     write a temporary file beside the target, then rename it
    new_folder                                   the same for a folder
    append_line                                  append a line in a single write
    link                                         give a file a second name; files are replaced, never modified
    locked, lock_is_held                         an exclusive lock of the kernel on a file

After a crash, readers find either the old or the new content; with `durable`, even after a power failure. No pickle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mvm.errors import RunBusy

if TYPE_CHECKING:
    from torch import Tensor  # importing torch takes seconds, and processes that decode pictures do not need it

__all__ = [
    "append_line",
    "beside",
    "checkpoints",
    "hide_folder",
    "link",
    "lock_is_held",
    "locked",
    "new_folder",
    "read_tensors",
    "remove_hidden",
    "write_array",
    "write_atomic",
    "write_tensors",
]


def checkpoints() -> Path:
    """Folder of all runs: $MVM_CHECKPOINTS, else checkpoints/ in the working directory."""
    return Path(os.environ.get("MVM_CHECKPOINTS") or Path.cwd() / "checkpoints")


def beside(path: Path) -> Path:
    """Path of a hidden temporary file beside `path`, unique to the calling thread."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, and rename it to `target` at the end; an exception removes it.

    Raises:
        FileExistsError: `target` exists and is not an empty folder.
    """
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


def write_atomic(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file's content; `durable` waits until the content is on disk."""
    temporary = beside(path)
    try:
        with _named(path):
            with temporary.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
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


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in a single write; non-finite numbers become null."""
    line = json.dumps(_plain(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
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
    """Rename a folder to a hidden name that marks it for deletion; returns the new path."""
    return folder.rename(folder.with_name(f".{folder.name}.deleted-{os.getpid()}"))


def remove_hidden(gone: Path) -> None:
    """Remove a hidden folder, and other hidden folders that a killed process left beside it."""
    for folder in gone.parent.glob(".*.deleted-*"):
        shutil.rmtree(folder, ignore_errors=folder != gone)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the path to an OSError; the system's error on a full disk has none."""
    try:
        yield
    except OSError as error:
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
    """
    path = path.absolute()
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
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return None
        _held.add(path)
        return file


def lock_is_held(path: Path) -> bool:
    """Whether a living process holds the lock; the test itself holds a shared lock for an instant only."""
    path = path.absolute()
    with _holding:
        if path in _held:
            return True
        try:
            with path.open("rb") as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
        return False
