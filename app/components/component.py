"""How the lab's own components are mounted: NAME.js and NAME.css beside NAME/__init__.py, drawing into one div."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

__all__ = ["component"]


def component(folder: Path) -> Callable[..., Any]:
    """The Components-v2 component of a folder; its files are read once, at import."""
    name = folder.name
    return st.components.v2.component(
        name,
        html=f'<div class="{name.replace("_", "-")}"></div>',
        css=(folder / f"{name}.css").read_text(encoding="utf-8"),
        js=(folder / f"{name}.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )
