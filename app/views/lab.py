"""The Lab, for points: settings of an experiment on the left, the shown run on the right."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from app import density, layers, lenses, preview, sampling
from app.caches import described, file_columns, keep_drawing, keep_upload, runs
from app.charts import clouds
from app.columns import Columns, columns_of, scored
from app.components.cloud_plot import cloud_plot
from app.components.draw_points import draw_points
from app.embeddings import draw_projection
from app.header import draw_buttons, draw_head
from app.link import keep, linked
from app.live import (
    LIVE,
    OFTEN,
    Panel,
    draw_gaps,
    draw_run,
    draw_scores,
    draw_spectra,
    height_of,
    view_of,
)
from app.services import apply_moved_settings, show_demo
from app.session import Page, page
from app.sidebar import data_of, draw_settings, draw_start
from app.story import begin_story, draw_story, story_step
from app.takeaway import link_to_takeaway
from app.text import first_lines, plain
from app.welcome import draw_welcome
from app.widgets import manifold_widgets, model_widgets
from mvm.config import Config
from mvm.data.kind import SWITCHES
from mvm.data.tables import POINT_FILES
from mvm.errors import ConfigError
from mvm.runs.evaluate import samples_along
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
UNDER_TITLES = {"w2_ratio": "W₂ {} × baseline", "coverage": "coverage {}", "distance_mean": "off-manifold {}"}
ALONE = 400  # pixels of the charts of a single column, which stand side by side
SAME, MANIFOLD, FILE, DRAWING = "As this run", "Manifold", "Own file", "Draw"  # sources of points


def lab() -> None:
    """Draw the page."""
    tab = page("points")
    lenses.take_link(tab)
    if not runs(tab.kind):
        show_demo(tab)
    step = story_step()
    if step is not None:
        draw_story(tab, step)
    elif draw_welcome(key="welcome"):
        begin_story(1)
        st.rerun()
    run, status = draw_head(tab, "Lab", view=partial(layers.draw_controls, tab))
    with st.sidebar:
        start = draw_start(tab, run)
    top = st.container()
    if run is None:
        st.info("No run yet: choose a manifold on the left and press **Train**.", icon=":material/arrow_back:")
    else:
        draw_run(tab, run, status, PANELS)
        link_to_takeaway(run)
    with st.sidebar:  # after the clouds: a browser takes longer to draw these widgets than all the rest
        next_run = draw_settings(tab, choose_data(tab, start.copied), start)
    apply_moved_settings(tab, next_run.movable)
    with top:
        tab.draw_notice()
        draw_buttons(tab, run, status, next_run)


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
        data = data_of(copied)
        preview.draw_points(data, own=copied.own_points)
        return data
    if source == MANIFOLD:
        return choose_manifold(tab)
    try:
        return draw_own_points() if source == DRAWING else upload_points()
    except (ConfigError, OSError) as error:
        st.error(plain(preview.in_app(str(error))), icon=":material/error:")
        return None


def choose_manifold(tab: Page) -> dict[str, Any]:
    """Draw the choice of a toy manifold and its settings."""
    preview.take_shape("data")
    name = linked(
        st.selectbox, "Manifold", list(MANIFOLDS), format_func=lambda name: MANIFOLDS[name].title, key="data",
        help="Toy manifolds are known exactly, so scores can compare with the ground truth.",
    )  # fmt: skip
    preview.draw_shapes()
    place = st.container()
    with st.expander("Manifold settings"):
        settings = manifold_widgets(name)
        own = MANIFOLDS[name].ambient_dim
        ambient = linked(
            st.number_input, "Ambient dimension", own, 512, own, key=f"{name}.ambient",
            help="embed the manifold in more dimensions, by a seeded isometry",
        )  # fmt: skip
    data = {"data": name, "settings": settings, "ambient_dim": int(ambient) if ambient > own else None}
    with place:
        preview.draw_points(data)
    return data


def draw_own_points() -> dict[str, Any] | None:
    """Draw the square for points drawn by hand.

    Raises:
        ConfigError: they cannot be trained on.
    """
    points = draw_points(key="drawing")
    if points is None:
        st.caption("Draw a shape: each stroke leaves points. At least 64 points are needed.")
        return None
    data = {"data": str(keep_drawing(points))}
    preview.draw_points(data)
    return data


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
    keep(*(f"file.{name}" for name in SWITCHES))
    if upload is None:
        st.caption("A file of text (CSV, TSV) or NPY with at least 64 points of 2 or more columns.")
        return None
    path = keep_upload(upload.name, upload.getvalue())
    with st.expander("Header and missing numbers"):
        read = {*SWITCHES} - {"drop_columns"}
        switches = model_widgets(Config(), prefix="file.", skip=tuple({*Config.model_fields} - read))
    columns = file_columns(path, switches)
    dropped = preview.choose_columns(path, columns)
    switches |= {"drop_columns": dropped} | preview.choose_rows(columns, dropped, switches["missing"])
    content, *oddities = described(path, switches)
    data = {"data": str(path), **switches}
    for line in first_lines(oddities):
        st.warning(plain(preview.in_app(line)), icon=":material/rule:")
    preview.draw_points(data, summary=content)
    return data


# -- right: the run ----------------------------------------------------------------------------------------------------


def draw_clouds(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw data space: reals, fakes, the generator's grid and the chosen layers, with scores below the titles."""
    shown, view = columns_of(run), view_of(tab, run, records)
    choice = layers.choice_of(tab)
    real, fake, grid = view["real"], view["fake"][shown.members], view["grid"][shown.members]
    dim, axes = real.shape[-1], layers.Axes.of(real)
    drawn = axes(fake)
    panels = clouds.data_panels(
        axes(real), drawn, titles=shown.titles, grid=axes(grid) if "grid" in choice.layers else None,
        show_real="real" in choice.layers, show_fake="fake" in choice.layers,
    )  # fmt: skip
    layered = layers.over_clouds(panels, choice, run, view, shown.members, axes)
    outside = clouds.outside(drawn, layered.panels[0]["span"], titles=shown.titles)
    layers.draw_notes(layered.notes)
    picked = cloud_plot(
        scored(layered.panels, run, records, step, UNDER_TITLES, shown.variants), key=f"clouds.{run.name}",
        height=height_of(tab, _height(shown, 300)), step=step, pickable=choice.picks, linked=run.name,
        alt=f"Real and generated points in data space at step {step}, one panel per variant: {', '.join(shown.titles)}",
    )  # fmt: skip
    layers.take_click(picked, choice)
    projected = f", first three principal components of {dim} dimensions" if dim > 3 else ""
    return f"Step {step:,}{projected}{', drag to turn' if dim > 2 else ''}{outside}."


def draw_embeddings(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw a projection of the embeddings of reals and fakes."""
    projection, shown = draw_projection(tab, run, records, step), columns_of(run)
    tab.behind |= projection.awaited
    panels = clouds.umap_panels(
        projection.frame[shown.members], titles=shown.titles, axes=projection.axes_of(shown.members)
    )
    snapshot = records.at(projection.step)
    layered = layers.over_projection(panels, layers.choice_of(tab), run, snapshot, projection.frame, shown.members)
    layers.draw_notes(layered.notes)
    cloud_plot(
        layered.panels, key=f"umap.{run.name}", height=height_of(tab, _height(shown, 205)), step=projection.step,
        linked=run.name,
        alt=f"Real and generated embeddings under the learned metric at step {projection.step}, one panel per "
        f"variant: {', '.join(shown.titles)}",
    )  # fmt: skip
    return projection.note


def _height(shown: Columns, several: int) -> int:
    """Pixels of a chart: so many for several columns; a single column has data space and UMAP side by side."""
    return several if len(shown.members) > 1 else ALONE


def draw_all_scores(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw the table of scores."""
    return draw_scores(tab, run, records, step, {key: SCORES[key] for key in SHOWN_SCORES})


PANELS = (  # top to bottom, then the tabs
    Panel("data", "Data space", draw_clouds, LIVE, height=300),
    Panel("embeddings", "Embeddings", draw_embeddings, OFTEN, beside=True, height=205),
    Panel("gaps", "Gaps", draw_gaps, in_tab=True, height=300),
    Panel(
        "density", "Density along the manifold", density.draw_density, in_tab=True, height=density.HEIGHT,
        offered=density.has_density,
    ),
    Panel(
        "sampling", "Sampling time", sampling.draw_sampling, in_tab=True, height=sampling.HEIGHT,
        offered=samples_along,
    ),
    Panel("lenses", "Lenses", lenses.draw_lens, in_tab=True, height=lenses.HEIGHT),
    Panel("spectrum", "Spectrum of the distance matrix", draw_spectra, in_tab=True, height=520),
    Panel("scores", "Scores", draw_all_scores, in_tab=True),
)  # fmt: skip
