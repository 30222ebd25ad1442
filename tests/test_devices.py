"""A step stays on its device, and asks the host for nothing; see `simulated_gpu` for how that is known without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.methods import METHODS
from tests import simulated_gpu

FACES = {"data": "faces", "size": 16, "points": 64, "view_points": 64, "precision": "float32"}
FACES |= {"network": {"channels": 8, "metric_channels": 8}}

PAIRS = {
    "data": "sr",
    "patch": 8,
    "view_points": 16,
    "batch": 4,
    "precision": "float32",
    "superres": {"image_steps": 1},
}

STEPS = ("critic_steps", "chain_steps")
FEW = {
    name: {steps: 2 for steps in STEPS if steps in method.settings_type.model_fields}
    for name, method in METHODS.items()
}


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """Where the GPU is simulated."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


@pytest.fixture(scope="module")
def devices(process: ProcessPoolExecutor) -> Callable[..., set[str]]:
    """The devices of all that the steps of a config leave."""

    def train(**values: Any) -> set[str]:
        return set(process.submit(simulated_gpu.train, {"batch": 16, "steps": 10, **FEW, **values}).result().values())

    return train


def test_the_simulated_gpu_refuses_what_a_captured_step_must_not_do(process: ProcessPoolExecutor) -> None:
    assert process.submit(simulated_gpu.refused).result() == [
        "FakeTensorDeviceMismatchError",
        "DataDependentOutputException",
        "DataDependentOutputException",
        "DynamicOutputShapeException",
        *["AsksTheHost"] * 4,
    ]


RECIPES = [(method, recipe) for method in METHODS for recipe in METHODS[method].recipes]


@pytest.mark.parametrize(("method", "recipe"), [(m, recipe) for m, recipe in RECIPES if METHODS[m].learns("points")])
def test_every_recipe_on_points(devices, method: str, recipe: str) -> None:
    assert devices(data="swiss_roll", method=method, recipe=recipe, seeds=(0, 1)) == {"gpu:0"}


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.learns("images")])
def test_every_method_on_pictures(devices, method: str) -> None:
    assert devices(method=method, **FACES) == {"gpu:0"}


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.learns("superres")])
@pytest.mark.parametrize("image_steps", [0, 10])
def test_every_method_on_pairs(devices, method: str, image_steps: int) -> None:
    if (method, image_steps) == ("natsr", 0):
        image_steps = 1  # which the first of two steps has done
    assert devices(method=method, **PAIRS | {"superres": {"image_steps": image_steps}}) == {"gpu:0"}


@pytest.mark.parametrize("gan", ["standard", "relativistic"])
def test_mvm_on_pairs_with_a_discriminator(devices, gan: str) -> None:
    assert devices(**PAIRS | {"superres": {"gan": gan}}) == {"gpu:0"}


@pytest.mark.parametrize(
    "values",
    [
        *({"method": method} for method in METHODS if METHODS[method].learns("points")),
        *({"method": method, **PAIRS} for method in METHODS if METHODS[method].learns("superres")),
        {"mvm": {"metric_loss": "pml:TripletMarginLoss"}},
        {"mvm": {"metric_loss": "pml:TripletMarginLoss", "miner": "BatchHardMiner"}},
    ],
    ids=str,
)
def test_a_step_asks_the_host_just_where_its_method_says_so(process: ProcessPoolExecutor, values: dict) -> None:
    """In the first step already: what a captured step asked while it was captured, it would never ask again."""
    capturable, error = process.submit(simulated_gpu.asks, {"data": "circle", "batch": 16, **FEW, **values}).result()
    assert capturable == (error == ""), error


def test_every_descriptor(devices) -> None:
    assert devices(data="circle", variants=tuple(DESCRIPTORS)) == {"gpu:0"}


@pytest.mark.parametrize(
    "change",
    [
        {"mvm": {"anchors": "real", "fresh_batches": True, "metric_steps": 3}},
        {"mvm": {"anchors": "fake", "metric_steps": 3, "cooperative": True, "summed_cosines": True, "gamma": 0.01}},
        {"mvm": {"metric_loss": "triplet", "lipschitz": 0}},
        {"mvm": {"metric_loss": "softplus_triplet", "lipschitz_share": 1}},
        {"network": {"frequencies": (2, 8), "unit_embedding": True, "activation": "silu"}},
    ],
    ids=str,
)
def test_what_a_person_can_change(devices, change: dict[str, Any]) -> None:
    assert devices(data="circle", **change) == {"gpu:0"}
