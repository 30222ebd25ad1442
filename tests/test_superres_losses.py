"""Losses of super-resolution against closed forms, other libraries, and loops over single numbers."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from recorded_graph import RecordedGraph
from scipy.fft import dctn
from torch import nn
from torch.nn import functional as F

from mvm.methods.adversarial import discriminator_loss, generator_loss
from mvm.methods.naturalness import (
    anneal,
    block_noise,
    dct_matrix,
    enlarge,
    graded_batch,
    naturalness_loss,
    nmd_loss,
    noisy_rows,
)
from mvm.methods.perceptual import PERCEPTUAL_LOSSES, gram, texture_distance

# -- adversarial -------------------------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("seed", [0, 1])
def test_adversarial_losses_are_their_formulas(seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(2, 3, 5))
    batches = torch.from_numpy(real), torch.from_numpy(fake)
    got = {
        (side.__name__, relativistic): side(*batches, relativistic=relativistic)
        for side in (discriminator_loss, generator_loss)
        for relativistic in (False, True)
    }
    for v, (r, f) in enumerate(zip(real, fake, strict=True)):
        wanted = {
            ("discriminator_loss", False): -np.mean([math.log(sigmoid(x)) for x in r])
            - np.mean([math.log(1 - sigmoid(y)) for y in f]),
            ("generator_loss", False): -np.mean([math.log(sigmoid(y)) for y in f]),
            ("discriminator_loss", True): -np.mean([math.log(sigmoid(x - f.mean())) for x in r])
            - np.mean([math.log(1 - sigmoid(y - r.mean())) for y in f]),
            ("generator_loss", True): -np.mean([math.log(1 - sigmoid(x - f.mean())) for x in r])
            - np.mean([math.log(sigmoid(y - r.mean())) for y in f]),
        }
        for key, value in wanted.items():
            assert got[key][v].item() == pytest.approx(value), key


@pytest.mark.parametrize("relativistic", [False, True])
def test_extreme_logits_give_finite_losses_and_gradients(relativistic):
    for size in (1e4, 1e30):
        real, fake = torch.full((2, 4), size, requires_grad=True), torch.full((2, 4), -size, requires_grad=True)
        total = discriminator_loss(real, fake, relativistic=relativistic) + generator_loss(
            real, fake, relativistic=relativistic
        )
        total.sum().backward()
        assert total.isfinite().all()
        assert real.grad is None or real.grad.isfinite().all()
        assert fake.grad.isfinite().all()


def test_sides_that_cannot_be_told_apart_cost_a_bit_each():
    logits = torch.tensor([[0.7] * 6, [-3.0] * 6])
    for side in (discriminator_loss, generator_loss):
        torch.testing.assert_close(side(logits, logits, relativistic=True), torch.full((2,), 2 * math.log(2)))


# -- perceptual --------------------------------------------------------------------------------------------------------

BLOCKS = (2, 2, 4, 4, 4)
LAYERS = [  # of VGG19
    name
    for block, count in enumerate(BLOCKS, 1)
    for name in [*(f"{kind}{block}_{i}" for i in range(1, count + 1) for kind in ("conv", "relu")), f"pool{block}"]
]


def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """A network with VGG19's layers, of eight channels and random weights."""
    torch.manual_seed(5)
    found = {}
    for name in LAYERS:
        if name.startswith("conv"):
            convolution = nn.Conv2d(x.shape[1], 8, 3, padding=1, dtype=x.dtype)
            nn.init.kaiming_normal_(convolution.weight)
            x = convolution(x)
        else:
            x = x.relu() if name.startswith("relu") else F.max_pool2d(x, 2)
        found[name] = x
    return found


@pytest.mark.parametrize("name", PERCEPTUAL_LOSSES)
def test_a_perceptual_loss_is_zero_for_equal_pictures_and_has_gradients(name):
    loss = PERCEPTUAL_LOSSES[name].resolve(LAYERS)
    for shape in ((2, 3, 32, 32), (1, 3, 32, 64)):
        torch.manual_seed(0)
        real, fake = torch.rand(2, *shape, dtype=torch.float64)
        fake.requires_grad_()
        assert loss(features(real), features(real)).tolist() == [0] * shape[0]
        distance = loss(features(real), features(fake))
        assert distance.shape == shape[:1]
        assert (distance > 0).all()
        distance.sum().backward()
        assert fake.grad.isfinite().all()
        assert fake.grad.abs().max() > 0


def test_the_layers_of_each_loss():
    vgg16 = [name for name in LAYERS if name not in ("conv5_4", "relu5_4")]
    resolved = {name: loss.resolve(LAYERS).layers for name, loss in PERCEPTUAL_LOSSES.items()}
    assert resolved == {
        "srgan": ("relu5_4",),
        "enhancenet": ("pool2", "pool5"),
        "enhancenet_texture": ("pool2", "pool5", "relu1_1", "relu2_1", "relu3_1"),
        "esrgan": ("conv5_4",),
    }
    assert PERCEPTUAL_LOSSES["esrgan"].resolve(vgg16).layers == ("conv5_3",)
    with pytest.raises(ValueError, match="layer: unknown 'conv5'; known: conv1_1, relu1_1"):
        PERCEPTUAL_LOSSES["esrgan"].resolve(["conv1_1", "relu1_1"])


@pytest.mark.parametrize("seed", [0, 1])
def test_feature_distances_are_means_over_single_numbers(seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(2, 2, 3, 4, 5))
    difference = [[x - y for x, y in zip(a.flat, b.flat, strict=True)] for a, b in zip(fake, real, strict=True)]
    on = {name: torch.from_numpy(values) for name, values in (("r", real), ("f", fake))}
    srgan, esrgan = (PERCEPTUAL_LOSSES[name].resolve(LAYERS) for name in ("srgan", "esrgan"))
    squared = srgan({"relu5_4": on["r"]}, {"relu5_4": on["f"]})
    absolute = esrgan({"conv5_4": on["r"]}, {"conv5_4": on["f"]})
    assert squared.tolist() == pytest.approx([0.006 * sum(d * d for d in ds) / 60 for ds in difference])
    assert absolute.tolist() == pytest.approx([sum(map(abs, ds)) / 60 for ds in difference])


@pytest.mark.parametrize(("shape", "side"), [((2, 3, 8, 4), 4), ((1, 2, 7, 9), 3)])
def test_gram_matrices_patch_by_patch(shape, side):
    torch.manual_seed(0)
    x = torch.rand(shape, dtype=torch.float64)
    b, c, h, w = shape
    corners = [(i, j) for i in range(0, h - side + 1, side) for j in range(0, w - side + 1, side)]
    wanted = torch.zeros(b, len(corners), c, c, dtype=torch.float64)
    for n in range(b):
        for p, (i, j) in enumerate(corners):
            for k in range(c):
                for l in range(c):
                    patch = x[n, :, i : i + side, j : j + side]
                    wanted[n, p, k, l] = (patch[k] * patch[l]).mean()
    torch.testing.assert_close(gram(x, side), wanted)
    y = torch.rand_like(x)
    torch.testing.assert_close(texture_distance(x, y, side), ((gram(x, side) - gram(y, side)) ** 2).mean((1, 2, 3)))


def test_textures_do_not_depend_on_the_place_in_a_patch():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 8, 8)
    for shift in (1, 3):
        moved = torch.cat(
            [torch.cat([q.roll(shift, -1) for q in half.split(4, -1)], -1) for half in x.split(4, -2)], -2
        )
        torch.testing.assert_close(texture_distance(x, moved, 4), torch.zeros(1))


# -- naturalness -------------------------------------------------------------------------------------------------------


def patches(v: int, b: int, side: int, seed: int) -> torch.Tensor:
    return torch.rand(v, b, 3 * side**2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_is_in_the_high_frequencies_of_blocks(seed):
    side = 16
    torch.manual_seed(seed)
    coefficients = torch.randn(2, 3, 3 * side**2, dtype=torch.float64)
    pictures = block_noise(coefficients).unflatten(-1, (side, side, 3)).numpy()
    given = coefficients.unflatten(-1, (side, side, 3)).numpy()
    for i in (0, 8):
        for j in (0, 8):
            found = dctn(pictures[..., i : i + 8, j : j + 8, :], axes=(-3, -2), norm="ortho")
            wanted = given[..., i : i + 8, j : j + 8, :].copy()
            wanted[..., :2, :2, :] = 0
            np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_dct_is_scipys():
    c = dct_matrix(torch.device("cpu"), torch.float64).numpy()
    for row in np.random.default_rng(0).normal(size=(2, 8)):
        np.testing.assert_allclose(c @ row, dctn(row, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize(("batch", "side"), [(8, 8), (7, 16)])
def test_half_a_batch_stays_natural_a_quarter_gets_noise_and_a_quarter_is_blurred(batch, side):
    high, low = patches(2, batch, side, 0), patches(2, batch, side // 4, 1)
    q = noisy_rows(batch)
    noise = torch.randn(2, q, 3 * side**2, dtype=torch.float64)
    strength = anneal(torch.tensor(25.0, dtype=torch.float64), 10)
    assert strength.sigma.item() == pytest.approx(0.1 * 0.8**2)
    assert strength.alpha.item() == pytest.approx(0.5 + 2 * 0.4 / 14)
    points, natural = graded_batch(high, low, noise, strength)
    clean = batch - 2 * q
    assert natural.tolist() == [1] * clean + [0] * 2 * q
    assert torch.equal(points[:, :clean], high[:, :clean])
    noisy = (high[:, clean : clean + q] + strength.sigma * block_noise(noise)).clamp(0, 1)
    torch.testing.assert_close(points[:, clean : clean + q], noisy)
    for v in range(2):
        for b in range(batch - q, batch):
            for colour in range(3):
                plane = low[v, b].reshape(side // 4, side // 4, 3)[..., colour].numpy()
                if side == 16:  # Pillow's bicubic agrees away from the borders
                    smooth = np.asarray(Image.fromarray(plane.astype(np.float32)).resize((side, side), 3))[6:10, 6:10]
                    sharp = high[v, b].reshape(side, side, 3)[6:10, 6:10, colour].numpy()
                    mixed = (strength.alpha.item() * sharp + (1 - strength.alpha.item()) * smooth).clip(0, 1)
                    got = points[v, b].reshape(side, side, 3)[6:10, 6:10, colour]
                    np.testing.assert_allclose(got.numpy(), mixed, atol=1e-6)
    assert points.min() >= 0
    assert points.max() <= 1


def test_fakes_get_more_natural_to_a_limit():
    for dtype in (torch.int64, torch.float32):
        steps = torch.tensor([0, 9, 10, 140, 10**6], dtype=dtype)
        sigma, alpha = anneal(steps, 10)
        torch.testing.assert_close(sigma, torch.tensor([0.1, 0.1, 0.08, 0.1 * 0.8**14, 0.1 * 0.8**14]))
        torch.testing.assert_close(alpha, torch.tensor([0.5, 0.5, 0.5 + 0.4 / 14, 0.9, 0.9]))


def test_a_flat_grey_patch_is_enlarged_to_itself():
    for value in (0.25, 0.75):
        torch.testing.assert_close(enlarge(torch.full((2, 3, 3 * 4), value)), torch.full((2, 3, 3 * 64), value))


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_of_the_nmd(seed):
    torch.manual_seed(seed)
    logits, natural = torch.randn(3, 8, dtype=torch.float64), torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    wanted = [F.binary_cross_entropy_with_logits(row, natural) for row in logits]
    torch.testing.assert_close(nmd_loss(logits, natural), torch.stack(wanted))
    torch.testing.assert_close(naturalness_loss(logits), -logits.sigmoid().log().mean(-1))


@pytest.mark.parametrize("step", [25, 10**4])
def test_a_captured_step_follows_the_annealing(step):
    """As a CUDA graph does: the operations are repeated, and what the host computed stays."""
    torch.manual_seed(0)
    number, high, low = torch.tensor(0), torch.rand(1, 4, 192), torch.rand(1, 4, 12)
    noise = torch.randn(1, 1, 192)

    def compute() -> torch.Tensor:
        points, natural = graded_batch(high, low, noise, anneal(number, 10))
        return nmd_loss(points.mean(-1), natural)

    graph = RecordedGraph([])
    loss = graph.capture(compute)
    first = loss.clone()
    number.fill_(step)
    high.mul_(0.9)
    graph.replay()
    assert not torch.equal(loss, first)
    torch.testing.assert_close(loss, compute())
