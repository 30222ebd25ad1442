"""Super-resolution: crops (Figs. 9 and 11), similarity and naturalness (Tables 3 and 5), settings (Table 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mvm.errors import RunError
from mvm.figures.drawing import legend, wrapped
from mvm.figures.over_training import Column
from mvm.figures.selection import NoFigure, Selection, require_kind
from mvm.figures.superres_tables import PRINTED, PROTOCOL, best_in_bold, score_text, scores_head
from mvm.figures.tables import latex_table, rows_of, seeds_note
from mvm.imaging.resize import SCALE, imresize
from mvm.look.palette import QUIET
from mvm.methods import method_on
from mvm.runs.layout import REALS
from mvm.scoring.superres import SUPERRES_SCORES, bicubic, measure
from mvm.words import mathtext, tex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mvm.config import Config

__all__ = [
    "bicubic_of",
    "draw_settings",
    "draw_similarity",
    "draw_upscaled",
    "originals_of",
    "settings_data",
    "settings_latex",
    "similarity_data",
    "similarity_latex",
    "stills",
    "upscaled_data",
]

CROPS = 3  # rows of a figure of crops
NARROWEST_CROP, WIDEST_CROP = 0.62, 1.3  # inches
SHOWN = ("psnr_y", "ssim_y")  # scores under a crop
LETTER = 0.47  # width of a letter over its height


# -- Figs. 9 and 11: crops ---------------------------------------------------------------------------------------------


def upscaled_data(selection: Selection) -> pd.DataFrame:
    """PSNR and SSIM of the shown crops, beside those of bicubic interpolation."""
    originals = originals_of(selection)
    chosen, parts = _chosen(originals), []
    for series, place, member in selection.samples():
        fakes = selection.snapshot(place)["fake"][member]
        grid: dict[str, Any] = {"step": selection.steps[place], "crop": chosen}
        scores = [_similarity(fakes[crop], originals[crop]) for crop in chosen]
        floors = [_similarity(bicubic_of(originals[crop]), originals[crop]) for crop in chosen]
        grid |= {key: [row[key] for row in scores] for key in SHOWN}
        grid |= {f"{key}_floor": [row[key] for row in floors] for key in SHOWN}
        parts.append(rows_of(selection, series, place, member, grid))
    return pd.concat(parts, ignore_index=True).astype(
        dict.fromkeys([*SHOWN, *(f"{key}_floor" for key in SHOWN)], float)
    )


def originals_of(selection: Selection) -> np.ndarray:
    """HR crops that all runs show, `(n, 4p, 4p, 3)` uint8.

    Raises:
        NoFigure: a run is not on photographs, has lost them, or shows others.
    """
    require_kind("superres", "upscaled", selection.runs)
    found: list[np.ndarray] = []
    for place, run in enumerate(selection.runs):
        try:
            view = run.real_view()
        except RunError:
            raise NoFigure(f"upscaled: {run.name} has lost its {REALS}, the crops that it is compared with") from None
        found.append(np.array(view[: selection.snapshot(place)["fake"].shape[1]]))
        if not np.array_equal(found[-1], found[0]):
            names, patches = zip(*((each.name, each.config.patch) for each in (selection.runs[0], run)), strict=True)
            raise NoFigure(
                f"upscaled: {names[0]} and {names[1]} show other crops (--patch {patches[0]} and {patches[1]}); "
                "give runs of one patch and one number of view points"
            )
    return found[0]


def _chosen(originals: np.ndarray) -> list[int]:
    """Places of the crops that bicubic interpolation reproduces worst: there is something to restore in them."""
    error = [np.square(bicubic_of(high).astype(float) - high).mean() for high in originals]
    return sorted(np.argsort(error, kind="stable")[::-1][:CROPS].tolist())


def _low(high: np.ndarray) -> np.ndarray:
    """LR version of a crop, `(p, p, 3)` uint8."""
    side = high.shape[0] // SCALE
    reduced: np.ndarray = imresize(torch.from_numpy(high), (side, side)).numpy()
    return reduced


def bicubic_of(high: np.ndarray) -> np.ndarray:
    """Bicubic interpolation of a crop's LR version."""
    upscaled: np.ndarray = bicubic(torch.from_numpy(_low(high))).numpy()
    return upscaled


def stills(selection: Selection, columns: Sequence[Column]) -> Iterator[Column]:
    """Bicubic interpolation and the originals, which upscaled photographs are compared with; none if these are lost."""
    if {run.config.kind for run in selection.runs} != {"superres"}:
        return
    try:
        originals = originals_of(selection)
    except NoFigure:
        return
    for title, pictures in (("bicubic", np.stack([bicubic_of(high) for high in originals])), ("original", originals)):
        same = np.broadcast_to(pictures, (len(columns[0].steps), *pictures.shape))
        steps = np.full_like(columns[0].steps, columns[0].steps[0])
        yield replace(columns[0], title=title, colour=QUIET, note="", steps=steps, fakes=same, frames={}, is_still=True)


def _similarity(upscaled: np.ndarray, high: np.ndarray) -> dict[str, float | None]:
    return measure(torch.from_numpy(upscaled), torch.from_numpy(high), niqe=False)


def draw_upscaled(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """Rows of crops: LR, bicubic, each series, HR, with PSNR / SSIM under each; in blocks if they do not fit a line."""
    from matplotlib import rcParams

    originals, crops = originals_of(selection), table["crop"].unique().tolist()
    fakes = [selection.snapshot(place)["fake"][member] for _, place, member in selection.samples()]
    titles = ["LR", "bicubic", *(each.title for each in selection.series()), "HR"]
    parts = [part.set_index("crop") for _, part in table.groupby("series", sort=False)]

    def column(place: int, crop: int) -> tuple[np.ndarray, str]:
        """A crop in a column, and the text under it."""
        high = originals[crop]
        if place == 0:
            return _low(high), ""
        if place == len(titles) - 1:
            return high, "PSNR / SSIM" if crop == crops[0] else ""
        if place == 1:
            return bicubic_of(high), _caption(parts[0].loc[crop], "_floor")
        return fakes[place - 2][crop], _caption(parts[place - 2].loc[crop])

    width = figure.get_figwidth()
    lines = -(-len(titles) // int(width / NARROWEST_CROP))
    across = -(-len(titles) // lines)
    side = min(width / across - 0.04, WIDEST_CROP)
    size, small = rcParams["axes.titlesize"], rcParams["xtick.labelsize"]
    heads = [wrapped(title, side + 0.1, size) for title in titles]
    head = 0.02 * size * (max(title.count("\n") for title in heads) + 1)
    split = side < 1.0  # PSNR above SSIM
    figure.set_figheight(lines * (len(crops) * (side + 0.0155 * small * (2 if split else 1)) + head) + 0.05)
    grid = figure.subplots(lines * len(crops), across, squeeze=False)
    for place, title in enumerate(heads):
        line, x = divmod(place, across)
        for row, crop in enumerate(crops):
            axes = grid[line * len(crops) + row, x]
            picture, text = column(place, crop)
            axes.imshow(picture, interpolation="none", zorder=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
            axes.set_xlabel(text.replace(" / ", "\n" if split else " / "), fontsize=small, linespacing=0.9)
            if row == 0:
                axes.set_title(title, linespacing=0.9)
    for axes in grid.flat:
        if not axes.images:
            axes.remove()


def _caption(row: pd.Series, end: str = "") -> str:
    """PSNR / SSIM of a crop."""
    return " / ".join(score_text(key, row[f"{key}{end}"]) for key in SHOWN)


# -- Tables 3 and 5: similarity and naturalness ------------------------------------------------------------------------


def similarity_data(selection: Selection) -> pd.DataFrame:
    """Scores of every member on the held-out photographs, beside those of bicubic interpolation."""
    require_kind("superres", "similarity", selection.runs)
    parts = []
    for series, place, member in selection.members():
        run = selection.runs[place]
        scores = selection.histories[place].scores(selection.steps[place])
        if scores is None:
            raise NoFigure(f"similarity: {run.name} has no scores up to step {selection.steps[place]}; train it on")
        row = scores.rows[member]
        keys = [key for key in SUPERRES_SCORES if key in row]
        grid: dict[str, Any] = {"backbone": run.config.network.backbone, "step": scores.step}
        grid |= {name: [row[name]] for key in keys for name in (key, f"{key}_floor")}
        parts.append(rows_of(selection, series, place, member, grid))
    table = pd.concat(parts, ignore_index=True)
    table = table.astype({name: float for name in table if name.removesuffix("_floor") in SUPERRES_SCORES})
    if table["psnr_y"].isna().all():
        raise NoFigure("similarity: every generator of these runs diverged; there is no score to draw")
    return table


def draw_similarity(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """PSNR against NIQE, or SSIM while NIQE is not measured: one mark per seed, and bicubic interpolation."""
    from mvm.figures.panels import MARKERS

    other = "niqe" if "niqe" in table and table["niqe"].notna().any() else "ssim_y"
    axes = figure.subplots()
    figure.set_figheight(min(max(0.55 * figure.get_figwidth(), 1.9), 2.8))
    series = selection.series()
    for place, each in enumerate(series):
        part = table[table["series"] == each.title]
        marker = MARKERS[sum(earlier.colour == each.colour for earlier in series[:place]) % len(MARKERS)]
        look: dict[str, Any] = {"color": each.colour, "markersize": 4, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot(part["psnr_y"], part[other], marker=marker, label=mathtext(each.title), **look)
    floor = table[["psnr_y_floor", f"{other}_floor"]].median()
    axes.plot(*floor, "x", color=QUIET, markersize=5, label="bicubic")
    for label, key in ((axes.set_xlabel, "psnr_y"), (axes.set_ylabel, other)):
        about = SUPERRES_SCORES[key]
        unit = " in dB" if key.startswith("psnr") else ""
        label(f"{about.label}{unit}, {about.direction} is better")
    legend(figure, *axes.get_legend_handles_labels())


def similarity_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Medians over seeds by backbone and setting, bicubic first; the best of each column in bold."""
    keys = [key for key in PRINTED if key in table and table[key].notna().any()]
    medians = table.groupby(["backbone", "series"], sort=False)[keys].median().reset_index()
    floors = {key: table[f"{key}_floor"].median() for key in keys}
    columns = {key: best_in_bold(key, [floors[key], *medians[key]]) for key in keys}
    rows: list[list[str] | str] = [["", "bicubic", *(columns[key][0] for key in keys)]]
    last = None
    for row in medians.sort_values("backbone", kind="stable").itertuples():
        if row.backbone != last:
            rows.append(r"\addlinespace")
        name = tex(row.backbone) if row.backbone != last else ""
        rows.append([name, tex(row.series), *(columns[key][row.Index + 1] for key in keys)])
        last = row.backbone
    caption = (
        r"Upscaling $\times 4$ of the held-out photographs at step "
        f"{table['step'].max()}, the best in bold. {PROTOCOL} {seeds_note(table, quartiles=False)}"
    )
    head = ["Backbone", "Setting", *scores_head(keys)]
    return latex_table("ll" + "r" * len(keys), [head], rows, caption=caption, label="similarity")


# -- Table 6: settings -------------------------------------------------------------------------------------------------

GANS = {"none": "--", "standard": "standard", "relativistic": "relativistic"}
HEAD = {
    "series": "Setting", "backbone": "Backbone", "part": "Perceptual part", "pretrained": "Pretrained",
    "discriminator": "Discriminator", "weights": "Weights",
}  # fmt: skip
WEIGHTS = {"image": "L_img", "pair": "L_pair", "matching": "L_MM", "adversarial": "L_adv", "perceptual": "L_per"}


def settings_data(selection: Selection) -> pd.DataFrame:
    """What each series trains with: perceptual part, whether it is pretrained, discriminator, weights of its losses."""
    require_kind("superres", "settings", selection.runs)
    rows = []
    for series in selection.series():
        place, member = series.members[0]
        config = selection.runs[place].config
        rows.append({"series": series.title, "variant": config.members[member][0]} | _settings(config))
    return pd.DataFrame(rows)


def _settings(config: Config) -> dict[str, Any]:
    method: Any = method_on(config.kind, config.method)
    pairs = config.pairs
    assert pairs is not None
    part = method.perceptual_part(pairs)
    used = {"image": True, "pair": method.matches_descriptors, "matching": method.matches_descriptors}
    used |= {"adversarial": pairs.gan != "none", "perceptual": bool(part) and not method.matches_descriptors}
    weights = [f"{WEIGHTS[name]} {getattr(config.weights, name):g}" for name, is_used in used.items() if is_used]
    return {
        "backbone": config.network.backbone,
        "part": part or "--",
        "pretrained": "--" if not part else "yes" if method.pretrained else "no",
        "discriminator": GANS[pairs.gan],
        "image_steps": pairs.image_steps,
        "steps": config.steps,
        "weights": ", ".join(weights),
    }


def draw_settings(figure: Figure, table: pd.DataFrame, selection: Selection) -> None:
    """The table, its cells wrapped to the width of the page."""
    from matplotlib import rcParams

    size = rcParams["xtick.labelsize"]
    names = [name for name in HEAD if name != "weights" or figure.get_figwidth() > 5]
    cells = [[HEAD[name] for name in names], *(list(map(str, row)) for row in table[names].to_numpy())]
    needs = [max(len(row[i]) for row in cells) * LETTER * size / 72 + 0.14 for i in range(len(names))]
    widths = _fitted(np.array(needs), figure.get_figwidth())
    texts = [[_wrapped_cell(cell, w, size) for cell, w in zip(row, widths, strict=True)] for row in cells]
    line = 1.25 * size / 72
    heights = [line * max(text.count("\n") + 1 for text in row) + 0.05 for row in texts]
    figure.set_figheight(sum(heights) + 0.12)
    axes = figure.subplots()
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0))
    axes.set_axis_off()
    y = 0.04
    _rule(axes, y, 0.9)
    for number, (row, height) in enumerate(zip(texts, heights, strict=True)):
        for text, x in zip(row, np.cumsum([0, *widths[:-1]]), strict=True):
            axes.text(x + 0.03, y + 0.04, text, va="top", fontsize=size, linespacing=1.05)
        y += height
        if number == 0:
            _rule(axes, y, 0.5)
    _rule(axes, y + 0.02, 0.9)


def _fitted(needs: np.ndarray, width: float) -> np.ndarray:
    """Widths of columns that fill a width: as needed, but the widest cut to one width where they do not fit."""
    if needs.sum() <= width:
        wide: np.ndarray = needs * width / needs.sum()
        return wide
    kept = np.sort(needs)
    caps: np.ndarray = (width - np.concatenate([[0], kept.cumsum()[:-1]])) / np.arange(len(kept), 0, -1)
    narrow: np.ndarray = np.minimum(needs, caps[np.argmax(kept > caps)])
    return narrow


def _wrapped_cell(text: str, width: float, size: float) -> str:
    return wrapped(text.replace("--", "–"), width - 0.1, size)


def _rule(axes: Axes, y: float, thickness: float) -> None:
    axes.axhline(y, color="black", linewidth=thickness)


def settings_latex(table: pd.DataFrame, selection: Selection) -> str:
    """Table 6 of the paper: one row for each setting."""
    names = list(HEAD)
    rows = [
        [tex(value) if name != "weights" else _formulas(value) for name, value in zip(names, row, strict=True)]
        for row in table[names].to_numpy()
    ]
    caption = r"Settings of super-resolution $\times 4$; pretrained: the perceptual part has learnt from other data."
    return latex_table("l" * len(names), [list(HEAD.values())], rows, caption=caption, label="settings")


def _formulas(weights: str) -> str:
    """Weights of losses in LaTeX."""
    for name in WEIGHTS.values():
        weights = weights.replace(name, rf"$L_{{\mathrm{{{name[2:]}}}}}$")
    return weights
