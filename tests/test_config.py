"""Settings: bounds and help on every field, recipes, JSON, dotted changes, messages of one line."""

import json
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mvm.config import SCHEMA, Config, Weights, one_line
from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.methods import METHODS
from mvm.methods.pairs import TERMS
from mvm.networks.backbones import BACKBONES
from mvm.networks.discriminators import DISCRIMINATORS
from mvm.networks.mlp import ACTIVATIONS
from mvm.networks.vgg import FEATURES

NOT_A_KNOB = {"schema_version"}


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field by its dotted name, groups included."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if is_group(field):
            yield from fields(field.annotation, f"{prefix}{name}.")


def is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def is_number(field: FieldInfo) -> bool:
    kinds = typing.get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else [field.annotation]
    return any(kind in (int, float) for kind in kinds)


PAIRS = {"data": "sr", "superres": {"image_steps": 1}}
FIELDS = dict(fields())
NUMBERS = {name: field for name, field in FIELDS.items() if is_number(field) and name not in NOT_A_KNOB}


def bound(field: FieldInfo, *kinds: type) -> float | None:
    return next((getattr(m, k.__name__.lower()) for m in field.metadata for k in kinds if isinstance(m, k)), None)


def nested(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return value


def message(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.make(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_walk_over_fields_reaches_every_group():
    assert {"steps", "ambient_dim", "weights.centroid", "mvm.gamma", "network.width", "optimiser.ema"} <= set(NUMBERS)
    leaves = {name for name, field in FIELDS.items() if not is_group(field)}
    assert set(Config.make().flat()) == leaves


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_described_in_one_line(name):
    description = FIELDS[name].description
    assert description
    assert description.strip() == description
    assert "\n" not in description


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_bounded_and_a_value_past_either_bound_is_refused_by_name(name):
    low, high = bound(NUMBERS[name], Ge, Gt), bound(NUMBERS[name], Le, Lt)
    assert low is not None
    assert high is not None
    for value in (low - 1, high + 1):
        assert message(**nested(name, value)).startswith(f"{name}: must be ")
    for number in (float("nan"), float("inf")):
        assert message(**nested(name, number)).startswith(f"{name}: ")
    inside = [bound(NUMBERS[name], kind) for kind in (Ge, Le)]
    for value in (value for value in inside if value is not None):
        assert Config.make(**nested(name, value)).flat()[name] == value


def test_choices_are_those_of_their_registries():
    for name in ("network.activation", "network.generator_activation"):
        assert set(typing.get_args(FIELDS[name].annotation)) == set(ACTIVATIONS)
    assert set(typing.get_args(FIELDS["recipe"].annotation)) == {
        name for method in METHODS.values() for name in method.recipes
    }
    assert set(Weights.model_fields) == set(DESCRIPTORS) | set(TERMS)
    assert set(typing.get_args(FIELDS["network.backbone"].annotation)) == set(BACKBONES)
    assert set(typing.get_args(FIELDS["network.discriminator"].annotation)) == set(DISCRIMINATORS)
    assert set(typing.get_args(FIELDS["superres.features"].annotation)) <= set(FEATURES)
    assert set(typing.get_args(FIELDS["method"].annotation)) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_group_of_its_own_settings(method: str):
    config = Config.make(method=method, **({} if METHODS[method].learns("points") else PAIRS))
    assert config.method_settings is getattr(config, method)
    assert type(config.method_settings) is METHODS[method].settings_type
    assert f"settings of --method {method}" == FIELDS[method].description
    change = {f"{method}.{name}": value for name, value in config.method_settings}
    assert config.with_changes(change) == config


@pytest.mark.parametrize(("data", "kind"), [("circle", "points"), ("a.csv", "points"), ("b.NPY", "points"),
                                            ("faces", "images"), ("my-cache", "images")])  # fmt: skip
def test_data_have_the_kind_that_accepts_them(data: str, kind: str):
    assert Config.make(data=data).kind == kind


def test_a_config_does_not_depend_on_the_machine(monkeypatch):
    """How many threads there are is asked when a training begins, and is no setting."""
    for cores in (2, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        points, pictures = Config.make(), Config.make(data="faces")
        assert points.threads is pictures.threads is None
        assert (points.cpu_threads, pictures.cpu_threads) == (1, cores)
        assert Config.make(threads=3, data="faces").cpu_threads == 3


def difference(recipe: str) -> dict[str, Any]:
    default = Config.make().flat()
    return {k: v for k, v in Config.make(recipe=recipe).flat().items() if v != default[k]}


def test_recipes_differ_as_the_method_says():
    paper = {
        "recipe": "paper",
        "mvm.anchors": "real",
        "mvm.alpha": 1.0,
        "mvm.pairs": 1,
        "mvm.gamma": 0.01,
        "mvm.lipschitz": 0.0,
        "mvm.fresh_batches": True,
        "network.frequencies": (),
        "optimiser.generator_lr": 1e-3,
        "optimiser.metric_lr": 1e-3,
        "optimiser.decay_from": 0.5,
        "optimiser.decay_to": 1.0,
        "optimiser.ema": 0.0,
    }
    published = paper | {
        "recipe": "published",
        "variants": ("centroid", "distance_matrix", "centroid+distance_matrix"),
        "mvm.summed_cosines": True,
        "mvm.cooperative": True,
        "optimiser.generator_eps": 1e-6,
        "optimiser.metric_eps": 1e-3,
    }
    assert difference("stabilised") == {}
    assert difference("paper") == paper
    assert difference("published") == published


@pytest.mark.parametrize(
    ("values", "used", "unused"),
    [
        ({}, ("mvm.pairs", "network.width"), ("wgan.clip", "network.channels", "network.metric_channels")),
        ({"data": "faces"}, ("mvm.pairs", "network.channels"), ("network.width", "network.frequencies")),
        ({"method": "wgan_gp"}, ("wgan_gp.penalty", "network.width"), ("mvm.alpha", "wgan.clip")),
    ],
)
def test_used_settings_are_those_that_have_a_part(values: dict[str, Any], used: tuple[str, ...], unused):
    config = Config.make(**values)
    every, flat = config.flat(), config.flat(used=True)
    assert {*used, "data", "optimiser.metric_lr", "network.noise_dim"} <= {*flat}
    assert {*unused} <= {*every} - {*flat}
    assert flat == {name: value for name, value in every.items() if name in flat}


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].learns("points")])
def test_the_waves_are_this_labs_for_points(method: str):
    assert Config.make(method=method).network.frequencies == (2.0, 4.0)
    assert Config.make(method=method, data="a.csv").network.frequencies == (2.0, 4.0)
    assert Config.make(method=method, network={"frequencies": ()}).network.frequencies == ()
    for recipe in {*METHODS[method].recipes} - {"stabilised"}:
        assert Config.make(method=method, recipe=recipe).network.frequencies == ()


def test_what_all_recipes_share_is_the_papers():
    for recipe in METHODS["mvm"].recipes:
        config = Config.make(recipe=recipe)
        assert config.network.embedding_dim == 10
        assert {getattr(config.weights, name) for name in DESCRIPTORS} == {1.0}
        assert config.optimiser.generator_betas == (0.0, 0.9)
        assert config.optimiser.metric_betas == (0.5, 0.999)
    stable = Config.make()
    assert (stable.mvm.anchors, stable.mvm.alpha, stable.mvm.gamma, stable.mvm.lipschitz) == ("fake", 0.03, 0.0, 1.0)
    assert stable.optimiser.ema == 0.999
    assert (stable.optimiser.decay_from, stable.optimiser.decay_to) == (0.2, 0.02)


def test_given_values_lie_over_the_recipes():
    config = Config.make(recipe="paper", mvm={"gamma": 0.5}, optimiser={"generator_lr": 1e-4})
    assert config.mvm.gamma == 0.5
    assert config.mvm.lipschitz == 0.0
    assert config.optimiser.ema == 0.0
    assert config.optimiser.generator_lr == 1e-4
    model = Config.make(recipe="paper", mvm=type(config.mvm)(alpha=2.0))
    assert (model.mvm.alpha, model.mvm.gamma) == (2.0, 0.01)
    assert METHODS["mvm"].recipes["paper"]["mvm"] == {"gamma": 0.01, "lipschitz": 0.0, "fresh_batches": True}


@pytest.mark.parametrize("recipe", METHODS["mvm"].recipes)
def test_json_round_trip(recipe):
    config = Config.make(
        recipe=recipe,
        data="spiral",
        settings={"noise": 0.05},
        ambient_dim=7,
        variants=("both", "hausdorff"),
        seeds=(3, 1),
        weights={"diameter": 0.25},
        mvm={"metric_loss": "pml:TripletMarginLoss", "miner": "BatchHardMiner"},
    )
    text = config.model_dump_json()
    assert Config.model_validate_json(text) == config
    assert Config.make(**json.loads(text)) == config
    assert json.loads(text)["schema_version"] == SCHEMA


def test_a_config_of_schema_1_has_the_networks_that_it_had():
    older = json.loads(Config.make(network={"noise_dim": 8, "generator_activation": "silu"}).model_dump_json())
    older["schema_version"] = 1
    del older["network"]["generator_activation"]  # one activation was that of both
    for activation in ("relu", "silu"):
        older["network"]["activation"] = activation
        network = Config.model_validate(older).network
        assert (network.activation, network.generator_activation, network.noise_dim) == (activation, activation, 8)
        assert Config.model_validate(older).schema_version == SCHEMA
    assert message(schema_version=1, network=3).startswith("network: ")


def test_a_config_cannot_change():
    config = Config.make()
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.mvm.gamma = 3


def test_with_changes_replaces_what_it_names_and_nothing_else():
    before = Config.make(recipe="paper", settings={"noise": 0.1})
    after = before.with_changes({"weights.diameter": 0, "steps": 7, "settings.radius": 2.0, "seeds": [4, 5]})
    changed = {k: v for k, v in after.flat().items() if v != before.flat()[k]}
    assert changed == {
        "weights.diameter": 0.0,
        "steps": 7,
        "settings": {"noise": 0.1, "radius": 2.0},
        "seeds": (4, 5),
    }
    assert before == Config.make(recipe="paper", settings={"noise": 0.1})
    assert before.with_changes({}) == before
    assert before.with_changes(before.flat()) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights.nope": 1}, "unknown setting 'weights.nope'; `python -m mvm train --help` lists them"),
        ({"weights.diametre": 1}, "unknown setting 'weights.diametre'; did you mean weights.diameter"),
        ({"diameter": 1}, "unknown setting 'diameter'; did you mean weights.diameter?"),
        ({"step": 1}, "unknown setting 'step'; did you mean steps?"),
        ({"schema_versions": 1}, "unknown setting 'schema_versions'; `python -m mvm train --help` lists them"),
        ({"nope": 1}, "unknown setting 'nope'"),
        ({"nope.gamma": 1}, "unknown setting 'nope.gamma'"),
        ({"data.x": 1}, "unknown setting 'data.x'"),
        ({"": 1}, "unknown setting ''"),
        ({"weights.diameter": -1}, "weights.diameter: must be at least 0 (got -1)"),
        ({"steps": "many"}, "steps: must be a whole number"),
        ({"settings.noise": "loud"}, "settings.noise: must be a number"),
    ],
)
def test_with_changes_refuses_in_one_line(changes, words):
    with pytest.raises(ConfigError) as caught:
        Config.make().with_changes(changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nope": 1}, "unknown setting 'nope'"),
        ({"mvm": {"nope": 1}}, "unknown setting 'mvm.nope'"),
        ({"steps": 0}, "steps: must be at least 1 (got 0)"),
        ({"steps": 1.5}, "steps: "),
        ({"recipe": "magic"}, "recipe: must be 'stabilised', 'paper' or 'published' (got 'magic')"),
        ({"recipe": ["paper"]}, "recipe: must be "),
        ({"weights": 3}, "weights: "),
        ({"variants": ()}, "variants: needs at least 1 (got none)"),
        ({"variants": ("both", "both")}, "variants: each variant may be named once"),
        ({"variants": ("both+centroid",)}, "variants: 'both+centroid' names a descriptor twice"),
        ({"variants": ("centroid+",)}, "variants: unknown descriptor ''; known: both, centroid, "),
        ({"seeds": (1, 1)}, "seeds: seeds must be distinct whole numbers from 0 to 2147483647"),
        ({"seeds": (-1,)}, "seeds: "),
        ({"seeds": (2**31,)}, "seeds: "),
        ({"optimiser": {"metric_betas": (0.5, 1.0)}}, "optimiser.metric_betas: each β must be"),
        ({"optimiser": {"generator_betas": (-0.1, 0.9)}}, "optimiser.generator_betas: each β must be"),
        ({"network": {"frequencies": (0,)}}, "network.frequencies: each frequency must be above 0, and at most 1000"),
        ({"mvm": {"metric_loss": "nope"}}, "mvm.metric_loss: metric loss: unknown 'nope'; known: direction_triplet"),
        ({"mvm": {"metric_loss": "pml:FastAPLoss"}}, "mvm.metric_loss: "),
        ({"mvm": {"miner": "BatchHardMiner"}}, "mvm.miner: metric loss: miner 'BatchHardMiner' needs"),
        ({"mvm": {"metric_loss": "pml:TripletMarginLoss", "miner": "Nope"}}, "mvm.miner: metric loss: no miner 'Nope'"),
        ({"variants": ("two\nlines",)}, "variants: unknown descriptor 'two\\nlines'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_in_one_line(values, words):
    assert words in message(**values)


def test_one_line_takes_the_first_problem():
    with pytest.raises(ValidationError) as caught:
        Config(steps=0, batch=1)
    assert one_line(caught.value) == "steps: must be at least 1 (got 0)"


def test_members_run_over_seeds_fastest():
    config = Config.make(variants=("both", "centroid"), seeds=(7, 2))
    assert config.members == [("both", 7), ("both", 2), ("centroid", 7), ("centroid", 2)]


def test_one_name_or_seed_needs_no_list():
    assert Config.make(variants="both", seeds=3).members == [("both", 3)]


def test_both_is_centroid_and_diameter():
    assert descriptors_of("both") == ["centroid", "diameter"]
    assert descriptors_of("both + hausdorff") == ["centroid", "diameter", "hausdorff"]
    assert descriptors_of("covariance") == ["covariance"]


@pytest.mark.parametrize(("steps", "count", "every"), [(4000, 160, 25), (4000, 400, 10), (30, 160, 10), (999, 10, 99)])
def test_occasions_are_evenly_spread(steps, count, every):
    assert Config.make(steps=steps).every(count) == every
