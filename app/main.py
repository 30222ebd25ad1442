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
from app.views.claims import claims
from app.views.figures import figures_page
from app.views.runs import runs_page
from app.views.story import story

st.set_page_config(page_title="MvM Lab", page_icon=Path(__file__).parent / "static" / "icon.svg", layout="wide")
st.html(
    "<style>.stMainBlockContainer { padding-top: 4.2rem; padding-bottom: 3rem } "
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
    (figures_page, "Figures", "photo_library"),
    (claims, "Claims", "gavel"),
    (story, "Story", "auto_stories"),
):
    pages[title] = st.Page(view, title=title, icon=f":material/{icon}:", url_path=title.lower())
st.session_state["_pages"] = pages  # for links from one page to another
with problems_above():
    st.navigation(list(pages.values()), position="top").run()
