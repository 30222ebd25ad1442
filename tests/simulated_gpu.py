"""Steps of training on a GPU that is not there: tensors have shapes and a device, and no values.

An operation on tensors of two devices fails here as it would on a GPU, and so does whatever needs a value on the host:
there a step would wait for the device. What PyTorch must be told for that cannot be taken back, so all of this runs in
a process of its own.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from mvm.data.load import ImageData, PointData, load_data
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from mvm.config import Config
from mvm.methods import draws
from mvm.methods.flow_matching import FlowMatching
from mvm.training import experiment as training

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


@functools.cache
def the_gpu() -> FakeTensorMode:
    """Begin to simulate it."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = list  # none: mixed precision is not simulated
    backend_registration._setup_privateuseone_for_python_backend("gpu", backend_module=module)
    training.device_of = lambda name: torch.device(GPU)
    draws.torch = types.SimpleNamespace(**{**vars(torch), "Generator": Streams})
    nn.Module.to = _to
    FlowMatching._couple = _couple
    return FakeTensorMode(allow_non_fake_inputs=True)


def train(values: dict[str, Any]) -> dict[str, str]:
    """Two steps of a config, a sample and its embedding; the devices of all that training leaves, by name."""
    config = Config.make(**values)
    mode, data = the_gpu(), load_data(config)
    with mode:
        experiment = training.Experiment(config, _fake(data, mode))
        for _ in range(2):
            step = experiment.advance()
        fakes = experiment.generate(experiment.view_noise(8))
        left = experiment.tensors() | {"fakes": fakes, "embedded": experiment.embed(fakes), **step.terms}
    del left["step"]  # a number of the host's
    return {name: str(tensor.device) for name, tensor in left.items()}


def refused() -> list[str]:
    """What a GPU would refuse, or wait for: the error that each of them is here."""
    errors = []
    with the_gpu():
        x = torch.rand(3, device=GPU)
        for forbidden in (lambda: x + torch.ones(3), lambda: x.sum().item(), lambda: x[x > 0.5]):
            try:
                forbidden()
            except Exception as error:
                errors.append(type(error).__name__)
    return errors


def _fake(data: PointData | ImageData, mode: FakeTensorMode) -> Any:
    if isinstance(data, ImageData):
        pictures = mode.from_tensor(torch.zeros(len(data.source), data.size, data.size, 3, dtype=torch.uint8))
        table = type(data.table(torch.device("cpu"), torch.float))(pictures, torch.device(GPU), torch.float, flips=True)
        return types.SimpleNamespace(dim=data.dim, size=data.size, table=lambda device, dtype: table)
    train = mode.from_tensor(data.train)
    return types.SimpleNamespace(dim=data.dim, table=lambda device, dtype: train.to(device=device, dtype=dtype))


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


def _couple(self: FlowMatching, start: Tensor, end: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """In place of the optimal plans, which a library finds on the host."""
    rows = chance.argsort(-1)
    return rows, rows.flip(-1)
