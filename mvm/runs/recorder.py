"""Drive a training and put all that it does into its run directory.

    train(run)     lock, resume if there is a checkpoint, then for every step: record, show, save, obey

A thread measures gaps, spectra and scores, and writes, in order, while the training goes on: the disk holds what some
earlier moment left. What is written at which step depends on the config alone, never on a clock (but for the live
view), and the draws of a step depend on the step alone. So a run that was killed at any moment continues from its last
checkpoint, on a CPU to the very bits it would have had.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor

from mvm.config import Weights
from mvm.data.kind import Reference
from mvm.data.kinds import KINDS
from mvm.devices import peak_memory, use_cpu
from mvm.errors import ConfigError, Diverged, Lost, Stopped, TakenOver
from mvm.files import append_line, inode_of, link, write_array, write_atomic, write_tensors
from mvm.geometry.descriptors import DESCRIPTORS, GAPS, two_diameter
from mvm.geometry.spectrum import SPECTRUM_FORMS, eigenvalues
from mvm.methods.method import PAIRED_KINDS
from mvm.processes import identity
from mvm.runs import events, layout
from mvm.runs.layout import frame_path
from mvm.runs.lease import lease_of
from mvm.runs.liveness import lock_of, sweep_run
from mvm.runs.profile import Profile
from mvm.runs.run import Control, Run
from mvm.runs.weights import settings_at
from mvm.runs.writer import Writer
from mvm.scoring.images import describe
from mvm.training.checkpoint import rows_of
from mvm.training.experiment import NO_GPU, Experiment, Step, fit
from mvm.training.graph import EAGER_STEPS
from mvm.training.sampling import log_densities, to_score

__all__ = ["Diverged", "Recorder", "Slot", "Stopped", "follow", "train"]

LIVE_EVERY = 0.15  # seconds between live views, and at most an eighth of the time goes into them
POLL = 0.05  # seconds between looks at control.json
SPECTRUM_POINTS = 256
SPECTRUM_SIZE = 10
SCORES = 10  # quick scores over a run, of QUICK points; W2 of these finds the best generator
QUICK = 512
HUGE = 1e3  # standardised coordinates beyond this are a divergence
COLLAPSED, SPREAD = 0.05, 0.10  # share of the reals' 2-diameter, in data space
KEPT = 2**29  # bytes of checkpoints kept to fork from: of large networks, every few
STATES = ("ok", "spread", "collapsed", "recovered", "diverged")  # of a member; ok: it has not spread yet


class Slot(Protocol):
    """What a training holds of its device, and leaves to others while it pauses."""

    def give_back(self) -> None:
        """Leave it, or the wait for it, to others."""
        ...

    def take(self) -> bool:
        """Hold it again if it is this training's turn; asked until it is true."""
        ...


def train(run: Run, *, profile: Profile | None = None, slot: Slot | None = None) -> Iterator[Step]:
    """Train a run to its end in this process, yielding every step.

    The caller holds the run's lock. What a step leaves is written by a thread, in order; all is written at the end.

    Args:
        run: what is trained.
        profile: gets the time of each part.
        slot: held by the caller, given back while the training pauses.

    Raises:
        ConfigError: data, device or checkpoint cannot be used.
        Stopped: before the last step.
    """
    profile = Profile() if profile is None else profile
    with profile.part("start"):
        experiment = _experiment(run)
    try:
        with Recorder(run, experiment, profile=profile, slot=slot) as recorder:
            try:
                recorder.start()
            finally:  # the others wait for it, also where this one is told to stop before its first step
                experiment.share()
            for step in profile.each("steps", fit(experiment)):
                recorder(step)
                yield step
            recorder.finish()
    except Stopped:
        experiment.agree(False)
        raise
    finally:
        experiment.release()


def follow(run: Run) -> None:
    """Train a run together with the process that records it, until that one ends it."""
    experiment = _experiment(run)
    experiment.share()
    for _ in fit(experiment):
        pass


def _experiment(run: Run) -> Experiment:
    use_cpu(run.config.cpu_threads)
    return Experiment(run.config, run.data)


class Recorder:
    """Writes one experiment's records, views and checkpoints, and obeys its control file.

    The training's thread computes fakes and embeddings; a thread of the recorder measures gaps, spectra and scores, and
    writes. As a context, it ends this thread; outside of one, all is done at once.

    Args:
        run: where to write.
        experiment: what is trained; a checkpoint of the run is loaded into it by `start`.
        profile: gets the time of each part.
        slot: held by the caller, given back while the training pauses.

    Attributes:
        best: best generators so far, for the recorder's thread.
        steps_here: number of steps trained in this process.
    """

    def __init__(
        self, run: Run, experiment: Experiment, *, profile: Profile | None = None, slot: Slot | None = None
    ) -> None:
        self.run, self.experiment, self.config = run, experiment, run.config
        self.slot = slot
        self.profile = profile or Profile()
        self.writer = Writer(begin=lambda: use_cpu(run.config.cpu_threads))
        self.steps_here = 0
        self.told_eager = ""
        self.member_count = len(run.config.members)
        self.real = experiment.data.view.to(device=experiment.device, dtype=experiment.dtype)
        self.noise = experiment.view_inputs(len(self.real))
        self.live_fakes = KINDS[run.config.kind].live_fakes
        self.real_spread = two_diameter(self.real)
        self.record_every = run.config.every(run.config.records)
        self.snapshot_every = run.config.every(run.config.snapshots)
        self.checkpoint_every = run.config.every(run.config.checkpoints)
        size = sum(tensor.nbytes for tensor in experiment.tensors().values())
        self.keep_every = self.checkpoint_every * math.ceil(size * run.config.checkpoints / KEPT)
        self.score_every = run.config.every(SCORES)
        self.serial = 0
        self.obey_at: list[int] = []  # steps of requests, at which control.json is read whatever the time
        self.state = ["ok"] * self.member_count
        self.best: dict[str, Tensor] | None = None
        self.seconds, self.clock = 0.0, time.perf_counter()
        self.shown, self.show_cost, self.polled = 0.0, 0.0, 0.0
        self._reference: Reference | None = None
        self.watch = Watch(run.path)

    def __enter__(self) -> Recorder:
        self.writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Write what is left."""
        with self.profile.part("waiting for files"):
            self.writer.__exit__(*error)

    def _later(self, part: str, work: Callable[[], None]) -> None:
        """Let the recorder's thread do some work, after all that came before it."""
        self._check()
        step = self.experiment.step

        def timed() -> None:
            if missing := self.watch.missing():  # what is written now would take its place, and hide the loss
                raise Lost(f"run: {self.run.name}'s {missing.name} was removed while it trained, at step {step}")
            with self.profile.part(f"{part}, beside the steps"), torch.no_grad():
                work()

        with self._waiting():
            self.writer.put(timed)
            if self.steps_here <= EAGER_STEPS:  # the next step may be captured: nothing else may use the GPU meanwhile
                self.writer.flush()

    def _event(self, event: events.Event) -> None:
        """Append an event, after all that came before it."""
        self._later("records", lambda: self._append_line(event.record()))

    def _tell_eager(self) -> None:
        """Put on record why a GPU does not replay the steps, once."""
        reason = self.experiment.eager
        if reason not in ("", NO_GPU, self.told_eager):
            self.told_eager = reason
            self._event(events.NotCaptured(step=self.experiment.step, reason=reason))

    def _settle(self) -> None:
        """Wait until all is written."""
        with self._waiting():
            self.writer.flush()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count the time of a wait for the thread; where that failed as something was removed, say so."""
        with self.profile.part("waiting for files"):
            try:
                yield
            except OSError:
                self._check()
                raise

    # -- beginning and end -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Continue from the last checkpoint if there is one, else record the untrained state."""
        run = self.run
        sweep_run(run.path)
        (run.path / layout.SNAPSHOTS).mkdir(exist_ok=True)
        if (shown := self.experiment.data.shown_once()) is not None and not (run.path / layout.REALS).exists():
            write_array(run.path / layout.REALS, shown)
        resumed = (run.path / layout.CHECKPOINT).exists()
        if resumed:
            tensors = run.checkpoint()
            self.experiment.load(tensors)
            self.state = _states(tensors.get("state"), self.member_count)
        records = run.records.poll()
        if resumed or records.scalars or records.events:
            self._rewind(self.experiment.step if resumed else -1)
            self.experiment.move(settings_at(run, self.experiment.step))
        device = torch.cuda.get_device_name() if self.experiment.device.type == "cuda" else "CPU"
        begun = events.Resumed if resumed else events.Started
        run.append_event(begun(step=self.experiment.step, device=device, time=time.time(), pid=os.getpid()))
        self._tell_eager()
        if self.experiment.compiled:
            self._event(events.Compiles(step=self.experiment.step))
        self.clock = time.perf_counter()
        if not resumed:
            self._record(None)
            self._snapshot()
            self.save()
        if not run.kept_path(self.experiment.step).exists():  # one that was kept has the weights it was trained with
            self._keep()
        self._settle()
        self._obey(self.experiment.step, self.experiment.step == self.config.steps)

    def _rewind(self, step: int) -> None:
        """Delete everything newer than the checkpoint; the events of trainer processes stay on record."""
        for shown in (known for known in self.run.snapshot_steps() if known > step):
            self.run.snapshot_path(shown).unlink(missing_ok=True)
            frame_path(self.run.path, shown).unlink(missing_ok=True)
        live = self.run.live()
        if live and live["step"] > step:
            (self.run.path / layout.LIVE).unlink(missing_ok=True)
        for folder in (self.run.path, self.run.path / layout.SNAPSHOTS, self.run.path / layout.KEPT):
            for left in folder.glob(".*.safetensors.*"):
                if identity() not in left.name:  # of a trainer before: none but a run's only trainer writes them
                    left.unlink(missing_ok=True)
        records = self.run.records
        records.rewind(step)
        self.serial = max((change.serial for change in records.setting_changes()), default=0)
        self.seconds = records.scalars[-1]["seconds"] if records.scalars else 0.0
        with contextlib.suppress(ValueError):
            best = self.best = self.run.checkpoint(best=True)
            if not all(map(self.run.is_comparable, records.scores)):
                best["w2"] = self._score_best()
            later = best["step"] > step
            if later.any():
                self._take_best(best, later, torch.full_like(best["w2"], torch.inf), step, self._averages())

    def _score_best(self) -> Tensor:
        """Error of each kept best generator, in the coordinates of this version."""
        from mvm.runs.evaluate import load_experiment

        best, reference = load_experiment(self.run, best=True, data=self.experiment.data), self._scored_against()
        return _errors(reference, [reference.score(fake) for fake in to_score(best, reference)])

    def finish(self) -> None:
        """Save the end, score it with all points, and say so."""
        self.save()
        self._keep()
        self._settle()
        if self.run.scores() is None:
            with self.profile.part("final scores"):
                self._write_scores()
        self._event(events.Finished(step=self.experiment.step, time=time.time()))

    def _write_scores(self) -> None:
        from mvm.runs.evaluate import score_run

        self.run.write_scores(score_run(self.run, experiment=self.experiment))

    # -- every step ------------------------------------------------------------------------------------------------

    def __call__(self, step: Step) -> None:
        """Record, show, score, save and obey, each when its step or moment has come."""
        n, last = step.number, step.number == self.config.steps
        self.steps_here += 1
        if self.steps_here == EAGER_STEPS + 1:  # the first that is captured, or not
            self._tell_eager()
            if self.experiment.not_compiled:
                self._event(events.NotCompiled(step=n, reason=self.experiment.not_compiled))
        if n % self.record_every == 0 or last:
            self._record(step)
        if n % self.snapshot_every == 0 or last:
            self._snapshot()
        elif time.perf_counter() - self.shown > max(LIVE_EVERY, 8 * self.show_cost) and self.writer.idle:
            self._show()
        if n % self.score_every == 0 or last:
            self._score()
        if n % self.checkpoint_every == 0:
            self.save()
            self._keep()
        if time.perf_counter() - self.polled > POLL or any(n >= at for at in self.obey_at):
            self._obey(n, last)

    def _obey(self, step: int, last: bool) -> None:
        control = self._read_control()
        if last or control.pause_at is None or step < control.pause_at:
            return
        self._show()
        self.save()
        self.seconds += time.perf_counter() - self.clock
        self._event(events.Paused(step=step, time=time.time()))
        self._settle()
        self._wait_to_continue(step)
        self.clock = time.perf_counter()
        self._event(events.Continued(step=step, time=time.time()))

    def _wait_to_continue(self, step: int) -> None:
        """Leave the slot to others until the pause ends, then wait for it; a pause meanwhile leaves the queue."""
        queued = False
        if self.slot is not None:
            self.slot.give_back()
        while True:
            time.sleep(POLL)
            self._check()
            control = self._read_control()
            if control.pause_at is not None and step >= control.pause_at:
                if queued and self.slot is not None:
                    queued = False
                    self.slot.give_back()
                    self._event(events.Paused(step=step, time=time.time()))
            elif self.slot is None or self.slot.take():
                return
            elif not queued:
                queued = True
                self._event(events.Queued(step=step, time=time.time()))

    def _read_control(self) -> Control:
        """Read control.json; apply moved settings; leave if asked to."""
        self.polled = time.perf_counter()
        control = self.run.control()
        self.obey_at = [at for at in (control.pause_at, control.stop_at) if at is not None]
        if control.serial > self.serial:
            self._move(control)
        step = self.experiment.step
        held = control.stop_at is not None and control.stop_at <= step < self.config.steps
        if control.stop or held:
            self._show()
            self.save()
            event = events.Stopped(step=step, time=time.time())
            self._event(event if control.stop else event.model_copy(update={"held": True}))
            self._settle()
            self.run.ask(stop=False)
            name = self.run.name
            raise Stopped(f"{name} stopped at step {self.experiment.step}; `python -m mvm resume {name}` continues it")
        return control

    def _move(self, control: Control) -> None:
        """Take new settings, and save before they go on record: no change lies past the last checkpoint."""
        known = {f"weights.{name}": value for name, value in control.weights.items() if name in Weights.model_fields}
        self.experiment.method.reweight(dict(self.config.with_changes(known).weights))
        self.experiment.move(control.settings)
        self.serial, step = control.serial, self.experiment.step
        self.save()
        if control.settings:
            self._event(events.SettingsChanged(step=step, settings=control.moved, serial=control.serial))
        else:
            self._event(events.WeightsChanged(step=step, weights=control.weights, serial=control.serial))
        self._settle()

    # -- what is written -------------------------------------------------------------------------------------------

    def _append(self, step: int, record: dict[str, Any]) -> None:
        """Append a record of a step."""
        self._append_line({"step": step} | record)

    def _append_line(self, record: dict[str, Any]) -> None:
        """Append a line of records; a file that was removed is not made anew, which would hide the loss."""
        append_line(self.run.path / layout.RECORDS, record, create=False)

    @torch.no_grad()
    def _embed(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Fakes of the averaged generator, and embeddings of n real and n fake points: `(V, n, ·)` each."""
        fake = self.experiment.generate(self.noise[:n])
        return fake, self.experiment.embed(self.real[:n]), self.experiment.embed(fake)

    @torch.no_grad()
    def _record(self, step: Step | None) -> None:
        """Losses of this step, and the three distances of the paper's Fig. 7 on the fixed view points."""
        with self.profile.part("records"):
            fake, real_embedding, fake_embedding = self._embed(SPECTRUM_POINTS)
            losses = {} if step is None else {f"{player}_loss": loss for player, loss in step.losses.items()}
            terms = {} if step is None else step.terms
            seconds = self.seconds + time.perf_counter() - self.clock
            cost = {"seconds": seconds, "memory": peak_memory(self.experiment.device)}
        number = self.experiment.step

        def write() -> None:
            gaps = {s: DESCRIPTORS[gap.descriptor].gap(real_embedding, fake_embedding) for s, gap in GAPS.items()}
            if self.config.kind in PAIRED_KINDS:
                gaps["d_p"] = (real_embedding - fake_embedding).norm(dim=-1).mean(-1)
            self._append(number, {**cost, **losses, **terms, **gaps})

        self._later("records", write)
        if step is not None:
            self._watch(fake)

    def _watch(self, fake: Tensor) -> None:
        """Mark divergence and collapse when they begin, per member, and leave when all have diverged."""
        finite = fake.isfinite().all(-1).all(-1) & (fake.abs().amax((-2, -1)) < HUGE)
        spread = (two_diameter(fake) / self.real_spread).tolist()
        for member, (variant, seed) in enumerate(self.config.members):
            now = before = self.state[member]
            if not finite[member]:
                now = "diverged"
            elif before == "diverged" or spread[member] > SPREAD:
                now = "recovered" if before in ("collapsed", "diverged") else "spread" if before == "ok" else before
            elif spread[member] < COLLAPSED and before in ("spread", "recovered"):
                now = "collapsed"
            if now != before:
                self.state[member] = now
                if now != "spread":
                    n = self.experiment.step
                    self._event(events.MemberChanged(step=n, member=member, variant=variant, seed=seed, what=now))
        if not finite.any():
            self.save()
            reason = "every variant diverged"
            self._event(events.Diverged(step=self.experiment.step, time=time.time(), reason=reason))
            self._settle()
            kept = "the best generators are kept" if self.best else "too early for any generator worth keeping"
            raise Diverged(f"{self.run.name} diverged at step {self.experiment.step}; {kept}")

    @torch.no_grad()
    def _snapshot(self) -> None:
        """What the timeline keeps of this step: fakes, embeddings, spectra."""
        with self.profile.part("snapshots"):
            fake, real_embedding, fake_embedding = self._embed(len(self.real))
            views = self._views(fake)
        path = self.run.snapshot_path(self.experiment.step)

        def write() -> None:
            near = real_embedding[:, :SPECTRUM_POINTS].cpu()  # a GPU decomposes small matrices one by one, and slowly
            spectra = {f"spectrum_{f}": eigenvalues(near, k=SPECTRUM_SIZE, form=f) for f in SPECTRUM_FORMS}
            embedded = {"real_embedding": real_embedding, "fake_embedding": fake_embedding} | spectra
            write_tensors(path, views | {name: tensor.float() for name, tensor in embedded.items()})

        self._later("snapshots", write)
        self.shown = time.perf_counter()

    @torch.no_grad()
    def _show(self) -> None:
        """The live view between two snapshots: the fakes alone, which cost little."""
        began = time.perf_counter()
        with self.profile.part("live views"):
            views = self._views(self.experiment.generate(self.noise[: self.live_fakes]))
        self._later("live views", lambda: write_tensors(self.run.path / layout.LIVE, views))
        self.shown = time.perf_counter()
        self.show_cost = self.shown - began

    def _views(self, fake: Tensor) -> dict[str, Tensor]:
        """What the screen shows of fakes `(V, n, D)`, with the step."""
        shown = self.experiment.data.snapshot(fake, self.noise, self.experiment.generate)
        return {"step": torch.tensor(self.experiment.step)} | shown

    @torch.no_grad()
    def _score(self) -> None:
        """Quick scores of every member, and the best generator so far by them."""
        with self.profile.part("scores"):
            reference = self._scored_against()
            fakes = to_score(self.experiment, reference)
            densities = log_densities(self.experiment, reference)
            averages = {name: tensor.to("cpu", copy=True) for name, tensor in self._averages().items()}
        step = self.experiment.step

        def write() -> None:
            of = [{} if densities is None else {"log_density": each} for each in densities or fakes]
            rows = [reference.score(fake, **more) for fake, more in zip(fakes, of, strict=True)]
            self._append(step, {"n": reference.size, "coordinates": reference.coordinates, "scores": rows})
            self._keep_best(_errors(reference, rows), step, averages)

        self._later("scores", write)

    def _scored_against(self) -> Reference:
        if self._reference is None:
            self._reference = self.experiment.data.reference(QUICK)
        return self._reference

    def _keep_best(self, error: Tensor, step: int, averages: dict[str, Tensor]) -> None:
        """Keep the averages of a step for each member whose error, `(V,)`, is the least so far."""
        if self.best is None:
            steps = torch.zeros(self.member_count, dtype=torch.long)
            self.best = {"step": steps, "w2": torch.full_like(error, torch.inf)}
            self.best |= {name: tensor.clone() for name, tensor in averages.items()}
        better = error < self.best["w2"]
        if better.any():
            self._take_best(self.best, better, error, step, averages)

    def _take_best(
        self, best: dict[str, Tensor], members: Tensor, error: Tensor, step: int, averages: dict[str, Tensor]
    ) -> None:
        """Replace the best averages of some members, `(V,)` bool, by those of a step, and write all."""
        best["w2"][members] = error[members]
        best["step"][members] = step
        for name, tensor in averages.items():
            rows = rows_of(name, members)
            best[name][rows] = tensor.detach().cpu()[rows]
        write_tensors(self.run.path / layout.BEST, best, durable=True)

    def _averages(self) -> dict[str, Tensor]:
        return {name: t for name, t in self.experiment.tensors().items() if name.startswith("average.")}

    def save(self) -> None:
        """Everything that an exact continuation needs.

        Raises:
            Lost: something was removed from the run while it trained.
        """
        with self.profile.part("checkpoints"):
            tensors = self._state_tensors()
        self._later("checkpoints", lambda: write_tensors(self.run.path / layout.CHECKPOINT, tensors, durable=True))

    def _state_tensors(self) -> dict[str, Tensor]:
        """Copies of everything that an exact continuation needs, on the CPU."""
        state = torch.tensor([STATES.index(state) for state in self.state])
        tensors = self.experiment.tensors() | {"state": state}
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}

    def _keep(self) -> None:
        """Keep the checkpoint just saved, to fork from: a second name of the same file costs no disk."""
        step = self.experiment.step
        if step % self.keep_every == 0 or step == self.config.steps:
            target = self.run.kept_path(step)

            def write() -> None:
                target.parent.mkdir(exist_ok=True)
                link(self.run.path / layout.CHECKPOINT, target)

            self._later("checkpoints", write)

    def _check(self) -> None:
        """Fail if the run has lost something since training began, after saving what is in memory.

        Raises:
            Lost: names what is missing.
        """
        if (missing := self.watch.missing()) is None:
            return
        with contextlib.suppress(Exception):  # this is told in its place
            self.writer.flush()
        name, step = self.run.name, self.experiment.step
        if missing == self.run.path:
            raise Lost(f"run: the folder of {name} was removed while it trained, at step {step}: {missing} is gone")
        lock, lease = lock_of(self.run.path), lease_of(self.run.path)
        if missing == lease or (missing == lock and lock.exists()):
            raise TakenOver(
                f"run: {name}'s {missing.name} was replaced while it trained: another process trains it now"
            )
        if missing.name == layout.CONFIG:
            write_atomic(missing, self.config.model_dump_json(indent=1).encode(), durable=True)
        if self.best is not None:
            write_tensors(self.run.path / layout.BEST, self.best, durable=True)
        write_tensors(self.run.path / layout.CHECKPOINT, self._state_tensors(), durable=True)
        raise Lost(
            f"run: {name}'s {missing.name} was removed while it trained; step {step} is saved, and "
            f"`python -m mvm resume {name}` goes on from it"
        )


class Watch:
    """Sees whether all that was in a run's folder since training began is still there.

    Args:
        run_dir: the folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._folder = inode_of(run_dir)
        self._looking = Lock()
        self._seen: dict[Path, tuple[int, int] | None] = {}

    def missing(self) -> Path | None:
        """The first thing that is gone, or is another than it was; None while all is there."""
        with self._looking:
            return self._missing()

    def _missing(self) -> Path | None:
        if inode_of(self.run_dir) != self._folder:  # gone, or another of its name
            return self.run_dir
        held = lock_of(self.run_dir), lease_of(self.run_dir)
        for path in (*held, *(self.run_dir / name for name in (*KEPT_OPEN, *REPLACED))):
            now = inode_of(path)
            if path in self._seen and (now is None or (path.name not in REPLACED and now != self._seen[path])):
                return path
            if now is not None:
                self._seen[path] = now
        return None


KEPT_OPEN = (  # written once or appended to
    layout.CONFIG, layout.RECORDS, layout.LOG, layout.POINTS, layout.REALS, layout.SNAPSHOTS, layout.KEPT,
)  # fmt: skip
REPLACED = (layout.CHECKPOINT, layout.BEST)


def _errors(reference: Reference, rows: list[dict[str, float | None]]) -> Tensor:
    """The score of every row that selects the best generator, `(V,)`, negated if higher is better; infinite without."""
    sign = -1 if describe(reference.criterion).direction == "higher" else 1
    found = [row[reference.criterion] for row in rows]
    return torch.tensor([torch.inf if value is None else sign * value for value in found])


def _states(codes: Tensor | None, members: int) -> list[str]:
    """What a checkpoint says of each member.

    Raises:
        ConfigError: it says nothing that can be read.
    """
    if codes is None or codes.shape != (members,) or not set(codes.tolist()) <= set(range(len(STATES))):
        raise ConfigError("checkpoint does not fit its config: its state says nothing of these members")
    return [STATES[code] for code in codes.tolist()]
