"""Faces: the Lab for pictures. Toy faces need no download; prepared caches of real pictures are chosen by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
import torch

from app import plots
from app.cloud_plot import cloud_plot
from app.follow import Columns, Rows, columns_of, follow, frame_of, gaps, heading, score_table, spectra
from app.live_plot import live_plot
from app.picture_grid import Picked, picture_grid
from app.setup import NEXT_RUN, experiment
from app.state import Page, gallery, page, way
from app.transport import choose_run, transport
from mvm.config import FACES
from mvm.data.cache import image_caches, open_cache
from mvm.errors import ConfigError, RunError
from mvm.jobs.prepare import KINDS, Preparation, launch, preparations
from mvm.look.palette import variant_colours
from mvm.runs.history import History
from mvm.runs.layout import REALS
from mvm.runs.run import Run
from mvm.scoring.images import FACTOR_SCORES, describe
from toy_manifolds.faces import Faces

__all__ = ["faces"]

SIZES = (16, 32, 64, 128)
SHOWN = 64  # samples of each variant
NEAREST = 8
STEPS_BETWEEN = 9  # pictures of an interpolation
TOYS, CACHES, PREPARE = "Toys", "Prepared", "Prepare…"


def faces() -> None:
    """The whole page."""
    tab = page(images=True)
    run, status = choose_run(tab)
    with st.sidebar:
        st.markdown("#### Faces")
        st.caption(NEXT_RUN)
        data = choose_data()
        config = experiment(tab, data, run)
    tab.show_notice()
    if run is None:
        welcome(data)
    transport(tab, run, status, config, beside=averaging)
    if run is not None:
        follow(tab, run, status, Rows(view=samples, embeddings=embeddings, history=history_rows, play=interpolation))


def averaging() -> None:
    """Which generator's samples are shown."""
    st.toggle(
        "Averaged generator (EMA)", True, key="faces.averaged", bind="query-params",
        help="on: samples of the generator averaged over training, which is scored; off: of the one being trained",
    )  # fmt: skip


def welcome(data: dict[str, Any] | None) -> None:
    """What a person meets before the first run, of the chosen pictures."""
    name = data["data"] if data else FACES
    pictures = some_faces() if name == FACES else some_of(name)
    st.markdown("##### Match a manifold of pictures")
    panel = {"title": "", "images": pictures}
    picture_grid([panel], key=f"faces.some.{name}", alt="Sixteen pictures", step=0, cell=64, columns=16)
    if name == FACES:
        st.markdown(
            "These are toy faces, drawn by a program from twelve known factors such as the width of the mouth or the "
            "hue of the background: nothing is downloaded, and every score has its truth."
        )
    else:
        st.markdown(f"These are some of **{name}**, prepared from pictures of yours.")
    what = "such faces" if name == FACES else "such pictures"
    pace = (
        "The first pictures come within seconds, and faces within minutes; a whole run takes three to ten minutes for "
        "each variant on two CPU cores. "
    )
    st.markdown(
        f"**Train** has a generator learn to draw {what}, by matching shape descriptors of real and fake under a "
        "learned metric. Choose more variants on the left to compare them side by side. "
        f"{pace if name == FACES else ''}It goes on when this page is closed."
        + ("" if data is None else f"\n\nFor other pictures, CelebA or LSUN, choose **{PREPARE}** on the left.")
    )


@st.cache_data(show_spinner=False)
def some_faces() -> np.ndarray:
    """What the real ones look like."""
    return Faces(32).images(16, torch.Generator().manual_seed(0))[0].numpy()


def some_of(name: str) -> np.ndarray:
    """Sixteen pictures of a cache, spread over it."""
    images = open_cache(image_caches()[name])[0]
    return np.stack([images[row] for row in np.linspace(0, len(images) - 1, 16).astype(int)])


# -- left: the data ----------------------------------------------------------------------------------------------------


def choose_data() -> dict[str, Any] | None:
    """The config's fields of the data; None before there is any."""
    source = st.segmented_control(
        "Data", [TOYS, CACHES, PREPARE], default=TOYS, required=True, key="faces.source", bind="query-params",
        help="toy faces are rendered here; other pictures are prepared once, from files on this machine",
    )  # fmt: skip
    if source == TOYS:
        size = st.select_slider(
            "Size", SIZES, 32, key="faces.size", bind="query-params",
            help="pixels each way; each doubling makes a training step about four times as long",
        )  # fmt: skip
        return {"data": FACES, "size": size}
    if source == PREPARE:
        prepare_form()
    caches = image_caches()
    jobs = preparations()
    if jobs:
        running = any(job.state == "running" for job in jobs)
        st.fragment(prepared, run_every=1.0 if running else None)(running)
    if source == PREPARE:
        return None
    if not caches:
        st.caption(f"No pictures are prepared yet: **{PREPARE}** makes a cache of them.")
        return None
    name = st.selectbox("Pictures", list(caches), key="faces.cache", bind="query-params", help="prepared caches")
    try:
        made = open_cache(caches[name])[1]
    except ConfigError as error:
        st.error(str(error), icon=":material/error:")
        return None
    st.caption(f"{made.count:,} pictures of {made.size} × {made.size}")
    return {"data": name}


def prepare_form() -> None:
    """Ask for pictures on this machine, and prepare them in the background."""
    with st.form("faces.prepare", border=False):
        kind = st.selectbox(
            "Kind", list(KINDS), format_func=KINDS.get,
            help="CelebA: the official zip, with its official split if that is near. LSUN: an LMDB export. "
            "Own pictures: a folder, a ZIP, or a folder of Parquet files",
        )  # fmt: skip
        path = st.text_input(
            "Path on this machine", placeholder="/data/img_align_celeba.zip",
            help="a file or folder where this app runs; it is only read, and nothing is uploaded",
        )  # fmt: skip
        size = st.select_slider("Size", SIZES[1:], 64, help="pixels each way of the prepared pictures")
        crop = st.number_input(
            "Crop", 0, 4096, 0, help="centred pixels taken of each picture; 0: its largest square. CelebA's faces: 108"
        )
        name = st.text_input("Name", placeholder="made from kind and size", help="of the prepared pictures")
        if st.form_submit_button("Prepare", icon=":material/photo_library:", type="primary", width="stretch"):
            try:
                launch(kind, path, size=size, crop=crop or None, name=name.strip() or None)
            except (ConfigError, RunError, OSError) as error:
                st.error(str(error), icon=":material/error:")


def prepared(was_running: bool) -> None:
    """How far each preparing has come, and what has become of it."""
    jobs = preparations()
    if any(job.state == "running" for job in jobs) != was_running:
        st.rerun()
    for job in jobs:
        with st.container(border=True):
            preparing(job)


def preparing(job: Preparation) -> None:
    """One of them."""
    if job.state == "running":
        far = job.progress
        if far is None or not far.total:
            st.progress(0.0, text=f"**{job.name}**: listing the files ...")
        else:
            skipped = f", {far.skipped:,} skipped" if far.skipped else ""
            st.progress(far.done / far.total, text=f"**{job.name}**: {far.done:,} of {far.total:,} files{skipped}")
        st.button(
            "Cancel", icon=":material/close:", key=f"faces.cancel.{job.name}", on_click=job.cancel,
            help="what is done is kept: preparing the same again goes on there",
        )  # fmt: skip
        return
    if job.state == "finished":
        st.success(f"**{job.name}**: {job.outcome}. Choose it under **{CACHES}**.", icon=":material/check:")
    else:
        st.error(f"**{job.name}**: {job.outcome}", icon=":material/error:")
    st.button("Dismiss", key=f"faces.dismiss.{job.name}", on_click=job.forget, help="the prepared pictures stay")


# -- right: the run ----------------------------------------------------------------------------------------------------


def samples(tab: Page, run: Run, view: dict[str, np.ndarray]) -> None:
    """Pictures from noise that stays the same, one panel per variant."""
    shown, step = columns_of(run), int(view["step"])
    averaged = tab.setting("averaged", True)
    heading(
        "Samples",
        f"step {step:,}, always of the same noise; "
        + ("averaged generator" if averaged else "generator in training, not averaged")
        + "; click one for the training pictures nearest to it",
    )
    images = view["fake" if averaged else "raw"][shown.members, :SHOWN]
    panels = [
        {"title": title, "images": own, "pickable": True, "marked": _marked(tab, run, column)}
        for column, (title, own) in enumerate(zip(shown.titles, images, strict=True))
    ]
    picked = picture_grid(
        panels, key=f"samples.{run.name}", step=step, cell=56,
        alt=f"Generated pictures at step {step}, one panel per variant: {', '.join(shown.titles)}",
    )  # fmt: skip
    tab.pick(run.name, picked)


def embeddings(tab: Page, run: Run, seen: History, step: int) -> bool:
    """UMAP of the embeddings, each point with its picture, and what is nearest to the one that was picked."""
    frame, of, behind = frame_of(run, seen, step)
    shown, reals, snapshot = columns_of(run), real_pictures(run), seen.at(of)
    pictures = None
    if reals is not None and snapshot is not None:
        thumbnails = np.concatenate([reals, *snapshot["fake"][shown.members]])
        skip = -(-thumbnails.shape[1] // 32)  # 32 pixels are enough for a glance, and light enough to travel
        pictures = np.ascontiguousarray(thumbnails[:, ::skip, ::skip])
    picked = cloud_plot(
        plots.planar(frame[shown.members], titles=shown.titles), key=f"umap.{run.name}", height=340, step=of,
        pictures=pictures, ringed=tab.picked_of(run.name),
        alt=f"UMAP of real and generated embeddings under the learned metric at step {of}, one panel per variant",
    )  # fmt: skip
    tab.pick(run.name, picked)
    return neighbours(tab, run, seen, step, shown) or behind


def neighbours(tab: Page, run: Run, seen: History, step: int, shown: Columns) -> bool:
    """The training pictures nearest to the picked one: new, or learned by heart? True while they are sought."""
    picked, snapshot, reals = tab.picked_of(run.name), seen.at(step), real_pictures(run)
    by = "by what is in the picture" if run.config.data == FACES else "by coarse pixels"
    if picked is None or snapshot is None or reals is None or picked.panel >= len(shown.members):
        heading("Nearest training pictures", "click a sample or a point to see which training pictures are like it")
        return False
    source = reals if picked.layer == "real" else snapshot["fake"][shown.members[picked.panel]]
    image = torch.from_numpy(source[min(picked.index, len(source) - 1)][None].copy())
    what = f"{picked.layer} {picked.index}" + (f", {shown.titles[picked.panel]}" if picked.layer == "fake" else "")
    found = gallery(run)
    if found is None:
        heading("Nearest training pictures", f"to {what}: looking through the training pictures, once ...")
        images, captions = image, [what]
    elif isinstance(found, str):
        heading("Nearest training pictures", found)
        return False
    else:
        near = found.nearest(image, NEAREST)
        heading("Nearest training pictures", f"to {what}, of {len(found.images):,}, {by}; with their distance")
        images = torch.cat([image, found.images[near.indices[0]]])
        captions = [what.split(",")[0], *(f"{distance:.2f}" for distance in near.distances[0].tolist())]
    picture_grid(
        [{"title": "", "images": images.numpy(), "captions": captions, "marked": 0}], key=f"nearest.{run.name}",
        step=step, cell=96, columns=1 + NEAREST, alt=f"{what}, and the training pictures nearest to it",
    )  # fmt: skip
    return found is None


def interpolation(tab: Page, run: Run) -> None:
    """From one fixed noise to another, over the sphere that noise lies on, by the last checkpoint's generators."""
    heading("Between two samples", "is the way from one to the other made of faces, too?")
    reals = real_pictures(run)
    if reals is None:
        return
    last = len(reals) - 1  # every sample has its noise
    left, middle, right = st.columns([1, 4, 1])
    a = left.number_input("From sample", 0, last, 0, key=tab.key("from"), bind="query-params", help="number of a noise")
    b = right.number_input("To sample", 0, last, 1, key=tab.key("to"), bind="query-params", help="number of a noise")
    place = middle.slider(
        "Place between the two", 0.0, 1.0, 0.5, 0.01, key=tab.key("between"), bind="query-params",
        help="0: the first, 1: the second; the picture in the frame is of this place",
    )  # fmt: skip
    shown, panels = columns_of(run), []
    stations = tuple(k / (STEPS_BETWEEN - 1) for k in range(STEPS_BETWEEN))
    for member, title in zip(shown.members, shown.titles, strict=True):
        try:
            made = [way(run, member, (int(a), int(b)), places, of=len(reals)) for places in ((place,), stations)]
        except RunError as error:
            st.caption(str(error))
            return
        captions = [f"at {place:.2f}", *(f"{station:.2f}" for station in stations)]
        panels.append({"title": title, "images": np.concatenate(made), "captions": captions, "marked": 0})
    picture_grid(
        panels, key=f"between.{run.name}", step=run.status().step, cell=96, columns=1 + STEPS_BETWEEN,
        alt=f"Pictures on the way from sample {a} to sample {b}, one row per variant",
    )  # fmt: skip


def history_rows(tab: Page, run: Run, seen: History, step: int) -> None:
    """Factors, gaps, spectra and scores: what changes with every record."""
    if run.config.data == FACES:
        factors(run, seen, step)
    gaps(tab, run, seen, step)
    spectra(tab, run, seen, step)
    scores = seen.scores(step)
    keys = [] if scores is None else [k for k in scores.rows[0] if f"{k}_floor" in scores.rows[0]]
    score_table(run, seen, step, {key: describe(key) for key in keys if not key.startswith("factor.")})


def factors(run: Run, seen: History, step: int) -> None:
    """Which of the twelve factors of a toy face the fakes vary as the reals do."""
    scores = seen.scores(step)
    if scores is None:
        heading("Factors covered", f"first at step {run.config.every(10):,}")
        return
    heading(
        "Factors covered",
        f"step {scores.step:,}; overlap of fake and real: 1 where every value of a factor is as frequent, ½ where half "
        "of the values are missing. It takes the fakes for faces: noise reads as factors, too",
    )
    names = [key for key in FACTOR_SCORES if key != "factor_mean"]
    variants = run.config.variants
    overlaps = {FACTOR_SCORES[key].label: [scores.of(key, variant) for variant in variants] for key in names}
    floors = {FACTOR_SCORES[key].label: scores.floor(f"{key}_floor") for key in names}
    figure = plots.coverage(
        overlaps, floors, titles=[plots.title_of(name) for name in variants], step=scores.step,
        colours=variant_colours(variants),
    )  # fmt: skip
    means = ", ".join(f"{plots.title_of(v)} {scores.of('factor_mean', v) or 0:.2f}" for v in variants)
    live_plot(
        figure, key=f"factors.{run.name}", height=110 + len(names) * (12 + 7 * len(variants)),
        alt=f"Overlap of fake and real in each factor at step {scores.step}; mean over the factors: {means}",
    )  # fmt: skip


def real_pictures(run: Run) -> np.ndarray | None:
    """The held-out pictures of every snapshot's embeddings."""
    try:
        return np.load(run.path / REALS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None


def _marked(tab: Page, run: Run, column: int) -> int | None:
    picked: Picked | None = tab.picked_of(run.name)
    fits = picked is not None and picked.layer == "fake" and picked.panel == column
    return picked.index if fits else None
