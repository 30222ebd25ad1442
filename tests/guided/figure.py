"""What a user does with the new figure of docs/adding-a-figure.md."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from guides import ENTRIES
from pages import open_page, words

from mvm.figures import FIGURES
from mvm.figures.export import rebuild
from mvm.runs.run import Run

(NAME,) = ENTRIES["adding-a-figure"]
SMALL = ("--steps", "20", "--batch", "16", "--network.width", "8", "--view-points", "16", "--device", "cpu")
SCRIPT = "import streamlit as st; from app.views.figures import figures_page; figures_page()"


@pytest.fixture
def trained(cli, cloud: Path) -> Run:
    """A run of two variants by two seeds."""
    variants = ("--variants", "centroid", "both", "--seeds", "0", "1")
    assert cli("train", "--data", str(cloud), *variants, *SMALL, "--name", "a").status == 0
    return Run.named("a")


def test_it_is_exported_with_its_numbers_and_rebuilt_in_the_same_bytes(cli, trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = cli("export", "a", "--figure", NAME, "--format", "pdf", "svg", "--venue", "icml", "--out", str(out))
    assert made.status == 0, made.err
    assert {f"{NAME}.pdf", f"{NAME}.svg", f"{NAME}.csv", f"{NAME}.tex"} < {path.name for path in out.iterdir()}
    snapshot = trained.snapshot(20)
    with (out / f"{NAME}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2
    expected = snapshot["fake"][3, :, 1].std() / snapshot["real"][:, 1].std()
    assert float(rows[-1]["ratio"]) == pytest.approx(float(expected), rel=1e-5)
    assert np.isfinite([float(row["ratio"]) for row in rows]).all()
    assert rebuild(out, say=lambda line: None) == 0
    assert f"{NAME} ({FIGURES[NAME].source})" in " ".join(cli("export", "--help").out.split())


@pytest.mark.usefixtures("no_processes")
def test_the_figures_page_offers_it(trained: Run) -> None:
    app = open_page(SCRIPT, **{"figures.figure": NAME, "figures.runs": "a"})
    assert "spread" not in words(app).lower().split("traceback")[1:]
    assert any(FIGURES[NAME].title in str(option) for box in app.selectbox for option in box.options)
