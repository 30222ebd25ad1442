"""A frame around a place of the page that a sentence speaks of, scrolled into view once."""

from __future__ import annotations

from pathlib import Path

from app.components.component import component

__all__ = ["spotlight"]

_component = component(Path(__file__).parent)


def spotlight(place: str, *, turn: str, key: str) -> None:
    """Frame every element that a CSS selector finds.

    Args:
        place: the selector.
        turn: another value scrolls the first such element into view.
        key: identity of the widget.
    """
    _component(key=key, data={"place": place, "turn": turn})
