"""Contact sheets: many images as one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mvm.files import write_atomic

__all__ = ["sheet", "write_sheet"]

GAP = 2  # pixels between images


def sheet(images: np.ndarray, *, columns: int | None = None, gap: int = GAP) -> np.ndarray:
    """Images `(n, size, size, 3)` uint8 in rows on a white ground: one image `(height, width, 3)`.

    Args:
        images: at least one.
        columns: images per row; about as many as there are rows when None.
        gap: pixels between images.
    """
    n, size = images.shape[:2]
    columns = columns or int(np.ceil(n**0.5))
    rows = -(-n // columns)
    whole = np.full((rows * (size + gap) - gap, columns * (size + gap) - gap, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (size + gap), (i % columns) * (size + gap)
        whole[top : top + size, left : left + size] = image
    return whole


def write_sheet(path: Path, images: np.ndarray) -> None:
    """Write a contact sheet as PNG, atomically."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet(images)).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
