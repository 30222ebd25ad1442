"""Exhibits of autoencoders: what a perfect one leaves open, what latents of one piece cannot do, and a bound on W₂."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.studies.exhibits.exhibit import Colour, Measured, Panel, line, points
from mvm.studies.exhibits.training import Study, follow, study

__all__ = ["measure_autoencoder", "measure_bound", "measure_topology"]

STEPS = 1500
MATCHED = 256  # points of each sample that are matched exactly
GRID = 15
CASES = {
    "circle, 1 latent": ("circle", 1),
    "circle, 2 latents": ("circle", 2),
    "two circles, 2 latents": ("two_circles", 2),
}
AWAY = 0.1  # distance from the data, in their own units, that counts as off the manifold; radii are 1
FAR_FROM = 5.0  # times farther from the manifold than reconstructions


def _two_step(seeds: Sequence[int], share: float, *, data: str, latents: int, prior: str) -> Study:
    network = {"noise_dim": latents, "embedding_dim": latents}
    steps = max(20, round(STEPS * share))
    return study(seeds, steps=steps, data=data, method="two_step", network=network, two_step={"prior": prior})


def _trained(own: Study) -> Study:
    for _ in follow(own, []):
        pass
    return own


def _prior_latents(own: Study, n: int) -> Tensor:
    """Latents that the model decodes, `(V, n, k)`: its sampler, with a decoder that does nothing."""
    networks: dict[str, Any] = dict(own.networks) | {"generator": lambda latents: latents}
    noise = own.noise(n).expand(len(own.experiment.config.seeds), -1, -1)
    with torch.no_grad():
        return own.experiment.method.sample(networks, noise)


def _decoded(own: Study, latents: Tensor) -> Tensor:
    decoded = own.experiment.decode(latents)
    assert decoded is not None
    return decoded


def _reconstruction_error(own: Study, x: Tensor) -> Tensor:
    """Distance of standardised points `(V, n, D)` to their reconstructions, in the data's units, `(V, n)`."""
    scale = own.data.scale.mean()
    error: Tensor = torch.linalg.vector_norm(_decoded(own, own.experiment.embed(x)) - x, dim=-1) * scale
    return error


def measure_autoencoder(seeds: Sequence[int], share: float) -> Measured:
    """Reconstructions of real points, and what the decoder makes of other latents."""
    own = _trained(_two_step(seeds, share, data="circle", latents=2, prior="gaussian"))
    real = own.held_out()
    encoded, drawn = own.experiment.embed(real), _prior_latents(own, len(real[0]))
    span = torch.linspace(-2, 2, GRID)
    centre, spread = encoded.mean(1, keepdim=True), encoded.std(1, keepdim=True)
    grid = centre + spread * torch.cartesian_prod(span, span)
    fakes = own.data.restore(_decoded(own, drawn))
    error, wrong = _reconstruction_error(own, real), _reconstruction_error(own, _decoded(own, drawn))
    off = [own.manifold.distance(cloud.double()).mean() for cloud in fakes]
    pictures = {}
    for name, latents in (("latents of real points", encoded), ("Gaussian latents", drawn), ("a grid", grid)):
        pictures[name] = [
            Panel("Latent space", [points("encoded data", encoded[0], "real"), points("decoded", latents[0], "fake")]),
            Panel(
                "Data space",
                [
                    points("data", own.data.restore(real)[0], "real"),
                    points("decoder's output", own.data.restore(_decoded(own, latents))[0], "fake"),
                ],
            ),
        ]
    rows = []
    for i, seed in enumerate(seeds):
        away = own.manifold.distance(fakes[i].double()) > AWAY
        as_good = wrong[i][away] <= error[i].quantile(0.99)
        row = {"seed": seed, "reconstruction error": float(error[i].mean()), "off the manifold": float(off[i])}
        row |= {"share of outputs off the manifold": float(away.double().mean())}
        row |= {"of these, reconstructed like data": float(as_good.double().mean()) if away.any() else 0.0}
        rows.append(row | {"holds": bool(off[i] > FAR_FROM * error[i].mean())})
    return rows, pictures


def measure_topology(seeds: Sequence[int], share: float) -> Measured:
    """Two-step models with one and two latent dimensions on a circle, and with two on two circles."""
    pictures, worst, bridge = {}, {}, {}
    for name, (data, latents) in CASES.items():
        own = _trained(_two_step(seeds, share, data=data, latents=latents, prior="diffusion"))
        real, fakes = own.held_out(), own.fakes()
        error = _reconstruction_error(own, real)
        worst[name] = error.amax(-1).numpy()
        away = torch.stack([own.manifold.distance(cloud.double()) > AWAY for cloud in fakes])
        bridge[name] = away.double().mean(-1).numpy()
        encoded = own.experiment.embed(real)[0]
        if latents == 1:
            encoded = torch.cat([encoded, torch.zeros_like(encoded)], dim=-1)
        pictures[name] = [
            Panel("Latents of the data", [points("encoded data", encoded, "real")]),
            Panel(
                "Samples",
                [points("data", own.data.restore(real)[0], "real"), points("model", fakes[0], "fake", most=400)],
            ),
        ]
    one, two, both = CASES
    rows = [
        {
            "seed": seed,
            "worst reconstruction, 1 latent": float(worst[one][i]),
            "worst reconstruction, 2 latents": float(worst[two][i]),
            "between, circle": float(bridge[two][i]),
            "between, two circles": float(bridge[both][i]),
            "holds": bool(worst[one][i] > 5 * worst[two][i] and bridge[both][i] > max(0.01, 2 * bridge[two][i])),
        }
        for i, seed in enumerate(seeds)
    ]
    return rows, pictures


def bound_of(real: Tensor, decoded: Tensor, fake: Tensor, encoded: Tensor, drawn: Tensor) -> dict[str, float]:
    """W₂ of two samples of n points, and its bound by an autoencoder.

    With π the optimal pairing of the latents e_i = encode(x_i) and z_i:

        W₂(x, decode(z)) ≤ (mean ‖x_i − decode(e_i)‖²)^½ + L W₂(e, z)
        L = max_i ‖decode(e_i) − decode(z_π(i))‖ / ‖e_i − z_π(i)‖

    L is at most the decoder's Lipschitz constant, and all that the proof needs of it.

    Args:
        real, decoded, fake: x, decode(e), decode(z), `(n, D)` each.
        encoded, drawn: e, z, `(n, k)` each.
    """
    pairs, latents = _pairing(encoded, drawn)
    moved = (encoded - drawn[pairs]).norm(dim=-1)
    lip = ((decoded - fake[pairs]).norm(dim=-1) / moved.clamp(min=1e-12)).max()
    reconstruction = (real - decoded).square().sum(-1).mean().sqrt()
    found = {"w2": _pairing(real, fake)[1], "reconstruction": float(reconstruction)}
    return found | {"lip": float(lip), "latents": latents, "bound": float(reconstruction + lip * latents)}


def _pairing(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Partner in y of each point of x, `(n,)`, in the optimal pairing, and W₂."""
    from scipy.optimize import linear_sum_assignment

    cost = pairwise(x.double(), y.double()).square().numpy()
    rows, columns = linear_sum_assignment(cost)
    return torch.from_numpy(columns), float(np.sqrt(cost[rows, columns].mean()))


def measure_bound(seeds: Sequence[int], share: float) -> Measured:
    """W₂ and its bound while an autoencoder and the density of its latents are trained."""
    rows: list[dict[str, Any]] = [{"seed": seed, "holds": True} for seed in seeds]
    pictures = {}
    for prior in ("gaussian", "diffusion"):
        own = _two_step(seeds, share, data="circle", latents=2, prior=prior)
        steps = own.experiment.config.steps
        parts = (0.05, 0.1, 0.2, 0.35, 0.5, 0.6, 0.75, 0.9, 1)
        at = [round(steps * part) for part in parts]
        found = [[_bound(own, i) for i in range(len(seeds))] for _ in follow(own, at)]
        for i, row in enumerate(rows):
            row["holds"] &= all(now[i]["w2"] <= now[i]["bound"] for now in found)
            row |= {f"W₂, {prior}": found[-1][i]["w2"], f"bound, {prior}": found[-1][i]["bound"]}
            row |= {f"reconstruction, {prior}": found[-1][i]["reconstruction"], f"L, {prior}": found[-1][i]["lip"]}
        named: dict[str, tuple[str, Colour]] = {
            "bound": ("reconstruction + L · W₂ of latents", "quiet"),
            "w2": ("W₂ of samples", "fake"),
            "reconstruction": ("reconstruction", "first"),
            "latents": ("W₂ of latents", "second"),
        }
        series = [line(title, at, [now[0][key] for now in found], colour) for key, (title, colour) in named.items()]
        real, fakes = own.data.restore(own.held_out())[0], own.fakes()[0]
        samples = [points("data", real, "real"), points("model", fakes, "fake")]
        title = {"gaussian": "Gaussian", "diffusion": "diffusion"}[prior]
        pictures[title] = [
            Panel("W₂ and its bound", series, "step", "distance (standardised)", "y"),
            Panel("Samples at the end", samples),
        ]
    return rows, pictures


def _bound(own: Study, i: int) -> dict[str, float]:
    """The numbers of one seed now."""
    real = own.held_out(MATCHED)
    encoded, drawn = own.experiment.embed(real), _prior_latents(own, MATCHED)
    clouds = (real, _decoded(own, encoded), _decoded(own, drawn), encoded, drawn)
    return bound_of(*(cloud[i] for cloud in clouds))
