"""Mount a component of this package: NAME/NAME.js and NAME/NAME.css draw into one div."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

__all__ = ["component"]


def component(folder: Path) -> Callable[..., Any]:
    """The component of a folder (Streamlit's Components v2); its files are read once, at import."""
    name = folder.name
    return st.components.v2.component(
        name,
        html=f'<div class="{name.replace("_", "-")}"></div>',
        css=(folder / f"{name}.css").read_text(encoding="utf-8"),
        js=(folder / f"{name}.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )
