"""The first visit: the demo that ships, the words above it, the tour, and the glossary."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from pages import as_read, button, open_page, shown, words

from app import ahead, services
from app.services import DEMO, DEMO_FILE
from app.story import STORY
from app.welcome import CAPTIONS, picture
from mvm.geometry.descriptors import DESCRIPTORS, GAPS
from mvm.look.glossary import HOW_TO_READ, SCORE_TERMS, TERMS
from mvm.runs.archive import unpack
from mvm.runs.run import Run
from mvm.scoring.images import FACTOR_SCORES, IMAGE_SCORES
from mvm.scoring.points import SCORES
from mvm.scoring.superres import SUPERRES_SCORES

pytestmark = pytest.mark.usefixtures("no_processes")


@pytest.fixture
def demo() -> Run:
    return unpack(DEMO_FILE, name=DEMO)


# -- the demo ----------------------------------------------------------------------------------------------------------


def test_the_server_makes_the_demo_before_a_visitor_comes(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter((False, True))  # the server is there at the second question
    monkeypatch.setattr(ahead, "runtime", SimpleNamespace(exists=lambda: next(asked)))
    ahead.prepare_first_visit()
    assert Run(checkpoints / DEMO).status().state == "finished"
    assert "app.views.lab" in sys.modules


def test_the_first_screen_is_a_finished_run_and_trains_nothing(no_processes: list[str]) -> None:
    app = open_page()
    assert shown(app) == DEMO
    assert "finished" in words(app)
    assert "step **4,000** of 4,000" in words(app)
    assert not no_processes
    assert not app.error


def test_a_second_tab_at_the_first_visit_sees_the_same_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tab unpacks the demo in between: no error, the demo is shown."""

    def beaten(*arguments: object, **options: object) -> Run:
        unpack(*arguments, **options)
        return unpack(*arguments, **options)

    monkeypatch.setattr(services, "unpack", beaten)
    app = open_page()
    assert not app.error
    assert shown(app) == DEMO


def test_a_deleted_demo_comes_back_only_where_there_is_no_run(demo: Run) -> None:
    (demo.path).rename(demo.path.with_name("mine"))
    assert shown(open_page()) == "mine"
    assert not demo.path.exists()


def test_the_demo_is_small_and_has_all_that_a_timeline_plays(demo: Run) -> None:
    assert DEMO_FILE.stat().st_size < 1_000_000
    steps = demo.snapshot_steps()
    assert steps == list(range(0, 4001, 250))
    assert all(demo.frame(step) is not None for step in steps), "its UMAP frames need no projector"
    assert not demo.damage
    with zipfile.ZipFile(DEMO_FILE) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".log", "control.json", "lock"))]


# -- the tour ----------------------------------------------------------------------------------------------------------


def test_the_tour_says_what_the_demo_measured(demo: Run) -> None:
    """Every number that the tour says of the demo is one of its scores."""
    by_variant = {row["variant"]: row for row in demo.scores()}
    said = {variant: as_read(STORY[i].description) for i, variant in ((1, "centroid"), (2, "diameter"), (3, "both"))}
    for variant, text in said.items():
        (number,) = re.findall(r"([\d.]+) baselines", text)
        ratio = by_variant[variant]["w2_ratio"]
        assert number == (f"{ratio:.1f}" if ratio < 5 else f"{ratio:.0f}"), variant
    both, text = by_variant["both"], STORY[4].description
    for key, known in (("", ".56"), ("_initial", ".40"), ("_euclidean", ".40")):
        assert f"{both[f'geodesic_spearman{key}']:.2f}"[1:] == known
        assert known in text


def test_the_tour_from_its_first_step_to_its_last(no_processes: list[str]) -> None:
    """Next leads through it, every button does its thing, and its end leaves no trace in the URL."""
    app = open_page(story="1")
    seen = []
    for number, step in enumerate(STORY, start=1):
        assert f"{number} of {len(STORY)} · {step.title}" in words(app)
        button(app, step.button).click().run()
        page = app.session_state["_page.points"]
        seen.append((shown(app), page.sought and page.sought[2]))
        assert not app.error, step.title
        if number < len(STORY):
            button(app, "Next").click().run()
            assert app.query_params["story"] in (str(number + 1), [str(number + 1)])
    assert seen[:5] == [(DEMO, 0), (DEMO, None), (DEMO, 500), (DEMO, None), (DEMO, None)]
    assert app.session_state["colour"] == "eigenvector"
    trained = [Run.named(name).config for name in no_processes]
    assert [(config.data, config.recipe) for config in trained] == [
        ("swiss_roll", "paper"),
        ("eight_gaussians", "stabilised"),
    ]
    assert app.session_state["source"] == "Draw"
    button(app, "End the tour").click().run()
    assert "story" not in app.query_params
    assert STORY[-1].title not in words(app)


def test_a_step_that_does_not_exist_is_told() -> None:
    app = open_page(story="9")
    assert "story: must be a step from 1 to 8, not '9'" in words(app)
    assert "story" not in app.query_params


# -- words -------------------------------------------------------------------------------------------------------------


def test_every_descriptor_gap_and_score_has_a_sentence() -> None:
    scores = {**SCORES, **IMAGE_SCORES, **FACTOR_SCORES, **SUPERRES_SCORES}
    assert SCORE_TERMS.keys() == scores.keys()
    assert {descriptor.title for descriptor in DESCRIPTORS.values()} | set(GAPS) <= TERMS.keys()
    for term, meaning in {**TERMS, **SCORE_TERMS, **HOW_TO_READ}.items():
        assert re.fullmatch(r"[^a-z].{15,250}[.]|[dα-ω].{15,}[.]", meaning), term
        assert "floor" not in meaning.lower(), term


def test_a_term_has_one_tooltip() -> None:
    """What stands beside a widget that is named after a term is the glossary's sentence."""
    app = open_page()
    helps = {element.label: element.help for kind in ("toggle", "slider", "multiselect") for element in app.get(kind)}
    terms = {descriptor.title: TERMS[descriptor.title] for descriptor in DESCRIPTORS.values()}
    for label, meaning in {**terms, "Seeds": TERMS["seed"], "Variants, side by side": TERMS["variant"]}.items():
        assert helps[label].startswith(meaning), label


def test_the_picture_has_words_for_those_who_do_not_see_it() -> None:
    assert picture().count("<svg") == picture().count('role="img"') == len(CAPTIONS)
    assert all(f'aria-label="{caption}"' in picture() for caption in CAPTIONS)


def test_a_tour_begins_with_the_demo_it_speaks_of_unless_its_link_names_a_run(cli, cloud: Path, no_processes) -> None:
    arguments = ("--steps", "4", "--network.width", "8", "--batch", "16", "--view-points", "32")
    assert cli("train", "--data", str(cloud), "--name", "ring", "--variants", "both", *arguments).status == 0
    assert shown(open_page()) == "ring"
    assert shown(open_page(story="3")) == DEMO
    assert shown(open_page(story="3", run="ring")) == "ring"
