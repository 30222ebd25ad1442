"""What every entry of every registry owes: a new entry is tested by being there."""

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from random_features import random_features
from safetensors.torch import load, save
from trainers import few_scored, small_held_out

from mvm import load as trained
from mvm.config import Config
from mvm.data.images import ImageData, load_images
from mvm.data.kind import Members
from mvm.data.kinds import KINDS, kind_of, load_data
from mvm.data.pairs import PairData
from mvm.data.photographs import built_in
from mvm.data.points import PointData, load_points
from mvm.errors import ConfigError
from mvm.geometry.descriptors import DESCRIPTORS
from mvm.geometry.spectrum import SPECTRUM_FORMS, eigenpairs, eigenvalues
from mvm.imaging.resize import imresize
from mvm.methods import METHODS, Draws
from mvm.methods.method import PAIRED_KINDS, squared_slope
from mvm.methods.metric_losses import METRIC_LOSSES, metric_loss
from mvm.networks.architecture import Architecture
from mvm.networks.mlp import ACTIVATIONS, StackedMLP
from mvm.networks.settings import NetworkSettings
from mvm.runs.evaluate import load_experiment, sample_run
from mvm.runs.recorder import Recorder, train
from mvm.runs.run import Run
from mvm.settings import Settings
from mvm.training.experiment import Experiment, fit
from mvm.training.sampling import generated
from mvm.variants import variant_named
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
    network = {"width": 8, "depth": 2, "noise_dim": 3, "embedding_dim": 4, "channels": 4, "metric_channels": 4}
    network |= {"backbone": "small", "discriminator": "light"}
    return Config.make(**{"device": "cpu", "steps": 3, "batch": 16, "seeds": (0, 5), "network": network} | values)


@functools.cache
def pictures() -> ImageData:
    return load_images(config(**PICTURES))


@functools.cache
def pairs() -> PairData:
    return load_data(config(**PAIRS))


PICTURES = {"data": "faces", "size": 8, "points": 64, "view_points": 16, "batch": 8, "threads": 1}
PAIRS = {
    "data": "sr", "patch": 8, "view_points": 16, "batch": 4, "threads": 1, "superres": {"image_steps": 1},
}  # fmt: skip
DATA = {  # what config and data set every kind is tested on
    "points": ({}, cloud), "images": (PICTURES, pictures), "superres": (PAIRS, pairs),
}  # fmt: skip
LEARNED = [(method, kind) for method in METHODS for kind in KINDS if METHODS[method].learns(kind)]
KIND_OF = dict(reversed(LEARNED))  # the first kind that a method learns
RECIPES = [(method, recipe) for method in METHODS for recipe in METHODS[method].recipes]


@pytest.fixture(autouse=True, scope="module")
def without_pretrained_networks() -> Iterator[None]:
    """A perceptual network with random weights, as the pretrained ones are not at hand everywhere."""
    with random_features():
        yield


def experiment_of(method: str, kind: str = "", *, dtype: torch.dtype = torch.float32, **values) -> Experiment:
    fields, data = DATA[kind or KIND_OF[method]]
    return Experiment(config(method=method, **fields, **values), data(), dtype=dtype)


def weights(experiment: Experiment) -> dict[str, dict[str, torch.Tensor]]:
    """A copy of every network's parameters, by network."""
    networks = experiment.method.networks.items()
    return {name: {key: p.detach().clone() for key, p in network.named_parameters()} for name, network in networks}


def moved(before: dict[str, dict[str, torch.Tensor]], after: dict[str, dict[str, torch.Tensor]]) -> set[str]:
    """Networks of which some weight changed."""
    return {name for name in before if any(not torch.equal(p, after[name][key]) for key, p in before[name].items())}


def test_every_kind_of_data_is_tested():
    assert set(DATA) == set(KINDS)


@pytest.mark.parametrize("method", METHODS)
def test_method_introduces_itself(method):
    entry = METHODS[method]
    assert entry.title.strip() == entry.title != ""
    assert issubclass(entry.settings_type, Settings)
    assert entry.kinds is None or {*entry.kinds} <= set(KINDS)
    assert set(entry.kind_recipes) <= {kind for kind in KINDS if entry.learns(kind)}
    assert {"stabilised", "paper"} <= set(entry.recipes)
    assert all(set(recipes) <= set(entry.recipes) for recipes in entry.kind_recipes.values())
    assert set() < set(entry.averaged) <= set(entry.players)
    assert entry.evaluations(entry.settings_type()) >= 1


@pytest.mark.parametrize(("method", "kind"), LEARNED)
def test_every_network_is_moved_by_one_player(method, kind):
    experiment = experiment_of(method, kind)
    moves = [network for networks in experiment.method.players.values() for network in networks]
    assert sorted(moves) == sorted(experiment.method.networks)
    assert set(experiment.players) == set(experiment.method.players) >= set(METHODS[method].players)


@pytest.mark.parametrize(("method", "recipe"), RECIPES)
def test_every_update_is_its_players(method, recipe):
    check_updates(experiment_of(method, recipe=recipe))


@pytest.mark.parametrize(("method", "kind"), [(method, kind) for method, kind in LEARNED if kind != KIND_OF[method]])
def test_every_update_of_another_kind_is_its_players(method, kind):
    check_updates(experiment_of(method, kind))


def check_updates(experiment: Experiment) -> None:
    """A declared player descends a finite loss of every variant, all of its networks move, and no others do."""
    players, members, descended = experiment.method.players, len(experiment.config.members), []
    after = weights(experiment)
    steps = range(2) if experiment.method.phase(0) != experiment.method.phase(1) else [0]
    for player, loss in (loss for step in steps for loss in experiment.method.updates(experiment.draws.at(step))):
        assert player in players
        assert loss.total.shape == (members,)
        assert loss.terms
        assert all(term.shape == (members,) for term in loss.terms.values())
        parameters = experiment.players[player].parameters
        gradients = torch.autograd.grad(loss.total.sum(), parameters, retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert max(gradient.abs().amax() for gradient in gradients) > 0

        before = weights(experiment)
        assert moved(after, before) <= set(players[descended[-1]] if descended else ()), "a projection is of one player"
        experiment.players[player].descend(loss)
        after = weights(experiment)
        assert moved(before, after) == set(players[player])
        descended.append(player)
    assert moved(after, weights(experiment)) <= set(players[descended[-1]])
    assert set(descended) == set(players)


@pytest.mark.parametrize(("method", "kind"), LEARNED)
def test_method_samples_and_embeds(method, kind):
    experiment = experiment_of(method, kind)
    data, members = experiment.data, len(experiment.config.members)
    noise = experiment.view_inputs(5)
    assert noise.shape == (5, experiment.noise_dim)
    assert noise.isfinite().all()
    fakes = experiment.generate(noise)
    assert fakes.shape == (members, 5, data.dim)
    live = experiment.method.sample(experiment.method.networks, noise.expand(members, -1, -1))
    assert live.shape == fakes.shape
    embedded = experiment.method.embed(fakes)
    assert (embedded is not None) == METHODS[method].learns_metric
    seen = experiment.embed(data.view[:7])
    dim = data.dim if embedded is None else experiment.config.network.embedding_dim
    assert seen.shape == (members, 7, dim)
    assert seen.isfinite().all()


@pytest.mark.parametrize(("method", "kind"), LEARNED)
def test_a_variants_own_settings_act_on_it_alone_and_as_in_a_run_of_its_own(method, kind):
    base = config(method=method, **DATA[kind][0])
    own = {name: 0.5 * base.flat()[name] or 0.1 for name in base.of_variant(base.variants[-1]).movable}
    name, dtype = variant_named(base.variants[-1], own), torch.float64
    together = experiment_of(method, kind, variants=(base.variants[-1], name), dtype=dtype)
    alone = [
        experiment_of(method, kind, variants=base.variants[-1:], dtype=dtype),
        Experiment(base.of_variant(name), DATA[kind][1](), dtype=dtype),
    ]
    for experiment in (together, *alone):
        assert len([*fit(experiment)]) == 3
    fakes = [experiment.generate(experiment.view_inputs(5), averaged=False) for experiment in (together, *alone)]
    torch.testing.assert_close(fakes[0], torch.cat(fakes[1:]), rtol=1e-6, atol=1e-7)
    assert not torch.allclose(*fakes[1:], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("method", "kind"), LEARNED)
def test_a_step_is_prepare_compute_commit(method, kind):
    whole, parts = experiment_of(method, kind), experiment_of(method, kind)
    for _ in range(2):
        step = whole.advance()
        parts.prepare()
        computed = parts.compute()
        assert parts.step == step.number - 1, "a step is counted when it is committed"
        committed = parts.commit(*computed)
        assert parts.step == committed.number == step.number
    assert whole.tensors().keys() == parts.tensors().keys()
    assert [name for name, tensor in whole.tensors().items() if not torch.equal(tensor, parts.tensors()[name])] == []
    for ours, theirs in ((step.losses, committed.losses), (step.terms, committed.terms)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("method", "recipe"), RECIPES)
def test_method_trains_the_same_from_the_same_seed_and_another_from_another(method, recipe):
    def trained(*seeds: int) -> dict[str, torch.Tensor]:
        experiment = experiment_of(method, recipe=recipe, seeds=seeds)
        assert [step.number for step in fit(experiment)] == [1, 2, 3]
        return experiment.tensors()

    one, again, other = trained(0), trained(0), trained(1)
    assert all(value.isfinite().all() for value in one.values())
    assert all(torch.equal(one[name], again[name]) for name in one)
    first = next(name for name in one if name.startswith("generator."))
    assert not torch.equal(one[first], other[first])


@pytest.mark.parametrize("method", METHODS)
def test_a_stacked_method_is_separate_runs(method):
    """What a member of the variant axis becomes is what it becomes alone."""
    together = experiment_of(method, dtype=torch.float64)
    alone = experiment_of(method, dtype=torch.float64, seeds=(5,))
    for experiment in (together, alone):
        for _ in fit(experiment):
            pass
    member = together.config.members.index((together.config.variants[-1], 5))
    if KIND_OF[method] == "points":  # their tensors have a variant axis
        for name, value in alone.averaged().items():
            torch.testing.assert_close(together.averaged()[name][member], value[-1], rtol=1e-7, atol=1e-9)
    view = together.view_inputs(8)
    for averaged in (True, False):
        ours, theirs = (each.generate(view, averaged=averaged) for each in (together, alone))
        torch.testing.assert_close(ours[member], theirs[-1], rtol=1e-7, atol=1e-9)
    view = together.data.view.double()
    torch.testing.assert_close(together.embed(view)[member], alone.embed(view)[-1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_method_resumes_bit_for_bit(method):
    whole, first, second = (experiment_of(method, steps=4) for _ in range(3))
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
    experiment = experiment_of(method)
    experiment.advance()
    held = dict(experiment.method.state)
    experiment.method.reweight(dict(experiment.config.with_changes({"weights.diameter": 4.0}).weights))
    assert all(experiment.method.state[name] is tensor for name, tensor in held.items())
    if METHODS[method].matches_descriptors:
        assert (experiment.method.state["weights"] == 4.0).any()


@pytest.mark.parametrize("method", METHODS)
def test_moved_settings_act_as_those_of_a_config(method):
    """What a training goes on to after a move is what a config with these values does from there, bit for bit."""
    moved, given = experiment_of(method), experiment_of(method)
    moved.advance()
    flat = moved.config.flat()
    changes = {name: flat[name] / 2 + 0.01 * name.endswith("gamma") for name in moved.moved}
    assert {"optimiser.generator_lr"} <= changes.keys() <= {*moved.config.movable}
    given = type(moved)(moved.config.with_changes(changes), moved.data)
    given.load(load(save({name: value.clone() for name, value in moved.tensors().items()})))
    moved.move(changes)
    for _ in range(2):
        moved.advance(), given.advance()
    ours, theirs = moved.tensors(), given.tensors()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(("method", "recipe"), RECIPES)
def test_recipe_is_a_valid_config_and_names_itself(method, recipe):
    for kind in (kind for kind in KINDS if METHODS[method].learns(kind)):
        made = Config.make(method=method, recipe=recipe, **DATA[kind][0])
        assert (made.method, made.recipe, made.kind) == (method, recipe, kind)
        assert Config.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_exact_computes_in_float32_inside_and_restores_every_switch(kind, precision):
    experiment = experiment_of("mvm", kind, precision=precision)

    def switches() -> list[bool]:
        networks = experiment.method.networks.values()
        return [torch.backends.cudnn.allow_tf32, *(n.bf16 for n in networks if hasattr(n, "bf16"))]

    before = switches()
    assert before == [True, *[precision == "bf16"] * (0 if kind == "points" else 2)]
    with experiment.exact():
        assert not any(switches())
        with experiment.exact():
            pass
        assert not any(switches())
    assert switches() == before
    with pytest.raises(RuntimeError, match="within"), experiment.exact():
        raise RuntimeError("within")
    assert switches() == before


def test_squared_slope_leaves_its_argument_alone():
    x, w = points(2, 7, 3), points(3, seed=1).requires_grad_()
    slope = squared_slope(lambda x: (x @ w).sin(), x)
    assert not x.requires_grad
    assert x.grad is None
    torch.testing.assert_close(slope, (x @ w).cos().square() * w.square().sum())
    (gradient,) = torch.autograd.grad(slope.sum(), w)
    expected = (
        2 * (x @ w).cos().square().sum() * w - ((2 * (x @ w)).sin()[..., None] * x).sum((0, 1)) * w.square().sum()
    )
    torch.testing.assert_close(gradient, expected)
    leaf = points(2, 7, 3).requires_grad_()
    inner = 2 * leaf
    (unfelt,) = torch.autograd.grad(squared_slope(lambda x: (x @ w).sin(), inner).sum(), leaf, allow_unused=True)
    assert unfelt is None
    assert inner.requires_grad
    assert leaf.grad is None


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


# Kinds of data: settings -> a data set, networks, defaults


@pytest.fixture(params=KINDS)
def run(request) -> Run:
    """A run on data of every kind, before its first step."""
    made = Run.create(
        config(**{"points": 64, "view_points": 16, "steps": 20, "variants": ("both",)} | DATA[request.param][0]),
        name="a",
    )
    Recorder(made, Experiment(made.config, made.data)).start()
    return made


@pytest.mark.parametrize("name", KINDS)
def test_kind_introduces_itself(name):
    kind = KINDS[name]
    assert kind.name == name
    for words in (kind.title, kind.noun):
        assert words.strip() == words != ""
    assert kind.network_settings <= set(NetworkSettings.model_fields)
    assert (".npy" in kind.sample_formats) == (name not in PAIRED_KINDS)
    assert set(kind.recipes) <= {"", *Config.model_fields["recipe"].annotation.__args__}
    assert kind.threads() >= 1
    assert kind.live_fakes is None or kind.live_fakes >= 1


@pytest.mark.parametrize("name", KINDS)
def test_kind_accepts_its_own_names_and_has_defaults(name):
    fields, _ = DATA[name]
    made = Config.make(**fields)
    assert kind_of(made.data) is KINDS[name]
    assert made.kind == name
    assert KINDS[name].data_title(made.data)
    assert KINDS[name].describe(made) == [], "data of this lab need no description"
    assert KINDS[name].digest(made) is None, "and are defined by their settings"
    others = [other for other in KINDS.values() if other is not KINDS[name]]
    unread = {f"network.{field}" for field in frozenset().union(*(other.network_settings for other in others))}
    assert not (unread - {f"network.{field}" for field in KINDS[name].network_settings}) & set(made.flat(used=True))


@pytest.mark.parametrize("name", KINDS)
def test_architecture_builds_networks_of_every_member(name):
    """Seeds vary fastest; equal seeds start from equal weights."""
    fields, data = DATA[name]

    def built() -> tuple[Architecture, dict[str, torch.nn.Module]]:
        members = Members([torch.Generator().manual_seed(seed) for seed in (0, 5)], (0, 5), copies=2)
        made = KINDS[name].architecture(data(), config(**fields).network, members, bf16=False)
        networks = {"generator": made.generator(noise), "metric": made.metric(), "readout": made.readout(2)}
        if name in PAIRED_KINDS:
            networks |= {"discriminator": made.discriminator(), "naturalness": made.naturalness()}
        return made, networks

    noise = data().view_inputs.shape[1] if name in PAIRED_KINDS else 3
    (made, networks), (_, again) = built(), built()
    assert (made.dim, made.noise_dim, made.embedding_dim, made.copies) == (data().dim, noise, 4, 2)
    sides = {"generator": (noise, made.dim), "metric": (made.dim, 4), "readout": (4, 2)}
    sides |= {"discriminator": (made.dim, 1), "naturalness": (made.dim, 1)}
    for role, network in networks.items():
        inputs, outputs = sides[role]
        x = points(1, 7, inputs).float().expand(4, -1, -1)
        y = network(x)
        assert y.shape == (4, 7, outputs)
        assert torch.equal(y, again[role](x))
        torch.testing.assert_close(y[:2], y[2:])
        assert not torch.allclose(y[0], y[1]) or (role == "generator" and name in PAIRED_KINDS), "bicubic, untrained"
        parameters = dict(network.named_parameters())
        for weight, matrix in network.matrices().items():
            assert matrix.ndim == 3
            assert matrix.numel() == parameters[weight].numel()


def test_data_set_gives_points_to_train_on_and_back(run):
    data = run.data
    again = load_data(run.config)
    assert data.dim >= 1
    assert data.train_size == (len(built_in()) if run.config.kind in PAIRED_KINDS else 64)
    view = data.view
    assert view.shape == (16, data.dim)
    assert view.isfinite().all()
    assert torch.equal(view, again.view)
    torch.testing.assert_close(data.standardise(data.restore(view)), view, rtol=1e-5, atol=1e-5)
    for dtype in (torch.float32, torch.float64):
        drawn, other = (
            Draws(d.table(torch.device("cpu"), dtype), (0, 5), copies=3, noise_dim=2).at(4) for d in (data, again)
        )
        batch = drawn.real(9)
        assert (batch.shape, batch.dtype) == ((6, 9, data.dim), dtype)
        assert torch.equal(batch, other.real(9))


def test_a_snapshot_shows_fakes_and_the_reals_beside_them(run):
    data, experiment = run.data, Experiment(run.config, run.data)
    noise = experiment.view_inputs(16)
    fake = experiment.generate(noise)
    shown, once = data.snapshot(fake, noise, experiment.generate), data.shown_once()
    count = shown["fake"].shape[1]
    torch.testing.assert_close(shown["fake"], data.restore(fake.cpu().float())[:, :count])
    assert ("real" in shown) == (once is None), "reals are in every snapshot, or kept once for all"
    assert all(isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu" for tensor in shown.values())
    saved = run.snapshot(0)
    embeddings = {"real_embedding", "fake_embedding", "spectrum_distance", "spectrum_mds"}
    assert set(saved) == {"step", *shown, *embeddings}
    real = run.real_view()
    np.testing.assert_array_equal(real, saved["real"] if once is None else once)
    np.testing.assert_array_equal(real, data.restore(data.view).numpy())
    assert saved["fake"].shape == (len(run.config.members), count, *real.shape[1:])


def test_reference_scores_fakes_beside_a_baseline(run):
    data = run.data
    if run.config.kind in PAIRED_KINDS:
        check_upscaling_is_scored(data.reference(32))
        return
    reference, other = data.reference(32), data.reference(32, repeat=1)
    assert reference.size == 32
    fakes = data.restore(torch.randn(32, data.dim, generator=torch.Generator().manual_seed(0)))
    scores = reference.score(fakes)
    assert reference.score(fakes) == scores
    assert other.score(fakes) != scores
    criterion = reference.criterion
    assert np.isfinite([scores[criterion], scores[f"{criterion}_floor"]]).all()
    assert scores[criterion] > scores[f"{criterion}_floor"] > 0, "noise is no data"
    assert {key.removesuffix("_floor") for key in scores if key.endswith("_floor")} <= set(scores)
    assert all(value is None or isinstance(value, float | int) for value in scores.values())


def check_upscaling_is_scored(reference) -> None:
    """The scores of bicubic pictures are the baseline; noise is worse."""
    bicubic = [imresize(low, (4 * low.shape[0], 4 * low.shape[1])) for low in reference.inputs]
    scores = reference.score(bicubic)
    assert reference.score(bicubic) == scores
    assert all(scores[key.removesuffix("_floor")] == value for key, value in scores.items() if key.endswith("_floor"))
    noise = [torch.randint(256, picture.shape, dtype=torch.uint8) for picture in bicubic]
    assert reference.score(noise)[reference.criterion] < scores[reference.criterion]


def test_units_are_enough_for_trained_networks(run):
    """Without training points, on a machine that may not have the data."""
    units, data = run.units, run.data
    assert units.dim == data.dim
    made = load_experiment(run, data=units)
    noise = made.view_inputs(5)
    assert torch.equal(generated(made, noise), generated(load_experiment(run), noise))
    real = data.restore(data.view)
    assert torch.equal(units.standardise(real), data.standardise(real))


def test_a_run_of_every_kind_trains_scores_and_samples(run, monkeypatch):
    monkeypatch.setattr("mvm.runs.recorder.QUICK", 32)
    with few_scored(32), small_held_out():
        for step in train(run):
            assert all(loss.isfinite().all() for loss in step.losses.values())
    rows, members = run.scores(), run.config.members
    assert [(row["variant"], row["seed"]) for row in rows] == members
    if run.config.kind in PAIRED_KINDS:
        with pytest.raises(ConfigError, match="upscale"):
            sample_run(run, 3)
        return
    samples = sample_run(run, 3)
    assert samples.shape == (len(members), 3, *run.real_view().shape[1:])
    assert samples.numpy().dtype == run.real_view().dtype
    assert trained(run.path).sample(3).shape == samples.shape[1:]


# Unknown names: one line that lists the known ones


@pytest.mark.parametrize(
    ("ask", "known"),
    [
        (lambda: Config.make(variants=("nope",)), DESCRIPTORS),
        (lambda: Config.make().with_changes({"variants": ("both+nope",)}), DESCRIPTORS),
        (lambda: metric_loss("nope"), METRIC_LOSSES),
        (lambda: Config.make(mvm={"metric_loss": "nope"}), METRIC_LOSSES),
        (lambda: Config.make(method="nope"), METHODS),
        (lambda: Config.make(recipe="nope"), METHODS["mvm"].recipes),
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
