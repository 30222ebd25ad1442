"""Figures: figures for a paper from any runs, at true size, with their numbers and a recipe that rebuilds them."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.background import Work, await_frames
from app.caches import run_named
from app.kinds import PAGES
from app.link import linked, linked_names
from app.live import why_not_started
from app.services import projector
from app.session import page
from app.takeaway import draw_takeaway
from app.text import plain
from mvm.errors import ConfigError, RunError
from mvm.figures import FIGURES, Definition, Selection, drawn, figure_of, latex_of
from mvm.figures.export import DPI, FORMATS, Bundle, bundle, csv_of, encoded
from mvm.figures.moving import MOVING
from mvm.figures.texts import check
from mvm.figures.venues import VENUES, venue_of
from mvm.geometry.spectrum import MOST_RANKS, SPECTRUM_FORMS
from mvm.jobs.umap_worker import Projector
from mvm.lenses import LENSES
from mvm.runs.layout import CHECKPOINT, CONFIG, ORIGIN, REALS, RECORDS, SCORES, frame_path
from mvm.runs.run import Run
from mvm.studies.compare import AXES, quantities
from mvm.studies.index import run_titles, summaries
from mvm.words import visible

__all__ = ["figures_page"]

INCH = 104  # pixels of the preview per inch
PROJECTION_SECONDS = 120.0  # most time to wait for UMAP frames
FORMS = {name: form.title for name, form in SPECTRUM_FORMS.items()}
WIDTHS = ("column", "page")
MAIN_SCORE = "the main score"
FIRST_SEED = "the first"


@dataclass(frozen=True)
class Choice:
    """Chosen runs, by name, and arguments of `mvm.figures.export.bundle`."""

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
    lens: str = "holes"
    texts: tuple[tuple[str, str], ...] = ()

    def runs(self) -> list[Run]:
        """The runs of these names.

        Raises:
            RunError: a run is gone.
        """
        return [run_named(name) for name in self.names]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `Selection.of`. UMAP never runs in this process: two at once would end it."""
        shown = ("step", "seed", "form", "quantity", "axis", "rank", "lens")
        return {name: getattr(self, name) for name in shown} | {"project": False}

    @property
    def style(self) -> dict[str, Any]:
        """Venue, width, resolution and replaced texts."""
        return {"venue": self.venue, "wide": self.wide, "dpi": self.dpi, "texts": dict(self.texts)}

    def same_paper(self, other: Choice) -> bool:
        """Whether a bundle for the other choice fits this one; options without a widget do not count."""
        if (self.names, self.style, self.step) != (other.names, other.style, other.step):
            return False
        return all(self.options[option] == other.options[option] for option in FIGURES[self.figure].options)


@dataclass
class FiguresTab:
    """State of the page in one browser tab.

    Attributes:
        job: the last requested bundle.
        texts: texts that are replaced in every figure, {old: new}.
        problem: why the last new text was not taken.
    """

    job: Job | None = None
    texts: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def figures_page() -> None:
    """Draw the page."""
    tab = st.session_state.setdefault("_page.figures", FiguresTab())
    st.title("Figures", anchor=False)
    known = [row.name for row in summaries() if row.name == visible(row.name)]
    if not known:
        st.info("No run yet: train one in the Lab first.", icon=":material/science:")
        st.page_link(st.session_state["_pages"]["Lab"], label="To the Lab", icon=":material/arrow_forward:")
        return
    left, right = st.columns([1.1, 2.3], gap="large")
    with right:
        figure = choose_figure()
    if figure in MOVING:
        with left:
            if runs := choose_runs(known):
                draw_takeaway(figure, runs, right)
            else:
                right.info("Choose one or more runs on the left.", icon=":material/arrow_back:")
        return
    with left:
        choice = choose_options(known, figure)
    if choice is None:
        tab.job = None
        right.info("Choose one or more runs on the left.", icon=":material/arrow_back:")
        return
    choice = replace(choice, texts=tuple(tab.texts.items()))
    with right:
        draw_figure(tab, choice)
    with left:
        draw_bundle(tab, choice)


# -- left: the choice --------------------------------------------------------------------------------------------------


def choose_figure() -> str:
    """Draw the choice of a figure; return its name."""
    return linked(
        st.selectbox, "Figure", [*FIGURES, *MOVING], key="figures.figure", format_func=title_of_figure,
        help="figures and tables of the paper, and panels of this app's pages; the source comes first",
    )  # fmt: skip


def title_of_figure(name: str) -> str:
    """What the choice calls a figure: where it belongs, and its content."""
    figure = FIGURES.get(name) or MOVING[name]
    return f"{figure.source}: {figure.title}"


def choose_runs(known: list[str]) -> list[Run]:
    """Draw the choice of runs."""
    names = linked_names(
        "Runs", run_titles(row for row in summaries() if row.name in known), default=default_runs(known), key="runs",
        help="newest first; runs that differ only in their seeds are pooled",
    )  # fmt: skip
    return existing_runs(names)


def choose_options(known: list[str], figure: str) -> Choice | None:
    """Draw the choice of runs and of all options; None without a run."""
    runs = choose_runs(known)
    if not runs:
        return None
    definition = FIGURES[figure]
    a, b = st.columns(2)
    with a:
        venue = linked(
            st.selectbox, "Venue", list(VENUES), format_func=lambda name: VENUES[name].title, key="figures.venue",
            help="sets text width and font sizes: include the file unscaled",
        )  # fmt: skip
    two = VENUES[venue].page > VENUES[venue].column
    with b:
        width = linked(
            st.selectbox, "Width", WIDTHS, key="figures.width", disabled=not two,
            help="one column, or the whole page; some venues have a single column",
        )  # fmt: skip
    a, b = st.columns(2)
    with a:
        kind = linked(
            st.selectbox, "Format", FORMATS, format_func=str.upper, key="figures.format",
            help="PDF for LaTeX, SVG to edit, PNG for slides",
        )  # fmt: skip
    with b:
        dpi = linked(
            st.number_input, "Dots per inch", *DPI, 300, 50, key="figures.dpi",
            help="of PNG, and of points and pictures in PDF and SVG; everything else there is vector graphics",
        )  # fmt: skip
    a, b = st.columns(2)
    with a:
        step = linked(
            st.number_input, "Up to step", 0, None, None, 1, key="figures.step", placeholder="the last",
            help="shows the runs at their last snapshot up to this step; empty: at their end",
        )  # fmt: skip
    seeds = sorted({seed for run in runs for seed in run.config.seeds})
    seed, form, quantity, axis, rank, lens = None, "distance", None, "step", 2, "holes"
    with b:
        if "seed" in definition.options:
            chosen = linked(
                st.selectbox, "Seed", [FIRST_SEED, *map(str, seeds)], key="figures.seed",
                help="samples of this seed are shown",
            )  # fmt: skip
            seed = None if chosen == FIRST_SEED else int(chosen)
        if "form" in definition.options:
            form = linked(
                st.selectbox, "Spectrum", list(FORMS), format_func=FORMS.get, key="figures.form",
                help="eigenvalues of the distance matrix, as in the paper, or of its double-centred squares",
            )  # fmt: skip
        if "quantity" in definition.options:
            labels = {MAIN_SCORE: MAIN_SCORE} | quantities(runs)
            quantity = linked(
                st.selectbox, "Quantity", list(labels), format_func=labels.get, key="figures.quantity",
                help="score, gap or loss recorded in training; the main score is W₂ for points, a Fréchet distance for "
                "pictures, and d_c before the first scores",
            )  # fmt: skip
            quantity = None if quantity == MAIN_SCORE else quantity
    if "axis" in definition.options:
        axis = linked(
            st.selectbox, "Over", list(AXES), format_func=AXES.get, key="figures.axis",
            help="for runs that differ in length, batch size or speed",
        )  # fmt: skip
    if "rank" in definition.options:
        rank = linked(
            st.selectbox, "Eigenvector", range(1, MOST_RANKS + 1), rank - 1, key="figures.rank",
            help="by falling eigenvalue; the first is nearly constant",
        )  # fmt: skip
    if "lens" in definition.options:
        lens = linked(
            st.selectbox, "Lens", list(LENSES), format_func=lambda name: LENSES[name].title, key="figures.lens",
            help="as in the Lab: one way to look at generated points beside real ones",
        )  # fmt: skip
    wide = two and width == WIDTHS[1]
    return Choice(
        tuple(run.name for run in runs),
        figure,
        venue,
        wide,
        kind,
        int(dpi),
        step,
        seed,
        form,
        quantity,
        axis,
        rank,
        lens,
    )


def default_runs(known: list[str]) -> list[str]:
    """The run that the page of a kind of data shows, else the newest."""
    shown = [page(kind).run for kind in PAGES]
    return [next((name for name in shown if name in known), known[0])]


def existing_runs(names: list[str]) -> list[Run]:
    """The runs of these names that still exist; the others are named in a caption."""
    found = []
    for name in names:
        try:
            found.append(run_named(name))
        except RunError as error:
            st.caption(plain(error))
    return found


# -- right: one figure -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """A figure as the page shows it.

    Attributes:
        png: the picture.
        inches: its width on paper.
        table: its numbers.
        latex: its LaTeX table; None where it has none.
        texts: its own texts, before any is replaced.
    """

    png: bytes
    inches: float
    table: pd.DataFrame
    latex: str | None
    texts: tuple[str, ...]


def draw_figure(tab: FiguresTab, choice: Choice) -> None:
    """Draw the figure, its downloads, numbers and LaTeX; or the reason why these runs cannot give it."""
    definition = FIGURES[choice.figure]
    try:
        selection = Selection.of(choice.runs(), **choice.options)
        preview = preview_of(choice, stamp(selection))
    except (ConfigError, RunError) as error:
        missing = unprojected(definition, choice)
        if missing:
            st.fragment(request_projections, run_every=1.0)(missing)
        else:
            reason = str(error).removeprefix(f"{choice.figure}: ")
            st.info(f"These runs cannot give it: {plain(reason)}.", icon=":material/info:")
        return
    with st.container(border=True, width="content"):
        st.image(preview.png, width=round(preview.inches * INCH))
    venue = venue_of(choice.venue).title
    across = "across the page" if choice.wide else "one column"
    st.caption(f"{definition.title}. {preview.inches:.2f} in wide, {across} of {venue}; enlarged here.")
    own = tuple((old, new) for old, new in choice.texts if old in preview.texts)
    draw_downloads(replace(choice, texts=own), preview)
    draw_texts(tab, preview)
    numbers, latex = st.tabs(["Numbers", "LaTeX"])
    numbers.dataframe(preview.table, hide_index=True, height=240, placeholder="–")
    if preview.latex:
        latex.code(preview.latex, language="latex", height=240)
    else:
        latex.caption("This figure has no LaTeX table: its numbers are curves or points, in its CSV.")


def draw_texts(tab: FiguresTab, preview: Preview) -> None:
    """Draw a field for each text of the figure."""
    edited = len([old for old in preview.texts if old in tab.texts])
    with st.expander(f"Edit texts{f' ({edited} changed)' if edited else ''}", icon=":material/edit:"):
        st.caption(
            "Titles, labels and the legend's entries, in every figure, its LaTeX table and its recipe. Formulas stand "
            "between dollar signs: `$W_2$`. An empty field brings the old text back."
        )
        if tab.problem:
            st.error(plain(tab.problem), icon=":material/error:")
        for number, (column, old) in enumerate(zip(itertools.cycle(st.columns(2)), preview.texts, strict=False)):
            key = f"_figures.text.{number}.{old}"
            column.text_input(
                plain(old),
                tab.texts.get(old, ""),
                key=key,
                placeholder=old,
                on_change=replace_text,
                args=(tab, old, key),
            )


def replace_text(tab: FiguresTab, old: str, key: str) -> None:
    """Take the new text of a field, if it can be drawn."""
    new, tab.problem = st.session_state[key].strip(), ""
    try:
        check({old: new})
    except ConfigError as error:
        tab.problem = str(error)
        return
    tab.texts.pop(old, None)
    if new and new != old:
        tab.texts[old] = new


def draw_downloads(choice: Choice, preview: Preview) -> None:
    """Draw buttons that download the figure, its numbers, its table, and all with a recipe."""
    name = choice.figure
    with st.container(horizontal=True):
        st.download_button(
            f"Download {plain(choice.kind.upper())}", lambda: bundle_of(choice).files[f"{name}.{choice.kind}"],
            f"{name}.{choice.kind}", type="primary", icon=":material/download:", on_click="ignore",
            key="figures.file", help="the figure at true size, fonts embedded",
        )  # fmt: skip
        st.download_button(
            "CSV", csv_of(preview.table), f"{name}.csv", "text/csv", icon=":material/table:", on_click="ignore",
            key="figures.csv", help="all numbers of the figure",
        )  # fmt: skip
        st.download_button(
            "LaTeX", preview.latex or "", f"{name}.tex", "text/x-tex", icon=":material/functions:", on_click="ignore",
            key="figures.tex", disabled=preview.latex is None, help="a table in LaTeX, for the package booktabs",
        )  # fmt: skip
        st.download_button(
            "This figure as ZIP", lambda: bundle_of(choice).zipped(), f"{name}.zip", "application/zip",
            icon=":material/folder_zip:", key="figures.zip", on_click="ignore",
            help="figure, CSV, LaTeX and a recipe: `python rebuild.py` rebuilds the same bytes from the run",
        )  # fmt: skip


def bundle_of(choice: Choice) -> Bundle:
    """Files of the figure; called in a thread of Streamlit's."""
    return bundle([choice.figure], choice.runs(), formats=[choice.kind], **choice.style, **choice.options)


def preview_of(choice: Choice, stamped: tuple) -> Preview:
    """The figure at twice the screen's resolution; made again when a file that it depends on has changed."""
    shown = {key: value for key, value in choice.options.items() if key in (*figure_of(choice.figure).options, "step")}
    return _preview(choice.names, choice.figure, choice.venue, choice.wide, tuple(shown.items()), choice.texts, stamped)


@st.cache_data(max_entries=64, show_spinner=False)
def _preview(names: tuple, figure: str, venue: str, wide: bool, shown: tuple, texts: tuple, stamped: tuple) -> Preview:
    definition = figure_of(figure)
    selection = Selection.of([run_named(name) for name in names], project=False, **dict(shown))
    table = definition.data(selection)
    known: dict[str, None] = {}
    whole = drawn(definition, table, selection, venue=venue_of(venue), wide=wide, texts=dict(texts), known=known)
    png = encoded(whole, "png", venue=venue, dpi=2 * INCH)
    latex = latex_of(definition, table, selection, texts=dict(texts))
    return Preview(png, whole.get_figwidth(), table, latex, tuple(known))


def stamp(selection: Selection) -> tuple:
    """The selected steps, and size and time of each file that a figure can depend on."""
    found = []
    for run, step in zip(selection.runs, selection.steps, strict=True):
        own = [CONFIG, RECORDS, SCORES, ORIGIN, REALS, CHECKPOINT]
        kept = run.kept_path(run.kept_step(step) or 0)
        for path in (*(run.path / name for name in own), run.snapshot_path(step), frame_path(run.path, step), kept):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return (*selection.steps, *found)


# -- projections -------------------------------------------------------------------------------------------------------


def unprojected(definition: Definition, choice: Choice) -> list[tuple[Run, int]]:
    """Runs and steps whose UMAP frame is missing, if the figure needs one."""
    if "frame" not in definition.uses:
        return []
    try:
        selection = Selection.of(choice.runs(), **choice.options)
    except (ConfigError, RunError):
        return []
    pairs = zip(selection.runs, selection.steps, strict=True)
    return [(run, step) for run, step in pairs if run.frame(step) is None]


def request_projections(missing: list[tuple[Run, int]]) -> None:
    """Request missing frames from the UMAP worker, and rerun the page once all are there."""
    service = projector()
    if all(run.frame(step) is not None for run, step in missing):
        st.rerun()
    for run, step in missing:
        failed = service.errors.get((str(run.path), step)) or (why_not_started(service) if service.gave_up else "")
        if failed:
            st.error(
                f"{plain(run.name)} cannot be projected at step {step:,}: {plain(failed)}", icon=":material/error:"
            )
        elif run.frame(step) is None:
            service.request(run.path, step)
            doing = "Projecting" if service.ready else "Warming up the projector, then projecting"
            st.info(f"{doing} {plain(run.name)} at step {step:,} ...", icon=":material/hourglass_top:")


# -- left: the bundle of all figures -----------------------------------------------------------------------------------


@dataclass
class Job(Work):
    """All figures in all formats.

    Attributes:
        choice: runs and options.
        files: all files, once they are made.
        content: the files as a ZIP.
    """

    choice: Choice
    total: int = field(default=len(FIGURES), kw_only=True)
    files: Bundle | None = None
    content: bytes = b""

    def start(self, service: Projector) -> Job:
        """Start to make them in a thread; return this job."""
        self.begin(partial(self.make, service))
        return self

    def make(self, service: Projector) -> None:
        """Make them; without its UMAP frames the figure of samples is left out.

        Raises:
            Abandoned: no page waits for them.
            RunError: a run is gone.
        """
        missing = unprojected(FIGURES["samples"], self.choice)
        await_frames(
            missing, service, lambda _, __, doing: self.report(0, self.total, doing), seconds=PROJECTION_SECONDS
        )
        style, options = self.choice.style, self.choice.options
        self.files = bundle(["all"], self.choice.runs(), formats=FORMATS, on_progress=self.report, **style, **options)
        self.content = self.files.zipped()


def draw_bundle(tab: FiguresTab, choice: Choice) -> None:
    """Draw the button that makes all figures these runs can give, its progress, or the download."""
    if tab.job is not None and not choice.same_paper(tab.job.choice):
        drop(tab)  # for other runs or another style
    with st.container(border=True):
        venue = VENUES[choice.venue].title
        st.markdown(f"**Paper bundle** &nbsp; :gray[all figures that these runs can give, for {venue}]")
        job = tab.job
        if job is None or job.state == "failed":
            if job is not None and job.reason:
                st.error(plain(job.reason), icon=":material/error:")
            st.button(
                "Make paper bundle", icon=":material/auto_stories:", width="stretch", key="figures.bundle",
                on_click=start_job, args=(tab, choice, projector()),
                help="PDF, SVG, PNG, numbers, LaTeX and recipe of each figure, in one ZIP; takes seconds",
            )  # fmt: skip
        elif job.state == "working":
            st.fragment(draw_progress, run_every=0.5)(tab, job)
        else:
            draw_bundle_download(job)


def start_job(tab: FiguresTab, choice: Choice, service: Projector) -> None:
    """Start to make a bundle, unless one is being made."""
    if tab.job is None or tab.job.state == "failed":
        tab.job = Job(choice).start(service)


def drop(tab: FiguresTab) -> None:
    """Drop the job; its thread ends after the figure in progress."""
    if tab.job is not None:
        tab.job.dropped = True
    tab.job = None


def draw_progress(tab: FiguresTab, job: Job) -> None:
    """Draw the progress of a job, and keep it alive."""
    job.seen = time.monotonic()
    if job.state != "working":
        st.rerun()
    st.progress(job.share, text=f"{job.done} of {job.total} figures; {plain(job.doing or 'starting')} ...")
    st.button("Cancel", icon=":material/close:", key="figures.cancel", on_click=drop, args=(tab,), width="stretch")


def draw_bundle_download(job: Job) -> None:
    """Draw the download of a finished bundle, and why some figures are missing."""
    made = job.files
    count = sum(name.endswith(".recipe.json") for name in made.files)
    st.download_button(
        f"Download {count:,} figures ({len(job.content) / 2**20:.1f} MB)", job.content, "figures.zip",
        "application/zip", type="primary", icon=":material/download:", on_click="ignore", width="stretch",
        key="figures.bundled",
    )  # fmt: skip
    if made.skipped:
        lines = [
            f"- **{plain(name)}**: {plain(reason.removeprefix(f'{name}: '))}" for name, reason in made.skipped.items()
        ]
        with st.expander(f"{len(lines)} left out", expanded=False):
            st.caption("\n".join(lines))
