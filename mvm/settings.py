"""Base of all settings models: frozen, with bounds and one line of help on each field; and what settings are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

__all__ = ["Bounds", "Settings", "bounds", "nested", "setting_words"]

WORDS = {  # of a setting's name, where a researcher says it otherwise
    "lr": "rate",
    "dim": "dimension",
    "eps": "ε",
    "betas": "β₁ β₂",
    "ema": "EMA",
    "alpha": "α",
    "gamma": "γ",
    "lipschitz": "slope penalty",
}


class Settings(BaseModel):
    """Base of every settings model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(NamedTuple):
    """Bounds of a field.

    Attributes:
        low, high: smallest and largest value; None without a bound.
        above, below: the value must differ from `low`, or from `high`.
    """

    low: Any
    high: Any
    above: bool
    below: bool


def bounds(field: FieldInfo) -> Bounds:
    """Read a field's bounds from its constraints."""
    limits = {key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)}
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    return Bounds(low, high, above="gt" in limits, below="lt" in limits)


def setting_words(name: str) -> str:
    """What labels and pages call a setting without a title of its own, such as "generator rate" for generator_lr."""
    return " ".join(WORDS.get(word, word) for word in name.split("_"))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} to {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for dotted, value in flat.items():
        *parents, last = dotted.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return result
