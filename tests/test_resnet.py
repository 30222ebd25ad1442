"""The image networks: sizes known from the published code, and the folded convolution against the plain one."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mvm.methods.method import squared_slope
from mvm.networks.resnet import ImageStack, ResNetGenerator, ResNetMetric, UpConv, folded


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
        with pytest.raises(ValueError, match=f"size: pictures of {size} pixels; give .* power of two from 8"):
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


@pytest.mark.parametrize("shape", [(4, 4), (2, 3)])
def test_kernels_folded_together_are_those_folded_alone(shape):
    torch.manual_seed(0)
    weights = [torch.randn(*shape, 3, 3, requires_grad=True) for _ in range(3)]
    together, alone = folded(weights), [folded([weight])[0] for weight in weights]
    assert all(map(torch.equal, together, alone))
    toward = torch.randn_like(alone[0])
    gradients = [
        torch.autograd.grad(sum((k * toward).sum() for k in kernels), weights) for kernels in (together, alone)
    ]
    assert all(map(torch.equal, *gradients))


def stacks() -> dict[str, tuple[ImageStack, torch.Tensor]]:
    torch.manual_seed(0)
    generators = [ResNetGenerator(16, noise_dim=5, channels=4) for _ in range(2)]
    metrics = [ResNetMetric(16, embedding_dim=3, channels=4) for _ in range(2)]
    return {
        "generator": (ImageStack(generators, gives_images=True, bf16=True), torch.randn(2, 6, 5)),
        "metric": (ImageStack(metrics, takes_images=True, bf16=True), torch.rand(2, 6, 3 * 16 * 16)),
    }


def by_autocast(stack: ImageStack, x: torch.Tensor) -> torch.Tensor:
    """Autocast casts weights one by one."""
    with torch.autocast("cpu", torch.bfloat16):
        return torch.stack([stack._forward_member(member, part) for member, part in zip(stack.members, x, strict=True)])


@pytest.mark.parametrize("name", ["generator", "metric"])
def test_weights_cast_together_train_as_weights_cast_one_by_one(name):
    """Outputs, gradients summed over two passes in float32, and the slope's second derivative, to the bit."""
    stack, x = stacks()[name]
    parameters = list(stack.parameters())
    outputs, gradients, slopes = [], [], []
    for function in (stack, lambda x: by_autocast(stack, x)):
        first, second = function(x), function(x.flip(1))
        outputs.append(first)
        gradients.append(torch.autograd.grad(first.square().sum() + second.sin().sum(), parameters))
        slope = squared_slope(function, x).sum()
        slopes.append(torch.autograd.grad(slope, parameters, materialize_grads=True))
    assert torch.equal(*outputs)
    assert all(gradient.dtype == torch.float32 for gradient in gradients[0])
    assert all(map(torch.equal, *gradients))
    assert all(map(torch.equal, *slopes))


def test_gradients_of_many_passes_add_up_in_float32():
    """Of 512 equal passes, 512 times that of one: in bfloat16, sums stop growing at 256 times a term."""
    stack, x = stacks()["metric"]
    weight = stack.members[0].convolutions[1].weight
    (one,) = torch.autograd.grad(stack(x).sum(), weight)
    (many,) = torch.autograd.grad(sum(stack(x).sum() for _ in range(512)), weight)
    torch.testing.assert_close(many, 512 * one, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["generator", "metric"])
def test_no_weight_is_cast_by_itself(name):
    stack, x = stacks()[name]
    owned = {parameter.data_ptr() for parameter in stack.parameters()}
    alone = []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default and args[0].data_ptr() in owned:
                alone.append(tuple(args[0].shape))
            return function(*args, **(kwargs or {}))

    with Casts():
        y = stack(x)
    assert y.dtype == torch.float32
    assert alone == []
    with Casts():
        by_autocast(stack, x)
    assert alone, "as the counter would have shown"
