"""A sweep's specification: a TOML file of about ten lines.

    seeds = 5                                  0 to 4, or a list; every setting is trained with each
    [base]                                     any settings of `mvm train`, by their names there
    steps = 2000
    [grid]                                     all combinations
    data = ["swiss_roll", "torus"]
    method = ["mvm", "wgan_gp"]
    optimiser.generator-lr = { log = [1e-4, 1e-2], count = 5 }
    [zip]                                      in step with each other
    batch = [128, 256]
    network.width = [64, 128]
    [random]                                   so many draws, of this seed
    count = 20
    seed = 0
    mvm.gamma = { range = [0, 0.1] }

A list holds the values of a setting. `{ range = [low, high], count = n }` are n values at equal distances, with `step`
in place of `count` at that distance; `{ log = [low, high], count = n }` are n values at equal ratios. Under `random`
they have no count: each draw is uniform, in the value or in its logarithm, or an entry of the list. With
`--search tpe` they are chosen by what has been scored, `count` for each combination of the others: `mvm.sweeps.search`.

Settings that a combination does not use are ignored: `mvm.gamma` of WGAN-GP, `variants` of a method without
descriptors, the weight of a descriptor that no variant matches. Combinations that then coincide are trained once.

Trainings of points that differ in variant, seed, rates or weights of losses only share a process, `together = 16` of
them at most: their networks compute each operation at once. Pictures gain nothing by that, and share none.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError, RunError, line_of
from mvm.methods import METHODS
from mvm.runs.layout import check_name
from mvm.settings import nested
from mvm.variants import base_of, own_settings, variant_named

__all__ = ["Point", "Space", "Spec", "members_in_full", "point_key", "read_spec", "space_of", "spec_of", "trainings_of"]

TOGETHER = 16  # trainings of points that share a process, unless the file says otherwise
MOST = 100_000  # trainings of a sweep
PARTS = ("name", "seeds", "together", "base", "grid", "zip", "random")
SCALES = ("range", "log")
LAID_OUT = ("variants", "seeds")  # along the variant axis of a run
OF_VARIANTS = ("optimiser.generator_lr", "optimiser.metric_lr")  # where they act; a variant's weights are another case


@dataclass(frozen=True)
class Point:
    """One combination of settings, trained with every seed.

    Attributes:
        settings: the swept settings that it uses, by dotted name.
        config: all settings, with the variants and seeds to train; swept settings that a variant may have of its own
            are the variants'.
    """

    settings: dict[str, Any]
    config: Config

    @property
    def key(self) -> str:
        """`point_key` of its config."""
        return point_key(self.config)


@dataclass(frozen=True)
class Spec:
    """A sweep's specification.

    Attributes:
        name: of the sweep.
        text: content of the file.
        axes: swept settings by dotted name, each with its values in their order.
        points: distinct combinations.
        most: trainings that share a process at most, as the file says; None if it does not.
        apart: each point has runs of its own, as a search decides about them one by one.
    """

    name: str
    text: str
    axes: dict[str, tuple[Any, ...]]
    points: tuple[Point, ...]
    most: int | None
    apart: bool = False

    def together(self, config: Config) -> int:
        """Number of trainings with a config's settings that share a process at most."""
        return self.most or (TOGETHER if KINDS[config.kind].stacked else 1)


def read_spec(path: Path, *, name: str | None = None) -> Spec:
    """Read a specification from a file, after which the sweep is named unless it has a name; errors as for `spec_of`.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep: {path} cannot be read: {line_of(error)}") from None
    return spec_of(text, name=name or path.stem)


def spec_of(text: str, *, name: str) -> Spec:
    """A specification from its text; `name` is the sweep's where the text has none.

    Raises:
        ConfigError: it is no TOML, or a part, setting or value in it is wrong; one line.
    """
    try:
        parts = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"sweep: {name} is not valid TOML: {line_of(error)}") from None
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(
            f"sweep: unknown part {unknown[0]!r}; known: {', '.join(PARTS)}; settings of every training go under [base]"
        )
    try:
        name = check_name(_text(parts.get("name", name)), "a sweep")
    except RunError as error:
        raise ConfigError(str(error)) from None
    base, grid, zipped, drawn = (_settings(parts, part) for part in ("base", "grid", "zip", "random"))
    together = parts.get("together")
    if together is not None and (type(together) is not int or together < 1):
        raise ConfigError(f"sweep: together must be a whole number of at least 1 (got {together!r})")
    seeds = _seeds(parts.get("seeds", 1))
    _check_names(base, grid, zipped, drawn)
    combinations = [
        {name: value for part in parts for name, value in part.items()}
        for parts in itertools.product(_product(grid), _in_step(zipped), _draws(drawn))
    ]
    if len(combinations) * len(seeds) > MOST:
        raise ConfigError(
            f"sweep: {len(combinations):,} combinations x {len(seeds)} seeds; a sweep has at most {MOST:,} trainings"
        )
    points = tuple(_distinct(_point(base, swept, seeds) for swept in combinations))
    used = {name for point in points for name in point.settings}
    axes = {
        name: tuple(_ordered(combination[name] for combination in combinations))
        for name in (combinations[0] if combinations else {})
        if name in used
    }
    return Spec(name, text, axes, points, together)


def point_key(config: Config) -> str:
    """Digest of all settings of a config but seeds, variants, and those that a variant may have of its own.

    Trainings of one key can share a process.
    """
    alone = config.model_copy(update={"variants": tuple(dict.fromkeys(map(base_of, config.variants)))})
    apart = {*LAID_OUT, *OF_VARIANTS, *alone.movable}
    used = {k: v for k, v in config.flat(used=True).items() if k not in apart and not k.startswith("weights.")}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]


def trainings_of(config: Config) -> set[tuple[str, int]]:
    """What tells the trainings of a config from others of its `point_key`: variant, with all it may own, and seed."""
    return {*members_in_full(config)}


def members_in_full(config: Config) -> list[tuple[str, int]]:
    """`config.members`, each variant with every setting that it may own."""
    flat, found = config.flat(), []
    for variant in config.variants:
        acting = config.model_copy(update={"variants": (base_of(variant),)}).movable
        values = flat | own_settings(variant)
        name = variant_named(base_of(variant), {each: values[each] for each in acting})
        found += [(name, seed) for seed in config.seeds]
    return found


@dataclass(frozen=True)
class Space:
    """What a search chooses from.

    Attributes:
        base: settings of every training, by dotted name.
        seeds: each setting is trained with all of them.
        others: combinations of the settings under grid and zip.
        axes: settings under random: a list of values, or (scale, low, high).
        count: settings to try for each of the others.
        seed: of the draws.
    """

    base: dict[str, Any]
    seeds: tuple[int, ...]
    others: tuple[dict[str, Any], ...]
    axes: dict[str, list[Any] | tuple[str, float, float]]
    count: int
    seed: int

    def point(self, settings: Mapping[str, Any]) -> Point:
        """The point of some settings; numbers are rounded as in a draw, to whole ones where the setting takes these.

        Raises:
            ConfigError: a value is invalid.
        """
        is_range = {name: isinstance(axis, tuple) for name, axis in self.axes.items()}
        rounded = {name: _rounded(name, v) if is_range.get(name) else v for name, v in settings.items()}
        return _point(self.base, rounded, self.seeds)

    def is_whole(self, name: str) -> bool:
        """Whether a setting takes whole numbers."""
        return name in _whole_numbers()


def space_of(spec: Spec) -> Space:
    """What a search chooses from.

    Raises:
        ConfigError: nothing is under random.
    """
    parts = tomllib.loads(spec.text)
    base, grid, zipped, drawn = (_settings(parts, part) for part in ("base", "grid", "zip", "random"))
    count, seed = drawn.pop("count", 0), drawn.pop("seed", 0)
    if not drawn:
        raise ConfigError(f"sweep: a search chooses settings under [random], and {spec.name} has none")
    axes = {n: axis if isinstance(axis, list) else _bounds(n, axis, "random", extra=()) for n, axis in drawn.items()}
    others = tuple({**some, **more} for some, more in itertools.product(_product(grid), _in_step(zipped)))
    return Space(base, _seeds(parts.get("seeds", 1)), others, axes, count, seed)


# -- combinations ------------------------------------------------------------------------------------------------------


def _point(base: Mapping[str, Any], swept: dict[str, Any], seeds: tuple[int, ...]) -> Point:
    values = {**base, **swept}
    method = values.get("method", "mvm")
    if isinstance(method, str) and method in METHODS and not METHODS[method].matches_descriptors:
        values.pop("variants", None)
    try:
        config = Config.make(**nested(values), seeds=seeds)
    except ConfigError as error:
        where = ", ".join(f"{name} = {_shown(value)}" for name, value in swept.items())
        raise ConfigError(f"sweep: {error}" + f"; in the combination {where}" * bool(where)) from None
    flat = config.flat(used=True)
    used = {name for name in flat if not name.startswith("weights.") and name not in OF_VARIANTS} | {*config.movable}
    used -= {"variants"} if not METHODS[config.method].matches_descriptors else set()
    settings = {name: value for name, value in swept.items() if name in used or name.startswith("settings.")}
    return Point(settings, _with_own(config, {name: flat[name] for name in settings if name in config.movable}, values))


def _with_own(config: Config, own: Mapping[str, float], values: Mapping[str, Any]) -> Config:
    """A config whose variants have settings of their own, which it has from `values` as a whole."""
    if not own:
        return config
    shared = Config.make(**nested({k: v for k, v in values.items() if k not in own}), seeds=config.seeds)
    named = []
    for variant in config.variants:
        acting = config.of_variant(variant).movable
        named.append(variant_named(base_of(variant), own_settings(variant) | {k: own[k] for k in own if k in acting}))
    return shared.with_changes({"variants": tuple(named)})


def _distinct(points: Iterator[Point]) -> Iterator[Point]:
    """Points without those that train what an earlier one trains."""
    seen = set()
    for point in points:
        if (key := (point.key, frozenset(trainings_of(point.config)))) not in seen:
            seen.add(key)
            yield point


def _product(axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {name: _values(name, axis, "grid") for name, axis in axes.items()}
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def _in_step(axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {name: _values(name, axis, "zip") for name, axis in axes.items()}
    if len({len(each) for each in values.values()}) > 1:
        lengths = ", ".join(f"{name} {len(each)}" for name, each in values.items())
        raise ConfigError(f"sweep: under zip all settings need the same number of values (got {lengths})")
    return [dict(zip(values, chosen, strict=True)) for chosen in zip(*values.values(), strict=True)] or [{}]


def _draws(axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    axes = dict(axes)
    if not axes:
        return [{}]
    count, seed = axes.pop("count", None), axes.pop("seed", 0)
    if type(count) is not int or count < 1:
        raise ConfigError(f"sweep: random needs count, the number of draws, at least 1 (got {count!r})")
    if type(seed) is not int:
        raise ConfigError(f"sweep: random.seed must be a whole number (got {seed!r})")
    found: list[dict[str, Any]] = [{} for _ in range(min(count, MOST + 1))]
    for name, axis in axes.items():
        draws = random.Random(f"{seed} {name}")  # of each setting its own: another axis or more draws move none
        for draw in found:
            draw[name] = _draw(name, axis, draws)
    return found


def _draw(name: str, axis: Any, draws: random.Random) -> Any:
    if isinstance(axis, list) and axis:
        return draws.choice(axis)
    scale, low, high = _bounds(name, axis, "random", extra=())
    share = draws.random()
    value = low * (high / low) ** share if scale == "log" else low + (high - low) * share
    return _rounded(name, value)


def _values(name: str, axis: Any, part: str) -> list[Any]:
    """The values of a setting under grid or zip."""
    if isinstance(axis, list):
        if not axis:
            raise ConfigError(f"sweep: {part}.{name} has no values")
        return axis
    scale, low, high = _bounds(name, axis, part, extra=("count", "step"))
    if "step" in axis and scale == "range":
        step = axis["step"]
        if "count" in axis or not _is_number(step) or step <= 0:
            raise ConfigError(f"sweep: {part}.{name} needs either count or a positive step (got {_shown(axis)})")
        if (high - low) / step > MOST:
            raise ConfigError(f"sweep: {part}.{name} has more than {MOST:,} values; give a larger step (got {step})")
        shares = [index * step / (high - low) for index in range(math.floor((high - low) / step + 1e-9) + 1)]
    else:
        count = axis.get("count")
        if "step" in axis or type(count) is not int or not 2 <= count <= MOST:
            raise ConfigError(f"sweep: {part}.{name} needs count, a whole number of at least 2 (got {_shown(axis)})")
        shares = [index / (count - 1) for index in range(count)]
    grown = [low * (high / low) ** share if scale == "log" else low + (high - low) * share for share in shares]
    return _ordered(_rounded(name, value) for value in grown)


def _bounds(name: str, axis: Any, part: str, *, extra: tuple[str, ...]) -> tuple[str, float, float]:
    """Scale, low and high of a range."""
    scale = next((key for key in SCALES if isinstance(axis, dict) and key in axis), None)
    if scale is None:
        example = f"{{ range = [low, high]{', count = n' * bool(extra)} }}"
        raise ConfigError(f"sweep: {part}.{name} must be a list of values or {example} (got {_shown(axis)})")
    if unknown := [key for key in axis if key not in (scale, *extra)]:
        raise ConfigError(f"sweep: {part}.{name} takes {', '.join((scale, *extra))}, not {unknown[0]!r}")
    ends = axis[scale]
    if not isinstance(ends, list) or len(ends) != 2 or not all(map(_is_number, ends)) or not ends[0] < ends[1]:
        raise ConfigError(f"sweep: {part}.{name} needs {scale} = [low, high] with low < high (got {_shown(ends)})")
    if scale == "log" and ends[0] <= 0:
        raise ConfigError(f"sweep: {part}.{name} needs log bounds above 0 (got {_shown(ends)})")
    return scale, float(ends[0]), float(ends[1])


def _rounded(name: str, value: float) -> Any:
    """A value with six digits; a whole number for settings that are."""
    return round(value) if name in _whole_numbers() else float(f"{value:.6g}")


def _ordered(values: Iterator[Any]) -> list[Any]:
    """Distinct values in their order; lists are compared by content."""
    return list({json.dumps(value): value for value in values}.values())


# -- names and settings ------------------------------------------------------------------------------------------------


def _settings(parts: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Settings of a part by dotted name, as in a config: hyphens are underscores."""
    found = parts.get(part, {})
    if not isinstance(found, dict):
        raise ConfigError(f"sweep: {part} must be a table [{part}] of settings (got {_shown(found)})")
    return dict(_flat(found))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key.removeprefix("--").replace("-", "_")
        if isinstance(value, dict) and not {*value} & {*SCALES, "count", "step"}:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _check_names(base: Mapping[str, Any], *swept: Mapping[str, Any]) -> None:
    """Check that every setting exists, is named once among the axes, and that seeds stand at the top."""
    reserved = {"count", "seed"}
    names = [name for part in swept for name in part if name not in reserved]
    for name in (*base, *names):
        if name in ("seeds", "schema_version"):
            raise ConfigError(f"sweep: {name} is no setting to sweep; write seeds at the top of the file")
        try:
            if not name.startswith("settings."):
                _defaults().with_changes({name: None})
        except ConfigError as error:
            if str(error).startswith("unknown setting"):
                raise ConfigError(f"sweep: {error}") from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"sweep: {twice[0]} is under two of grid, zip and random; keep one")


def _seeds(given: Any) -> tuple[int, ...]:
    if type(given) is int and given >= 1:
        return tuple(range(min(given, MOST + 1)))
    if isinstance(given, list) and given and all(type(seed) is int for seed in given):
        return tuple(given)
    raise ConfigError(f"sweep: seeds must be a number of seeds or a list of them (got {_shown(given)})")


@functools.cache
def _defaults() -> Config:
    return Config.make()


@functools.cache
def _whole_numbers() -> frozenset[str]:
    """Settings that are whole numbers."""
    return frozenset(name for name, value in _defaults().flat().items() if type(value) is int)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"sweep: name must be text (got {_shown(value)})")
    return value


def _shown(value: Any) -> str:
    """A value as TOML writes it, in one short line."""
    text = re.sub(r"\s+", " ", json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= 80 else f"{text[:80]} …"
