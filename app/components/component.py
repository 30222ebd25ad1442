"""Mount a component of this package: NAME/NAME.js and NAME/NAME.css draw into one div."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

__all__ = ["component"]


def component(folder: Path, *parts: str) -> Callable[..., Any]:
    """The component of a folder (Streamlit's Components v2); its files are read once, at import.

    Args:
        folder: with the component's files.
        parts: names of files beside the folder, such as heads, whose functions the component uses.
    """
    name = folder.name
    paths = [*(folder.parent / part for part in parts), folder / name]
    css, js = (
        "\n".join(path.with_suffix(kind).read_text(encoding="utf-8") for path in paths) for kind in (".css", ".js")
    )
    return st.components.v2.component(
        name,
        html=f'<div class="{name.replace("_", "-")}"></div>',
        css=css,
        js=js,
        isolate_styles=False,
    )
