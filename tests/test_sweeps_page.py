"""The page Sweeps, as a person finds it: before a sweep, while one waits, and with its scores."""

from __future__ import annotations

import json
import statistics
import tomllib

import pytest
from launchers import Here
from pages import as_read, button, open_page, words
from trainers import write_cloud

from mvm.__main__ import main
from mvm.config import Config
from mvm.files import checkpoints
from mvm.jobs.launch import LAUNCHERS
from mvm.runs.run import Run
from mvm.sweeps import background
from mvm.sweeps.draft import base_of, spec_text
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


def test_a_sweep_is_written_with_widgets_and_started(no_processes, monkeypatch):
    launcher = Here(lambda task: "finished")
    monkeypatch.setitem(LAUNCHERS, "local", lambda: launcher)
    page = open_page(PAGE)
    assert "A sweep trains every combination of some settings" in words(page)

    def add(name):
        box(page, "Add a setting").set_value(name).run()

    def text():
        return tomllib.loads(page.code[0].value)

    assert text() == {"seeds": 3, "base": {"data": "swiss_roll", "steps": 2000}}
    assert "of 1 setting," in words(page)
    box(page, "Data").set_value("circle").run()
    add("batch")
    add("method")
    add("optimiser.generator_lr")
    next(field for field in page.text_input if field.value == "128 256 512").set_value("16, 32").run()
    assert text()["grid"]["batch"] == [16, 32]
    assert len(text()["grid"]["method"]) == 2
    assert text()["grid"]["optimiser"]["generator-lr"]["count"] == 3
    assert "12 settings, in 8 runs" in words(page)
    box(page, "Combined").set_value("zip").run()
    assert (text()["zip"], text()["grid"].keys()) == ({"batch": [16, 32]}, {"method", "optimiser"})
    boxes = [each for each in page.selectbox if each.label == "Combined"]
    boxes[1].set_value("zip").run()
    assert "6 settings, in 4 runs" in words(page), "two of batch and method in step, by three rates"
    boxes = [each for each in page.selectbox if each.label == "Combined"]
    boxes[2].set_value("random").run()
    next(each for each in page.number_input if each.label == "Draws").set_value(4).run()
    drawn = text()["random"]
    assert drawn["optimiser"]["generator-lr"].keys() == {"log"}, "a draw has no number of values"
    assert (drawn["count"], drawn["seed"], "grid" in text()) == (4, 0, False)
    assert "of 8 settings" in words(page)
    assert not page.exception
    button(page, "Edit the text").click().run()
    shorter = "seeds = 2\n[base]\nsteps = 5\nbatch = 16\n[grid]\nnetwork.width = [8, 16]\n"
    page.text_area[0].set_value(shorter + "spoons = 3\n").run()
    (error,) = page.error
    assert as_read(error.value) == "unknown setting 'spoons'; `python -m mvm train --help` lists them"
    assert button(page, "Train here").disabled
    page.text_area[0].set_value(shorter).run()
    assert "12 trainings of 2 settings, in 2 runs" in words(page)
    button(page, "Train here").click().run()
    assert not page.exception
    assert [task.arguments[:4] for task in launcher.tasks] == [("sweep", "sweep", "--on", "local")]
    made = [Run(checkpoints() / name).config for name in sweep_named("sweep").runs]
    assert [(config.network.width, config.steps, config.seeds) for config in made] == [(8, 5, (0, 1)), (16, 5, (0, 1))]
    assert box(page, "Sweep").value == "sweep"
    button(page, "Continue").click().run()
    assert launcher.tasks[-1].arguments == ("sweep", "sweep", "--on", "local")


def test_a_sweep_that_was_asked_to_stop_says_so_until_its_workers_have_left(grid, monkeypatch):
    launcher = Here(lambda task: "running")
    monkeypatch.setitem(LAUNCHERS, "local", lambda: launcher)
    monkeypatch.setattr(background, "trains_here", lambda sweep: True)
    (grid.folder / "background.json").write_text(json.dumps({"job": "1"}))
    page = open_page(PAGE)
    button(page, "Stop").click().run()
    assert not page.exception
    assert button(page, "Stop").disabled
    assert "Stopping: workers save their runs." in words(page)


def test_what_cannot_be_read_is_told_in_one_line(no_processes):
    page = open_page(PAGE)
    box(page, "Add a setting").set_value("batch").run()
    next(field for field in page.text_input if field.value == "128 256 512").set_value("16 many").run()
    assert [error.value for error in page.error] == ["Batch: 'many' is no number; give numbers such as 0.001"]
    assert button(page, "Train here").disabled


def test_the_lab_hands_its_settings_to_a_new_sweep(no_processes):
    page = open_page(steps="70", batch="32")
    button(page, "Sweep").click().run()
    assert not page.exception
    assert tomllib.loads(page.code[0].value)["base"] == {"data": "circle", "steps": 70, "batch": 32}
    assert "As in the settings of the next run: batch 32." in words(page)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 64},
        {
            "data": "swiss_roll",
            "settings": {"turns": 2.0},
            "variants": ("both", "centroid+covariance"),
            "ambient_dim": 5,
        },
        {"method": "wgan_gp", "optimiser": {"generator_lr": 1e-5, "generator_betas": (0.5, 0.9)}, "threads": 2},
        {"recipe": "paper", "mvm": {"pairs": 32}, "network": {"frequencies": ()}, "compile": "off"},
    ],
)
def test_a_draft_makes_the_same_config_again(settings):
    config = Config.make(seeds=(0, 1), **settings)
    base = base_of(config)
    (point,) = spec_of(spec_text(config.seeds, base, {}), name="again").points
    assert point.config == config
    defaults = Config.make(**{name: getattr(config, name) for name in ("data", "method", "recipe")}).flat()
    assert all(name in ("data", "method", "recipe") or defaults.get(name) != value for name, value in base.items())
    axes = {
        "grid": {"batch": {"log": [16, 64], "count": 3}, "variants": ['a "b"\u007f']},
        "random": {"count": 2, "steps": [5, 6]},
    }
    written = tomllib.loads(spec_text((3, 5), base, {**axes, "zip": {}}))
    assert written["seeds"] == [3, 5]
    assert {part: written[part] for part in ("grid", "zip", "random") if part in written} == axes


def box(page, label):
    """A choice by the beginning of its label."""
    return next(each for each in page.selectbox if each.label.startswith(label))


def test_the_page_follows_a_sweep_and_compares_its_settings(grid, tmp_path):
    page = open_page(PAGE)
    assert not page.exception
    assert "The scores appear here as runs finish." in words(page)
    assert Worker(grid, only=next(iter(grid.runs))).work()
    (only,) = (frame.value for frame in page.run().dataframe)
    assert {"Batch", "Width"} <= set(only.columns), "the settings of the first that has finished"
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
    heat, matters, table = (frame.value for frame in page.dataframe)
    assert heat.shape == (2, 2)
    assert dict(zip(matters["setting"], matters["share"] / 100, strict=True)) == {
        "Batch": pytest.approx(importance(results)["batch"]),
        "Width": pytest.approx(importance(results)["network.width"]),
    }
    assert heat.to_numpy().min() == pytest.approx(best.median)
    assert len(table) == 4
    assert progress_of(grid).trainings == (12, 12)

    box(page, "Score").set_value("coverage").run()
    heat, _, table = (frame.value for frame in page.dataframe)
    for (batch, width), name in zip(scores, grid.runs, strict=True):
        covered = [row["coverage"] for row in Run(checkpoints() / name).scores()]
        assert heat.loc[f"{width}", f"{batch}"] == pytest.approx(statistics.median(covered))
    assert "Median coverage over seeds" in words(page)

    table = tmp_path / "figures"
    assert main(["export", "grid", "--figure", "best", "--format", "svg", "--out", str(table)]) == 0
    assert f"{best.median:.3g}" in (table / "best.tex").read_text()
