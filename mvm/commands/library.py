"""The runs that there are, from the command line."""

from __future__ import annotations

import argparse
import json

from mvm.commands.flags import Commands
from mvm.runs import all_runs

__all__ = ["add"]


def add(command: Commands) -> None:
    """The commands of this family."""
    runs = command("runs", runs_command, "list the runs", run=False)
    runs.add_argument("--json", action="store_true", help="print JSON")


def runs_command(options: argparse.Namespace) -> None:
    """List every run with what it is doing."""
    rows = []
    for run in all_runs():
        status = run.status()
        row = {"name": run.name, "status": status.state, "step": status.step, "steps": status.steps}
        row |= {"data": run.config.data, "method": run.config.method, "variants": list(run.config.variants)}
        rows.append(row | {"seeds": list(run.config.seeds), "seconds": status.seconds, "reason": status.reason})
    if options.json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print("no runs yet; `python -m mvm train --data circle` makes one")
    else:
        print(f"{'name':32} {'status':12} {'step':>15}  {'data':20} variants")
        for row in rows:
            progress = f"{row['step']}/{row['steps']}"
            print(f"{row['name']:32} {row['status']:12} {progress:>15}  {row['data']:20} {' '.join(row['variants'])}")
