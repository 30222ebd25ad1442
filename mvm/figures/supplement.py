"""An interactive supplement: one HTML file with the training of some runs, which opens from disk without a network.

    timeline     play, speed, scrub; keys as on a video
    clouds       data space and UMAP, to turn or to move; or pictures of fixed noise; or upscaled photographs beside
                 bicubic interpolation and the originals
    density      along the manifold, where that is known: over the data's, beside the band of real samples
    curves       d_c, d_g, d_H and scores over training, medians and quartiles over the seeds
    spectrum     leading eigenvalues at the shown step
    scores       beside their baselines, at the shown step
    settings     those that differ first

Coordinates are 16-bit integers over the extent of a cloud, which is finer than a pixel; snapshots are thinned evenly so
that the file has at most `MOST_BYTES`, and it says so. Equal runs give equal bytes. Words from outside are data to the
page, never markup, and its content security policy forbids every request and every other script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import torch

from mvm.data.points import truth_of
from mvm.figures.over_training import (
    Column,
    Progress,
    baseline_of,
    columns_of,
    comparable,
    evenly,
    on_log_axis,
    project_frames,
    score_words,
    subject_of,
    timeline,
)
from mvm.figures.selection import Selection
from mvm.figures.upscaling import stills
from mvm.geometry.descriptors import GAPS
from mvm.look.glossary import HOW_TO_READ, TERMS
from mvm.look.palette import DIVERGING, FAKE, QUIET, REAL
from mvm.look.scales import span_of
from mvm.look.sheets import sheet
from mvm.runs.history import Scores, middle
from mvm.runs.run import Run
from mvm.scoring.density import MOST_OVER, density_along
from mvm.scoring.images import describe
from mvm.studies.compare import PAIR_DISTANCE, curves, differences, footnote_of, in_a_word, main_score, quantities
from mvm.words import visible

__all__ = ["MOST_BYTES", "supplement"]

MOST_BYTES = 5_000_000
MOST_SHOTS = 240
MOST_POINTS = 512  # of each cloud
MOST_PICTURES = 36
MOST_DENSITIES = 24  # steps at which the density is counted
ROOM = 0.8 * MOST_BYTES  # for clouds; the rest is curves, scores and settings
LEVELS = 65534  # of a coordinate; 65535 is no number
REACH = 1.0  # half extents of the reals beyond which a fake is drawn at the border
DIGITS = 5
PICTURE_QUALITY = 80
READ = ("data", "embeddings", "density", "gaps", "spectrum", "scores")  # sections with a line on how to read them
READ_OF = {  # other lines of the same sections, by kind of data
    "images": {"data": "samples"},
    "superres": {"data": "upscaled", "gaps": "pair_gaps", "scores": "pair_scores"},
}
KEY_SCORES = ("w2_ratio", "coverage", "recall", "precision", "distance_mean")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src '{style_hash}'; \
script-src '{script_hash}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page needs JavaScript to draw; it loads nothing and sends nothing.</noscript>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def supplement(selection: Selection, *, on_progress: Progress = lambda done, of, what: None) -> bytes:
    """The HTML file of some runs up to the steps of a selection.

    Args:
        selection: the runs; their series are the columns.
        on_progress: called before each part of the work; an exception that it raises ends the work.

    Raises:
        NoFigure: these runs give none.
        RunError: a snapshot is damaged.
    """
    problems = project_frames(selection, on_progress)
    densities = _densities(selection, on_progress)
    most = MOST_SHOTS
    while True:
        steps = timeline(selection, most)
        columns = columns_of(selection, steps, on_progress)
        page = _page(_content(selection, steps, columns, densities, problems))
        if len(page) <= MOST_BYTES or most <= 2:
            return page
        most = max(2, min(int(0.95 * len(steps) * ROOM / len(page)), len(steps) - 1))


def _page(content: dict[str, Any]) -> bytes:
    folder = resources.files("mvm.figures")
    style, script = (folder.joinpath(f"supplement.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    data = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":  # nothing in it can end the script, or open another element
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    parts = {"style": style, "script": script, "data": data, "title": html.escape(content["title"])}
    return PAGE.format(**parts, style_hash=_hash(style), script_hash=_hash(script)).encode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# -- content -----------------------------------------------------------------------------------------------------------


def _content(
    selection: Selection,
    steps: Sequence[int],
    columns: Sequence[Column],
    densities: dict[tuple[int, int], dict[str, Any]],
    problems: Sequence[str],
) -> dict[str, Any]:
    """What the page shows, as JSON values."""
    runs = selection.runs
    return {
        "title": visible(", ".join(dict.fromkeys(run.name for run in runs))),
        "subject": visible(subject_of(runs)),
        "steps": list(map(int, steps)),
        "columns": [
            *(_column(selection, each) | {"density": densities.get((each.place, each.member))} for each in columns),
            *map(_still, stills(selection, columns)),
        ],
        "curves": _curves(selection),
        "scores": _scores(selection, steps),
        "settings": _settings(selection),
        "reading": {key: HOW_TO_READ[READ_OF.get(runs[0].config.kind, {}).get(key, key)] for key in READ},
        "baseline": "Bicubic interpolation." if runs[0].config.kind == "superres" else TERMS["baseline"],
        "colours": {"real": REAL, "fake": FAKE, "quiet": QUIET, "diverging": DIVERGING, "reach": MOST_OVER},
        "notes": _notes(selection, steps, columns, problems),
    }


def _column(selection: Selection, column: Column) -> dict[str, Any]:
    run, history = column.run, selection.histories[column.place]
    seed = run.config.members[column.member][1]
    shown = list(dict.fromkeys(map(int, column.steps)))  # a snapshot is written once
    first = [list(column.steps).index(step) for step in shown]
    found: dict[str, Any] = {
        "title": visible(column.title),
        "colour": column.colour,
        "run": visible(run.name),
        "seed": seed,
        "seeds": len(run.config.seeds),
        "shots": shown,
        "at": [shown.index(int(step)) for step in column.steps],
        "scores": [visible(score_words(history, step, column.member)) for step in shown],
        "spectrum": [[_number(abs(value)) for value in column.spectra[place]] for place in first],
    }
    if column.real is None or column.span is None:
        found["pictures"] = [_pictures(column, place) for place in first]
        return found
    real, fakes = column.real[:MOST_POINTS], column.fakes[first][:, :MOST_POINTS]
    box = span_of(column.span.T, REACH)
    found |= {"dim": real.shape[1], "span": _rounded(column.span), "box": _rounded(box), "principal": column.principal}
    found |= {"real": _packed(real, box), "fake": _packed(fakes, box)}
    return found | _umap(column)


def _still(column: Column) -> dict[str, Any]:
    """Pictures that are the same at every step, without scores or spectrum."""
    found = {"title": visible(column.title), "colour": column.colour, "seeds": 1, "still": True, "scores": [""]}
    found |= {"shots": [int(column.steps[0])], "at": [0] * len(column.steps), "spectrum": []}
    return found | {"pictures": [_pictures(column, 0)]}


def _pictures(column: Column, place: int) -> str:
    count = int(min(MOST_PICTURES, len(column.fakes[0])) ** 0.5) ** 2
    return _picture(column.fakes[place][:count])


def _umap(column: Column) -> dict[str, Any]:
    span = column.frame_span
    if span is None:
        return {}
    frames = [frame.reshape(2, -1, 2)[:, :MOST_POINTS] for frame in column.frames.values()]
    return {"umap": {"shots": list(column.frames), "span": _rounded(span), "points": _packed(np.stack(frames), span)}}


def _densities(selection: Selection, on_progress: Progress) -> dict[tuple[int, int], dict[str, Any]]:
    """Density along the manifold of each shown member at a few steps, by the run's place and its own."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for _, place, member in selection.samples():
        run, until = selection.runs[place], selection.steps[place]
        truth = truth_of(run.config) if run.config.kind == "points" else None
        if truth is None:
            continue
        shots = evenly([step for step in run.snapshot_steps() if step <= until], MOST_DENSITIES)
        counted: dict[int, Any] = {}
        for done, step in enumerate(shots):
            on_progress(done, len(shots), f"density of {run.name}")
            snapshot = run.snapshot(step)
            if snapshot and (density := density_along(truth, torch.from_numpy(snapshot["fake"][member]))):
                counted[step] = density
        if counted:
            first = next(iter(counted.values()))
            found[place, member] = {
                "axes": first.charts[0].axes,
                "charts": [
                    {"title": chart.title, "edges": [_numbers(edges) for edges in chart.edges]}
                    | {name: _numbers(chart.over(getattr(chart, name))) for name in ("low", "high")}
                    for chart in first.charts
                ],
                "shots": list(counted),
                "ratios": [[_numbers(chart.ratio) for chart in each.charts] for each in counted.values()],
                "missed": [_number(each.missed) for each in counted.values()],
                "far": [_number(each.far) for each in counted.values()],
            }
    return found


def _packed(points: np.ndarray, box: np.ndarray) -> str:
    """Coordinates `(..., d)` within a box `(d, 2)` as 16-bit integers in base64; outside they are at its border."""
    low, high = box.T
    with np.errstate(invalid="ignore"):
        levels = np.nan_to_num(np.clip((points - low) / (high - low), 0, 1) * LEVELS, nan=LEVELS + 1)
    return base64.b64encode(levels.round().astype("<u2").tobytes()).decode()


def _picture(pictures: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet(pictures, gap=1)).save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _curves(selection: Selection) -> list[dict[str, Any]]:
    """The gaps, then scores recorded while training: one curve per series, a baseline where it is known."""
    held, known = selection.held, quantities(selection.held)
    first: dict[str, Any] = next((run.quick_scores[-1]["scores"][0] for run in held if run.quick_scores), {})
    main = main_score(first)
    others = [key for key in KEY_SCORES if key in known]
    gaps = (*GAPS, PAIR_DISTANCE)
    keys = [*gaps, *dict.fromkeys([*([main] if main else []), *others])]
    found = []
    for key in keys:
        drawn = [curve for curve in curves(held, key) if len(curve.x) > 1]
        if drawn:
            lines = [
                {"title": visible(curve.series.title), "colour": curve.series.colour, "members": curve.members}
                | {"x": _thin(curve.x), "low": _thin(curve.low), "middle": _thin(curve.middle)}
                | {"high": _thin(curve.high)}
                for curve in drawn
            ]
            look = {"log": on_log_axis(key, drawn), "baseline": baseline_of(selection, key)}
            found.append({"label": visible(known.get(key, key)), "gap": key in gaps} | look | {"lines": lines})
    return found


def _thin(values: np.ndarray) -> list[float | None]:
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), 300)).round().astype(int))
    return [_number(value) for value in values[places]]


def _scores(selection: Selection, steps: Sequence[int]) -> dict[str, Any]:
    """Scores of each series at every step where they change: medians and extremes over the seeds, and the baseline."""
    series, alike = selection.series(), comparable(selection)
    tables: list[dict[str, Any]] = []
    last: list[Any] | None = None
    keys: dict[str, None] = {}
    for step in steps:
        at: list[Scores | None] = [
            history.scores(min(step, until))
            for history, until in zip(selection.histories, selection.steps, strict=True)
        ]
        mark = [(found.step, found.n) if found else None for found in at]
        if mark == last or not any(at):
            continue
        last = mark
        rows = {}
        for key in _score_keys([found for found in at if found]):
            keys[key] = None
            values = [_median_of(at, each.members, key) for each in series]
            floor = describe(key).floor
            floors = [row.get(floor) for found in at if found for row in found.rows] if floor and alike else []
            rows[key] = [_number(1.0 if key.endswith("_ratio") else middle(floors)), values]
        sizes = sorted({found.n for found in at if found and found.n})
        tables.append({"step": int(step), "n": ", ".join(f"{n:,}" for n in sizes), "rows": rows})
    labels = {key: [describe(key).label, describe(key).direction] for key in keys}
    return {"series": [visible(each.title) for each in series], "labels": labels, "tables": tables, "alike": alike}


def _score_keys(found: Sequence[Scores]) -> list[str]:
    names = dict.fromkeys(key for scores in found for row in scores.rows for key in row if f"{key}_floor" in row)
    ratios = [key for scores in found[:1] for key in scores.rows[0] if key == "w2_ratio"]
    return [*ratios, *(key for key in names if not key.endswith("_floor") and "_ratio" not in key)][:12]


def _median_of(at: Sequence[Scores | None], members: Sequence[tuple[int, int]], key: str) -> list[float | None]:
    """Median, least and largest of a score over the members of a series; empty where half of them have none."""
    rows = [scores.rows[member] for place, member in members if (scores := at[place])]
    known = [row[key] for row in rows if row.get(key) is not None]
    if not known or 2 * len(known) <= len(rows):
        return []
    return [_number(value) for value in (np.median(known), min(known), max(known))]


def _settings(selection: Selection) -> dict[str, Any]:
    """Settings of all runs: those that differ, then all that are used, each with a word per run."""
    runs = selection.runs
    flats = [run.config.flat(used=True) for run in runs]
    names = dict.fromkeys(name for flat in flats for name in flat)
    differ = differences(runs) if len(runs) > 1 else {}
    every = {name: [in_a_word(flat[name]) if name in flat else "–" for flat in flats] for name in names}
    clean = [[[visible(name), *map(visible, words)] for name, words in table.items()] for table in (differ, every)]
    return {"runs": [visible(run.name) for run in runs], "differ": clean[0], "all": clean[1]}


def _notes(selection: Selection, steps: Sequence[int], columns: Sequence[Column], problems: Sequence[str]) -> list[str]:
    """What a reader must know: what was thinned, what is missing, what labels have no room for."""
    every = len({s for run, to in zip(selection.runs, selection.steps, strict=True) for s in _up_to(run, to)})
    notes = [f"Shows {len(steps):,} of {every:,} snapshots, evenly chosen."] if len(steps) < every else []
    most = max(len(column.fakes[0]) for column in columns)
    shown, noun = (MOST_PICTURES, "pictures") if columns[0].real is None else (MOST_POINTS, "points")
    if most > shown:
        notes.append(f"Shows the first {shown:,} of {most:,} {noun}.")
    dimensions = {column.principal for column in columns} - {0}
    notes += [f"Data of {dim} dimensions are seen on their first three principal axes." for dim in sorted(dimensions)]
    if not any(column.frames for column in columns):
        reason = problems[0] if problems else "there is none"
        notes.append(f"The UMAP of the embeddings is left out: {visible(reason)}.")
    if columns[0].real is None:
        notes.append("These runs are on pictures: the same noise, or the same crops, at every step.")
    if any(len(run.config.seeds) > 1 for run in selection.runs):
        notes.append("Clouds and spectra are of one seed; curves and scores are medians over all seeds.")
    notes += [visible(footnote)] if (footnote := footnote_of(selection.series())) else []
    return notes


def _up_to(run: Run, step: int) -> list[int]:
    return [each for each in run.snapshot_steps() if each <= step]


def _number(value: float | None) -> float | None:
    """A number with few digits, for JSON; None for one that is not finite."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _numbers(array: np.ndarray) -> list[float | None]:
    return [_number(value) for value in array.ravel()]


def _rounded(array: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.7g}") for value in row] for row in array]
