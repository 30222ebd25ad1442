"""A table of numbers in a file: a CSV file as programs and people write it, or a two-dimensional NPY array.

    bytes -> text          UTF-8, UTF-16 or Windows-1252
    text  -> lines         `#` comments, a `sep=;` line and blank lines are passed over
    lines -> cells         the delimiter (comma, semicolon, tab, bar, blanks) that gives equal counts, and most numbers
    cells -> float64       plain decimal numbers, with a decimal point or comma, equal to Python's `float(cell)`

A cell that is no plain number, or may be two numbers, is refused with its line, column and value.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mvm.errors import ConfigError

__all__ = ["MIN_POINTS", "POINT_FILES", "Cells", "Table", "read_cells", "read_table"]

MIN_POINTS = 64
POINT_FILES = (".csv", ".tsv", ".txt", ".npy")  # by ending; the delimiter is found in the text
MAX_BYTES = 2**31  # of a file, and of its numbers in float64
LARGEST = 1e150  # squares of larger numbers overflow
SAMPLE_LINES, SAMPLE_BYTES = 1000, 2**18  # at the start of a file, from which the delimiter is chosen
LONGEST_LINE = 2**22  # bytes
HEADER_LINES = 50  # most lines of a header, whose quoted names may hold line breaks
MOST_SHOWN = 40  # characters of a cell in a message
MOST_NAMES = 8  # names in a message

BLANKS = " "  # delimiter of columns that any number of blanks and tabs separate
DELIMITERS = (",", ";", "\t", "|", BLANKS)
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
GROUPED = re.compile(r"[+-]?[0-9]{1,3}([.,' \u00a0\u202f][0-9]{3})+([.,][0-9]+)?")
ABSENT = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none"})  # cells that `nan` stands for, in lower case
NUMERIC = b'0123456789.,+-eE;|\t \n"'  # bytes of numbers, delimiters and quotes
OTHERWISE = re.compile(rb"(?i)tru|fals|inf|nan|\f")  # words that pandas reads as numbers, without their e
CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f")
BYTE_ORDER_MARKS = (  # those of UTF-32 begin with those of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Table:
    """Numbers of a file: finite, and enough to train on.

    Attributes:
        values: `(N, D)` float64, C-contiguous.
        names: of the D columns; empty without a header.
        columns: number of each of the D columns in the file, from 1.
        left_out: number of rows left out because of a missing number.
    """

    values: np.ndarray
    names: tuple[str, ...]
    columns: tuple[int, ...]
    left_out: int = 0

    def title(self, j: int) -> str:
        """Number and name of the column at index `j`, such as "2 (height)"."""
        return _title(self.columns[j], self.names[j] if self.names else None)


def read_table(
    path: Path, *, header: bool = False, missing: Sequence[str] = (), drop_columns: Sequence[str] = ()
) -> Table:
    """Read and check the numbers of a file of text, or of an NPY file.

    Args:
        path: the file; its ending tells text from NPY.
        header: the first row holds names even if they are numbers. A first row without numbers always does.
        missing: numbers that mark a missing one; rows that contain a mark are left out. `nan` also stands for cells
            that are empty, NA, N/A, null or none.
        drop_columns: columns to leave out, by number from 1, or by name.

    Raises:
        ConfigError: the file is unreadable, or its numbers fail a check; one line with file, position and cause.
    """
    if not path.is_file():
        raise ConfigError(f"data: no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise _too_large(path.name)
    if path.suffix.lower() == ".npy":
        rows, names = _read_npy(path, header=header)
        kept = _kept_columns(drop_columns, rows.shape[1], names, path.name)
        rows = rows if len(kept) == rows.shape[1] else rows[:, kept]
    else:
        try:
            lines = _read_lines(path, header=header, missing=missing, drop_columns=drop_columns)
        except csv.Error as error:
            raise ConfigError(f"data: {path.name} is no table of numbers: {error}") from None
        rows, names, kept = lines.numbers(), lines.names, lines.kept
    values, left_out = _checked(rows, kept, missing, path.name)
    return Table(values, tuple(names[j] for j in kept) if names else (), tuple(j + 1 for j in kept), left_out)


@dataclass(frozen=True)
class Cells:
    """Cells of a file, some of whose columns may hold no numbers.

    Attributes:
        values: `(n, width)` float64; NaN where a cell is no finite number.
        names: of the columns; empty without a header.
        words: number of cells in each column that are neither numbers nor stand for a missing one.
        first: line and cell of the first of them, by the column's index.
    """

    values: np.ndarray
    names: tuple[str, ...]
    words: tuple[int, ...]
    first: dict[int, tuple[int, str]]


def read_cells(path: Path, *, header: bool = False) -> Cells:
    """Read all columns of a file, for a choice among them; arguments as in `read_table`.

    Raises:
        ConfigError: the file is no table, or has fewer than two columns; one line.
    """
    if path.suffix.lower() == ".npy":
        rows, names = _read_npy(path, header=header)
        _kept_columns((), rows.shape[1], names, path.name)
        words: list[int] = [0] * rows.shape[1]
        first: dict[int, tuple[int, str]] = {}
    else:
        try:
            lines = _read_lines(path, header=header, missing=(), drop_columns=())
            (rows, words, first), names = lines.cells(), lines.names
        except csv.Error as error:
            raise ConfigError(f"data: {path.name} is no table of numbers: {error}") from None
    with np.errstate(over="ignore"):
        values = np.array(rows, dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return Cells(values, tuple(names), tuple(words), first)


# -- checks ------------------------------------------------------------------------------------------------------------


def _checked(rows: np.ndarray, kept: list[int], missing: Sequence[str], file: str) -> tuple[np.ndarray, int]:
    """Convert kept columns `(n, D)` to float64 without rows in which a number is missing, whose count is returned."""
    if rows.size * 8 > MAX_BYTES:
        raise _too_large(file)
    present = np.ones(len(rows), dtype=bool)
    for mark in missing:
        present &= ~_equals(rows, float(mark)).any(axis=1)
    with np.errstate(over="ignore"):  # a long double may not fit
        values = np.ascontiguousarray(rows, dtype=np.float64)
    left_out = len(values) - int(present.sum())
    values = values[present] if left_out else values
    if len(values) < MIN_POINTS:
        without = f" besides {left_out} rows that are left out" if left_out else ""
        raise ConfigError(f"data: {file} has {len(values)} points{without}; at least {MIN_POINTS} are needed")
    fits = np.abs(values) <= LARGEST
    if not fits.all():
        row, j = np.argwhere(~fits)[0]
        place = f"point {np.flatnonzero(present)[row] + 1}, column {kept[j] + 1}"
        too_large = f"change the column's unit, as numbers end at {LARGEST:.2g}"
        advice = too_large if np.isfinite(values[row, j]) else "mend it, or leave such rows out: --missing nan"
        raise ConfigError(f"data: {file} has {values[row, j]} in {place}; {advice}")
    if (values == values[0]).all():
        raise ConfigError(f"data: every point of {file} is the same")
    return values, left_out


def _equals(rows: np.ndarray, mark: float) -> np.ndarray:
    """Where `rows` hold a mark of missing numbers, rounded to their dtype."""
    if math.isnan(mark):
        return np.asarray(~np.isfinite(rows))
    if rows.dtype.kind != "f":
        return np.asarray(rows == mark)
    with np.errstate(over="ignore"):
        return np.asarray(rows == rows.dtype.type(mark))


def _kept_columns(drop: Sequence[str], width: int, names: Sequence[str], file: str) -> list[int]:
    """Indices of the columns that are not dropped.

    Raises:
        ConfigError: a dropped column does not exist, or its name is not unique; or fewer than two columns remain.
    """
    dropped = set()
    for word in drop:
        named = [j for j, name in enumerate(names) if name == word]
        if word.isascii() and word.isdigit() and 1 <= int(word) <= width:
            dropped.add(int(word) - 1)
        elif len(named) == 1:
            dropped.add(named[0])
        elif named:
            raise ConfigError(f"drop_columns: {len(named)} columns of {file} are named {word!r}; give a number")
        else:
            known = f"a number from 1 to {width}" + (f", or a name: {few(names)}" if names else "")
            raise ConfigError(f"drop_columns: {file} has no column {word!r}; give {known}")
    kept = [j for j in range(width) if j not in dropped]
    if len(kept) < 2:
        left = f" left of {width}" if dropped else ""
        raise ConfigError(f"data: {file} has {len(kept)} column{left}; a point needs at least 2")
    return kept


def _too_large(file: str) -> ConfigError:
    return ConfigError(f"data: {file} is larger than {MAX_BYTES >> 30} GiB in float64; give a sample of its points")


def _too_long(file: str, line: int) -> ConfigError:
    return ConfigError(f"data: {file} line {line} is longer than {LONGEST_LINE >> 20} MiB; a row is a line of its own")


def few(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Join at most `most` names by commas, with "..." for the rest."""
    return ", ".join([*(name or "(unnamed)" for name in names[:most]), *["..."] * (len(names) > most)])


def _title(number: int, name: str | None) -> str:
    return f"{number}" if name is None else f"{number} ({_short(name) or 'unnamed'})"


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


# -- NPY ---------------------------------------------------------------------------------------------------------------


def _read_npy(path: Path, *, header: bool) -> tuple[np.ndarray, list[str]]:
    """Read a two-dimensional NPY array `(n, width)` without opening pickled objects, and the names of its columns.

    Raises:
        ConfigError: the file is no complete array, or no table of numbers.
    """
    try:
        _check_promise(path)
        with path.open("rb") as file:
            rows = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, SyntaxError, TokenError) as error:  # a malformed header raises SyntaxError or TokenError
        reason = "it holds pickled objects, which are not opened" if "pickle" in str(error).lower() else error
        raise ConfigError(f"data: {path.name} is no plain .npy array: {reason}") from None
    except (EOFError, OSError, OverflowError, MemoryError) as error:
        raise ConfigError(f"data: {path.name} is no complete .npy file: {error}") from None
    if rows.dtype.kind not in "fiub":
        raise ConfigError(f"data: {path.name} holds {rows.dtype} values; points must be numbers")
    if rows.ndim != 2:
        pictures = "; if it holds pictures: mvm prepare images FILE" if rows.ndim in (3, 4) else ""
        raise ConfigError(
            f"data: {path.name} has shape {rows.shape}; points must be rows of one two-dimensional table{pictures}"
        )
    if not header or not len(rows):
        return rows, []
    return rows[1:], [repr(cell) for cell in rows[0].tolist()]


def _check_promise(path: Path) -> None:
    """Compare the size that a header promises with the file's, before any memory is taken.

    Raises:
        EOFError: the file is shorter.
        ValueError: there is no header that can be read.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:  # of structured arrays alone
            return
        shape, _, dtype = read_header[version](file)
        promised, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
    if not dtype.hasobject and promised > there:
        raise EOFError(f"its header promises {promised:,} bytes of numbers, and {there:,} are there")


# -- CSV ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """Lines of numbers of a CSV file, without header and comments.

    Attributes:
        file: name of the file.
        body: the lines, in UTF-8; a comment is a blank line, so that lines keep their numbers.
        number: number of the body's first line in the file.
        delimiter, decimal: characters between cells, and before decimals.
        trailing: each line ends with a delimiter, behind which there is no column.
        width: number of cells in a line, as in the line `wide_line`.
        wide_line: number of the header's line, or of the first line without a header.
        names: of all `width` columns; empty without a header.
        kept: indices of the columns that are read.
        absent: cells that stand for a missing number, in lower case.
    """

    file: str
    body: bytes
    number: int
    delimiter: str
    decimal: str
    trailing: bool
    width: int
    wide_line: int
    names: list[str]
    kept: list[int]
    absent: frozenset[str]

    def numbers(self) -> np.ndarray:
        """Read the kept columns `(n, D)` as float64, with NaN for a missing number.

        Raises:
            ConfigError: a line has more or fewer cells than others, or a cell is no plain number or may be two.
        """
        if self.body.count(b"\n") * self.width * 8 > MAX_BYTES:
            raise _too_large(self.file)
        rows = self._parse()
        rows = self._read_cells() if rows is None else rows
        if self.decimal == "," and _may_be_thousands(rows):
            self._check_thousands()
        return rows

    def cells(self) -> tuple[np.ndarray, list[int], dict[int, tuple[int, str]]]:
        """Read all columns, with NaN for what is no number: values, and words as in `Cells`.

        Columns of text are found in the first lines, and all others then read at once: a line at a time takes 20 times
        as long.

        Raises:
            ConfigError: a line has more or fewer cells than others.
        """
        if (rows := self._parse()) is not None:
            return rows, [0] * self.width, {}
        values, words, first = self._read_loosely(SAMPLE_LINES)
        kept = [j for j in range(self.width) if 2 * words[j] <= len(values)]
        rows = replace(self, kept=kept)._parse() if 0 < len(kept) < self.width else None
        if rows is None or any(words[j] for j in kept):
            return self._read_loosely(None)
        values = np.full((len(rows), self.width), np.nan)
        values[:, kept] = rows
        return values, [0 if j in kept else len(rows) for j in range(self.width)], first

    def _read_loosely(self, most: int | None) -> tuple[np.ndarray, list[int], dict[int, tuple[int, str]]]:
        """As `cells`, of at most this many lines, one at a time."""
        numbers, words = array("d"), [0] * self.width
        first: dict[int, tuple[int, str]] = {}
        for line, cells in islice(self._rows(), most):
            for j, cell in enumerate(cells):
                plain = cell if self.decimal == "." else "" if "." in cell else cell.replace(",", ".")
                is_number = NUMBER.fullmatch(plain)
                numbers.append(float(plain) if is_number else math.nan)
                if not is_number and cell.lower() not in ABSENT and not NO_NUMBER.fullmatch(cell):
                    words[j] += 1
                    first.setdefault(j, (line, cell))
        return np.asarray(numbers).reshape(-1, self.width), words, first

    def _parse(self) -> np.ndarray | None:
        """Parse as `_read_cells` does, with pandas; None if a byte or a number might be read otherwise."""
        edge = b" \t" if self.delimiter == BLANKS else self.delimiter.encode()
        within = rb'"(?<=[^%b\n]")(?=[^%b\n])' % (edge, edge)  # a quote that is not at the edge of a cell
        words = self.body.translate(None, NUMERIC)
        if (words and (len(self.kept) == self.width or OTHERWISE.search(words))) or re.search(within, self.body):
            return None
        import pandas

        read = {*self.kept}
        try:
            frame = pandas.read_csv(
                io.BytesIO(self.body), header=None, na_filter=False, skipinitialspace=True, decimal=self.decimal,
                sep=r"\s+" if self.delimiter == BLANKS else self.delimiter,
                dtype={j: "float64" if j in read else "str" for j in range(self.width)},
            )  # fmt: skip
        except ValueError:  # a cell is no number, lines differ in length, or there are none
            return None
        if frame.shape[1] != self.width:
            return None
        values = frame[self.kept].to_numpy()
        return values if (np.abs(values) <= LARGEST).all() else None

    def _read_cells(self) -> np.ndarray:
        numbers = array("d")
        for line, cells in self._rows():
            numbers.extend(self._number(cells[j], line, j) for j in self.kept)
        return np.asarray(numbers, dtype=np.float64).reshape(-1, len(self.kept))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Number and cells of each line that is not empty."""
        for number, content in enumerate(io.BytesIO(self.body), self.number):
            if len(content) > LONGEST_LINE:
                raise _too_long(self.file, number)
            try:
                cells = _split(content.decode(), self.delimiter, strict=True)
            except csv.Error as error:
                raise ConfigError(f"data: {self.file} line {number} is no row of numbers: {error}") from None
            if not any(cells):
                continue
            if self.trailing and len(cells) == self.width + 1 and not cells[-1]:
                cells.pop()
            if len(cells) != self.width:
                raise ConfigError(
                    f"data: {self.file} line {number} has {len(cells)} cells, line {self.wide_line} has {self.width}"
                )
            yield number, cells

    def _number(self, cell: str, line: int, j: int) -> float:
        plain = cell
        if self.decimal == ",":
            plain = "" if "." in cell else cell.replace(",", ".")
        if NUMBER.fullmatch(plain):
            number = float(plain)
            if abs(number) <= LARGEST:
                return number
            raise self._refused(cell, line, j, f"is beyond {LARGEST:.2g}; change the column's unit")
        if cell.lower() in self.absent:
            return math.nan
        raise self._refused(cell, line, j, f"is not a number; {self._advice(cell, line, j)}")

    def _refused(self, cell: str, line: int, j: int, reason: str) -> ConfigError:
        column = _title(j + 1, self.names[j] if self.names else None)
        return ConfigError(f"data: {self.file} line {line}, column {column}: {_short(cell)!r} {reason}")

    def _advice(self, cell: str, line: int, j: int) -> str:
        may_hold_names = line == self.wide_line and not self.names
        if cell.lower() in ABSENT:
            names = "if the line holds names: --header true; else " if may_hold_names else ""
            return f"{names}mend it, or leave such rows out: --missing nan"
        if self.decimal == "," and NUMBER.fullmatch(cell):
            return "other cells have a decimal comma; write all of them alike"
        if GROUPED.fullmatch(cell):
            return "write it with a decimal point and without marks between thousands"
        if may_hold_names:
            return "if the line holds names: --header true"
        return f"mend it, or leave the column out: --drop-columns {j + 1}"

    def _check_thousands(self) -> None:
        """Check that a comma is a decimal comma.

        Raises:
            ConfigError: every comma may as well stand between thousands.
        """
        commas = ((cells[j], line, j) for line, cells in self._rows() for j in self.kept if "," in cells[j])
        first = next(commas, None)
        if first is None or any(not THOUSANDS.fullmatch(cell) for cell, _, _ in [first, *commas]):
            return
        one, other = first[0].replace(",", ""), first[0].replace(",", ".")
        raise self._refused(*first, f"may be {one} or {other}; write a decimal point, and no marks between thousands")


def _read_lines(path: Path, *, header: bool, missing: Sequence[str], drop_columns: Sequence[str]) -> _Lines:
    """Find delimiter, decimal mark, header and columns of a CSV file; arguments as in `read_table`.

    Raises:
        ConfigError: the file is no text, or is empty; or a dropped column does not exist.
    """
    text = _read_text(path)
    start, asked, comment = _skip_preamble(text)
    if start == len(text):
        raise ConfigError(f"data: {path.name} is empty")
    if b"\n" not in text[start : start + LONGEST_LINE]:
        raise _too_long(path.name, _line_at(text, start))
    end = _end_of_record(text, start)
    sample = _sample(text, end) or _sample(text, start)
    delimiter, decimal = _dialect(text[start:end].decode(), sample, (asked,) if asked else DELIMITERS)
    rows = _split_all(sample, delimiter)
    first = _split(text[start:end].decode(), delimiter)
    trailing = _is_trailing(rows) and not (len(first) == len(rows[0]) and first[-1])
    width = len(rows[0]) - trailing
    first = first[:-1] if len(first) == width + 1 and not first[-1] else first
    wide_line = _line_at(text, start)
    if header or _are_names(first, drop_columns, decimal):
        names = ["", *first] if len(first) == width - 1 else first  # R leaves the name of row names out
        start = end
    else:
        names = _names_in_comment(comment, delimiter, len(first))
    names = ["".join(letter for letter in " ".join(name.split()) if letter.isprintable()) for name in names]
    width = len(names) or len(first)
    kept = _kept_columns(drop_columns, width, names, path.name)
    number = _line_at(text, start)
    body = text[start:]
    del text
    if b"#" in body:
        body = re.sub(rb"(?m)^[ \t]*#.*$", b"", body)
    if trailing:
        body = body.replace(f"{delimiter}\n".encode(), b"\n")
    if delimiter != "," and b"," in body and b"." not in body:
        decimal = ","
    absent = ABSENT if any(math.isnan(float(mark)) for mark in missing) else frozenset[str]()
    return _Lines(
        path.name, body, number, delimiter=delimiter, decimal=decimal, trailing=trailing, width=width,
        wide_line=wide_line, names=names, kept=kept, absent=absent,
    )  # fmt: skip


def _line_at(text: bytes, offset: int) -> int:
    """Number of the line that begins at an offset, from 1."""
    return 1 + text.count(b"\n", 0, offset)


def _are_names(cells: list[str], drop_columns: Sequence[str], decimal: str) -> bool:
    """Whether no cell of a first record is a number, but in columns that are dropped."""
    read = (cell for j, cell in enumerate(cells, 1) if not {cell, str(j)} & {*drop_columns})
    return not any(_is_number(cell, decimal) for cell in read)


def _read_text(path: Path) -> bytes:
    """Read a file of text as UTF-8, with line feeds alone, and one at its end.

    Raises:
        ConfigError: it is no text.
    """
    text = path.read_bytes()
    encoding = _encoding(text)
    try:
        if encoding == "utf-8":
            text.decode("utf-8-sig")
            text = text.removeprefix(codecs.BOM_UTF8)
        else:
            text = text.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError:
        raise ConfigError(f"data: {path.name} is no text in UTF-8, UTF-16 or Windows-1252") from None
    if len(text.translate(None, CONTROL)) < len(text):
        raise ConfigError(f"data: {path.name} is no text file; export the table as CSV")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text if text.endswith(b"\n") else text + b"\n"


def _encoding(text: bytes) -> str:
    """Encoding of a text: by its byte order mark, by where it has NUL bytes, or by whether it is UTF-8."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if text.startswith(mark):
            return encoding
    start = text[: 2**12]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) // 5 and min(even, odd) == 0:
        return "utf-16-be" if even else "utf-16-le"
    try:
        text.decode("utf-8")
    except UnicodeError:
        return "cp1252"
    return "utf-8"


def _skip_preamble(text: bytes) -> tuple[int, str, str]:
    """Offset of the first line that holds cells, delimiter of a `sep=` line or "", and the last comment before."""
    start, asked, comment = 0, "", ""
    while start < len(text):
        end = text.index(b"\n", start) + 1
        line = text[start:end].strip()
        declared = re.fullmatch(rb'"?sep=([,;|\t ])"?', text[start:end].strip(b"\r\n"), re.IGNORECASE)
        if declared and not asked:
            asked = declared[1].decode()
        elif line.startswith(b"#"):
            comment = line.lstrip(b"# \t").decode()
        elif line.strip(b",;|"):
            break
        start = end
    return start, asked, comment


def _end_of_record(text: bytes, start: int) -> int:
    """Offset behind the line at `start`, or behind the lines over which its quoted cells extend."""
    end = first_end = text.index(b"\n", start) + 1
    for _ in range(HEADER_LINES):
        if text.count(b'"', start, end) % 2 == 0:
            return end
        if end == len(text):
            break
        end = text.index(b"\n", end) + 1
    return first_end


def _sample(text: bytes, start: int) -> list[str]:
    """The first lines from `start` on that are neither blank nor comments."""
    end = text.find(b"\n", start + SAMPLE_BYTES, start + SAMPLE_BYTES + LONGEST_LINE) + 1 or start + SAMPLE_BYTES
    lines = text[start:end].decode(errors="ignore").split("\n")
    return [line for line in lines if line.strip(" \t,;|") and not line.lstrip().startswith("#")][:SAMPLE_LINES]


def _split(line: str, delimiter: str, *, strict: bool = False) -> list[str]:
    """Cells of a line, without blanks around them.

    Raises:
        csv.Error: a quoted cell is malformed (with `strict`), or too long.
    """
    if delimiter == BLANKS:
        line = re.sub("[ \t\n]+", " ", line).strip(" ")
    if '"' not in line:
        return [cell.strip(" \t\n") for cell in line.split(delimiter)]
    cells = next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict))
    return [cell.strip(" \t\n") for cell in cells]


def _split_all(lines: list[str], delimiter: str) -> list[list[str]]:
    return [_split(line, delimiter) for line in lines]


def _dialect(first: str, lines: list[str], delimiters: Sequence[str]) -> tuple[str, str]:
    """Delimiter and decimal mark of lines, and of the first record before them.

    The best gives lines of equally many cells, at least two; then the first record has as many; then most are numbers.
    """

    def merit(dialect: tuple[str, str]) -> tuple[bool, bool, float]:
        delimiter, decimal = dialect
        rows = _split_all(lines, delimiter)
        counts = {len(row) - _is_trailing(rows) for row in rows}
        numbers = sum(_is_number(cell, decimal) for row in rows for cell in row)
        is_table = len(counts) == 1 and min(counts) > 1
        head = _split(first, delimiter)
        return is_table, bool({len(head), len(head) - _is_trailing([head])} & counts), numbers / sum(map(len, rows))

    return max(((delimiter, decimal) for delimiter in delimiters for decimal in ".,"), key=merit)


def _is_trailing(rows: list[list[str]]) -> bool:
    """Whether every line ends with a delimiter, and none is needed for a second column."""
    return len(rows[0]) > 1 and not any(row[-1] for row in rows)


def _is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number, finite or not; with a decimal comma, no cell with a point is."""
    plain = cell if decimal == "." else "" if "." in cell else cell.replace(",", ".")
    return bool(NUMBER.fullmatch(plain) or NO_NUMBER.fullmatch(plain))


def _names_in_comment(comment: str, delimiter: str, width: int) -> list[str]:
    """The words of a comment if they are `width` names, as numpy.savetxt writes a header; else none."""
    for words in (_split(comment, delimiter), comment.split()):
        if len(words) == width and all(words) and not any(map(_is_number, words)):
            return words
    return []


def _may_be_thousands(rows: np.ndarray) -> bool:
    """Whether each number is whole, or has at most three decimals and three digits before them."""
    size = np.abs(rows[~np.isnan(rows)])
    grouped = (size >= 1) & (size < 1000) & (np.abs(size * 1000 - np.round(size * 1000)) < 1e-6)
    return bool((grouped | (size == np.round(size))).all())
