"""What is odd in a table of points: rows and columns that are probably no part of the data, and own its scale.

    z = |x − median| / σ        σ = (third − first quartile) / 1.349, a standard deviation that outliers do not move

A value is far off from z > 20 on: a row of wavelengths above reflectances, −9999 for a missing number. Each anomaly is
one line that ends with the switch of `mvm train` that leaves it out; without the switch it is trained on. Data with
heavy tails, whole numbers or few different values are ordinary.
"""

from __future__ import annotations

import re

import numpy as np

from mvm.data.tables import Table, few

__all__ = ["describe"]

FAR = 20.0  # robust standard deviations
APART = 2.0  # times as far from the median as all other values: a first row, or a well-known mark
REPEATS = 3  # of a far-off value, which make it a mark of missing numbers
MOST_MARKS = 3  # more far-off repeated values are a heavy tail of whole numbers
NINES = (99, 999, 9999, 99999, 999999, 99.9, 999.9, 9999.9, 999.99, 9999.99)
FILLS = (1e20, 1e30, 1e34, 1e36, 9.969209968386869e36)  # of NetCDF and other formats
BELOW = tuple(-mark for mark in (*NINES, *FILLS, 2**15, 2**31))
KNOWN = np.array([kind(mark) for mark in (*NINES, *FILLS, *BELOW) for kind in (np.float64, np.float32)], np.float64)
ENOUGH = 16  # rows without any well-known mark, for the median and deviation of the others
UNNAMED = re.compile(r"|Unnamed: \d+")  # names of an index: none, and pandas' for none
COARSE = 1e-6  # step between neighbouring float64 values, in standard deviations
SMOOTH = 0.2  # of σ: typical step between neighbouring rows of a trajectory
MOST_COLUMNS = 20  # numbers of columns in one line


def describe(table: Table) -> list[str]:
    """Describe a table for a look before training.

    Returns:
        A summary such as "800 points, 2 columns: x, y", then one line per kind of anomaly: a first row that may be a
        header, marks of missing numbers, a row of totals, columns that may be an index, constant columns, numbers too
        large for their differences.
    """
    n, dim = table.values.shape
    summary = f"{n:,} points, {dim} columns"
    summary += f": {few(table.names)}" if table.names else ""
    summary += f"; {table.left_out:,} rows left out" if table.left_out else ""
    marks = _marks(table.values)
    found = (
        _header(table, marks), _missing(table, marks), _total(table), _indices(table), _unnamed(table),
        _constants(table), _coarse(table),
    )  # fmt: skip
    return [summary, *(line for line in found if line)]


# -- rows --------------------------------------------------------------------------------------------------------------


def _header(table: Table, marks: list[float]) -> str:
    """Line about a first row that seems to hold numbers as names: 0, 1, 2; 400, 402, 404; 1990, 1991."""
    values = table.values[~np.isin(table.values, marks).any(axis=1)] if marks else table.values
    if table.names or not (_is_sequence(values) or _is_foreign(values)):
        return ""
    first = few([_plain(value) for value in values[0]], 4)
    return f"the first row ({first}) is read as a point; if it holds the columns' names: --header true"


def _is_sequence(values: np.ndarray) -> bool:
    """Whether the first row alone counts up in equal steps of whole numbers, and does not begin a path."""
    steps = np.diff(values, axis=1)
    whole = (values == np.round(values)).all(axis=1)
    sequences = whole & (steps == steps[:, :1]).all(axis=1) & (steps[:, 0] > 0) & (values[:, 0] >= 0)
    if values.shape[1] == 2:  # any two numbers are in equal steps
        sequences &= steps[:, 0] == 1
    return bool(sequences[0]) and not sequences[1:].any() and not _begins_path(values)


def _begins_path(values: np.ndarray) -> bool:
    """Whether rows follow each other in small steps, also from the first to the second."""
    steps = np.abs(np.diff(values, axis=0))
    typical = np.median(steps[1:], axis=0)
    return bool(((typical <= SMOOTH * values[1:].std(axis=0)) & (steps[0] <= 10 * typical)).all())


def _is_foreign(values: np.ndarray) -> bool:
    """Whether the first row is far off and apart from all others: in each column, or in half of them if sorted."""
    first, rest = values[0], values[1:]
    enough = len(first) / 2
    if ((first < rest.min(axis=0)) | (first > rest.max(axis=0))).sum() < enough:
        return False
    centre, spread = _centre_and_spread(rest)
    distance = np.abs(first - centre)
    far = (distance > FAR * spread) & (distance > APART * np.abs(rest - centre).max(axis=0))
    steps = np.diff(first)
    is_sorted = (steps > 0).all() or (steps < 0).all()
    return int(far.sum()) >= (max(2, enough) if is_sorted else len(first))


def _marks(values: np.ndarray) -> list[float]:
    """Far-off values that seem to mark missing numbers: repeated, or well-known, and apart from all others."""
    clean = values[~np.isin(values, KNOWN).any(axis=1)]
    centre, spread = _centre_and_spread(clean if len(clean) >= ENOUGH else values)
    far = (np.abs(values - centre) > FAR * spread) & (spread > 0)
    marks, counts = np.unique(values[far], return_counts=True)
    repeated = counts >= REPEATS
    known = np.isin(marks, KNOWN) & ((counts > 1) | (marks < 0) | (marks >= min(FILLS)))
    if (repeated & ~known).sum() > MOST_MARKS:
        repeated[:] = False
    suspects = sorted(marks[repeated | known], key=lambda mark: float(np.abs(mark - centre).min()))
    ordinary = ~np.isin(values, suspects)
    found: list[float] = []
    for mark in suspects:  # the nearest first: those beyond an ordinary one have to be far from it, too
        factor = APART if mark in KNOWN else FAR
        if _stands_apart(values, mark, factor, ordinary, centre):
            found.append(float(mark))
        else:
            ordinary |= values == mark
    return found


def _missing(table: Table, marks: list[float]) -> str:
    if not marks:
        return ""
    rows = int(np.isin(table.values, marks).any(axis=1).sum())
    written = [_plain(mark) for mark in marks]
    # the command line takes -10000 for a number, and -1e4 for a flag
    typed = [f"{mark:.0f}" if re.match("-.*e", word) else word for mark, word in zip(marks, written, strict=True)]
    return (
        f"{few(written)} {'are' if len(marks) > 1 else 'is'} far from all other values, in {rows:,} "
        f"row{'s' * (rows > 1)}; if it marks missing numbers: --missing {' '.join(typed)}"
    )


def _total(table: Table) -> str:
    """Line about a last row that is the sum of all others."""
    others, last = table.values[:-1], table.values[-1]
    if not last.all() or not np.allclose(last, others.sum(axis=0), rtol=1e-9, atol=0):
        return ""
    alone = [value for value in last if not (others == value).any()]
    return f"the last row is the sum of all others; to leave it out: --missing {_plain(alone[0])}" if alone else ""


def _stands_apart(values: np.ndarray, mark: float, factor: float, ordinary: np.ndarray, centre: np.ndarray) -> bool:
    """Whether a mark is `factor` times as far from the centre as any ordinary value of its columns."""
    for j in np.flatnonzero((values == mark).any(axis=0)):
        others = values[ordinary[:, j], j]
        if not len(others) or abs(mark - centre[j]) < factor * np.abs(others - centre[j]).max():
            return False
    return True


def _centre_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation of each column `(D,)`.

    Where half of a column is one value, the deviation is that of the values beside it from it; 0 in a constant column.
    """
    low, centre, high = np.percentile(values, (25, 50, 75), axis=0)
    spread = (high - low) / 1.349
    for j in np.flatnonzero(spread == 0):
        beside = np.abs(values[:, j] - centre[j])
        beside = beside[beside > 0]
        spread[j] = np.median(beside) if len(beside) else 0
    return centre, spread


# -- columns -----------------------------------------------------------------------------------------------------------


def _indices(table: Table) -> str:
    """Line about columns that number the rows from 0 or 1, in order or shuffled."""
    n = len(table.values)
    first = table.values.min(axis=0)
    candidates = np.flatnonzero(np.isin(first, (0, 1)) & (table.values.max(axis=0) == first + n - 1))
    counting = [int(j) for j in candidates if (np.sort(table.values[:, j]) == first[j] + np.arange(n)).all()]
    if not counting or len(counting) == table.values.shape[1]:  # ranks in every column
        return ""
    verb = "number" if len(counting) > 1 else "numbers"
    return f"{_columns(table, counting)} {verb} the rows; if it is an index: {_drop(table, counting)}"


def _unnamed(table: Table) -> str:
    """Line about a first column without a name, which is an index in most files, whatever its order."""
    if not table.names or table.columns[0] != 1 or not UNNAMED.fullmatch(table.names[0]):
        return ""
    if _indices(table) and _indices(table).startswith(_columns(table, [0])):
        return ""
    return f"{_columns(table, [0])} is trained on; if it is an index: {_drop(table, [0])}"


def _constants(table: Table) -> str:
    constant = [int(j) for j in np.flatnonzero((table.values == table.values[0]).all(axis=0))]
    if not constant:
        return ""
    verb = "never change" if len(constant) > 1 else "never changes"
    return f"{_columns(table, constant)} {verb}, and can be left out: {_drop(table, constant)}"


def _coarse(table: Table) -> str:
    """Line about columns whose numbers are too large for float64 to keep their differences."""
    spread = table.values.std(axis=0)
    steps = np.spacing(np.abs(table.values).max(axis=0))
    coarse = [int(j) for j in np.flatnonzero((spread > 0) & (steps > COARSE * spread))]
    if not coarse:
        return ""
    verb = "are" if len(coarse) > 1 else "is"
    return (
        f"{_columns(table, coarse)} {verb} rounded to steps of {steps[coarse].max():.2g} by float64; subtract an "
        f"offset in the file, or leave out: {_drop(table, coarse)}"
    )


def _columns(table: Table, indices: list[int]) -> str:
    titles = [table.title(j) for j in indices]
    return f"column{'s' * (len(titles) > 1)} {few(titles)}"


def _drop(table: Table, indices: list[int]) -> str:
    numbers = [str(table.columns[j]) for j in indices[:MOST_COLUMNS]]
    return " ".join(["--drop-columns", *numbers, *["..."] * (len(indices) > MOST_COLUMNS)])


def _plain(value: float) -> str:
    """A number as it is written in a file: -9999 rather than -9999.0."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else repr(float(value))
