"""Pictures in rows, a panel per variant, redrawn many times a second on one canvas each.

All pictures of a panel travel as one JPEG of highest quality, which costs a third of a PNG's time: a training, its app
and the browser may share two cores. They are drawn with hard pixel edges, and as large as the page allows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.components.component import component
from mvm.look.sheets import sheet

__all__ = ["Picked", "encode", "picked_of", "picture_grid"]

_component = component(Path(__file__).parent)


@dataclass(frozen=True)
class Picked:
    """A picture that was clicked.

    Attributes:
        panel: its place among the panels.
        layer: real or fake.
        index: of it, among the pictures of its kind in a snapshot.
        when: ms since the epoch, by the browser's clock.
    """

    panel: int
    layer: str
    index: int
    when: float


def picture_grid(
    panels: Sequence[dict[str, Any]], *, key: str, alt: str, step: int, cell: int = 64, columns: int | None = None
) -> Picked | None:
    """Draw the panels in place of the last ones of this key.

    Args:
        panels: one dict each: title, images `(n, size, size, 3)` uint8, and optionally captions, one for each picture,
            and marked, the index of one that gets a frame.
        key: the grid's identity on the page, constant over updates.
        alt: what it shows, in words, for screen readers.
        step: the training step shown; becomes the node's `data-step`.
        cell: most pixels each way that a picture gets.
        columns: pictures in a row, the panels one below the other; as many as fit, the panels side by side, when None.

    Returns:
        The picture that was clicked last, of layer fake.
    """
    encoded = [
        {name: value for name, value in panel.items() if name != "images"}
        | {"sheet": encode(panel["images"]), "size": panel["images"].shape[1], "count": len(panel["images"])}
        for panel in panels
    ]
    data = {"panels": encoded, "key": key, "alt": alt, "step": step, "cell": cell, "columns": columns}
    return picked_of(_component(key=key, data=data, default={"picked": None}, on_picked_change=lambda: None))


def picked_of(result: Any) -> Picked | None:
    """What a component says was clicked."""
    picked = result.get("picked")
    return Picked(**picked) if picked else None


def encode(images: np.ndarray, *, quality: int = 95) -> str:
    """Pictures `(n, size, size, 3)` uint8 as one JPEG's data URL: about as many in a row as rows, without gaps.

    Sizes are multiples of 8, as JPEG's blocks are, so that no picture shows in its neighbour.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet(images, gap=0)).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
