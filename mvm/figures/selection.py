"""The runs and options that a figure shows, and the definition of a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.data.kinds import KINDS
from mvm.errors import ConfigError, RunError, check_known
from mvm.geometry.spectrum import MOST_RANKS, SPECTRUM_FORMS
from mvm.lenses import LENSES
from mvm.runs.frames import make_frame
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.studies.compare import AXES, Series, quantities, series_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Definition", "NoFigure", "Selection", "require_kind"]


class NoFigure(RunError):
    """These runs cannot give the figure; the message is one line with the reason."""


def require_kind(kind: str, figure: str, runs: Sequence[Run]) -> None:
    """Raise `NoFigure` unless all runs have this kind of data."""
    for run in runs:
        if run.config.kind != kind:
            nouns = KINDS[run.config.kind].noun, KINDS[kind].noun
            raise NoFigure(f"{figure}: {run.name} is on {nouns[0]}; give a run on {nouns[1]}")


@dataclass(frozen=True)
class Selection:
    """Runs to show, up to which step, and the options of figures.

    Attributes:
        runs: one or more.
        steps: last step shown of each run, one that has a snapshot.
        seed: seed whose samples are shown; the first one when None.
        form: form of the spectrum, a name in `mvm.geometry.spectrum.SPECTRUM_FORMS`.
        quantity: quantity of curves, a key of `mvm.studies.compare.quantities`; the main score when None.
        axis: horizontal axis of curves, a name in `mvm.studies.compare.AXES`.
        rank: rank of the eigenvector that colours points, from 1; the first one is almost constant.
        project: make a missing UMAP frame, which takes seconds.
        lens: a name in `mvm.lenses.LENSES`.
        over: settings, by dotted name, that figures of a sweep compare first.
    """

    runs: tuple[Run, ...]
    steps: tuple[int, ...]
    seed: int | None = None
    form: str = "distance"
    quantity: str | None = None
    axis: str = "step"
    rank: int = 2
    project: bool = True
    lens: str = "holes"
    over: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        *,
        step: int | Sequence[int] | None = None,
        **options: Any,
    ) -> Selection:
        """Check the options and find the steps.

        Args:
            runs: one or more; duplicates are dropped. They are shown in the order of their batch sizes.
            step: last step to show, for all runs or one for each; the steps of their last snapshots when None.
            options: seed, form, quantity, axis, rank, lens, over and project, as above.

        Raises:
            ConfigError: an unknown form, seed, quantity or axis, or a rank out of bounds.
            RunError: a run without a snapshot up to the step.
        """
        runs = tuple({run.path.resolve(): run for run in runs}.values())
        options |= {"over": tuple(options.get("over", ()))}
        cls(runs, (), **options)._check()
        wanted = [step] * len(runs) if step is None or isinstance(step, int) else list(step)
        steps = [_step_of(run, step) for run, step in zip(runs, wanted, strict=True)]
        order = sorted(range(len(runs)), key=lambda place: runs[place].config.batch)
        return cls(tuple(runs[i] for i in order), tuple(steps[i] for i in order), **options)

    def _check(self) -> None:
        """Raise ConfigError for an option that these runs do not offer."""
        check_known("form", self.form, SPECTRUM_FORMS)
        known = sorted({known for run in self.runs for known in run.config.seeds})
        if self.seed is not None and self.seed not in known:
            raise ConfigError(f"seed: no run has seed {self.seed}; known: {', '.join(map(str, known))}")
        check_known("axis", self.axis, AXES)
        check_known("lens", self.lens, LENSES)
        final = {key for run in self.runs for row in run.scores() or [] for key in row} if self.quantity else ()
        if self.quantity and self.quantity not in final and self.quantity not in (recorded := quantities(self.runs)):
            raise ConfigError(f"quantity: none of these runs records {self.quantity!r}; known: {', '.join(recorded)}")
        if not 1 <= self.rank <= MOST_RANKS:
            raise ConfigError(f"rank: must be from 1 to {MOST_RANKS}, got {self.rank}")

    def series(self, *, but: Iterable[str] = ()) -> list[Series]:
        """Series of these runs in the order of their first appearance; settings in `but` do not distinguish them."""
        return series_of(self.held, but=but)

    def members(self, *, but: Iterable[str] = ()) -> Iterator[tuple[Series, int, int]]:
        """Each member of each series: the series, the run's place, and the member's place on its variant axis."""
        for series in self.series(but=but):
            for place, member in series.members:
                yield series, place, member

    def samples(self) -> Iterator[tuple[Series, int, int]]:
        """The member of each series whose samples are shown, in the form of `members`."""
        for series in self.series():
            yield series, *self.shown(series)

    @cached_property
    def histories(self) -> list[History]:
        """A history reader of each run."""
        return [History(run).refresh() for run in self.runs]

    @cached_property
    def held(self) -> list[Run]:
        """Each run with its records up to its step."""
        return [_RunAt(run, step) for run, step in zip(self.runs, self.steps, strict=True)]

    def snapshot(self, place: int) -> dict[str, np.ndarray]:
        """Snapshot of a run at its step.

        Raises:
            RunError: the snapshot is damaged.
        """
        run, step = self.runs[place], self.steps[place]
        snapshot = run.snapshot(step)
        if snapshot is None:
            raise RunError(f"run: {run.name}'s {run.snapshot_path(step).name} is damaged; choose another --step")
        return snapshot

    def frame(self, place: int, figure: str = "samples") -> np.ndarray:
        """UMAP frame `(V, 2n, 2)` of a run at its step, made if it is missing and `project` is set.

        Raises:
            NoFigure: there is no frame, and none can be made.
        """
        run, step = self.runs[place], self.steps[place]
        frame = run.frame(step)
        if frame is None and self.project:
            try:
                make_frame(run.path, step)
            except (ValueError, RuntimeError) as error:
                raise NoFigure(f"{figure}: {run.name} has no UMAP at step {step}: {error}") from None
            frame = run.frame(step)
        if frame is None:
            missing = f"{run.name} has no UMAP frame of step {step} yet"
            raise NoFigure(f"{figure}: {missing}; look at it in the app, or export it")
        return frame

    def shown(self, series: Series) -> tuple[int, int]:
        """Place of the run and of its member whose samples are shown for a series."""
        seeds = [self.runs[place].config.members[member][1] for place, member in series.members]
        if self.seed is not None and self.seed not in seeds:
            raise NoFigure(f"samples: {series.title} has no seed {self.seed}; it has {', '.join(map(str, seeds))}")
        return series.members[0 if self.seed is None else seeds.index(self.seed)]


class _RunAt(Run):
    """A run as it was at a step: without later records and scores."""

    def __init__(self, run: Run, step: int) -> None:
        vars(self).update(vars(run))
        self._step = step
        self.records = run.records.poll().up_to(step)

    def scores(self) -> list[dict[str, Any]] | None:
        """The final scores, if the step is the last one."""
        return super().scores() if self._step >= self.config.steps else None


def _step_of(run: Run, wanted: int | None) -> int:
    """The last step with a snapshot, up to a wanted one."""
    steps = [step for step in run.snapshot_steps() if wanted is None or step <= wanted]
    if not steps:
        until = "" if wanted is None else f" up to step {wanted}"
        raise RunError(f"run: {run.name} has no snapshot{until} yet; train it first")
    return steps[-1]


@dataclass(frozen=True)
class Definition:
    """One figure.

    Attributes:
        title: one line about its content.
        source: figure of the paper, or page of the app, that it belongs to.
        data: its numbers from a selection, one row each; raises `NoFigure`.
        draw: draws these numbers into an empty figure that has its width.
        latex: the numbers as a LaTeX table; None if there is none.
        uses: parts of a run that it reads, for the fingerprint: records, scores, snapshots, snapshot, frame, reals,
            origin, checkpoint, training, metric.
        options: options of a selection that it depends on: seed, form, quantity, axis, rank, lens, over.
    """

    title: str
    source: str
    data: Callable[[Selection], pd.DataFrame]
    draw: Callable[[Figure, pd.DataFrame, Selection], None]
    latex: Callable[[pd.DataFrame, Selection], str] | None
    uses: tuple[str, ...]
    options: tuple[str, ...] = ()
