"""Steps of training on a GPU that is not there: tensors have shapes and a device, and no values.

An operation on tensors of two devices fails here as it would on a GPU, and so does whatever needs a value on the host:
there a step would wait for the device. Inside `Experiment.compute`, an operation that reads or makes a tensor on the
host fails, too: a captured step would never repeat it. PyTorch keeps a registered device until the process ends, so all
of this runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mvm.config import Config
from mvm.data.images import ImageData, Pixels
from mvm.data.kind import Dataset
from mvm.data.kinds import load_data
from mvm.data.pairs import PairData, Patches
from mvm.methods import draws, flow_matching
from mvm.methods.metric_losses import PytorchMetricLearningLoss
from mvm.training import experiment as training
from tests.random_features import random_features

GPU = "gpu:0"


class Streams(torch.Generator):
    """A random generator that says where it was asked to be; without a GPU, torch makes none there."""

    def __new__(cls, device: Any = "cpu") -> Streams:
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.place


class AsksTheHost(Exception):
    """An operation read a tensor on the host, or made one there."""


class DeviceOnly(TorchDispatchMode):
    """Refuse every operation with a tensor on the host."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, made)):
            if isinstance(tensor, Tensor) and tensor.device.type == "cpu":
                raise AsksTheHost(str(function))
        return made


@functools.cache
def the_gpu() -> FakeTensorMode:
    """Begin to simulate it."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = list  # none: mixed precision is not simulated
    backend_registration._setup_privateuseone_for_python_backend("gpu", backend_module=module)
    training.device_of = lambda name: torch.device(GPU)
    draws.torch = types.SimpleNamespace(**{**vars(torch), "Generator": Streams})
    nn.Module.to = _to
    PytorchMetricLearningLoss._check_references = staticmethod(lambda *_: None)  # it needs values
    torch.library.register_fake("aten::_fused_adam_.tensor_lr", lambda *_, **__: None)  # changes its arguments in place
    return FakeTensorMode(allow_non_fake_inputs=True)


def train(values: dict[str, Any]) -> dict[str, str]:
    """Two steps of a config, a sample and its embedding; the devices of all that training leaves, by name."""
    with _experiment(values) as experiment, _couplings_without_values():
        experiment.advance()  # pictures are rendered, and move to the device, when they are first drawn
        experiment.prepare()
        with DeviceOnly():
            computed = experiment.compute()
        step = experiment.commit(*computed)
        fakes = experiment.generate(experiment.view_inputs(8))
        left = experiment.tensors() | {"fakes": fakes, "embedded": experiment.embed(fakes)} | step.losses | step.terms
    del left["step"]  # a number of the host's
    return {name: str(tensor.device) for name, tensor in left.items()}


def asks(values: dict[str, Any]) -> tuple[bool, str]:
    """Whether a config's method says that its step can be captured; the error where the step asks the host."""
    with _experiment(values) as experiment, _couplings_without_values():
        try:
            if couple := getattr(experiment.method, "couple", None):
                experiment.draws.planned(couple)  # ahead of its step from the second step on
            experiment.prepare()
            with DeviceOnly():
                experiment.compute()
        except Exception as error:
            return not experiment.method.host_work, type(error).__name__
        return not experiment.method.host_work, ""


def refused() -> list[str]:
    """What a GPU would refuse, or wait for: the error that each of them is here."""
    errors = []
    with the_gpu():
        x, on_host = torch.rand(3, device=GPU), torch.ones(3)
        anywhere = (lambda: x + on_host, lambda: x.sum().item(), lambda: bool(x.sum() > 0), lambda: x[x > 0.5])
        inside = (lambda: x.cpu(), lambda: on_host.to(GPU), lambda: on_host + 1, lambda: x * torch.tensor(2.0))
        for forbidden in (*anywhere, *inside):
            try:
                with DeviceOnly() if forbidden in inside else contextlib.nullcontext():
                    forbidden()
            except Exception as error:
                errors.append(type(error).__name__)
    return errors


@contextlib.contextmanager
def _experiment(values: dict[str, Any]) -> Iterator[training.Experiment]:
    config = Config.make(**values)
    mode, data = the_gpu(), load_data(config)
    data = SimulatedPairs(data, mode) if isinstance(data, PairData) else data
    with random_features(), mode:
        yield training.Experiment(config, _fake(data, mode))


@contextlib.contextmanager
def _couplings_without_values() -> Iterator[None]:
    """In place of the optimal plans of values that a simulated host lacks, any; made here, not by a thread."""

    def pairs(start: Tensor, end: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        rows = chance.argsort(-1)
        return rows, rows.flip(-1)

    def fetch(self: draws.Draws, step: int, *batch: int) -> list[Tensor]:
        return self._sent(step, *batch).wait()

    own = flow_matching.optimal_pairs, draws.Draws._fetch
    flow_matching.optimal_pairs, draws.Draws._fetch = pairs, fetch
    try:
        yield
    finally:
        flow_matching.optimal_pairs, draws.Draws._fetch = own


def _fake(data: Dataset, mode: FakeTensorMode) -> Any:
    if isinstance(data, ImageData):
        pictures = mode.from_tensor(torch.zeros(len(data.source), data.size, data.size, 3, dtype=torch.uint8))
        table = Pixels(pictures, torch.device(GPU), torch.float, flips=True)
        return types.SimpleNamespace(dim=data.dim, table=lambda device, dtype: table)
    if isinstance(data, SimulatedPairs):
        return data
    train = mode.from_tensor(data.train)
    return types.SimpleNamespace(dim=data.dim, table=lambda device, dtype: train.to(device=device, dtype=dtype))


class SimulatedPairs:
    """Pairs of patches without values."""

    def __init__(self, data: PairData, mode: FakeTensorMode) -> None:
        self.dim, self._mode = data.dim, mode
        self.view_inputs = mode.from_tensor(data.view_inputs)
        self._table = data.table(torch.device("cpu"), torch.float)

    def table(self, device: torch.device, dtype: torch.dtype) -> Patches:
        table, pixels = self._table, self._mode.from_tensor(torch.zeros(4, 3, dtype=torch.uint8)).to(device)
        table._layout = [self._mode.from_tensor(x).to(device) for x in table._layout]
        table._steps = {side: self._mode.from_tensor(steps).to(device) for side, steps in table._steps.items()}
        table.device, table.pixels = device, (pixels, pixels)
        return table


def _to(self: nn.Module, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Torch's own swaps tensors, which those without values do not survive."""
    for module in self.modules():
        for name, parameter in module._parameters.items():
            module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device=device, dtype=dtype))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                kind = dtype if buffer.is_floating_point() else buffer.dtype
                module._buffers[name] = torch.empty(buffer.shape, device=device, dtype=kind)
    return self
