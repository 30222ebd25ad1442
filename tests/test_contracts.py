"""What every entry of every registry owes: a new entry is tested by being there."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from mvm.config import RECIPES, Config
from mvm.data.points import PointData, load_points
from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.geometry.spectrum import SPECTRUM_FORMS, eigenpairs, eigenvalues
from mvm.methods import METHODS
from mvm.methods.metric_losses import METRIC_LOSSES, metric_loss
from mvm.networks.mlp import ACTIVATIONS, StackedMLP
from mvm.training.experiment import Experiment, fit
from toy_manifolds import MANIFOLDS

LEADING = [(), (3,), (2, 3)]
PAIRED = {"distance_matrix"}  # zero only where the rows of two equal sets are also in one order
LOSSES = [*METRIC_LOSSES, "pml:TripletMarginLoss", "pml:ContrastiveLoss", "pml:NTXentLoss", "pml:MultiSimilarityLoss"]
MINERS = ["BatchHardMiner", "TripletMarginMiner", "MultiSimilarityMiner"]


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Descriptors: (..., B, n), (..., B, n) -> (...)


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.parametrize("leading", LEADING)
def test_descriptor_gives_one_gap_per_variant(name, leading):
    real, fake = points(*leading, 8, 4), 1.5 * points(*leading, 8, 4, seed=1)
    gap = DESCRIPTORS[name].gap(real, fake)
    assert gap.shape == leading
    assert gap.dtype == torch.float64
    assert (gap > 0).all()
    torch.testing.assert_close(DESCRIPTORS[name].gap(fake, real), gap)
    assert torch.equal(DESCRIPTORS[name].gap(real, fake), gap)
    for v in np.ndindex(*leading):
        torch.testing.assert_close(DESCRIPTORS[name].gap(real[v], fake[v]), gap[v])


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.parametrize("leading", LEADING)
def test_descriptor_is_zero_at_the_same_set(name, leading):
    real = points(*leading, 8, 4)
    same = real if name in PAIRED else real.flip(-2)
    gap = DESCRIPTORS[name].gap(real, same)
    torch.testing.assert_close(gap, torch.zeros_like(gap), atol=2e-6, rtol=0)


def spread() -> torch.Tensor:
    return points(3, 8, 4)


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.parametrize(
    "fake",
    [
        lambda: 1.5 * points(3, 8, 4, seed=1),
        spread,
        lambda: points(3, 1, 4).expand(3, 8, 4),
        lambda: torch.zeros(3, 8, 4, dtype=torch.float64),
    ],
    ids=["apart", "matched", "collapsed", "zero"],
)
def test_descriptor_has_a_finite_gradient_even_where_it_is_zero_or_the_fakes_collapsed(name, fake):
    real, fakes = spread().requires_grad_(), fake().clone().requires_grad_()
    gradients = torch.autograd.grad(DESCRIPTORS[name].gap(real, fakes).sum(), (real, fakes))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptor_pulls_spread_fakes(name):
    fake = (1.5 * points(3, 8, 4, seed=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(DESCRIPTORS[name].gap(spread(), fake).sum(), fake)
    assert (gradient.abs().amax((-2, -1)) > 1e-3).all()


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptor_keeps_a_broken_variant_to_itself(name):
    real, fake = spread(), 1.5 * points(3, 8, 4, seed=1)
    healthy = DESCRIPTORS[name].gap(real, fake)
    fake[1, 2, 3] = torch.nan
    gap = DESCRIPTORS[name].gap(real, fake)
    assert gap[1].isnan()
    torch.testing.assert_close(gap[[0, 2]], healthy[[0, 2]])


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptor_introduces_itself(name):
    for words in (DESCRIPTORS[name].title, DESCRIPTORS[name].help):
        assert words.strip()
        assert "\n" not in words


# Metric losses: (..., B, n) three times -> (...)


def loss_of(name: str, a: torch.Tensor, p: torch.Tensor, n: torch.Tensor, miner: str | None = None) -> torch.Tensor:
    settings = {"gamma": 0.3, "summed": False} if name != "triplet" else {}
    return metric_loss(name, miner)(a, p, n, alpha=1.0, **settings)


@pytest.mark.parametrize(
    ("name", "miner"), [(name, None) for name in LOSSES] + [("pml:TripletMarginLoss", miner) for miner in MINERS]
)
@pytest.mark.parametrize("leading", LEADING)
def test_metric_loss_gives_one_mean_per_variant(name, miner, leading):
    a, p, n = (points(*leading, 8, 4, seed=seed).requires_grad_() for seed in range(3))
    loss = loss_of(name, a, p, n, miner)
    assert loss.shape == leading
    assert loss.dtype == torch.float64
    for gradient in torch.autograd.grad(loss.sum(), (a, p, n)):
        assert gradient.isfinite().all()
        assert (gradient.abs().amax((-2, -1)) > 0).all()
    assert torch.equal(loss_of(name, a, p, n, miner), loss)
    for v in np.ndindex(*leading):
        torch.testing.assert_close(loss_of(name, a[v], p[v], n[v], miner), loss[v])


@pytest.mark.parametrize("name", METRIC_LOSSES)
def test_metric_loss_has_a_finite_gradient_where_everything_coincides(name):
    a, p, n = (torch.ones(2, 8, 4, dtype=torch.float64).requires_grad_() for _ in range(3))
    for gradient in torch.autograd.grad(loss_of(name, a, p, n).sum(), (a, p, n)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_metric_loss_prefers_near_positives_and_far_negatives(name):
    a = points(8, 4)
    near, far = a + 0.01 * points(8, 4, seed=1), points(8, 4, seed=2) - 3 * a
    assert loss_of(name, a, near, far) < loss_of(name, a, far, near)


@pytest.mark.parametrize("name", LOSSES)
def test_a_config_takes_every_metric_loss(name):
    assert Config.make(mvm={"metric_loss": name}).mvm.metric_loss == name


# Methods and recipes: what the loop asks of them


def cloud() -> PointData:
    train = points(64, 2).float()
    return PointData(train, train[:16], torch.zeros(2), torch.ones(2))


def config(**values) -> Config:
    network = {"width": 8, "depth": 2, "noise_dim": 3, "embedding_dim": 4}
    return Config.make(**{"device": "cpu", "steps": 3, "batch": 16, "seeds": (0, 5), "network": network} | values)


@pytest.mark.parametrize(("method", "recipe"), [(method, recipe) for method in METHODS for recipe in RECIPES[method]])
def test_method_gives_both_players_a_finite_gradient_for_every_parameter(method, recipe):
    settings = config(method=method, recipe=recipe)
    experiment = Experiment(settings, cloud())
    members = len(settings.members)
    draws = experiment.draws.at(0)
    verbs = {"generator": "generator_loss", "metric": "critic_loss"}
    for player in ("generator", "metric") if METHODS[method].learns_metric else ("generator",):
        loss = getattr(experiment.method, verbs[player])(draws)
        assert loss.total.shape == (members,)
        assert loss.terms
        assert all(term.shape == (members,) for term in loss.terms.values())
        parameters = experiment.players[player].parameters
        gradients = torch.autograd.grad(loss.total.sum(), parameters, retain_graph=loss.reused)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert (gradients[0].abs().amax((-2, -1)) > 0).all()


@pytest.mark.parametrize(("method", "recipe"), [(method, recipe) for method in METHODS for recipe in RECIPES[method]])
def test_method_trains_the_same_from_the_same_seed_and_another_from_another(method, recipe):
    def trained(*seeds: int) -> dict[str, torch.Tensor]:
        experiment = Experiment(config(method=method, recipe=recipe, seeds=seeds), cloud())
        assert [step.number for step in fit(experiment)] == [1, 2, 3]
        return experiment.tensors()

    one, again, other = trained(0), trained(0), trained(1)
    assert all(value.isfinite().all() for value in one.values())
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["generator.weights.0"], other["generator.weights.0"])


@pytest.mark.parametrize("method", METHODS)
def test_a_stacked_method_is_separate_runs(method):
    """What a member of the variant axis becomes is what it becomes alone."""
    values = {"dtype": torch.float64}
    together = Experiment(config(method=method), cloud(), **values)
    alone = Experiment(config(method=method, seeds=(5,)), cloud(), **values)
    for experiment in (together, alone):
        for _ in fit(experiment):
            pass
    member = together.config.members.index((together.config.variants[-1], 5))
    for name, value in alone.averaged().items():
        torch.testing.assert_close(together.averaged()[name][member], value[-1], rtol=1e-7, atol=1e-9)
    view = cloud().view.double()
    torch.testing.assert_close(together.embed(view)[member], alone.embed(view)[-1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_method_resumes_bit_for_bit(method):
    settings = config(method=method, steps=4)
    whole, first, second = (Experiment(settings, cloud()) for _ in range(3))
    for _ in fit(whole):
        pass
    for _ in range(2):
        first.advance()
    second.load(load(save({name: value.clone() for name, value in first.tensors().items()})))
    for _ in fit(second):
        pass
    expected, got = whole.tensors(), second.tensors()
    assert set(expected) == set(got)
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_method_takes_new_weights_while_training(method):
    settings = config(method=method)
    experiment = Experiment(settings, cloud())
    experiment.advance()
    held = dict(experiment.method.state)
    experiment.method.reweight(settings.with_changes({"weights.diameter": 4.0}))
    assert all(experiment.method.state[name] is tensor for name, tensor in held.items())
    if METHODS[method].matches_descriptors:
        assert (experiment.method.weights == 4.0).any()


@pytest.mark.parametrize(("method", "recipe"), [(method, recipe) for method in METHODS for recipe in RECIPES[method]])
def test_recipe_is_a_valid_config_and_names_itself(method, recipe):
    made = Config.make(method=method, recipe=recipe)
    assert (made.method, made.recipe) == (method, recipe)
    assert Config.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("method", METHODS)
def test_method_owes_the_same_two_recipes(method):
    assert {"stabilised", "paper"} <= set(RECIPES[method])


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_trains_alone(name):
    experiment = Experiment(config(variants=(name,)), cloud())
    for step in fit(experiment):
        assert set(step.terms) >= {name}
        assert step.terms[name].isfinite().all()
    assert all(value.isfinite().all() for value in experiment.tensors().values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("unit_length", [False, True])
def test_network_has_a_finite_gradient_for_every_parameter(activation, unit_length):
    seeds = [torch.Generator().manual_seed(seed) for seed in range(2)]
    network = StackedMLP([3, 8, 4], seeds, activation=activation, unit_length=unit_length)
    out = network(points(2, 16, 3).float())
    assert out.shape == (2, 16, 4)
    (out * points(4).float()).sum().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad.abs().flatten(1).amax(1) > 0).all()


# Spectra: (..., n, dim) -> (..., k)


@pytest.mark.parametrize("form", SPECTRUM_FORMS)
@pytest.mark.parametrize("leading", LEADING)
def test_spectrum_gives_k_values_per_variant(form, leading):
    e = points(*leading, 12, 5)
    values = eigenvalues(e, k=7, form=form)
    assert values.shape == (*leading, 7)
    assert torch.equal(eigenvalues(e, k=7, form=form), values)
    assert eigenpairs(e, k=7, form=form).vectors.shape == (*leading, 12, 7)
    magnitudes = values.abs()
    assert (magnitudes[..., :-1] >= magnitudes[..., 1:]).all()
    turn = torch.linalg.qr(points(5, 5, seed=2)).Q
    torch.testing.assert_close(eigenvalues(3 * e @ turn + 7, k=7, form=form), values)
    for v in np.ndindex(*leading):
        torch.testing.assert_close(eigenvalues(e[v], k=7, form=form), values[v])


# Toy manifolds, as training data


@pytest.mark.parametrize("name", MANIFOLDS)
def test_manifold_is_training_data(name):
    settings = Config.make(data=name, points=400, view_points=16)
    data, again = load_points(settings), load_points(settings)
    assert data.train.shape == (400, data.dim)
    assert data.view.shape == (16, data.dim)
    assert data.train.isfinite().all()
    assert torch.equal(data.train, again.train)
    torch.testing.assert_close(data.train.square().mean().item(), 1.0, atol=1e-3, rtol=0)
    held_out = data.evaluation(50)
    assert held_out.real.shape == held_out.floor.shape == (50, data.dim)
    assert len(held_out.coordinates) == 50
    assert data.manifold.embed(held_out.coordinates.double()).shape == (50, data.dim)


# Unknown names: one line that lists the known ones


@pytest.mark.parametrize(
    ("ask", "known"),
    [
        (lambda: Config.make(variants=("nope",)), DESCRIPTORS),
        (lambda: Config.make().with_changes({"variants": ("both+nope",)}), DESCRIPTORS),
        (lambda: metric_loss("nope"), METRIC_LOSSES),
        (lambda: Config.make(mvm={"metric_loss": "nope"}), METRIC_LOSSES),
        (lambda: Config.make(method="nope"), METHODS),
        (lambda: Config.make(recipe="nope"), RECIPES["mvm"]),
        (lambda: Config.make(network={"activation": "nope"}), ACTIVATIONS),
        (lambda: eigenvalues(points(8, 3), form="nope"), SPECTRUM_FORMS),
        (lambda: load_points(Config.make(data="nope")), MANIFOLDS),
    ],
    ids=["variant", "changed", "loss", "config", "method", "recipe", "activation", "spectrum", "manifold"],
)
def test_an_unknown_name_gets_one_line_with_the_known_ones(ask, known):
    with pytest.raises(ValueError) as caught:
        ask()
    message = str(caught.value)
    assert "nope" in message
    assert "\n" not in message
    assert not [name for name in known if name not in message]


def test_config_errors_are_value_errors():
    assert issubclass(ConfigError, ValueError)


def test_method_names_of_the_config_are_the_registry():
    assert set(Config.model_fields["method"].annotation.__args__) == set(METHODS)
