"""Every method on every manifold with the same generator and the same budget of steps or of time.

    python -m benchmarks.toys --steps 1000       a step is one update of the generator and any of the critic
    python -m benchmarks.toys --seconds 15       processor time of training all seeds together

Each seed is scored on real samples of its own (`benchmarks.cells`).
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
from pathlib import Path
from typing import Any

from benchmarks.cells import POINTS, Cell, markdown, median, row_of, run, write_csv, write_section
from mvm.config import Config
from mvm.methods import METHODS
from toy_manifolds import MANIFOLDS

ENTRIES: dict[str, dict[str, Any]] = {
    "MvM": {"variants": ("both",)},
    "MvM, paper": {"recipe": "paper", "variants": ("both",)},
    "MvM, published": {"recipe": "published", "variants": ("centroid+distance_matrix",)},
    **{kind.title: {"method": name} for name, kind in METHODS.items() if kind.learns("points") and name != "mvm"},
    "WAE": {"method": "vae", "vae": {"regulariser": "mmd"}},
    "Two-step, Gaussian": {"method": "two_step", "two_step": {"prior": "gaussian"}},
    "Two-step, flow": {"method": "two_step", "two_step": {"prior": "flow"}},
    "Sliced W₂": {"method": "moment_matching", "moment_matching": {"distance": "sliced"}},
    "Sinkhorn": {"method": "moment_matching", "moment_matching": {"distance": "sinkhorn"}},
}
SCORES = {
    "w2_over_fresh": ("W₂ / baseline", "floor"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "coverage": ("coverage", "higher"),
    "distance_p99": ("distance p99", "lower"),
    "seconds_to_quality": ("s to W₂ ≤ 1.5 × baseline", "lower"),
}


def main() -> None:
    """Measure, print and write both tables of one budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="generator updates for each method (default 1000)")
    budget.add_argument("--seconds", type=float, help="processor seconds of training for each method")
    parser.add_argument("--manifolds", nargs="+", choices=MANIFOLDS, default=list(MANIFOLDS))
    parser.add_argument("--methods", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, default=POINTS, help=f"that each seed is scored on (default {POINTS})")
    parser.add_argument("--paper", action="store_true", help="each peer with its paper's own rates, no averaging")
    parser.add_argument("--section", help="of results.md that is written (default: the budget's)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md and tables/")
    options = parser.parse_args()
    steps = options.steps or 1000
    cells = []
    for data in options.manifolds:
        for label in options.methods:
            values = dict(ENTRIES[label])
            if options.paper and "method" in values:
                values["recipe"] = "paper"
            config = Config.make(data=data, seeds=tuple(range(options.seeds)), steps=steps, device="cpu", **values)
            cells.append(Cell(label, config, options.seconds, options.points))
    rows = run(cells, options.out / "tables" / "cells.jsonl", processes=options.processes)
    kind = "seconds" if options.seconds else "steps"
    name = options.section or f"toys_{kind}{'_paper' if options.paper else ''}"
    command = f"python -m benchmarks.toys --{kind} {options.seconds or steps} --seeds {options.seeds}"
    if options.points != POINTS:
        command += f" --points {options.points}"
    if len(options.manifolds) < len(MANIFOLDS):
        command += f" --manifolds {' '.join(options.manifolds)}"
    if len(options.methods) < len(ENTRIES):
        command += f" --methods {shlex.join(options.methods)}"
    if options.section:
        command += f" --section {options.section}"
    write_csv(options.out / "tables" / f"{name}.csv", rows)
    sizes = f"{options.seeds} seeds, {options.points:,} points"
    parts = [f"Median of {sizes}; **bold**: best of the row, or all at or below the baseline."]
    parts += [f"### {title}\n\n{table(rows, options, key)}" for key, (title, _) in SCORES.items()]
    parts.append(f"### Over all manifolds\n\n{summary(rows, options)}")
    words = f"{options.seconds:g} processor seconds" if options.seconds else f"{steps} steps"
    which = "All" if len(options.methods) == len(ENTRIES) else "Some"
    title = f"{which} methods at {words}{', each with its paper’s rates' if options.paper else ''}"
    write_section(options.out, name, title, command + (" --paper" if options.paper else ""), *parts)


def table(rows: list[dict[str, Any]], options: argparse.Namespace, key: str) -> str:
    """Markdown table of one score: a line per manifold, a column per method, the best in bold."""
    lines = []
    for data in options.manifolds:
        values = [median(row_of(rows, data, label), key) for label in options.methods]
        best = winners(values, SCORES[key][1])
        texts = ["–" if v is None else f"{v:.3g}" for v in values]
        lines.append([MANIFOLDS[data].title] + [f"**{t}**" if i in best else t for i, t in enumerate(texts)])
    return markdown(["", *options.methods], lines)


def summary(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Markdown table over all manifolds: wins, median ratio and cost of each method."""
    wins = dict.fromkeys(options.methods, 0)
    for data in options.manifolds:
        for i in winners([median(row_of(rows, data, label), "w2_over_fresh") for label in options.methods], "floor"):
            wins[options.methods[i]] += 1
    lines = []
    for label in options.methods:
        own = [row_of(rows, data, label) for data in options.manifolds]
        ratios = [median(row, "w2_over_fresh") or math.inf for row in own]
        speed = statistics.fmean(1e3 * row["seconds"] / row["steps"] for row in own)
        middle = statistics.median(ratios)
        shown = "–" if math.isinf(middle) else f"{middle:.3g}"
        steps = statistics.fmean(row["steps"] for row in own)
        line = [label, f"{wins[label]}", shown, f"{speed:.1f}", f"{steps:.0f}", f"{own[0]['evaluations']}"]
        lines.append([*line, f"{own[0]['weights']:,}"])
    header = [
        "method",
        "wins (W₂ / baseline)",
        "median W₂ / baseline",
        "ms a step",
        "steps",
        "network evaluations a sample",
    ]
    return markdown([*header, "generator weights"], lines)


def winners(values: list[float | None], direction: str) -> set[int]:
    """Indices of the best values; ratios to a baseline count as equal at and below 1."""
    known = {i: max(v, 1.0) if direction == "floor" else v for i, v in enumerate(values) if v is not None}
    best = (max if direction == "higher" else min)(known.values(), default=None)
    return {i for i, v in known.items() if v == best}


if __name__ == "__main__":
    main()
