"""Sweeps from the command line: sweep, work."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from mvm.commands.flags import Commands
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.errors import ConfigError, RunError, check_known
from mvm.jobs.process import TRAINING, give_way

if TYPE_CHECKING:
    from mvm.sweeps.spec import Spec
    from mvm.sweeps.sweep import Plan, Progress, Sweep

__all__ = ["add"]

ENGINES = ("local", "slurm", "ray")
SEARCHES = ("tpe", "halving")
MOST_RANKED = 5  # best settings after a search
MOST_SHOWN = 5  # failed runs named in a status
SUFFIX = ".toml"


def add(command: Commands) -> None:
    """The commands of this family."""
    told = "make and train all runs of a grid of settings; the same file again does nothing, more values add runs"
    sweep = command("sweep", sweep_command, told, run=False)
    sweep.add_argument("spec", metavar="SPEC.toml", help="the grid; or the name of a sweep that was made")
    sweep.add_argument("--dry-run", action="store_true", help="list runs, time and disk, and make nothing")
    sweep.add_argument("--status", action="store_true", help="print progress, time left and failed runs")
    sweep.add_argument(
        "--on",
        metavar="ENGINE",
        help="train it: local, slurm (submits workers), ray or ray:ADDRESS",
    )
    sweep.add_argument("--workers", type=int, metavar="N", help="trainings at once (default: the device slots here)")
    sweep.add_argument(
        "--search",
        metavar="HOW",
        help="tpe: choose the values under [random] by the scores so far (Optuna); halving: train all settings to a "
        "tenth of their steps, the best third of them on. Without --on it waits for `mvm work`",
    )
    sweep.add_argument(
        "--sbatch", default="", metavar="OPTIONS", help='for Slurm: --sbatch="--gres=gpu:1 --time=4:00:00"'
    )
    work = command("work", work_command, "train the runs of a sweep until none is left; start any number", run=False)
    work.add_argument("sweep", metavar="SWEEP", help="its name")
    work.add_argument("--queue", action="store_true", help="wait for a free device slot before each run")
    work.add_argument("--on", metavar="ENGINE", help="hand the runs out to ray or ray:ADDRESS, and wait for them")
    work.add_argument("--workers", type=int, metavar="N", help="trainings at once there (default: all it has room for)")
    for each in (sweep, work):
        each.add_argument(
            "--retry-failed", action="store_true", help="also runs that failed, diverged or were stopped before"
        )


def sweep_command(options: argparse.Namespace) -> None:
    """Make a sweep, and train it if asked to."""
    from mvm.sweeps.spec import read_spec
    from mvm.sweeps.sweep import make, plan, progress_of, sweep_named

    if options.search is not None:
        check_known("search", options.search, SEARCHES)
    _check_engine(options, ENGINES)
    if options.sbatch and options.on != "slurm":
        raise ConfigError(f"sbatch: {options.sbatch!r} is for --on slurm")
    is_file = options.spec.endswith(SUFFIX)
    spec = read_spec(Path(options.spec)) if is_file else sweep_named(options.spec).spec
    if options.status:
        sweep = sweep_named(spec.name)
        _print_progress(sweep, progress_of(sweep), workers=options.workers or 0)
        return
    if options.search is not None:
        _search(spec, options)
        return
    if options.dry_run:
        _print_plan(plan(spec))
        return
    if is_file:
        with progress_bar("run") as show:
            made = make(spec, on_progress=show)
        print_line(f"{spec.name}: {_count(made)}; {len(made.there)} were there, {len(made.missing)} made")
    sweep = sweep_named(spec.name)
    if options.on is None:
        print_line(f"`python -m mvm work {spec.name}` trains them, in any number of terminals and on any machine that "
                   f"sees this folder; `python -m mvm sweep {options.spec} --on local` does it here")  # fmt: skip
        return
    if options.on == "slurm":
        _submit(sweep, options)
    else:
        _train(sweep, options)


def _check_engine(options: argparse.Namespace, known: tuple[str, ...]) -> None:
    """Raise an error where engine, address and number of workers do not fit."""
    has_trainings = options.on is not None or getattr(options, "search", None) is not None
    if options.workers is not None and (options.workers < 1 or not has_trainings):
        raise ConfigError(f"workers: {options.workers}; give 1 or more, and --on {known[0]}")
    if options.on is not None:
        check_known("on", options.on.partition(":")[0], known)
        if ":" in options.on and not options.on.startswith("ray:"):
            raise ConfigError(f"on: {options.on!r}; only ray takes an address")


def work_command(options: argparse.Namespace) -> None:
    """Train runs of a sweep until none is left; on SIGTERM, save and leave."""
    from mvm.sweeps.presence import present
    from mvm.sweeps.sweep import sweep_named
    from mvm.sweeps.worker import LEFT, Worker

    _check_engine(options, ("ray",))
    sweep = sweep_named(options.sweep.removesuffix(SUFFIX))
    if options.queue:
        give_way(TRAINING)
    worker = Worker(sweep, retry=options.retry_failed, queue=options.queue, say=_say)
    is_done = False
    with worker.leave_on_signals(), present(_say):
        if options.on is None:
            is_done = worker.work()
        else:
            from mvm.sweeps.ray import hand_out

            address, retry = options.on.partition(":")[2], options.retry_failed
            is_done = hand_out(sweep, options.workers, address=address, retry=retry, leaving=lambda: worker.leaving)
    if not is_done:
        _say(f"{sweep.name}: left before the end; any worker goes on from what is saved")
        if options.place.is_process:  # to unload torch takes a busy machine long, and its command waits for this one
            os._exit(LEFT)
        sys.exit(LEFT)
    if worker.unreadable:
        raise RunError(f"sweep: {len(worker.unreadable)} runs of {sweep.name} cannot be read; see above")
    _say(f"{sweep.name}: nothing is left to train")


def _say(line: str) -> None:
    print_line(line)
    sys.stdout.flush()


def _train(sweep: Sweep, options: argparse.Namespace) -> None:
    """Train a sweep by workers of this machine, or by tasks of Ray, with a bar."""
    from mvm.sweeps.presence import present
    from mvm.sweeps.sweep import progress_of

    retry, workers = options.retry_failed, options.workers
    if options.on == "local":
        from mvm.sweeps.local import default_workers, run_local

        workers = workers or default_workers(sweep)
        training = run_local(sweep, workers, retry=retry)
    else:
        from mvm.sweeps.ray import run_ray

        training = run_ray(sweep, workers, address=options.on.partition(":")[2], retry=retry)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what trains for it, too
    layout = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with present(print_line), progress_bar("step", layout=layout) as show, contextlib.closing(training) as each:
        for progress in each:
            done, total = (sum(getattr(row, part) for row in progress.rows) for part in ("step", "steps"))
            show(done, total, f"{_states(progress)}{_time_left(progress, workers or 0)} ")
    progress = progress_of(sweep)
    _print_progress(sweep, progress)
    if progress.states["failed"]:
        raise RunError(f"sweep: {progress.states['failed']} runs of {sweep.name} failed; `--retry-failed` tries again")


def _search(spec: Spec, options: argparse.Namespace) -> None:
    """Search through the settings of a sweep: make its runs as they are chosen, and train them if asked to."""
    from mvm.jobs.queue import device_kind, slot_count
    from mvm.sweeps.local import run_local
    from mvm.sweeps.ray import run_ray
    from mvm.sweeps.search import SEARCHES, search, wait
    from mvm.sweeps.sweep import progress_of, sweep_named

    slots = slot_count(device_kind(spec.points[0].config.device)) if options.on == "local" else 1
    found = SEARCHES[options.search](spec, at_once=options.workers or slots)
    _say(f"{spec.name}: {found.plan()}")
    if options.dry_run:
        return
    if options.on is None:
        _say(f"waits for workers; `python -m mvm work {spec.name}` starts one, in any terminal that sees this folder")
    is_submitted = False

    def train(sweep: Sweep) -> Generator[Progress, None, None]:
        nonlocal is_submitted
        if options.on == "local":
            return run_local(sweep, found.at_once, retry=options.retry_failed)
        if options.on is not None and options.on.startswith("ray"):
            return run_ray(sweep, options.workers, address=options.on.partition(":")[2], retry=options.retry_failed)
        if options.on == "slurm" and not is_submitted:
            _submit(sweep, options)
            is_submitted = True
        return wait(sweep)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what trains for it, too
    layout = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with progress_bar("setting", layout=layout) as show, contextlib.closing(search(found, train)) as each:
        for progress in each:
            show(*found.share, f"{found.in_words()}; {_states(progress)} ")
    sweep = sweep_named(spec.name)
    _print_progress(sweep, progress_of(sweep))
    _say(f"{spec.name}: {found.in_words()}")
    _print_best(sweep)


def _print_best(sweep: Sweep) -> None:
    """The best settings with their spread over seeds, as switches of `mvm train`."""
    from mvm.studies.compare import in_words
    from mvm.sweeps.results import axes_of, ranked, results_of, score_title

    results = results_of(sweep)
    hidden = {"variants"} - axes_of(results).keys()
    lines = []
    for each in ranked(results)[:MOST_RANKED]:
        values = {name: value for name, value in each.settings.items() if name not in hidden}
        switches = " ".join(f"--{name.replace('_', '-')} {_switch(value)}" for name, value in values.items())
        spread = f"({in_words(each.low, results[0].key)} to {in_words(each.high, results[0].key)})"
        lines.append((in_words(each.median, results[0].key), spread, switches, " ".join(each.runs)))
    if lines:
        print_line(f"best settings by {score_title(results[0].key)}, median (quartiles) over seeds, and their runs:")
    widths = [max(map(len, column)) for column in [*zip(*lines, strict=True)][:3]]
    for *cells, runs in lines:
        print_line(
            "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)) + f"  {runs}"
        )


def _switch(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _submit(sweep: Sweep, options: argparse.Namespace) -> None:
    from mvm.sweeps.presence import present
    from mvm.sweeps.slurm import submit
    from mvm.sweeps.sweep import progress_of

    progress = progress_of(sweep)
    left = len(progress.rows) - progress.states["finished"] if options.retry_failed else progress.left
    if not left:
        print_line(f"{sweep.name}: nothing is left to train")
        return
    workers = min(options.workers or left, left)
    with present(print_line):
        jobs = submit(sweep, workers, options=options.sbatch, retry=options.retry_failed)
    told = f"Slurm job{'s' * (len(jobs) > 1)} {', '.join(jobs)}"
    print_line(f"{sweep.name}: {workers} workers for {left} runs, {told}; `mvm sweep {sweep.name} --status` shows them")


def _print_plan(planned: Plan) -> None:
    """Every run, and how much time and disk the missing ones take if they are like those that have finished."""
    from mvm.files import checkpoints
    from mvm.sweeps.sweep import disk_of, progress_of, sweep_named

    print_line(
        f"{planned.spec.name}: {_count(planned)}; {len(planned.there)} are there, {len(planned.missing)} to make"
    )
    for run in planned.missing:
        seeds, names = " ".join(map(str, run.config.seeds)), run.config.variants
        variants = " ".join(names) if len(names) <= MOST_SHOWN else f"{len(names)} variants"
        print_line(f"  {run.name}  {variants}, seeds {seeds}, {run.config.steps} steps")
    progress = None
    with contextlib.suppress(RunError):
        progress = progress_of(sweep_named(planned.spec.name))
    measured = [row.name for row in progress.rows if row.status == "finished"] if progress else []
    if progress is None or progress.per_step is None or not measured:
        if planned.missing:
            _print_pace(planned)
        print_line("disk: known once a run of it has finished")
        return
    missing = sum(run.config.steps for run in planned.missing) + progress.steps[1] - progress.steps[0]
    size = sum(disk_of(checkpoints() / name) for name in measured) / len(measured)
    count = len(planned.there) + len(planned.missing)
    print_line(f"time: {_duration(missing * progress.per_step)} of training left, at the rate so far")
    print_line(f"disk: {size / 1e6:.1f} MB a run, {size * count / 1e6:,.0f} MB in all")


def _print_pace(planned: Plan) -> None:
    """How long the missing runs take if they are all like the first one, which trains for a moment."""
    from mvm.sweeps.pace import pace_of

    pace = pace_of(planned.missing[0].config)
    seconds = sum(run.config.steps for run in planned.missing) * pace.step
    told = f"time: {_duration(seconds)} of training here if all are like the first run: {pace.step * 1e3:.3g} ms a step"
    if pace.count > 1:
        told += f"; its {pace.count} trainings one after the other would take {pace.gain:.1f} times as long"
    print_line(told)


def _print_progress(sweep: Sweep, progress: Progress, *, workers: int = 0) -> None:
    from mvm.sweeps.slurm import jobs_in_words

    done, total = progress.trainings
    print_line(
        f"{sweep.name}: {_states(progress)}{_time_left(progress, workers)}; {done} of {total} trainings finished in "
        f"{_duration(progress.seconds)} of training"
    )
    if workers_there := jobs_in_words(sweep):
        print_line(f"  Slurm: {workers_there}")
    if sweep.is_searched:
        print_line("  a search goes on: it chooses further settings")
    held = Counter(row.step for row in progress.rows if row.held)
    for step in sorted(held):
        print_line(f"  {held[step]} held at step {step} by the search")
    failed = [row for row in progress.rows if row.status in ("failed", "diverged")]
    for row in failed[:MOST_SHOWN]:
        print_line(f"  {row.name}: {row.status} at step {row.step}: {row.reason}")
    if len(failed) > MOST_SHOWN:
        print_line(f"  and {len(failed) - MOST_SHOWN} more; `python -m mvm runs --find failed` lists them")
    for reason in [*progress.unreadable.values()][:MOST_SHOWN]:
        print_line(f"  {reason}")
    if progress.unreadable:
        print_line(
            f"  {len(progress.unreadable)} runs cannot be read; once they are deleted, `python -m mvm sweep "
            f"{sweep.name}{SUFFIX}` makes them again"
        )
    if progress.removed:
        print_line(
            f"  {len(progress.removed)} runs were deleted; `python -m mvm sweep {sweep.name}{SUFFIX}` makes them again"
        )


def _count(planned: Plan) -> str:
    runs = len(planned.there) + len(planned.missing)
    shared = "one process each" if runs == planned.trainings else "trainings of a run share a process"
    return f"{planned.trainings} trainings in {runs} runs ({shared})"


def _states(progress: Progress) -> str:
    waiting = {"new": "waiting", "interrupted": "waiting"}
    counts: dict[str, int] = {}
    for state, count in progress.states.items():
        counts[waiting.get(state, state)] = counts.get(waiting.get(state, state), 0) + count
    order = ("running", "starting", "queued", "paused", "waiting", "finished", "held", "stopped", "diverged", "failed")
    return ", ".join(f"{counts[state]} {state}" for state in order if state in counts) or "no runs"


def _time_left(progress: Progress, workers: int) -> str:
    seconds = progress.seconds_left(workers)
    return f", {_duration(seconds)} left" if progress.left and seconds is not None else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
