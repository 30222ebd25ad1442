"""The Lab, for points: settings of an experiment on the left, the shown run on the right."""

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
from app.embeddings import draw_projection
from app.header import choose_run, draw_buttons
from app.link import linked
from app.live import (
    Rows,
    columns_of,
    draw_gaps,
    draw_heading,
    draw_run,
    draw_scores,
    draw_spectra,
)
from app.services import apply_moved_weights, start_demo
from app.session import Page, page
from app.sidebar import data_of, draw_settings, draw_start
from app.text import first_lines, plain
from app.widgets import manifold_widgets, model_widgets
from mvm.config import Config
from mvm.data.kind import SWITCHES
from mvm.data.tables import POINT_FILES
from mvm.errors import ConfigError
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.points import SCORES
from mvm.studies.compare import data_title
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
SAME, MANIFOLD, FILE, DRAWING = "As this run", "Manifold", "Own file", "Draw"  # sources of points


def lab() -> None:
    """Draw the page."""
    tab = page("points")
    if not runs(tab.kind):
        start_demo(tab)
    run, status = choose_run(tab)
    with st.sidebar:
        start = draw_start(tab, run)
        next_run = draw_settings(tab, choose_data(tab, start.copied), start)
    apply_moved_weights(tab, next_run.weights)
    tab.draw_notice()
    draw_buttons(tab, run, status, next_run, layers=partial(layers.draw_controls, tab, run))
    if run is None:
        st.info("No run yet: choose a manifold on the left and press **Train**.", icon=":material/arrow_back:")
    else:
        draw_run(tab, run, status, Rows(view=draw_clouds, embeddings=draw_embeddings, history=draw_history))


# -- left: the data ----------------------------------------------------------------------------------------------------


def choose_data(tab: Page, copied: Run | None) -> dict[str, Any] | None:
    """Draw the choice of a toy manifold, own points or those of a copied run.

    Returns:
        The config's fields of the data; None without data.
    """
    sources = [MANIFOLD, FILE, DRAWING] if copied is None else [SAME, MANIFOLD, FILE, DRAWING]
    key = "source" if copied is None else f"{copied.name}.source"
    source = linked(st.segmented_control, "Data", sources, default=sources[0], required=True, key=key)
    if source == SAME and copied is not None:
        st.caption(plain(f"The data of {copied.name}: {data_title(copied.config.data)}."))
        return data_of(copied)
    if source == MANIFOLD:
        return choose_manifold(tab)
    try:
        return draw_own_points() if source == DRAWING else upload_points()
    except (ConfigError, OSError) as error:
        st.error(plain(error), icon=":material/error:")
        return None


def choose_manifold(tab: Page) -> dict[str, Any]:
    """Draw the choice of a toy manifold and its settings."""
    name = linked(
        st.selectbox, "Manifold", list(MANIFOLDS), format_func=lambda name: MANIFOLDS[name].title, key="data",
        help="Toy manifolds are known exactly, so scores can compare with the ground truth.",
    )  # fmt: skip
    with st.expander("Manifold settings"):
        settings = manifold_widgets(name)
        own = MANIFOLDS[name].ambient_dim
        ambient = linked(
            st.number_input, "Ambient dimension", own, 512, own, key=f"{name}.ambient",
            help="embed the manifold in more dimensions, by a seeded isometry",
        )  # fmt: skip
    return {"data": name, "settings": settings, "ambient_dim": int(ambient) if ambient > own else None}


def draw_own_points() -> dict[str, Any] | None:
    """Draw the square for points drawn by hand.

    Raises:
        ConfigError: they cannot be trained on.
    """
    points = draw_points(key="drawing")
    if points is None:
        st.caption("Draw a shape: each stroke leaves points. At least 64 points are needed.")
        return None
    return {"data": str(keep_drawing(points))}


def upload_points() -> dict[str, Any] | None:
    """Draw the upload of a file of points, and describe its content.

    Raises:
        ConfigError: it cannot be trained on.
    """
    upload = st.file_uploader(
        "Points", type=[ending[1:] for ending in POINT_FILES],
        help="Text: one point per line, with or without a header, decimal points or commas. NPY: one two-dimensional "
        "array. Points are standardised for training and for scores; clouds are drawn in the file's units.",
    )  # fmt: skip
    if upload is None:
        st.caption("A file of text (CSV, TSV) or NPY with at least 64 points of 2 or more columns.")
        return None
    with st.expander("Rows and columns to leave out"):
        switches = model_widgets(Config(), prefix="file.", skip=tuple({*Config.model_fields} - {*SWITCHES}))
    path = keep_upload(upload.name, upload.getvalue(), switches)
    content, *oddities = described(path, switches)
    st.caption(plain(content))
    for line in first_lines(oddities):
        st.warning(plain(line), icon=":material/rule:")
    return {"data": str(path), **switches}


# -- right: the run ----------------------------------------------------------------------------------------------------


def draw_clouds(tab: Page, run: Run, view: dict[str, np.ndarray]) -> None:
    """Draw data space: reals, fakes, the generator's grid and the chosen layers."""
    shown, step = columns_of(run), int(view["step"])
    choice = layers.choice_of(tab)
    real, fake, grid = view["real"], view["fake"][shown.members], view["grid"][shown.members]
    dim, axes = real.shape[-1], layers.Axes.of(real)
    projected = f", first three principal components of {dim} dimensions"
    note = projected if dim > 3 else ", drag to turn" if dim == 3 else ""
    drawn = axes(fake)
    panels = clouds.data_panels(
        axes(real), drawn, titles=shown.titles, grid=axes(grid) if "grid" in choice.layers else None,
        show_real="real" in choice.layers, show_fake="fake" in choice.layers,
    )  # fmt: skip
    layered = layers.over_clouds(panels, choice, run, view, shown.members, axes)
    outside = clouds.outside(drawn, layered.panels[0]["span"], titles=shown.titles)
    draw_heading("Data space", f"step {step:,}{note}{outside}")
    layers.draw_notes(layered.notes)
    variants = ", ".join(shown.titles)
    picked = cloud_plot(
        layered.panels, key=f"clouds.{run.name}", height=360, step=step, pickable=choice.picks_ends, linked=run.name,
        alt=f"Real and generated points in data space at step {step}, one panel per variant: {variants}",
    )  # fmt: skip
    layers.take_click(picked, choice)


def draw_embeddings(tab: Page, run: Run, records: History, step: int) -> bool:
    """Draw a projection of the embeddings of reals and fakes; return True while a newer projection is awaited."""
    projection, shown = draw_projection(tab, run, records, step), columns_of(run)
    panels = clouds.umap_panels(
        projection.frame[shown.members], titles=shown.titles, axes=projection.axes_of(shown.members)
    )
    snapshot = records.at(projection.step)
    layered = layers.over_projection(panels, layers.choice_of(tab), run, snapshot, projection.frame, shown.members)
    layers.draw_notes(layered.notes)
    cloud_plot(
        layered.panels, key=f"umap.{run.name}", height=340, step=projection.step, linked=run.name,
        alt=f"Embeddings of real and generated examples under the learned metric at step {projection.step}, one panel "
        "per variant",
    )  # fmt: skip
    return projection.awaited


def draw_history(tab: Page, run: Run, records: History, step: int) -> None:
    """Draw gaps, spectra and scores."""
    draw_gaps(tab, run, records, step)
    draw_spectra(tab, run, records, step)
    draw_scores(run, records, step, {key: SCORES[key] for key in SHOWN_SCORES})
