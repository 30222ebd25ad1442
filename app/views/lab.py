"""The Lab: set up an experiment on the left, watch it find the manifold on the right."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from app import layers
from app.caches import described, keep_drawing, keep_upload, runs
from app.charts import clouds
from app.components.cloud_plot import cloud_plot
from app.components.draw_points import draw_points
from app.header import choose_run, transport
from app.live import Rows, columns_of, follow, frame_of, gaps, heading, score_table, spectra
from app.services import start_demo
from app.session import Page, page
from app.sidebar import NEXT_RUN, experiment
from app.widgets import manifold_settings
from mvm.errors import ConfigError
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.points import SCORES
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


def lab() -> None:
    """The whole page."""
    tab = page("points")
    if not runs(tab.kind):
        start_demo(tab)
    run, status = choose_run(tab)
    with st.sidebar:
        st.markdown("#### MvM Lab")
        st.caption(NEXT_RUN)
        config = experiment(tab, choose_data(tab), run)
    tab.draw_notice()
    transport(tab, run, status, config, layers=partial(layers.draw_controls, tab, run))
    if run is None:
        st.info("No run yet: choose a manifold on the left and press **Train**.", icon=":material/arrow_back:")
    else:
        follow(tab, run, status, Rows(view=draw_clouds, embeddings=embeddings, history=history_rows))


def choose_data(tab: Page) -> dict[str, Any] | None:
    """The config's fields of the data: a toy manifold or a file of points; None before there is one."""
    source = st.segmented_control(
        "Data", ["Manifold", "Own file", "Draw"], default="Manifold", required=True, key="source", bind="query-params"
    )
    if source == "Manifold":
        tab.read_link("data", MANIFOLDS, lambda name: MANIFOLDS[name].title)
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
            return None
        path = keep_upload(upload.name, upload.getvalue())
        read, *odd = described(path)
        st.caption(read)
        for line in odd:
            st.warning(line, icon=":material/rule:")
        return {"data": str(path)}
    except (ConfigError, OSError) as error:
        st.error(str(error), icon=":material/error:")
        return None


def draw_clouds(tab: Page, run: Run, view: dict[str, np.ndarray]) -> None:
    """Data space: the reals, the fakes, the generator's grid, and what a person has laid over them."""
    shown = columns_of(run)
    members, titles = shown.members, shown.titles
    step = int(view["step"])
    wanted = layers.choice_of(tab)
    real, fake, grid = view["real"], view["fake"][members], view["grid"][members]
    note, flat = "", layers.Axes.of(real)
    if real.shape[-1] > 3:
        note = f", first three principal components of {real.shape[-1]} dimensions"
    elif real.shape[-1] == 3:
        note = ", drag to turn"
    drawn = flat(fake)
    panels = clouds.data_panels(
        flat(real), drawn, titles=titles, grid=flat(grid) if "grid" in wanted.layers else None,
        show_real="real" in wanted.layers, show_fake="fake" in wanted.layers,
    )  # fmt: skip
    layered = layers.over_clouds(panels, wanted, run, view, members, flat)
    panels = layered.panels
    heading("Data space", f"step {step:,}{note}{clouds.outside(drawn, panels[0]['span'], titles=titles)}")
    layers.draw_notes(layered.notes)
    picked = cloud_plot(
        panels, key=f"clouds.{run.name}", height=360, step=step, pickable=wanted.picks_ends,
        alt=f"Real and generated points in data space at step {step}, one panel per variant: {', '.join(titles)}",
    )  # fmt: skip
    layers.take_click(picked, wanted)


def embeddings(tab: Page, run: Run, seen: History, step: int) -> bool:
    """UMAP of the real and fake embeddings: the newest frame up to the shown step; true if a newer is awaited."""
    frame, of, behind = frame_of(run, seen, step)
    shown = columns_of(run)
    panels = clouds.umap_panels(frame[shown.members], titles=shown.titles)
    layered = layers.over_projection(panels, layers.choice_of(tab), run, seen.at(of), frame, shown.members)
    panels = layered.panels
    layers.draw_notes(layered.notes)
    cloud_plot(
        panels, key=f"umap.{run.name}", height=340, step=of,
        alt=f"UMAP of real and generated embeddings under the learned metric at step {of}, one panel per variant",
    )  # fmt: skip
    return behind


def history_rows(tab: Page, run: Run, seen: History, step: int) -> None:
    """Gaps, spectra and scores: what changes with every record."""
    gaps(tab, run, seen, step)
    spectra(tab, run, seen, step)
    score_table(run, seen, step, {key: SCORES[key] for key in SHOWN_SCORES})
