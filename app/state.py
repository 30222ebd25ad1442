"""What the app remembers: nothing that matters. Runs live on disk; this is caches, notices and the shown run's name."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from app.picture_grid import Picked
from mvm.config import Config
from mvm.data.points import describe, read_points
from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints, write_array, write_atomic
from mvm.jobs.launch import launch
from mvm.jobs.local import LocalLauncher
from mvm.jobs.queue import device_kind
from mvm.jobs.umap_worker import Projector
from mvm.jobs.warm_trainer import WarmTrainer
from mvm.runs.evaluate import load_generator, training_gallery
from mvm.runs.history import History
from mvm.runs.layout import CHECKPOINT, check_name
from mvm.runs.library import all_runs, opened
from mvm.runs.run import Run
from mvm.scoring.images import Gallery
from mvm.training.experiment import view_noise
from mvm.training.sampling import between

__all__ = [
    "Page",
    "Tab",
    "described",
    "first_run",
    "gallery",
    "history",
    "keep_drawing",
    "keep_upload",
    "later",
    "page",
    "projector",
    "run_named",
    "runs",
    "start",
    "train",
    "warm_trainer",
    "warm_up",
    "way",
]

DEMO = "demo"
WARM_AFTER = 5.0  # seconds


@dataclass
class Tab:
    """What one browser tab remembers of one of the app's pages.

    Buttons' callbacks get it as an argument. In them every use of `st.session_state` is a place where Streamlit may
    leave off for a newer rerun: a run would have been made, and which one to show forgotten. Plain attributes are not.

    Attributes:
        presses: how many new runs were asked for. Streamlit may call a callback twice for one press.
        notice: the last notice, when it was given, s since the epoch, and whether it is good news.
    """

    presses: int = 0
    notice: tuple[str, float, bool] = ("", 0.0, False)

    def is_new(self, press: int) -> bool:
        """Whether the press with this number has not been served yet; from now on it has."""
        fresh = press == self.presses
        self.presses += fresh
        return fresh

    def tell(self, text: str, *, good: bool = False) -> None:
        """Show one line at the top at the next rerun: what cannot be, or good news."""
        self.notice = (text, time.time(), good)

    def show_notice(self) -> None:
        """The last notice, for 20 s."""
        text, when, good = self.notice
        if text and time.time() - when < 20:
            (st.success if good else st.error)(text, icon=f":material/{'check' if good else 'error'}:")

    def take_link(self, key: str, options: Iterable[str], title_of: Callable[[str], str]) -> None:
        """Before a choice that is bound to the URL: a link may say an option as the command line does.

        The widget itself knows options by their titles, and drops what is none of them without a word.
        """
        said, options = st.query_params.get(key), list(options)
        if said is None or key in st.session_state:
            return
        if said in options:
            st.session_state[key] = said
        elif said not in map(title_of, options):
            self.tell(f"{key}: there is no {said!r}; known: {', '.join(options)}")


@dataclass
class Page(Tab):
    """What one browser tab remembers of the Lab, or of Faces.

    Attributes:
        images: of Faces, which shows runs on pictures; the Lab shows those on points.
        run: name of the run that is shown; None for the URL's, else a living one, else the newest.
        turn: how often another run was shown, for widgets that must not outlive the run they were made for.
        state: run and state that the page was drawn for.
        wanted: run and step that its timeline points at, None for the newest.
        behind: a newer projection is awaited.
        weights: of the descriptors, as the sidebar last had them, after its widgets' prefix; None before it had.
        picked: run, and the picture of it that was clicked last.
    """

    images: bool = False
    run: str | None = None
    turn: int = 0
    state: tuple[str | None, str] = (None, "new")
    wanted: tuple[str, int | None] | None = None
    behind: bool = True
    weights: tuple[str, dict[str, float]] | None = None
    picked: tuple[str, Picked] | None = None

    def key(self, name: str) -> str:
        """Of a widget, and of its parameter in the URL, that both pages have."""
        return f"faces.{name}" if self.images else name

    def setting(self, name: str, default: Any) -> Any:
        """What the person has set in the widget of this name; never to be asked in a callback."""
        return st.session_state.get(self.key(name), default)

    def show(self, run: str) -> None:
        """Show this run from the next rerun on."""
        if run != self.run:
            self.run, self.turn = run, self.turn + 1

    def pick(self, run: str, picked: Picked | None) -> None:
        """A component says what was clicked in it last; the latest of all counts."""
        known = self.picked_of(run)
        if picked is not None and (known is None or picked.when > known.when):
            self.picked = (run, picked)

    def picked_of(self, run: str) -> Picked | None:
        """The picture of this run that was clicked last."""
        return self.picked[1] if self.picked and self.picked[0] == run else None


def page(*, images: bool = False) -> Page:
    """This tab's."""
    return st.session_state.setdefault(f"_page.{'faces' if images else 'lab'}", Page(images=images))


@st.cache_resource
def projector() -> Projector:
    """The one UMAP worker of this app; it ends with the app."""
    service = Projector()
    service.request(checkpoints() / ".none", 0)  # no such run: it only starts the worker
    return service


@st.cache_resource
def warm_trainer() -> WarmTrainer:
    """The one warm trainer of this app."""
    return WarmTrainer()


def later(work: Callable[[], object]) -> None:
    """Do something in a thread, once what was just started has had the processor for a while."""
    timer = Timer(WARM_AFTER, work)
    timer.daemon = True
    timer.start()


@st.cache_resource
def warm_up() -> None:
    """Start, once, what takes seconds to import: a warm trainer, and a little later the UMAP worker.

    Streamlit collects garbage after every run of a script or fragment, which with torch loaded takes most of a live
    view's time: what is imported by now will stay, so it is taken out of the collector's sight.
    """
    gc.collect()
    gc.freeze()
    warm_trainer().warm()
    later(projector)


def train(run: Run) -> None:
    """Train a run in the background, and warm the next trainer soon.

    Raises:
        RunError: it is being trained already.
    """
    launch(run, launcher=LocalLauncher(warm_trainer()))
    later(warm_trainer().warm)


def runs(*, images: bool = False) -> dict[str, Run]:
    """Runs on points, or on pictures, by name, newest first; each is read once, and then only what was added."""
    return {run.name: run for run in all_runs(_known_runs()) if run.config.is_images == images}


def paused_runs(waiting: Run) -> list[str]:
    """Names of the paused runs, on points or pictures, that keep slots of the device a run waits for."""
    kind = device_kind(waiting.config.device)
    paused = (run for run in all_runs(_known_runs()) if run.status().state == "paused")
    return [run.name for run in paused if device_kind(run.config.device) == kind]


def run_named(name: str) -> Run:
    """One of them; a name may come from a link, and is never a path.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    return opened(checkpoints() / check_name(name), _known_runs())


@st.cache_resource
def _known_runs() -> dict[str, Run]:
    return {}


def first_run(tab: Page) -> None:
    """Where there is no run at all, begin one, so that the first screen is alive."""
    if not start(tab, Config.make(data="circle"), name=DEMO) and DEMO in runs():
        tab.tell("")  # another tab was quicker: that is no error


def start(tab: Page, config: Config, *, name: str | None = None, paused: bool = False, like: Run | None = None) -> bool:
    """Make a run, train it in the background and show it; false, with a notice, if that cannot be."""
    try:
        run = Run.create(config, name=name, like=like)
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
    if run not in readers:  # another run that has taken the name is another
        while len(readers) > 8:
            readers.pop(next(iter(readers)))
        readers[run] = History(run)
    return readers[run].refresh()


def way(run: Run, member: int, ends: tuple[int, int], places: tuple[float, ...], *, of: int) -> np.ndarray:
    """Pictures at places in [0, 1] between two of the run's fixed noises, by a generator of its last checkpoint.

    Args:
        run: of pictures.
        member: which generator.
        ends: numbers of the two noises.
        places: at each a picture.
        of: how many fixed noises the run has.

    Raises:
        RunError: there is no readable checkpoint.
    """
    try:
        changed = (run.path / CHECKPOINT).stat().st_mtime_ns
    except OSError:
        raise RunError("There is no checkpoint yet: the generators are there in a moment.") from None
    return _way(run.path, member, changed, ends, places, of)


@st.cache_data(max_entries=64, show_spinner=False)
def _way(path: Path, member: int, changed: int, ends: tuple[int, int], places: tuple[float, ...], of: int) -> Any:
    noise = view_noise(of, Run(path).config.network.noise_dim)
    return _generator(path, member, changed)(between(*noise[list(ends)], torch.tensor(places))).numpy()


@st.cache_resource(max_entries=8, show_spinner=False)
def _generator(path: Path, member: int, changed: int) -> Callable[[Tensor], Tensor]:
    torch.set_num_threads(1)
    return load_generator(Run(path), member)


def gallery(run: Run) -> Gallery | str | None:
    """The run's training pictures to look the nearest up in; None while they are made ready, or why they cannot be."""
    wanted = _gallery(run.config.model_dump_json(include={"data", "points", "size", "flips"}), run.config)
    if not wanted.done():
        return None
    return wanted.result() if wanted.exception() is None else str(wanted.exception())


@st.cache_resource(max_entries=2, show_spinner=False)
def _gallery(key: str, _config: Config) -> Future[Gallery]:
    """In a thread: rendering thousands of toy faces takes seconds, and the page is to stay alive."""
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(1)
    future = pool.submit(training_gallery, _config)
    pool.shutdown(wait=False)
    return future


def keep_upload(name: str, content: bytes) -> Path:
    """Keep an uploaded file of points, after checking it; the same file twice is kept once.

    Raises:
        ConfigError: it cannot be trained on.
    """
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(name).name)[-60:]
    path = _kept() / hashlib.sha256(content).hexdigest()[:8] / (f"points{safe}" if safe.startswith(".") else safe)
    return _checked(path, lambda: write_atomic(path, content))


@st.cache_data(max_entries=16, show_spinner=False)
def described(path: Path) -> list[str]:
    """`mvm.data.points.describe` of a kept file, which never changes."""
    return describe(path)


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
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
        try:
            read_points(path)
        except ConfigError:
            path.unlink(missing_ok=True)
            raise
    return path


def _kept() -> Path:
    return checkpoints() / ".uploads"
