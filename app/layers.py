"""What can be laid over the Lab's clouds, all off at first: a person asks why the points move as they do.

forces         where each descriptor pulls each fake                                         (mvm.geometry.forces)
eigenvector    points coloured by one mode of their distances, as the learned metric sees them   (mvm.geometry.spectrum)
metric         the learned metric's unit steps, and how much it swells or shrinks space      (mvm.geometry.pullback)
geodesic       its shortest path between two points, beside the straight one and the true one
trust, continuity    of the UMAP row, point by point                                 (mvm.geometry.neighbourhoods)

All is of the shown points. The metric is that of the last checkpoint up to the shown step, and what depends on it alone
is computed when that changes. Values are kept by what they were computed from, for all tabs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
import torch

from app import plots
from app.picture_grid import Picked
from app.state import Page
from mvm.data.points import PointData
from mvm.errors import ConfigError, RunError
from mvm.geometry import neighbourhoods as honesty
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.geometry.pullback import ellipses, log_volume
from mvm.geometry.spectrum import MOST_RANKS, modes_shown
from mvm.look.palette import DIVERGING, SEQUENTIAL, VOLUME
from mvm.methods import METHODS
from mvm.runs.run import Run
from mvm.studies.learned_metric import (
    FILL,
    LearnedMetric,
    LocalMetric,
    Route,
    checkpoint_at,
    field_on,
    metric_at,
    moves,
    on_manifold,
    routes,
    step_length,
    true_route,
    units_of,
)

__all__ = ["Chosen", "Flat", "chosen", "controls", "over_clouds", "over_projection", "say", "take"]

LAYERS = ["real", "fake", "grid", "forces", "metric", "geodesic"]
FIRST = LAYERS[:3]
COLOURS = ["kind", "eigenvector", "trust", "continuity"]
MOST_ARROWS = 256  # in a panel
ON_SURFACE = 120  # ellipses in space
ENDS = "_layers.ends"  # of the geodesic, in the session
Panels = list[dict[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """What a person wants to see.

    Attributes:
        layers: names in `LAYERS`.
        terms: descriptors whose forces are drawn where a variant matches them.
        unmatched: and, faintly, where it does not.
        colour: a name in `COLOURS`.
        rank: of the eigenvector, from 1.
        ends: numbers of the two reals that a geodesic joins.
    """

    layers: list[str]
    terms: list[str]
    unmatched: bool
    colour: str
    rank: int
    ends: tuple[int, int]

    @property
    def picks(self) -> bool:
        """Whether a click on a real chooses an end."""
        return "geodesic" in self.layers and "real" in self.layers


@dataclass(frozen=True)
class Flat:
    """Points as they are drawn: themselves, or on the first three principal axes of the reals."""

    centre: np.ndarray | None = None
    axes: np.ndarray | None = None

    @classmethod
    def of(cls, real: np.ndarray) -> Flat:
        """For reals `(n, D)`."""
        if real.shape[-1] <= 3:
            return cls()
        centre = real.mean(0)
        return cls(centre, np.linalg.svd(real - centre, full_matrices=False)[2][:3].T)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """`(..., D)` to `(..., 2 or 3)`."""
        return points if self.axes is None else (points - self.centre) @ self.axes


# -- widgets -----------------------------------------------------------------------------------------------------------


def controls(tab: Page, run: Run | None) -> None:
    """What the clouds show: in the popover View."""
    common = {"bind": "query-params"}
    layers = st.segmented_control(
        "Layers", LAYERS, selection_mode="multi", default=FIRST, key=tab.key("layers"), **common,
        help="grid: a square of the generator's first two inputs, as the generator bends it into data space. "
        "forces: where each descriptor pulls each fake. metric: how the learned metric stretches space. "
        "geodesic: its shortest path between two points",
    )  # fmt: skip
    if "forces" in layers:
        st.segmented_control(
            "Forces of", list(DESCRIPTORS), selection_mode="multi", default=list(DESCRIPTORS), key=tab.key("terms"),
            format_func=lambda name: DESCRIPTORS[name].title, **common,
            help="the negative gradient of each descriptor's gap at each fake, unweighted: each panel has those that "
            "its variant matches",
        )  # fmt: skip
        st.toggle(
            "Also forces that a variant does not match", False, key=tab.key("unmatched"), **common,
            help="faint arrows: what the variant leaves undone",
        )  # fmt: skip
    if "geodesic" in layers:
        _choose_ends(run)
    colour = st.segmented_control(
        "Colour", COLOURS, default=COLOURS[0], required=True, key=tab.key("colour"), **common,
        help="kind: real or fake. eigenvector: of the real embeddings' distance matrix, in data space and UMAP. "
        "trust: of the UMAP row, 1 where all neighbours shown are true. continuity: 1 where all true ones are shown",
    )  # fmt: skip
    if colour == "eigenvector":
        st.select_slider(
            "Eigenvector", list(range(1, MOST_RANKS + 1)), 2, key=tab.key("rank"), **common,
            help="rank of its eigenvalue in the row of spectra; the first of D / mean D is almost the same everywhere",
        )  # fmt: skip


def chosen(tab: Page) -> Chosen:
    """What the widgets say; what is not on the page is as it was at first."""
    return Chosen(
        tab.setting("layers", FIRST), tab.setting("terms", list(DESCRIPTORS)), tab.setting("unmatched", False),
        tab.setting("colour", COLOURS[0]), tab.setting("rank", 2), _ends().chosen,
    )  # fmt: skip


@dataclass
class _Ends:
    """Which two reals a geodesic joins, as one browser tab has chosen them last.

    Attributes:
        chosen: their numbers.
        clicks: how many clicks have chosen one; the next moves the other end. Widgets of a closed popover do not hear
            of a new value, so that new ones are made after each click.
        when: of the last click, ms since the epoch, by the browser's clock.
    """

    chosen: tuple[int, int] = (0, 1)
    clicks: int = 0
    when: float = 0.0

    def choose(self, first: int, last: int) -> None:
        """Join these; the URL says so."""
        self.chosen = (first, last)
        st.query_params["ends"] = f"{first}-{last}"


def _ends() -> _Ends:
    if ENDS not in st.session_state:
        first, _, last = st.query_params.get("ends", "").partition("-")
        known = first.isdecimal() and last.isdecimal()
        st.session_state[ENDS] = _Ends((int(first), int(last)) if known else (0, 1))
    return st.session_state[ENDS]


def _choose_ends(run: Run | None) -> None:
    """Two numbers."""
    ends, most = _ends(), 4095 if run is None else run.config.view_points - 1
    typed = [
        st.number_input(
            label, 0, most, min(now, most), key=f"{label}.{ends.clicks}.{most}",
            help=f"number of a real point, at most {most:,}; or click two real points in data space",
        )
        for label, now in zip(("Geodesic from real", "Geodesic to real"), ends.chosen, strict=True)
    ]  # fmt: skip
    ends.choose(typed[0], typed[1])


def take(picked: Picked | None, wanted: Chosen) -> None:
    """A click on a real moves one end of the geodesic, the next click the other."""
    ends = _ends()
    if picked is None or not wanted.picks or picked.when <= ends.when:
        return
    ends.choose(*((picked.index, ends.chosen[1]) if ends.clicks % 2 == 0 else (ends.chosen[0], picked.index)))
    ends.clicks, ends.when = ends.clicks + 1, picked.when
    st.rerun()


def say(notes: Sequence[str]) -> None:
    """What is to be known about the layers, below a row's heading."""
    if notes:
        st.caption("  \n".join(notes))


# -- data space --------------------------------------------------------------------------------------------------------


def over_clouds(
    panels: Panels, wanted: Chosen, run: Run, view: dict[str, np.ndarray], members: Sequence[int], flat: Flat
) -> tuple[Panels, list[str]]:
    """The panels of data space with what is wanted over them, and what to say of it.

    Args:
        panels: of `plots.cloud`.
        wanted: by the person.
        run, view: the run and the view of it that is shown.
        members: of the variant axis, one for each panel.
        flat: how points are drawn.
    """
    notes: list[str] = []
    step, dim = int(view["step"]), view["real"].shape[-1]
    parts: list[Callable[..., Panels]] = []
    method = METHODS[run.config.method]
    if wanted.colour == "eigenvector":
        parts.append(_coloured_by_mode)
    if "forces" in wanted.layers:
        if method.matches_descriptors:
            parts.append(_with_forces)
        else:
            notes.append(f"{method.title} matches no descriptors, so there are no forces of theirs to draw.")
    microscope = [
        part for name, part in (("metric", _with_metric), ("geodesic", _with_routes)) if name in wanted.layers
    ]
    if microscope and not method.learns_metric:
        notes.append(f"{method.title} learns no metric: there is nothing to look through.")
    elif microscope and dim > 3:
        notes.append(f"The metric and its geodesics are drawn in 2 and 3 dimensions; these points have {dim}.")
    else:
        parts += microscope
    if not parts:
        return panels, notes
    try:
        lenses = _lenses(run, members, step)
        seen = _Seen(run, view, members, flat, lenses)
        for part in parts:
            panels = part(panels, wanted, seen, notes)
        if lenses[0][0].step != step and (parts != [_coloured_by_mode] or "real_embedding" not in view):
            notes.append(f"The metric is that of step {lenses[0][0].step:,}, the last one saved up to here.")
    except (RunError, ConfigError, OSError) as error:
        notes.append(f":orange[{error}]")
    return panels, notes


@dataclass(frozen=True)
class _Seen:
    """The shown points, and the metrics that they are seen through, one for each panel."""

    run: Run
    view: dict[str, np.ndarray]
    members: Sequence[int]
    flat: Flat
    lenses: list[tuple[LearnedMetric, tuple]]

    @property
    def step(self) -> int:
        return int(self.view["step"])


def _with_forces(panels: Panels, wanted: Chosen, seen: _Seen, notes: list[str]) -> Panels:
    variants = [seen.run.config.members[member][0] for member in seen.members]
    own = [descriptors_of(variant) for variant in variants]
    any_own = {term for terms in own for term in terms}
    drawn = [term for term in DESCRIPTORS if term in wanted.terms and term in any_own]
    terms = [[t for t in drawn if wanted.unmatched or t in matched] for matched in own]
    found = []
    for (metric, mark), member, of in zip(seen.lenses, seen.members, terms, strict=True):
        fake = seen.view["fake"][member]
        moved = _moves((*mark, seen.step), tuple(of), metric, seen.view["real"], fake)
        at = fake[:MOST_ARROWS]
        found.append({t: (seen.flat(at), seen.flat(at + move[:MOST_ARROWS])) for t, move in moved.items()})
    factors = {}
    for term in drawn:
        shown = [tip - at for of in found if term in of for at, tip in [of[term]]]
        factors[term] = plots.arrow_factor(shown, panels[0]["span"]) if shown else 1.0
    panels = [
        _add(panel, *[
            plots.arrows(at, at + factors[term] * (tip - at), term=term, faint=term not in matched)
            for term, (at, tip) in of.items()
        ])
        for panel, of, matched in zip(panels, found, own, strict=True)
    ]  # fmt: skip
    said = ", ".join(f"{DESCRIPTORS[term].title} ×{_factor(value)}" for term, value in factors.items())
    faint = ", faint where a variant does not match them" if wanted.unmatched else ""
    count = min(MOST_ARROWS, seen.view["fake"].shape[1])
    notes.append(f"Forces on {count} of the fakes, without the descriptors' weights{faint}; arrows: {said or 'none'}.")
    return panels


def _with_metric(panels: Panels, wanted: Chosen, seen: _Seen, notes: list[str]) -> Panels:
    span, dim = panels[0]["span"], seen.view["real"].shape[-1]
    manifold = seen.lenses[0][0].units.manifold
    if dim == 3 and (manifold is None or manifold.intrinsic_dim == 0):
        notes.append("In space the metric is drawn inside the manifold, and of these points none is known.")
        return panels
    if dim == 3:
        places = _spread(seen.view["real"], ON_SURFACE)
        found = [_local(mark, metric, places) for metric, mark in seen.lenses]
    else:
        found = [_plane(mark, tuple(map(tuple, span)), metric) for metric, mark in seen.lenses]
    volumes = [of.volume for of in found]
    size = found[0].metric.shape[-1]
    what = "length" if size == 1 else "volume"
    if not any(np.isfinite(volume).any() for volume in volumes):
        notes.append("The embedding is the same all over: the metric sees no step, so there are no ellipses to draw.")
        return panels
    scale = plots.scale_of(volumes, title=f"log {what}", stops=VOLUME if dim == 2 else SEQUENTIAL)
    lengths = [of.length for of in found]
    laid = []
    for panel, of, length in zip(panels, found, lengths, strict=True):
        outline = plots.outlines(_unit_steps(of, length), None if dim == 2 else of.small, scale, name="equal steps")
        behind = [plots.field(of.volume, span, scale)] if dim == 2 else []
        laid.append(panel | {"layers": [*behind, outline, *panel["layers"]]})
    each = ", ".join(f"{length:g} long ({panel['title']})" for panel, length in zip(panels, lengths, strict=True))
    things = "lengths" if size == 1 else "areas"
    notes.append(
        f"{'Segments' if size == 1 else 'Ellipses'}: where a step leads that the metric finds {each}. "
        f"Log {what}: natural logarithm of how many times {things} grow under it."
    )
    return laid


def _with_routes(panels: Panels, wanted: Chosen, seen: _Seen, notes: list[str]) -> Panels:
    real = seen.view["real"]
    first, last = (min(end, len(real) - 1) for end in wanted.ends)
    bounds = tuple(map(tuple, panels[0]["span"]))
    units = seen.lenses[0][0].units
    true = _true((str(seen.run.path), seen.run.identity), real[[first, last]].tobytes(), units.manifold)
    laid, lengths = [], []
    for panel, (metric, mark) in zip(panels, seen.lenses, strict=True):
        ways = _routes(mark, real[[first, last]].tobytes(), bounds, metric, true)
        drawn = [plots.route(way.path.numpy(), kind) for kind, way in ways.items() if way.path is not None]
        drawn = sorted(drawn, key=lambda layer: layer["name"] == plots.ROUTE_NAMES["geodesic"])
        panel = panel | {
            "layers": [layer | ({"first": 0} if layer["name"] == "real" else {}) for layer in panel["layers"]]
        }
        laid.append(_add(panel, *drawn, plots.ends(real[[first, last]])))
        measured = [way.metric_length for way in ways.values() if way.metric_length is not None]
        lengths.append(f"{panel['title']} " + " / ".join(f"{length:.3g}" for length in measured))
    kinds = "geodesic / straight line" + (" / true geodesic" if true is not None and true.path is not None else "")
    notes.append(f"From real {first} (A) to real {last} (B), lengths under the metric, {kinds}: {'; '.join(lengths)}.")
    if true is None:
        notes[-1] += " The true geodesic is not known."
    elif true.path is None and np.isinf(true.length):
        notes[-1] += " There is no true geodesic: they lie in two components."
    else:
        notes[-1] += f" The true geodesic has length {true.length:.3g} in data space."
    notes[-1] += " Click two real points to choose others." if wanted.picks else ""
    return laid


def _coloured_by_mode(panels: Panels, wanted: Chosen, seen: _Seen, notes: list[str]) -> Panels:
    view, found = seen.view, []
    for (metric, mark), member in zip(seen.lenses, seen.members, strict=True):
        saved = [view[f"{kind}_embedding"][member] for kind in ("real", "fake") if f"{kind}_embedding" in view]
        key = (*mark, seen.step, bool(saved))
        found.append(
            _modes(key, saved or [_embedded(metric, points) for points in (view["real"], view["fake"][member])])
        )
    return _by_mode(panels, wanted, found, notes)


# -- projection --------------------------------------------------------------------------------------------------------


def over_projection(
    panels: Panels, wanted: Chosen, run: Run, snapshot: dict[str, np.ndarray] | None, frame: np.ndarray,
    members: Sequence[int],
) -> tuple[Panels, list[str]]:  # fmt: skip
    """The panels of a projection coloured by what is wanted, and what to say of it.

    Args:
        panels: of `plots.planar`.
        wanted: by the person.
        run: whose.
        snapshot: of the frame's step.
        frame: `(V, 2n, 2)`, reals first.
        members: of the variant axis, one for each panel.
    """
    notes: list[str] = []
    half = frame.shape[1] // 2
    known = snapshot is not None and "real_embedding" in snapshot and snapshot["real_embedding"].shape[1] == half
    if wanted.colour == COLOURS[0] or not known:
        return panels, notes
    found = []
    for member in members:
        key = (str(run.path), member, int(snapshot["step"]), snapshot["real_embedding"][member, 0].tobytes())
        sets = [snapshot[f"{kind}_embedding"][member] for kind in ("real", "fake")]
        if wanted.colour == "eigenvector":
            found.append(_modes((*key, True), sets))
        else:
            found.append(_honest((*key, frame[member].tobytes()), wanted.colour, sets, frame[member]))
    if wanted.colour == "eigenvector":
        return _by_mode(panels, wanted, found, []), notes  # data space has said it
    values = [{"real": of[:half], "fake": of[half:]} for of in found]
    title = {"trust": "trustworthiness", "continuity": "continuity"}[wanted.colour]
    scale = plots.scale_of(found, title=title, stops=SEQUENTIAL, cut=0.02) | {"high": 1.0}
    means = ", ".join(f"{panel['title']} {np.mean(of):.3f}" for panel, of in zip(panels, found, strict=True))
    told = {
        "trust": "1 where every neighbour shown is one under the metric, too",
        "continuity": "1 where every neighbour under the metric is shown as one",
    }
    notes.append(f"{title.capitalize()}, {told[wanted.colour]} (15 neighbours). Mean: {means}.")
    return plots.coloured(panels, values, scale), notes


def _by_mode(panels: Panels, wanted: Chosen, found: Sequence[tuple], notes: list[str]) -> Panels:
    """Colours of one eigenvector; its entries are scaled so that those of the reals have mean square 1."""
    place = wanted.rank - 1
    values = [{"real": real[place], "fake": fake[place]} for _, real, fake in found]
    scale = plots.scale_of(
        [of["real"] for of in values], title=f"eigenvector {wanted.rank}", stops=DIVERGING, symmetric=True
    )
    numbers = ", ".join(f"{panel['title']} {of[0][place]:.3g}" for panel, of in zip(panels, found, strict=True))
    numbers = numbers.replace(" -", " −")
    notes.append(f"Colour: eigenvector {wanted.rank} of D / mean D at each point; dots real, rings fake. λ: {numbers}.")
    return plots.coloured(panels, values, scale)


# -- values, kept by what they are of ----------------------------------------------------------------------------------


def _lenses(run: Run, members: Sequence[int], step: int) -> list[tuple[LearnedMetric, tuple]]:
    """The metrics of members at the last checkpoint up to a step, each with what tells it from others in a cache's key.

    Raises:
        RunError: there is no checkpoint, or it is damaged.
        ConfigError: the data are not there any more.
    """
    path = checkpoint_at(run, step)
    marks = [(str(path), path.stat().st_mtime_ns, member) for member in members]
    return [(_lens(mark, run, step), mark) for mark in marks]


@st.cache_resource(max_entries=64, show_spinner=False)
def _lens(mark: tuple, _run: Run, _step: int) -> LearnedMetric:
    torch.set_num_threads(1)
    return metric_at(_run, mark[-1], _step, units=_units((str(_run.path), _run.identity), _run))


@st.cache_resource(max_entries=16, show_spinner=False)
def _units(key: tuple, _run: Run) -> PointData:
    return units_of(_run)


@dataclass(frozen=True)
class _Field:
    """The metric at some places `(n, D)`, how much it swells space there, and over how far each stands for it.

    Attributes:
        centres, bases, metric: as in `LocalMetric`.
        small: log volume at the centres, `(n,)`.
        volume: log volume on a fine grid `(rows, columns)`; that at the centres on a manifold.
        spacing: between two centres.
        length: of a step in the embedding that fills it.
    """

    centres: np.ndarray
    bases: np.ndarray
    metric: np.ndarray
    small: np.ndarray
    volume: np.ndarray
    spacing: float
    length: float


@st.cache_data(max_entries=128, show_spinner=False)
def _moves(
    key: tuple, terms: tuple[str, ...], _lens: LearnedMetric, _real: np.ndarray, _fake: np.ndarray
) -> dict[str, np.ndarray]:
    found = moves(_lens, torch.from_numpy(_real), torch.from_numpy(_fake), terms) if terms else {}
    return {name: move.numpy() for name, move in found.items()}


@st.cache_data(max_entries=128, show_spinner=False)
def _modes(key: tuple, _sets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues `(k,)`, and modes at reals and fakes `(k, n)` each, of mean square 1 on the former."""
    real, fake = (torch.from_numpy(of) for of in _sets)
    found = modes_shown(real, fake, k=MOST_RANKS)
    return found.values.numpy(), found.real.numpy(), found.fake.numpy()


@st.cache_data(max_entries=64, show_spinner=False)
def _honest(key: tuple, kind: str, _sets: Sequence[np.ndarray], _frame: np.ndarray) -> np.ndarray:
    score = {"trust": honesty.trustworthiness, "continuity": honesty.continuity}[kind]
    points = torch.from_numpy(np.concatenate(_sets))
    return score(points, torch.from_numpy(_frame), k=honesty.neighbours(len(points))).numpy().astype(np.float32)


@st.cache_data(max_entries=32, show_spinner=False)
def _plane(mark: tuple, span: tuple[tuple[float, float], ...], _lens: LearnedMetric) -> _Field:
    found = field_on(_lens, span)
    return _field(found.local, found.spacing, found.volume.float().numpy())


@st.cache_data(max_entries=32, show_spinner=False)
def _local(mark: tuple, _lens: LearnedMetric, _places: np.ndarray) -> _Field:
    found = on_manifold(_lens, torch.from_numpy(_places))
    apart = torch.cdist(found.centres, found.centres).fill_diagonal_(torch.inf)
    return _field(found, float(apart.amin(1).median()))


def _field(found: LocalMetric, spacing: float, volume: np.ndarray | None = None) -> _Field:
    small = log_volume(found.metric).float().numpy()
    parts = [part.float().numpy() for part in (found.centres, found.bases)]
    length = step_length(found, spacing)
    return _Field(*parts, found.metric.numpy(), small, small if volume is None else volume, spacing, length)


def _unit_steps(of: _Field, length: float) -> np.ndarray:
    """Polygons `(n, corners, D)` about the centres, no wider than the space that each has; segments on a curve."""
    metric, longest = torch.from_numpy(of.metric), FILL * of.spacing
    if metric.shape[-1] == 1:
        half = (length / metric[:, 0].clamp_min(1e-30).sqrt()).clamp_max(longest)
        inside = torch.stack([-half, half], dim=1)
    else:
        inside = ellipses(metric, scale=length, points=32, longest=longest)
    return of.centres[:, None] + inside.float().numpy() @ of.bases.swapaxes(-1, -2)


@st.cache_data(max_entries=64, show_spinner=False)
def _routes(mark: tuple, between: bytes, bounds: tuple, _lens: LearnedMetric, _true: Route | None) -> dict[str, Route]:
    start, end = torch.frombuffer(bytearray(between), dtype=torch.float32).view(2, -1)
    low, high = torch.tensor(bounds).T
    return routes(_lens, start, end, bounds=(torch.minimum(low, start), torch.maximum(high, start)), true=_true)


@st.cache_data(max_entries=64, show_spinner=False)
def _true(key: tuple, between: bytes, _manifold: Any) -> Route | None:
    return true_route(_manifold, *torch.frombuffer(bytearray(between), dtype=torch.float32).view(2, -1))


# -- parts -------------------------------------------------------------------------------------------------------------


def _add(panel: dict[str, Any], *layers: dict[str, Any]) -> dict[str, Any]:
    return panel | {"layers": [*panel["layers"], *layers]}


@torch.no_grad()
def _embedded(metric: LearnedMetric, points: np.ndarray) -> np.ndarray:
    return metric(torch.from_numpy(points)).numpy()


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the points, each the one farthest from all before it."""
    taken = [0]
    far = np.linalg.norm(points - points[0], axis=-1)
    while len(taken) < min(count, len(points)):
        taken.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[taken[-1]], axis=-1))
    return points[taken]


def _factor(value: float) -> str:
    return f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:.0e}" if value >= 1e6 else f"{value:g}"
