"""Super-resolution as a user meets it: the commands from training to an upscaled picture, forks and moved weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainers import small_held_out

import mvm
from mvm.__main__ import main
from mvm.data.photographs import built_in, held_out
from mvm.methods.pairs import TERMS
from mvm.runs.fork import fork
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.scoring.superres import bicubic, measure

TINY = ("--data", "sr", "--patch", "8", "--batch", "2", "--steps", "20", "--view-points", "16", "--snapshots", "2")
TINY = (*TINY, "--network.metric-channels", "4", "--network.embedding-dim", "5", "--threads", "1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three photographs, one of them grey and one too small."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    whole = built_in().high_picture(0)
    Image.fromarray(whole[:120, :160]).save(folder / "colour.png")
    Image.fromarray(whole[50:150, 60:200]).convert("L").save(folder / "grey.png")
    Image.fromarray(whole[:9, :9]).save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, scored with all held-out photographs."""
    path = tmp_path_factory.mktemp("trained") / "a"
    assert main(["train", *TINY, "--run", str(path)]) == 0
    return path


@pytest.fixture
def trained(whole: Path, checkpoints: Path) -> Iterator[Run]:
    """A copy of it, named a; what is trained beside it is scored with few."""
    shutil.copytree(whole, checkpoints / "a")
    with small_held_out():
        yield Run.named("a")


def test_a_run_trains_scores_and_upscales(trained: Run, cli, pictures: Path, tmp_path: Path) -> None:
    assert trained.status().state == "finished"
    (row,) = trained.scores()
    assert row["psnr_y"] > 20
    assert row["niqe"] is not None
    out = tmp_path / "large"
    assert cli("upscale", "a", str(pictures / "colour.png"), "--out", str(out)).status == 0
    with Image.open(out / "colour.png") as large:
        assert large.size == (640, 480)
        ours = mvm.load("a").upscale(np.asarray(Image.open(pictures / "colour.png")))
        np.testing.assert_array_equal(np.asarray(large), ours)
    again = cli("upscale", "a", str(pictures / "colour.png"), "--out", str(out))
    assert "colour.png" in again.out + again.err
    measured = cli("score", "a", "--on", str(pictures), "--no-perceptual")
    assert measured.status == 0
    assert "bicubic" in measured.out


def test_the_runs_own_scores_are_those_of_its_upscaled_photographs(trained: Run) -> None:
    """Upscaled again by tiles, from Python, and measured picture by picture."""
    network, photographs = mvm.load("a"), held_out()
    rows = []
    for i in range(len(photographs)):
        low, high = (torch.tensor(p) for p in (photographs.low_picture(i), photographs.high_picture(i)))
        rows.append(measure(torch.from_numpy(network.upscale(low.numpy())), high, niqe=False))
        rows[-1]["floor"] = measure(bicubic(low), high, niqe=False)["psnr_y"]
    (row,) = trained.scores()
    assert row["psnr_y"] == pytest.approx(np.mean([each["psnr_y"] for each in rows]), abs=2e-3)
    assert row["psnr_y_floor"] == pytest.approx(np.mean([each["floor"] for each in rows]), abs=1e-6)


def test_own_photographs_are_trained_on_and_what_is_passed_over_is_told(cli, pictures: Path) -> None:
    with small_held_out():
        told = cli("train", *TINY, "--data-from", str(pictures), "--name", "own")
    assert told.status == 0
    assert "2 " in told.out
    assert "tiny.png" in told.out + told.err
    assert Run.named("own").data.train_size == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data-from", "nowhere"), "nowhere"),
        (("--patch", "64", "--data-from", "PICTURES"), "64"),
        (("--method", "wgan"), "wgan has no networks for photographs"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(cli, pictures: Path, arguments: tuple[str, ...], words: str) -> None:
    arguments = tuple(str(pictures) if word == "PICTURES" else word for word in arguments)
    told = cli("train", *TINY, *arguments)
    assert told.status == 2
    assert words in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_points_are_not_drawn_of_a_run_that_upscales(trained: Run, cli, tmp_path: Path) -> None:
    told = cli("sample", "a", "-n", "3", "--out", str(tmp_path / "x.npy"))
    assert told.status == 2
    assert "python -m mvm upscale a" in told.err


def test_a_fork_changes_the_weight_of_a_term_alone(trained: Run) -> None:
    """Equal draws: with equal weights a fork repeats its run to the bit, with λ₂ moved it does not."""
    step = trained.checkpoint_steps()[0]
    assert step < 20
    same, moved = fork(trained, step, {}, name="same"), fork(trained, step, {"weights.pair": 5.0}, name="moved")
    for run in (same, moved):
        for _ in train(run):
            pass
    whole, again, other = (run.checkpoint() for run in (trained, same, moved))
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in whole.items() if name.startswith("generator"))
    assert other["terms"][0].tolist() != whole["terms"][0].tolist()


def test_a_weight_of_a_term_moves_before_training_goes_on(trained: Run) -> None:
    """What is asked while no process trains is taken by the next one, and goes on record."""
    run = fork(trained, trained.checkpoint_steps()[0], {}, name="asked")
    run.ask(weights={"pair": 0.25, "diameter": 2.0})
    for _ in train(run):
        pass
    (change,) = run.records.poll().setting_changes()
    assert (change.weights["pair"], change.weights["diameter"]) == (0.25, 2.0)
    terms = dict(zip(TERMS, run.checkpoint()["terms"][0].tolist(), strict=True))
    assert terms == {name: term.default for name, term in TERMS.items()} | {"pair": 0.25} | {
        "matching": pytest.approx(1e-3), "adversarial": pytest.approx(2e-3),
    }  # fmt: skip
