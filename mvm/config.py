"""One source for command-line flags, sliders, help texts and the JSON beside a checkpoint.

Every field has bounds and one line of help; `python -m mvm train --help` and the Lab's controls are made from them.
A recipe is a set of defaults: `Config.make(recipe="paper")`.
"""

from __future__ import annotations

import difflib
import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model, field_validator, model_validator

from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.methods import METHODS
from mvm.settings import Settings
from toy_manifolds import MANIFOLDS

__all__ = [
    "FACES",
    "OF_DATA",
    "OF_IMAGES",
    "OF_POINTS",
    "RECIPES",
    "SCHEMA",
    "Config",
    "ConfigError",
    "NetworkSettings",
    "OptimiserSettings",
    "Weights",
]

SCHEMA = 2
FACES = "faces"  # the data set of toy faces
POINT_FILES = (".csv", ".npy")
OF_DATA = ("data", "settings", "ambient_dim", "size")  # fields that say which data, and belong together
OF_POINTS = ("width", "depth", "activation", "generator_activation", "frequencies")  # of the networks' settings
OF_IMAGES = ("channels", "metric_channels")


Weights = create_model(
    "Weights",
    __base__=Settings,
    __doc__="Weight of each shape descriptor in L_MM, in every variant that contains it.",
    **{
        name: (float, Field(1.0, ge=0, le=10, title=descriptor.title, description=descriptor.help))
        for name, descriptor in DESCRIPTORS.items()
    },
)


Activation = Literal["relu", "leaky_relu", "silu", "swish4"]


class NetworkSettings(Settings):
    """Sizes of the generator f_θ and the metric network g_w."""

    width: int = Field(64, ge=4, le=2048, description="points: units in each hidden layer of both networks")
    depth: int = Field(3, ge=1, le=8, description="points: hidden layers of both networks")
    activation: Activation = Field(
        "relu", title="Metric activation", description="points: the metric's non-linearity; smooth ones scatter fakes"
    )
    generator_activation: Activation = Field(
        "swish4", description="points: the generator's non-linearity; swish4, x σ(4x), is ReLU with its corner rounded"
    )
    noise_dim: int = Field(4, ge=1, le=512, description="m: dimension of the generator's Gaussian input")
    embedding_dim: int = Field(10, ge=1, le=512, description="n: dimension of the learned metric's embedding")
    frequencies: Annotated[tuple[float, ...], Field(max_length=16)] = Field(
        (),
        description="points: sines and cosines at these frequencies join the metric's input, in which the data's "
        "deviation is 1: it bends at smaller scales",
    )
    unit_embedding: bool = Field(False, description="scale every embedding to length 1 (published StyleGAN2 variant)")
    channels: int = Field(128, ge=4, le=1024, description="pictures: channels of the generator's residual blocks")
    metric_channels: int = Field(
        32, ge=4, le=256, description="pictures: channels of the metric's first layer; each further one doubles them"
    )

    @field_validator("frequencies")
    @classmethod
    def _positive(cls, frequencies: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < frequency <= 1000 for frequency in frequencies):
            raise ValueError("each frequency must be above 0, and at most 1000")
        return frequencies


class OptimiserSettings(Settings):
    """Adam for both players, with a linear decay and an averaged generator."""

    generator_lr: float = Field(3e-3, gt=0, le=1, description="Adam step size of the generator")
    metric_lr: float = Field(3e-3, gt=0, le=1, description="Adam step size of the metric network")
    generator_betas: tuple[float, float] = Field((0.0, 0.9), description="Adam β₁ β₂ of the generator")
    metric_betas: tuple[float, float] = Field((0.5, 0.999), description="Adam β₁ β₂ of the metric network")
    generator_eps: float = Field(1e-8, gt=0, le=1, description="Adam ε of the generator")
    metric_eps: float = Field(1e-8, gt=0, le=1, description="Adam ε of the metric network")
    decay_from: float = Field(0.5, ge=0, le=1, description="fraction of the run after which both rates fall linearly")
    decay_to: float = Field(0.02, ge=0, le=1, description="share of the rates left at the end; 1 is no decay")
    ema: float = Field(0.999, ge=0, lt=1, description="averaging of the generator that is shown and scored; 0 is none")

    @field_validator("generator_betas", "metric_betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each β must be at least 0 and below 1")
        return betas


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else value


MethodSettings = create_model(
    "MethodSettings",
    __base__=Settings,
    **{
        name: (method.settings, Field(method.settings(), description=f"settings of --method {name}"))
        for name, method in METHODS.items()
    },
)
WAVES = (2.0, 4.0)  # of the metric's input, for points in this lab's recipe
IMAGES = {  # what is other than for points, in every recipe: the paper's sizes
    "batch": 64, "steps": 50_000, "points": 20_000, "view_points": 256, "snapshots": 50, "records": 100,
    "network": {"noise_dim": 128, "embedding_dim": 10},
}  # fmt: skip
IMAGE_RATE, PAPER_IMAGE_RATE = 1e-3, 1e-4  # of both players; peers' papers have their own
IMAGE_EMBEDDING = 128  # dimensions, not the paper's 10: its centroid and diameter hold more of a picture
IMAGE_MVM = {"alpha": 0.1, "pairs": 1, "metric_steps": 3}  # with one update of the metric, fakes are far too much alike
IMAGE_DECAY = {"decay_from": 0.5}  # the rates', as of a peer's points
TOY_FACES = {"steps": 800, "network": {"channels": 24}, "optimiser": {"ema": 0.995}}  # minutes on two CPU cores
RECIPES: dict[str, dict[str, dict[str, Any]]] = {name: method.recipes for name, method in METHODS.items()}


class Config(MethodSettings):
    """Everything that defines an experiment: V = variants x seeds networks trained together."""

    data: str = Field(
        "circle",
        description="a toy manifold by name, a file of points (FILE.csv or FILE.npy), faces (toy faces), or the name "
        "of a prepared cache of pictures",
    )
    settings: dict[str, float] = Field({}, description="the manifold's own settings, such as: noise 0.05")
    ambient_dim: int | None = Field(
        None, ge=2, le=4096, description="place the manifold in this many dimensions by a seeded isometry"
    )
    points: int = Field(
        50_000, ge=64, le=5_000_000, description="training points drawn from a toy manifold, or toy faces"
    )
    size: int | None = Field(None, ge=8, le=512, description="toy faces: pixels each way (32 when left out)")
    flips: bool = Field(True, description="pictures of a cache: mirror half of what is drawn")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="of picture networks; auto is bf16 on GPUs that compute it, else float32"
    )
    method: Literal[*METHODS] = Field("mvm", description="training method")
    recipe: Literal["stabilised", "paper", "published"] = Field(
        "stabilised",
        description="defaults to start from: this lab's, the method's paper's, or (mvm) its published code's",
    )
    variants: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        ("centroid", "diameter", "both"),
        min_length=1,
        description="descriptor sets to train side by side: names joined by +, or both for centroid+diameter; "
        "a method other than mvm has one variant, of its own name",
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_tuple)] = Field(
        (0,),
        min_length=1,
        description="each variant is trained once per seed, on that seed's batches, noise and weights",
    )
    steps: int = Field(8000, ge=1, le=10_000_000, description="training steps")
    batch: int = Field(256, ge=2, le=65_536, description="points per batch")
    weights: Weights = Field(Weights(), description="descriptor weights")
    network: NetworkSettings = Field(NetworkSettings(), description="networks")
    optimiser: OptimiserSettings = Field(OptimiserSettings(), description="optimisers")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes CUDA where there is one")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of the training process")
    view_points: int = Field(512, ge=16, le=4096, description="real and fake points in each snapshot")
    snapshots: int = Field(160, ge=1, le=10_000, description="snapshots over the run: the timeline's marks")
    records: int = Field(400, ge=1, le=100_000, description="records of losses and gaps over the run")
    checkpoints: int = Field(20, ge=1, le=1000, description="checkpoints over the run: what a resumed run starts from")
    schema_version: int = Field(SCHEMA, description="version of this file's schema")

    @model_validator(mode="after")
    def _known_variants(self) -> Config:
        if self.recipe not in RECIPES[self.method]:
            known = ", ".join(RECIPES[self.method])
            raise ValueError(f"recipe: {self.method} has {known}, not {self.recipe!r}")
        if self.is_images and not METHODS[self.method].makes_images:
            raise ValueError(f"method: {self.method} has no networks for pictures; choose another for {self.data}")
        if not METHODS[self.method].matches_descriptors:
            if self.variants != (self.method,):
                raise ValueError(f"variants: {self.method} matches no descriptors; leave variants out")
            return self
        for variant in self.variants:
            parts = descriptors_of(variant)
            if unknown := [part for part in parts if part not in DESCRIPTORS]:
                known = ", ".join(DESCRIPTORS)
                raise ValueError(f"variants: unknown descriptor {unknown[0]!r}; known: both, {known}")
            if len(set(parts)) < len(parts):
                raise ValueError(f"variants: {variant!r} names a descriptor twice")
        if len(set(self.variants)) < len(self.variants):
            raise ValueError("variants: each variant may be named once")
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, values: Any) -> Any:
        """Its two networks had one activation."""
        if not isinstance(values, dict) or values.get("schema_version") != 1:
            return values
        network = values.get("network")
        if isinstance(network, dict) and "activation" in network:
            network = {"generator_activation": network["activation"]} | network
            values = values | {"network": network}
        return values | {"schema_version": SCHEMA}

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int | None) -> int | None:
        if size is not None and size & (size - 1):
            raise ValueError("must be a power of two")
        return size

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**31:
            raise ValueError("seeds must be distinct whole numbers from 0 to 2147483647")
        return seeds

    @property
    def is_images(self) -> bool:
        """Whether the data are pictures: toy faces, or a name that is neither a toy manifold's nor a file of points."""
        return are_images(self.data)

    @property
    def kind(self) -> str:
        """The kind of data: "points" or "images"."""
        return "images" if self.is_images else "points"

    @property
    def unmatched(self) -> str:
        """In words, which variants match nothing, as all their weights are 0; empty if each has one that counts."""
        if not METHODS[self.method].matches_descriptors:
            return ""
        idle = [name for name in self.variants if not any(getattr(self.weights, d) for d in descriptors_of(name))]
        return f"all weights of {', '.join(idle)} are 0: nothing tells the generator what to match" if idle else ""

    @property
    def members(self) -> list[tuple[str, int]]:
        """(variant, seed) of each of the V networks, in the order of the variant axis."""
        return [(variant, seed) for variant in self.variants for seed in self.seeds]

    def every(self, count: int) -> int:
        """Steps between two of `count` evenly spread occasions, at least 10: short runs have fewer occasions."""
        return max(10, self.steps // count)

    @classmethod
    def make(cls, **values: Any) -> Config:
        """A valid config, or a `ConfigError` of one line. A recipe's defaults lie under the given values."""
        try:
            return cls.model_validate(_merge(_defaults(values), values))
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def with_changes(self, changes: dict[str, Any]) -> Config:
        """A copy with dotted fields replaced, such as {"weights.diameter": 0}; words may stand for a tuple.

        Raises:
            ConfigError: an unknown field, or a value that it cannot have.
        """
        values = self.model_dump()
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            target = values
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not isinstance(target, dict) or (last not in target and parents != ["settings"]):
                raise ConfigError(f"unknown setting {dotted!r}; {self._hint(dotted)}")
            is_words = isinstance(value, str) and isinstance(target.get(last), tuple)
            target[last] = tuple(value.replace(",", " ").split()) if is_words else value
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def _hint(self, dotted: str) -> str:
        """What may have been meant by a setting that there is not."""
        known = [name for name in self.flat(used=True) if name != "schema_version"]
        by_end = [name for name in known if name.split(".")[-1] == dotted.split(".")[-1]]
        close = by_end or difflib.get_close_matches(dotted, known, n=3, cutoff=0.7)
        return f"did you mean {' or '.join(close)}?" if close else "`python -m mvm train --help` lists them"

    def flat(self, *, used: bool = False) -> dict[str, Any]:
        """Every setting by its dotted name; of the `used` ones, those of other methods and networks are left out."""
        flat = {}
        for name, value in self:
            dotted = isinstance(value, BaseModel)
            flat |= {f"{name}.{key}": item for key, item in value} if dotted else {name: value}
        if not used:
            return flat
        others = {f"network.{key}" for key in (OF_POINTS if self.is_images else OF_IMAGES)}
        others |= {f"{method}.{key}" for method in METHODS if method != self.method for key, _ in getattr(self, method)}
        return {name: value for name, value in flat.items() if name not in others}


def are_images(data: str) -> bool:
    """Whether this name is of pictures rather than points."""
    return data not in MANIFOLDS and not data.lower().endswith(POINT_FILES)


SAID = {  # a kind of problem that pydantic finds, in words that need no library to be understood
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
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
}


def one_line(error: ValidationError) -> str:
    """The first problem of a pydantic error as: field, what is wrong, the value."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    numbers = {key: f"{x:.12g}" if isinstance(x, float) else x for key, x in problem.get("ctx", {}).items()}
    known = SAID.get(problem["type"])
    message = known.format(**numbers) if known else problem["msg"].removeprefix("Value error, ")
    if not field:
        return message
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {field!r}"
    given = problem["input"]
    got = " ".join(map(str, given)) or "none" if isinstance(given, tuple | list) else repr(given)
    return f"{field}: {message[0].lower()}{message[1:]} (got {got})"


def _defaults(values: dict[str, Any]) -> dict[str, Any]:
    """What the method and recipe in `values` put under them; nothing where those are no known names."""
    method, recipe = values.get("method", "mvm"), values.get("recipe", "stabilised")
    if not (isinstance(method, str) and isinstance(recipe, str)):
        return {}
    own = {} if method not in METHODS or METHODS[method].matches_descriptors else {"variants": (method,)}
    under = _merge(own, RECIPES.get(method, {}).get(recipe, {}))
    data = values.get("data", "circle")
    if not (isinstance(data, str) and are_images(data)):
        return _merge(under, {"network": {"frequencies": WAVES}}) if recipe == "stabilised" else under
    sets = under.get("variants", Config.model_fields["variants"].default)  # one of them: the one with every descriptor
    under = _merge(under, {**IMAGES, "variants": sets[-1:], "threads": os.cpu_count() or 1})
    if recipe == "stabilised" or method == "mvm":
        rate = IMAGE_RATE if recipe == "stabilised" else PAPER_IMAGE_RATE
        under = _merge(under, {"optimiser": {"generator_lr": rate, "metric_lr": rate}})
    if recipe == "stabilised":
        of_images = {"network": {"embedding_dim": IMAGE_EMBEDDING}, "optimiser": IMAGE_DECAY, "mvm": IMAGE_MVM}
        under = _merge(under, of_images)
    return _merge(under, TOY_FACES) if data == FACES else under


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        value = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        both_dicts = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_dicts else value
    return merged
