"""`mvm.load`: a trained generator and metric in three lines, the same numbers as the command line gives."""

import numpy as np
import pytest
import torch

import mvm as lab
from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.errors import ConfigError, RunError
from mvm.files import write_array, write_tensors
from mvm.runs.run import Run
from mvm.training.experiment import Experiment


def test_its_samples_are_those_of_the_command_line(cli, make, cloud, tmp_path):
    run = make("a", steps=40, seeds=(0, 7))
    assert cli("train", "--run", str(run.path)).status == 0
    cloud.unlink()  # the run has its own copy
    for flags, choice in (([], {}), (["--variant", "centroid"], {"variant": "centroid"}), (["--best"], {"best": True})):
        assert cli("sample", "a", "-n", "30", "--seed", "3", "--out", str(tmp_path / "x.npy"), *flags).status == 0
        trained = lab.load("a", **choice)
        assert (trained.variant, trained.seed) == (choice.get("variant", "both"), 0)
        np.testing.assert_array_equal(trained.sample(30, seed=3).numpy(), np.load(tmp_path / "x.npy"))
    assert cli("sample", "a", "-n", "30", "--out", str(tmp_path / "all")).status == 0
    other = lab.load(run.path, variant="centroid", seed=7)
    assert (other.variant, other.seed, other.step, other.config) == ("centroid", 7, 40, run.config)
    np.testing.assert_array_equal(other.sample(30).numpy(), np.load(tmp_path / "all" / "centroid-seed7.npy"))

    shown = run.snapshot(40)  # embeddings of the same points, as they were saved when it trained
    experiment = Experiment(run.config, run.data)
    torch.testing.assert_close(
        other.metric(torch.from_numpy(shown["real"])), torch.from_numpy(shown["real_embedding"][1])
    )
    noise = experiment.view_inputs(16)
    torch.testing.assert_close(other.generator(noise), torch.from_numpy(shown["fake"][1]))
    assert not other.generator(noise).requires_grad

    with pytest.raises(ConfigError, match="variant: a has no 'diameter'; it has centroid, both"):
        lab.load("a", variant="diameter")
    with pytest.raises(ConfigError, match="seed: a has no 1; it has 0, 7"):
        lab.load("a", seed=1)
    with pytest.raises(ValueError, match=r"noise: \(n, 4\) wanted, got \(5, 2\)"):
        other.generator(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"points: \(n, 2\) wanted, got \(3,\)"):
        other.metric(torch.zeros(3))


def test_the_best_generator_has_the_step_at_which_it_was_that(cli, make):
    run = make("a", steps=40)
    assert cli("train", "--run", str(run.path)).status == 0
    steps = run.checkpoint(best=True)["step"].tolist()
    assert [lab.load("a", variant=name, best=True).step for name in run.config.variants] == steps


def test_pictures_need_no_pictures(checkpoints):
    """A run on a cache that is not on this machine: what it makes and embeds is as where it was trained."""
    network = {"channels": 4, "metric_channels": 4}
    config = Config.make(data="faces", size=16, threads=1, batch=8, view_points=16, points=400, network=network)
    here = Experiment(config, load_data(config))
    here.advance()
    moved = config.model_copy(update={"data": "my-cache", "size": None})
    (checkpoints / "there").mkdir(parents=True)
    (checkpoints / "there" / "config.json").write_text(moved.model_dump_json())
    real = here.data.view_images
    write_array(checkpoints / "there" / "real.npy", real.numpy())
    write_tensors(checkpoints / "there" / "checkpoint.safetensors", here.tensors())

    trained = lab.load("there")
    assert (trained.step, trained.variant) == (1, "both")
    pictures = trained.sample(9)
    assert (pictures.shape, pictures.dtype) == ((9, 16, 16, 3), torch.uint8)
    noise = torch.randn(9, trained.noise_dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pictures, here.data.restore(here.generate(noise).cpu().float())[0], rtol=0, atol=0)
    torch.testing.assert_close(trained.metric(real), here.embed(here.data.standardise(real))[0].cpu().float())
    with pytest.raises(ValueError, match=r"pictures: \(n, 16, 16, 3\) wanted, got \(9, 768\)"):
        trained.metric(torch.zeros(9, 768))


def test_what_cannot_be_loaded_says_so(make):
    make("new")
    Run.create(Config.make(data="faces", size=16), name="faces")
    for name in ("new", "faces"):
        with pytest.raises(RunError, match=f"{name} has no checkpoint.safetensors yet; train it first"):
            lab.load(name)
    with pytest.raises(RunError, match="no run 'none'"):
        lab.load("none")
