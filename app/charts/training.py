"""A run over training, as Plotly figures: eigenvalues, gaps, scores, coverage of factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.charts.axes import RIGHT, Figure, axes_of, log_axis, nth, subplots, typeset, vertical_line
from mvm.geometry.descriptors import GAPS
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.bands import quantiles
from mvm.look.palette import QUIET, REAL, rgba

__all__ = ["factor_coverage", "gap_curves", "score_curves", "spectrum_history", "spectrum_now"]


def spectrum_now(
    spectrum: np.ndarray, initial: np.ndarray, *, titles: Sequence[str], step: int, form: str, colours: Sequence[str]
) -> Figure:
    """Leading eigenvalues of the reals at a step as bars, before training as a dotted line: `(variants, k)` each."""
    traces = []
    ranks = np.arange(1, spectrum.shape[-1] + 1)
    for column in range(len(titles)):
        bars = {"type": "bar", "x": ranks, "y": np.abs(spectrum[column]), "name": "now", "showlegend": False}
        traces.append(bars | {"marker": {"color": colours[column]}} | axes_of(column))
        line = {"type": "scatter", "x": ranks, "y": np.abs(initial[column]), "name": "before training"}
        line |= {"mode": "lines+markers", "line": {"color": QUIET, "width": 1.5, "dash": "dot"}, "marker": {"size": 4}}
        traces.append(line | axes_of(column))
    layout = _row(titles, step=step)
    for column in range(len(titles)):
        layout[nth("xaxis", column)] |= {"title": {"text": "rank"}, "dtick": 1}
        layout[nth("yaxis", column)] |= {"rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": SPECTRUM_FORMS[form].label}}
    return {"data": _legend_once(traces), "layout": layout}


def spectrum_history(
    steps: np.ndarray,
    history: np.ndarray,
    *,
    titles: Sequence[str],
    step: int,
    form: str,
    log: bool,
    colours: Sequence[str],
) -> Figure:
    """Leading eigenvalues `(steps, variants, k)` over training (the paper's Fig. 5), the largest darkest."""
    traces, mode = [], _mode(steps)
    ranks = history.shape[-1]
    for column in range(len(titles)):
        for rank in range(ranks):
            shade = 1 - 0.5 * rank / max(1, ranks - 1)  # the faintest is still visible on black
            line = {"color": rgba(colours[column], shade), "width": 1.5}
            traces.append(
                {"type": "scatter", "x": steps, "y": np.abs(history[:, column, rank]), "mode": mode, "line": line}
                | {"name": typeset(f"λ_{rank + 1}"), "showlegend": False}
                | axes_of(column)
            )
    layout = _row(titles, step=step, cursor=True)
    for column in range(len(titles)):
        layout[nth("xaxis", column)] |= _step_axis(steps)
        layout[nth("yaxis", column)] |= log_axis([np.abs(history)]) if log else {"rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": SPECTRUM_FORMS[form].label}}
    return {"data": traces, "layout": layout}


def gap_curves(
    steps: np.ndarray,
    gaps: dict[str, np.ndarray],
    *,
    titles: Sequence[str],
    step: int,
    log: bool,
    colours: Sequence[str],
) -> Figure:
    """Gaps `{symbol: (steps, variants, seeds)}` over training: the median and the range over seeds."""
    traces = []
    for column, values in enumerate(gaps.values()):
        traces += _curves(steps, np.where(values > 0, values, np.nan) if log else values, titles, colours, column)
    narrow = len(gaps) > len(GAPS)
    titled = {"d_p": "of pairs"} | {symbol: gap.title if narrow else gap.label for symbol, gap in GAPS.items()}
    layout = _row([""] * len(gaps), step=step, cursor=True)
    for column, (symbol, values) in enumerate(gaps.items()):
        layout["annotations"][column]["text"] = f"{typeset(symbol)}  {titled[symbol]}"
        layout[nth("yaxis", column)] |= log_axis([values]) if log else {"rangemode": "tozero"}
        layout[nth("yaxis", column)] |= {"tickfont": {"size": 10}} if narrow else {}
    return {"data": traces, "layout": _with_step_axes(layout, steps, len(gaps))}


def score_curves(
    steps: np.ndarray,
    scores: dict[str, np.ndarray],
    baselines: dict[str, float | None],
    *,
    baseline: str,
    titles: Sequence[str],
    step: int,
    colours: Sequence[str],
) -> Figure:
    """Scores `{label: (steps, variants, seeds)}` over training, each with a dashed line at its baseline.

    Args:
        steps: of the scores.
        scores: by label; NaN where a member has none.
        baselines: value of the baseline by label.
        baseline: its title.
        titles, colours: of the variants.
        step: of the vertical line.
    """
    traces = []
    ends = np.array([0, steps.max(initial=1)], dtype=np.float32)
    for column, (label, values) in enumerate(scores.items()):
        traces += _curves(steps, values, titles, colours, column)
        if (level := baselines[label]) is not None:
            line = {"type": "scatter", "x": ends, "y": np.full(2, level), "mode": "lines", "name": baseline}
            line |= {"line": {"color": QUIET, "width": 1.5, "dash": "dash"}, "legendgroup": baseline}
            traces.append(line | {"showlegend": column == 0} | axes_of(column))
    layout = _row(list(scores), step=step, cursor=True)
    return {"data": traces, "layout": _with_step_axes(layout, steps, len(scores))}


def factor_coverage(
    overlaps: dict[str, Sequence[float | None]],
    floors: dict[str, float | None],
    *,
    titles: Sequence[str],
    step: int,
    colours: Sequence[str],
) -> Figure:
    """Overlap of fake and real in each factor: a group of horizontal bars per factor, a mark at its baseline.

    Args:
        overlaps: one value per variant, by the factor's name.
        floors: overlap of two real samples, by the factor's name.
        titles, colours: of the variants.
        step: of the scores.
    """
    names = list(overlaps)[::-1]  # Plotly draws the first at the bottom
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "y": names,
            "x": [overlaps[name][column] for name in names],
            "name": title,
            "marker": {"color": colours[column]},
            "hovertemplate": "%{y}: %{x:.2f}",
        }
        for column, title in reversed(list(enumerate(titles)))
    ]
    mark = {"symbol": "line-ns-open", "size": 100 / max(6, len(names)) + 10, "line": {"width": 2}, "color": REAL}
    traces.append(
        {"type": "scatter", "mode": "markers", "y": names, "x": [floors[name] for name in names], "marker": mark}
        | {"name": "baseline: real against real", "hovertemplate": "%{y}: %{x:.2f}"}
    )
    layout = {
        "margin": {"l": 96, "r": 8, "t": 34, "b": 44},
        "xaxis": {"title": {"text": "overlap of fake and real"}, "range": [0, 1.02], "anchor": "y"},
        "yaxis": {"anchor": "x", "dtick": 1, "ticksuffix": "  "},
        "legend": {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "traceorder": "reversed"},
        "barmode": "group",
        "bargap": 0.3,
        "meta": {"step": step},
    }
    return {"data": traces, "layout": layout}


# -- parts -------------------------------------------------------------------------------------------------------------


def _row(titles: Sequence[str], *, step: int, cursor: bool = False) -> Figure:
    """Layout of a row of subplots, on request with a vertical line at the step."""
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.1, "yanchor": "bottom", "itemsizing": "constant"}
    layout = subplots(titles) | {
        "margin": {"l": 46, "r": RIGHT, "t": 52, "b": 40},
        "legend": legend,
        "meta": {"step": step},
        "bargap": 0.25,
    }
    if cursor:
        layout["shapes"] = [vertical_line(step, column, color=rgba(QUIET, 0.8)) for column in range(len(titles))]
    return layout


def _curves(
    steps: np.ndarray, values: np.ndarray, titles: Sequence[str], colours: Sequence[str], column: int
) -> list[dict[str, Any]]:
    """Traces of `values` `(steps, variants, seeds)`: a line of medians per variant, and a band over several seeds."""
    traces = []
    for variant, title in enumerate(titles):
        low, middle, high = quantiles(values[:, variant].T, (0, 0.5, 1))
        if values.shape[-1] > 1:
            traces.append(_band(steps, low, high, f"{title} seeds", colours[variant]) | axes_of(column))
        traces.append(
            {"type": "scatter", "x": steps, "y": middle, "mode": _mode(steps), "name": title}
            | {"line": {"color": colours[variant], "width": 1.8}, "legendgroup": title, "showlegend": column == 0}
            | axes_of(column)
        )
    return traces


def _with_step_axes(layout: Figure, steps: np.ndarray, columns: int) -> Figure:
    """A row's layout with axes of training steps, and the legend below them."""
    for column in range(columns):
        layout[nth("xaxis", column)] |= _step_axis(steps)
    layout["legend"] |= {"y": -0.28, "x": 0.5, "xanchor": "center", "yanchor": "top"}
    layout["margin"] |= {"b": 70}
    return layout


def _band(steps: np.ndarray, low: np.ndarray, high: np.ndarray, name: str, colour: str) -> dict[str, Any]:
    """Trace that fills the range between two curves."""
    outline = {"x": np.concatenate([steps, steps[::-1]]), "y": np.concatenate([high, low[::-1]]), "mode": "lines"}
    fill = {"fill": "toself", "fillcolor": rgba(colour, 0.15), "line": {"width": 0}}
    return {"type": "scatter", "name": name, "showlegend": False, "hoverinfo": "skip"} | outline | fill


def _mode(steps: np.ndarray) -> str:
    """Plotly's mode of a curve; a single record makes a dot, as it makes no line."""
    return "lines" if len(steps) > 1 else "markers"


def _step_axis(steps: np.ndarray) -> dict[str, Any]:
    """Axis of training steps; with one record Plotly would begin it below 0."""
    single = {"range": [0, max(1, 2 * int(steps[0]))]} if len(steps) == 1 else {}
    return {"title": {"text": "training step"}} | single


def _legend_once(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Show each name once in the legend, and switch its traces together."""
    seen: set[str] = set()
    for trace in traces:
        trace["showlegend"] = trace.get("showlegend", True) and trace["name"] not in seen
        trace.setdefault("legendgroup", trace["name"])
        seen |= {trace["name"]} if trace["showlegend"] else set()
    return traces
