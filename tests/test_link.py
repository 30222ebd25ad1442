"""What a link asks of a page: every odd value is told in one line, and the rest of the link is used."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

import pytest
from pages import as_read, open_page, train_faces
from streamlit.testing.v1 import AppTest
from trainers import small_config, write_cloud

from app.link import PARAMETERS
from mvm.runs.recorder import train
from mvm.runs.run import Run

SCRIPT = """
import streamlit as st
from app.link import problems_above
from app.views.{module} import {view}
st.session_state.setdefault("_pages", {{}})
with problems_above():
    {view}()
"""
PAGES = {  # by its module: its view, and a link that shows its widgets
    "lab": ("lab", {"run": "ring", "layers": ["real", "forces", "geodesic"], "colour": "eigenvector"}),
    "faces": ("faces", {"run": "toy"}),
    "runs": ("runs_page", {"compare": "ring,toy"}),
    "figures": (
        "figures_page",
        {"runs": "ring", "figures.figure": "Lab: Where each descriptor would move generated points"},
    ),
}
ODD = {
    "no number": "NaN",
    "infinite": "1e999",
    "an overflow": "9" * 400,
    "too many digits": "9" * 5000,
    "below": "-5",
    "a path": "../../etc/passwd",
    "a NUL": "a\0b",
    "a control": "\x1b[31m\r\n",
    "very long": "x" * 5000,
    "empty": "",
    "nested JSON": "[" * 2000,
    "markup": "<script>alert(1)</script>![](http://127.0.0.1:9/)",
    "another script's digits": "١٢",
    "a decimal comma": "1,5",
    "repeated": ["NaN", "..", ""],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of points with two seeds, and one of faces."""
    folder = tmp_path_factory.mktemp("runs")
    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), steps=20, seeds=(0, 1)), path=folder / "ring")
    for _ in train(run):
        pass
    train_faces(folder / "toy")
    return folder


@pytest.fixture
def runs(trained: Path, checkpoints: Path, no_processes: list[str]) -> Path:
    for name in ("ring", "toy"):
        shutil.copytree(trained / name, checkpoints / name, copy_function=os.link)
    return checkpoints


def open_link(module: str, **query: str | list[str]) -> AppTest:
    return open_page(SCRIPT.format(module=module, view=PAGES[module][0]), **query)


def told(app: AppTest) -> list[str]:
    """Every line about the link, those too that are only counted above the page."""
    return list(app.session_state["_link"].told)


def numbers(odd: str) -> list[float]:
    """The number that a value is, if it is one."""
    try:
        return [float(ODD[odd])]
    except (TypeError, ValueError):
        return []


@lru_cache
def keys_of(module: str) -> list[str]:
    """The parameters that a page draws widgets of."""
    return sorted(open_link(module, **PAGES[module][1]).session_state["_link"].drawn)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("module", PAGES)
def test_an_odd_value_of_every_parameter_is_told_and_breaks_nothing(runs: Path, module: str, odd: str) -> None:
    keys = keys_of(module)
    shows = PAGES[module][1]
    app = open_link(module, **dict.fromkeys([*keys, *PARAMETERS], ODD[odd]) | shows | {"nosuch": ODD[odd]})
    assert not app.exception
    lines = told(app)
    assert all("\n" not in line and len(line) < 1000 for line in lines)
    assert "'nosuch' in the link is no setting of this page" in lines
    state = app.session_state
    for key in keys:
        if key not in shows and key in state and not any(line.startswith(f"{key}: ") for line in lines):
            assert state[key] in (ODD[odd], [ODD[odd]], [], None, *numbers(odd)), "taken, unless it is told"
    (above,) = (warning for warning in app.warning if warning.icon == ":material/link_off:")
    assert len(above.value.splitlines()) <= 5
    assert "http:/" not in above.value


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"steps": "NaN"}, "steps: must be a whole number from 10 to 1,000,000, not 'NaN'"),
        ({"steps": "1e999"}, "steps: must be a whole number from 10 to 1,000,000, not '1e999'"),
        ({"steps": "3"}, "steps: must be a whole number from 10 to 1,000,000, not '3'"),
        ({"steps": ["x", "700"]}, "steps: one value is used, the last; not 'x'"),
        ({"recipe": ""}, "recipe: there is no ''; known: stabilised, paper, published, copy of this run"),
        ({"log": "perhaps"}, "log: must be true or false, not 'perhaps'"),
        ({"ends": "4-"}, "ends: must be two indices of real points, such as 3-41, not '4-'"),
        ({"seed": "4"}, "'seed' in the link is no setting of this page"),
    ],
)
def test_the_rest_of_a_link_is_used(runs: Path, bad: dict, line: str) -> None:
    good = {"w.centroid": "2.0", "batch": "64", "network.width": "12", "run": "ring", "layers": "geodesic"}
    app = open_link("lab", **good | bad)
    assert told(app) == [line]
    assert line in as_read(app.warning[0].value)
    assert (app.slider(key="w.centroid").value, app.number_input(key="network.width").value) == (2.0, 12)
    assert app.select_slider(key="batch").value == 64
    if bad.get("steps") == ["x", "700"]:
        assert app.number_input(key="steps").value == 700


def test_a_sound_link_says_nothing(runs: Path) -> None:
    """As the widgets write it: options by their titles, lists as repeated parameters."""
    sound = {"run": "ring", "data": "Swiss roll", "steps": "700", "w.diameter": "1.5", "on.centroid": "false"}
    sound |= {"variants": ["both", "centroid+covariance"], "mvm.metric_loss": "pml:TripletMarginLoss"}
    sound |= {"layers": ["real", "geodesic"], "ends": "3-5", "colour": "trust", "network.width": "48"}
    app = open_link("lab", **sound)
    assert told(app) == []
    assert app.selectbox(key="data").value == "swiss_roll"
    assert app.number_input(key="steps").value == 700
    assert app.multiselect(key="variants").value == ["both", "centroid+covariance"]
    assert app.toggle(key="on.centroid").value is False


@pytest.mark.parametrize(
    ("module", "key", "name"),
    [("lab", "data", "swiss_roll"), ("lab", "method", "wgan_gp"), ("figures", "figures.venue", "icml")],
)
def test_an_option_may_be_named_as_on_the_command_line(runs: Path, module: str, key: str, name: str) -> None:
    app = open_link(module, **PAGES[module][1] | {key: name})
    assert app.selectbox(key=key).value == name
    assert told(app) == []


def test_a_second_visit_of_an_odd_link_breaks_nothing(runs: Path) -> None:
    """The browser's Back comes to the same address again, when the widget is bound to it."""
    app = open_link("lab", run="ring", steps="1e999")
    app.query_params["steps"] = "-1e999"
    app.run()
    assert not app.exception
    assert app.number_input(key="steps").value == 8000
