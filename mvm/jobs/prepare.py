"""Preparing a cache of pictures in the background: it outlives the page that asked for it, and the app.

    checkpoints/.images/.NAME.prepare.json     what was asked for, and by which process it is done
                        .NAME.prepare.log      what that process printed
                        .NAME.prepare.lock     held by it

A preparing that was cancelled or killed goes on where it was when it is asked for again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mvm.data.cache import Progress, image_folder, open_cache, progress
from mvm.data.images import FACES, too_few
from mvm.data.kinds import kind_of
from mvm.errors import ConfigError, RunBusy
from mvm.files import lock_is_held, locked, write_atomic
from mvm.jobs.process import detached
from mvm.runs.layout import check_name

__all__ = ["KINDS", "Preparing", "cache_path", "launch", "preparings", "sole"]

KINDS = {"celeba": "CelebA", "lsun": "LSUN", "images": "Own pictures"}
STARTING = 60  # seconds that a launched process may take to get hold of its lock

_children: dict[int, subprocess.Popen] = {}  # those started here: whoever ended is seen as ended


@dataclass(frozen=True)
class Preparing:
    """One preparing that was asked for in the background.

    Attributes:
        name: of the cache.
        source: path of the pictures.
        pid: process that prepares it.
        began: when it was asked for, s since the epoch.
    """

    name: str
    source: str
    pid: int
    began: float

    @property
    def out(self) -> Path:
        """The cache."""
        return image_folder() / f"{self.name}.npy"

    @property
    def state(self) -> str:
        """running, finished or failed."""
        if lock_is_held(_beside(self.out, "lock")) or (time.time() - self.began < STARTING and _exists(self.pid)):
            return "running"
        return "finished" if self.out.exists() else "failed"

    @property
    def progress(self) -> Progress | None:
        """Files done, in all and skipped; None before they are counted."""
        return progress(self.out)

    @property
    def outcome(self) -> str:
        """In one line: how many pictures there are and what was skipped, or why there are none."""
        if self.out.exists():
            made = open_cache(self.out)[1]
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in made.reasons.items())
            files = "1 file" if len(made.skipped) == 1 else f"{len(made.skipped):,} files"
            skipped = f"{files} skipped: {reasons}" if made.skipped else "no file skipped"
            few = f". They cannot be trained on: {reason}" if (reason := too_few(made)) else ""
            return f"{made.count:,} pictures of {made.size} x {made.size}; {skipped}{few}"
        with contextlib.suppress(OSError):
            lines = [line for line in _beside(self.out, "log").read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1].removeprefix("mvm: ")
        return "the process ended without a word; preparing the same again goes on where it was"

    def cancel(self) -> None:
        """End its processes at once, and forget it; what is decoded is kept for when it is asked for again."""
        if self.state == "running":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
        self.forget()

    def forget(self) -> None:
        """List it no more; a finished cache stays."""
        for what in ("json", "log"):
            _beside(self.out, what).unlink(missing_ok=True)


def preparings() -> list[Preparing]:
    """Those that were asked for and not forgotten, newest first."""
    found = []
    for path in image_folder().glob(".*.prepare.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Preparing(**json.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda one: one.began, reverse=True)


def launch(kind: str, source: str, *, size: int, crop: int | None = None, name: str | None = None) -> Preparing:
    """Prepare a cache in a process of its own that outlives this one.

    Args:
        kind: of `KINDS`.
        source: path on this machine.
        size: pixels each way.
        crop: centred pixels taken of each; the largest square when None.
        name: of the cache; made from kind and size when None.

    Raises:
        ConfigError: there is nothing at that path, or the cache exists or is being prepared.
    """
    if not source.strip():
        raise ConfigError("source: give the path of a ZIP, a folder of pictures or Parquet files, or an LMDB")
    path = Path(source.strip()).expanduser().absolute()
    if not path.exists():
        raise ConfigError(f"source: no file or folder {path}")
    out = cache_path(kind, path, size, name)
    if any(one.name == out.stem and one.state == "running" for one in preparings()):
        raise ConfigError(f"name: {out.stem} is being prepared already")
    out.parent.mkdir(parents=True, exist_ok=True)
    log = _beside(out, "log")
    log.unlink(missing_ok=True)
    arguments = ["prepare", kind, str(path), "--size", str(size), "--name", out.stem]
    process = detached([*arguments, *(["--crop", str(crop)] if crop else [])], log=log)
    _children[process.pid] = process
    preparing = Preparing(out.stem, str(path), process.pid, time.time())
    write_atomic(_beside(out, "json"), json.dumps(asdict(preparing)).encode())
    return preparing


def cache_path(kind: str, source: Path, size: int, name: str | None) -> Path:
    """Where a cache will lie.

    Raises:
        ConfigError: it is there already, or names other data.
        RunError: such a name cannot be.
    """
    stem = kind if kind != "images" else re.sub(r"[^A-Za-z0-9]+", "-", source.resolve().stem).strip("-") or "pictures"
    name = check_name(name or f"{stem}-{size}", "pictures")
    if name == FACES or kind_of(name).name != "images":
        raise ConfigError(f"name: {name!r} names a toy data set or a file of points already; give another --name")
    out = image_folder() / f"{name}.npy"
    if out.exists():
        raise ConfigError(f"name: {out} exists; give another --name, or remove it and its .json")
    return out


@contextlib.contextmanager
def sole(out: Path) -> Iterator[None]:
    """Be the only process that prepares this cache.

    Raises:
        ConfigError: another one does.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(_beside(out, "lock"), wait=0):
            yield
    except RunBusy:
        raise ConfigError(f"name: {out.stem} is being prepared by another process") from None


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.stem}.prepare.{what}")


def _exists(pid: int) -> bool:
    if pid in _children:
        return _children[pid].poll() is None
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
