"""The image networks: sizes known from the published code, and the folded convolution against the plain one."""

import pytest
import torch
from torch.nn import functional as F

from mvm.networks.resnet import ResNetGenerator, ResNetMetric, UpConv


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("size", "generator", "metric"), [(32, 1_597_699, 692_714), (64, 2_040_963, 2_792_938)])
def test_parameter_counts(size, generator, metric):
    assert parameters(ResNetGenerator(size)) == generator
    assert parameters(ResNetMetric(size)) == metric


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_shapes_and_range(size):
    torch.manual_seed(0)
    f, g = ResNetGenerator(size, noise_dim=7, channels=8), ResNetMetric(size, embedding_dim=5, channels=4)
    images = f(torch.randn(3, 7))
    assert images.shape == (3, 3, size, size)
    assert 0 < images.min() < images.max() < 1
    assert g(images).shape == (3, 5)


@pytest.mark.parametrize("size", [4, 48, 0, 65])
def test_sizes_that_cannot_be(size):
    for network in (ResNetGenerator, ResNetMetric):
        with pytest.raises(ValueError, match=f"size: pictures of {size} pixels; give a power of two from 8"):
            network(size)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (1, 1)])
def test_the_folded_convolution_is_the_plain_one(shape):
    torch.manual_seed(0)
    folded = UpConv(3, 4).double()
    x = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    doubled = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    wanted = F.conv2d(doubled, folded.weight, folded.bias, padding=1)
    got = folded(x)
    torch.testing.assert_close(got, wanted)
    toward = torch.randn_like(wanted)
    leaves = [x, folded.weight, folded.bias]
    gradients = [torch.autograd.grad((y * toward).sum(), leaves, retain_graph=True) for y in (got, wanted)]
    torch.testing.assert_close(*gradients)


def test_a_generator_is_the_same_folded_or_not():
    torch.manual_seed(0)
    folded, plain = ResNetGenerator(16, channels=8).double(), ResNetGenerator(16, channels=8, folded=False).double()
    plain.load_state_dict(folded.state_dict())
    z = torch.randn(4, 128, dtype=torch.float64)
    torch.testing.assert_close(folded(z), plain(z))


def test_every_parameter_has_a_gradient():
    torch.manual_seed(0)
    f, g = ResNetGenerator(16, channels=8), ResNetMetric(16, channels=4)
    g(f(torch.randn(6, 128))).square().sum().backward()
    for network in (f, g):
        for name, parameter in network.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_the_metric_embeds_each_picture_by_itself():
    torch.manual_seed(0)
    g, images = ResNetMetric(16, channels=4).double(), torch.rand(5, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(g(images)[2:3], g(images[2:3]))
