"""What the first visitor would wait for, done while the server starts and the browser opens."""

from __future__ import annotations

import contextlib
import importlib
import logging
import pkgutil
import threading
import time

from streamlit import runtime

from mvm.errors import RunError

__all__ = ["prepare_first_visit"]

PATIENCE = 60.0  # seconds that a server may take to start
BARE = "streamlit.runtime.scriptrunner_utils.script_run_context"  # its log warns of every thread without a page


def prepare_first_visit() -> None:
    """Import every page and make the demo, once Streamlit's server is there; in a thread of the server's process.

    A demo that cannot be made is told of by the page that shows it.
    """
    own, until = threading.current_thread().name, time.monotonic() + PATIENCE
    logging.getLogger(BARE).addFilter(lambda record: record.threadName != own)
    while not runtime.exists():  # before, Streamlit's caches complain
        if time.monotonic() > until:
            return
        time.sleep(0.02)
    views = importlib.import_module("app.views")
    for view in ("lab", *(module.name for module in pkgutil.iter_modules(views.__path__))):  # the Lab opens first
        importlib.import_module(f"{views.__name__}.{view}")
    from app.caches import runs
    from app.services import make_demo

    with contextlib.suppress(RunError, OSError):
        if not runs("points"):
            make_demo()
