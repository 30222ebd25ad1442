"""Texts of a figure: its titles, labels, entries of the legend and notes, all of which a person may replace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mvm.errors import ConfigError
from mvm.figures.drawing import BAR, LABELS, size_of, wrapped
from mvm.words import tex, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["check", "edit", "edit_latex", "texts_of"]

FORMULA = re.compile(r"(?<!\\)\$")  # the sign at either end of one
CELL = re.compile(r"(\s*(?:\\multicolumn{\d+}{\w}{)?)(.*?)(}?(?: \\\\)?)")  # margins and text of a LaTeX cell


def texts_of(figure: Figure) -> list[str]:
    """Every text of a figure except numbers at ticks, once each, in the order of the page; wrapped ones in one line."""
    return list(dict.fromkeys(text for text, _ in _slots(figure)))


def edit(figure: Figure, texts: Mapping[str, str]) -> None:
    """Replace texts `{old: new}`; a new text may hold formulas between dollar signs. Texts it has not are left out."""
    for text, write in list(_slots(figure)):
        if text in texts:
            write(texts[text])


def edit_latex(table: str, texts: Mapping[str, str]) -> str:
    """Replace whole cells of a LaTeX table by the texts `{old: new}` of its figure."""
    known = {_latex_of(old): _latex_of(new) for old, new in texts.items()}
    return "\n".join(
        " & ".join(_edited_cell(cell, known) for cell in line.split(" & ")) if line.endswith(r"\\") else line
        for line in table.split("\n")
    )


def _edited_cell(cell: str, known: Mapping[str, str]) -> str:
    """A cell, with its margins and its span over columns, and its text replaced where that is known."""
    before, text, after = CELL.fullmatch(cell).groups()  # type: ignore[union-attr]  # it matches any line
    return f"{before}{known.get(text, text)}{after}"


def _latex_of(text: str) -> str:
    """A text of a figure, of words and formulas between dollar signs, in LaTeX."""
    parts = FORMULA.split(text)
    words = [
        " " * part.startswith(" ") + tex(part.replace(r"\$", "$")) + " " * part[1:].endswith(" ") for part in parts
    ]
    return "".join(f"${part}$" if place % 2 else words[place] for place, part in enumerate(parts))


def check(texts: Mapping[str, str]) -> None:
    """Raise ConfigError for a new text that cannot be drawn."""
    from matplotlib.mathtext import MathTextParser

    for old, new in texts.items():
        if new != visible(new):
            raise ConfigError(f"text: {visible(new)!r} for {old!r} must be one line of at most 600 letters")
        if new.replace(r"\$", "").count("$") % 2:
            raise ConfigError(rf"text: {new!r} for {old!r} has a formula without an end; a dollar sign is \$")
        try:
            MathTextParser("path").parse(new)
        except ValueError:
            raise ConfigError(f"text: {new!r} for {old!r} has a formula that cannot be read") from None


def _slots(figure: Figure) -> Iterator[tuple[str, Callable[[str], object]]]:
    """Each text in one line, with the function that replaces it."""
    found: list[Text] = []
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    found += [text for text in (getattr(figure, "_supylabel", None), *figure.texts) if text is not None]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    for text in dict.fromkeys(found):
        if words := " ".join(text.get_text().split()):
            yield words, _setter(figure, text)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            names: list[str] = getattr(axis.get_major_formatter(), "seq", [])
            for place, name in enumerate(names):
                if any(letter.isalpha() for letter in name):
                    yield " ".join(name.split()), _name_setter(names, place)


def _setter(figure: Figure, text: Text) -> Callable[[str], object]:
    """Sets a text; the title of a panel is broken into lines that fit it."""
    place = next((axes.get_subplotspec() for axes in figure.axes if axes.title is text), None)
    width = (figure.get_figwidth() - (LABELS + BAR) * bool(place)) / (place.get_gridspec().ncols if place else 1)
    return lambda new: text.set_text(new if "$" in new else wrapped(new, width, size_of(text)))


def _name_setter(names: list[str], place: int) -> Callable[[str], object]:
    return lambda new: names.__setitem__(place, new)
