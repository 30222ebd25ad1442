"""Run directories: the only truth about an experiment.

    checkpoints/<run>/config.json                      written once
                      data.npy                         a person's own points, copied in, so that the run is complete
                      scalars.jsonl                    one line per record or event, appended in one write
                      snapshots/00001000.safetensors   what the screen shows of a step
                      live.safetensors                 the newest such view, for slow runs between two snapshots
                      frames/00001000.npy              UMAP coordinates (mvm.geometry.umap_film)
                      checkpoint.safetensors           resume is exact; best.safetensors: best generator per variant
                      checkpoints/00001000.safetensors kept ones, to fork from
                      fork.json                        what a fork was made of (mvm.runs.fork)
                      note.txt                         what a person has written about it
                      scores.json                      of the finished run
                      real.npy                         the real pictures that its views show
                      control.json, control.lock       what a person asks of the trainer
                      lock                             held by the living trainer
                      trainer.log                      what a detached trainer printed

Every file is whole at any moment: mvm.files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mvm.config import SCHEMA, Config, one_line
from mvm.data.kind import Dataset
from mvm.data.kinds import KINDS, load_data
from mvm.devices import device_of
from mvm.errors import ConfigError, RunBusy, RunError
from mvm.files import (
    checkpoints,
    hide_folder,
    lock_is_held,
    locked,
    new_folder,
    read_arrays,
    read_tensors,
    remove_hidden,
    write_array,
    write_atomic,
)
from mvm.runs.events import ALIVE, STATE_OF_EVENT, state_of
from mvm.runs.layout import check_name, fresh_name, steps_in
from mvm.runs.records import Records

__all__ = ["Control", "Run", "Status"]


@dataclass(frozen=True)
class Status:
    """What a run is doing.

    Attributes:
        state: starting, queued, running, paused, finished, stopped, diverged, failed, interrupted (killed) or new.
        step, steps: done and wanted.
        seconds: training time so far.
        rate: steps per second lately, None before there are two records.
        reason: why it failed, or None.
        memory: the most that its trainer has used, MiB.
    """

    state: str
    step: int
    steps: int
    seconds: float = 0.0
    rate: float | None = None
    reason: str | None = None
    memory: int | None = None

    @property
    def alive(self) -> bool:
        """A trainer process holds the run, or is about to."""
        return self.state in ALIVE

    @property
    def seconds_left(self) -> float | None:
        """Time until the last step at the present rate."""
        return (self.steps - self.step) / self.rate if self.rate else None


@dataclass(frozen=True)
class Control:
    """What a person asks of the trainer; each field is the wish that holds now.

    Attributes:
        pause_at: pause once this many steps are done; None: run on.
        stop: save and leave.
        weights: new descriptor weights by name.
        serial: rises with each change of weights, so that a resumed trainer applies each change once.
    """

    pause_at: int | None = None
    stop: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    serial: int = 0


class Run:
    """One run directory.

    Args:
        path: an existing run directory.

    Attributes:
        identity: what tells it from every other run that has had, or will have, its folder's name.

    Raises:
        RunError: there is no run, its config cannot be read, or it is of a newer schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.identity = _identity(self.path)
        try:
            values = json.loads((self.path / "config.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"run: no run {self.name!r} in {self.path.parent}; `python -m mvm runs` lists them"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunError(f"run: {self.name}'s config.json cannot be read: {error}") from None
        version = values.get("schema_version", 0) if isinstance(values, dict) else 0
        if isinstance(version, int) and version > SCHEMA:
            raise RunError(f"run: {self.name} has schema {version}, this program knows up to {SCHEMA}; update it")
        try:
            self.config = Config.model_validate(values)
        except ValidationError as error:
            raise RunError(f"run: {self.name}'s config.json is not valid: {one_line(error)}") from None
        self.records = Records(self.path / "scalars.jsonl")

    @classmethod
    def create(
        cls, config: Config, *, name: str | None = None, path: Path | None = None, like: Run | None = None
    ) -> Run:
        """A new run directory; the data it needs is checked, and own points are copied, before anything else.

        Args:
            config: the experiment.
            name: folder name under `checkpoints()`; one is made from data, method and date when None.
            path: the whole folder, in place of a name.
            like: a run on the same data; own points are taken from its copy, as their file may be gone or another.

        Raises:
            ConfigError: the data cannot be trained on.
            RunError: bad or taken name, or a folder that cannot be written.
        """
        device_of(config.device)
        data = load_data(config, own=like.own_points if like else None)
        target = path or checkpoints() / (check_name(name) if name else fresh_name(config.data))
        check_name(target.name)
        try:
            with new_folder(target) as folder:
                if (copied := data.copied()) is not None:
                    write_array(folder / "data.npy", copied)
                write_atomic(folder / "config.json", config.model_dump_json(indent=1).encode(), durable=True)
        except FileExistsError:
            if not (target / "config.json").exists():
                raise RunError(f"run: {target} exists and is no run; name another folder, or an empty one") from None
            raise RunError(
                f"run: {target.name!r} exists in {target.parent}; give another --name, or resume it"
            ) from None
        except OSError as error:
            raise RunError(f"run: cannot write {target}: {error.strerror or error}") from None
        return cls(target)

    @classmethod
    def named(cls, name: str) -> Run:
        """The run of this name under `checkpoints()`, or at this path.

        Raises:
            RunError: as for `Run`.
        """
        is_path = os.sep in name.rstrip(os.sep)
        return cls(Path(name) if is_path else checkpoints() / check_name(name.rstrip(os.sep)))

    def is_there(self) -> bool:
        """Whether its folder is still this run's: not gone, and not another's that has taken the name since."""
        return self.identity is not None and self.identity == _identity(self.path)

    @cached_property
    def data(self) -> Dataset:
        """The run's data set."""
        return load_data(self.config, own=self.own_points)

    @property
    def units(self) -> Dataset:
        """The data set without its training points: enough for trained networks.

        Raises:
            RunError: the run has not been trained.
            ConfigError: the data are gone.
        """
        try:
            kind = KINDS[self.config.kind]
            return kind.units(self.config, own=self.own_points, shown=self.path / "real.npy")
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise RunError(f"run: {self.name} has no checkpoint.safetensors yet; train it first") from None

    @property
    def own_points(self) -> Path | None:
        """Its copy of a person's own points."""
        own = self.path / "data.npy"
        return own if own.exists() else None

    # -- what it is doing ------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether a trainer holds the lock."""
        return lock_is_held(self.path / "lock")

    def status(self) -> Status:
        """State, progress and speed, from the lock and the records alone."""
        alive = self.alive()  # before the records: a trainer that leaves in between has written its last event
        records = self.records.poll()
        last = next((e for e in reversed(records.events) if e["event"] in STATE_OF_EVENT), None)
        state = state_of(last, alive=alive)
        recent = records.scalars[-8:]
        first, now = (recent[0], recent[-1]) if len(recent) > 1 else (None, None)
        passed = now["seconds"] - first["seconds"] if now else 0
        return Status(
            state,
            records.step,
            self.config.steps,
            records.scalars[-1]["seconds"] if records.scalars else 0.0,
            (now["step"] - first["step"]) / passed if passed > 0 else None,
            last.get("reason") if last else None,
            records.scalars[-1].get("memory") if records.scalars else None,
        )

    # -- control ---------------------------------------------------------------------------------------------------

    def control(self) -> Control:
        """The wishes that hold now; an unreadable file holds none."""
        try:
            return Control(**json.loads((self.path / "control.json").read_text()))
        except (OSError, ValueError, TypeError):
            return Control()

    def ask(self, **wishes: Any) -> Control:
        """Change some wishes; the trainer meets them within a step, or 50 ms when it is paused.

        Args:
            wishes: fields of `Control`; `weights` are merged with earlier ones.

        Raises:
            ConfigError: an unknown descriptor, or a weight out of bounds.
        """
        self.config.with_changes({f"weights.{name}": value for name, value in wishes.get("weights", {}).items()})
        busy = f"run: {self.name} is being asked something by another process; try again"
        with locked(self.path / "control.lock", wait=5, busy=busy):
            now = self.control()
            if "weights" in wishes:  # a run from elsewhere has the changes on record, but not what asked for them
                changes = [event for event in self.records.poll().events if event["event"] == "weights"]
                last = changes[-1] if changes and changes[-1]["serial"] > now.serial else asdict(now)
                weights = last["weights"] | wishes["weights"]
                wishes = wishes | {"weights": weights, "serial": last["serial"] + 1}
            wanted = replace(now, **wishes)
            write_atomic(self.path / "control.json", json.dumps(asdict(wanted)).encode())
        return wanted

    def forget_wishes(self) -> None:
        """Before a trainer begins: what an earlier one was asked does not bind it. A new run may be asked to wait."""
        resumed = (self.path / "checkpoint.safetensors").exists()
        self.ask(stop=False, **({"pause_at": None} if resumed else {}))

    # -- what it has saved -----------------------------------------------------------------------------------------

    def snapshot_steps(self) -> list[int]:
        """Steps with a snapshot, ascending."""
        return steps_in(self.path / "snapshots")

    def snapshot_path(self, step: int) -> Path:
        """Where the snapshot of a step lies."""
        return self.path / "snapshots" / f"{step:08d}.safetensors"

    def snapshot(self, step: int) -> dict[str, np.ndarray] | None:
        """Arrays of one snapshot, None if it is not there or not readable."""
        return read_arrays(self.snapshot_path(step))

    def snapshot_tensor(self, step: int, name: str) -> np.ndarray | None:
        """One array of a snapshot, without reading the others; None if it is not there or not readable."""
        try:
            with safe_open(self.snapshot_path(step), framework="numpy") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError):
            return None

    def real_view(self) -> np.ndarray:
        """The real data points that every snapshot shows, `(n, ...)` in their own units.

        Raises:
            RunError: the run has none yet.
        """
        with contextlib.suppress(OSError, ValueError):
            return np.load(self.path / "real.npy", allow_pickle=False)
        for step in self.snapshot_steps():
            if (real := self.snapshot_tensor(step, "real")) is not None:
                return real
        raise RunError(f"run: {self.name} has no snapshot yet; train it first")

    def live(self) -> dict[str, np.ndarray] | None:
        """The newest view of the training, between two snapshots of a slow run."""
        return read_arrays(self.path / "live.safetensors")

    def checkpoint_steps(self) -> list[int]:
        """Steps whose checkpoint was kept, ascending."""
        return steps_in(self.path / "checkpoints")

    def kept_step(self, step: int) -> int | None:
        """The last of them up to a step; None if there is none."""
        return max((kept for kept in self.checkpoint_steps() if kept <= step), default=None)

    def kept_path(self, step: int) -> Path:
        """Where the kept checkpoint of a step lies."""
        return self.path / "checkpoints" / f"{step:08d}.safetensors"

    def checkpoint(self, *, best: bool = False, step: int | None = None) -> dict[str, Tensor]:
        """Tensors of the last checkpoint, of the best generators, or of the checkpoint kept of a step.

        Raises:
            RunError: there is none yet, or it is damaged.
        """
        name = "best.safetensors" if best else "checkpoint.safetensors"
        if step is not None:
            name = str(self.kept_path(step).relative_to(self.path))
        try:
            return read_tensors(self.path / name)
        except FileNotFoundError:
            raise RunError(f"run: {self.name} has no {name} yet; train it first") from None
        except Exception as error:
            raise RunError(f"run: {self.name}'s {name} is damaged: {error}") from None

    def scores(self) -> list[dict] | None:
        """Final scores, one dict per member; None before the run is finished."""
        try:
            return json.loads((self.path / "scores.json").read_text())
        except (OSError, ValueError):
            return None

    # -- the run as a whole ----------------------------------------------------------------------------------------

    @property
    def note(self) -> str:
        """What a person has written about it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.path / "note.txt").read_text(encoding="utf-8")
        return ""

    def write_note(self, text: str) -> None:
        """Replace the note; an empty one is taken away.

        Raises:
            RunError: it is too long.
        """
        if len(text) > MOST_NOTE:
            raise RunError(f"note: {len(text):,} characters; a run takes at most {MOST_NOTE:,}")
        path = self.path / "note.txt"
        write_atomic(path, text.strip().encode()) if text.strip() else path.unlink(missing_ok=True)

    def rename(self, name: str) -> Run:
        """Give the run another name; forks of it remember the new one.

        Raises:
            RunBusy: it is being trained.
            RunError: bad or taken name.
        """
        target = self.path.with_name(check_name(name))
        with self._idle("rename"):
            if target.exists():
                raise RunError(f"run: {name!r} exists in {target.parent}; give another name")
            self.path.rename(target)
        for path in target.parent.glob("*/fork.json"):
            with contextlib.suppress(OSError, ValueError):
                made = json.loads(path.read_text())
                if made["run"] == self.name:
                    write_atomic(path, json.dumps(made | {"run": name}).encode())
        return Run(target)

    def delete(self) -> None:
        """Remove the whole run, at once for all who look.

        Raises:
            RunBusy: it is being trained.
        """
        with self._idle("delete"):
            gone = hide_folder(self.path)
        remove_hidden(gone)

    @contextlib.contextmanager
    def _idle(self, what: str) -> Iterator[None]:
        """Keep trainers out, if none is there or about to come."""
        busy = RunBusy(f"run: {self.name} is being trained; stop it before you {what} it")
        if self.status().alive:
            raise busy
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.path / "lock"))
            except RunBusy:
                raise busy from None
            yield


MOST_NOTE = 10_000  # characters


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which file a run's config is, and when it was written: that is done once."""
    with contextlib.suppress(OSError):
        stat = (folder / "config.json").stat()
        return stat.st_ino, stat.st_mtime_ns
    return None
