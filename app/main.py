"""Entry point of the app: `streamlit run app/main.py`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mvm.jobs.process import set_training_environment

set_training_environment()  # before torch is imported, for this process and its children

from app.components.connection import connection
from app.kinds import PAGES
from app.link import problems_above
from app.services import warm_up
from app.streamlit_faults import draw_from_the_top, keep_messages
from app.views.claims import claims
from app.views.exhibits import exhibits
from app.views.figures import figures_page
from app.views.runs import runs_page
from app.views.story import story
from app.views.sweeps import sweeps

keep_messages()
draw_from_the_top()
st.set_page_config(page_title="MvM Lab", page_icon=Path(__file__).parent / "static" / "icon.svg", layout="wide")
st.html(
    "<style>.stMainBlockContainer { padding-top: 4rem; padding-bottom: 3rem } "
    ".stMainBlockContainer > .stVerticalBlock { gap: 0.7rem } "
    ".stHorizontalBlock [data-testid=stMarkdownContainer]:has(h1) { margin: 0 } .stHorizontalBlock h1 { padding: 0 } "
    ".stApp :is([data-testid=stBaseButton-primary], [data-baseweb=tag]) { color: light-dark(#FFFFFF, #14181D) } "
    ".stButtonGroup div:has(> button) { flex-wrap: wrap } "
    "[data-testid=stCaptionContainer] { color: inherit; opacity: 0.8 } "
    "[data-testid=stSidebarHeader] { height: 2.4rem; margin: 0 }</style>"
)
warm_up()
connection()

pages = {
    kind.title: st.Page(kind.draw, title=kind.title, icon=f":material/{kind.icon}:", url_path=kind.path, default=not i)
    for i, kind in enumerate(PAGES.values())
}
for view, title, icon in (
    (runs_page, "Runs", "table"),
    (sweeps, "Sweeps", "grid_on"),
    (figures_page, "Figures", "photo_library"),
    (claims, "Claims", "gavel"),
    (exhibits, "Exhibits", "museum"),
    (story, "Story", "auto_stories"),
):
    pages[title] = st.Page(view, title=title, icon=f":material/{icon}:", url_path=title.lower())
st.session_state["_pages"] = pages  # for links from one page to another
chosen = st.navigation(list(pages.values()), position="top")
with problems_above(chosen):
    chosen.run()
