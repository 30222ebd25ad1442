"""Run directories: the only truth about an experiment. Their files: mvm.runs.layout."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import safe_open
from torch import Tensor

from mvm.config import Config
from mvm.data.kind import Dataset
from mvm.data.kinds import KINDS, load_data
from mvm.devices import device_of
from mvm.errors import ConfigError, RunBusy, RunDamaged, RunError, line_of
from mvm.files import (
    advice,
    beside,
    cannot_write,
    checkpoints,
    hide_folder,
    lost_target,
    new_folder,
    read_tensors,
    remove_hidden,
    write_array,
    write_atomic,
)
from mvm.plain import check_plain
from mvm.runs import layout
from mvm.runs.control import MOST_STEP, WEIGHTS, Control, change_control
from mvm.runs.documents import Origin, config_in, control_in, is_comparable, scores_in, text_in
from mvm.runs.events import ALIVE, Event, Forked, Stopped, append_event, last_state_event, reason_of, state_of
from mvm.runs.liveness import hold_run, is_alive
from mvm.runs.records import Records
from mvm.runs.views import Views

__all__ = ["Control", "Run", "Status"]

T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """State and progress of a run.

    Attributes:
        state: starting, queued, running, paused, finished, stopped, diverged, failed, interrupted (killed) or new.
        step, steps: done and wanted.
        seconds: training time so far.
        rate: steps per second lately, None before there are two records.
        reason: why it failed, or None.
        memory: peak memory of its trainer, MiB.
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


class Run:
    """One run directory.

    Args:
        path: an existing run directory.

    Attributes:
        identity: inode and time of its config, which differ in any earlier or later run of the same folder name.
        problems: why files were passed over when they were last read, by name; `damage` has it in words.

    Raises:
        RunError: there is no run, it cannot be read now, or it is of a newer schema.
        RunDamaged: its config is invalid, or a folder or a pipe is in place of a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.identity = _identity(self.path)
        if not self.name.isprintable():
            raise RunError(f"run: no page can show the folder name {self.name!r}; rename it")
        try:
            self.config = config_in(self.path / layout.CONFIG)
            layout.check_folder(self.path)
        except (FileNotFoundError, NotADirectoryError):
            if target := lost_target(self.path):
                raise RunDamaged(
                    f"run: {self.name} is a link to {target}, which is not there; bring it back, or delete {self.name}"
                ) from None
            raise RunError(
                f"run: no run {self.name!r} in {self.path.parent}; `python -m mvm runs` lists them"
            ) from None
        except OSError as error:
            raise RunError(f"run: {self.name}'s {layout.CONFIG} cannot be read: {line_of(error)}") from None
        except RunError:
            raise
        except ValueError as error:
            raise RunDamaged(f"run: {self.name}'s {error}") from None
        self.records = Records(self.path / layout.RECORDS, self.config.members)
        self.problems: dict[str, OSError | ValueError] = {}
        self._views = Views(self.config)

    @classmethod
    def create(
        cls,
        config: Config,
        *,
        name: str | None = None,
        path: Path | None = None,
        like: Run | None = None,
        data: Dataset | None = None,
    ) -> Run:
        """A new run directory; the data it needs is checked, and own points are copied, before anything else.

        Args:
            config: the experiment.
            name: folder name under `checkpoints()`; one is made from data, method and date when None.
            path: the whole folder, in place of a name.
            like: a run on the same data; own points are taken from its copy, as their file may be gone or another.
            data: the data set, where many runs are made on it; loaded when None.

        Raises:
            ConfigError: the data cannot be trained on.
            RunError: bad or taken name, or a folder that cannot be written.
        """
        device_of(config.device)
        data = data or load_data(config, own=like.own_points if like else None)
        target = path or checkpoints() / (layout.check_name(name) if name else layout.fresh_name(config.data))
        layout.check_name(target.name)
        try:
            with new_folder(target) as folder:
                if (copied := data.copied()) is not None:
                    write_array(folder / layout.POINTS, copied)
                write_atomic(folder / layout.CONFIG, config.model_dump_json(indent=1).encode(), durable=True)
        except FileExistsError:
            if not (target / layout.CONFIG).exists():
                raise RunError(f"run: {target} exists and is no run; name another folder, or an empty one") from None
            raise RunError(
                f"run: {target.name!r} exists in {target.parent}; give another --name, or resume it"
            ) from None
        except OSError as error:
            raise cannot_write(target, error) from None
        return cls(target)

    @classmethod
    def named(cls, name: str) -> Run:
        """The run of this name under `checkpoints()`, or at this path.

        Raises:
            RunError: as for `Run`.
        """
        is_path = os.sep in name.rstrip(os.sep)
        return cls(Path(name) if is_path else checkpoints() / layout.check_name(name.rstrip(os.sep)))

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
        if (self.path / layout.REALS).exists():
            self.real_view()  # says what is wrong with it
        try:
            kind = KINDS[self.config.kind]
            return kind.units(self.config, own=self.own_points, shown=self.path / layout.REALS)
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise RunError(f"run: {self.name} has no checkpoint.safetensors yet; train it first") from None

    @property
    def own_points(self) -> Path | None:
        """Its copy of a person's own points."""
        own = self.path / layout.POINTS
        return own if own.exists() else None

    # -- what it is doing ------------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Whether a living process trains it."""
        return is_alive(self.path)

    def status(self) -> Status:
        """State, progress and speed, from liveness and the records alone."""
        alive = self.alive()  # before the records: a trainer that leaves in between has written its last event
        records = self.records.poll()
        last = last_state_event(records.events)
        return Status(
            state_of(last, alive=alive),
            records.step,
            self.config.steps,
            records.scalars[-1]["seconds"] if records.scalars else 0.0,
            _rate(records.scalars[-8:]),
            reason_of(last),
            records.scalars[-1].get("memory") if records.scalars else None,
        )

    def is_held(self) -> bool:
        """Whether it was stopped by a search, which decides whether it is trained on."""
        last = last_state_event(self.records.poll().events)
        return isinstance(last, Stopped) and last.held

    def append_event(self, event: Event) -> None:
        """Put an event on record."""
        append_event(self.path, event)

    # -- control ---------------------------------------------------------------------------------------------------

    def control(self) -> Control:
        """The requests that hold now; an unreadable file holds none."""
        return self._read(layout.CONTROL, control_in) or Control()

    def ask(self, **requests: Any) -> Control:
        """Change some requests; the trainer meets them within a step, or 50 ms when it is paused.

        Args:
            requests: fields of `Control`; `weights` and `settings` are merged with earlier ones. `settings` may be any
                of `Config.movable`, weights included.

        Raises:
            ConfigError: an unknown setting, one that cannot be moved while training, or a value out of bounds.
        """
        changed = {f"weights.{name}": value for name, value in requests.pop("weights", {}).items()}
        for name, value in requests.pop("settings", {}).items():
            if name not in self.config.movable:
                known = ", ".join(self.config.movable)
                raise ConfigError(f"{name}: cannot be moved while {self.name} trains; it can: {known}")
            changed[name] = value
        values = self.config.with_changes(changed).flat()

        def change(now: Control) -> Control:
            if not changed:
                return replace(now, **requests)
            moved, serial = self._last_moved(now)
            moved |= {name: values[name] for name in changed}
            weights = {name.removeprefix(WEIGHTS): value for name, value in moved.items() if name.startswith(WEIGHTS)}
            settings = {name: value for name, value in moved.items() if not name.startswith(WEIGHTS)}
            return replace(now, **requests, weights=weights, settings=settings, serial=serial + 1)

        return change_control(self.path, change)

    def _last_moved(self, control: Control) -> tuple[dict[str, float], int]:
        """Settings last requested, by dotted name, and their serial; a run from elsewhere has them on record only."""
        changes = self.records.poll().setting_changes()
        if not changes or changes[-1].serial <= control.serial:
            return control.moved, control.serial
        forks = [place for place, event in enumerate(self.records.events) if isinstance(event, Forked)]
        own = changes[-1] in self.records.events[max(forks, default=0) :]  # a fork's config has what its past moved
        return dict(changes[-1].moved) if own else {}, changes[-1].serial

    def clear_requests(self, *, searched: bool = False) -> None:
        """Before a trainer begins: drop requests to an earlier one. A new run may have been asked to pause.

        Args:
            searched: keep the step at which a search holds the run.
        """
        resumed = (self.path / layout.CHECKPOINT).exists()
        self.ask(stop=False, **({"pause_at": None} if resumed else {}), **({} if searched else {"stop_at": None}))

    # -- what it has saved -----------------------------------------------------------------------------------------

    def snapshot_steps(self) -> list[int]:
        """Steps with a snapshot, ascending."""
        return layout.steps_in(self.path / layout.SNAPSHOTS)

    def snapshot_path(self, step: int) -> Path:
        """Path of a step's snapshot."""
        return layout.snapshot_path(self.path, step)

    def snapshot(self, step: int) -> dict[str, np.ndarray] | None:
        """Arrays of one snapshot; None if it is not there, cannot be read, or does not fit."""
        return self._read(self._name(self.snapshot_path(step)), self._views.snapshot)

    def snapshot_tensor(self, step: int, name: str) -> np.ndarray | None:
        """One array of a snapshot, without reading the others; None if it has none, or as for `snapshot`."""
        arrays = self._read(self._name(self.snapshot_path(step)), partial(self._views.snapshot, names=(name,)))
        return None if arrays is None else arrays.get(name)

    def frame(self, step: int) -> np.ndarray | None:
        """The UMAP frame `(V, 2n, 2)` of a snapshot, reals first; None if it is to be made, or made anew."""
        if "n" not in self._views.sizes:
            self.snapshot_tensor(step, "step")
        with contextlib.suppress(OSError, ValueError):
            return self._views.frame(layout.frame_path(self.path, step))
        return None

    def real_view(self) -> np.ndarray:
        """The real data points that every snapshot shows, `(n, ...)` in their own units.

        Raises:
            RunError: the run has none yet, or they do not fit.
        """
        name = layout.REALS
        if (reals := self._read(name, self._views.reals)) is not None:
            return reals
        if name in self.problems:
            raise RunDamaged(f"run: {self.name}'s {name} is damaged: {self.problems[name]}")
        for step in self.snapshot_steps():
            if (real := self.snapshot_tensor(step, "real")) is not None:
                return real
        raise RunError(f"run: {self.name} has no snapshot yet; train it first")

    def live(self) -> dict[str, np.ndarray] | None:
        """The newest view of the training, between two snapshots of a slow run; None as for `snapshot`."""
        return self._read(layout.LIVE, self._views.live)

    def checkpoint_steps(self) -> list[int]:
        """Steps whose checkpoint was kept, ascending."""
        return layout.steps_in(self.path / layout.KEPT)

    def kept_step(self, step: int) -> int | None:
        """The last of them up to a step; None if there is none."""
        return max((kept for kept in self.checkpoint_steps() if kept <= step), default=None)

    def kept_path(self, step: int) -> Path:
        """Path of the checkpoint kept of a step."""
        return layout.kept_path(self.path, step)

    def checkpoint(self, *, best: bool = False, step: int | None = None) -> dict[str, Tensor]:
        """Tensors of the last checkpoint, of the best generators, or of the checkpoint kept of a step.

        Raises:
            RunError: there is none yet, or it is damaged.
        """
        name = layout.BEST if best else layout.CHECKPOINT
        if step is not None:
            name = str(self.kept_path(step).relative_to(self.path))
        try:
            check_plain(self.path / name)
            with safe_open(self.path / name, framework="pt"):  # its header describes all of it
                pass
            tensors = read_tensors(self.path / name)
            self._check_best(tensors) if best else _check_step(tensors)
        except FileNotFoundError:
            raise RunError(f"run: {self.name} has no {name} yet; train it first") from None
        except OSError as error:
            raise RunError(f"run: {self.name}'s {name} cannot be read: {line_of(error)}") from None
        except Exception as error:
            raise RunDamaged(f"run: {self.name}'s {name} is damaged: {error}") from None
        return tensors

    def _check_best(self, tensors: dict[str, Tensor]) -> None:
        """Check that these are averaged generators of this run's members, as its checkpoint has them."""
        members = (len(self.config.members),)
        for name in ("step", "w2"):
            if name not in tensors or tensors[name].shape != members:
                raise ValueError(f"it has no {name} of {members[0]} networks")
        if not ((tensors["step"] >= 0) & (tensors["step"] <= MOST_STEP)).all():
            raise ValueError(f"it has a step outside of 0 to {MOST_STEP:,}")
        with safe_open(self.path / layout.CHECKPOINT, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.startswith("average."):
                    wanted = tuple(file.get_slice(name).get_shape())
                    found = tuple(tensors[name].shape) if name in tensors else "missing"
                    if found != wanted:
                        raise ValueError(f"{name} is {found}, not {wanted} as in {layout.CHECKPOINT}")

    def scores(self) -> list[dict[str, Any]] | None:
        """Final scores, one dict per member; None before the run is finished, or if they are outdated."""
        rows = self._read(layout.SCORES, partial(scores_in, members=self.config.members))
        return rows if rows is not None and all(map(self.is_comparable, rows)) else None

    def write_scores(self, rows: list[dict[str, Any]]) -> None:
        """Replace the final scores."""
        write_atomic(self.path / layout.SCORES, json.dumps(rows).encode())

    @property
    def quick_scores(self) -> list[dict[str, Any]]:
        """Records of scores during training that were read so far, without outdated ones."""
        return [record for record in self.records.scores if self.is_comparable(record)]

    def is_comparable(self, scores: Mapping[str, Any]) -> bool:
        """Whether scores were measured in the coordinates of this version; others rank nothing.

        Earlier versions scored the points of a file in the file's units.
        """
        return is_comparable(scores, KINDS[self.config.kind].coordinates(self.config.data))

    def scores_are_outdated(self) -> bool:
        """Whether all scores of this run are in coordinates of an earlier version; `mvm score` measures them anew."""
        if self.scores() is not None or self.quick_scores:
            return False
        final = (self.path / layout.SCORES).exists() and layout.SCORES not in self.problems
        return final or bool(self.records.scores)

    @property
    def origin(self) -> Origin | None:
        """Where it was forked from; None if it is no fork."""
        return self._read(layout.ORIGIN, Origin.of)

    @property
    def damage(self) -> str:
        """Files that were passed over when last read, with the reasons, in words; empty without any."""
        words = [f"{name}: {line_of(error)}" for name, error in self.problems.items()]
        return "; ".join(filter(None, [self.records.damage, *words]))

    def _read(self, name: str, read: Callable[[Path], T]) -> T | None:
        """Read a file of the run; None if it is missing, or unreadable: `problems` then has the reason."""
        try:
            found = read(self.path / name)
        except FileNotFoundError:
            self.problems.pop(name, None)
            return None
        except (OSError, ValueError) as error:
            self.problems[name] = error
            return None
        self.problems.pop(name, None)
        return found

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.path))

    # -- the run as a whole ----------------------------------------------------------------------------------------

    @property
    def note(self) -> str:
        """A person's note about it."""
        return self._read(layout.NOTE, text_in) or ""

    def write_note(self, text: str) -> None:
        """Replace the note; an empty one is taken away.

        Raises:
            RunError: it is too long.
        """
        if len(text) > MOST_NOTE:
            raise RunError(f"note: {len(text):,} characters; a run takes at most {MOST_NOTE:,}")
        path = self.path / layout.NOTE
        write_atomic(path, text.strip().encode()) if text.strip() else path.unlink(missing_ok=True)

    def rename(self, name: str) -> Run:
        """Give the run another name; forks of it remember the new one.

        Raises:
            RunBusy: it is being trained.
            RunError: bad or taken name, or a fork that cannot be written; nothing is renamed.
        """
        target = self.path.with_name(layout.check_name(name))
        with self._idle("rename"), contextlib.ExitStack() as staged:
            if os.path.lexists(target):
                raise RunError(f"run: {name!r} exists in {target.parent}; give another name")
            renamed = [(self._renamed_origin(fork, name, staged), fork / layout.ORIGIN) for fork in self._forks()]
            self.path.rename(target)
            for origin, replaced in renamed:
                origin.replace(replaced)
        return Run(target)

    def _forks(self) -> Iterator[Path]:
        """Folders of the runs beside it that were forked from it."""
        for path in self.path.parent.glob(f"[!.]*/{layout.ORIGIN}"):
            with contextlib.suppress(OSError, ValueError):
                if Origin.of(path).run == self.name and path.parent != self.path:
                    yield path.parent

    def _renamed_origin(self, fork: Path, name: str, staged: contextlib.ExitStack) -> Path:
        """Write a fork's new origin beside the old one; `rename` replaces them once all are written."""
        path = fork / layout.ORIGIN
        temporary = beside(path)
        staged.callback(temporary.unlink, missing_ok=True)
        try:
            temporary.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"run": name}).encode())
        except OSError as error:
            reason = f"{line_of(error)}{advice(error)}"
            raise RunError(f"run: its fork {fork.name} cannot take the new name of {self.name}: {reason}") from None
        return temporary

    def delete(self) -> None:
        """Remove the whole run, at once for all who look; one that is linked here is removed where it lies.

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
                held.enter_context(hold_run(self.path))
            except RunBusy:
                raise busy from None
            yield


MOST_NOTE = 10_000  # characters


def _check_step(tensors: dict[str, Tensor]) -> None:
    """Check the step of a checkpoint."""
    if "step" not in tensors or tensors["step"].numel() != 1 or not 0 <= int(tensors["step"]) <= MOST_STEP:
        raise ValueError("it has no step")


def _rate(recent: Sequence[Mapping[str, Any]]) -> float | None:
    """Steps per second from the first to the last of some records; None if no time passed."""
    seconds = recent[-1]["seconds"] - recent[0]["seconds"] if recent else 0
    return (recent[-1]["step"] - recent[0]["step"]) / seconds if seconds > 0 else None


def _identity(folder: Path) -> tuple[int, int] | None:
    """Inode and time of a run's config, which is written once; None without one."""
    with contextlib.suppress(OSError):
        stat = (folder / layout.CONFIG).stat()
        return stat.st_ino, stat.st_mtime_ns
    return None
