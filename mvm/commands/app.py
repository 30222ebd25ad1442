"""The lab in a browser, from the command line: app."""

from __future__ import annotations

import argparse
import os
import pkgutil
import runpy
import sys
from pathlib import Path
from threading import Thread

from mvm.commands.flags import Commands

__all__ = ["add"]

MAIN = Path(__file__).parents[2] / "app" / "main.py"  # its settings are in .streamlit/ beside it
AHEAD = "app.ahead:prepare_first_visit"  # by name, as no module but the server's may need Streamlit


def add(command: Commands) -> None:
    """The commands of this family."""
    app = command("app", app_command, "open the lab in a browser; it listens on localhost only", run=False)
    app.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 8501)")
    app.add_argument("--no-browser", action="store_true", help="print the address and open no browser")


def app_command(options: argparse.Namespace) -> None:
    """Run the lab's server in this process: the first page need not wait for torch, which is imported by now."""
    os.environ.update(_search_path())
    sys.argv = _streamlit(options)
    Thread(target=lambda: pkgutil.resolve_name(AHEAD)(), name="ahead", daemon=True).start()
    runpy.run_module("streamlit", run_name="__main__")


def _streamlit(options: argparse.Namespace) -> list[str]:
    """The command line of the server."""
    command = ["streamlit", "run", str(MAIN)]
    if options.port is not None:
        command += ["--server.port", str(options.port)]
    if options.no_browser:
        command += ["--server.headless", "true"]
    return command


def _search_path() -> dict[str, str]:
    """Make what the server starts import from where this process does.

    `python -m` searches the working directory first, which the console script `mvm` does not: a folder named `app` in
    it would hide the lab's package.
    """
    here = str(Path.cwd())
    return {} if {"", here} & set(sys.path) else {"PYTHONSAFEPATH": "1"}


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {2**16 - 1}, got {number}")
    return number
