"""Faults: a sweep whose workers and driver are killed, frozen and left without disk, beside the same one undisturbed.

    python -m benchmarks.faults                        200 trainings by workers of this machine, 60 kills among them
    python -m benchmarks.faults --on slurm             the same through Slurm: benchmarks/slurm_here.sh starts one
    python -m benchmarks.faults --on ray               the same through Ray, a cluster of three nodes on this machine

It checks that every run finishes, that its weights equal those of the undisturbed sweep to the bit, that no run had two
trainers at once, and that nothing is left behind; and prints the table.

Two trainers at once are told by facts that the run's lock has no part in: a trainer is with a run from the time that it
puts on record itself until it puts on record that it has let go, or else until the kernel announces its process's end
(`benchmarks.exits`: Linux, as root).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.cells import markdown
from benchmarks.exits import Exits
from benchmarks.ray_here import RayHere
from mvm.errors import RunError
from mvm.files import checkpoints, read_tensors
from mvm.runs import events
from mvm.runs.layout import CHECKPOINT
from mvm.runs.library import sweep_runs
from mvm.runs.run import Run
from mvm.sweeps.sweep import progress_of, sweep_named

NAME = "faults"
OTHERS = {  # what is hit beside workers
    "local": ("driver",),
    "slurm": ("controller", "node"),
    "ray": ("head", "node", "driver", "command"),
}
EARLY = 0.1  # share of blows that may hit a worker before it has a run
SPEC = """
seeds = {runs}
together = 1
[base]
data = "{cloud}"
variants = ["both"]
steps = {steps}
batch = 16
view-points = 16
network.width = 8
network.depth = 2
checkpoints = 10
snapshots = 4
records = 20
device = "cpu"
"""
WORK, ON = b"\0-m\0mvm\0work\0", b"\0--on\0"
KEPT = (".sweeps", ".index.json", ".slots", ".workers")  # hidden files that are no temporary ones
HEAD = ("engine", "runs", "blows", "finished", "resumed", "equal bits", "two trainers at once", "left behind", "time")


def main() -> None:
    """Train both sweeps, compare them and print the table; exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default="local", choices=OTHERS, help="default local")
    parser.add_argument("--runs", type=int, default=200, help="trainings (default 200)")
    parser.add_argument("--steps", type=int, default=300, help="of each (default 300)")
    parser.add_argument("--kills", type=int, default=66, help="of workers, and one in ten of others (default 66)")
    parser.add_argument("--freeze", type=float, default=60, help="seconds that a worker is stopped for (default 60)")
    parser.add_argument("--pause", type=float, default=2, help="most seconds between two looks or blows (default 2)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once (default 2)")
    parser.add_argument(
        "--folder", type=Path, help="of both sweeps, kept; an undisturbed one that is there is not trained again"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        line = measure(folder.absolute(), options)
    print(markdown(HEAD, [line.cells(options.on)]))
    sys.exit(not line.is_right())


@dataclass
class Found:
    """What became of a disturbed sweep.

    Attributes:
        runs: number of them.
        blows: what was done to it, counted.
        finished, resumed, equal: number of runs that finished, that had more than one trainer, and whose weights are
            those of the undisturbed sweep.
        twice: runs with a trainer that began before the former one had let go or ended, in words.
        problem: why that is not known; "" if it is.
        left: processes and temporary files that are still there.
        seconds: disturbed, and undisturbed.
    """

    runs: int
    blows: Counter[str]
    finished: int = 0
    resumed: int = 0
    equal: int = 0
    twice: list[str] = field(default_factory=list)
    problem: str = ""
    left: list[str] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)

    def is_right(self) -> bool:
        """Whether nothing was lost."""
        clean = not (self.twice or self.left or self.problem)
        return clean and self.finished == self.equal == self.runs

    def cells(self, engine: str) -> list[str]:
        """A line of the table."""
        blows = ", ".join(f"{count} {what}" for what, count in self.blows.items())
        disturbed, undisturbed = self.seconds
        counts = [f"{n}" for n in (self.finished, self.resumed, self.equal, len(self.twice), len(self.left))]
        counts[3] = self.problem or counts[3]
        return [engine, f"{self.runs}", blows, *counts, f"{disturbed:.0f} s ({undisturbed:.0f} s undisturbed)"]


def measure(folder: Path, options: argparse.Namespace) -> Found:
    """Train a sweep twice, once with blows, and compare."""
    spec = folder / f"{NAME}.toml"
    spec.write_text(SPEC.format(runs=options.runs, steps=options.steps, cloud=write_cloud(folder)), encoding="utf-8")
    os.environ["MVM_CHECKPOINTS"] = str(folder / "undisturbed")
    began = time.time()
    local = mvm("sweep", str(spec), "--on", "local", "--workers", str(options.workers))
    subprocess.run(local, check=True, stdout=subprocess.DEVNULL)
    between = time.time()
    disturbed = folder / f"disturbed-{options.on}"
    shutil.rmtree(disturbed, ignore_errors=True)
    os.environ["MVM_CHECKPOINTS"] = str(disturbed)
    with small_disk(disturbed), Exits() as exits:
        with RayHere() if options.on == "ray" else contextlib.nullcontext() as cluster:
            between, undisturbed = time.time(), between - began
            blows = disturb(spec, options, cluster, exits)
            found = Found(options.runs, blows, seconds=(time.time() - between, undisturbed))
        compare(found, folder, exits)
    return found


def write_cloud(folder: Path) -> Path:
    """Write 200 points of a circle, which are scored at once."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    np.savetxt(folder / "cloud.csv", np.stack([np.cos(angle), np.sin(angle)], 1), delimiter=",")
    return folder / "cloud.csv"


def disturb(spec: Path, options: argparse.Namespace, cluster: RayHere | None, exits: Exits) -> Counter[str]:
    """Train a sweep under blows; returns these."""
    chance, blows = random.Random(options.seed), Counter[str]()
    engine = f"ray:{cluster.address}" if cluster else options.on
    arguments = mvm("sweep", str(spec), "--on", engine, "--workers", str(options.workers))
    log = (Path(os.environ["MVM_CHECKPOINTS"]).parent / "driver.log").open("ab")
    driver = subprocess.Popen(arguments, stdout=log, stderr=log)
    rare = options.kills // 10
    todo = ["worker"] * (options.kills - rare) + [*itertools.islice(itertools.cycle(OTHERS[options.on]), rare)]
    todo += ["frozen"] * 2 + ["disk full"]
    chance.shuffle(todo)
    planned = len(todo)
    frozen: list[tuple[float, int]] = []
    while driver.poll() is None or is_unfinished():
        time.sleep(chance.uniform(0.1, options.pause))
        for until, pid in [each for each in frozen if each[0] < time.time()]:
            frozen.remove((until, pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if driver.poll() is not None and (options.on != "slurm" or has_no_jobs()) and is_unfinished():
            driver = subprocess.Popen(arguments, stdout=log, stderr=log)
        asleep = {pid for _, pid in frozen}
        living = [pid for pid in workers() if pid not in asleep]
        if chance.random() > EARLY:
            living = [pid for pid in training() if pid in living]
        if not todo or not living or sum(blows.values()) > planned * share_done():
            continue
        what = todo.pop()
        blows[what] += 1
        if what == "disk full":
            fill_disk(Path(os.environ["MVM_CHECKPOINTS"]), 10)
        elif what == "frozen":
            frozen.append((time.time() + options.freeze, chance.choice(living)))
            os.kill(frozen[-1][1], signal.SIGSTOP)
        elif what in ("worker", "driver"):
            exits.kill(driver.pid if what == "driver" else chance.choice(living))
        elif what == "command":  # that hands runs out to Ray
            kill(handing_out(), exits)
        elif what == "head" and cluster:
            cluster.restart()
        elif cluster:
            number = chance.randrange(1, cluster.count)
            cluster.kill(number)
            time.sleep(3)
            cluster.start(number)
        elif what == "controller":
            kill(named("slurmctld"), exits)
            time.sleep(3)
            subprocess.run(["slurmctld"], check=True)
        else:  # all that ran on the node is gone with it
            kill([*named("slurmd"), *named("slurmstepd"), *named("slurm_script"), *workers()], exits)
            time.sleep(3)
            subprocess.run(["slurmd"], check=True)
        print(f"{sum(blows.values())}: {what}", file=sys.stderr, flush=True)
    log.close()
    for _, pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return blows


def kill(processes: Iterable[int], exits: Exits) -> None:
    """SIGKILL processes."""
    for pid in processes:
        exits.kill(pid)


def named(name: str) -> Iterator[int]:
    """Processes whose command line begins with this name, or has it as its script."""
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0") if path.name.isdecimal() else []
            if any(Path(os.fsdecode(word)).name.rstrip(":") == name for word in words[:2]):
                yield int(path.name)


def has_no_jobs() -> bool:
    """Whether Slurm has no worker of ours left."""
    asked = subprocess.run(["squeue", "-h"], capture_output=True, check=False)
    return asked.returncode == 0 and not asked.stdout.strip()


def compare(found: Found, folder: Path, exits: Exits) -> None:
    """Compare every run with its undisturbed one."""
    for _ in range(100):  # workers that others have outrun are on their way out
        if not workers():
            break
        time.sleep(0.1)
    found.left += [f"process {pid}" for pid in workers()]
    sweep_runs()
    kept = checkpoints()
    found.left += [str(p) for p in kept.rglob(".*") if p.name not in KEPT]
    found.left += [str(p) for place in (".slots/*/*.ticket", ".sweeps/.workers/*") for p in kept.glob(place)]
    for name in sweep_named(NAME).runs:
        run = Run(kept / name)
        status = run.status()
        found.finished += status.state == "finished"
        if status.state != "finished":
            print(f"{name}: {status.state} at step {status.step}: {status.reason}", file=sys.stderr)
        begun = [e for e in run.records.events if isinstance(e, events.Started | events.Resumed)]
        found.resumed += len(begun) > 1
        for former, later, until in zip(begun, begun[1:], ends(run, exits), strict=False):
            if until > later.time and later.pid != former.pid:  # a process may take its run up again
                early = f"{until - later.time:.3f} s"
                found.twice.append(f"{name}: process {later.pid} began {early} before process {former.pid} had ended")
        steps = [record["step"] for record in run.records.scalars]
        if steps != sorted(set(steps)):
            found.twice.append(f"{name}: a step is on record twice")
        wanted, got = (read_tensors(root / name / CHECKPOINT) for root in (folder / "undisturbed", kept))
        found.equal += wanted.keys() == got.keys() and all(torch.equal(wanted[key], got[key]) for key in wanted)
    found.problem = exits.problem
    for what in (*found.left, *found.twice):
        print(what, file=sys.stderr)


def ends(run: Run, exits: Exits) -> list[float]:
    """When each trainer of a run was no longer with it: it let go, or its process ended, whichever was first."""
    found: list[float] = []
    for event in run.records.events:
        if isinstance(event, events.Started | events.Resumed):
            found.append(exits.after(event.pid or 0, event.time))
        elif isinstance(event, events.Queued | events.Finished | events.Stopped | events.Failed) and found:
            found[-1] = min(found[-1], event.time)
    return found


def share_done() -> float:
    """Share of the sweep's steps that are trained, so that blows are spread over all of it."""
    with contextlib.suppress(RunError):
        rows = progress_of(sweep_named(NAME)).rows
        return sum(row.step for row in rows) / max(1, sum(row.steps for row in rows))
    return 0.0


def mvm(*arguments: str) -> list[str]:
    """A command of this program."""
    return [sys.executable, "-m", "mvm", *arguments]


def is_unfinished() -> bool:
    """Whether runs of the sweep are left."""
    with contextlib.suppress(RunError):
        return progress_of(sweep_named(NAME)).left > 0
    return True


def workers() -> list[int]:
    """Processes that train this sweep."""
    title = f"ray::{NAME}".encode()
    return [pid for pid, command in ours() if command.startswith(title) or (WORK in command and ON not in command)]


def handing_out() -> list[int]:
    """Processes that hand the runs of this sweep out to Ray."""
    return [pid for pid, command in ours() if WORK in command and ON in command]


def ours() -> Iterator[tuple[int, bytes]]:
    """Processes of this sweep, each with its command line."""
    here = f"MVM_CHECKPOINTS={os.environ['MVM_CHECKPOINTS']}".encode()
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdecimal() and here in (path / "environ").read_bytes().split(b"\0"):
                yield int(path.name), (path / "cmdline").read_bytes()


def training() -> set[int]:
    """Processes that are within the steps of a run."""
    found, rows = set(), ()
    with contextlib.suppress(RunError):  # it is being made
        rows = progress_of(sweep_named(NAME)).rows
    for row in rows:
        if row.status == "running" and row.step:
            run = Run(checkpoints() / row.name)
            found |= {e.pid for e in run.records.poll().events if isinstance(e, events.Started | events.Resumed)}
    return found


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own at a folder, where this user may mount one; `fill_disk` fills it for a while."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(folder)], stderr=subprocess.DEVNULL, check=False
    )
    try:
        yield
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder: Path, seconds: float) -> None:
    """Leave no room on the disk for a while; returns at once where it is not a small one."""
    if not folder.is_mount():
        return
    usage = shutil.disk_usage(folder)
    subprocess.run(["mount", "-o", f"remount,size={usage.used}", str(folder)], check=True)
    time.sleep(seconds)
    subprocess.run(["mount", "-o", f"remount,size={usage.total}", str(folder)], check=True)


if __name__ == "__main__":
    main()
