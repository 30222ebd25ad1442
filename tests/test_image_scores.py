"""Scores of pictures against other libraries (scipy, prdc, scikit-learn), naive loops and faces of known factors."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from torch.nn import functional as F

from mvm.errors import ConfigError
from mvm.scoring import face_regressor as factors
from mvm.scoring import images as image_scores
from mvm.scoring.face_regressor import WEIGHTS, Regressor, load_regressor
from mvm.scoring.features import INCEPTION_FILE, INCEPTION_URL, FactorRegressor, Inception, PixelPCA
from mvm.scoring.images import (
    FACTOR_SCORES,
    IMAGE_SCORES,
    Gallery,
    Gaussian,
    ImageReference,
    describe,
    frechet,
    kernel_distance,
    overlap,
)
from toy_manifolds.faces import FACTORS, Faces

N = 1000


class Projection:
    """A few random directions of the pixels: features that cost nothing."""

    name = "projection"

    def __call__(self, images):
        pixels = images.flatten(1).float() / 255
        directions = torch.randn(pixels.shape[1], 6, generator=torch.Generator().manual_seed(0))
        return pixels @ directions


class Broken(Projection):
    """NaN for black pictures."""

    name = "broken"

    def __call__(self, images):
        return super().__call__(images).where(images.flatten(1).amax(1, keepdim=True) > 0, torch.nan)


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_images(n, *, seed, size=8):
    return torch.randint(256, (n, size, size, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def faces(n, *, seed, size=32, **ranges):
    """Images, each named factor drawn from (low, high)."""
    renderer = Faces(size)
    drawn = renderer.draw(n, torch.Generator().manual_seed(seed))
    for name, (low, high) in ranges.items():
        k = list(FACTORS).index(name)
        drawn[:, k] = low + (high - low) * drawn[:, k]
    return (renderer.render(drawn) * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def close(value, expected, **tolerance):
    torch.testing.assert_close(
        torch.tensor(value, dtype=torch.float64), torch.tensor(float(expected), dtype=torch.float64), **tolerance
    )


@pytest.fixture(scope="module")
def train():
    return faces(1500, seed=3)


@pytest.fixture(scope="module")
def reference(train):
    parts, extractors = [train[:900], train[900:]], [PixelPCA(train), FactorRegressor()]
    return ImageReference(faces(N, seed=1), faces(N, seed=2), parts, extractors)


@pytest.fixture(scope="module")
def small():
    real, floor, train = (random_images(60, seed=seed) for seed in range(3))
    return ImageReference(real, floor, [train], [Projection(), Broken()])


# Formulas


def test_frechet_of_known_gaussians():
    mean, zero = torch.tensor([3.0, 4.0]).double(), torch.zeros(2).double()
    a, b = torch.tensor([4.0, 9.0]).double().diag(), torch.tensor([1.0, 25.0]).double().diag()
    close(frechet(Gaussian(mean, a), Gaussian(zero, b)), 25 + (2 - 1) ** 2 + (3 - 5) ** 2)
    turn = torch.linalg.qr(normal(2, 2, seed=0)).Q
    turned = [Gaussian(turn @ m, turn @ c @ turn.mT) for m, c in ((mean, a), (zero, b))]
    close(frechet(*turned), 30)


@pytest.mark.parametrize(("n", "dim"), [(200, 10), (12, 40), (30, 1)])
def test_frechet_is_that_of_scipy_also_with_fewer_samples_than_features(n, dim):
    mixing = normal(dim, dim, seed=4)
    x, y = normal(n, dim, seed=1), 0.5 + normal(n + 3, dim, seed=2) @ mixing / dim**0.5
    a, b = (np.cov(v.numpy(), rowvar=False).reshape(dim, dim) for v in (x, y))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(sqrtm(a @ b).real)
    close(frechet(Gaussian.of(x), Gaussian.of(y)), expected, rtol=1e-6, atol=0)
    close(frechet(Gaussian.of(x), Gaussian.of(x.flip(0))), 0, rtol=0, atol=1e-5)


def test_kernel_distance_is_a_double_loop():
    x, y = normal(7, 5, seed=1), 0.3 + normal(9, 5, seed=2)

    def kernel(a, b):
        return (sum(float(p * q) for p, q in zip(a, b, strict=True)) / 5 + 1) ** 3

    def mean(u, v, skip):
        values = [kernel(a, b) for i, a in enumerate(u) for j, b in enumerate(v) if not (skip and i == j)]
        return sum(values) / len(values)

    close(kernel_distance(x, y), mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False))


def test_overlap_is_one_minus_total_variation():
    x, y = normal(400, seed=1), 0.5 + normal(300, seed=2)
    edges = np.quantile(x.numpy(), np.linspace(0, 1, 21))
    edges[[0, -1]] = -np.inf, np.inf
    p, q = (np.histogram(v.numpy(), edges)[0] / len(v) for v in (x, y))
    close(overlap(x, y), 1 - np.abs(p - q).sum() / 2, rtol=0, atol=0.01)  # edges themselves may fall on either side
    half = x[x < x.median()]
    close(overlap(x, half), 0.5, rtol=0, atol=0.01)
    close(overlap(x, x.flip(0)), 1)
    close(overlap(x, x + 100), 1 / 20)


@pytest.mark.parametrize("block", [2**23, 700])
def test_neighbourhoods_are_those_of_prdc(small, monkeypatch, block):
    monkeypatch.setattr(image_scores, "BLOCK", block)
    fake = random_images(60, seed=9) // 2 + 40
    real = random_images(60, seed=0)
    found = ImageReference(real, random_images(60, seed=1), [fake], [Projection()]).score(fake)
    x, y = (Projection()(v).double().numpy() for v in (real, fake))
    for name, value in compute_prdc(x, y, nearest_k=5).items():
        close(found[f"projection.{name}"], value)


@pytest.mark.parametrize("flips", [False, True])
def test_the_nearest_are_those_of_least_distance(flips):
    """With mirror images, an image is as near as the nearer of the two, and is found once."""
    fake, train = random_images(20, seed=1), random_images(50, seed=2)
    train[7] = fake[3]
    train[9] = fake[4].flip(1)
    found = Gallery(train, Projection(), flips=flips).nearest(fake, 4)
    x, y, mirrored = (Projection()(v).double() for v in (fake, train, train.flip(2)))
    apart = torch.stack([torch.cdist(x, y), torch.cdist(x, mirrored) if flips else torch.cdist(x, y)]).amin(0)
    expected = apart.sort(dim=1)
    assert torch.equal(found.indices, expected.indices[:, :4])
    torch.testing.assert_close(found.distances, expected.values[:, :4], rtol=1e-6, atol=1e-6)
    assert found.indices[3, 0] == 7
    assert (found.indices[4, 0] == 9) == flips
    assert Gallery(train[:3], Projection(), flips=flips).nearest(fake, 4).indices.shape == (20, 3)


# Features


def test_pixels_are_principal_axes_in_units_of_their_deviation():
    images = random_images(300, seed=1)
    found = PixelPCA(images, k=10)(images)
    assert (found.shape, found.dtype) == ((300, 10), torch.float32)
    expected = PCA(10, svd_solver="full").fit_transform(images.flatten(1).double().numpy())
    expected /= np.sqrt(expected.var(0, ddof=1).mean())
    signs = np.sign((found.numpy() * expected).sum(0))
    torch.testing.assert_close(found, torch.from_numpy(expected * signs).float(), rtol=1e-3, atol=1e-3)


def test_pixels_of_large_pictures_are_averaged_down():
    images = random_images(40, seed=1, size=32)
    large = images.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(PixelPCA(large, k=5)(large), PixelPCA(images, k=5)(images), rtol=1e-4, atol=1e-4)
    assert PixelPCA(images[:4])(images).shape == (40, 3)  # four pictures span three axes


@pytest.mark.parametrize(("size", "least"), [(32, 0.975), (64, 0.965)])
def test_the_regressor_reads_fresh_faces(size, least):
    regressor = FactorRegressor()
    images, wanted = Faces(size).images(600, torch.Generator().manual_seed(77))
    read = regressor.read(regressor(images))
    r2 = 1 - (read - wanted).square().mean(0) / wanted.var(0, correction=0)
    assert r2.min() > least, dict(zip(FACTORS, r2.tolist(), strict=True))
    features = regressor(images)
    torch.testing.assert_close(features.std(0).mean(), torch.tensor(1.0), rtol=0.1, atol=0)
    noisy = (images + 10 * normal(*images.shape, seed=5)).clamp(0, 255).byte()
    assert (regressor.read(regressor(noisy)) - wanted).abs().mean() < 0.06


def test_the_regressor_is_small():
    assert sum(p.numel() for p in Regressor().parameters()) < 150_000
    assert WEIGHTS.stat().st_size < 700_000


def test_the_training_command(tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    factors.main(["--steps", "3", "--seed", "5", "--out", str(path)])
    assert set(FACTORS) <= set(capsys.readouterr().out.split())
    torch.manual_seed(5)
    again = Regressor()
    list(factors.fit(again, steps=3, seed=5))
    wanted = again.state_dict()
    for name, tensor in load_regressor(path).state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=1e-6, msg=name)


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    losses = list(factors.fit(Regressor(), steps=12))
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]


def test_augmenting_leaves_half_of_the_faces_unblurred_and_half_without_noise():
    images = 0.3 + 0.4 * torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = (factors.augment(images, torch.Generator().manual_seed(1)) != images).flatten(1).any(1)
    assert 0.65 < changed.float().mean() < 0.85
    flat = torch.full((400, 3, 8, 8), 0.5)
    noisy = factors.augment(flat, torch.Generator().manual_seed(1)).flatten(1).std(1) > 1e-6
    assert 0.4 < noisy.float().mean() < 0.6


# Inception: a package and weights that are not here


class FakeInception(torch.nn.Module):
    """The interface of torch-fidelity's extractor: the mean colour, and zeros."""

    zeros = 2045

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert (name, features_list) == ("inception", ["2048"])
        self.weights = torch.load(feature_extractor_weights_path)

    def forward(self, x):
        assert (x.dtype, x.shape[1:]) == (torch.uint8, (3, 8, 8))
        return (F.pad(x.double().mean((2, 3)) + self.weights, (0, self.zeros)),)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package in place of torch-fidelity; returns where torch would cache its weights."""
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FakeInception
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("MVM_INCEPTION", raising=False)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    cached.parent.mkdir(parents=True)
    return cached


def test_inception_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r"^inception: .*; pip install --no-deps torch-fidelity==.*$"):
        Inception()


def test_inception_without_its_weights(package):
    with pytest.raises(ConfigError) as caught:
        Inception()
    assert str(package) in str(caught.value)
    assert INCEPTION_URL in str(caught.value)
    assert "$MVM_INCEPTION" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", ["cache", "variable", "argument"])
def test_inception_gives_its_features_from_any_place_of_its_weights(package, monkeypatch, tmp_path, way):
    path = package if way == "cache" else tmp_path / "weights.pth"
    torch.save(torch.tensor(7.0), path)
    if way == "variable":
        monkeypatch.setenv("MVM_INCEPTION", str(path))
    extractor = Inception(path if way == "argument" else None, device="cpu")
    images = random_images(200, seed=1)
    features = extractor(images)
    assert (features.shape, features.dtype) == ((200, 2048), torch.float32)
    torch.testing.assert_close(features[:, :3], images.float().mean((1, 2)) + 7)


def test_of_inception_only_the_fid_and_its_like_are_asked(package, monkeypatch):
    monkeypatch.setattr(FakeInception, "zeros", 13)  # the distance between 2,048 features takes seconds
    torch.save(torch.tensor(7.0), package)
    images = random_images(200, seed=1)
    extractor = Inception(device="cpu")
    scores = ImageReference(images[:60], images[60:120], [images[120:]], [Projection(), extractor]).score(images[120:])
    assert scores["projection.memorised"] == 1
    assert scores["inception.memorised"] is None
    assert scores["inception.fd"] > 0


# The reference


def test_every_score_has_its_floor_and_introduces_itself(reference):
    scores = reference.score(faces(N, seed=4))
    names = [f"{space}.{key}" for space in ("pixels", "faces") for key in IMAGE_SCORES] + list(FACTOR_SCORES)
    assert sorted(reference.keys) == sorted(names)
    assert sorted(scores) == sorted([*names, *(f"{name}_floor" for name in names)])
    assert reference.criterion == "pixels.fd"
    for name in names:
        about = describe(name)
        assert about.floor == f"{name}_floor"
        assert about.label
        assert "\n" not in about.meaning
        assert isinstance(scores[name], float)
    with pytest.raises(KeyError, match="fd_floor"):
        describe("pixels.fd_floor")


def test_a_third_real_sample_scores_as_the_second(reference):
    scores = reference.score(faces(N, seed=4))
    for key in reference.keys:
        near = {"fd": 0.1, "kid": 0.01, "memorised": 0.02}.get(key.split(".")[-1], 0.06)
        close(scores[key], scores[f"{key}_floor"], rtol=0, atol=near)
    assert scores["factor_mean"] > 0.9


def test_the_floor_is_the_second_real_sample_scored_as_fake(reference):
    scores = reference.score(faces(N, seed=2))
    for key in reference.keys:
        close(scores[key], scores[f"{key}_floor"])


def test_half_of_one_factor_is_half_of_its_coverage(reference):
    scores = reference.score(faces(N, seed=4, gaze=(0.0, 0.5)))
    for name in FACTORS:
        key = f"factor.{name}"
        close(scores[key], 0.5 if name == "gaze" else scores[f"{key}_floor"], rtol=0, atol=0.06)
    mean = sum(scores[f"factor.{name}"] for name in FACTORS) / len(FACTORS)
    close(scores["factor_mean"], mean)
    assert scores["faces.coverage"] < scores["faces.coverage_floor"] - 0.05
    assert scores["faces.fd"] > 3 * scores["faces.fd_floor"]


def test_copies_of_training_pictures_are_memorised(reference, train):
    copies, fresh = reference.score(train[:N]), reference.score(faces(N, seed=4))
    for space in ("pixels", "faces"):
        assert copies[f"{space}.memorised"] == 1
        assert copies[f"{space}.nearest_ratio"] < 1e-3
        close(fresh[f"{space}.memorised"], 0.01, rtol=0, atol=0.015)
        close(fresh[f"{space}.nearest_ratio"], 1, rtol=0, atol=0.03)


@pytest.mark.parametrize("flips", [False, True])
def test_mirror_images_are_copies_where_training_mirrors(flips):
    real, floor, train = (random_images(60, seed=seed) for seed in range(3))
    scores = ImageReference(real, floor, [train], [Projection()], flips=flips).score(train.flip(2))
    assert (scores["projection.memorised"] == 1) == flips
    assert (scores["projection.nearest_ratio"] < 1e-3) == flips
    assert (Gallery(train, Projection(), flips=flips).nearest(train[7:8].flip(2), 1).distances[0, 0] < 1e-3) == flips


def test_half_copies_are_half_memorised(reference, train):
    scores = reference.score(torch.cat([train[: N // 2], faces(N // 2, seed=4)]))
    close(scores["pixels.memorised"], 0.505, rtol=0, atol=0.01)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_collapsed_generator_has_scores(reference, value):
    scores = reference.score(torch.full((N, 32, 32, 3), value, dtype=torch.uint8))
    assert all(np.isfinite(score) for score in scores.values())
    assert scores["pixels.recall"] == 0
    assert scores["pixels.fd"] > 10 * scores["pixels.fd_floor"]
    close(scores["factor_mean"], 1 / 20, rtol=0, atol=0.001)


def test_reals_all_alike_have_scores():
    same = torch.full((10, 8, 8, 3), 9, dtype=torch.uint8)
    scores = ImageReference(same, same, [same], [Projection()]).score(random_images(10, seed=1))
    assert scores["projection.nearest_ratio"] is None
    assert scores["projection.fd"] > 0


def test_features_that_are_not_finite_are_no_scores(small):
    fake = random_images(60, seed=9)
    whole = small.score(fake)
    fake[5] = 0
    scores = small.score(fake)
    for key in IMAGE_SCORES:
        assert whole[f"broken.{key}"] == whole[f"projection.{key}"]
        assert scores[f"broken.{key}"] is None
        assert scores[f"broken.{key}_floor"] == whole[f"broken.{key}_floor"]
        assert isinstance(scores[f"projection.{key}"], float)


def test_few_fakes_are_scored_against_as_few_reals(small):
    fake = random_images(200, seed=9)
    many, few = small.score(fake), small.score(fake[:20])
    assert many["projection.fd_floor"] == small.floors["projection.fd_floor"]
    assert few["projection.fd_floor"] > many["projection.fd_floor"]
    assert small.score(fake) == many
    assert small.score(fake[:20]) == few


def test_bad_input_is_named():
    images = random_images(8, seed=0)
    with pytest.raises(ValueError, match="real has 5 images: give at least 6"):
        ImageReference(images[:5], images, [images], [Projection()])
    with pytest.raises(ValueError, match=r"floor must be \(n, size, size, 3\) uint8, got \(8, 3, 8, 8\) torch.uint8"):
        ImageReference(images, images.permute(0, 3, 1, 2), [images], [Projection()])
    with pytest.raises(ValueError, match="have one name"):
        ImageReference(images, images, [images], [Projection(), Projection()])
    reference = ImageReference(images, images, [images], [Projection()])
    with pytest.raises(ValueError, match=r"fake must be .* torch.float32"):
        reference.score(images.float())
