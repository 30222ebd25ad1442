"""The stacked perceptron against V separate torch networks."""

import numpy as np
import pytest
import torch
from plain import MODULES, separate
from torch import nn

from mvm.networks.mlp import ACTIVATIONS, StackedMLP, waves

SIZES = [3, 16, 16, 5]


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def stack(*, activation: str = "relu", copies: int = 2, unit_length: bool = False) -> StackedMLP:
    return StackedMLP(SIZES, seeded(0, 1), copies=copies, activation=activation, unit_length=unit_length).double()


def test_every_activation_has_a_module_here():
    assert set(MODULES) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_gradients_are_those_of_separate_networks(activation):
    network, x = stack(activation=activation), points(4, 7, 3)
    out = network(x)
    assert out.shape == (4, 7, 5)
    out.square().mean((-2, -1)).sum().backward()
    for v in range(4):
        alone = separate(network, v, activation)
        expected = alone(x[v])
        torch.testing.assert_close(out[v], expected)
        expected.square().mean().backward()
        for layer, linear in enumerate(m for m in alone if isinstance(m, nn.Linear)):
            torch.testing.assert_close(network.weights[layer].grad[v], linear.weight.grad.T)
            torch.testing.assert_close(network.biases[layer].grad[v, 0], linear.bias.grad)


def test_gradcheck_by_input_and_weights():
    network = StackedMLP([2, 3, 2], seeded(0, 1), activation="silu").double()
    names = [name for name, _ in network.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (points(2, 3, 2).requires_grad_(), *network.parameters()))


def test_waves_join_the_input_and_none_is_steeper_than_it():
    x = points(2, 5, 3).requires_grad_()
    joined = waves(x, (2, 8.5))
    plain = x.detach().numpy()
    parts = [plain, np.sin(2 * plain) / 2, np.sin(8.5 * plain) / 8.5, np.cos(2 * plain) / 2, np.cos(8.5 * plain) / 8.5]
    np.testing.assert_allclose(joined.detach().numpy(), np.concatenate(parts, axis=-1), atol=1e-15)
    for column in range(15):
        (slope,) = torch.autograd.grad(joined[..., column].sum(), x, retain_graph=True)
        assert slope.abs().amax() <= 1
    network = StackedMLP(SIZES, seeded(0, 1), frequencies=(2, 8.5)).double()
    after = StackedMLP([15, *SIZES[1:]], seeded(0, 1)).double()
    assert torch.equal(network(x), after(joined))


def test_unit_length_divides_by_the_norm():
    plain, unit, x = stack(), stack(unit_length=True), points(4, 7, 3)
    out = plain(x)
    torch.testing.assert_close(unit(x), out / out.square().sum(-1, keepdim=True).sqrt())


def test_equal_seeds_start_equal_and_other_seeds_do_not():
    network = stack(copies=3)  # seeds vary fastest: 0 1 0 1 0 1
    for parameter in network.parameters():
        assert parameter.shape[0] == 6
        assert torch.equal(parameter[0], parameter[2])
        assert torch.equal(parameter[1], parameter[5])
        assert not torch.equal(parameter[0], parameter[1])
    for one, other in zip(stack().parameters(), stack().parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_seed_starts_the_same_whoever_is_beside_it():
    together, alone = StackedMLP(SIZES, seeded(5, 1)), StackedMLP(SIZES, seeded(1))
    for many, one in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(many[1], one[0])


def test_initial_weights_are_uniform_within_one_over_the_root_of_the_inputs():
    network = StackedMLP([25, 400, 4], seeded(0))
    for weight, bias, inputs in zip(network.weights, network.biases, (25, 400), strict=True):
        drawn = torch.cat([weight.detach().flatten(), bias.detach().flatten()]) * inputs**0.5
        assert drawn.abs().max() <= 1
        torch.testing.assert_close(drawn.mean().item(), 0.0, atol=0.05, rtol=0)
        torch.testing.assert_close(drawn.var().item(), 1 / 3, atol=0.03, rtol=0)


def test_a_member_is_its_own_network_on_the_same_memory():
    network, x = stack(), points(4, 7, 3)
    single = network.member(2)
    torch.testing.assert_close(single(x[2:3]), network(x)[2:3])
    assert all(parameter.shape[0] == 1 for parameter in single.parameters())
    assert not any(parameter.requires_grad for parameter in single.parameters())
    with torch.no_grad():
        network.weights[0][2] += 1
    torch.testing.assert_close(single(x[2:3]), network(x)[2:3])
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert [p.shape[0] for p in network.parameters()] == [4] * 6
