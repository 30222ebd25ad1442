"""The Lab: set up an experiment on the left, watch it find the manifold on the right."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import plots
from app.cloud_plot import cloud_plot
from app.controls import manifold_settings
from app.draw_points import draw_points
from app.follow import Rows, columns_of, follow, frame_of, gaps, heading, score_table, spectra
from app.setup import experiment
from app.state import Page, first_run, keep_drawing, keep_upload, page, runs
from app.transport import choose_run, transport
from mvm.config import ConfigError
from mvm.history import History
from mvm.runs import Run
from mvm.scores import SCORES
from toy_manifolds import MANIFOLDS

__all__ = ["lab"]

SHOWN_SCORES = (
    "w2_ratio",
    "distance_mean",
    "precision",
    "recall",
    "coverage",
    "density",
    "ks_max",
    "c2st",
    "geodesic_spearman",
)
LAYERS = ["real", "fake", "grid"]


def lab() -> None:
    """The whole page."""
    tab = page()
    if not runs():
        first_run(tab)
    with st.sidebar:
        st.markdown("#### MvM Lab")
        config = experiment(tab, choose_data())
    tab.show_notice()
    run, status = choose_run(tab)
    transport(tab, run, status, config, layers=layers)
    if run is None:
        st.info("No run yet: choose a manifold on the left and press **Train**.", icon=":material/arrow_back:")
    else:
        follow(tab, run, status, Rows(view=clouds, embeddings=embeddings, history=history_rows))


def choose_data() -> dict[str, Any] | None:
    """The config's fields of the data: a toy manifold or a file of points; None before there is one."""
    source = st.segmented_control(
        "Data", ["Manifold", "Own file", "Draw"], default="Manifold", required=True, key="source", bind="query-params"
    )
    if source == "Manifold":
        name = st.selectbox(
            "Manifold",
            list(MANIFOLDS),
            format_func=lambda name: MANIFOLDS[name].title,
            key="data",
            bind="query-params",
            help="Toy manifolds are known exactly, so every score has its truth.",
        )
        with st.expander("Manifold settings"):
            settings = manifold_settings(name)
            own = MANIFOLDS[name].ambient_dim
            ambient = st.number_input(
                "Ambient dimension",
                own,
                512,
                own,
                key=f"{name}.ambient",
                bind="query-params",
                help="place the manifold in a space of more dimensions, by a seeded isometry",
            )
        return {"data": name, "settings": settings, "ambient_dim": int(ambient) if ambient > own else None}
    try:
        if source == "Draw":
            points = draw_points(key="drawing")
            if points is None:
                st.caption("Draw a shape: each stroke leaves points behind. At least 64 are needed.")
            return None if points is None else {"data": str(keep_drawing(points))}
        upload = st.file_uploader(
            "Points",
            type=["csv", "npy"],
            help="CSV: one point a line, with or without a header. NPY: one two-dimensional array. Standardised for "
            "training, and mapped back for every picture and score.",
        )
        if upload is None:
            st.caption("A CSV or NPY file with at least 64 points of 2 or more columns.")
        return {"data": str(keep_upload(upload.name, upload.getvalue()))} if upload else None
    except (ConfigError, OSError) as error:
        st.error(str(error), icon=":material/error:")
        return None


def layers() -> None:
    """What data space shows."""
    st.segmented_control(
        "Layers", LAYERS, selection_mode="multi", default=LAYERS, key="layers", bind="query-params",
        help="grid: a square of the generator's first two inputs, as the generator bends it into data space",
    )  # fmt: skip


def clouds(tab: Page, run: Run, view: dict[str, np.ndarray]) -> None:
    """Data space: the reals, the fakes and the generator's grid."""
    shown = columns_of(run)
    members, titles = shown.members, shown.titles
    step = int(view["step"])
    layers = tab.setting("layers", LAYERS)
    real, fake, grid = view["real"], view["fake"][members], view["grid"][members]
    note = ""
    if real.shape[-1] > 3:
        note = f", first three principal components of {real.shape[-1]} dimensions"
        real, fake, grid = _principal(real, fake, grid)
    elif real.shape[-1] == 3:
        note = ", drag to turn"
    heading("Data space", f"step {step:,}{note}")
    panels = plots.cloud(
        real, fake, titles=titles, grid=grid if "grid" in layers else None,
        show_real="real" in layers, show_fake="fake" in layers,
    )  # fmt: skip
    cloud_plot(
        panels, key=f"clouds.{run.name}", height=360, step=step,
        alt=f"Real and generated points in data space at step {step}, one panel per variant: {', '.join(titles)}",
    )  # fmt: skip


def embeddings(tab: Page, run: Run, seen: History, step: int) -> bool:
    """UMAP of the real and fake embeddings: the newest frame up to the shown step; true if a newer is awaited."""
    frame, of, behind = frame_of(run, seen, step)
    shown = columns_of(run)
    cloud_plot(
        plots.planar(frame[shown.members], titles=shown.titles), key=f"umap.{run.name}", height=340, step=of,
        alt=f"UMAP of real and generated embeddings under the learned metric at step {of}, one panel per variant",
    )  # fmt: skip
    return behind


def history_rows(tab: Page, run: Run, seen: History, step: int) -> None:
    """Gaps, spectra and scores: what changes with every record."""
    gaps(tab, run, seen, step)
    spectra(tab, run, seen, step)
    score_table(run, seen, step, {key: SCORES[key] for key in SHOWN_SCORES})


def _principal(real: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Everything on the first three principal axes of the reals."""
    centre = real.mean(0)
    axes = np.linalg.svd(real - centre, full_matrices=False)[2][:3].T
    return tuple((array - centre) @ axes for array in (real, *others))
