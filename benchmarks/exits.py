"""The moment at which each process of this machine ended, as the kernel tells it (Linux, as root).

    with Exits() as exits:
        exits.kill(pid)
        exits.after(pid, moment)        when the process that had this number at that moment ended

The kernel's connector for processes announces every exit with its time: nothing is sampled, and no lock is asked. It
does so late in the exit: on a busy machine a process that is killed gives its locks back long before. So one that is
killed here ends with that, as it executes nothing of its own any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import threading
import time

__all__ = ["Exits"]

CONNECTOR, PROCESSES, LISTEN = 11, 1, 1  # of netlink: its protocol, the connector's part, and what is asked of it
EXIT = 0x80000000
BUFFER = 2**25  # bytes of announcements that wait to be read


class Exits:
    """Notes the ends of all processes, as a context.

    Attributes:
        problem: why they are not known; "" if they are.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._ends: dict[int, list[float]] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Exits:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, CONNECTOR)
            self._socket.bind((0, PROCESSES))
            self._socket.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
            asked = struct.pack("=IIIIHHI", PROCESSES, 1, 0, 0, 4, 0, LISTEN)
            self._socket.send(struct.pack("=IHHII", 16 + len(asked), 3, 0, 0, os.getpid()) + asked)
            self._socket.settimeout(0.2)
        except OSError as error:
            self.problem = f"the kernel does not announce exits here: {error.strerror}"
            return self
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.problem:
            self._ended.set()
            self._thread.join()
            self._socket.close()

    def kill(self, pid: int) -> None:
        """SIGKILL a process, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._ends.setdefault(pid, []).append(time.time())

    def after(self, pid: int, moment: float) -> float:
        """When the process of this number ended, if it was there at a moment (seconds of the date); infinite if not."""
        return min((end for end in self._ends.get(pid, []) if end >= moment), default=float("inf"))

    def _listen(self) -> None:
        began = time.time() - time.monotonic()
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                try:
                    told = self._socket.recv(4096)
                except OSError as error:
                    if error.errno == errno.ENOBUFS:
                        self.problem = "announcements of exits were lost"
                        continue
                    raise
                what, _, nanoseconds, thread, pid = struct.unpack_from("=IIQII", told, 36)
                if what == EXIT and thread == pid:
                    self._ends.setdefault(pid, []).append(began + nanoseconds / 1e9)
