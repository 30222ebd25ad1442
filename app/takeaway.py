"""Take it along: a film or a supplement of the chosen runs, made in the background, with progress and a download."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.background import Report, Work, await_frames
from app.link import linked
from app.services import projector
from app.text import plain
from mvm.errors import RunError
from mvm.figures.export import bundle
from mvm.figures.film import FILM_FORMATS, PANELS, SIZES
from mvm.figures.moving import MOVING
from mvm.figures.over_training import frame_steps
from mvm.figures.selection import Selection
from mvm.jobs.umap_worker import Projector
from mvm.runs.run import Run

__all__ = ["Taking", "draw_takeaway", "link_to_takeaway"]

PROJECTION_SECONDS = 60.0  # most time to wait for UMAP frames
TYPES = {"mp4": "video/mp4", "webm": "video/webm", "gif": "image/gif", "html": "text/html"}
FORMAT_TITLES = {"mp4": "MP4, for slides", "webm": "WebM, for web pages", "gif": "GIF, for a README"}


@dataclass
class Taking(Work):
    """One film or supplement.

    Attributes:
        wanted: what it is made of; another choice is another one.
        content: the file, once it is made.
    """

    wanted: tuple[Any, ...]
    content: bytes = b""

    def start(self, make: Callable[[Report], bytes]) -> Taking:
        """Start to make it in a thread; return this."""

        def work() -> None:
            self.content = make(self.report)

        self.begin(work)
        return self


def link_to_takeaway(run: Run) -> None:
    """Draw a link to the page Figures with this run chosen, where the app has that page."""
    if figures := st.session_state.get("_pages", {}).get("Figures"):
        title = f"{MOVING['supplement'].source}: {MOVING['supplement'].title}"
        st.page_link(
            figures, label="Take it along: a film, or one HTML file", icon=":material/movie:",
            query_params={"runs": run.name, "figures.figure": title},
        )  # fmt: skip


def draw_takeaway(name: str, runs: Sequence[Run], place: Any) -> None:
    """Draw the choices of a film or a supplement here, and in another place the button, its progress or the download.

    Args:
        name: in `MOVING`.
        runs: one or more.
        place: a container of Streamlit.
    """
    kind, look = _choices(name, runs)
    wanted = (name, tuple(run.name for run in runs), kind, repr(look))
    taking: Taking | None = st.session_state.get("_takeaway")
    if taking is not None and taking.wanted != wanted:
        _drop()
        taking = None
    with place:
        st.markdown(f"**{MOVING[name].title}**")
        if taking is None or taking.state == "failed":
            if taking is not None and taking.reason:
                st.error(plain(taking.reason.removeprefix(f"{name}: ")), icon=":material/error:")
            st.button(
                f"Make the {plain(name)}", type="primary", icon=":material/movie:", key="figures.make",
                on_click=_start, args=(wanted, list(runs), look, projector()),
                help="It is made in the background, from the snapshots of the runs; a film takes about half a minute.",
            )  # fmt: skip
        elif taking.state == "working":
            st.fragment(_draw_progress, run_every=0.5)(taking)
        else:
            _draw_download(name, kind, runs, taking)


def _choices(name: str, runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """Draw the choices; returns the format, and keywords of `bundle`."""
    step = linked(
        st.number_input, "Up to step", 0, None, None, 1, key="figures.step", placeholder="the last",
        help="shows the runs up to their last snapshot at or before this step; empty: to their end",
    )  # fmt: skip
    seeds = sorted({seed for run in runs for seed in run.config.seeds})
    chosen = linked(
        st.selectbox, "Seed", ["the first", *map(str, seeds)], key="figures.seed", help="points of this seed are shown"
    )
    look: dict[str, Any] = {"step": step, "seed": None if chosen == "the first" else int(chosen)}
    if name != "film":
        return MOVING[name].formats[0], look
    kind = linked(
        st.selectbox, "Film format", FILM_FORMATS, format_func=FORMAT_TITLES.get, key="figures.film",
        help="MP4 plays everywhere; a GIF has fewer colours and frames",
    )  # fmt: skip
    size = linked(
        st.selectbox, "Size", list(SIZES), format_func=lambda name: f"{SIZES[name][0]} × {SIZES[name][1]}",
        key="figures.size", help="pixels; the small one loads fast, and suits a GIF",
    )  # fmt: skip
    panels = linked(
        st.multiselect, "Panels", list(PANELS), default=["data"], format_func=PANELS.get, key="figures.panels",
        help="clouds to show of every column, from top to bottom",
    )  # fmt: skip
    dark = linked(
        st.toggle, "Dark background", value=False, key="figures.dark", help="for slides with a dark background"
    )
    return kind, look | {"size": size, "ground": "dark" if dark else "light", "panels": panels or ["data"]}


def _start(wanted: tuple[Any, ...], runs: list[Run], look: dict[str, Any], service: Projector) -> None:
    """Start the work."""
    name, _, kind, _ = wanted

    def make(report: Report) -> bytes:
        if name == "supplement" or "umap" in look["panels"]:
            _project(runs, look["step"], service, report)
        made = bundle([name], runs, formats=[kind], project=False, on_progress=report, **look)
        return made.files[f"{name}.{kind}"]

    st.session_state["_takeaway"] = Taking(wanted).start(make)


def _project(runs: Sequence[Run], step: int | None, service: Projector, report: Report) -> None:
    """Wait for the UMAP frames of every step that is shown."""
    with contextlib.suppress(RunError):
        chosen = Selection.of(runs, step=step)
        places = zip(chosen.runs, chosen.steps, strict=True)
        wanted = [(run, each) for run, until in places for each in frame_steps(run, until)]
        await_frames(wanted, service, report, seconds=PROJECTION_SECONDS)


def _drop() -> None:
    if (taking := st.session_state.pop("_takeaway", None)) is not None:
        taking.dropped = True


def _draw_progress(taking: Taking) -> None:
    """Draw the progress, and keep the work alive."""
    taking.seen = time.monotonic()
    if taking.state != "working":
        st.rerun()
    st.progress(taking.share, text=f"{plain(taking.doing or 'starting')} ...")
    st.button("Cancel", icon=":material/close:", key="figures.cancel", on_click=_drop)


def _draw_download(name: str, kind: str, runs: Sequence[Run], taking: Taking) -> None:
    st.download_button(
        f"Download the {plain(name)} ({len(taking.content) / 2**20:.1f} MB)", taking.content, f"{runs[0].name}.{kind}",
        TYPES[kind], type="primary", icon=":material/download:", on_click="ignore", key="figures.taken",
    )  # fmt: skip
    if kind in ("mp4", "webm"):
        st.video(taking.content, format=TYPES[kind], autoplay=True, loop=True, muted=True)
    elif kind == "gif":
        st.image(taking.content)
    else:
        st.caption("One file, which opens in a browser from disk and needs no network: send it, or put it on a page.")
