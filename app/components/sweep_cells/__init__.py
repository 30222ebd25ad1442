"""The runs of a sweep as cells that fill the width: buttons, coloured by state, with a line while they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.components.component import component

__all__ = ["Cell", "sweep_cells"]

_component = component(Path(__file__).parent)


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: of the run.
        state: a key of the legend.
        text: what is said of it, in lines: under the pointer, and to screen readers.
        share: of its steps that are done.
        line: a quantity over its training so far, from 0 to 1 of the cell's height; without values no line.
    """

    name: str
    state: str
    text: str
    share: float = 0.0
    line: tuple[float, ...] = ()


def sweep_cells(cells: Sequence[Cell], legend: dict[str, tuple[str, str]], *, key: str, alt: str) -> str | None:
    """Draw the cells, in place of the previous ones of this key.

    Args:
        cells: in their order.
        legend: words and colour of each state; states without a cell are left out.
        key: identity of the grid, constant over updates.
        alt: description for screen readers.

    Returns:
        Name of the run whose cell was pressed in this moment; None otherwise.
    """
    states = [
        {"words": f"{words} ({count:,})", "colour": colour, "state": state}
        for state, (words, colour) in legend.items()
        if (count := sum(cell.state == state for cell in cells))
    ]
    colours = {state: colour for state, (_, colour) in legend.items()}
    drawn = [[cell.name, colours[cell.state], cell.text, cell.share, [round(y, 3) for y in cell.line]]
             for cell in cells]  # fmt: skip
    data = {"cells": drawn, "legend": states, "key": key, "alt": alt}
    picked = _component(key=key, data=data, on_picked_change=lambda: None).get("picked")
    return picked if picked in {cell.name for cell in cells} else None
