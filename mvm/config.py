"""One source for command-line flags, sliders, help texts and the JSON beside a checkpoint.

Every field has bounds and one line of help; `python -m mvm train --help` and the Lab's controls are made from them.
A recipe is a set of defaults: `Config.make(recipe="paper")`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)

from mvm.descriptors import DESCRIPTORS
from mvm.metric_losses import metric_loss

__all__ = [
    "RECIPES",
    "SCHEMA",
    "Config",
    "ConfigError",
    "MvMSettings",
    "NetworkSettings",
    "OptimiserSettings",
    "Weights",
]

SCHEMA = 1
ALIASES = {"both": "centroid+diameter"}


class ConfigError(ValueError):
    """Settings that cannot be used; the message is one line: what, which value, what to do."""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Weights = create_model(
    "Weights",
    __base__=Settings,
    __doc__="Weight of each shape descriptor in L_MM, in every variant that contains it.",
    **{
        name: (float, Field(1.0, ge=0, le=10, title=descriptor.title, description=descriptor.help))
        for name, descriptor in DESCRIPTORS.items()
    },
)


class NetworkSettings(Settings):
    """Sizes of the generator f_θ and the metric network g_w."""

    width: int = Field(64, ge=4, le=2048, description="units in each hidden layer of both networks")
    depth: int = Field(3, ge=1, le=8, description="hidden layers of both networks")
    activation: Literal["relu", "leaky_relu", "silu"] = Field("relu", description="non-linearity between layers")
    noise_dim: int = Field(8, ge=1, le=512, description="m: dimension of the generator's Gaussian input")
    embedding_dim: int = Field(10, ge=1, le=512, description="n: dimension of the learned metric's embedding")
    unit_embedding: bool = Field(False, description="scale every embedding to length 1 (published StyleGAN2 variant)")


class OptimiserSettings(Settings):
    """Adam for both players, with a linear decay and an averaged generator."""

    generator_lr: float = Field(1e-3, gt=0, le=1, description="Adam step size of the generator")
    metric_lr: float = Field(1e-3, gt=0, le=1, description="Adam step size of the metric network")
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


class MvMSettings(Settings):
    """How the metric is learned, and how it is kept tame."""

    metric_loss: str = Field(
        "direction_triplet",
        description="direction_triplet (Eq. 2), triplet, softplus_triplet, or pml:NAME from pytorch-metric-learning",
    )
    miner: str | None = Field(None, description="a miner of pytorch-metric-learning; with pml: losses only")
    alpha: float = Field(1.0, ge=0, le=100, description="α: margin of the triplet loss")
    gamma: float = Field(0.0, ge=0, le=10, description="γ: weight of the direction regulariser (the paper: 0.01)")
    summed_cosines: bool = Field(False, description="sum the cosines over the batch, as the published code does")
    lipschitz: float = Field(
        1.0, ge=0, le=100, description="weight of the penalty on the metric's slope beyond 1; 0 is none (the paper)"
    )
    lipschitz_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="share of the batch on which the slope is measured: it costs a double backward",
    )
    fresh_batches: bool = Field(
        False,
        description="draw anchors and positives anew, as in Algorithm 1, instead of using the generator step's real "
        "batch and its neighbours in it, which costs less",
    )
    cooperative: bool = Field(
        False, description="the metric also descends L_MM, as in the published code (its gradients are not cleared)"
    )

    @field_validator("metric_loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        metric_loss(name)
        return name

    @field_validator("miner")
    @classmethod
    def _known_miner(cls, miner: str | None, info: ValidationInfo) -> str | None:
        if "metric_loss" in info.data:
            metric_loss(info.data["metric_loss"], miner)
        return miner


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else value


class Config(Settings):
    """Everything that defines an experiment: V = variants x seeds networks trained together."""

    data: str = Field("circle", description="a toy manifold by name, or a file of points: FILE.csv or FILE.npy")
    settings: dict[str, float] = Field({}, description="the manifold's own settings, such as: noise 0.05")
    ambient_dim: int | None = Field(
        None, ge=2, le=4096, description="place the manifold in this many dimensions by a seeded isometry"
    )
    points: int = Field(50_000, ge=64, le=5_000_000, description="training points drawn from a toy manifold")
    method: Literal["mvm"] = Field("mvm", description="training method")
    recipe: Literal["stabilised", "paper", "published"] = Field(
        "stabilised", description="defaults to start from: this lab's, the paper's, or its published code's"
    )
    variants: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        ("centroid", "diameter", "both"),
        min_length=1,
        description="descriptor sets to train side by side: names joined by +, or both for centroid+diameter",
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_tuple)] = Field(
        (0,),
        min_length=1,
        description="each variant is trained once per seed, on that seed's batches, noise and weights",
    )
    steps: int = Field(4000, ge=1, le=10_000_000, description="training steps")
    batch: int = Field(256, ge=2, le=65_536, description="points per batch")
    weights: Weights = Field(Weights(), description="descriptor weights")
    mvm: MvMSettings = Field(MvMSettings(), description="metric learning")
    network: NetworkSettings = Field(NetworkSettings(), description="networks")
    optimiser: OptimiserSettings = Field(OptimiserSettings(), description="optimisers")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes CUDA where there is one")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of the training process")
    view_points: int = Field(512, ge=16, le=4096, description="real and fake points in each snapshot")
    snapshots: int = Field(160, ge=1, le=10_000, description="snapshots over the run: the timeline's marks")
    records: int = Field(400, ge=1, le=100_000, description="records of losses and gaps over the run")
    checkpoints: int = Field(20, ge=1, le=1000, description="checkpoints over the run: what a resumed run starts from")
    schema_version: int = Field(SCHEMA, description="version of this file's schema")

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        for variant in variants:
            parts = descriptors_of(variant)
            if unknown := [part for part in parts if part not in DESCRIPTORS]:
                raise ValueError(f"unknown descriptor {unknown[0]!r}; known: both, {', '.join(DESCRIPTORS)}")
            if len(set(parts)) < len(parts):
                raise ValueError(f"{variant!r} names a descriptor twice")
        if len(set(variants)) < len(variants):
            raise ValueError("each variant may be named once")
        return variants

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**31:
            raise ValueError("seeds must be distinct whole numbers from 0 to 2147483647")
        return seeds

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
            recipe = values.get("recipe", "stabilised")
            defaults = RECIPES.get(recipe, {}) if isinstance(recipe, str) else {}
            return cls.model_validate(_merge(defaults, values))
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def with_changes(self, changes: dict[str, Any]) -> Config:
        """A copy with dotted fields replaced, such as {"weights.diameter": 0}; else `ConfigError`."""
        values = self.model_dump()
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            target = values
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not isinstance(target, dict) or (last not in target and parents != ["settings"]):
                raise ConfigError(f"unknown setting {dotted!r}; known: {', '.join(sorted(self.flat()))}")
            target[last] = value
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name."""
        flat = {}
        for name, value in self:
            flat |= {f"{name}.{key}": item for key, item in value} if isinstance(value, BaseModel) else {name: value}
        return flat


RECIPES: dict[str, dict[str, Any]] = {
    "stabilised": {},
    "paper": {
        "mvm": {"gamma": 0.01, "lipschitz": 0.0, "fresh_batches": True},
        "optimiser": {"decay_to": 1.0, "ema": 0.0},
    },
    "published": {
        "variants": ("centroid", "distance_matrix", "centroid+distance_matrix"),
        "mvm": {"gamma": 0.01, "lipschitz": 0.0, "fresh_batches": True, "summed_cosines": True, "cooperative": True},
        "optimiser": {"decay_to": 1.0, "ema": 0.0, "generator_eps": 1e-6, "metric_eps": 1e-3},
    },
}
assert set(RECIPES) == set(get_args(Config.model_fields["recipe"].annotation))


def descriptors_of(variant: str) -> list[str]:
    """Descriptor names in a variant: "both" is centroid and diameter."""
    return [part.strip() for name in variant.split("+") for part in ALIASES.get(name.strip(), name.strip()).split("+")]


def one_line(error: ValidationError) -> str:
    """The first problem of a pydantic error as: field, what is wrong, the value."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {field!r}"
    return f"{field}: {message[0].lower()}{message[1:]} (got {problem['input']!r})"


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        value = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        both_dicts = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_dicts else value
    return merged
