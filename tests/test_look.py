"""What screen and paper share: scales and bands."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.look.bands import quantiles
from mvm.look.palette import FAKE, MARKS, QUIET, REAL, ROUTES, VARIANTS, descriptor_colour
from mvm.look.scales import ratio_shade, span_of


@pytest.mark.parametrize("members", [1, 2, 5])
def test_quantiles_are_those_of_the_finite_values(members: int) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(members, 40))
    values[random.random(values.shape) < 0.3] = np.nan
    values[0, 3] = np.inf
    values[:, 7] = np.nan
    known = np.where(np.isfinite(values), values, np.nan)
    shares = (0, 0.25, 0.5, 0.75, 1)
    expected = np.full((5, 40), np.nan)
    for column in range(40):
        if np.isfinite(known[:, column]).any():
            expected[:, column] = np.nanquantile(known[:, column], shares)
    np.testing.assert_allclose(quantiles(values, shares), expected)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_span_has_equal_units_about_the_finite_points(dim: int) -> None:
    points = np.zeros((4, dim))
    points[0, 0], points[1, 0], points[2, 1] = -1, 3, np.nan
    span = span_of(points, margin=0.5)
    np.testing.assert_allclose(np.diff(span, axis=1), 6)
    np.testing.assert_allclose(span.mean(1), [1] + [0] * (dim - 1))
    assert (np.diff(span_of(np.full((3, dim), np.nan))) > 0).all()
    assert (np.diff(span_of(np.ones((3, dim)))) > 0).all(), "of coinciding points, too"


def test_the_shade_of_a_ratio_begins_at_the_baseline() -> None:
    np.testing.assert_allclose(ratio_shade(np.array([0.5, 1.0, 30.0, 1e6])), [0, 0, 1, 1])
    assert np.isnan(ratio_shade(np.array([np.nan])))


def test_every_descriptor_has_a_colour_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: descriptor_colour(name) for name in DESCRIPTORS}
    assert list(known.values()) == list(VARIANTS)[: len(known)]
    for number in range(40):
        monkeypatch.setitem(DESCRIPTORS, f"new{number}", DESCRIPTORS["centroid"])
    colours = [descriptor_colour(name) for name in DESCRIPTORS]
    assert len(set(colours)) == len(colours)
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert {name: descriptor_colour(name) for name in known} == known, "those of today stay"


# -- colours: contrast by WCAG 2.1; colour blindness by Machado et al. 2009, severity 1 --------------------------------

CONFIG = tomllib.loads((Path(__file__).parents[1] / "app/.streamlit/config.toml").read_text(encoding="utf-8"))
THEMES = ("light", "dark")
SIGHTS = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> np.ndarray:
    """Linear sRGB of a hex colour."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def least_distance(one: str, other: str) -> float:
    """Distance in CIELAB as the eyes see it that tell the two apart least."""

    def lab(light: np.ndarray) -> np.ndarray:
        x, y, z = np.cbrt(np.clip(XYZ @ np.clip(light, 0, 1) / [0.95047, 1, 1.08883], 0.008856, None))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    return min(float(np.linalg.norm(lab(eye @ linear(one)) - lab(eye @ linear(other)))) for eye in SIGHTS.values())


def test_the_measures_know_black_and_white() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert least_distance("#000000", "#FFFFFF") == pytest.approx(100, abs=10)  # near black, CIELAB is cut off here
    assert least_distance("#C00000", "#606000") < 30 < least_distance("#0000FF", "#FFFF00")


@pytest.mark.parametrize("theme", THEMES)
def test_lines_and_points_stand_out_in_both_themes(theme: str) -> None:
    colours = {REAL, FAKE, QUIET, *VARIANTS, *ROUTES.values(), *(colour for colour, _ in MARKS.values())}
    assert {c: contrast(c, CONFIG["theme"][theme]["backgroundColor"]) for c in colours} == {
        c: AtLeast(3) for c in colours
    }


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    """Text, links and coloured words; on the page and in the sidebar."""
    colours = CONFIG["theme"][theme]
    texts = [name for name in colours if name.endswith("extColor") or name == "primaryColor"]
    assert len(texts) >= 7
    for ground in ("backgroundColor", "secondaryBackgroundColor"):
        found = {name: contrast(colours[name], colours[ground]) for name in texts}
        assert found == {name: AtLeast(4.5) for name in texts}, ground


def test_colours_that_meet_are_told_apart_by_all_eyes() -> None:
    assert least_distance(REAL, FAKE) > 40
    first = [FAKE, *VARIANTS[:3]]
    assert min(least_distance(*pair) for pair in itertools.combinations(first, 2)) > 20, (
        "fake, centroid, diameter, both"
    )
    assert min(least_distance(*pair) for pair in itertools.combinations(VARIANTS, 2)) > 12


class AtLeast(float):
    """Equal to every number not below it: a failing comparison shows all values."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and other >= float(self)

    __hash__ = float.__hash__
