"""Columns of the shown run, one per variant: which are shown, and the scores below their titles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from app.link import linked
from mvm.look.palette import variant_colours
from mvm.runs.history import History
from mvm.runs.run import Run
from mvm.scoring.images import describe
from mvm.studies.labels import own_title, variant_label

__all__ = ["MOST_COLUMNS", "Columns", "choose_columns", "columns_of", "in_words", "scored"]

MOST_COLUMNS = 4  # shown at first
UNKNOWN = "–"


@dataclass(frozen=True)
class Columns:
    """The columns of a row: one seed of some variants.

    Attributes:
        members: indices into the variant axis.
        titles: of the variants, as they were trained.
        colours: of the variants.
        variants: their names.
    """

    members: list[int]
    titles: list[str]
    colours: list[str]
    variants: list[str]


def columns_of(run: Run) -> Columns:
    """The variants that `choose_columns` shows, and the seed chosen in the popover View."""
    config = run.config
    chosen = st.session_state.get(f"columns.{run.name}") or ()
    shown = [index for index, variant in enumerate(config.variants) if variant in chosen]
    shown = shown or list(range(len(config.variants)))[:MOST_COLUMNS]
    seed = st.session_state.get(f"seed.{run.name}")
    seed = seed if seed in config.seeds else config.seeds[0]
    members = [config.members.index((config.variants[index], seed)) for index in shown]
    colours = variant_colours(config.variants)
    titles = [variant_label(run, config.variants[i]) for i in shown]
    return Columns(members, titles, [colours[i] for i in shown], [config.variants[i] for i in shown])


def choose_columns(run: Run) -> None:
    """Draw the choice of the variants that have a column; nothing for a single one."""
    variants = run.config.variants
    if len(variants) > 1:
        linked(
            st.pills, "Columns", variants, selection_mode="multi", default=variants[:MOST_COLUMNS],
            format_func=partial(own_title, run.config, beside=variants), key=f"columns.{run.name}",
            label_visibility="collapsed",
            help="variants shown side by side: press one to hide its column, and again to show it; all are trained",
        )  # fmt: skip


def scored(
    panels: Sequence[dict[str, Any]],
    run: Run,
    records: History,
    step: int,
    forms: Mapping[str, str],
    variants: Sequence[str | None],
) -> list[dict[str, Any]]:
    """Copies of panels with scores below their titles, the best of each in bold, and the best panel by the first.

    Args:
        panels: of `cloud_plot` or `picture_grid`.
        run, records, step: whose scores, up to which step.
        forms: how a score is written, by its key, such as "W₂ {} × baseline"; a score that no variant has is left out.
        variants: of each panel; None for a panel without scores.
    """
    scores = records.scores(step)
    if scores is None:
        return list(panels)
    every = [*variants, *(variant for variant in run.config.variants if variant not in variants)]  # hidden ones last
    values = {key: [v and scores.of(key, v) for v in every] for key in forms}
    values = {key: row for key, row in values.items() if any(value is not None for value in row)}
    best = {key: _best(row, describe(key).direction) for key, row in values.items()}
    of = f"step {scores.step:,}" + (f", median of {len(run.config.seeds)} seeds" if len(run.config.seeds) > 1 else "")

    def meaning(key: str) -> str:
        score = describe(key)
        name, floor = score.baseline, scores.floor(score.floor)
        return "; ".join(filter(None, [score.meaning, floor is not None and f"{name} {in_words(floor)}", of]))

    def lines(column: int) -> list[dict[str, Any]]:
        return [
            {
                "text": forms[key].format(in_words(row[column])),
                "best": column == best[key],
                "help": meaning(key),
            }
            for key, row in values.items()
        ]

    first = next(iter(best.values()), None)
    return [
        panel if variant is None else panel | {"scores": lines(column), "best": column == first and first is not None}
        for column, (panel, variant) in enumerate(zip(panels, variants, strict=True))
    ]


def in_words(value: float | None) -> str:
    """A score with three significant digits or so; a dash for None."""
    return UNKNOWN if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _best(values: Sequence[float | None], direction: str) -> int | None:
    """Index of the best value; None if fewer than two are known."""
    known = {index: value for index, value in enumerate(values) if value is not None}
    if len(known) < 2:
        return None
    worse = {"lower": float, "higher": lambda x: -x, "floor": lambda x: abs(math.log(x)) if x > 0 else math.inf}
    return min(known, key=lambda index: worse[direction](known[index]))
