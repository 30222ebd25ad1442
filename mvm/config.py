"""Settings of an experiment: the source of command-line flags, sliders, help texts and a run's `config.json`.

Every field has bounds and one line of help, from which `python -m mvm train --help` and the Lab's controls are made.
A recipe is a set of defaults: `Config.make(recipe="paper")`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model, field_validator, model_validator

from mvm.data.kind import SWITCHES, DataSettings
from mvm.data.kinds import KINDS, kind_of
from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of, matched, weight_table
from mvm.methods import METHODS, method_on
from mvm.methods.method import PAIRED_KINDS
from mvm.methods.pairs import TERMS, PairSettings
from mvm.networks.settings import NetworkSettings
from mvm.settings import Settings
from mvm.variants import base_of, own_settings, variant_named

__all__ = ["OF_DATA", "SCHEMA", "STARTING_POINT", "Config", "OptimiserSettings", "Weights", "one_line"]

SCHEMA = 2
# fields that together define the data set
OF_DATA = ("data", "data_from", "patch", "settings", "ambient_dim", "size", *SWITCHES)
STARTING_POINT = {"method": "mvm", "recipe": "stabilised", "data": "circle"}  # determine the defaults when not given


if TYPE_CHECKING:

    class Weights(Settings):
        """Weights of losses: one field for each entry of `DESCRIPTORS`, and of `TERMS`."""

else:
    Weights = create_model(
        "Weights",
        __base__=Settings,
        __doc__="Weights of losses: of each descriptor in L_MM, in every variant that contains it, and of the terms of "
        "super-resolution.",
        **{
            name: (float, Field(1.0, ge=0, le=10, title=descriptor.title, description=descriptor.help))
            for name, descriptor in DESCRIPTORS.items()
        },
        **{
            name: (
                float,
                Field(term.default, ge=0, le=10, title=term.title, description=f"super-resolution: {term.help}"),
            )
            for name, term in TERMS.items()
        },
    )


class Adam(NamedTuple):
    """Settings of one player's optimiser."""

    lr: float
    betas: tuple[float, float]
    eps: float


class OptimiserSettings(Settings):
    """Adam for both players, with linear decay and an averaged generator."""

    generator_lr: float = Field(3e-3, gt=0, le=1, description="Adam step size of the generator")
    metric_lr: float = Field(
        3e-3,
        gt=0,
        le=1,
        title="Metric or critic rate",
        description="Adam step size of the metric network, of a critic or of a discriminator",
    )
    generator_betas: tuple[float, float] = Field((0.0, 0.9), description="Adam β₁ β₂ of the generator")
    metric_betas: tuple[float, float] = Field((0.5, 0.999), description="Adam β₁ β₂ of the metric network")
    generator_eps: float = Field(1e-8, gt=0, le=1, description="Adam ε of the generator")
    metric_eps: float = Field(1e-8, gt=0, le=1, description="Adam ε of the metric network")
    decay_from: float = Field(0.5, ge=0, le=1, description="fraction of the run after which both rates fall linearly")
    decay_to: float = Field(0.02, ge=0, le=1, description="fraction of the rates left at the end; 1 is no decay")
    ema: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="smoothing factor of the generator's moving average, which is shown and scored; 0 is no averaging",
    )

    @field_validator("generator_betas", "metric_betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each β must be at least 0 and below 1")
        return betas

    def of(self, player: str) -> Adam:
        """Adam's settings for a player: the metric's for `metric` and a discriminator, else the generator's."""
        if player in ("metric", "discriminator"):
            return Adam(self.metric_lr, self.metric_betas, self.metric_eps)
        return Adam(self.generator_lr, self.generator_betas, self.generator_eps)


def _tuple(value: Any) -> Any:
    """Accept a single string or number as a tuple of length 1."""
    return (value,) if isinstance(value, str | int) else value


def _groups(base: str, types: Mapping[str, type[Settings] | None], owner: str) -> type[Settings]:
    """Make a model with a field for each settings model, by name; `owner` completes the fields' help."""
    fields: dict[str, Any] = {
        name: (model, Field(model(), description=f"settings of {owner} {name}"))
        for name, model in types.items()
        if model is not None
    }
    return create_model(base, __base__=Settings, **fields)


if TYPE_CHECKING:
    MethodName = str

    class MethodSettings(Settings):
        """One group of settings for each entry of `METHODS`."""

    class KindSettings(Settings):
        """One group of settings for each entry of `KINDS` that has its own."""

else:
    MethodName = Literal[*METHODS]
    MethodSettings = _groups("MethodSettings", {name: m.settings_type for name, m in METHODS.items()}, "--method")
    KindSettings = _groups("KindSettings", {name: kind.settings_type for name, kind in KINDS.items()}, "data of kind")


class Config(DataSettings, MethodSettings, KindSettings):
    """Everything that defines an experiment: V = variants x seeds networks trained together."""

    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="precision of picture networks; auto is bf16 on GPUs that support it, else float32"
    )
    method: MethodName = Field("mvm", description="training method")
    recipe: Literal["stabilised", "paper", "published"] = Field(
        "stabilised",
        description="set of defaults: of this lab, of the method's paper, or (mvm only) of its published code",
    )
    variants: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        ("centroid", "diameter", "both"),
        min_length=1,
        description="descriptor sets to train side by side: names joined by +, or both for centroid+diameter; "
        "other methods than mvm have one, named like the method; each may have own rates and weights of losses: "
        "both@optimiser.generator_lr=0.001",
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_tuple)] = Field(
        (0,),
        min_length=1,
        description="each variant is trained once per seed, with the seed's batches, noise and initial weights",
    )
    steps: int = Field(8000, ge=1, le=10_000_000, description="training steps")
    batch: int = Field(256, ge=2, le=65_536, description="data points per batch")
    weights: Weights = Field(Weights(), description="descriptor weights")
    network: NetworkSettings = Field(NetworkSettings(), description="networks")
    optimiser: OptimiserSettings = Field(OptimiserSettings(), description="optimisers")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto is CUDA if available, else the CPU")
    graph: Literal["auto", "off"] = Field(
        "auto",
        description="auto replays training steps on a GPU as one CUDA graph, several times as fast for small networks "
        "and equal to the bit; off starts each operation",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="compile networks with torch.compile, equal up to rounding; auto compiles picture networks on a "
        "GPU if the run's steps save more time than compiling takes, about a minute per network; off never compiles",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="CPU threads of the training process; none is 1 for points, all cores for pictures",
    )
    snapshots: int = Field(160, ge=1, le=10_000, description="number of snapshots in the run: the timeline's marks")
    records: int = Field(400, ge=1, le=100_000, description="number of records of losses and gaps in the run")
    checkpoints: int = Field(20, ge=1, le=1000, description="number of checkpoints in the run, to resume from")
    schema_version: int = Field(SCHEMA, description="version of the config file's schema")

    @model_validator(mode="after")
    def _known_variants(self) -> Config:
        """Check recipe, kind of data and variants against the method."""
        method = method_on(self.kind, self.method)
        if self.recipe not in method.recipes:
            known = ", ".join(method.recipes)
            raise ValueError(f"recipe: {self.method} has {known}, not {self.recipe!r}")
        if not METHODS[self.method].learns(self.kind):
            noun = KINDS[self.kind].noun
            raise ValueError(f"method: {self.method} has no networks for {noun}; choose another for {self.data}")
        if self.pairs is not None and (refusal := method.refusal(self.pairs)):
            raise ValueError(refusal)
        if len(set(self.variants)) < len(self.variants):
            raise ValueError("variants: each variant may be named once")
        if not method.matches_descriptors:
            if {base_of(variant) for variant in self.variants} != {self.method}:
                raise ValueError(f"variants: {self.method} matches no descriptors; leave variants out")
            return self
        for variant in self.variants:
            parts = descriptors_of(variant)
            if unknown := [part for part in parts if part not in DESCRIPTORS]:
                known = ", ".join(DESCRIPTORS)
                raise ValueError(f"variants: unknown descriptor {unknown[0]!r}; known: both, {known}")
            if len(set(parts)) < len(parts):
                raise ValueError(f"variants: {variant!r} names a descriptor twice")
        return self

    @model_validator(mode="after")
    def _known_own_settings(self) -> Config:
        """Check the settings of variants' own."""
        for variant in filter(own_settings, self.variants):
            known = self.model_copy(update={"variants": (base_of(variant),)}).movable
            if unknown := [name for name in own_settings(variant) if name not in known]:
                can = f"it can have {', '.join(known)}"
                raise ValueError(f"variants: {variant!r} cannot have {unknown[0]!r} of its own; {can}")
            try:
                self.of_variant(variant)
            except ConfigError as error:
                raise ValueError(f"variants: {variant!r}: {error}") from None
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, values: Any) -> Any:
        """Convert a config of schema 1, in which both networks share one activation."""
        if not isinstance(values, dict) or values.get("schema_version") != 1:
            return values
        network = values.get("network")
        if isinstance(network, dict) and "activation" in network:
            network = {"generator_activation": network["activation"]} | network
            values = values | {"network": network}
        return values | {"schema_version": SCHEMA}

    @field_validator("variants")
    @classmethod
    def _spelled_alike(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        """Own settings in their order, so that a variant has one name."""
        return tuple(variant_named(base_of(variant), own_settings(variant)) for variant in variants)

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**31:
            raise ValueError("seeds must be distinct whole numbers from 0 to 2147483647")
        return seeds

    @property
    def kind(self) -> str:
        """The kind of data, by its name in `mvm.data.kinds.KINDS`."""
        return kind_of(self.data).name

    @property
    def method_settings(self) -> Settings:
        """The settings of the config's method."""
        settings: Settings = getattr(self, self.method)
        return settings

    @property
    def evaluations(self) -> int:
        """Number of network evaluations per sample."""
        return method_on(self.kind, self.method).evaluations(self.method_settings)

    @property
    def pairs(self) -> PairSettings | None:
        """The settings of losses on pairs; None for data without pairs."""
        pairs: PairSettings | None = getattr(self, self.kind) if self.kind in PAIRED_KINDS else None
        return pairs

    @property
    def cpu_threads(self) -> int:
        """CPU threads of the training process on this machine."""
        return self.threads or KINDS[self.kind].threads()

    @property
    def unmatched(self) -> str:
        """Warning that names the variants whose descriptor weights are all 0; empty if there are none."""
        if not METHODS[self.method].matches_descriptors:
            return ""
        rows = weight_table(self.variants, dict(self.weights)).tolist()
        idle = [name for name, weights in zip(self.variants, rows, strict=True) if not any(weights)]
        return f"all weights of {', '.join(idle)} are 0: nothing tells the generator what to match" if idle else ""

    @property
    def members(self) -> list[tuple[str, int]]:
        """(variant, seed) of each of the V networks, in the order of the variant axis."""
        return [(variant, seed) for variant in self.variants for seed in self.seeds]

    @property
    def movable(self) -> tuple[str, ...]:
        """Settings that may be changed while training, by dotted name: weights, rates, the method's coefficients.

        What a variant has of its own stays as it is.
        """
        own = {name for variant in self.variants for name in own_settings(variant)}
        method = method_on(self.kind, self.method)
        weights = [*(matched(self.variants) if method.matches_descriptors else ()), *method.terms(self.pairs)]
        has_metric = "metric" in method.players or (self.pairs is not None and self.pairs.gan != "none")
        rates = ["generator_lr", *["metric_lr"] * has_metric]
        groups = {"weights": weights, "optimiser": rates, self.method: method.movable(self.method_settings)}
        found = [f"{group}.{name}" for group, names in groups.items() for name in names]
        return tuple(name for name in found if name not in own)

    def of_variant(self, variant: str) -> Config:
        """The config of one variant by itself: its own settings stand in their usual places."""
        alone, own = self.model_copy(update={"variants": (base_of(variant),)}), own_settings(variant)
        return alone.with_changes(dict(own)) if own else alone

    def every(self, count: int) -> int:
        """Interval in steps for `count` evenly spaced events per run, at least 10: short runs have fewer events."""
        return max(10, self.steps // count)

    @classmethod
    def make(cls, **values: Any) -> Config:
        """Build a config from given values, over the defaults of their method, recipe and data.

        Raises:
            ConfigError: a setting is unknown, or a value is invalid; one line.
        """
        try:
            return cls.model_validate(_merge(_defaults(values), values))
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def with_changes(self, changes: dict[str, Any]) -> Config:
        """Copy the config with some settings replaced, by dotted name, such as {"weights.diameter": 0}.

        A tuple can be given as a string, separated by blanks or commas.

        Raises:
            ConfigError: a setting is unknown, or a value is invalid; one line.
        """
        values = self.model_dump()
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            target: Any = values
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not isinstance(target, dict) or (last not in target and parents != ["settings"]):
                raise ConfigError(f"unknown setting {dotted!r}; {self._hint(dotted)}")
            is_list = isinstance(value, str) and isinstance(target.get(last), tuple)
            target[last] = tuple(value.replace(",", " ").split()) if is_list else value
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def _hint(self, dotted: str) -> str:
        """Suggest known settings for an unknown dotted name."""
        known = [name for name in self.flat(used=True) if name != "schema_version"]
        by_end = [name for name in known if name.split(".")[-1] == dotted.split(".")[-1]]
        close = by_end or difflib.get_close_matches(dotted, known, n=3, cutoff=0.7)
        return f"did you mean {' or '.join(close)}?" if close else "`python -m mvm train --help` lists them"

    def flat(self, *, used: bool = False) -> dict[str, Any]:
        """Every setting by its dotted name; `used` omits settings of other methods, and of other kinds of data."""
        flat: dict[str, Any] = {}
        for name, value in self:
            dotted = isinstance(value, BaseModel)
            flat |= {f"{name}.{key}": item for key, item in value} if dotted else {name: value}
        if not used:
            return flat
        of_kinds = frozenset().union(*(kind.network_settings for kind in KINDS.values()))
        unused = {f"network.{key}" for key in of_kinds - KINDS[self.kind].network_settings}
        unused |= {f"{method}.{key}" for method in METHODS if method != self.method for key, _ in getattr(self, method)}
        for kind in (kind for kind in KINDS.values() if kind.settings_type is not None and kind.name != self.kind):
            unused |= {f"{kind.name}.{key}" for key, _ in getattr(self, kind.name)}
        unused |= set() if self.kind in PAIRED_KINDS else {f"weights.{name}" for name in TERMS}
        return {name: value for name, value in flat.items() if name not in unused}


MESSAGES = {  # plain messages in place of pydantic's, by its type of error
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be finite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
}


MOST_SHOWN = 200  # characters of a wrong value in a message


def one_line(error: ValidationError) -> str:
    """Format the first problem of a pydantic error in one line: field, problem, value."""
    problem = error.errors()[0]
    field = _short(".".join(str(part) for part in problem["loc"]))
    numbers = {key: f"{x:.12g}" if isinstance(x, float) else x for key, x in problem.get("ctx", {}).items()}
    template = MESSAGES.get(problem["type"])
    message = template.format(**numbers) if template else problem["msg"].removeprefix("Value error, ")
    if not field:
        return message
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {field!r}"
    given = problem["input"]
    got = " ".join(map(str, given)) or "none" if isinstance(given, tuple | list) else repr(given)
    return f"{field}: {message[0].lower()}{message[1:]} (got {_short(got)})"


def _short(text: str) -> str:
    """Text that fits into one line."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"


def _defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Defaults of the method, recipe and data named in `values`; empty if a name is invalid."""
    name, recipe, data = (values.get(key, default) for key, default in STARTING_POINT.items())
    if name not in METHODS or not isinstance(recipe, str) or not isinstance(data, str):
        return {}
    method, kind = METHODS[name], kind_of(data)
    layers = (
        {} if method.matches_descriptors else {"variants": (name,)},
        method.recipes.get(recipe, {}),
        kind.recipes.get("", {}),
        kind.recipes.get(recipe, {}),
        method.kind_recipes.get(kind.name, {}).get(recipe, {}),
        kind.data_defaults(data),
    )
    return functools.reduce(_merge, layers, {})


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested dicts; values of `over` take precedence."""
    merged = dict(under)
    for key, value in over.items():
        value = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        both_dicts = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_dicts else value
    return merged
