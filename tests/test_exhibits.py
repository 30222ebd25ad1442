"""The survey's exhibits: their numbers against independent ones, the command that measures them, and their page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import button, open_page, words
from streamlit.testing.v1 import AppTest

from app.views.exhibits import lab_link
from mvm.__main__ import main
from mvm.config import Config
from mvm.studies.exhibits import EXHIBITS, Panel, Result
from mvm.studies.exhibits.latents import bound_of
from mvm.studies.exhibits.results import SHIPPED, in_numbers, shipped, table_of, to_json
from mvm.studies.exhibits.training import Along, study

QUICKEST = "autoencoder"
MOST_BYTES = 1.5e6


def brute_w2(x: torch.Tensor, y: torch.Tensor) -> float:
    """W₂ of two small samples, over all pairings."""
    squares = torch.cdist(x, y).square()
    rows = torch.arange(len(x))
    return min(float(squares[rows, list(order)].mean()) for order in itertools.permutations(range(len(x)))) ** 0.5


def test_the_bound_is_w2_of_all_pairings_below_the_sum_of_its_parts():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        encoded, drawn_latents = torch.randn(2, 5, 2, generator=generator).double()
        weights, bend = torch.randn(2, 2, 3, generator=generator).double()
        decode = lambda z, a=weights, b=bend: torch.tanh(z @ a) + (z @ b).sin()  # noqa: E731
        decoded, fake = decode(encoded), decode(drawn_latents)
        real = decoded + 0.1 * torch.randn(5, 3, generator=generator).double()
        found = bound_of(real, decoded, fake, encoded, drawn_latents)
        assert found["w2"] == pytest.approx(brute_w2(real, fake))
        assert found["latents"] == pytest.approx(brute_w2(encoded, drawn_latents))
        ratios = torch.cdist(decoded, fake) / torch.cdist(encoded, drawn_latents)
        assert found["lip"] <= float(ratios.max()) * (1 + 1e-9)
        assert found["bound"] == pytest.approx(found["reconstruction"] + found["lip"] * found["latents"])
        assert found["w2"] <= found["bound"]


def test_a_decoder_that_scales_has_its_scale_as_the_constant():
    encoded, drawn_latents = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(1)).double()
    found = bound_of(3 * encoded, 3 * encoded, 3 * drawn_latents, encoded, drawn_latents)
    assert found["lip"] == pytest.approx(3)
    assert found["bound"] == pytest.approx(found["w2"]), "nothing is lost"


def test_density_along_the_curve_is_von_mises_and_its_own_error_is_zero():
    from scipy.stats import vonmises

    along = Along(study((0,), steps=1, data="von_mises_circle", method="normalizing_flow"))
    angles = np.linspace(-np.pi, np.pi, len(along.place), endpoint=False)
    density = vonmises.pdf(angles, kappa=2.0)
    order = lambda values: np.sort(values / values.mean())  # noqa: E731  arc length may begin anywhere
    np.testing.assert_allclose(order(along.truth), order(density), rtol=1e-6)
    flat = np.ones((1, len(along.truth)))
    assert along.variation(along.truth[None])[0] == 0
    assert along.variation(flat)[0] == pytest.approx(np.abs(density / density.mean() - 1).mean() / 2)


def run(*arguments: str) -> int:
    return main(["claims", "--survey", "--quick", "--seeds", "2", *arguments])


def test_the_command_measures_once_and_prints_text_json_and_markdown(
    checkpoints: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--only", QUICKEST) == 0
    said = capsys.readouterr().out
    assert EXHIBITS[QUICKEST].title in said
    assert "of 2 seeds" in said

    def measured_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mvm.studies.exhibits.results._measure", measured_again)
    assert run("--only", QUICKEST, "--json") == 0
    (result,) = (Result.read(values) for values in json.loads(capsys.readouterr().out)["results"])
    assert [row["seed"] for row in result.rows] == [0, 1]
    assert result.held == sum(row["holds"] for row in result.rows)
    assert run("--only", QUICKEST, "--markdown") == 0
    head, _, line = capsys.readouterr().out.strip().splitlines()
    assert head.count("|") == line.count("|") == 5
    assert in_numbers(result) in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--survey", "--only", "nonsense"], "--only: there is no exhibit 'nonsense'; known: likelihood, "),
        (["--survey", "--seeds", "0"], "--seeds: at least 1, got 0"),
        (["--markdown"], "add --survey"),
    ],
)
def test_bad_arguments_get_one_line(arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", *arguments]) != 0
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_what_is_shipped_is_complete_and_small() -> None:
    found, device = shipped()
    assert SHIPPED.stat().st_size < MOST_BYTES
    assert [*found] == [*EXHIBITS]
    assert device
    for name, result in found.items():
        exhibit = EXHIBITS[name]
        assert len(result.rows) == 5
        assert all(column in row for row in result.rows for column in exhibit.shown)
        assert len(result.pictures) > 1, "a knob has something to choose"
        assert bool(in_numbers(result)) != bool(table_of(result))
        for panel in itertools.chain(*result.pictures.values()):
            assert all(len(series.x) == len(series.y) > 0 for series in panel.series)
    again = {values["exhibit"]: values for values in json.loads(to_json(found.values(), device))["results"]}
    stored = {values["exhibit"]: values for values in json.loads(SHIPPED.read_text(encoding="utf-8"))["results"]}
    assert again == {name: stored[name] for name in found}


@pytest.mark.parametrize("name", EXHIBITS)
def test_settings_for_the_lab_are_settings(name: str) -> None:
    config, asked = Config.make(**EXHIBITS[name].settings), lab_link(EXHIBITS[name].settings)
    flat = {f"{config.method}.{key}": value for key, value in config.flat(used=True).items()}
    for key, value in asked.items():
        if key not in ("data", "method") and not key.endswith(".ambient"):
            assert str(flat[key]) == value


def test_a_link_sets_the_lab() -> None:
    settings = EXHIBITS["likelihood"].settings
    app = AppTest.from_file(str(Path(__file__).parents[1] / "app" / "main.py"))
    for key, value in lab_link(settings).items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    assert not [warning.value for warning in app.warning if "link" in warning.value]
    assert app.selectbox(key="method").value == "normalizing_flow"
    assert app.number_input(key="von_mises_circle.ambient").value == 8
    assert app.number_input(key="normalizing_flow.network.width").value == settings["network"]["width"]


PAGE = "from app.views.exhibits import exhibits; exhibits()"


def titles(app: AppTest, panels: Sequence[Panel]) -> bool:
    return all(f"**{panel.title}**" in [each.value for each in app.markdown] for panel in panels)


def test_the_page_shows_every_exhibit_and_a_knob_changes_its_picture() -> None:
    found, _ = shipped()
    app = open_page(PAGE)
    said = words(app)
    for name, exhibit in EXHIBITS.items():
        assert exhibit.title in said
        assert found[name].verdict in said
        assert exhibit.source in said
    values = [*found["weak_losses"].pictures]
    knob = app.segmented_control(key="exhibit.weak_losses")
    assert (knob.options, knob.value) == (values, values[-1])
    knob.set_value(values[0]).run()
    assert not app.exception
    assert titles(app, found["weak_losses"].pictures[values[0]])
    assert not titles(app, found["weak_losses"].pictures[values[-1]])
    assert button(app, "Open in Lab")


def test_the_page_without_a_measurement_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.views.exhibits.shipped", lambda: ({}, ""))
    said = words(open_page(PAGE))
    assert "not measured" in said
    assert "claims --survey --only bound" in said
