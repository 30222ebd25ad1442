"""A lease beside the lock of a run, for disks of several machines: locks there may hold on one machine only.

    lease      holds the identity of the trainer's process and its machine's name; its time is the last heartbeat

A lease of another machine counts until its heartbeat is 120 s old; among the processes of one machine, the lock alone
decides. Times are compared with the clock of the disk, so that machines' clocks may differ. A trainer that was asleep
for longer finds another's lease in place of its own, and leaves without writing: `TakenOver`.

Leases are kept where the disk is a network's, and where its locks were found not to hold (`mvm.sweeps.presence` tries
them): a trainer that has begun without one takes it up at its next heartbeat. $MVM_LEASES, always or never, overrules
this.

    checkpoints/.leases    between what the locks of this disk do not hold: machines, or processes of one machine
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mvm.errors import RunBusy
from mvm.files import beside, checkpoints, write_atomic
from mvm.processes import identity, lives
from mvm.runs.layout import LEASE

__all__ = [
    "EXPIRES",
    "Weakness",
    "disk_time",
    "held_elsewhere",
    "hold_lease",
    "keep_leases",
    "lease_of",
    "network_disk",
    "wait_for_leases",
    "weak_locks",
    "why_leases",
]

Weakness = Literal["", "machines", "processes"]

HEARTBEAT = 10.0  # seconds between two
EXPIRES = 120.0  # seconds without a heartbeat after which another machine takes over
WEAK = ".leases"  # in the folder of all runs
POLL = 0.1  # seconds between two looks at the time
CLOCK = 60.0  # seconds for which the disk's clock is known without asking it again
NETWORKS = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "ceph",
    "beegfs",
    "glusterfs",
    "fuse",
    "9p",
    "afs",
    "pvfs",
    "virtiofs",
)


def lease_of(run_dir: Path) -> Path:
    """The file that holds a run's lease."""
    return run_dir / LEASE


def why_leases(folder: Path | None = None) -> str:
    """Why trainers of the runs in a folder keep leases, in a few words; "" where locks do."""
    forced = os.environ.get("MVM_LEASES")
    if forced in ("always", "never"):
        return "$MVM_LEASES" if forced == "always" else ""
    if between := weak_locks(folder):
        return f"locks there do not hold between {between}"
    return network_disk(folder)


def weak_locks(folder: Path | None = None) -> Weakness:
    """Between what the locks of a disk were found not to hold; "" if they were not."""
    with contextlib.suppress(OSError):
        found = ((folder or checkpoints()) / WEAK).read_text(encoding="utf-8", errors="replace").strip()
        return "processes" if found == "processes" else "machines"
    return ""


def keep_leases(between: Weakness) -> None:
    """From now on keep leases on the disk of all runs, as its locks do not hold between machines, or processes."""
    if weak_locks() not in (between, "processes"):
        write_atomic(checkpoints() / WEAK, between.encode(), durable=True)


def wait_for_leases() -> None:
    """Wait until each trainer that began without a lease has taken one up, if locks were found not to hold just now."""
    root = checkpoints()
    with contextlib.suppress(OSError):
        while disk_time(root) - (root / WEAK).stat().st_mtime < 2 * HEARTBEAT:
            time.sleep(POLL)


def network_disk(folder: Path | None = None) -> str:
    """Type of the file system of a folder, of all runs when None, if other machines may see it; else ""."""
    real, best, kind = Path(os.path.realpath(folder or checkpoints())), -1, ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, where, found, *_ = line.split(" ")
            mount = Path(where.encode().decode("unicode_escape"))
            if real.is_relative_to(mount) and len(mount.parts) >= best:
                best, kind = len(mount.parts), found
    return kind if kind.startswith(NETWORKS) else ""


def held_elsewhere(run_dir: Path) -> str:
    """Name of the other machine that holds the run's lease; "" if none does.

    Of another process of this machine where locks do not hold between processes.
    """
    lease = lease_of(run_dir)
    try:
        mark, _, host = lease.read_text(encoding="utf-8", errors="replace").partition(" ")
        beat = lease.stat().st_mtime
    except OSError:
        return ""
    if (here := lives(mark)) is not None:  # of this machine: the lock tells, where it can
        return "this machine" if here and mark != identity() and weak_locks(run_dir.parent) == "processes" else ""
    return (host.strip() or "another machine") if abs(disk_time(run_dir.parent) - beat) < EXPIRES else ""


@contextlib.contextmanager
def hold_lease(run_dir: Path) -> Iterator[None]:
    """Hold the lease of a run whose lock this process holds, with a heartbeat; none on disks whose locks do.

    Raises:
        RunBusy: another machine holds it.
    """
    lease, own = lease_of(run_dir), f"{identity()} {os.uname().nodename}"
    held: list[int] = []  # inode of the lease
    ended = threading.Event()

    def take() -> None:
        with _entry(run_dir):
            _refuse(run_dir)
            write_atomic(lease, own.encode(), durable=True)
            held.append(lease.stat().st_ino)

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError, RunBusy):
                if held and lease.stat().st_ino == held[0]:  # else another machine has taken over
                    os.utime(lease)
                elif not held and why_leases(run_dir.parent):  # locks were found not to hold meanwhile
                    take()

    _refuse(run_dir)
    if why_leases(run_dir.parent):
        take()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            if held and lease.stat().st_ino == held[0]:
                lease.unlink()


def _refuse(run_dir: Path) -> None:
    if host := held_elsewhere(run_dir):
        raise RunBusy(f"run: {run_dir.name} is being trained on {host}; stop it first")


@contextlib.contextmanager
def _entry(run_dir: Path) -> Iterator[None]:
    """Be the only process of all machines that looks at the lease and replaces it: a link is made once on any disk."""
    entry, own = run_dir / f".{LEASE}.entry", beside(lease_of(run_dir))
    own.write_bytes(identity().encode())
    try:
        while True:
            try:
                os.link(own, entry)
                break
            except FileExistsError:
                with contextlib.suppress(OSError):
                    if (
                        abs(disk_time(run_dir.parent) - entry.stat().st_mtime) > EXPIRES
                    ):  # left by a process that was killed in it
                        entry.unlink()
                        continue
                raise RunBusy(f"run: {run_dir.name} is being taken by another machine") from None
        try:
            yield
        finally:
            entry.unlink(missing_ok=True)
    finally:
        own.unlink(missing_ok=True)


_clocks: dict[Path, tuple[float, float]] = {}


def disk_time(root: Path) -> float:
    """Time by the clock of a folder's disk, which dates its files: asked once a minute, counted on between."""
    asked, ahead = _clocks.get(root, (-CLOCK, 0.0))
    if time.monotonic() - asked >= CLOCK:
        probe = beside(root / "clock")
        try:
            probe.write_bytes(b"")
            ahead = probe.stat().st_mtime - time.monotonic()
        except OSError:  # read-only: this machine's clock is all there is
            ahead = time.time() - time.monotonic()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        _clocks[root] = time.monotonic(), ahead
    return time.monotonic() + ahead
