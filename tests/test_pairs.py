"""Pairs of patches: which pixels a row of the table holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvm.data import pairs
from mvm.data.pairs import TURNS, Patches
from mvm.data.photographs import Collection

PATCH = 3
SIZES = np.array([[4, 5], [2, 9], [3, 3]])  # of LR pictures; the second is lower than a patch


@pytest.fixture
def collection() -> Collection:
    generator = np.random.default_rng(0)
    pixels = int(SIZES.prod(1).sum())
    high, low = (generator.integers(0, 256, (n, 3), dtype=np.uint8) for n in (16 * pixels, pixels))
    return Collection(high, low, SIZES, ("a", "b", "c"), (), "")


def naive(collection: Collection) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every pair of the table in its order, by loops over pictures, rows, columns and turns."""
    pairs = []
    for i, (height, width) in enumerate(SIZES):
        low, high = collection.low_picture(i), collection.high_picture(i)
        for y in range(height - PATCH + 1):
            for x in range(width - PATCH + 1):
                cut = low[y : y + PATCH, x : x + PATCH], high[4 * y :, 4 * x :][: 4 * PATCH, : 4 * PATCH]
                for mirrored in (False, True):
                    for k in range(4):
                        turned = [np.rot90(np.fliplr(part) if mirrored else part, k) for part in cut]
                        pairs.append((turned[0], turned[1]))
    return pairs


def check(patches: Patches, expected: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(patches) == len(expected)
    pair = patches[torch.arange(len(expected))]
    for got, side in ((pair.inputs, 0), (pair.targets, 1)):
        wanted = np.stack([each[side].reshape(-1) for each in expected]) / np.float32(255)
        torch.testing.assert_close(got, torch.from_numpy(wanted), rtol=0, atol=0)


def test_a_row_is_a_turned_patch_of_each_position(collection):
    expected = naive(collection)
    assert len(expected) == TURNS * (2 * 3 + 1)
    check(Patches(collection, PATCH, torch.device("cpu"), torch.float32), expected)


def test_a_memory_mapped_collection_gives_the_same_patches(collection, tmp_path):
    arrays = []
    for name in ("high", "low"):
        array = getattr(collection, name)
        array.tofile(tmp_path / name)
        arrays.append(np.memmap(tmp_path / name, np.uint8, "r", shape=array.shape))
    mapped = Collection(*arrays, SIZES, collection.names, (), "")
    check(Patches(mapped, PATCH, torch.device("cpu"), torch.float32), naive(collection))


def test_indices_of_a_device_give_the_same_patches(collection, monkeypatch):
    def indexed(pixels, first, width, turn, *, side):
        return pairs._indexed(torch.from_numpy(pixels), first, width, pairs._turned_grid(side)[:, turn])

    monkeypatch.setattr(pairs, "_cut", indexed)
    check(Patches(collection, PATCH, torch.device("cpu"), torch.float32), naive(collection))
