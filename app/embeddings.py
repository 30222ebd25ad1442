"""The plane that embeddings are shown on: PCA and two eigenvectors at once; UMAP, Isomap and diffusion map in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st
import torch

from app.asked import ask
from app.columns import columns_of
from app.layers.modes import modes_at
from app.link import linked
from app.live import Projection, request_projection
from app.session import Page
from mvm.geometry.graphs import diffusion_map, isomap
from mvm.geometry.spectrum import MOST_RANKS
from mvm.geometry.umap_film import aligned
from mvm.lenses.lens import FEWEST
from mvm.look.glossary import TERMS
from mvm.runs.history import History
from mvm.runs.run import Run

__all__ = ["draw_projection"]

UMAP, PCA, MODES = "UMAP", "PCA", "Eigenvectors"
MAPS = {"Isomap": isomap, "Diffusion map": diffusion_map}  # of reals and fakes together, computed in a thread
WAYS = [UMAP, PCA, *MAPS, MODES]
HELP = "  \n".join(f"**{way}**: {TERMS[way]}" for way in WAYS)


def draw_projection(tab: Page, run: Run, records: History, step: int) -> Projection:
    """Draw the choice of a projection, and return it; PCA stands in until UMAP is ready.

    Args:
        tab: the page.
        run: the shown run.
        records: of the run.
        step: of a snapshot.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        way = linked(
            st.segmented_control, "Projection of the embeddings", WAYS, default=UMAP, required=True,
            key=tab.key("projection"), label_visibility="collapsed", help=HELP, width="content",
        )  # fmt: skip
        if way == MODES:
            ranks = _choose_axes(tab)
    if way == MODES:
        projection = mode_projection(run, records, step, ranks)
    elif way in MAPS:
        projection = mapped_projection(run, records, step, way)
    else:
        projection = principal_projection(run, records, step) if way == PCA else request_projection(run, records, step)
    if projection is None or (way == UMAP and not np.isfinite(projection.frame).any()):
        projection = _meanwhile(run, records, step, projection)
    return projection


def _choose_axes(tab: Page) -> tuple[int, int]:
    """Draw the choice of the two eigenvectors; the first is nearly constant."""
    across, up = (
        linked(
            st.number_input, label, 1, MOST_RANKS, rank, key=tab.key(key), width=180,
            help="rank of its eigenvalue in the spectrum; the first eigenvector is nearly constant. An eigenvector's "
            "sign means nothing: from one step to another the points may be mirrored",
        )
        for label, key, rank in (("Eigenvector across", "across", 2), ("Eigenvector up", "up", 3))
    )  # fmt: skip
    return across, up


def mode_projection(run: Run, records: History, step: int, ranks: tuple[int, int]) -> Projection | None:
    """Embeddings of a snapshot, by their entries in two eigenvectors; None where the snapshot has no embeddings.

    Args:
        run: the shown run.
        records: of the run.
        step: of a snapshot.
        ranks: of the eigenvectors across and up, from 1.
    """
    snapshot = records.at(step)
    if snapshot is None or "fake_embedding" not in snapshot:
        return None
    found = [modes_at(run, snapshot, member) for member in range(len(run.config.members))]
    chosen = np.array(ranks) - 1
    frame = np.stack([np.concatenate([of.real[chosen], of.fake[chosen]], axis=1).T for of in found])
    axes = [[f"eigenvector {rank} (λ {of.values[rank - 1]:.3g})".replace("-", "−") for rank in ranks] for of in found]
    note = f"step {step:,}; entries in two eigenvectors of D / mean D; fakes by Nyström's formula"
    return Projection(frame, step, awaited=False, note=note, axes=axes)


def principal_projection(run: Run, records: History, step: int) -> Projection | None:
    """PCA of the embeddings of a snapshot, on the plane of the reals; None where the snapshot has none."""
    snapshot, plane = records.at(step), records.principal(step)
    if snapshot is None or plane is None or "fake_embedding" not in snapshot:
        return None
    points = [plane.project(snapshot[f"{kind}_embedding"]) for kind in ("real", "fake")]
    axes = [[f"{share:.0%} of variance" for share in of] for of in np.nan_to_num(plane.shares)]
    note = f"step {step:,}; the plane in which the real embeddings vary most, with each axis' share of their variance"
    return Projection(np.concatenate(points, axis=1), step, awaited=False, note=note, axes=axes)


def mapped_projection(run: Run, records: History, step: int, way: str) -> Projection | None:
    """Isomap or diffusion map of the shown members' embeddings, turned onto the map before; PCA until it is ready."""
    snapshot = records.at(step)
    if snapshot is None or "fake_embedding" not in snapshot:
        return None
    clouds = np.concatenate([snapshot[f"{kind}_embedding"] for kind in ("real", "fake")], axis=1)
    members = columns_of(run).members
    keys = [(str(run.path), run.identity, step, member, way) for member in members]
    answer = ask("map", keys, lambda key: _map(way, clouds[key[3]]))
    before: dict[int, np.ndarray] = st.session_state.setdefault("_maps", {}).setdefault((run.name, way), {})
    frame = np.full((*clouds.shape[:2], 2), np.nan, dtype=np.float32)
    if answer.values is None:
        note = answer.reason or f"PCA of step {step:,}, until the {way} is ready"
        found = principal_projection(run, records, step)
        return found and replace(found, awaited=not answer.reason, note=note)
    for member, flat in zip(members, answer.values, strict=True):
        onto = before.get(member)
        usable = onto is not None and onto.shape == flat.shape and np.isfinite([flat, onto]).all()
        frame[member] = before[member] = aligned(flat, onto) if usable else flat
    lost = ", of too few different points" if np.isnan(frame[members]).any() else ""
    return Projection(frame, step, awaited=False, note=f"step {step:,}{lost}")


def _map(way: str, embeddings: np.ndarray) -> np.ndarray:
    """A map `(m, 2)` of embeddings `(m, k)`; NaN if too few of them differ."""
    if not np.isfinite(embeddings).all() or len(np.unique(embeddings, axis=0)) < FEWEST:
        return np.full((len(embeddings), 2), np.nan, dtype=np.float32)
    return MAPS[way](torch.from_numpy(embeddings)).astype(np.float32)


def _meanwhile(run: Run, records: History, step: int, awaited: Projection | None) -> Projection:
    """PCA while there is no UMAP; where there are no embeddings either, an empty projection that says why."""
    found = principal_projection(run, records, step)
    if awaited is None:
        return found or request_projection(run, records, step)
    if found is None:
        return awaited
    return replace(found, awaited=awaited.awaited, note=f"PCA of step {step:,}, until UMAP is ready: {awaited.note}")
