"""File names of a run."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from mvm.errors import RunError

__all__ = ["check_name", "frame_path", "fresh_name", "steps_in"]


STEP = re.compile(r"\d{8}\.(safetensors|npy)")


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def check_name(name: str, what: str = "a run") -> str:
    """The name itself, if it can be that of a folder or a file.

    Raises:
        RunError: it has a slash or another character that such a name may not have, or is the folder of the claims'.
    """
    if name == "claims":
        raise RunError(f"name: {name!r} cannot name {what}; it is where `python -m mvm claims` keeps its runs")
    if not NAME.fullmatch(name):
        raise RunError(f"name: {name!r} cannot name {what}; use letters, digits and . _ + -, at most 100")
    return name


def fresh_name(data: str) -> str:
    """A name for a new run on this data that no other run has."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).stem).strip("-") or "points"
    return f"{stem}-{time.strftime('%m%d-%H%M%S')}-{os.urandom(2).hex()}"


def steps_in(folder: Path) -> list[int]:
    """Steps of a folder of files named 00001000.safetensors or 00001000.npy, ascending."""
    with contextlib.suppress(FileNotFoundError):
        names = [path.name for path in folder.iterdir()]
        return sorted(int(name[:8]) for name in names if STEP.fullmatch(name))
    return []


def frame_path(run_dir: Path | str, step: int) -> Path:
    """Where the frame of a step lies."""
    return Path(run_dir) / "frames" / f"{step:08d}.npy"
