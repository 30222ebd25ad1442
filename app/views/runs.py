"""Runs: every run in one table; a run on its own can be named, noted, resumed, forked; several are compared."""

from __future__ import annotations

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
from app.header import STATES, duration, wake
from app.kinds import PAGES
from app.services import train
from app.session import Tab, page
from mvm.errors import ConfigError, RunError
from mvm.look.palette import title_of
from mvm.runs.archive import pack, unpack
from mvm.runs.events import ALIVE
from mvm.runs.fork import Branches, Origin, changeable, config_at, fork, fresh_name, origin
from mvm.runs.library import delete_unreadable
from mvm.runs.run import Run
from mvm.studies.compare import (
    AXES,
    curves,
    differences,
    in_words,
    label_of,
    main_score,
    matrix,
    other_scores,
    quantities,
    scoreboard,
)
from mvm.studies.index import Summary, summaries, unreadable

__all__ = ["runs_page"]

MOST_COMPARED = 24
ALL_KINDS = "all"


@dataclass
class Shelf(Tab):
    """What one browser tab remembers of the page.

    Attributes:
        chosen: names of the runs that are ticked.
        turn: how often the program, and not a hand, has chosen: the table is then a new one.
        living: whether some run was being trained when the page was drawn.
        linked: names in the URL, as this page last wrote them.
    """

    chosen: list[str] = field(default_factory=list)
    turn: int = 0
    living: bool = False
    linked: list[str] = field(default_factory=list)

    def choose(self, *names: str) -> None:
        """Tick these runs from the next rerun on; what went wrong before is no news then."""
        self.notify("")
        self.chosen, self.turn = list(names), self.turn + 1


def runs_page() -> None:
    """The whole page."""
    shelf = st.session_state.setdefault("_page.runs", Shelf())
    if (linked := _from_url()) and linked != shelf.linked:  # another page, or a link, leads here with runs of its own
        shelf.choose(*linked)
    st.markdown("#### Runs")
    chosen = opened(shelf)
    shelf.draw_notice()
    damaged(shelf)
    rows = summaries()
    if not rows:
        st.info("No run yet: the **Lab** and **Faces** make them, and so does Import.", icon=":material/science:")
        importing(shelf)
        return
    shelf.living = any(row.status in ALIVE for row in rows)
    shown = filtered(shelf, rows)
    st.fragment(table, run_every=2.0 if shelf.living else None)(shelf, [row.name for row in shown])
    shelf.linked = list(shelf.chosen)
    if shelf.chosen or linked:  # each change is an entry of the browser's history
        st.query_params["compare"] = ",".join(shelf.chosen)
    actions(shelf, chosen)
    if chosen:
        alive = any(run.status().alive for run in chosen)
        st.fragment(comparison, run_every=3.0 if alive else None)(chosen)
    else:
        st.caption("Tick a run to name, resume, fork or open it; tick several to compare them.")


def damaged(shelf: Shelf) -> None:
    """Runs that cannot be read, why, and a button that removes one."""
    for name, reason in unreadable().items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(reason, icon=":material/folder_off:")
            with st.popover("Delete", icon=":material/delete:", key=f"runs.damaged.{name}"):
                st.markdown(f"Delete **{name}**, with all that is in its folder? This cannot be undone.")
                st.button(
                    "Delete for good", type="primary", on_click=clear, args=(shelf, name), key=f"runs.clear.{name}"
                )


def clear(shelf: Shelf, name: str) -> None:
    """Delete a run that cannot be read."""
    try:
        delete_unreadable(name)
        shelf.notify(f"Deleted: {name}", good=True)
    except (RunError, OSError) as error:
        shelf.notify(str(error))


def _from_url() -> list[str]:
    return [name for name in st.query_params.get("compare", "").split(",") if name]


def opened(shelf: Shelf) -> list[Run]:
    """The ticked runs; those that are gone are unticked, with a notice."""
    found = []
    for name in shelf.chosen[:MOST_COMPARED]:
        try:
            found.append(run_named(name))
        except RunError as error:
            shelf.notify(str(error))
    shelf.chosen = [run.name for run in found]
    return found


# -- the table ---------------------------------------------------------------------------------------------------------


def filtered(shelf: Shelf, rows: list[Summary]) -> list[Summary]:
    """Widgets above the table, and the rows that they leave."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Find", key="runs.find", placeholder="words of a name, data, variant, note …", bind="query-params",
            help="every word must be found in what the table says of a run",
        )  # fmt: skip
        known = list(dict.fromkeys(row.status for row in rows))
        states = st.multiselect(
            "Status", known, format_func=lambda s: STATES[s][1], key="runs.status", help="all if none"
        )
        kind = st.segmented_control(
            "Kind",
            [ALL_KINDS, *(kind.noun for kind in PAGES.values())],
            default=ALL_KINDS,
            required=True,
            key="runs.kind",
            bind="query-params",
        )
        importing(shelf)
    left = [row for row in rows if row.matches(words) and (not states or row.status in states)]
    left = [row for row in left if kind in (ALL_KINDS, PAGES[row.kind].noun)]
    note = f"{len(left):,} of {len(rows):,} runs, {duration(sum(row.seconds for row in left))} of training"
    st.caption(f"{note}. Score: over its real-vs-real floor, 1 is the floor; click a column's head to sort.")
    return left


def table(shelf: Shelf, names: list[str]) -> None:
    """The runs of these names; drawn anew while one is being trained."""
    by_name = {row.name: row for row in summaries()}
    rows = [by_name[name] for name in names if name in by_name]
    if len(rows) < len(names) or any(row.status in ALIVE for row in by_name.values()) != shelf.living:
        st.rerun()
    if not rows:
        st.info("No run has all these words.", icon=":material/search_off:")
        return
    digest = sha1(" ".join(names).encode()).hexdigest()[:8]  # rows are ticked by number: other rows, another table
    ticked = [number for number, row in enumerate(rows) if row.name in shelf.chosen]
    chosen = st.dataframe(
        frame(rows),
        key=f"runs.{digest}.{shelf.turn}",
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": ticked}},
        hide_index=True,
        column_config=columns(rows),
        height=min(35 * (len(rows) + 1) + 3, 423),
        placeholder="",
    )
    wanted = [rows[number].name for number in chosen["selection"]["rows"] if number < len(rows)]
    hidden = [name for name in shelf.chosen if name not in names]  # ticked before the filter hid them
    if set(wanted + hidden) != set(shelf.chosen):
        shelf.chosen = [name for name in shelf.chosen if name in wanted + hidden]
        shelf.chosen += [name for name in wanted if name not in shelf.chosen]
        st.rerun()


def frame(rows: list[Summary]) -> pd.DataFrame:
    """The table's cells."""
    return pd.DataFrame(
        [
            {
                "name": row.name,
                "status": ", ".join(filter(None, [STATES[row.status][1].split(":")[0], row.lost])),
                "progress": row.step / row.steps,
                "data": row.title,
                "method": row.method if row.recipe == "stabilised" else f"{row.method} ({row.recipe})",
                "score": row.quality,
                "best": title_of(row.best) + ("" if row.final else ", so far") if row.best else "",
                "coverage": row.coverage,
                "recall": row.recall,
                "seeds": len(row.seeds),
                "when": datetime.fromtimestamp(row.created, tz=UTC),
                "note": row.note or (f"({row.reason})" if row.reason else ""),
                "variants": [title_of(variant) for variant in row.variants],
                "fork of": row.fork_of or "",
                "step": row.step,
                "minutes": row.seconds / 60,
                "device": row.device or "",
            }
            for row in rows
        ]
    )


def columns(rows: list[Summary]) -> dict[str, Any]:
    """How they are shown."""
    c = st.column_config
    return {
        "name": c.TextColumn(width="medium", pinned=True),
        "status": c.TextColumn(width=190 if any(row.lost for row in rows) else 90),
        "progress": c.ProgressColumn("progress", format="percent", width=100),
        "step": c.NumberColumn("step", format="localized", width=70),
        "data": c.TextColumn(width=120),
        "method": c.TextColumn(width=110),
        "variants": c.ListColumn(width="medium"),
        "seeds": c.NumberColumn(width=60),
        "score": c.NumberColumn("score / floor", format="%.3g", width=95, help="W₂, or Fréchet distance; best variant"),
        "best": c.TextColumn(
            "best variant",
            width=150,
            help="by the median over its seeds; so far: of fewer samples than a finished run's, whose floor is another",
        ),
        "coverage": c.NumberColumn(format="%.3f", width=80),
        "recall": c.NumberColumn(format="%.3f", width=70),
        "when": c.DatetimeColumn("begun", format="distance", width=130),
        "minutes": c.NumberColumn("minutes", format="%.1f", width=70, help="of training"),
        "device": c.TextColumn(width=80),
        "fork of": c.TextColumn(width="medium"),
        "note": c.TextColumn(width="medium"),
    }


# -- what can be done with runs ----------------------------------------------------------------------------------------


def actions(shelf: Shelf, chosen: list[Run]) -> None:
    """Buttons for the ticked runs: most are for one alone."""
    one = chosen[0] if len(chosen) == 1 else None
    status = one.status() if one else None
    idle = bool(chosen) and not any(run.status().alive for run in chosen)
    with st.container(horizontal=True):
        where = PAGES[one.config.kind if one else "points"].title
        if st.button(f"Open in {where}", icon=":material/open_in_new:", disabled=one is None, help="watch this run"):
            page(one.config.kind).show(one.name)
            st.switch_page(st.session_state["_pages"][where], query_params={"run": one.name})
        if st.button(
            "Figures", icon=":material/photo_library:", disabled=not chosen, help="of the ticked runs, for a paper"
        ):
            st.session_state.pop("runs", None)  # what was chosen there before
            names = [run.name for run in chosen]
            st.switch_page(st.session_state["_pages"]["Figures"], query_params={"runs": names})
        rests = status is not None and (status.state == "paused" or not status.alive)
        st.button(
            "Resume", icon=":material/resume:", on_click=wake, args=(shelf, one), help="go on from the last checkpoint",
            disabled=not rests or status.state in ("finished", "diverged"),
        )  # fmt: skip
        with st.popover("Fork", icon=":material/fork_right:", disabled=one is None):
            if one:
                forking(shelf, one)
        with st.popover("Name and note", icon=":material/edit:", disabled=one is None):
            if one:
                naming(shelf, one, idle=idle)
        st.download_button(
            "Save as ZIP", icon=":material/archive:", data=lambda: packed(one) if one else b"", mime="application/zip",
            file_name=f"{one.name}.zip" if one else None, disabled=one is None, on_click="ignore",
            help="config, records, weights and snapshots in one file; Import on another machine takes it",
        )  # fmt: skip
        with st.popover("Delete", icon=":material/delete:", disabled=not idle, key=f"runs.deleting.{shelf.turn}"):
            if idle:
                names = ", ".join(f"**{run.name}**" for run in chosen)  # a filter may hide some that are ticked
                st.markdown(f"Delete {names}, with all checkpoints and snapshots? This cannot be undone.")
                st.button("Delete for good", type="primary", on_click=delete, args=(shelf, chosen), key="runs.delete")


def naming(shelf: Shelf, run: Run, *, idle: bool) -> None:
    """Another name, and a note."""
    with st.form(f"runs.naming.{run.name}", border=False):
        name = st.text_input(
            "Name", run.name, disabled=not idle, help="letters, digits and . _ + -; not while it is being trained"
        )
        note = st.text_area("Note", run.note, placeholder="what you tried, and what came of it", height=120)
        if st.form_submit_button("Save", type="primary"):
            try:
                run.write_note(note)
                if name != run.name:
                    shelf.choose(run.rename(name).name)
            except (RunError, OSError) as error:
                shelf.notify(str(error))
            st.rerun()


def forking(shelf: Shelf, run: Run) -> None:
    """At which step, what changes, and to what."""
    steps = [step for step in run.checkpoint_steps() if step < run.config.steps]
    if not steps:
        st.markdown("This run has kept no checkpoint to fork from: train it further.")
        return
    st.markdown("Rewind to a kept checkpoint, change one thing, and train on beside what this run did.")
    step = steps[0]
    if len(steps) > 1:
        step = st.select_slider("At step", steps, steps[len(steps) // 2], key=f"fork.step.{run.name}")
    known = changeable(config_at(run, step))
    name = st.selectbox("Change", list(known), key=f"fork.what.{run.name}", help="networks, data and batches stay")
    now = known[name]
    value: Any
    if isinstance(now, bool):
        value = st.toggle("To", now, key=f"fork.to.{run.name}.{name}.{step}")
    else:
        said = " ".join(map(str, now)) if isinstance(now, tuple) else "" if now is None else str(now)
        value = st.text_input("To", said, key=f"fork.to.{run.name}.{name}.{step}", help=f"it is {said or 'none'} now")
    label = fresh_name(run, step)
    st.button(
        "Fork and train", type="primary", icon=":material/fork_right:", key="fork.go", on_click=branch_off,
        args=(shelf, run, step, {name: value}, label, shelf.presses),
    )  # fmt: skip


def branch_off(shelf: Shelf, run: Run, step: int, changes: dict[str, Any], name: str, press: int) -> None:
    """Make the fork, train it in the background, and compare the two."""
    if not shelf.serve(press):
        return
    try:
        made = fork(run, step, changes, name=name)
        train(made)
        shelf.choose(run.name, made.name)
    except (ConfigError, RunError, OSError) as error:
        shelf.notify(str(error))


def delete(shelf: Shelf, chosen: list[Run]) -> None:
    """Delete what is ticked; what cannot be deleted is named and stays."""
    shelf.choose()
    gone, kept = [], []
    for run in chosen:
        try:
            run.delete()
            gone.append(run.name)
        except FileNotFoundError:
            continue
        except (RunError, OSError) as error:
            kept.append(str(error))
    if kept or gone:
        shelf.notify("; ".join(kept) or f"Deleted: {', '.join(gone)}", good=not kept)


def packed(run: Run) -> bytes:
    """The run as one ZIP."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.zip"
        pack(run, out)
        return out.read_bytes()


def importing(shelf: Shelf) -> None:
    """Take a run in that was saved as a ZIP."""
    with st.popover("Import", icon=":material/upload_file:"), st.form("runs.import", border=False):
        file = st.file_uploader("A run's ZIP", type=["zip"], help="made by Save as ZIP, or `python -m mvm pack`")
        name = st.text_input("Name", placeholder="as in the ZIP", help="if a run of that name is here already")
        if st.form_submit_button("Import", type="primary") and file is not None:
            try:
                shelf.choose(unpack(file, name=name.strip() or None).name)
            except (RunError, OSError) as error:
                shelf.notify(str(error))
            st.rerun()


# -- side by side ------------------------------------------------------------------------------------------------------


def comparison(runs: list[Run]) -> None:
    """Curves, branches, scores, what differs, and the ablation matrix of the ticked runs."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        place = st.container()  # quantities stand first, but what there are depends on the baseline, too
        pinned = baseline(runs)
        axis, log = axes()
    others = [run for run in runs if pinned is None or run.name != pinned.name] or runs
    curves_row(others, pinned, axis=axis, log=log, place=place)
    for run in runs:
        made = origin(run)
        trunk = next((other for other in runs if made and other.name == made.run), None)
        if trunk is not None:
            branches_row(trunk, run, made)
    scores_row(runs, pinned)
    differs = differences(runs)
    if len(runs) > 1:
        st.markdown("**What differs** &nbsp; :gray[settings that are not the same in all]")
        if differs:
            st.dataframe(pd.DataFrame(differs, index=[run.name for run in runs]).T, width="stretch")
        else:
            st.caption("Nothing: these runs repeat one another.")
    matrix_row(runs)


def baseline(runs: list[Run]) -> Run | None:
    """The run that the others are compared with; it stays when others are ticked."""
    names, before = [run.name for run in runs], st.session_state.get("runs.baseline")
    names += [before] if before and before not in names else []
    name = st.selectbox(
        "Baseline", names, index=None, key="runs.baseline", placeholder="none pinned", width=240, bind="query-params",
        help="drawn grey and dashed; scores say how much better or worse others are. It stays when others are ticked",
    )  # fmt: skip
    try:
        return run_named(name) if name else None
    except RunError:
        return None


def axes() -> tuple[str, bool]:
    """What curves are drawn against, and whether their values are logarithmic."""
    axis = st.selectbox(
        "Against", list(AXES), format_func=AXES.get, key="runs.axis", width=200, bind="query-params",
        help="runs of other lengths, batches or speeds are comparable on another axis",
    )  # fmt: skip
    return axis, st.toggle("Logarithmic", True, key="runs.log", bind="query-params")


def curves_row(runs: list[Run], pinned: Run | None, *, axis: str, log: bool, place: DeltaGenerator) -> None:
    """Recorded quantities over training; which of them is asked in a place above."""
    known = quantities([*runs, *([pinned] if pinned else [])])
    first = [key for key in (main_score(known), "d_c", "d_g") if key]
    chosen = place.multiselect(
        "Over training", list(known), first, format_func=known.get, max_selections=3, key="runs.quantities",
        help="median and quartiles over the seeds; runs that differ in nothing but their seeds are pooled",
    )  # fmt: skip
    panels = {known[key]: curves(runs, key, axis=axis) for key in chosen if key in known}
    if not any(panels.values()):
        st.caption("Nothing is recorded of these yet.")
        return
    grey = {known[key]: curves([pinned], key, axis=axis) for key in chosen if key in known} if pinned else None
    marks = [made.step for run in runs if (made := origin(run))] if axis == "step" else []
    figure = overlays.overlay(panels, axis=AXES[axis], log=log, baseline=grey, marks=marks)
    words = "; ".join(f"{label}: {', '.join(c.series.title for c in drawn)}" for label, drawn in panels.items())
    live_plot(
        figure, key=f"runs.curves.{len(panels)}.{axis}.{log}", height=300 + figure["layout"]["margin"]["b"], alt=words
    )


def branches_row(trunk: Run, run: Run, made: Origin) -> None:
    """How far a fork and its run are apart."""
    readers = st.session_state.setdefault("_branches", {})
    try:
        reader = readers.setdefault((trunk, run), Branches(trunk, run))
    except RunError as error:
        st.caption(str(error))
        return
    steps, distance = reader.distance()
    if not len(steps):
        return
    variants, seeds = run.config.variants, len(run.config.seeds)
    middle = np.median(distance.reshape(len(steps), len(variants), seeds), axis=-1)
    parted = np.array(reader.parted(), dtype=object).reshape(len(variants), seeds)
    words = []
    for variant, at in zip(variants, parted, strict=True):
        known = sorted(step for step in at if step is not None)
        words.append(f"{title_of(variant)}: {f'at step {known[0]:,}' if known else 'not yet'}")
    changes = made.changed or "nothing changed"
    st.markdown(
        f"**Where they part** &nbsp; :gray[{run.name}, {changes}, forked at step {made.step:,}; "
        f"same batches, same noise. 1 % apart: {'; '.join(words)}]"
    )
    figure = overlays.branches(steps, middle, variants=variants, at=made.step)
    live_plot(figure, key=f"runs.branches.{run.name}", height=300, alt=f"Distance of the branches' fakes: {words}")


def scores_row(runs: list[Run], pinned: Run | None) -> None:
    """Last scores of every series."""
    st.markdown(
        "**Last scores** &nbsp; :gray[medians over seeds; score / floor: W₂ of points, Fréchet distance of pictures. "
        "Those of a finished run are of more samples than the curves, whose floor is another]"
    )
    others = other_scores(runs)
    board = scoreboard(runs, keys=others, baseline=pinned)
    board["against"] *= 100
    spread = zip(board["low"], board["high"], strict=True)
    board["quartiles"] = [f"{in_words(low)} to {in_words(high)}" if low < high else "" for low, high in spread]
    lost = np.isinf(board["quality"])
    board.loc[lost, "quartiles"] = in_words(np.inf)
    board.loc[lost, ["quality", "against"]] = np.nan
    shown = ["series", "seeds", "step", "quality", "quartiles", *(["against"] if pinned else []), *others]
    c = st.column_config
    config = {"quality": c.NumberColumn("score / floor", format="%.3g"), "step": c.NumberColumn(format="localized")}
    longest = 7 * max(map(len, board["series"]))
    config["series"] = c.TextColumn(width=min(320, max(120, longest)), pinned=True)
    config["against"] = c.NumberColumn("against the baseline", format="%+.0f %%", help="less is better")
    config |= {key: c.NumberColumn(label_of(key), format="%.3f") for key in others}
    st.dataframe(board[shown], hide_index=True, width="stretch", column_config=config, placeholder="–")


def matrix_row(runs: list[Run]) -> None:
    """Score over floor by what is matched and data."""
    cells = matrix(runs)
    if len(cells) < 2:
        return
    st.markdown(
        "**Ablation matrix** &nbsp; :gray[score over floor, median and range over seeds: 1 is as near as a second real "
        "sample]"
    )
    rows = cells["what"].nunique()
    live_plot(overlays.ablation(cells), key=f"runs.matrix.{rows}", height=50 + 56 * rows, alt=cells.to_csv(index=False))
