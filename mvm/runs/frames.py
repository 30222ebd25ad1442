"""UMAP frames of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mvm.files import write_array
from mvm.geometry.umap_film import can_start, project
from mvm.runs.layout import FRAMES, frame_path, snapshot_path, steps_in
from mvm.runs.views import array_in

__all__ = ["make_frame", "read_frame"]


def read_frame(run_dir: Path | str, step: int) -> np.ndarray | None:
    """The frame `(V, 2n, 2)` float32 of a step; None if it is not there yet, or does not fit the step's snapshot."""
    try:
        frame = np.array(array_in(frame_path(run_dir, step)))
        snapshot = snapshot_path(run_dir, step)
        rows = _embedding_rows(snapshot) if snapshot.exists() else frame.shape[:2]
    except (OSError, ValueError):
        return None
    return frame if frame.dtype == np.float32 and frame.ndim == 3 and frame.shape == (*rows, 2) else None


def make_frame(run: Path | str, step: int, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Make and write one frame, starting each variant at its nearest frame; False when told to stop first.

    The first call in a process may compile for seconds.

    Raises:
        ValueError: the snapshot's embeddings cannot be projected.
        OSError: there is no such snapshot, or the frame cannot be written.
    """
    embeddings = _read_embeddings(snapshot_path(run, step))
    frame = np.empty((*embeddings.shape[:2], 2), dtype=np.float32)
    for v, previous in enumerate(_nearest_frames(run, step, embeddings.shape)):
        if stop():
            return False
        frame[v] = project(embeddings[v], previous=previous)
    path = frame_path(run, step)
    path.parent.mkdir(exist_ok=True)
    write_array(path, frame)
    return True


def _embedding_rows(path: Path) -> tuple[int, ...]:
    """(V, 2n) of the embeddings of a snapshot.

    Raises:
        OSError: there is none.
        ValueError: it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as snapshot:
            real, fake = (snapshot.get_slice(f"{name}_embedding").get_shape() for name in ("real", "fake"))
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None
    if len(real) != 3 or len(fake) != 3 or real[0] != fake[0]:
        raise ValueError(f"{path.name}: embeddings must be (V, n, k), got {real} and {fake}")
    return real[0], real[1] + fake[1]


def _read_embeddings(path: Path) -> np.ndarray:
    """(V, 2n, k), real rows first."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as snapshot:
        real, fake = (snapshot.get_tensor(f"{name}_embedding") for name in ("real", "fake"))
    if real.ndim != 3 or fake.ndim != 3:
        raise ValueError(f"{path.name}: embeddings must be (V, n, k), got {real.shape} and {fake.shape}")
    return np.concatenate([real, fake], axis=1)


def _nearest_frames(run: Path | str, step: int, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """For each variant, its rows in the nearest frame (in steps) that it can start from."""
    variants, m = shape[:2]
    starts: list[np.ndarray | None] = [None] * variants
    for near in sorted(steps_in(Path(run) / FRAMES), key=lambda other: (abs(other - step), other)):
        frame = read_frame(run, near)
        if frame is None or len(frame) != variants:
            continue
        starts = [
            rows if start is None and can_start(rows, m) else start for start, rows in zip(starts, frame, strict=True)
        ]
        if all(start is not None for start in starts):
            break
    return starts
