"""The history of a run as arrays for a screen; files are read once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvm.geometry.descriptors import GAPS
from mvm.geometry.principal import PrincipalPlane, principal_plane
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.methods.method import PAIRED_KINDS
from mvm.runs import layout
from mvm.runs.events import Compiles, Continued, Event, Launched, NotCaptured, NotCompiled, Queued, Started, Unknown
from mvm.runs.run import Run

__all__ = ["History", "Scores", "middle"]


@dataclass(frozen=True)
class Scores:
    """Scores of every member of the variant axis at one step.

    Attributes:
        step: of them.
        rows: one dict by key for each member.
        members: (variant, seed) of each.
        n: points or pictures of each sample; None where that was not written down.
    """

    step: int
    rows: list[dict[str, Any]]
    members: list[tuple[str, int]]
    n: int | None = None

    def of_variant(self, variant: str) -> list[dict[str, Any]]:
        """The rows of its seeds."""
        return [row for row, member in zip(self.rows, self.members, strict=False) if member[0] == variant]

    def of(self, key: str, variant: str) -> float | None:
        """The median over a variant's seeds of the score under a key.

        None where half of them or more have none: the others, those that have not diverged, do not stand for all.
        """
        values = [row.get(key) for row in self.of_variant(variant)]
        return middle(values) if values.count(None) < len(values) / 2 else None

    def floor(self, key: str | None) -> float | None:
        """The median over all members of the value under a floor's key."""
        return middle(row.get(key) for row in self.rows) if key else None


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


class History:
    """A reader of one run that keeps what it has read.

    Args:
        run: the run; another process may be training it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.steps: list[int] = []
        self._spectra: dict[str, dict[int, np.ndarray]] = {form: {} for form in SPECTRUM_FORMS}
        self._snapshots: dict[int, dict[str, np.ndarray]] = {}
        self._planes: dict[int, PrincipalPlane | None] = {}
        self._plane_points: np.ndarray | None = None  # reals on the last plane
        self._live: tuple[int, dict[str, np.ndarray]] | None = None
        self._file = 0

    def refresh(self) -> History:
        """Look for new records and snapshots."""
        file = self.run.records.poll().inode
        if file != self._file:  # a trainer went back to its checkpoint: later steps may come out otherwise
            self._file, self._snapshots, self._spectra = file, {}, {form: {} for form in SPECTRUM_FORMS}
            self._planes, self._plane_points = {}, None
        self.steps = self.run.snapshot_steps()
        return self

    def at(self, step: int) -> dict[str, np.ndarray] | None:
        """The last snapshot at or before a step."""
        place = bisect_right(self.steps, step)
        return self._snapshot(self.steps[max(0, place - 1)]) if self.steps else None

    def newest(self) -> dict[str, np.ndarray] | None:
        """The newest view: the last snapshot, or the live one if that is later."""
        last = self.at(self.steps[-1]) if self.steps else None
        try:
            changed = (self.run.path / layout.LIVE).stat().st_mtime_ns
        except OSError:
            return last
        if self._live is None or self._live[0] != changed:
            live = self.run.live()
            if live is None:
                return last
            self._live = (changed, live)
        return self._live[1] if last is None or self._live[1]["step"] > last["step"] else last

    def spectrum(self, form: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps `(s,)` and leading eigenvalues `(s, V, k)` of every snapshot."""
        known = self._spectra[form]
        for step in self.steps:
            if step not in known:
                values = self.run.snapshot_tensor(step, f"spectrum_{form}")
                if values is not None:
                    known[step] = values
        steps = [step for step in self.steps if step in known]
        values = np.stack([known[step] for step in steps]) if steps else np.zeros((0, len(self.run.config.members), 1))
        return np.array(steps, dtype=np.float32), values

    def principal(self, step: int) -> PrincipalPlane | None:
        """PCA of the real embeddings in the snapshot of a step, turned onto those of the snapshots before it.

        The result depends on the snapshots alone, not on which step is looked at first. None without embeddings.
        """
        for earlier in self.steps[: bisect_right(self.steps, step)]:
            if earlier in self._planes:
                continue
            real = self.run.snapshot_tensor(earlier, "real_embedding")
            self._planes[earlier] = None if real is None else principal_plane(real, previous=self._plane_points)
            if real is not None and (plane := self._planes[earlier]):
                points, last = plane.project(real), self._plane_points
                lost = ~np.isfinite(points)  # a variant that diverged keeps its last place
                self._plane_points = points if last is None else np.where(lost, last, points)
        return self._planes.get(step)

    def gaps(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Steps `(s,)` and d_c, d_g, d_H of every record, `(s, variants, seeds)` each; of pairs, d_p before them."""
        names = ["d_p", *GAPS] if self.run.config.kind in PAIRED_KINDS else [*GAPS]
        scalars = self.run.records.scalars
        none = [None] * len(self.run.config.members)
        steps = np.array([record["step"] for record in scalars], dtype=np.float32)
        return steps, {name: self._by_variant([record.get(name) or none for record in scalars]) for name in names}

    def score_curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps `(s,)` and values of a quick score, `(s, variants, seeds)`; NaN where a member has none."""
        records = self.run.quick_scores
        steps = np.array([record["step"] for record in records], dtype=np.float32)
        return steps, self._by_variant([[row.get(key) for row in record["scores"]] for record in records])

    def _by_variant(self, rows: list[Any]) -> np.ndarray:
        """Values of all members at s steps as `(s, variants, seeds)`."""
        shape = (len(rows), len(self.run.config.variants), len(self.run.config.seeds))
        return np.array(rows, dtype=np.float32).reshape(shape)

    def scores(self, step: int) -> Scores | None:
        """The final scores at the end, else the last quick ones at or before a step."""
        final = self.run.scores() if step >= self.run.config.steps else None
        if final is not None:
            return Scores(final[0]["step"], final, self.run.config.members, final[0]["n"])
        records = self.run.quick_scores
        place = bisect_right([record["step"] for record in records], step)
        if not place:
            return None
        last = records[place - 1]
        return Scores(last["step"], last["scores"], self.run.config.members, last.get("n"))

    def marks(self) -> list[Event]:
        """Events worth a mark on the timeline: all but those of a training that begins or goes on."""
        unmarked = Launched | Queued | Started | Continued | NotCaptured | Compiles | NotCompiled | Unknown
        return [event for event in self.run.records.events if not isinstance(event, unmarked)]

    def _snapshot(self, step: int) -> dict[str, np.ndarray] | None:
        if step not in self._snapshots:
            snapshot = self.run.snapshot(step)
            if snapshot is None:
                return None
            self._snapshots = dict(list(self._snapshots.items())[-7:]) | {step: snapshot}
        return self._snapshots[step]
