"""Pairs of patches: naive cuts and turns as oracle; the methods on pairs, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from random_features import random_features

from mvm.config import Config
from mvm.data import pairs
from mvm.data.kinds import load_data
from mvm.data.pairs import Patches
from mvm.data.photographs import Collection, built_in, held_out
from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.imaging.resize import imresize
from mvm.methods.draws import Pair
from mvm.methods.pairs import IMAGE_PHASE, TERMS
from mvm.training.experiment import Experiment, fit

CPU = torch.device("cpu")
TINY = {
    "data": "sr", "patch": 8, "view_points": 16, "batch": 4, "threads": 1, "steps": 4,
    "network": {"metric_channels": 4, "embedding_dim": 5},
}  # fmt: skip


def collection(*sizes: tuple[int, int]) -> Collection:
    """Pictures of random pixels, HR and LR unrelated, so that each shows where it was cut from."""
    draws = np.random.default_rng(0)
    high, low = [], []
    for height, width in sizes:
        high.append(draws.integers(256, size=(16 * height * width, 3), dtype=np.uint8))
        low.append(draws.integers(256, size=(height * width, 3), dtype=np.uint8))
    names = tuple(map(str, range(len(sizes))))
    return Collection(np.concatenate(high), np.concatenate(low), np.array(sizes), names, (), "")


def naive(source: Collection, patch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every pair, in the order of the table's rows."""
    pairs = []
    for i in range(len(source)):
        low, high = source.low_picture(i), source.high_picture(i)
        for y in range(low.shape[0] - patch + 1):
            for x in range(low.shape[1] - patch + 1):
                small, large = low[y : y + patch, x : x + patch], high[4 * y :, 4 * x :][: 4 * patch, : 4 * patch]
                for mirrored in (False, True):
                    for quarters in range(4):
                        turned = [np.rot90(np.fliplr(p) if mirrored else p, quarters) for p in (small, large)]
                        pairs.append((turned[0].ravel(), turned[1].ravel()))
    return pairs


@pytest.mark.parametrize("sizes", [[(3, 5), (4, 4)], [(2, 9), (6, 3), (5, 5)]])
@pytest.mark.parametrize("mapped", [False, True])
def test_every_row_of_the_table_is_a_cut_of_both_pictures_in_one_turn(sizes, mapped, tmp_path):
    source = collection(*sizes)
    if mapped:
        for name in ("low", "high"):
            np.save(tmp_path / f"{name}.npy", getattr(source, name))
        arrays = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("low", "high")}
        source = Collection(arrays["high"], arrays["low"], source.sizes, source.names, (), "")
    table, expected = Patches(source, 3, CPU, torch.float64), naive(source, 3)
    assert len(table) == len(expected)
    assert (table.pixels is None) == mapped
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(1))
    low, high = table[order.view(1, -1)]
    for row, small, large in zip(order.tolist(), low[0], high[0], strict=True):
        np.testing.assert_array_equal((255 * small).round().numpy(), expected[row][0])
        np.testing.assert_array_equal((255 * large).round().numpy(), expected[row][1])


def test_the_eight_turns_of_a_patch_differ_and_keep_its_pixels():
    source = collection((3, 3))
    table = Patches(source, 3, CPU, torch.float32)
    low, _ = table[torch.arange(8)]
    assert len({tuple(patch.tolist()) for patch in low}) == 8
    assert len({tuple(sorted(map(tuple, patch.view(9, 3).tolist()))) for patch in low}) == 1


def test_a_picture_smaller_than_a_patch_is_never_drawn_and_none_is_refused():
    table = Patches(collection((3, 9), (2, 50)), 3, CPU, torch.float32)
    assert len(table) == 8 * 7
    with pytest.raises(ConfigError, match="patch: no picture has 16 x 16 pixels"):
        Patches(collection((3, 9), (2, 50)), 4, CPU, torch.float32)


def test_positions_are_drawn_evenly():
    """Each of the positions of all pictures as often as any other, whatever the pictures' sizes."""
    source = collection((3, 4), (3, 8))
    data = Patches(source, 3, CPU, torch.float32)
    rows = torch.randint(len(data), (8000,), generator=torch.Generator().manual_seed(0))
    counts = Counter((rows // 8).tolist())
    assert set(counts) == set(range(2 + 6))
    assert max(counts.values()) < 1.2 * min(counts.values())


@pytest.mark.parametrize("patch", [8, 24])
def test_the_view_shows_held_out_photographs_and_their_bicubic_reductions(patch):
    data = load_data(Config.make(**TINY | {"patch": patch}))
    assert data.view_images.shape == (16, 4 * patch, 4 * patch, 3)
    lows = imresize(data.view_images, (patch, patch))
    torch.testing.assert_close(data.view_inputs, lows.flatten(1).float() / 255)
    photographs = [held_out().high_picture(i) for i in range(len(held_out()))]
    corners = {patch_[0, 0].tobytes() + patch_[-1, -1].tobytes() for patch_ in data.view_images.numpy()}
    found = set()
    for picture in photographs:
        starts, ends = picture[: -4 * patch + 1, : -4 * patch + 1], picture[4 * patch - 1 :, 4 * patch - 1 :]
        both = np.concatenate([starts, ends], axis=-1)
        found |= {row.tobytes() for row in np.unique(both.reshape(-1, 6), axis=0)}
    assert corners <= found


def test_trained_and_held_out_photographs_differ():
    assert not set(built_in().names) & set(held_out().names)


# Losses, by hand


def pairs_of(experiment: Experiment, step: int) -> Pair:
    return experiment.draws.at(step).pair(experiment.config.batch)


@pytest.mark.parametrize("weights", [{}, {"pair": 0.5, "matching": 2.0, "diameter": 3.0, "image": 0.25}])
def test_the_generators_loss_is_equation_3(weights):
    experiment = Experiment(Config.make(**TINY, weights=weights, seeds=(0, 1)), load_data(Config.make(**TINY)))
    inputs, real = pairs_of(experiment, 0)
    fake = experiment.method.networks["generator"](inputs)
    g = experiment.method.networks["metric"]
    e_real, e_fake = g(real), g(fake)
    player, loss = next(experiment.method.updates(experiment.draws.at(0)))
    assert player == "generator"
    w = experiment.config.weights
    for v in range(2):
        pair = torch.stack([(a - b).norm() for a, b in zip(e_real[v], e_fake[v], strict=True)]).mean()
        gaps = [DESCRIPTORS[name].gap(e_real[v], e_fake[v]) for name in ("centroid", "diameter")]
        image = sum((a - b).abs().mean() for a, b in zip(real[v], fake[v], strict=True)) / len(real[v])
        total = w.image * image + w.pair * pair + w.matching * (w.centroid * gaps[0] + w.diameter * gaps[1])
        torch.testing.assert_close(loss.total[v], total, rtol=1e-4, atol=1e-7)


def test_the_metrics_anchors_are_high_resolution_patches():
    """With α = 0 and no direction term, the triplet loss is relu(d²(x, x') − d²(x, f(y))) of HR patches x and x'."""
    config = Config.make(**TINY, mvm={"alpha": 0.0, "gamma": 0.0, "lipschitz": 0.0, "anchors": "real", "pairs": 1})
    experiment = Experiment(config, load_data(config))
    inputs, real = pairs_of(experiment, 0)
    g, f = experiment.method.networks["metric"], experiment.method.networks["generator"]
    with torch.no_grad():
        anchor, negative = g(real)[0], g(f(inputs))[0]
    losses = dict(experiment.method.updates(experiment.draws.at(0)))
    group = experiment.method.group
    hinge = [
        ((a - anchor[(i - group) % 4]).square().sum() - (a - negative[i]).square().sum()).relu()
        for i, a in enumerate(anchor)
    ]
    torch.testing.assert_close(losses["metric"].total[0], torch.stack(hinge).mean(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["mvm", "gan", "srgan", "natsr"])
def test_the_first_steps_descend_pixels_alone(method):
    values = TINY | {"method": method, "superres": {"image_steps": 2, "gan": "relativistic"}}
    config = Config.make(**values)
    with random_features():
        experiment = Experiment(config, load_data(config))
        steps = list(fit(experiment))
    early = {"generator", "naturalness"} if method == "natsr" else {"generator"}
    assert [set(step.losses) for step in steps[:2]] == [early] * 2
    for step in steps[:2]:
        torch.testing.assert_close(step.losses["generator"], step.terms["image"])
    assert [experiment.method.phase(step) for step in range(4)] == [IMAGE_PHASE] * 2 + [
        "lipschitz" * (method == "mvm")
    ] * 2
    assert all({"generator", "discriminator"} <= set(step.losses) for step in steps[2:])
    assert all("naturalness" not in step.losses for step in steps[2:]), "it is fixed then"


def test_new_weights_of_terms_act_at_the_next_step():
    config = Config.make(**TINY, superres={"gan": "standard"})
    data = load_data(config)
    experiment, other = Experiment(config, data), Experiment(config.with_changes({"weights.pair": 5}), data)
    for each in (experiment, other):
        each.method.reweight(dict(config.with_changes({"weights.pair": 7, "weights.adversarial": 0.5}).weights))
        each.advance()
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in experiment.tensors().items())
    row = experiment.method.state["terms"][0].tolist()
    assert row[[*TERMS].index("pair")] == 7
    assert row[[*TERMS].index("adversarial")] == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "l1", "superres": {"gan": "standard"}}, "superres.gan: L1 trains with none, not 'standard'"),
        ({"method": "gan", "superres": {"gan": "none"}}, "superres.gan: GAN trains with relativistic or standard"),
        (
            {"method": "natsr", "superres": {"image_steps": 0}},
            "superres.image_steps: NatSR's discriminator of natural pictures learns in these steps",
        ),
        ({"method": "wgan"}, "method: wgan has no networks for photographs; choose another for sr"),
        ({"patch": 12}, "patch"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(values, message):
    with pytest.raises(ConfigError) as caught:
        Config.make(**TINY | values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_feature_network_is_told_at_the_first_step(monkeypatch, tmp_path):
    monkeypatch.setenv("MVM_VGG19", str(tmp_path / "none.pth"))
    config = Config.make(**TINY, method="esrgan", superres={"features": "vgg19", "image_steps": 3})
    experiment = Experiment(config, load_data(config))
    with pytest.raises(ConfigError, match=r"vgg19: no weights at .*none.pth; download"):
        experiment.advance()


@pytest.mark.parametrize("backbone", ["small", "srresnet"])
def test_a_trained_network_upscales_pictures_of_any_size_as_it_upscales_patches(backbone):
    config = Config.make(**TINY | {"network": TINY["network"] | {"backbone": backbone}, "seeds": (0, 1)})
    experiment = Experiment(config, load_data(config))
    for _ in fit(experiment):
        pass
    inputs = experiment.view_inputs(3)
    patches = inputs.unflatten(-1, (8, 8, 3)).permute(0, 3, 1, 2)
    for member in range(2):
        upscale = experiment.upscaler(member)
        assert upscale(torch.rand(1, 3, 5, 13)).shape == (1, 3, 20, 52)
        expected = experiment.generate(inputs)[member].unflatten(-1, (32, 32, 3)).permute(0, 3, 1, 2)
        torch.testing.assert_close(upscale(patches), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [[(3, 5), (4, 4)], [(2, 9), (6, 3)]])
def test_indices_of_a_device_give_the_same_patches_as_slices(sizes, monkeypatch):
    def indexed(pixels, first, width, turn, *, side):
        return pairs._indexed(torch.from_numpy(pixels), first, width, pairs._turned_grid(side)[:, turn])

    table = Patches(collection(*sizes), 3, CPU, torch.float32)
    rows = torch.arange(len(table))
    sliced = table[rows]
    monkeypatch.setattr(pairs, "_cut", indexed)
    assert all(torch.equal(one, other) for one, other in zip(sliced, table[rows], strict=True))
