"""The Figures page without a browser: every figure, what it says where there is none, and the bundle of all."""

from __future__ import annotations

import io
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pages import button, open_page, words
from streamlit.testing.v1 import AppTest
from trainers import small_config, until, write_cloud

from app.views import figures
from app.views.figures import Choice, Job
from mvm.errors import RunError
from mvm.figures import FIGURES, data
from mvm.jobs.umap_worker import Projector
from mvm.runs.frames import read_frame
from mvm.runs.layout import frame_path
from mvm.runs.recorder import train
from mvm.runs.run import Run

pytestmark = pytest.mark.usefixtures("no_processes")

SCRIPT = """
from app.link import problems_above
from app.views.figures import figures_page
with problems_above():
    figures_page()
"""
CANNOT = {
    "batch": "all runs have batch 16; give runs of several batch sizes.",
    "sheet": "ring is on points; give a run on pictures.",
    "nearest": "ring is on points; give a run on pictures.",
    "walk": "ring is on points; give a run on pictures.",
    "upscaled": "ring is on points; give a run on photographs.",
    "similarity": "ring is on points; give a run on photographs.",
    "settings": "ring is on points; give a run on photographs.",
    "likelihood": "ring is of MvM, which has no density to compute in 2 dimensions.",
    "density": "ring is not on a toy manifold: the true density is not known.",
    "factors": "ring has no scores of factors; give runs on toy faces.",
    "branches": "give two runs, one of them a fork of the other.",
    "heatmap": "these trainings do not differ in two settings; give the runs of a sweep.",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two variants by two seeds, with a made-up UMAP of its last step."""
    folder = tmp_path_factory.mktemp("trained")
    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), steps=40, seeds=(0, 1)), path=folder / "ring")
    for _ in train(run):
        pass
    frame_path(run.path, 40).parent.mkdir()
    np.save(frame_path(run.path, 40), np.random.default_rng(0).normal(size=(4, 32, 2)).astype(np.float32))
    return run.path


@pytest.fixture
def ring(trained: Path, checkpoints: Path) -> Run:
    """That run among the runs of the page."""
    return Run(Path(shutil.copytree(trained, checkpoints / "ring")))


def choose(app: AppTest, name: str) -> AppTest:
    """Another figure."""
    box = app.selectbox(key="figures.figure")
    return box.select(next(option for option in box.options if option.endswith(f": {FIGURES[name].title}"))).run()


def test_a_supplement_is_made_and_offered(ring: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.takeaway._project", lambda *_: None)  # UMAP is another process
    app = open_page(SCRIPT)
    box = app.selectbox(key="figures.figure")
    assert {option.split(":")[0] for option in box.options} >= {"Talk", "Paper"}
    box.select("Paper: Interactive supplement: one HTML file with timeline, clouds, curves and scores").run()
    app.button(key="figures.make").click().run()
    taking = app.session_state["_takeaway"]
    until(lambda: taking.state != "working", "the supplement")
    assert taking.reason == ""
    app.run()
    assert "Download the supplement" in app.get("download_button")[0].proto.label
    assert taking.content.startswith(b"<!doctype html>")
    app.number_input(key="figures.step").set_value(0).run()
    assert "_takeaway" not in app.session_state, "another choice is another file"
    app.button(key="figures.make").click().run()
    taking = app.session_state["_takeaway"]
    until(lambda: taking.state == "failed", "the refusal")
    app.run()
    assert "ring has one snapshot so far" in words(app)


def choice(**fields) -> Choice:
    """The defaults of the page, with some fields changed."""
    default = {"names": ("ring",), "figure": "spectrum", "venue": "neurips", "wide": False, "kind": "pdf", "dpi": 36}
    default |= {"step": None, "seed": None, "form": "distance", "quantity": None, "axis": "step", "rank": 2}
    return Choice(**default | fields)


def test_without_a_run_it_says_where_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.page_link", lambda *_, **__: None)  # a page alone has no others
    app = open_page("import streamlit as st; st.session_state['_pages'] = {'Lab': None}; " + SCRIPT)
    assert "train one in the Lab first" in words(app)
    assert not app.selectbox


def test_every_figure_is_shown_or_says_what_it_lacks(ring: Run) -> None:
    app = open_page(SCRIPT)
    assert app.multiselect(key="runs").value == ["ring"]
    for name in FIGURES:
        choose(app, name)
        said = words(app)
        if name in CANNOT:
            assert f"These runs cannot give it: {CANNOT[name]}" in said
            assert not app.get("image")
            continue
        assert not app.info, name
        assert len(app.get("image")) == 1
        assert "5.50 in wide, one column of NeurIPS" in said
        assert len(app.dataframe[0].value) == len(data(name, [ring]))
        assert len(app.get("download_button")) == 4
        assert bool(app.code) == (FIGURES[name].latex is not None)
        assert {w.key for w in app.selectbox if w.key.startswith("figures.")} >= {
            f"figures.{option}" for option in FIGURES[name].options if option != "over"
        }


def test_a_link_brings_the_setting(ring: Run, checkpoints: Path) -> None:
    shutil.copytree(ring.path, checkpoints / "other")
    query = {"figures.venue": "ICML", "figures.width": "page", "figures.step": "25", "figures.format": "SVG"}
    app = open_page(SCRIPT, runs="ring", **query)
    assert app.multiselect(key="runs").value == ["ring"]
    assert app.query_params["runs"] in ("ring", ["ring"]), "the name, whatever its title"
    assert "6.75 in wide, across the page of ICML" in words(app)
    assert app.dataframe[0].value["step"].max() == 20
    assert {"Download SVG"} <= {b.label for b in app.get("download_button")}
    app = open_page(SCRIPT, runs="long-gone")
    assert len(app.multiselect(key="runs").value) == 1, "one that is there"
    (notice,) = (notice.value for notice in app.warning)
    assert notice.startswith("runs: there is no 'long-gone'; known: ")


def test_no_link_opens_a_folder_outside_the_runs(trained: Path) -> None:
    with pytest.raises(RunError, match="cannot name a run"):
        choice(names=(str(trained),)).runs()


def test_too_early_a_step_and_no_run_at_all_get_one_line(ring: Run) -> None:
    app = open_page(SCRIPT, **{"figures.step": "0"})
    assert "ring has one snapshot so far; a curve needs two." in words(app)
    app.multiselect(key="runs").set_value([]).run()
    assert "Choose one or more runs" in words(app)


def test_an_untrained_run_gets_one_line(make) -> None:
    make("fresh")
    assert "run: fresh has no snapshot yet; train it first." in words(open_page(SCRIPT))


def test_a_changed_run_is_drawn_anew(ring: Run) -> None:
    app = choose(open_page(SCRIPT), "scores")
    before = app.dataframe[0].value["value"].iloc[0]
    path = ring.path / "scores.json"
    path.write_text(path.read_text().replace(str(ring.scores()[0]["w2"]), "0.123456"))
    assert app.run().dataframe[0].value["value"].iloc[0] == 0.123456 != before


def test_a_missing_projection_is_asked_for_and_never_made_here(ring: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = read_frame(ring.path, 40)
    frame_path(ring.path, 40).unlink()
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(Projector, "request", lambda _, run, step, **__: asked.append((Path(run).name, step)))
    monkeypatch.setattr("mvm.figures.selection.make_frame", lambda *_: pytest.fail("numba ends the process"))
    app = choose(open_page(SCRIPT), "samples")
    assert "projecting ring at step 40" in words(app)
    assert ("ring", 40) in asked
    np.save(frame_path(ring.path, 40), frame)
    app.run()
    assert not app.info
    assert app.get("image")


def test_texts_are_edited_before_export_and_a_bad_formula_is_refused(ring: Run) -> None:
    app = choose(open_page(SCRIPT), "loss")
    assert {"generator", "metric", "loss", "training step", "both"} <= {box.placeholder for box in app.text_input}

    def field(name: str):
        return next(box for box in app.text_input if box.placeholder == name)

    before = figures.bundle_of(choice(figure="loss", kind="svg")).files["loss.svg"].decode()
    field("both").set_value("ours").run()
    field("loss").set_value("$unfinished").run()
    assert "has a formula without an end" in words(app)
    assert app.session_state["_page.figures"].texts == {"both": "ours"}
    assert "Edit texts (1 changed)" in [box.label for box in app.expander]
    after = figures.bundle_of(choice(figure="loss", kind="svg", texts=(("both", "ours"),))).files["loss.svg"].decode()
    assert ("ours" in before, "ours" in after, ">both<" in after) == (False, True, False)


def test_the_paper_bundle_has_all_that_can_be_made(ring: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("ablation", "curves", "batch", "branches")  # all of them take long here
    monkeypatch.setattr("mvm.figures.export.FIGURES", {name: FIGURES[name] for name in few})
    app = open_page(SCRIPT, **{"figures.dpi": "36"})
    button(app, "Make paper bundle").click().run()
    job = app.session_state["_page.figures"].job
    until(lambda: job.state != "working")
    app.run()
    assert "2 left out" in [box.label for box in app.expander]
    said = words(app)
    for name in ("batch", "branches"):
        assert f"**{name}**: {CANNOT[name].removesuffix('.')}" in said
    with zipfile.ZipFile(io.BytesIO(job.content)) as archive:
        kinds = ("pdf", "svg", "png", "csv", "tex", "recipe.json")
        wanted = {f"{name}.{kind}" for name in ("ablation", "curves") for kind in kinds}
        assert set(archive.namelist()) == wanted | {"rebuild.py"}
    assert "Download 2 figures" in " ".join(b.label for b in app.get("download_button"))
    app.selectbox(key="figures.venue").select("ICML").run()
    assert button(app, "Make paper bundle"), "that bundle was for another venue"


def test_a_bundle_that_nobody_waits_for_ends(ring: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frame_path(ring.path, 40).unlink()  # so that it waits for the projector, which makes none
    monkeypatch.setattr("app.background.ABANDONED_AFTER", 0.3)
    left = Job(choice()).start(Projector())
    cancelled = Job(choice()).start(Projector())
    cancelled.dropped, cancelled.seen = True, time.monotonic() + 1000
    for job in (left, cancelled):
        until(lambda job=job: job.state == "failed")
        assert (job.files, job.reason) == (None, "")


def test_a_bundle_of_a_run_that_is_gone_says_so(ring: Run) -> None:
    job = Job(choice(names=("gone",)))
    job.attempt(lambda: job.make(Projector()))
    assert job.state == "failed"
    assert "no run 'gone'" in job.reason
