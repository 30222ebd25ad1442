"""What a user does with the new descriptor of docs/adding-a-descriptor.md."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from guides import ENTRIES
from pages import open_page, words

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.look.palette import descriptor_colour, title_of

(NAME,) = ENTRIES["adding-a-descriptor"]
TITLE = DESCRIPTORS[NAME].title
SMALL = ("--steps", "20", "--batch", "16", "--network.width", "8", "--view-points", "16", "--device", "cpu")


def test_it_trains_with_a_weight_is_scored_and_its_forces_are_drawn(cli, cloud: Path, tmp_path: Path) -> None:
    variants = ("--variants", NAME, f"centroid+{NAME}", f"--weights.{NAME}", "2")
    done = cli("train", "--data", str(cloud), *variants, *SMALL, "--name", "a")
    assert done.status == 0, done.err
    rows = json.loads(cli("score", "a", "-n", "16", "--json").out)
    assert [row["variant"] for row in rows] == [NAME, f"centroid+{NAME}"]
    assert all(row["w2"] > 0 for row in rows)
    made = cli("export", "a", "--figure", "forces", "--format", "svg", "--out", str(tmp_path / "figures"))
    assert made.status == 0, made.err
    with (tmp_path / "figures" / "forces.csv").open() as file:
        assert {row["term"] for row in csv.DictReader(file)} == {"", "centroid", NAME}
    drawing = (tmp_path / "figures" / "forces.svg").read_text().lower()
    assert descriptor_colour(NAME).lower() in drawing
    assert f"centroid+{TITLE.lower()}" == title_of(f"centroid+{NAME}")


@pytest.mark.usefixtures("no_processes")
def test_the_lab_offers_it_and_draws_its_forces(cli, cloud: Path) -> None:
    assert cli("train", "--data", str(cloud), "--variants", NAME, *SMALL, "--name", "a").status == 0
    app = open_page(run="a", layers=["real", "fake", "forces"])
    assert f"{TITLE} ×" in words(app)
    assert TITLE.lower() in [option.lower() for box in app.multiselect for option in box.options]
    assert TITLE in [toggle.label for toggle in app.toggle], "it can be switched on"
