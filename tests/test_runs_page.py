"""The Runs page without a browser: find, compare, name, fork, delete; a table's ticks come by the URL here."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from pages import button, open_page, words
from trainers import small_config, write_cloud

from app.charts import overlays
from app.thumbnails import POINTS
from mvm.files import append_line, locked
from mvm.look.palette import FAKE, REAL
from mvm.runs.archive import pack
from mvm.runs.fork import fork
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies.compare import curves, matrix

SCRIPT = """
import streamlit as st
from app.views.runs import runs_page
st.session_state.setdefault("_pages", {})
runs_page()
"""
STEPS = 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two finished runs: two variants by two seeds, and a peer."""
    folder = tmp_path_factory.mktemp("runs")
    cloud = write_cloud(folder / "cloud.csv")
    for name, fields in {"mine": {"seeds": (0, 1)}, "peer": {"method": "wgan", "variants": ("wgan",)}}.items():
        run = Run.create(small_config(cloud, steps=STEPS, checkpoints=3, **fields), path=folder / name)
        for _ in train(run):
            pass
    return folder


@pytest.fixture
def runs(trained, checkpoints, no_processes):
    for name in ("mine", "peer"):
        shutil.copytree(trained / name, checkpoints / name)
    return checkpoints


def table(app):
    """The cells of the first table."""
    return app.dataframe[0].value


def board_of(app):
    """The table of last scores."""
    return next(frame.value for frame in app.dataframe if "series" in frame.value)


def test_where_there_is_nothing_a_person_is_told_where_to_go(no_processes):
    assert "No run yet" in words(open_page(SCRIPT))


def test_every_run_is_in_the_table_and_words_find_it(runs):
    Run.named("peer").write_note("a baseline, from its paper")
    app = open_page(SCRIPT)
    cells = table(app).set_index("name")
    assert set(cells.index) == {"mine", "peer"}
    row = cells.loc["mine"]
    assert (row["status"], row["progress"], row["data"], row["method"]) == ("finished", 1, "cloud.csv", "MvM")
    scores = Run.named("mine").scores()
    means = {v: sum(s["w2_ratio"] for s in scores if s["variant"] == v) / 2 for v in ("centroid", "both")}
    assert row["score"] == pytest.approx(min(means.values()))
    picture = base64.b64decode(row["picture"].partition(",")[2]).decode()
    dots = {
        colour: "".join(re.findall(rf'd="([^"]*)" stroke="{colour}"', picture)).count("h0") for colour in (REAL, FAKE)
    }
    shown = Run.named("mine").snapshot(STEPS)
    assert dots[REAL] == min(len(shown["real"]), POINTS)
    assert 0 < dots[FAKE] <= POINTS
    assert cells.loc["peer"]["note"] == "a baseline, from its paper"
    assert "2 of 2 runs" in words(app)
    app.text_input(key="runs.find").set_value("wgan PAPER").run()
    assert list(table(app)["name"]) == ["peer"]
    app.text_input(key="runs.find").set_value("nothing like it").run()
    assert "No run matches these filters." in words(app)
    app.text_input(key="runs.find").set_value("").run()
    app.segmented_control(key="runs.kind").set_value("pictures").run()
    assert "0 of 2 runs" in words(app)


def test_a_finished_run_that_lost_generators_says_so(runs):
    said = {"step": 60, "event": "member", "member": 1, "variant": "centroid", "seed": 1, "what": "collapsed"}
    append_line(runs / "mine" / "scalars.jsonl", said)
    cells = table(open_page(SCRIPT)).set_index("name")
    assert cells["status"].to_dict() == {"mine": "finished, 1 of 4 collapsed", "peer": "finished"}


def test_two_runs_side_by_side(runs):
    app = open_page(SCRIPT, compare="mine,peer")
    assert not app.exception
    said = words(app)
    for title in ("Last scores", "What differs", "Ablation matrix"):
        assert title in said
    board = app.dataframe[1].value
    assert list(board["series"]) == ["centroid only", "both", "WGAN"]
    assert list(board["seeds"]) == [2, 2, 1]
    assert not {name for name in board if "against" in name}
    differs = app.dataframe[2].value
    assert list(differs.columns) == ["mine", "peer"]
    assert list(differs.loc["Method"]) == ["MvM", "WGAN"]
    assert list(differs.loc["Variants"]) == ["centroid only, both", "WGAN"]
    assert "Steps" not in differs.index
    assert not [name for name in differs.index if "." in name or "_" in name], "no machine's words"
    app.selectbox(key="runs.baseline").select("peer").run()
    board = app.dataframe[1].value.set_index("series")
    peer, mine = board.loc["WGAN"], board.loc["both"]
    assert peer["against, ratio"] == pytest.approx(0)
    assert mine["against, ratio"] == pytest.approx(100 * (mine["ratio"] / peer["ratio"] - 1))
    for axis in ("share", "seconds", "examples"):
        app.selectbox(key="runs.axis").select(axis).run()
        assert not app.exception


def test_a_legend_has_a_line_for_each_name_that_is_too_long_to_share_one():
    def drawn(length: int) -> dict:
        titles = [letter * length for letter in "abcdef"]
        return overlays.branches(np.arange(3), np.zeros((3, 6)), variants="abcdef", titles=titles, at=1)

    short, long = drawn(4), drawn(90)
    assert long["layout"]["margin"]["b"] - short["layout"]["margin"]["b"] == 5 * overlays.LINE


def test_overlays_draw_what_was_measured(runs):
    run, peer = Run.named("mine"), Run.named("peer")
    drawn = curves([run], "d_c")
    figure = overlays.overlay(
        {"d_c": drawn, "loss": curves([run], "metric_loss")}, axis="step", log=False,
        baseline={"d_c": curves([peer], "d_c")}, marks=[20],
    )  # fmt: skip
    lines = [t for t in figure["data"] if t.get("showlegend")]
    assert [t["name"] for t in lines] == ["baseline: WGAN", "centroid only", "both"]
    assert lines[1]["y"] is drawn[0].middle
    assert lines[0]["line"]["dash"] == "longdash"
    copies = [Run(shutil.copytree(run.path, runs / f"copy{number}")) for number in range(5)]
    twice = overlays.overlay({"d_c": curves(copies[:2], "d_c")}, axis="step", log=True)
    looks = [(t["line"]["color"], t["line"]["dash"]) for t in twice["data"] if t.get("showlegend")]
    assert looks[0][0] == looks[2][0] != looks[1][0] == looks[3][0]
    assert [dash for _, dash in looks] == ["solid", "solid", "dash", "dash"]
    many = curves(copies, "d_c")
    of_many = overlays.overlay({"d_c": many}, axis="step", log=True)["data"]
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in of_many if not t.get("fill")}) == 10
    ribbons = [t for t in figure["data"] if t.get("fill")]
    assert len(ribbons) == 4
    assert list(ribbons[0]["y"]) == [*drawn[0].high, *drawn[0].low[::-1]]
    assert {t["xaxis"] for t in figure["data"]} == {"x", "x2"}
    assert [s["x0"] for s in figure["layout"]["shapes"]] == [20, 20]
    cells = matrix([run, peer])
    (heat,) = overlays.ablation(cells)["data"]
    assert heat["y"] == list(cells["what"])
    assert f"<b>{cells['median'][0]:.3g}</b>" in heat["text"][0][0]
    assert "2 seeds" in heat["text"][0][0]


def test_a_seed_that_diverged_is_said_and_no_number_stands_for_it(runs):
    path = runs / "mine" / "scores.json"
    rows = json.loads(path.read_text())
    kept = ("variant", "seed", "step", "n", "coordinates")
    for row in (rows[0], rows[1], rows[2]):  # both centroids, and one of two generators with both
        row |= {key: None for key in row if key not in kept}
    path.write_text(json.dumps(rows))
    app = open_page(SCRIPT, compare="mine,peer")
    board = app.dataframe[1].value.set_index("series")
    assert board.loc["centroid only", "quartiles"] == board.loc["both", "quartiles"] == "diverged"
    assert board["ratio"].isna().tolist() == [True, True, False]
    heat = overlays.ablation(matrix([Run.named("mine"), Run.named("peer")]))["data"][0]
    assert heat["text"][1][0] == f"<b>diverged</b><br>{rows[3]['w2_ratio']:.3g} to diverged, 2 seeds"
    assert np.isfinite(heat["z"]).all()


def test_a_fork_is_made_trained_and_compared(runs, no_processes):
    app = open_page(SCRIPT, compare="mine")
    app.select_slider(key="fork.step.mine").set_value(20).run()
    changed = ["weights.diameter", "mvm.metric_loss", "optimiser.generator_betas"]
    app.multiselect(key="fork.what.mine").set_value(changed).run()
    diameter = app.number_input(key="fork.to.mine.weights.diameter.20")
    assert (diameter.min, diameter.max, diameter.value) == (0, 10, 1)
    diameter.set_value(0.25).run()
    betas = app.text_input(key="fork.to.mine.optimiser.generator_betas.20")
    betas.set_value("0.5 1.5").run()
    assert "Generator β₁ β₂: each β must be at least 0 and below 1 (got 0.5 1.5)" in words(app)
    assert app.button(key="fork.go").disabled
    betas.set_value("0.5 0.9").run()
    assert not app.error
    app.button(key="fork.go").click().run()
    assert no_processes == ["mine-fork20"]
    made = Run.named("mine-fork20")
    assert made.origin.changes == {"weights.diameter": 0.25, "optimiser.generator_betas": [0.5, 0.9]}
    assert app.query_params["compare"] in ("mine,mine-fork20", ["mine,mine-fork20"])
    said = words(app)
    assert "Distance of the fork" in said
    assert "2-diameter weight 0.25, Generator β₁ β₂ 0.5 0.9" in said
    assert list(app.dataframe[2].value.loc["2-diameter weight"]) == ["1", "0.25"]


def test_a_fork_says_what_it_takes_over_and_what_will_match_nothing(runs):
    """The run's own change at the very step of the fork is among it."""
    told = {"step": 20, "event": "weights", "weights": {"centroid": 1.5}, "serial": 1}
    append_line(runs / "mine" / "scalars.jsonl", told)
    app = open_page(SCRIPT, compare="mine")
    app.select_slider(key="fork.step.mine").set_value(20).run()
    assert "; moved up to this step: centroid × 1 → 1.5 at 20" in words(app)
    settings = next(frame.value for frame in app.dataframe if "of the fork" in frame.value)
    assert list(settings.loc["Centroid weight"]) == ["1.5", "1.5"]
    app.multiselect(key="fork.what.mine").set_value(["weights.centroid", "steps"]).run()
    app.number_input(key="fork.to.mine.weights.centroid.20").set_value(0.0).run()
    app.number_input(key="fork.to.mine.steps.20").set_value(80).run()
    assert "All weights of centroid are 0" in words(app)
    settings = next(frame.value for frame in app.dataframe if "of the fork" in frame.value)
    assert list(settings.loc["Centroid weight"]) == ["1.5", "0"]
    assert list(settings.loc["Steps"]) == ["60", "80"]
    assert not app.button(key="fork.go").disabled
    app.select_slider(key="fork.step.mine").set_value(0).run()
    assert "moved up to this step" not in words(app)


def test_labels_say_what_was_trained(runs):
    """A weight that was moved while training is in the legend, the scores and the ablation matrix."""
    told = {"step": 20, "event": "weights", "weights": {"centroid": 1.5}, "serial": 1}
    append_line(runs / "mine" / "scalars.jsonl", told)
    append_line(runs / "mine" / "scalars.jsonl", {"step": 60, "event": "finished", "time": 1})
    moved = ["centroid only, centroid × 1 → 1.5 at 20", "both, centroid × 1 → 1.5 at 20"]
    app = open_page(SCRIPT, compare="mine,peer")
    assert list(board_of(app)["series"]) == [*moved, "WGAN"]
    cells = matrix([Run.named("mine"), Run.named("peer")])
    assert list(cells["what"]) == [*moved, "WGAN"]
    assert list(open_page(run="mine", panel="Scores").dataframe[0].value.columns) == [*moved, "baseline", "meaning"]
    for step in (30, 40):
        weights = {"centroid": step / 10, "diameter": 0}
        append_line(runs / "mine" / "scalars.jsonl", told | {"step": step, "weights": weights})
    app = open_page(SCRIPT, compare="mine")
    assert list(board_of(app)["series"]) == ["centroid only†", "both†"]
    path = "centroid × 1 → 1.5 at 20 → 3 at 30 → 4 at 40"
    note = f"† centroid only: {path}; both: {path}; 2-diameter × 1 → 0 at 30"
    assert note in words(app)
    assert note in words(open_page(run="mine"))


def test_where_branches_part_is_said(runs):
    made = fork(Run.named("mine"), 20, {"weights.diameter": 0})
    for _ in train(made):
        pass
    said = words(open_page(SCRIPT, compare="mine,mine-fork20"))
    assert "centroid only: not yet; both, 2-diameter × 1 → 0 at 20: at step 30" in said


def test_a_name_and_a_note(runs):
    app = open_page(SCRIPT, compare="mine")
    app.text_area[0].set_value("works")
    next(t for t in app.text_input if t.label == "Name" and t.value == "mine").set_value("peer")
    button(app, "Save").click().run()
    assert "'peer' exists" in words(app)
    next(t for t in app.text_input if t.label == "Name" and t.value == "peer").set_value("good one")
    button(app, "Save").click().run()
    assert "'good one' cannot name a run" in words(app)
    next(t for t in app.text_input if t.label == "Name" and t.value == "good one").set_value("good")
    button(app, "Save").click().run()
    assert Run.named("good").note == "works"
    assert app.query_params["compare"] in ("good", ["good"])


def test_delete_takes_the_ticked_runs_and_never_a_living_one(runs):
    app = open_page(SCRIPT, compare="mine,peer")
    with locked(runs / "peer" / "lock"):
        app.button(key="runs.delete").click().run()
        assert "peer is being trained; stop it before you delete it" in words(app)
    assert not app.success
    assert [path.name for path in runs.glob("[!.]*")] == ["peer"]
    with locked(runs / "peer" / "lock"):
        app = open_page(SCRIPT, compare="peer")
        assert not [b for b in app.button if b.key == "runs.delete"]
    app = open_page(SCRIPT, compare="peer")
    assert "Delete **peer**, with all" in words(app)
    app.button(key="runs.delete").click().run()
    assert [notice.value for notice in app.success] == ["Deleted: peer"]


def test_a_run_that_cannot_be_read_says_why_and_can_be_deleted(runs):
    (runs / "peer" / "config.json").write_text("{")
    app = open_page(SCRIPT)
    assert app.warning[0].value.startswith("run: peer's config.json cannot be read")
    assert list(table(app)["name"]) == ["mine"]
    app.button(key="runs.clear.peer").click().run()
    assert [notice.value for notice in app.success] == ["Deleted: peer"]
    assert not app.warning
    assert [path.name for path in runs.glob("[!.]*")] == ["mine"]


def test_a_score_before_the_end_is_marked(runs):
    assert "so far" not in " ".join(table(open_page(SCRIPT))["best"])
    (runs / "peer" / "scores.json").unlink()
    best = dict(zip(*(table(open_page(SCRIPT))[key] for key in ("name", "best")), strict=True))
    assert best["peer"].endswith(", so far")
    assert "so far" not in best["mine"]


def test_resume_starts_a_trainer(runs, make, no_processes):
    make("new", 60)
    app = open_page(SCRIPT, compare="new")
    button(app, "Resume").click().run()
    assert no_processes == ["new"]
    assert button(open_page(SCRIPT, compare="mine"), "Resume").disabled


def test_runs_that_are_gone_are_unticked(runs):
    app = open_page(SCRIPT, compare="mine,lost,..,peer")
    assert not app.exception
    assert app.query_params["compare"] in ("mine,peer", ["mine,peer"])


def test_a_link_opens_no_folder_outside_the_runs(runs, trained):
    app = open_page(SCRIPT, compare=f"{trained / 'mine'},peer")
    assert app.query_params["compare"] in ("peer", ["peer"])


def test_a_run_that_takes_the_name_of_another_is_compared_as_it_is(runs):
    app = open_page(SCRIPT, compare="mine")
    assert list(board_of(app)["series"]) == ["centroid only", "both"]
    swap()
    assert list(board_of(app.run())["series"]) == ["WGAN"]


def test_a_run_that_takes_the_name_of_another_is_shown_as_it_is(runs):
    app = open_page(run="mine", panel="Scores")
    app.selectbox(key="seed.mine").select(1).run()
    swap()
    assert list(app.run().dataframe[0].value) == ["WGAN", "baseline", "meaning"]
    assert not app.exception


def swap() -> None:
    """The peer takes the name of the other run."""
    Run.named("mine").delete()
    Run.named("peer").rename("mine")


def archive(run: Run, tmp_path) -> bytes:
    pack(run, tmp_path / "run.zip")
    return (tmp_path / "run.zip").read_bytes()


def test_import_takes_a_run_in_and_refuses_what_leads_outside(runs, tmp_path):
    content = archive(Run.named("mine"), tmp_path)
    app = open_page(SCRIPT)
    app.file_uploader[0].upload("mine.zip", content, "application/zip")
    next(t for t in app.text_input if t.placeholder == "as in the ZIP").set_value("theirs")
    button(app, "Import").click().run()
    assert Run.named("theirs").scores() == Run.named("mine").scores()
    assert "theirs" in set(table(app)["name"])
    spoiled = io.BytesIO(content)
    with zipfile.ZipFile(spoiled, "a") as into:
        into.writestr("mine/../../outside.txt", "x")
    app = open_page(SCRIPT)
    app.file_uploader[0].upload("mine.zip", spoiled.getvalue(), "application/zip")
    button(app, "Import").click().run()
    assert "outside.txt" in words(app)
    assert not (runs.parent / "outside.txt").exists()


def test_another_page_leads_here_with_a_run_of_its_own(runs):
    app = open_page(SCRIPT, compare="mine")
    app.query_params["compare"] = "peer"
    app.run()
    assert app.query_params["compare"] in ("peer", ["peer"])
    assert list(board_of(app)["series"]) == ["WGAN"]
