"""Lenses on the shape of the clouds: holes, intrinsic dimension, tangents, minimum spanning tree."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mvm.geometry.dimension import dimension_mle, dimension_two_nn
from mvm.geometry.graphs import spanning_tree
from mvm.geometry.holes import betti_numbers, bottleneck, diagrams
from mvm.geometry.tangents import displacement, tangent_angles
from mvm.lenses.lens import Layer, Number, Picture, Reading, Subject, curves, plane_of, shares

__all__ = ["measure_dimension", "measure_holes", "measure_spanning_tree", "measure_tangents"]

HOLES = ("components", "loops", "voids")
ROUNDING = 1e-6  # of the spread: points have been float32
NEAREST, FARTHEST, SCALES = 10, 200, 14  # neighbours k of the smallest and the largest scale; number of scales


def measure_holes(subject: Subject) -> Reading:
    """Persistence diagrams: bottleneck distances to the reals', and Betti numbers at the scale of the spacing."""
    found = {name: diagrams(points) for name, points in subject.clouds.items()}
    betti = {name: betti_numbers(each) for name, each in found.items()}
    known = subject.manifold.betti if subject.manifold is not None else None
    numbers = {}
    for k in range(len(found["real"])):
        away = {name: bottleneck(found["real"][k], found[name][k]) for name in ("fake", "baseline")}
        numbers[f"bottleneck_{k}"] = Number(f"{HOLES[k]}: bottleneck distance to the reals", *away.values())
    for k in range(len(found["real"])):
        truth = None if known is None else float(known[k] if k < len(known) else 0)
        numbers[f"betti_{k}"] = Number(f"number of {HOLES[k]}", betti["fake"][k], betti["baseline"][k], truth)
    top = 1.05 * max(each[np.isfinite(each)].max() for diagram in found.values() for each in diagram if each.size)
    diagonal = Layer("no lifetime", np.array([[0, 0], [top, top]]), "line")
    pictures = tuple(
        Picture(
            name,
            (diagonal, *(Layer(HOLES[k], np.minimum(each, top)) for k, each in enumerate(diagram) if len(each))),
            "birth (radius)",
            "death (radius)",
        )
        for name, diagram in found.items()
    )
    return Reading(numbers, pictures)


def measure_dimension(subject: Subject) -> Reading:
    """Intrinsic dimension against scale; TwoNN at the smallest."""
    fewest = min(len(points.unique(dim=0)) for points in subject.clouds.values())
    last = min(FARTHEST, fewest - 2)
    scales = np.unique(np.geomspace(min(NEAREST, last), last, SCALES).round().astype(int)).tolist()
    found = {name: dimension_mle(points, scales) for name, points in subject.clouds.items()}
    truth = None if subject.manifold is None else float(subject.manifold.intrinsic_dim)
    numbers = {}
    for k in sorted({scales[0], scales[len(scales) // 2], scales[-1]}):
        at = {name: next(each.dimension for each in of if each.neighbours == k) for name, of in found.items()}
        numbers[f"mle_{k}"] = Number(f"dimension at {k} neighbours", at["fake"], at["baseline"], truth)
    two = {name: dimension_two_nn(points) for name, points in subject.clouds.items() if name != "real"}
    numbers["two_nn"] = Number("TwoNN", two["fake"], two["baseline"], truth)
    lines = {name: np.array([[each.radius, each.dimension] for each in of]) for name, of in found.items()}
    scale = "scale: mean distance to the k-th neighbour"
    return Reading(numbers, (curves("dimension against scale", lines, x=scale, y="dimension", log=True),))


def measure_tangents(subject: Subject) -> Reading:
    """Angles between local directions and true tangents, and the two parts of the way to the manifold."""
    truth = subject.truth
    angles = {name: tangent_angles(truth, points) for name, points in subject.clouds.items()}
    away = {name: displacement(truth, points) for name, points in subject.clouds.items()}
    least = ROUNDING * float(subject.clouds["real"].std())
    found = {
        "angle": {name: float(of.median()) for name, of in angles.items()},
        "normal": {name: _rms(of.normal, least) for name, of in away.items()},
        "tangential": {name: _rms(of.tangential, least) for name, of in away.items()},
    }
    labels = {
        "angle": "tangent angle, median, in degrees",
        "normal": "distance across the manifold, rms",
        "tangential": "distance along it (beyond an edge), rms",
    }
    expected = {"normal": truth.noise * (truth.ambient_dim - truth.intrinsic_dim) ** 0.5}
    numbers = {key: Number(labels[key], of["fake"], of["baseline"], expected.get(key)) for key, of in found.items()}
    lines = {
        "tangent angle (degrees)": {name: shares(of) for name, of in angles.items()},
        "distance across the manifold": {name: shares(of.normal) for name, of in away.items()},
    }
    return Reading(numbers, tuple(curves(title, of, x=title, y="share of points") for title, of in lines.items()))


def _rms(lengths: Tensor, least: float) -> float:
    """Root mean square; 0 below what float32 points can tell."""
    value = float(lengths.square().mean().sqrt())
    return value if value > least else 0.0


def measure_spanning_tree(subject: Subject) -> Reading:
    """Minimum spanning trees: longest edge, length, and how even the edges are."""
    found = {name: spanning_tree(points) for name, points in subject.clouds.items()}
    of = {
        name: (tree.longest, tree.length, float(tree.lengths.std() / tree.lengths.mean()))
        for name, tree in found.items()
    }
    labels = {"longest": "longest edge", "length": "length", "unevenness": "unevenness: deviation of edges over mean"}
    numbers = {key: Number(labels[key], of["fake"][i], of["baseline"][i]) for i, key in enumerate(labels)}
    plane, own = plane_of(subject.clouds["real"])
    pictures = []
    for name, tree in found.items():
        points = plane(subject.clouds[name].unique(dim=0))
        ends = points[tree.edges]
        lines = np.concatenate([ends, np.full((len(ends), 1, 2), np.nan)], axis=1).reshape(-1, 2)
        layers = (Layer(name, lines, "line"), Layer("longest edge", ends[0], "line"))
        words = ("x", "y") if own else ("first principal axis", "second")
        pictures.append(Picture(name, layers, *words, equal=True))
    return Reading(numbers, tuple(pictures))
