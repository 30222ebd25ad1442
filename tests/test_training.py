"""The loop against Algorithm 1 written out with torch's own layers and optimiser, and against itself."""

import platform
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from plain import separate
from safetensors.torch import load, save
from torch import Tensor, nn

from mvm.config import Config
from mvm.data.points import PointData
from mvm.devices import device_of
from mvm.errors import ConfigError
from mvm.geometry.descriptors import descriptors_of
from mvm.methods import Draws
from mvm.training.experiment import Experiment, fit


def cloud(n: int = 100, dim: int = 2, seed: int = 0) -> PointData:
    """Points beside a bent line, standardised."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, dim, generator=generator)
    points = torch.cat([points[:, :1], points[:, :1] ** 2 + 0.1 * points[:, 1:]], dim=1)
    mean, scale = points.mean(0), points.std(0)
    train = (points - mean) / scale
    return PointData(train, train[:16], mean, scale)


def config(**values) -> Config:
    """Small, and with an ε above the rounding noise.

    Every loss is blind to the metric's last bias: its gradient is zero but for the last digits, and with the usual ε
    Adam makes steps of those.
    """
    small = {
        "device": "cpu",
        "steps": 6,
        "batch": 16,
        "variants": ("centroid", "both"),
        "seeds": (0, 3),
        "network": {"width": 12, "depth": 2, "noise_dim": 3, "embedding_dim": 4},
        "optimiser": {"generator_lr": 1e-2, "metric_lr": 2e-2, "generator_eps": 1e-6, "metric_eps": 1e-3},
    }
    return Config.make(**small | values)


def finished(settings: Config, *, dtype: torch.dtype = torch.float64) -> Experiment:
    experiment = Experiment(settings, cloud(), dtype=dtype)
    for _ in fit(experiment):
        pass
    return experiment


def generator_of(experiment: Experiment) -> nn.Module:
    return experiment.method.networks["generator"]


def metric_of(experiment: Experiment) -> nn.Module:
    return experiment.method.networks["metric"]


def stacked(experiment: Experiment) -> dict[str, Tensor]:
    """Everything with a variant axis: weights, averages and moments, but no step counts."""
    return {k: v.clone() for k, v in experiment.tensors().items() if v.ndim > 0}


# Algorithm 1, as a reviewer would write it: one network after the other, nn.Linear, zero_grad, backward, plain Adam.


def adam(network: nn.Module, lr: float, betas: tuple[float, float], eps: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, eps=eps, foreach=False, fused=False)


def matching_loss(settings: Config, variant: str, real: Tensor, fake: Tensor) -> Tensor:
    def two_diameter(e: Tensor) -> Tensor:
        return ((e[:, None] - e[None]).square().sum(-1).mean() + 1e-12).sqrt()

    def squared(e: Tensor) -> Tensor:
        return (e[:, None] - e[None]).square().sum(-1)

    gaps = {
        "centroid": lambda: (real.mean(0) - fake.mean(0)).norm(),
        "diameter": lambda: (two_diameter(real) - two_diameter(fake)).abs(),
        "distance_matrix": lambda: ((squared(real) - squared(fake)).square().mean() + 1e-12).sqrt(),
    }
    return sum(getattr(settings.weights, name) * gaps[name]() for name in descriptors_of(variant))


def group_size(settings: Config) -> int:
    """Of points that meet each other in triplets; here it divides the batch."""
    return min(settings.mvm.pairs, settings.batch // 2)


def metric_loss(settings: Config, g: nn.Module, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    size = group_size(settings)
    met = [(i, j) for i in range(len(anchor)) for j in range(len(anchor)) if i // size == j // size]
    i, j = (list(one) for one in zip(*met, strict=True))
    a, p, n = g(anchor)[i], g(positive)[j], g(negative)[j]
    triplets = zip(a, p, n, strict=True)
    cosine = torch.stack([torch.cosine_similarity(z - x, y - x, dim=0, eps=1e-6) for x, y, z in triplets])
    cosine = cosine.sum() / size if settings.mvm.summed_cosines else cosine
    near, far = (a - p).square().sum(1), (a - n).square().sum(1)
    return torch.relu(near - far + settings.mvm.alpha - settings.mvm.gamma * cosine).mean()


def algorithm_1(settings: Config, member: int) -> tuple[nn.Module, nn.Module, list[Tensor]]:
    """Generator, metric and averaged generator weights of one member after all steps."""
    variant, seed = settings.members[member]
    opt, mvm, batch = settings.optimiser, settings.mvm, settings.batch
    start = Experiment(settings, cloud(), dtype=torch.float64)
    f = separate(generator_of(start), member, settings.network.generator_activation)
    g = separate(metric_of(start), member, settings.network.activation)
    f_adam = adam(f, opt.generator_lr, opt.generator_betas, opt.generator_eps)
    g_adam = adam(g, opt.metric_lr, opt.metric_betas, opt.metric_eps)
    average = [p.detach().clone() for p in f.parameters()]
    source = Draws(cloud().train.double(), [seed], copies=1, noise_dim=settings.network.noise_dim)
    for t in range(settings.steps):
        draws, done = source.at(t), t / settings.steps
        share = float(np.interp(done, [0, opt.decay_from, 1], [1, 1, opt.decay_to]))
        f_adam.param_groups[0]["lr"], g_adam.param_groups[0]["lr"] = opt.generator_lr * share, opt.metric_lr * share

        real, noise = draws.real(batch)[0], draws.noise(batch)[0]
        f_adam.zero_grad()
        fake = f(noise)
        matching_loss(settings, variant, g(real), g(fake)).backward()
        f_adam.step()

        for update in range(mvm.metric_steps):
            if mvm.fresh_batches:
                fakes = [f(draws.noise(batch)[0]).detach() for _ in range(2 if mvm.anchors == "fake" else 1)]
                reals = [draws.real(batch)[0] for _ in range(1 if mvm.anchors == "fake" else 2)]
            else:
                if update:
                    real, fake = draws.real(batch)[0], f(draws.noise(batch)[0])
                size = group_size(settings)
                fakes, reals = ([x, torch.cat([x[-size:], x[:-size]])] for x in (fake.detach(), real))
            anchor, positive, negative = (*fakes[:2], reals[0]) if mvm.anchors == "fake" else (*reals[:2], fakes[0])
            g_adam.zero_grad()
            loss = metric_loss(settings, g, anchor, positive, negative)
            if mvm.lipschitz:
                n = int(batch * mvm.lipschitz_share)
                between, u = draws.uniform(n, 1)[0], draws.normal(n, settings.network.embedding_dim)[0]
                x = (anchor[:n] + between * (negative[:n] - anchor[:n])).requires_grad_()
                slope = torch.autograd.grad((g(x) * u).sum(), x, create_graph=True)[0].square().sum(1)
                loss = loss + mvm.lipschitz * (torch.relu((slope + 1e-12).sqrt() - 1) ** 2).mean()
            if mvm.cooperative:
                loss = loss + matching_loss(settings, variant, g(anchor), g(negative))
            loss.backward()
            g_adam.step()

        keep = min(opt.ema, (1 + t) / (10 + t))
        average = [keep * a + (1 - keep) * p.detach() for a, p in zip(average, f.parameters(), strict=True)]
    return f, g, average


@pytest.mark.parametrize(
    "settings",
    [
        config(),
        config(recipe="paper"),
        config(recipe="published", variants=("centroid", "centroid+distance_matrix")),
        config(mvm={"gamma": 0.5, "lipschitz": 3.0, "cooperative": True}, weights={"diameter": 0.25}),
        config(mvm={"pairs": 1}),
        config(mvm={"pairs": 4, "gamma": 0.2}),
        config(mvm={"metric_steps": 3}),
        config(mvm={"metric_steps": 2, "fresh_batches": True}),
        config(mvm={"anchors": "real"}),
        config(recipe="published", mvm={"anchors": "fake"}),
    ],
    ids=[
        *(
            "stabilised",
            "paper",
            "published",
            "everything",
            "one pair",
            "four pairs",
            "three updates of the metric",
            "two on fresh batches",
        ),
        *("real anchors", "published, fake anchors"),
    ],
)
def test_fit_is_algorithm_1(settings):
    experiment = finished(settings)
    for member in range(len(settings.members)):
        f, g, average = algorithm_1(settings, member)
        for stack, plain in ((generator_of(experiment), f), (metric_of(experiment), g)):
            linears = [module for module in plain if isinstance(module, nn.Linear)]
            for weight, bias, linear in zip(stack.weights, stack.biases, linears, strict=True):
                torch.testing.assert_close(weight[member], linear.weight.T, rtol=1e-9, atol=1e-10)
                torch.testing.assert_close(bias[member, 0], linear.bias, rtol=1e-9, atol=1e-10)
        averaged = experiment.averaged()
        plain = dict(zip((name for name, _ in f.named_parameters()), average, strict=True))
        for layer in range(len(generator_of(experiment).weights)):
            torch.testing.assert_close(
                averaged[f"average.weights.{layer}"][member], plain[f"{2 * layer}.weight"].T, rtol=1e-9, atol=1e-10
            )
            torch.testing.assert_close(
                averaged[f"average.biases.{layer}"][member, 0], plain[f"{2 * layer}.bias"], rtol=1e-9, atol=1e-10
            )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"recipe": "paper"},
        {"mvm": {"cooperative": True, "gamma": 0.2}, "network": {"frequencies": (2, 8)}},
        {"mvm": {"metric_loss": "softplus_triplet"}, "network": {"width": 8, "unit_embedding": True}},
        {"mvm": {"metric_loss": "pml:TripletMarginLoss", "miner": "BatchHardMiner"}},
    ],
    ids=["stabilised", "paper", "cooperative", "softplus", "pml"],
)
def test_the_variant_axis_is_separate_runs(values):
    settings = config(variants=("centroid", "both", "hausdorff+covariance"), **values)
    together = stacked(finished(settings))
    for member, (variant, seed) in enumerate(settings.members):
        alone = stacked(finished(settings.with_changes({"variants": [variant], "seeds": [seed]})))
        weights = alone.pop("weights")
        assert set(alone) == set(together) - {"weights"}
        assert (together["weights"][member] != 0).sum() == (weights != 0).sum()
        for name, value in alone.items():
            torch.testing.assert_close(together[name][member], value[0], rtol=1e-9, atol=1e-10, msg=name)


def test_equal_variants_of_one_seed_stay_equal_and_seeds_part():
    experiment = finished(config(variants=("both", "centroid+diameter"), seeds=(0, 3)))
    for name, value in stacked(experiment).items():
        torch.testing.assert_close(value[:2], value[2:], rtol=1e-12, atol=1e-14, msg=name)
    for weight in [*generator_of(experiment).weights, *metric_of(experiment).weights]:
        assert (weight[0] - weight[1]).abs().max() > 0.01


def test_variants_of_one_seed_part_after_one_start():
    settings = config(seeds=(5,))
    start, end = Experiment(settings, cloud()), finished(settings)
    assert torch.equal(generator_of(start).weights[0][0], generator_of(start).weights[0][1])
    assert (generator_of(end).weights[0][0] - generator_of(end).weights[0][1]).abs().max() > 1e-3


def test_one_config_trains_to_one_result():
    torch.manual_seed(1)
    one = finished(config(), dtype=torch.float32).tensors()
    torch.manual_seed(2)  # the global generator has no part in it
    other = finished(config(), dtype=torch.float32).tensors()
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_moving_average_in_closed_form():
    settings = config(steps=15, optimiser={"ema": 0.3})
    experiment = Experiment(settings, cloud(), dtype=torch.float64)
    history = [[p.detach().clone() for p in generator_of(experiment).parameters()]]
    for _ in fit(experiment):
        history.append([p.detach().clone() for p in generator_of(experiment).parameters()])
    decays = [min(0.3, (1 + t) / (10 + t)) for t in range(15)]
    assert decays[0] == 0.1
    assert decays[-1] == 0.3
    shares = [np.prod(decays)] + [(1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(15)]
    torch.testing.assert_close(float(sum(shares)), 1.0)
    for i, average in enumerate(experiment.averaged().values()):
        expected = sum(share * weights[i] for share, weights in zip(shares, history, strict=True))
        torch.testing.assert_close(average, expected)


def test_without_averaging_the_average_is_the_generator():
    experiment = finished(config(optimiser={"ema": 0.0}), dtype=torch.float32)
    assert torch.equal(experiment.averages["generator"], experiment.players["generator"].flat)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.02), (0.0, 0.1), (0.25, 1.0), (1.0, 0.0), (0.5, 0.0)])
def test_both_rates_fall_linearly(start, end):
    settings = config(
        steps=20, optimiser={"generator_lr": 1e-3, "metric_lr": 4e-3, "decay_from": start, "decay_to": end}
    )
    experiment = Experiment(settings, cloud())
    rates = []
    for _ in fit(experiment):
        rates.append([experiment.players[player].lr.item() for player in ("generator", "metric")])
    share = np.interp(np.arange(20) / 20, [0, start, 1], [1, 1, end]) if start < 1 else np.ones(20)
    np.testing.assert_allclose(rates, np.outer(share, [1e-3, 4e-3]), rtol=1e-12)


@pytest.mark.parametrize("pause", [0, 1, 4])
@pytest.mark.parametrize("recipe", ["stabilised", "published"])
def test_a_resumed_training_is_bit_identical(pause, recipe):
    settings = config(recipe=recipe, steps=7)
    expected = finished(settings, dtype=torch.float32).tensors()
    first = Experiment(settings, cloud())
    for _ in range(pause):
        first.advance()
    stored = save({name: value.contiguous() for name, value in first.tensors().items()})
    second = Experiment(settings, cloud())
    second.load(load(stored))
    assert [step.number for step in fit(second)] == list(range(pause + 1, 8))
    got = second.tensors()
    assert set(got) == set(expected)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_load_rewinds_a_training_that_went_on():
    settings = config(steps=7)
    experiment = Experiment(settings, cloud())
    experiment.advance()
    kept = {name: value.clone() for name, value in experiment.tensors().items()}
    straight = list(fit(experiment))
    experiment.load(kept)
    assert experiment.step == 1
    again = list(fit(experiment))
    for one, other in zip(straight, again, strict=True):
        assert one.number == other.number
        assert one.losses.keys() == other.losses.keys() == {"generator", "metric"}
        assert all(torch.equal(loss, other.losses[player]) for player, loss in one.losses.items())


def test_a_loaded_state_is_a_copy():
    settings = config()
    experiment = Experiment(settings, cloud())
    experiment.advance()
    kept = {name: value.clone() for name, value in experiment.tensors().items()}
    before = {name: value.clone() for name, value in kept.items()}
    experiment.load(kept)
    experiment.advance()
    assert all(torch.equal(kept[name], before[name]) for name in kept)


@pytest.mark.parametrize(
    "other",
    [
        {"network": {"width": 13}},
        {"network": {"depth": 3, "width": 12}},
        {"seeds": (0,)},
        {"seeds": (0,), "variants": ("both",)},
        {"variants": ("centroid", "both", "hausdorff")},
        {"variants": ("centroid", "centroid+hausdorff+diameter")},
    ],
    ids=["width", "depth", "fewer seeds", "one member", "more variants", "more terms"],
)
def test_a_checkpoint_of_another_config_is_refused(other):
    trained = finished(config(**other), dtype=torch.float32)
    with pytest.raises(ConfigError, match="checkpoint does not fit its config: ") as caught:
        Experiment(config(), cloud()).load(trained.tensors())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "missing", ["step", "weights", "metric.weights.1", "generator.biases.0.exp_avg_sq", "average.weights.2"]
)
def test_a_checkpoint_with_a_hole_is_refused_by_name(missing):
    tensors = finished(config(), dtype=torch.float32).tensors()
    del tensors[missing]
    with pytest.raises(ConfigError, match=missing.replace(".", r"\.")):
        Experiment(config(), cloud()).load(tensors)


def test_steps_are_numbered_detached_and_frozen():
    settings = config(steps=3)
    experiment = Experiment(settings, cloud())
    steps = list(fit(experiment))
    assert [step.number for step in steps] == [1, 2, 3]
    assert experiment.step == 3
    assert list(fit(experiment)) == []
    for step in steps:
        assert set(step.terms) == {"centroid", "diameter", "triplet", "slope"}
        for value in (*step.losses.values(), *step.terms.values()):
            assert value.shape == (4,)
            assert not value.requires_grad
            assert value.isfinite().all()
    with pytest.raises(FrozenInstanceError):
        steps[0].number = 9


def test_a_step_reports_the_losses_it_descended():
    settings = config()
    experiment, twin = (Experiment(settings, cloud(), dtype=torch.float64) for _ in range(2))
    _, loss = next(twin.method.updates(twin.draws.at(0)))
    step = experiment.advance()
    torch.testing.assert_close(step.losses["generator"], loss.total.detach())
    gaps = torch.stack([step.terms["centroid"], step.terms["diameter"]], dim=-1)
    weighted = (gaps * experiment.method.state["weights"]).sum(-1)
    torch.testing.assert_close(step.losses["generator"], weighted)
    torch.testing.assert_close(step.losses["metric"], step.terms["triplet"] + step.terms["slope"])


def test_weights_changed_while_training_are_felt_by_their_variants_only():
    settings = config()
    plain, changed = Experiment(settings, cloud()), Experiment(settings, cloud())
    for experiment in (plain, changed):
        experiment.advance()
    changed.method.reweight(dict(settings.with_changes({"weights.diameter": 5.0}).weights))
    for experiment in (plain, changed):
        experiment.advance()
    for one, other in zip(generator_of(plain).parameters(), generator_of(changed).parameters(), strict=True):
        assert torch.equal(one[:2], other[:2])  # centroid
        assert not torch.equal(one[2:], other[2:])  # both


def test_a_diverged_variant_leaves_the_others_alone():
    settings = config()
    healthy, ill = Experiment(settings, cloud()), Experiment(settings, cloud())
    with torch.no_grad():
        generator_of(ill).weights[0][1] = torch.nan
    for experiment in (healthy, ill):
        for _ in fit(experiment):
            pass
    rest = [0, 2, 3]
    for name, value in stacked(healthy).items():
        assert torch.equal(value[rest], stacked(ill)[name][rest]), name
    assert generator_of(ill).weights[0][1].isnan().all()


def test_generate_takes_the_average_or_the_live_generator():
    experiment = finished(config())
    noise = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared, own = experiment.generate(noise), experiment.generate(noise.expand(4, 9, 3))
    assert shared.shape == (4, 9, 2)
    assert torch.equal(shared, own)
    live = experiment.generate(noise, averaged=False)
    assert torch.equal(live, generator_of(experiment)(noise.expand(4, 9, 3)).detach())
    assert not shared.requires_grad
    assert not live.requires_grad
    with torch.no_grad():
        experiment.players["generator"].flat.copy_(experiment.averages["generator"])
    torch.testing.assert_close(experiment.generate(noise, averaged=False), shared)
    assert (live - shared).abs().max() > 1e-4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_a_step_takes_the_memory_of_the_last():
    """The kernel clears a page at its first touch, and counts it: none in most steps."""
    code = """
import resource, statistics
from mvm.config import Config
from mvm.data.points import load_points
from mvm.devices import use_cpu
from mvm.training.experiment import Experiment
use_cpu(1)
config = Config.make(data="circle", batch=4096, device="cpu")
experiment = Experiment(config, load_points(config))
touched = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    experiment.advance()
    touched.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(statistics.median(touched))
"""
    pages = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert pages < 100  # one layer of this batch is 256


def test_devices():
    assert device_of("cpu") == torch.device("cpu")
    if torch.cuda.is_available():
        assert device_of("auto") == device_of("cuda") == torch.device("cuda")
        return
    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: 'cuda' was asked for, but this machine has no CUDA device"):
        device_of("cuda")
