"""UMAP of embeddings as a film: frames that stay coherent from step to step.

    first frame     spectral start, 500 epochs
    next frames     start at the previous frame, 50 epochs, learning rate .3, then Y ← (Y − ȳ) Q + p̄
                    Q = argmin_{QᵀQ = I} ‖(Y − ȳ) Q − (P − p̄)‖ = U Vᵀ,   U Σ Vᵀ = (Y − ȳ)ᵀ (P − p̄)

Y is the new frame, P the previous one, ȳ and p̄ their means: rotate or reflect, shift, never scale (the orthogonal
Procrustes problem). Rows are the same real points and the same noise in every frame of a run. Coinciding embeddings
enter UMAP as one point, so that collapsed fakes are one dot.

numba aborts a process that runs two UMAPs at once, and the first fit on a machine compiles for seconds; the compiled
code is cached on disk. `mvm.jobs.umap_worker` therefore makes all frames of an app in one process.

Source: McInnes, Healy & Melville 2018 (UMAP); settings measured for two times 512 points.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mvm.library_caches import find_library_caches

__all__ = ["aligned", "can_start", "project"]

NEIGHBOURS = 15
FIRST = {"init": "spectral", "n_epochs": 500}
NEXT = {"n_epochs": 50, "learning_rate": 0.3}
TOO_FEW = 4  # distinct points that make no graph: they are projected on their principal plane
ROUNDING = 1e-6  # of the largest magnitude: smaller distances are float32 noise

_umap_lock = threading.Lock()  # numba aborts the process on concurrent fits


def project(embeddings: np.ndarray, *, previous: np.ndarray | None = None) -> np.ndarray:
    """One frame: UMAP of embeddings, coherent with the previous frame. Equal input gives equal output.

    Args:
        embeddings: `(m, k)`, rows in the same order in every frame.
        previous: `(m, 2)` frame to start from and to align with; ignored unless `can_start` accepts it.

    Returns:
        `(m, 2)` float32. All NaN if an embedding is not finite; all one point if the embeddings are.

    Raises:
        ValueError: `embeddings` is not `(m, k)`.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"embeddings must be (m, k), got shape {embeddings.shape}")
    m = len(embeddings)
    if not np.isfinite(embeddings).all():
        return np.full((m, 2), np.nan, dtype=np.float32)
    if previous is not None and not can_start(previous, m):
        previous = None
    scaled = embeddings / (np.abs(embeddings).max(initial=0) or 1)  # UMAP is scale-free, squares are not
    first, group = _distinct(scaled)
    if len(first) < 2:
        place = np.zeros(2) if previous is None else previous.mean(0)
        return np.tile(place, (m, 1)).astype(np.float32)
    if len(first) <= TOO_FEW:
        frame = _principal_plane(scaled[first])[group]
    else:
        start = None if previous is None else _group_means(previous, group)
        frame = _umap(scaled[first], start)[group]
    return (frame if previous is None else aligned(frame, previous)).astype(np.float32)


def _distinct(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each group of coinciding rows, in order, and each row's group."""
    cells = np.round(scaled / ROUNDING)
    _, first, group = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    order = first.argsort()
    return first[order], order.argsort()[group.ravel()]


def _group_means(rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean of the rows `(m, 2)` of each group, `(groups, 2)`."""
    sums = [np.bincount(group, weights=column) for column in rows.T]
    return np.stack(sums, axis=1) / np.bincount(group)[:, None]


def can_start(frame: np.ndarray, m: int) -> bool:
    """Whether UMAP can start from this frame: `(m, 2)`, finite, and no column constant (UMAP divides by its range)."""
    if m == 0 or frame.shape != (m, 2) or not np.isfinite(frame).all():
        return False
    return bool((np.ptp(frame, axis=0) > ROUNDING * max(1.0, float(np.abs(frame).max()))).all())


def _umap(embeddings: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
    """UMAP `(m, 2)` of distinct embeddings `(m, k)`, from the first start that gives a finite layout."""
    neighbours = min(NEIGHBOURS, len(embeddings) - 1)
    settings = {
        "n_neighbors": neighbours,
        "min_dist": 0.1,
        "random_state": 42,
        "n_jobs": 1,
        "precomputed_knn": _nearest(embeddings, neighbours),
    }
    starts = [FIRST, FIRST | {"init": _principal_plane(embeddings)}, FIRST | {"init": "random"}]
    if previous is not None:
        starts.insert(0, NEXT | {"init": previous})
    with _umap_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        umap = _umap_class()
        for start in starts:
            with contextlib.suppress(Exception):  # the eigensolver, on graphs of many pieces
                frame: np.ndarray = umap(**settings, **start).fit_transform(embeddings.astype(np.float32))
                if np.isfinite(frame).all():
                    return frame
    raise RuntimeError("UMAP gave no finite layout from any start")


@cache
def _umap_class() -> Callable[..., Any]:
    """umap.UMAP, with numba's compiled code (four seconds of work) cached on disk for the next process."""
    find_library_caches()
    from umap import UMAP, layouts, umap_

    for module, name in (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    ):
        with contextlib.suppress(AttributeError, RuntimeError):
            getattr(module, name).enable_caching()
    made: Callable[..., Any] = UMAP
    return made


def _nearest(points: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours, the point itself first: int32 indices and float32 distances, `(m, neighbours)` each."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours - 1, algorithm="brute").fit(points)
    distances, others = search.kneighbors()  # of other rows, also among points that coincide
    index = np.column_stack([np.arange(len(points)), others])
    return index.astype(np.int32), np.column_stack([np.zeros(len(points)), distances]).astype(np.float32)


def _principal_plane(embeddings: np.ndarray) -> np.ndarray:
    """First two principal components, with a tiny seeded jitter so that neither is constant."""
    centred = embeddings - embeddings.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(embeddings), 2))
    plane[:, : len(axes[:2])] = centred @ axes[:2].T
    jitter = np.random.default_rng(42).normal(size=plane.shape)
    return plane + 1e-4 * float(np.abs(plane).max()) * jitter


def aligned(frame: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Rotate or reflect, and shift, `frame` onto `onto`, `(m, 2)` each: orthogonal Procrustes without scaling."""
    from scipy.linalg import orthogonal_procrustes

    frame, onto = frame.astype(np.float64), onto.astype(np.float64)
    centred, target = frame - frame.mean(0), onto.mean(0)
    rotation, _ = orthogonal_procrustes(centred, onto - target)
    aligned: np.ndarray = centred @ rotation + target
    return aligned
