"""Claims: the claims of the paper, each with a verdict from measurements."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from app.text import plain
from mvm.studies.claims import CLAIMS, RULE, Finding, Plan, findings, launch, shipped, stop
from toy_manifolds import MANIFOLDS

__all__ = ["claims"]

RECIPES = {"stabilised": "this lab's recipe", "paper": "the paper's recipe"}
COLOURS = {"holds": "green", "mixed": "orange", "does not hold": "red"}
OUTCOME = {True: "✓ holds", False: "✗ does not hold"}


def claims() -> None:
    """Draw the page."""
    plan = Plan()
    st.markdown("#### The paper's claims, tested")
    st.caption(
        f"Each claim is a measurement over seeds. {RULE} The paper made its claims about images; here they are tested "
        "where the ground truth is known, and those about super-resolution on four photographs."
    )
    measuring = plan.being_measured()
    st.fragment(draw_progress, run_every=2.0 if measuring else None)(plan, measuring)
    own = findings(plan)
    if any(finding.verdicts for finding in own):
        st.caption(f"Measured here: {plain(extent(asdict(plan)))}.")
        draw_findings(own)
        return
    known, source = shipped()
    if known:
        st.caption(
            f"Shipped with this repository, from `python -m mvm claims`: {plain(extent(source['plan']))}, "
            f"{plain(source['device'])}."
        )
        draw_findings(known)
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
        help_text = f"train and score {len(plan.trials)} runs in the background; they can be stopped and resumed"
        label = "Measured" if done else f"Measure here ({effort})"
        st.button(label, icon=":material/play_arrow:", help=help_text, disabled=done, on_click=measure)
        return
    st.progress(share, text=f"measuring: {share:.0%} of all training steps; verdicts appear as trainings finish")
    st.button("Stop", icon=":material/stop:", help="finished trainings are kept", on_click=stop)


def measure() -> None:
    """Start the measurement on all cores but one; closing the page does not stop it."""
    launch(processes=max(1, (os.cpu_count() or 2) - 1))


def draw_findings(found: list[Finding]) -> None:
    """Draw each claim with its verdicts, measure and numbers."""
    for finding in found:
        claim = CLAIMS[finding.claim]
        with st.container(border=True):
            badges = " ".join(
                f":{COLOURS[verdict]}-badge[{RECIPES[recipe]}: {plain(verdict)}]"
                for recipe, verdict in finding.verdicts.items()
            )
            st.markdown(f"**{claim.title}** &nbsp; :gray[{claim.source}]")
            st.markdown(badges or ":gray-badge[not measured yet]")
            st.caption(claim.measure)
            if finding.rows:
                frame = table(finding.rows)
                st.dataframe(frame, hide_index=True, width="stretch", height=35 * (len(frame) + 1) + 3)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of a finding with titles in place of names, and numbers rounded to four digits."""
    frame = pd.DataFrame([{**row, "holds": OUTCOME[row["holds"]]} for row in rows])
    frame["recipe"] = frame["recipe"].map(RECIPES)
    if "data" in frame:
        frame["data"] = frame["data"].map(lambda name: MANIFOLDS[name].title)
    numbers = frame.select_dtypes("number").columns
    frame[numbers] = frame[numbers].map(lambda value: float(f"{value:.4g}"))
    return frame.rename(columns={"holds": "outcome"})
