"""A specification of a sweep written from settings: the text that `mvm.sweeps.spec` reads.

base_of(config)                   settings of a config that differ from the defaults of its data, method and recipe
spec_text(seeds, base, axes)      the TOML
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mvm.config import Config
from mvm.errors import ConfigError

__all__ = ["base_of", "spec_text"]

LEFT_OUT = ("seeds", "schema_version")


def base_of(config: Config) -> dict[str, Any]:
    """Settings by dotted name that make this config again, seeds aside: its data, and what differs from the defaults.

    Raises:
        ConfigError: a setting is none where its default is not, which no specification can say.
    """
    given = {name: getattr(config, name) for name in ("data", "method", "recipe")}
    defaults, always = Config.make(**given).flat(used=True), Config.make().flat()
    found: dict[str, Any] = {"data": config.data}
    for name, value in config.flat(used=True).items():
        default = always[name] if name in given else defaults.get(name)
        if name in LEFT_OUT or value == default:
            continue
        if value is None:
            raise ConfigError(f"sweep: {name} is none, which a specification cannot say; give it a value")
        if isinstance(value, Mapping):  # settings of the data
            found |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            found[name] = value
    return found


def spec_text(seeds: Sequence[int], base: Mapping[str, Any], axes: Mapping[str, Mapping[str, Any]]) -> str:
    """A specification.

    Args:
        seeds: to train each setting with.
        base: settings of every training, by dotted name.
        axes: "grid", "zip" and "random" with the values of each axis by dotted name: a list, or a table such as
            {"log": [0.001, 0.1], "count": 3}.
    """
    is_count = list(seeds) == list(range(len(seeds)))
    parts = [f"seeds = {_toml(len(seeds) if is_count else list(seeds))}"]
    for title, settings in {"base": base, **axes}.items():
        if settings:
            parts += [f"[{title}]", *_lines(settings)]
    return "\n".join(parts) + "\n"


def _lines(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        yield f"{name.replace('_', '-')} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # as JSON, but for the one letter that only TOML forbids
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(item)}' for name, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
