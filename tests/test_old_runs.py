"""Runs written by version 0.1 still open, score, sample, compare, export, pack, fork, resume and are shown.

`data/runs_0_1.zip` holds one run per method that was stopped half way, finished runs on points and on pictures, a fork
and a run of schema 1. `data/runs_0_1_resumed.json` holds `[sum, sum of squares]` of every tensor of each stopped run's
last checkpoint after version 0.1 had resumed it to its end, on the CPU.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import open_page, shown, words

from mvm.data.kinds import KINDS
from mvm.files import read_tensors
from mvm.runs.frames import read_frame
from mvm.runs.library import all_runs
from mvm.runs.run import Run

DATA = Path(__file__).with_name("data")
RESUMED = json.loads((DATA / "runs_0_1_resumed.json").read_text())
STEPS = {"faces": 20, "flow": 40, "points": 40, "points-fork": 40, "schema1": 40}  # of the finished ones
NAMES = sorted([*STEPS, *RESUMED])
SNAPSHOTS = [0, 10, 20, 30, 40]
RUNS_PAGE = """
import streamlit as st
from app.views.runs import runs_page
st.session_state.setdefault("_pages", {})
runs_page()
"""


@pytest.fixture(autouse=True)
def unpacked(checkpoints: Path) -> Path:
    """The folder of all runs, filled with the old ones."""
    with zipfile.ZipFile(DATA / "runs_0_1.zip") as archive:
        archive.extractall(checkpoints)
    return checkpoints


def sums(tensor: torch.Tensor) -> list[float]:
    """Sum, and sum of squares."""
    tensor = tensor.double()
    return [float(tensor.sum()), float(tensor.square().sum())]


def test_the_library_lists_every_run(cli) -> None:
    assert sorted(run.name for run in all_runs()) == NAMES
    listed = {row["name"]: row for row in json.loads(cli("runs", "--json").out)}
    assert sorted(listed) == NAMES
    for name, row in listed.items():
        state = ("finished", STEPS[name]) if name in STEPS else ("stopped", 20)
        assert (row["status"], row["step"], row["final"]) == (*state, name in STEPS), name
        own = KINDS[row["kind"]].coordinates(row["data"]) == "standardised"  # scored in the units of its file, then
        assert row["outdated"] == own, name
        assert (row["quality"] is None) if own else (row["quality"] > 1), name
    assert listed["points"]["note"] == "made by an earlier version"
    assert listed["points-fork"]["fork_of"] == "points, step 20"
    assert {row["method"] for row in listed.values()} == {"mvm", "wgan", "wgan_gp", "sngan", "swgan", "flow_matching"}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_opens_with_all_that_it_has_saved(name: str) -> None:
    run = Run.named(name)
    last = STEPS.get(name, 20)
    steps = [step for step in SNAPSHOTS if step <= last]
    assert run.status().step == last
    assert run.snapshot_steps() == steps
    assert run.checkpoint_steps() == steps
    members = len(run.config.members)
    for step in steps:
        assert int(run.checkpoint(step=step)["step"]) == step
        assert run.snapshot(step)["fake"].shape[0] == members
    assert int(run.checkpoint()["step"]) == last
    assert run.checkpoint(best=True)["step"].shape == (members,)
    assert [record["step"] for record in run.records.poll().scalars] == steps
    assert len(run.data.view) == run.config.view_points


def test_frames_and_the_copy_of_own_points_are_read() -> None:
    assert read_frame(Run.named("points").path, 10).shape == (4, 32, 2)
    own = Run.named("stopped-mvm")
    assert not Path(own.config.data).exists()
    assert own.data.train.shape == (160, 2)


def test_a_config_of_schema_1_gives_both_networks_its_activation() -> None:
    network = Run.named("schema1").config.network
    assert network.activation == network.generator_activation == "swish4"


@pytest.mark.parametrize("name", ["points", "faces", "flow", "schema1", "stopped-mvm"])  # a fork is as its run
def test_a_run_is_scored_as_before(cli, name: str) -> None:
    result = cli("score", name, "--json")
    assert (result.status, result.err) == (0, "")
    rows = json.loads(result.out)
    before = Run.named(name).scores() or [{"variant": variant, "seed": 0} for variant in ("centroid", "both")]
    assert [(row["variant"], row["seed"]) for row in rows] == [(row["variant"], row["seed"]) for row in before]
    for row, old in zip(rows, before, strict=True):
        assert old.keys() <= row.keys()
        for key in old.keys() & {"step", "n", "w2", "w2_floor", "w2_ratio", "pixels.fd", "pixels.fd_floor"}:
            assert row[key] == pytest.approx(old[key], rel=1e-3), key


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_sampled(cli, tmp_path: Path, name: str) -> None:
    result = cli("sample", name, "-n", "50", "--out", str(tmp_path / "made"))
    assert (result.status, result.err) == (0, "")
    run = Run.named(name)
    files = sorted((tmp_path / "made").glob("*.npy"))
    assert len(files) == len(run.config.members)
    for file in files:
        made = np.load(file)
        assert made.shape == ((50, 8, 8, 3) if name == "faces" else (50, 2))
        assert np.isfinite(made).all()


def test_runs_are_compared(cli) -> None:
    result = cli("compare", *STEPS, "--json")
    assert (result.status, result.err) == (0, "")
    compared = json.loads(result.out)
    assert compared["runs"] == list(STEPS)
    result = cli("compare", "points", "points-fork")
    assert "step 20: diameter 0" in result.out
    assert "points, step 20" in result.out


EXPORTS = {
    "every figure of points": (["points"], "all", {"spectrum", "distances", "loss", "scores", "forces", "metric"}),
    "samples, from the frames of the run": (["points", "--step", "10"], "samples", {"samples"}),
    "branches of a fork": (["points", "points-fork"], "branches", {"branches"}),
    "nearest pictures": (["faces"], "nearest", {"nearest"}),
    "the loss of a stopped run on own points": (["stopped-mvm"], "loss", {"loss"}),
    "flow matching's curves": (["flow"], "curves", {"curves"}),
    "scores of schema 1": (["schema1"], "scores", {"scores"}),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_figures_are_exported(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    runs, figure, expected = EXPORTS[case]
    monkeypatch.setattr("mvm.runs.frames.project", lambda embeddings, **_: embeddings[:, :2].astype(np.float32))
    result = cli("export", *runs, "--figure", figure, "--out", str(tmp_path / "figures"))
    assert result.status == 0, result.err
    made = {path.stem for path in (tmp_path / "figures").glob("*.pdf")}
    assert (made >= expected) if figure == "all" else (made == expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_packed_and_unpacked(cli, tmp_path: Path, name: str) -> None:
    out = tmp_path / "packed.zip"
    assert cli("pack", name, "--out", str(out)).status == 0
    result = cli("unpack", str(out), "--name", "back")
    assert (result.status, result.err) == (0, "")
    there, back = Run.named(name), Run.named("back")
    assert back.config == there.config
    assert back.status() == there.status()
    assert (back.note, back.scores(), back.snapshot_steps()) == (there.note, there.scores(), there.snapshot_steps())
    for step in there.checkpoint_steps():
        assert back.kept_path(step).read_bytes() == there.kept_path(step).read_bytes()


@pytest.mark.usefixtures("few_scored")
def test_a_fork_of_a_kept_step_repeats_what_the_old_run_did(cli) -> None:
    assert cli("fork", "points", "--step", "20", "--name", "again").status == 0
    ours, theirs = (Run.named(name).checkpoint() for name in ("again", "points"))
    assert {"generator.weights.0", "average.weights.0"} <= ours.keys() & theirs.keys()
    for name in ours.keys() & theirs.keys():
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.usefixtures("few_scored")
def test_a_fork_with_another_weight_ends_as_the_old_fork_did(cli) -> None:
    assert cli("fork", "points", "--step", "20", "--name", "again", "--set", "weights.diameter=0").status == 0
    ours, theirs, trunk = (Run.named(name).checkpoint() for name in ("again", "points-fork", "points"))
    for name in ("generator.weights.0", "average.weights.0"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(ours[name], trunk[name])


@pytest.mark.usefixtures("few_scored")
@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_run_resumes_to_the_same_end(cli, unpacked: Path, name: str) -> None:
    """Tensors of a network that no player moves need not be in a new checkpoint."""
    result = cli("resume", name)
    assert (result.status, result.err) == (0, "")
    run = Run.named(name)
    assert run.status().state == "finished"
    assert [event.event for event in run.records.events] == ["started", "stopped", "resumed", "finished"]
    tensors = read_tensors(unpacked / name / "checkpoint.safetensors")
    expected = RESUMED[name]
    assert {key for key in expected if key.startswith(("generator.", "average."))} <= tensors.keys()
    assert int(tensors["step"]) == 40
    for key in expected.keys() & tensors.keys():
        total, squares = sums(tensors[key])
        scale = (tensors[key].numel() * expected[key][1]) ** 0.5  # at least |sum|, which terms of both signs make small
        assert squares == pytest.approx(expected[key][1], rel=1e-6), key
        assert total == pytest.approx(expected[key][0], rel=0, abs=1e-6 * scale), key
    assert {row["variant"] for row in run.scores()} == set(run.config.variants)


@pytest.mark.usefixtures("no_processes")
def test_the_lab_opens_a_run() -> None:
    app = open_page(run="points", panel="Scores")
    assert shown(app) == "points"
    said = words(app)
    assert "finished" in said
    assert "step **40** of 40" in said
    assert {"centroid only", "both", "baseline"} <= set(app.dataframe[0].value.columns)


@pytest.mark.usefixtures("no_processes")
def test_the_runs_page_lists_every_run() -> None:
    app = open_page(RUNS_PAGE)
    assert f"{len(NAMES)} of {len(NAMES)} runs" in words(app)
    assert sorted(app.dataframe[0].value["name"]) == NAMES
