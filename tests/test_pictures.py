"""Training on pictures: toy faces and a CelebA folder with broken files in it, from the download to the samples."""

from __future__ import annotations

import collections
import io
import json
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainers import until

from mvm.config import Config
from mvm.data.images import ImageData, Pixels
from mvm.data.kinds import load_data
from mvm.errors import ConfigError
from mvm.files import read_tensors
from mvm.look.sheets import sheet
from mvm.methods import METHODS, Draws
from mvm.methods.prefetch import Prefetch
from mvm.networks.resnet import ImageStack, ResNetGenerator, ResNetMetric
from mvm.runs.run import Run
from mvm.training.experiment import Experiment, fit

SIZE = 16
NETWORK = {"channels": 4, "metric_channels": 4, "noise_dim": 5}
SMALL = {"size": SIZE, "points": 64, "view_points": 32, "batch": 8, "threads": 1, "network": NETWORK}
FLAGS = ("--batch", "8", "--view-points", "32", "--threads", "1", "--network.channels", "4",
         "--network.metric-channels", "4", "--network.noise-dim", "5")  # fmt: skip


def faces(**values) -> Config:
    return Config.make(**{"data": "faces"} | SMALL | {"variants": ("both",)} | values)


# -- data --------------------------------------------------------------------------------------------------------------


def test_toy_faces_are_drawn_once_and_held_out_apart() -> None:
    data, again = load_data(faces()), load_data(faces())
    assert isinstance(data, ImageData)
    assert torch.equal(torch.as_tensor(data.images), torch.as_tensor(again.images))
    real, floor = data.evaluation(50)
    rows = {
        image.numpy().tobytes() for image in torch.cat([real, floor, data.view_images, torch.as_tensor(data.images)])
    }
    assert len(rows) == 50 + 50 + 32 + 64, "no picture is in two samples"
    assert not torch.equal(real, data.evaluation(50, repeat=1)[0])


def test_points_of_a_picture_and_back() -> None:
    """The order is that of a cache, row, column, colour; what is beyond [0, 1] is clipped."""
    data = load_data(faces())
    images = data.view_images
    points = data.standardise(images)
    assert points.shape == (32, data.dim)
    assert points[3, 3 * (SIZE * 2 + 5) + 1] == pytest.approx(int(images[3, 2, 5, 1]) / 255)
    assert torch.equal(data.restore(points), images)
    odd = torch.tensor([-1.0, 2.0, torch.nan]).repeat(SIZE * SIZE)
    assert data.restore(odd)[0, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize("mapped", [True, False])
def test_half_of_what_is_drawn_is_mirrored(tmp_path: Path, mapped: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    source = np.load(tmp_path / "a.npy", mmap_mode="r") if mapped else torch.from_numpy(images)
    pixels = Pixels(source, torch.device("cpu"), torch.float64, flips=True)
    assert len(pixels) == 20
    rows = torch.tensor([[3, 13], [19, 3]])
    drawn = pixels[rows].view(2, 2, 4, 4, 3).numpy() * 255
    np.testing.assert_allclose(drawn[0, 0], images[3])
    np.testing.assert_allclose(drawn[0, 1], images[3][:, ::-1])
    np.testing.assert_allclose(drawn[1, 0], images[9][:, ::-1])
    plain = Pixels(source, torch.device("cpu"), torch.float32, flips=False)
    assert len(plain) == 10
    assert plain[rows % 10].dtype == torch.float32


class Streamed(Pixels):
    """As on a device that the pictures do not fit on."""

    streamed = True


def test_what_does_not_fit_is_fetched_ahead_of_its_step(tmp_path: Path) -> None:
    """Each step's batches are its own, whatever was fetched before; two batches of a step are others."""
    np.save(tmp_path / "a.npy", np.arange(40 * 12, dtype=np.uint16).astype(np.uint8).reshape(40, 2, 2, 3))
    source = np.load(tmp_path / "a.npy", mmap_mode="r")
    table = Streamed(source, torch.device("cpu"), torch.float64, flips=True)
    gathered, whole = [], table.gather
    table.gather = lambda rows: gathered.append(rows) or whole(rows)

    def batches(draws: Draws, step: int) -> list[torch.Tensor]:
        draws.at(step)
        return [draws.real(6), draws.noise(2), draws.real(6), draws.real(4)]

    draws = Draws(table, (0, 7), copies=2, noise_dim=3)
    first = batches(draws, 5)
    assert [b.shape for b in first] == [(4, 6, 12), (4, 2, 3), (4, 6, 12), (4, 4, 12)]
    assert torch.equal(first[0][0], first[0][2])
    assert not torch.equal(first[0][0], first[0][1]), "every seed has its own"
    assert not torch.equal(first[0], first[2])
    second = batches(draws, 6)
    assert len(gathered) >= 6, "of both steps; those further ahead may not have been reached yet"
    for step, seen in ((6, second), (5, first)):
        again = batches(Draws(table, (0, 7), copies=2, noise_dim=3), step)
        assert all(map(torch.equal, again, seen))
    rows = gathered[0]
    assert rows.shape == (2, 6)
    assert torch.equal(first[0][:2], Pixels.__getitem__(table, rows))


def test_later_steps_are_fetched_before_they_are_asked_for_and_dropped_after_a_jump() -> None:
    done: dict[tuple[int, ...], threading.Event] = collections.defaultdict(threading.Event)
    times: collections.Counter = collections.Counter()

    def fetch(step: int, n: int) -> int:
        if step == 99:
            raise OSError("the disk is gone")
        times[step, n] += 1
        done[step, n].set()
        return step * n

    prefetch = Prefetch(fetch, depth=2)
    assert prefetch(1, 10) == 10
    until(done[2, 10].is_set, "the next step")
    until(done[3, 10].is_set, "the step after it")
    assert prefetch(2, 10) == 20
    assert prefetch(2, 5) == 10, "another draw of the same step"
    assert prefetch(50, 10) == 500
    assert prefetch(2, 10) == 20, "back again"
    assert times[2, 10] == 2
    prefetch.settle()
    assert {key for key, event in done.items() if event.is_set()} >= {(2, 10), (3, 10), (4, 10)}
    with pytest.raises(OSError, match="the disk is gone"):
        prefetch(99, 1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": "celeba-64"}, "unknown 'celeba-64'; give a file ending in .csv, .tsv, .txt, .npy, or one of circle"),
        ({"data": "faces", "size": 20}, r"size: must be a power of two, such as 16 \(got 20\)"),
        ({"data": "faces", "size": 100}, "power of two, such as 128"),
        ({"data": "faces", "method": "flow_matching"}, "flow_matching has no networks for pictures"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(values: dict, says: str) -> None:
    def begin() -> Experiment:
        config = Config.make(points=64, **values)
        return Experiment(config, load_data(config))

    with pytest.raises(ConfigError, match=says) as error:
        begin()
    assert "\n" not in str(error.value)


# -- networks behind the loop ------------------------------------------------------------------------------------------


def test_a_stack_is_its_members() -> None:
    """Flat rows of a cache's order in and out, each variant by its own network."""
    torch.manual_seed(0)
    generators, metrics = [ResNetGenerator(SIZE, noise_dim=5, channels=4) for _ in range(2)], [ResNetMetric(SIZE)] * 2
    z = torch.randn(2, 3, 5)
    flat = ImageStack(generators, gives_images=True).eval()(z)
    for member in range(2):
        images = generators[member](z[member])
        torch.testing.assert_close(flat[member].view(3, SIZE, SIZE, 3).permute(0, 3, 1, 2), images)
        embedded = ImageStack(metrics, takes_images=True)(flat)
        torch.testing.assert_close(embedded[member], metrics[member](images), atol=1e-5, rtol=1e-5)


def test_embeddings_of_unit_length() -> None:
    config = faces(network={"channels": 4, "metric_channels": 4, "unit_embedding": True})
    experiment = Experiment(config, load_data(config))
    experiment.advance()
    length = experiment.method.networks["metric"](experiment.draws.at(0).real(5)).norm(dim=-1)
    torch.testing.assert_close(length, torch.ones_like(length))


def test_equal_seeds_start_equal_and_train_apart() -> None:
    config = faces(variants=("centroid", "both"), seeds=(0, 1))
    experiment = Experiment(config, load_data(config))
    first = [
        dict(member.named_parameters())["input.weight"].clone()
        for member in experiment.method.networks["generator"].members
    ]
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    experiment.advance()
    after = [
        dict(member.named_parameters())["input.weight"] for member in experiment.method.networks["generator"].members
    ]
    assert not torch.equal(after[0], after[2])


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].learns("images")])
def test_every_method_trains_pictures_and_resumes_exactly(method: str) -> None:
    """Statistics of the batch normalisation, moments and averages are all in the checkpoint."""
    config = faces(method=method, variants=("both",) if method == "mvm" else (method,), steps=4)
    data = load_data(config)
    whole = Experiment(config, data)
    for step in fit(whole):
        assert all(loss.isfinite().all() for loss in step.losses.values())
        if step.number == 2:
            saved = {name: tensor.clone() for name, tensor in whole.tensors().items()}
        whole.generate(whole.view_inputs(3))  # a look changes nothing
    resumed = Experiment(config, data)
    resumed.load(saved)
    for _ in fit(resumed):
        pass
    for name, tensor in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], tensor), name


def test_each_fake_is_by_itself() -> None:
    """What a noise vector becomes does not depend on what is drawn beside it."""
    config = faces(steps=3)
    experiment = Experiment(config, load_data(config))
    for _ in fit(experiment):
        pass
    noise = experiment.view_inputs(6)
    for averaged in (True, False):
        many, few = (experiment.generate(z, averaged=averaged) for z in (noise, noise[2:3]))
        torch.testing.assert_close(many[:, 2:3], few)


def test_the_average_of_statistics_follows_them() -> None:
    """EMA of the running moments, written out."""
    config = faces(steps=3)
    experiment = Experiment(config, load_data(config))
    name = "members.0.blocks.0.before.running_mean"
    live = dict(experiment.method.networks["generator"].named_buffers())[name]
    average = live.clone()
    for t, _ in enumerate(fit(experiment)):
        decay = min(config.optimiser.ema, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * live
    torch.testing.assert_close(experiment.averaged()[f"average.{name}"], average)


def test_bf16_is_near_float32() -> None:
    outputs = []
    for precision in ("float32", "bf16"):
        config = faces(precision=precision)
        experiment = Experiment(config, load_data(config))
        step = experiment.advance()
        fakes = experiment.generate(experiment.view_inputs(2))
        for precise in (fakes, experiment.embed(fakes)):  # its last layer does not round to 8 bits
            assert precise.dtype == torch.float32
            assert (precise != precise.bfloat16()).any()
        outputs.append(step.terms["centroid"])
    torch.testing.assert_close(*outputs, atol=0.05, rtol=0.05)


# -- from a download to samples ----------------------------------------------------------------------------------------


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """A folder as CelebA's: img_align_celeba/ of 178 x 218 JPEGs, its official split, two broken files."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    drawn, _ = load_data(faces(points=140)).faces.images(140)
    lines = []
    for number, image in enumerate(drawn.numpy(), 1):
        buffer = io.BytesIO()
        Image.fromarray(image).resize((178, 218)).save(buffer, "JPEG")
        (folder / f"{number:06d}.jpg").write_bytes(buffer.getvalue())
        lines.append(f"{number:06d}.jpg {0 if number <= 100 else 1 if number <= 120 else 2}\n")
    (folder / "000007.jpg").write_bytes((folder / "000007.jpg").read_bytes()[:300])
    (folder / "000130.jpg").write_bytes(b"no picture")
    (folder.parent / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def test_a_celeba_folder_from_download_to_samples(
    celeba: Path, cli, mvm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("prepare", "celeba", str(celeba), "--size", str(SIZE), "--processes", "1")
    assert done.status == 0, done.err
    assert "138 pictures of 16 x 16 (train 99, valid 20, test 19)" in done.out
    assert "skipped 2" in done.out
    arguments = ("train", "--data", "celeba-16", "--steps", "60", "--variants", "both", *FLAGS)
    whole = mvm(*arguments, "--name", "whole")
    assert whole.wait() == 0, whole.err
    until(lambda: mvm(*arguments, "--name", "killed").kill_at(_awaited("killed"), 30) is None)
    resumed = mvm("resume", "killed")
    assert resumed.wait() == 0, resumed.err
    whole, killed = Run.named("whole"), Run.named("killed")
    assert [e.event for e in killed.records.poll().events if hasattr(e, "pid")] == ["started", "resumed"]
    for name in ("checkpoint.safetensors", "best.safetensors", "snapshots/00000060.safetensors"):
        ours, theirs = (read_tensors(run.path / name) for run in (killed, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    snapshot = whole.snapshot(60)
    assert snapshot["fake"].shape == (1, 32, SIZE, SIZE, 3)
    assert snapshot["fake"].dtype == snapshot["raw"].dtype == np.uint8
    assert np.load(whole.path / "real.npy").shape == (32, SIZE, SIZE, 3)

    assert cli("sample", "whole", "-n", "10", "--out", str(tmp_path / "made.png")).status == 0
    assert cli("sample", "whole", "-n", "10", "--out", str(tmp_path / "made.npy")).status == 0
    made = np.load(tmp_path / "made.npy")
    assert (made.shape, made.dtype) == ((10, SIZE, SIZE, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "made.png")), sheet(made))
    assert cli("sample", "whole", "--out", str(tmp_path / "made.jpg")).status == 2

    scored = cli("score", "whole", "-n", "16", "--json")
    (row,) = json.loads(scored.out)
    assert row["n"] == 16
    assert row["pixels.fd"] > row["pixels.fd_floor"] > 0
    assert not any(key.startswith("factor") for key in row), "only toy faces have known factors"
    mirrored = torch.from_numpy(np.array(whole.data.images[-16:])).flip(2)  # as training mirrors half of its draws
    assert whole.data.reference(16).score(mirrored)["pixels.memorised"] == 1
    assert "pixels.fd" in cli("score", "whole", "-n", "16").out
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # not installed
    refused = cli("score", "whole", "--inception")
    assert refused.status == 2
    assert re.fullmatch("mvm: inception: .*; pip install --no-deps torch-fidelity==.*\n", refused.err)


def test_an_official_split_needs_pictures_to_train_on(cli, celeba: Path) -> None:
    """The end of CelebA is all held out."""
    split = celeba.parent / "list_eval_partition.txt"
    split.write_text(split.read_text().replace(".jpg 0", ".jpg 2"))
    assert cli("prepare", "celeba", str(celeba), "--size", str(SIZE), "--processes", "1").status == 0
    refused = cli("train", "--data", f"celeba-{SIZE}", "--steps", "5", *FLAGS)
    assert refused.status == 2
    assert refused.err == (
        f"mvm: data: celeba-{SIZE} has 138 pictures, 0 to train on and 138 held out; at least 32 of each are needed\n"
    )


def _awaited(name: str) -> Run:
    """A run that another process is about to make."""

    def found() -> Run | None:
        try:
            return Run.named(name)
        except ValueError:
            return None

    return until(found)


@pytest.mark.usefixtures("few_scored")
def test_toy_faces_are_scored_by_their_factors(cli) -> None:
    arguments = ("train", "--data", "faces", "--size", str(SIZE), "--points", "64", "--steps", "20", *FLAGS)
    assert cli(*arguments, "--name", "toy", "--variants", "centroid", "both").status == 0
    rows = json.loads(cli("score", "toy", "-n", "32", "--json").out)
    assert [row["variant"] for row in rows] == ["centroid", "both"]
    for row in rows:
        assert 0 <= row["factor_mean"] < row["factor_mean_floor"] <= 1
        assert row["faces.fd"] > row["faces.fd_floor"]
    saved = json.loads((Run.named("toy").path / "scores.json").read_text())
    assert saved[0].keys() == rows[0].keys()
    assert cli("score", "toy", "--inception").status == 2


def test_a_sheet_has_every_picture_once() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 3, 3), dtype=np.uint8)
    whole = sheet(images, columns=3)
    assert whole.shape == (3 + 2 + 3, 3 * 3 + 2 * 2, 3)
    assert (whole[:3, 5:8] == 1).all()
    assert (whole[5:, :3] == 3).all()
    assert (whole[5:, 10:] == 255).all(), "the rest is white"
