"""Sweeps: a grid of settings written with widgets, its runs as cells, and what its scores say of the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from matplotlib.colors import LinearSegmentedColormap, to_hex

from app.charts.sweeps import parallel_coordinates
from app.components.live_plot import live_plot
from app.components.sweep_cells import Cell, sweep_cells
from app.kinds import PAGES
from app.link import linked
from app.session import page
from app.sweep_spec import SweepsTab, draw_new_sweep, sweeps_tab
from app.text import plain, visible_words
from app.widgets import setting_title, unlinked
from mvm.errors import RunError
from mvm.figures.export import FORMATS, bundle
from mvm.figures.venues import VENUES
from mvm.files import checkpoints
from mvm.look.glossary import HOW_TO_READ, SCORE_TERMS, TERMS
from mvm.look.palette import QUIET, RATIOS, REAL
from mvm.runs.events import ALIVE
from mvm.runs.run import Run
from mvm.studies.compare import in_words, quality_title
from mvm.studies.index import HELD, Summary
from mvm.sweeps import background
from mvm.sweeps.results import (
    UNUSED,
    Result,
    axes_of,
    axis_title,
    by_score,
    course_of,
    importance,
    pooled,
    ranked,
    results_of,
    score_title,
    scored_runs,
    scores_in,
    shades,
    value_title,
)
from mvm.sweeps.sweep import Progress, Sweep, all_sweeps, progress_of, sweep_named

__all__ = ["sweeps"]

LOOK = {  # of a cell, by what its run is doing: words, colour
    "finished": ("finished", REAL),
    "running": ("training", "#0072B2"),
    "waiting": ("waiting", QUIET),
    "failed": ("failed or diverged", "#C0392B"),
    HELD: ("held by the search", "#E69F00"),
    "stopped": ("stopped", "#CC79A7"),
}
GROUPS = {"failed": "failed", "diverged": "failed", "finished": "finished", "stopped": "stopped"}
EVERY = 4.0  # seconds between two looks at a sweep that is trained
MOST_RANKED = 20
WHAT = (
    "A sweep trains every combination of some settings, each with several seeds: which method, on which manifold, at "
    "which rate? Interrupted, it continues where it was."
)
SHADES = LinearSegmentedColormap.from_list("shades", RATIOS)
INK = "#14181D"


def sweeps() -> None:
    """Draw the page."""
    tab, names = sweeps_tab(), all_sweeps()
    if not names and not tab.writing:
        tab.begin()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("# Sweeps", width="content", anchors=False)
        name = _chosen(tab, names) if names else None
        if names and not tab.writing:
            st.button("New sweep", icon=":material/add:", key="_sweep.new", on_click=tab.begin)
    tab.draw_notice()
    if tab.writing:
        if not names:
            st.markdown(WHAT)
        draw_new_sweep(tab)
    if name is None:
        return
    try:
        sweep = sweep_named(name)
    except RunError as error:
        st.error(plain(error), icon=":material/error:")
        return
    if tab.writing:
        st.header(plain(name), anchor=False)
    progress = tab.progress = progress_of(sweep)
    tab.finished = progress.states["finished"]
    goes = progress.left > 0 and (progress.alive > 0 or background.trains_here(sweep))
    st.fragment(draw_progress, run_every=EVERY if goes else None)(tab, sweep)
    if results := results_of(sweep, progress.rows):
        draw_results(sweep, results)
    elif progress.left:
        st.caption("The scores appear here as runs finish.")


def _chosen(tab: SweepsTab, names: list[str]) -> str:
    """Draw the choice of a sweep, newest first; a sweep that was just begun is chosen."""
    if tab.shown in names:
        st.session_state["sweep"] = tab.shown
    tab.shown = None
    return linked(st.selectbox, "Sweep", names, key="sweep", label_visibility="collapsed", width=320)


# -- how far it is -----------------------------------------------------------------------------------------------------


def draw_progress(tab: SweepsTab, sweep: Sweep) -> None:
    """Draw how far the sweep is, the buttons of its training, and a cell for each run, which opens it."""
    progress, tab.progress = tab.progress or progress_of(sweep), None
    trains_here = background.trains_here(sweep)
    if progress.states["finished"] != tab.finished and not tab.writing:
        st.rerun()  # their scores are drawn outside of this fragment
    done, total = progress.trainings
    left = progress.seconds_left()
    told = f"{done:,} of {total:,} trainings finished"
    if progress.alive and left is not None:
        told += f", about {plain(_time(left))} left; {progress.alive:,} in training"
    share = sum(row.step for row in progress.rows) / max(1, sum(row.steps for row in progress.rows))
    st.progress(min(1.0, share), text=told)
    _draw_buttons(tab, sweep, progress, trains_here=trains_here)
    counts = Counter(group_of(row) for row in progress.rows)
    alt = ", ".join(f"{counts[group]} {words}" for group, (words, _) in LOOK.items() if counts[group])
    cells = [cell_of(sweep, row) for row in progress.rows]
    if picked := sweep_cells(cells, LOOK, key="cells", alt=f"A cell for each run of {sweep.name}: {alt}"):
        open_run(next(row for row in progress.rows if row.name == picked))
    shared = " The trainings of a run share a process." if total > len(progress.rows) else ""
    st.caption(f"Each cell is a run: press it to open it.{shared}")
    if progress.unreadable:
        st.warning(
            f"Runs that cannot be read: {len(progress.unreadable):,}. The page **Runs** says why, and deletes damaged "
            "ones; training the same sweep anew then makes them again.",
            icon=":material/folder_off:",
        )
    if progress.removed:
        st.caption(f"Runs that were deleted: {len(progress.removed):,}. Training the same sweep anew makes them again.")
    failed = [row for row in progress.rows if group_of(row) == "failed"]
    if failed:
        with st.expander(f"{len(failed):,} failed or diverged", icon=":material/error:"):
            lines = [
                {"run": row.name, "settings": _settings(sweep, row), "state": row.status, "step": row.step}
                | {"reason": row.reason or ""}
                for row in failed
            ]
            st.dataframe(pd.DataFrame(visible_words(lines)), hide_index=True)


def _draw_buttons(tab: SweepsTab, sweep: Sweep, progress: Progress, *, trains_here: bool) -> None:
    """Draw Stop while it is trained here, else Continue and Retry where there is something to train."""
    left, failed = progress.left, progress.states["failed"] + progress.states["diverged"]
    with st.container(horizontal=True, vertical_alignment="center"):
        if trains_here and background.is_stopping(sweep):
            st.button("Stop", icon=":material/stop:", key="_sweep.stop", disabled=True)
            st.caption("Stopping: workers save their runs.")
        elif trains_here:
            st.button(
                "Stop", icon=":material/stop:", key="_sweep.stop", on_click=_stop, args=(tab, sweep, tab.presses),
                help="save and stop; Continue goes on from there",
            )  # fmt: skip
            if not progress.alive and left:
                st.caption("Starting …")
        elif left and not progress.alive:
            st.button(
                "Continue", icon=":material/resume:", key="_sweep.continue",
                type="secondary" if tab.writing else "primary",
                on_click=_train, args=(tab, sweep, tab.presses),
                help=f"train the {left:,} runs that are left on this machine, in the background",
            )  # fmt: skip
        elif left:
            st.caption("Workers that were started elsewhere train it.")
        if failed and not trains_here:
            st.button(
                f"Retry {failed:,} failed", icon=":material/replay:", key="_sweep.retry", on_click=_train,
                args=(tab, sweep, tab.presses), kwargs={"retry": True},
                help="from their last checkpoints; with them runs that were stopped",
            )  # fmt: skip
    if left and not trains_here and (why := background.why_ended(sweep)):
        st.error(plain(why), icon=":material/error:")


def _train(tab: SweepsTab, sweep: Sweep, press: int, *, retry: bool = False) -> None:
    if tab.serve(press):
        try:
            background.start(sweep, retry=retry)
        except (RunError, OSError) as error:
            tab.notify(str(error))


def _stop(tab: SweepsTab, sweep: Sweep, press: int) -> None:
    if tab.serve(press):
        background.stop(sweep)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def group_of(row: Summary) -> str:
    """What a run is doing, as a key of `LOOK`."""
    if row.state == HELD:
        return HELD
    return "running" if row.status in ALIVE else GROUPS.get(row.status, "waiting")


def cell_of(sweep: Sweep, row: Summary) -> Cell:
    """The cell of a run: what it is doing in colour and words, and a line while it trains."""
    step = f"step {row.step:,} of {row.steps:,}"
    lines = [_settings(sweep, row), f"held at {step} by the search" if row.held else f"{row.status}, {step}"]
    if row.quality is not None:
        lines.append(f"{quality_title(row.score)} {in_words(row.quality, row.score)}")
    lines += [row.reason] if row.reason else []
    group, line = group_of(row), ()
    if group == "running":
        try:
            line = course_of(Run(checkpoints() / row.name))
        except (RunError, OSError):
            line = ()  # it is being deleted, or not readable at this moment
    text = "\n".join(map(visible_words, lines))
    return Cell(row.name, group, text, row.step / max(1, row.steps) if group != "finished" else 1.0, line)


def _settings(sweep: Sweep, row: Summary) -> str:
    """What all trainings of a run share of the swept settings."""
    return ", ".join(f"{axis_title(name)} {value_title(name, value)}" for name, value in sweep.runs[row.name].items())


def open_run(row: Summary) -> None:
    """Show a run on the page of its kind of data."""
    where = PAGES[row.kind].title
    page(row.kind).show(row.name)
    st.switch_page(st.session_state["_pages"][where], query_params={"run": row.name})


# -- what its scores say -----------------------------------------------------------------------------------------------


def draw_results(sweep: Sweep, results: Sequence[Result]) -> None:
    """Draw the choice of a score, and what it says of the settings: over two axes, of each training, the best."""
    offered = scores_in(results)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = unlinked(
            st.selectbox, "Score", list(offered), key="sweep_score", format_func=offered.get, width=240,
            help="of the finished trainings; all below is by this score",
        )  # fmt: skip
        place = st.container(width="content")
    st.caption(plain(_meaning(key)))
    found = by_score(results, key)
    axes = axes_of(found)
    over: tuple[str, ...] = ()
    if axes:
        left, right = st.columns([1.7, 1], gap="large")
        with left:
            over = draw_heat_map(found, axes) if len(axes) > 1 else ()
        with right if over else left:
            draw_importance(found)
        st.header("All trainings", anchor=False)
        st.caption(plain(HOW_TO_READ["parallel"]))
        along = ", ".join(map(axis_title, axes))
        alt = f"A line for each of {len(found):,} trainings along {along} and {score_title(key)}"
        live_plot(parallel_coordinates(found), key=f"parallel.{sweep.name}", height=400, alt=alt)
    else:
        st.caption("All finished trainings have the same settings.")
    draw_ranking(found)
    if axes:
        with place:
            draw_downloads(sweep, None if key == results[0].key else key, over)


def _meaning(key: str) -> str:
    """What a score measures."""
    name = key if key in SCORE_TERMS else key.removesuffix("_ratio").rpartition(".")[2]
    baseline = f"Baseline: {TERMS['baseline'][0].lower()}{TERMS['baseline'][1:]}" if key.endswith("_ratio") else ""
    return " ".join(filter(None, (SCORE_TERMS.get(name), baseline)))


def draw_heat_map(results: Sequence[Result], axes: dict[str, list]) -> tuple[str, str]:
    """Draw the median score over two chosen axes; return them."""
    title, names = score_title(results[0].key), list(axes)
    st.header("A score over two settings", anchor=False)
    with st.container(horizontal=True):
        across = unlinked(st.selectbox, "Columns", names, key="sweep_across", format_func=_title, width=240)
        others = [name for name in names if name != across]
        down = unlinked(st.selectbox, "Rows", others, key="sweep_down", format_func=_title, width=240)
    found, shade = pooled(results, [down, across]), shades(results, [down, across])
    rows, columns = ([*dict.fromkeys(key[place] for key in found)] for place in (0, 1))
    order = {name: {value: place for place, value in enumerate(axes[name])} for name in (down, across)}
    rows.sort(key=lambda value: order[down].get(value, len(order[down])))
    columns.sort(key=lambda value: order[across].get(value, len(order[across])))
    index, heads = [value_title(down, row) for row in rows], [value_title(across, column) for column in columns]
    medians = [[float(np.median(found.get((row, column), [np.nan]))) for column in columns] for row in rows]
    colours = [[_shade(shade.get((row, column))) for column in columns] for row in rows]
    key = results[0].key
    frame = pd.DataFrame(medians, index=visible_words(index), columns=visible_words(heads))
    styled = frame.style.format(lambda value: "" if np.isnan(value) else in_words(value, key))
    styled = styled.apply(lambda _: np.array(colours, dtype=object), axis=None)
    st.dataframe(styled, width="stretch" if len(columns) > 4 else "content", placeholder="")
    unused = f", {UNUSED} stands for a setting that is not used" * (UNUSED in (*index, *heads))
    rest = [axis_title(name) for name in names if name not in (across, down)]
    st.caption(plain(f"Median {title} over seeds" + (f" and over {', '.join(rest)}" if rest else "")
                     + f"; an empty cell has no finished training{unused}."))  # fmt: skip
    return across, down


def _shade(share: float | None) -> str:
    """Style of a cell by its place on the colour scale."""
    return "" if share is None else f"background-color: {to_hex(SHADES(share))}; color: {INK}"


def _title(name: str) -> str:
    """Title of a swept setting."""
    return "Descriptors" if name == "variants" else setting_title(name, owned=False)


def draw_importance(results: Sequence[Result]) -> None:
    """Draw how much of the score's variance each setting explains."""
    st.header("What matters", anchor=False)
    shares = importance(results)
    if not shares:
        st.caption("The scores do not differ.")
        return
    table = pd.DataFrame({"setting": [_title(name) for name in shares], "share": [100 * x for x in shares.values()]})
    bar = st.column_config.ProgressColumn("share of variance", format="%.0f %%", min_value=0, max_value=100)
    st.dataframe(table, hide_index=True, width="stretch", column_config={"share": bar})
    st.caption(plain(HOW_TO_READ["importance"]))


def draw_ranking(results: Sequence[Result]) -> None:
    """Draw the best settings with their spread over seeds."""
    st.header("Best settings", anchor=False)
    key, rows = results[0].key, []
    axes = [*axes_of(results)] or [name for name in results[0].settings if name != "variants"]
    for each in ranked(results)[:MOST_RANKED]:
        row = {_title(name): value_title(name, each.settings.get(name)) for name in axes}
        spread = f"{in_words(each.low, key)} to {in_words(each.high, key)}" if each.count > 1 else "–"
        rows.append(row | {score_title(key): in_words(each.median, key), "quartiles": spread, "seeds": each.count})
    st.dataframe(pd.DataFrame(visible_words(rows)), hide_index=True, width="stretch", height="content")


def draw_downloads(sweep: Sweep, quantity: str | None, over: tuple[str, ...]) -> None:
    """Draw the download of all this as figures, numbers and LaTeX tables."""
    with st.popover("Figures and LaTeX", icon=":material/download:"):
        venue = unlinked(
            st.selectbox, "Venue", list(VENUES), format_func=lambda name: VENUES[name].title, key="sweep_venue",
            help="sets text width and font sizes: include the files unscaled",
        )  # fmt: skip
        kind = unlinked(st.selectbox, "Format", FORMATS, format_func=str.upper, key="sweep_format")

        def make() -> bytes:
            made = bundle(["sweep"], scored_runs(sweep), venue=venue, formats=[kind], quantity=quantity, over=over)
            return made.zipped()

        st.download_button(
            "Download", make, f"{sweep.name}.zip", "application/zip", type="primary", icon=":material/folder_zip:",
            on_click="ignore", key="sweep_download",
            help="heat map, parallel coordinates, best settings and importance, each with its numbers, a LaTeX table "
            "and a recipe that rebuilds it",
        )  # fmt: skip
        st.caption(plain(f"In a shell: mvm export {sweep.name} --out {sweep.name}.zip"))
