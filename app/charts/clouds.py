"""Point clouds as panels for `cloud_plot`, and the layers that can be laid over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.look.palette import FAKE, QUIET, REAL, ROUTES, descriptor_colour, rgba
from mvm.look.scales import limits, span_of

__all__ = [
    "arrows",
    "chosen",
    "coloured",
    "curves",
    "data_panels",
    "ends",
    "field",
    "nearest",
    "outlines",
    "outside",
    "route",
    "scale_of",
    "umap_panels",
]

Layer = dict[str, Any]
Panel = dict[str, Any]
REAL_DOT, FAKE_DOT = 2.7, 1.3  # pixels: where a fake lies on a real, its dot has a green rim
NEAREST_RINGS = {"metric": (ROUTES["geodesic"], 7.5), "euclid": (QUIET, 5.5), "along": (ROUTES["true"], 3.5)}
ROUTE_NAMES = {"geodesic": "geodesic of the metric", "straight": "straight line", "true": "true geodesic"}


def data_panels(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    titles: Sequence[str],
    grid: np.ndarray | None = None,
    show_real: bool = True,
    show_fake: bool = True,
) -> list[Panel]:
    """Real and fake points in data space, one panel per variant.

    Args:
        real: `(n, d)` with d 2 or 3, shared by all variants.
        fake: `(variants, n, d)`.
        titles: one per variant.
        grid: image of a square grid of noise under the generator, `(variants, lines, lines, d)`, or None.
        show_real, show_fake: whether the layer is drawn.
    """
    span = span_of(real).tolist()
    panels = []
    for column, title in enumerate(titles):
        layers = []
        if grid is not None:
            lines = np.concatenate([_broken_line(grid[column]), _broken_line(grid[column].swapaxes(0, 1))])
            layers.append({"name": "generator grid", "colour": rgba(QUIET, 0.4), "points": lines, "line": True})
        layers += [{"name": "real", "colour": REAL, "points": real, "radius": REAL_DOT}] if show_real else []
        layers += [{"name": "fake", "colour": FAKE, "points": fake[column], "radius": FAKE_DOT}] if show_fake else []
        panels.append({"title": title, "span": span, "ticks": True, "layers": layers})
    return panels


def umap_panels(
    frame: np.ndarray, *, titles: Sequence[str], axes: Sequence[Sequence[str]] | None = None
) -> list[Panel]:
    """Coordinates of a projection `(variants, 2n, 2)`, real rows first: one panel per variant, each with its own scale.

    Where points stand for pictures, the pictures are the n reals, then the n fakes of each variant. `axes` names x and
    y in each panel.
    """
    half = frame.shape[1] // 2
    panels = []
    for column, (title, points) in enumerate(zip(titles, frame, strict=True)):
        layers = [
            {"name": "real", "colour": REAL, "points": points[:half], "radius": REAL_DOT, "offset": 0},
            {
                "name": "fake",
                "colour": FAKE,
                "points": points[half:],
                "radius": FAKE_DOT,
                "offset": half * (1 + column),
            },
        ]
        span = span_of(points, margin=0.08).tolist()
        named = {"axes": axes[column]} if axes else {}
        panels.append({"title": title, "span": span, "ticks": False, "layers": layers} | named)
    return panels


def outside(fake: np.ndarray, span: Sequence[Sequence[float]], *, titles: Sequence[str]) -> str:
    """Words for the share of fakes `(variants, n, d)` outside the frame; shares under 1 % are left out."""
    low, high = np.array(span).T
    share = 1 - ((fake >= low) & (fake <= high)).all(-1).mean(-1)  # non-finite fakes count as outside
    words = [f"{title} {part:.0%}" for title, part in zip(titles, share, strict=True) if part >= 0.01]
    return f", fakes outside the frame: {', '.join(words)}" if words else ""


# -- layers over a cloud -----------------------------------------------------------------------------------------------


def coloured(panels: Sequence[Panel], values: Sequence[dict[str, np.ndarray]], scale: dict[str, Any]) -> list[Panel]:
    """Copies of panels with points coloured by values; reals stay dots, fakes become rings.

    Args:
        panels: from `data_panels` or `umap_panels`.
        values: one dict per panel: `(n,)` by the layer's name; other layers keep their colour.
        scale: from `scale_of`.
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
    """Colour scale from the `cut` to the `1 - cut` quantile of the values; symmetric about 0 on request."""
    low, high = limits(values, symmetric=symmetric, cut=cut)
    return {"title": title, "stops": list(stops), "low": low, "high": high}


def arrows(tails: np.ndarray, moves: np.ndarray, *, term: str, factor: float, faint: bool = False) -> Layer:
    """Arrows of a descriptor's force, tails and moves `(n, d)`, lengthened by a factor.

    They are faint where the variant does not match the descriptor.
    """
    layer = {
        "name": f"{DESCRIPTORS[term].title} force",
        "colour": descriptor_colour(term),
        "arrows": True,
        "faint": faint,
        "factor": factor,
    }
    return layer | {"points": np.concatenate([tails, tails + factor * moves], axis=-1)}


def field(values: np.ndarray, extent: Sequence[Sequence[float]], scale: dict[str, Any]) -> Layer:
    """Values `(rows, columns)`, top row first, over a rectangle of the plane."""
    return {"name": scale["title"], "image": True, "values": values, "extent": extent, "scale": scale, "colour": QUIET}


def outlines(shapes: np.ndarray, values: np.ndarray | None, scale: dict[str, Any] | None, *, name: str) -> Layer:
    """Closed polygons or segments `(n, corners, d)`, coloured by values `(n,)`, or all grey."""
    closed = np.concatenate([shapes, shapes[:, :1]], axis=1)
    layer = {"name": name, "line": True, "colour": rgba(QUIET, 0.9), "points": _broken_line(closed)}
    if values is not None:
        layer |= {"values": np.repeat(values, closed.shape[1] + 1), "scale": scale}
    return layer


def curves(lines: Sequence[np.ndarray], *, name: str) -> Layer:
    """Lines `(m, 2)` of any lengths, grey."""
    gap = np.full((1, 2), np.nan, dtype=np.float32)
    points = np.concatenate([part for line in lines for part in (line, gap)] or [gap]).astype(np.float32)
    return {"name": name, "line": True, "colour": rgba(QUIET, 0.9), "points": points}


def route(path: np.ndarray, kind: str) -> Layer:
    """A path `(m, d)` between two points, of a kind in `ROUTE_NAMES`."""
    dash = {"dash": [5, 4]} if kind == "straight" else {}
    return {"name": ROUTE_NAMES[kind], "colour": ROUTES[kind], "points": path, "line": True, "wide": 2.5} | dash


def ends(points: np.ndarray) -> Layer:
    """The two ends of a path `(2, d)`, lettered A and B."""
    return {"name": "ends", "colour": ROUTES["geodesic"], "points": points, "letters": "AB"}


def nearest(points: np.ndarray, way: str, name: str) -> Layer:
    """Rings about points `(m, d)` that one of `NEAREST_RINGS` found nearest, each way of another size."""
    colour, radius = NEAREST_RINGS[way]
    return {"name": name, "colour": colour, "points": points, "ring": True, "radius": radius}


def chosen(point: np.ndarray) -> Layer:
    """The point `(1, d)` whose nearest ones are shown."""
    return {"name": "chosen point", "colour": ROUTES["geodesic"], "points": point, "letters": "P"}


def _broken_line(lines: np.ndarray) -> np.ndarray:
    """Lines `(m, n, d)` as one path broken by NaN rows, `(m·(n+1), d)`."""
    gap = np.full((len(lines), 1, lines.shape[-1]), np.nan, dtype=np.float32)
    return np.concatenate([lines, gap], axis=1).reshape(-1, lines.shape[-1])
