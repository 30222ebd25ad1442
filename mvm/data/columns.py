"""The columns of a table in a file, each described so that a person can choose which to train on.

    index      x[i + 1] = x[i] + 1 for all rows, in a column named "id" or "index", or not at all
    text       more than half of the cells are words, dates or times

Neither is trained on unless asked for. A few words among numbers are mistakes, not text: `read_table` names the first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvm.data.tables import Cells, read_cells

__all__ = ["Column", "describe_columns", "dropped_at_first"]

INDEX_NAME = re.compile(r"|unnamed: ?\d+|id|index", re.IGNORECASE)  # pandas writes "Unnamed: 0" for none
TIME = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2}.*)?")
MOST_SHOWN = 24  # characters of a cell in a reason


@dataclass(frozen=True)
class Column:
    """A column of a file.

    Attributes:
        number: in the file, from 1.
        name: None without a header.
        mean, deviation, low, high: of its numbers; NaN without any.
        unique: number of different numbers.
        empty: number of cells without anything that could be a number: empty, NA, null, nan.
        missing: number of cells that are empty, or marked as missing.
        is_index: it numbers the rows.
        refusal: why it cannot be trained on, such as "text: 'setosa' in line 2"; empty if it can.
    """

    number: int
    name: str | None
    mean: float
    deviation: float
    low: float
    high: float
    unique: int
    empty: int
    missing: int
    is_index: bool = False
    refusal: str = ""


def describe_columns(path: Path, *, header: bool = False, missing: Sequence[str] = ()) -> list[Column]:
    """Describe all columns of a file of points.

    Args:
        path: the file.
        header: the first row holds names even if they are numbers.
        missing: numbers that mark a missing one, as in `mvm.data.tables.read_table`.

    Raises:
        ConfigError: the file is no table, or has fewer than two columns; one line.
    """
    cells = read_cells(path, header=header)
    empty = np.isnan(cells.values).sum(0) - cells.words
    for mark in missing:
        cells.values[cells.values == float(mark)] = np.nan
    return [_describe(cells, j, int(empty[j])) for j in range(cells.values.shape[1])]


def dropped_at_first(columns: Sequence[Column]) -> tuple[str, ...]:
    """Numbers of the columns to leave out until a person chooses: text, and an index if two columns remain."""
    usable = [column for column in columns if not column.refusal]
    indices = [column for column in usable if column.is_index]
    spared = indices if len(usable) - len(indices) < 2 else []
    kept = {column.number for column in usable if column in spared or not column.is_index}
    return tuple(str(column.number) for column in columns if column.number not in kept)


def _describe(cells: Cells, j: int, empty: int) -> Column:
    values, name = cells.values[:, j], cells.names[j] if cells.names else None
    numbers = values[~np.isnan(values)]
    unique, absent = len(np.unique(numbers)), len(values) - len(numbers) - cells.words[j]
    if 2 * cells.words[j] > len(values):
        line, cell = cells.first[j]
        kind = "dates or times" if TIME.fullmatch(cell) else "text"
        shown = cell if len(cell) <= MOST_SHOWN else f"{cell[:MOST_SHOWN]}…"
        refusal = f"{kind}: {shown!r} in line {line}"
    else:
        refusal = "" if len(numbers) else "no numbers"
    mean = deviation = low = high = math.nan
    counts = len(values) > 1 and bool((np.diff(values) == 1).all())
    if len(numbers):
        low, high = float(numbers.min()), float(numbers.max())
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = float(numbers.mean()), float(numbers.std())
    is_index = counts and INDEX_NAME.fullmatch(name or "") is not None
    return Column(j + 1, name, mean, deviation, low, high, unique, empty, absent, is_index, refusal)
