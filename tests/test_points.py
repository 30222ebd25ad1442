"""Point data: every way to write a table, every way to spoil one, and the split that keeps scores honest."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mvm.config import Config
from mvm.data.points import MIN_POINTS, describe, load_points, read_points
from mvm.errors import ConfigError
from toy_manifolds import MANIFOLDS


def table(n: int = 80, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).round(4)


def text(rows: np.ndarray, delimiter: str = ",") -> str:
    return "".join(delimiter.join(repr(float(cell)) for cell in row) + "\n" for row in rows)


def own(path: Path, rows: np.ndarray, **values):
    np.save(path, rows)
    return load_points(Config.make(data=str(path), **values))


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_points(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize(
    ("delimiter", "header", "encoding", "end"),
    [
        (",", "", "utf-8", "\n"),
        (",", "x,y,height (µm)\n", "utf-8", "\n"),
        (",", "", "utf-8-sig", "\n"),
        (",", "x,y,z\n", "utf-8-sig", "\r\n"),
        (";", "", "utf-8", "\n"),
        (";", "a;b;c\n", "utf-8", "\r\n"),
        ("\t", "", "utf-8", "\n"),
        ("\t", "a b\tc\td\n", "utf-8", "\n"),
        (" ", "", "utf-8", "\n"),
        ("   ", "x  y z\n", "utf-8", "\n"),
        (", ", "", "utf-8", "\n"),
    ],
)
def test_csv_in_every_dress(tmp_path, delimiter, header, encoding, end):
    rows = table()
    path = tmp_path / "points.csv"
    path.write_bytes((header + text(rows, delimiter)).replace("\n", end).encode(encoding))
    torch.testing.assert_close(read_points(path), torch.from_numpy(rows).float())


def test_csv_with_blank_lines_quotes_and_a_capital_suffix(tmp_path):
    rows = table()
    path = tmp_path / "points.CSV"
    path.write_text("\n" + text(rows).replace("\n", "\n\n") + '"1.5","-2e-3",3\n')
    expected = torch.from_numpy(np.vstack([rows, [1.5, -2e-3, 3]])).float()
    torch.testing.assert_close(read_points(path), expected)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.replace("\n", ",9\n", 3).replace(",9\n", "\n", 2), "line 3 has 4 cells, line 1 has 3"),
        (lambda t: t + "1,2\n", "line 81 has 2 cells, line 1 has 3"),
        (lambda t: t + "1,two,3\n", "line 81, column 2: 'two' is not a number"),
        (lambda t: t + "1,,3\n", "line 81, column 2: '' is not a number"),
        (lambda t: "x,y,z\n\n" + t + "1,2,?\n", "line 83, column 3: '?' is not a number"),
        (lambda t: "x,y,4\n" + t, "line 1, column 1: 'x' is not a number"),
        (lambda t: t + "1,nan,3\n", "nan in point 81, column 2"),
        (lambda t: t + "1,2,inf\n", "inf in point 81, column 3"),
        (lambda t: t + "-1e300,2,3\n", "-inf in point 81, column 1"),
        (lambda t: "", "is empty"),
        (lambda t: " \n\n", "is empty"),
        (lambda t: "x,y,z\n", f"has 0 points; at least {MIN_POINTS} are needed"),
        (lambda t: "".join(line.split(",")[0] + "\n" for line in t.splitlines()), "has 1 column; a point needs"),
        (lambda t: t[: t.index("\n") + 1] * 80, "every point of points.csv is the same"),
        (lambda t: "".join(t.splitlines(keepends=True)[:63]), "has 63 points; at least 64 are needed"),
        (lambda t: t + "1,2," + "3" * 200_000 + "\n", "is no table of numbers: field larger than field limit"),
    ],
)
def test_a_csv_that_cannot_be_trained_on_is_refused_with_the_place(tmp_path, spoil, words):
    path = tmp_path / "points.csv"
    path.write_text(spoil(text(table())))
    assert words in refused(path)


def test_csv_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes(text(table()).encode("utf-16"))
    assert "is not a UTF-8 text file" in refused(path)


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<f2", "<i4", "u1", "<i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_numbers(tmp_path, kind, order):
    rows = np.asarray((table() > 0) * 5 if kind in ("?", "u1") else table() * 10, dtype=kind, order=order)
    path = tmp_path / "points.npy"
    np.save(path, rows)
    points = read_points(path)
    assert points.dtype == torch.float32
    assert points.is_contiguous()
    torch.testing.assert_close(points, torch.tensor(rows.tolist(), dtype=torch.float32))


def test_64_points_are_enough(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, table(64, 2))
    assert read_points(path).shape == (64, 2)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (table(63), "has 63 points; at least 64 are needed"),
        (table(80, 1), "has 1 column; a point needs at least 2"),
        (np.zeros((80, 0)), "has 0 column"),
        (np.ones((80, 3)), "every point of points.npy is the same"),
        (np.zeros((80, 3, 2)), "has shape (80, 3, 2); points must be rows of one two-dimensional table"),
        (table(80)[:, 0], "has shape (80,)"),
        (np.float64(3), "has shape ()"),
        (table(80) * 1j, "holds complex128 values; points must be numbers"),
        (np.full((80, 2), "1"), "holds <U1 values"),
        (np.zeros(80, dtype=[("x", "f8"), ("y", "f8")]), "values; points must be numbers"),
        (np.full((80, 2), 1e39), "inf in point 1, column 1"),
    ],
)
def test_an_array_that_is_no_set_of_points_is_refused(tmp_path, rows, words):
    path = tmp_path / "points.npy"
    np.save(path, rows)
    assert words in refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_pointed_at(tmp_path, bad):
    rows = table()
    rows[40, 2] = rows[70, 0] = bad
    path = tmp_path / "points.npy"
    np.save(path, rows)
    assert f"has {bad} in point 41, column 3; remove or mend it" in refused(path)


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
    np.save(path, table())
    path.write_bytes(path.read_bytes()[:left])
    assert "is no " in refused(path)


def test_an_archive_or_text_called_npy_is_refused(tmp_path):
    path = tmp_path / "points.npy"
    np.savez(tmp_path / "points.npz", table())
    whole = (tmp_path / "points.npz").read_bytes()
    for content in (whole, whole[:100], text(table()).encode()):
        path.write_bytes(content)
        assert "is no plain .npy array" in refused(path)


@pytest.mark.parametrize(("part", "damaged"), [(b"fortran", b"for ran"), (b", }", b", ("), (b"{", b"\x00")])
def test_a_damaged_header_of_an_npy_is_refused(tmp_path, part, damaged):
    path = tmp_path / "points.npy"
    np.save(path, table())
    path.write_bytes(path.read_bytes().replace(part, damaged.ljust(len(part)), 1))
    assert "is no plain .npy array" in refused(path)


def test_a_header_that_promises_more_than_any_memory_is_refused(tmp_path):
    path = tmp_path / "points.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**14, 2)})
    assert "is no complete .npy file" in refused(path)


def test_what_is_not_there_is_named(tmp_path):
    assert refused(tmp_path / "points.csv") == f"data: no file {tmp_path / 'points.csv'}"
    (tmp_path / "folder.npy").mkdir()
    assert refused(tmp_path / "folder.npy") == f"data: no file {tmp_path / 'folder.npy'}"
    for name in ("points.xlsx", "points", "cirle"):
        message = refused(tmp_path / name)
        assert "give a toy manifold (circle, " in message
        assert "or a file ending in .csv or .npy" in message


def described(path: Path, head: str, *columns: np.ndarray) -> list[str]:
    path.write_text(head + text(np.stack(columns, axis=1)))
    return describe(path)


def test_what_was_read_is_told(tmp_path):
    path, (x, y, _) = tmp_path / "points.csv", table().T
    count, same = np.arange(80.0), np.full(80, 2.5)
    assert described(path, "x,y\n", x, y) == ["80 points, 2 columns: x, y"]
    assert described(path, "", x, y) == ["80 points, 2 columns"]
    index = "{} counts the rows from {} and is trained on; if it is an index, take it out of the file"
    assert described(path, ",x,y\n", count, x, y) == [
        "80 points, 3 columns: (unnamed), x, y",
        index.format("column 1 (unnamed)", 0),
    ]
    assert described(path, "", x, count + 1) == ["80 points, 2 columns", index.format("column 2", 1)]
    for other in (count + 2, -count, count / 2, count[::-1]):
        assert described(path, "x,y\n", x, other) == ["80 points, 2 columns: x, y"]
    assert described(path, "x,y,z\n", x, same, y)[1:] == ["column 2 (y) never changes, and can be left out of the file"]
    assert described(path, "", x, same, same)[1:] == ["columns 2, 3 never change, and can be left out of the file"]
    header = "the first row is 0, 1, ..., and is read as a point; if it is a header, take it out of the file"
    assert described(path, "0,1\n", x, y) == ["81 points, 2 columns", header]
    names = [f"c{i}" for i in range(9)]
    told = described(path, ",".join(names) + "\n", *[x] * 9)
    assert told == ["80 points, 9 columns: c0, c1, c2, c3, c4, c5, c6, c7, ..."]


def test_an_array_is_described_too(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, np.stack([np.arange(1200), np.zeros(1200), np.arange(1200) ** 2], axis=1))
    read, counting, constant = describe(path)
    assert read == "1,200 points, 3 columns"
    assert counting.startswith("column 1 counts the rows from 0")
    assert constant.startswith("column 2 never changes")
    np.save(path, table(63))
    with pytest.raises(ConfigError, match="63 points"):
        describe(path)


def test_own_points_are_split_once_and_scores_see_none_that_was_trained_on(tmp_path):
    rows = table(200, 3)
    data = own(tmp_path / "points.npy", rows)
    assert data.train.shape == (160, 3)
    assert data.held_out.shape == (40, 3)
    trained = data.restore(data.train)
    everything = torch.cat([trained, data.held_out])
    ordered = everything[everything[:, 0].argsort()]
    torch.testing.assert_close(ordered, torch.from_numpy(rows[rows[:, 0].argsort()]).float())
    for repeat in range(3):
        held_out = data.evaluation(1000, repeat=repeat)
        assert held_out.coordinates is None
        assert held_out.real.shape == held_out.floor.shape == (20, 3)
        used = torch.cat([held_out.real, held_out.floor])
        assert len(used.unique(dim=0)) == 40
        assert torch.cdist(used, trained).min() > 1e-3
    assert not torch.equal(data.evaluation(9, repeat=0).real, data.evaluation(9, repeat=1).real)
    assert torch.equal(data.evaluation(9).real, data.evaluation(9).real)
    assert data.evaluation(9).real.shape == (9, 3)
    again = load_points(Config.make(data=str(tmp_path / "points.npy")))
    assert torch.equal(again.train, data.train)


def test_at_most_4000_points_are_held_out(tmp_path):
    data = own(tmp_path / "points.npy", table(30_000, 2))
    assert (len(data.train), len(data.held_out)) == (26_000, 4000)


def test_each_column_of_an_own_file_has_its_own_unit(tmp_path):
    rows = table(500, 3) * [1e-4, 1.0, 1e5] + [3.0, -2.0, 4e5]
    data = own(tmp_path / "points.npy", rows, view_points=100)
    torch.testing.assert_close(data.train.mean(0), torch.zeros(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(data.train.std(0), torch.ones(3), atol=1e-3, rtol=0)
    kept = data.restore(data.train).double().numpy()
    np.testing.assert_allclose(data.mean, kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.scale, kept.std(0, ddof=1), rtol=1e-2)
    assert torch.equal(data.view, data.train[:100])


@pytest.mark.parametrize("value", [0.0, 0.1, 3.3, 1e6 + 0.1, -7.7])
def test_a_constant_column_is_moved_to_zero_and_not_blown_up(tmp_path, value):
    rows = table(500, 3)
    rows[:, 1] = value
    data = own(tmp_path / "points.npy", rows)
    assert data.scale[1] == 1
    assert torch.equal(data.train[:, 1], torch.zeros(400))
    assert torch.equal(data.restore(data.train)[:, 1], torch.full((400,), value))


def test_standardise_and_restore_are_inverse(tmp_path):
    for data in (
        own(tmp_path / "points.npy", table(500, 3) * [1.0, 20.0, 0.1] + [1.0, -5.0, 2.0]),
        load_points(Config.make(data="swiss_roll", points=500)),
    ):
        points = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(data.standardise(data.restore(points)), points, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(data.restore(data.standardise(points)), points, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(data.standardise(points), (points - data.mean) / data.scale)


def test_a_toy_manifold_is_scaled_by_one_number_and_keeps_its_shape():
    data = load_points(Config.make(data="swiss_roll", points=3000))
    assert torch.equal(data.scale, data.scale[:1].expand(3))
    torch.testing.assert_close(data.train.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(data.train.square().mean().item(), 1.0, atol=1e-4, rtol=0)
    distance = data.manifold.distance(data.restore(data.train[:200]))
    torch.testing.assert_close(distance, torch.zeros(200), atol=1e-4, rtol=0)


def test_a_toy_manifolds_samples_are_independent():
    config = Config.make(data="circle", points=300, view_points=200)
    data = load_points(config)
    assert data.held_out is None
    first, second = data.evaluation(250), data.evaluation(250, repeat=1)
    samples = [data.restore(data.train), data.restore(data.view), first.real, first.floor, second.real, second.floor]
    for i, one in enumerate(samples):
        for other in samples[:i]:
            shared = (one[:, None] - other[None]).abs().amax(-1).amin(1) < 1e-6
            assert shared.sum() < 10
    torch.testing.assert_close(data.manifold.embed(first.coordinates.double()).float(), first.real)
    assert torch.equal(first.real, load_points(config).evaluation(250).real)


def test_training_points_do_not_depend_on_how_many_are_shown():
    few, many = (load_points(Config.make(points=200, view_points=n)) for n in (16, 400))
    assert torch.equal(few.train, many.train)
    assert (few.view.shape, many.view.shape) == ((16, 2), (400, 2))


def test_a_manifolds_settings_reach_it():
    data = load_points(Config.make(data="circle", settings={"noise": 0.2}, points=5000))
    spread = data.manifold.distance(data.restore(data.train))
    torch.testing.assert_close(spread.square().mean().sqrt().item(), 0.2, atol=0.02, rtol=0)


def test_ambient_dim_is_an_isometry():
    flat, placed = (load_points(Config.make(data="circle", points=100, ambient_dim=d)) for d in (None, 6))
    assert placed.dim == 6
    one, other = (torch.pdist(data.restore(data.train).double()) for data in (flat, placed))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "cirle"}, "unknown 'cirle'; give a toy manifold (circle, "),
        ({"data": "circle", "settings": {"wobble": 1}}, "circle has no setting 'wobble'; its settings are: "),
        ({"data": "circle", "settings": {"noise": -1}}, "noise=-1.0 "),
        ({"data": "swiss_roll", "ambient_dim": 2}, "needs at least 3 dimensions"),
        ({"data": "points.csv", "settings": {"noise": 0.1}}, "only toy manifolds have them, not the file points.csv"),
        ({"data": "points.csv", "ambient_dim": 5}, "only toy manifolds have them"),
    ],
)
def test_data_that_cannot_be_made_is_refused_in_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        load_points(Config.make(**values))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_runs_own_copy_is_read_in_place_of_the_file(tmp_path):
    copy = tmp_path / "data.npy"
    np.save(copy, table(100, 4))
    data = load_points(Config.make(data="/gone/points.csv"), own=copy)
    assert data.dim == 4
    assert data.manifold is None
    shadow = load_points(Config.make(data="circle"), own=copy)
    assert shadow.manifold is None
    assert "circle" in MANIFOLDS
