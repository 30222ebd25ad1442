"""What can go wrong, each with a message of one line: what, which value, what to do."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ConfigError", "Diverged", "RunBusy", "RunError", "Stopped", "check_known"]


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


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ConfigError with the known names unless `name` is one of them; `what` says what it names."""
    known = list(known)
    if name not in known:
        raise ConfigError(f"{what}: unknown {name!r}; known: {', '.join(known)}")
