"""What the app asks of other processes: trainings, which outlive it, one waiting trainer and one UMAP worker.

Functions with a `tab` give a notice in place of an error, so that callbacks of widgets can be one call.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import streamlit as st

from app.caches import runs
from app.session import MovableWidgets, Page, Tab
from mvm.config import Config
from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints
from mvm.jobs.launch import launch
from mvm.jobs.local import LocalLauncher
from mvm.jobs.umap_worker import Projector
from mvm.jobs.warm_trainer import WarmTrainer
from mvm.runs.archive import unpack
from mvm.runs.run import Run

__all__ = [
    "DEMO",
    "apply_moved_settings",
    "ask",
    "continue_training",
    "later",
    "make_demo",
    "projector",
    "show_demo",
    "start",
    "train",
    "warm_trainer",
    "warm_up",
]

DEMO = "demo"  # name of the run that is shown where there is none
DEMO_FILE = Path(__file__).parent / "demo.zip"  # made by docs/demo.py
WARM_AFTER = 5.0  # seconds

# -- processes of the app ----------------------------------------------------------------------------------------------


@st.cache_resource
def projector() -> Projector:
    """The app's one UMAP worker."""
    service = Projector()
    service.request(checkpoints() / ".none", 0)  # there is no such run: this only starts the process
    return service


@st.cache_resource
def warm_trainer() -> WarmTrainer:
    """The app's one waiting trainer."""
    return WarmTrainer()


def later(work: Callable[[], object]) -> None:
    """Call `work` in a thread after `WARM_AFTER` seconds, so that a process just started has the processor first."""
    timer = Timer(WARM_AFTER, work)
    timer.daemon = True
    timer.start()


@st.cache_resource
def warm_up() -> None:
    """Start, once, the processes whose imports take seconds: a waiting trainer, and a little later the UMAP worker.

    Streamlit collects garbage after every run of a script or fragment, which with torch loaded takes most of a live
    view's time: the modules imported by now are kept out of the collector's sight.
    """
    gc.collect()
    gc.freeze()
    warm_trainer().warm()
    later(projector)


# -- trainings ---------------------------------------------------------------------------------------------------------


def train(run: Run) -> None:
    """Train a run in the background, and prepare the next waiting trainer.

    Raises:
        RunError: it is being trained already.
    """
    launch(run, launcher=LocalLauncher(warm_trainer()))
    later(warm_trainer().warm)


def start(tab: Page, config: Config, *, name: str | None = None, paused: bool = False, like: Run | None = None) -> bool:
    """Make a run, train it in the background and show it; on an error give a notice and return False.

    Args:
        tab: page that shows the run.
        config: settings of the run.
        name: of the run; None for one made from the config.
        paused: pause before the first step.
        like: run whose copy of own points is used.
    """
    try:
        run = Run.create(config, name=name, like=like)
        tab.show(run.name)
        if paused:
            run.ask(pause_at=0)
        train(run)
    except (ConfigError, RunError, OSError) as error:
        tab.notify(str(error))
        return False
    return True


def make_demo() -> None:
    """Unpack the finished run that ships with the app, unless it is there.

    Raises:
        RunError: it is damaged, or another run has its name.
        OSError: there is no place for it.
    """
    if DEMO not in runs("points"):
        unpack(DEMO_FILE, name=DEMO)


def show_demo(tab: Page) -> bool:
    """Show the finished run that ships with the app, unpacked now if it is not there; return whether it is shown."""
    try:
        make_demo()
    except (RunError, OSError) as error:
        if DEMO not in runs(tab.kind):  # else another tab has just unpacked it
            tab.notify(str(error))
            return False
    tab.show(DEMO)
    return True


def ask(tab: Tab, run: Run, **request: Any) -> None:
    """Write a request to the run's trainer: fields of `mvm.runs.run.Control`."""
    try:
        run.ask(**request)
    except (RunError, OSError) as error:
        tab.notify(str(error))


def continue_training(tab: Tab, run: Run) -> None:
    """Continue a paused training, or start a trainer from the last checkpoint."""
    try:
        if run.alive():
            run.ask(pause_at=None)
        else:
            train(run)
    except (RunError, OSError) as error:
        tab.notify(str(error))


def apply_moved_settings(tab: Page, widgets: MovableWidgets | None) -> None:
    """Send the settings that have moved since the last rerun to the shown run, if it is being trained by their method.

    The view calls this at every rerun, in place of callbacks of the widgets: Streamlit does not repeat an interrupted
    callback. Only the moved setting is sent, as the others are settings of the next run. Widgets with another key were
    not moved, but replaced.

    Args:
        tab: page that shows the run.
        widgets: settings that may be moved, as the sidebar shows them now; None where it shows none.
    """
    moved = widgets.moved_since(tab.movable) if widgets is not None and tab.movable is not None else {}
    run = runs(tab.kind).get(tab.run) if moved and tab.run else None
    if run is not None and run.config.method == widgets.method and run.status().alive:
        moved = {name: value for name, value in moved.items() if name in run.config.movable}
        if moved:
            ask(tab, run, settings=moved)
    tab.movable = widgets  # last: what an interrupted rerun has not sent is sent by the next one
