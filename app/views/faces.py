"""Faces: the Lab for pictures. Toy faces need no download; prepared caches of pictures are chosen by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
import torch

from app import preview
from app.caches import gallery, interpolation, keep_pictures
from app.charts import clouds, training
from app.columns import columns_of, scored
from app.components.cloud_plot import cloud_plot
from app.components.live_plot import live_plot
from app.components.picture_grid import Picked, picture_grid
from app.embeddings import draw_projection
from app.header import draw_buttons, draw_head
from app.link import linked
from app.live import (
    ASKED,
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
from app.text import plain
from mvm.config import Config
from mvm.data.cache import image_caches, open_cache
from mvm.data.images import FACES
from mvm.errors import ConfigError, RunError
from mvm.jobs.prepare import KINDS as SOURCES
from mvm.jobs.prepare import Preparation, launch, preparations
from mvm.look.palette import variant_colours
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.images import FACTOR_SCORES, describe
from mvm.studies.compare import data_title
from mvm.studies.labels import variant_label
from toy_manifolds.faces import Faces

__all__ = ["faces"]

SIZES = (16, 32, 64, 128)
SHOWN = 64  # samples of each variant
NEAREST = 8  # training pictures shown beside a picked picture
STATIONS = 9  # pictures of an interpolation
THUMBNAIL = 32  # most pixels each way of a picture that belongs to a point
SAME, TOYS, CACHES, PREPARE = "As this run", "Toy faces", "My datasets", "Import"  # sources of pictures
EARLIER = {"Toys": TOYS, "Prepared": CACHES, "Prepare…": PREPARE}  # their names in earlier links
HERE, ZIP, FOLDER = "On this machine", "Upload a ZIP", "Upload a folder"  # places of pictures to prepare
UNDER_TITLES = {"factor_mean": "factors {}", "faces.fd": "Fréchet {}", "inception.fd": "FID {}"}


def faces() -> None:
    """Draw the page."""
    tab = page("images")
    run, status = draw_head(tab, "Faces", view=draw_averaging)
    with st.sidebar:
        start = draw_start(tab, run)
    top = st.container()
    if run is not None:
        draw_run(tab, run, status, PANELS)
    with st.sidebar:  # after the samples, as in the Lab
        data = choose_data(start.copied)
        toys = data is None or data["data"] == FACES
        next_run = draw_settings(tab, data, start, defaults="" if toys else "cache.")
    apply_moved_settings(tab, next_run.movable)
    with top:
        tab.draw_notice()
        if run is None:
            draw_welcome(data)
        draw_buttons(tab, run, status, next_run)


def draw_averaging(run: Run | None) -> None:
    """Draw the choice of the generator whose samples are shown."""
    linked(
        st.toggle, "Averaged generator (EMA)", True, key="faces.averaged",
        help="on: samples of the generator averaged over training, which is scored; off: of the generator in training",
    )  # fmt: skip


def draw_welcome(data: dict[str, Any] | None) -> None:
    """Draw what is shown before the first run: some of the chosen pictures, and what Train does with them."""
    name = data["data"] if data else FACES
    toys = name == FACES
    st.markdown("## Match a manifold of pictures")
    panel = {"title": "", "images": toy_faces(32) if toys else pictures_of(name)}
    picture_grid([panel], key=f"faces.some.{name}", alt="Sixteen pictures", step=0, cell=64, columns=16)
    if toys:
        st.markdown(
            "These are toy faces, rendered by a program from twelve known factors, such as the width of the mouth or "
            "the hue of the background: nothing is downloaded, and scores can compare with the ground truth."
        )
    else:
        st.markdown(f"These pictures are from **{plain(name)}**, one of your datasets.")
    what = "such faces" if toys else "such pictures"
    pace = (
        "The first pictures appear within seconds, faces within minutes; a whole run takes three to ten minutes for "
        "each variant on two CPU cores. "
    )
    st.markdown(
        f"**Train** trains a generator to draw {what}, by matching shape descriptors of real and fake under a learned "
        f"metric. Choose more variants on the left to compare them side by side. {pace if toys else ''}"
        "Training continues when this page is closed."
        + ("" if data is None else f"\n\nFor other pictures, such as CelebA or LSUN, choose **{PREPARE}** on the left.")
    )


@st.cache_data(max_entries=8, show_spinner=False)
def toy_faces(size: int) -> np.ndarray:
    """Sixteen toy faces, `(16, size, size, 3)` uint8."""
    return Faces(size).images(16, torch.Generator().manual_seed(0))[0].numpy()


def pictures_of(name: str) -> np.ndarray:
    """Sixteen pictures `(16, size, size, 3)` uint8, evenly spread over a cache."""
    images = open_cache(image_caches()[name])[0]
    return np.stack([images[row] for row in np.linspace(0, len(images) - 1, 16).astype(int)])


# -- left: the data ----------------------------------------------------------------------------------------------------


def choose_data(copied: Run | None) -> dict[str, Any] | None:
    """Draw the choice of pictures, or those of a copied run; return the config's fields of the data, None without."""
    sources = [TOYS, CACHES, PREPARE] if copied is None else [SAME, TOYS, CACHES, PREPARE]
    key = "faces.source" if copied is None else f"faces.{copied.name}.source"
    if st.query_params.get(key) in EARLIER and key not in st.session_state:
        st.query_params[key] = EARLIER[st.query_params[key]]
        st.rerun()  # a widget reads its parameter at the start of a run
    source = linked(
        st.segmented_control, "Data", sources, default=sources[0], required=True, key=key,
        help="Toy faces: rendered by a program, without a download. My datasets: pictures imported before. Import: "
        "prepare pictures once, from files on this machine or from an upload",
    )  # fmt: skip
    if source == SAME and copied is not None:
        st.caption(plain(f"The pictures of {copied.name}: {data_title(copied.config.data)}."))
        data = data_of(copied)
        if data["data"] == FACES or data["data"] in image_caches():
            draw_some_pictures(data)
        return data
    if source == TOYS:
        size = linked(
            st.select_slider, "Size", SIZES, 32, key="faces.size",
            help="pixels each way; twice the size makes a training step about four times as long",
        )  # fmt: skip
        data = {"data": FACES, "size": size}
        draw_some_pictures(data)
        return data
    if source == PREPARE:
        draw_prepare_form()
    caches = image_caches()
    jobs = preparations()
    if jobs:
        running = any(job.state == "running" for job in jobs)
        st.fragment(draw_jobs, run_every=1.0 if running else None)(running)
    if source == PREPARE:
        return None
    if not caches:
        st.caption(f"No pictures are imported yet: **{PREPARE}** makes a dataset of a folder, a ZIP or an upload.")
        return None
    name = linked(st.selectbox, "Pictures", list(caches), key="faces.cache", help="datasets imported on this machine")
    try:
        draw_some_pictures({"data": name})
    except ConfigError as error:
        st.error(plain(error), icon=":material/error:")
        return None
    return {"data": name}


def draw_some_pictures(data: dict[str, Any]) -> None:
    """Draw eight pictures of a data set below their number and size.

    Raises:
        ConfigError: a cache is damaged.
    """
    if data["data"] == FACES:
        size = data["size"] or 32
        count, images = Config.make(**data).points, toy_faces(size)
    else:
        made = open_cache(image_caches()[data["data"]])[1]
        count, size, images = made.count, made.size, pictures_of(data["data"])
    preview.draw_pictures({"": images[:8]}, f"{count:,} pictures of {size} × {size} pixels")


def draw_prepare_form() -> None:
    """Draw the form that prepares pictures in the background, from this machine or from an upload."""
    place = st.segmented_control("Pictures from", [HERE, ZIP, FOLDER], default=HERE, required=True, key="faces.place")
    # the key Enter in a field would start a long job by accident
    with st.form("faces.prepare", border=False, enter_to_submit=False):
        source = st.selectbox(
            "Kind", list(SOURCES), format_func=SOURCES.get,
            help="CelebA: the official zip, with its official split if the split's file is in it or near it. LSUN: an "
            "LMDB export. Own pictures: a folder, a ZIP, Parquet, or arrays (NPY, NPZ, IDX, CIFAR)",
        )  # fmt: skip
        path, files = "", []
        if place == HERE:
            path = st.text_input(
                "Path on this machine", placeholder="/data/img_align_celeba.zip",
                help="file or folder on the machine that runs the app; it is only read, and nothing is uploaded",
            )  # fmt: skip
        elif place == ZIP:
            file = st.file_uploader("ZIP of pictures", type=["zip"], help="it is copied to the machine of the app")
            files = [file] if file else []
        else:
            files = st.file_uploader(
                "Folder of pictures", accept_multiple_files="directory",
                help="with its folders inside; all files are copied to the machine of the app",
            )  # fmt: skip
        size = st.select_slider("Size", SIZES[1:], 64, help="pixels each way of the prepared pictures")
        crop = st.number_input(
            "Crop", 0, 4096, 0, help="size of the centred square taken from each picture; 0: the largest. CelebA: 108"
        )
        name = st.text_input("Name", placeholder="from kind and size", help="of the prepared pictures")
        if st.form_submit_button("Prepare", icon=":material/photo_library:", type="primary", width="stretch"):
            try:
                if place != HERE:
                    path = str(keep_pictures([(file.name, file.getvalue()) for file in files]))
                launch(source, path, size=size, crop=crop or None, name=name.strip() or None)
            except (ConfigError, RunError, OSError) as error:
                st.error(plain(error), icon=":material/error:")


def draw_jobs(was_running: bool) -> None:
    """Draw progress or outcome of each preparation; rerun the page when the last one ends."""
    jobs = preparations()
    if any(job.state == "running" for job in jobs) != was_running:
        st.rerun()
    for job in jobs:
        with st.container(border=True):
            draw_job(job)


def draw_job(job: Preparation) -> None:
    """Draw progress or outcome of a preparation."""
    if job.state == "running":
        progress = job.progress
        if progress is None or not progress.total:
            st.progress(0.0, text=f"**{plain(job.name)}**: listing the files ...")
        else:
            skipped = f", {progress.skipped:,} skipped" if progress.skipped else ""
            files = f"{progress.done:,} of {progress.total:,} files{skipped}"
            st.progress(progress.done / progress.total, text=f"**{plain(job.name)}**: {files}")
        st.button(
            "Cancel", icon=":material/close:", key=f"faces.cancel.{job.name}", on_click=job.cancel,
            help="finished files are kept: preparing the same pictures again continues from there",
        )  # fmt: skip
        return
    if job.state == "finished":
        st.success(f"**{plain(job.name)}**: {plain(job.outcome)}. Choose it in **{CACHES}**.", icon=":material/check:")
    else:
        st.error(f"**{plain(job.name)}**: {plain(job.outcome)}", icon=":material/error:")
    st.button("Dismiss", key=f"faces.dismiss.{job.name}", on_click=job.forget, help="prepared pictures are kept")


# -- right: the run ----------------------------------------------------------------------------------------------------


def draw_samples(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw pictures generated from fixed noise, one panel per variant, with scores below the titles."""
    shown, view = columns_of(run), view_of(tab, run, records)
    averaged = tab.setting("averaged", True)
    images = view["fake" if averaged else "raw"][shown.members, :SHOWN]
    panels = [
        {"title": title, "images": own, "pickable": True, "marked": _marked(tab, run, column)}
        for column, (title, own) in enumerate(zip(shown.titles, images, strict=True))
    ]
    picked = picture_grid(
        scored(panels, run, records, step, UNDER_TITLES, shown.variants), key=f"samples.{run.name}", step=step, cell=56,
        alt=f"Generated pictures at step {step}, one panel per variant: {', '.join(shown.titles)}",
    )  # fmt: skip
    tab.pick(run.name, picked)
    generator = "averaged generator" if averaged else "generator in training, not averaged"
    return f"Step {step:,}, {generator}. Click a sample for the training pictures nearest to it."


def draw_embeddings(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw a projection of the embeddings with a picture at each point."""
    projection, shown = draw_projection(tab, run, records, step), columns_of(run)
    tab.behind |= projection.awaited
    reals, snapshot = real_pictures(run), records.at(projection.step)
    pictures = None
    if reals is not None and snapshot is not None:
        whole = np.concatenate([reals, *snapshot["fake"][shown.members]])
        skip = -(-whole.shape[1] // THUMBNAIL)
        pictures = np.ascontiguousarray(whole[:, ::skip, ::skip])
    picked = cloud_plot(
        clouds.umap_panels(
            projection.frame[shown.members], titles=shown.titles, axes=projection.axes_of(shown.members)
        ),
        key=f"umap.{run.name}", height=height_of(tab, 300), step=projection.step, linked=run.name, pictures=pictures,
        ringed=tab.picked_of(run.name),
        alt=f"Real and generated embeddings under the learned metric at step {projection.step}, one panel per "
        f"variant: {', '.join(shown.titles)}",
    )  # fmt: skip
    tab.pick(run.name, picked)
    return projection.note


def draw_nearest(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw the training pictures nearest to the picked one, which shows memorised samples."""
    shown = columns_of(run)
    picked, snapshot, reals = tab.picked_of(run.name), records.at(step), real_pictures(run)
    if picked is None or snapshot is None or reals is None or picked.panel >= len(shown.members):
        return "Click a sample or a point above."
    source = reals if picked.layer == "real" else snapshot["fake"][shown.members[picked.panel]]
    image = torch.from_numpy(source[min(picked.index, len(source) - 1)][None].copy())
    what = f"{picked.layer} {picked.index}" + (f", {shown.titles[picked.panel]}" if picked.layer == "fake" else "")
    found = gallery(run)
    if isinstance(found, str):
        return found
    if found is None:
        tab.behind = True
        note, images, captions = f"To {what}: loading the training pictures, once ...", image, [what]
    else:
        near = found.nearest(image, NEAREST)
        by = "by the factors in the picture" if run.config.data == FACES else "by coarse pixels"
        note = f"To {what}, of {len(found.images):,}, {by}; with their distance."
        images = torch.cat([image, found.images[near.indices[0]]])
        captions = [what.split(",")[0], *(f"{distance:.2f}" for distance in near.distances[0].tolist())]
    picture_grid(
        [{"title": "", "images": images.numpy(), "captions": captions, "marked": 0}], key=f"nearest.{run.name}",
        step=step, cell=96, columns=1 + NEAREST, alt=f"{what}, and the training pictures nearest to it",
    )  # fmt: skip
    return note


def draw_interpolation(tab: Page, run: Run, records: History, step: int) -> None:
    """Draw pictures between two fixed noises, on the sphere that noise lies on, by the last checkpoint's generators."""
    reals = real_pictures(run)
    if reals is None:
        return
    last = len(reals) - 1  # a sample has a noise of its own
    left, middle, right = st.columns([1, 4, 1])
    a = linked(left.number_input, "From sample", 0, last, 0, key=tab.key("from"), help="index of a noise")
    b = linked(right.number_input, "To sample", 0, last, 1, key=tab.key("to"), help="index of a noise")
    place = linked(
        middle.slider, "Place between the two", 0.0, 1.0, 0.5, 0.01, key=tab.key("between"),
        help="0: the left sample, 1: the right one; the framed picture is at this place",
    )  # fmt: skip
    shown, panels = columns_of(run), []
    places = (place, *(k / (STATIONS - 1) for k in range(STATIONS)))
    for member, title in zip(shown.members, shown.titles, strict=True):
        try:
            framed, others = (
                interpolation(run, member, (int(a), int(b)), part, noises=len(reals))
                for part in (places[:1], places[1:])  # the second is the same wherever the slider is
            )
        except RunError as error:
            st.caption(plain(error))
            return
        captions = [f"at {place:.2f}", *(f"{station:.2f}" for station in places[1:])]
        panels.append({"title": title, "images": np.concatenate([framed, others]), "captions": captions, "marked": 0})
    picture_grid(
        panels, key=f"between.{run.name}", step=run.status().step, cell=96, columns=1 + STATIONS,
        alt=f"Pictures between sample {a} and sample {b}, one row per variant",
    )  # fmt: skip


def draw_all_scores(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw the table of all scores but those of single factors."""
    scores = records.scores(step)
    keys = [] if scores is None else [k for k in scores.rows[0] if f"{k}_floor" in scores.rows[0] and is_score(k)]
    return draw_scores(tab, run, records, step, {key: describe(key) for key in keys if not key.startswith("factor.")})


def is_score(key: str) -> bool:
    """Whether this version knows a score of pictures by this key."""
    try:
        describe(key)
    except KeyError:
        return False
    return True


def draw_factors(tab: Page, run: Run, records: History, step: int) -> str:
    """Draw the overlap of fake and real in each of the twelve factors of a toy face."""
    scores = records.scores(step)
    if scores is None:
        return f"The first scores are measured at step {run.config.every(10):,}."
    names = [key for key in FACTOR_SCORES if key != "factor_mean"]
    variants = run.config.variants
    overlaps = {FACTOR_SCORES[key].label: [scores.of(key, variant) for variant in variants] for key in names}
    floors = {FACTOR_SCORES[key].label: scores.floor(f"{key}_floor") for key in names}
    figure = training.factor_coverage(
        overlaps, floors, titles=[variant_label(run, name) for name in variants], step=scores.step,
        colours=variant_colours(variants),
    )  # fmt: skip
    means = ", ".join(f"{variant_label(run, v)} {scores.of('factor_mean', v) or 0:.2f}" for v in variants)
    live_plot(
        figure, key=f"factors.{run.name}", height=110 + len(names) * (12 + 7 * len(variants)),
        alt=f"Overlap of fake and real in each factor at step {scores.step}; mean over the factors: {means}",
    )  # fmt: skip
    return (
        f"Step {scores.step:,}. Overlap of fake and real: 1 for equal distributions of a factor, ½ if half of its "
        "values are missing. Factors are read from any picture, even from noise."
    )


def real_pictures(run: Run) -> np.ndarray | None:
    """Held-out pictures `(n, size, size, 3)` uint8 whose embeddings every snapshot holds; None before the first."""
    try:
        return run.real_view()
    except RunError:
        return None


def _marked(tab: Page, run: Run, column: int) -> int | None:
    """Index of the picked sample if it belongs to this column."""
    picked: Picked | None = tab.picked_of(run.name)
    fits = picked is not None and picked.layer == "fake" and picked.panel == column
    return picked.index if fits else None


PANELS = (  # top to bottom, then the tabs
    Panel("samples", "Samples", draw_samples, LIVE, height=420),
    Panel("embeddings", "Embeddings", draw_embeddings, OFTEN, height=300),
    Panel("neighbours", "Nearest training pictures", draw_nearest, OFTEN, height=40),
    Panel("interpolation", "Between two samples", draw_interpolation, ASKED, height=180),
    Panel(
        "factors", "Factors covered", draw_factors, in_tab=True, height=500,
        offered=lambda run: run.config.data == FACES,
    ),
    Panel("gaps", "Gaps", draw_gaps, in_tab=True, height=300),
    Panel("spectrum", "Spectrum of the distance matrix", draw_spectra, in_tab=True, height=520),
    Panel("scores", "Scores", draw_all_scores, in_tab=True),
)  # fmt: skip
