"""The page Story: the words for a first visit again, the tour as a text, and every term of the lab."""

from __future__ import annotations

import streamlit as st

from app.story import STORY, begin_story
from app.text import plain
from app.welcome import draw_welcome
from mvm.look.glossary import TERMS

__all__ = ["story"]


def story() -> None:
    """Draw the page."""
    st.markdown("# What this lab shows")
    if draw_welcome(key="welcome.again", closable=False):
        _tour(1)
    st.markdown("## The tour")
    with st.container(gap=None):
        for number, step in enumerate(STORY, start=1):
            title, help_step = f"**{number:,} · {step.title}**", "open the Lab at this step of the tour"
            if st.button(
                title, key=f"story.{number}", type="tertiary", icon=":material/arrow_forward:", help=help_step
            ):
                _tour(number)
            st.markdown(step.description)
    st.markdown("## Terms")
    st.markdown("\n".join(f"- **{plain(term)}**: {plain(meaning)}" for term, meaning in TERMS.items()))


def _tour(number: int) -> None:
    """Go to the Lab, at a step of the tour."""
    begin_story(number)
    st.switch_page(st.session_state["_pages"]["Lab"], query_params={"story": str(number)})
