"""Tables of super-resolution: settings by data set, as Tables 3 and 5 of the paper; CSV and LaTeX.

Rows are those of `mvm.runs.benchmark.score_on`: data, setting, picture, scores. A table has the means over pictures,
bicubic first; the best of each data set and score is set in bold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mvm.figures.tables import latex_table
from mvm.scoring.superres import SUPERRES_SCORES
from mvm.words import cell, tex

__all__ = [
    "LABELS",
    "PRINTED",
    "PROTOCOL",
    "best_in_bold",
    "score_text",
    "scores_head",
    "superres_csv",
    "superres_latex",
    "superres_means",
]

PRINTED = ("psnr_y", "ssim_y", "psnr_rgb", "vgg16_hed", "lpips", "niqe")  # scores of the LaTeX table
DIGITS = {"psnr": 2, "ssim": 4, "niqe": 3, "vgg16": 3, "lpips": 4}  # by the first part of a key
ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "floor": ""}
LABELS = ["data", "setting"]
PROTOCOL = "Y: luma rounded to whole numbers; 4 pixels of each border do not count."


def superres_means(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Means over pictures: columns data, setting, pictures (their number) and the scores measured.

    Data sets and settings keep the order in which they first occur. A picture without a value is left out of its mean.
    """
    table = pd.DataFrame(rows)
    keys = [key for key in SUPERRES_SCORES if key in table]
    groups = table.astype(dict.fromkeys(keys, float)).groupby(LABELS, sort=False)
    return groups[keys].mean().assign(pictures=groups.size()).reset_index()[[*LABELS, "pictures", *keys]]


def superres_csv(rows: Sequence[dict[str, Any]]) -> str:
    """All scores: the means over pictures, with "mean" in the column picture, and then every picture."""
    means = superres_means(rows)
    keys = [key for key in SUPERRES_SCORES if key in means]
    table = pd.concat([means.assign(picture="mean"), pd.DataFrame(rows)], ignore_index=True)[
        [*LABELS, "picture", *keys]
    ]
    for name in (*LABELS, "picture"):
        table[name] = table[name].map(cell)
    return str(table.to_csv(index=False, lineterminator="\n"))


def superres_latex(rows: Sequence[dict[str, Any]], *, keys: Sequence[str] = PRINTED) -> str:
    """The means as a table of booktabs; the best of each data set in bold, as far as its digits tell.

    Args:
        rows: scores of pictures.
        keys: scores to print, of those that are measured.
    """
    means = superres_means(rows)
    keys = [key for key in keys if key in means and means[key].notna().any()]
    lines: list[list[str] | str] = []
    for place, (data, part) in enumerate(means.groupby("data", sort=False)):
        if place:
            lines.append(r"\addlinespace")
        texts = {key: best_in_bold(key, part[key].tolist()) for key in keys}
        for row, setting in enumerate(part["setting"]):
            name = tex(data) if row == 0 else ""
            lines.append([name, tex(setting), *(texts[key][row] for key in keys)])
    counts = means.drop_duplicates("data").set_index("data")["pictures"]
    pictures = ", ".join(rf"{tex(data)} {count}" for data, count in counts.items())
    caption = (
        r"Upscaling $\times 4$: means over the pictures of each data set (" + pictures + "), the best in bold. "
        f"{PROTOCOL}"
    )
    head = ["Data", "Setting", *scores_head(keys)]
    return latex_table("ll" + "r" * len(keys), [head], lines, caption=caption, label="superres")


def score_text(key: str, value: float | None, *, unknown: str = "-") -> str:
    """A score with the digits that published tables give it; `unknown` in place of a value that is missing."""
    return unknown if value is None or pd.isna(value) else f"{value:.{DIGITS[key.split('_')[0]]}f}"


def scores_head(keys: Sequence[str]) -> list[str]:
    """LaTeX heads of columns of scores, with the direction that is better."""
    return [rf"{tex(SUPERRES_SCORES[key].label)} {ARROWS[SUPERRES_SCORES[key].direction]}" for key in keys]


def best_in_bold(key: str, values: Sequence[float]) -> list[str]:
    """Numbers of a column in LaTeX, of which the best are bold; a dash for those unknown."""
    texts = [score_text(key, value, unknown="--") for value in values]
    known = [float(text) for text in texts if text != "--"]
    if len(known) < 2:
        return texts
    best = max(known) if SUPERRES_SCORES[key].direction == "higher" else min(known)
    return [rf"\textbf{{{text}}}" if text != "--" and float(text) == best else text for text in texts]
