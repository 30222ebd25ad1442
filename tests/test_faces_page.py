"""The Faces page without a browser, and what it is made of: generators by themselves, training pictures, preparing."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import button, drawn, open_page, run_list, shown, train_faces, words
from PIL import Image
from trainers import until

from app import caches
from app.caches import keep_pictures
from app.components.picture_grid import Picked, encode
from app.session import Page
from mvm.config import Config
from mvm.data.cache import open_cache
from mvm.errors import ConfigError, RunError
from mvm.figures import render
from mvm.jobs.launch import LAUNCHERS
from mvm.jobs.launcher import Task
from mvm.jobs.prepare import launch, preparations, sole
from mvm.methods import METHODS
from mvm.runs.evaluate import load_experiment, load_generator, training_gallery
from mvm.runs.events import Resumed
from mvm.runs.run import Run
from mvm.studies.compare import settings_changed
from mvm.training.experiment import view_noise
from mvm.training.sampling import between

pytestmark = pytest.mark.usefixtures("no_processes")

FACES = "from app.views.faces import faces; faces()"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "tiny"
    train_faces(path)
    return path


def pictures(path: Path, count: int = 3) -> Path:
    """A ZIP of pictures, and of one file that is none."""
    with zipfile.ZipFile(path, "w") as file:
        for k in range(count):
            content = io.BytesIO()
            Image.new("RGB", (40, 50), (80 * k, 0, 0)).save(content, format="PNG")
            file.writestr(f"{k}.png", content.getvalue())
        file.writestr("broken.png", b"no picture")
    return path


def forms(node) -> list:
    """The forms below a block of a page, as Streamlit sends them."""
    found = [form for child in getattr(node, "children", {}).values() for form in forms(child)]
    own = getattr(node, "proto", None)
    return [own.form, *found] if hasattr(own, "form") and own.form.form_id else found


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_first_screen_invites_and_trains_nothing(no_processes: list[str]) -> None:
    app = open_page(FACES)
    assert "toy faces" in words(app)
    assert not no_processes
    button(app, "Train").click().run()
    (name,) = no_processes
    assert Run.named(name).config == Config.make(data="faces", size=32)
    assert "starting" in words(app)


def test_a_finished_run_is_shown_whole(tiny: Run) -> None:
    for tab, part in (
        ("Gaps", "gaps"),
        ("Spectrum of the distance matrix", "spectrum"),
        ("Factors covered", "factors"),
    ):
        assert drawn(open_page(FACES, **{"faces.panel": tab}), part)
    app = open_page(FACES, **{"faces.panel": "Scores"})
    text = words(app)
    assert "step **20** of 20" in text
    assert "MiB of memory" in text
    for row in ("# Faces", "## Samples", "## Embeddings", "## Nearest training", "## Between two"):
        assert row in text
    keys = [element.key for element in app.get("bidi_component")]
    for part in ("timeline", "samples", "umap", "between"):
        assert any(key.startswith(part) for key in keys), part
    scored = json.loads((tiny.path / "scores.json").read_text())
    assert [panel["scores"][0]["text"] for panel in drawn(app, "samples")["panels"]] == [
        f"factors {row['factor_mean']:.3g}" for row in scored
    ]
    table = app.dataframe[0].value
    assert {"centroid only", "both", "baseline", "meaning"} <= set(table.columns)
    assert {"Fréchet (faces)", "Fréchet (pixels)", "factors"} <= {label.rsplit(" ", 1)[0] for label in table.index}
    app.toggle(key="faces.averaged").set_value(False).run()
    assert "not averaged" in words(app)


def test_each_page_has_its_own_runs(tiny: Run, cloud: Path, no_processes: list[str]) -> None:
    Run.create(Config.make(data=str(cloud)), name="points")
    (line,) = run_list(open_page(FACES, run="points")).options
    assert line.startswith("○ tiny — Toy faces · centroid, both — finished, ")
    assert shown(open_page(FACES, run="points")) == "tiny"
    (line,) = run_list(open_page(run="tiny")).options
    assert line == "○ points — cloud.csv · centroid, 2-diameter, both — not started, just now"
    assert not no_processes


def test_speed_and_time_left_are_of_pictures(tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "alive", lambda _: True)
    records = tiny.records.poll()
    monkeypatch.setattr(type(records), "poll", lambda self: self)
    records.events.append(Resumed(step=20, time=0))
    measured = type(tiny).status
    monkeypatch.setattr(Run, "status", lambda run: replace(measured(run), rate=5.0))  # a busy machine has any
    monkeypatch.setattr("app.caches.all_runs", lambda _: [tiny])
    text = words(open_page(FACES))
    assert "80 pictures/s (5.0 steps/s)" in text
    assert "0 s left" in text


def test_train_makes_the_run_that_the_controls_describe(tiny: Run, no_processes: list[str]) -> None:
    app = open_page(FACES, **{"faces.steps": "700", "faces.size": "16", "steps": "1", "faces.method": "SNGAN"})
    assert METHODS["flow_matching"].title not in app.selectbox(key="faces.method").options
    app.number_input(key="faces.sngan.network.channels").set_value(16).run()
    button(app, "Train").click().run()
    config = Run.named(no_processes[0]).config
    assert (config.data, config.size, config.steps, config.method) == ("faces", 16, 700, "sngan")
    assert config.network.channels == 16
    assert "width" not in " ".join(w.key for w in app.number_input)
    assert shown(app) == no_processes[0]


def test_the_default_size_of_toy_faces_is_no_change(checkpoints: Path) -> None:
    run = Run.create(Config.make(data="faces"), name="default")
    assert settings_changed(run, run.config.model_copy(update={"size": 32})) == {}
    assert settings_changed(run, run.config.model_copy(update={"size": 64})) == {"size": (32, 64)}


def test_a_picked_picture_is_that_of_the_latest_click() -> None:
    tab = Page(kind="images")
    first, second = Picked(0, "fake", 3, 10.0), Picked(1, "real", 5, 20.0)
    for picked in (second, first, None):
        tab.pick("a", picked)
    assert tab.picked_of("a") == second
    assert tab.picked_of("b") is None


def test_the_nearest_training_pictures_of_a_picked_one(tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = threading.Event()
    monkeypatch.setattr("app.caches.training_gallery", lambda config: allowed.wait() and training_gallery(config))
    monkeypatch.setattr(Page, "picked_of", lambda *_: Picked(1, "fake", 7, 1.0))
    app = open_page(FACES)
    gallery = "To fake 7, both"
    try:
        assert f"{gallery}: loading" in words(app)
        assert caches.gallery(tiny) is None
    finally:
        allowed.set()
    until(lambda: caches.gallery(tiny) is not None, "the training pictures")
    assert f"{gallery}, of 200" in words(app.run())


# -- preparing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepare_here(mvm, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mvm prepare` is forked from a process that has imported everything, and decodes in one process."""

    started: dict[str, Forked] = {}

    class Forked:
        def __init__(self, task: Task) -> None:
            self.command, self.log, self.job = mvm(*task.arguments, "--processes", "1"), task.log, str(len(started))
            started[self.job] = self

        @property
        def state(self) -> str:
            if self.command.process.exitcode is None:
                return "running"
            self.log.write_text(self.command.out + self.command.err)
            return "failed" if self.command.process.exitcode else "finished"

    launcher = SimpleNamespace(submit=Forked, attach=lambda task, job: started[job])
    monkeypatch.setitem(LAUNCHERS, "local", lambda: launcher)


@pytest.mark.parametrize("place", ["Upload a ZIP", "Upload a folder"])
def test_uploaded_pictures_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The form waits for its button: Enter in a field starts nothing."""
    asked: list[Path] = []
    monkeypatch.setattr("app.views.faces.launch", lambda kind, path, **_: asked.append(Path(path)))
    app = open_page(FACES, **{"faces.source": "Prepare…"})
    assert [form.enter_to_submit for form in forms(app.sidebar)] == [False]
    app.segmented_control(key="faces.place").set_value(place).run()
    assert not [field for field in app.text_input if field.label == "Path on this machine"]
    button(app, "Prepare").click().run()
    assert "nothing is uploaded yet" in words(app)
    content = pictures(tmp_path / "mine.zip", 3).read_bytes()
    if place == "Upload a ZIP":
        app.file_uploader[0].set_value(("mine.zip", content, "application/zip"))
    else:
        app.file_uploader[0].set_value([(f"mine/a/{n}.png", b"%d" % n, "image/png") for n in range(3)])
    button(app, "Prepare").click().run()
    (path,) = asked
    if place == "Upload a ZIP":
        assert (path.name, path.read_bytes()) == ("mine.zip", content)
    else:
        assert {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.png")} == {
            f"a/{n}.png": b"%d" % n for n in range(3)
        }


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png", "a\n.png"])
def test_an_upload_stays_in_its_folder(name: str, checkpoints: Path) -> None:
    with pytest.raises(ConfigError, match="leads out of its folder"):
        keep_pictures([("fine.png", b"1"), (name, b"2")])
    assert not list(checkpoints.rglob("*.png"))
    first, again = (keep_pictures([("a/1.png", b"1"), ("b.png", b"2")]) for _ in range(2))
    assert first == again
    assert sorted(path.name for path in first.rglob("*.png")) == ["1.png", "b.png"]


def test_pictures_are_prepared_from_a_form(tmp_path: Path, prepare_here: None) -> None:
    app = open_page(FACES, **{"faces.source": "Prepare…"})
    assert button(app, "Train").disabled

    def submit(path: str, size: int) -> None:
        next(field for field in app.selectbox if field.label == "Kind").select("images")
        next(field for field in app.text_input if field.label == "Path on this machine").set_value(path)
        next(field for field in app.select_slider if field.label == "Size").set_value(size)
        button(app, "Prepare").click().run()

    submit("", 32)
    assert "give the path" in words(app)
    submit(str(tmp_path / "nothing"), 32)
    assert "no file or folder" in words(app)
    source = pictures(tmp_path / "mine.zip", 330)
    submit(str(source), 64)
    assert button(app, "Cancel")
    until(lambda: preparations()[0].state == "failed")
    assert "smaller than 64" in words(app.run())  # they have 40 x 50 pixels
    button(app, "Dismiss").click().run()
    assert not preparations()
    submit(str(source), 32)
    (job,) = preparations()
    until(lambda: job.state == "finished")
    assert "330 pictures of 32 x 32; 1 file skipped: 1 not a picture" in words(app.run())
    with pytest.raises(ConfigError, match="exists"):
        launch("images", str(source), size=32)
    app = open_page(FACES, **{"faces.source": "Prepared"})  # another page, later
    assert app.selectbox(key="faces.cache").value == "mine-32"
    assert "330 pictures" in words(app)
    assert "These pictures are from **mine-32**" in words(app)
    assert "toy faces" not in words(app)
    assert not button(app, "Train").disabled
    button(app, "Dismiss").click().run()
    assert not preparations()
    assert open_cache(job.out)[1].count == 330


def test_a_preparing_is_seen_from_outside_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock and its note tell how far it is; cancelling ends its whole group."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    monkeypatch.setattr("mvm.jobs.process.start", lambda *_, **__: sleeper)
    job = launch("images", str(pictures(tmp_path / "mine.zip")), size=32)
    note = {"fingerprint": "", "total": 400, "done": 100, "count": 97, "skipped": [["a", "b"]] * 3}
    (job.out.parent / ".mine-32.npy.part.json").write_text(json.dumps(note))
    app = open_page(FACES, **{"faces.source": "Prepare…"})
    assert job.progress == (100, 400, 3)
    button(app, "Cancel").click().run()
    until(lambda: sleeper.poll() is not None, "its end")
    assert sleeper.returncode < 0, "a signal ended it"
    assert not preparations()
    with sole(job.out), pytest.raises(ConfigError, match="being prepared"), sole(job.out):
        pass


# -- what it is made of ------------------------------------------------------------------------------------------------


def test_a_generator_by_itself_draws_what_the_experiment_draws(tiny: Run) -> None:
    noise = view_noise(32, 128)
    for member in range(2):
        made = load_generator(tiny, member)(noise)
        torch.testing.assert_close(made, sample_like(tiny, noise)[member], atol=1, rtol=0)
    with pytest.raises(RunError, match="untrained has no checkpoint"):
        load_generator(Run.create(tiny.config, name="untrained"), 0)


def test_a_walk_on_paper_leads_from_the_snapshots_own_fakes_to_its_own_fakes(tiny: Run) -> None:
    for step in (10, 20):
        fakes = tiny.snapshot(step)["fake"].astype(float)
        panels = [axes.images[0].get_array().astype(float) for axes in render("walk", [tiny], step=step).axes]
        for member, panel in enumerate(panels):
            for number in range(6):
                row, end = divmod(number, 2)
                made = panel[17 * row : 17 * row + 16, 17 * 8 * end : 17 * 8 * end + 16]
                np.testing.assert_allclose(made, fakes[member, number], atol=1)
    assert np.abs(fakes - tiny.snapshot(10)["fake"]).max() > 1, "not those of another step"


def sample_like(run: Run, noise: torch.Tensor) -> torch.Tensor:
    experiment = load_experiment(run)
    return experiment.data.restore(experiment.generate(noise))


def test_the_way_between_two_noises_stays_on_the_sphere() -> None:
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    way = between(a, b, torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(way, torch.tensor([[3.0, 0.0], [3 * 0.75**0.5, 1.5], [0.0, 3.0]]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(between(a, a, torch.tensor([0.5])), a[None])


def test_the_gallery_is_the_training_pictures(tiny: Run) -> None:
    gallery = training_gallery(tiny.config)
    images = tiny.data.images
    assert torch.equal(gallery.images, images)
    near = gallery.nearest(images[5:7], 1)
    assert near.indices[:, 0].tolist() == [5, 6]
    assert near.distances.max() < 1e-3


def test_a_sheet_shows_no_picture_in_its_neighbour() -> None:
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    images[1] = 255
    content = encode(images).split(",")[1]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert sheet.shape == (16, 16, 3)
    assert sheet[:8, :8].max() < 3
    assert sheet[:8, 8:].min() > 252
