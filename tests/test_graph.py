"""A captured step, replayed, trains to the bits of eager steps; graphs are recorded on the CPU (`recorded_graph`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from random_features import random_features
from recorded_graph import RecordedGraph

import mvm.methods.draws
from mvm.config import Config
from mvm.data import pairs
from mvm.data.kinds import load_data
from mvm.devices import Arrival, SideStream
from mvm.methods import METHODS
from mvm.training.experiment import Experiment
from mvm.training.graph import EAGER_STEPS, StepGraph

FACES = {"data": "faces", "size": 16, "points": 64, "view_points": 64, "network": {"channels": 8, "metric_channels": 8}}
POINTS = {"data": "swiss_roll", "points": 512, "seeds": (0, 1)}
PAIRS = {"data": "sr", "patch": 8, "view_points": 16, "batch": 4, "superres": {"image_steps": 1}}
PAIRS |= {"network": {"backbone": "small", "discriminator": "light", "metric_channels": 4}}
STEPS = EAGER_STEPS + 3


class Captured(Experiment):
    """An experiment that replays its steps on the CPU."""

    @property
    def eager(self) -> str:
        return "" if not self.method.host_work else self.method.host_work

    def _captured(self) -> StepGraph:
        experiment = self

        class Graph(RecordedGraph):
            def memory(self) -> list[torch.Tensor]:
                return [t for name, t in experiment.tensors().items() if name != "step"]

        type(self).graph = Graph
        return super()._captured()


def experiments(values: dict[str, Any]) -> tuple[Experiment, Captured]:
    config = Config.make(**{"batch": 16, "steps": 40} | values)
    return Experiment(config, load_data(config)), Captured(config, load_data(config))


def few(method: str) -> dict[str, Any]:
    fewer = {"critic_steps": 2, "chain_steps": 2, "manifold_share": 0.01}  # of two phases the second is captured
    return {method: {name: fewer[name] for name in METHODS[method].settings_type.model_fields if name in fewer}}


def check_equal(eager: Experiment, captured: Experiment) -> None:
    ours, theirs = captured.tensors(), eager.tensors()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


CAPTURABLE = [
    pytest.param(method, recipe, kind, id=f"{method}-{recipe}-{name}")
    for method in METHODS
    for recipe in METHODS[method].recipes
    for name, kind in {"points": POINTS, "images": FACES, "superres": PAIRS}.items()
    if METHODS[method].learns(name)
]


@pytest.mark.parametrize(("method", "recipe", "kind"), CAPTURABLE)
def test_replayed_steps_equal_eager_steps(
    method: str, recipe: str, kind: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_cut", indexed)  # a device has no slices of NumPy
    with random_features():
        check_replays(*experiments(kind | {"method": method, "recipe": recipe} | few(method)))


def indexed(pixels: Any, first: torch.Tensor, width: torch.Tensor, turn: torch.Tensor, *, side: int) -> torch.Tensor:
    """Patches as a device gathers them."""
    return pairs._indexed(torch.as_tensor(pixels), first, width, pairs._turned_grid(side)[:, turn])


def check_replays(eager: Experiment, captured: Captured) -> None:
    for _ in range(STEPS):
        one, other = eager.advance(), captured.advance()
        assert (one.losses.keys(), one.terms.keys()) == (other.losses.keys(), other.terms.keys())
        for name, value in (one.losses | one.terms).items():
            assert torch.equal(value, (other.losses | other.terms)[name]), name
    assert captured._captured().captured
    check_equal(eager, captured)


def test_results_of_a_step_are_not_overwritten_by_the_next() -> None:
    eager, captured = experiments(POINTS)
    steps = [(eager.advance(), captured.advance()) for _ in range(STEPS)]
    for one, other in steps:
        assert one.number == other.number
        assert all(torch.equal(one.losses[name], other.losses[name]) for name in one.losses)


def test_new_weights_and_a_loaded_checkpoint_act_at_the_next_replay() -> None:
    eager, captured = experiments(POINTS)
    for _ in range(STEPS):
        eager.advance(), captured.advance()
    saved = {name: tensor.clone() for name, tensor in captured.tensors().items()}
    for experiment in (eager, captured):
        experiment.method.reweight(dict(experiment.config.weights) | {"centroid": 0.0, "diameter": 3.0})
        experiment.move({"optimiser.generator_lr": 1e-4, "optimiser.metric_lr": 1e-3, "mvm.alpha": 0.5})
        experiment.advance()
    assert captured._captured().captured
    check_equal(eager, captured)
    for gamma in (0.05, 0.1, 0.0):  # on, moved, and off again: another loss is another capture
        for experiment in (eager, captured):
            experiment.move({"mvm.gamma": gamma})
        for _ in range(STEPS):
            eager.advance(), captured.advance()
        assert captured._captured().captured
        check_equal(eager, captured)
    captured.load(saved)
    eager.load(saved)
    for _ in range(2):
        eager.advance(), captured.advance()
    check_equal(eager, captured)


def test_rates_and_weights_of_variants_own_are_captured_and_others_move() -> None:
    own = "both@mvm.alpha=0.1@mvm.gamma=0.05@optimiser.generator_lr=0.01@weights.diameter=2"
    eager, captured = experiments(POINTS | {"variants": ("centroid", own)})
    for moved in ({}, {"optimiser.metric_lr": 1e-3, "mvm.lipschitz": 0.5}):
        for experiment in (eager, captured):
            experiment.move(moved)
        check_replays(eager, captured)


def test_a_training_resumed_with_a_graph_equals_one_without_interruption() -> None:
    whole, first = experiments(POINTS)
    for _ in range(2 * STEPS):
        whole.advance()
    for _ in range(STEPS):
        first.advance()
    _, second = experiments(POINTS)
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()})
    for _ in range(STEPS):
        second.advance()
    assert second._captured().captured
    check_equal(whole, second)


class Streamed:
    """A table whose batches come from the host."""

    streamed = True

    def __init__(self, points: torch.Tensor) -> None:
        self.points, self.device, self.dtype = points, points.device, points.dtype

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.finish(self.gather(rows), rows)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return self.points[rows]

    def finish(self, gathered: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return gathered + 1e-3 * rows[..., None]  # both must be the step's


@pytest.mark.parametrize("recipe", ["stabilised", "paper"])
def test_streamed_batches_are_those_of_the_step(recipe: str) -> None:
    eager, captured = experiments(POINTS | {"recipe": recipe})
    for experiment in (eager, captured):
        experiment.draws.train = Streamed(experiment.draws.train)
    for _ in range(STEPS):
        eager.advance(), captured.advance()
    check_equal(eager, captured)
    captured.release()
    eager.advance(), captured.advance()
    check_equal(eager, captured)


class Late(SideStream):
    """A side stream that is always behind: its copies are there when the stream that reads them has waited."""

    waits = True

    def copy(self, tensors: Sequence[torch.Tensor]) -> Arrival:
        sent = [tensor.clone() for tensor in tensors]

        class LateArrival(Arrival):
            def wait(self) -> list[torch.Tensor]:
                for place, tensor in zip(self.tensors, sent, strict=True):
                    place.copy_(tensor if Late.waits else 0 * tensor)
                return self.tensors

        return LateArrival([torch.zeros_like(tensor) for tensor in sent])


@pytest.mark.parametrize(
    "values", [{}, {"recipe": "paper"}, {"method": "flow_matching"}], ids=["one batch", "more batches", "plans"]
)
def test_a_replay_waits_for_the_copies_of_its_own_step(values: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 4 to 6 are replays; what later steps read is copied meanwhile, by threads."""
    eager, captured = experiments(POINTS | values)
    monkeypatch.setattr(mvm.methods.draws, "SideStream", Late)
    if "method" in values:  # plans are made by threads on other devices than this one
        captured.draws._fetch = lambda step, *batch: captured.draws._prefetch(step, *batch).wait()
    else:
        for experiment in (eager, captured):
            experiment.draws.train = Streamed(experiment.draws.train)
    for _ in range(STEPS):
        eager.advance(), captured.advance()
    assert captured._captured().captured
    check_equal(eager, captured)
    with monkeypatch.context() as unwaited:
        unwaited.setattr(Late, "waits", False)
        captured.advance()
    eager.advance()
    with pytest.raises(AssertionError):
        check_equal(eager, captured)


def test_copies_run_on_a_stream_of_their_own_and_the_step_queues_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls of CUDA, of which there is none here: an event after the copies, and a wait for it."""
    calls: list[tuple[str, ...]] = []
    present = ["default"]

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name if isinstance(name, str) else "side"

        def record_event(self) -> str:
            calls.append(("record", self.name))
            return "event"

        def wait_event(self, event: str) -> None:
            calls.append(("wait", self.name, event))

    class OnGPU:
        device = torch.device("cuda")

        def to(self, device: torch.device, *, non_blocking: bool) -> OnGPU:
            assert (device.type, non_blocking) == ("cuda", True)
            calls.append(("copy", present[0]))
            return self

        def record_stream(self, stream: Stream) -> None:
            calls.append(("keep for", stream.name))

    @contextlib.contextmanager
    def on(stream: Stream) -> Iterator[None]:
        present[0], before = stream.name, present[0]
        yield
        present[0] = before

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(present[0]))
    tensors = [OnGPU(), OnGPU()]
    arrival = SideStream(torch.device("cuda")).copy(tensors)
    assert calls == [("copy", "side"), ("copy", "side"), ("record", "side")]
    calls.clear()
    assert arrival.wait() == tensors
    assert calls == [("wait", "default", "event"), ("keep for", "default"), ("keep for", "default")]


def test_couplings_do_not_depend_on_the_thread_that_makes_them() -> None:
    here, threads = (experiments(POINTS | {"method": "flow_matching"})[0] for _ in range(2))
    threads.draws._fetch = lambda step, *batch: threads.draws._prefetch(step, *batch).wait()
    for _ in range(STEPS):
        here.advance(), threads.advance()
    check_equal(here, threads)


def test_each_phase_has_its_own_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, captured = experiments(POINTS | {"method": "wgan", "wgan": {"critic_steps": 2}})
    own = type(eager.method).updates

    def updates(self, draws):
        for update in own(self, draws):
            if self.late or update[0] == "metric":
                yield update

    monkeypatch.setattr(type(eager.method), "updates", updates)
    monkeypatch.setattr(type(eager.method), "phase", lambda self, step: "both" if step >= STEPS else "critic")
    for step in range(2 * STEPS):
        for experiment in (eager, captured):
            experiment.method.late = experiment.method.phase(step) == "both"
        one, other = eager.advance(), captured.advance()
        assert one.losses.keys() == other.losses.keys() == ({"generator", "metric"} if step >= STEPS else {"metric"})
    check_equal(eager, captured)


def test_a_step_that_cannot_be_captured_stays_eager_and_says_why() -> None:
    class Refusing(RecordedGraph):
        def capture(self, compute):
            compute()
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    _, captured = experiments(POINTS)
    captured._graphs[""] = StepGraph(lambda: ({}, {}), captured.draws, graph=Refusing)
    graph = captured._graphs[""]
    calls = []
    graph._compute = lambda: calls.append(len(calls)) or ({}, {"term": torch.zeros(1)})
    for _ in range(EAGER_STEPS + 3):
        captured.draws.at(captured.step)
        graph()
    assert graph.failure == "operation not permitted when stream is capturing"
    assert not graph.captured
    assert len(calls) == EAGER_STEPS + 4  # one of them in the capture that failed


def test_releasing_frees_the_graph_and_training_goes_on() -> None:
    eager, captured = experiments(POINTS)
    for _ in range(STEPS):
        eager.advance(), captured.advance()
    graph = captured._captured()._graph
    captured.release()
    assert graph._operations == []
    for _ in range(STEPS):
        eager.advance(), captured.advance()
    check_equal(eager, captured)


def test_why_steps_are_eager() -> None:
    config = Config.make(data="circle", batch=16)
    experiment = Experiment(config, load_data(config))
    assert experiment.eager == "no CUDA device"
    experiment.device = torch.device("cuda")
    assert experiment.eager == ""
    experiment.config = config.with_changes({"graph": "off"})
    assert experiment.eager == "--graph off"
    mined = Config.make(data="circle", batch=16, mvm={"metric_loss": "pml:TripletMarginLoss"})
    experiment = Experiment(mined, load_data(mined))
    experiment.device = torch.device("cuda")
    assert experiment.eager == "triplets of pytorch-metric-learning on the host"
