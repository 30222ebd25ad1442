"""The Super-resolution page without a browser: what it says and draws, what its controls do, and what is upscaled."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import button, drawn, open_page, run_list, train_superres, words
from PIL import Image
from trainers import until

from app import upscaling
from app.upscaling import LEAST_SIDE, PHOTOGRAPHS, Upscaling, as_rgb, own_scene, photograph, png_of, request
from app.views import pictures
from mvm.config import Config
from mvm.data.photographs import held_out
from mvm.errors import ConfigError, RunError
from mvm.files import append_line
from mvm.methods import METHODS
from mvm.methods.pairs import TERMS
from mvm.runs.evaluate import load_upscaler
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.runs.trained import load
from mvm.scoring.superres import bicubic, measure
from mvm.studies.labels import own_title

pytestmark = pytest.mark.usefixtures("no_processes")

PAGE = "from app.views.superres import superres; superres()"
TRAINING = {"superres.show": "Training"}
METHODS_ON_PAIRS = [name for name, method in METHODS.items() if method.learns("superres")]
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "tiny"
    train_superres(path)
    return path


@pytest.fixture
def living(tiny: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that is being trained, as far as the page can see."""
    run = Run.create(tiny.config, name="living")
    append_line(run.path / "scalars.jsonl", {"step": 0, "event": "resumed", "time": time.time()})
    monkeypatch.setattr(Run, "alive", lambda run: run.name == "living")
    return run


def settled(app):
    """The page once every picture in work is there."""
    until(lambda: all(work.result.done() for work in upscaling._works().by_key.values()), "the pictures")
    return app.run()


def encoded(values: np.ndarray, mode: str | None = None, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values, mode).save(buffer, format=form, **options)
    return buffer.getvalue()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_first_screen_compares_with_bicubic_and_invites(no_processes: list[str]) -> None:
    app = open_page(PAGE)
    assert "No network is trained yet" in words(app)
    panels = drawn(app, "superres.pictures")["panels"]
    assert [panel["title"] for panel in panels] == ["Bicubic", "Original"]
    assert panels[0]["lines"][0] == f"PSNR (Y) {photograph('astronaut').bicubic().scores['psnr_y']:.2f} dB"
    assert not no_processes
    button(app, "Train").click().run()
    (name,) = no_processes
    assert Run.named(name).config == Config.make(data="sr")
    assert "starting" in words(app)


def test_every_setting_stands_beside_bicubic_and_the_original(tiny: Run) -> None:
    app = settled(open_page(PAGE, **{"superres.picture": "chelsea"}))
    text = words(app)
    assert "step **20** of 20" in text
    assert "448 × 300 pixels" in text, "451 x 300, cropped to multiples of 4"
    data = drawn(app, "superres.pictures")
    titles = ["Bicubic", "MvM (centroid only) · tiny", "MvM (both) · tiny", "Original"]
    assert [panel["title"] for panel in data["panels"]] == titles
    assert (data["width"], data["height"], data["reference"], data["before"], data["after"]) == (448, 300, 3, 0, 1)
    place = held_out().names.index("chelsea")
    low, high = held_out().low_picture(place), held_out().high_picture(place)
    wanted = measure(torch.tensor(load("tiny", variant="both").upscale(low.copy())), torch.tensor(high))
    assert data["panels"][2]["lines"] == [
        f"PSNR (Y) {wanted['psnr_y']:.2f} dB", f"PSNR (RGB) {wanted['psnr_rgb']:.2f} dB",
        f"SSIM (Y) {wanted['ssim_y']:.4f}", f"NIQE {wanted['niqe']:.2f}",
    ]  # fmt: skip
    assert len(app.get("download_button")) == 2
    assert "Best in bold" in text


def test_a_link_keeps_the_picture_while_the_training_is_shown(tiny: Run) -> None:
    query = {"superres.picture": "rocket", "superres.shrink": "false", "superres.nosuch": "1", **TRAINING}
    main = "from app.link import problems_above\nfrom app.views.superres import superres\n"
    app = open_page(f"{main}with problems_above():\n    superres()", **query)
    assert [warning.value for warning in app.warning] == ["'superres.nosuch' in the link is no setting of this page"]
    app.segmented_control(key="superres.show").set_value("Pictures").run()
    assert app.segmented_control(key="superres.picture").value == "rocket"


def test_settings_of_other_runs_are_chosen_from_a_list(tiny: Run, trained: Path, checkpoints: Path) -> None:
    for name in ("second", "third", "fourth"):
        (checkpoints / name).symlink_to(trained)
    app = open_page(PAGE, run="tiny")
    chosen = app.multiselect(key="superres.with")
    assert len(chosen.options) == 6, "three runs of two variants; the shown run is always compared"
    assert len(chosen.value) == pictures.MOST_OTHERS
    chosen.set_value(["third/both/0"]).run()
    titles = [panel["title"] for panel in drawn(settled(app), "superres.pictures")["panels"]]
    assert titles[-2:] == ["MvM (both) · third", "Original"]
    assert len(titles) == 5
    for word in ("second/centroid/0", "MvM (centroid only) · second"):  # as in a command, and as Streamlit writes it
        app = settled(open_page(PAGE, run="tiny", **{"superres.with": word}))
        assert app.multiselect(key="superres.with").value == ["second/centroid/0"]
    default = open_page(PAGE, run="tiny", **{"superres.with": "nosuch"}).multiselect(key="superres.with").value
    assert len(default) == pictures.MOST_OTHERS, "nothing that is asked for is there"


def test_a_trained_run_is_shown_over_its_training(tiny: Run) -> None:
    for tab, part in (("Gaps", "gaps"), ("Spectrum of the distance matrix", "spectrum")):
        assert drawn(open_page(PAGE, **TRAINING, **{"superres.panel": tab}), part)
    assert drawn(open_page(PAGE, **TRAINING), "similarity")
    app = open_page(PAGE, **TRAINING, **{"superres.panel": "Scores"})
    text = words(app)
    for row in ("# Super-resolution", "## Patches", "## Embeddings"):
        assert row in text
    keys = [element.key for element in app.get("bidi_component")]
    for part in ("timeline", "patches", "umap"):
        assert any(key.startswith(part) for key in keys), part
    table = app.dataframe[0].value
    assert {"MvM (centroid only)", "MvM (both)", "bicubic", "meaning"} <= set(table.columns)
    scored = json.loads((tiny.path / "scores.json").read_text())
    final = scored[1]
    assert table.loc["PSNR (Y) ↑", "MvM (both)"] == f"{final['psnr_y']:.3f}"
    assert table.loc["PSNR (Y) ↑", "bicubic"] == f"{final['psnr_y_floor']:.3f}"
    rows = drawn(app, "patches")["panels"]
    assert [row["title"] for row in rows] == [
        "Low resolution, the input", "Bicubic", "MvM (centroid only)", "MvM (both)", "Original",
    ]  # fmt: skip
    assert [row.get("scores", [{}])[0].get("text") for row in rows] == [
        None, None, f"PSNR {scored[0]['psnr_y']:.3g} dB", f"PSNR {scored[1]['psnr_y']:.3g} dB", None,
    ]  # fmt: skip
    high, fake = tiny.real_view()[:8], tiny.snapshot(20)["fake"][1, :8]
    wanted = [measure(torch.tensor(a), torch.tensor(b), niqe=False)["psnr_y"] for a, b in zip(fake, high, strict=True)]
    assert rows[3]["captions"] == [f"{value:.1f} dB" for value in wanted]


def test_the_curves_are_those_of_the_records(tiny: Run) -> None:
    records = History(tiny).refresh()
    steps, gaps = records.gaps()
    assert list(gaps) == ["d_p", "d_c", "d_g", "d_H"]
    lines = [json.loads(line) for line in (tiny.path / "scalars.jsonl").read_text().splitlines()]
    written = {line["step"]: line["d_p"] for line in lines if "d_p" in line}
    np.testing.assert_allclose(gaps["d_p"][:, :, 0], [written[step] for step in steps], rtol=1e-6)
    assert np.isfinite(gaps["d_p"]).all()
    scored = [line for line in lines if "scores" in line]
    steps, values = records.score_curve("psnr_y")
    assert list(steps) == [line["step"] for line in scored]
    np.testing.assert_allclose(
        values[:, :, 0], [[row["psnr_y"] for row in line["scores"]] for line in scored], rtol=1e-6
    )


def test_a_training_that_is_started_is_shown(
    tiny: Run, no_processes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(PAGE)
    assert app.segmented_control(key="superres.show").value == "Pictures"
    button(app, "Train").click().run()
    assert app.segmented_control(key="superres.show").value == "Training"
    run_list(app).set_value("tiny").run()
    app.segmented_control(key="superres.show").set_value("Pictures").run()
    assert "Upscaled" in words(app)


# -- the settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS_ON_PAIRS)
def test_every_method_can_be_set_up(no_processes: list[str], method: str) -> None:
    app = open_page(PAGE, **{"superres.method": METHODS[method].title})
    assert not app.error
    sliders = {name for name in TERMS if any(w.key.endswith(f"w.{name}") for w in app.select_slider)}
    used = {"mvm": {"image", "pair", "matching"}, "l1": {"image"}, "gan": {"image", "adversarial"}}
    assert sliders == used.get(method, {"image", "adversarial", "perceptual"})
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config == Config.make(data="sr", method=method)


@pytest.mark.parametrize("recipe", ["paper", "published"])
def test_a_recipe_sets_every_control(no_processes: list[str], recipe: str) -> None:
    app = open_page(PAGE, **{"superres.recipe": recipe})
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config == Config.make(data="sr", recipe=recipe)


def test_train_makes_the_run_that_the_controls_describe(no_processes: list[str]) -> None:
    app = open_page(PAGE, **{"superres.superres.gan": "relativistic"})
    app.select_slider(key="superres.w.pair").set_value(0.01)
    app.select_slider(key="superres.w.adversarial").set_value(0.03)
    app.select_slider(key="superres.patch").set_value(32)
    app.slider(key="superres.w.diameter").set_value(0.5)
    app.selectbox(key="superres.network.backbone").set_value("srresnet").run()
    button(app, "Train").click().run()
    config = Run.named(no_processes[0]).config
    assert config == Config.make(data="sr").with_changes({
        "weights.pair": 0.01, "weights.adversarial": 0.03, "weights.diameter": 0.5, "patch": 32,
        "network.backbone": "srresnet", "superres.gan": "relativistic",
    })  # fmt: skip


def test_the_shown_run_lends_its_settings(tiny: Run, no_processes: list[str]) -> None:
    changes = {"weights.matching": 0.02, "weights.perceptual": 0.7, "patch": 16, "batch": 6, "superres.gan": "standard"}
    lender = Run.create(tiny.config.with_changes(changes), name="lender")
    app = open_page(PAGE, run="lender", **{"superres.recipe": "copy of this run"})
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config == lender.config


def test_sliders_of_the_terms_reach_the_training(living: Run) -> None:
    app = open_page(PAGE, run="living")
    assert app.select_slider(key="superres.batch").help == "patches per batch"
    app.select_slider(key="superres.w.pair").set_value(0.03).run()
    assert living.control().weights == {"pair": 0.03}
    app.select_slider(key="superres.w.matching").set_value(0.0).run()
    app.slider(key="superres.w.diameter").set_value(0.25).run()
    assert living.control().weights == {"pair": 0.03, "matching": 0.0, "diameter": 0.25}
    app.selectbox(key="superres.superres.gan").set_value("standard").run()
    app.select_slider(key="superres.w.adversarial").set_value(0.1).run()
    assert living.control().weights == {"pair": 0.03, "matching": 0.0, "diameter": 0.25}, "it has no discriminator"
    assert not app.exception


def test_own_photographs_are_trained_on(tmp_path: Path, no_processes: list[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encoded(noise(128, 160, 3)))
    (folder / "broken.png").write_bytes(b"no picture")
    app = open_page(PAGE, **{"superres.source": "Own photographs"})
    assert button(app, "Train").disabled

    def give(path: Path) -> str:
        app.text_input(key="superres.from").set_value(str(path)).run()
        until(lambda: not app.run().get("progress"), "the photographs")
        return words(app)

    assert "nothing" in give(tmp_path / "nothing")
    assert button(app, "Train").disabled
    assert button(app, "Read again")
    text = give(folder)
    assert "2 photographs of 160 x 128 pixels" in text
    assert "broken.png" in text
    button(app, "Train").click().run()
    assert Run.named(no_processes[0]).config == Config.make(data="sr", data_from=str(folder))


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({}, "MvM (both)"),
        ({"superres": {"gan": "relativistic"}}, "MvM (both) + RaGAN"),
        ({"method": "gan"}, "relativistic GAN"),
        ({"method": "l1"}, "L1"),
        ({"method": "srgan"}, "SRGAN · VGG16-HED"),
        ({"method": "esrgan", "superres": {"features": "vgg19"}}, "ESRGAN · VGG19"),
        ({"data": "circle"}, "both"),
    ],
)
def test_a_title_says_which_networks_a_loss_uses(fields: dict, title: str) -> None:
    config = Config.make(**{"data": "sr", **fields})
    assert own_title(config, config.variants[-1]) == title


# -- what is upscaled --------------------------------------------------------------------------------------------------


def test_the_photographs_are_those_held_out() -> None:
    assert set(PHOTOGRAPHS) == set(held_out().names)
    scene = photograph("rocket")
    np.testing.assert_array_equal(scene.bicubic().values, bicubic(torch.tensor(scene.low.values)).numpy())
    assert scene.size == scene.high.shape[:2]


def test_a_generator_by_itself_upscales_as_the_run_does(tiny: Run) -> None:
    low = noise(20, 31, 3)
    for member, variant in enumerate(("centroid", "both")):
        made = load_upscaler(tiny, member).values(low)
        np.testing.assert_array_equal(made, load("tiny", variant=variant).upscale(low))
    with pytest.raises(RunError, match="untrained has no checkpoint"):
        load_upscaler(Run.create(tiny.config, name="untrained"), 0)


@pytest.mark.parametrize("shape", [(30, 22, 4), (20, 26)])
def test_a_dropped_picture_is_upscaled_whole_with_all_that_it_holds(tiny: Run, shape: tuple[int, ...]) -> None:
    """Transparency, or 16 bits; the download is what `mvm.load(RUN).upscale` makes."""
    values = noise(*shape, dtype=np.uint8 if len(shape) == 3 else np.uint16)
    scene = own_scene("mine.png", encoded(values), shrink=False)
    assert scene.high is None
    work = request(tiny, 1, scene)
    assert request(tiny, 1, scene) is work, "once for all tabs"
    upscaled = work.result.result()
    assert upscaled.scores is None
    written = np.asarray(Image.open(io.BytesIO(png_of(upscaled))))
    np.testing.assert_array_equal(written, load("tiny").upscale(values))
    assert upscaled.values.shape == (4 * shape[0], 4 * shape[1], 3)


def test_a_picture_that_is_shrunk_first_is_compared_with_itself(tiny: Run) -> None:
    values = noise(66, 53, 3)
    scene = own_scene("mine.png", encoded(values), shrink=True)
    np.testing.assert_array_equal(scene.high, values[:64, :52])
    assert scene.low.values.shape == (16, 13, 3)
    assert scene.notes == ("cropped to 52 x 64, multiples of 4",)
    upscaled = request(tiny, 0, scene).result.result()
    assert upscaled.scores == measure(torch.tensor(upscaled.values), torch.tensor(scene.high))


def test_a_perceptual_distance_is_measured_where_it_is_asked_for(tiny: Run, monkeypatch) -> None:
    def difference(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x.double() - y.double()).abs().mean())

    difference.name = "vgg16_hed"
    monkeypatch.setattr("app.upscaling._distances", lambda: [difference])
    app = settled(open_page(PAGE))
    assert not any(
        "VGG16-HED" in line for panel in drawn(app, "superres.pictures")["panels"] for line in panel["lines"]
    )
    app.toggle(key="superres.perceptual").set_value(True).run()
    bicubic, *trained, _ = drawn(settled(app), "superres.pictures")["panels"]
    high = photograph("astronaut").high
    wanted = np.abs(photograph("astronaut").bicubic().values.astype(float) - high)[4:-4, 4:-4].mean()
    assert bicubic["lines"][-1] == f"VGG16-HED {wanted:.3f}"
    assert all(panel["lines"][-1].startswith("VGG16-HED") for panel in trained)
    lowest = min(float(panel["lines"][-1].split()[1]) for panel in [bicubic, *trained])
    best = [panel for panel in [bicubic, *trained] if panel["strong"][-1]]
    assert [float(panel["lines"][-1].split()[1]) for panel in best] == [lowest]
    monkeypatch.setattr("app.upscaling._distances", list)
    assert not [toggle for toggle in open_page(PAGE).toggle if toggle.key == "superres.perceptual"]


def test_a_dropped_picture_is_drawn_and_can_be_downloaded(tiny: Run) -> None:
    app = open_page(PAGE, **{"superres.picture": "Own picture"})
    assert "Drop in a photograph" in words(app)
    app.file_uploader[0].set_value(("my [x].png", encoded(noise(40, 48, 3)), "image/png")).run()
    data = drawn(settled(app), "superres.pictures")
    assert [panel["title"] for panel in data["panels"]][-1] == "Original"
    assert (data["width"], data["height"]) == (48, 40)
    app.toggle(key="superres.shrink").set_value(False).run()
    data = drawn(settled(app), "superres.pictures")
    assert (data["width"], data["height"], data["reference"]) == (192, 160, 0)
    assert "No original is known" in words(app)
    assert [panel["lines"] for panel in data["panels"]] == [[]] * 3


@pytest.mark.parametrize(
    ("content", "shrink", "says"),
    [
        (b"no picture", False, "not a picture"),
        (encoded(noise(8, 30, 3)), True, f"30 x 8 pixels; to shrink it first takes {LEAST_SIDE}"),
        (encoded(np.zeros((700, 800), np.uint8)), False, "800 x 700 pixels; the page upscales 0.5 megapixels at most"),
        (encoded(np.zeros((3000, 2900), np.uint8)), True, "2900 x 3000 pixels; the page upscales 8.4 megapixels"),
    ],
)
def test_a_picture_that_is_not_upscaled_gets_one_line(content: bytes, shrink: bool, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        own_scene("mine.png", content, shrink=shrink)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine.png: ")


def test_only_the_middle_of_a_large_picture_goes_to_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_SHOWN", 100)
    app = open_page(PAGE, **{"superres.picture": "coffee"})
    assert "600 × 400 pixels; shown is the middle, 100 × 100; scores and downloads are of the whole" in words(app)
    data = drawn(app, "superres.pictures")
    assert (data["width"], data["height"]) == (100, 100)
    content = io.BytesIO(base64.b64decode(data["panels"][-1]["source"].split(",")[1]))
    np.testing.assert_array_equal(np.asarray(Image.open(content)), photograph("coffee").high[150:250, 250:350])


def test_work_that_no_page_asks_for_is_given_up(tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Upscaling(asked=time.monotonic() - upscaling.FORGOTTEN - 1)
    work.work(tiny, 0, 0, photograph("rocket"))
    assert "no page shows this picture" in str(work.result.exception())


def test_what_a_network_fails_at_is_said_beside_the_others(tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run: Run, member: int) -> None:
        raise RunError("run: tiny checkpoint: damaged") if member else MemoryError

    monkeypatch.setattr("app.upscaling.load_upscaler", broken)
    upscaling._upscaler.cache_clear()
    app = settled(open_page(PAGE))
    assert "MvM (both) · tiny: run: tiny checkpoint: damaged" in words(app)
    assert "MvM (centroid only) · tiny: not upscaled: MemoryError" in words(app)
    assert [panel["title"] for panel in drawn(app, "superres.pictures")["panels"]] == ["Bicubic", "Original"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_screen_shows_a_picture_over_white(mode: str) -> None:
    values = noise(9, 7, len(mode))
    picture = Image.fromarray(values[..., 0] if mode == "L" else values).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    wanted = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    np.testing.assert_allclose(as_rgb(values).astype(int), wanted, atol=1)
    deep = values.astype(np.uint16) * 257
    np.testing.assert_array_equal(as_rgb(deep), as_rgb(values))
