"""Pictures of one scene side by side, with one zoom and pan for all, a before/after slider, and a difference map.

Each picture is sent once, without loss; how it is shown is the browser's alone, so that a zoom costs no round trip. One
pixel of a picture becomes a sharp square when it is larger than a pixel of the screen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from app.components.component import component

__all__ = ["ComparedPicture", "compare_pictures"]

KEPT = 24  # encoded pictures

_component = component(Path(__file__).parent)


@dataclass(frozen=True)
class ComparedPicture:
    """A picture with what is written below it.

    Attributes:
        title: may contain words from outside; it is no Markdown.
        values: `(h, w, 3)` uint8.
        lines: such as its scores.
        strong: whether each line is set in bold.
    """

    title: str
    values: np.ndarray
    lines: tuple[str, ...] = ()
    strong: tuple[bool, ...] = ()


def compare_pictures(
    pictures: Sequence[ComparedPicture], *, key: str, scene: str, reference: int, before: int, after: int, alt: str
) -> None:
    """Draw the pictures, in place of the previous ones of this key.

    Args:
        pictures: of one height and width.
        key: identity of the component, constant over updates.
        scene: which picture it is, and which part; another scene resets zoom and pan.
        reference: index of the picture that the difference map compares with.
        before, after: indices of the pictures on both sides of the slider, until others are chosen.
        alt: description for screen readers.
    """
    height, width = pictures[0].values.shape[:2]
    panels = [
        {"title": picture.title, "lines": picture.lines, "strong": picture.strong, "source": _encode(picture.values)}
        for picture in pictures
    ]
    data = {"panels": panels, "key": key, "scene": scene, "alt": alt, "width": width, "height": height}
    _component(key=key, data=data | {"reference": reference, "before": before, "after": after})


def _encode(values: np.ndarray) -> str:
    return _data_url(values.tobytes(), values.shape)


@lru_cache(maxsize=KEPT)
def _data_url(content: bytes, shape: tuple[int, ...]) -> str:
    """A picture as the data URL of a PNG, encoded once for all reruns that show it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(content, np.uint8).reshape(shape)).save(buffer, format="PNG", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
