"""Processes that decode: they may crash, run out of memory, or lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from waiting import until

from mvm.data import workers
from mvm.data.cache import prepare
from mvm.data.picture import Unmeasured
from mvm.data.sources import Folder, Listing
from mvm.data.workers import Skipped, spread
from mvm.errors import ConfigError


def outcome_of(content: bytes) -> int:
    """What a worker does here; some contents are harmful."""
    match content.split():
        case [b"kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case [b"exit"]:
            os._exit(3)
        case [b"segfault"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        case [b"eat"]:
            return len(np.ones(3 * 2**27))  # 3 GiB
        case [b"wide"]:
            raise Unmeasured
        case [b"source"]:
            raise ConfigError("source: it is not what it was")
        case [b"print"]:
            os.write(2, b"Fax4Decode: Bad code word\n")  # as libtiff does
            return 1
        case [b"raise"]:
            raise RuntimeError("of any\nkind")
    return int(content)


@dataclass(frozen=True)
class Words:
    """A source whose names are the contents."""

    path: Path = Path("/")

    def list(self) -> Listing:
        return Listing([])

    def read(self, name: str) -> bytes:
        return name.encode()


def outcomes(names: list[str], processes: int) -> list[object]:
    found = list(spread(outcome_of, Words(), names, processes=processes))
    assert [name for name, _ in found] == names
    return [outcome.reason if isinstance(outcome, Skipped) else outcome for _, outcome in found]


def test_a_decoder_that_crashes_costs_its_picture_only(monkeypatch):
    monkeypatch.setattr(workers, "CHUNK", 4)
    names = [str(i) for i in range(12)]
    wanted: list[object] = list(range(12))
    for place, harm in {5: "kill", 6: "segfault", 11: "exit"}.items():
        names[place], wanted[place] = harm, "its decoder crashed, or was killed"
    assert outcomes(names, 2) == wanted


def test_what_a_picture_raises_and_the_memory_it_takes_cost_this_picture_only(capfd):
    memory = f"more memory needed than the {workers.MOST_MEMORY >> 20} MiB allowed"
    names = ["0", "raise", "2", "eat", "4", "print"]
    wanted = [0, "of any kind", 2, memory if sys.platform == "linux" else 3 * 2**27, 4, 1]
    assert outcomes(names, 2) == wanted
    assert capfd.readouterr() == ("", ""), "libraries print without naming the picture"


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("harm", "error"), [("wide", Unmeasured), ("source", ConfigError)])
def test_what_is_no_pictures_fault_ends_the_work(processes, harm, error):
    with pytest.raises(error):
        outcomes(["0", harm, "2"], processes)


def test_workers_give_what_one_process_gives(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(workers, "CHUNK", 4)
    rng = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 4096, (12, 12), dtype=np.uint16)).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "05.png").write_bytes(b"broken")
    out = tmp_path.parent / f"{tmp_path.name}-out"
    one, many = (prepare(Folder(tmp_path), out / f"{n}.npy", size=8, processes=n) for n in (1, 2))
    assert (one.sha256, one.skipped, one.assumed) == (many.sha256, many.skipped, many.assumed)
    assert one.count == 10


ORPHANS = """
import os, sys
sys.path[:0] = {path!r}
from test_picture_workers import Words, outcome_of
from mvm.data.workers import spread
import multiprocessing
if __name__ == "__main__":
    for name, outcome in spread(outcome_of, Words(), [str(i) for i in range(1000)], processes=2):
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS.format(path=sys.path))
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.send_signal(number)
        until(lambda: not any(alive(pid) for pid in pids), "the end of the workers")


@pytest.mark.parametrize("when", ["at the start of the workers", "in their work"])
def test_an_interrupt_from_the_terminal_is_the_parents_alone(tmp_path, when):
    """Ctrl-C goes to the whole group; workers print nothing of their own."""
    script = tmp_path / "parent.py"
    script.write_text(INTERRUPTED.format(path=sys.path, wait=when == "in their work"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], start_new_session=True, **pipes) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate()
    assert (parent.returncode, out, err) == (0, b"interrupted\n", b"")


INTERRUPTED = """
import sys, time
sys.path[:0] = {path!r}
from test_picture_workers import Words, outcome_of
from mvm.data import workers

def work():
    for name, _ in workers.spread(outcome_of, Words(), [str(i) for i in range(1000)], processes=2):
        if {wait} and name == "0":
            print("begun", flush=True)
        while name == "999":
            time.sleep(0.01)

def submit(*arguments, real=workers._submit):
    future = real(*arguments)
    if not {wait} and arguments[-1][0] == "0":
        print("begun", flush=True)
    return future

if __name__ == "__main__":
    workers.CHUNK, workers._submit = 500, submit
    try:
        work()
    except KeyboardInterrupt:
        print("interrupted")
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
