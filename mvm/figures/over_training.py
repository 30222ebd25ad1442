"""Runs over training, for what moves: a film and a supplement.

    timeline     the steps of all snapshots up to the shown step, thinned evenly: the first and the last stay
    columns      one for each series, as `Selection.samples` chooses its member
    scores       of that member at each step: W₂ over its baseline, coverage, ...

Data of more than three dimensions are shown on the first three principal axes of the reals, as on the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mvm.errors import RunError
from mvm.figures.clouds import shows_clouds
from mvm.figures.selection import NoFigure, Selection
from mvm.geometry.descriptors import GAPS
from mvm.look.scales import span_of
from mvm.methods import method_on
from mvm.runs.frames import make_frame
from mvm.runs.history import History, middle
from mvm.runs.run import Run
from mvm.studies.compare import PAIR_DISTANCE, Curve, data_title, in_words, is_gain, quality, quality_title

__all__ = [
    "MOST_FRAMES",
    "Column",
    "Progress",
    "baseline_of",
    "columns_of",
    "comparable",
    "evenly",
    "frame_steps",
    "on_log_axis",
    "project_frames",
    "score_words",
    "subject_of",
    "timeline",
]

Progress = Callable[[int, int, str], None]
"""Called with the number done, the total, and what comes next; an exception that it raises ends the work."""

MOST_FRAMES = 12  # UMAP frames of a run: a missing one takes seconds
MARGIN = 0.08  # about UMAP, as on the screen


@dataclass
class Column:
    """What one column shows at each place of the timeline.

    Attributes:
        title, colour, note: of the series.
        run: the run of the shown member.
        place: of the run in the selection.
        member: place of the shown member on its variant axis.
        steps: step of the shown snapshot `(s,)`: the last one up to that of the timeline.
        real: reals `(n, d)` with d of 2 or 3; None for pictures.
        fakes: fakes `(s, n, d)`, or pictures `(s, n, h, w, 3)` uint8.
        span: fixed axis ranges `(d, 2)`; None for pictures.
        principal: the number of dimensions, where the axes are principal ones; else 0.
        spectra: leading eigenvalues of the reals' distances `(s, k)`, NaN where a snapshot has none.
        frames: UMAP frames `(2m, 2)` of the run by their step, reals first.
        is_still: the pictures are not generated: the same at every step, without scores.
    """

    title: str
    colour: str
    note: str
    run: Run
    place: int
    member: int
    steps: np.ndarray
    fakes: np.ndarray
    real: np.ndarray | None = None
    span: np.ndarray | None = None
    principal: int = 0
    spectra: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    frames: dict[int, np.ndarray] = field(default_factory=dict)
    is_still: bool = False

    @property
    def frame_span(self) -> np.ndarray | None:
        """Axis ranges about all frames."""
        return span_of(np.concatenate(list(self.frames.values())), MARGIN) if self.frames else None

    def frame_at(self, step: int) -> tuple[int, np.ndarray] | None:
        """The last frame up to a step, else the first one, with its step; None without frames."""
        if not self.frames:
            return None
        shown = max((known for known in self.frames if known <= step), default=min(self.frames))
        return shown, self.frames[shown]


def evenly(items: Sequence[int], most: int) -> list[int]:
    """At most so many of some items, evenly chosen, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def timeline(selection: Selection, most: int) -> list[int]:
    """Steps at which something changes, of all runs; at most so many.

    Raises:
        NoFigure: there is but one.
    """
    steps = {step for place in range(len(selection.runs)) for step in _steps(selection, place)}
    if len(steps) < 2:
        raise NoFigure(f"film: {selection.runs[0].name} has one snapshot so far; what moves needs two")
    return evenly(sorted(steps), most)


def frame_steps(run: Run, step: int) -> list[int]:
    """The steps whose UMAP frames are shown: a few snapshots up to a step, evenly chosen."""
    return evenly([each for each in run.snapshot_steps() if each <= step], MOST_FRAMES)


def project_frames(selection: Selection, on_progress: Progress) -> list[str]:
    """Make missing UMAP frames, where the selection wants that; returns reasons why some are missing."""
    missing = [
        (run, step)
        for run, until in zip(selection.runs, selection.steps, strict=True)
        for step in frame_steps(run, until)
        if run.frame(step) is None
    ]
    if not selection.project:
        return [f"{len(missing)} are not projected yet"] if missing else []
    problems = []
    for done, (run, step) in enumerate(missing):
        on_progress(done, len(missing), f"UMAP of {run.name}")
        try:
            make_frame(run.path, step)
        except (ValueError, RuntimeError) as error:
            problems.append(f"{run.name} at step {step:,}: {error}")
    return problems


def columns_of(selection: Selection, steps: Sequence[int], on_progress: Progress) -> list[Column]:
    """Read what is shown of each series at the steps of a timeline.

    Raises:
        NoFigure: a run shows pictures and another one points, or a series lacks the chosen seed.
        RunError: a snapshot is damaged.
    """
    shown = list(selection.samples())
    wanted = {place: _snapshots_at(_steps(selection, place), steps) for _, place, _ in shown}
    total, done, columns = sum(len(set(each)) for each in wanted.values()), 0, []
    for place, at in wanted.items():
        run, arrays = selection.runs[place], {}
        for step in dict.fromkeys(at):
            on_progress(done, total, f"reading {run.name}")
            arrays[step], done = _read(run, step), done + 1
        for series, own, member in shown:
            if own == place:
                head = (series.title, series.colour, series.note, run, place, member)
                columns.append(_column(head, [arrays[step] for step in at], np.array(at)))
                columns[-1].frames = _frames(run, selection.steps[place], member)
    if len({column.real is None for column in columns}) > 1:
        raise NoFigure("film: some of these runs are on points and others on pictures; choose runs of one kind")
    order = {(place, member): number for number, (_, place, member) in enumerate(shown)}
    columns.sort(key=lambda column: order[column.place, column.member])
    _share_spans(columns)
    return columns


def subject_of(runs: Sequence[Run]) -> str:
    """Data and method of some runs in words, such as "swiss roll · MvM"."""
    parts: list[list[str]] = [[], []]
    for run in runs:
        config = run.config
        parts[0].append(data_title(config.data))
        parts[1].append(method_on(config.kind, config.method).title)
    return " · ".join(", ".join(dict.fromkeys(part)) for part in parts)


def on_log_axis(key: str, drawn: Sequence[Curve]) -> bool:
    """Whether a quantity has a logarithmic axis: gaps, ratios and distances, where all are positive."""
    ratio = key in (*GAPS, PAIR_DISTANCE) or key.endswith(("_ratio", ".fd"))
    return ratio and all((curve.middle[np.isfinite(curve.middle)] > 0).all() for curve in drawn)


def comparable(selection: Selection) -> bool:
    """Whether all runs are on the same data, so that scores have one baseline and can be compared."""
    return len({run.config.data for run in selection.runs}) == 1


def baseline_of(selection: Selection, key: str) -> float | None:
    """The baseline of a score recorded during training; None where it has none, or not the same in all runs."""
    if key.endswith("_ratio"):
        return 1.0
    rows = [row for run in selection.held for last in run.quick_scores[-1:] for row in last["scores"]]
    return middle([row.get(f"{key}_floor") for row in rows]) if comparable(selection) else None


def score_words(history: History, step: int, member: int) -> str:
    """The scores of a member at a step, in words: the main one beside its baseline, and coverage; "" before the first.

    Final scores, of larger samples and hence with lower baselines, replace quick ones at the end of a run.
    """
    scores = history.scores(step)
    if scores is None:
        return ""
    row = scores.rows[member]
    key, value = quality(row)
    if value is None:
        return "" if key == "none" else "diverged"
    if is_gain(key):
        return f"{quality_title(key).removesuffix(' (dB)')} {in_words(value, key)}"
    main = "W₂" if key == "w2_ratio" else "Fréchet distance"
    coverage = row.get("coverage")
    words = [f"{main} {value:.3g} × baseline"] + ([] if coverage is None else [f"coverage {coverage:.0%}"])
    return " · ".join(words + ([f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{scores.n:,}"] if scores.n else []))


# -- reading -----------------------------------------------------------------------------------------------------------


def _steps(selection: Selection, place: int) -> list[int]:
    """Steps of a run's snapshots up to the shown one."""
    return [step for step in selection.runs[place].snapshot_steps() if step <= selection.steps[place]]


def _snapshots_at(known: Sequence[int], steps: Sequence[int]) -> list[int]:
    """For each step of a timeline the last snapshot up to it, else the first."""
    places = np.searchsorted(known, steps, side="right") - 1
    return [known[max(0, place)] for place in places]


def _read(run: Run, step: int) -> dict[str, np.ndarray]:
    snapshot = run.snapshot(step)
    if snapshot is None:
        raise RunError(f"run: {run.name}'s {run.snapshot_path(step).name} is damaged; choose another --step")
    return snapshot


def _column(
    head: tuple[str, str, str, Run, int, int], arrays: list[dict[str, np.ndarray]], steps: np.ndarray
) -> Column:
    member = head[-1]
    fakes = [array["fake"][member] for array in arrays]
    size = min(map(len, fakes))
    column = Column(*head, steps, np.stack([fake[:size] for fake in fakes]))
    lost = np.full(1, np.nan)
    spectra = [array["spectrum_distance"][member] if "spectrum_distance" in array else lost for array in arrays]
    ranks = max(map(len, spectra))
    column.spectra = np.stack([np.pad(each, (0, ranks - len(each)), constant_values=np.nan) for each in spectra])
    if shows_clouds(arrays[0]):
        real = arrays[-1]["real"]
        if real.shape[1] > 3:
            column.principal, middle = real.shape[1], real.mean(0)
            basis = np.linalg.svd(real - middle, full_matrices=False)[2][:3].T
            real, column.fakes = (real - middle) @ basis, (column.fakes - middle) @ basis
        column.real, column.span = real, span_of(real)
    return column


def _frames(run: Run, until: int, member: int) -> dict[int, np.ndarray]:
    found = {step: run.frame(step) for step in frame_steps(run, until)}
    return {step: frame[member] for step, frame in found.items() if frame is not None}


def _share_spans(columns: list[Column]) -> None:
    """Give one span to all columns whose reals are the same data, so that they can be compared."""
    by_data: dict[str, list[Column]] = {}
    for column in columns:
        if column.real is not None:
            by_data.setdefault(f"{column.run.config.data} {column.real.shape[1]}", []).append(column)
    for alike in by_data.values():
        span = span_of(np.concatenate([column.real for column in alike if column.real is not None]))
        for column in alike:
            column.span = span
