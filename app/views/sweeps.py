"""Sweeps: the trainings of a grid as cells, a score over two axes, and the best settings with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.kinds import PAGES
from app.session import page
from app.text import plain, plotly_text
from app.widgets import setting_title, unlinked
from mvm.look.palette import QUIET, RATIOS, REAL, title_of
from mvm.runs.events import ALIVE
from mvm.studies.compare import in_words, quality_title
from mvm.studies.index import Summary
from mvm.studies.labels import setting_label
from mvm.sweeps.results import Result, axes_of, importance, pooled, ranked, results_of
from mvm.sweeps.sweep import Progress, Sweep, all_sweeps, progress_of, sweep_named

__all__ = ["sweeps"]

LOOK = {  # of a cell, by what its run is doing: words, colour
    "waiting": ("waiting", QUIET),
    "running": ("running", "#0072B2"),
    "finished": ("finished", REAL),
    "failed": ("failed or diverged", "#C0392B"),
    "stopped": ("stopped", "#CC79A7"),
}
GROUPS = {"failed": "failed", "diverged": "failed", "finished": "finished", "stopped": "stopped"}
ACROSS = 24  # cells in a row: they part on a phone
MOST_RANKED = 20
EXAMPLE = """seeds = 5
[base]
steps = 2000
[grid]
data = ["swiss_roll", "torus"]
method = ["mvm", "wgan_gp"]"""


def sweeps() -> None:
    """Draw the page."""
    st.title("Sweeps", anchor=False)
    names = all_sweeps()
    if not names:
        draw_empty()
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = unlinked(st.selectbox, "Sweep", names, key="sweep", width=320)
    sweep = sweep_named(name or names[0])
    going = progress_of(sweep).left > 0
    st.fragment(draw_cells, run_every=5.0 if going else None)(sweep)
    results = results_of(sweep)
    if not results:
        st.caption("The scores appear here as runs finish.")
        return
    title = quality_title(results[0].key)
    draw_heat_map(results, title)
    draw_ranking(results, title)


def draw_empty() -> None:
    """Draw how a first sweep is made."""
    st.markdown("A sweep trains a grid of settings, each with several seeds. Write the grid into a file, such as")
    st.code(EXAMPLE, language="toml")
    st.markdown("and train it here, on Slurm or on Ray; whatever is interrupted continues from its last checkpoint:")
    st.code("mvm sweep methods.toml --on local", language="shell")


def draw_cells(sweep: Sweep) -> None:
    """Draw how far the sweep is, and a cell for each run, which opens it."""
    progress = progress_of(sweep)
    done, total = progress.trainings
    left = progress.seconds_left()
    told = f"{done:,} of {total:,} trainings finished"
    if progress.left and left is not None:
        told += f", about {left / 60:.0f} min left with {progress.alive or 1:,} at once"
    share = sum(row.step for row in progress.rows) / max(1, sum(row.steps for row in progress.rows))
    st.progress(min(1.0, share), text=told)
    chosen = st.plotly_chart(
        cells_figure(sweep, progress), on_select="rerun", selection_mode="points", key="cells",
        config={"displayModeBar": False},
    )  # fmt: skip
    if points := chosen["selection"]["points"]:
        open_run(next(row for row in progress.rows if row.name == points[0]["customdata"][0]))
    st.caption("A cell is a run: press it to open it.")
    failed = [row for row in progress.rows if GROUPS.get(row.status) == "failed"]
    if failed:
        with st.expander(f"{len(failed)} failed or diverged"):
            lines = [{"run": row.name, "state": row.status, "step": row.step, "reason": row.reason} for row in failed]
            st.dataframe(pd.DataFrame(lines), hide_index=True)


def open_run(row: Summary) -> None:
    """Show a run on the page of its kind of data."""
    where = PAGES[row.kind].title
    page(row.kind).show(row.name)
    st.switch_page(st.session_state["_pages"][where], query_params={"run": row.name})


def cells_figure(sweep: Sweep, progress: Progress) -> dict[str, Any]:
    """A square for each run in the order of training, coloured by what it is doing."""
    traces = []
    places = {row.name: divmod(place, ACROSS) for place, row in enumerate(progress.rows)}
    for group, (words, colour) in LOOK.items():
        rows = [row for row in progress.rows if group_of(row) == group]
        if rows:
            traces.append({
                "type": "scatter", "mode": "markers", "name": f"{words} ({len(rows)})",
                "x": [places[row.name][1] for row in rows], "y": [places[row.name][0] for row in rows],
                "customdata": [[row.name] for row in rows],
                "text": [cell_text(sweep, row) for row in rows], "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "square", "size": 12, "color": colour},
            })  # fmt: skip
    lines = -(-len(progress.rows) // ACROSS)
    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "template": "plotly_white", "height": 70 + 17 * lines, "margin": {"l": 0, "r": 0, "t": 30, "b": 0},
        "xaxis": hidden | {"range": [-0.6, ACROSS]}, "yaxis": hidden | {"range": [lines - 0.4, -0.6]},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0}, "showlegend": True,
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
    }  # fmt: skip
    return {"data": traces, "layout": layout}


def group_of(row: Summary) -> str:
    """What a run is doing, as a key of `LOOK`."""
    return "running" if row.status in ALIVE else GROUPS.get(row.status, "waiting")


def cell_text(sweep: Sweep, row: Summary) -> str:
    """What a cell says when the pointer is over it."""
    lines = [value_label(name, value) for name, value in sweep.runs[row.name].items()]
    lines.append(f"{row.status}, step {row.step:,} of {row.steps:,}")
    if row.quality is not None:
        lines.append(f"{quality_title(row.score)} {in_words(row.quality, row.score)}")
    if row.reason:
        lines.append(row.reason)
    return "<br>".join(plotly_text(line) for line in lines)


def draw_heat_map(results: Sequence[Result], title: str) -> None:
    """Draw the median score over two chosen axes."""
    axes = axes_of(results)
    if len(axes) < 2:
        return
    st.header("A score over two axes", anchor=False)
    names = [*axes]
    with st.container(horizontal=True):
        across = unlinked(st.selectbox, "Columns", names, key="sweep_across", format_func=axis_title, width=240)
        others = [name for name in names if name != across]
        down = unlinked(st.selectbox, "Rows", others, key="sweep_down", format_func=axis_title, width=240)
    found = pooled(results, [down, across])
    columns, rows = ([*dict.fromkeys(key[place] for key in found)] for place in (1, 0))
    order = {name: {value: place for place, value in enumerate(axes[name])} for name in (down, across)}
    rows, columns = (
        sorted(keys, key=lambda value: order[name].get(value, len(order[name])))
        for name, keys in ((down, rows), (across, columns))
    )
    values = [[np.median(found.get((row, column), [np.nan])) for column in columns] for row in rows]
    frame = pd.DataFrame(
        values, index=[value_label(down, row) for row in rows], columns=[value_label(across, c) for c in columns]
    )
    key = results[0].key
    styled = frame.style.format(lambda value: "–" if np.isnan(value) else in_words(value, key)).map(shade)
    st.dataframe(styled, width="stretch" if len(columns) > 4 else "content")
    rest = [axis_title(name) for name in names if name not in (across, down)]
    st.caption(f"Median {plain(title)} over seeds" + (f" and {', '.join(map(plain, rest))}" if rest else ""))


def shade(value: float) -> str:
    """Style of a cell: the shades of scores over baselines, from 1 to 3 baselines."""
    if not np.isfinite(value):
        return ""
    share = float(np.clip((value - 1) / 2, 0, 1))
    colour = next(colour for limit, colour in reversed(RATIOS) if share >= limit)
    return f"background-color: {colour}; color: #14181D"


def draw_ranking(results: Sequence[Result], title: str) -> None:
    """Draw the best settings with their spread over seeds, and how much each axis matters."""
    st.header("Best settings", anchor=False)
    key, axes = results[0].key, [*axes_of(results)]
    rows = []
    for each in ranked(results)[:MOST_RANKED]:
        row = {axis_title(name): value_label(name, each.settings.get(name)) for name in axes}
        spread = f"{in_words(each.low, key)} to {in_words(each.high, key)}"
        rows.append(row | {title: in_words(each.median, key), "quartiles": spread, "seeds": each.count})
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    if shares := importance(results):
        told = ", ".join(f"{plain(axis_title(name))} {share:.0%}" for name, share in shares.items())
        st.caption(f"Variance of the score that each axis explains by itself: {told}.")


def axis_title(name: str) -> str:
    """Title of a swept setting."""
    return "Descriptors" if name == "variants" else setting_title(name, owned=False)


def value_label(name: str, value: Any) -> str:
    """Label of a value of a swept setting; a training that does not use the setting has none."""
    if value is None:
        return "–"
    if name == "variants":
        return title_of(value)
    return str(value).replace("_", " ") if name == "method" else setting_label(name, value)
