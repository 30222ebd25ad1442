"""The benchmarks' own arithmetic, and each script once at its smallest."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from benchmarks import cells, engine, recipe, toys
from benchmarks.cells import Cell, markdown, median
from mvm.config import RECIPES, Config
from toy_manifolds import MANIFOLDS

SMALL = {"network": {"width": 8, "depth": 1}, "batch": 16, "device": "cpu", "points": 200, "steps": 20}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few points, small networks, and all in this process."""
    monkeypatch.setattr(cells, "POINTS", 64)
    monkeypatch.setattr(cells, "QUICK", 32)
    make = Config.make
    monkeypatch.setattr(Config, "make", lambda **values: make(**values | SMALL))

    def run(wanted: list[Cell], cache, *, processes: int) -> list[dict]:
        cache.parent.mkdir(parents=True, exist_ok=True)
        return [cells.measure(cell) for cell in wanted]

    monkeypatch.setattr(recipe, "run", run)
    monkeypatch.setattr(toys, "run", run)


def test_a_cell_is_trained_and_each_seed_scored_on_its_own_points():
    row = cells.measure(Cell("x", Config.make(data="circle", variants=("both",), seeds=(4, 9))))
    assert (row["label"], row["steps"], row["members"], row["evaluations"]) == ("x", 20, 2, 1)
    assert [score["seed"] for score in row["scores"]] == [4, 9]
    first, second = row["scores"]
    assert first["w2_floor"] == second["w2_floor"]  # the mean over both
    assert first["coverage_floor"] != second["coverage_floor"] or first["mmd_floor"] != second["mmd_floor"]
    assert first["w2_ratio"] == pytest.approx(first["w2"] / first["w2_floor"])
    assert row == json.loads(json.dumps(row))


def test_a_budget_of_time_sets_the_steps():
    config = Config.make(data="circle", variants=("both",))
    short, long = (cells.measure(Cell("x", config, seconds=s))["steps"] for s in (0.02, 2.0))
    assert 10 <= short < long


def test_a_key_changes_with_what_could_change_the_result():
    config = Config.make(data="circle")
    wanted = [
        Cell("a", config),
        Cell("b", config),
        Cell("a", config, 3.0),
        Cell("a", config.with_changes({"batch": 8})),
    ]
    assert len({cell.key for cell in wanted}) == 4
    assert Cell("a", config).key == wanted[0].key


def test_median_counts_what_has_no_value_as_the_worst():
    row = {"scores": [{"w2": 1.0}, {"w2": None}, {"w2": 3.0}]}
    assert median(row, "w2") == 3.0
    assert median({"scores": [{"w2": None}, {"w2": None}, {"w2": 3.0}]}, "w2") is None


def test_winners():
    assert toys.winners([2.0, None, 1.5], "lower") == {2}
    assert toys.winners([0.2, 0.7, 0.7], "higher") == {1, 2}
    assert toys.winners([0.9, 1.0, 1.2], "floor") == {0, 1}
    assert toys.winners([1.3, 1.2], "floor") == {1}
    assert toys.winners([None, None], "floor") == set()


def test_markdown():
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path):
    cells.write_section(tmp_path, "a", "First", "python a", "old")
    cells.write_section(tmp_path, "b", "Second", "python b", "kept")
    page = tmp_path / "results.md"
    page.write_text(page.read_text().replace("# Measured", "# Measured\n\nBy hand.") + "\nThe end.\n")
    cells.write_section(tmp_path, "a", "First", "python a", "new")
    text = page.read_text()
    assert "old" not in text
    places = [text.index(words) for words in ("By hand.", "new", "kept", "The end.")]
    assert places == sorted(places)


def run(module, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    module.main()


def test_recipe_table(monkeypatch, tmp_path, capsys):
    run(recipe, monkeypatch, "--manifolds", "circle", "eight_gaussians", "--seeds", "2", "--out", str(tmp_path))
    page = (tmp_path / "results.md").read_text()
    assert page == f"# Measured\n\n{capsys.readouterr().out}"
    assert "Median of 2 seeds" in page
    assert page.count("\n| ") == 2 + 2
    rows = list(csv.DictReader((tmp_path / "tables" / "recipe.csv").open()))
    assert len(rows) == 2 * len(RECIPES["mvm"]) * 2
    assert {row["label"] for row in rows} == set(RECIPES["mvm"])


def test_changes_table(monkeypatch, tmp_path):
    names = dict(list(recipe.CHANGES.items())[:2])
    monkeypatch.setattr(recipe, "CHANGES", names)
    run(recipe, monkeypatch, "--changes", "--manifolds", "circle", "--out", str(tmp_path))
    assert all(f"| {name} |" in (tmp_path / "results.md").read_text() for name in names)


@pytest.mark.parametrize("label", recipe.CHANGES)
def test_every_change_is_a_valid_config_that_differs(label):
    config = Config.make(data="circle", variants=("both",))
    assert (config.with_changes(recipe.CHANGES[label]) == config) == (label == "none")


@pytest.mark.parametrize("budget", [["--steps", "20"], ["--seconds", "0.05", "--paper"]])
def test_toys_tables(monkeypatch, tmp_path, budget):
    run(toys, monkeypatch, *budget, "--manifolds", "circle", "--seeds", "2", "--out", str(tmp_path))
    name = "toys_steps" if "--steps" in budget else "toys_seconds_paper"
    page = (tmp_path / "results.md").read_text()
    assert f"<!-- {name} -->" in page
    assert all(f" {label} |" in page for label in toys.ENTRIES)
    assert page.count(f"\n| {MANIFOLDS['circle'].title} |") == len(toys.SCORES)
    assert "| Flow matching |" in page.split("### Over all manifolds")[1]


@pytest.mark.parametrize("kind", ["engine", "plain"])
def test_engine_measures_both_loops(kind):
    measured = engine.work(kind, variants=2, batch=16, seconds=0.05, device="cpu")
    assert measured["steps_per_second"] > 0
    if kind == "engine":
        assert measured["gigaflop"] > 0
        assert measured["ceiling"] > 0


def test_operations_of_a_product_are_counted():
    import torch

    def step() -> None:
        torch.baddbmm(torch.zeros(2, 1, 5), torch.zeros(2, 7, 3), torch.zeros(2, 3, 5))
        torch.bmm(torch.zeros(2, 7, 3), torch.zeros(2, 3, 5))

    operations, volume = engine.count(step)
    product = 2 * 2 * 7 * 3 * 5
    assert operations == 2 * product
    assert volume == 4 * (2 * (42 + 30 + 70) + 10)
