r"""Words from outside, such as names, notes, reasons and headers of files, drawn as they are.

plain(text)          Markdown's characters escaped: for Streamlit's texts, labels, helps and badges
plotly_text(text)    HTML's characters escaped: for text of a Plotly figure, which reads a part of HTML
quoted(text)         a value in quotes, shortened: for a message that names it
visible_words(rows)  rows of a table, which is drawn without Markdown, with every word `visible`
first_lines(lines)   the first few lines of many, and how many more there are

Streamlit draws Markdown with pictures, which the browser fetches, links, formulas, colours and icons. A backslash
before a character of Markdown makes it a letter. Icons, emoji, arrows and bare addresses are found after that, in the
letters themselves: an invisible word joiner (U+2060) parts them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from mvm.words import visible

__all__ = ["first_lines", "plain", "plotly_text", "quoted", "visible_words"]

MOST_LINES = 5
LONGEST_VALUE = 60
JOINER = "\u2060"
MARKDOWN = re.compile(r"[\\`*_~\[\]{}<>$&|]")
BLOCK = re.compile(r"^(?:[#+=-]|\d+[.)])")  # begins a heading, a list or a rule
IN_LETTERS = re.compile(
    r"""(?<=:)(?=[\w+/-])           # an icon, an emoji, a directive, the // of an address
    | (?<=[Ww]{3})(?=\.)            # an address without its scheme
    | (?<=@)(?=\w)                  # an address of e-mail
    | (?<=(?<!\S)[<>~-])(?=[>=-]+(?:\s|$))  # an arrow, a dash or another sign that stands alone
    """,
    re.VERBOSE,
)


def plain(text: object) -> str:
    """Markdown that Streamlit draws as the given text in one line, whatever it contains."""
    line = IN_LETTERS.sub(JOINER, visible(text))
    first = BLOCK.match(line)
    head, tail = (line[: first.end()], line[first.end() :]) if first else ("", line)
    return (f"{head[:-1]}\\{head[-1]}" if head else "") + MARKDOWN.sub(r"\\\g<0>", tail)


def plotly_text(text: object) -> str:
    """Text for a title, a name, a category or a hover of a Plotly figure."""
    return html.escape(visible(text), quote=False)


def quoted(text: object) -> str:
    """A value in quotes, cut after `LONGEST_VALUE` characters."""
    length, line = len(str(text)), visible(text)
    return f"'{line}'" if length <= LONGEST_VALUE else f"'{line[:LONGEST_VALUE]}…' ({length:,} characters)"


def first_lines(lines: Sequence[str], *, most: int = MOST_LINES) -> list[str]:
    """The first lines; if there are more than `most`, the last one counts the others."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"and {len(lines) - most + 1:,} more"]


def visible_words(value: Any) -> Any:
    """Nested lists and dictionaries with every word `visible`, for a table, which is drawn without Markdown."""
    if isinstance(value, dict):
        return {visible_words(key): visible_words(item) for key, item in value.items()}
    if isinstance(value, list):
        return [visible_words(item) for item in value]
    return visible(value) if isinstance(value, str) else value
