"""Export of figures for a paper, each with its numbers and a recipe that rebuilds it byte for byte.

    spectrum.pdf           the figure: PDF, SVG or PNG
    spectrum.csv           its numbers
    spectrum.tex           its table for booktabs, if it has one
    spectrum.recipe.json   arguments, configs, versions, and SHA-256 of inputs and outputs
    rebuild.py             makes every figure of its folder again from its recipe, and compares the bytes

The first three depend on no date, path or random number. A run may be trained further: a figure shows a run at a step.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mvm.data.kinds import KINDS
from mvm.errors import ConfigError, RunError, check_known
from mvm.figures import FIGURES, Definition, NoFigure, Selection, drawn, latex_of
from mvm.figures.moving import MOVING, MOVING_FORMATS, Moving
from mvm.figures.over_training import Progress, frame_steps
from mvm.figures.texts import check as check_texts
from mvm.figures.venues import FONTS, Venue, styled, venue_of
from mvm.files import write_atomic
from mvm.runs import layout
from mvm.runs.layout import frame_path
from mvm.runs.run import Run
from mvm.studies.learned_metric import checkpoint_at
from mvm.words import cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DPI", "FORMATS", "Bundle", "bundle", "csv_of", "encoded", "export", "fingerprint", "rebuild"]

FORMATS = ("pdf", "svg", "png")
DIGITS = 9  # of numbers in CSV: all of float32's
DPI = (36, 2400)  # limits
RECIPE = ".recipe.json"
OF_SWEEPS = "sweep"  # stands for these figures, as "all" does for every one
SCRIPT = '''"""Make the figures of this folder again, into rebuilt/, and compare: python rebuild.py [RUN_FOLDER ...]

The Python is that of MvM Lab. Runs are looked for where they were, unless they are named.
"""

import sys
from pathlib import Path

from mvm import rebuild

sys.exit(rebuild(Path(__file__).parent, sys.argv[1:]))
'''
STEADY = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}, "png": {"Software": None}}


@dataclass
class Bundle:
    """Files of exported figures.

    Attributes:
        files: {file name: content}.
        skipped: {figure: reason why it could not be made}.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def zipped(self) -> bytes:
        """All files as a ZIP; equal files give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in sorted(self.files.items()):
                member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                member.external_attr = 0o644 << 16
                archive.writestr(member, content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def encoded(figure: Figure, kind: str, *, venue: str, dpi: int = 300, title: str = "") -> bytes:
    """Encode a figure as a file.

    Args:
        figure: result of `mvm.figures.render`.
        kind: a name in `FORMATS`.
        venue: the venue that it was rendered for.
        dpi: resolution of a PNG, and of rasterised points in a PDF or SVG.
        title: title in the file's metadata, for screen readers.

    Raises:
        ConfigError: an unknown format, or a resolution out of bounds.
    """
    _check(venue, [kind], dpi)
    return _encoded(figure, kind, venue=venue_of(venue), dpi=dpi, title=title)


def _check(venue: str, formats: Sequence[str], dpi: int) -> None:
    venue_of(venue)
    for kind in formats:
        check_known("format", kind, FORMATS)
    if not DPI[0] <= dpi <= DPI[1]:
        raise ConfigError(f"dpi: from {DPI[0]} to {DPI[1]}, got {dpi}")


def _encoded(figure: Figure, kind: str, *, venue: Venue, dpi: int, title: str) -> bytes:
    buffer = io.BytesIO()
    with styled(venue):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Title": title} | STEADY[kind])
    if kind == "svg":  # fallbacks for machines without the first font
        names = ", ".join(f"'{name}'" if " " in name else name for name in FONTS)
        return buffer.getvalue().replace(f"'{FONTS[0]}'".encode(), names.encode())
    return buffer.getvalue()


# -- making ------------------------------------------------------------------------------------------------------------


def export(names: Sequence[str], runs: Sequence[Run], *, out: Path, **options: Any) -> Bundle:
    """Write figures with their numbers and recipes.

    Args:
        names: names of figures, or "all".
        runs: one or more.
        out: a folder, FILE.zip, or FILE.pdf, .svg or .png for a single figure.
        options: further arguments of `bundle`; the suffix of a file sets its format.

    Raises:
        ConfigError, RunError: as for `bundle`, and if `out` does not fit.
        OSError: a file cannot be written.
    """
    kind = out.suffix.lower().removeprefix(".")
    if kind in (*FORMATS, *MOVING_FORMATS):
        if len(names) > 1 or names[0] == "all":
            raise ConfigError(f"out: {out} takes one figure; give a folder or FILE.zip for {', '.join(names)}")
        if options.get("formats") not in (None, [kind], (kind,)):
            raise ConfigError(f"out: {out} is no {' or '.join(options['formats'])}; leave --format out")
        made = bundle(names, runs, **options | {"formats": (kind,), "stem": out.name.removesuffix(out.suffix)})
        out = out.parent
    elif kind and kind != "zip" and not out.is_dir():
        known = ", ".join(f".{kind}" for kind in (*FORMATS, *MOVING_FORMATS))
        raise ConfigError(f"out: {out} must end in .zip, {known}, or be a folder")
    else:
        made = bundle(names, runs, **options)
    if kind == "zip":
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, made.zipped())
    else:
        _write(made, out)
    return made


def _write(made: Bundle, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out: {folder} is a file; give a folder or FILE.zip")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        write_atomic(folder / name, content)


def bundle(
    names: Sequence[str],
    runs: Sequence[Run],
    *,
    venue: str = "neurips",
    wide: bool = False,
    formats: Sequence[str] | None = None,
    dpi: int = 300,
    stem: str | None = None,
    size: str = "large",
    ground: str = "light",
    panels: Sequence[str] = ("data",),
    texts: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, of, what: None,
    **options: Any,
) -> Bundle:
    """Make figures with their numbers and recipes.

    Args:
        names: names of figures, "all", or "sweep" for those of a sweep; or one of `MOVING`. Of several figures, those
            that these runs cannot give are skipped and listed.
        runs, options: as for `mvm.figures.data`.
        venue, wide: as for `mvm.figures.render`.
        formats: names in `FORMATS`; PDF when None.
        dpi: as for `encoded`.
        stem: file name of a single figure, without suffix; the figure's name when None.
        size, ground, panels: of a film, as for `mvm.figures.film.film`.
        texts: titles, labels and entries of legends to replace in drawings and LaTeX tables, {old: new}.
        on_progress: called before each figure and at the end with the number done, the total, and the next name.

    Raises:
        ConfigError: an unknown name, a resolution out of bounds, or a text that no figure has.
        RunError: a run that cannot be used, or `NoFigure` if no figure can be made.
    """
    for name in names:
        check_known("figure", name, [*FIGURES, *MOVING, "all", OF_SWEEPS])
    if any(name in MOVING for name in names):
        shape = {"size": size, "ground": ground, "panels": list(panels)}
        return _moving(names, Selection.of(runs, **options), formats, stem, shape, on_progress)
    formats = tuple(dict.fromkeys(formats or ("pdf",)))
    _check(venue, formats, dpi)
    check_texts(texts := dict(texts or {}))
    names = list(FIGURES) if "all" in names else _named(names)
    selection = Selection.of(runs, **options)
    made, known = Bundle(), dict[str, None]()
    look = {"venue": venue, "wide": wide, "formats": list(formats), "dpi": dpi, "texts": texts}
    for done, name in enumerate(names):
        on_progress(done, len(names), name)
        try:
            used = {key: getattr(selection, key) for key in ("seed", "form", *FIGURES[name].options)}
            made.files |= _files(name, selection, look | used, stem or name, known)
        except NoFigure as reason:
            if len(names) == 1:
                raise
            made.skipped[name] = str(reason)
    on_progress(len(names), len(names), "")
    if not made.files:
        raise NoFigure("figure: these runs give none: " + "; ".join(made.skipped.values()))
    if missing := [old for old in texts if old not in known]:
        raise ConfigError(f"text: there is no {missing[0]!r} to replace; the texts are: {', '.join(map(repr, known))}")
    made.files["rebuild.py"] = SCRIPT.encode()
    return made


def _named(names: Sequence[str]) -> list[str]:
    """Each figure once; those of sweeps in place of `OF_SWEEPS`."""
    of_sweeps = [name for name, figure in FIGURES.items() if figure.source == "Sweeps"]
    return list(dict.fromkeys(each for name in names for each in (of_sweeps if name == OF_SWEEPS else [name])))


def _moving(
    names: Sequence[str],
    selection: Selection,
    formats: Sequence[str] | None,
    stem: str | None,
    look: dict[str, Any],
    on_progress: Progress,
) -> Bundle:
    """A film or a supplement, with its recipe.

    Raises:
        ConfigError: several names, or a format that it has not.
    """
    if len(names) > 1:
        raise ConfigError(f"figure: {', '.join(names)}: give {' or '.join(MOVING)} alone, it is a file of its own")
    name = names[0]
    moving, stem = MOVING[name], stem or name
    formats = tuple(dict.fromkeys(formats or moving.formats[:1]))
    for kind in formats:
        check_known("format", kind, moving.formats)
    look = {key: look[key] for key in moving.look}
    files = {f"{stem}.{kind}": moving.make(selection, kind, on_progress=on_progress, **look) for kind in formats}
    look |= {"formats": list(formats), **{key: getattr(selection, key) for key in moving.options}}
    recipe = _recipe(name, moving, selection, look, stem, files)
    return Bundle(files | {f"{stem}{RECIPE}": recipe, "rebuild.py": SCRIPT.encode()})


def _files(
    name: str, selection: Selection, look: dict[str, Any], stem: str, known: dict[str, None]
) -> dict[str, bytes]:
    """Files of one figure, the recipe last; its texts are added to the known ones."""
    definition, venue = FIGURES[name], venue_of(look["venue"])
    table = definition.data(selection)
    files = {}
    for kind in look["formats"]:
        # drawn anew for each format: a file must not depend on which others are requested
        figure = drawn(definition, table, selection, venue=venue, wide=look["wide"], texts=look["texts"], known=known)
        files[f"{stem}.{kind}"] = _encoded(figure, kind, venue=venue, dpi=look["dpi"], title=definition.title)
    files[f"{stem}.csv"] = csv_of(table)
    if (text := latex_of(definition, table, selection, texts=look["texts"])) is not None:
        files[f"{stem}.tex"] = text.encode()
    return files | {f"{stem}{RECIPE}": _recipe(name, definition, selection, look, stem, files)}


def _recipe(
    name: str,
    definition: Definition | Moving,
    selection: Selection,
    look: dict[str, Any],
    stem: str,
    files: dict[str, bytes],
) -> bytes:
    """Everything that rebuilds some files."""
    of_runs = [
        {
            "name": run.name,
            "path": str(run.path.resolve()),
            "step": step,
            "fingerprint": fingerprint(run, step, definition.uses),
            "config": json.loads(run.config.model_dump_json()),
        }
        for run, step in zip(selection.runs, selection.steps, strict=True)
    ]
    recipe = {"figure": name, "title": definition.title, "source": definition.source, "stem": stem} | look
    recipe |= {"runs": of_runs, "versions": _versions(), "files": {file: _digest(text) for file, text in files.items()}}
    return json.dumps(recipe, indent=1).encode() + b"\n"


def csv_of(table: pd.DataFrame) -> bytes:
    """Numbers of a figure as CSV, with nine digits, or all of a column far from zero; an empty cell is no number.

    Names are from outside: one that a spreadsheet would compute has an apostrophe before it.
    """
    table = table.map(lambda value: cell(value) if isinstance(value, str) else value)
    for name in table.select_dtypes("float64"):
        if _is_far_from_zero(table[name]):
            table[name] = [repr(float(value)) if np.isfinite(value) else "" for value in table[name]]
    text: str = table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
    return text.encode()


def _is_far_from_zero(column: pd.Series) -> bool:
    """Whether nine digits would keep fewer than six of a column's deviations from its mean, or change a constant."""
    values = column[np.isfinite(column)]
    spread = float(values.std()) if len(values) > 1 else 0.0
    return bool((values.abs() > (1000 * spread or 10.0**DIGITS)).any())


def _versions() -> dict[str, str]:
    """Versions that the bytes of a figure depend on."""
    import matplotlib
    import numpy

    packages = {"matplotlib": matplotlib.__version__, "numpy": numpy.__version__, "pandas": pd.__version__}
    return {"python": platform.python_version()} | packages


# -- fingerprints and rebuilding ---------------------------------------------------------------------------------------


def fingerprint(run: Run, step: int, uses: Sequence[str]) -> dict[str, str]:
    """SHA-256 by name of everything that a figure reads from a run: its config, and for each of `uses`

    records, scores: lines of scalars.jsonl up to the step (training further adds lines), and scores.json.
    snapshots, snapshot: all snapshots up to the step, or the one at the step.
    origin, reals: origin of a fork, and the real images of the views.
    frame: the UMAP frame at the step.
    frames: the UMAP frames of `mvm.figures.over_training.frame_steps`.
    metric: the checkpoint that `mvm.studies.learned_metric` reads, and own points for their units.
    checkpoint: the last kept checkpoint up to the step.
    training: the pixels of an image cache; toy faces are defined by the config.
    """
    found = {layout.CONFIG: _digest((run.path / layout.CONFIG).read_bytes())}
    if "records" in uses:
        past = run.records.poll().up_to(step)
        events = [event.record() for event in past.events if event.clock is None]
        lines = (json.dumps(record) for record in (*past.scalars, *past.scores, *events))
        found[layout.RECORDS] = _digest("\n".join(lines).encode())
    paths: list[Path] = []
    if "scores" in uses and step >= run.config.steps:
        paths.append(run.path / layout.SCORES)
    if "snapshots" in uses:
        paths += [run.snapshot_path(each) for each in run.snapshot_steps() if each <= step]
    if "origin" in uses:
        paths.append(run.path / layout.ORIGIN)
    if "reals" in uses:
        paths.append(run.path / layout.REALS)
    if "snapshot" in uses:
        paths.append(run.snapshot_path(step))
    if "frame" in uses:
        paths.append(frame_path(run.path, step))
    if "frames" in uses:
        paths += [frame_path(run.path, each) for each in frame_steps(run, step)]
    if "metric" in uses:
        with contextlib.suppress(RunError):  # there is none yet
            paths += [checkpoint_at(run, step), run.path / layout.POINTS]
    if "checkpoint" in uses and (kept := run.kept_step(step)) is not None:
        paths.append(run.kept_path(kept))
    if "training" in uses:
        with contextlib.suppress(ConfigError):  # the cache is gone
            digest = KINDS[run.config.kind].digest(run.config)
            found |= {"training pictures": digest} if digest else {}
    return found | {str(path.relative_to(run.path)): _file_digest(path) for path in paths if path.is_file()}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rebuild(folder: Path, runs: Sequence[str] = (), *, say: Callable[[str], None] = print) -> int:
    """Make every figure of a folder again from its recipe, into the subfolder `rebuilt/`, and compare the bytes.

    Args:
        folder: contains recipes.
        runs: folders of runs that have moved.
        say: receives one line for each file or error.

    Returns:
        Exit status: 0 if all bytes agree, 1 if a file differs, 2 if a figure cannot be made.
    """
    recipes = sorted(folder.glob(f"*{RECIPE}"))
    if not recipes:
        say(f"rebuild: {folder} has no recipe (*{RECIPE})")
        return 2
    return max(_rebuilt(path, runs, say) for path in recipes)


def _rebuilt(path: Path, moved: Sequence[str], say: Callable[[str], None]) -> int:
    stem = path.name.removesuffix(RECIPE)
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        check_known("figure", recipe["figure"], [*FIGURES, *MOVING])
        definition = MOVING.get(recipe["figure"]) or FIGURES[recipe["figure"]]
        runs = [_found(entry, moved) for entry in recipe["runs"]]
        changes = [
            change
            for run, entry in zip(runs, recipe["runs"], strict=True)
            for change in _changes(run, entry, definition.uses)
        ]
        if changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            say(f"{stem}: the run has changed since: {', '.join(changes[:3])}{more}; nothing is rebuilt of it")
            return 2
        keys = ["venue", "wide", "formats", "dpi", "seed", "form", "quantity", "axis", "rank", "lens", "over"]
        keys += ["stem", "texts"]
        keys += ["size", "ground", "panels"]
        steps = [entry["step"] for entry in recipe["runs"]]
        made = bundle([recipe["figure"]], runs, step=steps, **{key: recipe[key] for key in keys if key in recipe})
    except (ConfigError, RunError) as error:
        say(f"{stem}: {error}")
        return 2
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"{stem}: {path.name} cannot be used: {type(error).__name__} {error}")
        return 2
    wanted = recipe["files"]
    _write(Bundle({name: made.files[name] for name in wanted}), path.parent / "rebuilt")
    return max(_compared(name, made.files[name], wanted[name], recipe["versions"], say) for name in wanted)


def _found(entry: dict[str, Any], moved: Sequence[str]) -> Run:
    named = [Run(Path(given).resolve()) for given in moved]
    digest = entry["fingerprint"][layout.CONFIG]  # a run may have been renamed since
    same = [run for run in named if _digest((run.path / layout.CONFIG).read_bytes()) == digest]
    if known := [run for run in named if run.name == entry["name"]] or same:
        known[0].name = entry["name"]  # the numbers have it
        return known[0]
    try:
        return Run(Path(entry["path"]))
    except RunError as error:
        if (Path(entry["path"]) / layout.CONFIG).exists():
            raise
        raise RunError(f"{error}; or name its folder: python rebuild.py {entry['name']}") from None


def _changes(run: Run, entry: dict[str, Any], uses: Sequence[str]) -> Iterator[str]:
    now, then = fingerprint(run, entry["step"], uses), entry["fingerprint"]
    for name in sorted({*now, *then}):
        if now.get(name) != then.get(name):
            yield f"{run.name}/{name}" + (
                "" if name in now and name in then else " is gone" if name in then else " is new"
            )


def _compared(name: str, content: bytes, digest: str, versions: dict[str, str], say: Callable[[str], None]) -> int:
    if _digest(content) == digest:
        say(f"rebuilt/{name}: the same bytes")
        return 0
    now = _versions()
    others = [f"{key} {now[key]} instead of {value}" for key, value in versions.items() if now.get(key) != value]
    say(f"rebuilt/{name}: other bytes{': ' + ', '.join(others) if others else ''}")
    return 1
