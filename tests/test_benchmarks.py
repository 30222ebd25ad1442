"""The benchmarks' own arithmetic, and each script once at its smallest."""

from __future__ import annotations

import copy
import csv
import dataclasses
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import ks_2samp
from torch.nn import functional as F
from trainers import small_held_out, until

from benchmarks import cells, engine, gpu, images, library, likelihood, operations, recipe, superres, toys
from benchmarks.cells import Cell, markdown, median
from benchmarks.supervised import Supervised
from mvm.config import Config
from mvm.data import pairs
from mvm.data.pairs import Superres
from mvm.data.points import load_points
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.imaging.resize import imresize
from mvm.methods import METHODS
from mvm.methods.metric_losses import METRIC_LOSSES
from mvm.networks.backbones import Small
from mvm.networks.resnet import ResNetGenerator, ResNetMetric
from mvm.runs.recorder import train
from mvm.scoring.superres import bicubic, measure
from mvm.training.experiment import Experiment
from toy_manifolds import MANIFOLDS

SMALL = {"network": {"width": 8, "depth": 1}, "batch": 16, "device": "cpu", "points": 200, "steps": 20}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small networks, and all in this process."""
    make = Config.make
    monkeypatch.setattr(Config, "make", lambda **values: make(**values | SMALL))

    def run(wanted: list[Cell], cache, *, processes: int) -> list[dict]:
        cache.parent.mkdir(parents=True, exist_ok=True)
        return [cells.measure(cell) for cell in wanted]

    monkeypatch.setattr(recipe, "run", run)
    monkeypatch.setattr(toys, "run", run)


def test_a_cell_is_trained_and_each_seed_scored_on_its_own_points():
    row = cells.measure(Cell("x", Config.make(data="circle", variants=("both",), seeds=(4, 9)), points=64))
    assert (row["label"], row["steps"], row["members"], row["evaluations"]) == ("x", 20, 2, 1)
    assert [score["seed"] for score in row["scores"]] == [4, 9]
    first, second = row["scores"]
    assert first["mmd_floor"] != second["mmd_floor"]
    for score in (first, second):
        assert score["w2_fresh"] == pytest.approx((first["w2_floor"] + second["w2_floor"]) / 2)
        assert score["w2_over_fresh"] == pytest.approx(score["w2"] / score["w2_fresh"])
        assert score["w2_ratio"] == pytest.approx(score["w2"] / score["w2_floor"])
    assert row == json.loads(json.dumps(row))


def test_each_seed_is_scored_on_the_data_of_its_own_settings():
    config = Config.make(data="circle", variants=("both",))
    same, other = (config.with_changes(c) for c in ({"optimiser.ema": 0.5}, {"settings.radius": 3.0}))
    floors = [cells.measure(Cell("x", c, points=64))["scores"][0]["w2_fresh"] for c in (config, same, other)]
    assert floors[0] == floors[1] == pytest.approx(floors[2] / 3)


def test_a_budget_of_time_sets_the_steps():
    config = Config.make(data="circle", variants=("both",))
    short, long = (cells.measure(Cell("x", config, s, 64))["steps"] for s in (0.02, 0.5))
    assert 10 <= short < long


def test_a_key_changes_with_what_could_change_the_result():
    config = Config.make(data="circle")
    wanted = [
        Cell("a", config),
        Cell("b", config),
        Cell("a", config, 3.0),
        Cell("a", config, points=64),
        Cell("a", config, supervised=True),
        Cell("a", config.with_changes({"batch": 8})),
    ]
    assert len({cell.key for cell in wanted}) == len(wanted)
    assert Cell("a", config).key == wanted[0].key


def test_median_counts_what_has_no_value_as_the_worst():
    row = {"scores": [{"w2": 1.0}, {"w2": None}, {"w2": 3.0}]}
    assert median(row, "w2") == 3.0
    assert median({"scores": [{"w2": None}, {"w2": None}, {"w2": 3.0}]}, "w2") is None


def test_winners():
    assert toys.winners([2.0, None, 1.5], "lower") == {2}
    assert toys.winners([0.2, 0.7, 0.7], "higher") == {1, 2}
    assert toys.winners([0.9, 1.0, 1.2], "floor") == {0, 1}
    assert toys.winners([1.3, 1.2], "floor") == {1}
    assert toys.winners([None, None], "floor") == set()


def test_markdown():
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path):
    cells.write_section(tmp_path, "a", "First", "python a", "old")
    cells.write_section(tmp_path, "b", "Second", "python b", "kept")
    page = tmp_path / "results.md"
    page.write_text(page.read_text().replace("# Measured", "# Measured\n\nBy hand.") + "\nThe end.\n")
    cells.write_section(tmp_path, "a", "First", "python a", "new")
    text = page.read_text()
    assert "old" not in text
    places = [text.index(words) for words in ("By hand.", "new", "kept", "The end.")]
    assert places == sorted(places)


def run(module, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--points", "64", *arguments])
    module.main()


def test_likelihood_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(likelihood, "POINTS", 64)
    monkeypatch.setattr(sys, "argv", ["x", "--steps", "10", "20", "--seeds", "2", "--out", str(tmp_path)])
    likelihood.main()
    page = (tmp_path / "results.md").read_text()
    assert page == f"# Measured\n\n{capsys.readouterr().out}"
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [(line[0], line[1]) for line in lines] == [
        (f"| {label}", step) for label in ("as it is", "with noise 0.1", "denoised") for step in ("10", "20")
    ]
    for line in lines:
        assert (line[2] == line[4] == "–") == (line[0] == "| denoised")
        assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", line[3])


def test_recipe_table(monkeypatch, tmp_path, capsys):
    run(recipe, monkeypatch, "--manifolds", "circle", "eight_gaussians", "--seeds", "2", "--out", str(tmp_path))
    page = (tmp_path / "results.md").read_text()
    assert page == f"# Measured\n\n{capsys.readouterr().out}"
    assert "Median of 2 seeds; seed i is scored on 64 real points" in page
    assert page.count("\n| ") == 2 + 2
    rows = list(csv.DictReader((tmp_path / "tables" / "recipe.csv").open()))
    assert len(rows) == 2 * len(METHODS["mvm"].recipes) * 2
    assert {row["label"] for row in rows} == set(METHODS["mvm"].recipes)


@pytest.mark.parametrize(
    ("table", "words"),
    [("waves", "the default, `--network.frequencies 2 4` → without them"), ("triplets", "anchors real and α = 1")],
)
def test_the_default_beside_a_change(monkeypatch, tmp_path, table, words):
    run(recipe, monkeypatch, f"--{table}", "--manifolds", "circle", "--seeds", "2", "--out", str(tmp_path))
    page = (tmp_path / "results.md").read_text()
    assert words in page
    rows = list(csv.DictReader((tmp_path / "tables" / f"{table}.csv").open()))
    plain, changed = (
        statistics.median(float(r["w2_over_fresh"]) for r in rows if r["label"] == k) for k in ("stabilised", table)
    )
    assert plain != changed
    assert f"| Circle | {plain:.2f} → {changed:.2f} | " in page


@pytest.mark.parametrize("name", [name for name in MANIFOLDS if name not in recipe.HARD])
def test_the_targets_of_the_generator_have_the_law_of_the_data(name):
    config = Config.make(data=name).with_changes({"points": 20_000})
    experiment = Experiment(config, load_points(config))
    generator = torch.Generator().manual_seed(3)
    answers = Supervised(experiment).target(torch.randn(1, 4000, experiment.noise_dim, generator=generator))
    answers, real = experiment.data.restore(answers[0]), experiment.data.evaluation(4000).real
    assert experiment.data.manifold.distance(answers).max() < 1e-3
    for _ in range(8):
        direction = torch.randn(real.shape[1], generator=generator)
        assert ks_2samp(answers @ direction, real @ direction).statistic < 0.045  # equal laws: .036 in 1 of 100


def test_supervised_table(monkeypatch, tmp_path):
    chosen = ("--manifolds", "circle", "eight_gaussians", "--seeds", "1")
    run(recipe, monkeypatch, "--supervised", *chosen, "--out", str(tmp_path))
    page = (tmp_path / "results.md").read_text()
    assert "--manifolds circle eight_gaussians --supervised" in page
    plain, other = csv.DictReader((tmp_path / "tables" / "supervised.csv").open())  # a mixture has no targets
    assert f"| Circle | {float(plain['w2_over_fresh']):.2f} → {float(other['w2_over_fresh']):.2f} | " in page
    assert plain["w2_over_fresh"] != other["w2_over_fresh"]


def test_changes_table(monkeypatch, tmp_path):
    names = dict(list(recipe.CHANGES.items())[:2])
    monkeypatch.setattr(recipe, "CHANGES", names)
    run(recipe, monkeypatch, "--changes", "--manifolds", "circle", "--out", str(tmp_path))
    page = (tmp_path / "results.md").read_text()
    assert all(f"| {name} |" in page for name in names)
    assert "Median of 3 seeds" in page


@pytest.mark.parametrize("label", recipe.CHANGES)
def test_every_change_is_a_valid_config_that_differs(label):
    config = Config.make(data="circle", variants=("both",))
    assert (recipe.changed(config, label) == config) == (label == "none")


@pytest.mark.parametrize("budget", [["--steps", "10"], ["--seconds", "0.05", "--paper"]])
def test_toys_tables(monkeypatch, tmp_path, budget):
    if "--steps" not in budget:  # every entry has had its row by then; a few show what another budget changes
        few = {label: toys.ENTRIES[label] for label in ("MvM", "MvM, paper", "Flow matching")}
        monkeypatch.setattr(toys, "ENTRIES", few)
    run(toys, monkeypatch, *budget, "--manifolds", "circle", "--seeds", "2", "--out", str(tmp_path))
    name = "toys_steps" if "--steps" in budget else "toys_seconds_paper"
    page = (tmp_path / "results.md").read_text()
    assert f"<!-- {name} -->" in page
    assert all(f" {label} |" in page for label in toys.ENTRIES)
    assert page.count(f"\n| {MANIFOLDS['circle'].title} |") == len(toys.SCORES)
    assert "--manifolds circle" in page
    assert "--methods" not in page
    assert "| Flow matching |" in page.split("### Over all manifolds")[1]


@pytest.mark.parametrize("kind", ["engine", "plain"])
def test_engine_measures_both_loops(kind):
    measured = engine.work(kind, variants=2, batch=16, seconds=0.05, device="cpu")
    assert measured["steps_per_second"] > 0
    if kind == "engine":
        assert measured["gigaflop"] > 0
        assert measured["ceiling"] > 0


@pytest.fixture
def float64():
    """Rounding too small for Adam to make steps of it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_plain_loop_is_the_same_method(monkeypatch, float64):
    """From the same weights, batches and noise, three steps of either lead to the same weights."""
    config = Config.make(data="circle", variants=("both",))
    data = load_points(config)
    real, gaussian, adams = data.train.double(), torch.randn(200, 200), []
    ours = Experiment(config, data, dtype=torch.float64)

    class Recorded(torch.optim.Adam):
        """Tells the test whose weights it has: of each layer weights and bias."""

        def __init__(self, parameters, **settings):
            super().__init__(parameters, **settings)
            adams.append(self.param_groups[0]["params"])

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim, "Adam", Recorded)
        step = engine.plain_loop(config, real)
    layers = []  # theirs, and ours in the same shape
    for theirs, network in zip(adams, ours.method.networks.values(), strict=True):
        named = dict(network.named_parameters())
        layers += zip(theirs[::2], [p[0].T for name, p in named.items() if "weight" in name], strict=True)
        layers += zip(theirs[1::2], [p[0, 0] for name, p in named.items() if "bias" in name], strict=True)
    for theirs, own in layers:
        theirs.data.copy_(own)
    before = [own.detach().clone() for _, own in layers]

    def normal(*shape: int, **_: object) -> torch.Tensor:
        return gaussian[: shape[0], : shape[1]]

    monkeypatch.setattr(torch, "randn", normal)
    monkeypatch.setattr(torch, "randn_like", lambda like: normal(*like.shape))
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.5))
    monkeypatch.setattr(torch, "randint", lambda most, shape, **_: torch.arange(*shape))
    monkeypatch.setattr(ours.draws, "real", lambda n: real[None, :n])
    monkeypatch.setattr(ours.draws, "normal", lambda *shape: normal(*shape)[None])
    monkeypatch.setattr(ours.draws, "uniform", lambda *shape: torch.full((1, *shape), 0.5))
    for _ in range(3):
        step()
        ours.advance()
    assert sum(not torch.equal(own, was) for (_, own), was in zip(layers, before, strict=True)) > len(layers) / 2
    for theirs, own in layers:
        torch.testing.assert_close(theirs.detach(), own.detach(), rtol=1e-8, atol=1e-10)


def test_operations_of_a_product_are_counted():
    def step() -> None:
        torch.baddbmm(torch.zeros(2, 1, 5), torch.zeros(2, 7, 3), torch.zeros(2, 3, 5))
        torch.bmm(torch.zeros(2, 7, 3), torch.zeros(2, 3, 5))

    operations, volume = engine.count(step)
    product = 2 * 2 * 7 * 3 * 5
    assert operations == 2 * product
    assert volume == 4 * (2 * (42 + 30 + 70) + 10)


@pytest.mark.parametrize("unused_pass", [True, False])
def test_the_published_step_is_its_formulas(unused_pass):
    """Against this lab's descriptors, triplet loss and folded networks, and Adam's first step written out."""
    torch.manual_seed(0)
    f, g = ResNetGenerator(8, channels=4, folded=False).double(), ResNetMetric(8, channels=4).double()
    g.output.weight.data *= 100  # gaps of order one, beside which the descriptors' guard against √0 is nothing
    own_f, own_g = ResNetGenerator(8, channels=4).double(), copy.deepcopy(g)
    own_f.load_state_dict(f.state_dict())
    real = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    torch.manual_seed(1)
    terms = images.PublishedStep(f, g, unused_pass=unused_pass)(real)

    torch.manual_seed(1)
    z, positives, negatives = torch.randn(6, 128).double(), torch.randperm(6), torch.randperm(6)
    r, fake = own_g(real), own_g(own_f(z))
    gaps = {"centroid": DESCRIPTORS["centroid"].gap(r, fake)}
    gaps["distance_matrix"] = 6 * DESCRIPTORS["distance_matrix"].gap(r, fake)
    weights_f, weights_g = list(own_f.parameters()), list(own_g.parameters())
    both = torch.autograd.grad(sum(gaps.values()), [*weights_f, *weights_g])
    slopes_f, slopes_g = both[: len(weights_f)], both[len(weights_f) :]
    with torch.no_grad():
        for weight, slope in zip(weights_f, slopes_f, strict=True):
            weight -= 1e-4 * slope / (slope.abs() + 1e-6)
    anchor, negative = own_g(real), own_g(own_f(z).detach())
    gaps["triplet"] = METRIC_LOSSES["direction_triplet"](
        anchor, anchor[positives], negative[negatives], alpha=1.0, gamma=0.01, summed=True
    )
    slopes_g = [a + b for a, b in zip(slopes_g, torch.autograd.grad(gaps["triplet"], weights_g), strict=True)]

    assert min(gaps.values()) > 1e-2
    torch.testing.assert_close(terms, {name: value.detach() for name, value in gaps.items()}, rtol=1e-6, atol=0)
    torch.testing.assert_close([p.grad for p in g.parameters()], slopes_g, rtol=1e-5, atol=1e-8)
    moved = [w - 1e-4 * s / (s.abs() + 1e-3) for w, s in zip(weights_g, slopes_g, strict=True)]
    torch.testing.assert_close(list(g.parameters()), moved, rtol=1e-6, atol=1e-9)


TINY = ["--sizes", "8", "--batch", "4", "--channels", "4", "--seconds", "0.02", "--rounds", "2", "--threads", "1"]
TINY += ["--device", "cpu", "--distinct", "8", "--pictures", "2000"]


def measure_here(tasks, *, seconds: float, rounds: int) -> dict[str, images.Measured]:
    """Every contender in this process; `test_processes_take_turns` has the processes."""
    made = {task: images.contender(task) for task in tasks}
    turns = {task: [images.turn(made[task].step, seconds, lambda: None) for _ in range(rounds)] for task in tasks}
    return {t.kind: images.Measured(t, turns[t], made[t].count(), images.peak_memory("cpu")) for t in tasks}


def test_images_table(monkeypatch, tmp_path):
    monkeypatch.undo()  # no `SMALL`: the sizes are the options'
    monkeypatch.setattr(images, "measure", measure_here)
    monkeypatch.setattr(images, "PRODUCT", {"cpu": 64})
    monkeypatch.setattr(images, "WORKERS", 1)
    monkeypatch.setattr(sys, "argv", ["x", *TINY, "--out", str(tmp_path)])
    images.main()
    page = (tmp_path / "results.md").read_text()
    assert "no GPU" in page
    assert all(
        f"| 8 | 4 | {title} |" in page for kind, title in images.CONTENDERS.items() if kind not in images.ON_CUDA
    )
    rows = list(csv.DictReader((tmp_path / "tables" / "images.csv").open()))
    assert len(rows) == 2 * (len(images.CONTENDERS) - len(images.ON_CUDA) + 1)  # the ceiling too
    assert all(float(row["steps_per_second"]) > 0 and float(row["memory_mb"]) > 1 for row in rows)
    work = {row["kind"]: float(row["gigaflop"]) for row in rows}
    assert work["published"] > work["lean"] > work["ours"]
    assert work["ours_default"] > work["ours"]


def test_processes_take_turns(monkeypatch):
    task = images.Task("ceiling", 8, 4, 4, 1, "cpu", 64, 8, "")
    result = images.measure([task], seconds=0.02, rounds=3)["ceiling"]
    assert len(result.turns) == 3
    assert all(turn.rate > 0 and turn.cost > 0 for turn in result.turns)
    assert result.gigaflop == 2e-9 * images.PRODUCT["cpu"] ** 3
    with pytest.raises(RuntimeError, match="the process that measures ceiling ended early"):
        images.measure([dataclasses.replace(task, device="nowhere")], seconds=0.02, rounds=1)


def test_operations_of_a_step_are_counted():
    x = torch.zeros(2, 3, 8, 8, requires_grad=True)
    weight = torch.zeros(5, 3, 4, 4, requires_grad=True)

    def twice() -> None:
        y = F.conv2d(x, weight, stride=2, padding=1)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(slope.square().sum(), weight)

    product = 2 * (2 * 5 * 4 * 4) * 3 * 4 * 4
    forward = images.operations(lambda: F.conv2d(x, weight, stride=2, padding=1))
    assert forward == pytest.approx(product / 1e9)
    assert images.operations(twice) >= 4 * forward


def test_a_jpeg_is_a_picture_of_the_data(tmp_path):
    images.write_jpegs(tmp_path, 2)
    folder = images.JpegFolder(tmp_path, 32, 5)
    assert len(folder) == 5
    assert folder[0].shape == (3, 32, 32)
    torch.testing.assert_close(folder[4], folder[0])
    wanted = images.Faces(32).images(2, torch.Generator().manual_seed(0))[0][1].permute(2, 0, 1) / 255
    assert (folder[1] - wanted).abs().mean() < 0.03
    assert folder.decoded.value == 4


def test_the_plain_loop_has_the_network_of_the_product():
    plain, own = superres.PlainSmall().double(), Small().double()
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in own.parameters()) == 88_752
    x = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0)).double()
    weights = dict(zip(own.state_dict(), plain.state_dict().values(), strict=True))
    tail = torch.randn(weights["tail.weight"].shape, generator=torch.Generator().manual_seed(1)).double()
    plain.tail.weight.data.copy_(tail)
    # PyTorch's shuffle takes the channels in another order: colour, row phase, column phase
    own.load_state_dict(weights)
    own.tail.weight.data.copy_(tail.unflatten(0, (3, 16)).transpose(0, 1).flatten(0, 1))
    detail = plain(x) - F.interpolate(x, scale_factor=4, mode="bicubic")
    with torch.no_grad():
        bicubic = Small().double()(x)  # untrained
    torch.testing.assert_close(detail, own(x) - bicubic)


@pytest.mark.parametrize("in_memory", [False, True])
def test_png_patches_are_aligned_and_turned_together(tmp_path, in_memory):
    low = [torch.randint(256, shape, generator=torch.Generator().manual_seed(i)).byte().numpy()
           for i, shape in enumerate([(6, 9, 3), (8, 5, 3)])]  # fmt: skip
    high = [picture.repeat(4, 0).repeat(4, 1) for picture in low]
    for name, pictures in (("low", low), ("high", high)):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures):
            superres.Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    patches = superres.PngPatches(tmp_path, 4, epoch=60, in_memory=in_memory)
    assert len(patches) == 60
    drawn = [patches[i] for i in range(60)]
    for a, b in drawn:
        torch.testing.assert_close(b, a.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert len({a.numpy().tobytes() for a, _ in drawn}) > 30


@pytest.fixture
def few(monkeypatch):
    """Small trainings of super-resolution, and all in this process."""
    monkeypatch.undo()  # no `SMALL`
    tiny = {"batch": 2, "patch": 8, "view_points": 16, "records": 1, "snapshots": 1}
    recipes = {name: recipe | tiny for name, recipe in Superres.recipes.items()}
    monkeypatch.setattr(Superres, "recipes", recipes)
    monkeypatch.setattr(superres, "CROP", 16)
    return monkeypatch


@pytest.fixture
def few_pictures():
    """The held-out photographs, in place of all of them parts of two."""
    with small_held_out():
        yield pairs.held_out


def test_speed_of_superres(few, tmp_path):
    def measure(tasks, *, seconds: float, rounds: int, build) -> dict[str, images.Measured]:
        made = {task: build(task) for task in tasks}
        turns = {task: [images.turn(made[task].step, seconds, lambda: None) for _ in range(rounds)] for task in tasks}
        return {task.kind: images.Measured(task, turns[task], 0, 0) for task in tasks}

    few.setattr(superres, "measure", measure)
    few.setattr(superres, "_workers", lambda: 0)
    few.setattr(sys, "argv", ["x", "--seconds", "0.02", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)])
    superres.main()
    page = (tmp_path / "results.md").read_text()
    assert "python -m benchmarks.superres --seconds 0.02 --rounds 2 --threads 1\n" in page
    for title in (*superres.TRAINING.values(), *superres.UPSCALING.values()):
        assert f"| {title} |" in page
    rows = list(csv.DictReader((tmp_path / "tables" / "superres_speed.csv").open()))
    assert len(rows) == 2 * 6
    assert all(float(row["steps_per_second"]) > 0 for row in rows)


def test_quality_of_superres(few, tmp_path, capsys, few_pictures):
    """A second call trains no setting again, and gives the same page."""
    trained = []

    class Trained:
        def __init__(self, run, **_):
            trained.append(run.name)
            for _ in train(run):
                pass

        def wait(self) -> str:
            return "finished"

    few.setattr(superres, "launch", Trained)
    command = ["x", "--quality", "--settings", "l1", "--seeds", "2", "--steps", "2", "--processes", "1"]
    command += ["--no-perceptual", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    few.setattr(sys, "argv", command)
    few.setattr(superres, "held_out", few_pictures)
    superres.main()
    page = (tmp_path / "results.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(f"| {superres.PHOTOGRAPHS}")]
    assert [(row[1], row[2]) for row in rows] == [("bicubic", ""), ("L1", "2")]
    high = [torch.tensor(few_pictures().high_picture(i)) for i in range(2)]
    low = [imresize(picture, tuple(side // 4 for side in picture.shape[:2])) for picture in high]
    wanted = [measure(bicubic(x), y, niqe=False)["psnr_y"] for x, y in zip(low, high, strict=True)]
    assert rows[0][3].startswith(f"{statistics.mean(wanted):.2f}")
    table = list(csv.DictReader((tmp_path / "tables" / "superres_quality.csv").open()))
    own = sorted(float(row["psnr_y"]) for row in table if row["setting"] == "l1")
    assert rows[1][3].split()[0] == f"{statistics.median(own):.2f}"
    assert len(trained) == 2
    superres.main()
    assert len(trained) == 2
    assert (tmp_path / "results.md").read_text() == page


def test_library_table(monkeypatch, tmp_path):
    monkeypatch.setenv("MVM_CHECKPOINTS", "")  # it sets its own
    command = ["library", "--runs", "3", "--steps", "20", "--repeats", "2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    library.main()
    page = (tmp_path / "results.md").read_text()
    assert "python -m benchmarks.library --runs 3 --steps 20" in page
    assert len(re.findall(r"^\| with(?:out the cache| it) \| \d\.\d{3} \| \d\.\d{3} \|$", page, re.MULTILINE)) == 2


def test_gpu_says_in_one_line_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="no CUDA device; --device cpu tries the command itself"):
        gpu.main()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Parts that need no training, in a module that the command's own processes import."""
    (tmp_path / "stub.py").write_text(
        "import sys, time\n"
        "import benchmarks.gpu as gpu\n"
        "def quick(settings):\n    yield ['1', settings.device]\n    yield ['2', 'more']\n"
        "def slow(settings):\n    yield ['first', 'row']\n    time.sleep(600)\n"
        "def broken(settings):\n    yield ['before', 'the error']\n    raise ValueError('broken')\n"
        "for name, measure, limit, needs in (('quick', quick, 60, ()), ('slow', slow, 8, ()),"
        " ('broken', broken, 60, ()), ('missing', quick, 60, ('no_such_package',))):\n"
        "    gpu.PARTS[name] = gpu.Part(name.title(), 'a note', ['a', 'b'], limit, measure, needs)\n"
        "gpu.MODULE = 'stub'\n"
        "if __name__ == '__main__':\n    gpu.main()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(gpu.__file__).parents[1])]))
    before = dict(gpu.PARTS)
    importlib.import_module("stub")
    yield
    gpu.PARTS.clear()
    gpu.PARTS.update(before)
    gpu.MODULE = "benchmarks.gpu"
    del sys.modules["stub"]


def test_gpu_keeps_what_each_part_has_measured(stub, tmp_path, monkeypatch, capsys):
    parts = ["slow", "quick", "broken", "missing"]

    class Measuring(subprocess.Popen):
        """A part's process; the limit of the slow one comes once it has a row."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None or "slow" not in self.args:
                return super().wait()
            rows = Path(self.args[self.args.index("--rows") + 1])
            until(lambda: rows.read_text().endswith("\n") or self.poll() is not None, "a row")
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Measuring)
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--parts", *parts, "--out", str(tmp_path / "docs")])
    gpu.main()
    page = (tmp_path / "docs" / "results.md").read_text()
    sections = {name: page.split(f"<!-- gpu_{name} -->")[1].split("<!-- end")[0] for name in parts}
    assert "| 1 | cpu |\n| 2 | more |" in sections["quick"]
    assert "| first | row |" in sections["slow"]
    assert "Stopped at its limit of 8 s" in sections["slow"]
    assert "| before | the error |" in sections["broken"]
    assert "Ended early, with exit status 1" in sections["broken"]
    assert "Left out: it needs no_such_package" in sections["missing"]
    assert all("tried on a CPU" in section for section in sections.values())


def test_gpu_measures_that_replayed_steps_equal_eager_ones(tmp_path):
    rows = list(gpu.measure_equality(gpu.Settings("cpu", 0.05, small=True)))
    assert [row[0] for row in rows] == [
        "mvm",
        "wgan",
        "wgan_gp",
        "sngan",
        "swgan",
        "flow_matching",
        "MvM, paper's recipe",
        "MvM, toy faces",
    ]
    assert {(row[1], row[2].split()[0], row[3]) for row in rows} == {("eager: no CUDA device", "0", "0")}
    assert [row[0] for row in gpu.measure_superres(gpu.Settings("cpu", 0.05, small=True))] == [
        "small, L1",
        "small, MvM, setting A",
        "small, upscaling",
    ]
    assert [row[:2] for row in gpu.measure_toys(gpu.Settings("cpu", 0.05, small=True))] == [["1", "64"], ["2", "64"]]


def test_gpu_measures_compiled_networks_beside_plain_ones(monkeypatch):
    monkeypatch.setattr(images, "measure", measure_here)
    monkeypatch.setattr(images, "PRODUCT", {"cpu": 64})
    faces, circle = gpu.measure_compiled(gpu.Settings("cpu", 0.02, small=True))
    assert faces[:2] == ["toy faces 8², 4 channels", "8"]
    assert faces[-1].endswith("%")
    assert circle[:2] == ["circle, V = 1", "16"]
    assert circle[-1] == "–", "it was compiled"
    for row in (faces, circle):
        assert len(row) == len(gpu.PARTS["compiled"].header)
        assert all(float(rate.replace(",", "")) > 0 for rate in row[2:6])


def test_gpu_says_which_networks_could_not_be_compiled(monkeypatch):
    def measure(tasks, **_):
        raise RuntimeError("the process that measures compiled ended early; its error is above")

    monkeypatch.setattr(images, "measure", measure)
    faces, circle = gpu.measure_compiled(gpu.Settings("cpu", 0.02, small=True))
    assert faces[-1] == "the process that measures compiled ended early; its error is above"
    assert circle[-1] == "–"


def test_operations_of_a_step_are_counted_without_views():
    x = torch.ones(3, 4)
    counts = operations.count_operations(lambda: (x.T.reshape(2, 6) + 1, x[1:].flatten(), torch.empty(2), x.bfloat16()))
    assert counts == {"aten.clone.default": 1, "aten.add.Tensor": 1, "aten._to_copy.default": 1}


def test_operations_in_bfloat16_are_those_in_float32_and_casts():
    small = {"size": 8, "batch": 2, "network": {"channels": 4, "metric_channels": 4}}
    steps = {precision: operations.step_of(precision=precision, **small) for precision in ("float32", "bf16")}
    counts = {precision: operations.count_operations(step) for precision, step in steps.items()}
    assert counts["bf16"][operations.CASTS] > counts["float32"][operations.CASTS]
    assert counts["bf16"]["aten._foreach_copy_.default"] > 0
    assert counts["bf16"]["aten.convolution.default"] == counts["float32"]["aten.convolution.default"] > 0
