"""Processes that the app starts: trainings, which outlive it, one waiting trainer and one UMAP worker."""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Timer

import streamlit as st

from app.caches import runs
from app.session import Page
from mvm.config import Config
from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints
from mvm.jobs.launch import launch
from mvm.jobs.umap_worker import Projector
from mvm.jobs.warm_trainer import Spare
from mvm.runs.run import Run

__all__ = ["later", "projector", "start", "start_demo", "train", "warm_trainer", "warm_up"]

DEMO = "demo"  # name of the run that is started where there is none
WARM_AFTER = 5.0  # seconds


@st.cache_resource
def projector() -> Projector:
    """The app's one UMAP worker."""
    service = Projector()
    service.request(checkpoints() / ".none", 0)  # there is no such run: this only starts the process
    return service


@st.cache_resource
def warm_trainer() -> Spare:
    """The app's one waiting trainer."""
    return Spare()


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


def train(run: Run) -> None:
    """Train a run in the background, and prepare the next waiting trainer.

    Raises:
        RunError: it is being trained already.
    """
    launch(run, waiting=warm_trainer().train)
    later(warm_trainer().warm)


def start(tab: Page, config: Config, *, name: str | None = None, paused: bool = False, like: Run | None = None) -> bool:
    """Make a run, train it in the background and show it; on an error give a notice and return False.

    Args:
        tab: page that shows the run.
        config: settings of the run.
        name: of the run; None for one made from the config.
        paused: pause before the first step.
        like: run whose data are used again.
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


def start_demo(tab: Page) -> None:
    """Start a run on a circle, so that the first screen is alive."""
    if not start(tab, Config.make(data="circle"), name=DEMO) and DEMO in runs(tab.kind):
        tab.notify("")  # another tab has just started it: no error
