"""The keyboard: `?` shows the keys, and links that come first in the order of Tab skip to the pages and to Train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.components.component import component

__all__ = ["keyboard"]

_component = component(Path(__file__).parent)


def keyboard(keys: Mapping[str, str], *, train: str) -> None:
    """Draw the button that shows the keys, and put the links before everything else.

    Args:
        keys: what each key does.
        train: key of the button that the second link leads to.
    """
    _component(key="keyboard", data={"keys": list(keys.items()), "train": train}, width="content")
