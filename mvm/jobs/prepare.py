"""Prepare a cache of pictures in the background: the work outlives the page that asked for it, and the app.

    checkpoints/.images/.NAME.prepare.json     the request: source, time, and the job of its launcher
                        .NAME.prepare.log      output of the process
                        .NAME.prepare.lock     held by the process

Cancelled or killed work goes on where it was when it is asked for again.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mvm.data.cache import Progress, image_folder, open_cache, progress, writing
from mvm.data.images import FACES, too_few
from mvm.data.kinds import kind_of
from mvm.errors import ConfigError, RunBusy
from mvm.files import locked, write_atomic
from mvm.jobs.launch import LAUNCHERS, launcher_of
from mvm.jobs.launcher import Handle, Task, last_line
from mvm.plain import read_object
from mvm.runs.events import ALIVE
from mvm.runs.layout import check_name
from mvm.words import printable

__all__ = ["KINDS", "Preparation", "cache_path", "launch", "preparations", "sole"]

KINDS = {"celeba": "CelebA", "lsun": "LSUN", "images": "Own pictures"}


@dataclass(frozen=True)
class Preparation:
    """A cache that was asked for in the background.

    Attributes:
        name: of the cache.
        source: path of the pictures.
        job: by which its launcher finds it.
        began: time of the request, s since the epoch.
        launcher: name of its launcher.
    """

    name: str
    source: str
    job: str
    began: float
    launcher: str = "local"

    @property
    def out(self) -> Path:
        """The cache."""
        return image_folder() / f"{self.name}.npy"

    @property
    def handle(self) -> Handle:
        """The work."""
        return launcher_of(self.launcher).attach(_task(self.out), self.job)

    @property
    def state(self) -> str:
        """running, finished or failed."""
        state = self.handle.state
        return "running" if state in ALIVE else state

    @property
    def progress(self) -> Progress | None:
        """Files done, in all and skipped; None before they are counted."""
        return progress(self.out)

    @property
    def outcome(self) -> str:
        """In one line: how many pictures there are and what was skipped, or why there are none."""
        if self.out.exists():
            made = open_cache(self.out)[1]
            files = "file" if len(made.skipped) == 1 else "files"
            count, _, reasons = made.skipped_summary.partition(": ")
            skipped = f"{count} {files} skipped: {reasons}" if made.skipped else "no file skipped"
            assumed = "".join(f"; {sentence}" for sentence in made.assumed)
            few = f". They cannot be trained on: {reason}" if (reason := too_few(made)) else ""
            return f"{made.count:,} pictures of {made.size} x {made.size}; {skipped}{assumed}{few}"
        reason = last_line(_beside(self.out, "log")).removeprefix("mvm: ")
        return reason or "the process exited unexpectedly; preparing the same again goes on where it was"

    def cancel(self) -> None:
        """End its processes at once, and forget it; decoded pictures are kept for when it is asked for again."""
        self.handle.cancel()
        self.forget()

    def forget(self) -> None:
        """List it no more; a finished cache stays."""
        for what in ("json", "log"):
            _beside(self.out, what).unlink(missing_ok=True)


def preparations() -> list[Preparation]:
    """Those that were asked for and not forgotten, newest first."""
    found = []
    for path in image_folder().glob(".*.prepare.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Preparation(**read_object(path)))
    known = (preparation for preparation in found if preparation.launcher in LAUNCHERS)
    return sorted(known, key=lambda preparation: preparation.began, reverse=True)


def launch(
    kind: str, source: str, *, size: int, crop: int | None = None, name: str | None = None, launcher: str = "local"
) -> Preparation:
    """Prepare a cache in the background; the work outlives this process.

    Args:
        kind: of `KINDS`.
        source: path on this machine.
        size: pixels each way.
        crop: centred pixels taken of each; the largest square when None.
        name: of the cache; made from kind and size when None.
        launcher: where it runs, of `mvm.jobs.launch.LAUNCHERS`.

    Raises:
        ConfigError: there is nothing at that path, the cache exists or is being prepared, or the folder is read-only.
    """
    if not source.strip():
        raise ConfigError("source: give the path of a folder, a ZIP, a Parquet or array file, or an LMDB")
    path = Path(source.strip()).expanduser().absolute()
    if not path.exists():
        raise ConfigError(f"source: no file or folder {printable(path)}")
    out = cache_path(kind, path, size, name)
    if any(known.name == out.stem and known.state == "running" for known in preparations()):
        raise ConfigError(f"name: {out.stem} is being prepared already")
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        _beside(out, "log").unlink(missing_ok=True)
    arguments = ("prepare", kind, str(path), "--size", str(size), "--name", out.stem)
    task = _task(out, (*arguments, *(("--crop", str(crop)) if crop else ())))
    with writing(out.parent):
        job = launcher_of(launcher).submit(task).job
        preparation = Preparation(out.stem, printable(path), job, time.time(), launcher)
        write_atomic(_beside(out, "json"), json.dumps(asdict(preparation)).encode())
    return preparation


def _task(out: Path, arguments: tuple[str, ...] = ()) -> Task:
    """The task that makes a cache; arguments are for its start."""
    return Task(out.stem, arguments, log=_beside(out, "log"), lock=_beside(out, "lock"), result=out)


def cache_path(kind: str, source: Path, size: int, name: str | None) -> Path:
    """Path of a new cache.

    Raises:
        ConfigError: it is there already, or names other data.
        RunError: no file can have this name.
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
        ConfigError: another one does, or the folder is read-only.
        OSError: the disk is full.
    """
    try:
        with writing(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            with locked(_beside(out, "lock"), wait=0):
                yield
    except RunBusy:
        raise ConfigError(f"name: {out.stem} is being prepared by another process") from None


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.stem}.prepare.{what}")
