"""MvM's updates, member by member, against plain loops fed with the same draws."""

import numpy as np
import pytest
import torch
from torch import nn

from mvm.config import Config
from mvm.geometry.descriptors import descriptors_of
from mvm.methods import Draws, Loss, Task
from mvm.methods.draws import Pair, stream
from mvm.methods.mvm import MvM
from mvm.networks.mlp import Perceptrons

BATCH, NOISE, DIM, EMBEDDING = 12, 3, 2, 4
NETWORK = {"width": 8, "depth": 1, "noise_dim": NOISE, "embedding_dim": EMBEDDING, "frequencies": ()}
NETWORK |= {"activation": "silu", "generator_activation": "silu"}


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def config(*, variants=("centroid", "both", "covariance+hausdorff"), seeds=(0, 4), **mvm) -> Config:
    return Config.make(
        variants=variants,
        seeds=seeds,
        batch=BATCH,
        network=NETWORK,
        weights={"diameter": 0.7, "hausdorff": 0.2, "covariance": 3.0},
        mvm={"anchors": "real", "gamma": 0.3, "lipschitz": 0.0, "alpha": 2.0, "pairs": 1} | mvm,
    )


def method(settings: Config) -> MvM:
    streams = [torch.Generator().manual_seed(seed) for seed in settings.seeds]
    architecture = Perceptrons(settings.network, DIM, streams, copies=len(settings.variants))
    built = MvM(settings.mvm, Task(architecture, BATCH, settings.members, dict(settings.weights)))
    for network in built.networks.values():
        network.double()
    with torch.no_grad():  # members of one seed must differ too, or a mixed-up variant axis would not show
        for i, parameter in enumerate(p for network in built.networks.values() for p in network.parameters()):
            parameter.add_(0.3 * points(*parameter.shape, seed=100 + i))
            parameter.mul_(1.5)
    built.state["weights"] = built.state["weights"].double()
    return built


def networks(built: MvM) -> tuple[nn.Module, nn.Module]:
    """Its generator f and its metric g."""
    return built.networks["generator"], built.networks["metric"]


def losses(built: MvM, source: Draws) -> tuple[Loss, Loss]:
    """What the generator and the metric descend in a step, from weights that stay as they are."""
    (first, of_generator), (second, of_metric) = built.updates(source)
    assert (first, second) == ("generator", "metric")
    return of_generator, of_metric


def draws(settings: Config, step: int = 3) -> Draws:
    return Draws(points(50, DIM), settings.seeds, copies=len(settings.variants), noise_dim=NOISE).at(step)


def gap(name: str, real: np.ndarray, fake: np.ndarray) -> float:
    def two_diameter(e):
        return np.sqrt(np.mean([[((a - b) ** 2).sum() for b in e] for a in e]))

    def directed(x, y):
        return max(min(np.linalg.norm(a - b) for b in y) for a in x)

    return {
        "centroid": lambda: np.linalg.norm(real.mean(0) - fake.mean(0)),
        "diameter": lambda: abs(two_diameter(real) - two_diameter(fake)),
        "hausdorff": lambda: max(directed(real, fake), directed(fake, real)),
        "covariance": lambda: np.linalg.norm(np.cov(real.T, bias=True) - np.cov(fake.T, bias=True)),
    }[name]()


def manifold_matching(settings: Config, variant: str, real: torch.Tensor, fake: torch.Tensor) -> float:
    real, fake = real.detach().numpy(), fake.detach().numpy()
    return float(sum(getattr(settings.weights, name) * gap(name, real, fake) for name in descriptors_of(variant)))


def equation_2(settings: Config, a: torch.Tensor, p: torch.Tensor, n: torch.Tensor) -> float:
    a, p, n = (e.detach().numpy() for e in (a, p, n))
    cosines = []
    for x, y, z in zip(a, p, n, strict=True):
        u, w = z - x, y - x
        lengths = np.linalg.norm(u) * np.linalg.norm(w)
        cosines.append(u @ w / lengths if lengths else 0.0)  # a batch may hold one point twice
    total = 0.0
    for x, y, z, cosine in zip(a, p, n, cosines, strict=True):
        direction = sum(cosines) if settings.mvm.summed_cosines else cosine
        inside = ((x - y) ** 2).sum() - ((x - z) ** 2).sum() + settings.mvm.alpha - settings.mvm.gamma * direction
        total += max(0.0, inside)
    return float(total / len(a))


def test_generator_loss_is_equation_1_for_each_member():
    settings = config()
    built = method(settings)
    (f, g), (loss, _) = networks(built), losses(built, draws(settings))
    assert loss.total.shape == (6,)
    assert list(loss.terms) == ["centroid", "diameter", "hausdorff", "covariance"]
    same = draws(settings)
    real, noise = same.real(BATCH), same.noise(BATCH)
    embedded, fake = g(real), g(f(noise))
    for v, (variant, _) in enumerate(settings.members):
        expected = manifold_matching(settings, variant, embedded[v], fake[v])
        torch.testing.assert_close(loss.total[v].item(), expected)
        for name, values in loss.terms.items():
            unweighted = float(gap(name, embedded[v].detach().numpy(), fake[v].detach().numpy()))
            torch.testing.assert_close(values[v].item(), unweighted, atol=2e-6, rtol=1e-7)


def test_generator_loss_moves_no_real_embedding():
    """Only fakes are pulled: the gradient on the metric's weights is that with the reals' embeddings held."""
    settings = config(variants=("both",), seeds=(0,))
    built = method(settings)
    (f, g), same = networks(built), draws(settings)
    held, noise = g(same.real(BATCH)).detach(), same.noise(BATCH)
    expected = torch.autograd.grad(built._matching(held, g(f(noise))).total.sum(), list(g.parameters()))
    got = torch.autograd.grad(losses(built, draws(settings))[0].total.sum(), list(g.parameters()))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("summed", [False, True])
def test_metric_loss_on_fresh_batches_is_algorithm_1(summed):
    settings = config(fresh_batches=True, summed_cosines=summed)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    assert list(loss.terms) == ["triplet"]
    same = draws(settings)
    generator_real, _ = same.real(BATCH), same.noise(BATCH)
    noise, anchor, positive = same.noise(BATCH), same.real(BATCH), same.real(BATCH)
    assert not torch.equal(anchor, generator_real)
    assert not torch.equal(anchor, positive)
    a, p, n = g(anchor), g(positive), g(f(noise))
    for v in range(6):
        torch.testing.assert_close(loss.total[v].item(), equation_2(settings, a[v], p[v], n[v]))
    torch.testing.assert_close(loss.terms["triplet"], loss.total)


def test_fake_anchors_and_positives_have_real_negatives():
    settings = config(anchors="fake", fresh_batches=True)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    same = draws(settings)
    _ = same.real(BATCH), same.noise(BATCH)
    anchor, positive = f(same.noise(BATCH)), f(same.noise(BATCH))
    a, p, n = g(anchor), g(positive), g(same.real(BATCH))
    for v in range(6):
        torch.testing.assert_close(loss.total[v].item(), equation_2(settings, a[v], p[v], n[v]))
    gradients = torch.autograd.grad(loss.total.sum(), list(f.parameters()), allow_unused=True)
    assert gradients == (None,) * len(gradients)


@pytest.mark.parametrize(("pairs", "size"), [(4, 4), (5, 4), (9, 6), (12, 6), (4096, 6)])
def test_pairs_are_of_another_group_than_the_anchors_they_meet(pairs, size):
    """Each of a group's anchors, with the group before it as positives; two groups at least."""
    settings = config(gamma=0.0, anchors="fake", pairs=pairs)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    same = draws(settings)
    n, a = g(same.real(BATCH)), g(f(same.noise(BATCH)))
    met = [(i, (j - size) % BATCH, j) for i in range(BATCH) for j in range(BATCH) if i // size == j // size]
    assert not any(i == positive for i, positive, _ in met)
    i, positive, j = (list(one) for one in zip(*met, strict=True))
    for v in range(6):
        torch.testing.assert_close(loss.total[v].item(), equation_2(settings, a[v, i], a[v, positive], n[v, j]))


@pytest.mark.parametrize("anchors", ["real", "fake"])
@pytest.mark.parametrize("summed", [False, True])
def test_metric_loss_on_the_generators_batches_takes_its_neighbours_as_positives(summed, anchors):
    settings = config(summed_cosines=summed, anchors=anchors)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    same = draws(settings)
    a, n = g(same.real(BATCH)), g(f(same.noise(BATCH)))
    a, n = (n, a) if anchors == "fake" else (a, n)
    p = torch.stack([a[:, (i - 1) % BATCH] for i in range(BATCH)], dim=1)
    for v in range(6):
        torch.testing.assert_close(loss.total[v].item(), equation_2(settings, a[v], p[v], n[v]))


def test_fresh_negatives_come_from_the_updated_generator():
    settings = config(fresh_batches=True, lipschitz=1.0, cooperative=True)
    built = method(settings)
    (f, _), updates = networks(built), built.updates(draws(settings))
    next(updates)
    with torch.no_grad():
        f.biases[-1] += 1.0  # as a descent would, before the next loss is asked for
    _, loss = next(updates)
    gradients = torch.autograd.grad(loss.total.sum(), list(f.parameters()), allow_unused=True)
    assert gradients == (None,) * len(gradients)

    other = method(settings)
    with torch.no_grad():
        networks(other)[0].biases[-1] += 1.0
    torch.testing.assert_close(loss.total, losses(other, draws(settings))[1].total)


@pytest.mark.parametrize("fresh", [False, True])
def test_every_update_of_the_metric_is_its_own(fresh):
    """Further updates draw new batches, and fakes of the generator as it is then."""
    settings = config(fresh_batches=fresh, metric_steps=3, anchors="fake", gamma=0.0)
    built, same = method(settings), draws(settings)
    (f, g), updates = networks(built), built.updates(draws(settings))
    _, loss = next(updates)
    assert loss.reused is not fresh, "its embeddings are the metric's, too"
    same.real(BATCH), same.noise(BATCH)
    for update, (player, loss) in enumerate(updates):
        assert player == "metric"
        if fresh:
            anchor, positive, negative = f(same.noise(BATCH)), f(same.noise(BATCH)), same.real(BATCH)
        elif update:
            negative, anchor = same.real(BATCH), f(same.noise(BATCH))
            positive = anchor.roll(1, dims=-2)
        if fresh or update:
            for v in range(6):
                expected = equation_2(settings, g(anchor)[v], g(positive)[v], g(negative)[v])
                torch.testing.assert_close(loss.total[v].item(), expected)
        with torch.no_grad():
            f.biases[-1] += 0.5
            g.biases[0] += 0.5
    assert update == 2


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("share", "measured"), [(0.25, 3), (1.0, 12), (0.01, 1)])
def test_slope_penalty_is_that_of_the_explicit_jacobian(fresh, share, measured):
    settings = config(fresh_batches=fresh, lipschitz=5.0, lipschitz_share=share)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    same = draws(settings)
    anchor, negative = same.real(BATCH), f(same.noise(BATCH)).detach()
    if fresh:
        negative = f(same.noise(BATCH)).detach()
        anchor, _ = same.real(BATCH), same.real(BATCH)
    between, u = same.uniform(measured, 1), same.normal(measured, EMBEDDING)
    excesses = []
    for v in range(6):
        single, total = g.member(v), 0.0
        for i in range(measured):
            x = (1 - between[v, i]) * anchor[v, i] + between[v, i] * negative[v, i]
            jacobian = torch.func.jacrev(lambda y, network=single: network(y[None, None])[0, 0])(x)  # (n, D)
            slope = (jacobian.T @ u[v, i]).square().sum().sqrt().item()
            excesses.append(max(0.0, slope - 1))
            total += excesses[-1] ** 2 / measured
        torch.testing.assert_close(loss.terms["slope"][v].item(), total)
    assert min(excesses) == 0 < max(excesses), "both sides of the hinge are met"
    torch.testing.assert_close(loss.total, loss.terms["triplet"] + 5.0 * loss.terms["slope"])


def test_slope_penalty_gradient():
    """The double backward, against finite differences of the penalty in the metric's weights."""
    settings = config(variants=("both",), seeds=(0,), lipschitz=5.0, lipschitz_share=1.0)
    built = method(settings)
    (_, g), same = networks(built), draws(settings)
    anchor, negative = same.real(BATCH), 2 * same.real(BATCH)
    weights = list(g.parameters())

    def penalty() -> torch.Tensor:
        return built._slope_excess(anchor, negative, draws(settings, 8)).sum()

    gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)
    assert gradients[3] is None  # the last bias has no slope
    for weight, gradient in list(zip(weights, gradients, strict=True))[:3]:
        for i in range(weight.numel()):
            sides = []
            for h in (1e-6, -1e-6):
                with torch.no_grad():
                    weight.view(-1)[i] += h
                sides.append(penalty().item())
                with torch.no_grad():
                    weight.view(-1)[i] -= h
            numeric = (sides[0] - sides[1]) / 2e-6
            torch.testing.assert_close(gradient.reshape(-1)[i].item(), numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fresh", [False, True])
def test_cooperative_adds_the_gradient_of_the_manifold_matching(fresh):
    settings = config(fresh_batches=fresh)
    f, g = networks(method(settings))

    def metric_gradient(chosen: Config) -> tuple[torch.Tensor, ...]:
        built = method(chosen)
        weights = list(networks(built)[1].parameters())
        return torch.autograd.grad(losses(built, draws(chosen))[1].total.sum(), weights)

    apart = metric_gradient(settings)
    together = metric_gradient(settings.with_changes({"mvm.cooperative": True}))
    same = draws(settings)
    real, noise = same.real(BATCH), same.noise(BATCH)
    if fresh:
        noise, real = same.noise(BATCH), same.real(BATCH)
    matching = method(settings)._matching(g(real), g(f(noise).detach()))
    expected = torch.autograd.grad(matching.total.sum(), list(g.parameters()))
    assert max(gradient.abs().max() for gradient in expected) > 0.1
    torch.testing.assert_close(together, tuple(g + m for g, m in zip(apart, expected, strict=True)))


def test_weights_lie_by_variant_and_descriptor():
    built = method(config())
    expected = [[1, 0, 0, 0]] * 2 + [[1, 0.7, 0, 0]] * 2 + [[0, 0, 0.2, 3]] * 2
    weights = built.state["weights"]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_reweight_is_felt_in_place():
    settings = config()
    built = method(settings)
    held = built.state["weights"]
    changed = settings.with_changes({"weights.diameter": 2.5, "weights.hausdorff": 0})
    built.reweight(dict(changed.weights))
    assert built.state["weights"] is held
    expected = [[1, 0, 0, 0]] * 2 + [[1, 2.5, 0, 0]] * 2 + [[0, 0, 0, 3]] * 2
    torch.testing.assert_close(held, torch.tensor(expected, dtype=torch.float64))
    (reweighted, _), (expected, _) = losses(built, draws(settings)), losses(method(changed), draws(settings))
    torch.testing.assert_close(reweighted.total, expected.total)


def test_one_variants_weights_do_not_touch_anothers_gradient():
    settings = config()
    gradients = []
    for chosen in (settings, settings.with_changes({"weights.diameter": 9.0})):
        built = method(chosen)
        parameters = list(networks(built)[0].parameters())
        gradients.append(torch.autograd.grad(losses(built, draws(settings))[0].total.sum(), parameters))
    for before, after in zip(*gradients, strict=True):
        assert torch.equal(before[[0, 1, 4, 5]], after[[0, 1, 4, 5]])
        assert not torch.equal(before[2:4], after[2:4])


def test_pytorch_metric_learning_inside_the_method():
    settings = config(metric_loss="pml:TripletMarginLoss", miner="BatchHardMiner", fresh_batches=True)
    built = method(settings)
    (f, g), (_, loss) = networks(built), losses(built, draws(settings))
    same = draws(settings)
    same.real(BATCH), same.noise(BATCH)
    noise, anchor, positive = same.noise(BATCH), same.real(BATCH), same.real(BATCH)
    for v in range(6):
        single = g.member(v)
        real, good = single(anchor[v : v + 1])[0], single(positive[v : v + 1])[0]
        bad = single(f(noise).detach()[v : v + 1])[0]
        expected = built.metric_loss(real, good, bad)
        torch.testing.assert_close(loss.total[v], expected)


# The random draws that every method consumes.


def test_stream_is_splitmix64():
    """Its published first outputs for seed 0, and for seed 1234567; the low 32 bits."""
    outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [stream(0, step) for step in range(3)] == [z & 0xFFFFFFFF for z in outputs]


def test_streams_of_many_seeds_and_steps_are_distinct():
    drawn = {stream(seed, step) for seed in range(20) for step in range(-1, 500)}
    assert len(drawn) > 20 * 501 - 3  # 32 bits: about 0.01 collisions expected


def test_variants_of_one_seed_see_the_same_and_seeds_see_another():
    settings = config()  # seeds 0 4 0 4 0 4
    same = draws(settings)
    for drawn in (same.real(BATCH), same.noise(BATCH), same.uniform(BATCH, 1), same.normal(BATCH, 2)):
        assert drawn.shape[:2] == (6, BATCH)
        assert torch.equal(drawn[0], drawn[2])
        assert torch.equal(drawn[1], drawn[5])
        assert not torch.equal(drawn[0], drawn[1])


def test_draws_are_a_function_of_seed_and_step_alone():
    train = points(50, DIM)
    together = Draws(train, [0, 4], copies=3, noise_dim=NOISE)
    alone = Draws(train, [4], copies=1, noise_dim=NOISE)
    together.at(2).real(5)
    for step in (7, 3, 7):  # rewound, in any order
        many, one = together.at(step), alone.at(step)
        assert torch.equal(many.real(BATCH)[3], one.real(BATCH)[0])
        assert torch.equal(many.noise(BATCH)[5], one.noise(BATCH)[0])
    assert not torch.equal(alone.at(3).noise(BATCH), alone.at(4).noise(BATCH))


def test_real_batches_are_uniform_rows_of_the_training_points():
    train = torch.arange(10.0)[:, None].expand(10, 2).contiguous()
    rows = Draws(train, [0], copies=1, noise_dim=NOISE).at(0).real(20_000)[0]
    assert torch.equal(rows[:, 0], rows[:, 1])
    shares = torch.bincount(rows[:, 0].long(), minlength=10) / 20_000
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_noise_is_standard_gaussian_and_uniform_is_uniform():
    same = Draws(points(10, DIM), [0], copies=1, noise_dim=20).at(0)
    noise, uniform = same.noise(2000)[0], same.uniform(40_000)[0]
    assert noise.shape == (2000, 20)
    torch.testing.assert_close(noise.mean().item(), 0.0, atol=0.02, rtol=0)
    torch.testing.assert_close(noise.T.cov(), torch.eye(20, dtype=torch.float64), atol=0.12, rtol=0)
    torch.testing.assert_close(uniform.mean().item(), 0.5, atol=0.01, rtol=0)
    torch.testing.assert_close(uniform.var().item(), 1 / 12, atol=0.003, rtol=0)


class Paired:
    """Targets that are their inputs times ten, negative, in one column more."""

    device, dtype, streamed = torch.device("cpu"), torch.float64, False

    def __len__(self) -> int:
        return 50

    def __getitem__(self, rows: torch.Tensor) -> Pair:
        inputs = rows[..., None].double().expand(*rows.shape, 2)
        return Pair(inputs, -10 * rows[..., None].double().expand(*rows.shape, 3))


def test_a_pair_is_aligned_and_the_same_for_variants_of_one_seed():
    paired = Draws(Paired(), [0, 4], copies=3, noise_dim=NOISE)
    drawn = paired.at(2).pair(BATCH)
    assert (drawn.inputs.shape, drawn.targets.shape) == ((6, BATCH, 2), (6, BATCH, 3))
    assert torch.equal(drawn.targets[..., :2], -10 * drawn.inputs)
    for side in drawn:
        assert torch.equal(side[0], side[2])
        assert torch.equal(side[1], side[5])
        assert not torch.equal(side[0], side[1])
    again, targets = paired.at(2).pair(BATCH), paired.at(2).real(BATCH)
    assert all(map(torch.equal, again, drawn))
    assert torch.equal(targets, drawn.targets), "the data points of pairs are their targets"
    assert not torch.equal(paired.at(3).pair(BATCH).inputs, drawn.inputs)
