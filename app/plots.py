"""Data to figures: pure functions. Clouds are panels for `cloud_plot`, the rest are Plotly figures for `live_plot`.

One figure is one row of the Lab and holds one subplot per variant, so that a row shares its scale, and a page needs few
charts. Theme colours and fonts are the component's business; a figure names only the colours that carry meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mvm.geometry.descriptors import DESCRIPTORS, GAPS
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.bands import quantiles
from mvm.look.palette import FAKE, QUIET, REAL, ROUTES, VARIANTS, descriptor_colour, rgba, title_of
from mvm.look.scales import arrow_factor, limits, round_number, span_of

__all__ = [
    "RIGHT",
    "arrow_factor",
    "arrows",
    "axes_of",
    "cloud",
    "coloured",
    "coverage",
    "curves",
    "ends",
    "field",
    "nth",
    "outlines",
    "outside",
    "planar",
    "round_number",
    "route",
    "scale_of",
    "spectrum_history",
    "spectrum_now",
    "subplots",
    "title_of",
    "upright",
]

Figure = dict[str, Any]
Layer = dict[str, Any]
RIGHT = 18  # pixels beside a row of plots: half a tick label
GAP = 0.06  # between subplots, as a share of the row's width: the next one's tick labels lie in it
ROUTE_NAMES = {"geodesic": "geodesic of the metric", "straight": "straight line", "true": "true geodesic"}


def cloud(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    titles: Sequence[str],
    grid: np.ndarray | None = None,
    show_real: bool = True,
    show_fake: bool = True,
) -> list[dict[str, Any]]:
    """Real and fake points in data space: one panel per variant, for `cloud_plot`.

    Args:
        real: `(n, d)` with d 2 or 3, shared by all variants.
        fake: `(variants, n, d)`.
        titles: one per variant.
        grid: the generator's warped grid `(variants, lines, lines, d)`, or None.
        show_real, show_fake: layers.
    """
    span = span_of(real).tolist()
    panels = []
    for column, title in enumerate(titles):
        layers = []
        if grid is not None:
            lines = np.concatenate([_lines(grid[column]), _lines(grid[column].swapaxes(0, 1))])
            layers.append({"name": "generator grid", "colour": rgba(QUIET, 0.4), "points": lines, "line": True})
        layers += [{"name": "real", "colour": REAL, "points": real}] if show_real else []
        layers += [{"name": "fake", "colour": FAKE, "points": fake[column]}] if show_fake else []
        panels.append({"title": title, "span": span, "ticks": True, "layers": layers})
    return panels


def outside(fake: np.ndarray, span: Sequence[Sequence[float]], *, titles: Sequence[str]) -> str:
    """Words for fakes `(variants, n, d)` that the frame of the picture leaves out; "" where those are under 1 %."""
    low, high = np.array(span).T
    share = 1 - ((fake >= low) & (fake <= high)).all(-1).mean(-1)  # what is not finite is outside
    words = [f"{title} {part:.0%}" for title, part in zip(titles, share, strict=True) if part >= 0.01]
    return f", fakes outside the frame: {', '.join(words)}" if words else ""


def planar(frame: np.ndarray, *, titles: Sequence[str]) -> list[dict[str, Any]]:
    """UMAP coordinates: one panel per variant, each with its own scale; `(variants, 2n, 2)`, real rows first.

    Where the points stand for pictures, those are the n reals, then the n fakes of each variant.
    """
    half = frame.shape[1] // 2
    panels = []
    for column, (title, points) in enumerate(zip(titles, frame, strict=True)):
        layers = [
            {"name": "real", "colour": REAL, "points": points[:half], "first": 0},
            {"name": "fake", "colour": FAKE, "points": points[half:], "first": half * (1 + column)},
        ]
        span = span_of(points, margin=0.08).tolist()
        panels.append({"title": title, "span": span, "ticks": False, "layers": layers})
    return panels


# -- layers over a cloud -----------------------------------------------------------------------------------------------


def coloured(
    panels: Sequence[dict[str, Any]], values: Sequence[dict[str, np.ndarray]], scale: dict[str, Any]
) -> list[dict[str, Any]]:
    """The same panels with their points coloured by values; reals stay dots, fakes become rings.

    Args:
        panels: of `cloud` or `planar`.
        values: one dict for each panel: `(n,)` by the layer's name; a layer that is not named keeps its colour.
        scale: what `scale_of` gives.
    """

    def shaded(layer: Layer, of: dict[str, np.ndarray]) -> Layer:
        if layer["name"] not in of:
            return layer
        return layer | {"values": of[layer["name"]], "scale": scale, "ring": layer["name"] == "fake"}

    return [
        panel | {"layers": [shaded(layer, of) for layer in panel["layers"]]}
        for panel, of in zip(panels, values, strict=True)
    ]


def scale_of(
    values: Sequence[np.ndarray], *, title: str, stops: Sequence[str], symmetric: bool = False, cut: float = 0.02
) -> dict[str, Any]:
    """A scale of colours for these values, but for the share `cut` of them at either end; symmetric about 0 or not."""
    low, high = limits(values, symmetric=symmetric, cut=cut)
    return {"title": title, "stops": list(stops), "low": low, "high": high}


def arrows(points: np.ndarray, tips: np.ndarray, *, term: str, faint: bool = False) -> Layer:
    """The force of a descriptor on points: from `(n, d)`, to `(n, d)`; faint where the variant does not match it."""
    layer = {
        "name": f"{DESCRIPTORS[term].title} force",
        "colour": descriptor_colour(term),
        "arrows": True,
        "faint": faint,
    }
    return layer | {"points": np.concatenate([points, tips], axis=-1)}


def field(values: np.ndarray, extent: Sequence[Sequence[float]], scale: dict[str, Any]) -> Layer:
    """Values `(rows, columns)`, the uppermost row first, over a rectangle of the plane."""
    return {"name": scale["title"], "image": True, "values": values, "extent": extent, "scale": scale, "colour": QUIET}


def outlines(shapes: np.ndarray, values: np.ndarray | None, scale: dict[str, Any] | None, *, name: str) -> Layer:
    """Closed polygons or segments `(n, corners, d)`, each in one colour by its value `(n,)`, or all in one."""
    closed = np.concatenate([shapes, shapes[:, :1]], axis=1)
    layer = {"name": name, "line": True, "colour": rgba(QUIET, 0.9), "points": _lines(closed)}
    if values is not None:
        layer |= {"values": np.repeat(values, closed.shape[1] + 1), "scale": scale}
    return layer


def route(path: np.ndarray, kind: str) -> Layer:
    """A way between two points, `(m, d)`: a kind in `ROUTE_NAMES`."""
    dash = {"dash": [5, 4]} if kind == "straight" else {}
    return {"name": ROUTE_NAMES[kind], "colour": ROUTES[kind], "points": path, "line": True, "wide": 2.5} | dash


def ends(points: np.ndarray) -> Layer:
    """Where ways begin and end, A and B."""
    return {"name": "ends", "colour": ROUTES["geodesic"], "points": points, "letters": "AB"}


def spectrum_now(
    spectrum: np.ndarray, initial: np.ndarray, *, titles: Sequence[str], step: int, form: str, colours: Sequence[str]
) -> Figure:
    """The leading eigenvalues of the real embeddings now, beside those before training: `(variants, k)` each."""
    traces = []
    ranks = np.arange(1, spectrum.shape[-1] + 1)
    for column in range(len(titles)):
        before, now = np.abs(initial[column]), np.abs(spectrum[column])
        traces.append(
            {
                "type": "bar",
                "x": ranks,
                "y": now,
                "name": "now",
                "marker": {"color": colours[column]},
                "showlegend": False,
            }
            | axes_of(column)
        )
        outline = {"color": QUIET, "width": 1.5, "dash": "dot"}
        traces.append(
            {
                "type": "scatter",
                "x": ranks,
                "y": before,
                "mode": "lines+markers",
                "line": outline,
                "marker": {"size": 4},
            }
            | {"name": "before training"}
            | axes_of(column)
        )
    layout = _columns(titles, step=step)
    for column in range(len(titles)):
        layout[nth("xaxis", column)] |= {"title": {"text": "rank"}, "dtick": 1}
        layout[nth("yaxis", column)] |= {"rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": SPECTRUM_FORMS[form].label}}
    return {"data": _legend_once(traces), "layout": layout}


def spectrum_history(
    steps: np.ndarray, history: np.ndarray, *, titles: Sequence[str], step: int, form: str, log: bool
) -> Figure:
    """The leading eigenvalues over training (the paper's Fig. 5): history is `(steps, variants, k)`."""
    traces, mode = [], _mode(steps)
    ranks = history.shape[-1]
    for column in range(len(titles)):
        for rank in range(ranks):
            shade = 1 - 0.5 * rank / max(1, ranks - 1)  # the faintest is still seen on black
            line = {"color": rgba(VARIANTS[0], shade), "width": 1.5}
            traces.append(
                {"type": "scatter", "x": steps, "y": np.abs(history[:, column, rank]), "mode": mode, "line": line}
                | {"name": f"λ{rank + 1}", "showlegend": False}
                | axes_of(column)
            )
    layout = _columns(titles, step=step, cursor=True)
    for column in range(len(titles)):
        layout[nth("xaxis", column)] |= _step_axis(steps)
        layout[nth("yaxis", column)] |= {"type": "log"} if log else {"rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": SPECTRUM_FORMS[form].label}}
    return {"data": traces, "layout": layout}


def curves(
    steps: np.ndarray,
    gaps: dict[str, np.ndarray],
    *,
    titles: Sequence[str],
    step: int,
    log: bool,
    colours: Sequence[str],
) -> Figure:
    """d_c, d_g and d_H over training, one subplot each: `{name: (steps, variants, seeds)}`; bands span the seeds."""
    traces = []
    for column, name in enumerate(GAPS):
        values = gaps[name]
        if log:
            values = np.where(values > 0, values, np.nan)
        for variant, title in enumerate(titles):
            several = values.shape[-1] > 1
            low, middle, high = quantiles(values[:, variant].T, (0, 0.5, 1))
            if several:
                band = {
                    "fill": "toself",
                    "fillcolor": rgba(colours[variant], 0.15),
                    "line": {"width": 0},
                    "mode": "lines",
                }
                traces.append(
                    {
                        "type": "scatter",
                        "x": np.concatenate([steps, steps[::-1]]),
                        "y": np.concatenate([high, low[::-1]]),
                    }
                    | band
                    | {"showlegend": False, "hoverinfo": "skip", "name": f"{title} seeds"}
                    | axes_of(column)
                )
            traces.append(
                {"type": "scatter", "x": steps, "y": middle, "mode": _mode(steps), "name": title}
                | {"line": {"color": colours[variant], "width": 1.8}, "legendgroup": title, "showlegend": column == 0}
                | axes_of(column)
            )
    layout = _columns([f"{symbol}  {gap.label}" for symbol, gap in GAPS.items()], step=step, cursor=True)
    for column in range(len(GAPS)):
        layout[nth("xaxis", column)] |= _step_axis(steps)
        layout[nth("yaxis", column)] |= {"type": "log", "exponentformat": "power"} if log else {"rangemode": "tozero"}
    layout["legend"] |= {"y": -0.28, "x": 0.5, "xanchor": "center", "yanchor": "top"}
    layout["margin"] |= {"b": 70}
    return {"data": traces, "layout": layout}


def coverage(
    overlaps: dict[str, Sequence[float | None]],
    floors: dict[str, float | None],
    *,
    titles: Sequence[str],
    step: int,
    colours: Sequence[str],
) -> Figure:
    """How much of each factor's range the fakes cover: a group of horizontal bars per factor, a mark at its floor.

    Args:
        overlaps: one value per variant, by the factor's name.
        floors: of each factor: what a second sample of reals reaches.
        titles, colours: of the variants.
        step: of the scores.
    """
    names = list(overlaps)[::-1]  # Plotly begins at the bottom
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
        | {"name": "floor: real against real", "hovertemplate": "%{y}: %{x:.2f}"}
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


def _lines(grid: np.ndarray) -> np.ndarray:
    """Lines `(m, n, d)` as one path with gaps, `(m·(n+1), d)`."""
    gap = np.full((len(grid), 1, grid.shape[-1]), np.nan, dtype=np.float32)
    return np.concatenate([grid, gap], axis=1).reshape(-1, grid.shape[-1])


def _columns(titles: Sequence[str], *, step: int, cursor: bool = False) -> dict:
    """A row of subplots, with a cursor at the step or without."""
    layout = subplots(titles) | {
        "margin": {"l": 46, "r": RIGHT, "t": 52, "b": 40},
        "legend": {
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": 1.1,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        "meta": {"step": step},
        "bargap": 0.25,
    }
    if cursor:
        layout["shapes"] = [upright(step, column, color=rgba(QUIET, 0.8)) for column in range(len(titles))]
    return layout


def _mode(steps: np.ndarray) -> str:
    """How a curve is drawn: a single record makes no line."""
    return "lines" if len(steps) > 1 else "markers"


def _step_axis(steps: np.ndarray) -> dict[str, Any]:
    """What an axis of training steps says; with one record, left to itself, it would begin below 0."""
    single = {"range": [0, max(1, 2 * int(steps[0]))]} if len(steps) == 1 else {}
    return {"title": {"text": "training step"}} | single


def subplots(titles: Sequence[str]) -> dict[str, Any]:
    """What a layout says of plots side by side with a title each."""
    layout: dict[str, Any] = {"annotations": [], "hovermode": "closest"}
    width = (1 - GAP * (len(titles) - 1)) / max(1, len(titles))
    for column, title in enumerate(titles):
        domain = [column * (width + GAP), column * (width + GAP) + width]
        layout[nth("xaxis", column)] = {"domain": domain, "anchor": nth("y", column)}
        layout[nth("yaxis", column)] = {"domain": [0, 1], "anchor": nth("x", column)}
        text = {"text": title, "showarrow": False, "font": {"size": 13}}
        place = {"x": domain[0], "xanchor": "left", "y": 1.01, "yanchor": "bottom", "xref": "paper", "yref": "paper"}
        layout["annotations"].append(text | place)
    return layout


def upright(x: float, column: int, **line: Any) -> dict[str, Any]:
    """A vertical line through a subplot."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "xref": nth("x", column)}
    return ends | {"type": "line", "yref": f"{nth('y', column)} domain", "line": {"width": 1} | line}


def axes_of(column: int) -> dict[str, str]:
    """On which axes a trace of a subplot lies."""
    return {"xaxis": nth("x", column), "yaxis": nth("y", column)}


def nth(base: str, column: int) -> str:
    """The name of a subplot's axis, as Plotly counts."""
    return base if column == 0 else f"{base}{column + 1}"


def _legend_once(traces: list[dict]) -> list[dict]:
    seen: set[str] = set()
    for trace in traces:
        trace["showlegend"] = trace.get("showlegend", True) and trace["name"] not in seen
        trace.setdefault("legendgroup", trace["name"])
        seen |= {trace["name"]} if trace["showlegend"] else set()
    return traces
