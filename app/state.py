"""What the app remembers: nothing that matters. Runs live on disk; this is caches, notices and the shown run's name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import numpy as np
import streamlit as st

from mvm.config import Config, ConfigError
from mvm.data.points import read_points
from mvm.history import History
from mvm.projection import Projector
from mvm.runs import Run, RunError, all_runs, checkpoints, launch, write_array, write_atomic
from mvm.spare import Spare

__all__ = [
    "Page",
    "first_run",
    "history",
    "keep_drawing",
    "keep_upload",
    "later",
    "page",
    "projector",
    "runs",
    "spare",
    "start",
    "train",
]

DEMO = "demo"
WARM_AFTER = 5.0  # seconds


@dataclass
class Page:
    """What one browser tab remembers.

    Buttons' callbacks get it as an argument. In them every use of `st.session_state` is a place where Streamlit may
    leave off for a newer rerun: a run would have been made, and which one to show forgotten. Plain attributes are not.

    Attributes:
        run: name of the run that is shown; None for the URL's, else a living one, else the newest.
        turn: how often another run was shown, for widgets that must not outlive the run they were made for.
        presses: how many new runs were asked for. Streamlit may call a callback twice for one press.
        notice: the last notice and when it was given, s since the epoch.
        state: run and state that the page was drawn for.
        wanted: run and step that its timeline points at, None for the newest.
        behind: a newer projection is awaited.
        weights: of the descriptors, as the sidebar last had them; None before it had.
    """

    run: str | None = None
    turn: int = 0
    presses: int = 0
    notice: tuple[str, float] = ("", 0.0)
    state: tuple[str | None, str] = (None, "new")
    wanted: tuple[str, int | None] | None = None
    behind: bool = True
    weights: dict[str, float] | None = None

    def show(self, run: str) -> None:
        """Show this run from the next rerun on."""
        if run != self.run:
            self.run, self.turn = run, self.turn + 1

    def is_new(self, press: int) -> bool:
        """Whether the press with this number has not been served yet; from now on it has."""
        fresh = press == self.presses
        self.presses += fresh
        return fresh

    def tell(self, text: str) -> None:
        """Show one line at the top at the next rerun."""
        self.notice = (text, time.time())

    def show_notice(self) -> None:
        """The last notice, until its reader closes it or 20 s have passed."""
        text, when = self.notice
        if text and time.time() - when < 20:
            st.error(text, icon=":material/error:")


def page() -> Page:
    """This tab's."""
    return st.session_state.setdefault("_page", Page())


@st.cache_resource
def projector() -> Projector:
    """The one UMAP worker of this app; it ends with the app."""
    service = Projector()
    service.request(checkpoints() / ".none", 0)  # no such run: it only starts the worker
    return service


@st.cache_resource
def spare() -> Spare:
    """The one trainer in waiting of this app."""
    return Spare()


def later(work: Callable[[], object]) -> None:
    """Do something in a thread, once what was just started has had the processor for a while."""
    timer = Timer(WARM_AFTER, work)
    timer.daemon = True
    timer.start()


def train(run: Run) -> None:
    """Train a run in the background, and have the next trainer wait soon.

    Raises:
        RunError: it is being trained already.
    """
    launch(run, spare=spare())
    later(spare().warm)


def runs() -> dict[str, Run]:
    """Every run by name, newest first; each is read from the disk once, and then only what was added."""
    known = _known_runs()
    return {run.name: known.setdefault(str(run.path), run) for run in all_runs(known)}


@st.cache_resource
def _known_runs() -> dict[str, Run]:
    return {}


def first_run(tab: Page) -> None:
    """Where there is no run at all, begin one, so that the first screen is alive."""
    if not start(tab, Config.make(data="circle"), name=DEMO) and DEMO in runs():
        tab.tell("")  # another tab was quicker: that is no error


def start(tab: Page, config: Config, *, name: str | None = None, paused: bool = False) -> bool:
    """Make a run, train it in the background and show it; false, with a notice, if that cannot be."""
    try:
        run = Run.create(config, name=name)
        tab.show(run.name)
        if paused:
            run.ask(pause_at=0)
        train(run)
    except (ConfigError, RunError, OSError) as error:
        tab.tell(str(error))
        return False
    return True


def history(run: Run) -> History:
    """This session's reader of a run, brought up to date."""
    readers = st.session_state.setdefault("_readers", {})
    key = str(run.path)
    if key not in readers:
        while len(readers) > 8:
            readers.pop(next(iter(readers)))
        readers[key] = History(run)
    return readers[key].refresh()


def keep_upload(name: str, content: bytes) -> Path:
    """Keep an uploaded file of points, after checking it; the same file twice is kept once.

    Raises:
        ConfigError: it cannot be trained on.
    """
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(name).name)[-60:]
    path = _kept() / f"{hashlib.sha256(content).hexdigest()[:8]}-{stem}"
    return _checked(path, lambda: write_atomic(path, content))


def keep_drawing(points: np.ndarray) -> Path:
    """Keep drawn points `(n, 2)` as a file that a run can be made from.

    Raises:
        ConfigError: too few, or all the same.
    """
    path = _kept() / f"drawing-{hashlib.sha256(points.tobytes()).hexdigest()[:8]}.npy"
    return _checked(path, lambda: write_array(path, points.astype(np.float32)))


def _checked(path: Path, write: Callable[[], None]) -> Path:
    """Write and check a file of points that is not there yet; one that is there has passed. Every rerun comes here."""
    if not path.exists():
        write()
        try:
            read_points(path)
        except ConfigError:
            path.unlink(missing_ok=True)
            raise
    return path


def _kept() -> Path:
    folder = checkpoints() / ".uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
