"""The first screen in one paragraph and one picture: what a generator, a metric network and their numbers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from app.components.welcome import welcome_card
from mvm.look.palette import FAKE, REAL, VARIANTS

__all__ = ["draw_welcome"]

WORDS = """
A <b>generator</b> turns noise into points, the <b class="fake">fakes</b>. A second network, the <b>metric network</b>,
learns a distance in which they differ from the <b class="real">reals</b>, which are the data; the generator then moves
the fakes until two <b>descriptors</b> of both sets agree: the <b>centroid</b>, which is the mean, and the
<b>2-diameter</b>, the root mean square distance between points. Each column of the Lab trains such a pair of networks
to match one descriptor, or both. A score's <b>baseline</b> is what a second sample of real data scores: no generator
can be expected to do better.
"""
CAPTIONS = (
    "Generator: noise becomes fakes",
    "Metric network: tells them from reals",
    "Descriptors: centroid ×, 2-diameter ◯",
    "Baseline: real against real",
)
WIDTH, HEIGHT = 240, 112
RADIUS = 2.6
NETWORKS = VARIANTS[3]  # colour of networks, seen on light and on dark


def draw_welcome(*, key: str, closable: bool = True) -> bool:
    """Draw the card; return whether the tour was asked for."""
    return welcome_card(WORDS, picture(), key=key, closable=closable)


def picture() -> str:
    """The picture, in four parts that wrap on a narrow screen; text takes its colour from the page."""
    parts = (_generator(), _metric(), _descriptors(), _baseline())
    figures = "".join(
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{caption}">{part}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, part in zip(CAPTIONS, parts, strict=True)
    )
    return f'<div class="picture">{figures}</div>'


# -- its parts ---------------------------------------------------------------------------------------------------------


def _generator() -> str:
    noise = _dots(_blob(16, (26, 56), (20, 26), seed=1), "currentColor", opacity=0.45)
    return noise + _network(66, 56) + _dots(_roll(34, (182, 56)), REAL) + _dots(_roll(14, (182, 56), off=4), FAKE)


def _metric() -> str:
    inputs = _dots(_roll(24, (46, 56), size=42), REAL) + _dots(_roll(10, (46, 56), size=42, off=4), FAKE)
    real = _dots(_blob(20, (192, 34), (44, 16), seed=2), REAL)
    return inputs + _network(96, 56) + real + _dots(_blob(13, (196, 86), (34, 13), seed=3), FAKE)


def _descriptors() -> str:
    real, fake = (88, 56), (156, 64)
    line = f'<path d="M{real[0]} {real[1]}L{fake[0]} {fake[1]}" stroke="currentColor" stroke-width="1.6"/>'
    circles = _circle(real, 48, REAL) + _circle(fake, 30, FAKE)
    dots = _dots(_blob(20, real, (33, 33), seed=4), REAL, opacity=0.6)
    dots += _dots(_blob(13, fake, (20, 20), seed=5), FAKE, opacity=0.6)
    return circles + dots + line + _cross(real, REAL) + _cross(fake, FAKE)


def _baseline() -> str:
    def bar(y: int, width: int, words: str, colours: tuple[str, str]) -> str:
        first, second = (f'<rect x="{30 + i * width / 2}" y="{y}" width="{width / 2}" height="16" fill="{colour}"/>'
                         for i, colour in enumerate(colours))  # fmt: skip
        text = f'<text x="30" y="{y - 5}" font-size="13" fill="currentColor">{words}</text>'
        return first + second + text

    line = '<path d="M150 12V106" stroke="currentColor" stroke-width="1.6" stroke-dasharray="4 3"/>'
    one = '<text x="156" y="103" font-size="13" fill="currentColor">1 baseline</text>'
    return bar(28, 168, "fake – real", (FAKE, REAL)) + bar(72, 120, "real – real", (REAL, REAL)) + line + one


def _network(x: int, y: int) -> str:
    """An arrow through a small network."""
    layers = [(x + 6, (-14, 0, 14)), (x + 24, (-21, -7, 7, 21)), (x + 42, (-10, 10))]
    wires = "".join(
        f"M{left} {y + a}L{right} {y + b}"
        for (left, starts), (right, ends) in pairwise(layers)
        for a in starts
        for b in ends
    )
    knots = [(column, y + height) for column, heights in layers for height in heights]
    tip = f'<path d="M{x + 52} {y - 5}L{x + 59} {y}L{x + 52} {y + 5}Z" fill="currentColor"/>'
    return f'<path d="{wires}" stroke="{NETWORKS}" stroke-width=".9"/>' + _dots(knots, NETWORKS, radius=4) + tip


def _roll(n: int, centre: tuple[float, float], *, size: float = 47, off: float = 0.0) -> list[tuple[float, float]]:
    """Points of a rolled-up sheet, seen from its side; with `off` they miss it a little."""
    turns = np.linspace(1.6 * np.pi, 4.4 * np.pi, n)
    slip = off * np.random.default_rng(0).standard_normal((2, n))
    x, y = size * turns / turns[-1] * np.array([np.cos(turns), np.sin(turns)]) + slip
    return list(zip(centre[0] + x, centre[1] + y, strict=True))


def _blob(n: int, centre: tuple[float, float], spread: tuple[float, float], *, seed: int) -> list[tuple[float, float]]:
    """Points in an ellipse."""
    generator = np.random.default_rng(seed)
    angle, radius = generator.uniform(0, 2 * np.pi, n), np.sqrt(generator.uniform(0.05, 1, n))
    x, y = centre[0] + spread[0] * radius * np.cos(angle), centre[1] + spread[1] * radius * np.sin(angle)
    return list(zip(x, y, strict=True))


def _dots(points: Iterable[Sequence[float]], colour: str, *, radius: float = RADIUS, opacity: float = 1.0) -> str:
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in points)
    return f'<g fill="{colour}" opacity="{opacity}">{circles}</g>'


def _circle(centre: tuple[float, float], radius: float, colour: str) -> str:
    x, y = centre
    stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="5 4"'
    return f'<circle cx="{x}" cy="{y}" r="{radius}" {stroke}/>'


def _cross(centre: tuple[float, float], colour: str) -> str:
    x, y = centre
    path = f"M{x - 6} {y - 6}L{x + 6} {y + 6}M{x - 6} {y + 6}L{x + 6} {y - 6}"
    return f'<path d="{path}" stroke="{colour}" stroke-width="4"/>'
