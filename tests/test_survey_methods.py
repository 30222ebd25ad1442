"""The survey's methods against plain loops, exact linear algebra and known optima."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy.special import logsumexp
from test_peers import BATCH, cloud, experiment, generator_loss
from torch import Tensor

from mvm.errors import ConfigError
from mvm.files import write_tensors
from mvm.methods.diffusion import denoiser, denoising_loss, heun, levels
from mvm.methods.ebm import energy, langevin, log_normaliser
from mvm.methods.implicit import project
from mvm.methods.method import jacobian, last
from mvm.methods.moment_matching import SCALES, mmd, sinkhorn, sliced
from mvm.methods.normalizing_flow import Couplings
from mvm.training.checkpoint import load_member
from mvm.training.experiment import Experiment, fit


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- moment matching ---------------------------------------------------------------------------------------------------


def test_mmd_is_a_mean_over_pairs():
    x, y = points(2, 6, 3), 1.5 * points(2, 6, 3, seed=1)

    def kernel(a: Tensor, b: Tensor) -> float:
        square = float(((a - b) ** 2).sum())
        return sum(2 * 3 * s / (2 * 3 * s + square) for s in SCALES)

    for v in range(2):
        within = [sum(kernel(a, b) for a in z[v] for b in z[v] if a is not b and not torch.equal(a, b)) for z in (x, y)]
        between = np.mean([kernel(a, b) for a in x[v] for b in y[v]])
        assert float(mmd(x, y)[v]) == pytest.approx(sum(within) / 30 - 2 * between)


def test_sliced_is_the_mean_of_the_transport_of_each_projection():
    x, y = points(2, 8, 3), 2 * points(2, 8, 3, seed=1)
    directions = torch.nn.functional.normalize(points(2, 5, 3, seed=2), dim=-1)
    for v in range(2):
        projected = [(z[v] @ directions[v].T).numpy() for z in (x, y)]
        wanted = np.mean([ot.emd2_1d(a, b) for a, b in zip(projected[0].T, projected[1].T, strict=True)])
        assert float(sliced(x, y, directions)[v]) == pytest.approx(wanted)


def transport(x: np.ndarray, y: np.ndarray, epsilon: float) -> float:
    """The entropic transport of half the squared distance, by Sinkhorn's alternating updates until they stand."""
    cost = ((x[:, None] - y[None]) ** 2).sum(-1) / 2
    f, g = np.zeros(len(x)), np.zeros(len(y))
    for _ in range(5000):
        before = f
        f = -epsilon * (logsumexp((g[None] - cost) / epsilon, axis=1) - np.log(len(y)))
        g = -epsilon * (logsumexp((f[:, None] - cost) / epsilon, axis=0) - np.log(len(x)))
        if np.abs(f - before).max() < 1e-15:
            break
    return f.mean() + g.mean()


def test_sinkhorn_is_the_debiased_optimum_and_so_is_its_gradient():
    x, y, blur = points(1, 7, 2), 1.5 * points(1, 7, 2, seed=1) + 1, 0.7

    def divergence(y: Tensor) -> float:
        a, b = x[0].numpy(), y[0].numpy()
        return transport(a, b, blur**2) - (transport(a, a, blur**2) + transport(b, b, blur**2)) / 2

    fake = y.clone().requires_grad_()
    ours = sinkhorn(x, fake, blur=blur, iterations=400)
    assert float(ours.detach()) == pytest.approx(divergence(y), rel=1e-6)
    (gradient,) = torch.autograd.grad(ours.sum(), fake)
    for place in ((0, 0, 0), (0, 4, 1)):
        step = torch.zeros_like(y)
        step[place] = 1e-4
        assert float(gradient[place]) == pytest.approx((divergence(y + step) - divergence(y - step)) / 2e-4, rel=1e-4)


@pytest.mark.parametrize("distance", ["mmd", "sliced", "sinkhorn"])
def test_the_generator_descends_the_named_distance(distance):
    trained = experiment("moment_matching", moment_matching={"distance": distance, "directions": 9})
    loss, draws = generator_loss(trained), trained.draws.at(0)
    real, fake = draws.real(BATCH), trained.method.networks["generator"](draws.noise(BATCH))
    wanted = {
        "mmd": lambda: mmd(real, fake),
        "sliced": lambda: sliced(real, fake, torch.nn.functional.normalize(draws.normal(9, 2), dim=-1)),
        "sinkhorn": lambda: sinkhorn(real, fake, blur=0.1, iterations=20),
    }
    torch.testing.assert_close(loss.total, wanted[distance]())
    assert list(loss.terms) == [distance]


# -- diffusion ---------------------------------------------------------------------------------------------------------


def test_the_levels_are_of_the_paper():
    sigmas = levels(18, lowest=0.002, highest=80.0)  # of its CIFAR-10 experiments
    assert (len(sigmas), sigmas[0], sigmas[-1]) == (19, pytest.approx(80), 0)
    assert sigmas[17] == pytest.approx(0.002)
    assert sigmas[1] == pytest.approx((80 ** (1 / 7) + (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 17) ** 7)


def zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x[..., :-1])


def test_of_gaussian_data_the_denoiser_needs_no_network():
    """E[y | y + σε] = x / (1 + σ²) for y ~ N(0, 1); the ODE keeps x / √(1 + σ²) constant."""
    x, sigma = points(1, 5, 2), points(1, 5, 1, seed=1).abs() + 0.1
    torch.testing.assert_close(denoiser(zero)(x, sigma), x / (1 + sigma**2))
    sigmas = levels(200, lowest=0.002, highest=80.0)
    made = last(heun(denoiser(zero), x, sigmas=sigmas))
    torch.testing.assert_close(made, 80 * x / (1 + 80**2) ** 0.5, rtol=2e-3, atol=0)


def test_the_denoising_loss_is_of_the_networks_own_target():
    clean, noise, sigma = points(2, 6, 2), points(2, 6, 2, seed=1), points(2, 6, 1, seed=2).exp()
    matrix = points(2, 3, 2, seed=3)
    loss = denoising_loss(lambda x: x @ matrix, clean, noise, sigma)
    for v in range(2):
        errors = []
        for y, e, s in zip(clean[v], noise[v], sigma[v, :, 0], strict=True):
            x, root = y + s * e, (1 + s**2).sqrt()
            target = (y - x / root**2) / (s / root)
            errors.append(((torch.cat([x / root, s.log()[None] / 4]) @ matrix[v] - target) ** 2).sum())
        torch.testing.assert_close(loss[v], torch.stack(errors).mean())


def test_evaluations_are_counted():
    trained = experiment("diffusion", diffusion={"levels": 5})
    calls = 0

    def network(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return zero(x)

    trained.method.sample({"generator": network}, points(2, 3, 2))
    assert calls == trained.method.evaluations(trained.config.method_settings) == 9


# -- normalizing flow --------------------------------------------------------------------------------------------------


def moved_flow(**values) -> tuple[Experiment, Couplings]:
    trained = experiment("normalizing_flow", normalizing_flow=values)
    couplings = trained.method.networks["generator"]
    with torch.no_grad():
        for i, parameter in enumerate(couplings.parameters()):
            parameter.add_(0.2 * points(*parameter.shape, seed=i))
    return trained, couplings


def test_the_density_is_by_the_jacobian():
    _, couplings = moved_flow(couplings=3)
    z = points(2, 4, 2)
    x = couplings.generate(z)
    density = couplings.log_density(x)[..., 0]
    for v in range(2):
        for i in range(4):

            def one(z: Tensor, v: int = v) -> Tensor:
                return couplings.generate(z.expand(2, 1, -1))[v, 0]

            jacobian = torch.autograd.functional.jacobian(one, z[v, i])
            gaussian = torch.distributions.Normal(0, 1).log_prob(z[v, i]).sum()
            torch.testing.assert_close(density[v, i], gaussian - torch.linalg.slogdet(jacobian).logabsdet)


def test_the_flow_descends_minus_the_likelihood_of_data_with_noise():
    trained, couplings = moved_flow(noise=0.3)
    loss, draws = generator_loss(trained), trained.draws.at(0)
    x = draws.real(BATCH) + 0.3 * draws.noise(BATCH)
    torch.testing.assert_close(loss.total, -couplings.log_density(x).mean((-2, -1)))


def test_fakes_are_denoised_by_the_gradient_of_the_density():
    trained, couplings = moved_flow(noise=0.3)
    noise = points(2, 3, 2)
    made, plain = trained.generate(noise, averaged=False), couplings.generate(noise).detach()
    step = 1e-5
    for d in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[d]
        slope = (couplings.log_density(plain + shift) - couplings.log_density(plain - shift))[..., 0] / (2 * step)
        torch.testing.assert_close(made[..., d] - plain[..., d], 0.09 * slope.detach(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(moved_flow(noise=0.3, denoise=False)[0].generate(noise, averaged=False), plain)


def test_the_density_of_averaged_weights_integrates_to_one():
    trained, _ = moved_flow(couplings=2)
    for _ in fit(trained):
        pass
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    averaged, live = (trained.log_density(grid, averaged=averaged) for averaged in (True, False))
    torch.testing.assert_close(averaged.exp().sum(-1) * 0.05**2, torch.ones(2, dtype=torch.float64), rtol=1e-2, atol=0)
    assert not torch.equal(averaged, live)
    assert experiment("vae").log_density(grid) is None


def test_a_flow_that_moves_nothing_has_the_density_of_a_gaussian():
    trained, couplings = moved_flow()
    x = points(2, 7, 2)
    with torch.no_grad():
        for parameter in couplings.parameters():
            parameter.zero_()
    torch.testing.assert_close(trained.log_density(x, averaged=False), gaussian(x, 1.0))


def gaussian(x: Tensor, deviation: float) -> Tensor:
    return torch.distributions.Normal(0.0, deviation).log_prob(x).sum(-1)


def test_the_density_of_a_linear_flow_is_a_gaussian():
    """dx/dt = a x carries N(0, 1) to N(0, e^2a)."""
    method, x = experiment("flow_matching").method, points(2, 7, 2)
    found = method.log_density({"generator": lambda x: 0.4 * x[..., :-1]}, x)
    torch.testing.assert_close(found, gaussian(x, np.exp(0.4)), rtol=1e-6, atol=1e-6)
    turn = torch.tensor([[0.4, 3.0], [-3.0, 0.4]], dtype=torch.float64)  # turning changes no density
    found = method.log_density({"generator": lambda x: x[..., :-1] @ turn}, x)
    torch.testing.assert_close(found, gaussian(x, np.exp(0.4)), rtol=1e-3, atol=1e-3)


def test_the_density_of_diffused_gaussian_data_is_a_gaussian():
    """x / √(1 + σ²) is constant along the ODE, from N(0, σ_max²) to the data with noise σ_min."""
    method, x = experiment("diffusion").method, points(2, 7, 2)
    deviation = 80 * ((1 + 0.002**2) / (1 + 80**2)) ** 0.5
    torch.testing.assert_close(method.log_density({"generator": zero}, x), gaussian(x, deviation), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["diffusion", "flow_matching"])
def test_the_density_along_a_path_integrates_to_one_and_is_not_taken_in_many_dimensions(method):
    trained = experiment(method)
    axis = torch.linspace(-6, 6, 49, dtype=torch.float64)
    found = trained.log_density(torch.cartesian_prod(axis, axis), averaged=False)
    torch.testing.assert_close(found.exp().sum(-1) * 0.25**2, torch.ones(2).double(), rtol=1e-2, atol=0)
    assert trained.method.log_density({"generator": zero}, points(2, 3, 9)) is None


# -- autoencoders ------------------------------------------------------------------------------------------------------


def test_the_vae_descends_minus_the_evidence_bound():
    trained = experiment("vae", vae={"noise": 0.2})
    loss, draws, networks = generator_loss(trained), trained.draws.at(0), trained.method.networks
    real, noise = draws.real(BATCH), draws.noise(BATCH)
    mean, variance = networks["metric"](real), networks["spread"](real).exp()
    posterior = torch.distributions.Normal(mean, variance.sqrt())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(-1).mean(-1)
    decoded = networks["generator"](mean + variance.sqrt() * noise)
    likelihood = torch.distributions.Normal(decoded, 0.2).log_prob(real).sum(-1).mean(-1)
    constant = -2 * np.log(0.2 * np.sqrt(2 * np.pi))
    torch.testing.assert_close(loss.total, kl - likelihood + constant)


def test_a_wae_matches_its_latents_to_the_prior():
    trained = experiment("vae", vae={"regulariser": "mmd", "strength": 3.0})
    assert set(trained.method.networks) == {"generator", "metric"}
    loss, draws, networks = generator_loss(trained), trained.draws.at(0), trained.method.networks
    real, noise = draws.real(BATCH), draws.noise(BATCH)
    latents = networks["metric"](real)
    error = ((networks["generator"](latents) - real) ** 2).sum(-1).mean(-1)
    torch.testing.assert_close(loss.total, error + 3 * mmd(latents, noise))


# -- two steps ---------------------------------------------------------------------------------------------------------


def two_step(prior: str, steps: int = 6) -> Experiment:
    return experiment("two_step", steps=steps, two_step={"prior": prior, "evaluations": 5})


@pytest.mark.parametrize("prior", ["flow", "diffusion"])
def test_first_the_autoencoder_then_its_prior(prior):
    trained = two_step(prior)
    networks, seen = trained.method.networks, []
    for step in fit(trained):
        seen.append([{name: torch.cat([p.detach().flatten() for p in n.parameters()]) for name, n in networks.items()}])
        assert set(step.losses) == {"generator" if step.number <= 3 else "prior"}
    for name in ("generator", "metric"):
        assert not torch.equal(seen[1][0][name], seen[2][0][name])
        assert torch.equal(seen[2][0][name], seen[5][0][name])
    assert torch.equal(seen[0][0]["prior"], seen[2][0]["prior"])
    assert not torch.equal(seen[3][0]["prior"], seen[5][0]["prior"])


def test_a_gaussian_prior_needs_no_second_step():
    trained = two_step("gaussian", steps=400)
    for step in fit(trained):
        assert set(step.losses) == {"generator"}
    noise = points(2, 5000, 4)
    networks = trained.method.networks
    decoded: list[Tensor] = []

    def decode(latents: Tensor) -> Tensor:
        decoded.append(latents)
        return networks["generator"](latents)

    trained.method.sample(networks | {"generator": decode}, noise)
    latents = networks["metric"](trained.data.train.double().expand(2, -1, -1)).detach()
    for v in range(2):
        spread = latents[v].std()
        assert (decoded[0][v].mean(0) - latents[v].mean(0)).abs().max() < 0.35 * spread
        difference = torch.cov(decoded[0][v].T) - torch.cov(latents[v].T)
        assert difference.abs().max() < 0.5 * spread**2


def test_the_prior_learns_whitened_latents():
    """Exact moments in place of the moving averages: what the prior sees has mean 0 and covariance I."""
    trained = two_step("diffusion")
    latents = trained.method.networks["metric"](cloud().train.double().expand(2, -1, -1)).detach()
    centred = latents - latents.mean(1, keepdim=True)
    trained.method.state["latent_mean"].copy_(latents.mean(1))
    trained.method.state["latent_covariance"].copy_(centred.mT @ centred / latents.shape[1])
    white = trained.method.whiten(latents)
    torch.testing.assert_close(white.mean(1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        white.mT @ white / white.shape[1], torch.eye(4, dtype=torch.float64).expand(2, -1, -1), atol=1e-2, rtol=0
    )
    torch.testing.assert_close(trained.method.colour(white), latents)


def test_a_generator_read_alone_from_a_checkpoint_has_the_moments_of_its_latents(tmp_path):
    trained = two_step("diffusion")
    for _ in fit(trained):
        pass
    write_tensors(tmp_path / "saved.safetensors", trained.tensors())
    averages = ("average.",)
    alone = load_member(tmp_path / "saved.safetensors", trained.config, 1, trained.data, prefixes=averages)
    noise = points(5, 4)
    torch.testing.assert_close(alone.generate(noise)[0].double(), trained.generate(noise)[1], rtol=1e-4, atol=1e-4)


# -- labels ------------------------------------------------------------------------------------------------------------


def test_a_label_names_what_was_trained():
    from mvm.config import Config
    from mvm.studies.labels import own_title

    assert own_title(Config.make(method="vae"), "vae") == "VAE"
    assert own_title(Config.make(method="vae", vae={"regulariser": "mmd"}), "vae") == "WAE"
    assert own_title(Config.make(method="two_step"), "two_step") == "Two-step (diffusion)"
    sinkhorn_run = Config.make(method="moment_matching", moment_matching={"distance": "sinkhorn"})
    assert own_title(sinkhorn_run, "moment_matching") == "Moment matching (Sinkhorn)"
    assert own_title(Config.make(method="diffusion"), "diffusion") == "Diffusion"


# -- energies and level sets -------------------------------------------------------------------------------------------


def quadratic(x: Tensor) -> Tensor:
    """E of a Gaussian of standard deviations 1 and ½, and mean (0, 1)."""
    return x[..., 0] ** 2 / 2 + 2 * (x[..., 1] - 1) ** 2


def test_a_quadratic_energy_is_normalised_as_its_gaussian():
    x = points(2, 5, 2)
    exact = torch.distributions.Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.5])).log_prob(x).sum(-1)
    torch.testing.assert_close(-quadratic(x) - log_normaliser(quadratic, like=x)[:, None], exact)


def test_the_density_of_an_energy_integrates_to_one():
    trained = experiment("ebm", ebm={"evaluations": 3, "chain_steps": 2}, steps=20)
    for _ in fit(trained):
        pass
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    density = trained.log_density(torch.cartesian_prod(axis, axis))
    torch.testing.assert_close(density.exp().sum(-1) * 0.05**2, torch.ones(2, dtype=torch.float64), rtol=1e-6, atol=0)
    assert trained.log_density(torch.zeros(4, 3)) is None, "no grid in three dimensions"


def test_a_langevin_step_is_a_plain_loop_and_no_drift_is_longer_than_its_noise():
    x, increments, step = 4 * points(2, 6, 2), points(2, 6, 2, seed=1), 0.3
    moved = langevin(quadratic, x, increments, step=step)
    cut = 0
    for v in range(2):
        for i in range(6):
            (a, b), e = x[v, i], increments[v, i]
            drift = step**2 / 2 * torch.stack([a, 4 * (b - 1)])
            cut += bool(drift.norm() > step)
            drift = drift * min(1.0, float(step / drift.norm()))
            torch.testing.assert_close(moved[v, i], x[v, i] - drift + step * e)
    assert 0 < cut < 12


def test_long_chains_have_the_distribution_of_their_energy():
    x = torch.zeros(1, 4000, 2, dtype=torch.float64)
    for i in range(300):
        x = langevin(quadratic, x, points(1, 4000, 2, seed=i), step=0.2)
    torch.testing.assert_close(x.mean((0, 1)), torch.tensor([0.0, 1.0], dtype=torch.float64), atol=0.06, rtol=0)
    torch.testing.assert_close(x.std((0, 1)), torch.tensor([1.0, 0.5], dtype=torch.float64), atol=0.06, rtol=0)


def test_the_energy_falls_at_data_and_rises_at_chains_which_persist():
    trained = experiment("ebm", ebm={"chain_steps": 1, "restart": 0.0, "strength": 0.5, "noise": 0.2})
    chains = trained.method.state["chains"].clone()
    loss, draws, network = generator_loss(trained), trained.draws.at(0), trained.method.networks["generator"]
    real, noise = draws.real(BATCH), draws.normal(BATCH, 2)
    draws.normal(BATCH, 2), draws.uniform(BATCH, 1)  # of restarts
    fake = langevin(energy(network), chains, draws.normal(BATCH, 2), step=0.1)
    assert torch.equal(trained.method.state["chains"], fake)
    low, high = network(real + 0.2 * noise)[..., 0], network(fake)[..., 0]
    torch.testing.assert_close(loss.total, (low - high + 0.5 * (low**2 + high**2)).mean(-1))


def circle(x: Tensor) -> Tensor:
    return x.square().sum(-1, keepdim=True) - 1


def test_points_are_projected_onto_level_sets():
    x = points(2, 50, 2)
    onto = project(circle, x, steps=12)
    torch.testing.assert_close(onto.norm(dim=-1), torch.ones(2, 50, dtype=torch.float64))
    torch.testing.assert_close(onto, x / x.norm(dim=-1, keepdim=True), msg=lambda m: f"by the shortest way: {m}")

    def ring(x: Tensor) -> Tensor:  # two equations in space
        return torch.stack([x[..., :2].norm(dim=-1) - 1, x[..., 2] - 0.5], dim=-1)

    onto = project(ring, points(2, 50, 3), steps=12)
    torch.testing.assert_close(ring(onto), torch.zeros(2, 50, 2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_jacobian_is_of_each_row():
    x = points(2, 4, 3)
    values, slopes = jacobian(lambda x: torch.stack([x[..., 0] * x[..., 1], x[..., 2].sin()], dim=-1), x)
    zero = torch.zeros_like(x[..., 0])
    rows = [torch.stack([x[..., 1], x[..., 0], zero], -1), torch.stack([zero, zero, x[..., 2].cos()], -1)]
    torch.testing.assert_close(slopes, torch.stack(rows, dim=-2))
    torch.testing.assert_close(values, torch.stack([x[..., 0] * x[..., 1], x[..., 2].sin()], dim=-1))


def test_fakes_lie_on_the_learned_level_set():
    trained = experiment("implicit", implicit={"langevin_steps": 3}, steps=40)
    seen = [set(step.losses) for step in fit(trained)]
    assert seen == [{"generator"}] * 20 + [{"energy"}] * 20
    level = trained._networks(averaged=True)["generator"]
    made = trained.generate(points(9, trained.noise_dim))
    assert level(made).abs().max() < 1e-2 * level(3 * points(2, 50, 2)).abs().mean()


def test_more_equations_than_a_manifold_leaves_are_refused():
    with pytest.raises(ConfigError, match=r"implicit\.codimension: 2 equations leave no manifold in 2 dimensions"):
        experiment("implicit", implicit={"codimension": 2})


# -- paths of sampling -------------------------------------------------------------------------------------------------

PATHS = {
    "flow_matching": {"evaluations": 4}, "diffusion": {"levels": 4}, "ebm": {"evaluations": 4},
    "implicit": {"langevin_steps": 3}, "two_step": {"evaluations": 5},
}  # fmt: skip


@pytest.mark.parametrize("method", PATHS)
def test_a_path_leads_from_noise_to_the_samples(method):
    trained = experiment(method, **{method: PATHS[method]})
    noise = trained.view_inputs(5)
    path = trained.path(noise)
    assert torch.equal(path[-1].points, trained.generate(noise))
    assert len({moment.time for moment in path}) == len(path) > 3
    assert all(moment.points.shape == (2, 5, 2) for moment in path)
    if method != "two_step":  # which starts from noise in the place of latents
        torch.testing.assert_close(path[0].points[0], noise[:, :2], rtol=1e-3, atol=1e-3)


def test_a_method_of_one_pass_has_no_path():
    for method, values in (("vae", {}), ("two_step", {"prior": "gaussian"})):
        trained = experiment(method, **{method: values})
        assert trained.path(trained.view_inputs(5)) == []
        assert trained.config.evaluations == 1
