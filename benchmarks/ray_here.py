"""A Ray cluster of several nodes on this machine, whose nodes can be killed and started again.

    with RayHere(nodes=3) as cluster:
        cluster.address                 of its head; others join with the token in the environment
        cluster.kill(2); cluster.start(2)

Each node is a `ray start --block` with one processor, node 0 the head; killing one kills all that runs on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["RayHere", "descendants"]

PATIENCE = 120.0  # seconds for a node to start
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # without its head a node or a driver gives up, s; 60 by default
}


class RayHere:
    """A cluster of this machine, as a context.

    Args:
        nodes: number of them, one processor each.

    Attributes:
        address: HOST:PORT of the head.
    """

    def __init__(self, nodes: int = 3) -> None:
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.tries = 10  # that may fail, of all starts
        self.count, self.folder = nodes, Path(tempfile.mkdtemp(prefix="ray_here.", dir="/tmp"))  # short, for sockets
        with socket.socket() as free:
            free.bind(("", 0))
            self.port = free.getsockname()[1]
        os.environ.update(SETTINGS)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> RayHere:
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for number in [*self.nodes]:
            self.kill(number)
        if self.tries >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_all(self) -> None:
        """Start every node that does not run, the head first."""
        for number in range(self.count):
            if number not in self.nodes or self.nodes[number].poll() is not None:
                self.start(number)

    def start(self, number: int) -> None:
        """Start a node and wait until it is part of the cluster; a busy machine may need more than one try."""
        while not self._starts(number):
            self.tries -= 1
            if self.tries < 0:
                raise RuntimeError(f"node {number} does not start: see {self.folder}")

    def _starts(self, number: int) -> bool:
        log = self.folder / f"node-{number}.log"
        place = ["--head", "--port", f"{self.port}", "--include-dashboard", "false", "--temp-dir", f"{self.folder}/r"]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address", "127.0.0.1"]
        command += ["--num-cpus", "1", "--object-store-memory", "80000000"]
        command += ["--min-worker-port", "0", "--max-worker-port", "0"]  # any: nodes share this machine's ports
        command += place if number == 0 else ["--address", self.address]
        with log.open("wb") as file:
            node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        self.nodes[number] = node
        end = time.monotonic() + PATIENCE
        while b"Ray runtime started" not in log.read_bytes():
            if node.poll() is not None or time.monotonic() > end:
                self.kill(number)
                return False
            time.sleep(0.1)
        return True

    def kill(self, number: int) -> None:
        """Kill a node with all its processes; nodes without their head are lost as well."""
        node = self.nodes.pop(number)
        for pid in [node.pid, *descendants(node.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def restart(self) -> None:
        """Kill the head, wait, and start the cluster again: without a store of its own, a head forgets its nodes."""
        self.kill(0)
        time.sleep(3)
        for number in [*self.nodes]:
            self.kill(number)
        self.start_all()


def descendants(pid: int) -> list[int]:
    """Processes below one, nearest first."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if path.name.isdecimal():
                parent = (path / "stat").read_bytes().rpartition(b")")[2].split()[1]
                parents.setdefault(int(parent), []).append(int(path.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found[1:]
