"""Events of a run: one typed event per line of `scalars.jsonl`, written and read here.

    launched queued started resumed paused continued    of the trainer process: each has the clock's time, and
    stopped finished diverged failed                    tells the state of the run
    weights settings forked member                      of the training: a function of its steps alone
    not captured                                        of the device

`event_of` reads a record, `Event.record` is the record again, `append_event` writes it. An event that this version does
not know is kept as `Unknown`, and readers pass over it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mvm.files import append_line
from mvm.runs.control import MOST_COUNT, MOST_STEP
from mvm.runs.layout import RECORDS

__all__ = [
    "ALIVE",
    "EVENTS",
    "Compiles",
    "Continued",
    "Count",
    "DescriptorWeights",
    "Diverged",
    "Event",
    "Failed",
    "Finished",
    "Forked",
    "Launched",
    "MemberChanged",
    "MovedSettings",
    "NotCaptured",
    "NotCompiled",
    "Paused",
    "Queued",
    "Resumed",
    "Seconds",
    "SettingsChanged",
    "Started",
    "Step",
    "Stopped",
    "Unknown",
    "WeightsChanged",
    "Words",
    "append_event",
    "compiled_networks",
    "describe_lost_members",
    "event_of",
    "last_state_event",
    "lost_members",
    "read_event",
    "reason_of",
    "state_of",
    "times",
    "training_device",
    "why_not_captured",
]

ALIVE = ("starting", "queued", "running", "paused")
STARTING = 120  # seconds that a launched process may take to get hold of its run: a busy machine needs long to import

END_OF_TIME = 1e11  # seconds since 1970: the last year that a calendar has
Step = Annotated[int, Field(ge=0, le=MOST_STEP)]
Seconds = Annotated[int | float, Field(ge=0, lt=END_OF_TIME)]
Count = Annotated[int, Field(ge=0, le=MOST_COUNT)]
Words = Annotated[str, Field(max_length=10_000)]


def _allowed(weights: dict[str, int | float]) -> dict[str, int | float]:
    """Check the weights that this version knows against the bounds of a config's."""
    from mvm.config import Weights  # loads torch, which only lists runs need not

    Weights.model_validate({name: value for name, value in weights.items() if name in Weights.model_fields})
    return weights


DescriptorWeights = Annotated[dict[Words, int | float], AfterValidator(_allowed)]


def _within_bounds(settings: dict[str, int | float]) -> dict[str, int | float]:
    """Check the settings that this version knows, by dotted name, against the bounds of a config's."""
    from mvm.config import Config
    from mvm.settings import Settings

    for dotted, value in settings.items():
        group, _, name = dotted.partition(".")
        model = Config.model_fields[group].annotation if group in Config.model_fields else None
        if isinstance(model, type) and issubclass(model, Settings) and name in model.model_fields:
            model.model_validate({name: value})
    return settings


MovedSettings = Annotated[dict[Words, int | float], AfterValidator(_within_bounds)]


class Event(BaseModel):
    """An event.

    Attributes:
        step: at which it happened.
        event: its name.
        state: of the run after it; None for events that leave the state as it is.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)
    state: ClassVar[str | None] = None

    step: Step
    event: Words

    @property
    def clock(self) -> float | None:
        """Seconds since the epoch of an event of the trainer process; None for an event of the training."""
        found = getattr(self, "time", None)
        return found if isinstance(found, int | float) and 0 <= found < END_OF_TIME else None

    @property
    def mark(self) -> str:
        """Key of its colour and words in `mvm.look.palette.MARKS`."""
        return self.event

    def record(self) -> dict[str, Any]:
        """The event as it stands in `scalars.jsonl`, unknown fields included."""
        given = {name: value for name, value in self if name in self.model_fields_set}
        return {"step": self.step, "event": self.event} | given


class Launched(Event):
    """A process was started to train the run."""

    state = "starting"
    event: Literal["launched"] = "launched"
    time: Seconds


class Queued(Event):
    """The trainer waits for a device slot."""

    state = "queued"
    event: Literal["queued"] = "queued"
    time: Seconds


class Started(Event):
    """The training begins at step 0."""

    state = "running"
    event: Literal["started"] = "started"
    device: Words | None = None
    time: Seconds | None = None
    pid: Count | None = None


class Resumed(Event):
    """The training goes on from its last checkpoint."""

    state = "running"
    event: Literal["resumed"] = "resumed"
    device: Words | None = None
    time: Seconds | None = None
    pid: Count | None = None


class Paused(Event):
    """The trainer waits for a request to go on, and leaves its device slot to others."""

    state = "paused"
    event: Literal["paused"] = "paused"
    time: Seconds | None = None


class Continued(Event):
    """A paused trainer goes on."""

    state = "running"
    event: Literal["continued"] = "continued"
    time: Seconds | None = None


class NotCaptured(Event):
    """On a GPU, steps start each operation, as no graph replays them."""

    event: Literal["not captured"] = "not captured"
    reason: Words


class Compiles(Event):
    """The networks are compiled from the next step on, which takes a minute where the compiler's cache lacks them."""

    event: Literal["compiles"] = "compiles"


class NotCompiled(Event):
    """The compiler failed; steps compute as written."""

    event: Literal["not compiled"] = "not compiled"
    reason: Words


class Stopped(Event):
    """The trainer saved and left on request.

    Attributes:
        held: on request of a search, which decides whether the run is trained on.
    """

    state = "stopped"
    event: Literal["stopped"] = "stopped"
    time: Seconds | None = None
    held: bool = False


class Finished(Event):
    """The last step is trained and scored."""

    state = "finished"
    event: Literal["finished"] = "finished"
    time: Seconds | None = None


class Diverged(Event):
    """Every member diverged, and the trainer left."""

    state = "diverged"
    event: Literal["diverged"] = "diverged"
    time: Seconds | None = None
    reason: Words | None = None


class Failed(Event):
    """The trainer left with an error."""

    state = "failed"
    event: Literal["failed"] = "failed"
    time: Seconds | None = None
    reason: Words | None = None


class WeightsChanged(Event):
    """The weights of some descriptors are others from the next step on."""

    event: Literal["weights"] = "weights"
    weights: DescriptorWeights
    serial: Count

    @property
    def moved(self) -> dict[str, float]:
        """The weights, by the dotted name of their setting."""
        return {f"weights.{name}": value for name, value in self.weights.items()}


class SettingsChanged(Event):
    """Some settings are others from the next step on: rates and coefficients of losses, and weights with them."""

    event: Literal["settings"] = "settings"
    settings: MovedSettings
    serial: Count

    @property
    def moved(self) -> dict[str, float]:
        """The settings, by dotted name."""
        return self.settings


class Forked(Event):
    """The run was forked here, off another one and with these settings changed.

    Attributes:
        first: descriptor weights with which its past began; None in forks of earlier versions.
        first_settings: the same of other settings that may be moved while training, by dotted name.
    """

    event: Literal["forked"] = "forked"
    of: Words
    changes: dict[Words, Any]
    first: DescriptorWeights | None = None
    first_settings: MovedSettings | None = None


class MemberChanged(Event):
    """A member of the variant axis collapsed, diverged or recovered."""

    event: Literal["member"] = "member"
    member: Count
    variant: Words
    seed: Count
    what: Annotated[str, Field(pattern="^(collapsed|diverged|recovered)$")]

    @property
    def mark(self) -> str:
        """As for `Event`: what became of the member."""
        return self.what


class Unknown(Event):
    """An event of another version of this program."""


EVENTS: dict[str, type[Event]] = {
    "launched": Launched,
    "queued": Queued,
    "started": Started,
    "resumed": Resumed,
    "paused": Paused,
    "continued": Continued,
    "stopped": Stopped,
    "finished": Finished,
    "diverged": Diverged,
    "failed": Failed,
    "weights": WeightsChanged,
    "settings": SettingsChanged,
    "forked": Forked,
    "member": MemberChanged,
    "not captured": NotCaptured,
    "compiles": Compiles,
    "not compiled": NotCompiled,
}


# -- reading and writing -----------------------------------------------------------------------------------------------


def event_of(record: Mapping[str, Any]) -> Event:
    """The event that a record of `scalars.jsonl` holds.

    Raises:
        ValueError: it has no step or name, or a known event lacks a part or has one of another type.
    """
    name = record.get("event")
    return (EVENTS.get(name, Unknown) if isinstance(name, str) else Unknown).model_validate(record)


def read_event(record: Mapping[str, Any]) -> Event | None:
    """The same for readers that take what is there: `Unknown` for a damaged event; None without a step or name."""
    try:
        return event_of(record)
    except ValidationError:
        pass
    try:
        return Unknown.model_validate(record)
    except ValidationError:
        return None


def append_event(run_dir: Path, event: Event) -> None:
    """Append an event to the records of a run."""
    append_line(run_dir / RECORDS, event.record())


# -- what events tell --------------------------------------------------------------------------------------------------


def last_state_event(events: Sequence[Event]) -> Event | None:
    """The last event that tells the state of its run; events are oldest first."""
    return next((event for event in reversed(events) if event.state), None)


def state_of(last: Event | None, *, alive: bool) -> str:
    """State of a run by `last_state_event` and whether its trainer is alive."""
    state = (last.state if last else None) or "new"
    if alive:
        return state if state in ALIVE else "starting"
    if last and state == "starting" and abs(time.time() - (last.clock or 0)) < STARTING:  # the clock may be set back
        return state
    return "interrupted" if state in ALIVE else state


def times(events: Iterable[Event]) -> list[float]:
    """Times of the events of the trainer process, seconds since the epoch."""
    return [event.clock for event in events if event.clock is not None]


def reason_of(event: Event | None) -> str | None:
    """Why the trainer left, if this event says so."""
    return event.reason if isinstance(event, Diverged | Failed) else None


def training_device(events: Sequence[Event]) -> str | None:
    """Name of the device that the run was last trained on; None before."""
    begun = (event for event in reversed(events) if isinstance(event, Started | Resumed))
    return next((event.device for event in begun if event.device), None)


def why_not_captured(events: Sequence[Event]) -> str:
    """Why the last training's steps are not replayed as a graph on its GPU; "" if they are, or on a CPU."""
    for event in reversed(events):
        if isinstance(event, NotCaptured):
            return event.reason
        if isinstance(event, Started | Resumed):
            break
    return ""


def compiled_networks(events: Sequence[Event]) -> str:
    """Whether the last training computes by compiled networks, in words, and if not why; "" if it was not to."""
    for event in reversed(events):
        if isinstance(event, NotCompiled):
            return f"networks not compiled: {event.reason}"
        if isinstance(event, Compiles):
            return "compiled networks"
        if isinstance(event, Started | Resumed):
            break
    return ""


LOST = ("collapsed", "diverged")


def lost_members(events: Iterable[Event]) -> dict[int, str]:
    """Members that are collapsed or diverged, and which of the two, by events that are oldest first."""
    last = {event.member: event.what for event in events if isinstance(event, MemberChanged)}
    return {member: what for member, what in last.items() if what in LOST}


def describe_lost_members(events: Iterable[Event], members: int) -> str:
    """Number of collapsed and diverged members in words, such as "1 of 6 diverged"; empty if none is lost."""
    counts = Counter(lost_members(events).values())
    return ", ".join(f"{counts[what]} of {members} {what}" for what in LOST if counts[what])
