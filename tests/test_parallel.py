"""Several processes train what one would: the same numbers, from the same commands, with the same checkpoints."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from waiting import growth, until

from mvm import distributed
from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.errors import Stopped
from mvm.files import read_tensors, write_tensors
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.training.experiment import Experiment

POINTS = {"points": 64, "view_points": 16, "batch": 12, "network": {"width": 8, "depth": 2}, "threads": 1}
FACES = {
    "data": "faces", "size": 16, "points": 64, "view_points": 16, "batch": 12, "threads": 1,
    "network": {"channels": 4, "metric_channels": 4, "noise_dim": 5},
}  # fmt: skip
PAIRS = {
    "data": "sr", "patch": 8, "view_points": 16, "batch": 6, "threads": 1, "superres": {"gan": "relativistic"},
    "network": {"metric_channels": 4},
}  # fmt: skip
CASES = {
    "points": POINTS | {"variants": ("centroid", "both")},
    "points by the paper": POINTS | {"recipe": "paper", "variants": ("both",)},
    "wgan": POINTS | {"method": "wgan"},
    "wgan_gp": POINTS | {"method": "wgan_gp"},
    "sngan": POINTS | {"method": "sngan"},
    "swgan": POINTS | {"method": "swgan"},
    "flow matching": POINTS | {"method": "flow_matching", "flow_matching": {"evaluations": 3}},
    "faces": FACES | {"variants": ("diameter", "both")},
    "faces, slope of uneven rows": FACES | {"variants": ("both",), "mvm": {"lipschitz_share": 0.45}},
    "faces by wgan_gp": FACES | {"method": "wgan_gp"},
    "faces by sngan": FACES | {"method": "sngan"},
    "pairs, batch normalisation": PAIRS | {"network": PAIRS["network"] | {"backbone": "srresnet"}},
    "pairs by natsr": PAIRS | {"method": "natsr", "superres": {"gan": "standard", "image_steps": 2}},
}
STEPS = 3


def trained(case: str) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint holds after some steps in float64."""
    config = Config.make(**CASES[case])
    experiment = Experiment(config, load_data(config), dtype=torch.float64)
    experiment.share()
    for _ in range(STEPS):
        assert experiment.agree(distributed.rank() == 0)
        step = experiment.advance()
    noise = experiment.view_inputs(7)
    return experiment.tensors() | {"made": experiment.generate(noise)} | {f"{k}!": v for k, v in step.terms.items()}


def work(rank: int, port: int, folder: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group() as is_rank_0:
        assert is_rank_0 == (rank == 0)
        assert distributed.broadcast_object("word" if is_rank_0 else None) == "word"
        for number, case in enumerate(CASES):
            write_tensors(folder / f"{number}-{rank}.safetensors", trained(case))
        config = Config.make(**POINTS | {"batch": 3})
        with pytest.raises(ValueError, match="batch: 3 does not divide among 2 processes"):
            Experiment(config, load_data(config))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each of two processes had after training every case together."""
    folder = tmp_path_factory.mktemp("two")
    context = multiprocessing.get_context("spawn")
    port = free_port()
    processes = [context.Process(target=work, args=(rank, port, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    until(
        lambda: all(process.exitcode is not None for process in processes),
        "two processes",
        progress=lambda: growth(folder),
    )
    assert [process.exitcode for process in processes] == [0, 0]
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(two: Path, case: str) -> None:
    """Weights, moments, averages, statistics and reported terms agree to rounding in float64."""
    alone, number = trained(case), list(CASES).index(case)
    ours, theirs = (read_tensors(two / f"{number}-{rank}.safetensors") for rank in (0, 1))
    assert alone.keys() == ours.keys() == theirs.keys()
    start = Config.make(**CASES[case])
    untrained = Experiment(start, load_data(start), dtype=torch.float64).tensors()
    assert any((alone[name] - tensor).abs().max() > 1e-4 for name, tensor in untrained.items() if name != "step")
    for name, tensor in alone.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-8, rtol=1e-7, msg=lambda m, n=name: f"{n}: {m}")
        assert torch.equal(ours[name], theirs[name]), f"{name} differs between the processes"


def test_a_checkpoint_does_not_know_how_many_trained_it(cloud: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process begins, torchrun's two finish what it has saved, and one can sample it."""
    arguments = ["--data", str(cloud), "--steps", "40", "--batch", "16", "--network.width", "8", "--view-points", "16"]
    assert cli("train", *arguments, "--name", "alone").status == 0
    shared = Run.create(Run.named("alone").config, name="shared")

    def stop_half_way() -> None:
        for step in train(shared):
            if step.number == 20:
                shared.ask(stop=True)

    monkeypatch.setattr("mvm.runs.recorder.POLL", 0)  # it looks at every step for what it is asked
    with pytest.raises(Stopped, match="shared stopped at step 21"):
        stop_half_way()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "mvm"]
    log = cloud.with_name("torchrun.log")
    with log.open("w") as file, subprocess.Popen([*command, "resume", "shared"], stdout=file, stderr=file) as process:
        until(lambda: process.poll() is not None, "torchrun's end", progress=lambda: growth(cloud.parent))
    assert process.returncode == 0, log.read_text()
    assert shared.status().state == "finished"
    begun = [event.event for event in shared.records.events if hasattr(event, "pid")]
    assert begun == ["started", "resumed"], "one process records"
    ours, theirs = (Run.named(name).checkpoint() for name in ("shared", "alone"))
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    torch.testing.assert_close(ours["average.weights.0"], theirs["average.weights.0"], atol=0.05, rtol=0)
    assert cli("sample", "shared", "--out", str(cloud.with_name("made.npy"))).status == 0
