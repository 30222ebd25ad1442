"""Claims: the claims of the paper, first all verdicts at a glance, then each with its numbers."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from app.text import plain
from mvm.geometry.spectrum import SPECTRUM_FORMS
from mvm.look.palette import title_of
from mvm.studies.claims import CLAIMS, RULE, Finding, Plan, findings, in_numbers, launch, shipped, stop
from mvm.words import capital
from toy_manifolds import MANIFOLDS

__all__ = ["claims"]

RECIPES = {"stabilised": "This lab's recipe", "paper": "The paper's recipe"}
COLOURS = {"holds": "green", "mixed": "orange", "does not hold": "red"}
BADGES = {verdict: f":{colour}-badge[{verdict}]" for verdict, colour in COLOURS.items()}
NOT_MEASURED = ":gray-badge[not measured]"
DISTANCE = re.compile(r"\bd\\_(\w)")  # d_c, d_g, d_H and d_p, which are typeset
TITLES = {name: DISTANCE.sub(r"$d_\1$", plain(claim.title)) for name, claim in CLAIMS.items()}
MEASURES = {name: DISTANCE.sub(r"$d_\1$", plain(claim.measure)) for name, claim in CLAIMS.items()}
PASSES = {True: "✓ passes", False: "✗ fails"}
COLUMNS = {  # of the details, where a column's own key says less
    "holds": "outcome",
    "gap": "distance",
    "before": "uniformity before training",
    "after": "uniformity after training",
    "wobble": "range of the last tenth / whole range",
    "part": "batch sizes",
    "factor": "factor between medians",
    "of": "first",
    "value": "its score",
    "against": "second",
    "its value": "the second's score",
}
STYLE = """<style>
@media (max-width: 640px) {
.st-key-scoreboard :is(table, tbody, tr, td) { display: block; border: none; padding: 0 }
.st-key-scoreboard thead { display: none }
.st-key-scoreboard tr { padding: 0.6rem 0; border-top: 1px solid rgba(138, 143, 152, 0.4) }
.st-key-scoreboard td:nth-child(2) { opacity: 0.7; font-size: 0.85em }
.st-key-scoreboard td:nth-child(3)::before { content: "This lab's recipe: " }
.st-key-scoreboard td:nth-child(4)::before { content: "The paper's recipe: " }
}
</style>"""  # a row of the table as a block, where four columns do not fit


def claims() -> None:
    """Draw the page."""
    plan = Plan()
    st.title("The paper's claims, tested", anchor=False)
    st.caption(
        "The paper made its claims about images. Here they are tested where the ground truth is known, those about "
        "super-resolution on four photographs; each is a measurement over seeds."
    )
    measuring = plan.being_measured()
    st.fragment(draw_progress, run_every=2.0 if measuring else None)(plan, measuring)
    own = findings(plan)
    if any(finding.verdicts for finding in own):
        draw_findings(own, f"Measured here: {plain(extent(asdict(plan)))}.")
        return
    known, source = shipped()
    if known:
        made = f"{plain(extent(source['plan']))}, {plain(source['device'])}"
        draw_findings(known, f"Shipped with this repository, from `python -m mvm claims`: {made}.")
    else:
        st.info("Nothing is measured yet: **Measure here** runs all trainings and scores.", icon=":material/science:")


def extent(plan: dict[str, Any]) -> str:
    """What a plan trains, in words; one written before super-resolution had claims has none of it."""
    words = f"{plan['seeds']} seeds, {plan['steps']:,} steps of each training"
    if "pair_steps" in plan:
        words += f"; super-resolution {plan['pair_seeds']} seeds, {plan['pair_steps']:,} steps"
    return words


def draw_progress(plan: Plan, was_measuring: bool) -> None:
    """Draw the button that starts the measurement, or its progress and the button that stops it."""
    measuring = plan.being_measured()
    if measuring != was_measuring:
        st.rerun()
    share = plan.progress()
    if not measuring:
        effort = "continue" if 0 < share < 1 else "three quarters of an hour on 2 cores"
        done = share == 1
        help_text = f"Train and score {len(plan.trials)} runs in the background; they can be stopped and resumed"
        label = "Measured" if done else f"Measure here ({effort})"
        st.button(label, icon=":material/play_arrow:", help=help_text, disabled=done, on_click=measure)
        return
    st.progress(share, text=f"measuring: {share:.0%} of all training steps; verdicts appear as trainings finish")
    st.button("Stop", icon=":material/stop:", help="Finished trainings are kept", on_click=stop)


def measure() -> None:
    """Start the measurement on all cores but one; closing the page does not stop it."""
    launch(processes=max(1, (os.cpu_count() or 2) - 1))


def draw_findings(found: list[Finding], source: str) -> None:
    """Draw the scoreboard, and each claim with its measure and numbers; `source` says where they are from."""
    draw_scoreboard(found)
    st.caption(f"{RULE} {source}")
    st.header("In detail", anchor=False)
    for finding in found:
        claim = CLAIMS[finding.claim]
        with st.container(border=True):
            st.subheader(TITLES[finding.claim], anchor=finding.claim)
            badges = [f"{RECIPES[recipe]} {BADGES[verdict]}" for recipe, verdict in finding.verdicts.items()]
            st.markdown(" &nbsp; ".join([f":gray[{plain(claim.source)}]", *(badges or [NOT_MEASURED])]))
            st.caption(MEASURES[finding.claim])
            if finding.rows:
                frame = table(finding.rows)
                st.dataframe(frame, hide_index=True, width="stretch", height=35 * (len(frame) + 1) + 3)


def draw_scoreboard(found: list[Finding]) -> None:
    """Draw a table of one row per claim: what it says and where, its verdict and numbers under each recipe."""
    lines = [f"| {' | '.join(['Claim', 'In the paper', *RECIPES.values()])} |", "| --- " * (2 + len(RECIPES)) + "|"]
    for finding in found:
        claim = CLAIMS[finding.claim]
        cells = [f"[{TITLES[finding.claim]}](#{finding.claim})", plain(claim.source)]
        for recipe in RECIPES:
            if recipe not in claim.recipes:
                cells.append("–")
            elif recipe in finding.verdicts:
                numbers = plain(in_numbers(finding, recipe)).replace(
                    " / base", "\u00a0/\u00a0base"
                )  # one line for a ratio
                cells.append(f"{BADGES[finding.verdicts[recipe]]} {numbers}")
            else:
                cells.append(NOT_MEASURED)
        lines.append(f"| {' | '.join(cells)} |")
    st.html(STYLE)
    st.container(key="scoreboard").markdown("\n".join(lines))


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of a finding with titles in place of names, and numbers rounded to four digits."""
    frame = pd.DataFrame([{**row, "holds": PASSES[row["holds"]]} for row in rows])
    frame["recipe"] = frame["recipe"].map(RECIPES)
    titles = {name: manifold.title for name, manifold in MANIFOLDS.items()}
    titles |= {name: form.title for name, form in SPECTRUM_FORMS.items()}
    for column in frame.columns.intersection(["data", "spectrum"]):
        frame[column] = frame[column].map(titles)
    numbers = frame.select_dtypes("number").columns
    frame[numbers] = frame[numbers].map(lambda value: float(f"{value:.4g}"))
    return frame.rename(columns=column_title)


def column_title(key: str) -> str:
    """Title of a column of a finding's rows; files keep the key."""
    words, _, variant = COLUMNS.get(key, key).replace("/ floor", "/ baseline").partition(", ")
    if words.startswith("W₂") and variant in ("centroid", "diameter", "both"):
        variant = title_of(variant)
    title = f"{words}, {variant}" if variant else words
    return capital(title)
