"""The page Sweeps, as a person finds it: before a sweep, while one waits, and with its scores."""

from __future__ import annotations

import statistics

import pytest
from pages import open_page, words
from trainers import write_cloud

from mvm.files import checkpoints
from mvm.runs.run import Run
from mvm.sweeps.results import axes_of, importance, pooled, ranked, results_of
from mvm.sweeps.spec import spec_of
from mvm.sweeps.sweep import make, progress_of, sweep_named
from mvm.sweeps.worker import Worker

SPEC = """
seeds = 3
[base]
data = "{data}"
steps = 20
variants = ["both"]
view-points = 16
network.depth = 2
[grid]
batch = [16, 32]
network.width = [8, 16]
"""
PAGE = "from app.views.sweeps import sweeps\nsweeps()"


@pytest.fixture
def grid(tmp_path, no_processes):
    """Two axes of two values each, with three seeds."""
    make(spec_of(SPEC.format(data=write_cloud(tmp_path / "cloud.csv")), name="grid"))
    return sweep_named("grid")


def test_without_a_sweep_the_page_shows_how_to_make_one(no_processes):
    page = open_page(PAGE)
    assert not page.exception
    assert "mvm sweep methods.toml --on local" in [code.value for code in page.code]
    spec_of(page.code[0].value, name="methods")


def test_the_page_follows_a_sweep_and_compares_its_settings(grid):
    page = open_page(PAGE)
    assert not page.exception
    assert "The scores appear here as runs finish." in words(page)
    assert Worker(grid).work()

    results = results_of(grid)
    scores = {
        (run.config.batch, run.config.network.width): [row["w2"] / row["w2_floor"] for row in run.scores()]
        for run in (Run(checkpoints() / name) for name in grid.runs)
    }
    assert pooled(results, ["batch", "network.width"]) == {key: pytest.approx(found) for key, found in scores.items()}
    assert axes_of(results) == {"batch": [16, 32], "network.width": [8, 16]}
    best, *_, worst = ranked(results)
    medians = {setting: statistics.median(found) for setting, found in scores.items()}
    assert best.median == pytest.approx(min(medians.values()))
    assert (best.settings["batch"], best.settings["network.width"]) == min(medians, key=medians.get)
    assert worst.median == pytest.approx(max(medians.values()))
    assert best.count == 3
    every = [score for found in scores.values() for score in found]
    halves = [[s for (batch, _), found in scores.items() if batch == b for s in found] for b in (16, 32)]
    mean = statistics.mean(every)
    explained = statistics.mean((statistics.mean(half) - mean) ** 2 for half in halves) / statistics.pvariance(every)
    assert importance(results)["batch"] == pytest.approx(explained)

    page = page.run()
    assert not page.exception
    heat, table = (frame.value for frame in page.dataframe)
    assert heat.shape == (2, 2)
    assert heat.to_numpy().min() == pytest.approx(best.median)
    assert len(table) == 4
    assert progress_of(grid).trainings == (12, 12)
