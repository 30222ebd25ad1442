"""What screen and paper share: scales and bands."""

from __future__ import annotations

import numpy as np
import pytest

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.look.bands import quantiles
from mvm.look.palette import VARIANTS, descriptor_colour
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
