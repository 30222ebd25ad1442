"""The words for a first visit, above the Lab, until a person closes them.

The browser remembers that they were closed, so that they are gone at the next visit, and each person who uses the same
lab sees them once.
"""

from __future__ import annotations

from pathlib import Path

from app.components.component import component

__all__ = ["welcome_card"]

_component = component(Path(__file__).parent)


def welcome_card(words: str, picture: str, *, key: str, closable: bool) -> bool:
    """Draw the card; return whether its button *Take the tour* was just pressed.

    Args:
        words: HTML of its paragraph.
        picture: HTML of its picture.
        key: identity of the widget.
        closable: has a button to close it, and is not drawn once it was closed.
    """
    data = {"words": words, "picture": picture, "closable": closable}
    return bool(_component(key=key, data=data, on_tour_change=lambda: None).get("tour"))
