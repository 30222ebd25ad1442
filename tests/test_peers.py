"""The peers' losses and constraints, against plain loops, exact linear algebra and other libraries."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.optimal_transport import OTPlanSampler

from mvm.config import Config
from mvm.data.points import PointData
from mvm.errors import ConfigError
from mvm.methods import Draws, Loss
from mvm.methods.flow_matching import euler, optimal_pairs, straight_path
from mvm.methods.method import last
from mvm.methods.swgan import orthogonal, tangent
from mvm.networks.mlp import waves
from mvm.training.experiment import Experiment, fit

BATCH = 10
GANS = ["wgan", "wgan_gp", "sngan", "swgan"]


def cloud() -> PointData:
    points = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    return PointData(points, points[:16], torch.zeros(2), torch.ones(2))


def experiment(method: str, **values) -> Experiment:
    network = {"width": 8, "depth": 2, "noise_dim": 3, "embedding_dim": 4, "activation": "silu"}
    small = {"device": "cpu", "steps": 5, "batch": BATCH, "seeds": (0, 5), "network": network}
    return Experiment(Config.make(method=method, **small | values), cloud(), dtype=torch.float64)


def batches(trained: Experiment) -> tuple[Tensor, Tensor, Draws]:
    """What the first critic update of step 0 draws: a real batch, a fake one, and the draws that follow."""
    draws = trained.draws.at(0)
    draws.noise(BATCH)  # the generator's
    fake = trained.method.networks["generator"](draws.noise(BATCH)).detach()
    return draws.real(BATCH), fake, draws


def generator_loss(trained: Experiment) -> Loss:
    """The first loss of step 0."""
    player, loss = next(trained.method.updates(trained.draws.at(0)))
    assert player == "generator"
    return loss


def critic_loss(trained: Experiment) -> Loss:
    """The second loss of step 0, from weights that stay as they are."""
    _, (player, loss) = islice(trained.method.updates(trained.draws.at(0)), 2)
    assert player == "metric"
    return loss


@pytest.mark.parametrize("method", GANS)
def test_generator_climbs_the_critic(method):
    trained = experiment(method)
    loss = generator_loss(trained)
    score = trained.method.critic(trained.method.networks["generator"](trained.draws.at(0).noise(BATCH))).mean(-1)
    torch.testing.assert_close(loss.total, score if method == "swgan" else -score)


@pytest.mark.parametrize("method", ["wgan", "wgan_gp", "sngan"])
def test_critic_is_a_linear_read_out_of_the_embedding(method):
    trained = experiment(method)
    x, head = cloud().train.double()[:7], trained.method.networks["head"]
    weight = head.weights[0]
    if method == "sngan":
        for _ in range(300):
            trained.method._iterate()
        weight = weight / torch.linalg.matrix_norm(weight, ord=2)[:, None, None]
    expected = (trained.embed(x) @ weight + head.biases[0])[..., 0]
    torch.testing.assert_close(trained.method.critic(x.expand(2, -1, -1)), expected)


@pytest.mark.parametrize("method", ["wgan", "wgan_gp"])
def test_wasserstein_critic_loss(method):
    trained = experiment(method)
    loss = critic_loss(trained)
    real, fake, draws = batches(trained)
    expected = trained.method.critic(fake).mean(-1) - trained.method.critic(real).mean(-1)
    torch.testing.assert_close(-loss.terms["critic_gap"], expected)
    if method == "wgan_gp":
        x = real + draws.uniform(BATCH, 1) * (fake - real)
        slopes = jacobian(trained, x).norm(dim=-1)
        expected = expected + 10 * ((slopes - 1) ** 2).mean(-1)
    torch.testing.assert_close(loss.total, expected)


def jacobian(trained: Experiment, x: Tensor) -> Tensor:
    """∇D of each point, `(V, B, D)`, by central differences."""
    h, columns = 1e-5, []
    for axis in torch.eye(x.shape[-1], dtype=x.dtype):
        columns.append((trained.method.critic(x + h * axis) - trained.method.critic(x - h * axis)) / (2 * h))
    return torch.stack(columns, dim=-1).detach()


def test_wgan_clips_every_weight_of_the_critic():
    trained = experiment("wgan")
    for _ in fit(trained):
        assert trained.players["metric"].flat.abs().max() <= 0.01
    assert trained.players["generator"].flat.abs().max() > 0.01


@pytest.mark.parametrize(("method", "updates"), [("wgan", 5), ("wgan_gp", 5), ("sngan", 5), ("swgan", 4)])
def test_critic_is_updated_as_often_as_its_paper_says(method, updates):
    trained = experiment(method)
    assert [player for player, _ in trained.method.updates(trained.draws)] == ["generator", *["metric"] * updates]
    trained.advance()
    assert trained.players["generator"].moments["step"] == 1
    assert trained.players["metric"].moments["step"] == updates


def test_spectral_normalisation_divides_by_the_largest_singular_value():
    trained = experiment("sngan")
    x = cloud().train.double()[:7].expand(2, -1, -1)
    for _ in range(300):
        trained.method._iterate()
    metric = trained.method.networks["metric"]
    y, last = waves(x, metric.frequencies), len(metric.weights) - 1
    for i, (weight, bias) in enumerate(zip(metric.weights, metric.biases, strict=True)):
        y = y @ (weight / torch.linalg.matrix_norm(weight, ord=2)[:, None, None]) + bias
        y = torch.nn.functional.silu(y) if i < last else y
    torch.testing.assert_close(trained.method.embed(x), y)


def test_spectral_normalisation_is_torchs_round_by_round():
    """The same start, the same number of rounds, the same estimate of σ."""
    trained = experiment("sngan")
    weight = trained.method.networks["metric"].weights[1]
    for member in range(2):
        linear = torch.nn.Linear(*weight.shape[1:], bias=False).double()
        linear.weight.data = weight[member].detach().clone()  # rows are our inputs: u lies on that side in both
        linear = torch.nn.utils.parametrizations.spectral_norm(linear)
        estimate = linear.parametrizations.weight[0]
        start = trained.method.state["metric.weights.1.u"][member].clone()
        estimate._u.copy_(start)
        estimate._v.copy_(torch.nn.functional.normalize(weight[member].detach().T @ start, dim=0))
        estimate.train()
        for _ in range(3):
            expected = linear.weight.detach()
        other = experiment("sngan")
        for _ in range(3):
            other.method._iterate()
        u = other.method.state["metric.weights.1.u"][member]
        v = torch.nn.functional.normalize(weight[member].T @ u, dim=0)
        torch.testing.assert_close(weight[member] / (u @ weight[member] @ v), expected)


def test_hinge_loss():
    trained = experiment("sngan")
    loss = critic_loss(trained)  # one round of iteration
    real, fake, _ = batches(trained)
    on_real, on_fake = trained.method.critic(real), trained.method.critic(fake)
    expected = [
        sum(max(0.0, 1 - d) for d in on_real[v].tolist()) / BATCH
        + sum(max(0.0, 1 + d) for d in on_fake[v].tolist()) / BATCH
        for v in range(2)
    ]
    torch.testing.assert_close(loss.total.tolist(), expected)


def test_sliced_critic_loss():
    trained = experiment("swgan")
    slices, metric = trained.method.networks["slices"], trained.method.networks["metric"]
    with torch.no_grad():
        slices.scale += 0.3 * torch.arange(4)
        slices.offset -= 0.2
    loss = critic_loss(trained)
    real, fake, draws = batches(trained)

    def critic(x: Tensor) -> Tensor:
        y = torch.einsum("vbn,vnk->vbk", metric(x), slices.directions) * slices.scale + slices.offset
        return torch.maximum(y, 0.2 * y).mean(-1)

    torch.testing.assert_close(trained.method.critic(real), critic(real))
    t, s = draws.uniform(BATCH, 1), draws.uniform(BATCH, 1)
    slope = (((1 - t) * jacobian(trained, (1 - t) * real + t * fake)) ** 2).sum(-1).mean(-1)
    e = (1 - s) * metric(real) + s * metric(fake)
    y = slices(e)
    steepness = ((slices.scale * (0.1 * (y.abs() - y) + 0.5 * (y.abs() + y)) - 0.001) ** 2).mean((-2, -1))
    expected = critic(real).mean(-1) - critic(fake).mean(-1) + 20 * slope + 10 * steepness
    torch.testing.assert_close(loss.total, expected)


def test_projections_stay_orthogonal_and_move():
    trained = experiment("swgan")
    before = trained.method.networks["slices"].directions.detach().clone()
    for _ in fit(trained):
        pass
    after = trained.method.networks["slices"].directions.detach()
    torch.testing.assert_close(after.mT @ after, torch.eye(4, dtype=torch.float64).expand(2, 4, 4))
    assert (after - before).abs().amax((-2, -1)).min() > 1e-3


def test_tangent_and_retraction():
    g = torch.Generator().manual_seed(0)
    point = orthogonal(torch.randn(3, 5, 5, generator=g, dtype=torch.float64))
    torch.testing.assert_close(orthogonal(point), point)
    gradient = torch.randn(3, 5, 5, generator=g, dtype=torch.float64)
    projected = tangent(point, gradient)
    skew = point.mT @ projected
    torch.testing.assert_close(skew, -skew.mT)  # the tangent space at Θ is Θ times the skew-symmetric matrices
    torch.testing.assert_close(tangent(point, projected), projected)


def coupled(seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Starts and ends of paths `(2, B, 2)`, and one time for each `(2, B, 1)`."""
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, 2, BATCH, 2, generator=generator, dtype=torch.float64)
    return start, end, torch.rand(2, BATCH, 1, generator=generator, dtype=torch.float64)


def test_the_path_is_torchcfms():
    start, end, t = coupled()
    theirs = ConditionalFlowMatcher(sigma=0.0)
    for v in range(2):
        time, point, velocity = theirs.sample_location_and_conditional_flow(start[v], end[v], t[v, :, 0])
        assert torch.equal(time, t[v, :, 0])
        ours = straight_path(start[v], end[v], t[v])
        torch.testing.assert_close((ours.point, ours.velocity), (point, velocity))


def test_pairs_are_of_torchcfms_plan():
    """Every pair that is drawn has mass in the library's plan; as many chances as there are pairs find each of them."""
    start, end, _ = coupled()
    chance = (torch.arange(BATCH, dtype=torch.float64) + 0.5).expand(2, -1) / BATCH
    rows, columns = optimal_pairs(start, end, chance)
    for v in range(2):
        plan = OTPlanSampler(method="exact").get_map(start[v], end[v])
        torch.testing.assert_close(plan[rows[v], columns[v]], np.full(BATCH, 1 / BATCH))
        assert rows[v].tolist() == list(range(BATCH)), "in the order of the plan's cumulated mass"


def test_a_pairs_probability_is_its_mass():
    """A plan that splits mass: two starts at one place, three ends; the share of chances is the plan's entry."""
    start, end = torch.tensor([[[0.0], [0.0], [9.0]]]), torch.tensor([[[0.0], [1.0], [9.0]]])
    chance = (torch.arange(3000) + 0.5)[None] / 3000
    rows, columns = optimal_pairs(start, end, chance)
    plan = OTPlanSampler(method="exact").get_map(start[0], end[0])
    shares = torch.bincount(3 * rows[0] + columns[0], minlength=9).view(3, 3) / 3000
    np.testing.assert_allclose(shares, plan, atol=1e-3)


def test_flow_loss_and_sample():
    trained = experiment("flow_matching", flow_matching={"evaluations": 8})
    loss = generator_loss(trained)
    generator, draws = trained.method.networks["generator"], trained.draws.at(0)
    start, end, t = draws.noise(BATCH), draws.real(BATCH), draws.uniform(BATCH, 1)
    assert start.shape == end.shape, "a flow starts from noise of the data's dimension"
    rows, columns = optimal_pairs(start, end, draws.uniform(BATCH))
    for v in range(2):
        x0, x1 = start[v, rows[v]], end[v, columns[v]]
        inputs = torch.cat([(1 - t[v]) * x0 + t[v] * x1, t[v]], dim=-1)
        error = ((generator.member(v)(inputs[None])[0] - (x1 - x0)) ** 2).sum(-1).mean()
        torch.testing.assert_close(loss.total[v].detach(), error)

    def decay(x: Tensor) -> Tensor:
        return -x[..., :2] + x[..., 2:]  # dx/dt = −x + t, by Euler

    x = expected = torch.ones(2, 5, 2, dtype=torch.float64)
    for i in range(8):
        expected = expected + (-expected + i / 8) / 8
    torch.testing.assert_close(trained.method.sample({"generator": decay}, x), expected)
    torch.testing.assert_close(last(euler(lambda x, t: t - x, x, steps=8)), expected)
    assert trained.method.evaluations(trained.config.method_settings) == 8


def test_a_flow_has_no_metric():
    trained = experiment("flow_matching")
    assert set(trained.method.networks) == {"generator"}
    assert trained.method.embed(cloud().view) is None
    assert torch.equal(trained.embed(cloud().view), cloud().view.double().expand(2, -1, -1))


@pytest.mark.parametrize("method", [*GANS, "flow_matching"])
def test_a_peer_has_one_variant_of_its_own_name(method):
    config = Config.make(method=method, seeds=(3, 4))
    assert config.members == [(method, 3), (method, 4)]
    with pytest.raises(ConfigError, match=f"^variants: {method} matches no descriptors; leave variants out$"):
        Config.make(method=method, variants=("both",))
    with pytest.raises(ConfigError, match=f"^recipe: {method} has stabilised, paper, not 'published'$"):
        Config.make(method=method, recipe="published")
