"""Exceptions; each message is one line: problem, value, what to do."""

from __future__ import annotations

__all__ = ["ConfigError", "Diverged", "RunBusy", "RunError", "Stopped"]


class ConfigError(ValueError):
    """Invalid settings or data."""


class RunError(ValueError):
    """A run does not exist, is damaged, or does not allow the requested action."""


class RunBusy(RunError):
    """Another process holds the run's lock."""


class Stopped(Exception):
    """The training ended before its last step, at a user's request; its state is saved."""


class Diverged(Stopped):
    """It ended because every variant diverged."""
