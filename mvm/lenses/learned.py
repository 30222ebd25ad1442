"""Lenses on trained networks: spread of embeddings, agreement of seeds, autoencoders, scores.

    effective rank, nuclear norm    of the embeddings of each cloud                   (mvm.geometry.representations)
    seeds                           cosines with anchors under two seeds' metrics; baseline: both before training
    reconstruction                  ‖r(x) − x‖,   r = decoder ∘ encoder
    idempotence                     ‖r(r(x)) − r(x)‖, 0 if r projects onto a set
    latent field                    e(d(z)) − z: where decoding and encoding again moves a latent
    dimension from a score          D − σ² E ‖s(x + σε; σ)‖²: near a manifold s ≈ −(normal part of ε) / σ
    singular values of scores       of σ s(x + σε_j; σ), j = 1 … : near 1 in normal, near 0 in tangential directions

The baseline of a score is the exact score of the second sample with noise σ, a mixture of Gaussians: at scales below
its spacing it sees points, of dimension 0.

Sources: Roy & Vetterli 2007; Moschella et al. 2023; Fumero et al. 2025 (latent field); Stanczuk et al. 2024, Kamkari et
al. 2024 (dimension from scores).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.geometry.representations import effective_rank, nuclear_norm, relative, similarity
from mvm.lenses.lens import Layer, Map, Number, Picture, Reading, Subject, curves, plane_of

__all__ = ["exact_score", "measure_autoencoder", "measure_embeddings", "measure_score", "measure_seeds"]

Score = Callable[[Tensor, float], Tensor]
ANCHORS = 64
SHOWN = 2000  # cosines in a picture
SIGMAS = tuple(np.geomspace(0.01, 1, 13).tolist())  # noise levels, in standard deviations of the data
AT = SIGMAS[4]  # of the numbers: 0.046
PLACES, COPIES = 64, 16  # points whose scores' singular values are taken, and noisy copies of each, times D
ARROWS = 13  # along each side of the latent plane


def measure_embeddings(subject: Subject) -> Reading:
    """Effective rank and nuclear norm of embeddings."""
    embed, untrained = subject.networks.embed, subject.networks.untrained
    assert embed is not None
    found = {name: embed(points) for name, points in subject.clouds.items()}
    ranks = {name: effective_rank(each) for name, each in found.items()}
    norms = {name: nuclear_norm(each) for name, each in found.items()}
    numbers = {
        "effective_rank": Number("effective rank", ranks["fake"], ranks["baseline"]),
        "nuclear_norm": Number("nuclear norm", norms["fake"], norms["baseline"]),
    }
    if untrained is not None:
        found["real, untrained metric"] = untrained(subject.clouds["real"])
    lines = {name: _profile(each) for name, each in found.items()}
    spread = curves("spread of the embeddings", lines, x="principal direction", y="standard deviation")
    return Reading(numbers, (spread,))


def _profile(embeddings: Tensor) -> np.ndarray:
    """Standard deviations along principal directions as a line, from 1."""
    e = embeddings.double()
    values = torch.linalg.svdvals(e - e.mean(0)).numpy() / len(e) ** 0.5
    return np.stack([np.arange(1, len(values) + 1), values], axis=1)


def measure_seeds(subject: Subject) -> Reading:
    """Whether two seeds learned one metric, up to rotation and scale."""
    networks, points = subject.networks, subject.clouds["real"]
    pairs: dict[str, tuple[Map | None, Map | None]] = {
        "trained": (networks.embed, networks.other),
        "untrained": (networks.untrained, networks.other_untrained),
    }
    anchors = min(ANCHORS, len(points) // 2)
    pictures, agreement = [], {}
    shown = np.random.default_rng(0).permutation((len(points) - anchors) * anchors)[:SHOWN]
    for name, (one, other) in pairs.items():
        assert one is not None
        assert other is not None
        first, second = one(points), other(points)
        agreement[name] = similarity(first, second, anchors=anchors)
        cosines = [relative(e[anchors:], e[:anchors]).flatten().numpy()[shown] for e in (first, second)]
        layers = (Layer("same metric", np.array([[-1, -1], [1, 1]]), "line"), Layer(name, np.stack(cosines, axis=1)))
        pictures.append(Picture(name, layers, "cosine under this seed", "under the other seed", equal=True))
    label = "agreement of two seeds' metrics (baseline: both untrained)"
    return Reading({"similarity": Number(label, agreement["trained"], agreement["untrained"])}, tuple(pictures))


def measure_autoencoder(subject: Subject) -> Reading:
    """Reconstruction, idempotence and latent field of an autoencoder, in standard deviations of the data."""
    networks = subject.networks
    encode, decode, standardise = networks.embed, networks.decode, networks.standardise
    assert encode is not None
    assert decode is not None
    standard = {name: standardise(points) for name, points in subject.clouds.items()}
    latents = {name: encode(points) for name, points in subject.clouds.items()}
    back = restore_of(subject)
    errors: dict[str, dict[str, float]] = {"reconstruction": {}, "idempotence": {}, "latent_field": {}}
    for name, z in latents.items():
        once = decode(z)
        again = encode(back(once))
        errors["reconstruction"][name] = _rms(once - standard[name])
        errors["idempotence"][name] = _rms(decode(again) - once)
        errors["latent_field"][name] = _rms(again - z)
    labels = {
        "reconstruction": "reconstruction error, rms",
        "idempotence": "change by a second reconstruction, rms",
        "latent_field": "latent field, rms",
    }
    numbers = {key: Number(labels[key], of["fake"], of["baseline"]) for key, of in errors.items()}
    arrows = _latent_field(latents["real"], lambda z: encode(back(decode(z))))
    plane, own = plane_of(latents["real"])
    axes = ("first latent", "second latent") if own else ("first principal axis of latents", "second")
    field = Layer("latent field", plane(arrows), "arrows")
    pictures = tuple(Picture(name, (field, Layer(name, plane(z))), *axes, equal=True) for name, z in latents.items())
    return Reading(numbers, pictures)


def restore_of(subject: Subject) -> Map:
    """From standardised points to the subject's coordinates: the inverse of an affine map, from its values."""
    standardise, dim = subject.networks.standardise, subject.real.shape[-1]
    origin = standardise(torch.zeros(1, dim).double()).double()
    slope = standardise(torch.eye(dim).double()).double() - origin
    inverse = torch.linalg.inv(slope)
    return lambda x: (x.double() - origin) @ inverse


def _latent_field(latents: Tensor, move: Map) -> Tensor:
    """Tails and tips of arrows z, e(d(z)) on a grid over the latents' principal plane, alternating `(2m, k)`."""
    z = latents.double()
    centre = z.mean(0)
    axes = torch.linalg.svd(z - centre, full_matrices=False).Vh[:2]
    flat = (z - centre) @ axes.mT
    sides = [torch.linspace(float(c.min()), float(c.max()), ARROWS, dtype=torch.float64) for c in flat.mT]
    tails = centre + torch.cartesian_prod(*sides).reshape(-1, len(axes)) @ axes
    return torch.stack([tails, move(tails).double()], dim=1).flatten(0, 1)


def measure_score(subject: Subject) -> Reading:
    """Intrinsic dimension from a learned score, against the noise level."""
    networks = subject.networks
    learned = networks.score
    assert learned is not None
    real, second, fake = (networks.standardise(subject.clouds[name]) for name in ("real", "baseline", "fake"))
    known: dict[str, tuple[Tensor, Score]] = {
        "real": (real, learned),
        "fake": (fake, learned),
        "baseline: exact score of a sample": (second, lambda x, sigma: exact_score(second, x, sigma)),
    }
    lines = {
        name: np.array([[s, dimension_from(of, points, s)] for s in SIGMAS]) for name, (points, of) in known.items()
    }
    values = {name: singular_values(of, points, AT) for name, (points, of) in known.items()}
    truth = None if subject.manifold is None else float(subject.manifold.intrinsic_dim)
    at = {name: float(line[SIGMAS.index(AT), 1]) for name, line in lines.items()}
    small = {name: float((of < 0.5).sum(-1).mean()) for name, of in values.items()}
    base = list(known)[-1]
    numbers = {
        "dimension_norm": Number(f"dimension from the score's norm, noise {AT:.2g}", at["real"], at[base], truth),
        "dimension_norm_fake": Number("the same at the fakes", at["fake"], at[base], truth),
        "dimension_rank": Number(
            f"tangential directions (singular values below one half), noise {AT:.2g}", small["real"], small[base], truth
        ),
    }
    profiles = {name: np.stack([np.arange(1, of.shape[1] + 1), of.mean(0)], axis=1) for name, of in values.items()}
    pictures = (
        curves("dimension from the score's norm", lines, x="noise level σ", y="dimension", log=True),
        curves(f"singular values of scores, σ = {AT:.2g}", profiles, x="direction", y="σ · singular value"),
    )
    return Reading(numbers, pictures)


def dimension_from(score: Score, points: Tensor, sigma: float) -> float:
    """D − σ² E ‖s(x + σε; σ)‖²."""
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = score(points + sigma * noise, sigma)
    return points.shape[-1] - sigma**2 * float(s.double().square().sum(-1).mean())


def singular_values(score: Score, points: Tensor, sigma: float) -> np.ndarray:
    """Singular values of σ s over noisy copies of some points, over the root of their number, falling, `(p, D)`."""
    places, dim = points[:PLACES].double(), points.shape[-1]
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(places), COPIES * dim, dim, generator=generator, dtype=torch.float64)
    s = score((places[:, None] + sigma * noise).flatten(0, 1), sigma).double()
    return np.asarray(torch.linalg.svdvals(sigma * s.view_as(noise)).numpy() / (COPIES * dim) ** 0.5)


def exact_score(sample: Tensor, x: Tensor, sigma: float) -> Tensor:
    """Score of the mixture of Gaussians of deviation σ about a sample `(m, D)`, at points `(n, D)`."""
    weights = torch.softmax(-pairwise(x.double(), sample.double(), squared=True) / (2 * sigma**2), dim=1)
    return (weights @ sample.double() - x.double()) / sigma**2


def _rms(moves: Tensor) -> float:
    return float(moves.double().square().sum(-1).mean().sqrt())
