"""A run on the page, live: its newest view, its embeddings and its history, each drawn anew as often as it changes.

view           every 0.15 s while it trains: status, timeline, and the data space or the pictures
embeddings     every 1 s: UMAP frames come from a worker of their own
history        every 2 s: gaps, spectra, scores
at rest        every 3 s: whether someone trains it again
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from app import plots
from app.live_plot import live_plot
from app.state import Page, history, projector
from app.timeline import timeline
from app.transport import MOST_COLUMNS, status_line
from mvm.look.palette import variant_colours
from mvm.methods import METHODS
from mvm.runs.frames import read_frame
from mvm.runs.history import History
from mvm.runs.run import Run, Status
from mvm.scoring.score import Score

__all__ = ["Columns", "Rows", "columns_of", "follow", "frame_of", "gaps", "heading", "score_table", "spectra"]

ARROWS = {"lower": "↓", "higher": "↑", "floor": "≈"}


@dataclass(frozen=True)
class Rows:
    """What a page draws of a run.

    Attributes:
        view: a snapshot's arrays, or the live ones.
        embeddings: of the snapshot at a step; true if a newer projection is awaited.
        history: of all records, with a cursor at a step.
        play: what a person does with the networks; drawn below the embeddings when something in it is moved, and
            every 5 s for newer networks.
    """

    view: Callable[[Page, Run, dict[str, np.ndarray]], None]
    embeddings: Callable[[Page, Run, History, int], bool]
    history: Callable[[Page, Run, History, int], None]
    play: Callable[[Page, Run], None] | None = None


@dataclass(frozen=True)
class Columns:
    """The columns shown, one seed of at most four variants: indices into the variant axis, titles and colours."""

    members: list[int]
    titles: list[str]
    colours: list[str]


def follow(tab: Page, run: Run, status: Status, rows: Rows) -> None:
    """Draw a run, keep drawing it while it is trained, and begin again when someone else trains it."""
    if not status.alive:
        st.fragment(_at_rest, run_every=1.0 if tab.behind else None)(tab, run, rows)
        st.fragment(_watch, run_every=3.0)(tab, run)
        return
    st.fragment(_now, run_every=0.15)(tab, run, rows)
    st.fragment(_embeddings, run_every=1.0)(tab, run, rows)
    if rows.play:
        st.fragment(rows.play, run_every=5.0)(tab, run)
    st.fragment(_history, run_every=2.0)(tab, run, rows)


def _at_rest(tab: Page, run: Run, rows: Rows) -> None:
    """A run that no one trains: drawn anew when its timeline is moved, and until its projection has come."""
    _now(tab, run, rows)
    behind = _embeddings(tab, run, rows)
    if rows.play:
        st.fragment(rows.play)(tab, run)
    _history(tab, run, rows)
    if behind != tab.behind:
        tab.behind = behind
        st.rerun()


def _watch(tab: Page, run: Run) -> Status:
    """The buttons above, and how often the parts below refresh, depend on a state that others may change."""
    status = run.status()
    if tab.state != (run.name, status.state) or not run.is_there():
        st.rerun()
    return status


def _now(tab: Page, run: Run, rows: Rows) -> None:
    """Status, timeline and view: what changes with every step."""
    status = _watch(tab, run)
    seen = history(run)
    status_line(run, status)
    newest = seen.newest()
    done = max(int(newest["step"]) if newest else 0, status.step)
    every = run.config.every(run.config.snapshots)
    wanted = timeline(seen.marks(), done=done, steps=run.config.steps, every=every, key=f"timeline.{run.name}")
    tab.wanted = (run.name, wanted)
    view = newest if wanted is None else seen.at(wanted)
    if view is None:
        with st.container(height=420, border=False):
            st.info("Waiting for the first picture ...", icon=":material/hourglass_top:")
        return
    rows.view(tab, run, view)


def _embeddings(tab: Page, run: Run, rows: Rows) -> bool:
    seen = history(run)
    step = _shown_step(tab, run, seen)
    return step is not None and rows.embeddings(tab, run, seen, step)


def _history(tab: Page, run: Run, rows: Rows) -> None:
    seen = history(run)
    step = _shown_step(tab, run, seen)
    if step is not None:
        rows.history(tab, run, seen, step)


def _shown_step(tab: Page, run: Run, seen: History) -> int | None:
    """The step of the last snapshot that the timeline points at; None before there is one."""
    name, wanted = tab.wanted or (run.name, None)
    steps = [step for step in seen.steps if name != run.name or wanted is None or step <= wanted]
    return steps[-1] if steps else None


# -- rows that both pages have -----------------------------------------------------------------------------------------


def columns_of(run: Run) -> Columns:
    """What the person has chosen to see side by side."""
    config = run.config
    chosen = st.session_state.get(f"columns.{run.name}", ())
    shown = [place for place, variant in enumerate(config.variants) if variant in chosen]
    shown = shown or list(range(len(config.variants)))[:MOST_COLUMNS]
    seed = st.session_state.get(f"seed.{run.name}")
    seed = seed if seed in config.seeds else config.seeds[0]
    members = [config.members.index((config.variants[place], seed)) for place in shown]
    colours = variant_colours(config.variants)
    return Columns(members, [plots.title_of(config.variants[i]) for i in shown], [colours[i] for i in shown])


def frame_of(run: Run, seen: History, step: int) -> tuple[np.ndarray, int, bool]:
    """The newest UMAP frame up to a step `(V, 2n, 2)`, its step, and whether a newer one can be awaited.

    Writes the row's heading, and asks for what is missing.
    """
    frame, of = None, 0
    for of in reversed([s for s in seen.steps if s <= step]):
        frame = read_frame(run.path, of)
        if frame is not None:
            break
    service = projector()
    behind = frame is None or of != step
    if behind:
        service.request(run.path, step, fill=not run.alive())
    why = service.errors.get((str(run.path), step)) or ("the projector does not start" if service.gave_up else None)
    failed = f"step {step:,} cannot be projected: {why}" if behind and why else None
    if frame is None:
        heading("Embeddings, UMAP", failed or ("projecting ..." if service.ready else "warming up the projector ..."))
        frame = np.full((len(run.config.members), 2, 2), np.nan, dtype=np.float32)
    else:
        untrained = "" if METHODS[run.config.method].learns_metric else ", of an untrained network: there is no critic"
        later = "; " + failed if failed else ", projecting newer ones ..." if behind else ""
        heading("Embeddings, UMAP", f"step {of:,}{untrained}{later}")
    return frame, of, behind and not failed


def gaps(tab: Page, run: Run, seen: History, step: int) -> None:
    """The paper's Fig. 7: d_c, d_g and d_H of the embeddings."""
    steps, values = seen.gaps()
    seeds = len(run.config.seeds)
    heading("Gaps under the learned metric", f"median and range of {seeds} seeds" if seeds > 1 else "one seed")
    names = run.config.variants
    figure = plots.curves(
        steps, values, titles=[plots.title_of(name) for name in names], step=step,
        log=tab.setting("log", True), colours=variant_colours(names),
    )  # fmt: skip
    last = (
        {name: ", ".join(f"{x:.3g}" for x in array[-1, :, 0]) for name, array in values.items()} if len(steps) else {}
    )
    live_plot(figure, key=f"gaps.{run.name}", height=300, alt=f"Gaps over training; now {last} for {', '.join(names)}")


def spectra(tab: Page, run: Run, seen: History, step: int) -> None:
    """Eigenvalues of the real embeddings' distance matrix: now, and over training (the paper's Fig. 5)."""
    shown = columns_of(run)
    form, log = tab.setting("form", "distance"), tab.setting("log", True)
    steps, known = seen.spectrum(form)
    if step not in steps:
        return
    at_step = known[list(steps).index(step)]
    words = "of D / mean D, by magnitude" if form == "distance" else "of −½ J D² J, as shares of variance"
    heading("Spectrum of the distance matrix", f"ten leading eigenvalues {words}, real {_things(run)}")
    name, members, titles = run.name, shown.members, shown.titles
    now = plots.spectrum_now(
        at_step[members], known[0][members], titles=titles, step=step, form=form, colours=shown.colours
    )
    live_plot(
        now, key=f"spectrum.{name}.{form}", height=250, alt=f"Leading eigenvalues at step {step} and before training"
    )
    over = plots.spectrum_history(steps, known[:, members], titles=titles, step=step, form=form, log=log)
    live_plot(over, key=f"spectra.{name}.{form}", height=270, alt="Leading eigenvalues over training")


def score_table(run: Run, seen: History, step: int, said: dict[str, Score]) -> None:
    """Scores of the shown step beside their floors, medians over seeds.

    Args:
        run, seen, step: what is shown.
        said: what each score says, by its key; those that the run lacks are left out.
    """
    scores = seen.scores(step)
    if scores is None:
        heading("Scores", f"first at step {run.config.every(10):,}")
        return
    names = run.config.variants
    size = f"{scores.n:,} fresh {_things(run)}, " if scores.n else ""
    heading("Scores", f"{size}step {scores.step:,}; floor: real against real")
    table = {}
    for key, score in said.items():
        values = [scores.of(key, variant) for variant in names]
        if any(value is not None for value in values):
            low = 1.0 if key == "w2_ratio" else scores.floor(score.floor)  # a ratio to the floor
            table[f"{score.label} {ARROWS[score.direction]}"] = [*map(_number, values), _number(low), score.meaning]
    columns = [plots.title_of(name) for name in names]
    frame = pd.DataFrame.from_dict(table, orient="index", columns=[*columns, "floor", "meaning"])
    narrow = {name: st.column_config.Column(width=112) for name in ["floor", *columns]}
    st.dataframe(frame, width="stretch", height=35 * (len(frame) + 1) + 3, column_config=narrow)
    st.caption(
        "↓ ↑: less or more is better; ≈: the nearer to the floor the better, and below it is luck of the samples."
    )


def heading(title: str, note: str) -> None:
    """A row's title and what is to be known about it."""
    st.markdown(f"**{title}** &nbsp; :gray[{note}]")


def _things(run: Run) -> str:
    return "pictures" if run.config.is_images else "points"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
