"""What a user does with the new method of docs/adding-a-method.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from guides import ENTRIES
from pages import open_page, words

from benchmarks import toys
from mvm.methods import METHODS

(NAME,) = ENTRIES["adding-a-method"]
SMALL = ("--steps", "20", "--batch", "16", "--network.width", "8", "--view-points", "16", "--device", "cpu")


@pytest.mark.parametrize("recipe", METHODS[NAME].recipes)
def test_it_trains_and_is_scored(cli, cloud: Path, recipe: str) -> None:
    done = cli("train", "--data", str(cloud), "--method", NAME, "--recipe", recipe, *SMALL, "--name", "a")
    assert done.status == 0, done.err
    (row,) = json.loads(cli("score", "a", "-n", "16", "--json").out)
    assert row["variant"] == NAME
    assert row["w2"] > 0


def test_its_settings_are_flags_and_benchmarks_compare_it(cli) -> None:
    text = cli("train", "--method", NAME, "--help").out
    for setting in METHODS[NAME].settings_type.model_fields:
        assert f"--{NAME}.{setting.replace('_', '-')}" in text
    assert toys.ENTRIES[METHODS[NAME].title] == {"method": NAME}


@pytest.mark.usefixtures("no_processes")
def test_the_lab_offers_it_and_shows_its_run(cli, cloud: Path) -> None:
    assert cli("train", "--data", str(cloud), "--method", NAME, *SMALL, "--name", "a").status == 0
    app = open_page(run="a", method=NAME)
    assert "step **20** of 20" in words(app)
    (box,) = (box for box in app.selectbox if METHODS[NAME].title in box.options)
    assert box.value == NAME
