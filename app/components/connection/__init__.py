"""A note for the time when the app does not answer: Streamlit's own says nothing of the training, which goes on.

The browser asks the app for its health; what has never answered, as behind some proxies, is never missed.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.components.component import component

__all__ = ["connection"]

_component = component(Path(__file__).parent)


def connection() -> None:
    """Watch the connection to the app, on every page."""
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    _component(key="connection", data={"health": "/".join(filter(None, ["", base, "_stcore/health"]))})
