"""UMAP of embeddings as a film: frames that stay coherent from step to step, and the worker that makes them.

    first frame     spectral start, 500 epochs
    next frames     start at the previous frame, 50 epochs, learning rate .3, then Y ← (Y − ȳ) Q + p̄
                    Q = argmin_{QᵀQ = I} ‖(Y − ȳ) Q − (P − p̄)‖ = U Vᵀ,   U Σ Vᵀ = (Y − ȳ)ᵀ (P − p̄)

Y is the new frame, P the previous one, ȳ and p̄ their means: rotate or reflect, shift, never scale (the
orthogonal Procrustes problem). Rows are the same real points and the same noise in every frame of a run.
Embeddings that coincide are one point to UMAP, so that collapsed fakes are one dot.

numba aborts a process that runs two UMAPs at once, and the first fit of a machine compiles for seconds; what it has
compiled is kept on disk. So one process makes all frames of an app, the first with a training's priority, the others
with a lower one:

    python -m mvm.projection    reads      {"run": DIR, "step": 1000, "fill": false}        one a line
                                answers    {"ready": true}, then for each
                                           {"run": DIR, "step": 1000, "seconds": .2} or {..., "error": "why"}

The newest request goes first. `fill` says that the run is not being trained: once idle, the worker also makes
the missing frames of that run, from the earliest on. It ends when its standard input closes: with its app.

Reads `<run>/snapshots/00001000.safetensors` (`real_embedding` (V, n, k), `fake_embedding` (V, n, k)), writes
`<run>/frames/00001000.npy`: (V, 2n, 2) float32, real rows first, then fake ones.

Source: McInnes, Healy & Melville 2018 (UMAP); settings measured for two times 512 points.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TextIO

import numpy as np

from mvm.background import PROJECTION, TRAINING, give_way
from mvm.files import write_array

__all__ = ["Projector", "frame_path", "make_frame", "project", "read_frame"]

NEIGHBOURS = 15
FIRST = {"init": "spectral", "n_epochs": 500}
NEXT = {"n_epochs": 50, "learning_rate": 0.3}
TOO_FEW = 4  # distinct points for a graph: they get their principal plane
ROUNDING = 1e-6  # of the largest magnitude: less distance than this is float32 noise, not structure
IDLE_SECONDS = 1.0  # without a request, before missing frames are filled
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("NUMBA", "OMP", "MKL", "OPENBLAS")}

_umap_lock = threading.Lock()  # numba aborts the process on concurrent fits


def project(embeddings: np.ndarray, *, previous: np.ndarray | None = None) -> np.ndarray:
    """One frame: UMAP of embeddings, coherent with the previous frame. Equal input gives equal output.

    Args:
        embeddings: `(m, k)`, the rows in the same order in every frame.
        previous: `(m, 2)` frame to start from and to rotate onto; ignored where it cannot serve (another
            number of rows, a non-finite value, a column without spread).

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
    if previous is not None and not _can_start(previous, m):
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
    return (frame if previous is None else _aligned(frame, previous)).astype(np.float32)


def frame_path(run_dir: Path | str, step: int) -> Path:
    """Where the frame of a step lies."""
    return Path(run_dir) / "frames" / f"{step:08d}.npy"


def read_frame(run_dir: Path | str, step: int) -> np.ndarray | None:
    """The frame `(V, 2n, 2)` float32 of a step; None if it is not there yet or cannot be read."""
    try:
        frame = np.load(frame_path(run_dir, step), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return frame if frame.ndim == 3 and frame.shape[-1] == 2 else None


class Projector:
    """The app's side of the worker: starts it at the first request, never blocks, revives it when it died.

    Args:
        restarts: how many deaths of the worker to answer with a new one.

    Attributes:
        ready: the worker is warm.
        errors: {(run directory, step): reason} of the frames that could not be made.
    """

    def __init__(self, *, restarts: int = 3):
        self.ready = False
        self.errors: dict[tuple[str, int], str] = {}
        self._starts_left = restarts + 1
        self._worker: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def request(self, run_dir: Path | str, step: int, *, fill: bool = False) -> bool:
        """Ask for a frame; it appears at `frame_path(run_dir, step)`. Ask again as often as you like.

        Args:
            run_dir: the run.
            step: of an existing snapshot.
            fill: the run is not being trained, so make its other missing frames too when idle.

        Returns:
            Whether a worker took the request: False when it died more often than `restarts` allows, or when
            its pipe is full for the moment.
        """
        line = json.dumps({"run": str(run_dir), "step": int(step), "fill": bool(fill)}) + "\n"
        with self._lock:
            if not self._alive():
                return False
            try:  # one write, all or nothing: a line is shorter than what a pipe takes atomically
                os.write(self._worker.stdin.fileno(), line.encode())
            except OSError:  # full, or the worker died just now
                return False
            return True

    @property
    def gave_up(self) -> bool:
        """Whether the worker has died too often to be started again."""
        return self._starts_left == 0 and (self._worker is None or self._worker.poll() is not None)

    def close(self, *, timeout: float = 2.0) -> None:
        """End the worker: it stops after the variant it is at, or is killed `timeout` seconds later."""
        with self._lock:
            worker, self._worker, self._starts_left, self.ready = self._worker, None, 0, False
        if worker is None:
            return
        worker.stdin.close()
        try:
            worker.wait(timeout)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def __enter__(self) -> Projector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _alive(self) -> bool:
        if self._worker is not None and self._worker.poll() is None:
            return True
        if self._worker is not None:
            self._worker.stdin.close()
        self._worker, self.ready = None, False
        if self._starts_left == 0:
            return False
        self._starts_left -= 1
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "mvm.projection"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C meant for the app must not interrupt a frame
        )
        os.set_blocking(self._worker.stdin.fileno(), False)
        threading.Thread(target=self._listen, args=(self._worker,), daemon=True).start()
        return True

    def _listen(self, worker: subprocess.Popen) -> None:
        with worker.stdout:
            for line in worker.stdout:
                try:
                    answer = json.loads(line)
                except ValueError:  # the worker died in the middle of a line
                    continue
                if "ready" in answer:
                    self.ready = worker is self._worker
                elif "error" in answer:
                    self.errors[answer.get("run"), answer.get("step")] = answer["error"]
                else:
                    self.errors.pop((answer["run"], answer["step"]), None)


class _Requests:
    """What the worker has to do, newest first, fed by a thread that reads lines until the input ends."""

    def __init__(self, lines: TextIO, report: Callable[..., None]):
        self.closed = False
        self._waiting: list[tuple[str, int]] = []
        self._fill: str | None = None
        self._last = time.monotonic()
        self._failed: set[tuple[str, int]] = set()
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(lines, report), daemon=True).start()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(run, step) until the input closes: the newest request, or when idle the next frame to fill."""
        while (job := self._next()) is not None:
            yield job

    def failed(self, run: str, step: int) -> None:
        """Do not try this one again when idle."""
        self._failed.add((run, step))

    def _next(self) -> tuple[str, int] | None:
        with self._news:
            while not self.closed:
                if self._waiting:
                    return self._waiting.pop()
                missing = self._missing()
                patience = self._last + IDLE_SECONDS - time.monotonic()
                if missing and patience <= 0:
                    return missing
                self._news.wait(patience if missing else None)
        return None

    def _missing(self) -> tuple[str, int] | None:
        """The earliest frame that the run to fill lacks."""
        if self._fill is None:
            return None
        done = set(_steps(Path(self._fill) / "frames", ".npy"))
        for step in _steps(Path(self._fill) / "snapshots", ".safetensors"):
            if step not in done and (self._fill, step) not in self._failed:
                return self._fill, step
        return None

    def _read(self, lines: TextIO, report: Callable[..., None]) -> None:
        for line in lines:
            try:
                request = json.loads(line)
                job = str(request["run"]), int(request["step"])
            except (ValueError, TypeError, KeyError) as error:
                report(error=f"not a request: {line.strip()!r} ({error})")
                continue
            with self._news:
                if job in self._waiting:
                    self._waiting.remove(job)
                self._waiting.append(job)
                self._fill = job[0] if request.get("fill") else None
                self._last = time.monotonic()
                self._news.notify()
        with self._news:
            self.closed = True
            self._news.notify()


def _work(lines: TextIO, answers: TextIO) -> None:
    """Serve requests until `lines` ends."""

    def report(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    requests = _Requests(lines, report)
    project(np.random.default_rng(0).normal(size=(64, 4)))  # compiles
    report(ready=True)
    for count, (run, step) in enumerate(requests):
        if count == 1:
            give_way(PROJECTION)  # the screen has its first frame
        start = time.perf_counter()
        try:
            if read_frame(run, step) is None and not make_frame(run, step, stop=lambda: requests.closed):
                break
        except Exception as error:  # a broken snapshot, a full disk: say so and go on
            requests.failed(run, step)
            report(run=run, step=step, error=f"{type(error).__name__}: {error}")
        else:
            report(run=run, step=step, seconds=round(time.perf_counter() - start, 4))


def make_frame(run: Path | str, step: int, *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Make and write one frame, starting each variant at its nearest frame; False when told to stop first.

    The first call in a process may compile for seconds.

    Raises:
        ValueError: the snapshot's embeddings cannot be projected.
        OSError: there is no such snapshot, or the frame cannot be written.
    """
    embeddings = _read_embeddings(Path(run) / "snapshots" / f"{step:08d}.safetensors")
    frame = np.empty((*embeddings.shape[:2], 2), dtype=np.float32)
    for v, previous in enumerate(_nearest_frames(run, step, embeddings.shape)):
        if stop():
            return False
        frame[v] = project(embeddings[v], previous=previous)
    path = frame_path(run, step)
    path.parent.mkdir(exist_ok=True)
    write_array(path, frame)
    return True


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
    for near in sorted(_steps(Path(run) / "frames", ".npy"), key=lambda other: (abs(other - step), other)):
        frame = read_frame(run, near)
        if frame is None or len(frame) != variants:
            continue
        starts = [
            rows if start is None and _can_start(rows, m) else start for start, rows in zip(starts, frame, strict=True)
        ]
        if all(start is not None for start in starts):
            break
    return starts


def _steps(folder: Path, suffix: str) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == suffix and path.stem.isdigit())


def _distinct(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each group of coinciding rows, in order, and each row's group."""
    cells = np.round(scaled / ROUNDING)
    _, first, group = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    order = first.argsort()
    return first[order], order.argsort()[group.ravel()]


def _group_means(rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    sums = [np.bincount(group, weights=column) for column in rows.T]
    return np.stack(sums, axis=1) / np.bincount(group)[:, None]


def _can_start(frame: np.ndarray, m: int) -> bool:
    """UMAP divides each column of its start by its range: a column without spread would give NaN."""
    if m == 0 or frame.shape != (m, 2) or not np.isfinite(frame).all():
        return False
    return bool((np.ptp(frame, axis=0) > ROUNDING * max(1.0, float(np.abs(frame).max()))).all())


def _umap(embeddings: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
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
                frame = umap(**settings, **start).fit_transform(embeddings.astype(np.float32))
                if np.isfinite(frame).all():
                    return frame
    raise RuntimeError("UMAP gave no finite layout from any start")


@cache
def _umap_class() -> type:
    """umap.UMAP; numba keeps what it compiles, some four seconds, for the next process, if it finds a folder."""
    from umap import UMAP, layouts, umap_

    for module, name in (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    ):
        with contextlib.suppress(AttributeError, RuntimeError):
            getattr(module, name).enable_caching()
    return UMAP


def _nearest(points: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours, the point itself first: (m, neighbours) int32 indices, float32 distances."""
    norms = (points**2).sum(1)
    square = np.maximum(norms[:, None] + norms[None] - 2 * points @ points.T, 0)
    np.fill_diagonal(square, -1)  # first, also among duplicates
    index = np.argpartition(square, neighbours - 1, axis=1)[:, :neighbours]
    index = np.take_along_axis(index, np.take_along_axis(square, index, 1).argsort(1, kind="stable"), 1)
    exact = np.linalg.norm(points[:, None] - points[index], axis=-1)  # ‖x‖² + ‖y‖² − 2⟨x, y⟩ cancels
    return index.astype(np.int32), exact.astype(np.float32)


def _principal_plane(embeddings: np.ndarray) -> np.ndarray:
    """First two principal components, a tiny seeded jitter keeping either from being constant."""
    centred = embeddings - embeddings.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(embeddings), 2))
    plane[:, : len(axes[:2])] = centred @ axes[:2].T
    return plane + 1e-4 * np.abs(plane).max() * np.random.default_rng(42).normal(size=plane.shape)


def _aligned(frame: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Rotate or reflect, and shift, `frame` onto `onto`: orthogonal Procrustes without scaling."""
    frame, onto = frame.astype(np.float64), onto.astype(np.float64)
    centred, target = frame - frame.mean(0), onto.mean(0)
    u, _, vt = np.linalg.svd(centred.T @ (onto - target))
    return centred @ (u @ vt) + target


def _leave_with(parent: int) -> None:
    """End with the app, also in the middle of a projection: on a busy machine that takes minutes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """The worker: lines on standard input, answers on standard output."""
    os.environ.update(ONE_THREAD)  # before numba is imported
    give_way(TRAINING)
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing a library prints may pass for an answer
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # the app is gone
        _work(sys.stdin, answers)


if __name__ == "__main__":
    main()
