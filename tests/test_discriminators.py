"""Discriminators of pictures: sizes, shapes, gradients, and the range of patches that they take."""

import pytest
import torch

from mvm.networks.discriminators import DISCRIMINATORS, NMD, LightDiscriminator, SRGANDiscriminator

LIGHT = {
    "srgan": lambda: SRGANDiscriminator(channels=4),
    "light": lambda: LightDiscriminator(channels=4),
    "nmd": lambda: NMD(channels=4),
}


def test_parameter_counts():
    sizes = {
        name: sum(p.numel() for p in build().parameters()) for name, build in {**DISCRIMINATORS, "nmd": NMD}.items()
    }
    assert sizes == {"srgan": 5_215_425, "light": 107_505, "nmd": 4_689_985}


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
@pytest.mark.parametrize("shape", [(16, 16), (96, 96), (33, 50), (192, 192)])
def test_one_logit_per_picture(build, shape):
    torch.manual_seed(0)
    assert build()(torch.rand(3, 3, *shape)).shape == (3,)


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
def test_every_parameter_has_a_gradient(build):
    torch.manual_seed(0)
    network = build()
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    norms = [i for i, layer in enumerate(network.layers) if isinstance(layer, torch.nn.BatchNorm2d)]
    under_norm = {f"layers.{i - 1}.bias" for i in norms}
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        if name not in under_norm:  # batch normalisation removes a constant
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
def test_logits_of_a_picture_do_not_depend_on_the_others_in_evaluation(build):
    torch.manual_seed(0)
    network, x = build().double().eval(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


@pytest.mark.parametrize("build", LIGHT.values(), ids=LIGHT)
def test_logits_keep_full_precision_under_autocast(build):
    torch.manual_seed(0)
    network, x = build().eval(), torch.rand(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, network(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("side", [32, 48])
def test_the_nmd_averages_its_logits_over_the_picture(side):
    torch.manual_seed(0)
    network, x = NMD(channels=4).double(), torch.rand(2, 3, side, side, dtype=torch.float64)
    places = network.head(network.layers(x))
    assert places.shape == (2, 1, side // 16, side // 16)
    torch.testing.assert_close(network(x), places.flatten(1).sum(1) / (side // 16) ** 2)
