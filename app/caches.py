"""Data read from disk and kept: runs, histories, generators, training pictures, photographs, uploaded points."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from mvm.config import Config
from mvm.data.columns import Column, describe_columns
from mvm.data.kinds import KINDS
from mvm.data.pairs import SUPERRES, sample_patches
from mvm.data.photographs import Collection, built_in, describe_collection, open_collection
from mvm.errors import ConfigError, RunError, line_of
from mvm.files import checkpoints, new_folder, write_array, write_atomic
from mvm.jobs.queue import device_kind
from mvm.runs.evaluate import load_generator, training_gallery
from mvm.runs.history import History
from mvm.runs.layout import CHECKPOINT, check_name
from mvm.runs.library import all_runs, opened
from mvm.runs.run import Run
from mvm.scoring.images import Gallery
from mvm.studies.labels import run_title
from mvm.training.experiment import view_noise
from mvm.training.sampling import between
from mvm.words import visible

__all__ = [
    "Reading",
    "built_in_patches",
    "described",
    "file_columns",
    "gallery",
    "history",
    "interpolation",
    "keep_drawing",
    "keep_pictures",
    "keep_upload",
    "photographs",
    "run_named",
    "runs",
    "training_beside",
]

MOST_READERS = 8  # histories kept per browser tab
PATCHES = 4  # of photographs, to look at

# -- runs --------------------------------------------------------------------------------------------------------------


def runs(kind: str) -> dict[str, Run]:
    """Runs on one kind of data, by name, newest first; a known run reads only what was appended.

    A folder whose name no page can show, such as one that is no UTF-8, is left out.
    """
    known = (run for run in all_runs(_known_runs()) if run.config.kind == kind)
    return {run.name: run for run in known if run.name == visible(run.name)}


def training_beside(waiting: Run) -> list[str]:
    """What the runs in training on the kind of device that a run waits for are called."""
    kind = device_kind(waiting.config.device)
    training = (run for run in all_runs(_known_runs()) if run.status().state in ("starting", "running"))
    return [run_title(run) for run in training if device_kind(run.config.device) == kind]


def run_named(name: str) -> Run:
    """The run of this name; a name may come from a link, and is never used as a path.

    Raises:
        RunError: there is no such run, or it is unreadable.
    """
    return opened(checkpoints() / check_name(name), _known_runs())


@st.cache_resource
def _known_runs() -> dict[str, Run]:
    return {}


def history(run: Run) -> History:
    """This browser tab's reader of a run's records, brought up to date."""
    readers = st.session_state.setdefault("_readers", {})
    if run not in readers:  # a new run under an old name is another run
        while len(readers) >= MOST_READERS:
            readers.pop(next(iter(readers)))
        readers[run] = History(run)
    return readers[run].refresh()


# -- generators and training pictures ----------------------------------------------------------------------------------


def interpolation(run: Run, member: int, ends: tuple[int, int], places: tuple[float, ...], *, noises: int) -> Any:
    """Pictures `(k, size, size, 3)` uint8 between two of a run's fixed noises, by its last checkpoint's generator.

    Args:
        run: on pictures.
        member: index of the generator on the variant axis.
        ends: indices of the two noises.
        places: k places in [0, 1] on the great circle between the noises.
        noises: number of fixed noises of the run.

    Raises:
        RunError: there is no readable checkpoint.
    """
    try:
        changed = (run.path / CHECKPOINT).stat().st_mtime_ns
    except OSError:
        raise RunError("There is no checkpoint yet; the first is written in a moment.") from None
    return _interpolation(run.path, member, changed, ends, places, noises)


@st.cache_data(max_entries=64, show_spinner=False)
def _interpolation(
    path: Path, member: int, changed: int, ends: tuple[int, int], places: tuple[float, ...], noises: int
) -> np.ndarray:
    noise = view_noise(noises, Run(path).config.network.noise_dim)
    return _generator(path, member, changed)(between(*noise[list(ends)], torch.tensor(places))).numpy()


@st.cache_resource(max_entries=8, show_spinner=False)
def _generator(path: Path, member: int, changed: int) -> Callable[[Tensor], Tensor]:
    torch.set_num_threads(1)
    return load_generator(Run(path), member)


def gallery(run: Run) -> Gallery | str | None:
    """Searchable training pictures of a run; None while they are loaded, or the error as text."""
    loading = _gallery(run.config.model_dump_json(include={"data", "points", "size", "flips"}), run.config)
    if not loading.done():
        return None
    return loading.result() if loading.exception() is None else str(loading.exception())


@st.cache_resource(max_entries=2, show_spinner=False)
def _gallery(key: str, _config: Config) -> Future[Gallery]:
    """Load in a thread: rendering thousands of toy faces takes seconds, and must not block the page."""
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(1)
    future = pool.submit(training_gallery, _config)
    pool.shutdown(wait=False)
    return future


# -- photographs of one's own ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Reading:
    """Photographs that are decoded in a thread.

    Attributes:
        source: path, or name of a cache.
        lines: description of the collection; its error is a ConfigError.
        share: of the files that are decoded.
        patches: LR and HR patches to look at, `(PATCHES, p, p, 3)` and `(PATCHES, 4p, 4p, 3)` uint8; None until
            `lines` are there.
    """

    source: str
    lines: Future[list[str]] = field(default_factory=Future)
    share: float = 0.0
    patches: tuple[np.ndarray, np.ndarray] | None = None

    def read(self) -> None:
        """Decode the photographs, and describe them."""

        def report(share: float) -> None:
            self.share = share

        try:
            smallest = Config.make(data=SUPERRES).patch
            collection = open_collection(self.source, smallest=smallest, processes=1, on_progress=report)
            self.patches = patches_of(collection, smallest)
            self.lines.set_result(describe_collection(collection))
        except Exception as error:
            self.lines.set_exception(error if isinstance(error, ConfigError) else ConfigError(line_of(error)))


def patches_of(collection: Collection, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR patches of a collection to look at, of many those with most contrast."""
    low, high = (side.numpy() for side in sample_patches(collection, patch, 8 * PATCHES))
    chosen = np.sort(np.argsort(low.std(axis=(1, 2, 3)))[-PATCHES:])
    return low[chosen], high[chosen]


@st.cache_resource(show_spinner=False)
def built_in_patches() -> tuple[str, np.ndarray, np.ndarray]:
    """Description of the built-in photographs, and patches of them to look at."""
    collection = built_in()
    return describe_collection(collection)[0], *patches_of(collection, Config.make(data=SUPERRES).patch)


@st.cache_resource(max_entries=4, show_spinner=False)
def photographs(source: str) -> Reading:
    """Photographs by their path, or by the name of a cache, which may take minutes to decode."""
    reading = Reading(source)
    threading.Thread(target=reading.read, daemon=True).start()
    return reading


# -- points of one's own -----------------------------------------------------------------------------------------------


def keep_upload(name: str, content: bytes) -> Path:
    """Store an uploaded file of points, named by its hash, and check that it is a table.

    Raises:
        ConfigError: it is no table, or has fewer than two columns.
    """
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(name).name)[-60:]
    path = _uploads() / hashlib.sha256(content).hexdigest()[:8] / (f"points{safe}" if safe.startswith(".") else safe)
    return _checked(path, lambda: write_atomic(path, content), file_columns)


def keep_drawing(points: np.ndarray) -> Path:
    """Store drawn points `(n, 2)` as a file, named by its hash, and check it.

    Raises:
        ConfigError: they are too few, or all the same.
    """
    path = _uploads() / f"drawing-{hashlib.sha256(points.tobytes()).hexdigest()[:8]}.npy"
    return _checked(path, lambda: write_array(path, points.astype(np.float32)), described)


def keep_pictures(files: Sequence[tuple[str, bytes]]) -> Path:
    """Store an uploaded ZIP, or the files of an uploaded folder, in a folder named by their hash.

    Args:
        files: path in the upload, and content, of each.

    Returns:
        Path of the only file, or of the folder.

    Raises:
        ConfigError: there is no file, or one has a path that leads out of its folder.
    """
    if not files:
        raise ConfigError("pictures: nothing is uploaded yet; choose a ZIP or a folder")
    digest = hashlib.sha256()
    for name, content in sorted(files):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.isprintable():
            raise ConfigError(f"pictures: {visible(name)!r} leads out of its folder; rename it")
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    target = _uploads() / f"pictures-{digest.hexdigest()[:8]}"
    with contextlib.suppress(FileExistsError), new_folder(target) as folder:
        for name, content in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    inner = {target / PurePosixPath(name).parts[0] for name, _ in files}
    return inner.pop() if len(inner) == 1 else target


@st.cache_data(max_entries=16, show_spinner=False)
def described(path: Path, switches: dict[str, Any]) -> list[str]:
    """`mvm.data.anomalies.describe` of a stored file, which never changes, as it is read with the switches.

    Raises:
        ConfigError: it cannot be trained on.
    """
    config = Config.make(data=str(path), **switches)
    return KINDS[config.kind].describe(config)


@st.cache_data(max_entries=16, show_spinner="reading the file ...")
def file_columns(path: Path, switches: dict[str, Any]) -> list[Column]:
    """`mvm.data.columns.describe_columns` of a stored file, which never changes, as it is read with the switches.

    Raises:
        ConfigError: it is no table, has fewer than two columns, or a switch has no such value.
    """
    config = Config.make(data=str(path), **switches)
    return describe_columns(path, header=config.header, missing=config.missing)


def _checked(path: Path, write: Callable[[], None], check: Callable[[Path, dict[str, Any]], object]) -> Path:
    """Write a file unless it exists, and check it; one that fails at once is not kept."""
    is_new = not path.exists()
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    try:
        check(path, {})
    except ConfigError:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    return path


def _uploads() -> Path:
    return checkpoints() / ".uploads"
