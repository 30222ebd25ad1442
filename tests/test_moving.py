"""A film and a supplement: decoded again, their frames and numbers are the run's; words from outside stay words."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from trainers import small_config

from mvm.errors import ConfigError
from mvm.figures import NoFigure, Selection
from mvm.figures.export import export, rebuild
from mvm.figures.film import GROUNDS, RATE, SIZES, film_frames
from mvm.figures.over_training import evenly
from mvm.figures.supplement import LEVELS, MOST_BYTES, supplement
from mvm.look.palette import FAKE, REAL
from mvm.runs.layout import frame_path
from mvm.runs.recorder import train
from mvm.runs.run import Run

STEPS = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A short training, with made-up UMAP frames: real ones take seconds to compile."""
    folder = tmp_path_factory.mktemp("moving")
    run = Run.create(small_config("circle", steps=STEPS), path=folder / "ring")
    for _ in train(run):
        pass
    shape = (len(run.config.members), 2 * run.config.view_points, 2)
    frame_path(run.path, 0).parent.mkdir()
    for step in evenly(run.snapshot_steps(), 12):
        np.save(frame_path(run.path, step), np.random.default_rng(step).normal(size=shape).astype(np.float32))
    return run


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def coloured(frame: np.ndarray, colour: str) -> np.ndarray:
    """Where a frame has a colour."""
    return (np.abs(frame.astype(int) - 255 * np.array(to_rgb(colour))) < 40).all(-1)


def content(page: bytes) -> dict:
    return json.loads(re.search(rb'id="data">(.*?)</script>', page, re.S).group(1))


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_a_film_shows_the_first_and_the_last_snapshot(run, tmp_path, monkeypatch, kind):
    rate, calls = 2, []
    monkeypatch.setitem(RATE, kind, rate)
    export(["film"], [run], out=tmp_path / f"ring.{kind}", size="small", on_progress=lambda *call: calls.append(call))
    frames = decoded(tmp_path / f"ring.{kind}")
    assert len(frames) == 10 * rate or kind == "gif"  # equal frames of a GIF are one
    assert frames[0].shape == (*SIZES["small"][::-1], 3)
    assert calls[-1][:2] == (10 * rate - 1, 10 * rate)
    assert {what for *_, what in calls} == {"frames", "reading ring"}
    first, last = coloured(frames[0], FAKE), coloured(frames[-1], FAKE)
    assert first.sum() > 50
    assert last.sum() > 50
    assert (first != last).sum() > 100, "the points have moved"
    assert rebuild(tmp_path, say=lambda line: None) == 0, "the same bytes again"


def test_a_dark_film_has_dark_corners_and_umap(run):
    from mvm.figures.film import Stage
    from mvm.figures.over_training import columns_of, timeline

    selection = Selection.of([run])
    steps = timeline(selection, 5)
    columns = columns_of(selection, steps, lambda *_: None)
    for column in columns:
        column.fakes[0] = column.real[: column.fakes.shape[1]]
    stage = Stage(selection, steps, columns, SIZES["small"], "dark", ("data", "umap"))
    frame = next(film_frames(stage, 4, lambda *_: None))
    assert coloured(frame, REAL).sum() > 300, "reals under the fakes that lie on them"
    assert frame[2, 2].tolist() == [round(255 * part) for part in to_rgb(GROUNDS["dark"][0])]
    assert len(columns) == len(run.config.variants)


def test_an_ended_export_leaves_nothing(run, tmp_path):
    def stop(done: int, of: int, what: str) -> None:
        if what == "frames" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(["film"], [run], out=tmp_path / "film.mp4", size="small", on_progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_supplement_holds_the_points_of_its_snapshots(run, tmp_path):
    export(["supplement"], [run], out=tmp_path / "ring.html")
    page = (tmp_path / "ring.html").read_bytes()
    assert len(page) <= MOST_BYTES
    found = content(page)
    assert found["steps"] == run.snapshot_steps()
    column = found["columns"][-1]
    levels = np.frombuffer(base64.b64decode(column["fake"]), "<u2").astype(float)
    low, high = np.array(column["box"]).T
    points = low + levels.reshape(len(found["steps"]), -1, 2) / LEVELS * (high - low)
    fake = run.snapshot(STEPS)["fake"][-1]
    inside = ((fake > low) & (fake < high)).all(1)
    np.testing.assert_allclose(points[-1][inside], fake[inside], atol=float((high - low).max()) / LEVELS)
    assert all("umap" in column for column in found["columns"])
    density = column["density"]  # on a circle: of the angles of points near it, over a uniform law
    (edges,), (ratios,) = density["charts"][0]["edges"], density["ratios"][-1]
    near = np.abs(np.linalg.norm(fake, axis=1) - 1) <= 0.1
    counted, _ = np.histogram(np.arctan2(*fake[near].T[::-1]) % (2 * np.pi), edges)
    np.testing.assert_allclose(ratios, counted * len(counted) / len(fake), rtol=1e-4)
    assert density["far"][-1] == pytest.approx(1 - near.mean(), rel=1e-4)
    assert rebuild(tmp_path, say=lambda line: None) == 0, "the same bytes again"
    assert not re.search(rb'(src|href)="(http|//)|url\(|import\(|fetch\(', page), "nothing is loaded"


def test_words_from_outside_cannot_leave_their_place(run, tmp_path):
    own = Run(Path(shutil.copytree(run.path, tmp_path / "own")))
    own.name = "</script><img src=x onerror=alert(1)>\u2028"
    page = supplement(Selection.of([own], project=False))
    assert page.count(b"</script>") == 2
    assert b"<img" not in page
    assert content(page)["title"].startswith("</script>")


def test_a_large_supplement_is_thinned_and_says_so(run, monkeypatch):
    monkeypatch.setattr("mvm.figures.supplement.MOST_BYTES", len(supplement(Selection.of([run]))) - 1)
    page = supplement(Selection.of([run]))
    found = content(page)
    total = len(run.snapshot_steps())
    assert len(found["steps"]) < total
    assert found["steps"][-1] == STEPS
    assert f"Shows {len(found['steps'])} of {total} snapshots, evenly chosen." in found["notes"]


def test_refusals_are_one_line(run, tmp_path):
    with pytest.raises(ConfigError, match="format: unknown 'pdf'; known: mp4, webm, gif"):
        export(["film"], [run], out=tmp_path, formats=["pdf"])
    with pytest.raises(ConfigError, match="size: unknown 'huge'; known: large, small, tiny"):
        export(["film"], [run], out=tmp_path / "a.gif", size="huge")
    with pytest.raises(NoFigure, match="one snapshot so far"):
        export(["film"], [run], out=tmp_path / "a.gif", step=0)
    with pytest.raises(ConfigError, match="alone"):
        export(["film", "supplement"], [run], out=tmp_path)


def test_pictures_are_drawn_as_sheets():
    from mvm.figures.supplement import _picture

    pictures = np.zeros((9, 8, 8, 3), np.uint8)
    pictures[4] = 255
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(_picture(pictures).partition(",")[2]))).convert("L"))
    assert sheet.shape == (26, 26)
    assert sheet[13, 13] > 200 > 60 > sheet[4, 4]
