"""Everything that is measured on a GPU, in one command of at most five minutes.

    python -m benchmarks.gpu                     all parts, most important first
    python -m benchmarks.gpu --parts toys train  some of them

Each part is a process with a time limit of its own. Every row is printed and kept when it is measured, so that the
command may be stopped at any moment: `docs/results.md` then has the rows that were reached. Parts that need a package
which is not installed are left out, and the page says so.

    equality    captured steps train to the bits of eager ones
    toys        steps/s of V networks together: eager, as a graph
    train       a whole `mvm train`, with its profile
    pictures    images/s beside the published step, and the share of the measured bf16 ceiling
    compiled    eager, as a graph, and with compiled networks: toys and pictures
    resume      a training that is killed and resumed ends with the bits of one that is not
    quality     scores of a run on toy faces
    superres    super-resolution: patches/s of the paper's size, and upscaled Mpx/s
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cells import markdown, write_section
from mvm.runs import layout

__all__ = ["PARTS", "Part", "Settings", "main"]

MODULE = "benchmarks.gpu"  # that a part's process runs
WARM = 20  # steps before a rate is measured; the first ones capture the graph
EQUAL_STEPS = 60


@dataclass(frozen=True)
class Settings:
    """Size of the measurements.

    Attributes:
        device: cuda, or cpu to try the command itself.
        seconds: of measuring each rate.
        small: sizes that a CPU measures in seconds; their numbers mean nothing.
    """

    device: str
    seconds: float
    small: bool


Row = list[str]


@dataclass(frozen=True)
class Part:
    """One table.

    Attributes:
        title: its heading.
        note: how to read it.
        header: names of its columns.
        limit: seconds after which it is stopped.
        measure: yields its rows.
        needs: packages that it imports, besides those of every training.
    """

    title: str
    note: str
    header: Row
    limit: float
    measure: Callable[[Settings], Iterator[Row]]
    needs: tuple[str, ...] = ()


# -- parts -------------------------------------------------------------------------------------------------------------


def measure_equality(settings: Settings) -> Iterator[Row]:
    """Train each method eagerly and by a graph; the largest difference of any weight."""
    import torch

    for name, values in _methods(settings).items():
        eager, captured = (_experiment(settings, graph=graph, **values) for graph in ("off", "auto"))
        for _ in range(EQUAL_STEPS if not settings.small else 8):
            eager.advance()
            captured.advance()
        pairs = [(captured.tensors()[key], tensor) for key, tensor in eager.tensors().items()]
        differing = sum(not torch.equal(a, b) for a, b in pairs)
        worst = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
        yield [name, _mode(captured), f"{differing} of {len(pairs)}", f"{worst:.2g}"]
        captured.release()


def measure_toys(settings: Settings) -> Iterator[Row]:
    """Steps per second of V networks on the circle, by how their steps are started."""
    for v, batch in ((1, 256), (24, 256), (256, 256), (24, 1024)) if not settings.small else ((1, 64), (2, 64)):
        eager = _rate(_experiment(settings, graph="off", seeds=tuple(range(v)), batch=batch), settings)
        experiment = _experiment(settings, seeds=tuple(range(v)), batch=batch)
        captured, mode = _rate(experiment, settings), _mode(experiment)
        experiment.release()
        yield [str(v), str(batch), f"{eager:,.0f}", f"{captured:,.0f}", mode, f"{v * captured:,.0f}"]


def measure_train(settings: Settings) -> Iterator[Row]:
    """Seconds of a whole training from the start of its process, and where they went."""
    steps = 8000 if not settings.small else 40
    for data, seeds in (("swiss_roll", ("0", "1", "2")), ("circle", ("0",))):
        trained = _trained(["--data", data, "--seeds", *seeds, "--steps", str(steps)], settings)
        ratios = sorted(row["w2_ratio"] for row in trained.scores if row["variant"] == "both")
        networks = 3 * len(seeds)
        yield [
            data,
            str(networks),
            f"{steps:,}",
            f"{trained.seconds:.1f}",
            f"{ratios[len(ratios) // 2]:.2f}",
            trained.profile,
        ]


def measure_pictures(settings: Settings) -> Iterator[Row]:
    """Images per second of each step on pictures, in turns, beside the published step."""
    from benchmarks import images

    sizes, batches = ((32, 64), (64, 256)) if not settings.small else ((16,), (8,))
    pictures, channels = (images.CELEBA, 128) if not settings.small else (128, 8)
    with tempfile.TemporaryDirectory() as folder:
        images.write_jpegs(Path(folder), 256 if not settings.small else 32)
        for size in reversed(sizes):
            for batch in batches:
                common = (
                    size,
                    batch,
                    channels,
                    1,
                    settings.device,
                    pictures,
                    256 if not settings.small else 32,
                    folder,
                )
                kinds = ("published", "ours", "ours_default", "eager", "ceiling")
                measured = images.measure(
                    [images.Task(kind, *common) for kind in kinds], seconds=settings.seconds, rounds=1
                )
                top = measured["ceiling"].rate * measured["ceiling"].gigaflop
                published = measured["published"].rate
                for kind in kinds[:-1]:
                    rate = measured[kind].rate
                    row = [str(size), str(batch), images.CONTENDERS[kind], f"{rate * batch:,.0f}"]
                    row += [f"{images.CELEBA / (rate * batch):.1f}", f"{rate / published:.2f}"]
                    yield [*row, f"{measured[kind].gigaflop * rate / top:.0%}", f"{measured[kind].memory_mb:,.0f}"]


def measure_compiled(settings: Settings) -> Iterator[Row]:
    """Steps per second eagerly, by a graph, and by a graph with compiled networks in it; pictures first."""
    from benchmarks import images

    size, batch, channels = (64, 256, 128) if not settings.small else (8, 8, 4)
    pictures, distinct = (images.CELEBA, 256) if not settings.small else (64, 8)
    common = (size, batch, channels, 1, settings.device, pictures, distinct, "")
    what, kinds = f"toy faces {size}², {channels} channels", ("eager", "ours_default", "compiled", "ceiling")
    began = time.perf_counter()
    try:
        measured = images.measure([images.Task(kind, *common) for kind in kinds], seconds=settings.seconds, rounds=1)
    except RuntimeError as error:
        yield [what, f"{batch}", *["–"] * 5, str(error)]
    else:
        took = time.perf_counter() - began - 6 * settings.seconds  # but for the seconds of measuring and warming up
        top = measured["ceiling"].rate * measured["ceiling"].gigaflop
        rates = [measured[kind].rate for kind in kinds[:-1]]
        yield _beside(what, batch, rates, took, f"{measured['compiled'].gigaflop * rates[-1] / top:.0%}")
    for v in (1, 24) if not settings.small else (1,):
        values = {"seeds": tuple(range(v)), "batch": 256 if not settings.small else 16}
        rates = [_rate(_experiment(settings, graph="off", **values), settings)]
        for compile in ("off", "on"):
            experiment = _experiment(settings, compile=compile, **values)
            began = time.perf_counter()
            with images.compiler_of(settings.device):
                experiment.advance()
            took = time.perf_counter() - began
            rates.append(_rate(experiment, settings))
            experiment.release()
        failed = experiment.not_compiled and f"not compiled: {experiment.not_compiled}"
        yield _beside(f"circle, V = {v}", values["batch"], rates, took, failed or "–")


def _beside(what: str, batch: int, rates: list[float], took: float, last: str) -> Row:
    """A row of `measure_compiled`; rates are eager, graph, compiled, in steps/s."""
    return [what, f"{batch}", *(f"{rate:,.3g}" for rate in rates), f"{rates[2] / rates[1]:.2f}", f"{took:.0f}", last]


def measure_resume(settings: Settings) -> Iterator[Row]:
    """Kill a training at a moment of its own, resume it, and compare its checkpoint with an undisturbed one's."""
    import torch

    from mvm.files import read_tensors

    steps = 2000 if not settings.small else 200
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MVM_CHECKPOINTS": folder}
        train = [sys.executable, "-m", "mvm", "train", "--data", "circle", "--steps", str(steps)]
        train += ["--variants", "both", "--device", settings.device]
        quiet = {"env": environment, "stdout": subprocess.DEVNULL}
        subprocess.run([*train, "--name", "whole"], check=True, **quiet)
        killed = subprocess.Popen([*train, "--name", "killed"], **quiet)
        kept = Path(folder) / "killed" / layout.KEPT
        while killed.poll() is None and (not kept.exists() or len(list(kept.iterdir())) < 5):
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        step = int(read_tensors(Path(folder) / "killed" / layout.CHECKPOINT)["step"])
        subprocess.run([sys.executable, "-m", "mvm", "resume", "killed"], check=True, **quiet)
        whole, resumed = (read_tensors(Path(folder) / name / layout.CHECKPOINT) for name in ("whole", "killed"))
    differing = sum(not torch.equal(resumed[key], tensor) for key, tensor in whole.items())
    yield [f"{step:,} of {steps:,}", f"{differing} of {len(whole)}"]


def measure_quality(settings: Settings) -> Iterator[Row]:
    """Scores of a training on toy faces."""
    size, channels, steps, batch = (32, 128, 4000, 64) if not settings.small else (8, 8, 20, 8)
    arguments = ["--data", "faces", "--size", str(size), "--steps", str(steps), "--batch", str(batch)]
    arguments += ["--network.channels", str(channels)]
    arguments += ["--points", "400", "--view-points", "64"] if settings.small else []
    trained = _trained(arguments, settings)
    row = trained.scores[0]
    shown = [f"{row[key]:.2f} ({row[f'{key}_floor']:.2f})" for key in ("pixels.recall", "factor_mean")]
    ratio = row["pixels.fd"] / row["pixels.fd_floor"]
    yield [f"{size}", f"{channels}", f"{steps:,}", f"{batch}", f"{trained.seconds:.0f}", f"{ratio:.2f}", *shown]


def measure_superres(settings: Settings) -> Iterator[Row]:
    """Patches per second of training SRResNet, and upscaled Mpx/s of every backbone, with shares of the ceiling."""
    import torch

    from benchmarks.images import PRODUCT, operations
    from mvm.devices import exact_float32
    from mvm.imaging.tiles import upscale_tiled
    from mvm.networks.backbones import BACKBONES

    wait = torch.cuda.synchronize if settings.device == "cuda" else lambda: None

    def per_second(work: Callable[[], Any]) -> float:
        work()
        wait()
        began, done = time.perf_counter(), 0
        while not done or time.perf_counter() - began < settings.seconds:
            work()
            wait()
            done += 1
        return done / (time.perf_counter() - began)

    def ceiling(dtype: torch.dtype) -> float:
        """Gflop/s of square matrix products."""
        n = PRODUCT[settings.device] if not settings.small else 256
        a, b = torch.randn(2, n, n, device=settings.device, dtype=dtype)
        with exact_float32():
            return per_second(lambda: torch.mm(a, b)) * 2e-9 * n**3

    half, full = (ceiling(dtype) for dtype in (torch.bfloat16, torch.float32))
    backbone, batch, patch = ("srresnet", 32, 48) if not settings.small else ("small", 2, 8)
    network = {"backbone": backbone, "discriminator": "srgan" if not settings.small else "light"}
    for label, values in {"L1": {"method": "l1"}, "MvM, setting A": {"method": "mvm"}}.items():
        rates = []
        for graph in ("off", "auto"):
            experiment = _experiment(
                settings, data="sr", batch=batch, patch=patch, network=network, graph=graph, **values
            )  # fmt: skip
            rates.append(_rate(experiment, settings))
            mode = _mode(experiment)
            experiment.prepare()
            gigaflop = operations(experiment.compute)  # eagerly: a replayed graph hides its operations
            experiment.release()
        row = [f"{backbone}, {label}", f"{batch} x {patch}²", *(f"{rate * batch:,.0f} patches/s" for rate in rates)]
        yield [*row, mode, f"{gigaflop * max(rates) / half:.0%}"]
    side = 512 if not settings.small else 32
    picture = torch.rand(3, side, side, device=settings.device)
    for name in BACKBONES if not settings.small else ("small",):
        built = BACKBONES[name]().eval().to(settings.device)
        out = torch.empty(3, 4 * side, 4 * side, dtype=torch.uint8, device=settings.device)

        def upscale(built: Any = built, out: Any = out) -> None:
            with exact_float32():
                upscale_tiled(built, picture, overlap=built.receptive_field, out=out)

        gigaflop, rate = operations(upscale), per_second(upscale)
        row = [f"{name}, upscaling", f"{side}²", f"{rate * 16e-6 * side**2:,.2f} Mpx/s", "–", "eager, float32"]
        yield [*row, f"{gigaflop * rate / full:.0%}"]


PARTS: dict[str, Part] = {
    "equality": Part(
        "Captured steps equal eager ones",
        f"Tensors of the training state that differ after {EQUAL_STEPS} steps, and the largest difference.",
        ["method", "steps", "tensors that differ", "largest difference"],
        60,
        measure_equality,
    ),
    "toys": Part(
        "V networks together",
        "Circle, both descriptors, default recipe; steps/s after the first twenty.",
        ["V", "batch", "eager, steps/s", "graph, steps/s", "started", "graph, variant-steps/s"],
        60,
        measure_toys,
    ),
    "train": Part(
        "A whole training",
        "`mvm train` from the start of its process to its exit, final scores included; W₂ / baseline of both.",
        ["data", "networks", "steps", "s", "W₂ / baseline", "of these, s"],
        90,
        measure_train,
        needs=("ot",),
    ),
    "pictures": Part(
        "Pictures",
        "In turns, each step in a process of its own; 128 channels. The ceiling: bf16 products of 8,192 × 8,192.",
        ["pixels", "batch", "step", "images/s", "s an epoch", "× published", "of the ceiling", "peak MB"],
        150,
        measure_pictures,
    ),
    "compiled": Part(
        "Compiled networks",
        "Steps/s; default recipe, both descriptors. s: until the first compiled step is done, sooner if the compiler's "
        "cache holds it; of pictures, with the start of all four processes.",
        ["what", "batch", "eager", "graph", "compiled", "× graph", "s", "of the ceiling"],
        120,
        measure_compiled,
    ),
    "resume": Part(
        "Killed and resumed",
        "A training that SIGKILL ended at a step, resumed to its end, beside one that was left alone.",
        ["killed at step", "tensors that differ"],
        60,
        measure_resume,
        needs=("ot",),
    ),
    "quality": Part(
        "Toy faces",
        "Default recipe; each score beside its value between two real samples.",
        ["pixels", "channels", "steps", "batch", "s", "Fréchet / baseline", "recall (baseline)", "factors (baseline)"],
        120,
        measure_quality,
    ),
    "superres": Part(
        "Super-resolution",
        "Training on the built-in photographs; upscaling of one picture, its tiles and rounding included, without "
        "files. The ceiling: square matrix products, of bf16 for training and of float32 for upscaling.",
        ["network", "batch or picture", "eager", "graph", "started", "of the ceiling"],
        90,
        measure_superres,
    ),
}


def _methods(settings: Settings) -> dict[str, dict[str, Any]]:
    """What equality is measured on, by its name in the table."""
    small = {"size": 8, "points": 64, "view_points": 64, "batch": 8, "network": {"channels": 8, "metric_channels": 8}}
    faces = (
        {"data": "faces", "size": 32, "points": 2048, "batch": 64} if not settings.small else {"data": "faces"} | small
    )
    names = ["mvm", "wgan", "wgan_gp", "sngan", "swgan"]
    if importlib.util.find_spec("ot"):
        names.append("flow_matching")
    methods = {name: {"method": name, "seeds": (0, 1)} for name in names}
    paper = {"MvM, paper's recipe": {"recipe": "paper", "seeds": (0, 1)}, "MvM, toy faces": faces}
    return methods | paper


@dataclass(frozen=True)
class Trained:
    """Result of a whole `mvm train`.

    Attributes:
        seconds: from the start of its process to its exit.
        scores: final scores, one dict per network.
        profile: seconds of the parts that took at least a twentieth, in words.
    """

    seconds: float
    scores: list[dict[str, Any]]
    profile: str


def _trained(arguments: list[str], settings: Settings) -> Trained:
    """Train in a process of its own, in a folder that is removed."""
    command = [sys.executable, "-m", "mvm", "train", *arguments, "--device", settings.device, "--name", "run"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        environment = os.environ | {"MVM_CHECKPOINTS": folder}
        done = subprocess.run(
            [*command, "--profile"], env=environment, check=True, stdout=subprocess.PIPE, encoding="utf-8"
        )
        seconds = time.perf_counter() - began
        scores = json.loads((Path(folder) / "run" / layout.SCORES).read_text(encoding="utf-8"))
    parts = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines() if line.endswith("%")]
    large = [f"{part} {float(took):.1f}" for part, took, share in parts if int(share.rstrip("%")) >= 5]
    return Trained(seconds, scores, "; ".join(large))


def _experiment(settings: Settings, **values: Any) -> Any:
    """An experiment on the circle, unless `values` say otherwise."""
    from mvm.config import Config
    from mvm.data.kinds import load_data
    from mvm.training.experiment import Experiment

    base: dict[str, Any] = {"data": "circle", "batch": 256, "steps": 10**6, "device": settings.device, "compile": "off"}
    if values.get("method", "mvm") == "mvm" and "variants" not in values:
        values["variants"] = ("both",)
    config = Config.make(**base | values)
    return Experiment(config, load_data(config))


def _rate(experiment: Any, settings: Settings) -> float:
    """Steps per second."""
    import torch

    wait = torch.cuda.synchronize if settings.device == "cuda" else lambda: None
    for _ in range(WARM):
        experiment.advance()
    wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < settings.seconds:
        experiment.advance()
        done += 1
    wait()
    return done / (time.perf_counter() - began)


def _mode(experiment: Any) -> str:
    """How the steps of an experiment are started."""
    return f"eager: {experiment.eager}" if experiment.eager else "graph"


# -- the command -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure the parts one after the other, and write each when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--seconds", type=float, default=1.5, help="of measuring each rate (default 1.5)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for all parts (default 300)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the command itself")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = Settings(options.device, options.seconds, small=options.device == "cpu")
    if options.rows:
        measure_part(PARTS[options.parts[0]], settings, options.rows)
        return
    device = _device(options.device)
    if device is None:
        raise SystemExit("benchmarks.gpu: this machine has no CUDA device; --device cpu tries the command itself")
    print(f"{device}; {_versions()}", flush=True)
    ends = time.monotonic() + options.limit
    for name in options.parts:
        run_part(name, options, device, limit=min(PARTS[name].limit, ends - time.monotonic()))


def measure_part(part: Part, settings: Settings, rows: Path) -> None:
    """Print the rows of a part, and append each to a file, as JSON lines."""
    with rows.open("a", encoding="utf-8") as file:
        for row in part.measure(settings):
            print(" | ".join(row), flush=True)
            file.write(json.dumps(row) + "\n")
            file.flush()


def run_part(name: str, options: argparse.Namespace, device: str, *, limit: float) -> None:
    """Measure a part in a process of its own, and write what it measured until its end, its limit or an interrupt."""
    part, remarks = PARTS[name], []
    missing = [package for package in part.needs if importlib.util.find_spec(package) is None]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        command = [sys.executable, "-m", MODULE, "--parts", name, "--device", options.device]
        command += ["--seconds", str(options.seconds), "--rows", str(rows)]
        try:
            if missing:
                remarks.append(f"Left out: it needs {', '.join(missing)}, not installed here.")
            elif limit <= 0:
                remarks.append(f"Not reached within the {options.limit:g} s of all parts.")
            else:
                print(f"-- {part.title}", flush=True)
                remarks += _ended(subprocess.Popen(command, start_new_session=True), limit)
        finally:  # an interrupt, too
            found = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
            if found or remarks:
                table = [markdown(part.header, found)] if found else []
                words = f"python -m benchmarks.gpu --parts {name} --seconds {options.seconds:g}"
                words += f" --device {options.device}" if options.device != "cuda" else ""
                title = f"{part.title}, on a GPU" if options.device == "cuda" else f"{part.title}, tried on a CPU"
                line = f"{device}; {_versions()}"
                write_section(options.out, f"gpu_{name}", title, words, part.note, *table, *remarks, device=line)


def _ended(process: subprocess.Popen[bytes], limit: float) -> list[str]:
    """Wait for a part's process, and end it and its children at the limit; what a reader must know, in sentences."""
    try:
        status = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return [f"Stopped at its limit of {limit:.0f} s; rows that are missing were not reached."]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return [f"Ended early, with exit status {status}: rows that are missing were not measured."] if status else []


def _device(name: str) -> str | None:
    """Name of the device; None without it."""
    import torch

    if name == "cpu":
        return "A CPU, which measures nothing here"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _versions() -> str:
    import torch

    return f"torch {torch.__version__}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
