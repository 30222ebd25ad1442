"""Speed of the engine: V variants together, beside a plain PyTorch loop and separate processes, in one run.

    python -m benchmarks.engine              the table: steps/s and samples/s, ratios, share of the machine's ceiling
    python -m benchmarks.engine --quality    from process start to W₂ ≤ 1.5 × baseline on the circle, both descriptors
    python -m benchmarks.engine --compile    both losses through torch.compile, beside the engine as it is

Every number comes from a process of its own. The ceiling is the rate of batched matrix products of the very shapes that
a step is made of; operations and bytes are those of its matrix products.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.cells import POINTS, markdown, write_section
from mvm.files import write_atomic
from mvm.jobs.launch import launcher_of
from mvm.jobs.launcher import Task, last_line
from mvm.runs.layout import CHECKPOINT

VARIANTS, BATCHES = (1, 3, 24), (256, 1024)
WARM = 10
FEW_VIEWS = ["--snapshots", "20", "--records", "50"]  # few views: the run is not displayed


def main() -> None:
    """Measure, print and write the requested table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring each number (default 4)")
    parser.add_argument("--variants", type=int, nargs="+", default=VARIANTS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quality", action="store_true", help="time to quality instead")
    parser.add_argument("--compile", action="store_true", help="what torch.compile would bring instead")
    parser.add_argument("--steps", type=int, default=1500, help="of the time to quality (default 1500)")
    parser.add_argument("--seeds", type=int, default=5, help="of the time to quality (default 5)")
    parser.add_argument("--points", type=int, default=POINTS, help=f"that its W₂ is measured on (default {POINTS})")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md and tables/")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        write_atomic(options.result, json.dumps(work(**json.loads(options.worker))).encode())
    elif options.quality:
        quality(options)
    elif options.compile:
        compilation(options)
    else:
        throughput(options)


def throughput(options: argparse.Namespace) -> None:
    """Steps per second of V variants together, one by one in a plain loop, and in separate processes."""
    cores = len(os.sched_getaffinity(0))
    lines = []
    for batch in options.batches:
        common = {"batch": batch, "seconds": options.seconds, "device": options.device}
        for v in options.variants:
            engine = spawn([{"kind": "engine", "variants": v, **common}])[0]
            plain = spawn([{"kind": "plain", "variants": v, **common}])[0]
            together = spawn([{"kind": "engine", "variants": v, "threads": cores, **common}])[0]
            apart = spawn([{"kind": "engine", "variants": 1, **common}] * min(v, cores))
            rate = v * engine["steps_per_second"]
            separate = sum(each["steps_per_second"] for each in apart)
            faster = v * together["steps_per_second"]
            used = engine["gigaflop"] * engine["steps_per_second"]
            line = [f"{v}", f"{batch}", f"{engine['steps_per_second']:.0f}", f"{rate:.0f}", f"{rate * batch:,.0f}"]
            line += [f"{rate / (v * plain['steps_per_second']):.2f}", f"{faster:.0f}", f"{faster / separate:.2f}"]
            line += [
                f"{engine['gigaflop']:.3f}",
                f"{engine['megabytes']:.1f}",
                f"{used:.0f} of {engine['ceiling']:.0f}",
            ]
            lines.append([*line, f"{together['memory_mb']:.0f}", f"{v * apart[0]['memory_mb']:.0f}"])
            print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    header = ["V", "batch", "steps/s", "variant-steps/s", "samples/s", "× plain loop"]
    header += [f"variant-steps/s, {cores} threads", f"× {cores} processes", "Gflop a step", "MB a step"]
    header += ["Gflop/s of the ceiling", "MB, together"]
    note = (
        f"{options.seconds:g} s a number, after {WARM} steps; default recipe and networks. *× plain loop*: engine and "
        "loop on one thread each, the loop training one variant after the other. "
        f"*× {cores} processes*: {cores} threads on all variants together, against as many one-variant processes at "
        "once (fewer where V is). The processor's arithmetic is the limit only where Gflop/s come near their ceiling: "
        "below that, a step is the cost of starting some hundred small operations."
    )
    table = markdown([*header, "MB, apart"], lines)
    command = f"python -m benchmarks.engine --seconds {options.seconds:g} --device {options.device}"
    write(options, "engine", "The engine", command, note, table)


def write(options: argparse.Namespace, key: str, title: str, command: str, *parts: str) -> None:
    """Write one section of results.md; GPU and processor have separate sections."""
    gpu = options.device == "cuda"
    title, key = (f"{title}, on a GPU", f"{key}_cuda") if gpu else (title, key)
    write_section(options.out, key, title, command, *parts, device=gpu_name() if gpu else None)


def gpu_name() -> str:
    """Name of the GPU."""
    import torch

    return torch.cuda.get_device_name()


def spawn(measurements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make measurements side by side, each in a process with its own number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = [_measuring(what, Path(folder), number) for number, what in enumerate(measurements)]
        finish(tasks)
        return [json.loads(task.result.read_bytes()) for task in tasks]


def _measuring(what: dict[str, Any], folder: Path, number: int) -> Task:
    """The task that calls `work`."""
    result = folder / f"{number}.json"
    environment = {"OMP_NUM_THREADS": str(what.get("threads", 1))}
    environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # no graph that an earlier run has compiled
    return Task(
        f"{what['kind']} {number}",
        ("--worker", json.dumps(what), "--result", str(result)),
        log=folder / f"{number}.log",
        result=result,
        module="benchmarks.engine",
        environment=environment,
    )


def finish(tasks: Sequence[Task]) -> None:
    """Run tasks side by side to their ends; leave with the last line of the log of one that fails."""
    launcher = launcher_of()
    handles = [launcher.submit(task) for task in tasks]
    try:
        for task, handle in zip(tasks, handles, strict=True):
            if handle.wait() != "finished":
                raise SystemExit(f"{task.name}: {last_line(task.log) or handle.state}")
    finally:
        for handle in handles:
            handle.cancel()


def work(kind: str, variants: int, batch: int, seconds: float, device: str, threads: int = 1) -> dict[str, Any]:
    """One measurement; runs in a separate process."""
    import torch

    from mvm.config import Config
    from mvm.data.points import load_points
    from mvm.devices import use_cpu
    from mvm.training.experiment import Experiment

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    config = Config.make(
        data="circle", variants=("both",), seeds=tuple(range(variants)), batch=batch, steps=10**6, device=device
    )
    data = load_points(config)
    if kind == "plain":
        step = plain_loop(config, data.train)
    else:
        use_cpu(threads)
        experiment = Experiment(config, data)
        step, method = experiment.advance, experiment.method
        if kind == "compiled":
            method._slope_excess = torch.compiler.disable(method._slope_excess)  # double backward: it cannot
            method._generator_loss = torch.compile(method._generator_loss)
            method._triplet_loss = torch.compile(method._triplet_loss)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    began = time.perf_counter()
    for _ in range(WARM):
        step()
    wait()
    warming = time.perf_counter() - began
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        done += 1
    wait()
    rate = done / (time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device == "cuda":
        memory = torch.cuda.max_memory_allocated() / 1e6
    if kind != "engine":
        return {"steps_per_second": rate, "memory_mb": memory, "warming": warming}
    experiment.prepare()
    operations, volume = count(experiment.compute)  # a replayed graph hides its operations
    result = {"steps_per_second": rate, "memory_mb": memory, "warming": warming}
    result |= {"gigaflop": operations / 1e9, "megabytes": volume / 1e6}
    return result | {"ceiling": ceiling(variants, batch, config.network.width, device)}


def count(step: Any) -> tuple[float, float]:
    """Floating-point operations of the matrix products in one step, and the bytes they read and write."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    products = {torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default}

    class Counter(TorchDispatchMode):
        operations = volume = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if function in products:
                tensors = [t for t in args if isinstance(t, torch.Tensor)]
                self.operations += 2 * result.numel() * tensors[-1].shape[-2]
                self.volume += sum(t.numel() * t.element_size() for t in (*tensors, result))
            return result

    with Counter() as counter:
        step()
    return counter.operations, counter.volume


def ceiling(variants: int, batch: int, width: int, device: str, seconds: float = 0.5) -> float:
    """Gflop/s of the product of a hidden layer alone, `(V, B, w) @ (V, w, w)`."""
    import torch

    x, w = torch.randn(variants, batch, width, device=device), torch.randn(variants, width, width, device=device)
    out = torch.empty_like(x)
    for _ in range(3):
        torch.bmm(x, w, out=out)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            torch.bmm(x, w, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        done += 10
    return 2e-9 * x.numel() * width * done / (time.perf_counter() - began)


def plain_loop(config: Any, train: Any) -> Any:
    """The same method in plain PyTorch: `nn.Sequential`, `zero_grad`, `backward`, one variant at a time."""
    import torch
    from torch import nn

    net, opt, mvm, device = config.network, config.optimiser, config.mvm, config.device
    train, group = train.to(device), min(mvm.pairs, config.batch // 2)

    class Swish4(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(4 * x)

    class Waves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sines, cosines = ([wave(w * x) / w for w in net.frequencies] for wave in (torch.sin, torch.cos))
            return torch.cat([x, *sines, *cosines], dim=1)

    def perceptron(inputs: int, outputs: int, activation: type[nn.Module], *first: nn.Module) -> nn.Sequential:
        sizes = [inputs, *[net.width] * net.depth, outputs]
        layers: list[nn.Module] = [*first]
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), activation()]
        return nn.Sequential(*layers[:-1]).to(device)

    def diameter(e: torch.Tensor) -> torch.Tensor:
        return (2 * (e - e.mean(0)).square().sum(1).mean() + 1e-12).sqrt()

    def variant(seed: int) -> Any:
        torch.manual_seed(seed)
        f, average = (perceptron(net.noise_dim, train.shape[1], Swish4) for _ in range(2))
        seen = train.shape[1] * (1 + 2 * len(net.frequencies))
        g = perceptron(seen, net.embedding_dim, nn.ReLU, Waves())
        f_adam = torch.optim.Adam(f.parameters(), lr=opt.generator_lr, betas=opt.generator_betas)
        g_adam = torch.optim.Adam(g.parameters(), lr=opt.metric_lr, betas=opt.metric_betas)

        def step() -> None:
            real = train[torch.randint(len(train), (config.batch,), device=device)]
            fake = f(torch.randn(config.batch, net.noise_dim, device=device))
            for p in g.parameters():
                p.requires_grad_(False)
            e_real, e_fake = g(real), g(fake)
            f_adam.zero_grad()
            loss = (e_real.mean(0) - e_fake.mean(0)).norm() + (diameter(e_real) - diameter(e_fake)).abs()
            loss.backward()
            f_adam.step()
            for p in g.parameters():
                p.requires_grad_(True)
            fake = fake.detach()
            a, n = (g(fake), g(real)) if mvm.anchors == "fake" else (g(real), g(fake))
            a, p, n = (e.unflatten(0, (-1, group)) for e in (a, a.roll(group, 0), n))
            triplet = (torch.cdist(a, p).square() - torch.cdist(a, n).square() + mvm.alpha).relu().mean()
            few = int(config.batch * mvm.lipschitz_share)
            x = torch.lerp(real[:few], fake[:few], torch.rand(few, 1, device=device)).requires_grad_()
            e = g(x)
            (slope,) = torch.autograd.grad((e * torch.randn_like(e)).sum(), x, create_graph=True)
            penalty = ((slope.square().sum(1) + 1e-12).sqrt() - 1).relu().square().mean()
            g_adam.zero_grad()
            (triplet + mvm.lipschitz * penalty).backward()
            g_adam.step()
            with torch.no_grad():
                for mean, weight in zip(average.parameters(), f.parameters(), strict=True):
                    mean.lerp_(weight, 1 - opt.ema)

        return step

    variants = [variant(seed) for seed in config.seeds]

    def all_variants() -> None:
        for step in variants:
            step()

    return all_variants


def compilation(options: argparse.Namespace) -> None:
    """Steps per second with compiled losses, and the time of the first steps."""
    lines = []
    for v in options.variants:
        task = {"variants": v, "batch": options.batches[0], "seconds": options.seconds, "device": options.device}
        engine, compiled = (spawn([{"kind": kind, **task}])[0] for kind in ("engine", "compiled"))
        line = [f"{v}", *(f"{each['warming']:.1f}" for each in (engine, compiled))]
        line += [f"{each['steps_per_second']:.0f}" for each in (engine, compiled)]
        lines.append([*line, f"{compiled['steps_per_second'] / engine['steps_per_second']:.2f}"])
        print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    note = (
        f"Batch {options.batches[0]}, one thread, {options.seconds:g} s a number. The compiler cannot take the double "
        "backward pass of the slope penalty, and leaves that part as it is."
    )
    header = ["V", f"first {WARM} steps, s", "compiled, s", "steps/s", "compiled, steps/s", "× engine"]
    command = f"python -m benchmarks.engine --compile --seconds {options.seconds:g} --device {options.device}"
    write(options, "compile", "What torch.compile brings", command, note, markdown(header, lines))


def quality(options: argparse.Namespace) -> None:
    """Seconds of a whole `python -m mvm train` and its final score, for some seeds one after the other."""
    from mvm.runs.evaluate import score_run
    from mvm.runs.run import Run

    lines = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            train = ["train", "--data", "circle", "--variants", "both", "--name", "run"]
            train += ["--steps", str(options.steps), "--seeds", str(seed), "--device", options.device, *FEW_VIEWS]
            environment = {"MVM_CHECKPOINTS": folder, "OMP_NUM_THREADS": "1"}
            task = Task(f"seed {seed}", tuple(train), log=Path(folder) / "training.log", environment=environment)
            began = time.time()
            finish([task])
            whole = time.time() - began
            trained = (Path(folder) / "run" / CHECKPOINT).stat().st_mtime - began
            trained_run = Run(Path(folder) / "run")
            scores = [score_run(trained_run, n=options.points, repeat=200 + repeat)[0] for repeat in range(5)]
        ratio = sum(score["w2"] for score in scores) / sum(score["w2_floor"] for score in scores)
        lines.append([str(seed), f"{trained:.1f}", f"{whole:.1f}", f"{ratio:.2f}"])
        print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    note = (
        f"`python -m mvm train --data circle --variants both --seeds SEED --steps {options.steps} "
        f"{' '.join(FEW_VIEWS)}`, "
        "from its start: "
        "*trained*, until the generator was saved; *all*, until exit, its final score on 2,000 points included. "
        f"Scored on five other pairs of real samples of {options.points:,} points, W₂ and baseline summed over them."
    )
    command = f"python -m benchmarks.engine --quality --steps {options.steps}"
    command += f" --device {options.device}" if options.device != "cpu" else ""
    command += f" --points {options.points}" if options.points != POINTS else ""
    table = markdown(["seed", "trained, s", "all, s", "W₂ / baseline"], lines)
    write(options, "quality", "Time to quality", command, note, table)


if __name__ == "__main__":
    main()
