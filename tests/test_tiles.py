"""Tiles against the untiled network, and their memory against the process's own."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mvm.imaging.tiles import averaged_turns, memory_of, on_grey, upscale_tiled


class Convolutions(nn.Module):
    """A random network ×4 with zero padding, and a bicubic skip; its receptive field is that of its layers."""

    def __init__(self, *, depth: int, kernel: int, seed: int, channels: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        widths = [3, *[channels] * (depth - 1), 48]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2) for before, after in itertools.pairwise(widths)
        )
        self.receptive_field = max(depth * (kernel // 2), 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = torch.relu(layer(y) + 0.1)
        detail = functional.pixel_shuffle(self.layers[-1](y), 4)
        return functional.interpolate(x, scale_factor=4, mode="bicubic", align_corners=False) + detail


NETWORKS = [Convolutions(depth=3, kernel=3, seed=0), Convolutions(depth=2, kernel=7, seed=1)]


def random_picture(height: int, width: int, *, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("height", "width", "tile"), [(40, 52, 16), (33, 47, 10), (7, 5, 16), (1, 30, 9), (16, 16, 16), (17, 3, 1)]
)
@torch.inference_mode()
def test_tiles_equal_the_untiled_result(network, height, width, tile):
    picture = random_picture(height, width)
    tiled = upscale_tiled(network, picture, overlap=network.receptive_field, tile=tile)
    torch.testing.assert_close(tiled, network(picture[None])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@torch.inference_mode()
def test_an_overlap_below_the_receptive_field_shows(network):
    """What the test above proves: fewer pixels of overlap give another result."""
    picture = random_picture(40, 52)
    tiled = upscale_tiled(network, picture, overlap=network.receptive_field - 1, tile=16)
    assert (tiled - network(picture[None])[0]).abs().max() > 1e-4


@pytest.mark.parametrize(("dtype", "full"), [(torch.uint8, 255), (torch.uint16, 65535)])
@torch.inference_mode()
def test_integers_in_and_out_are_rounded_once(dtype, full, tmp_path):
    network = NETWORKS[0]
    values = np.random.default_rng(1).integers(0, full + 1, (19, 23, 3)).astype(f"uint{full.bit_length()}")
    stored = np.memmap(tmp_path / "out", values.dtype, "w+", shape=(76, 92, 3))
    out = torch.from_numpy(stored).permute(2, 0, 1)
    upscale_tiled(network, torch.from_numpy(values).permute(2, 0, 1), overlap=3, tile=8, out=out)
    unit = torch.from_numpy(values.astype(np.float32) / full).permute(2, 0, 1)[None]
    wanted = (network(unit)[0].permute(1, 2, 0).clamp(0, 1).numpy() * full).round()
    assert out.dtype == dtype
    assert np.abs(stored.astype(float) - wanted).max() <= 1
    assert (stored == wanted).mean() > 0.98


@pytest.mark.parametrize("seed", [0, 1])
@torch.inference_mode()
def test_the_mean_over_eight_turns_is_one_of_every_symmetry(seed):
    network, picture = NETWORKS[seed], random_picture(6, 9, seed=seed)[None]
    mean = averaged_turns(network)(picture)
    by_hand = []
    for transposed in (False, True):
        for axes in ((), (2,), (3,), (2, 3)):
            turned = (picture.transpose(2, 3) if transposed else picture).flip(axes)
            back = network(turned).flip(axes)
            by_hand.append(back.transpose(2, 3) if transposed else back)
    torch.testing.assert_close(mean, torch.stack(by_hand).mean(0))
    assert (mean - network(picture)).abs().max() > 1e-3
    tiled = upscale_tiled(averaged_turns(network), picture[0], overlap=network.receptive_field, tile=4)
    torch.testing.assert_close(tiled, mean[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@torch.inference_mode()
def test_grey_is_three_equal_channels_and_their_mean(network):
    picture = random_picture(11, 13, channels=1)
    tiled = upscale_tiled(on_grey(network), picture, overlap=network.receptive_field, tile=5)
    wanted = network(torch.cat([picture] * 3)[None])[0].mean(0, keepdim=True)
    torch.testing.assert_close(tiled, wanted, rtol=0, atol=1e-5)


def test_progress_counts_every_pixel_once():
    seen = []
    upscale_tiled(NETWORKS[0], random_picture(20, 30), overlap=3, tile=8, on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (600, 600)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) == 3 * 4


def test_what_does_not_fit_is_named():
    picture = random_picture(4, 5)
    with pytest.raises(ValueError, match="tile 0"):
        upscale_tiled(NETWORKS[0], picture, overlap=3, tile=0)
    with pytest.raises(ValueError, match=r"out: \(3, 16, 20\) wanted"):
        upscale_tiled(NETWORKS[0], picture, overlap=3, out=torch.empty(3, 8, 10))
    with pytest.raises(ValueError, match="is wanted"):
        upscale_tiled(lambda window: window, picture, overlap=3)
    with pytest.raises(ValueError, match="not finite"):
        upscale_tiled(lambda window: NETWORKS[0](window) / 0, picture, overlap=3)


MEASURED = """
import sys
import torch
from tests.test_tiles import Convolutions
from mvm.imaging.tiles import memory_of, upscale_tiled
torch.set_num_threads(1)
network = Convolutions(depth=4, kernel=3, seed=0, channels=int(sys.argv[1]))
picture, out = torch.zeros(3, 200, 150, dtype=torch.uint8), torch.zeros(3, 800, 600, dtype=torch.uint8)
told = memory_of((200, 150), network, overlap=4, tile=120)
def resident(what):
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(what))
with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
    file.write("5")  # the peak from here on
before = resident("VmRSS")
upscale_tiled(network, picture, overlap=4, tile=120, out=out)
print(told, resident("VmHWM") - before)
"""


@pytest.mark.parametrize("channels", [16, 64])
def test_the_memory_told_bounds_the_memory_taken(channels):
    if not sys.platform.startswith("linux"):
        return
    command = [sys.executable, "-c", MEASURED, str(channels)]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    told, taken = map(int, printed.stdout.split())
    assert taken <= told <= 20 * max(taken, 16 * 2**20)


def test_memory_does_not_grow_with_the_picture():
    small, large = (memory_of((side, side), NETWORKS[0], overlap=3, tile=64) for side in (70, 10_000))
    assert small == large > memory_of((20, 20), NETWORKS[0], overlap=3, tile=64)
