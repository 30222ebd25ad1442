"""Words from outside, such as names, notes and headers of files, for a terminal, a page, a figure or a LaTeX table.

printable(text)      without what a terminal obeys, or a font, a file format or a browser cannot carry
visible(text)        the same in one line of bounded length
mathtext(text)       the same, for matplotlib, which reads formulas between dollar signs
tex(text)            the same, for LaTeX
cell(text)           a cell of a CSV file that a spreadsheet does not take for a formula
capital(text)        the same with a capital letter in front, unless with a symbol: γ is not Γ
"""

from __future__ import annotations

import unicodedata

__all__ = ["capital", "cell", "mathtext", "printable", "tex", "visible"]

LONGEST = 600  # characters
HIDDEN = ("Cc", "Cs", "Zl", "Zp")  # categories of Unicode: controls, lone surrogates, line and paragraph separators
TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the writing direction
TEX = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"→": r"$\rightarrow$", "†": r"\textdagger{}"}
FORMULA = ("=", "+", "-", "@")


def printable(text: object) -> str:
    """Text of the same length: controls, line breaks and lone surrogates become the replacement sign, U+FFFD."""
    written = str(text)
    if written.isprintable():  # nearly all are, and a list of runs has thousands
        return written
    return "".join("\ufffd" if unicodedata.category(c) in HIDDEN or c in TURNING else c for c in written)


def visible(text: object) -> str:
    """Text in one line of at most `LONGEST` characters: printable, with each run of blanks as one blank."""
    line = " ".join(str(text).split())
    return printable(line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…")


def mathtext(text: object) -> str:
    """Text that matplotlib draws as it is."""
    return visible(text).replace("$", r"\$")


def tex(text: object) -> str:
    """Text that LaTeX sets as it is, also at the start of a row, where a bracket or a star ends the row before."""
    line = visible(text)
    return ("{}" if line.startswith(("[", "*")) else "") + "".join(TEX.get(sign, sign) for sign in line)


def cell(text: object) -> str:
    """Text of a CSV file, with an apostrophe before it where a spreadsheet would compute it."""
    line = visible(text)
    return f"'{line}" if line.startswith(FORMULA) else line


def capital(text: str) -> str:
    """Text that begins with a capital letter, unless with a symbol: γ is not Γ."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
