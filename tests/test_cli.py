"""`python -m mvm` as its users call it: from a CSV to scores and samples, and one clear line for every mistake."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from mvm.__main__ import FAMILIES, _parser
from mvm.commands.flags import given_fields
from mvm.config import Config
from mvm.data.points import load_points
from mvm.files import append_line, write_tensors
from mvm.runs.evaluate import load_experiment
from mvm.runs.run import Run
from mvm.scoring.points import SCORE_KEYS
from toy_manifolds import MANIFOLDS

SMALL = ["--network.width", "8", "--network.depth", "2", "--batch", "16", "--view-points", "16"]
TRUTH = {key for key in SCORE_KEYS if key.startswith(("distance", "ks", "geodesic", "total_variation"))}
DENSITY = {"log_likelihood", "total_variation"}  # scores of methods that have one


def flags(text, **names):
    return [word.format(**names) for word in text.split()]


# -- what it is for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_command_is_listed_in_its_family(family):
    """Or it would be unknown when it is called."""
    (commands,) = (action for action in _parser([FAMILIES[family][0]])._actions if action.dest == "==SUPPRESS==")
    assert tuple(commands.choices) == FAMILIES[family]


def test_from_a_csv_to_scores_and_samples(cli, cloud, tmp_path):
    arguments = flags("train --name a --steps 40 --variants centroid both --seeds 0 7 --data {cloud}", cloud=cloud)
    trained = cli(*arguments, *SMALL)
    assert (trained.status, trained.err) == (0, "")
    assert trained.out.splitlines()[0] == f"{cloud}: 200 points, 2 columns"
    assert trained.out.splitlines()[-1] == "a: finished; `python -m mvm score a`"
    points = np.loadtxt(cloud, delimiter=",")
    cloud.unlink()  # the run has its own copy

    scored = cli("score", "a", "--json")
    assert (scored.status, scored.err) == (0, "")
    rows = json.loads(scored.out)
    members = [("centroid", 0), ("centroid", 7), ("both", 0), ("both", 7)]
    assert [(row["variant"], row["seed"]) for row in rows] == members
    assert rows == Run.named("a").scores()
    for row in rows:
        assert set(row) == {"variant", "seed", "step", "n", "evaluations", "coordinates", *SCORE_KEYS}
        assert {key for key, value in row.items() if value is None} == TRUTH | DENSITY
        assert (row["step"], row["n"]) == (40, 20)
    assert json.loads(cli("score", "a", "--json", "--repeat", "1").out)[0]["w2_floor"] != rows[0]["w2_floor"]
    looked = json.loads(cli("score", "a", "-n", "20", "--json", "--lenses", "spanning_tree", "score").out)
    assert [{key: value for key, value in row.items() if key != "lenses"} for row in looked] == rows
    assert looked[0]["lenses"]["score"] == {"not_measured": "the method learns no score, as diffusion does"}
    assert looked[0]["lenses"]["spanning_tree"].keys() > {"longest", "longest_floor"}
    assert "spanning_tree: value (baseline)" in cli("score", "a", "--lenses", "spanning_tree").out
    unknown = cli("score", "a", "--lenses", "glasses")
    assert (unknown.status, unknown.err.count("\n")) == (2, 1)
    assert "lenses: unknown 'glasses'; known: holes, dimension" in unknown.err
    best = Run.named("a").checkpoint(best=True)
    write_tensors(Run.named("a").path / "best.safetensors", best | {"step": torch.tensor([40, 20, 40, 30])})
    assert [row["step"] for row in json.loads(cli("score", "a", "--json", "--best").out)] == [40, 20, 40, 30]
    assert cli("score", "a", "--best").out.startswith("a: step 20 to 40, n = 20 points")
    about, head, floors, *table = cli("score", "a").out.splitlines()
    cost = "1 network evaluation per sample, in standardised coordinates"
    assert about == f"a: step 40, n = 20 points in each sample, {cost}"
    assert [line.split()[:2] for line in table] == [[name, str(seed)] for name, seed in members]
    first = dict(zip(head.split()[2:], floors.split()[4:], strict=True))
    assert first == {
        key: f"{rows[0][f'{key}_floor']:.3f}" if rows[0].get(f"{key}_floor") is not None else "-" for key in first
    }
    assert {key for key, value in first.items() if value == "-"} == {"w2_ratio", "distance_mean", "geodesic_spearman"}
    assert table[0].split()[2] == f"{rows[0]['w2']:.3f}"

    (listed,) = json.loads(cli("runs", "--json").out)
    expected = {
        "name": "a",
        "status": "finished",
        "step": 40,
        "steps": 40,
        "variants": ["centroid", "both"],
        "reason": None,
    }
    assert expected.items() <= listed.items()
    assert re.search(r"^a +finished +40/40 .*centroid both$", cli("runs").out, re.MULTILINE)

    one, folder = tmp_path / "deep" / "one.npy", tmp_path / "all"
    assert cli("sample", "a", "-n", "50", "--out", str(one)).out == f"{one}: 50 points of both, seed 0\n"
    assert cli("sample", "a", "-n", "50", "--out", str(folder)).status == 0
    assert {path.name for path in folder.iterdir()} == {f"{name}-seed{seed}.npy" for name, seed in members}
    fake = np.load(one)
    assert fake.shape == (50, 2)
    assert fake.dtype == np.float32
    np.testing.assert_array_equal(fake, np.load(folder / "both-seed0.npy"))
    assert not np.array_equal(fake, np.load(folder / "both-seed7.npy"))
    experiment = load_experiment(Run.named("a"))
    noise = torch.randn(50, experiment.noise_dim, generator=torch.Generator().manual_seed(0))
    standardised = experiment.generate(noise)[members.index(("both", 0))].numpy()
    own_units = standardised * points.std(0) + points.mean(0)  # roughly: the run's own are of a part of the points
    np.testing.assert_allclose(fake, own_units, atol=0.5)
    assert np.abs(fake - standardised).max() > 1
    cli("sample", "a", "-n", "50", "--out", str(one), "--variant", "centroid")
    np.testing.assert_array_equal(np.load(one), np.load(folder / "centroid-seed0.npy"))
    told = cli("sample", "a", "-n", "50", "--out", str(one), "--member-seed", "7")
    assert told.out == f"{one}: 50 points of both, seed 7\n"
    np.testing.assert_array_equal(np.load(one), np.load(folder / "both-seed7.npy"))
    cli("sample", "a", "-n", "50", "--out", str(one), "--seed", "1")
    assert not np.array_equal(np.load(one), fake)


def test_an_index_among_the_columns_is_warned_of(cli, cloud):
    rows = cloud.read_text().splitlines()
    cloud.write_text("\n".join([",x,y", *(f"{i},{row}" for i, row in enumerate(rows))]))
    trained = cli("train", "--data", str(cloud), "--steps", "1", *SMALL)
    assert trained.status == 0
    assert trained.out.startswith(f"{cloud}: 200 points, 3 columns: (unnamed), x, y\n")
    assert re.fullmatch(
        rf"warning: {cloud}: column 1 \(unnamed\) numbers the rows; .*: --drop-columns 1\n", trained.err
    )


def test_an_own_npy_can_go_and_the_run_goes_on(cli, tmp_path):
    points = np.random.default_rng(1).normal(size=(100, 3)) * [1, 10, 0] + [5, 0, 2]  # one column never changes
    source = tmp_path / "points.npy"
    np.save(source, points)
    config = Config.make(data=str(source), steps=30, network={"width": 8}, batch=16, view_points=16)
    run = Run.create(config, name="a")
    source.unlink()
    assert cli("resume", "a").status == 0
    assert run.status().state == "finished"
    fake = run.snapshot(30)["fake"]
    assert fake.shape == (3, 16, 3)
    torch.testing.assert_close(run.data.mean, torch.tensor([5.0, 0.0, 2.0]), atol=4, rtol=0)


@pytest.mark.usefixtures("few_scored")
def test_a_toy_manifold_has_ground_truth(cli, checkpoints):
    arguments = flags("train --name a --data circle --settings noise 0.05 --ambient-dim 3 --points 500 --steps 10")
    assert cli(*arguments, *SMALL, "--variants", "both").status == 0
    run = Run(checkpoints / "a")
    assert run.config.settings == {"noise": 0.05}
    assert run.snapshot(10)["fake"].shape == (1, 16, 3)
    distances = run.data.manifold.distance(run.data.restore(run.data.train))
    thickness = distances.square().mean().sqrt().item()
    assert thickness == pytest.approx(0.05 * 2**0.5, rel=0.1), "noise in both directions away from the circle"
    (row,) = json.loads(cli("score", "a", "-n", "64", "--json").out)
    assert row["n"] == 64
    assert {key for key in SCORE_KEYS if row[key] is None} == DENSITY
    assert row["distance_mean_floor"] == pytest.approx(thickness * (math.pi / 4) ** 0.5, rel=0.2)


@pytest.mark.usefixtures("few_scored")
def test_a_method_with_a_density_has_a_likelihood(cli, checkpoints):
    told = flags("train --name a --data von_mises_circle --method normalizing_flow --points 500 --steps 20 --seeds 0 1")
    assert cli(*told, *SMALL).status == 0
    run = Run(checkpoints / "a")
    rows = json.loads(cli("score", "a", "-n", "64", "--json").out)
    real = run.data.standardise(run.data.evaluation(64).real)
    for row, density in zip(rows, load_experiment(run).log_density(real), strict=True):
        assert row["log_likelihood"] == pytest.approx(density.mean().item(), rel=1e-5)
        assert 0 < row["total_variation"] < 1
    assert all(row["log_likelihood"] is not None for quick in run.quick_scores for row in quick["scores"])
    _, head, floors, *table = cli("score", "a", "-n", "64").out.splitlines()
    assert head.split()[-2:] == ["log_likelihood", "total_variation"]
    assert floors.split()[-2:] == ["-", "0.000"]
    assert table[0].split()[-2] == f"{rows[0]['log_likelihood']:.3f}"


def test_weights_that_match_nothing_are_warned_of(cli, cloud, checkpoints):
    command = "train --name a --data {cloud} --steps 5 --variants centroid diameter --weights.centroid 0"
    told = cli(*flags(command, cloud=cloud), *SMALL)
    assert told.status == 0
    assert told.err == "warning: all weights of centroid are 0: nothing tells the generator what to match\n"


@pytest.mark.parametrize("recipe", ["stabilised", "paper", "published"])
def test_every_recipe_trains(cli, cloud, checkpoints, recipe):
    arguments = flags(
        "train --name a --data {cloud} --steps 20 --mvm.alpha 2 --recipe {recipe}", cloud=cloud, recipe=recipe
    )
    assert cli(*arguments, *SMALL).status == 0
    config = Run(checkpoints / "a").config
    assert config == Config.make(
        recipe=recipe,
        data=str(cloud),
        steps=20,
        mvm={"alpha": 2},
        network={"width": 8, "depth": 2},
        batch=16,
        view_points=16,
    )
    assert (config.mvm.gamma == 0.01) == (recipe != "stabilised")
    record = Run(checkpoints / "a").records.poll().scalars[-1]
    assert record["step"] == 20
    assert len(record["generator_loss"]) == 3
    assert np.isfinite(record["generator_loss"]).all()


def test_help_shows_every_setting_with_its_bounds(cli):
    result = cli("train", "--help")
    assert (result.status, result.err) == (0, "")
    text = " ".join(result.out.split())
    for name in Config().flat():
        shown = "--" + name.replace("_", "-") + " " in text
        assert shown == (name != "schema_version"), name
    assert "α: margin of the triplet loss (0 to 100); default: 0.03" in text
    assert "default: centroid diameter both" in text
    for name, kind in MANIFOLDS.items():
        (line,) = re.findall(rf"^  {name} +(.*)$", result.out, re.MULTILINE)
        assert [setting.split()[0] for setting in line.split(", ")] == list(kind.model_fields)
    assert re.search(r"^  torus +noise 0 \(0 to 1\), radius 2 \(1 to 3\), tube 0.7 ", result.out, re.MULTILINE)
    example = result.out.splitlines()[-1].removeprefix("example: python -m mvm ")
    made = load_points(Config.make(**given_fields(_parser([]).parse_args([*example.split(), "--points", "64"]))))
    assert (made.manifold.title, made.manifold.turns, made.manifold.noise) == ("Swiss roll", 2, 0.05)
    published = " ".join(cli("train", "--recipe", "published", "--help").out.split())
    assert "default: centroid distance_matrix centroid+distance_matrix" in published
    for command in ("train", "score", "runs", "pause", "resume", "stop", "sample"):
        assert command in cli("--help").out
        assert cli(command, "--help").status == 0


def test_every_field_can_be_given_as_a_flag(cli, cloud, checkpoints):
    given = flags(
        "--name a --data {cloud} --variants diameter --seeds 3 --steps 10 --batch 8 --weights.diameter 0.5"
        " --mvm.fresh-batches true --network.activation silu --network.generator-activation relu"
        " --optimiser.generator-betas 0.1 0.8 --device cpu",
        cloud=cloud,
    )
    assert cli("train", *given).status == 0
    config = Run(checkpoints / "a").config
    assert (config.variants, config.seeds, config.batch, config.weights.diameter) == (("diameter",), (3,), 8, 0.5)
    assert (config.mvm.fresh_batches, config.network.activation) == (True, "silu")
    assert config.network.generator_activation == "relu"
    assert (config.optimiser.generator_betas, config.device) == ((0.1, 0.8), "cpu")


@pytest.mark.usefixtures("few_scored")
def test_a_run_like_another(cli, cloud, checkpoints):
    """All of its settings, but for those that are given; other data come without the settings of the first ones."""
    short = ("--steps", "10", "--batch", "8", "--network.width", "6", "--points", "80", "--view-points", "16")
    assert (
        cli(
            "train",
            "--name",
            "a",
            "--data",
            "torus",
            "--settings",
            "tube",
            "0.4",
            "--variants",
            "centroid",
            "--seeds",
            "3",
            *short,
        ).status
        == 0
    )
    assert cli("train", "--like", "a", "--name", "b", "--weights.diameter", "0.5").status == 0
    assert cli("train", "--like", "b", "--name", "c", "--data", str(cloud), "--variants", "both").status == 0
    as_read = load_points(Config.make(data=str(cloud)))
    cloud.unlink()
    assert cli("train", "--like", "c", "--name", "d").status == 0
    a, b, c, d = (Run(checkpoints / name) for name in "abcd")
    assert b.config == a.config.with_changes({"weights.diameter": 0.5})
    assert c.config == b.config.with_changes({"data": str(cloud), "settings": {}, "variants": ("both",)})
    assert d.config == c.config
    for again in (c, d):  # from the copies: the file is gone
        assert torch.equal(again.data.train, as_read.train)
        assert torch.equal(again.data.held_out, as_read.held_out)


def test_an_empty_list_is_a_value(cli, cloud):
    """The recipe's waves can be left out."""
    for name, words in {"waves": [], "none": ["--network.frequencies"]}.items():
        assert cli("train", "--name", name, "--steps", "3", "--data", str(cloud), *words, *SMALL).status == 0
    assert Run.named("waves").config.network.frequencies == (2, 4)
    assert Run.named("none").config.network.frequencies == ()


# -- mistakes ----------------------------------------------------------------------------------------------------------


MISTAKES = {
    "no command": ("", "COMMAND"),
    "unknown command": ("fly", "fly"),
    "unknown manifold": ("train --data cirle", "unknown 'cirle'"),
    "unknown setting": ("train --settings wobble 1", "wobble"),
    "setting without value": ("train --settings noise", "pairs of NAME VALUE"),
    "setting that is no number": ("train --settings noise much", "settings.noise: .*'much'"),
    "setting out of bounds": ("train --settings noise -1", "noise"),
    "settings for a file": ("train --data {cloud} --settings noise 1", "only toy manifolds"),
    "too few dimensions": ("train --data sphere --ambient-dim 2", "2"),
    "out of range": ("train --steps 0", r"steps: .* \(got '0'\)"),
    "not a number": ("train --steps many", "steps: .*'many'"),
    "unknown flag": ("train --speed 3", "--speed"),
    "unknown nested flag": ("train --mvm.beta 3", "--mvm.beta"),
    "unknown choice": ("train --network.activation tanh", "network.activation: .*'tanh'"),
    "unknown variant": (
        "train --variants centroid bogus",
        "variants: unknown descriptor 'bogus'; known: both, centroid",
    ),
    "variant named twice": ("train --variants both both", "variants: each variant may be named once"),
    "unknown metric loss": ("train --mvm.metric-loss bogus", "'bogus'"),
    "unknown loss of the library": ("train --mvm.metric-loss pml:Bogus", "'Bogus'"),
    "unknown recipe": ("train --recipe cake", "recipe: .*'cake'"),
    "method without pictures": ("train --data faces --method flow_matching", "flow_matching has no networks for pict"),
    "no seeds": ("train --seeds", r"seeds: needs at least 1 \(got none\)"),
    "negative seed": ("train --seeds -1", "-1"),
    "negative seed of noise": ("sample done --out {tmp}/x.npy --seed -1", "--seed: must be a whole number from 0"),
    "too large a repeat": ("score done --repeat 9876543210", "--repeat: must be a whole number from 0 to"),
    "a name for a folder": ("train --run {tmp}/new --name b", "--name b: the folder .*/new is the run's name; leave"),
    "a name for an existing folder": ("train --run {old} --name b", "has its config already; leave out --name"),
    "a folder of something else": ("train --run {tmp}", "exists and is no run; name another folder, or an empty one"),
    "slash in name": ("train --name a/b", "name: 'a/b' cannot name a run"),
    "name of the claims": ("train --name claims", "name: 'claims' cannot name a run; it is where"),
    "dots as name": ("train --name ..", "name: '..' cannot name a run"),
    "existing name": ("train --name old", "'old' exists in .*; give another --name"),
    "settings for an existing folder": ("train --run {old} --steps 5", "has its config already; leave out --steps"),
    "a model for an existing folder": ("train --run {old} --like old", "has its config already; leave out --like"),
    "a model of another method": ("train --like old --method wgan", "--like old has its method and recipe; leave out"),
    "no such model": ("train --like none", "no run 'none'"),
    "no CUDA": ("train --name gpu --points 64 --device cuda", "device: 'cuda' was asked for"),
    "no such file": ("train --data {tmp}/none.csv", "no file .*none.csv"),
    "unknown format": ("train --data {tmp}/points.xlsx", "points.xlsx"),
    "NaN in a CSV": (
        "train --data {tmp}/nan.csv",
        "nan.csv line 3, column 2: 'nan' is not a number; mend it",
    ),
    "infinity in a NPY": ("train --data {tmp}/inf.npy", "inf.npy has inf in point 1, column 1"),
    "pickled NPY": ("train --data {tmp}/pickled.npy", "pickled.npy is no plain .npy array: .*pickled"),
    "truncated NPY": ("train --data {tmp}/cut.npy", "cut.npy"),
    "text as NPY": ("train --data {tmp}/text.npy", "text.npy"),
    "three-dimensional NPY": ("train --data {tmp}/cube.npy", r"cube.npy has shape \(70, 2, 2\)"),
    "too few points": ("train --data {tmp}/few.csv", "few.csv has 63 points; at least 64"),
    "one column": ("train --data {tmp}/column.csv", "column.csv has 1 column"),
    "ragged CSV": ("train --data {tmp}/ragged.csv", "ragged.csv line 41 has 3 cells, line 1 has 2"),
    "words in a CSV": ("train --data {tmp}/words.csv", r"words.csv line 9, column 1 \(x\): 'seven' is not a number"),
    "empty CSV": ("train --data {tmp}/empty.csv", "empty.csv is empty"),
    "binary CSV": ("train --data {tmp}/binary.csv", "binary.csv is no text file"),
    "constant CSV": ("train --data {tmp}/constant.csv", "every point of constant.csv is the same"),
    "missing run": ("score none", "no run 'none' in .*; `python -m mvm runs` lists them"),
    "missing run by path": ("score {tmp}/none", "no run 'none'"),
    "dots as run": ("score ..", "'..' cannot name a run"),
    "no checkpoint yet": ("score old", "old has no checkpoint.safetensors yet; train it first"),
    "newer schema": ("resume newer", "newer has schema 99, this program knows up to 2; update it"),
    "odd schema": ("resume odd", "odd's config.json is not valid: schema_version"),
    "damaged config": ("resume damaged", "damaged's config.json cannot be read"),
    "config of another program": (
        "resume foreign",
        "foreign's config.json is not valid: unknown setting 'learning_rate'",
    ),
    "too few points to score": ("score done -n 5", "-n: give 16 to 100,000 points, got 5"),
    "no points to sample": ("sample done -n 0 --out {tmp}/x.npy", "-n: at least one, got 0"),
    "unknown suffix": ("sample done --out {tmp}/x.txt", "x.txt must end in .npy"),
    "variant that it lacks": (
        "sample done --out {tmp}/x.npy --variant diameter",
        "done has no 'diameter'; it has both",
    ),
    "seed that it lacks": (
        "sample done --out {tmp}/x.npy --member-seed 9",
        "member-seed: done has no seed 9; it has 0",
    ),
    "nowhere to write": ("sample done", "--out"),
    "finished": ("resume done", "done is finished at step 10; there is nothing to resume"),
    "pause of a dead run": ("pause done", r"done is not being trained \(it is finished\)"),
    "stop of a dead run": ("stop old", r"old is not being trained \(it is new\)"),
}


@pytest.fixture(scope="module")
def litter(tmp_path_factory):
    """Files that cannot be trained on."""
    folder = tmp_path_factory.mktemp("litter")
    rows = [f"{i},{i * i}" for i in range(100)]

    def csv(name, rows):
        (folder / f"{name}.csv").write_text("\n".join(rows))

    csv("nan", [*rows[:2], "3,nan", *rows[3:]])
    csv("few", rows[:63])
    csv("column", [row.split(",")[0] for row in rows])
    csv("ragged", [*rows[:40], "1,2,3", *rows[41:]])
    csv("words", ["x,y", *rows[:7], "seven,8", *rows[8:]])
    csv("empty", ["", " "])
    csv("constant", ["1,2"] * 100)
    (folder / "binary.csv").write_bytes(b"\x89PNG\x00\x01,2\n")
    np.save(folder / "inf.npy", np.full((100, 2), np.inf))
    np.save(folder / "cube.npy", np.zeros((70, 2, 2)))
    np.save(folder / "pickled.npy", np.array([{"a": 1}] * 100, dtype=object), allow_pickle=True)
    np.save(folder / "cut.npy", np.random.default_rng(0).normal(size=(100, 2)))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:500])
    (folder / "text.npy").write_text("1,2\n" * 100)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs: new, trained, and such that cannot be opened."""
    from trainers import small_config, write_cloud

    from mvm.__main__ import main

    folder = tmp_path_factory.mktemp("runs")
    config = small_config(write_cloud(folder / "cloud.csv"), steps=10, variants=("both",))
    Run.create(config, path=folder / "old")
    done = Run.create(config, path=folder / "done")
    assert main(["train", "--run", str(done.path)]) == 0
    values = json.loads(config.model_dump_json())
    odd = {
        "newer": json.dumps(values | {"schema_version": 99}),
        "odd": json.dumps(values | {"schema_version": "new"}),
        "damaged": json.dumps(values)[:100],
        "foreign": json.dumps({"learning_rate": 0.1}),
    }
    for name, text in odd.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_by_one_line(cli, cloud, litter, runs, monkeypatch, mistake):
    monkeypatch.setenv("MVM_CHECKPOINTS", str(runs))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command, line = MISTAKES[mistake]
    before = {path.name for path in runs.iterdir()}
    result = cli(*flags(command, cloud=cloud, tmp=litter, old=runs / "old"))
    assert result.status == 2
    assert re.fullmatch(rf"mvm.*: .*{line}.*\n", result.err), result.err
    assert {path.name for path in runs.iterdir()} == before
    assert not list(litter.glob("x.*"))
    assert json.loads((runs / "old" / "config.json").read_text())["steps"] == 10


def test_a_run_that_cannot_be_trained_says_so_in_the_list(cli, make, monkeypatch):
    """A run made where there was CUDA, on a machine without it."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("torch.cuda.is_available", lambda: True)
        run = make("gpu", device="cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cli("train", "--run", str(run.path)).status == 2
    (listed,) = json.loads(cli("runs", "--json").out)
    assert listed["status"] == "failed"
    assert listed["reason"].startswith("device: 'cuda' was asked for")


def test_the_list_passes_over_what_it_cannot_open(cli, runs, monkeypatch):
    monkeypatch.setenv("MVM_CHECKPOINTS", str(runs))
    listed = {row["name"]: row["status"] for row in json.loads(cli("runs", "--json").out)}
    assert {"old": "new", "done": "finished"}.items() <= listed.items()
    assert not {"newer", "odd", "damaged", "foreign"} & set(listed)


def test_the_list_tells_why_a_run_failed(cli, make):
    run = make("a")
    append_line(run.path / "scalars.jsonl", {"step": 30, "event": "failed", "reason": "out of paper"})
    (listed,) = json.loads(cli("runs", "--json").out)
    assert (listed["status"], listed["step"], listed["reason"]) == ("failed", 30, "out of paper")


def test_no_runs_yet(cli):
    assert cli("runs", "--json").out == "[]\n"
    assert cli("runs").out.startswith("no runs yet")


@pytest.mark.parametrize("folder", ["{cloud}", "{cloud}/deeper", "/proc/none"])
def test_a_folder_that_cannot_be_written_to(cli, cloud, monkeypatch, folder):
    monkeypatch.setenv("MVM_CHECKPOINTS", folder.format(cloud=cloud))
    result = cli("train", "--name", "a", "--data", str(cloud))
    assert result.status == 2
    assert re.fullmatch(rf"mvm: run: cannot write {folder.format(cloud=cloud)}/a: .+\n", result.err)
    assert cli("runs").out.startswith("no runs yet")


def test_a_sample_that_cannot_be_written(cli, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("MVM_CHECKPOINTS", str(runs))
    (tmp_path / "file").write_text("mine")
    result = cli("sample", "done", "-n", "5", "--out", str(tmp_path / "file" / "x.npy"))
    assert result.status == 1
    assert re.fullmatch(rf"mvm: out: cannot write {tmp_path}/file.*: (File exists|Not a directory)\n", result.err)
    assert cli("sample", "done", "-n", "5", "--out", str(tmp_path / "file")).status == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["sample done -n 5 --out /proc/x.npy", "pack done --out /proc/x.zip"])
def test_what_cannot_be_written_is_named(cli, runs, monkeypatch, command):
    monkeypatch.setenv("MVM_CHECKPOINTS", str(runs))
    out = command.split()[-1]
    told = cli(*command.split())
    assert told.status == 1
    assert re.fullmatch(rf"mvm: out: cannot write {out}: [^:;/]+\n", told.err)


def test_a_file_that_cannot_be_read_is_not_said_to_be_written(cli, make, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise PermissionError(13, "Permission denied", "elsewhere/checkpoint")

    make("a")
    monkeypatch.setattr("mvm.runs.evaluate.sample_run", broken)
    told = cli("sample", "a", "--out", str(tmp_path / "x.npy"))
    assert told == (1, "", "mvm: elsewhere/checkpoint: Permission denied\n")


def test_the_program_itself():
    command = [sys.executable, "-m", "mvm", "train", "--data", "cirle"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"mvm: .*'cirle'.*\n", result.stderr)
