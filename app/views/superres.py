"""Super-resolution: pictures upscaled by every trained setting, and trainings on pairs of patches."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import streamlit as st
import torch

from app import preview
from app.caches import Reading, built_in_patches, photographs
from app.charts import clouds, training
from app.columns import columns_of, in_words, scored
from app.components.cloud_plot import cloud_plot
from app.components.live_plot import live_plot
from app.components.picture_grid import picture_grid
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
from app.services import apply_moved_settings
from app.session import Page, page
from app.sidebar import data_of, draw_settings, draw_start
from app.text import first_lines, plain
from app.views.pictures import draw_pictures
from mvm.data.pairs import SUPERRES
from mvm.errors import RunError
from mvm.imaging.resize import SCALE, imresize
from mvm.look.palette import QUIET, rgba, variant_colours
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.superres import SUPERRES_SCORES, bicubic, measure
from mvm.studies.labels import variant_label

__all__ = ["superres"]

PICTURES, TRAINING = "Pictures", "Training"  # what the page shows
BUILT_IN, OWN = "Built-in", "Own photographs"  # what is trained on
PATCHES = 8  # shown side by side
CURVES = ("psnr_y", "ssim_y", "psnr_rgb")  # scores drawn over training
UNDER_TITLES = {"psnr_y": "PSNR {} dB", "ssim_y": "SSIM {}"}


def superres() -> None:
    """Draw the page."""
    tab = page("superres")
    run, status = draw_head(tab, "Super-resolution")
    with st.sidebar:
        start = draw_start(tab, run)
    top = st.container()
    keep(*map(tab.key, ("picture", "shrink", "with")))
    if draw_choice(tab, alive=status.alive) == PICTURES or run is None:
        draw_pictures(tab, run, status)
    else:
        draw_run(tab, run, status, PANELS)
    with st.sidebar:  # after the pictures, as in the Lab
        next_run = draw_settings(tab, choose_data(tab, start.copied), start)
    apply_moved_settings(tab, next_run.movable)
    with top:
        tab.draw_notice()
        draw_buttons(tab, run, status, next_run)


def draw_choice(tab: Page, *, alive: bool) -> str:
    """Draw the choice between pictures and training; a training that has just been started is shown."""
    turn, known = st.session_state.get("_superres.turn", tab.turn), tab.key("show") in st.session_state
    if alive and known and turn != tab.turn:
        st.session_state[tab.key("show")] = TRAINING
    st.session_state["_superres.turn"] = tab.turn
    return linked(
        st.segmented_control, "Show", [PICTURES, TRAINING], default=TRAINING if alive else PICTURES, required=True,
        key=tab.key("show"), label_visibility="collapsed",
        help="pictures: upscale a picture by every trained setting, side by side. training: patches, distances and "
        "scores of the shown run over its training",
    )  # fmt: skip


# -- left: the data ----------------------------------------------------------------------------------------------------


def choose_data(tab: Page, copied: Run | None) -> dict[str, Any] | None:
    """Draw the choice of photographs; return the config's fields of the data, None without data.

    Args:
        tab: the page.
        copied: run whose settings are copied, and its photographs with them; None for a choice.
    """
    if copied is not None:
        st.caption(f"Photographs of {plain(copied.name)}: {plain(copied.config.data_from or 'built-in')}")
        if copied.config.data_from is None:
            draw_some_patches(*built_in_patches())
        return data_of(copied)
    source = linked(
        st.segmented_control, "Data", [BUILT_IN, OWN], default=BUILT_IN, required=True, key=tab.key("source"),
        help="built-in: four photographs that come with scikit-image and scikit-learn. own: high-resolution pictures "
        "on the machine that runs the app; hundreds of them make a better network",
    )  # fmt: skip
    if source == BUILT_IN:
        draw_some_patches(*built_in_patches())
        return {"data": SUPERRES}
    path = linked(
        st.text_input, "Photographs", "", key=tab.key("from"), placeholder="/data/DIV2K_train_HR",
        help="folder or ZIP of pictures, DIV2K as published, Parquet, LMDB or arrays, or the name of a prepared cache; "
        "only read, and decoded once",
    ).strip()  # fmt: skip
    if not path:
        st.caption("Give the path of a folder or a ZIP of photographs, or the name of a prepared cache.")
        return None
    reading = photographs(path)
    is_read = reading.lines.done()
    st.fragment(draw_reading, run_every=None if is_read else 0.5)(reading, is_read)
    if not is_read or reading.lines.exception() is not None:
        return None
    return {"data": SUPERRES, "data_from": path}


def draw_reading(reading: Reading, was_read: bool) -> None:
    """Draw progress of decoding photographs, or what they are; rerun the page when they are there."""
    lines: Future[list[str]] = reading.lines
    if lines.done() != was_read:
        st.rerun()
    if not lines.done():
        st.progress(reading.share, text="decoding the photographs, once ...")
    elif error := lines.exception():
        st.error(plain(error), icon=":material/error:")
        st.button(
            "Read again", icon=":material/refresh:", on_click=photographs.clear, args=(reading.source,),
            help="after the folder was mended",
        )  # fmt: skip
    else:
        content, *oddities = lines.result()
        for line in first_lines(oddities):
            st.caption(plain(line))
        if reading.patches is not None:
            draw_some_patches(content, *reading.patches)


def draw_some_patches(summary: str, low: np.ndarray, high: np.ndarray) -> None:
    """Draw LR patches above the HR patches that they are to become."""
    enlarged = low.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    preview.draw_pictures({"Low resolution, the input": enlarged, "High resolution, the target": high}, summary)


# -- right: the run ----------------------------------------------------------------------------------------------------


def draw_patches(tab: Page, run: Run, records: History, step: int) -> str | None:
    """Draw upscaled patches of the held-out photographs between their inputs and the originals, one row per variant."""
    shown, view = columns_of(run), view_of(tab, run, records)
    high = original_patches(run)
    if high is None:
        return None
    high = high[: min(PATCHES, view["fake"].shape[1])]
    low, cubic, scores = inputs_of(high)
    panels = [
        {"title": "Low resolution, the input", "images": low},
        {"title": "Bicubic", "images": cubic, "captions": scores},
    ]
    for member, title in zip(shown.members, shown.titles, strict=True):
        fake = view["fake"][member, : len(high)]
        panels.append({"title": title, "images": fake, "captions": psnr_captions(fake, high)})
    panels.append({"title": "Original", "images": high})
    picture_grid(
        scored(panels, run, records, step, UNDER_TITLES, [None, None, *shown.variants, None]),
        key=f"patches.{run.name}", step=step, cell=150, columns=len(high),
        alt=f"Patches upscaled at step {step}: low resolution, bicubic, {', '.join(shown.titles)}, original",
    )  # fmt: skip
    return (
        f"Step {step:,}. Every column is a part of a photograph that no training sees, with its PSNR of brightness; "
        "scores below a title are of the whole photographs."
    )


def draw_embeddings(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw a projection of the embeddings of original and upscaled patches, each pair joined by a line."""
    projection, shown = draw_projection(tab, run, records, step), columns_of(run)
    tab.behind |= projection.awaited
    frame = projection.frame[shown.members]
    panels = clouds.umap_panels(frame, titles=shown.titles, axes=projection.axes_of(shown.members))
    half = frame.shape[1] // 2
    for panel, points in zip(panels, frame, strict=True):
        joined = np.stack([points[:half], points[half:], np.full_like(points[:half], np.nan)], axis=1).reshape(-1, 2)
        line = {"name": "pair", "colour": rgba(QUIET, 0.6), "points": joined, "line": True}
        panel["layers"] = [line, *panel["layers"]]
    cloud_plot(
        panels, key=f"umap.{run.name}", height=height_of(tab, 300), step=projection.step, linked=run.name,
        alt=f"Embeddings of original and upscaled patches at step {projection.step}, one panel per variant",
    )  # fmt: skip
    return (
        f"{projection.note}; real: original patches, fake: upscaled ones; a line joins each pair, short where upscaled "
        "patches are like the originals"
    )


def draw_all_scores(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw the table of scores."""
    scores = records.scores(step)
    keys = [key for key in SUPERRES_SCORES if scores is not None and key in scores.rows[0]]
    return draw_scores(tab, run, records, step, {key: SUPERRES_SCORES[key] for key in keys})


def draw_score_curves(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw PSNR and SSIM of the four held-out photographs over training, beside bicubic interpolation."""
    curves = {key: records.score_curve(key) for key in CURVES}
    steps = curves[CURVES[0]][0]
    if not len(steps):
        return f"The first scores are measured at step {run.config.every(10):,}."
    scores = records.scores(int(steps[-1]))
    labels = {key: SUPERRES_SCORES[key].label for key in CURVES}
    titles = [variant_label(run, name) for name in run.config.variants]
    figure = training.score_curves(
        steps, {labels[key]: values for key, (_, values) in curves.items()},
        {labels[key]: None if scores is None else scores.floor(f"{key}_floor") for key in CURVES},
        baseline="bicubic", titles=titles, step=step, colours=variant_colours(run.config.variants),
    )  # fmt: skip
    last = ", ".join(
        f"{labels[key]} {in_words(float(np.nanmedian(values[-1])))}" for key, (_, values) in curves.items()
    )
    live_plot(
        figure, key=f"similarity.{run.name}", height=height_of(tab, 280),
        alt=f"Scores over training; at step {steps[-1]:g}: {last}",
    )  # fmt: skip
    return "Mean of four photographs that no training sees; above the dashed line is better than bicubic interpolation."


def original_patches(run: Run) -> np.ndarray | None:
    """HR patches `(n, 4p, 4p, 3)` uint8 whose embeddings every snapshot holds; None before the first."""
    try:
        return run.real_view()
    except RunError:
        return None


@st.cache_data(max_entries=8, show_spinner=False)
def inputs_of(high: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """LR patches, enlarged by repeated pixels; their bicubic interpolations, and the PSNR of these; as HR patches."""
    side = high.shape[1] // SCALE
    low = imresize(torch.tensor(high), (side, side))
    cubic = np.stack([bicubic(patch).numpy() for patch in low])
    repeated = low.numpy().repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    return repeated, cubic, psnr_captions(cubic, high)


def psnr_captions(upscaled: np.ndarray, high: np.ndarray) -> list[str]:
    """PSNR (Y) of each patch in dB; "–" for an infinite one."""
    rows = [
        measure(torch.tensor(x), torch.tensor(y), niqe=False)["psnr_y"] for x, y in zip(upscaled, high, strict=True)
    ]
    return ["–" if value is None else f"{value:.1f} dB" for value in rows]


PANELS = (  # top to bottom, then the tabs
    Panel("upscaled", "Patches", draw_patches, LIVE, height=560),
    Panel("embeddings", "Embeddings", draw_embeddings, OFTEN, height=300),
    Panel("similarity", "Similarity to the originals", draw_score_curves, in_tab=True, height=280),
    Panel("pair_gaps", "Gaps", draw_gaps, in_tab=True, height=300),
    Panel("spectrum", "Spectrum of the distance matrix", draw_spectra, in_tab=True, height=520),
    Panel("pair_scores", "Scores", draw_all_scores, in_tab=True),
)
