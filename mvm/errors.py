"""What can go wrong, each with a message of one line: what, which value, what to do."""

from __future__ import annotations

__all__ = ["ConfigError", "Diverged", "RunBusy", "RunError", "Stopped"]


class ConfigError(ValueError):
    """Settings that cannot be used; the message is one line: what, which value, what to do."""


class RunError(ValueError):
    """A run that cannot be used as asked; the message is one line: what, which, what to do."""


class RunBusy(RunError):
    """Another trainer holds the run's lock."""


class Stopped(Exception):
    """The training ended before its last step because the person asked for it; all is saved."""


class Diverged(Stopped):
    """It ended because every variant diverged."""
