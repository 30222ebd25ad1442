"""A sweep on Ray: one task for each run, with the CPU threads or the GPU that it trains on.

    --on ray             a Ray of this machine, for the time of the sweep
    --on ray:ADDRESS     a cluster that runs, as `ray.init(address=ADDRESS)` finds it; `auto` is the one of this machine

Ray decides where and when a task runs; the run on disk is the truth, as everywhere. A task whose process or node dies
is started again by Ray and continues from the checkpoint. To end early, the driver leaves a file in the sweep's folder;
each task sees it, saves its run and returns, and only what has not returned after a while is cancelled.

Where the head of a cluster dies, Ray ends the driver with it: so the driver is a worker like those of this machine, and
is started again until the cluster is back.

A Ray of our own has no dashboard, sends no usage statistics, and takes nobody without its token.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mvm.devices import device_of
from mvm.errors import RunError, line_of
from mvm.files import checkpoints, write_atomic
from mvm.runs.run import Run
from mvm.sweeps.local import run_local
from mvm.sweeps.presence import present
from mvm.sweeps.sweep import ENDED, Progress, Sweep, progress_of, sweep_named
from mvm.sweeps.worker import Worker

__all__ = ["hand_out", "run_ray"]

LEAVE = "leave"  # in the sweep's folder: tasks that see it save and return
POLL = 0.5  # seconds between two looks at the tasks
PATIENCE = 60.0  # seconds for tasks to save before they are cancelled
REACH = 5.0  # seconds for a cluster's head to answer
MOST = 1000  # tasks in Ray's queue at once
ABSENT = 'ray: it is not installed; `pip install "mvm-lab[ray]"`, or use --on local'
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}


def run_ray(
    sweep: Sweep, workers: int | None, *, address: str = "", retry: bool = False
) -> Generator[Progress, None, None]:
    """Train a sweep by tasks of Ray, yielding its progress until none is left.

    Closing the iterator lets the tasks save and return.

    Args:
        sweep: what is trained.
        workers: tasks at once at most; as many as Ray has room for when None.
        address: of a cluster; a Ray of this machine when empty.
        retry: also runs that failed, diverged or were stopped before.

    Raises:
        RunError: Ray is not installed, or there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise RunError(ABSENT)
    _reach(address)
    at_once = ("--workers", str(workers)) if workers else ()
    return run_local(sweep, 1, retry=retry, driver=("--on", f"ray:{address}" if address else "ray", *at_once))


def hand_out(
    sweep: Sweep,
    workers: int | None,
    *,
    address: str = "",
    retry: bool = False,
    leaving: Callable[[], bool] = lambda: False,
) -> bool:
    """Hand the runs of a sweep to Ray, and wait for them; returns whether nothing is left.

    While a search goes on, there may be more to come.

    Args:
        sweep, workers, address, retry: as for `run_ray`.
        leaving: asked twice a second; once true, the tasks save and return.

    Raises:
        RunError: Ray is not installed, or there is no cluster at the address.
    """
    ray, leave = _connect(address), sweep.folder / LEAVE
    leave.unlink(missing_ok=True)
    train = ray.remote(max_retries=-1, max_calls=0)(_train)
    waiting: list[str] = []
    running: dict[Any, str] = {}
    ended_before = () if retry else ENDED
    is_searched = True  # in the first round they are read, too
    try:
        while not leaving():
            was_searched, is_searched = is_searched, sweep.is_searched  # asked before the runs: none is missed
            if was_searched:
                known, rows = {*waiting, *running.values()}, progress_of(sweep_named(sweep.name)).rows
                waiting += [row.name for row in rows if row.name not in known and row.status not in ended_before]
                ended_before = ENDED
            if not (waiting or running or is_searched):
                return True
            while waiting and len(running) < min(workers or MOST, MOST):
                name = waiting.pop(0)
                place = str(checkpoints().absolute()), sweep.name, name
                running[train.options(name=f"{sweep.name} {name}", **_share(name)).remote(*place, retry)] = name
            if not running:
                time.sleep(POLL)
                continue
            ended, _ = ray.wait([*running], num_returns=1, timeout=POLL)
            if not _is_joined(ray):
                running.clear()
                raise RunError(f"ray: the cluster at {address or 'this machine'} was started anew; its tasks are lost")
            for task in ended:
                del running[task]
                ray.get(task)
        return False
    finally:
        if running:
            write_atomic(leave, b"")
            _, late = ray.wait([*running], num_returns=len(running), timeout=PATIENCE)
            for task in late:
                ray.cancel(task, force=True)
            leave.unlink(missing_ok=True)
        ray.shutdown()


def _train(root: str, sweep: str, run: str, retry: bool) -> bool:
    """A task: train one run until it ends, or until the sweep is asked to leave; returns whether it ended."""
    os.environ["MVM_CHECKPOINTS"] = root
    found = sweep_named(sweep)
    with present():
        return Worker(found, retry=retry, only=run, leave_file=found.folder / LEAVE).work()


def _share(name: str) -> dict[str, float]:
    """What of a node a run takes."""
    config = Run(checkpoints() / name).config
    try:
        gpus = float(device_of(config.device).type == "cuda" or config.device == "cuda")
    except ValueError:  # asked for here, and only elsewhere
        gpus = 1.0
    return {"num_cpus": config.cpu_threads, "num_gpus": gpus}


def _connect(address: str) -> Any:
    """Ray, connected to a cluster."""
    _reach(address)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not address and not Path("~/.ray/auth_token").expanduser().exists():
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise RunError(ABSENT) from None
    on_signal = signal.getsignal(signal.SIGTERM)
    own: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:
        raise RunError(f"ray: no cluster at {address or 'this machine'}: {line_of(error)}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_signal)  # Ray has put its own there
    return ray


def _is_joined(ray: Any) -> bool:
    """Whether the cluster still knows this driver's node: a head that was started anew does not, and says nothing."""
    own = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == own and node["Alive"] for node in ray.nodes())


def _reach(address: str) -> None:
    """Raise an error if nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=REACH).close()
        except (OSError, OverflowError) as error:
            raise RunError(f"ray: no cluster at {address}: {line_of(error)}") from None
