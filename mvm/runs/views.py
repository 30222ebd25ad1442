"""Arrays of a run that a screen shows, checked when they are read: snapshots, live view, real pictures, UMAP frames.

    step                               ()             that of the file's name
    real_embedding, fake_embedding     (V, n, k)
    spectrum_FORM                      (V, e)         none of a form that is newer than the run
    what the kind of data shows                       `Kind.snapshot_arrays`: fakes (V, n, D), pictures (V, n, s, s, 3)
    a UMAP frame                       (V, 2n, 2)     reals first

A letter is one size in all files of a run. V is the config's; the others are those of the first file that fits. Only
headers are read for that. Fakes and embeddings may be NaN, as those of a diverged member are; reals are finite.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.plain import check_plain
from mvm.runs.control import MOST_STEP

__all__ = ["Views", "array_in"]

MOST_BYTES = 2**30  # of a file
TYPES = {"float": {"float16", "float32", "float64"}, "uint8": {"uint8"}, "int": {"int32", "int64"}}
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "U8": "uint8", "I32": "int32", "I64": "int64"}
EMBEDDINGS = {"real_embedding": "float V n k", "fake_embedding": "float V n k"}
SPECTRA = {f"spectrum_{form}": "float V e" for form in SPECTRUM_FORMS}


class Views:
    """Reader of the arrays of one run.

    Each function raises ValueError, in one line, for a file that does not fit the run, and OSError for one that cannot
    be read now.

    Args:
        config: of the run.

    Attributes:
        sizes: of the axes, by letter.
    """

    def __init__(self, config: Config) -> None:
        self.sizes = {"V": len(config.members)}
        self._most = {"n": config.view_points}
        self._shown, self._reals = KINDS[config.kind].snapshot_arrays, KINDS[config.kind].shown_once

    def snapshot(self, path: Path, *, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays of a snapshot, or those of some names."""
        arrays = self._read(path, {"step": "int", **self._shown, **EMBEDDINGS}, SPECTRA, names, learn=True)
        if (step := int(path.stem)) != arrays["step"]:
            raise ValueError(f"it is of step {arrays['step']}, not of step {step}")
        return arrays

    def live(self, path: Path) -> dict[str, np.ndarray]:
        """Arrays of the live view, which may have fewer fakes than a snapshot."""
        return self._read(path, {"step": "int", **self._shown}, {}, None, learn=False)

    def reals(self, path: Path) -> np.ndarray:
        """The real data points of every view that are stored once, such as pictures; memory-mapped."""
        reals = array_in(path)
        if self._reals:
            self._fit({"the array": reals}, {"the array": self._reals}, learn=True)
        return reals

    def frame(self, path: Path) -> np.ndarray:
        """A UMAP frame `(V, 2n, 2)` float32."""
        frame = array_in(path)
        wanted = [self.sizes["V"], 2 * self.sizes["n"] if "n" in self.sizes else frame.size // 2 // self.sizes["V"], 2]
        if frame.dtype != np.float32 or [*frame.shape] != wanted or wanted[1] % 2:
            raise ValueError(f"it is {frame.dtype} of shape {frame.shape}, not float32 of shape {tuple(wanted)}")
        return np.array(frame)

    def _read(
        self, path: Path, wanted: dict[str, str], known: dict[str, str], names: Collection[str] | None, *, learn: bool
    ) -> dict[str, np.ndarray]:
        check_plain(path, most=MOST_BYTES)
        try:
            with safe_open(path, framework="numpy") as file:
                there = file.keys()
                if lacking := next((name for name in wanted if name not in there), None):
                    raise ValueError(f"it has no {lacking}")
                known = wanted | {name: axes for name, axes in known.items() if name in there}
                self._fit({name: file.get_slice(name) for name in known}, known, learn=learn)
                chosen = [name for name in there if names is None or name in (*names, "step")]
                arrays = {name: file.get_tensor(name) for name in chosen if _header(file.get_slice(name))[0]}
        except SafetensorError as error:
            raise ValueError(f"it is damaged: {error}") from None
        if not 0 <= arrays["step"] <= MOST_STEP:
            raise ValueError(f"it is of step {arrays['step']}")
        if "real" in arrays and not np.isfinite(arrays["real"]).all():
            raise ValueError("its real points are not finite")
        return arrays

    def _fit(self, arrays: dict[str, Any], wanted: dict[str, str], *, learn: bool) -> None:
        """Check types and shapes."""
        sizes = dict(self.sizes) if learn else {name: size for name, size in self.sizes.items() if name != "n"}
        for name, array in arrays.items():
            kind, *axes = wanted[name].split()
            found, shape = _header(array)
            fits = len(shape) == len(axes) and found in TYPES[kind]
            for axis, size in zip(axes, shape, strict=False):
                fits &= size == (int(axis) if axis.isdecimal() else sizes.setdefault(axis, size))
                fits &= 0 < size <= self._most.get(axis, size)
            if not fits:
                expected = ", ".join(f"{axis} = {sizes[axis]}" if axis in sizes else axis for axis in axes)
                raise ValueError(f"{name} has shape {tuple(shape)}, type {found}, not ({expected}), type {kind}")
        if learn:
            self.sizes = sizes


def array_in(path: Path) -> np.ndarray:
    """The array in an .npy file, memory-mapped.

    Raises:
        OSError: it is not there, or cannot be read now.
        ValueError: it is no array of numbers, or not whole.
    """
    check_plain(path)
    array = np.lib.format.open_memmap(path, mode="r")  # no pickle, and no ZIP that calls itself .npy
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype}, not numbers")
    return array


def _header(array: Any) -> tuple[str, list[int]]:
    """Type, empty if it is none of ours, and shape of an array, or of one that is not read yet."""
    if isinstance(array, np.ndarray):
        return array.dtype.name, list(array.shape)
    return DTYPES.get(array.get_dtype(), ""), list(array.get_shape())
