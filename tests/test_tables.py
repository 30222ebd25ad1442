"""Tables in files: what was written is what is read, or one line says why not, and where."""

import csv
import io
import math
import os
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mvm.config import Config
from mvm.data.columns import Column, describe_columns, dropped_at_first
from mvm.data.kinds import kind_of
from mvm.data.points import file_table, load_points
from mvm.data.tables import MIN_POINTS, Table, read_table
from mvm.errors import ConfigError
from mvm.runs.run import Run


def rows_of(n: int = 80, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).round(4)


def text(rows: np.ndarray, delimiter: str = ",") -> str:
    return "".join(delimiter.join(repr(float(cell)) for cell in row) + "\n" for row in rows)


def read(folder: Path, content: str | bytes, **switches) -> Table:
    path = folder / "points.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = read_table(path, **switches)
    assert table.values.dtype == np.float64
    assert table.values.flags.c_contiguous
    return table


def refused(path: Path, **switches) -> str:
    with pytest.raises(ConfigError) as caught:
        read_table(path, **switches)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def refused_text(folder: Path, content: str | bytes, **switches) -> str:
    path = folder / "points.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return refused(path, **switches)


def attempt(path: Path) -> tuple[Table | None, str]:
    """A table, or the one line that says why there is none."""
    try:
        return read_table(path), ""
    except ConfigError as error:
        return None, str(error)


# -- CSV: dialects -----------------------------------------------------------------------------------------------------

ROWS = rows_of()
NAMES = ("length, mm", "Höhe", "p\n(hPa)")


def german(rows: np.ndarray, delimiter: str) -> str:
    return text(rows, delimiter).replace(".", ",")


DIALECTS = {
    "comma": (text(ROWS), ()),
    "semicolon": ("a;b;c\n" + text(ROWS, ";"), ("a", "b", "c")),
    "tab": ("a b\tc\td\n" + text(ROWS, "\t"), ("a b", "c", "d")),
    "bar": ("a|b|c\n" + text(ROWS, "|"), ("a", "b", "c")),
    "blanks": ("x  y z\n" + text(ROWS, "   "), ("x", "y", "z")),
    "blanks at both ends": ("".join(f"  {line}  \n" for line in text(ROWS, "  ").splitlines()), ()),
    "comma and blank": (text(ROWS, ", "), ()),
    "blank and comma": (text(ROWS, " ,"), ()),
    "commas in a name, semicolons": ("length, mm;width, mm;c\n" + text(ROWS, ";"), ("length, mm", "width, mm", "c")),
    "commas in a name, quoted": ('"length, mm","width, mm",c\n' + text(ROWS), ("length, mm", "width, mm", "c")),
    "line breaks in names": ('"Temp\n(C)","p\r\n(hPa)",c\n' + text(ROWS), ("Temp (C)", "p (hPa)", "c")),
    "an inch in a name": ('5" pipe,6" pipe,c\n' + text(ROWS), ('5" pipe', '6" pipe', "c")),
    "quoted numbers": (re.sub(r"[^,\n]+", r'"\g<0>"', text(ROWS)), ()),
    "decimal commas": ("x;y;z\n" + german(ROWS, ";"), ("x", "y", "z")),
    "decimal commas without a header": (german(ROWS, ";"), ()),
    "decimal commas between tabs": (german(ROWS, "\t"), ()),
    "decimal commas between blanks": (german(ROWS, "  "), ()),
    "decimal commas in quotes": (re.sub(r"[^;\n]+", r'"\g<0>"', german(ROWS, ";")).replace(";", ","), ()),
    "decimal commas after 2,000 whole numbers": (
        "1;2;3\n" * 1000 + "2;3;4\n" * 1000 + german(ROWS, ";"),
        (),
    ),
    "sep=": ("sep=;\nx;y;z\n" + german(ROWS, ";"), ("x", "y", "z")),
    "sep= in quotes": ('"SEP=|"\r\nx|y|z\r\n' + text(ROWS, "|"), ("x", "y", "z")),
    "trailing delimiter": ("x,y,z,\n" + text(ROWS).replace("\n", ",\n"), ("x", "y", "z")),
    "trailing delimiter below the header": ("x;y;z\n" + text(ROWS, ";").replace("\n", ";\n"), ("x", "y", "z")),
    "trailing delimiter and no header": (text(ROWS, "\t").replace("\n", "\t\n"), ()),
    "trailing delimiter and blank": (text(ROWS).replace("\n", ", \n"), ()),
    "numpy.savetxt": ("# made by simulation 17\n# x y z\n" + text(ROWS, " "), ("x", "y", "z")),
    "comment as a header": ("#x, y, width in mm\n" + text(ROWS), ("x", "y", "width in mm")),
    "comments": ("# a\n\n# of a run in 4 parts\n" + text(ROWS[:9]) + "# part 2\n" + text(ROWS[9:]) + "#\n", ()),
    "blank lines": ("\n \n" + text(ROWS).replace("\n", "\n\t\n"), ()),
    "rows of nothing but delimiters": ("x,y,z\n" + text(ROWS) + ",,\n,,\n", ("x", "y", "z")),
    "R's row names": ('"x" "y"\n' + text(np.c_[np.arange(1, 81), ROWS[:, 1:]], " "), None),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_of_csv(tmp_path, dialect, end):
    content, names = DIALECTS[dialect]
    table = read(tmp_path, content.replace("\r\n", "\n").replace("\n", end))
    if names is None:
        assert table.names == ("", "x", "y")
        np.testing.assert_array_equal(table.values, np.c_[np.arange(1, 81), ROWS[:, 1:]])
        return
    assert table.names == names
    np.testing.assert_array_equal(table.values[-80:], ROWS)
    assert table.columns == (1, 2, 3)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("names", [("Länge", "Höhe", "x"), ("température", "x", "prix €")])
def test_an_encoding_of_text(tmp_path, encoding, names):
    table = read(tmp_path, (",".join(names) + "\n" + text(ROWS)).encode(encoding))
    assert table.names == names
    np.testing.assert_array_equal(table.values, ROWS)


@pytest.mark.parametrize("names", [None, [f"c{i}" for i in range(40)]])
def test_lines_longer_than_the_sample(tmp_path, monkeypatch, names):
    monkeypatch.setattr("mvm.data.tables.SAMPLE_BYTES", 100)
    rows = rows_of(64, 40)
    table = read(tmp_path, (";".join(names) + "\n" if names else "") + german(rows, ";"))
    np.testing.assert_array_equal(table.values, rows)
    assert table.names == tuple(names or ())


def test_a_suffix_in_capitals(tmp_path):
    path = tmp_path / "points.CSV"
    path.write_text(text(ROWS))
    np.testing.assert_array_equal(read_table(path).values, ROWS)
    path.rename(tmp_path / "points.NPY")
    assert "is no plain .npy array" in refused(tmp_path / "points.NPY")


# -- CSV: what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.replace("\n", ",9\n", 3).replace(",9\n", "\n", 2), "line 3 has 4 cells, line 1 has 3"),
        (lambda t: t + "1,2\n", "line 81 has 2 cells, line 1 has 3"),
        (lambda t: "1,2\n" + t, "line 2 has 3 cells, line 1 has 2"),
        (lambda t: "x,y,z,t\n" + t, "line 2 has 3 cells, line 1 has 4"),
        (lambda t: t + "1,two,3\n", "line 81, column 2: 'two' is not a number; mend it, or leave the column out: --dr"),
        (lambda t: t + "1,,3\n", "line 81, column 2: '' is not a number; mend it, or leave such rows out: --missing n"),
        (lambda t: "x,y,z\n\n" + t + "1,2,?\n", "line 83, column 3 (z): '?' is not a number"),
        (lambda t: '"x\n\n1",y,z\n#\n' + t + "?,2,4\n", "line 85, column 1 (x 1): '?' is not a number"),
        (lambda t: "x,y,4\n" + t, "line 1, column 1: 'x' is not a number; if the line holds names: --header true"),
        (lambda t: "x,y,z\nm,s,m\n" + t, "line 2, column 1 (x): 'm' is not a number"),
        (lambda t: t + "1,nan,3\n", "line 81, column 2: 'nan' is not a number; mend it, or leave such rows out"),
        (lambda t: t + "1,N/A,3\n", "line 81, column 2: 'N/A' is not a number; mend it, or leave such rows out"),
        (lambda t: t + "1,2,inf\n", "line 81, column 3: 'inf' is not a number"),
        (lambda t: t + "-1e300,2,3\n", "line 81, column 1: '-1e300' is beyond 1e+150"),
        (lambda t: t + "1,2," + "3" * 200_000 + "\n", "line 81, column 3: '" + "3" * 40 + "...' is beyond"),
        (lambda t: t + '1,2,"3\n', "line 81 is no row of numbers: unexpected end of data"),
        (lambda t: t + '1,"2" 5,3\n', "line 81 is no row of numbers: ',' expected after '\"'"),
        (lambda t: "", "is empty"),
        (lambda t: " \n\n", "is empty"),
        (lambda t: "# x,y,z\n", "is empty"),
        (lambda t: "x,y,z\n", f"has 0 points; at least {MIN_POINTS} are needed"),
        (lambda t: "".join(line.split(",")[0] + "\n" for line in t.splitlines()), "has 1 column; a point needs"),
        (lambda t: "".join(line.split(",")[0] + ",\n" for line in t.splitlines()), "has 1 column; a point needs"),
        (lambda t: t[: t.index("\n") + 1] * 80, "every point of points.csv is the same"),
        (lambda t: "".join(t.splitlines(keepends=True)[:63]), "has 63 points; at least 64 are needed"),
    ],
)
def test_a_csv_that_cannot_be_trained_on_is_refused_with_the_place(tmp_path, spoil, words):
    assert words in refused_text(tmp_path, spoil(text(ROWS)))


NO_NUMBERS = [
    *("10_3", "1e5_0", "0x10", "0b1", "0o7", "1d5", "1e", "e5", ".", "+", "+-1", "--1", "1e+", "1.2.3", "1f", "1j"),
    *("True", "false", "yes", "Infinity", "-inf", "NaN", "None", "-", "1 2", "1\u00a0000", "1'000", "$5", "5%", "½"),
    *("１０", "٣", "1٬5", "−1", "1:30", "2026-01-05", "1/2", "#REF!", "=A1", "1\f2"),
]


@pytest.mark.parametrize("cell", NO_NUMBERS)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_cell_that_is_no_plain_number_is_refused(tmp_path, cell, delimiter):
    """In the middle of a column and as all of it; pandas reads some of them as numbers."""
    said = f": {cell!r} is not a number"
    assert "line 81, column 2" + said in refused_text(
        tmp_path, text(ROWS, delimiter) + delimiter.join(["1", "2", "3"]).replace("2", cell) + "\n"
    )
    column = "".join(f"{i}{delimiter}{cell}\n" for i in range(80))
    assert "line 2, column 2 (y)" + said in refused_text(tmp_path, f"x{delimiter}y\n" + column)


@pytest.mark.parametrize("cell", ['1"5', '"1"5', '"1""5"', '""1"'])
def test_a_quote_inside_a_cell_is_refused(tmp_path, cell):
    assert "line 81" in refused_text(tmp_path, text(ROWS) + f"1,{cell},3\n")


PLAIN = ["1.", ".5", "+5", "-.5e-3", "1E5", "007", "1e-400", "-0", "0.1234567890123456789e-5", "12345678901234567890"]


@pytest.mark.parametrize("cell", PLAIN)
def test_a_plain_number_is_read_to_its_last_bit(tmp_path, cell):
    table = read(tmp_path, text(ROWS) + f"1,{cell},3\n")
    assert table.values[-1].tolist() == [1, float(cell), 3]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("1,234;5,678\n2,345;6,789\n", "line 1, column 1: '1,234' may be 1234 or 1.234; write a decimal point"),
        ("12\t5,678\n13\t106,789\n", "line 1, column 2: '5,678' may be 5678 or 5.678"),
        ('"1,234","5,678"\n"2","6,789"\n', "line 1, column 1: '1,234' may be 1234 or 1.234"),
        ("1.234,5;2\n3;4\n", "line 1, column 1: '1.234,5' is not a number; write it with a decimal point and without"),
        ("1,234,567;2\n3;4\n", "line 1, column 1: '1,234,567' is not a number; write it with a decimal point"),
        ("1,5;2.5\n3,5;4,5\n", "line 1, column 2: '2.5' is not a number; other cells have a decimal comma"),
    ],
)
def test_a_number_that_may_be_two_is_refused(tmp_path, rows, words):
    assert words in refused_text(tmp_path, rows * 40)


def test_commas_are_decimal_if_one_of_them_can_be_nothing_else(tmp_path):
    table = read(tmp_path, "1,234;5,678\n0,345;6,789\n" * 40)
    assert table.values[:2].tolist() == [[1.234, 5.678], [0.345, 6.789]]
    assert read(tmp_path, "1,234;5,678\n12,5;6,789\n" * 40).values[1, 0] == 12.5


@pytest.mark.parametrize("longest", ["1," * 2500, "1" * 5000 + "x"])
def test_a_line_longer_than_any_row_is_refused(tmp_path, monkeypatch, longest):
    """Before its cells become a list, which takes 50 times its size."""
    monkeypatch.setattr("mvm.data.tables.LONGEST_LINE", 4000)
    assert "line 1 is longer than" in refused_text(tmp_path, longest + "\n" + text(ROWS))
    assert "line 81 is longer than" in refused_text(tmp_path, text(ROWS) + longest + "\n")
    assert "line 2 is longer than" in refused_text(tmp_path, "x,y,z\n" + longest + ",2,3\n" + text(ROWS))


def test_names_are_printable(tmp_path):
    table = read(tmp_path, "a\u202eb,\x9b2Jc, d\u00a0e\n".encode() + text(ROWS).encode())
    assert table.names == ("ab", "2Jc", "d e")


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\x03" * 100,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)),
        b"PK\x03\x04" + bytes(100),
        text(ROWS).encode("utf-16")[:-1],
        b"\x81\x8d\x8f,1\n" * 80,
        text(ROWS).encode() + b"\0",
    ],
)
def test_a_csv_that_is_no_text_is_refused(tmp_path, content):
    assert "is no text" in refused_text(tmp_path, content)


# -- switches ----------------------------------------------------------------------------------------------------------


def test_the_first_row_holds_names_if_one_says_so(tmp_path):
    content = "400,402,404\n" + text(ROWS)
    assert len(read(tmp_path, content).values) == 81
    table = read(tmp_path, content, header=True)
    assert table.names == ("400", "402", "404")
    np.testing.assert_array_equal(table.values, ROWS)
    mixed = read(tmp_path, "id,402,404\n" + text(ROWS), header=True)
    assert mixed.names == ("id", "402", "404")
    np.save(tmp_path / "points.npy", np.vstack([[1990, 1991, 1992.5], ROWS]))
    table = read_table(tmp_path / "points.npy", header=True)
    assert table.names == ("1990.0", "1991.0", "1992.5")
    np.testing.assert_array_equal(table.values, ROWS)


@pytest.mark.parametrize("mark", ["-9999", "1e20", "0.5", "-9999.9"])
def test_rows_with_a_missing_number_are_left_out(tmp_path, mark):
    rows = ROWS.copy()
    rows[[3, 40, 41], [0, 1, 2]] = float(mark)
    kept = np.delete(ROWS, [3, 40, 41], axis=0)
    for path in (tmp_path / "points.csv", tmp_path / "points.npy"):
        path.write_text(text(rows)) if path.suffix == ".csv" else np.save(path, rows)
        table = read_table(path, missing=(mark, "777"))
        assert table.left_out == 3
        np.testing.assert_array_equal(table.values, kept)
    np.save(path, rows.astype(np.float32))
    np.testing.assert_array_equal(read_table(path, missing=(mark,)).values, kept.astype(np.float32))


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "NA", "N/A", "null", "None", "#N/A"])
def test_nan_stands_for_every_way_to_write_nothing(tmp_path, cell):
    content = text(ROWS[:50]) + f"1,{cell},3\n-7,-8,-9\n" + text(ROWS[50:])
    table = read(tmp_path, content, missing=("nan", "-9"))
    assert table.left_out == 2
    np.testing.assert_array_equal(table.values, ROWS)
    assert "line 51, column 2" in refused_text(tmp_path, content, missing=("-9",))
    assert "line 81 has 2 cells" in refused_text(tmp_path, text(ROWS) + "1,2\n", missing=("nan",))
    assert "'?' is not a number" in refused_text(tmp_path, text(ROWS) + "1,2,?\n", missing=("nan",))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_stands_for_everything_in_an_array_that_is_not_finite(tmp_path, bad):
    rows = ROWS.copy()
    rows[5, 1] = bad
    np.save(tmp_path / "points.npy", rows)
    np.testing.assert_array_equal(read_table(tmp_path / "points.npy", missing=("nan",)).values, np.delete(ROWS, 5, 0))


def test_too_few_rows_may_remain(tmp_path):
    content = text(ROWS) + "1,0,3\n" * 3
    assert "has 3 points besides 80 rows that are left out" in refused_text(
        tmp_path, "7,0,3\n8,0,3\n9,0,3\n" + "1,0,3\n" * 80, missing=("1",)
    )
    assert len(read(tmp_path, content, missing=("0",)).values) == 80


@pytest.mark.parametrize(
    ("drop", "kept"), [(("1",), [1, 2, 3]), (("b",), [0, 2, 3]), (("c, mm", "1"), [1, 3]), (("4", "4"), [0, 1, 2])]
)
def test_columns_are_dropped_by_number_or_name(tmp_path, drop, kept):
    """A dropped column may hold anything: names, nothing, commas in quotes."""
    rows = rows_of(80, 4)
    names = np.array(["a", "b", "c, mm", "d e"])
    table = read(tmp_path, '"a","b","c, mm","d e"\n' + text(rows), drop_columns=drop)
    np.testing.assert_array_equal(table.values, rows[:, kept])
    assert table.names == tuple(names[kept])
    assert table.columns == tuple(j + 1 for j in kept)
    for filling in ("10_3", "", '"Smith, J"', "True", "x"):
        cells = [[repr(float(cell)) for cell in row] for row in rows]
        for row in cells:
            for j in set(range(4)) - {*kept}:
                row[j] = filling
        content = '"a","b","c, mm","d e"\n' + "".join(",".join(row) + "\n" for row in cells)
        table = read(tmp_path, content, drop_columns=drop)
        np.testing.assert_array_equal(table.values, rows[:, kept])
        ragged = refused_text(tmp_path, content + "1,2,3,4,5\n", drop_columns=drop)
        assert "line 82 has 5 cells, line 1 has 4" in ragged
        spoiled = content + ",".join("?" if j == kept[0] else "1" for j in range(4)) + "\n"
        assert f"line 82, column {kept[0] + 1} (" in refused_text(tmp_path, spoiled, drop_columns=drop)


def test_a_text_column_without_a_header_is_dropped(tmp_path):
    content = "".join(f"s{i},{line}\n" for i, line in enumerate(text(ROWS).splitlines()))
    table = read(tmp_path, content, drop_columns=("1",))
    assert table.names == ()
    np.testing.assert_array_equal(table.values, ROWS)


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        (("5",), "has no column '5'; give a number from 1 to 3, or a name: x, y, y"),
        (("0",), "has no column '0'"),
        (("z",), "has no column 'z'"),
        (("y",), "2 columns of points.csv are named 'y'; give a number"),
        (("1", "2"), "has 1 column left of 3; a point needs at least 2"),
        (("1", "2", "3"), "has 0 column left of 3"),
    ],
)
def test_columns_that_cannot_be_dropped(tmp_path, drop, words):
    assert words in refused_text(tmp_path, "x,y,y\n" + text(ROWS), drop_columns=drop)


def test_switches_are_settings_of_a_training(cli, tmp_path, checkpoints):
    """A run keeps the points that remain, and reads its copy as it is, also for another run."""
    path = tmp_path / "own.csv"
    rows = np.c_[np.arange(80), ROWS]
    rows[7, 2] = -9999
    path.write_text("400,402,404,406\n" + text(rows))
    small = ("--variants", "both", "--steps", "10", "--batch", "8", "--network.width", "6", "--view-points", "16")
    switches = ("--header", "true", "--missing", "-9999", "nan", "--drop-columns", "1")
    told = cli("train", "--name", "a", "--data", str(path), *switches, *small)
    assert told.status == 0
    assert told.out.splitlines()[0] == f"{path}: 79 points, 3 columns: 402, 404, 406; 1 rows left out"
    assert told.err == ""
    path.unlink()
    run = Run(checkpoints / "a")
    assert (run.config.header, run.config.missing, run.config.drop_columns) == (True, ("-9999", "nan"), ("1",))
    kept = np.delete(ROWS, 7, axis=0)
    np.testing.assert_allclose(np.load(run.path / "data.npy"), kept, rtol=1e-6)
    assert (run.data.dim, run.data.train_size) == (3, 79 - 79 // 5)
    assert cli("train", "--like", "a", "--name", "b").status == 0
    assert Run(checkpoints / "b").data.train.equal(run.data.train)
    assert cli("sample", "a", "-n", "5", "--out", str(tmp_path / "s.npy")).status == 0
    assert np.load(tmp_path / "s.npy").shape == (5, 3)
    refusal = cli("train", "--like", "a", "--missing", "0")
    assert refusal.status == 2
    assert "missing: --like a trains on that run's copy of its data; give --data FILE too" in refusal.err


@pytest.mark.parametrize("data", ["circle", "faces", "swiss_roll"])
@pytest.mark.parametrize("switch", [("--header", "true"), ("--missing", "-9"), ("--drop-columns", "1")])
def test_switches_are_for_files_of_points(cli, checkpoints, data, switch):
    result = cli("train", "--name", "a", "--data", data, *switch)
    field = switch[0][2:].replace("-", "_")
    assert (result.status, result.err) == (
        2,
        f"mvm: {field}: only a file of points is read with it, not {data}\n",
    )
    assert not (checkpoints / "a").exists()


@pytest.mark.parametrize(("ending", "delimiter"), [(".txt", " "), (".TSV", "\t"), (".tsv", ";"), (".Txt", ",")])
def test_the_ending_of_a_text_tells_nothing_of_its_delimiter(tmp_path, ending, delimiter):
    points = np.random.default_rng(0).normal(size=(80, 2)).round(3)
    path = tmp_path / f"cloud{ending}"
    np.savetxt(path, points, delimiter=delimiter, header="x y", fmt="%.3f")
    table = read_table(path)
    np.testing.assert_array_equal(table.values, points)
    assert table.names == ("x", "y")
    assert kind_of(str(path)).name == "points"


@pytest.mark.parametrize(("header", "row"), [(",400,402", "{},.5,.25"), ("nan;1990;1991", "{};.5;.25")])
def test_a_header_of_numbers_with_an_empty_first_cell_is_refused_with_both_ways_out(tmp_path, header, row):
    path = tmp_path / "odd.csv"
    path.write_text("\n".join([header, *(row.format(i) for i in range(70))]))
    assert "if the line holds names: --header true; else mend it, or leave such rows out: --missing nan" in refused(
        path
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"missing": ["abc"]}, "missing: 'abc' is neither a number nor nan"),
        ({"missing": ["1_0"]}, "missing: '1_0' is neither"),
        ({"missing": ["inf"]}, "missing: 'inf' is neither"),
        ({"data": "caf\udce9.csv"}, "data: must be text in UTF-8; rename the file or its folder"),
        ({"data": "a\0b.csv"}, "data: must be text in UTF-8"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        Config.make(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_switch_is_a_word_or_many():
    config = Config.make(data="a.csv", missing=-9999, drop_columns=(1, "x"))
    assert (config.missing, config.drop_columns) == (("-9999",), ("1", "x"))
    assert Config.model_validate_json(config.model_dump_json()) == config


NAMES_IN_BYTES = [b"caf\xe9", b"\xff\xfe", b"ok/\xe4\xf6/x"]


@pytest.mark.parametrize("name", NAMES_IN_BYTES)
@pytest.mark.parametrize(
    "command",
    [
        "train --data {}.csv",
        "train --name {}",
        "train --run {}",
        "prepare images {} --name x",
        "prepare images . --name {}",
        "score {}",
        "sample done --out {}.npy",
        "pack done --out {}.zip",
        "unpack {}.zip",
        "export done --out={}.zip",
        "note a {}",
    ],
)
def test_a_name_that_is_no_text_is_named(cli, name, command):
    result = cli(*(word.replace("{}", os.fsdecode(name)) for word in command.split()))
    assert result.status == 2
    assert re.fullmatch(r"mvm: .*: the name is not in UTF-8; rename the file or folder\n", result.err)
    result.err.encode()


def test_a_folder_whose_name_is_no_text_is_named(cli, tmp_path, monkeypatch):
    folder = os.fsdecode(b"caf\xe9")
    monkeypatch.setenv("MVM_CHECKPOINTS", str(tmp_path / folder))
    assert cli("runs").err == f"mvm: {tmp_path}/caf\\udce9: the name is not in UTF-8; rename the file or folder\n"
    monkeypatch.delenv("MVM_CHECKPOINTS")
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    result = cli("train", "--name", "a")
    assert result.status == 2
    assert "caf\\udce9/checkpoints: the name is not in UTF-8" in result.err


# -- NPY ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (rows_of(63), "has 63 points; at least 64 are needed"),
        (rows_of(80, 1), "has 1 column; a point needs at least 2"),
        (np.zeros((80, 0)), "has 0 column"),
        (np.zeros((0, 3)), "has 0 points"),
        (np.ones((80, 3)), "every point of points.npy is the same"),
        (np.zeros((80, 3, 2)), "has shape (80, 3, 2); points must be rows of one two-dimensional table"),
        (rows_of(80)[:, 0], "has shape (80,)"),
        (np.float64(3), "has shape ()"),
        (rows_of(80) * 1j, "holds complex128 values; points must be numbers"),
        (np.full((80, 2), "1"), "holds <U1 values"),
        (np.full((80, 2), np.datetime64("2026-01-01")), "holds datetime64[D] values"),
        (np.zeros(80, dtype=[("x", "f8"), ("y", "f8")]), "values; points must be numbers"),
        (np.full((80, 2), 1e151), "1e+151 in point 1, column 1; change the column's unit"),
        (np.full((80, 2), np.longdouble("1e4000")), "inf in point 1, column 1"),
    ],
)
def test_an_array_that_is_no_set_of_points_is_refused(tmp_path, rows, words):
    path = tmp_path / "points.npy"
    np.save(path, rows)
    assert words in refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_pointed_at(tmp_path, bad):
    rows = rows_of()
    rows[40, 2] = rows[70, 0] = bad
    rows[3] = -1
    path = tmp_path / "points.npy"
    np.save(path, rows)
    assert f"has {bad} in point 41, column 3; mend it, or leave such rows out: --missing nan" in refused(path)
    assert f"has {bad} in point 41, column 3" in refused(path, missing=("-1",), drop_columns=("2",))


class Bomb:
    """What a malicious pickle does when it is opened."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_pickle_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "points.npy"
    np.save(path, np.array([[Bomb(), 1.0]], dtype=object), allow_pickle=True)
    assert "it holds pickled objects, which are not opened" in refused(path)
    path.write_bytes(pickle.dumps(Bomb()))
    assert "is no plain .npy array" in refused(path)
    assert not (tmp_path / "exploded").exists()
    np.load(path, allow_pickle=True)
    assert (tmp_path / "exploded").exists()  # the bomb was live


@pytest.mark.parametrize("left", [0, 3, 8, 40, 128, 500, -1])
def test_a_truncated_npy_is_refused(tmp_path, left):
    path = tmp_path / "points.npy"
    np.save(path, rows_of())
    path.write_bytes(path.read_bytes()[:left])
    assert "is no " in refused(path)


def test_an_archive_or_text_called_npy_is_refused(tmp_path):
    path = tmp_path / "points.npy"
    np.savez(tmp_path / "points.npz", rows_of())
    whole = (tmp_path / "points.npz").read_bytes()
    for content in (whole, whole[:100], text(rows_of()).encode()):
        path.write_bytes(content)
        assert "is no plain .npy array" in refused(path)


@pytest.mark.parametrize(("part", "damaged"), [(b"fortran", b"for ran"), (b", }", b", ("), (b"{", b"\x00")])
def test_a_damaged_header_of_an_npy_is_refused(tmp_path, part, damaged):
    path = tmp_path / "points.npy"
    np.save(path, rows_of())
    path.write_bytes(path.read_bytes().replace(part, damaged.ljust(len(part)), 1))
    assert "is no plain .npy array" in refused(path)


@pytest.mark.parametrize("shape", [(10**14, 2), (10**9, 3), (2**62, 2**62), (81, 2), (-5, 2)])
def test_a_header_that_promises_more_than_the_file_has_is_refused(tmp_path, shape):
    path = tmp_path / "points.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(8 * 160))
    assert "is no " in refused(path)


def test_what_is_too_large_in_float64_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mvm.data.tables.MAX_BYTES", 8 * 300)
    np.save(tmp_path / "points.npy", np.arange(400, dtype=np.uint8).reshape(-1, 2))
    assert "is larger than 0 GiB in float64" in refused(tmp_path / "points.npy")
    assert "is larger than" in refused_text(tmp_path, "1,2\n" * 200)
    assert "is larger than" in refused_text(tmp_path, text(rows_of(200)))
    assert len(read(tmp_path, "1,2\n3,4\n" * 50).values) == 100


def test_what_is_not_there_is_named(tmp_path):
    assert refused(tmp_path / "points.csv") == f"data: no file {tmp_path / 'points.csv'}"
    (tmp_path / "folder.npy").mkdir()
    assert refused(tmp_path / "folder.npy") == f"data: no file {tmp_path / 'folder.npy'}"
    for name in ("points.xlsx", "points", "cirle"):
        with pytest.raises(
            ConfigError, match=r"give a toy manifold \(circle, .* or a file ending in .csv, .tsv, .txt, .npy"
        ):
            file_table(Config.make(data=str(tmp_path / name)))


# -- properties: what was written is what is read, or one line says why not -------------------------------------------

searched = settings(
    derandomize=True, deadline=None, max_examples=150, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

numbers = st.one_of(
    st.floats(-1e30, 1e30, allow_subnormal=False).map(repr),
    st.floats(-1000, 1000, allow_subnormal=False).map(lambda x: f"{x:.3f}"),
    st.floats(-1000, 1000, allow_subnormal=False).map(lambda x: f"{x:+.12E}"),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["-0", "007", "+3", "1e-400", "0.1", "1e5"]),
)
words = st.text("abcXYZéµ (),;|/'#_-", min_size=1, max_size=8)


@st.composite
def dialects(draw):
    """A file as bytes, with the cells and names that it holds, and whether its commas may stand between thousands."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", " "]))
    decimal = draw(st.sampled_from([".", ","]))
    width = draw(st.integers(2, 4))
    pool = draw(st.lists(numbers, min_size=3, max_size=12))
    flat = [*pool, "17", "0.125"][: 80 * width]
    cells = [[flat[(i * width + j + i // 7) % len(flat)] for j in range(width)] for i in range(80)]
    written = [[cell.replace(".", decimal) for cell in row] for row in cells]
    # without quotes around them, commas in numbers and the commas between them are the same
    quoting = csv.QUOTE_ALL if delimiter == decimal else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    names = [" ".join(name.split()) for name in draw(st.lists(words, min_size=width, max_size=width))]
    header = draw(st.sampled_from(["none", "row", "comment"]))
    if not all(re.search("[a-zA-Zé]", name) for name in names) or names[0].startswith("#"):
        header = "none"
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    trailing = draw(st.booleans()) and delimiter not in (" ", decimal)
    if draw(st.booleans()):
        lines.write(f"sep={delimiter}\n")
    if draw(st.booleans()):
        lines.write("# written by a program in 2026\n")
    if header == "comment":
        names = [re.sub(r"[^a-zA-Zé]", "", name) for name in names]
        lines.write(f"# {delimiter.join(names)}\n")
    if header == "row":
        broken = draw(st.booleans()) and quoting == csv.QUOTE_ALL and delimiter != " "
        writer.writerow([*(name.replace(" ", "\n") if broken else name for name in names), *[""] * trailing])
    for i, row in enumerate(written):
        writer.writerow(row)
        if trailing:
            lines.seek(lines.tell() - 1)
            lines.write(f"{delimiter}\n")
        if i == 40 and draw(st.booleans()):
            lines.write("\n# the second half\n")
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]))
    content = lines.getvalue().replace("\n", end)
    content = content if draw(st.booleans()) else content.removesuffix(end)
    commas = [cell for row in written for cell in row if "," in cell]
    either = bool(commas) and all(re.fullmatch(r"[+-]?[1-9]\d?\d?,\d{3}", cell) for cell in commas)
    return content.encode(encoding), cells, () if header == "none" else tuple(names), either


@searched
@given(dialects())
def test_any_dialect_is_read_as_it_was_written(tmp_path, written):
    content, cells, names, either = written
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    table, error = attempt(path)
    if either:
        assert "may be" in error
        assert "\n" not in error
        return
    assert not error
    np.testing.assert_array_equal(table.values, [[float(cell) for cell in row] for row in cells])
    assert table.names == names


KINDS = [
    *("?", "i1", "u1", "<i2", ">i2", "<u4", ">i8", "<u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"),
    *("<c8", "<c16", "<U3", "S2", "<M8[s]", "<m8[ms]", "O", "<f8,<f8", "V3"),
]


@searched
@given(
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from([(), (80,), (80, 2), (64, 3), (63, 2), (80, 1), (0, 2), (80, 0), (80, 2, 1), (1, 80, 2)]),
    order=st.sampled_from("CF"),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0)]),
    low=st.floats(-100, 100, allow_subnormal=False),
    odd=st.sampled_from([None, np.nan, np.inf, 1e38, 2.0**53, 2.0**62]),
    same=st.booleans(),
)
@example("<f8", (80, 2), "F", (1, 0), 0.1, None, False)
@example(">i8", (64, 3), "F", (2, 0), 1.0, 2.0**62, False)
@example("g", (80, 2), "C", (3, 0), 0.1, 1e38, False)
def test_any_array_is_read_as_it_was_written(tmp_path, kind, shape, order, version, low, odd, same):
    count = math.prod(shape)
    filling = np.full(count, low) if same else low + np.arange(count) % 97
    if odd is not None and count:
        filling[count // 2] = odd
    with np.errstate(all="ignore"):
        if np.dtype(kind).kind in "fiubcO":
            array = filling.astype(np.dtype(kind).newbyteorder("=")).astype(kind).reshape(shape, order=order)
        else:
            array = np.zeros(shape, dtype=kind)
    path = tmp_path / "points.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version=version)
    is_table = array.ndim == 2 and array.dtype.kind in "fiub"
    values = [[float(cell) for cell in row] for row in array.tolist()] if is_table else []
    fits = (
        len(values) >= 64
        and len(values[0]) >= 2
        and all(abs(cell) <= 3.4028234e38 for row in values for cell in row)
        and any(row != values[0] for row in values)
    )
    table, error = attempt(path)
    assert bool(error) == (not fits)
    if error:
        assert "points.npy" in error
        assert "\n" not in error
        return
    assert table.values.flags.c_contiguous
    assert table.values.dtype == np.float64
    assert table.values.tolist() == values


@searched
@given(st.binary(max_size=300))
@example(b"\xff\xfe\x00")
@example(b'"' * 100)
@example(b"sep=;")
@example(b",,,\n\n,,")
def test_any_bytes_are_refused_in_one_line(tmp_path, content):
    for name in ("points.csv", "points.npy"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, header=True, missing=("nan", "0"), drop_columns=())


def test_a_table_of_pandas_comes_back(tmp_path):
    """An oracle that is not ours: pandas writes, with an index, and reads."""
    frame = pd.DataFrame(rows_of(100, 3), columns=["x", "y", "z, mm"])
    frame.to_csv(tmp_path / "points.csv", sep=";", decimal=",")
    table = read_table(tmp_path / "points.csv", drop_columns=("1",))
    assert table.names == ("x", "y", "z, mm")
    np.testing.assert_array_equal(table.values, frame.to_numpy())
    np.savetxt(tmp_path / "points.csv", frame.to_numpy(), header="x y z")
    table = read_table(tmp_path / "points.csv")
    assert table.names == ("x", "y", "z")
    np.testing.assert_array_equal(table.values, np.loadtxt(tmp_path / "points.csv"))


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("last", ["", "1,2,x\n"])
def test_memory_is_bounded_by_the_file(tmp_path, quote, last):
    """No list of cells is held, whichever way the numbers are read; before, it took 24 times the file."""
    path = tmp_path / "points.csv"
    path.write_text(re.sub(r"[^,\n]+", rf"{quote}\g<0>{quote}", text(rows_of(6000))) + last)
    attempt(path)  # which imports pandas
    tracemalloc.start()
    try:
        attempt(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * path.stat().st_size


def test_what_was_read_is_what_is_trained_on(tmp_path):
    (tmp_path / "points.csv").write_text("x;y;z\n" + german(ROWS, ";"))
    data = load_points(Config.make(data=str(tmp_path / "points.csv")))
    np.testing.assert_allclose(data.own, ROWS, rtol=1e-6)


# -- columns, before a choice among them -------------------------------------------------------------------------------


def columns_of(folder: Path, content: str, **switches) -> list[Column]:
    (folder / "points.csv").write_text(content)
    return describe_columns(folder / "points.csv", **switches)


@pytest.mark.parametrize("bad", ["", "NA", "many"], ids=["clean", "some missing", "many lines"])
def test_columns_are_described_as_pandas_does(tmp_path, bad):
    """Numbers among text and dates, in a file that is read at once, and in one that is read line by line."""
    rows, n = rows_of(1500 if bad == "many" else 80), 1500 if bad == "many" else 80
    frame = pd.DataFrame(rows, columns=["x", "y", "z"]).assign(kind="setosa", day="2020-01-31")
    frame.insert(0, "id", np.arange(7, 7 + n))
    if bad == "NA":
        frame.loc[[3, 5], "y"] = np.nan
    frame.to_csv(tmp_path / "points.csv", index=False, na_rep="NA")
    columns = describe_columns(tmp_path / "points.csv")
    assert [c.name for c in columns] == [*frame]
    assert [c.number for c in columns] == [1, 2, 3, 4, 5, 6]
    for column in columns[:4]:
        values = frame[column.name]
        expected = values.mean(), values.std(ddof=0), values.min(), values.max()
        np.testing.assert_allclose((column.mean, column.deviation, column.low, column.high), expected, rtol=1e-12)
        assert (column.unique, column.missing, column.empty) == (values.nunique(), *[values.isna().sum()] * 2)
        assert column.is_index is (column.name == "id")
    assert [c.refusal for c in columns] == [
        *[""] * 4, "text: 'setosa' in line 2", "dates or times: '2020-01-31' in line 2"
    ]  # fmt: skip
    assert dropped_at_first(columns) == ("1", "5", "6")
    if bad != "NA":
        table = read_table(tmp_path / "points.csv", drop_columns=dropped_at_first(columns))
        np.testing.assert_array_equal(table.values, rows)


@pytest.mark.parametrize(
    ("names", "steps", "index"),
    [("id", 1, True), ("Index", 1, True), ("", 1, True), ("Unnamed: 0", 1, True), (None, 1, True), ("t", 1, False),
     ("id", 2, False)],
)  # fmt: skip
def test_an_index_counts_by_one_and_has_no_other_name(tmp_path, names, steps, index):
    head = "" if names is None else f"{names},x,y\n"
    (tmp_path / "points.csv").write_text(
        head + "".join(f"{5 + steps * i},{x},{y}\n" for i, (x, y, _) in enumerate(rows_of()))
    )
    assert dropped_at_first(describe_columns(tmp_path / "points.csv")) == (("1",) if index else ())


def test_an_index_is_kept_where_one_column_would_be_left(tmp_path):
    content = "".join(f"{i},{x}\n" for i, (x, _, _) in enumerate(rows_of()))
    assert dropped_at_first(columns_of(tmp_path, content)) == ()


def test_a_word_among_numbers_is_a_mistake_and_no_text(tmp_path):
    content = "x,y\n" + text(rows_of(dim=2)) + "1,abc\n"
    assert dropped_at_first(columns_of(tmp_path, content)) == ()
    assert "line 82, column 2 (y): 'abc'" in refused_text(tmp_path, content)


def test_marked_numbers_are_missing_but_not_empty(tmp_path):
    content = "x,y\n" + "-9999,2\n1,\n" + text(rows_of(dim=2))
    first, second = columns_of(tmp_path, content, missing=("-9999",))
    assert (first.missing, first.empty, second.missing, second.empty) == (1, 0, 1, 1)
    assert first.low > -9999


def test_columns_of_an_array(tmp_path):
    rows = rows_of()
    np.save(tmp_path / "points.npy", np.column_stack([np.arange(80), rows]))
    columns = describe_columns(tmp_path / "points.npy")
    assert [c.name for c in columns] == [None] * 4
    assert dropped_at_first(columns) == ("1",)
    np.testing.assert_allclose([c.mean for c in columns[1:]], rows.mean(0))


@pytest.mark.parametrize(
    ("content", "says"), [("1\n2\n", "1 column"), ("1,2\n1,2,3\n", "line 2 has 3"), ("", "is empty")]
)
def test_what_is_no_table_has_no_columns(tmp_path, content, says):
    with pytest.raises(ConfigError, match=says):
        columns_of(tmp_path, content)
