"""The shown run as panels, redrawn while it is trained, each as often as it changes.

    Panel("gaps", "Gaps under the learned metric", draw_gaps)      a further panel of a page is one entry

Every panel has a title, the line of the glossary on how to read it, a button that enlarges it over the page, and a
function that draws it and returns a note, such as the step. Panels stand below each other, the last ones in tabs.

    LIVE     0.15 s    status, timeline, and what is drawn from the live view
    OFTEN    1 s       embeddings: UMAP frames come from a process of their own
    SELDOM   2 s       curves, spectra, scores
    ASKED    5 s       what is computed on request, and when one of its widgets is moved

A run at rest is checked every 3 s, and redrawn when a training begins; while its timeline plays, it is drawn as above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from app.caches import history
from app.charts import training
from app.columns import MOST_COLUMNS, choose_columns, columns_of, in_words
from app.components.live_plot import live_plot
from app.components.timeline import timeline
from app.header import draw_status
from app.layers import colour_by_eigenvector
from app.link import keep, tell
from app.services import projector
from app.session import Page
from app.text import plain, quoted
from mvm.data.kinds import KINDS
from mvm.geometry.descriptors import GAPS
from mvm.jobs.umap_worker import Projector
from mvm.look.glossary import HOW_TO_READ
from mvm.look.palette import variant_colours
from mvm.methods import METHODS
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.history import History
from mvm.runs.run import Run, Status
from mvm.runs.weights import first_settings
from mvm.scoring.score import Score
from mvm.studies.labels import footnotes, label_of_variant, variant_label

__all__ = [
    "ASKED",
    "LIVE",
    "OFTEN",
    "SELDOM",
    "Panel",
    "Projection",
    "draw_gaps",
    "draw_heading",
    "draw_run",
    "draw_scores",
    "draw_spectra",
    "height_of",
    "request_projection",
    "rerun_if_changed",
    "view_of",
    "why_not_started",
]

LIVE, OFTEN, SELDOM, ASKED = 0.15, 1.0, 2.0, 5.0  # seconds between two drawings while the run is trained
ENLARGED = 640  # pixels of a chart over the whole page
ARROWS = {"lower": "↓", "higher": "↑", "floor": "≈"}
STYLE = """<style>
[class*="st-key-panel-"] h2 { padding: 0; white-space: nowrap }
[class*="st-key-panel-"] > div:first-child :is([data-testid=stMarkdownContainer], [data-testid=stCaptionContainer], p)
{ margin: 0 }
@media (max-width: 1100px) {
div:has(> [class*="st-key-reading-"]) { flex: 1 0 100%; min-width: 100%; order: 1 }
div:has(> div > [class*="st-key-reading-"]) { flex-wrap: wrap }
}
[class*="st-key-enlarge-"] button { min-height: 0; padding: 0.1rem }
[class*="st-key-enlarge-"] button p { position: absolute; width: 1px; height: 1px; overflow: hidden }
.stVerticalBlock:has(> div > .st-key-enlarged) > *:not(:has(> .st-key-enlarged)),
body:has(.st-key-enlarged) :is([data-testid=stSidebar], header) { display: none }
</style>"""


@dataclass(frozen=True)
class Panel:
    """A part of a run's page.

    Attributes:
        key: of its line in `mvm.look.glossary.HOW_TO_READ`; also of its container.
        title: its heading.
        draw: draws a run at a step, of which there is a snapshot (of a live panel: the step of `view_of`); returns a
            note for the heading, which may contain words from outside, or None.
        every: seconds between two drawings while the run is trained.
        in_tab: whether it stands in a tab, below the others.
        beside: whether it stands beside the panel before it if there is a single column.
        height: pixels that are kept free until there is something to draw.
        offered: whether a run has this panel.
    """

    key: str
    title: str
    draw: Callable[[Page, Run, History, int], str | None]
    every: float = SELDOM
    in_tab: bool = False
    beside: bool = False
    height: int = 260
    offered: Callable[[Run], bool] = lambda run: True


@dataclass(frozen=True)
class Projection:
    """A frame of a projection, UMAP or PCA.

    Attributes:
        frame: coordinates `(V, 2n, 2)`, reals first; NaN before there is a frame.
        step: of the frame's snapshot.
        awaited: whether a newer frame is being computed.
        note: for the panel's heading.
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


def draw_run(tab: Page, run: Run, status: Status, panels: Sequence[Panel]) -> None:
    """Draw the panels of a run, in fragments that rerun while it is trained, or its timeline plays.

    An enlarged panel is drawn alone.
    """
    st.html(STYLE)
    drawn_later = ("panel", "projection", "across", "up", "lens")  # once there is something to choose from
    keep(*map(tab.key, drawn_later), f"columns.{run.name}")
    panels = [panel for panel in panels if panel.offered(run)]
    enlarged = [panel for panel in panels if panel.key == tab.enlarged]
    if not enlarged:
        tab.enlarged = None  # a panel that this run lacks
    with st.container(key="enlarged" if enlarged else "all-panels", gap="xsmall"):
        if status.alive or tab.playing:
            _draw_in_training(tab, run, enlarged or panels)
        else:
            st.fragment(_draw_at_rest, run_every=1.0 if tab.behind else None)(tab, run, enlarged or panels)
            st.fragment(rerun_if_changed, run_every=3.0)(tab, run)


def _draw_in_training(tab: Page, run: Run, panels: Sequence[Panel]) -> None:
    """Draw each panel in a fragment of its own; a live one in that of the timeline, so that it follows at once."""
    rows = _rows(tab, run, panels)
    live = rows.pop(0) if rows and len(rows[0]) == 1 and rows[0][0].every == LIVE else []
    st.fragment(_draw_top, run_every=LIVE)(tab, run, *live)
    tab.let_paint()
    for row in rows:
        for place, panel in zip(st.columns(len(row)), row, strict=True):
            with place:
                st.fragment(_draw_panel, run_every=panel.every)(tab, run, panel)
    st.fragment(_draw_tabs, run_every=SELDOM)(tab, run, panels)


def _draw_at_rest(tab: Page, run: Run, panels: Sequence[Panel]) -> None:
    """Draw a run without a trainer; rerun when its timeline is moved, and while something is awaited."""
    before, tab.behind = tab.behind, False
    _draw_top(tab, run)
    for row in _rows(tab, run, panels):
        for place, panel in zip(st.columns(len(row)), row, strict=True):
            with place:
                (st.fragment(_draw_panel) if panel.every == ASKED else _draw_panel)(tab, run, panel)
        tab.let_paint()
    _draw_tabs(tab, run, panels)
    if tab.behind != before:
        st.rerun()


def _rows(tab: Page, run: Run, panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that are not in tabs, row by row; all of them if there is only one panel."""
    tab.single = single = len(columns_of(run).members) == 1
    rows: list[list[Panel]] = []
    for panel in panels:
        if panel.in_tab and len(panels) > 1:
            continue
        if single and panel.beside and rows:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    return rows


def rerun_if_changed(tab: Page, run: Run) -> Status:
    """Rerun the page when the run's state is another, on which buttons and refresh rates depend; return its status."""
    status = run.status()
    if tab.state != (run.name, status.state) or not run.is_there():
        st.rerun()
    return status


def _draw_top(tab: Page, run: Run, *panels: Panel) -> None:
    """Draw status and timeline, and below them what changes with every step."""
    status = rerun_if_changed(tab, run)
    if status.alive and tab.single != (len(columns_of(run).members) == 1):
        st.rerun()  # with other rows
    records = history(run)
    newest = records.newest()
    with st.container(gap="xsmall"):
        if tab.enlarged:
            _draw_way_back(tab)
        draw_status(run, status)  # after the reading, of which it says what was passed over
        done = max(int(newest["step"]) if newest else 0, status.step)
        every = run.config.every(run.config.snapshots)
        step, playing = timeline(
            records.marks(), first=first_settings(run), done=done, steps=run.config.steps, every=every,
            key=f"timeline.{run.name}", sought=tab.sought,
        )  # fmt: skip
        tab.cursor = (run.name, step)
        if playing != tab.playing:
            tab.playing = playing
            st.rerun()
        if note := footnotes(label_of_variant(run, variant) for variant in run.config.variants):
            st.caption(plain(note))
        for panel in panels:
            _draw_panel(tab, run, panel)


def _draw_way_back(tab: Page) -> None:
    if st.button("Back to all panels", icon=":material/close_fullscreen:", shortcut="Escape", key="back-to-all"):
        tab.enlarged = None
        st.rerun()


def _draw_panel(tab: Page, run: Run, panel: Panel, *, titled: bool = True) -> None:
    """Draw a panel, or what is awaited in its place, as high."""
    records = history(run)
    if panel.every == LIVE:
        view = view_of(tab, run, records)
        step = None if view is None else int(view["step"])
    else:
        step = _shown_step(tab, run, records)
    with st.container(key=f"panel-{panel.key}", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            if titled:
                st.markdown(f"## {panel.title}", width="content", anchors=False)
            place = st.container(width="stretch", key=f"reading-{panel.key}")
            few = len(run.config.variants) <= MOST_COLUMNS  # the choice of more of them takes a line of its own
            if panel.every == LIVE and few:
                choose_columns(run)
            _draw_enlarge(tab, panel)
            if panel.every == LIVE and not few:
                choose_columns(run)
        note = None
        if step is None:
            with st.container(height=height_of(tab, panel.height), border=False):
                st.caption("Waiting for the first points ..." if run.alive() else "Nothing was recorded here.")
        else:
            note = panel.draw(tab, run, records, step)
        lines = [HOW_TO_READ[panel.key]] if panel.key in HOW_TO_READ else []
        lines += [plain(_sentence(note))] if note else []
        place.caption(" ".join(lines))


def _draw_enlarge(tab: Page, panel: Panel) -> None:
    if tab.enlarged is None and st.button(
        f"Enlarge {panel.title}", key=f"enlarge-{panel.key}", icon=":material/open_in_full:", type="tertiary",
        help="this panel over the whole page",
    ):  # fmt: skip
        tab.enlarged = panel.key
        st.rerun()


def _draw_tabs(tab: Page, run: Run, panels: Sequence[Panel]) -> None:
    """Draw the panels in tabs; only the open one is computed."""
    tabs = [panel for panel in panels if panel.in_tab]
    if not tabs or len(panels) == 1:
        return
    titles = [panel.title for panel in tabs]
    key = tab.key("panel")
    if (asked := st.query_params.get(key, titles[0])) not in titles:
        tell(f"{key}: there is no {quoted(asked)}; known: {', '.join(titles)}")
        del st.query_params[key]
    places = st.tabs(titles, key=key, on_change="rerun", bind="query-params")
    for place, panel in zip(places, tabs, strict=True):
        if place.open:
            with place:
                _draw_panel(tab, run, panel, titled=False)


def height_of(tab: Page, height: int) -> int:
    """Pixels of a chart that is usually so high: more if its panel is enlarged."""
    return height if tab.enlarged is None else max(height, ENLARGED)


def view_of(tab: Page, run: Run, records: History) -> dict[str, np.ndarray] | None:
    """Arrays of the step that the timeline points at, or of the newest one; None before there are any."""
    name, cursor = tab.cursor or (run.name, None)
    return records.newest() if cursor is None or name != run.name else records.at(cursor)


def _shown_step(tab: Page, run: Run, records: History) -> int | None:
    """Step of the last snapshot up to the timeline's cursor; None before the first snapshot."""
    name, cursor = tab.cursor or (run.name, None)
    steps = [step for step in records.steps if name != run.name or cursor is None or step <= cursor]
    return steps[-1] if steps else None


# -- panels that every page has ----------------------------------------------------------------------------------------


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


def draw_gaps(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw d_c, d_g and d_H of the embeddings over training (the paper's Fig. 7), and d_p of pairs (Fig. 10)."""
    steps, values = records.gaps()
    seeds, names = len(run.config.seeds), run.config.variants
    titles = [variant_label(run, name) for name in names]
    figure = training.gap_curves(
        steps, values, titles=titles, step=step, log=tab.setting("log", True), colours=variant_colours(names),
    )  # fmt: skip
    words = {symbol: gap.label for symbol, gap in GAPS.items()} | {"d_p": "mean distance of a pair"}
    last = "; ".join(
        f"{words[symbol]} {_each(of[-1, :, 0], titles)}"
        for symbol, of in values.items() if len(of)
    )  # fmt: skip
    live_plot(
        figure,
        key=f"gaps.{run.name}",
        height=height_of(tab, 300),
        alt=f"Gaps over training. At the end: {last or 'none'}",
    )
    by_pixels = run.config.kind in PAIRED_KINDS and not METHODS[run.config.method].learns_metric
    return " ".join(
        filter(None, [
            by_pixels and "Between pixels: the method learns no metric.",
            f"Median and range of {seeds} seeds." if seeds > 1 else "One seed.",
        ])
    )  # fmt: skip


def draw_spectra(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw eigenvalues of the real embeddings' distance matrix: at a step, and over training (the paper's Fig. 5)."""
    shown = columns_of(run)
    form, log = tab.setting("form", "distance"), tab.setting("log", True)
    steps, spectra = records.spectrum(form)
    if step not in steps:
        return None
    at_step = spectra[list(steps).index(step)]
    colours = tab.kind == "points" and form == "distance"
    name, members, titles = run.name, shown.members, shown.titles
    now = training.spectrum_now(
        at_step[members], spectra[0][members], titles=titles, step=step, form=form, colours=shown.colours
    )
    leading = _each(np.abs(at_step[members, 0]), titles)
    clicked = live_plot(
        now, key=f"spectrum.{name}.{form}", height=height_of(tab, 250) - 40 * bool(tab.enlarged), pickable=colours,
        alt=f"The ten leading eigenvalues at step {step}, and before training. The largest: {leading}",
    )  # fmt: skip
    colour_by_eigenvector(tab, clicked)
    over = training.spectrum_history(
        steps, spectra[:, members], titles=titles, step=step, form=form, log=log, colours=shown.colours
    )
    live_plot(
        over, key=f"spectra.{name}.{form}", height=270,
        alt=f"The ten leading eigenvalues over training, up to step {steps[-1]:g}",
    )  # fmt: skip
    words = "of D / mean D, by magnitude" if form == "distance" else "of −½ J D² J, as shares of variance"
    reals = "original patches" if run.config.kind in PAIRED_KINDS else f"real {_noun(run)}"
    hint = "; click a bar to colour the points by its eigenvector" if colours else ""
    return f"Ten leading eigenvalues {words}, {reals}; dotted: before training{hint}."


def draw_scores(tab: Page, run: Run, records: History, step: int, described: dict[str, Score]) -> str:
    """Draw a table of the scores at a step beside their baselines, medians over seeds; return a note.

    Args:
        tab: the page.
        run: the shown run.
        records: of the run.
        step: the shown step.
        described: scores to draw by key; those that the run lacks are left out.
    """
    scores = records.scores(step)
    if scores is None and run.scores_are_outdated():
        return f"Measured by an earlier version, in the file's own units: `mvm score {run.name}` measures anew."
    if scores is None:
        return f"The first scores are measured at step {run.config.every(10):,}."
    names = run.config.variants
    baseline = next(iter(described.values())).baseline if described else "baseline"
    table = {}
    for key, score in described.items():
        values = [scores.of(key, variant) for variant in names]
        if any(value is not None for value in values):
            floor = 1.0 if key == "w2_ratio" else scores.floor(score.floor)  # the unit of w2_ratio is its baseline
            table[f"{score.label} {ARROWS[score.direction]}"] = [*map(_number, values), _number(floor), score.meaning]
    columns = [variant_label(run, name) for name in names]
    frame = pd.DataFrame.from_dict(table, orient="index", columns=[*columns, baseline, "meaning"])
    narrow = {name: st.column_config.Column(width=112) for name in [baseline, *columns]}
    st.dataframe(frame, width="stretch", height=35 * (len(frame) + 1) + 3, column_config=narrow)
    closest = any(score.direction == "floor" for score in described.values())
    noise = " ≈: best at its baseline; below it is sampling noise." if closest else ""
    st.caption(f"↓: lower is better. ↑: higher is better.{noise}")
    paired = run.config.kind in PAIRED_KINDS
    size = f", {scores.n:,} {'held-out' if paired else 'new'} {_noun(run)}" if scores.n else ""
    cost = "" if paired else f", network evaluations per sample: {run.config.evaluations:,}"
    return f"Step {scores.step:,}{size}{', mean' * paired}{cost}."


def draw_heading(title: str, note: str) -> None:
    """Draw the heading of a part with a note beside it, which may contain words from outside."""
    st.markdown(f"**{title}** &nbsp; :gray[{plain(note)}]")


def _each(values: np.ndarray, titles: Sequence[str]) -> str:
    """A value of each variant, in words."""
    return ", ".join(f"{in_words(float(value))} of {title}" for value, title in zip(values, titles, strict=True))


def _sentence(note: str) -> str:
    return note[0].upper() + note[1:] + "." * (note[-1] not in ".?!")


def _noun(run: Run) -> str:
    """Plural of an example of the run's data: points, pictures."""
    return KINDS[run.config.kind].noun


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"
