"""The layout of a run: every file name of its folder, and which names a folder may have.

    checkpoints/<run>/config.json                      written once
                      data.npy                         a person's own points, copied in, so that the run is complete
                      scalars.jsonl                    one line per record or event, appended in one write
                      snapshots/00001000.safetensors   what the screen shows of a step
                      live.safetensors                 the newest such view, for slow runs between two snapshots
                      frames/00001000.npy              UMAP coordinates (mvm.geometry.umap_film)
                      checkpoint.safetensors           resume is exact; best.safetensors: best generator per variant
                      checkpoints/00001000.safetensors kept ones, to fork from
                      fork.json                        which run was forked, at which step, with which changes
                      note.txt                         a person's note about the run
                      scores.json                      of the finished run
                      real.npy                         the real pictures that its views show
                      control.json, control.lock       requests to the trainer
                      lock                             held by the living trainer
                      lease                            its heartbeat, on disks of several machines (mvm.runs.lease)
                      trainer.log                      output of a detached trainer

Every file is whole at any moment: mvm.files.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from mvm.errors import RunError

__all__ = [
    "BEST",
    "CHECKPOINT",
    "CLAIMS",
    "CONFIG",
    "CONTROL",
    "CONTROL_LOCK",
    "FILES",
    "FOLDERS",
    "FRAMES",
    "KEPT",
    "LEASE",
    "LIVE",
    "LOCK",
    "LOG",
    "NOTE",
    "ORIGIN",
    "POINTS",
    "REALS",
    "RECORDS",
    "SCORES",
    "SNAPSHOTS",
    "check_folder",
    "check_name",
    "frame_path",
    "fresh_name",
    "is_fresh_name",
    "kept_path",
    "snapshot_path",
    "steps_in",
]

CONFIG = "config.json"
POINTS = "data.npy"
RECORDS = "scalars.jsonl"
SNAPSHOTS = "snapshots"
LIVE = "live.safetensors"
FRAMES = "frames"
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
KEPT = "checkpoints"
ORIGIN = "fork.json"
NOTE = "note.txt"
SCORES = "scores.json"
REALS = "real.npy"
CONTROL = "control.json"
CONTROL_LOCK = "control.lock"
LOCK = "lock"
LEASE = "lease"
LOG = "trainer.log"

FILES = (
    CONFIG, POINTS, RECORDS, LIVE, CHECKPOINT, BEST, ORIGIN, NOTE, SCORES, REALS, CONTROL, CONTROL_LOCK, LOCK, LEASE,
    LOG,
)  # fmt: skip
FOLDERS = (SNAPSHOTS, FRAMES, KEPT)

STEP = re.compile(r"[0-9]{8}\.(safetensors|npy)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
FRESH = re.compile(r"[A-Za-z0-9-]+-\d{4}-\d{6}-[0-9a-f]{4}(-fork\d+(-\d+)?)*")
CLAIMS = "claims"  # under `checkpoints()`: the folder of the runs of `mvm.studies.claims`


def snapshot_path(run_dir: Path | str, step: int) -> Path:
    """Path of a step's snapshot."""
    return Path(run_dir) / SNAPSHOTS / f"{step:08d}.safetensors"


def frame_path(run_dir: Path | str, step: int) -> Path:
    """Path of a step's UMAP frame."""
    return Path(run_dir) / FRAMES / f"{step:08d}.npy"


def kept_path(run_dir: Path | str, step: int) -> Path:
    """Path of the checkpoint kept of a step."""
    return Path(run_dir) / KEPT / f"{step:08d}.safetensors"


def steps_in(folder: Path) -> list[int]:
    """Steps of a folder of files named 00001000.safetensors or 00001000.npy, ascending; none without the folder."""
    with contextlib.suppress(OSError):
        names = [path.name for path in folder.iterdir()]
        return sorted(int(name[:8]) for name in names if STEP.fullmatch(name))
    return []


def check_folder(run_dir: Path) -> None:
    """Check that the files of a run are plain files, and its folders are folders: opening a pipe would never end.

    Raises:
        OSError: the folder cannot be read.
        ValueError: another thing has the name of one of them.
    """
    inner = []
    with os.scandir(run_dir) as entries:
        for entry in entries:
            if entry.name in FOLDERS and entry.is_dir():
                inner.append(entry.path)
            elif entry.name in FOLDERS or (entry.name in FILES and not entry.is_file()):
                raise ValueError(f"{entry.name} is no plain {'folder' if entry.name in FOLDERS else 'file'}")
    for folder in inner:
        with os.scandir(folder) as entries:
            for entry in entries:
                if STEP.fullmatch(entry.name) and not entry.is_file():
                    raise ValueError(f"{Path(folder).name}/{entry.name} is no plain file")


def check_name(name: str, what: str = "a run") -> str:
    """Return a name if a folder or file can have it.

    Raises:
        RunError: it has a slash or another character that names may not have, or is reserved.
    """
    if name == CLAIMS:
        raise RunError(f"name: {name!r} cannot name {what}; it is where `python -m mvm claims` keeps its runs")
    if not NAME.fullmatch(name):
        raise RunError(f"name: {name!r} cannot name {what}; use letters, digits and . _ + -, at most 100")
    return name


def fresh_name(data: str) -> str:
    """Make a name for a new run on this data that no other run has."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).stem).strip("-") or "points"
    return f"{stem}-{time.strftime('%m%d-%H%M%S')}-{os.urandom(2).hex()}"


def is_fresh_name(name: str) -> bool:
    """Whether `fresh_name` made this name, or that of the run that it was forked from: no person chose it."""
    return FRESH.fullmatch(name) is not None
