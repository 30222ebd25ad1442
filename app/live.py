"""The shown run, redrawn while it is trained, each part as often as it changes.

status, timeline, view    every 0.15 s
embeddings                every 1 s: UMAP frames come from a process of their own
gaps, spectra, scores     every 2 s
samples on request        every 5 s, and when one of their widgets is moved
run at rest               checked every 3 s, and redrawn when a training begins
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from app.caches import history
from app.charts import training
from app.components.live_plot import live_plot
from app.components.timeline import timeline
from app.header import MOST_COLUMNS, draw_status
from app.layers import colour_by_eigenvector
from app.link import keep
from app.services import projector
from app.session import Page
from app.text import plain
from mvm.data.kinds import KINDS
from mvm.jobs.umap_worker import Projector
from mvm.look.palette import variant_colours
from mvm.methods import METHODS
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.history import History
from mvm.runs.run import Run, Status
from mvm.scoring.score import Score
from mvm.studies.labels import footnotes, label_of_variant, variant_label

__all__ = [
    "Columns",
    "Projection",
    "Rows",
    "columns_of",
    "draw_gaps",
    "draw_heading",
    "draw_run",
    "draw_scores",
    "draw_spectra",
    "request_projection",
    "rerun_if_changed",
    "why_not_started",
]

ARROWS = {"lower": "↓", "higher": "↑", "floor": "≈"}
BASELINES = {"floor": "floor: real against real", "bicubic": "beside bicubic interpolation"}


@dataclass(frozen=True)
class Rows:
    """Functions that draw the rows of a page.

    Attributes:
        view: from the arrays of a snapshot, or of the live view.
        embeddings: of the snapshot at a step; returns True while a newer projection is awaited.
        history: from all records, with a cursor at a step.
        samples: on request, by the networks of the last checkpoint; None for a page without this row.
    """

    view: Callable[[Page, Run, dict[str, np.ndarray]], None]
    embeddings: Callable[[Page, Run, History, int], bool]
    history: Callable[[Page, Run, History, int], None]
    samples: Callable[[Page, Run], None] | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of a row: one seed of at most `MOST_COLUMNS` variants.

    Attributes:
        members: indices into the variant axis.
        titles: of the variants, as they were trained.
        colours: of the variants.
    """

    members: list[int]
    titles: list[str]
    colours: list[str]


@dataclass(frozen=True)
class Projection:
    """A frame of a projection, UMAP or PCA.

    Attributes:
        frame: coordinates `(V, 2n, 2)`, reals first; NaN before there is a frame.
        step: of the frame's snapshot.
        awaited: whether a newer frame is being computed.
        note: for the row's heading.
        axes: names of x and y, for each member; None where axes mean nothing.
    """

    frame: np.ndarray
    step: int
    awaited: bool
    note: str
    axes: list[list[str]] | None = None

    def axes_of(self, members: Sequence[int]) -> list[list[str]] | None:
        """Names of the axes in the panels of these members."""
        return self.axes and [self.axes[member] for member in members]


def draw_run(tab: Page, run: Run, status: Status, rows: Rows) -> None:
    """Draw a run, in fragments that rerun while it is trained."""
    keep(tab.key("projection"))  # drawn once there are embeddings
    if not status.alive:
        st.fragment(_draw_at_rest, run_every=1.0 if tab.behind else None)(tab, run, rows)
        st.fragment(rerun_if_changed, run_every=3.0)(tab, run)
        return
    st.fragment(_draw_view, run_every=0.15)(tab, run, rows)
    st.fragment(_draw_embeddings, run_every=1.0)(tab, run, rows)
    if rows.samples:
        st.fragment(rows.samples, run_every=5.0)(tab, run)
    st.fragment(_draw_history, run_every=2.0)(tab, run, rows)


def _draw_at_rest(tab: Page, run: Run, rows: Rows) -> None:
    """Draw a run without a trainer; rerun when its timeline is moved, and while a projection is awaited."""
    _draw_view(tab, run, rows)
    behind = _draw_embeddings(tab, run, rows)
    if rows.samples:
        st.fragment(rows.samples)(tab, run)
    _draw_history(tab, run, rows)
    if behind != tab.behind:
        tab.behind = behind
        st.rerun()


def rerun_if_changed(tab: Page, run: Run) -> Status:
    """Rerun the page when the run's state is another, on which buttons and refresh rates depend; return its status."""
    status = run.status()
    if tab.state != (run.name, status.state) or not run.is_there():
        st.rerun()
    return status


def _draw_view(tab: Page, run: Run, rows: Rows) -> None:
    """Draw status, timeline and view, which change with every step."""
    status = rerun_if_changed(tab, run)
    records = history(run)
    newest = records.newest()
    draw_status(run, status)  # after the reading, of which it says what was passed over
    done = max(int(newest["step"]) if newest else 0, status.step)
    every = run.config.every(run.config.snapshots)
    step = timeline(records.marks(), done=done, steps=run.config.steps, every=every, key=f"timeline.{run.name}")
    tab.cursor = (run.name, step)
    if note := footnotes(label_of_variant(run, variant) for variant in run.config.variants):
        st.caption(plain(note))
    view = newest if step is None else records.at(step)
    if view is None:
        with st.container(height=420, border=False):
            st.info("Waiting for the first view ...", icon=":material/hourglass_top:")
        return
    rows.view(tab, run, view)


def _draw_embeddings(tab: Page, run: Run, rows: Rows) -> bool:
    records = history(run)
    step = _shown_step(tab, run, records)
    return step is not None and rows.embeddings(tab, run, records, step)


def _draw_history(tab: Page, run: Run, rows: Rows) -> None:
    records = history(run)
    step = _shown_step(tab, run, records)
    if step is not None:
        rows.history(tab, run, records, step)


def _shown_step(tab: Page, run: Run, records: History) -> int | None:
    """Step of the last snapshot up to the timeline's cursor; None before the first snapshot."""
    name, cursor = tab.cursor or (run.name, None)
    steps = [step for step in records.steps if name != run.name or cursor is None or step <= cursor]
    return steps[-1] if steps else None


# -- rows that every page has ------------------------------------------------------------------------------------------


def columns_of(run: Run) -> Columns:
    """The variants and the seed chosen in the popover View."""
    config = run.config
    chosen = st.session_state.get(f"columns.{run.name}", ())
    shown = [index for index, variant in enumerate(config.variants) if variant in chosen]
    shown = shown or list(range(len(config.variants)))[:MOST_COLUMNS]
    seed = st.session_state.get(f"seed.{run.name}")
    seed = seed if seed in config.seeds else config.seeds[0]
    members = [config.members.index((config.variants[index], seed)) for index in shown]
    colours = variant_colours(config.variants)
    titles = [variant_label(run, config.variants[i]) for i in shown]
    return Columns(members, titles, [colours[i] for i in shown])


def request_projection(run: Run, records: History, step: int) -> Projection:
    """The newest UMAP frame up to a step; a missing frame of this step is requested from the UMAP worker."""
    frame, at = None, 0
    for at in reversed([s for s in records.steps if s <= step]):
        frame = run.frame(at)
        if frame is not None:
            break
    service, failed = projector(), ""
    behind = frame is None or at != step
    if behind:
        service.request(run.path, step, fill=not run.alive())
        reason = service.errors.get((str(run.path), step))
        if reason or service.gave_up:
            failed = f"step {step:,} cannot be projected: {reason or why_not_started(service)}"
    if frame is None:
        empty = np.full((len(run.config.members), 2, 2), np.nan, dtype=np.float32)
        note = failed or ("projecting ..." if service.ready else "warming up the projector ...")
        return Projection(empty, at, behind and not failed, note)
    note = f"step {at:,}"
    if not METHODS[run.config.method].learns_metric:
        by = "of the pixels" if run.config.kind in PAIRED_KINDS else "by an untrained network"
        note += f", {by}: the method learns no metric"
    if behind:
        note += f"; {failed}" if failed else ", projecting a newer step ..."
    return Projection(frame, at, behind and not failed, note)


def why_not_started(service: Projector) -> str:
    """Why there is no UMAP worker, by the last line that it printed."""
    return f"the projector does not start{': ' * bool(service.last_line)}{service.last_line}"


def draw_gaps(tab: Page, run: Run, records: History, step: int) -> None:
    """Draw d_c, d_g and d_H of the embeddings over training (the paper's Fig. 7), and d_p of pairs (Fig. 10)."""
    steps, values = records.gaps()
    seeds = len(run.config.seeds)
    of_pixels = run.config.kind in PAIRED_KINDS and not METHODS[run.config.method].learns_metric
    title = "Gaps between pixels: the method learns no metric" if of_pixels else "Gaps under the learned metric"
    note = f"median and range of {seeds} seeds" if seeds > 1 else "one seed"
    if "d_p" in values:
        note += "; all fall as upscaled patches come to lie like the originals; d_p: mean distance of a pair"
    draw_heading(title, note)
    names = run.config.variants
    figure = training.gap_curves(
        steps, values, titles=[variant_label(run, name) for name in names], step=step,
        log=tab.setting("log", True), colours=variant_colours(names),
    )  # fmt: skip
    last = (
        {name: ", ".join(f"{x:.3g}" for x in array[-1, :, 0]) for name, array in values.items()} if len(steps) else {}
    )
    live_plot(figure, key=f"gaps.{run.name}", height=300, alt=f"Gaps over training; now {last} for {', '.join(names)}")


def draw_spectra(tab: Page, run: Run, records: History, step: int) -> None:
    """Draw eigenvalues of the real embeddings' distance matrix: at a step, and over training (the paper's Fig. 5)."""
    shown = columns_of(run)
    form, log = tab.setting("form", "distance"), tab.setting("log", True)
    steps, spectra = records.spectrum(form)
    if step not in steps:
        return
    at_step = spectra[list(steps).index(step)]
    words = "of D / mean D, by magnitude" if form == "distance" else "of −½ J D² J, as shares of variance"
    reals = "original patches" if run.config.kind in PAIRED_KINDS else f"real {_noun(run)}"
    colours = tab.kind == "points" and form == "distance"
    hint = "; click a bar to colour the points by its eigenvector" if colours else ""
    draw_heading("Spectrum of the distance matrix", f"ten leading eigenvalues {words}, {reals}{hint}")
    name, members, titles = run.name, shown.members, shown.titles
    now = training.spectrum_now(
        at_step[members], spectra[0][members], titles=titles, step=step, form=form, colours=shown.colours
    )
    clicked = live_plot(
        now, key=f"spectrum.{name}.{form}", height=250, pickable=colours,
        alt=f"Leading eigenvalues at step {step} and before training",
    )  # fmt: skip
    colour_by_eigenvector(tab, clicked)
    over = training.spectrum_history(steps, spectra[:, members], titles=titles, step=step, form=form, log=log)
    live_plot(over, key=f"spectra.{name}.{form}", height=270, alt="Leading eigenvalues over training")


def draw_scores(run: Run, records: History, step: int, described: dict[str, Score]) -> None:
    """Draw a table of the scores at a step beside their floors, medians over seeds.

    Args:
        run: the shown run.
        records: of the run.
        step: the shown step.
        described: scores to draw by key; those that the run lacks are left out.
    """
    scores = records.scores(step)
    if scores is None and run.scores_are_outdated():
        draw_heading(
            "Scores", f"of an earlier version, in the file's own units; `mvm score {plain(run.name)}` measures anew"
        )
        return
    if scores is None:
        draw_heading("Scores", f"first scores at step {run.config.every(10):,}")
        return
    names = run.config.variants
    baseline = next(iter(described.values())).baseline if described else "floor"
    paired = run.config.kind in PAIRED_KINDS
    size = f"{scores.n:,} {'held-out' if paired else 'new'} {_noun(run)}, " if scores.n else ""
    draw_heading("Scores", f"{size}step {scores.step:,}; {'mean, ' * paired}{BASELINES.get(baseline, baseline)}")
    table = {}
    for key, score in described.items():
        values = [scores.of(key, variant) for variant in names]
        if any(value is not None for value in values):
            floor = 1.0 if key == "w2_ratio" else scores.floor(score.floor)  # the unit of w2_ratio is its floor
            table[f"{score.label} {ARROWS[score.direction]}"] = [*map(_number, values), _number(floor), score.meaning]
    columns = [variant_label(run, name) for name in names]
    frame = pd.DataFrame.from_dict(table, orient="index", columns=[*columns, baseline, "meaning"])
    narrow = {name: st.column_config.Column(width=112) for name in [baseline, *columns]}
    st.dataframe(frame, width="stretch", height=35 * (len(frame) + 1) + 3, column_config=narrow)
    closest = any(score.direction == "floor" for score in described.values())
    noise = " ≈: best at its floor; below it is sampling noise." if closest else ""
    st.caption(f"↓: lower is better. ↑: higher is better.{noise}")


def draw_heading(title: str, note: str) -> None:
    """Draw a row's title with a note beside it, which may contain words from outside."""
    st.markdown(f"**{title}** &nbsp; :gray[{plain(note)}]")


def _noun(run: Run) -> str:
    """Plural of an example of the run's data: points, pictures."""
    return KINDS[run.config.kind].noun


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
