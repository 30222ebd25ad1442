"""Parts of tables: rows labelled with series, run, variant and seed, and LaTeX for booktabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.geometry.descriptors import GAPS
from mvm.studies.compare import PAIR_DISTANCE, Series

if TYPE_CHECKING:
    from mvm.figures.selection import Selection

__all__ = ["counts_note", "digits", "interval", "latex_table", "rows_of", "seeds_note", "signs"]


def rows_of(selection: Selection, series: Series, place: int, member: int, values: dict[str, Any]) -> pd.DataFrame:
    """Values of one member, labelled with series, run, variant and seed."""
    run = selection.runs[place]
    variant, seed = run.config.members[member]
    return pd.DataFrame({"series": series.title, "run": run.name, "variant": variant, "seed": seed} | values)


def digits(value: float) -> str:
    """A number with three significant digits, for mathtext and LaTeX."""
    if not np.isfinite(value):
        return r"$\infty$" if value > 0 else "--"
    if value and not 1e-3 <= abs(value) < 1e4:
        digits, power = f"{value:.1e}".split("e")
        return rf"${digits}\times10^{{{int(power)}}}$"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}" if value else "0"


def interval(low: float, middle: float, high: float) -> str:
    """A median with its quartiles or extremes in brackets; the median alone if they are equal."""
    return digits(middle) if low == high else f"{digits(middle)} [{digits(low)}, {digits(high)}]"


def seeds_note(table: pd.DataFrame, *, quartiles: bool = True) -> str:
    """Sentence for a caption with the number of seeds behind the numbers of a table."""
    keys = ["series", *(["batch"] if "batch" in table else [])]
    return counts_note(table[[*keys, "run", "seed"]].drop_duplicates().groupby(keys).size(), quartiles=quartiles)


def counts_note(counts: Iterable[int], *, quartiles: bool = True) -> str:
    """The same sentence for the numbers of seeds in each row."""
    seeds = sorted(set(map(int, counts)))
    if seeds == [1]:
        return "One seed."
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"Median{' [quartiles]' if quartiles else ''} of {count} seeds."


def signs(text: str) -> str:
    """Unicode signs of the app's labels as mathtext, which LaTeX reads as well."""
    for sign, math in (
        ("W₂", "$W_2$"),
        ("−", "$-$"),
        ("²", "$^2$"),
        ("ρ", r"$\rho$"),
        ("D / mean D", "$D$ / mean $D$"),
    ):
        text = text.replace(sign, math)
    for gap in (*GAPS, PAIR_DISTANCE):
        text = text.replace(gap.replace("_", r"\_"), gap).replace(gap, f"${gap}$")
    return text


def latex_table(
    columns: str,
    head: list[list[str]],
    rows: Sequence[list[str] | str],
    *,
    caption: str,
    label: str,
    rules: Sequence[str] = (),
) -> str:
    """A LaTeX table.

    Args:
        columns: alignment of the columns, such as "lrr".
        head: lines of the head.
        rows: cells of each row; a string stands for a whole line of LaTeX.
        caption, label: of the table.
        rules: lines of LaTeX, each after one line of the head.
    """
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"  \centering", rf"  \caption{{{caption}}}"]
    lines += [rf"  \label{{tab:{label}}}", rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
    for place, line in enumerate(head):
        lines += [rf"    {' & '.join(line)} \\"] + [f"    {rule}" for rule in rules[place : place + 1]]
    lines += [r"    \midrule"]
    lines += [f"    {row}" if isinstance(row, str) else rf"    {' & '.join(row)} \\" for row in rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])
