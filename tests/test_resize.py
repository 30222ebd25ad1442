"""MATLAB's imresize: against another library, a matrix written out, and MATLAB's own pictures where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from resize_right import interp_methods, resize
from torch.testing import assert_close

from mvm.imaging import resize as module
from mvm.imaging.resize import imresize

SIZES = [((40, 52), (10, 13)), ((10, 13), (40, 52)), ((37, 50), (9, 31)), ((5, 3), (1, 1)), ((2, 300), (7, 20))]


def picture(height: int, width: int, channels: int = 3, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(length: int, wanted: int) -> torch.Tensor:
    """Weights of a pass, pixel by pixel: the kernel as the papers print it, borders mirrored by walking back."""
    scale = wanted / length
    shrink = min(scale, 1)
    weights = torch.zeros(wanted, length, dtype=torch.float64)
    for i in range(wanted):
        centre = (i + 0.5) / scale - 0.5
        for j in range(-4 * length - 20, 5 * length + 20):
            x = abs(shrink * (centre - j))
            if x <= 1:
                value = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x <= 2:
                value = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            else:
                continue
            inside = j
            while not 0 <= inside < length:
                inside = -1 - inside if inside < 0 else 2 * length - 1 - inside
            weights[i, inside] += value
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_a_resize_is_two_matrices_of_weights(before, after):
    given = picture(*before)
    wanted = torch.einsum("ih,jw,hwc->ijc", matrix(before[0], after[0]), matrix(before[1], after[1]), given)
    assert_close(imresize(given, after), wanted)
    assert_close(imresize(given.float(), after), wanted.float())


@pytest.mark.parametrize(("before", "after"), [SIZES[0], SIZES[1], ((64, 48), (21, 24)), ((30, 41), (37, 80))])
def test_a_resize_is_that_of_resize_right(before, after):
    given = picture(*before, seed=1)
    wanted = resize(given.numpy(), out_shape=(*after, 3), interp_method=interp_methods.cubic, pad_mode="symmetric")
    assert_close(imresize(given, after), torch.from_numpy(wanted), atol=1e-7, rtol=0)  # its scales have an epsilon


def test_a_uint8_picture_is_rounded_after_each_pass():
    given = (picture(48, 72) * 255).round().byte()  # the weights of a quarter are exact, and so are ties
    rows = (torch.einsum("ih,hwc->iwc", matrix(48, 12), given.double()) + 0.5).floor().clamp(0, 255)
    both = (torch.einsum("jw,iwc->ijc", matrix(72, 18), rows) + 0.5).floor().clamp(0, 255)
    assert imresize(given, (12, 18)).dtype == torch.uint8
    assert_close(imresize(given, (12, 18)), both.byte(), rtol=0, atol=0)


def test_values_beyond_the_range_are_clipped_in_uint8_alone():
    edge = torch.zeros(8, 8, 1, dtype=torch.uint8)
    edge[:, 4:] = 255
    assert imresize(edge, (32, 32)).max() == 255
    assert imresize(edge.double(), (32, 32)).max() > 260
    assert imresize(edge.double(), (32, 32)).min() < -5


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), up=st.integers(1, 90), across=st.integers(1, 90),
    value=st.integers(0, 255),
)  # fmt: skip
def test_a_flat_picture_stays_flat(height, width, up, across, value):
    flat = torch.full((height, width, 2), value, dtype=torch.uint8)
    assert_close(imresize(flat, (up, across)), torch.full((up, across, 2), value, dtype=torch.uint8))


@given(seed=st.integers(0, 99), axis=st.sampled_from([0, 1]))
def test_a_mirrored_picture_gives_the_mirrored_result(seed, axis):
    given = picture(24, 36, seed=seed)
    assert_close(imresize(given.flip(axis), (6, 9)), imresize(given, (6, 9)).flip(axis))


def test_many_pictures_are_resized_at_once_and_blocks_leave_no_seam(monkeypatch):
    many = torch.stack([picture(100, 44, 1, seed=seed) for seed in range(6)]).reshape(2, 3, 100, 44, 1)
    whole = imresize(many, (25, 11))
    assert whole.shape == (2, 3, 25, 11, 1)
    assert_close(whole[1, 2], imresize(many[1, 2], (25, 11)))
    monkeypatch.setattr(module, "BLOCK", 7)
    assert_close(imresize(many, (25, 11)), whole)
    assert imresize(many[:0], (25, 11)).shape == (0, 3, 25, 11, 1)


@pytest.mark.parametrize(
    ("given", "size", "message"),
    [
        (torch.zeros(4, 4, 3), (0, 2), "must be positive"),
        (torch.zeros(4, 0, 3), (1, 2), "must be positive"),
        (torch.zeros(4, 4, 3, dtype=torch.int32), (1, 1), "torch.int32 picture; give uint8"),
    ],
)
def test_what_cannot_be_resized_is_named(given, size, message):
    with pytest.raises(ValueError, match=message):
        imresize(given, size)


if "MVM_SR_BENCHMARKS" in os.environ:  # MATLAB's pictures may not be given away
    FOLDER = Path(os.environ["MVM_SR_BENCHMARKS"])
    SET5 = [*zip(*(sorted((FOLDER / name).iterdir()) for name in ("set5", "set5_lr_x4_matlab")), strict=True)]

    @pytest.mark.parametrize(("high", "low"), SET5)
    def test_a_quarter_is_matlabs_in_every_pixel(high, low):
        given, wanted = (torch.from_numpy(np.array(Image.open(path).convert("RGB"))) for path in (high, low))
        height, width = wanted.shape[:2]
        assert_close(imresize(given[: 4 * height, : 4 * width], (height, width)), wanted, rtol=0, atol=0)
