"""The lab's front door: `streamlit run app/main.py`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mvm.jobs.process import set_training_environment

set_training_environment()  # of this process and of what it starts; torch is imported below

from app.state import warm_up
from app.views.claims import claims
from app.views.faces import faces
from app.views.figures import figures_page
from app.views.lab import lab
from app.views.runs import runs_page

st.set_page_config(page_title="MvM Lab", page_icon=Path(__file__).parent / "static" / "icon.svg", layout="wide")
st.html(
    "<style>.stMainBlockContainer { padding-top: 4.2rem; padding-bottom: 3rem } "
    "[data-testid=stSidebarHeader] { height: 2.4rem; margin: 0 }</style>"
)
warm_up()

views = {"Lab": (lab, "science"), "Faces": (faces, "face"), "Runs": (runs_page, "table")}
views |= {"Figures": (figures_page, "photo_library"), "Claims": (claims, "gavel")}
pages = {
    title: st.Page(view, title=title, icon=f":material/{icon}:", default=view is lab, url_path=title.lower())
    for title, (view, icon) in views.items()
}
st.session_state["_pages"] = pages  # for views that lead to another
st.navigation(list(pages.values()), position="top").run()
