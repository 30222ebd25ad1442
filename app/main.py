"""The lab's front door: `streamlit run app/main.py`."""

from __future__ import annotations

from pathlib import Path
from threading import Timer

import streamlit as st

from app.live_plot import ensure_plotly_js
from app.state import WARM_AFTER, projector, spare
from app.views.lab import lab


@st.cache_resource
def warm_up() -> None:
    """Start, once, what takes seconds to import: the UMAP worker, and a little later a trainer in waiting."""
    projector()
    Timer(WARM_AFTER, spare().warm).start()


st.set_page_config(page_title="MvM Lab", page_icon=":material/scatter_plot:", layout="wide")
st.html(
    "<style>.stMainBlockContainer { padding-top: 2rem; padding-bottom: 3rem } "
    "[data-testid=stSidebarHeader] { height: 2.4rem; margin: 0 } "
    "[data-testid=stHeader] { background: transparent }</style>"
)
ensure_plotly_js(Path(__file__).parent)
warm_up()

st.navigation([st.Page(lab, title="Lab", icon=":material/science:", default=True)], position="hidden").run()
