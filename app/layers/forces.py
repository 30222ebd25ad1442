"""Forces: arrows from each fake along the negative gradient of each descriptor's gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
import torch

from app.charts import clouds
from app.layers.choice import Choice
from app.layers.panels import Layered, Panels, add_layers
from app.layers.scene import PanelMetric, Scene
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.look.scales import arrow_factor, thinned
from mvm.studies.learned_metric import LearnedMetric, moves

__all__ = ["add_forces"]

MOST_ARROWS = 80  # in a panel, of all descriptors
Arrows = dict[str, tuple[np.ndarray, np.ndarray]]  # by descriptor: tails and moves `(n, d)` on the panel's axes


def add_forces(panels: Panels, choice: Choice, scene: Scene) -> Layered:
    """Add arrows of the chosen descriptors; all panels scale those of a descriptor by the same factor."""
    matched = [descriptors_of(scene.run.config.members[member][0]) for member in scene.members]
    terms = [term for term in DESCRIPTORS if term in choice.terms and any(term in own for own in matched)]
    found = [
        _arrows(scene, metric, member, [term for term in terms if choice.unmatched or term in own], panels[0]["span"])
        for metric, member, own in zip(scene.metrics, scene.members, matched, strict=True)
    ]
    factors = {term: _shared_factor(term, found, panels[0]["span"]) for term in terms}
    layered = []
    for panel, arrows, own in zip(panels, found, matched, strict=True):
        drawn = [
            clouds.arrows(tails, shifts, term=term, factor=factors[term], faint=term not in own)
            for term, (tails, shifts) in arrows.items()
        ]
        layered.append(add_layers(panel, *drawn))
    faint = "; faint: the variant does not match the descriptor" if choice.unmatched else ""
    lengths = ", ".join(f"{DESCRIPTORS[term].title} ×{_in_words(value)}" for term, value in factors.items())
    return Layered(
        layered,
        [f"Arrows: how each descriptor would move a fake, not weighted{faint}. Lengthened: {lengths or 'no arrows'}."],
    )


def _arrows(
    scene: Scene, metric: PanelMetric, member: int, terms: Sequence[str], span: Sequence[Sequence[float]]
) -> Arrows:
    fake = scene.view["fake"][member]
    found = _moves((*metric.key, scene.step), tuple(terms), metric.metric, scene.view["real"], fake)
    tails = scene.axes(fake)
    some = thinned(tails, span, most=MOST_ARROWS // max(1, len(terms)))
    return {term: (tails[some], scene.axes(fake + move)[some] - tails[some]) for term, move in found.items()}


@st.cache_data(max_entries=128, show_spinner=False)
def _moves(
    key: tuple, terms: tuple[str, ...], _metric: LearnedMetric, _real: np.ndarray, _fake: np.ndarray
) -> dict[str, np.ndarray]:
    found = moves(_metric, torch.from_numpy(_real), torch.from_numpy(_fake), terms) if terms else {}
    return {term: move.numpy() for term, move in found.items()}


def _shared_factor(term: str, found: Sequence[Arrows], span: Sequence[Sequence[float]]) -> float:
    drawn = [arrows[term][1] for arrows in found if term in arrows]
    return arrow_factor(drawn, span) if drawn else 1.0


def _in_words(value: float) -> str:
    return f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:.0e}" if value >= 1e6 else f"{value:g}"
