"""What every group of settings is: frozen, bounded, and with one line of help on each field."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

__all__ = ["Bounds", "Settings", "bounds"]


class Settings(BaseModel):
    """Base of every settings model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(NamedTuple):
    """The least and largest value of a field, None where it has none, and whether it must lie above or below them."""

    low: Any
    high: Any
    above: bool
    below: bool


def bounds(field: FieldInfo) -> Bounds:
    """What a field's constraints say."""
    found = {key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)}
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    return Bounds(low, high, above="gt" in found, below="lt" in found)
