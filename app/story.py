"""The story: a tour of the Lab in eight steps, each a sentence or two, a place on the page, and a button that acts.

The URL has the step (`?story=3`), so that a link leads to it, and it survives every rerun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from app.components.spotlight import spotlight
from app.link import tell
from app.services import show_demo, start
from app.session import Page
from app.text import plain, quoted
from mvm.config import Config

__all__ = ["STORY", "Step", "begin_story", "draw_story", "story_step"]

PARAMETER = "story"
KEPT = "_story"  # in the session, for a page that was left with the step in its URL
BEGINS = "_story.begins"  # key in the session: whether the demo is to be shown
CLOUDS, TIMELINE, SIDEBAR = "[data-live-plot^='clouds.']", ".timeline", "[data-testid=stSidebar]"
STYLE = """<style>
[data-testid=stLayoutWrapper]:has(> .st-key-story) { position: sticky; top: 3.9rem; z-index: 90 }
.st-key-story { background: light-dark(#F4F6F8, #1E242B); padding: .7rem 1rem }
.st-key-story [data-testid=stElementContainer]:has(.spotlight) { display: none }
</style>"""  # stays in view while the page below it is scrolled to the place

Act = Callable[[Page], None]


@dataclass(frozen=True)
class Step:
    """One step of the story.

    Attributes:
        title: of the step.
        description: what to see, in a sentence or two, as Markdown.
        place: CSS selector of what it speaks of.
        button: label of the button.
        act: what the button does, given the page.
    """

    title: str
    description: str
    place: str
    button: str
    act: Act = field(repr=False)


# -- what buttons do ---------------------------------------------------------------------------------------------------


def _seek(step: int | None, tab: Page) -> None:
    """Show the demo at a step; None for its last."""
    if show_demo(tab):
        tab.seek(step)


def _set(key: str, value: Any, tab: Page) -> None:
    """Show the demo's end, and set a widget of the Lab."""
    _seek(None, tab)
    st.session_state[tab.key(key)] = value


def _train(settings: dict[str, Any], tab: Page) -> None:
    """Start a short training of both descriptors and show it."""
    start(tab, Config.make(variants=("both",), **settings))


def _draw_data(tab: Page) -> None:
    """Open the square for drawn points; the settings must not be a copy of a run, which has its data."""
    for key, value in (("source", "Draw"), (tab.key("recipe"), "stabilised")):
        st.session_state[key] = value


# -- the steps ---------------------------------------------------------------------------------------------------------

STORY: tuple[Step, ...] = (
    Step(
        "What you see",
        "Green are real points of a rolled-up sheet, orange the fakes of three generators, which start from the same "
        "weights and get the same noise and data. They differ only in the descriptors that they match, named above "
        "each column.",
        CLOUDS, "Go to the beginning", partial(_seek, 0),
    ),
    Step(
        "The centroid alone is not enough",
        "In the left column the mean of the fakes lies where the mean of the reals does, and that is all it was asked "
        "for: the fakes form a stick through the roll, 9 baselines away.",
        CLOUDS, "Go to the end", partial(_seek, None),
    ),
    Step(
        "The 2-diameter alone",
        "The middle column matches only how far embedded points are from each other. As the metric network keeps "
        "looking for features in which the fakes are too narrow, that unrolls them over the whole sheet: "
        "1.2 baselines. Drag the timeline to watch it happen.",
        TIMELINE, "Go to step 500", partial(_seek, 500),
    ),
    Step(
        "Both together",
        "The right column matches both and is best here: 1.0 baselines, as near as a second real sample. The "
        "paper says that both beat either alone. Over five seeds that holds against the centroid, but the 2-diameter "
        "alone is as good as both: the page *Claims* has the numbers.",
        CLOUDS, "Go to the end", partial(_seek, None),
    ),
    Step(
        "Does the metric straighten the sheet?",
        "A little. Distances between embeddings follow the distances along the sheet with rank correlation .56; plain "
        "Euclidean ones, and those of an untrained network, reach .40 (1 would be straight). Colours by an eigenvector "
        "show it: on the left they change from one side of the box to the other, on the right along the sheet.",
        CLOUDS, "Colour by an eigenvector", partial(_set, "colour", "eigenvector"),
    ),
    Step(
        "The paper's recipe fails here",
        "Real anchors, a margin of 1, constant rates and no bound on the metric's slope: nothing stops the metric from "
        "moving the fakes away for ever, and the generator chases it. On the swiss roll it ends 5.9 baselines away, "
        "on a circle 11.7. See for yourself: the training takes less than half a minute.",
        CLOUDS, "Train the paper's recipe",
        partial(_train, {"data": "swiss_roll", "recipe": "paper", "steps": 1500, "snapshots": 30}),
    ),
    Step(
        "What the recommended recipe does instead",
        "Its triplets have fake anchors, so the metric looks for features in which the fakes are too *narrow*: a "
        "mode that was left out is found and filled. On eight Gaussians coverage is .95 (baseline .97), with the "
        "paper's triplets .86. A bound on the slope keeps the metric from running away.",
        CLOUDS, "Train on eight Gaussians",
        partial(_train, {"data": "eight_gaussians", "steps": 1500, "snapshots": 30}),
    ),
    Step(
        "Your own data",
        "Draw a shape, or take a file of points: at least 64 points of two or more columns. Then press **Train**. "
        "Pictures have pages of their own, *Faces* and *Super-resolution*.",
        SIDEBAR, "Draw my own points", _draw_data,
    ),
)  # fmt: skip


# -- drawing -----------------------------------------------------------------------------------------------------------


def story_step() -> int | None:
    """The step that the URL asks for, from 1; None outside of the story."""
    asked = st.query_params.get(PARAMETER)
    if asked is None:
        kept: int | None = st.session_state.get(KEPT)
        if kept is not None:
            st.query_params[PARAMETER] = str(kept)
        return kept
    known = {str(number): number for number in range(1, len(STORY) + 1)}
    if asked in known:
        if "run" in st.query_params:
            st.session_state.setdefault(KEPT, known[asked])  # the run that the link names stays
        _keep(known[asked])
        return known[asked]
    tell(f"{PARAMETER}: must be a step from 1 to {len(STORY)}, not {quoted(asked)}")
    begin_story(None)
    return None


def begin_story(step: int | None) -> None:
    """Go to a step of the story; None leaves it."""
    _keep(step)
    if step is None:
        st.query_params.pop(PARAMETER, None)
    else:
        st.query_params[PARAMETER] = str(step)


def _keep(step: int | None) -> None:
    """Remember the step of this session; a tour that begins shows the demo, of which it speaks."""
    if step is not None and st.session_state.get(KEPT) is None:
        st.session_state[BEGINS] = True
    st.session_state[KEPT] = step


def draw_story(tab: Page, number: int) -> None:
    """Draw a step and its buttons, and frame the place that it speaks of."""
    step = STORY[number - 1]
    if st.session_state.pop(BEGINS, False):
        show_demo(tab)
    with st.container(key="story", border=True, gap="xsmall"):
        st.html(STYLE)
        st.markdown(f"**{number:,} of {len(STORY)} · {step.title}**")
        st.markdown(step.description)
        with st.container(horizontal=True, gap="small"):
            st.button(plain(step.button), key=f"story.act.{number}", type="secondary", icon=":material/touch_app:",
                      on_click=_act, args=(tab, step, tab.presses))  # fmt: skip
            st.button("Back", key="story.back", disabled=number == 1, on_click=begin_story, args=(number - 1,))
            if number < len(STORY):
                st.button("Next", key="story.next", on_click=begin_story, args=(number + 1,))
            st.button("End the tour", key="story.end", type="tertiary", on_click=begin_story, args=(None,))
        spotlight(step.place, turn=f"{number}", key="story.spotlight")


def _act(tab: Page, step: Step, press: int) -> None:
    if tab.serve(press):
        step.act(tab)
