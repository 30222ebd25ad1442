"""A sweep on Slurm: an array of workers, each of which trains runs until none is left.

    checkpoints/.sweeps/NAME/workers.sbatch    the script; it can be submitted again by hand
                             slurm.json        numbers of the jobs that were submitted
                             slurm-12_0.log    output of worker 0 of job 12

The array has an index for each worker, not for each run: a worker that is preempted, or whose node fails, is put back
into the queue, and what it held is continued by any other. Two minutes before its time limit a worker saves its run,
leaves, and asks for another turn. A job that is cancelled asks for none.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mvm.errors import RunError
from mvm.files import checkpoints, write_atomic
from mvm.plain import read_object
from mvm.sweeps.sweep import Sweep
from mvm.sweeps.worker import LEFT

__all__ = ["jobs_in_words", "submit"]

SCRIPT, JOBS = "workers.sbatch", "slurm.json"
MOST_INDEX = 1001  # Slurm's own MaxArraySize, where `scontrol` does not tell
MOST_DEATHS = 100  # of the workers of a job
TEXT = """#!/bin/bash
#SBATCH --job-name=mvm-{name}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#SBATCH --output={folder}/slurm-%A_%a.log
export MVM_CHECKPOINTS={checkpoints}
leaving=
trap 'leaving=yes; kill -TERM $worker' TERM
for turn in $(seq {most}); do
    {command} &
    worker=$!
    wait $worker
    status=$?
    while kill -0 $worker 2>/dev/null; do  # a signal has ended the wait, not the worker
        wait $worker
        status=$?
    done
    if [ -n "$leaving" ] || [ $status -le 128 ]; then break; fi  # else it was killed: the next one goes on
done
job=${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}
if [ $status = {left} ] && [ "$(squeue -h -j $job -o %T)" = RUNNING ]; then  # its time is over: it was not cancelled
    scontrol requeue $job
fi
exit $status
"""


def submit(sweep: Sweep, workers: int, *, options: str = "", retry: bool = False) -> list[str]:
    """Submit workers of a sweep to Slurm; returns the numbers of the jobs.

    Args:
        sweep: what is trained.
        workers: number of them; an array takes at most Slurm's MaxArraySize, so that there may be several.
        options: of sbatch, such as "--partition=gpu --gres=gpu:1 --time=4:00:00".
        retry: also runs that failed, diverged or were stopped before.

    Raises:
        RunError: there is no Slurm here, or it refuses; its reason.
    """
    if shutil.which("sbatch") is None:
        raise RunError("slurm: no sbatch on this machine; run this on a login node of the cluster, or use --on local")
    command = [sys.executable, "-m", "mvm", "work", sweep.name, *["--retry-failed"] * retry]
    script = sweep.folder / SCRIPT
    text = TEXT.format(
        name=sweep.name,
        folder=sweep.folder.absolute(),
        checkpoints=shlex.quote(str(checkpoints().absolute())),
        command=shlex.join(command),
        left=LEFT,
        most=MOST_DEATHS,
    )
    write_atomic(script, text.encode())
    most, jobs = _most_indices(), []
    try:
        for first in range(0, workers, most):
            array = f"--array=0-{min(most, workers - first) - 1}"
            printed = _ask(["sbatch", "--parsable", array, *shlex.split(options), str(script)])
            jobs.append(printed.strip().split(";")[0])
    finally:
        if jobs:
            known = [*_jobs(sweep), *jobs]
            write_atomic(sweep.folder / JOBS, json.dumps({"jobs": known}).encode())
    return jobs


def jobs_in_words(sweep: Sweep) -> str:
    """Its jobs by state, such as "2 running, 1 pending (Priority)", with ends that it accounts for; "" without."""
    jobs = _jobs(sweep)
    if not jobs or shutil.which("squeue") is None:
        return ""
    states: Counter[str] = Counter()
    with contextlib.suppress(RunError):  # it knows none of them any more
        for line in _ask(["squeue", "-h", "-r", "-o", "%T|%r", "-j", ",".join(jobs)]).splitlines():
            state, _, reason = line.partition("|")
            states[state.lower() + f" ({reason})" * (state == "PENDING" and reason != "None")] += 1
    with contextlib.suppress(RunError):  # without accounting
        for line in _ask(["sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(jobs)]).splitlines():
            state = line.partition("|")[2].split(" ")[0].lower()
            if state not in ("running", "pending", "requeued"):
                states[state] += 1
    return ", ".join(f"{count} {state}" for state, count in states.items()) or "no worker is left in its queue"


def _most_indices() -> int:
    with contextlib.suppress(RunError, FileNotFoundError):
        if found := re.search(r"MaxArraySize\s*=\s*(\d+)", _ask(["scontrol", "show", "config"])):
            return max(1, int(found[1]))  # the largest index is one less
    return MOST_INDEX


def _jobs(sweep: Sweep) -> list[str]:
    path: Path = sweep.folder / JOBS
    with contextlib.suppress(OSError, ValueError):
        jobs = read_object(path).get("jobs", [])
        return [job for job in jobs if isinstance(job, str) and job.isdecimal()] if isinstance(jobs, list) else []
    return []


def _ask(command: Sequence[str]) -> str:
    """What a command of Slurm prints.

    Raises:
        RunError: it fails; its reason.
    """
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise RunError(f"slurm: {command[0]} refuses: {reason}")
    return done.stdout
