"""Super-resolution: speed beside a plain PyTorch loop, and quality of the settings beside each other.

    python -m benchmarks.superres               training patches/s and upscaled Mpx/s, in one run
    python -m benchmarks.superres --quality     L1, GAN, MvM A and MvM B, some seeds each, on held-out photographs

The plain loop is what most published code does: PNG files of HR and LR pictures, decoded whole by a `DataLoader` for
each random crop; the small backbone in float32, eager, NCHW, with `nn.PixelShuffle` and `torch.optim.Adam`; upscaling
of whole pictures, file by file. Every contender runs in a process of its own, and they take turns, so that other load
on the machine affects all of them.

Each training of `--quality` is a run in a folder that is kept: a finished one is not trained again, an interrupted one
is resumed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.cells import device_line, markdown, steps_in, write_section
from benchmarks.images import Contender, Measured, measure
from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.data.pairs import SUPERRES, PairData
from mvm.data.photographs import Collection, held_out
from mvm.devices import use_cpu
from mvm.figures.superres_tables import superres_means
from mvm.files import checkpoints
from mvm.imaging.resize import SCALE
from mvm.jobs.launch import launch
from mvm.jobs.launcher import last_line
from mvm.networks.backbones import Small
from mvm.runs import layout
from mvm.runs.benchmark import BICUBIC, score_on
from mvm.runs.run import Run
from mvm.runs.trained import load
from mvm.runs.upscale import Plan, Upscaler, upscale_files
from mvm.training.experiment import Experiment

__all__ = ["SETTINGS", "PlainSmall", "PngPatches", "main"]

TRAINING = {
    "plain": "plain loop, PNG files",
    "memory": "plain loop, pictures decoded once",
    "l1": "ours, `--method l1`",
    "mvm": "ours, default: MvM",
}
UPSCALING = {"plain_upscale": "plain loop", "upscale": "ours, `mvm upscale`"}

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "l1": ("L1", {"method": "l1"}),
    "gan": ("GAN (RaGAN)", {"method": "gan"}),
    "mvm_a": ("MvM, setting A", {"method": "mvm"}),
    "mvm_b": ("MvM, setting B", {"method": "mvm", "superres": {"gan": "relativistic"}}),
}
SCORES = {"psnr_y": 2, "ssim_y": 4, "psnr_rgb": 2, "niqe": 3, "vgg16_hed": 4}  # with their digits
HEADS = ("PSNR (Y)", "SSIM (Y)", "PSNR (RGB)", "NIQE ↓", "VGG16-HED ↓")
CROP = 256  # pixels each way of the pictures that are upscaled
LESS = "plain loop’s processor time / this"
PHOTOGRAPHS = "held-out photographs"
ENDED = ("finished", "diverged")


def main() -> None:
    """Measure, print and write the requested table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-from", metavar="SOURCE", help="photographs to train on (default: the built-in ones)")
    parser.add_argument("--batch", type=int, help="(default: the recipe's)")
    parser.add_argument("--patch", type=int, help="(default: the recipe's)")
    parser.add_argument(
        "--seconds", type=float, help="of measuring each number (default 30); with --quality, processor seconds that "
        "each training gets, instead of --steps",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns that these seconds are split into (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each process")
    parser.add_argument("--quality", action="store_true", help="train the settings and score them instead")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of each training (default: the recipe's)")
    parser.add_argument("--on", type=Path, nargs="+", default=[], metavar="FOLDER", help="score on these pictures, too")
    parser.add_argument("--no-perceptual", action="store_true", help="leave out VGG16-HED")
    parser.add_argument("--processes", type=int, default=2, help="trainings at once, each on one thread (default 2)")
    parser.add_argument("--runs", type=Path, help="folder of the trainings (default: superres in that of all runs)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md and tables/")
    options = parser.parse_args()
    quality(options) if options.quality else speed(options)


# -- speed -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Measurement of one process; `size` is the side of an LR patch, `folder` holds high/, low/ and inputs/."""

    kind: str
    size: int
    batch: int
    threads: int
    data_from: str | None
    folder: str
    device: str = "cpu"


def speed(options: argparse.Namespace) -> None:
    """Training patches and upscaled pixels per second, beside the plain loop."""
    config = _config(options, "mvm_a", 0)
    seconds = options.seconds or 30.0
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(config)
        assert isinstance(data, PairData)
        write_pngs(Path(folder), data.collection)
        common = (config.patch, config.batch, options.threads, options.data_from, folder)
        found = [
            measure([Task(kind, *common) for kind in kinds], seconds=seconds, rounds=options.rounds, build=contender)
            for kinds in (TRAINING, UPSCALING)
        ]
        pixels = _pixels(Path(folder) / "inputs")
    report(options, config, seconds, *found, pixels=pixels, source=len(data.collection))


def report(
    options: argparse.Namespace,
    config: Config,
    seconds: float,
    training: dict[str, Measured],
    upscaling: dict[str, Measured],
    *,
    pixels: float,
    source: int,
) -> None:
    """Write the tables and the CSV."""
    rows = []
    for names, found, size in ((TRAINING, training, config.batch), (UPSCALING, upscaling, SCALE**2 * pixels / 1e6)):
        plain = found[next(iter(names))]
        for kind, title in names.items():
            turns = [turn.rate * size for turn in found[kind].turns]
            digits = ",.0f" if names is TRAINING else ".2f"
            spread = f"{min(turns):{digits}} to {max(turns):{digits}}"
            row = [title, f"{found[kind].rate * size:{digits}}", spread, f"{found[kind].rate / plain.rate:.2f}"]
            rows.append([*row, f"{1e3 * _cost(found[kind]) / size:,.1f}", f"{_cost(plain) / _cost(found[kind]):.2f}"])
    count = len(TRAINING)
    tables = [
        markdown(
            ["training", "patches/s", "range over the turns", "× plain loop", "processor ms a patch", LESS],
            rows[:count],
        ),
        markdown(
            ["upscaling", "Mpx/s", "range over the turns", "× plain loop", "processor ms a Mpx", LESS], rows[count:]
        ),
    ]
    note = (
        f"Small backbone, batch {config.batch}, LR patches of {config.patch} pixels from {source} pictures; "
        f"{seconds:g} s a number, in {options.rounds} turns. *plain loop*: HR and LR PNG files, decoded whole for each "
        f"crop by a `DataLoader` with {_workers()} workers, or decoded once; L1, float32, eager, NCHW, `PixelShuffle`, "
        "`torch.optim.Adam`. MvM trains a metric, too, which the plain loop does not. Mpx: of upscaled pictures, "
        f"{CROP} x {CROP} before, read from PNG files and written as such. Processor time is that of "
        "all threads and workers: other load disturbs it less."
    )
    command = f"python -m benchmarks.superres --seconds {seconds:g} --rounds {options.rounds}"
    command += f" --threads {options.threads}{_given(options)}"
    threads = f"{options.threads} threads a process"
    write_section(options.out, "superres", "Super-resolution: speed", command, note, *tables,
                  device=device_line(threads))  # fmt: skip
    path = options.out / "tables" / "superres_speed.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "turn", "steps_per_second", "processor_seconds_per_step"])
        for kind, each in (training | upscaling).items():
            writer.writerows([kind, i, turn.rate, turn.cost] for i, turn in enumerate(each.turns))


def _cost(found: Measured) -> float:
    """Median processor seconds of a step, workers included."""
    return statistics.median(turn.cost for turn in found.turns)


def write_pngs(folder: Path, collection: Collection) -> None:
    """Write HR and LR pictures to train on, and crops of the held-out photographs to upscale."""
    photographs = held_out()
    pictures = {
        "high": [collection.high_picture(i) for i in range(len(collection))],
        "low": [collection.low_picture(i) for i in range(len(collection))],
        "inputs": [photographs.high_picture(i)[:CROP, :CROP] for i in range(len(photographs))],
    }
    for name, arrays in pictures.items():
        (folder / name).mkdir()
        for i, array in enumerate(arrays):
            Image.fromarray(np.array(array)).save(folder / name / f"{i:05}.png")


def contender(task: Task) -> Contender:
    """The contender of a task."""
    build = {"plain": plain, "memory": plain, "plain_upscale": plain_upscaling, "upscale": upscaling}
    return build.get(task.kind, ours)(task)


def ours(task: Task) -> Contender:
    """Steps of the product."""
    use_cpu(task.threads)
    values = {"patch": task.size, "batch": task.batch, "data_from": task.data_from}
    config = Config.make(data=SUPERRES, method=task.kind, device="cpu", steps=10**6, **values)
    return Contender(Experiment(config, load_data(config)).advance, lambda: 0.0)


def upscaling(task: Task) -> Contender:
    """The product upscales all files in a step."""
    use_cpu(task.threads)
    network = Small().eval()

    def upscale(path: Path, out: Path) -> None:
        for _ in upscale_files(Plan.of(path, out, overwrite=True), Upscaler(network, network.receptive_field)):
            pass

    return _file_by_file(task, upscale)


def plain_upscaling(task: Task) -> Contender:
    """The plain loop upscales all files in a step."""
    network = PlainSmall().eval()

    @torch.no_grad()
    def upscale(path: Path, out: Path) -> None:
        picture = _tensor(np.asarray(Image.open(path).convert("RGB")))
        upscaled = network(picture[None])[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
        Image.fromarray(upscaled.numpy()).save(out / path.name)

    return _file_by_file(task, upscale)


def _file_by_file(task: Task, upscale: Callable[[Path, Path], None]) -> Contender:
    """A step upscales every picture, so that turns do the same work."""
    folder = Path(task.folder)
    out = folder / f"{task.kind}_out"
    out.mkdir()
    paths = sorted((folder / "inputs").iterdir())

    def step() -> None:
        for path in paths:
            upscale(path, out)

    return Contender(step, lambda: 0.0)


# -- the plain loop ----------------------------------------------------------------------------------------------------


class PlainSmall(nn.Module):
    """The small backbone as usually written: EDSR's blocks, `nn.PixelShuffle`, PyTorch's bicubic enlargement."""

    def __init__(self, channels: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.tail = nn.Conv2d(channels, 3 * SCALE**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(SCALE)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge pictures: `(B, 3, h, w)` to `(B, 3, 4h, 4w)`."""
        y = self.head(x)
        for block in self.blocks:
            y = y + block(y)
        return self.shuffle(self.tail(y)) + F.interpolate(x, scale_factor=SCALE, mode="bicubic", align_corners=False)


class PngPatches(Dataset[tuple[Tensor, Tensor]]):
    """Random aligned LR and HR patches of PNG files, turned at random.

    Args:
        folder: with high/ and low/.
        patch: side of an LR patch in pixels.
        epoch: patches in an epoch; the files are repeated to that number.
        in_memory: decode the files once.
    """

    def __init__(self, folder: Path, patch: int, *, epoch: int, in_memory: bool = False) -> None:
        self.patch, self.epoch = patch, epoch
        self.files = [sorted((folder / side).iterdir()) for side in ("high", "low")]
        self.pictures = [[_decoded(path) for path in files] for files in self.files] if in_memory else None

    def __len__(self) -> int:
        return self.epoch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """An LR patch `(3, p, p)` and its HR patch `(3, 4p, 4p)`, in [0, 1]."""
        index %= len(self.files[0])
        if self.pictures is None:
            high, low = (_decoded(files[index]) for files in self.files)
        else:
            high, low = (pictures[index] for pictures in self.pictures)
        y, x = (int(torch.randint(side - self.patch + 1, ())) for side in low.shape[:2])
        turns, flipped = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        patches = []
        for picture, scale in ((low, 1), (high, SCALE)):
            part = picture[scale * y : scale * (y + self.patch), scale * x : scale * (x + self.patch)]
            part = np.rot90(part[:, ::-1] if flipped else part, turns)
            patches.append(_tensor(part))
        return patches[0], patches[1]


def plain(task: Task) -> Contender:
    """Steps of the plain loop."""
    patches = PngPatches(
        Path(task.folder), task.size, epoch=1000 * task.batch, in_memory=task.kind == "memory"
    )  # fmt: skip
    workers = _workers()
    loader = DataLoader(
        patches, batch_size=task.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )  # fmt: skip
    network = PlainSmall()
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    batches = _forever(loader)

    def step() -> None:
        low, high = next(batches)
        loss = F.l1_loss(network(low), high)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return Contender(step, lambda: 0.0)


def _forever(loader: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def _workers() -> int:
    """One worker per core, as is usual."""
    return len(os.sched_getaffinity(0))


def _decoded(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _tensor(picture: np.ndarray) -> Tensor:
    """`(h, w, 3)` uint8 to `(3, h, w)` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float().div(255)


def _pixels(folder: Path) -> float:
    """Pixels of all pictures of a folder."""
    sizes = [Image.open(path).size for path in folder.iterdir()]
    return float(sum(width * height for width, height in sizes))


# -- quality -----------------------------------------------------------------------------------------------------------


def quality(options: argparse.Namespace) -> None:
    """Train the settings, score each seed, and write the table."""
    folder = options.runs or checkpoints() / "superres"
    trials = [(setting, seed) for seed in range(options.seeds) for setting in options.settings]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.processes) as pool:
        photographs = Path(temporary) / PHOTOGRAPHS
        write_photographs(photographs)

        def measured(trial: tuple[str, int]) -> list[dict[str, Any]]:
            run = trained(_config(options, *trial), folder, trial, seconds=options.seconds)
            return [row for on in (photographs, *options.on) for row in scored(run, on, trial, options)]

        for trial, found in zip(trials, pool.map(measured, trials), strict=True):
            rows += found
            for row in found:
                if row["setting"] != BICUBIC:
                    print(trial, row["data"], *(f"{key} {row[key]:.4f}" for key in SCORES if row.get(key)), flush=True)
            write_quality(options, rows)


def trained(config: Config, folder: Path, trial: tuple[str, int], *, seconds: float | None) -> Run:
    """The run of a trial, trained to its end; one that exists is resumed.

    Raises:
        SystemExit: the training failed, with its last line.
    """
    fixed = config.flat(used=True) | ({"steps": f"{seconds:g} s"} if seconds else {})
    digest = hashlib.sha256(repr(sorted(fixed.items())).encode()).hexdigest()[:8]
    path = folder / f"{trial[0]}-{trial[1]}-{digest}"
    if (path / layout.CONFIG).exists():
        run = Run(path)
    else:
        steps = steps_in(seconds, config, load_data(config)) if seconds else config.steps
        run = Run.create(config.with_changes({"steps": steps}), path=path)
    if run.status().state in ENDED:
        return run
    training = launch(run, queue=False, environment={"OMP_NUM_THREADS": "1"})
    if (state := training.wait()) not in ENDED:
        raise SystemExit(f"{run.name} is {state}: {last_line(training.log)}; the same command goes on")
    return run


def scored(run: Run, on: Path, trial: tuple[str, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean scores of a run and of bicubic interpolation on a folder; kept in the run's folder."""
    pictures = hashlib.sha256(repr(sorted((p.name, p.stat().st_size) for p in on.iterdir())).encode()).hexdigest()[:8]
    kept = run.path / f"benchmark-{pictures}{'-quick' if options.no_perceptual else ''}.json"
    if not kept.exists():
        upscale = load(run.path, seed=trial[1]).upscale
        found = score_on(
            {trial[0]: lambda low: torch.from_numpy(upscale(low.numpy()))}, on, perceptual=not options.no_perceptual
        )
        means = superres_means(found.rows)
        kept.write_text(means.to_json(orient="records"), encoding="utf-8")
    steps = run.config.steps
    return [row | {"seed": trial[1], "steps": steps} for row in json.loads(kept.read_text(encoding="utf-8"))]


def write_photographs(folder: Path) -> None:
    """Write the held-out photographs as PNG."""
    folder.mkdir()
    photographs = held_out()
    for i, name in enumerate(photographs.names):
        Image.fromarray(np.array(photographs.high_picture(i))).save(folder / f"{Path(name).stem}.png")


def write_quality(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the section and the CSV of the trials that have been scored."""
    titles = {BICUBIC: "bicubic"} | {name: title for name, (title, _) in SETTINGS.items()}
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        for setting, title in titles.items():
            own = [row for row in rows if (row["data"], row["setting"]) == (data, setting)]
            if own:
                count = "" if setting == BICUBIC else str(len(own))
                lines.append([data, title, count, *(_shown(own, key, digits) for key, digits in SCORES.items())])
    config = _config(options, options.settings[0], 0)
    budget = f"{options.seconds:g} processor seconds" if options.seconds else f"{config.steps:,} steps"
    source = "the built-in photographs" if options.data_from is None else "the pictures of `--data-from`"
    note = (
        f"Trained on {source}: {config.network.backbone} backbone, batch {config.batch}, LR patches of {config.patch} "
        f"pixels, {budget} each. Means over the pictures of each set; median over the seeds, and their range."
    )
    command = f"python -m benchmarks.superres --quality --seeds {options.seeds}{_given(options)}"
    command += f" --seconds {options.seconds:g}" if options.seconds else ""
    command += f" --steps {options.steps}" if options.steps else ""
    command += f" --settings {' '.join(options.settings)}" if len(options.settings) < len(SETTINGS) else ""
    command += f" --on {' '.join(on.name for on in options.on)}" if options.on else ""
    table = markdown(["data", "setting", "seeds", *HEADS], lines)
    write_section(options.out, "superres_quality", "Super-resolution: quality", command, note, table)
    path = options.out / "tables" / "superres_quality.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def _shown(rows: list[dict[str, Any]], key: str, digits: int) -> str:
    """Median and range of a score over seeds; a dash if it was not measured."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if min(values) == max(values) else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _config(options: argparse.Namespace, setting: str, seed: int) -> Config:
    """Config of a setting with the options' changes."""
    changes = {"data_from": options.data_from, "batch": options.batch, "patch": options.patch, "steps": options.steps}
    given = {name: value for name, value in changes.items() if value is not None}
    values = SETTINGS[setting][1] | given
    return Config.make(data=SUPERRES, seeds=(seed,), device="cpu", threads=1, **values)


def _given(options: argparse.Namespace) -> str:
    """The options of the training data that were given, as on the command line."""
    source = " --data-from FOLDER" if options.data_from else ""
    return source + "".join(
        f" --{name} {getattr(options, name)}" for name in ("batch", "patch") if getattr(options, name) is not None
    )


if __name__ == "__main__":
    main()
