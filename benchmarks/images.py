"""Speed of a training step on images, beside the published script's, in one run.

    python -m benchmarks.images     images/s, seconds an epoch of CelebA's size, peak memory, share of the ceiling

The published step is reimplemented here with the fewest corrections that make it run: float32, one Adam per network,
JPEG files read by a `DataLoader` with eight workers. Every contender runs in a separate process, and they take turns,
so that other load on the machine affects all of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import Value, active_children, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.flop_counter import flop_registry

from benchmarks.cells import device_line, markdown, write_section
from mvm.config import Config
from mvm.data.images import Pixels
from mvm.devices import device_of, use_cpu
from mvm.networks.compiled import compile_networks
from mvm.networks.resnet import ResNetGenerator, ResNetMetric, UpConv
from mvm.training.experiment import Experiment
from toy_manifolds.faces import Faces

CELEBA = 202_599
JPEG_SIDE = 178  # pixels, CelebA's width; square, as the published script does not crop
NOISE, EMBEDDING, METRIC_CHANNELS, WORKERS = 128, 10, 32, 8  # of the published script
MARGIN, GAMMA = 1.0, 0.01
STILL = 0.3  # seconds without a decoded image after which the loader's workers are idle
PRODUCT = {"cpu": 2048, "cuda": 8192}  # size of the square matrices that measure the ceiling
CONTENDERS = {
    "published": "published script",
    "lean": "published, unused pass left out",
    "ours_published": "ours, `--recipe published`",
    "ours": "ours, `--mvm.metric-steps 1`",
    "ours_default": "ours, default recipe",
    "eager": "ours, default recipe, `--graph off`",
    "compiled": "ours, default recipe, `--compile on`",
}
ON_CUDA = ("eager", "compiled")  # contenders that only a GPU tells apart


@dataclass(frozen=True)
class Task:
    """Measurement of one process; fields as the options of the same name."""

    kind: str
    size: int
    batch: int
    channels: int
    threads: int
    device: str
    pictures: int
    distinct: int
    jpegs: str


@dataclass(frozen=True)
class Turn:
    """Steps/s of wall-clock time, and processor seconds per step, which other load disturbs less; of workers, too."""

    rate: float
    cost: float


@dataclass(frozen=True)
class Measured:
    """One contender's result.

    Attributes:
        task: what it was.
        turns: in their order.
        gigaflop: of one step's convolutions and matrix products, the convolutions of doubled pictures counted as such.
        memory_mb: peak of the device's memory on CUDA, else of the process's.
    """

    task: Any
    turns: list[Turn]
    gigaflop: float
    memory_mb: float

    @property
    def rate(self) -> float:
        """Median steps/s over the turns."""
        return statistics.median(turn.rate for turn in self.turns)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="pixels each way (default 32 64)")
    parser.add_argument("--batch", type=int, nargs="+", help="default 64; on CUDA 64 256")
    parser.add_argument("--seconds", type=float, default=30.0, help="of measuring each number (default 30)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that these seconds are split into (default 3)")
    parser.add_argument("--channels", type=int, default=128, help="of the generators (default 128)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each process")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--pictures", type=int, default=CELEBA, help=f"in the data set (default {CELEBA})")
    parser.add_argument("--distinct", type=int, default=2048, help="of these; repeated to that number (default 2048)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md and tables/")
    options = parser.parse_args()
    device = device_of(options.device).type
    batches = options.batch or ([64, 256] if device == "cuda" else [64])
    with tempfile.TemporaryDirectory() as jpegs:
        write_jpegs(Path(jpegs), options.distinct)
        tables = []
        for size in options.sizes:
            for batch in batches:
                common = (size, batch, options.channels, options.threads, device, options.pictures, options.distinct)
                kinds = [kind for kind in CONTENDERS if device == "cuda" or kind not in ON_CUDA]
                tasks = [Task(kind, *common, jpegs) for kind in (*kinds, "ceiling")]
                tables.append(measure(tasks, seconds=options.seconds, rounds=options.rounds))
                report(options, device, tables)  # after each: the next may take an hour on a busy processor


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(
    tasks: list[Any], *, seconds: float, rounds: int, build: Callable[[Any], Contender] | None = None
) -> dict[str, Measured]:
    """Run the tasks' processes in turns; results by kind.

    Args:
        tasks: with the fields kind, size, batch, threads and device.
        seconds: of each contender.
        rounds: turns that these seconds are split into.
        build: makes the contender of a task, in its process; `contender` when None.
    """
    context, pipes, processes, turns = get_context("forkserver"), {}, [], {task.kind: [] for task in tasks}
    context.set_forkserver_preload(["mvm.training.experiment"])  # PyTorch is imported once
    for task in tasks:
        pipes[task.kind], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, task, build or contender)))
        processes[-1].start()
        theirs.close()  # so that the wait ends if the process dies
    try:
        for kind, pipe in pipes.items():
            ask(pipe, seconds / rounds / 2, kind)  # warming up
        for _ in range(rounds):
            for kind, pipe in pipes.items():
                turns[kind].append(ask(pipe, seconds / rounds, kind))
                print(f"{kind} {tasks[0].size} {tasks[0].batch}: {turns[kind][-1].rate:.3g} steps/s", flush=True)
        return {task.kind: Measured(task, turns[task.kind], *ask(pipes[task.kind], None, task.kind)) for task in tasks}
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join()


def ask(pipe: Connection, request: float | None, kind: str) -> Any:
    """Answer of a process; `RuntimeError` if it died."""
    try:
        pipe.send(request)
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise RuntimeError(f"the process that measures {kind} ended early; its error is above") from None


def serve(pipe: Connection, task: Any, build: Callable[[Any], Contender]) -> None:
    """Answer a number of seconds with a turn of that length, and None with the cost of a step."""
    torch.set_num_threads(task.threads)
    measured = build(task)
    wait = torch.cuda.synchronize if task.device == "cuda" else lambda: None
    with suppress(EOFError):
        while (seconds := pipe.recv()) is not None:
            done = turn(measured.step, seconds, wait)
            measured.settle()
            pipe.send(done)
        memory = peak_memory(task.device)  # before the counting, which takes more
        pipe.send((measured.count(), memory))


def contender(task: Task) -> Contender:
    """The contender of a task."""
    return {"ceiling": ceiling, "published": published, "lean": published}.get(task.kind, ours)(task)


@dataclass(frozen=True)
class Contender:
    """What takes turns.

    Attributes:
        step: does one.
        count: gives the Gflop of one.
        settle: returns when all that a turn has set going is at rest: the others' turns are not to feel it.
    """

    step: Callable[[], Any]
    count: Callable[[], float]
    settle: Callable[[], None] = lambda: None


def turn(step: Callable[[], Any], seconds: float, wait: Callable[[], None]) -> Turn:
    """Steps for that many seconds, at least one."""
    wait()
    began, worked, done = time.perf_counter(), processor_seconds(), 0
    while not done or time.perf_counter() - began < seconds:
        step()
        done += 1
    wait()
    return Turn(done / (time.perf_counter() - began), (processor_seconds() - worked) / done)


def processor_seconds() -> float:
    """Processor time of this process and of its living workers."""
    seconds = time.process_time()
    for worker in active_children():
        stat = Path(f"/proc/{worker.pid}/stat")
        if stat.exists():
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime
    return seconds


def operations(step: Callable[[], Any]) -> float:
    """Gflop of the convolutions and matrix products of one step."""

    class Counter(TorchDispatchMode):  # torch's own counter follows modules and fails in a double backward
        total = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if formula := flop_registry.get(function.overloadpacket):
                self.total += formula(*args, **(kwargs or {}), out_val=result)
            return result

    with Counter() as counter:
        step()
    return counter.total / 1e9


def peak_memory(device: str) -> float:
    """Peak MB of the GPU, or of this process (`ru_maxrss` would include its parent's peak)."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return (peak[0] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024 / 1e6


def ceiling(task: Task) -> Contender:
    """Square matrix products alone: bf16 on CUDA, float32 on a CPU."""
    n, dtype = PRODUCT[task.device], torch.bfloat16 if task.device == "cuda" else torch.float32
    a, b = torch.randn(2, n, n, device=task.device, dtype=dtype)
    out = torch.empty_like(a)
    return Contender(lambda: torch.mm(a, b, out=out), lambda: 2e-9 * n**3)


# -- ours --------------------------------------------------------------------------------------------------------------


def ours(task: Task) -> Contender:
    """`Experiment.advance`, with the images on its device."""
    use_cpu(task.threads)
    recipe, variant = ("published", "centroid+distance_matrix") if "published" in task.kind else ("stabilised", "both")
    config = Config.make(
        data="faces", size=task.size, recipe=recipe, variants=(variant,), batch=task.batch, steps=10**7,
        points=task.pictures, threads=task.threads, device=task.device, network=networks(task),
        graph="off" if task.kind == "eager" else "auto", compile="on" if task.kind == "compiled" else "off",
    )  # fmt: skip
    if task.kind == "ours":  # as many updates of the metric as the published script's step has
        config = config.with_changes({"mvm.metric_steps": 1})
    images, _ = Faces(task.size).images(task.distinct, torch.Generator().manual_seed(0))
    images = images.repeat(-(-task.pictures // task.distinct), 1, 1, 1)[: task.pictures]
    experiment = Experiment(config, Pictures(images))

    def count() -> float:
        compile_networks(experiment.method.networks.values(), "")  # compiled kernels hide their operations
        for module in experiment.method.networks["generator"].modules():
            if isinstance(module, UpConv):
                module.folded = False
        experiment.prepare()
        return operations(experiment.compute)  # a replayed graph hides its operations

    if experiment.compiled:
        with compiler_of(task.device):
            experiment.advance()
        if experiment.not_compiled:
            raise RuntimeError(f"not compiled: {experiment.not_compiled}")
    return Contender(experiment.advance, count)


@contextmanager
def compiler_of(device: str) -> Iterator[None]:
    """On a CPU, where the command itself is tried, compile without making kernels, which takes minutes there."""
    before = Experiment.compiler
    Experiment.compiler = before if device == "cuda" else "aot_eager"
    try:
        yield
    finally:
        Experiment.compiler = before


@dataclass(frozen=True)
class Pictures:
    """Pictures `(N, size, size, 3)` uint8 with what an `Experiment` asks of its data."""

    images: Tensor

    @property
    def size(self) -> int:
        """Pixels each way."""
        return self.images.shape[1]

    @property
    def dim(self) -> int:
        """Numbers in one picture."""
        return 3 * self.size**2

    def table(self, device: torch.device, dtype: torch.dtype) -> Pixels:
        """Training points to draw from."""
        return Pixels(self.images, device, dtype, flips=False)


def networks(task: Task) -> dict[str, int]:
    """Sizes of both networks, equal for all contenders."""
    sizes = {"noise_dim": NOISE, "embedding_dim": EMBEDDING}
    return sizes | {"channels": task.channels, "metric_channels": METRIC_CHANNELS}


# -- the published script ----------------------------------------------------------------------------------------------


class PublishedStep:
    """One step as the published script takes it, on one real batch.

    Its generator makes pictures three times: once for nothing, once for its own step, and once more, with a graph that
    no one uses, for the metric's. The metric's gradients are cleared before the generator's step and not after it.

    Args:
        generator, metric: plain networks.
        unused_pass: generate for nothing, too.
    """

    def __init__(self, generator: nn.Module, metric: nn.Module, *, unused_pass: bool = True) -> None:
        self.generator, self.metric, self.unused_pass = generator, metric, unused_pass
        self.generator_adam = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.0, 0.9), eps=1e-6)
        self.metric_adam = torch.optim.Adam(metric.parameters(), lr=1e-4, betas=(0.5, 0.999), eps=1e-3)

    def __call__(self, real: Tensor) -> dict[str, Tensor]:
        """Take the step on real pictures `(B, 3, size, size)`; the parts of both losses."""
        z = torch.randn(len(real), NOISE).to(real).requires_grad_()
        if self.unused_pass:
            fake = self.generator(z)  # held until the next line is done
        self.metric.zero_grad()
        fake = self.generator(z)
        e_real, e_fake = self.metric(real), self.metric(fake)
        shape = torch.dist(squared_distances(e_real), squared_distances(e_fake))
        centroid = torch.dist(e_real.mean(0), e_fake.mean(0))
        self.generator.zero_grad()
        (shape + centroid).backward()
        self.generator_adam.step()

        fake = self.generator(z)
        anchor, negative = self.metric(real), self.metric(fake.detach())
        positive = anchor[torch.randperm(len(real))]
        negative = negative[torch.randperm(len(real))]
        cosines = F.cosine_similarity(negative - anchor, positive - anchor, eps=1e-6).sum()
        violation = (anchor - positive).square().sum(1) - (anchor - negative).square().sum(1) + MARGIN
        triplet = (violation - GAMMA * cosines).relu().mean()
        triplet.backward()
        self.metric_adam.step()
        return {"centroid": centroid.detach(), "distance_matrix": shape.detach(), "triplet": triplet.detach()}


def squared_distances(e: Tensor) -> Tensor:
    """All pairs of one batch, `(B, n)` to `(B, B)`."""
    square = e.square().sum(1)
    return (square[:, None] + square - 2 * e @ e.T).clamp_min(0)


class JpegFolder:
    """JPEG files as a data set: decoded, resized, scaled to [0, 1].

    Args:
        folder: of the files.
        size: pixels each way.
        pictures: in the data set; the files are repeated to that number.

    Attributes:
        decoded: pictures so far, by all workers.
    """

    def __init__(self, folder: Path, size: int, pictures: int) -> None:
        self.files, self.size, self.pictures = sorted(folder.glob("*.jpg")), size, pictures
        self.decoded = Value("q", 0)

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, index: int) -> Tensor:
        image = Image.open(self.files[index % len(self.files)]).convert("RGB")
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        with self.decoded.get_lock():
            self.decoded.value += 1
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def published(task: Task) -> Contender:
    """The published step, its networks and its loader."""
    torch.manual_seed(0)
    generator = ResNetGenerator(task.size, noise_dim=NOISE, channels=task.channels, folded=False).to(task.device)
    generator.blocks.register_forward_pre_hook(lambda _, inputs: inputs[0].contiguous())  # its layout: channels first
    metric = ResNetMetric(task.size, embedding_dim=EMBEDDING, channels=METRIC_CHANNELS).to(task.device)
    step = PublishedStep(generator, metric, unused_pass=task.kind == "published")
    folder = JpegFolder(Path(task.jpegs), task.size, task.pictures)
    batches = endless(folder, task.batch)

    def advance() -> dict[str, Tensor]:
        return step(next(batches).to(task.device))

    def settle() -> None:
        seen = None
        while seen != (seen := folder.decoded.value):
            time.sleep(STILL)

    return Contender(advance, lambda: operations(advance), settle)


def endless(folder: JpegFolder, batch: int) -> Iterator[Tensor]:
    """Whole batches, epoch after epoch."""
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores
    loader = DataLoader(folder, batch_size=batch, shuffle=True, num_workers=WORKERS)
    while True:
        for images in loader:
            if len(images) == batch:
                yield images


def write_jpegs(folder: Path, count: int) -> None:
    """Write toy faces as JPEG, rendered at half size and enlarged: full size takes longer to render than to decode."""
    images, _ = Faces(JPEG_SIDE // 2).images(count, torch.Generator().manual_seed(0))
    for i, image in enumerate(images):
        large = Image.fromarray(image.numpy()).resize((JPEG_SIDE, JPEG_SIDE), Image.Resampling.BICUBIC)
        large.save(folder / f"{i:06d}.jpg", quality=90)


# -- the table ---------------------------------------------------------------------------------------------------------


def report(options: argparse.Namespace, device: str, tables: list[dict[str, Measured]]) -> None:
    """Write the section of results.md, and every turn to tables/images.csv."""
    lines, rows = [], []
    compared = ["× published", "× published, processor time"]
    if device == "cuda":
        compared.pop()  # it would hold none of the GPU's work
    for table in tables:
        top = table["ceiling"].rate * table["ceiling"].gigaflop
        for kind in (kind for kind in CONTENDERS if kind in table):
            measured, title = table[kind], CONTENDERS[kind]
            rate, pictures, pairs = (
                measured.rate,
                measured.task.batch,
                zip(measured.turns, table["published"].turns, strict=True),
            )
            ratios = [(own.rate / theirs.rate, theirs.cost / own.cost) for own, theirs in pairs]
            times = ["1" if kind == "published" else spread(column) for column in zip(*ratios, strict=True)]
            line = [f"{measured.task.size}", f"{pictures}", title, f"{rate * pictures:,.{0 if rate > 2 else 1}f}"]
            line += [f"{CELEBA / (rate * pictures):,.{0 if rate < 100 else 1}f}", *times[: len(compared)]]
            line += [
                f"{measured.gigaflop:,.0f}",
                f"{measured.gigaflop * rate:,.0f}",
                f"{measured.gigaflop * rate / top:.0%}",
            ]
            lines.append([*line, f"{measured.memory_mb:,.0f}"])
        for measured in table.values():
            fixed = {key: value for key, value in asdict(measured.task).items() if key != "jpegs"}
            fixed |= {"gigaflop": measured.gigaflop, "memory_mb": measured.memory_mb}
            for i, taken in enumerate(measured.turns):
                rows.append(fixed | {"round": i, "steps_per_second": taken.rate, "processor_seconds": taken.cost})
    header = ["pixels", "batch", "step", "images/s", "s an epoch", *compared, "Gflop a step", "Gflop/s"]
    header += ["of the ceiling", "peak MB"]
    write_section(
        options.out, "images" if device == "cpu" else "images_cuda", "A training step on pictures",
        command_of(options, device, tables), note_of(options, device, tables), markdown(header, lines),
        device=torch.cuda.get_device_name() if device == "cuda" else device_line(f"{options.threads} threads, no GPU"),
    )  # fmt: skip
    path = options.out / "tables" / ("images.csv" if device == "cpu" else "images_cuda.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def spread(values: tuple[float, ...]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def command_of(options: argparse.Namespace, device: str, tables: list[dict[str, Measured]]) -> str:
    """The command that makes this table again."""
    sizes = dict.fromkeys(table["published"].task.size for table in tables)
    words = ["python -m benchmarks.images --sizes", *map(str, sizes)]
    words += ["--batch", *map(str, options.batch)] if options.batch else []
    words += [f"--seconds {options.seconds:g} --rounds {options.rounds} --channels {options.channels}"]
    words += [f"--threads {options.threads} --device {device}"]
    words += [f"--pictures {options.pictures}"] if options.pictures != CELEBA else []
    words += [f"--distinct {options.distinct}"] if options.distinct != 2048 else []
    return " ".join(words)


def note_of(options: argparse.Namespace, device: str, tables: list[dict[str, Measured]]) -> str:
    """How to read the table."""
    tops = [table["ceiling"].rate * table["ceiling"].gigaflop for table in tables]
    memory, dtype = "the process's own, its loader's workers left out", "float32"
    if device == "cuda":
        memory, dtype = "`max_memory_allocated`; ours computes in bf16, the published script in float32", "bf16"
    return (
        f"Median of {options.rounds} turns of {options.seconds / options.rounds:g} s or one step; the "
        "contenders, each a process of its own, take turns, and *× published* has the median and range of the ratios "
        "within a round, by the clock and in processor seconds (without the loader's workers). "
        f"Generators of {options.channels} channels, metrics of {METRIC_CHANNELS}: the same sizes for all. "
        f"Data: {options.pictures:,} toy faces, {options.distinct:,} of them distinct; ours are uint8 on the device "
        f"and part of its peak, the published script's are JPEG files of {JPEG_SIDE} × {JPEG_SIDE} pixels that "
        f"{WORKERS} workers decode. An epoch is {CELEBA:,} pictures, one batch for each step of the generator. "
        "*Published*: written anew here from what its source does, mended only so far that it runs. It generates three "
        "times a step, the first time for nothing: *unused pass left out* is without that. *Ours* draws anew for the "
        "metric's step in `--recipe published`, as Algorithm 1 does; else its first one learns from the generator's "
        "own batch, and in the default recipe it has two more, on batches of their own. Gflop: of convolutions and "
        "matrix products, those of doubled pictures counted in full "
        f"although ours fold them (4/9 of the products). The ceiling: {dtype} products of "
        f"{PRODUCT[device]} × {PRODUCT[device]} matrices, {' and '.join(f'{top:,.0f}' for top in tops)} Gflop/s. Peak "
        f"memory: {memory}."
    )


if __name__ == "__main__":
    main()
