r"""Words from outside, such as names, notes, reasons and headers of files, drawn as they are.

visible(text)        one line of bounded length, without what a font, a table or a browser's protocol cannot carry
plain(text)          the same, with Markdown's characters escaped: for Streamlit's texts, labels, helps and badges
plotly_text(text)    the same as text of a Plotly figure, which reads a part of HTML
quoted(text)         a value in quotes, shortened: for a message that names it
visible_words(rows)  the same for rows of a table, which is drawn without Markdown
first_lines(lines)   the first few lines of many, and how many more there are

Streamlit draws Markdown with pictures, which the browser fetches, links, formulas, colours and icons. A backslash
before a character of Markdown makes it a letter. Icons, emoji, arrows and bare addresses are found after that, in the
letters themselves: an invisible word joiner (U+2060) parts them.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["first_lines", "plain", "plotly_text", "quoted", "visible", "visible_words"]

MOST_LINES = 5
LONGEST_TEXT = 600  # characters of one text from outside
LONGEST_VALUE = 60
JOINER = "\u2060"
HIDDEN = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn the writing direction
MARKDOWN = re.compile(r"[\\`*_~\[\]{}<>$&|]")
BLOCK = re.compile(r"^(?:[#+=-]|\d+[.)])")  # begins a heading, a list or a rule
IN_LETTERS = re.compile(
    r"""(?<=:)(?=[\w+/-])           # an icon, an emoji, a directive, the // of an address
    | (?<=[Ww]{3})(?=\.)            # an address without its scheme
    | (?<=@)(?=\w)                  # an address of e-mail
    | (?<=(?<!\S)[<>~-])(?=[>=-])   # an arrow, a dash or another sign that stands alone
    """,
    re.VERBOSE,
)


def visible(text: object) -> str:
    """Text in one line: blanks of every kind as one blank; controls and lone surrogates as the replacement sign.

    It is cut after `LONGEST_TEXT` characters.
    """
    line = " ".join(str(text).split())
    line = line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in HIDDEN else c for c in line)


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
    """Rows for a table, which is drawn without Markdown: nested lists and dictionaries with every word `visible`."""
    if isinstance(value, dict):
        return {visible_words(key): visible_words(item) for key, item in value.items()}
    if isinstance(value, list):
        return [visible_words(item) for item in value]
    return visible(value) if isinstance(value, str) else value
