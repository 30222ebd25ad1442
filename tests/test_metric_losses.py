"""Metric losses: Eq. 2 in a plain loop, and pytorch-metric-learning called without the adapter."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

from mvm.methods.metric_losses import (
    UNREPEATABLE,
    PytorchMetricLearningLoss,
    direction_triplet,
    metric_loss,
    softplus_triplet,
    triplet,
)

LEADING = [(), (3,), (2, 3)]
USABLE = [
    "AngularLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "GeneralizedLiftedStructureLoss",
    "IntraPairVarianceLoss",
    "LiftedStructureLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NTXentLoss",
    "SignalToNoiseRatioContrastiveLoss",
    "SupConLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
]
MINERS = [
    "AngularMiner",
    "BatchEasyHardMiner",
    "BatchHardMiner",
    "HDCMiner",
    "MultiSimilarityMiner",
    "PairMarginMiner",
    "TripletMarginMiner",
]


def points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def triplets(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some hinges open, some shut."""
    return points(*shape), points(*shape, seed=1), 1.2 * points(*shape, seed=2)


def equation_2(a, p, n, *, alpha: float, gamma: float, summed: bool, outer) -> float:
    """One variant, one triplet after the other; `summed` is the published code's effective γ·B."""
    batch = range(len(a))
    cosines = []
    for i in batch:
        u, w = n[i] - a[i], p[i] - a[i]
        cosines.append(u @ w / (np.linalg.norm(u) * np.linalg.norm(w)))
    values = []
    for i in batch:
        direction = sum(cosines) if summed else cosines[i]
        near, far = ((a[i] - p[i]) ** 2).sum(), ((a[i] - n[i]) ** 2).sum()
        values.append(outer(near - far + alpha - gamma * direction))
    return float(sum(values) / len(values))


def hinge(x: float) -> float:
    return max(0.0, x)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize(("alpha", "gamma"), [(1.0, 0.01), (0.0, 2.0), (3.0, 0.1), (1.0, 0.0)])
@pytest.mark.parametrize(("loss", "outer"), [(direction_triplet, hinge), (softplus_triplet, softplus)])
def test_direction_regularised_loss_is_equation_2(leading, summed, alpha, gamma, loss, outer):
    a, p, n = triplets(*leading, 7, 4)
    got = loss(a, p, n, alpha=alpha, gamma=gamma, summed=summed)
    assert got.shape == leading
    for v in np.ndindex(*leading):
        one = (e[v].numpy() for e in (a, p, n))
        expected = equation_2(*one, alpha=alpha, gamma=gamma, summed=summed, outer=outer)
        torch.testing.assert_close(got[v].item(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("loss", [triplet, direction_triplet, softplus_triplet])
@pytest.mark.parametrize("group", [2, 3, 7])
def test_in_groups_each_anchor_meets_each_pair(leading, summed, gamma, loss, group):
    """Every triplet is written out; of seven points, two groups of three leave one over."""
    batch = triplets(*leading, 7, 4)
    got = loss(*batch, alpha=1.0, gamma=gamma, summed=summed, group=group)
    met = [(g + i, g + j) for g in range(0, 7 - group + 1, group) for i in range(group) for j in range(group)]
    anchors, pairs = zip(*met, strict=True)
    a, p, n = (e[..., list(chosen), :] for e, chosen in zip(batch, (anchors, pairs, pairs), strict=True))
    expected = loss(a, p, n, alpha=1.0, gamma=gamma / group if summed else gamma, summed=summed)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert got.shape == leading


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_triplet_is_definition_3_5_and_knows_no_direction(leading, alpha):
    a, p, n = triplets(*leading, 7, 4)
    got = triplet(a, p, n, alpha=alpha, gamma=5.0, summed=True)
    assert got.shape == leading
    for v in np.ndindex(*leading):
        one = (e[v].numpy() for e in (a, p, n))
        expected = equation_2(*one, alpha=alpha, gamma=0.0, summed=False, outer=hinge)
        torch.testing.assert_close(got[v].item(), expected, rtol=1e-9, atol=1e-9)


def test_triplet_is_the_librarys_with_squared_plain_distances():
    a, p, n = triplets(9, 4)
    theirs = losses.TripletMarginLoss(
        margin=1.0,
        distance=distances.LpDistance(normalize_embeddings=False, p=2, power=2),
        reducer=reducers.MeanReducer(),
    )
    i = torch.arange(9)
    expected = theirs(a, None, (i, i, i + 9), ref_emb=torch.cat([p, n]), ref_labels=None)
    torch.testing.assert_close(triplet(a, p, n, alpha=1.0), expected)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("loss", [direction_triplet, softplus_triplet])
@pytest.mark.parametrize("group", [1, 2])
def test_gradient(loss, summed, group):
    inputs = tuple(e.requires_grad_() for e in triplets(2, 5, 3))
    how = {"alpha": 1.0, "gamma": 0.3, "summed": summed, "group": group}
    assert torch.autograd.gradcheck(lambda a, p, n: loss(a, p, n, **how), inputs)


def test_a_satisfied_hinge_is_silent_and_its_smooth_form_is_not():
    a, p = points(6, 3), points(6, 3)
    n = (a + 10).requires_grad_()
    (gradient,) = torch.autograd.grad(direction_triplet(a, p, n, alpha=1.0, gamma=0.0), n)
    assert torch.equal(gradient, torch.zeros(6, 3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(softplus_triplet(a, p, n, alpha=290.0, gamma=0.0), n)
    assert (gradient != 0).all()


def test_the_sum_of_cosines_is_not_a_factor_of_their_mean():
    """−γ Σcos moves every hinge by the same amount; −γ·B·cos per triplet does not."""
    a, p, n = triplets(8, 3)
    summed = direction_triplet(a, p, n, alpha=1.0, gamma=0.05, summed=True)
    scaled = direction_triplet(a, p, n, alpha=1.0, gamma=0.05 * 8)
    assert abs(summed - scaled) > 1e-3


def by_hand(loss: str, miner: str | None, a, p, n) -> torch.Tensor:
    """pytorch-metric-learning on one variant, as its own documentation calls it."""
    real, fake = torch.zeros(len(a), dtype=torch.long), torch.ones(len(a), dtype=torch.long)
    points, labels = torch.cat([p, n]), torch.cat([real, fake])
    mined = getattr(miners, miner)()(a, real, points, labels) if miner else None
    return getattr(losses, loss)()(a, real, mined, ref_emb=points, ref_labels=labels)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("loss", USABLE)
def test_adapter_is_the_library_called_once_per_variant(loss, leading):
    a, p, n = triplets(*leading, 6, 4)
    got = PytorchMetricLearningLoss(loss)(a, p, n, alpha=9.0, gamma=9.0, summed=True)
    assert got.shape == leading
    for v in np.ndindex(*leading):
        torch.testing.assert_close(got[v], by_hand(loss, None, a[v], p[v], n[v]))


@pytest.mark.parametrize("miner", MINERS)
def test_adapter_with_a_miner(miner):
    a, p, n = triplets(12, 4)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  the library draws from the global generators
    got = metric_loss("pml:TripletMarginLoss", miner)(a, p, n)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.testing.assert_close(got, by_hand("TripletMarginLoss", miner, a, p, n))


def test_a_miner_changes_the_loss():
    a, p, n = triplets(12, 4)
    plain = metric_loss("pml:TripletMarginLoss")(a, p, n)
    assert abs(metric_loss("pml:TripletMarginLoss", "BatchHardMiner")(a, p, n) - plain) > 0.1


def test_adapter_never_takes_a_fake_as_anchor():
    """The library's defaults in three loops: unit vectors, margin 0.05, every real anchor, mean of what is violated."""
    a, p, n = triplets(6, 4)
    both = torch.cat([p, n])
    expected = torch.zeros((), dtype=torch.float64)
    normal = torch.nn.functional.normalize
    d = torch.cdist(normal(a), normal(both), compute_mode="donot_use_mm_for_euclid_dist")
    count = 0
    for i in range(6):
        for j in range(6):
            for k in range(6, 12):
                violation = (d[i, j] - d[i, k] + 0.05).relu()
                expected = expected + violation
                count += int(violation > 0)
    torch.testing.assert_close(PytorchMetricLearningLoss("TripletMarginLoss")(a, p, n), expected / count)


@pytest.mark.parametrize(
    ("loss", "miner", "words"),
    [
        ("nope", None, "unknown 'nope'; known: direction_triplet, triplet, softplus_triplet, pml:NAME"),
        ("pml:Nope", None, "no loss 'Nope' in pytorch-metric-learning; known: AngularLoss"),
        ("pml:BaseMetricLossFunction", None, "no loss 'BaseMetricLossFunction'"),
        ("pml:TripletMarginLoss", "Nope", "no miner 'Nope' in pytorch-metric-learning; known: AngularMiner"),
        ("triplet", "AngularMiner", "miner 'AngularMiner' needs a loss of pytorch-metric-learning"),
        ("pml:ArcFaceLoss", None, "ArcFaceLoss needs settings"),
        ("pml:SubCenterArcFaceLoss", None, "SubCenterArcFaceLoss needs settings"),
        ("pml:FastAPLoss", None, "FastAPLoss cannot compare anchors with other points"),
        ("pml:ThresholdConsistentMarginLoss", None, "cannot compare anchors with other points"),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused_by_name(loss, miner, words):
    with pytest.raises(ValueError) as caught:
        metric_loss(loss, miner)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_loss_and_miner_of_the_library_is_usable_or_refused():
    """A new version of the library may bring one that is neither: this says which."""
    names = [n for n in vars(losses) if n.endswith("Loss") and not n.startswith("Base")]
    accepted = []
    for name in names:
        try:
            adapter = metric_loss(f"pml:{name}")
        except ValueError:
            continue
        accepted.append(name)
        assert adapter(*triplets(2, 6, 4)).isfinite().all(), name
    assert set(USABLE) <= set(accepted)
    known = {n for n in vars(miners) if n.endswith("Miner") and not n.startswith("Base")}
    assert set(MINERS) == known - set(UNREPEATABLE)


@pytest.mark.parametrize(
    ("loss", "miner"),
    [
        ("TripletMarginLoss", "DistanceWeightedMiner"),
        ("TripletMarginLoss", "UniformHistogramMiner"),
        ("DynamicSoftMarginLoss", None),
    ],
)
def test_what_could_not_be_repeated_is_refused(loss: str, miner: str | None) -> None:
    """Global random numbers or hidden state would make a resumed run another run."""
    with pytest.raises(ValueError, match=f"{miner or loss} .* could not be repeated"):
        metric_loss(f"pml:{loss}", miner)
