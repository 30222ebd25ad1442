"""Networks of super-resolution: the papers' sizes, the reach of an output pixel, and bicubic enlargement."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mvm.networks.backbones import BACKBONES, RDN, NSRNet, Small, SRResNet
from mvm.networks.resnet import PatchMetric
from mvm.networks.upsampling import bicubic, interleave

LIGHT = {  # a light network of each kind, two of those whose reach depends on more than the number of blocks
    "small": lambda: Small(4, 2),
    "srresnet": lambda: SRResNet(4, 2),
    "rdn": lambda: RDN(4, 3, blocks=2, layers=3),
    "rdn-wide": lambda: RDN(3, 4, blocks=3, layers=1),
    "nsrnet": lambda: NSRNet(4, 3, pairs=2, layers=2),
}
SIZES = {"small": 88_752, "srresnet": 1_549_462, "rdn": 22_271_107, "nsrnet": 4_959_235}


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    assert {name: parameters(build()) for name, build in BACKBONES.items()} == SIZES


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (2, 9)])
def test_any_height_and_width_is_enlarged_by_four(build, shape):
    torch.manual_seed(0)
    h, w = shape
    assert build()(torch.rand(2, 3, h, w)).shape == (2, 3, 4 * h, 4 * w)


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
@pytest.mark.parametrize("across", [False, True], ids=["along", "across"])
def test_an_output_pixel_depends_on_its_receptive_field_only(build, across):
    """With positive weights nothing cancels, so that every pixel that can have an influence has one."""
    torch.manual_seed(0)
    network = build().double().eval()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1)
    reach = network.receptive_field
    middle, side = reach + 3, 2 * reach + 7
    x = torch.rand(1, 3, 3, side, dtype=torch.float64)
    x = (x.mT if across else x).clone().requires_grad_()
    touched = []
    for phase in range(4):
        y = network(x)
        column = (y.mT if across else y)[0, :, 4:8, 4 * middle + phase]
        (gradient,) = torch.autograd.grad(column.sum(), x)
        pixels = (gradient.mT if across else gradient)[0].abs().amax((0, 1)).nonzero().flatten()
        touched += [middle - int(pixels.min()), int(pixels.max()) - middle]
    assert max(touched) == reach


def test_reach_of_the_papers_sizes():
    assert {name: build().receptive_field for name, build in BACKBONES.items()} == {
        "small": 10,
        "srresnet": 40,
        "rdn": 133,
        "nsrnet": 44,
    }


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
def test_every_parameter_has_a_gradient(build):
    torch.manual_seed(0)
    network = build()
    if isinstance(network, Small):
        torch.nn.init.normal_(network.tail.weight)  # its zeros keep gradients from the layers before
    network(torch.rand(3, 3, 6, 5)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        if not name.endswith(("layers.0.bias", "layers.3.bias", "end.0.bias")):  # batch normalisation removes them
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
def test_pixels_keep_full_precision_under_autocast(build):
    torch.manual_seed(0)
    network, x = build().eval(), torch.rand(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x)
    assert y.dtype == torch.float32
    assert not torch.equal(y, y.bfloat16().float())
    torch.testing.assert_close(y, network(x), atol=0.05, rtol=0.05)


def test_equal_seeds_give_equal_networks():
    for build in LIGHT.values():
        first, second = [], []
        for weights in (first, second):
            torch.manual_seed(3)
            weights.extend(build().parameters())
        assert all(map(torch.equal, first, second))


# -- upsampling --------------------------------------------------------------------------------------------------------


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def enlarge_axis(row: torch.Tensor) -> torch.Tensor:
    """MATLAB's contributions of one axis, pixel by pixel."""
    mirrored = [*range(len(row)), *reversed(range(len(row)))]
    enlarged = []
    for j in range(4 * len(row)):
        u = (j + 0.5) / 4 - 0.5
        near = range(int(u // 1) - 2, int(u // 1) + 4)
        enlarged.append(sum(keys(u - i) * row[mirrored[i % len(mirrored)]] for i in near))
    return torch.stack(enlarged)


@pytest.mark.parametrize("shape", [(5, 4), (1, 3), (2, 1), (2, 2)])
def test_bicubic_is_matlabs_pixel_by_pixel(shape):
    torch.manual_seed(0)
    x = torch.rand(2, 3, *shape, dtype=torch.float64)
    rows = torch.stack([torch.stack([enlarge_axis(row) for row in plane]) for plane in x.flatten(0, 1)])
    wanted = torch.stack([torch.stack([enlarge_axis(row) for row in plane]) for plane in rows.mT]).mT
    torch.testing.assert_close(bicubic(x).flatten(0, 1), wanted)


@pytest.mark.parametrize("shape", [(9, 12), (16, 11)])
def test_bicubic_is_pillows_inside(shape):
    """Pillow has the same kernel, with other borders."""
    plane = np.random.default_rng(0).random(shape, dtype=np.float32)
    wanted = Image.fromarray(plane).resize((4 * shape[1], 4 * shape[0]), Image.Resampling.BICUBIC)
    got = bicubic(torch.from_numpy(plane).expand(1, 3, *shape))
    inside = np.s_[8:-8, 8:-8]
    for colour in got[0]:
        np.testing.assert_allclose(colour.numpy()[inside], np.asarray(wanted)[inside], atol=1e-5)


def test_an_untrained_small_network_is_bicubic():
    torch.manual_seed(0)
    for shape in ((4, 6), (7, 3)):
        x = torch.rand(2, 3, *shape)
        torch.testing.assert_close(Small(8, 1)(x), bicubic(x))


def test_bicubic_first_used_in_inference_mode_can_be_trained_through():
    x = torch.rand(1, 3, 3, 3, dtype=torch.float16)  # a precision that no other test uses: the kernel is made here
    with torch.inference_mode():
        bicubic(x)
    x.requires_grad_()
    bicubic(x).sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(16.0 * 27, dtype=torch.float16), atol=1, rtol=0)


@pytest.mark.parametrize(("factor", "colours"), [(4, 3), (2, 5)])
def test_interleaving_is_a_pixel_shuffle_with_colours_last(factor, colours):
    x = torch.rand(2, factor**2 * colours, 3, 5)
    colours_first = x.unflatten(1, (factor**2, colours)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(interleave(x, factor), F.pixel_shuffle(colours_first, factor))
    assert interleave(x, factor).is_contiguous(memory_format=torch.channels_last)


# -- metric ------------------------------------------------------------------------------------------------------------


def test_parameters_of_the_patch_metric():
    assert parameters(PatchMetric()) == 2_935_296


@pytest.mark.parametrize("size", [32, 96, 128, 192])
def test_the_patch_metric_sees_every_pixel(size):
    torch.manual_seed(0)
    g = PatchMetric(size, embedding_dim=5, channels=2).double()
    x = torch.rand(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    embeddings = g(x)
    assert embeddings.shape == (2, 5)
    embeddings.square().sum().backward()
    for name, parameter in g.named_parameters():
        assert parameter.grad.isfinite().all(), name
    torch.testing.assert_close(g(x)[1:], g(x[1:]))
    border = torch.rand_like(x)
    border[:, :, : size - 8, : size - 8] = x[:, :, : size - 8, : size - 8]
    assert not torch.allclose(g(border), embeddings)


@pytest.mark.parametrize("size", [0, 48, 100, 16])
def test_sizes_that_a_patch_metric_cannot_have(size):
    with pytest.raises(ValueError, match=f"size: patches of {size} pixels; give a multiple of 32"):
        PatchMetric(size)


def test_embeddings_of_unit_length():
    torch.manual_seed(0)
    g = PatchMetric(32, channels=2, unit_length=True)
    torch.testing.assert_close(g(torch.rand(3, 3, 32, 32)).norm(dim=-1), torch.ones(3))
