"""Exceptions; each message is one line: problem, value, what to do."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "Diverged",
    "Lost",
    "RunBusy",
    "RunDamaged",
    "RunError",
    "Stopped",
    "TakenOver",
    "check_known",
    "line_of",
    "reason_of",
]


class ConfigError(ValueError):
    """Invalid settings or data."""


class RunError(ValueError):
    """A run does not exist, is damaged, or does not allow the requested action."""


class RunDamaged(RunError):
    """A file of a run was read and does not hold what it should, or the run is a link that leads nowhere."""


class RunBusy(RunError):
    """Another process holds the run's lock."""


class Lost(RuntimeError):
    """Files of a run were removed while it was trained."""


class TakenOver(Lost):
    """Another process trains the run now: whatever this one would write is not its own."""


class Stopped(Exception):
    """The training ended before its last step, at a user's request; its state is saved."""


class Diverged(Stopped):
    """The training ended because every variant diverged."""


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ConfigError, with the known names, if `name` is unknown; `what` is the kind of name, such as a setting."""
    known = list(known)
    if name not in known:
        raise ConfigError(f"{what}: unknown {name!r}; known: {', '.join(known)}")


def line_of(error: BaseException) -> str:
    """One line: the system's words of an OSError, without its file; an exception's message, or its type without one."""
    words = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(words or error).split()) or type(error).__name__


def reason_of(error: Exception) -> str:
    """One line: an error's message, or what to do about too little memory."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "out of memory; use a smaller --batch, --tile or -n, fewer --variants or --seeds, or --device cpu"
    foreseen = isinstance(error, ConfigError | RunError | OSError | RuntimeError)
    return text if foreseen else f"{type(error).__name__}: {text}"
