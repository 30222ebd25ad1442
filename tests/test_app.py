"""The Lab's page without a browser: what it says in each state of a run, and what its controls do."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from launchers import Here
from pages import MAIN, as_read, button, drawn, open_page, run_list, shown, words
from trainers import small_config, write_cloud

from app import header, services
from app.kinds import PAGES, KindPage
from app.session import Page
from app.sidebar import NextRun
from app.views import lab
from mvm.__main__ import main
from mvm.config import Config
from mvm.data.kinds import KINDS, kind_of
from mvm.data.points import Points
from mvm.files import append_line, locked
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.jobs.launch import LAUNCHERS
from mvm.look.glossary import HOW_TO_READ, TERMS
from mvm.methods import METHODS
from mvm.runs.run import Run
from mvm.studies.claims import CLAIMS, shipped
from mvm.studies.labels import own_title, variant_label
from toy_manifolds import MANIFOLDS

pytestmark = pytest.mark.usefixtures("no_processes")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 30 steps on own points, trained to its end, beside the file of its points."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", "--run", str(folder / "ring"), "--data", str(write_cloud(folder / "cloud.csv")),
                 "--steps", "30", "--network.width", "8", "--batch", "16", "--view-points", "32",
                 "--variants", "centroid", "both"]) == 0  # fmt: skip
    return folder


@pytest.fixture
def finished(trained: Path, checkpoints: Path, cloud: Path) -> Run:
    """A copy of it, written just now, on a file of its own."""
    path = Path(shutil.copytree(trained / "ring", checkpoints / "ring", copy_function=shutil.copy))
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config.replace(str(trained / cloud.name), str(cloud)))
    return Run(path)


def test_a_finished_run_is_shown_with_its_scores(finished: Run) -> None:
    app = open_page(panel="Scores")
    text = words(app)
    assert "finished" in text
    assert "step **30** of 30" in text
    headings = [line for line in text.splitlines() if line.startswith(("# ", "## "))]
    assert headings == ["# Lab", "## Data space", "## Embeddings", "## Settings for the next run"]
    assert HOW_TO_READ["data"] in text
    assert HOW_TO_READ["scores"] in text
    table = app.dataframe[0].value
    assert {"centroid only", "both", "baseline"} <= set(table.columns)
    scored = json.loads((finished.path / "scores.json").read_text())
    assert table.loc["W₂ / baseline ≈", "both"] == f"{scored[1]['w2_ratio']:.3f}"
    assert table.loc["W₂ / baseline ≈", "baseline"] == "1.000"
    assert "off-manifold ↓" not in table.index, "own points have no ground truth, so no distance to it"
    assert button(app, "Resume").disabled
    assert button(app, "Stop").disabled


def test_a_page_is_drawn_from_the_top_in_whatever_container_its_thread_was(finished: Run) -> None:
    """Streamlit leaves a fragment's container in place when the next rerun of the page is of the same thread."""
    app = open_page(f"""
import runpy, streamlit as st
st.container(key="of-a-fragment").__enter__()
runpy.run_path({str(MAIN)!r})
""")
    assert "# Lab" in words(app)
    assert not app.main.children[0].children


def test_scores_stand_below_the_titles_and_the_best_is_marked(finished: Run) -> None:
    """Worked out from the file of scores; own points have no truth, so no distance to it."""
    page = open_page()
    panels = drawn(page, "clouds.ring")["panels"]
    assert [panel["title"] for panel in panels] == ["centroid only", "both"]
    rows = json.loads((finished.path / "scores.json").read_text())
    best = min((0, 1), key=lambda i: abs(np.log(rows[i]["w2_ratio"])))
    for i, (panel, row) in enumerate(zip(panels, rows, strict=True)):
        first, second = panel["scores"]
        assert first["text"] == f"W₂ {row['w2_ratio']:.3g} × baseline"
        assert second["text"] == f"coverage {row['coverage']:.3g}"
        assert (first["best"], panel["best"]) == (i == best, i == best)
        assert f"baseline {row['coverage_floor']:.3g}; step 30" in second["help"]
    columns = next(group for group in page.button_group if group.label == "Columns")
    columns.set_value([finished.config.variants[1 - best]]).run()
    (worse,) = drawn(page, "clouds.ring")["panels"]
    assert worse["title"] == panels[1 - best]["title"]
    assert not worse["best"], "the better one is hidden"


def test_a_column_is_hidden_and_shown_again_where_it_stands(finished: Run) -> None:
    app = open_page()
    columns = next(group for group in app.button_group if group.label == "Columns")
    columns.set_value(["both"]).run()
    assert [panel["title"] for panel in drawn(app, "clouds.ring")["panels"]] == ["both"]
    assert [panel["title"] for panel in drawn(app, "umap.ring")["panels"]] == ["both"]
    linked = open_page(**{"columns.ring": "both"})
    assert [panel["title"] for panel in drawn(linked, "clouds.ring")["panels"]] == ["both"]
    next(group for group in app.button_group if group.label == "Columns").set_value([]).run()
    assert len(drawn(app, "clouds.ring")["panels"]) == 2, "not none"


def test_a_panel_fills_the_page_and_gives_it_back(finished: Run) -> None:
    app = open_page()
    parts = {element.key.split(".")[0] for element in app.get("bidi_component")}
    assert {"clouds", "umap", "gaps"} <= parts
    usual = drawn(app, "gaps.ring")["height"]
    button(app, "Enlarge Gaps").click().run()
    parts = {element.key.split(".")[0] for element in app.get("bidi_component")}
    assert {"timeline", "gaps"} <= parts
    assert not {"clouds", "umap"} & parts
    assert drawn(app, "gaps.ring")["height"] > usual
    button(app, "Back to all panels").click().run()
    assert drawn(app, "clouds.ring")


def test_only_the_open_tab_is_drawn(finished: Run) -> None:
    app = open_page(panel="Spectrum of the distance matrix")
    parts = {element.key.split(".")[0] for element in app.get("bidi_component")}
    assert "spectrum" in parts
    assert "gaps" not in parts
    assert "there is no 'Forces'; known: Gaps, Lenses, Spectrum" in words(open_page(panel="Forces"))


def test_a_projection_that_cannot_be_made_says_so(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "warming up the projector" in words(open_page())
    monkeypatch.setattr("mvm.jobs.umap_worker.Projector.gave_up", True)
    assert "step 30 cannot be projected: the projector does not start" in words(open_page())


@pytest.mark.parametrize(
    ("event", "says", "resumable"),
    [
        ({"event": "resumed", "time": 0}, "exited unexpectedly", True),
        ({"event": "stopped", "time": 0}, "stopped", True),
        ({"event": "failed", "time": 0, "reason": "No space left on device"}, "No space left on device", True),
        ({"event": "member", "member": 1, "variant": "", "seed": 0, "what": "collapsed"}, "1 of 2 collapsed", False),
        ({"event": "diverged", "time": 0, "reason": "every variant diverged"}, "every variant diverged", False),
    ],
)
def test_a_run_without_a_trainer_says_why(finished: Run, event: dict, says: str, resumable: bool) -> None:
    append_line(finished.path / "scalars.jsonl", {"step": 20, **event})
    app = open_page()
    assert says in words(app)
    assert button(app, "Resume").disabled is not resumable


def test_resume_starts_the_trainer_again(finished: Run, no_processes: list[str]) -> None:
    append_line(finished.path / "scalars.jsonl", {"step": 20, "event": "resumed", "time": 0})
    app = open_page()
    button(app, "Resume").click().run()
    assert no_processes == ["ring"]
    assert "starting" in words(app)


def test_train_makes_the_run_that_the_controls_describe(finished: Run, no_processes: list[str]) -> None:
    app = open_page()
    app.selectbox(key="data").set_value("torus").run()
    app.slider(key="torus.tube").set_value(0.4)
    app.number_input(key="steps").set_value(700)
    app.number_input(key="mvm.gamma").set_value(0.05)
    app.slider(key="seeds").set_value(2)
    app.slider(key="w.diameter").set_value(1.5)
    app.toggle(key="on.centroid").set_value(False).run()
    button(app, "Train").click().run()
    (name,) = no_processes
    config = Run.named(name).config
    assert (config.data, config.settings, config.steps, config.seeds) == ("torus", {"tube": 0.4}, 700, (0, 1))
    assert (config.mvm.gamma, config.weights.diameter, config.weights.centroid) == (0.05, 1.5, 0.0)
    assert shown(app) == name, "the new run is shown"


def test_another_run_is_chosen_from_the_list(finished: Run, no_processes: list[str]) -> None:
    app = open_page()
    button(app, "Train").click().run()
    (new,) = no_processes
    assert shown(app) == new
    for name in ("ring", new, "ring"):
        run_list(app).set_value(name).run()
        assert shown(app) == name


def test_a_press_is_served_whole(finished: Run, no_processes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit may leave off a callback wherever it uses the session's state, so callbacks of buttons do not."""

    class Interrupted:
        def __getattr__(self, name: str) -> None:
            raise RuntimeError("interrupted")

        __getitem__ = __setitem__ = __contains__ = __delitem__ = __getattr__

    monkeypatch.setattr(st, "session_state", Interrupted())
    tab = Page()
    for _ in range(2):  # one press, called twice
        header._want_training(tab, 0)
        header._serve(tab, NextRun(finished.config))
    assert no_processes == [tab.run]
    header._reset(tab, finished, 1)
    assert no_processes[1:] == [tab.run]
    services.ask(tab, finished, stop=True)
    services.continue_training(tab, finished)
    assert no_processes[2:] == ["ring"]
    with locked(finished.path / "lock"):
        header._reset(tab, finished, 2)
    header._want_training(tab, 3)
    header._serve(tab, NextRun(finished.config.model_copy(update={"data": "gone.npy"})))
    assert "gone.npy" in tab.notice[0]


def test_the_url_carries_the_setting(finished: Run, no_processes: list[str]) -> None:
    """A link reproduces a view: data, its settings, recipe, steps and weights come from the URL."""
    app = open_page(**{"data": "Sphere", "sphere.radius": "2.0", "steps": "1500", "w.centroid": "2.0", "run": "ring"})
    assert shown(app) == "ring"
    button(app, "Train").click().run()
    config = Run.named(no_processes[0]).config
    assert (config.data, config.settings, config.steps, config.weights.centroid) == (
        "sphere",
        {"radius": 2.0},
        1500,
        2.0,
    )


@pytest.mark.parametrize("recipe", ["stabilised", "paper", "published"])
def test_a_recipe_sets_every_control(finished: Run, no_processes: list[str], recipe: str) -> None:
    app = open_page(recipe=recipe)
    button(app, "Train").click().run()
    made, wanted = Run.named(no_processes[0]).config, Config.make(recipe=recipe)
    assert (made.mvm, made.optimiser, made.variants) == (wanted.mvm, wanted.optimiser, wanted.variants)


def test_the_shown_run_lends_its_settings(finished: Run, no_processes: list[str]) -> None:
    """All of them, those without a control too, and the data; a control moves one."""
    changes = {"weights.diameter": 7.5, "weights.centroid": 0.0, "steps": 4, "batch": 48, "seeds": (3, 11)}
    changes |= {"network.frequencies": (2.0, 8.0), "optimiser.generator_betas": (0.1, 0.7), "checkpoints": 3}
    lender = Run.create(finished.config.with_changes(changes), name="lender")
    Path(finished.config.data).unlink()
    app = open_page(run="lender", recipe="copy of this run")
    assert "Train** starts another run with the settings of lender." in words(app)
    button(app, "Train").click().run()
    first = Run.named(no_processes[0])
    assert first.config == lender.config, "its data included, of which the run has a copy"
    np.testing.assert_array_equal(np.load(first.path / "data.npy"), np.load(lender.path / "data.npy"))
    app = open_page(run="lender", recipe="copy of this run", **{"lender.source": "Manifold", "data": "Moons"})
    assert "Train** starts a run that differs from lender: data Moons (shown: cloud.csv)" in words(app)
    button(app, "Train").click().run()
    made = Run.named(no_processes[1]).config
    assert made == lender.config.model_copy(update={"data": "moons"})
    assert shown(app) != "lender"
    app.number_input(key=f"{shown(app)}.network.width").set_value(20).run()
    button(app, "Train").click().run()
    assert Run.named(no_processes[2]).config == made.with_changes({"network.width": 20})


def test_what_train_would_start_is_seen_beside_it(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings on the left are those of the next run: where they differ from the shown one's, a line says so."""
    app = open_page(data="Torus", steps="700", run="ring")
    assert "Settings for the next run" in words(app)
    (line,) = (caption.value for caption in app.caption if "differs from" in caption.value)
    assert as_read(line).startswith("**Train** starts a run that differs from ring: data Torus (shown: cloud.csv)")
    assert "steps 700 (shown: 30)" in line
    assert "weights.covariance" not in line, "no variant matches it"
    app.slider(key="w.diameter").set_value(2.0).run()
    alike = open_page(run="ring", recipe="copy of this run")
    assert "with the settings of ring" in words(alike)
    alike.slider(key="ring.w.diameter").set_value(2.0).run()
    assert "differs from ring: 2-diameter weight 2 (shown: 1)." in words(alike)
    told = {"step": 20, "event": "weights", "weights": {"diameter": 2}, "serial": 1}
    append_line(finished.path / "scalars.jsonl", told)
    assert "with the settings of ring" in words(alike.run()), "the shown run has this weight by now"


def test_the_run_is_drawn_before_the_settings_of_the_next_one(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str, draw: Callable) -> Callable:
        return lambda *arguments, **options: (order.append(name), draw(*arguments, **options))[1]

    for name in ("cloud_plot", "choose_data"):
        monkeypatch.setattr(lab, name, noted(name, getattr(lab, name)))
    clock = SimpleNamespace(time=time.time, sleep=lambda _: order.append("painted"))
    monkeypatch.setattr("app.session.time", clock)
    page = open_page(run="ring")
    assert order[:2] == ["cloud_plot", "painted"]
    assert "choose_data" in order[2:]
    page.run()
    assert order.count("painted") == 1, "nobody waits twice for a page"
    for app in (page, open_page("from app.views.story import story; story()")):
        levels = [len(found[1]) for text in app.main.markdown if (found := re.match(r"(#+) ", text.value))]
        assert levels[0] == 1
        assert 1 not in levels[1:], "one title a page"
        assert all(below <= above + 1 for above, below in pairwise(levels)), "for a screen reader: none is skipped"


def test_train_starts_what_the_screen_shows(finished: Run, no_processes: list[str]) -> None:
    """A value that is typed right before the press belongs to the run: the press knows only what was drawn before."""
    app = open_page(method="WGAN", run="ring")
    (line,) = (caption.value for caption in app.caption if "differs from" in caption.value)
    assert as_read(line).startswith(
        "**Train** starts a run that differs from ring: method WGAN (shown: MvM), data Circle"
    )
    assert "mvm." not in line
    assert "–" not in line, "settings that only one of the methods has are left out"
    app.number_input(key="steps").set_value(700)
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config.steps == 700
    assert button(app, "Train").label == "Train another"
    assert no_processes == [shown(app)]
    app.run()
    assert len(no_processes) == 1, "one press, one run"


def test_the_list_says_of_each_run_what_became_of_it(finished: Run) -> None:
    best = min(score["w2_ratio"] for score in finished.scores())
    (line,) = run_list(open_page()).options
    assert line == f"○ ring — cloud.csv · centroid, both — finished, {best:.3g} × baseline, just now"
    append_line(finished.path / "scalars.jsonl", {"step": 20, "event": "failed", "time": 0, "reason": "no disk"})
    (line,) = run_list(open_page()).options
    assert line.startswith("✕ ring — cloud.csv · centroid, both — failed, ")


@pytest.mark.parametrize(
    ("event", "label"),
    [("failed", "Try again"), ("resumed", "Go on from there"), ("diverged", "Fork from an earlier step")],
)
def test_a_training_that_ended_early_has_a_button_that_helps(
    finished: Run, no_processes: list[str], event: str, label: str
) -> None:
    append_line(finished.path / "scalars.jsonl", {"step": 20, "event": event, "time": 0})
    app = open_page()
    found = button(app, label)
    if event != "diverged":
        found.click().run()
        assert no_processes == ["ring"]


@pytest.mark.parametrize("name", ["covariance", "hausdorff"])
def test_a_descriptor_is_switched_on_where_it_stands(finished: Run, no_processes: list[str], name: str) -> None:
    app = open_page()
    app.toggle(key=f"add.{name}").set_value(True).run()
    assert app.multiselect(key="variants").value == ["centroid", "diameter", "both", name]
    assert app.toggle(key=f"on.{name}").value
    app.slider(key=f"w.{name}").set_value(0.5).run()
    button(app, "Train").click().run()
    config = Run.named(no_processes[0]).config
    assert config.variants == ("centroid", "diameter", "both", name)
    assert getattr(config.weights, name) == 0.5


def test_a_column_that_matches_nothing_is_marked(finished: Run) -> None:
    told = {"step": 20, "event": "weights", "weights": {"centroid": 0}, "serial": 1}
    append_line(finished.path / "scalars.jsonl", told)
    columns = list(open_page(run="ring", panel="Scores").dataframe[0].value.columns)
    assert columns[:2] == ["centroid only, centroid × 1 → 0 at 20, matches nothing", "both, centroid × 1 → 0 at 20"]
    Run.create(finished.config.with_changes({"weights.centroid": 0}), name="idle")
    idle = Run.named("idle")
    assert variant_label(idle, "centroid") == "centroid only, matches nothing"
    assert variant_label(idle, "both") == "both"


def test_only_a_run_of_the_method_lends_its_settings(finished: Run) -> None:
    def offered(**query: str) -> list[str]:
        return next(group.options for group in open_page(**query).segmented_control if group.label == "Recipe")

    assert offered() == ["Recommended", "Paper", "Authors' code", "Copy of this run"]
    assert offered(method="WGAN") == ["Recommended", "Paper"]


def test_settings_of_the_shown_run_are_not_wishes_to_it(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other widgets than before have not been moved: what is being trained feels only those that were."""
    Run.create(finished.config.with_changes({"weights.diameter": 0.25}), name="alive")
    monkeypatch.setattr(Run, "alive", lambda run: run.name == "alive")
    app = open_page(run="alive")
    recipe = next(group for group in app.segmented_control if group.label == "Recipe")
    recipe.set_value("copy of this run").run()
    assert Run.named("alive").control().weights == {}
    app.slider(key="alive.w.diameter").set_value(0.5).run()
    assert Run.named("alive").control().weights == {"diameter": 0.5}
    app.number_input(key="alive.optimiser.generator_lr").set_value(1e-3).run()
    app.number_input(key="alive.mvm.gamma").set_value(0.02).run()
    app.number_input(key="alive.mvm.pairs").set_value(32).run()
    assert Run.named("alive").control().settings == {"optimiser.generator_lr": 1e-3, "mvm.gamma": 0.02}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "mvm" and METHODS[name].learns("points")])
def test_every_peer_can_be_set_up_and_shown(finished: Run, no_processes: list[str], cli, method: str) -> None:
    app = open_page(method=METHODS[method].title)
    assert not app.exception
    assert "Descriptors to match" not in words(app)
    app.number_input(key="steps").set_value(10).run()
    button(app, "Train").click().run()
    run = Run.named(no_processes[0])
    wanted = Config.make(method=method)
    assert (run.config.optimiser, run.config.variants) == (wanted.optimiser, (method,))
    assert getattr(run.config, method) == getattr(wanted, method)
    small = run.config.with_changes({"batch": 16, "view_points": 16, "data": finished.config.data})
    trained = Run.create(small, name="peer")
    assert cli("train", "--run", str(trained.path)).status == 0
    app = open_page(run="peer", panel="Scores")
    assert list(app.dataframe[0].value.columns) == [own_title(trained.config, method), "baseline", "meaning"]
    evaluations = trained.config.evaluations
    assert f"network evaluations per sample: {evaluations}." in words(app)
    if evaluations > 1:
        clock = drawn(open_page(run="peer", panel="Sampling time"), "sampling-time.")
        assert len(clock["times"]) == clock["steps"] + 1 > 10
    else:
        assert "Sampling time" not in [tab.label for tab in app.tabs]


@pytest.mark.parametrize("name", MANIFOLDS)
def test_every_manifold_can_be_set_up(finished: Run, no_processes: list[str], name: str) -> None:
    app = open_page(data=MANIFOLDS[name].title)
    assert not app.exception
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config.data == name


def test_every_descriptor_has_a_toggle_and_a_slider(finished: Run) -> None:
    app = open_page()
    for name, descriptor in DESCRIPTORS.items():
        used = name in ("centroid", "diameter")
        toggle = app.toggle(key=f"{'on' if used else 'add'}.{name}")
        assert (toggle.label, toggle.value, toggle.disabled) == (descriptor.title, used, False)
        assert toggle.help.startswith(TERMS[descriptor.title])
        assert ("switch on to add a column" in toggle.help) is not used
    everything = open_page(variants="+".join(DESCRIPTORS))
    for name, descriptor in DESCRIPTORS.items():
        assert everything.slider(key=f"w.{name}").label == f"{descriptor.title} weight"


def test_every_control_has_help(finished: Run) -> None:
    app = open_page()
    controls = [w for kind in ("number_input", "selectbox", "slider", "text_input", "toggle") for w in app.get(kind)]
    lacking = {w.label for w in controls if not w.help}
    assert lacking == {f"{DESCRIPTORS[name].title} weight" for name in ("centroid", "diameter")}, "toggles have help"


def test_a_link_may_speak_as_the_command_line_does(finished: Run) -> None:
    app = open_page(data="swiss_roll", method="wgan_gp", run=finished.name)
    assert (app.selectbox(key="data").value, app.selectbox(key="method").value) == ("swiss_roll", "wgan_gp")
    asked = {key: app.query_params[key] for key in ("data", "method")}
    assert asked == {"data": "Swiss roll", "method": "WGAN-GP"}, "the link stays whole"
    assert not app.error


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"data": "klein"}, "data: there is no 'klein'; known: circle, "),
        ({"method": "gan"}, "method: there is no 'gan'; known: mvm, "),
        ({"run": "nosuch"}, "There is no run 'nosuch' here"),
    ],
)
def test_a_link_to_what_is_not_there_says_so(finished: Run, query: dict, says: str) -> None:
    app = open_page(**query)
    assert says in words(app)
    assert shown(app) == finished.name


def test_a_bad_combination_is_explained_and_cannot_be_trained(finished: Run) -> None:
    app = open_page(variants="centroid+nonsense")
    assert "unknown descriptor 'nonsense'" in words(app)
    assert button(app, "Train").disabled


def test_a_bad_miner_is_explained(finished: Run) -> None:
    app = open_page(**{"mvm.metric_loss": "pml:NoSuchLoss"})
    assert "NoSuchLoss" in words(app)
    assert button(app, "Train").disabled


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("few.csv", b"1,2\n3,4\n", "at least 64"),
        ("nan.csv", b"\n".join(b"%d,nan" % i for i in range(99)), "nan"),
        ("words.csv", b"x,y\n" + b"1,2\n" * 70 + b"1,abc\n", "abc"),
        ("ragged.csv", b"1,2\n" * 70 + b"1,2,3\n", "line 71"),
        ("one.csv", b"1\n2\n" * 70, "column"),
        ("broken.npy", b"\x93NUMPY", "broken.npy"),
    ],
)
def test_a_bad_upload_gets_one_clear_line(finished: Run, name: str, content: bytes, says: str) -> None:
    app = open_page(source="Own file")
    app.file_uploader[0].set_value((name, content, "text/csv")).run()
    (error,) = [e.value for e in app.error]
    assert says in error
    assert "\n" not in error
    assert button(app, "Train").disabled


@pytest.mark.parametrize("count", [3, 2000, 22_000])
def test_what_is_odd_about_an_upload_is_summed_up(
    finished: Run, cloud: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Thousands of lines would take the page seconds; the words of a header are no Markdown."""
    lines = [f"column {number} (![x](http://127.0.0.1:9/{number}.png)) never changes" for number in range(count)]
    monkeypatch.setattr("app.views.lab.described", lambda *_: [f"200 points: {' '.join(lines)}", *lines])
    app = open_page(source="Own file")
    app.file_uploader[0].set_value(("mine.csv", cloud.read_bytes(), "text/csv")).run()
    said = [warning.value for warning in app.warning]
    assert [as_read(line) for line in said[:3]] == lines[:3]
    assert len(said) == min(count, 5)
    if count > 5:
        assert said[-1] == f"and {count - 4:,} more"
    texts = [*said, *(caption.value for caption in app.caption)]
    assert not [text for text in texts if "![x](" in text or "http://" in text]
    assert max(map(len, texts)) < 2000


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", "\u202eedoc".encode()])
def test_a_folder_with_a_name_that_cannot_be_shown_harms_no_page(finished: Run, checkpoints: Path, name: bytes) -> None:
    shutil.copytree(finished.path, os.fsdecode(os.fsencode(checkpoints) + b"/" + name))
    broken = Path(os.fsdecode(os.fsencode(checkpoints) + b"/broken" + name))
    broken.mkdir()
    (broken / "config.json").write_text("{")
    pages = {"lab": "lab", "runs": "runs_page", "figures": "figures_page"}
    for module, view in pages.items():
        app = open_page(f"import streamlit as st; from app.views.{module} import {view}\n"
                        f"st.session_state.setdefault('_pages', {{}}); {view}()", compare="ring")  # fmt: skip
        assert not app.exception
        if module == "runs":
            assert list(app.dataframe[0].value["name"]) == ["ring"]
            assert sum("rename it" in as_read(warning.value) for warning in app.warning) == 2


def test_an_upload_is_trained_on(finished: Run, no_processes: list[str], cloud: Path) -> None:
    app = open_page(source="Own file")
    app.file_uploader[0].set_value(("mine.csv", cloud.read_bytes(), "text/csv")).run()
    assert "200 points, 2 columns" in words(app)
    assert not app.warning
    button(app, "Train").click().run()
    assert not app.error
    np.testing.assert_equal(len(np.load(Run.named(no_processes[0]).path / "data.npy")), 200)


def test_odd_rows_and_columns_of_an_upload_can_be_left_out(finished: Run, no_processes: list[str]) -> None:
    """A column of text is left out at first; what else is odd is named with its widget; all is of the file alone."""
    rows = np.random.default_rng(0).random((200, 2))
    rows[[3, 4, 5], 1] = -9999
    lines = ["400,402,404", *(f"s{i},{x!r},{y!r}" for i, (x, y) in enumerate(rows.tolist()))]
    app = open_page(source="Own file")
    app.file_uploader[0].set_value(("odd.csv", "\n".join(lines).encode(), "text/csv")).run()
    assert not app.error
    text, *others = (box for box in app.checkbox if "odd.csv" in box.key)
    assert (text.value, text.disabled, [box.value for box in others]) == (False, True, [True, True])
    assert "text: 's0' in line 2" in as_read(text.label)
    advice = ["switch on “Header”", "write -9999 into “Missing”"]
    assert [as_read(w.value).rpartition(": ")[2] for w in app.warning] == advice
    app.toggle(key="file.header").set_value(True).run()
    app.text_input(key="file.missing").set_value("-9999").run()
    assert not app.warning
    assert "197 points, 2 columns: 402, 404; 3 rows left out" in words(app)
    app.text_input(key="file.missing").set_value("-9999 what").run()
    (error,) = [e.value for e in app.error]
    assert error == "missing: 'what' is neither a number nor nan (got -9999 what)"
    app.text_input(key="file.missing").set_value("-9999").run()
    button(app, "Train").click().run()
    run = Run.named(no_processes[0])
    assert (run.config.header, run.config.missing, run.config.drop_columns) == (True, ("-9999",), ("1",))
    np.testing.assert_allclose(np.load(run.path / "data.npy"), np.delete(rows, [3, 4, 5], axis=0), rtol=1e-6)
    app = open_page(run=run.name, recipe="copy of this run", **{f"{run.name}.source": "Manifold", "data": "Torus"})
    assert not app.error, "other data begin without the switches"
    button(app, "Train").click().run()
    assert Run.named(no_processes[1]).config.switches == Config().switches


def test_a_slider_reaches_the_running_training(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving a weight while the shown run lives writes the wish that its trainer meets."""
    append_line(finished.path / "scalars.jsonl", {"step": 20, "event": "resumed", "time": time.time()})
    monkeypatch.setattr(Run, "alive", lambda _: True)
    app = open_page()
    app.slider(key="w.diameter").set_value(0.25).run()
    assert finished.control().weights["diameter"] == 0.25
    app.toggle(key="on.diameter").set_value(False).run()
    assert finished.control().weights["diameter"] == 0.0
    button(app, "Pause").click().run()
    assert finished.control().pause_at == 0
    button(app, "Stop").click().run()
    assert not finished.control().stop, "it asks first"
    button(app, "Stop training").click().run()
    assert finished.control().stop


def test_drawing_the_sidebar_writes_nothing_to_a_run(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `apply_moved_settings`, which the view calls, sends a moved setting."""
    monkeypatch.setattr(Run, "alive", lambda _: True)
    script = """
from app.caches import runs
from app.sidebar import NextRun
from app.session import page
from app.sidebar import draw_settings, draw_start
tab = page("points")
tab.show("ring")
draw_settings(tab, {"data": "circle"}, draw_start(tab, runs("points")["ring"]))
"""
    app = open_page(script)
    app.slider(key="w.diameter").set_value(0.25).run()
    app.number_input(key="optimiser.metric_lr").set_value(0.25).run()
    assert not app.exception
    assert finished.control().moved == {}


def test_a_queued_run_names_what_it_waits_for(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused run is not among them: it has left its slot to others."""
    for name, event in (("busy", "resumed"), ("idle", "paused")):
        append_line(
            Run.create(finished.config, name=name).path / "scalars.jsonl", {"step": 0, "event": event, "time": 9}
        )
    waiting = Run.create(finished.config, name="waiting")
    append_line(waiting.path / "scalars.jsonl", {"step": 0, "event": "queued", "time": time.time()})
    monkeypatch.setattr(Run, "alive", lambda run: run.name != "ring")
    said = words(open_page(run="waiting"))
    assert "queued: all slots are taken; it begins when one of these ends or pauses: busy]" in said


def test_weights_that_match_nothing_are_warned_of(finished: Run) -> None:
    app = open_page()
    assert not app.warning
    app.slider(key="w.centroid").set_value(0.0).run()
    assert [notice.value for notice in app.warning] == [
        "All weights of centroid are 0: nothing tells the generator what to match"
    ]


def test_step_and_reset(finished: Run, monkeypatch: pytest.MonkeyPatch, no_processes: list[str]) -> None:
    append_line(finished.path / "scalars.jsonl", {"step": 20, "event": "paused", "time": time.time()})
    monkeypatch.setattr(Run, "alive", lambda run: run.name == "ring")
    app = open_page()
    button(app, "Step").click().run()
    assert finished.control().pause_at == 30 + 10
    button(app, "Reset").click().run()
    assert "Stop **ring** at step 30 and begin again" in words(app)
    button(app, "Keep training").click().run()
    assert not finished.control().stop
    button(app, "Reset").click().run()
    button(app, "Stop and begin again").click().run()
    (name,) = no_processes
    assert finished.control().stop
    anew = Run.named(name)
    assert anew.control().pause_at == 0
    assert anew.config.model_copy(update={"data": finished.config.data}) == finished.config


def test_settings_that_cannot_be_trained_say_so_beside_train(finished: Run) -> None:
    app = open_page(**{"optimiser.metric_betas": "0.5 1.5"})
    (error,) = [e.value for e in app.error]
    assert error.startswith("These settings cannot be trained: Optimisers, Metric β₁ β₂: each β must be")
    assert error.endswith("(got 0.5 1.5)")
    assert error not in [e.value for e in app.sidebar.error]
    assert button(app, "Train").disabled


def test_a_read_only_folder_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MVM_CHECKPOINTS", str(tmp_path / "file" / "runs"))
    app = open_page()
    (error,) = [e.value for e in app.error]
    assert "cannot write" in error
    assert button(app, "Train")


def test_more_variants_than_columns(cli, cloud: Path) -> None:
    """Six variants and two seeds: four columns are shown, the rest can be chosen."""
    many = ("centroid", "diameter", "both", "covariance", "hausdorff", "p_diameter")
    run = Run.create(small_config(cloud, variants=many, seeds=(0, 1), steps=10, view_points=64), name="many")
    assert cli("train", "--run", str(run.path)).status == 0
    app = open_page()
    assert not app.exception
    assert app.button_group(key="columns.many").value == list(many[:4])
    assert app.selectbox(key="seed.many").options == ["0", "1"]


def test_every_kind_of_data_has_a_page() -> None:
    assert {name: kind_of(page.example).name for name, page in PAGES.items()} == {name: name for name in KINDS}
    assert len({kind.prefix for kind in PAGES.values()}) == len(PAGES), "widgets of two pages would share their state"


def test_a_kind_of_data_is_one_line_in_the_app(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page is in the navigation and drawn by its view, Runs can filter by it, and it has a state of its own."""

    class Pairs(Points):
        noun = "pairs"

    view = "app.views.claims:claims"
    monkeypatch.setitem(KINDS, "pairs", Pairs())
    monkeypatch.setitem(PAGES, "pairs", KindPage("Pairs", "pairs", "bolt", view, "circle", (16,), "pairs."))
    app = open_page()
    assert list(app.session_state["_pages"]) == [
        "Lab",
        "Super-resolution",
        "Faces",
        "Pairs",
        "Runs",
        "Sweeps",
        "Figures",
        "Claims",
        "Exhibits",
        "Story",
    ]
    assert "claims, tested" in words(open_page("from app.kinds import PAGES; PAGES['pairs'].draw()"))
    table = open_page("from app.views.runs import runs_page; runs_page()")
    assert table.segmented_control(key="runs.kind").options == ["all", "points", "photographs", "pictures", "pairs"]
    state = "from app.session import page; import streamlit as st; st.caption(page('pairs').key('steps'))"
    assert words(open_page(state)) == "pairs.steps"


CLAIMS_PAGE = "from app.views.claims import claims; claims()"


def test_the_claims_page_shows_what_is_shipped_then_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(CLAIMS_PAGE)
    said = words(app).replace("$", "")  # around symbols
    assert all(claim.title in said for claim in CLAIMS.values())
    assert "Shipped with this repository" in app.caption[1].value
    assert "A row passes if true for at least 80 % of seeds" in app.caption[1].value
    board = next(each.value for each in app.markdown if each.value.startswith("| Claim")).splitlines()
    assert len(board) == 2 + len(CLAIMS)
    row = next(line for line in board if "Both descriptors" in line)
    assert [cell.strip() for cell in row.split("|")[1:4]] == [
        "[Both descriptors together beat either alone](#both)",
        "Fig. 6",
        ":red-badge[does not hold] 0 of 2 rows pass; both is best: 2 of 5 seeds in each; "
        "W₂\u00a0/\u00a0baseline: centroid 7.13, 2-diameter 1.14, both 1.11",
    ]
    assert {"Recipe", "Data", "W₂ / baseline, both", "Both is best", "Outcome"} <= {*app.dataframe[0].value}
    assert button(app, "Measure here")
    found, _ = shipped()
    monkeypatch.setattr("app.views.claims.findings", lambda plan: found)
    app.run()
    assert "Measured here" in app.caption[1].value
    assert len(app.dataframe) == sum(bool(finding.rows) for finding in found)


def test_the_claims_page_says_when_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.views.claims.shipped", lambda: ([], {}))
    assert "Nothing is measured yet" in words(open_page(CLAIMS_PAGE))


def test_claims_are_measured_in_the_background_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch, checkpoints: Path
) -> None:
    """The button starts the command; while its lock is held the page has a bar and a button to stop."""
    launcher = Here(lambda task: "failed")
    monkeypatch.setitem(LAUNCHERS, "local", lambda: launcher)
    app = open_page(CLAIMS_PAGE)
    button(app, "Measure here").click().run()
    assert not app.exception
    assert [task.arguments[0] for task in launcher.tasks] == ["claims"]
    with locked(checkpoints / "claims" / "lock"):
        app = open_page(CLAIMS_PAGE)
        button(app, "Stop").click().run()
    assert (checkpoints / "claims" / "stop").exists()  # heard whether or not a training has begun
