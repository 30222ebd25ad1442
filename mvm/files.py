"""Files that are whole at any moment, and locks that end with their holder.

    write_atomic, write_array, write_tensors     written beside their place and renamed into it
    new_folder                                   the same for a whole folder
    append_line                                  one line in one write
    link                                         a second name of a file that will only ever be replaced
    locked, lock_is_held                         the kernel's lock on a file: it is dropped however its holder ends

A reader, or who comes after a killed process, finds the old content or the new; of what is `durable` also after a power
cut. No pickle.
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
    from torch import Tensor  # importing it takes seconds, and the processes that decode pictures need none

__all__ = [
    "append_line",
    "beside",
    "checkpoints",
    "hide_folder",
    "link",
    "lock_is_held",
    "locked",
    "new_folder",
    "read_arrays",
    "read_tensors",
    "remove_hidden",
    "write_array",
    "write_atomic",
    "write_tensors",
]


def checkpoints() -> Path:
    """The folder of all runs: $MVM_CHECKPOINTS, else checkpoints/ in the working directory."""
    return Path(os.environ.get("MVM_CHECKPOINTS") or Path.cwd() / "checkpoints")


def beside(path: Path) -> Path:
    """Where a thread writes what it then renames to a path: hidden, and no other thread's."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that takes its place when all is in it, or leaves nothing.

    Raises:
        FileExistsError: the place is taken, if only by a folder with something in it.
    """
    aside = beside(target)
    aside.mkdir(parents=True)
    try:
        yield aside
        try:
            aside.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_atomic(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a whole file; `durable` waits until the disk has it."""
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
    """An array as .npy, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def write_tensors(path: Path, tensors: dict[str, Tensor], *, durable: bool = False) -> None:
    """Tensors as safetensors, atomically."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomic(path, content, durable=durable)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load

    return load(path.read_bytes())


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays of a safetensors file; None if it is not there or damaged."""
    try:
        return {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    except Exception:
        return None


def append_line(path: Path, record: dict[str, Any]) -> None:
    """One JSON line, appended in a single write; non-finite numbers become null."""
    line = json.dumps(_plain(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with _named(path):
            written = os.write(descriptor, line)
            if written < len(line):  # the disk took a part: take it back, so that a later line begins a line
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; the file that had it is let go. A copy where the disk has no such names.

    Files of a run are replaced as a whole and never written into, so either name keeps what it has.
    """
    temporary = beside(target)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def hide_folder(folder: Path) -> Path:
    """The folder under a name that no one looks at."""
    return folder.rename(folder.with_name(f".{folder.name}.deleted-{os.getpid()}"))


def remove_hidden(gone: Path) -> None:
    """Remove a hidden folder, and those at which another process was killed."""
    for left in gone.parent.glob(".*.deleted-*"):
        shutil.rmtree(left, ignore_errors=left != gone)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file could not be written: the system's error on a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _plain(value: Any) -> Any:
    """JSON values: tensors to lists of as many digits as float32 has, non-finite numbers to None."""
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

# POSIX locks do not exclude threads of their own process, and closing any descriptor of the file drops them
_held: set[Path] = set()
_holding = threading.Lock()


@contextlib.contextmanager
def locked(path: Path, *, wait: float = 0.5, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel drops it when the process ends, however it ends.

    Args:
        path: the lock's file, made if need be.
        wait: seconds to try before giving up.
        busy: what is said then; that the run is being trained when None.

    Raises:
        RunBusy: someone else holds it.
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
    """Whether any living process holds the lock; looking does not disturb it for longer than an instant."""
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
