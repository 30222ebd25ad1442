"""Anomalies of a table: rows and columns that own its scale are named with the switch that leaves them out."""

import shlex

import numpy as np
import pytest
import torch

from mvm.commands.flags import given_fields
from mvm.data.anomalies import describe
from mvm.data.points import Points
from mvm.data.tables import Table, read_table
from toy_manifolds import MANIFOLDS, manifold


def described(*columns: np.ndarray, names: tuple[str, ...] = ()) -> list[str]:
    values = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    return describe(Table(values, names, tuple(range(1, values.shape[1] + 1))))


def oddities(values: np.ndarray, names: tuple[str, ...] = ()) -> list[str]:
    return described(*np.asarray(values, dtype=np.float64).T, names=names)[1:]


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_first(values: np.ndarray, first: list[float] | np.ndarray) -> np.ndarray:
    return np.vstack([first, values])


def with_marks(values: np.ndarray, **marks: float) -> np.ndarray:
    """Marks of missing numbers: `c1r3=-9999` is column 1, row 3."""
    values = np.array(values, dtype=np.float64)
    for place, mark in marks.items():
        column, row = place[1:].split("r")
        values[int(row), int(column)] = mark
    return values


def test_the_summary():
    x, y = stream().normal(size=(2, 80))
    assert described(x, y, names=("x", "y")) == ["80 points, 2 columns: x, y"]
    assert described(x, y) == ["80 points, 2 columns"]
    names = tuple(f"c{i}" for i in range(9))
    told = described(*stream().normal(size=(9, 1200)), names=names)
    assert told == ["1,200 points, 9 columns: c0, c1, c2, c3, c4, c5, c6, c7, ..."]


# -- a first row that holds names --------------------------------------------------------------------------------------

FOREIGN = {
    "wavelengths above reflectances": with_first(stream().random((600, 6)), 400 + 2 * np.arange(6)),
    "wavelengths at odd places": with_first(stream().random((90, 4)), [400, 450.5, 512, 700]),
    "two wavelengths": with_first(stream().random((600, 2)), [400, 402]),
    "wavenumbers, which fall": with_first(stream().random((300, 5)), 4000.5 - 2 * np.arange(5)),
    "unordered numbers of sensors": with_first(stream().normal(size=(300, 3)), [10045, 10032, 20001]),
    "years above amounts": with_first(stream().lognormal(7, 1, (200, 5)).round(1), 1990 + np.arange(5)),
    "years above whole amounts": with_first(stream().lognormal(7, 1, (200, 5)).round(), 1990 + np.arange(5)),
    "every fifth year": with_first(stream().lognormal(7, 1, (200, 4)), 1990 + 5 * np.arange(4)),
    "numbers from 0": with_first(stream().normal(size=(80, 2)), [0, 1]),
    "numbers from 1": with_first(stream().normal(size=(80, 3)), [1, 2, 3]),
    "above a column of zeros": with_first(np.c_[np.zeros(90), stream().random((90, 2))], [400, 402, 404]),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_header_of_numbers_is_named(case):
    (line,) = (line for line in oddities(FOREIGN[case]) if "first row" in line)
    assert line.endswith("is read as a point; if it holds the columns' names: --header true")
    assert not any("first row" in line for line in oddities(FOREIGN[case][1:]))
    assert oddities(FOREIGN[case], names=("a",) * FOREIGN[case].shape[1]) == []


# -- marks of missing numbers ------------------------------------------------------------------------------------------

NORMAL = stream(1).normal(size=(600, 2))
MARKED = {
    "three -9999 among 600": (with_marks(NORMAL, c1r5=-9999, c1r7=-9999, c1r90=-9999), "-9999", 3),
    "one -9999": (with_marks(NORMAL, c1r5=-9999), "-9999", 1),
    "one in each column": (with_marks(NORMAL, c0r5=999.9, c1r7=999.9), "999.9", 2),
    "a fill value of NetCDF": (with_marks(NORMAL, c0r5=1e20), "1e+20", 1),
    "a fill value below zero": (with_marks(NORMAL, c0r5=-1e30), "-1e+30", 1),
    "the least 16-bit number": (with_marks(NORMAL, c0r5=-32768), "-32768", 1),
    "zeros among positions": (np.vstack([48 + 0.1 * NORMAL, np.zeros((12, 2))]), "0", 12),
    "99 among answers from 1 to 5": (np.vstack([stream().integers(1, 6, (500, 3)), np.full((9, 3), 99)]), "99", 9),
    "in half of the rows": (np.vstack([NORMAL, np.c_[NORMAL[:, 0], np.full(600, -9999)]]), "-9999", 600),
    "in two thirds of the rows": (np.vstack([NORMAL[:300], np.full((600, 2), 999.9)]), "999.9", 600),
    "in float32": (with_marks(NORMAL, c1r5=-9999.9).astype(np.float32), "-9999.900390625", 1),
    "a value of a person's own": (with_marks(NORMAL, c1r5=-777, c1r7=-777, c1r90=-777), "-777", 3),
    "among heavy tails": (np.vstack([stream().lognormal(0, 1.5, (500, 2)), np.full((4, 2), -9999)]), "-9999", 4),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_mark_of_missing_numbers_is_named(case):
    values, mark, rows = MARKED[case]
    (line,) = oddities(values)
    plural = "s" * (rows > 1)
    start, typed = line.split("--missing ")
    assert start == f"{mark} is far from all other values, in {rows} row{plural}; if it marks missing numbers: "
    assert float(typed) == float(mark)
    assert oddities(values[~(values == float(mark)).any(axis=1)]) == []


def test_several_marks_are_named_in_one_line():
    values = with_marks(NORMAL, c0r1=-9999, c0r2=-9999, c1r3=-999, c1r4=1e30)
    (line,) = oddities(values)
    assert line.startswith("-999, -9999, 1e+30 are far from all other values, in 4 rows; ")
    assert line.endswith("--missing -999 -9999 1e+30")


def test_a_mark_does_not_hide_a_header():
    values = with_marks(with_first(stream().random((200, 2)), [402, 404]), c1r5=-9999, c1r7=-9999, c1r90=-9999)
    header, marks = oddities(values)
    assert header.startswith("the first row (402, 404) is read as a point")
    assert marks.startswith("-9999 is far")


@pytest.mark.parametrize("rows", [stream().random((200, 3)), stream().integers(1, 9, (64, 2))])
def test_a_row_of_totals_is_named(rows):
    table = np.vstack([rows, rows.sum(axis=0)])
    said = "the last row is the sum of all others; to leave it out: --missing "
    assert any(line.startswith(said) for line in oddities(table))
    assert not any("sum" in line for line in oddities(rows))
    assert oddities(np.vstack([rows, rows.max(axis=0)])) == []


# -- columns -----------------------------------------------------------------------------------------------------------


def test_an_index_is_named():
    x, y = stream().normal(size=(2, 80))
    count = np.arange(80)
    for index in (count, count + 1, stream().permutation(80), stream().permutation(80) + 1, count[::-1]):
        line = "column 2 numbers the rows; if it is an index: --drop-columns 2"
        assert described(x, index, y)[1:] == [line]
    for other in (count + 2, -count, count / 2, np.minimum(count, 78)):
        assert described(x, other)[1:] == []
    assert described(count, x, names=("", "x"))[1:] == [
        "column 1 (unnamed) numbers the rows; if it is an index: --drop-columns 1"
    ]
    ranks = np.stack([stream(seed).permutation(80) for seed in (1, 2)])
    assert described(*ranks)[1:] == [], "ranks of two numbers are data"


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_first_column_without_a_name_is_named(name):
    index = stream().permutation(300)[:80]
    x, y = stream().normal(size=(2, 80))
    (line,) = described(index, x, y, names=(name, "x", "y"))[1:]
    assert line == f"column 1 ({name or 'unnamed'}) is trained on; if it is an index: --drop-columns 1"
    assert described(x, index, y, names=("x", name, "y"))[1:] == []


def test_constant_columns_are_named_in_one_line():
    x, same = stream().normal(size=80), np.full(80, 2.5)
    assert described(x, same, x**2, names=("x", "y", "z"))[1:] == [
        "column 2 (y) never changes, and can be left out: --drop-columns 2"
    ]
    assert described(x, same, same)[1:] == ["columns 2, 3 never change, and can be left out: --drop-columns 2 3"]
    (line,) = described(x, x**2, *[same] * 50)[1:]
    assert line.endswith(" 20 21 22 ...")


def test_numbers_that_float64_rounds_are_named():
    whole = stream().integers(0, 10**6, (2, 80))
    (line,) = described(5e18 + whole[0], whole[1])[1:]
    assert line.startswith("column 1 is rounded to steps of 1e+03 by float64; subtract an offset")
    assert described(1.7e12 + whole[0], 5.4e6 + whole[1] / 1000)[1:] == [], "milliseconds, and metres of UTM"
    assert described(1e20 * stream().lognormal(size=80), whole[1])[1:] == []


# -- the switches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FOREIGN, *MARKED, "an index", "totals"])
def test_the_named_switch_leaves_it_out(tmp_path, name):
    """Each line ends with flags that can be typed as they are, after which nothing is odd."""
    from mvm.__main__ import _parser

    values = FOREIGN.get(name, MARKED[name][0] if name in MARKED else np.c_[np.arange(600), NORMAL])
    if name == "totals":
        values = np.vstack([NORMAL, NORMAL.sum(axis=0)])
    path = tmp_path / "points.csv"
    path.write_text("".join(",".join(repr(float(cell)) for cell in row) + "\n" for row in values))
    lines = [line for line in describe(read_table(path))[1:] if "never change" not in line]
    (flags,) = (line[line.index("--") :] for line in lines)
    options = _parser([]).parse_args(["train", *shlex.split(flags)])
    switches = given_fields(options)
    switches["header"] = switches.get("header") == "true"
    table = read_table(path, **switches)
    assert not [line for line in describe(table)[1:] if "never change" not in line]
    assert table.values.size < values.size


# -- ordinary data -----------------------------------------------------------------------------------------------------

ORDINARY = {
    "normal": lambda g, n: g.normal(size=(n, 3)),
    "rounded to tenths": lambda g, n: g.normal(size=(n, 3)).round(1),
    "exponential": lambda g, n: g.exponential(size=(n, 2)),
    "lognormal": lambda g, n: g.lognormal(0, 2, (n, 3)),
    "Cauchy": lambda g, n: g.standard_cauchy((n, 2)),
    "Pareto": lambda g, n: g.pareto(1, (n, 2)),
    "amounts in cents": lambda g, n: g.lognormal(7, 1.5, (n, 2)).round(2),
    "counts": lambda g, n: g.poisson(2, (n, 4)),
    "overdispersed counts": lambda g, n: g.negative_binomial(0.3, 0.02, (n, 3)),
    "answers from 1 to 5": lambda g, n: g.integers(1, 6, (n, 2)),
    "percentages": lambda g, n: g.integers(0, 101, (n, 2)),
    "pixels": lambda g, n: g.integers(0, 256, (n, 16)) * (g.random((n, 16)) < 0.3),
    "binary": lambda g, n: g.integers(0, 2, (n, 12)),
    "mostly zero": lambda g, n: np.maximum(
        g.lognormal(0, 1, (n, 2)) * (g.random((n, 2)) < 0.1), g.random((n, 1)) < 0.1
    ),
    "saturated": lambda g, n: np.minimum(g.lognormal(0, 2, (n, 2)), 50),
    "two far clusters": lambda g, n: 0.01 * g.normal(size=(n, 2)) + 100 * (np.arange(n)[:, None] % 7 == 3),
    "sorted": lambda g, n: np.sort(g.normal(size=(n, 2)), axis=0),
    "a trajectory from whole numbers": lambda g, n: np.stack(
        [0.01 * np.arange(n), np.cos(0.01 * np.arange(n)), 1 + np.cos(0.01 * np.arange(n))], axis=1
    ),
    "a walk from the origin": lambda g, n: np.vstack([np.zeros((1, 2)), g.normal(size=(n - 1, 2)).cumsum(axis=0)]),
    "milliseconds": lambda g, n: 1.7e12 + np.sort(g.integers(0, 10**6, (n, 2)), axis=0),
    "doses of 0 to 1000": lambda g, n: g.choice([0, 0.01, 0.1, 1, 10, 100, 1000], (n, 3)),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_data_are_not_odd(case):
    for n in (64, 200, 1000):
        for seed in range(6):
            assert oddities(ORDINARY[case](stream(seed), n)) == []


@pytest.mark.parametrize("name", MANIFOLDS)
def test_toy_manifolds_are_not_odd(name):
    for seed in range(3):
        points = manifold(name).sample(300, torch.Generator().manual_seed(seed)).points
        assert oddities(points.double().numpy()) == []


def test_a_toy_manifold_needs_no_description():
    from mvm.config import Config

    assert Points().describe(Config.make(data="torus")) == []
