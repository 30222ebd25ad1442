"""What every lens costs, and what it sees of fakes that are wrong in a known way.

    python -m benchmarks.lenses

Costs are seconds of one core, the three clouds together, at 512 and 2,000 points. Values stand beside their baseline.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cells import device_line, markdown, write_section
from mvm.devices import use_cpu
from mvm.lenses import LENSES, Networks, Subject
from mvm.lenses.learned import exact_score
from toy_manifolds import MANIFOLDS

SIZES = (512, 2000)
COSTS_ON = ("circle", "torus")
SLOW = 0.1  # seconds from which the Lab computes a lens in the background


def main() -> None:
    """Measure, print and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="points of each sample")
    parser.add_argument("--manifolds", nargs="+", choices=MANIFOLDS, default=COSTS_ON, help="whose lenses are timed")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md")
    options = parser.parse_args()
    use_cpu(1)
    header = ["lens", *(f"{MANIFOLDS[name].title}, {n:,}" for name in options.manifolds for n in options.sizes)]
    timed = [costs(name, n) for name in options.manifolds for n in options.sizes]
    rows = [[lens, *(_seconds(column[lens]) for column in timed)] for lens in LENSES]
    about = (
        "Seconds of one core for the three clouds together; the networks are replaced by maps that cost nothing. "
        f"From {SLOW} s on, the Lab computes in the background."
    )
    seen = markdown(["fakes", "lens", "number", "value", "baseline", "truth"], values())
    note = "What lenses see, at 512 points, of fakes that are wrong in a known way:"
    write_section(
        options.out, "lenses", "Lenses: costs and values", "python -m benchmarks.lenses", about,
        markdown(header, rows), note, seen, device=device_line("one thread"),
    )  # fmt: skip


def subject(name: str, n: int) -> Subject:
    """Three real samples of a manifold, with networks that every lens can look at."""
    manifold = MANIFOLDS[name]()
    real, fake, baseline = (manifold.sample(n, torch.Generator().manual_seed(seed)).points for seed in range(3))
    mean, scale = real.mean(0), real.std()

    def standardise(points: Tensor) -> Tensor:
        return (points.double() - mean) / scale

    networks = Networks(
        standardise=standardise, embed=standardise, untrained=standardise, other=standardise,
        other_untrained=standardise, decode=lambda z: z, score=lambda x, sigma: -x / (1 + sigma**2),
    )  # fmt: skip
    return Subject(real, fake, baseline, manifold, networks)


def costs(name: str, n: int) -> dict[str, float]:
    """Processor seconds of every lens on n points of a manifold; the first look, which imports, is not counted."""
    seen, small = subject(name, n), subject(name, 64)
    found = {}
    for key, lens in LENSES.items():
        lens.look(small)
        began = time.process_time()
        lens.look(seen)
        found[key] = time.process_time() - began
    return found


def values() -> list[list[str]]:
    """What some lenses see of a circle with a gap, of noise, of bridged circles, of a collapsed mode."""
    rows = []
    for title, make, numbers in WRONG:
        looked: dict[str, dict[str, list[str]]] = {}
        seen = make()
        for lens, key in numbers:
            if lens not in looked:
                found = LENSES[lens].look(seen).numbers
                looked[lens] = {
                    each: [
                        number.label,
                        f"{number.value:.3g}",
                        f"{number.baseline:.3g}",
                        "–" if number.truth is None else f"{number.truth:.3g}",
                    ]
                    for each, number in found.items()
                }
            label, *rest = looked[lens][key]
            rows.append([title, lens, label, *rest])
    return rows


def _samples(name: str, count: int = 3, n: int = 512) -> list[Tensor]:
    manifold = MANIFOLDS[name]()
    return [manifold.sample(n, torch.Generator().manual_seed(seed)).points.double() for seed in range(count)]


def _gap() -> Subject:
    """15 % of a circle are missing."""
    real, _, baseline = _samples("circle")
    angle = 0.85 * math.tau * torch.rand(512, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Subject(real, torch.stack([angle.cos(), angle.sin()], dim=1), baseline, MANIFOLDS["circle"]())


def _noise() -> Subject:
    """A circle with noise of deviation .01."""
    real, fake, baseline = _samples("circle")
    shake = 0.01 * torch.randn(512, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Subject(real, fake + shake, baseline, MANIFOLDS["circle"]())


def _bridge() -> Subject:
    """Two circles with 30 points between them."""
    real, fake, baseline = _samples("two_circles")
    line = torch.linspace(-0.5, 0.5, 30, dtype=torch.float64)
    bridge = torch.stack([line, torch.zeros_like(line)], dim=1)
    return Subject(real, torch.cat([fake[30:], bridge]), baseline, MANIFOLDS["two_circles"]())


def _roll() -> Subject:
    """A swiss roll as it is, of 2,000 points."""
    return Subject(*_samples("swiss_roll", n=2000), MANIFOLDS["swiss_roll"]())


def _exact() -> Subject:
    """The exact score of 4,000 points of a circle, of another sample than the clouds."""
    (dense,) = _samples("circle", 1, 4000)
    real, fake, baseline = _samples("circle")
    networks = Networks(score=lambda x, sigma: exact_score(dense, x, sigma))
    return Subject(real, fake, baseline, MANIFOLDS["circle"](), networks)


WRONG: tuple[tuple[str, Callable[[], Subject], tuple[tuple[str, str], ...]], ...] = (
    ("circle, 15 % missing", _gap, (("holes", "bottleneck_1"), ("holes", "betti_1"), ("spanning_tree", "length"))),
    ("circle, noise .01", _noise, (("dimension", "mle_10"), ("dimension", "mle_200"), ("dimension", "two_nn"),
                                   ("tangents", "angle"), ("tangents", "normal"))),
    ("two circles, bridged", _bridge, (("holes", "bottleneck_0"), ("holes", "betti_0"), ("spanning_tree", "longest"))),
    ("swiss roll, a real sample, 2,000", _roll, (("isomap", "map"), ("isomap", "graph"), ("diffusion_map", "map"),
                                                 ("isomap", "euclid"))),
    ("circle, exact score of 4,000", _exact, (("score", "dimension_norm"), ("score", "dimension_rank"))),
)  # fmt: skip


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < SLOW else f"**{value:.2f}**"


if __name__ == "__main__":
    main()
