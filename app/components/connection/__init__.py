"""What the browser keeps true beside a page: a note while the app does not answer, and the page's name in its address.

Streamlit's own note says nothing of the training, which goes on. The browser asks the app for its health; what never
answered, as behind some proxies, is not missed. A page that comes back with its parameters is run twice in a row, and
then Streamlit may leave the other page's name in the address.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.components.component import component

__all__ = ["connection"]

_component = component(Path(__file__).parent)


def connection(page: str, pages: Sequence[str]) -> None:
    """Watch the connection to the app, on every page.

    Args:
        page: path of the page that is shown; "" for the first.
        pages: paths of all pages.
    """
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    health = "/".join(filter(None, ["", base, "_stcore/health"]))
    _component(key="connection", data={"health": health, "page": page, "pages": list(pages)})
