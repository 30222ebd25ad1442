"""Training from the command line: train, pause, resume, stop, fork."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvm import distributed
from mvm.commands.flags import Commands, add_fields, asked_defaults, given_fields, manifolds_told, nested
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.commands.waiting import Place
from mvm.config import OF_DATA, Config
from mvm.data.kind import SWITCHES
from mvm.data.kinds import KINDS
from mvm.devices import use_gpu
from mvm.errors import ConfigError, Diverged, RunError, Stopped, TakenOver, reason_of
from mvm.files import inode_of
from mvm.jobs.process import TRAINING, give_way
from mvm.jobs.queue import Slot, Ticket, device_kind
from mvm.jobs.turn import turn
from mvm.runs import events, layout
from mvm.runs.liveness import hold_run
from mvm.runs.run import Run

__all__ = ["TRAINERS", "add", "train_here"]


def add(command: Commands) -> None:
    """The commands of this family."""
    train = command("train", train_command, "train variants side by side; a run folder keeps everything", run=False)
    train.add_argument("--name", help="name of the run (default: made from data and time)")
    train.add_argument("--run", metavar="DIR", help="folder of the run: continue it, or create it there")
    train.add_argument("--like", metavar="RUN", help="start from the settings of this run instead of a recipe")
    train.add_argument("--queue", action="store_true", help="wait for a free device slot, as the app's trainings do")
    train.add_argument("--profile", action="store_true", help="print where the time went at the end")
    add_fields(train, Config, defaults=asked_defaults(command.arguments))
    train.epilog = manifolds_told()
    command("pause", pause_command, "pause a running training")
    command("resume", resume_command, "continue a paused training, or train on where a stopped or killed one was saved")
    command("stop", stop_command, "save a running training and end it")
    fork = command("fork", fork_command, "rewind a run to a kept checkpoint, change something, and train on as another")
    fork.add_argument(
        "--step", type=int, required=True, help="step of the checkpoint; an unknown one lists those near it"
    )
    fork.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", action="extend",
        help="settings to change, such as weights.diameter=0 or mvm.gamma=.01; without any, the fork repeats the run",
    )  # fmt: skip
    fork.add_argument("--name", help="name of the new run (default: made from the old name and the step)")


def train_command(options: argparse.Namespace) -> None:
    """Make a run, or open the one in --run, and train it here."""
    with distributed.process_group() as is_rank_0:
        run = _same_run(_wanted_run(options) if is_rank_0 else None)
        if run is not None:
            train_here(run, queue=options.queue, place=options.place, profiled=options.profile)


def _wanted_run(options: argparse.Namespace) -> Run:
    """A new run, or the one in --run."""
    given = given_fields(options)
    path = Path(options.run) if options.run else None
    if path and (path / layout.CONFIG).exists():
        if said := [*given, *(flag for flag in ("like", "name") if getattr(options, flag))]:
            raise ConfigError(
                f"--run {path} has its config already; leave out {', '.join('--' + name for name in said)}"
            )
        return Run(path)
    if path and options.name:
        raise ConfigError(f"--name {options.name}: the folder {path} is the run's name; leave one of the two out")
    like = Run.named(options.like) if options.like else None
    config = _like(like, given) if like else Config.make(**nested(given))
    same_data = like if "data" not in given else None
    run = Run.create(config, name=options.name, path=path, like=same_data)
    if config.unmatched:
        print_line(f"warning: {config.unmatched}", error=True)
    if same_data is None and (lines := KINDS[config.kind].describe(config)):
        summary, *oddities = lines
        print_line(f"{config.data}: {summary}")
        for oddity in oddities:
            print_line(f"warning: {config.data}: {oddity}", error=True)
    return run


def _like(run: Run, changes: dict[str, Any]) -> Config:
    """A run's settings with some changed; other data begin with settings of their own."""
    if said := {"method", "recipe"} & changes.keys():
        raise ConfigError(f"--like {run.name} has its method and recipe; leave out --{min(said)}")
    if "data" not in changes and (said := {*SWITCHES} & changes.keys()):
        raise ConfigError(f"{min(said)}: --like {run.name} trains on that run's copy of its data; give --data FILE too")
    anew = {name: Config.model_fields[name].default for name in OF_DATA} if "data" in changes else {}
    return run.config.with_changes(anew | changes)


def resume_command(options: argparse.Namespace) -> None:
    """Wake a paused trainer, or become the trainer of a run that has none."""
    with distributed.process_group() as is_rank_0:
        run = _same_run(_resumable(options.run) if is_rank_0 else None)
        if run is not None:
            train_here(run)


def fork_command(options: argparse.Namespace) -> None:
    """Make the fork, and train it here."""
    from mvm.runs.fork import fork

    if wrong := [text for text in options.set if "=" not in text]:
        raise ConfigError(f"set: {wrong[0]!r} is no NAME=VALUE, such as weights.diameter=0")
    changes = dict(text.split("=", 1) for text in options.set)
    with distributed.process_group() as is_rank_0:
        made = fork(Run.named(options.run), options.step, changes, name=options.name) if is_rank_0 else None
        if made is not None and made.config.unmatched:
            print_line(f"warning: {made.config.unmatched}", error=True)
        run = _same_run(made)
        if run is not None:
            train_here(run)


TRAINERS = (train_command, resume_command, fork_command)  # commands that end with a run, whole or in part


def _resumable(name: str) -> Run | None:
    """The run of this name, if it is for us to train; one that another process trains is woken."""
    run = Run.named(name)
    if run.alive():
        run.ask(pause_at=None)
        print_line(f"{run.name}: continues")
        return None
    if run.status().state == "finished":
        raise RunError(f"run: {run.name} is finished at step {run.config.steps}; there is nothing to resume")
    run.ask(pause_at=None)  # a new run may have been asked to wait
    return run


def pause_command(options: argparse.Namespace) -> None:
    """Ask the trainer to pause, and wait until it has."""
    run = _living(options.run)
    run.ask(pause_at=0)
    if run.status().state == "queued":
        print_line(f"{run.name}: waits in the queue, and will pause before its next step")
    else:
        _await(run, "paused")


def stop_command(options: argparse.Namespace) -> None:
    """Ask the trainer to save and leave, and wait until it has."""
    run = _living(options.run)
    run.ask(stop=True)
    _await(run, "stopped", "finished", "diverged", "interrupted")


def _same_run(run: Run | None) -> Run | None:
    """Broadcast rank 0's run."""
    path = distributed.broadcast_object(str(run.path.absolute()) if run else None)
    return run or (Run(Path(path)) if path else None)


def train_here(run: Run, *, queue: bool = False, place: Place | None = None, profiled: bool = False) -> None:
    """Train a run in this process to its end, with a progress bar.

    Args:
        run: what is trained.
        queue: wait for a device slot first.
        place: what the command holds already.
        profiled: print where the time went.

    Raises:
        RunBusy: another trainer holds it.
    """
    if distributed.rank():
        from mvm.runs.recorder import follow

        follow(run)
        return

    place = place or Place()
    slot: Slot | None = None
    with contextlib.ExitStack() as held:
        if queue:
            give_way(TRAINING)
            slot = _wait_for_slot(run, place, held)
            if slot is None:
                return
        else:
            held.enter_context(hold_run(run.path))
        with _failures_recorded(run):
            if not queue:  # `launch` has done it, and requests made since then hold
                run.clear_requests()
            _train(run, slot, profiled=profiled)


def _wait_for_slot(run: Run, place: Place, held: contextlib.ExitStack) -> Slot | None:
    """Hold the run and its slot; None if it was asked to stop while it waited."""
    kind, got = device_kind(run.config.device), place.slot
    if not place.has_turn:
        ticket = Ticket.given(kind)
        place.entry.close()
        got = held.enter_context(turn(run.path, kind, ticket=ticket, is_process=place.is_process))
    if got is not None and got.number is not None and kind == "cuda":
        use_gpu(got.number)
    return got


def _train(run: Run, slot: Slot | None, *, profiled: bool = False) -> None:
    from mvm.runs.profile import Profile
    from mvm.runs.recorder import train

    profile = Profile()
    count = len(run.config.members)
    print_line(f"{run.name}: {count} network{'s' * (count > 1)} on {run.config.data}, in {run.path}")
    with progress_bar("step") as show:
        try:
            for step in train(run, profile=profile, slot=slot):
                show(step.number, run.config.steps)
        except Diverged:
            raise
        except Stopped as reason:
            print_line(reason)
            return
    print_line(f"{run.name}: finished; `python -m mvm score {run.name}`")
    if profiled:
        print(f"{'part':32} {'s':>8} {'share':>6}")
        for part, seconds, share in profile.table():
            print(f"{part:32} {seconds:>8.2f} {share:>6.0%}")


@contextlib.contextmanager
def _failures_recorded(run: Run) -> Iterator[None]:
    """Leave the reason in the run, if its folder is still there and its disk takes a line."""
    folder = inode_of(run.path)
    try:
        yield
    except (Stopped, TakenOver):
        raise
    except Exception as error:
        step = run.records.poll().step
        with contextlib.suppress(OSError):
            if inode_of(run.path) == folder:
                run.append_event(events.Failed(step=step, time=time.time(), reason=reason_of(error)))
        raise


def _living(name: str) -> Run:
    run = Run.named(name)
    if not run.status().alive:
        raise RunError(f"run: {run.name} is not being trained (it is {run.status().state})")
    return run


def _await(run: Run, *states: str) -> None:
    for _ in range(600):
        status = run.status()
        if status.state in states or not status.alive:
            print_line(f"{run.name}: {status.state} at step {status.step}")
            return
        time.sleep(0.05)
    raise RunError(f"run: {run.name} did not answer within 30 s; is its machine another one?")
