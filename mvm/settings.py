"""What every group of settings is: frozen, bounded, and with one line of help on each field."""

from pydantic import BaseModel, ConfigDict

__all__ = ["ConfigError", "Settings"]


class ConfigError(ValueError):
    """Settings that cannot be used; the message is one line: what, which value, what to do."""


class Settings(BaseModel):
    """Base of every settings model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
