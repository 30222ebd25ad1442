"""Runs: a table of all runs; a ticked run can be renamed, noted, resumed, forked and saved; several are compared."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.caches import run_named
from app.charts import overlays
from app.components.live_plot import live_plot
from app.header import STATES, duration
from app.kinds import PAGES
from app.link import keep, linked
from app.services import continue_training, train
from app.session import Tab, page
from app.text import plain, visible_words
from app.thumbnails import thumbnail_of
from app.widgets import field_widget, setting_title, unlinked
from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError, RunError
from mvm.look.palette import title_of
from mvm.methods import METHODS
from mvm.runs.archive import pack, unpack
from mvm.runs.documents import Origin
from mvm.runs.events import ALIVE
from mvm.runs.fork import Branches, changeable, config_at, fork, forked_config, fresh_name
from mvm.runs.library import delete_unreadable
from mvm.runs.run import Run
from mvm.runs.weights import settings_of
from mvm.studies.compare import (
    AXES,
    curves,
    data_title,
    differences,
    footnote_of,
    in_a_word,
    in_words,
    is_gain,
    label_of,
    main_score,
    matrix,
    other_scores,
    quantities,
    scoreboard,
    series_of,
)
from mvm.studies.index import Summary, run_titles, summaries, unreadable
from mvm.studies.labels import run_title, setting_label, variant_label
from mvm.words import visible

__all__ = ["runs_page"]

MOST_COMPARED = 24
MOST_PICTURED = 100  # newest runs in the table with a picture: each is read from a snapshot, once
MOST_UNREADABLE = 20
ALL_KINDS = "all"


@dataclass
class RunsTab(Tab):
    """State of the page in one browser tab.

    Attributes:
        ticked: names of the ticked runs.
        turn: number of times that the program ticked runs; the table's key contains it.
        training: whether any run was being trained when the page was drawn.
        linked: names in the URL, as this page last wrote them.
    """

    ticked: list[str] = field(default_factory=list)
    turn: int = 0
    training: bool = False
    linked: list[str] = field(default_factory=list)

    def tick(self, *names: str) -> None:
        """Tick these runs from the next rerun on, and clear the notice."""
        self.notify("")
        self.ticked, self.turn = list(names), self.turn + 1


def runs_page() -> None:
    """Draw the page."""
    tab = st.session_state.setdefault("_page.runs", RunsTab())
    if (linked := _from_url()) and linked != tab.linked:  # a link from another page
        tab.tick(*linked)
    st.title("Runs", anchor=False)
    ticked = ticked_runs(tab)
    tab.draw_notice()
    draw_unreadable(tab)
    rows = summaries()
    if not rows:
        st.info("No run yet: start one in the **Lab** or in **Faces**, or import one.", icon=":material/science:")
        draw_import(tab)
        return
    tab.training = any(row.status in ALIVE for row in rows)
    shown = filter_rows(tab, rows)
    st.fragment(draw_table, run_every=2.0 if tab.training else None)(tab, [row.name for row in shown])
    tab.linked = list(tab.ticked)
    if tab.ticked or linked:  # each change is an entry of the browser's history
        st.query_params["compare"] = ",".join(tab.ticked)
    draw_actions(tab, ticked)
    keep("runs.quantities")  # is offered once a run is ticked
    if ticked:
        alive = any(run.status().alive for run in ticked)
        st.fragment(draw_comparison, run_every=3.0 if alive else None)(ticked)
    else:
        st.caption("Tick a run to rename, resume, fork or open it; tick several runs to compare them.")


def draw_unreadable(tab: RunsTab) -> None:
    """Draw the unreadable runs, each with the reason, and a button that deletes it where it is damaged."""
    others = unreadable()
    for name, found in list(others.items())[:MOST_UNREADABLE]:
        identity = name.encode("ascii", "backslashreplace").decode()  # a folder may have any name
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(plain(found.reason), icon=":material/folder_off:")
            if not found.damaged:
                continue
            with st.popover("Delete", icon=":material/delete:", key=f"runs.damaged.{identity}"):
                st.markdown(f"Delete **{plain(name)}**, with all files in its folder? This cannot be undone.")
                st.button(
                    "Delete for good",
                    type="primary",
                    on_click=delete_damaged,
                    args=(tab, name),
                    key=f"runs.clear.{identity}",
                )
    if len(others) > MOST_UNREADABLE:
        st.warning(f"{len(others) - MOST_UNREADABLE:,} more runs cannot be read.", icon=":material/folder_off:")


def delete_damaged(tab: RunsTab, name: str) -> None:
    """Delete a damaged run."""
    try:
        delete_unreadable(name)
        tab.notify(f"Deleted: {name}", good=True)
    except (RunError, OSError) as error:
        tab.notify(str(error))


def _from_url() -> list[str]:
    return [name for name in st.query_params.get("compare", "").split(",") if name]


def ticked_runs(tab: RunsTab) -> list[Run]:
    """The ticked runs; deleted runs are unticked, with a notice."""
    found = []
    for name in tab.ticked[:MOST_COMPARED]:
        try:
            found.append(run_named(name))
        except RunError as error:
            tab.notify(str(error))
    tab.ticked = [run.name for run in found]
    return found


# -- the table ---------------------------------------------------------------------------------------------------------


def filter_rows(tab: RunsTab, rows: list[Summary]) -> list[Summary]:
    """Draw the filters above the table, and return the rows that pass them."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = linked(
            st.text_input, "Find", key="runs.find", placeholder="words of a name, data, variant, note …",
            help="only runs whose row contains all these words",
        )  # fmt: skip
        known = list(dict.fromkeys(row.state for row in rows))
        states = st.multiselect(
            "State", known, format_func=lambda s: STATES[s][1], key="runs.status", help="All states if none is chosen"
        )
        kind = linked(
            st.segmented_control,
            "Kind",
            [ALL_KINDS, *(KINDS[kind].noun for kind in PAGES)],
            default=ALL_KINDS,
            required=True,
            key="runs.kind",
        )
        draw_import(tab)
    kept = [row for row in rows if row.matches(words) and (not states or row.state in states)]
    kept = [row for row in kept if kind in (ALL_KINDS, KINDS[row.kind].noun)]
    note = f"{len(kept):,} of {len(rows):,} runs, {duration(sum(row.seconds for row in kept))} of training"
    st.caption(
        f"{note}. A score is divided by its baseline, which is real data against real data: 1 is as good as a second "
        "real sample. The PSNR of photographs is beside that of bicubic interpolation. Click a column's head to sort."
    )
    return kept


def draw_table(tab: RunsTab, names: list[str]) -> None:
    """Draw the table of the runs of these names; redrawn while any run is being trained."""
    by_name = {row.name: row for row in summaries()}
    rows = [by_name[name] for name in names if name in by_name]
    if len(rows) < len(names) or any(row.status in ALIVE for row in by_name.values()) != tab.training:
        st.rerun()
    if not rows:
        st.info("No run matches these filters.", icon=":material/search_off:")
        return
    # rows are ticked by number: other rows need another table
    digest = sha1(b" ".join(map(os.fsencode, names))).hexdigest()[:8]
    ticked = [number for number, row in enumerate(rows) if row.name in tab.ticked]
    cells = frame(rows)
    cells.insert(0, "picture", [_picture(row) for row in rows[:MOST_PICTURED]] + [None] * (len(rows) - MOST_PICTURED))
    selection = st.dataframe(
        cells,
        key=f"runs.{digest}.{tab.turn}",
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": ticked}},
        hide_index=True,
        column_config=columns(rows),
        height=min(35 * (len(rows) + 1) + 3, 423),
        placeholder="",
    )
    wanted = [rows[number].name for number in selection["selection"]["rows"] if number < len(rows)]
    hidden = [name for name in tab.ticked if name not in names]  # ticked, but not shown by the filters
    if set(wanted + hidden) != set(tab.ticked):
        tab.ticked = [name for name in tab.ticked if name in wanted + hidden]
        tab.ticked += [name for name in wanted if name not in tab.ticked]
        st.rerun()


def _picture(row: Summary) -> str | None:
    """The data URL of a run's picture; None where there is none."""
    with contextlib.suppress(RunError, OSError):
        return thumbnail_of(run_named(row.name), row.best)
    return None


OUTDATED = "scores of an earlier version"
RECIPES = {"paper": ", paper's recipe", "published": ", published code's recipe"}


def frame(rows: list[Summary]) -> pd.DataFrame:
    """Cells of the table; of the two columns of a quality those that a row has."""
    titles = run_titles(rows)
    cells = pd.DataFrame(
        visible_words(
            [
                {
                    "name": titles[row.name],
                    "status": ", ".join(
                        filter(None, [STATES[row.state][1].split(":")[0], row.lost, "damaged" if row.damage else ""])
                    ),
                    "score": None if is_gain(row.score) else row.quality,
                    "gain": row.quality if is_gain(row.score) else None,
                    "best": row.titles[row.variants.index(row.best)] + ("" if row.final else ", so far")
                    if row.best
                    else OUTDATED * row.outdated,
                    "progress": row.step / row.steps,
                    "data": row.title,
                    "method": METHODS[row.method].title + RECIPES.get(row.recipe, ""),
                    "coverage": row.coverage,
                    "recall": row.recall,
                    "seeds": len(row.seeds),
                    "when": datetime.fromtimestamp(row.created, tz=UTC),
                    "note": row.note or next((f"({why})" for why in (row.reason, row.damage) if why), ""),
                    "variants": row.titles,
                    "fork of": row.fork_of or "",
                    "step": row.step,
                    "minutes": row.seconds / 60,
                    "device": row.device or "",
                }
                for row in rows
            ]
        )
    )
    gains = [is_gain(row.score) for row in rows]
    return cells.drop(columns=[*(["score"] if all(gains) else []), *([] if any(gains) else ["gain"])])


def columns(rows: list[Summary]) -> dict[str, Any]:
    """Format of the table's columns."""
    c = st.column_config
    return {
        "picture": c.ImageColumn("", width=46),
        "name": c.TextColumn("Run", width="medium", pinned=True),
        "status": c.TextColumn("State", width=190 if any(row.lost for row in rows) else 90),
        "progress": c.ProgressColumn("Progress", format="percent", width=100),
        "step": c.NumberColumn("Steps done", format="localized", width=90),
        "data": c.TextColumn("Data", width=120),
        "method": c.TextColumn("Method", width=110),
        "variants": c.ListColumn("Variants", width="medium"),
        "seeds": c.NumberColumn("Seeds", width=60),
        "score": c.NumberColumn(
            "W₂ / baseline" if {row.score for row in rows} <= {"w2_ratio", ""} else "Score / baseline",
            format="%.3g",
            width=105,
            help="W₂ of points, Fréchet distance of pictures, of the best variant; 1 is as good as real data",
        ),
        "gain": c.NumberColumn(
            "PSNR gain (dB)",
            format="%+.2f",
            width=110,
            help="PSNR (Y) on the held-out photographs minus that of bicubic interpolation, of the best variant",
        ),
        "best": c.TextColumn(
            "Best variant",
            width=150,
            help="By the median over its seeds. So far: scored on fewer samples than finished runs, against another "
            "baseline",
        ),
        "coverage": c.NumberColumn("Coverage", format="%.2f", width=80),
        "recall": c.NumberColumn("Recall", format="%.2f", width=70),
        "when": c.DatetimeColumn("Started", format="distance", width=130),
        "minutes": c.NumberColumn("Training time", format="%.1f min", width=105),
        "device": c.TextColumn("Device", width=80),
        "fork of": c.TextColumn("Forked from", width="medium"),
        "note": c.TextColumn("Note", width="medium"),
    }


# -- actions -----------------------------------------------------------------------------------------------------------


def draw_actions(tab: RunsTab, ticked: list[Run]) -> None:
    """Draw buttons for the ticked runs; most need a single one."""
    single = ticked[0] if len(ticked) == 1 else None
    status = single.status() if single else None
    idle = bool(ticked) and not any(run.status().alive for run in ticked)
    with st.container(horizontal=True):
        where = PAGES[single.config.kind if single else "points"].title
        if st.button(f"Open in {where}", icon=":material/open_in_new:", disabled=single is None, help="watch this run"):
            page(single.config.kind).show(single.name)
            st.switch_page(st.session_state["_pages"][where], query_params={"run": single.name})
        if st.button(
            "Figures", icon=":material/photo_library:", disabled=not ticked, help="of the ticked runs, for a paper"
        ):
            st.session_state.pop("runs", None)  # the earlier choice on that page
            names = [run.name for run in ticked]
            st.switch_page(st.session_state["_pages"]["Figures"], query_params={"runs": names})
        at_rest = status is not None and (status.state == "paused" or not status.alive)
        st.button(
            "Resume", icon=":material/resume:", on_click=continue_training, args=(tab, single),
            help="continue from the last checkpoint",
            disabled=not at_rest or status.state in ("finished", "diverged"),
        )  # fmt: skip
        with st.popover("Fork", icon=":material/fork_right:", disabled=single is None):
            if single:
                draw_fork(tab, single)
        with st.popover("Name and note", icon=":material/edit:", disabled=single is None):
            if single:
                draw_naming(tab, single, idle=idle)
        st.download_button(
            "Save as ZIP", icon=":material/archive:", data=lambda: packed(single) if single else b"",
            mime="application/zip", file_name=f"{single.name}.zip" if single else None, disabled=single is None,
            on_click="ignore",
            help="config, records, weights and snapshots in one file, for Import on another machine",
        )  # fmt: skip
        with st.popover("Delete", icon=":material/delete:", disabled=not idle, key=f"runs.deleting.{tab.turn}"):
            if idle:
                these = ", ".join(f"**{plain(run_title(run))}**" for run in ticked)  # the filters may hide ticked runs
                st.markdown(f"Delete {these}, with all checkpoints and snapshots? This cannot be undone.")
                st.button("Delete for good", type="primary", on_click=delete, args=(tab, ticked), key="runs.delete")


def draw_naming(tab: RunsTab, run: Run, *, idle: bool) -> None:
    """Draw the form for a run's name and note."""
    with st.form(f"runs.naming.{run.name}", border=False):
        name = st.text_input(
            "Name", run.name, disabled=not idle, help="letters, digits and . _ + -; fixed while the run is trained"
        )
        note = st.text_area("Note", run.note, placeholder="what you tried, and the outcome", height=120)
        if st.form_submit_button("Save", type="primary"):
            try:
                run.write_note(note)
                if name != run.name:
                    tab.tick(run.rename(name).name)
            except (RunError, OSError) as error:
                tab.notify(str(error))
            st.rerun()


def draw_fork(tab: RunsTab, run: Run) -> None:
    """Draw the choice of a checkpoint, of settings and their new values, and what the fork takes over from its run."""
    steps = [step for step in run.checkpoint_steps() if step < run.config.steps]
    if not steps:
        st.markdown("This run has no checkpoint to fork from yet: train it further.")
        return
    st.markdown("Start from a checkpoint of this run, change some settings, and compare the two trainings.")
    step = steps[0]
    if len(steps) > 1:
        step = st.select_slider("At step", steps, steps[len(steps) // 2], key=f"fork.step.{run.name}")
    before = config_at(run, step)
    inherited = changeable(before)
    names = st.multiselect(
        "Change", list(inherited), format_func=lambda name: plain(setting_title(name)), key=f"fork.what.{run.name}",
        placeholder="Settings; none repeats the run",
        help="networks, data and batches are those of the run",
    )  # fmt: skip
    values = {name: draw_setting(before, name, key=f"fork.to.{run.name}.{name}.{step}") for name in names}
    changes = {name: value for name, value in values.items() if value != inherited[name]}
    config, problem = before, ""
    try:
        config = forked_config(run, step, changes)
    except (ConfigError, RunError) as error:
        setting, colon, reason = str(error).partition(": ")
        problem = setting_title(setting) + colon + reason
    if problem:
        st.error(plain(problem), icon=":material/error:")
    elif config.unmatched:
        st.warning(plain(config.unmatched.capitalize()), icon=":material/warning:")
    draw_inherited(run, step, inherited, config)
    st.button(
        "Fork and train", type="primary", icon=":material/fork_right:", key="fork.go", on_click=start_fork,
        args=(tab, run, step, changes, fresh_name(run, step), tab.presses), disabled=bool(problem),
    )  # fmt: skip


def draw_setting(config: Config, name: str, *, key: str) -> Any:
    """Draw the widget of a setting, given by its dotted name; return its value, of the setting's type where it fits."""
    value, (group, _, last) = config.flat()[name], name.rpartition(".")
    model = type(getattr(config, group)) if group else Config
    drawn = field_widget(
        last, model.model_fields[last], value=value, key=key, label=plain(setting_title(name)), draw=unlinked
    )
    with contextlib.suppress(ConfigError):  # what does not fit is named beside the button
        return config.with_changes({name: drawn}).flat()[name]
    return drawn


def draw_inherited(run: Run, step: int, inherited: dict[str, Any], config: Config) -> None:
    """Draw what a fork takes over from its run: weights that were moved up to its step, and a table of all settings."""
    moved = [
        setting_label(name, past, run.config)
        for name, path in settings_of(run).items()
        if len(past := tuple(each for each in path if each.step <= step)) > 1 and name in inherited
    ]
    note = f"; moved up to this step: {', '.join(moved)}" if moved else ""
    st.caption(plain(f"Other settings are those that {run.name} trained on with after step {step:,}{note}."))
    with st.expander("Settings of the fork"):
        values = {name: [value, config.flat()[name]] for name, value in inherited.items()}
        rows = {setting_title(name): [in_a_word(value) for value in pair] for name, pair in values.items()}
        table = pd.DataFrame.from_dict(visible_words(rows), orient="index", columns=["of the run", "of the fork"])
        st.dataframe(table, width="stretch", height=260)


def start_fork(tab: RunsTab, run: Run, step: int, changes: dict[str, Any], name: str, press: int) -> None:
    """Make a fork, train it in the background, and tick it beside its run."""
    if not tab.serve(press):
        return
    try:
        made = fork(run, step, changes, name=name)
        train(made)
        tab.tick(run.name, made.name)
    except (ConfigError, RunError, OSError) as error:
        tab.notify(str(error))


def delete(tab: RunsTab, ticked: list[Run]) -> None:
    """Delete the ticked runs, and give a notice of the runs that could not be deleted."""
    tab.tick()
    deleted, errors = [], []
    for run in ticked:
        try:
            title = run_title(run)
            run.delete()
            deleted.append(title)
        except FileNotFoundError:
            continue
        except (RunError, OSError) as error:
            errors.append(str(error))
    if errors or deleted:
        tab.notify("; ".join(errors) or f"Deleted: {', '.join(deleted)}", good=not errors)


def packed(run: Run) -> bytes:
    """The run as a ZIP."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.zip"
        pack(run, out)
        return out.read_bytes()


def draw_import(tab: RunsTab) -> None:
    """Draw the form that imports a run from a ZIP."""
    with st.popover("Import", icon=":material/upload_file:"), st.form("runs.import", border=False):
        file = st.file_uploader("A run's ZIP", type=["zip"], help="made by Save as ZIP, or `python -m mvm pack`")
        name = st.text_input("Name", placeholder="as in the ZIP", help="needed if there is a run of this name already")
        if st.form_submit_button("Import", type="primary") and file is not None:
            try:
                tab.tick(unpack(file, name=name.strip() or None).name)
            except (RunError, OSError) as error:
                tab.notify(str(error))
            st.rerun()


# -- side by side ------------------------------------------------------------------------------------------------------


def draw_comparison(runs: list[Run]) -> None:
    """Draw curves, branches, scores, differing settings and the ablation matrix of the ticked runs."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        place = st.container()  # for the quantities: leftmost, but known only once the baseline is chosen
        pinned = choose_baseline(runs)
        axis, log = choose_axes()
    others = [run for run in runs if pinned is None or run.name != pinned.name] or runs
    draw_curves(others, pinned, axis=axis, log=log, place=place)
    if note := footnote_of(series_of(runs)):
        st.caption(plain(note))
    for run in runs:
        made = run.origin
        trunk = next((other for other in runs if made and other.name == made.run), None)
        if trunk is not None:
            draw_branches(trunk, run, made)
    draw_last_scores(runs, pinned)
    differs = differences(runs)
    if len(runs) > 1:
        st.markdown("**What differs** &nbsp; :gray[settings that are not equal in all runs]")
        if differs:
            titled = {setting_title(name): titled_values(name, values) for name, values in differs.items()}
            titles = run_titles(row for row in summaries() if row.name in {run.name for run in runs})
            names = [titles.get(run.name, run.name) for run in runs]
            st.dataframe(pd.DataFrame(visible_words(titled), index=names).T, width="stretch")
        else:
            st.caption("Nothing: these runs have equal settings.")
    draw_matrix(runs)


def titled_values(name: str, values: list[str]) -> list[str]:
    """Values of a setting, as `differences` has them, in the words of the page."""
    words = {"True": "yes", "False": "no"}
    if name == "method":
        words |= {key: method.title for key, method in METHODS.items()}
    if name == "data":
        return [data_title(value) for value in values]
    if name == "variants":
        return [", ".join(map(title_of, value.split())) for value in values]
    if name == "settings moved while training":
        return [re.sub(r"[a-z_]+\.[a-z_]+", lambda found: setting_title(found[0]), value) for value in values]
    return [words.get(value, value) for value in values]


def choose_baseline(runs: list[Run]) -> Run | None:
    """Draw the choice of the run that others are compared with; it is kept when other runs are ticked."""
    names, before = [run.name for run in runs], st.session_state.get("runs.baseline")
    names += [before] if before and before not in names else []
    name = linked(
        st.selectbox, "Compare with", names, index=None, key="runs.baseline", placeholder="no run pinned", width=240,
        help="The pinned run is drawn grey and dashed, and scores of other runs are compared with it. It stays when "
        "other runs are ticked",
    )  # fmt: skip
    try:
        return run_named(name) if name else None
    except RunError:
        return None


def choose_axes() -> tuple[str, bool]:
    """Draw the choices of the horizontal axis and of logarithmic values."""
    axis = linked(
        st.selectbox, "Against", list(AXES), format_func=AXES.get, key="runs.axis", width=200,
        help="for runs that differ in length, batch size or speed",
    )  # fmt: skip
    return axis, linked(st.toggle, "Logarithmic", True, key="runs.log")


def draw_curves(runs: list[Run], pinned: Run | None, *, axis: str, log: bool, place: DeltaGenerator) -> None:
    """Draw recorded quantities over training, and their choice in a container above."""
    known = quantities([*runs, *([pinned] if pinned else [])])
    default = [key for key in (main_score(known), "d_c", "d_g") if key]
    chosen = linked(
        place.multiselect, "Over training", list(known), default=default, format_func=known.get,
        max_selections=3, key="runs.quantities",
        help="median and quartiles over the seeds; runs that differ only in their seeds are pooled",
    )  # fmt: skip
    panels = {known[key]: curves(runs, key, axis=axis) for key in chosen if key in known}
    if not any(panels.values()):
        st.caption("No values of these quantities are recorded yet.")
        return
    grey = {known[key]: curves([pinned], key, axis=axis) for key in chosen if key in known} if pinned else None
    marks = [made.step for run in runs if (made := run.origin)] if axis == "step" else []
    figure = overlays.overlay(panels, axis=AXES[axis], log=log, baseline=grey, marks=marks)
    words = "; ".join(f"{label}: {', '.join(c.series.title for c in drawn)}" for label, drawn in panels.items())
    live_plot(
        figure, key=f"runs.curves.{len(panels)}.{axis}.{log}", height=300 + figure["layout"]["margin"]["b"], alt=words
    )


def draw_branches(trunk: Run, run: Run, made: Origin) -> None:
    """Draw the distance between a fork and its run."""
    readers = st.session_state.setdefault("_branches", {})
    try:
        reader = readers.setdefault((trunk, run), Branches(trunk, run))
    except RunError as error:
        st.caption(plain(error))
        return
    steps, distance = reader.distance()
    if not len(steps):
        return
    variants, seeds = run.config.variants, len(run.config.seeds)
    median = np.median(distance.reshape(len(steps), len(variants), seeds), axis=-1)
    parted = np.array(reader.parted(), dtype=object).reshape(len(variants), seeds)
    words = []
    for variant, at in zip(variants, parted, strict=True):
        known = sorted(step for step in at if step is not None)
        words.append(f"{variant_label(run, variant)}: {f'at step {known[0]:,}' if known else 'not yet'}")
    pairs = [f"{setting_title(name)} {in_a_word(value)}" for name, value in made.changes.items()]
    changes = plain(", ".join(pairs) or "nothing changed")
    st.markdown(
        f"**Distance of the fork** &nbsp; :gray[{plain(run_title(run))}, {changes}, forked at step "
        f"{made.step:,}; equal batches and noise. First distance of 1 %: {plain('; '.join(words))}]"
    )
    titles = [variant_label(run, variant) for variant in variants]
    figure = overlays.branches(steps, median, variants=variants, titles=titles, at=made.step)
    live_plot(
        figure, key=f"runs.branches.{run.name}", height=300, alt=f"Distance between the fakes of fork and run: {words}"
    )


def draw_last_scores(runs: list[Run], pinned: Run | None) -> None:
    """Draw a table of the last scores of every series."""
    st.markdown(
        "**Last scores** &nbsp; :gray[medians over seeds. Score / baseline: W₂ of points, Fréchet distance of "
        "pictures; closer to 1 is better, below it is sampling noise. PSNR gain: PSNR (Y) of photographs minus that "
        "of bicubic interpolation. Finished runs are scored on more samples than the curves, against another baseline]"
    )
    others = other_scores(runs)
    board = scoreboard(runs, keys=others, baseline=pinned)
    gains = board["score"].map(is_gain)
    spread = zip(board["low"], board["high"], board["score"], strict=True)
    board["quartiles"] = [
        f"{in_words(low, key)} to {in_words(high, key)}" if low < high else "" for low, high, key in spread
    ]
    lost = np.isinf(board["quality"])
    board.loc[lost, "quartiles"] = in_words(np.inf)
    board.loc[lost, ["quality", "against"]] = np.nan
    board["against"] *= np.where(gains, 1, 100)
    units = ["ratio"] * (not gains.all()) + ["gain"] * bool(gains.any())
    for unit, those in (("ratio", ~gains), ("gain", gains)):  # a column has one unit
        board[unit], board[f"against, {unit}"] = board["quality"].where(those), board["against"].where(those)
    against = [f"against, {unit}" for unit in units] if pinned else []
    shown = ["series", "seeds", "step", *units, "quartiles", *against, *others, "evaluations"]
    c = st.column_config
    config = {
        "ratio": c.NumberColumn("Score / baseline", format="%.3g"),
        "gain": c.NumberColumn("PSNR gain (dB)", format="%+.2f"),
        "step": c.NumberColumn("Step", format="localized"),
        "seeds": c.NumberColumn("Seeds"),
        "quartiles": c.TextColumn("Quartiles"),
        "evaluations": c.NumberColumn("Evaluations", help="Network evaluations per sample", format="localized"),
    }
    longest = 7 * max(map(len, board["series"]))
    config["series"] = c.TextColumn("Series", width=min(320, max(120, longest)), pinned=True)
    config["against, ratio"] = c.NumberColumn("Against the pinned run", format="%+.0f %%", help="Lower is better")
    config["against, gain"] = c.NumberColumn("Against the pinned run (dB)", format="%+.2f", help="Higher is better")
    config |= {key: c.NumberColumn(visible(label_of(key)), format="%.3f") for key in others}
    st.dataframe(board[shown], hide_index=True, width="stretch", column_config=config, placeholder="–")


def draw_matrix(runs: list[Run]) -> None:
    """Draw the quality by variant and data."""
    cells = matrix(runs)
    if len(cells) < 2:
        return
    st.markdown(
        "**Ablation matrix** &nbsp; :gray[score / baseline, median and range over seeds; 1 is as good as a second real "
        "sample. Of photographs PSNR (Y) minus that of bicubic interpolation]"
    )
    rows = cells["what"].nunique()
    live_plot(overlays.ablation(cells), key=f"runs.matrix.{rows}", height=50 + 56 * rows, alt=cells.to_csv(index=False))
