"""The door of a run: how its files are read, and the models of those that hold JSON or text.

    config_in        config.json                a `Config`
    control_in       control.json               requests to the trainer
    Origin           fork.json                  the run that was forked
    scores_in        scores.json                final scores, one dict per member
    text_in          note.txt

Anyone may have written a run. Its files are checked here, in `mvm.runs.records` (scalars.jsonl) and in
`mvm.runs.views` (arrays); what passes is trusted everywhere else. Each reader raises ValueError, in one line, for
content that does not fit, and OSError for a file that cannot be read now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mvm.config import SCHEMA, Config, one_line
from mvm.errors import RunError
from mvm.plain import MOST_TEXT, parse, read_bytes, read_object
from mvm.runs.control import Control, read_control
from mvm.runs.events import Count, DescriptorWeights, MovedSettings, Step, Words

__all__ = [
    "MOST_SCORES",
    "Members",
    "Number",
    "Origin",
    "ScoreRow",
    "check_rows",
    "config_in",
    "control_in",
    "fit",
    "is_comparable",
    "scores_in",
    "text_in",
]

T = TypeVar("T")
Members = Sequence[tuple[str, int]]

MOST_SCORES = 2**24  # bytes of scores.json

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
WEIGHTS = TypeAdapter(DescriptorWeights, config=STRICT)
SETTINGS = TypeAdapter(MovedSettings, config=STRICT)
Number = Annotated[float, Field(gt=-1e300, lt=1e300, strict=True, allow_inf_nan=False)]  # readers count with it


def text_in(path: Path) -> str:
    """Text in a file; errors as for `open_plain`, and ValueError where it is not UTF-8."""
    return read_bytes(path, most=MOST_TEXT).decode("utf-8")


def fit(validate: Callable[..., T], *values: Any, **parts: Any) -> T:
    """Validate a value, or its parts, and return the model.

    Raises:
        ValueError: it does not fit; one line with the first place, the problem and the value.
    """
    try:
        return validate(*values, **parts)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def _of_parts(model: type[T], path: Path) -> T:
    """Read a JSON object into a dataclass; unknown keys are passed over."""
    parts = read_object(path)
    return fit(model, **{part.name: parts[part.name] for part in fields(model) if part.name in parts})  # type: ignore[arg-type]


# -- documents ---------------------------------------------------------------------------------------------------------


def config_in(path: Path) -> Config:
    """The config of a run.

    Raises:
        OSError: it is not there, or cannot be read now.
        RunError: it is of a newer schema.
        ValueError: it is no config.
    """
    try:
        values = parse(read_bytes(path, most=MOST_TEXT))
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    version = values.get("schema_version", 0) if isinstance(values, dict) else 0
    if isinstance(version, int) and version > SCHEMA:
        name = path.parent.name
        raise RunError(f"run: {name} has schema {version}, this program knows up to {SCHEMA}; update it")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path.name} is not valid: {one_line(error)}") from None


def control_in(path: Path) -> Control:
    """Requests to the trainer in a file; errors as for `read_bytes`, and ValueError for other content."""
    control = read_control(path)
    fit(WEIGHTS.validate_python, control.weights)
    fit(SETTINGS.validate_python, control.settings)
    return control


@dataclass(frozen=True, config=STRICT)
class Origin:
    """Where a fork comes from.

    Attributes:
        run: name of the run that was rewound.
        step: to which it was rewound.
        changes: new values of the changed settings, by dotted name.
    """

    run: Words
    step: Step
    changes: dict[Words, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Origin:
        """Read an origin; errors as for `read_bytes`, and ValueError for other content."""
        return _of_parts(cls, path)

    @property
    def place(self) -> str:
        """Run and step, as tables have them."""
        return f"{self.run}, step {self.step}"


class ScoreRow(BaseModel):
    """Scores of one member: finite numbers by key, None where a score has no meaning; text only in declared fields."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Number | None]

    variant: Words | None = None
    seed: int | None = None
    step: Step | None = None
    n: Count | None = None
    coordinates: Words | None = None


ROWS = TypeAdapter(list[ScoreRow])


def check_rows(rows: Any, members: Members | None) -> None:
    """Check rows of scores, one per member in the order of the variant axis; any members when None.

    Raises:
        ValueError: a row is invalid, or of another member.
    """
    found = fit(ROWS.validate_python, rows)
    if members is None:
        return
    if len(found) != len(members):
        raise ValueError(f"it has {len(found)} rows of scores, not {len(members)}")
    for row, (variant, seed) in zip(found, members, strict=True):
        if row.variant not in (None, variant) or row.seed not in (None, seed):
            raise ValueError(f"it has scores of {row.variant}, seed {row.seed}, in place of {variant}, seed {seed}")


def is_comparable(scores: Mapping[str, Any], coordinates: str) -> bool:
    """Whether scores were measured in these coordinates of their data; earlier versions had others for files."""
    return bool(scores.get("coordinates", "own") == coordinates)


def scores_in(path: Path, members: Members) -> list[dict[str, Any]]:
    """Final scores in a file, one dict per member; errors as for `read_bytes`, and ValueError for other content."""
    rows: list[dict[str, Any]] = parse(read_bytes(path, most=MOST_SCORES))
    check_rows(rows, members)
    if lacking := next((key for row in rows for key in ("step", "n") if row.get(key) is None), None):
        raise ValueError(f"scores without {lacking}")
    return rows
