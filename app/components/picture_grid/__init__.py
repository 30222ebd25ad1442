"""Pictures in rows, one panel per variant, redrawn many times per second on a canvas per panel.

The pictures of a panel are sent as one JPEG of high quality, which takes a third of a PNG's time. They are drawn
with sharp pixel edges, and as large as the page allows.
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

_component = component(Path(__file__).parent, "heads")


@dataclass(frozen=True)
class Picked:
    """A clicked picture or point.

    Attributes:
        panel: index of its panel.
        layer: real or fake.
        index: among the reals or the fakes of a snapshot.
        when: time of the click, ms since the epoch, by the browser's clock.
    """

    panel: int
    layer: str
    index: int
    when: float


def picture_grid(
    panels: Sequence[dict[str, Any]], *, key: str, alt: str, step: int, cell: int = 64, columns: int | None = None
) -> Picked | None:
    """Draw the panels, in place of the previous panels of this key.

    Args:
        panels: one dict each: title, images `(n, size, size, 3)` uint8, and optionally captions, one per picture, and
            marked, the index of the framed picture, scores and best, as `app.columns.scored` adds them.
        key: identity of the grid, constant over updates.
        alt: description for screen readers.
        step: the shown training step; becomes the node's `data-step`.
        cell: most pixels each way of a picture.
        columns: pictures per row, with the panels stacked; None: as many as fit, with the panels side by side.

    Returns:
        The last clicked picture, with layer "fake"; None before the first click.
    """
    encoded = [
        {name: value for name, value in panel.items() if name != "images"}
        | {"sheet": encode(panel["images"]), "size": panel["images"].shape[1], "count": len(panel["images"])}
        for panel in panels
    ]
    data = {"panels": encoded, "key": key, "alt": alt, "step": step, "cell": cell, "columns": columns}
    return picked_of(_component(key=key, data=data, default={"picked": None}, on_picked_change=lambda: None))


def picked_of(result: Any) -> Picked | None:
    """The last click in the result of a component."""
    picked = result.get("picked")
    return Picked(**picked) if picked else None


def encode(images: np.ndarray, *, quality: int = 95) -> str:
    """Pictures `(n, size, size, 3)` uint8 as the data URL of one JPEG, in a nearly square grid without gaps.

    With sizes that are multiples of 8, JPEG's blocks do not mix neighbouring pictures.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet(images, gap=0)).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
