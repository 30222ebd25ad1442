"""Start `mvm` commands as a user would, in processes of their own, and kill them at chosen moments.

Importing torch takes seconds, so a server that has imported it is forked for every command (`multiprocessing`'s
forkserver): from `main` on, all is as in `python -m mvm`.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from waiting import growth, until

import mvm.data.pairs
import mvm.runs.evaluate
from mvm.config import Config
from mvm.data.photographs import Collection, held_out
from mvm.files import checkpoints
from mvm.runs.run import Run

__all__ = [
    "SMALL_SWEEP",
    "Command",
    "dies",
    "few_scored",
    "small_config",
    "small_disk",
    "small_held_out",
    "small_pairs",
    "start",
    "until",
    "write_cloud",
]

SMALL_SWEEP = """
[base]
batch = 16
view-points = 16
network.width = 8
network.depth = 2
"""
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["mvm.__main__", "mvm.runs.recorder", "mvm.runs.evaluate", "ot", "tqdm.auto"])


class Command:
    """A running `mvm` command."""

    def __init__(self, process: multiprocessing.process.BaseProcess, folder: Path) -> None:
        self.process, self.folder = process, folder

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return (self.folder / "err").read_text()

    def wait(self) -> int:
        """Its exit status, -9 if it was killed."""
        until(self.has_ended, f"the end of the command that prints to {self.folder}", progress=self.progress)
        return self.process.exitcode

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.exitcode is not None

    def progress(self) -> object:
        """What grows while it works: its output, and the folder of all runs."""
        return growth(self.folder), growth(checkpoints())

    def kill(self) -> None:
        """SIGKILL; it must still have been alive."""
        self.process.kill()
        assert self.wait() == -signal.SIGKILL, self.err

    def kill_at(self, run: Run, step: int) -> None:
        """SIGKILL as soon as a record of this step, or a later one, is there."""
        until(
            lambda: run.records.poll().step >= step or self.has_ended(),
            f"step {step} of {run.name}",
            progress=lambda: run.records.step,
        )
        self.kill()


def start(folder: Path, *arguments: str, before: Callable[[], None] | None = None, **environment: str) -> Command:
    """Start `mvm ARGUMENTS`; `before` is called in its process first."""
    folder.mkdir(parents=True)
    process = forked.Process(target=_main, args=(folder, arguments, before, dict(os.environ) | environment))
    process.start()
    return Command(process, folder)


def dies(call: str, nth: int, name: str = "") -> Callable[[], None]:
    """For `before`: SIGKILL at the nth call of a kind, half way through it.

    Args:
        call: "open" a file to write it, "rename" it into its place, or "append" a line (half of it is written).
        nth: which one, from 1.
        name: counted are files with this in their name.
    """
    return partial(_arm, call, nth, name)


def small_disk(size: int) -> Callable[[], None]:
    """For `before`: no file can grow beyond this many bytes, as on a full disk."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def _main(
    folder: Path, arguments: tuple[str, ...], before: Callable[[], None] | None, environment: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    from mvm.__main__ import main

    if before is not None:
        before()
    sys.exit(main(list(arguments)))


def _arm(call: str, nth: int, name: str) -> None:
    seen = 0

    def now(path: Path) -> bool:
        nonlocal seen
        seen += name in path.name
        return name in path.name and seen == nth

    real_open, real_replace, real_write = Path.open, Path.replace, os.write

    def opened(path: Path, mode: str = "r", *rest, **more):
        file = real_open(path, mode, *rest, **more)
        if "w" in mode and now(path):
            os.kill(os.getpid(), signal.SIGKILL)
        return file

    def replaced(path: Path, target: Path) -> Path:
        if now(Path(target)):
            os.kill(os.getpid(), signal.SIGKILL)
        return real_replace(path, target)

    def written(descriptor: int, line: bytes) -> int:
        if now(Path(f"/proc/self/fd/{descriptor}").readlink()):
            real_write(descriptor, line[: len(line) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real_write(descriptor, line)

    if call == "append":
        os.write = written
    elif call == "open":
        Path.open = opened
    else:
        Path.replace = replaced


def small_config(cloud: Path, **fields) -> Config:
    """A config that trains in an instant."""
    small = {"variants": ("centroid", "both"), "network": {"width": 8, "depth": 2}, "batch": 16, "view_points": 16}
    return Config.make(**{"data": str(cloud), **small, **fields})


def small_pairs(**fields) -> Config:
    """A config of super-resolution of the built-in photographs that trains in seconds."""
    small = {"patch": 8, "steps": 4, "view_points": 16, "batch": 2, "snapshots": 2, "records": 4, "threads": 1}
    small |= {"network": {"metric_channels": 4}, "device": "cpu"}
    return Config.make(**{"data": "sr", **small, **fields})


@contextmanager
def few_scored(n: int = 64) -> Iterator[None]:
    """Final scores of trainings in this process compare n points: optimal transport of thousands takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mvm.runs.evaluate.score_run.__kwdefaults__, "n", n)
        yield


@contextmanager
def small_held_out() -> Iterator[None]:
    """Trainings of super-resolution in this process are scored with parts of two photographs, in an instant.

    One has the two blocks of 96 pixels that NIQE asks for.
    """
    whole = held_out()
    parts = [(whole.high_picture(0)[100:164, 100:180], whole.low_picture(0)[25:41, 25:45])]
    parts += [(whole.high_picture(2)[96:208, 96:304], whole.low_picture(2)[24:52, 24:76])]
    high, low = (np.concatenate([part.reshape(-1, 3) for part in side]) for side in zip(*parts, strict=True))
    small = Collection(high, low, np.array([[16, 20], [28, 52]]), ("astronaut", "chelsea"), (), "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mvm.data.pairs, "held_out", lambda: small)
        yield


def write_cloud(path: Path, n: int = 200) -> Path:
    """A ring of n points with noise, as CSV."""
    random = np.random.default_rng(0)
    angle, radius = random.uniform(0, 2 * np.pi, n), random.normal(3, 0.1, n)
    np.savetxt(path, np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), delimiter=",")
    return path
