"""Figures: what goes into a paper, of any runs, at its true size, with its numbers and what rebuilds it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
import streamlit as st

from app.state import page, projector, run_named
from mvm.errors import ConfigError, RunError
from mvm.figures import FIGURES, Definition, Selection, drawn, figure_of
from mvm.figures.export import DPI, FORMATS, Bundle, bundle, csv_of, encoded
from mvm.figures.venues import VENUES, venue_of
from mvm.geometry.spectrum import MOST_RANKS, SPECTRUM_FORMS
from mvm.jobs.umap_worker import Projector
from mvm.runs.frames import read_frame
from mvm.runs.layout import frame_path
from mvm.runs.run import Run
from mvm.studies.compare import AXES, quantities
from mvm.studies.index import summaries

__all__ = ["figures_page"]

INCH = 104  # pixels of the preview
ALONE = 15.0  # seconds without a look at it after which a bundle is given up
PATIENCE = 120.0  # seconds for projections
FORMS = {name: form.title for name, form in SPECTRUM_FORMS.items()}
WIDTHS = ("column", "page")
USUAL = "the main score"
FIRST = "the first"


@dataclass(frozen=True)
class Wanted:
    """What the person has chosen: names of runs, and arguments of `mvm.figures.export.bundle`."""

    names: tuple[str, ...]
    figure: str
    venue: str
    wide: bool
    kind: str
    dpi: int
    step: int | None
    seed: int | None
    form: str
    quantity: str | None
    axis: str
    rank: int

    def runs(self) -> list[Run]:
        """The runs of these names.

        Raises:
            RunError: one is gone.
        """
        return [run_named(name) for name in self.names]

    @property
    def of(self) -> dict[str, Any]:
        """What of the runs is shown. A frame is never made in this process: two UMAPs at once end it."""
        shown = ("step", "seed", "form", "quantity", "axis", "rank")
        return {name: getattr(self, name) for name in shown} | {"project": False}

    @property
    def look(self) -> dict[str, Any]:
        """How it looks."""
        return {"venue": self.venue, "wide": self.wide, "dpi": self.dpi}

    def same_paper(self, other: Wanted) -> bool:
        """Whether a bundle made with the other is what this one asks for; choices out of sight do not count."""
        if (self.names, self.look, self.step) != (other.names, other.look, other.step):
            return False
        return all(self.of[option] == other.of[option] for option in FIGURES[self.figure].options)


@dataclass
class Desk:
    """What one browser tab remembers of the page: a bundle that was asked for."""

    job: Job | None = None


def figures_page() -> None:
    """The whole page."""
    desk = st.session_state.setdefault("_page.figures", Desk())
    st.markdown("#### Figures")
    known = [row.name for row in summaries()]
    if not known:
        st.info("No run yet, so there is nothing to draw: train one in the Lab first.", icon=":material/science:")
        st.page_link(st.session_state["_pages"]["Lab"], label="To the Lab", icon=":material/arrow_forward:")
        return
    left, right = st.columns([1.1, 2.3], gap="large")
    with right:
        figure = choose_figure()
    with left:
        wanted = choose(known, figure)
    if wanted is None:
        desk.job = None
        right.info("Choose one or more runs on the left.", icon=":material/arrow_back:")
        return
    with right:
        one_figure(wanted)
    with left:
        paper_bundle(desk, wanted)


# -- left: what is wanted ----------------------------------------------------------------------------------------------


def choose_figure() -> str:
    """Its name."""
    return st.selectbox(
        "Figure", list(FIGURES), format_func=lambda name: f"{FIGURES[name].source}: {FIGURES[name].title}",
        key="figures.figure", bind="query-params",
        help="the paper's figures and tables, and panels of this app's pages; first, where each comes from",
    )  # fmt: skip


def choose(known: list[str], figure: str) -> Wanted | None:
    """Every other choice; None without a run."""
    gone = [name for name in st.query_params.get_all("runs") if name not in known]  # the widget drops them
    if gone and "runs" not in st.session_state:
        st.warning(f"There is no run {', '.join(map(repr, gone))} here.", icon=":material/search_off:")
    names = st.multiselect(
        "Runs", known, default=first(known), key="runs", bind="query-params",
        help="newest first; runs that differ in nothing but their seeds are pooled, others are told apart",
    )  # fmt: skip
    runs = opened(names)
    if not runs:
        return None
    definition = FIGURES[figure]
    a, b = st.columns(2)
    with a:
        venue = st.selectbox(
            "Venue", list(VENUES), format_func=lambda name: VENUES[name].title, key="figures.venue",
            bind="query-params", help="whose text width and font sizes: include the file at its own size, never scaled",
        )  # fmt: skip
    two = VENUES[venue].page > VENUES[venue].column
    with b:
        width = st.selectbox(
            "Width", WIDTHS, key="figures.width", bind="query-params", disabled=not two,
            help="of one column, or across the page; some venues have one column only",
        )  # fmt: skip
    a, b = st.columns(2)
    with a:
        kind = st.selectbox(
            "Format", FORMATS, format_func=str.upper, key="figures.format", bind="query-params",
            help="PDF for LaTeX, SVG to edit, PNG for slides",
        )  # fmt: skip
    with b:
        dpi = st.number_input(
            "Dots per inch", *DPI, 300, 50, key="figures.dpi", bind="query-params",
            help="of PNG, and of the points and pictures within PDF and SVG; all else there are lines",
        )  # fmt: skip
    a, b = st.columns(2)
    with a:
        step = st.number_input(
            "Up to step", 0, None, None, 1, key="figures.step", bind="query-params", placeholder="the last",
            help="what the runs held at their last snapshot up to this step; leave it empty for all of it",
        )  # fmt: skip
    seeds = sorted({seed for run in runs for seed in run.config.seeds})
    seed, form, quantity, axis, rank = None, "distance", None, "step", 2
    with b:
        if "seed" in definition.options:
            chosen = st.selectbox(
                "Seed", [FIRST, *map(str, seeds)], key="figures.seed", bind="query-params",
                help="whose samples are shown: those of one seed stand for all",
            )  # fmt: skip
            seed = None if chosen == FIRST else int(chosen)
        if "form" in definition.options:
            form = st.selectbox(
                "Spectrum", list(FORMS), format_func=FORMS.get, key="figures.form", bind="query-params",
                help="eigenvalues of the distance matrix as the paper has them, or of its doubly centred squares",
            )  # fmt: skip
        if "quantity" in definition.options:
            labels = {USUAL: USUAL} | quantities(runs)
            quantity = st.selectbox(
                "Quantity", list(labels), format_func=labels.get, key="figures.quantity", bind="query-params",
                help="any score, gap or loss that is recorded while training; the main score is W₂ of points, a "
                "Fréchet distance of pictures, and d_c where there are no scores yet",
            )  # fmt: skip
            quantity = None if quantity == USUAL else quantity
    if "axis" in definition.options:
        axis = st.selectbox(
            "Over", list(AXES), format_func=AXES.get, key="figures.axis", bind="query-params",
            help="runs of other lengths, batches or speeds are comparable on another axis",
        )  # fmt: skip
    if "rank" in definition.options:
        rank = st.selectbox(
            "Eigenvector", range(1, MOST_RANKS + 1), rank - 1, key="figures.rank", bind="query-params",
            help="by falling eigenvalue; the first is almost the same at all points",
        )  # fmt: skip
    wide = two and width == WIDTHS[1]
    return Wanted(
        tuple(run.name for run in runs), figure, venue, wide, kind, int(dpi), step, seed, form, quantity, axis, rank
    )


def first(known: list[str]) -> list[str]:
    """The run that the Lab or Faces has shown last, else the newest."""
    shown = (page().run, page(images=True).run)
    return [next((name for name in shown if name in known), known[0])]


def opened(names: list[str]) -> list[Run]:
    """Those that are still there."""
    found = []
    for name in names:
        try:
            found.append(run_named(name))
        except RunError as error:
            st.caption(str(error))
    return found


# -- right: one figure -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A figure as the page shows it: a picture, its width in inches, its numbers, its table."""

    png: bytes
    inches: float
    table: pd.DataFrame
    latex: str | None


def one_figure(wanted: Wanted) -> None:
    """The figure, buttons to take it home, its numbers, and its LaTeX; or what it needs."""
    definition = FIGURES[wanted.figure]
    try:
        selection = Selection.of(wanted.runs(), **wanted.of)
        made = make(wanted, stamp(selection))
    except (ConfigError, RunError) as error:
        missing = unprojected(definition, wanted)
        if missing:
            st.fragment(projecting, run_every=1.0)(missing)
        else:
            reason = str(error).removeprefix(f"{wanted.figure}: ")
            st.info(f"These runs cannot give it: {reason}.", icon=":material/info:")
        return
    with st.container(border=True, width="content"):
        st.image(made.png, width=round(made.inches * INCH))
    venue = venue_of(wanted.venue).title
    across = "across the page" if wanted.wide else "one column"
    st.caption(f"{definition.title}. {made.inches:.2f} in wide, {across} of {venue}; here larger than on paper.")
    take_home(wanted, made)
    numbers, latex = st.tabs(["Numbers", "LaTeX"])
    numbers.dataframe(made.table, hide_index=True, height=240, placeholder="–")
    if made.latex:
        latex.code(made.latex, language="latex", height=240)
    else:
        latex.caption("This figure has no table: its numbers are curves or points, and its CSV has them all.")


def take_home(wanted: Wanted, made: Made) -> None:
    """Buttons: the figure, its numbers, its table, and all of that with what rebuilds it."""
    name = wanted.figure
    with st.container(horizontal=True):
        st.download_button(
            f"Download {wanted.kind.upper()}", lambda: one(wanted).files[f"{name}.{wanted.kind}"],
            f"{name}.{wanted.kind}", type="primary", icon=":material/download:", on_click="ignore",
            key="figures.file", help="the figure at its true size, fonts embedded",
        )  # fmt: skip
        st.download_button(
            "CSV", csv_of(made.table), f"{name}.csv", "text/csv", icon=":material/table:", on_click="ignore",
            key="figures.csv", help="every number in the figure, one row each",
        )  # fmt: skip
        st.download_button(
            "LaTeX", made.latex or "", f"{name}.tex", "text/x-tex", icon=":material/functions:", on_click="ignore",
            key="figures.tex", disabled=made.latex is None, help="a table for the package booktabs",
        )  # fmt: skip
        st.download_button(
            "This figure as ZIP", lambda: one(wanted).zipped(), f"{name}.zip", "application/zip", on_click="ignore",
            icon=":material/folder_zip:", key="figures.zip",
            help="figure, CSV, LaTeX, and a recipe: `python rebuild.py` makes the same bytes again from the run",
        )  # fmt: skip


def one(wanted: Wanted) -> Bundle:
    """The figure's files; in a thread of Streamlit's."""
    return bundle([wanted.figure], wanted.runs(), formats=[wanted.kind], **wanted.look, **wanted.of)


def make(wanted: Wanted, stamped: tuple) -> Made:
    """The figure as it will be, at twice the screen's dots; anew when a file that it may be made of has changed."""
    shown = {key: value for key, value in wanted.of.items() if key in (*figure_of(wanted.figure).options, "step")}
    return _make(wanted.names, wanted.figure, wanted.venue, wanted.wide, tuple(shown.items()), stamped)


@st.cache_data(max_entries=64, show_spinner=False)
def _make(names: tuple, figure: str, venue: str, wide: bool, shown: tuple, stamped: tuple) -> Made:
    definition = figure_of(figure)
    selection = Selection.of([run_named(name) for name in names], project=False, **dict(shown))
    table = definition.data(selection)
    whole = drawn(definition, table, selection, venue=venue_of(venue), wide=wide)
    png = encoded(whole, "png", venue=venue, dpi=2 * INCH)
    return Made(png, whole.get_figwidth(), table, definition.latex and definition.latex(table, selection))


def stamp(selection: Selection) -> tuple:
    """Sizes and times of the files that a figure may be made of, and the steps."""
    found = []
    for run, step in zip(selection.runs, selection.steps, strict=True):
        own = ["config.json", "scalars.jsonl", "scores.json", "fork.json", "real.npy", "checkpoint.safetensors"]
        kept = run.kept_path(run.kept_step(step) or 0)
        for path in (*(run.path / name for name in own), run.snapshot_path(step), frame_path(run.path, step), kept):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return (*selection.steps, *found)


# -- projections -------------------------------------------------------------------------------------------------------


def unprojected(definition: Definition, wanted: Wanted) -> list[tuple[Run, int]]:
    """Runs whose UMAP of the shown step is not there yet, if the figure has one."""
    if "frame" not in definition.uses:
        return []
    try:
        selection = Selection.of(wanted.runs(), **wanted.of)
    except (ConfigError, RunError):
        return []
    pairs = zip(selection.runs, selection.steps, strict=True)
    return [(run, step) for run, step in pairs if read_frame(run.path, step) is None]


def projecting(missing: list[tuple[Run, int]]) -> None:
    """Ask the app's one UMAP worker, and look again until it is done."""
    service = projector()
    if all(read_frame(run.path, step) is not None for run, step in missing):
        st.rerun()
    for run, step in missing:
        failed = service.errors.get((str(run.path), step))
        if failed:
            st.error(f"{run.name} cannot be projected at step {step:,}: {failed}", icon=":material/error:")
        elif read_frame(run.path, step) is None:
            service.request(run.path, step)
            doing = "Projecting" if service.ready else "Warming up the projector, then projecting"
            st.info(f"{doing} {run.name} at step {step:,} ...", icon=":material/hourglass_top:")


# -- all of them -------------------------------------------------------------------------------------------------------


class Left(Exception):
    """Nobody waits for the bundle any more."""


@dataclass
class Job:
    """All figures in all formats, in a thread that ends when it is told to, or when no page looks at it.

    Attributes:
        wanted: by what settings.
        state: working, done or failed.
        done, total, what: figures made, of how many, and what comes next.
        made: the files, once all are there.
        reason: why there are none.
    """

    wanted: Wanted
    state: Literal["working", "done", "failed"] = "working"
    done: int = 0
    total: int = len(FIGURES)
    what: str = ""
    made: Bundle | None = None
    content: bytes = b""
    reason: str = ""
    seen: float = field(default_factory=time.monotonic)
    dropped: bool = False

    def start(self, service: Projector) -> Job:
        """Begin; the same one."""
        threading.Thread(target=self._work, args=(service,), daemon=True).start()
        return self

    def _work(self, service: Projector) -> None:
        try:
            self._project(service)
            self.made = bundle(
                ["all"],
                self.wanted.runs(),
                formats=FORMATS,
                on_progress=self._tell,
                **self.wanted.look,
                **self.wanted.of,
            )
            self.content = self.made.zipped()
            self.state = "done"
        except Left:
            self.state = "failed"
        except (ConfigError, RunError, OSError) as error:
            self.state, self.reason = "failed", str(error)
        except Exception as error:  # the thread's last chance to say what went wrong
            self.state, self.reason = "failed", f"{type(error).__name__}: {error}"
            raise

    def _project(self, service: Projector) -> None:
        """Wait for the frames of the samples; one that does not come leaves that figure out."""
        until = time.monotonic() + PATIENCE
        for run, step in unprojected(FIGURES["samples"], self.wanted):
            service.request(run.path, step)
            while read_frame(run.path, step) is None and (str(run.path), step) not in service.errors:
                self._tell(0, self.total, f"UMAP of {run.name}")
                if time.monotonic() > until:
                    return
                time.sleep(0.2)

    def _tell(self, done: int, total: int, what: str) -> None:
        if self.dropped or time.monotonic() - self.seen > ALONE:
            raise Left
        self.done, self.total, self.what = done, total, what


def paper_bundle(desk: Desk, wanted: Wanted) -> None:
    """One click: every figure that these runs can give."""
    if desk.job is not None and not wanted.same_paper(desk.job.wanted):
        drop(desk)  # it is of other runs, or looks otherwise
    with st.container(border=True):
        venue = VENUES[wanted.venue].title
        st.markdown(f"**Paper bundle** &nbsp; :gray[all figures that these runs can give, for {venue}]")
        job = desk.job
        if job is None or job.state == "failed":
            if job is not None and job.reason:
                st.error(job.reason, icon=":material/error:")
            st.button(
                "Make paper bundle", icon=":material/auto_stories:", width="stretch", key="figures.bundle",
                on_click=begin, args=(desk, wanted, projector()),
                help="each as PDF, SVG and PNG with numbers, LaTeX and recipe, in one ZIP; takes seconds",
            )  # fmt: skip
        elif job.state == "working":
            st.fragment(working, run_every=0.5)(desk, job)
        else:
            finished(job)


def begin(desk: Desk, wanted: Wanted, service: Projector) -> None:
    """Make it in a thread, unless one is being made."""
    if desk.job is None or desk.job.state == "failed":
        desk.job = Job(wanted).start(service)


def drop(desk: Desk) -> None:
    """Forget it; its thread ends with the figure it is at."""
    if desk.job is not None:
        desk.job.dropped = True
    desk.job = None


def working(desk: Desk, job: Job) -> None:
    """How far it has come; looking at it keeps it alive."""
    job.seen = time.monotonic()
    if job.state != "working":
        st.rerun()
    st.progress(job.done / job.total, text=f"{job.done} of {job.total} figures; {job.what or 'beginning'} ...")
    st.button("Cancel", icon=":material/close:", key="figures.cancel", on_click=drop, args=(desk,), width="stretch")


def finished(job: Job) -> None:
    """The files, and why some are not among them."""
    made = job.made
    count = sum(name.endswith(".recipe.json") for name in made.files)
    st.download_button(
        f"Download {count} figures ({len(job.content) / 2**20:.1f} MB)", job.content, "figures.zip", "application/zip",
        type="primary", icon=":material/download:", on_click="ignore", width="stretch", key="figures.bundled",
    )  # fmt: skip
    if made.skipped:
        lines = [f"- **{name}**: {reason.removeprefix(f'{name}: ')}" for name, reason in made.skipped.items()]
        with st.expander(f"{len(lines)} left out", expanded=False):
            st.caption("\n".join(lines))
