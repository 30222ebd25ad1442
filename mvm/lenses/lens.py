"""What a lens looks at, what it gives, and what every lens is.

    Subject    reals, fakes, and a second sample of reals: the baseline; with their manifold and trained networks
    Reading    named numbers, each beside its baseline and the truth where it is known, and pictures of the three clouds
    Lens       one entry of `mvm.lenses.LENSES`

Pictures are plane drawings in numbers, so that the screen, a PDF and a CSV show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mvm.errors import ConfigError
from toy_manifolds.base import Manifold

__all__ = ["FEWEST", "NEEDS", "Layer", "Lens", "Networks", "Number", "Picture", "Reading", "Subject", "plane_of"]

FEWEST = 16  # different points that every lens needs of each cloud
MOST = 0.98  # share of the points that a distribution shows
Map = Callable[[Tensor], Tensor]


def identity(points: Tensor) -> Tensor:
    """The points themselves."""
    return points


@dataclass(frozen=True)
class Networks:
    """Trained networks of one member, as functions of points `(n, D)` in the coordinates of a subject.

    Attributes:
        standardise: to the coordinates of training, of mean 0 and standard deviation 1.
        embed: the learned metric, to `(n, k)`; None for a method without one.
        untrained: the same network before training.
        other, other_untrained: the learned metric of another seed; None if only one seed was trained.
        decode: of an autoencoder, whose encoder is `embed`: latents `(n, k)` to standardised points `(n, D)`.
        score: gradient of the log density of standardised points with noise of one level σ; None if it is not learned.
    """

    standardise: Map = identity
    embed: Map | None = None
    untrained: Map | None = None
    other: Map | None = None
    other_untrained: Map | None = None
    decode: Map | None = None
    score: Callable[[Tensor, float], Tensor] | None = None


@dataclass(frozen=True)
class Subject:
    """What lenses look at, in coordinates of the data or standardised ones.

    Attributes:
        real, fake, baseline: points `(n, D)`; the baseline is a second, independent sample of reals.
        manifold: the truth in these coordinates; None if it is not known.
        networks: of the member that made the fakes.
        point: index of the real whose nearest points are shown.
    """

    real: Tensor
    fake: Tensor
    baseline: Tensor
    manifold: Manifold | None = None
    networks: Networks = field(default_factory=Networks)
    point: int = 0

    @cached_property
    def clouds(self) -> dict[str, Tensor]:
        """The three clouds by name, float64."""
        clouds = {"real": self.real, "fake": self.fake, "baseline": self.baseline}
        return {name: points.double() for name, points in clouds.items()}

    @property
    def truth(self) -> Manifold:
        """The manifold, of a lens that needs it."""
        assert self.manifold is not None, "the lens states that it needs a manifold"
        return self.manifold


@dataclass(frozen=True)
class Number:
    """A measured number.

    Attributes:
        label: what it is, with its unit.
        value: of the fakes.
        baseline: the same of the baseline; what the label of another says.
        truth: exact value for the noiseless manifold; None where it is not known.
    """

    label: str
    value: float
    baseline: float
    truth: float | None = None


@dataclass(frozen=True)
class Layer:
    """Part of a picture.

    Attributes:
        name: for the legend: real, fake, baseline, or other words.
        points: places `(n, 2)`.
        kind: dots, a line through the points (broken at NaN), or arrows: segments between points 2i and 2i + 1.
        values: for colours of dots `(n,)`.
    """

    name: str
    points: np.ndarray
    kind: Literal["dots", "line", "arrows"] = "dots"
    values: np.ndarray | None = None


@dataclass(frozen=True)
class Picture:
    """A plane drawing.

    Attributes:
        title: real, fake, baseline; or what is drawn.
        layers: from the lowest.
        x, y: names of the axes; "" for axes that mean nothing.
        equal: whether both axes have one scale.
        log: whether the horizontal axis is logarithmic.
    """

    title: str
    layers: tuple[Layer, ...]
    x: str = ""
    y: str = ""
    equal: bool = False
    log: bool = False


@dataclass(frozen=True)
class Reading:
    """What a lens found.

    Attributes:
        numbers: by key.
        pictures: side by side.
    """

    numbers: dict[str, Number]
    pictures: tuple[Picture, ...]

    def as_json(self) -> dict[str, float | None]:
        """Numbers by key, baselines by `KEY_floor`, truths by `KEY_truth`; None for what is no number."""
        found: dict[str, float | None] = {}
        for key, number in self.numbers.items():
            found |= {key: _finite(number.value), f"{key}_floor": _finite(number.baseline)}
            found |= {f"{key}_truth": number.truth} if number.truth is not None else {}
        return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


NEEDS: dict[str, tuple[Callable[[Subject], bool], str]] = {
    "space": (lambda s: s.real.shape[-1] <= 3, "it is for points of at most three dimensions"),
    "manifold": (
        lambda s: s.manifold is not None and s.manifold.intrinsic_dim > 0,
        "the data are not samples of a known manifold",
    ),
    "metric": (lambda s: s.networks.embed is not None, "the method learns no metric"),
    "seeds": (lambda s: s.networks.other is not None, "only one seed was trained: train with --seeds 0 1"),
    "autoencoder": (lambda s: s.networks.decode is not None, "the method is no autoencoder, such as vae or two_step"),
    "score": (lambda s: s.networks.score is not None, "the method learns no score, as diffusion does"),
}
"""What a lens may need: whether a subject has it, and why not."""


@dataclass(frozen=True)
class Lens:
    """One way to look at generated points.

    Attributes:
        title: its name on the screen.
        how_to_read: what to look for, in a line.
        measure: what it finds.
        needs: names in `NEEDS`.
        slow: whether it takes over 0.1 s at 512 points on one core.
    """

    title: str
    how_to_read: str
    measure: Callable[[Subject], Reading]
    needs: Sequence[str] = ()
    slow: bool = False

    def refusal(self, subject: Subject) -> str:
        """Why it cannot look at a subject, in a line; "" if it can."""
        for need in self.needs:
            has, reason = NEEDS[need]
            if not has(subject):
                return reason
        for name, points in subject.clouds.items():
            if not points.isfinite().all():
                return f"coordinates of the {_noun(name)} are no numbers"
            if (count := len(points.unique(dim=0))) < FEWEST:
                return f"it needs {FEWEST} different points; the {_noun(name)} have {count}"
        return ""

    def look(self, subject: Subject) -> Reading:
        """Measure.

        Raises:
            ConfigError: the subject lacks what the lens needs; one line.
        """
        if reason := self.refusal(subject):
            raise ConfigError(f"{self.title}: {reason}")
        return self.measure(subject)


def _noun(cloud: str) -> str:
    return {"fake": "fakes", "real": "reals"}.get(cloud, "second sample of reals")


def plane_of(points: Tensor) -> tuple[Callable[[Any], np.ndarray], bool]:
    """Map of points `(n, D)` to the plane `(n, 2)`, and whether it is the data's own plane.

    Two dimensions stay as they are; more are projected onto the leading two principal axes of the given points.
    """
    if points.shape[-1] == 2:
        return lambda x: np.asarray(x, dtype=float), True
    centre = points.double().mean(0)
    axes = torch.linalg.svd(points.double() - centre, full_matrices=False).Vh[:2]
    padding = 2 - len(axes)

    def project(x: Any) -> np.ndarray:
        flat = (torch.as_tensor(np.asarray(x)).double() - centre) @ axes.mT
        return np.pad(flat.numpy(), [(0, 0), (0, padding)])

    return project, False


def curves(
    title: str, found: Mapping[str, np.ndarray], *, x: str, y: str, log: bool = False, more: Sequence[Layer] = ()
) -> Picture:
    """Lines of the clouds in one picture, in the order of the mapping."""
    return Picture(title, (*more, *(Layer(name, line, "line") for name, line in found.items())), x, y, log=log)


def shares(values: Tensor) -> np.ndarray:
    """The distribution of values `(n,)` as a line: each value, sorted, and the share of values up to it.

    It ends at `MOST`, so that a few far points do not hide the others.
    """
    ordered = np.sort(values.double().numpy())
    return np.stack([ordered, np.arange(1, len(ordered) + 1) / len(ordered)], axis=1)[: int(MOST * len(ordered)) + 1]
