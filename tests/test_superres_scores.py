"""Scores of upscaled pictures against scikit-image, scipy, naive loops; published rows where benchmarks are named."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from scipy.special import gamma
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mvm.imaging.colour import as_grey, luma, to_uint8
from mvm.imaging.resize import imresize
from mvm.scoring.images import describe
from mvm.scoring.niqe import fit_asymmetric, niqe
from mvm.scoring.superres import (
    SUPERRES_SCORES,
    SuperresReference,
    bicubic,
    mean_scores,
    measure,
    psnr,
    ssim,
)

close = torch.testing.assert_close
ALWAYS = ("psnr_y", "ssim_y", "psnr_y_float", "ssim_y_float", "psnr_rgb", "ssim_rgb", "niqe")


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Coloured waves with noise, `(h, w, 3)` uint8."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height) / 9.0, torch.arange(width) / 7.0, indexing="ij")
    phase = torch.rand(3, generator=generator) * 6
    waves = 128 + 70 * torch.sin(x[..., None] + phase) * torch.cos(y[..., None] * phase / 3)
    return to_uint8(waves + 12 * torch.randn(height, width, 3, generator=generator))


def pair(height: int = 60, width: int = 76, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture, and the bicubic interpolation of its reduction."""
    high = picture(height, width, seed)
    return bicubic(imresize(high, (height // 4, width // 4))), high


# -- colour ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "y"),
    [  # of MATLAB's rgb2ycbcr
        ((0, 0, 0), 16.0), ((255, 255, 255), 235.0), ((255, 0, 0), 81.481), ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966), ((10, 200, 30), 16 + (654.81 + 25710.6 + 748.98) / 255),
    ],
)  # fmt: skip
def test_luma_is_that_of_bt_601(rgb, y):
    pixels = torch.tensor(rgb, dtype=torch.uint8).expand(2, 5, 3)
    close(luma(pixels, rounded=False), torch.full((2, 5), y, dtype=torch.float64))
    close(luma(pixels, rounded=True), torch.full((2, 5), float(math.floor(y + 0.5)), dtype=torch.float64))


def test_a_grey_picture_is_its_own_luma():
    grey = picture(6, 5)[..., 0]
    for values in (grey, grey[..., None]):
        for rounded in (False, True):
            assert torch.equal(luma(values, rounded=rounded), grey.double())
    assert luma(picture(6, 5).expand(2, -1, -1, -1), rounded=False).shape == (2, 6, 5)
    with pytest.raises(ValueError, match=r"\(6, 5, 2\)"):
        luma(picture(6, 5)[..., :2], rounded=True)


def test_values_are_rounded_half_up_and_clipped():
    assert to_uint8(torch.tensor([-3.0, 0.49, 0.5, 1.5, 254.6, 300.0])).tolist() == [0, 0, 1, 2, 255, 255]
    assert as_grey(torch.tensor([[[1, 2, 4], [9, 9, 9]]], dtype=torch.uint8)).tolist() == [[2, 9]]


# -- PSNR and SSIM -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_psnr_and_ssim_are_those_of_scikit_image(seed):
    sr, hr = pair(seed=seed)
    scores = measure(sr, hr)
    inside = [x[4:-4, 4:-4].numpy() for x in (sr, hr)]
    y = [16 + x @ np.array([65.481, 128.553, 24.966]) / 255 for x in inside]
    rounded = [np.floor(x + 0.5) for x in y]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for key, images, channels in (("y", rounded, None), ("y_float", y, None), ("rgb", inside, -1)):
        assert scores[f"psnr_{key}"] == pytest.approx(peak_signal_noise_ratio(*images, data_range=255), rel=1e-9)
        whole = structural_similarity(*images, channel_axis=channels, full=True, **settings)[1]
        assert scores[f"ssim_{key}"] == pytest.approx(whole[5:-5, 5:-5].mean(), rel=1e-6)
    assert scores["psnr_y"] != scores["psnr_y_float"]


@pytest.mark.parametrize("size", [(11, 11), (12, 14)])
def test_ssim_is_the_mean_over_whole_windows(size):
    x, y = (picture(*size, seed=seed)[..., 0].double() for seed in (0, 1))
    g = torch.exp(-(torch.arange(-5.0, 6.0).double() ** 2) / (2 * 1.5**2))
    window = g[:, None] * g / g.sum() ** 2
    c1, c2, found = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for i in range(size[0] - 10):
        for j in range(size[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            luminance = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
            contrast = (2 * (va * vb).sqrt() + c2) / (va + vb + c2)
            structure = (cov + c2 / 2) / ((va * vb).sqrt() + c2 / 2)
            found.append(float(luminance * contrast * structure))
    assert ssim(x, y) == pytest.approx(sum(found) / len(found), rel=1e-9)
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-12)
    assert ssim(x[:10], y[:10]) is None


def test_psnr_of_a_known_error():
    x = torch.zeros(20, 20)
    assert psnr(x, x + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(x, x + 5) == pytest.approx(20 * math.log10(51))
    assert psnr(x, x) == math.inf
    with pytest.raises(ValueError, match="one shape"):
        psnr(x, x[:5])


# -- protocol ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_the_border_does_not_count_and_values_are_rounded_and_clipped(seed):
    sr, hr = pair(seed=seed)
    wild = sr.double() + 0.4 * torch.rand(sr.shape, generator=torch.Generator().manual_seed(seed))
    wild[:4], wild[-4:], wild[:, :4], wild[:, -4:] = 999, -999, 0, torch.nan
    assert measure(wild.where(wild.isfinite(), 0), hr) == measure(sr, hr)
    assert measure(sr.double() - 300, hr) == measure(torch.zeros_like(sr), hr)


def test_a_grey_original_is_compared_as_it_is():
    sr, hr = (x[..., 0] for x in pair())
    scores = measure(sr, hr)
    assert scores["psnr_y"] == scores["psnr_y_float"] == pytest.approx(scores["psnr_rgb"])
    assert scores["ssim_y"] == scores["ssim_y_float"] == pytest.approx(scores["ssim_rgb"])
    assert scores["psnr_y"] == psnr(sr[4:-4, 4:-4], hr[4:-4, 4:-4])
    coloured = torch.stack([sr, sr, sr], dim=-1)
    assert measure(coloured, hr) == pytest.approx(scores)
    colours = torch.stack([hr, hr, hr], dim=-1)
    assert measure(coloured, colours)["psnr_y_float"] == pytest.approx(scores["psnr_y"] + 20 * math.log10(255 / 219))


def test_what_has_no_value_is_none():
    sr, hr = pair()
    assert measure(sr, hr)["niqe"] is None, "smaller than two blocks"
    assert measure(hr, hr)["psnr_y"] is None, "infinite"
    assert measure(hr, hr)["ssim_y"] == pytest.approx(1)
    small = measure(sr[:16, :16], hr[:16, :16])
    assert small["ssim_y"] is None
    assert small["psnr_y"] is not None
    assert "niqe" not in measure(sr, hr, niqe=False)


@pytest.mark.parametrize(("sr", "hr"), [((60, 60), (60, 64)), ((8, 40), (8, 40))])
def test_pictures_that_cannot_be_compared_are_refused_in_one_line(sr, hr):
    with pytest.raises(ValueError, match="more than 8 pixels") as refused:
        measure(picture(*sr), picture(*hr))
    assert "\n" not in str(refused.value)


# -- NIQE --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (0.8, 0.5, 2.0), (1.3, 3.0, 0.4)])
def test_the_fit_finds_the_law_that_values_are_drawn_from(shape, left, right):
    draws = np.random.default_rng(0)
    sizes = np.abs(stats.gennorm.rvs(shape, size=(3, 400_000), random_state=draws))
    sides = draws.random(sizes.shape) < left / (left + right)
    fit = fit_asymmetric(np.where(sides, -left, right) * sizes)
    np.testing.assert_allclose(fit.shape, shape, rtol=0.03)
    np.testing.assert_allclose(fit.left, left, rtol=0.03)
    np.testing.assert_allclose(fit.right, right, rtol=0.03)


def slow_fit(x: np.ndarray) -> tuple[float, float, float]:
    """One row by the authors' recipe: every shape is tried."""
    shapes = np.arange(0.2, 10.001, 0.001)
    left, right = np.sqrt(np.mean(x[x < 0] ** 2)), np.sqrt(np.mean(x[x > 0] ** 2))
    moment = np.mean(np.abs(x)) ** 2 / np.mean(x**2) * ((left / right) ** 3 + 1) * (left / right + 1)
    moment /= ((left / right) ** 2 + 1) ** 2
    tried = gamma(2 / shapes) ** 2 / gamma(1 / shapes) / gamma(3 / shapes)
    shape = shapes[np.argmin((tried - moment) ** 2)]
    width = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * width, right * width


@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_is_that_of_a_search_over_every_shape(seed):
    draws = np.random.default_rng(seed)
    rows = np.stack([draws.normal(size=500), draws.laplace(0.3, 1, size=500), draws.uniform(-1, 3, 500)])
    rows = np.concatenate([rows, np.sign(rows), rows**5])  # the least and the greatest shapes
    np.testing.assert_allclose(np.stack(fit_asymmetric(rows), 1), [slow_fit(row) for row in rows], rtol=1e-9)


def slow_niqe(y: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Block by block and window by window."""
    rows, columns = y.shape[0] // 96, y.shape[1] // 96
    y = y[: rows * 96, : columns * 96]
    g = np.exp(-(np.arange(-3.0, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = g[:, None] * g / g.sum() ** 2
    half = imresize(torch.from_numpy(y)[..., None], (rows * 48, columns * 48))[..., 0].numpy()
    parts = []
    for x, size in ((y, 96), (half, 48)):
        around = np.lib.stride_tricks.sliding_window_view(np.pad(x, 3, mode="edge"), (7, 7))
        local = (around * window).sum((2, 3))
        spread = np.sqrt(((around - local[..., None, None]) ** 2 * window).sum((2, 3)))
        normal, found = (x - local) / (spread + 1), []
        for i in range(rows):
            for j in range(columns):
                block = normal[i * size : (i + 1) * size, j * size : (j + 1) * size]
                shape, left, right = slow_fit(block.ravel())
                numbers = [shape, (left + right) / 2]
                for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    shape, left, right = slow_fit((block * np.roll(block, step, (0, 1))).ravel())
                    numbers += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
                found.append(numbers)
        parts.append(np.array(found))
    features = np.concatenate(parts, axis=1)
    away = mean - features.mean(0)
    return float(np.sqrt(away @ np.linalg.pinv((covariance + np.cov(features.T)) / 2) @ away))


@pytest.mark.parametrize("size", [(96, 200), (210, 290)])
def test_niqe_is_that_of_naive_loops(size):
    from safetensors.numpy import load_file

    from mvm.scoring.niqe import PRISTINE

    held = load_file(PRISTINE)
    y = luma(picture(*size), rounded=True)
    assert niqe(y) == pytest.approx(slow_niqe(y.numpy(), held["mean"], held["covariance"]), rel=1e-3)


def test_niqe_prefers_a_photograph_to_its_blurred_and_noisy_versions():
    from sklearn.datasets import load_sample_image

    for name in ("china.jpg", "flower.jpg"):
        y = luma(torch.from_numpy(load_sample_image(name).copy()), rounded=True)[:384, :480]
        own = niqe(y)
        small = imresize(y[..., None], (96, 120))
        assert own < niqe(imresize(small, (384, 480))[..., 0])
        assert own < niqe((y + 25 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255))


def test_niqe_of_too_small_or_flat_pictures_is_none():
    assert niqe(torch.rand(191, 96) * 255) is None
    assert niqe(torch.full((192, 192), 90.0)) is None
    assert niqe(torch.rand(192, 96, generator=torch.Generator().manual_seed(0)) * 255) is not None


# -- the reference -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> SuperresReference:
    high = [picture(64, 80), picture(208, 216, seed=1)]
    return SuperresReference(["a", "b"], high, [imresize(x, (x.shape[0] // 4, x.shape[1] // 4)) for x in high])


def test_a_reference_scores_every_picture_beside_bicubic(reference):
    upscaled = [to_uint8(bicubic(low) + 3.0) for low in reference.inputs]
    rows = reference.per_picture(upscaled)
    assert [row["picture"] for row in rows] == ["a", "b"]
    for row, sr, low, high in zip(
        rows, upscaled, reference.inputs, (picture(64, 80), picture(208, 216, 1)), strict=True
    ):
        expected, floor = measure(sr, high), measure(bicubic(low), high)
        assert row == {"picture": row["picture"]} | expected | {f"{key}_floor": floor[key] for key in floor}
    scores = reference.score(upscaled)
    assert set(scores) == {*ALWAYS, *(f"{key}_floor" for key in ALWAYS)}
    for key in ("psnr_y", "ssim_rgb", "psnr_y_floor"):
        assert scores[key] == pytest.approx((rows[0][key] + rows[1][key]) / 2)
    assert rows[0]["niqe"] is None
    assert scores["niqe"] == rows[1]["niqe"]
    assert {key: scores[key] for key in reference.floors} == reference.floors
    assert (reference.size, reference.coordinates, reference.criterion) == (2, "own", "psnr_y")
    assert reference.keys == ALWAYS


def test_bicubic_scores_as_its_own_baseline(reference):
    scores = reference.score([bicubic(low) for low in reference.inputs])
    assert all(scores[key] == scores[f"{key}_floor"] for key in reference.keys)


def test_a_reference_refuses_what_does_not_fit(reference):
    with pytest.raises(ValueError, match="1 pictures for 2 inputs"):
        reference.score([picture(64, 80)])
    with pytest.raises(ValueError, match="same height and width"):
        reference.score([picture(64, 84), picture(208, 216)])
    with pytest.raises(ValueError, match="0 names"):
        SuperresReference([], [], [])


def test_niqe_is_left_out_on_request():
    high = picture(64, 64)
    fast = SuperresReference(["a"], [high], [imresize(high, (16, 16))], niqe=False)
    assert fast.keys == ALWAYS[:-1]


def test_means_leave_out_pictures_without_a_value():
    rows = [{"picture": "a", "niqe": 4.0, "psnr_y": None}, {"picture": "b", "niqe": 6.0, "psnr_y": None}]
    assert mean_scores(rows) == {"niqe": 5.0, "psnr_y": None}
    assert mean_scores([]) == {}


@pytest.mark.parametrize("key", SUPERRES_SCORES)
def test_every_score_introduces_itself(key):
    about = describe(key)
    assert about.label
    assert about.meaning
    assert about.direction == ("lower" if key in ("niqe", "vgg16_hed", "lpips") else "higher")
    assert about.floor == f"{key}_floor"
    assert about.baseline == "bicubic"


# -- published rows, where a folder of benchmarks is named -------------------------------------------------------------

BENCHMARKS = os.environ.get("MVM_SR_BENCHMARKS")
PUBLISHED = {"set5": (28.42, 0.8104, 26.70), "set14": (26.00, 0.7027, 24.47)}  # PSNR and SSIM of Y; RGB measured once


def originals(name: str) -> list[torch.Tensor]:
    """A benchmark, cropped to multiples of 4; the third of Set14 is grey as published, which WebP cannot store."""
    found = []
    for place, path in enumerate(sorted(Path(BENCHMARKS, name).iterdir()), 1):
        grey = name == "set14" and place == 3
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("L" if grey else "RGB")))
        found.append(pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4])
    return found


if BENCHMARKS:

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_bicubic_gives_the_published_row(name):
        rows = []
        for high in originals(name):
            low = imresize(high.reshape(*high.shape[:2], -1), (high.shape[0] // 4, high.shape[1] // 4))
            rows.append(measure(bicubic(low).reshape(high.shape), high, niqe=False))
        means = mean_scores(rows)
        y, similarity, rgb = PUBLISHED[name]
        assert means["psnr_y"] == pytest.approx(y, abs=0.01)
        assert means["psnr_y_float"] == pytest.approx(y, abs=0.015)
        assert means["psnr_rgb"] == pytest.approx(rgb, abs=0.011)
        assert means["ssim_y"] == pytest.approx(similarity, abs=0.0006)

    def test_niqe_of_the_baboon_is_matlabs():
        assert niqe(luma(originals("set14")[0], rounded=True)) == pytest.approx(5.730, abs=0.001)
