"""An exhibit: a result of the survey as a measurement over seeds, with a picture for each value of one knob.

    rows      what was measured, one dict for each seed; row["holds"] is that seed's outcome
    pictures  panels of curves and points by the knob's value, of the first seed unless a panel says otherwise

Source of all: Loaiza-Ganem, Ross, Hosseinzadeh, Caterini & Cresswell, Deep generative models through the lens of the
manifold hypothesis: a survey and new connections, TMLR 2024.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import Tensor

__all__ = ["Colour", "Exhibit", "Panel", "Result", "Series", "line", "points"]

Colour = Literal["real", "fake", "quiet", "first", "second", "third"]
DIGITS = 4  # significant ones of stored numbers


@dataclass(frozen=True)
class Series:
    """A curve or a cloud in a panel.

    Attributes:
        name: in the legend; "" for none.
        x, y: coordinates, equally many.
        colour: what it stands for.
        mark: how it is drawn.
    """

    name: str
    x: list[float]
    y: list[float]
    colour: Colour
    mark: Literal["points", "line", "dashed"] = "line"


@dataclass(frozen=True)
class Panel:
    """Axes with curves and clouds.

    Attributes:
        title: of the panel.
        series: drawn in this order.
        x, y: titles of the axes; "" for coordinates of data.
        log: axes with a logarithmic scale.
    """

    title: str
    series: list[Series]
    x: str = ""
    y: str = ""
    log: Literal["", "x", "y", "xy"] = ""

    @property
    def is_cloud(self) -> bool:
        """Whether both axes are coordinates, and share one scale."""
        return not (self.x or self.y)


Measured = tuple[list[dict[str, Any]], dict[str, list[Panel]]]
"""Rows, and pictures by the knob's value"""


@dataclass(frozen=True)
class Exhibit:
    """One result of the survey.

    Attributes:
        title: what it says.
        description: a short explanation, Markdown; each term is explained where it first stands.
        source: where the survey has it.
        criterion: when it holds for a seed, in words.
        knob: what the reader may change.
        settings: of a run in the Lab that shows it, as for `Config.make`.
        shown: columns of the rows that the verdict quotes, with a label for each.
        table: names of the columns and of the lines of a table of scores, lower is better; the rows have them as
            "column, line". Without one, empty.
        measure: trains and measures, given the seeds and the share of the training steps to do.
    """

    title: str
    description: str
    source: str
    criterion: str
    knob: str
    settings: dict[str, Any]
    shown: dict[str, str]
    measure: Callable[[Sequence[int], float], Measured] = field(repr=False)
    table: tuple[Sequence[str], Sequence[str]] = ((), ())


@dataclass(frozen=True)
class Result:
    """What was measured of one exhibit.

    Attributes:
        exhibit: its name in `EXHIBITS`.
        rows: one for each seed.
        pictures: panels by the knob's value.
        seconds: of processor time.
    """

    exhibit: str
    rows: list[dict[str, Any]]
    pictures: dict[str, list[Panel]]
    seconds: float

    @property
    def held(self) -> int:
        """Number of seeds for which it holds."""
        return sum(row["holds"] for row in self.rows)

    @property
    def verdict(self) -> str:
        """In how many seeds it holds, in words."""
        return f"holds in {self.held} of {len(self.rows)} seeds"

    def median(self, column: str) -> float:
        """Median of a column over the seeds."""
        return float(statistics.median(row[column] for row in self.rows))

    @classmethod
    def read(cls, values: dict[str, Any]) -> Result:
        """A result from the dict that `dataclasses.asdict` made of it."""
        pictures = {
            value: [Panel(**panel | {"series": [Series(**series) for series in panel["series"]]}) for panel in panels]
            for value, panels in values["pictures"].items()
        }
        return cls(**values | {"pictures": pictures})


def points(name: str, cloud: Tensor, colour: Colour, *, most: int = 200) -> Series:
    """The first points of a cloud `(n, D)`, along its first and last axes: a swiss roll is seen from its open side."""
    x, y = np.asarray(cloud[:most, [0, -1]].double()).T
    return Series(name, rounded(x), rounded(y), colour, "points")


def line(name: str, x: Any, y: Any, colour: Colour, mark: Literal["line", "dashed", "points"] = "line") -> Series:
    """A curve through points `(n,)`, `(n,)`."""
    return Series(name, rounded(np.asarray(x, dtype=float)), rounded(np.asarray(y, dtype=float)), colour, mark)


def rounded(values: Any) -> list[float]:
    """Numbers with `DIGITS` significant digits."""
    return [float(f"{value:.{DIGITS}g}") for value in np.ravel(values)]
