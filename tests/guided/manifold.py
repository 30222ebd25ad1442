"""What a user does with the new manifold of docs/adding-a-manifold.md."""

from __future__ import annotations

import json

import pytest
import torch
from guides import ENTRIES
from pages import open_page, words

from mvm.studies.learned_metric import true_route
from toy_manifolds import MANIFOLDS, manifold

(NAME,) = ENTRIES["adding-a-manifold"]
SMALL = ("--steps", "20", "--batch", "16", "--network.width", "8", "--view-points", "16", "--points", "200")


def test_it_is_data_with_settings_and_exact_scores(cli) -> None:
    settings = ("--settings", "depth", "0.7", "noise", "0.01")
    done = cli("train", "--data", NAME, *settings, "--variants", "both", *SMALL, "--device", "cpu", "--name", "a")
    assert done.status == 0, done.err
    (row,) = json.loads(cli("score", "a", "-n", "64", "--json").out)
    assert all(row[key] is not None for key in ("w2_ratio", "distance_mean", "ks_max", "geodesic_spearman"))
    assert row["distance_mean_floor"] < 0.05
    assert f"  {NAME} " in cli("train", "--help").out


def test_its_geodesic_is_drawn_either_way_round() -> None:
    made = manifold(NAME)
    start, end = made.embed(torch.tensor([[0.1], [6.2]], dtype=torch.float64)).float()
    found = true_route(made, start, end)
    expected = made.geodesic(made.project(start[None]), made.project(end[None])).item()
    assert found.length == pytest.approx(expected, rel=1e-4)
    assert found.length < made.length / 2
    assert found.path is not None


@pytest.mark.usefixtures("no_processes")
def test_the_lab_offers_it_with_a_slider_for_its_setting() -> None:
    app = open_page(data=NAME)
    box = next(box for box in app.selectbox if MANIFOLDS[NAME].title in box.options)
    assert box.value == NAME
    assert "Depth" in [slider.label for slider in app.slider]
    words(app)
