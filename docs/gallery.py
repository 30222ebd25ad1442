"""Make the README's gallery: train runs, draw figures of them as `mvm export` does. `make gallery`: two minutes.

Runs stay in $MVM_CHECKPOINTS, if that is set, and are then not trained again; else they are gone afterwards.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).parents[1]
SEEDS = ("--seeds", "0", "1", "--threads", "1")
POINTS = ("--variants", "centroid", "diameter", "both", "--steps", "1200", *SEEDS)
RUNS = {  # two are trained at once; the first is forked
    "gallery-roll": ("--data", "swiss_roll", *POINTS),
    "gallery-peer": ("--data", "swiss_roll", "--method", "wgan_gp", "--steps", "1200", *SEEDS),
    "gallery-circle": ("--data", "circle", *POINTS),
}
FORK, FORK_AT, CHANGES = "gallery-fork", 600, {"weights.centroid": 0.0}
FIGURES = {
    "spectrum": ("gallery-roll",),
    "samples": ("gallery-circle",),
    "distances": ("gallery-roll",),
    "ablation": ("gallery-roll", "gallery-circle", "gallery-peer"),
    "curves": ("gallery-roll", "gallery-peer"),
    "branches": ("gallery-roll", FORK),
}
MOVING = {"film.gif": ("film", "gallery-circle"), "supplement.html": ("supplement", "gallery-circle")}
DPI, COLOURS = 144, 256  # of a PNG with a palette: a README loads them all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "gallery")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault("MVM_CHECKPOINTS", temporary)
        with ThreadPoolExecutor(2) as pool:
            waiting = {name: pool.submit(train, name, *settings) for name, settings in RUNS.items()}
            waiting["gallery-roll"].result()
            waiting[FORK] = pool.submit(train_fork)
            for future in waiting.values():
                future.result()
        draw(options.out)
    print(f"{len(FIGURES)} pictures in {time.monotonic() - begun:.0f} s")


def train(name: str, *settings: str) -> None:
    """A run of this name, in a process of its own, unless it is there and finished."""
    from mvm.files import checkpoints

    path = checkpoints() / name
    if (path / "scores.json").exists():
        print(f"{name}: there already")
        return
    print(" ".join([f"{name}: training", *settings]))
    begun = time.monotonic()
    command = [sys.executable, "-m", "mvm", "train", "--run", str(path), *settings]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    print(f"{name}: {time.monotonic() - begun:.0f} s")


def train_fork() -> None:
    """The roll's run again from its middle on, without one descriptor."""
    from mvm.files import checkpoints
    from mvm.runs.fork import fork
    from mvm.runs.run import Run

    if not (checkpoints() / FORK).exists():
        fork(Run.named("gallery-roll"), FORK_AT, CHANGES, name=FORK)
    train(FORK)


def draw(out: Path) -> None:
    """Every picture, with as few colours as it can do with."""
    from mvm.figures import render
    from mvm.figures.export import bundle, encoded
    from mvm.files import write_atomic
    from mvm.runs.run import Run

    out.mkdir(parents=True, exist_ok=True)
    for name, runs in FIGURES.items():
        figure = render(name, [Run.named(run) for run in runs], venue="neurips")
        picture = Image.open(io.BytesIO(encoded(figure, "png", venue="neurips", dpi=DPI))).convert("RGB")
        path = out / f"{name}.png"
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    for file, (name, run) in MOVING.items():
        kind = file.rpartition(".")[2]
        made = bundle([name], [Run.named(run)], formats=[kind], size="tiny").files[f"{name}.{kind}"]
        write_atomic(out / file, made)
        print(f"{out / file}: {len(made) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
