"""Compiled networks train as plain ones do; which are compiled, and what becomes of a compiler that fails.

Tests compile with `aot_eager`, which traces forward and backward passes as `inductor` does, and computes the traced
operations one by one: equal to the bit, in a second instead of a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.backends.registry import register_backend

from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.methods.method import squared_slope
from mvm.networks.compiled import training_step
from mvm.runs.events import Compiles, NotCompiled, compiled_networks
from mvm.runs.recorder import train
from mvm.training.compiling import COLD_SECONDS, seconds_gained
from mvm.training.experiment import Experiment

SMALL = {"channels": 8, "metric_channels": 4}
FACES = {"data": "faces", "size": 8, "points": 64, "view_points": 64, "network": SMALL, "threads": 1}
POINTS = {"data": "swiss_roll", "points": 64, "view_points": 16}
traced: list[torch.fx.GraphModule] = []


@register_backend
def counting(module: torch.fx.GraphModule, inputs: Any) -> Any:
    traced.append(module)
    return aot_eager(module, inputs)


@register_backend
def failing_backwards(module: torch.fx.GraphModule, inputs: Any) -> Any:
    """Compiles, and fails when the first gradient is taken, after the generator's forward pass."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no kernel\nfor this device")

    def compute(*values: Any) -> Any:
        return [Fails.apply(y) for y in module(*values)]

    return compute


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    traced.clear()
    yield
    torch._dynamo.reset()


def experiments(monkeypatch: pytest.MonkeyPatch, compiler: str, **values: Any) -> tuple[Experiment, Experiment]:
    monkeypatch.setattr(Experiment, "compiler", compiler)
    config = Config.make(**{"batch": 8, "steps": 20, "device": "cpu"} | values)
    configs = (config.with_changes({"compile": compile}) for compile in ("off", "on"))
    plain, compiled = (Experiment(config, load_data(config)) for config in configs)
    return plain, compiled


def check_equal(plain: Experiment, compiled: Experiment) -> None:
    ours, theirs = compiled.tensors(), plain.tensors()
    assert ours.keys() == theirs.keys(), "names in a checkpoint do not depend on the compiler"
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    "values",
    [
        FACES,
        FACES | {"precision": "bf16"},
        FACES | {"seeds": (0, 1), "recipe": "paper"},
        FACES | {"method": "wgan_gp", "wgan_gp": {"critic_steps": 1}},
        FACES | {"method": "swgan", "swgan": {"critic_steps": 1}},
        POINTS | {"seeds": (0, 1)},
    ],
    ids=["faces", "bf16", "two, another recipe", "wgan_gp", "swgan", "points"],
)
def test_compiled_training_equals_plain_training(monkeypatch: pytest.MonkeyPatch, values: dict) -> None:
    """Slope penalties included, whose second derivative the plain form takes; a graph that is descended twice, too."""
    plain, compiled = experiments(monkeypatch, "counting", **values)
    for _ in range(2):
        one, other = plain.advance(), compiled.advance()
    assert compiled.not_compiled == ""
    forms = len(traced)
    assert forms >= 2, "both networks"
    assert [name for name in one.terms if not torch.equal(one.terms[name], other.terms[name])] == []
    check_equal(plain, compiled)
    compiled.advance()
    assert len(traced) == forms, "later steps compile nothing"


def test_samples_embeddings_and_slopes_are_of_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    _, compiled = experiments(monkeypatch, "counting", **FACES)
    compiled.advance()
    forms = len(traced)
    fakes = compiled.generate(compiled.view_inputs(5))
    compiled.embed(fakes)
    with training_step():
        squared_slope(compiled.method.networks["metric"], fakes).sum().backward()
        assert len(traced) == forms
        compiled.method.networks["metric"](fakes)
    assert len(traced) == forms + 1, "of five pictures, in a step, as the counter would have shown"


@pytest.mark.parametrize("values", [FACES, POINTS | {"method": "wgan"}], ids=["faces", "points"])
def test_a_compiler_that_fails_costs_nothing(monkeypatch: pytest.MonkeyPatch, values: dict) -> None:
    plain, compiled = experiments(monkeypatch, "failing_backwards", **values)
    assert compiled.compiled
    for _ in range(3):
        plain.advance(), compiled.advance()
    check_equal(plain, compiled)
    assert not compiled.compiled
    assert compiled.not_compiled == "RuntimeError: no kernel for this device"


@pytest.mark.parametrize("compiler", ["counting", "failing_backwards"])
def test_a_run_says_that_its_networks_are_compiled(make, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setattr(Experiment, "compiler", compiler)
    run = make("a", steps=10, compile="on")
    for _ in train(run):
        pass
    told = [type(event) for event in run.records.poll().events if isinstance(event, Compiles | NotCompiled)]
    assert told == [Compiles, NotCompiled][: 1 + (compiler == "failing_backwards")]
    failure = "networks not compiled: RuntimeError: no kernel for this device"
    assert compiled_networks(run.records.events) == ("compiled networks" if compiler == "counting" else failure)


def test_compiling_pays_where_it_saves_more_than_it_costs() -> None:
    """At the measured size, of the measured speeds; else in proportion to the activations."""
    at_64 = {"size": 64, "channels": 128, "batch": 256, "members": 1}
    images = 10_000 * 256
    assert seconds_gained(10_000, **at_64) == pytest.approx(images / 7_048 - images / 10_516 - 55)
    assert seconds_gained(4_580, **at_64) < 0 < seconds_gained(4_620, **at_64)
    assert seconds_gained(0, **at_64) == -COLD_SECONDS
    for smaller in ({"size": 32}, {"channels": 32}, {"batch": 64}):
        assert seconds_gained(40_000, **at_64 | smaller) == pytest.approx(seconds_gained(10_000, **at_64))
    assert seconds_gained(10_000, **at_64 | {"members": 3}) == pytest.approx(3 * seconds_gained(10_000, **at_64))


LARGE = FACES | {"size": 64, "batch": 256, "steps": 10_000, "network": {"channels": 128}}


@pytest.mark.parametrize(
    ("values", "device", "compiled"),
    [
        (LARGE, "cuda", True),
        (LARGE, "cpu", False),
        (LARGE | {"steps": 4_000}, "cuda", False),
        (LARGE | {"compile": "off"}, "cuda", False),
        (FACES | {"compile": "on"}, "cpu", True),
        (POINTS | {"steps": 1_000_000}, "cuda", False),
        (POINTS | {"compile": "on"}, "cuda", True),
    ],
)
def test_which_trainings_are_compiled(values: dict, device: str, compiled: bool) -> None:
    config = Config.make(**{"batch": 8, "device": "cpu"} | values)
    experiment = Experiment(config, load_data(config))
    experiment.device = torch.device(device)
    assert experiment._compiles() is compiled


@pytest.mark.parametrize(("compile", "reason"), [("on", "several processes"), ("auto", ""), ("off", "")])
def test_several_processes_compile_nothing(monkeypatch: pytest.MonkeyPatch, compile: str, reason: str) -> None:
    """A compiler that fails in one of them would leave the others waiting."""
    monkeypatch.setattr("mvm.training.experiment.distributed.world", lambda: 2)
    config = Config.make(batch=8, device="cpu", compile=compile, **POINTS)
    experiment = Experiment(config, load_data(config))
    assert not experiment.compiled
    assert experiment.not_compiled == reason
