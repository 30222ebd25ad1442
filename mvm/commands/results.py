"""What a run has learned, from the command line: score, sample, export, mlflow, claims."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvm.commands.flags import Commands, seeded
from mvm.commands.progress import progress_bar
from mvm.commands.terminal import print_line
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints, write_array, write_atomic
from mvm.runs.run import Run

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add"]

MOST = 100_000  # points of each sample: their distances take about an hour for each generator
TABLE = ("w2", "w2_ratio", "distance_mean", "precision", "recall", "coverage", "geodesic_spearman")
OF_DENSITY = ("log_likelihood", "total_variation")  # columns after them, of a method with a density


def add(command: Commands) -> None:
    """The commands of this family."""
    score = command("score", score_command, "score every variant, each score beside its baseline (real against real)")
    score.add_argument("--best", action="store_true", help="use the best generators instead of the last ones")
    score.add_argument(
        "-n", type=int, default=2000,
        help=f"points of each sample (default 2000; at most {MOST:,}, in up to 1.5 GB of memory)",
    )  # fmt: skip
    score.add_argument("--inception", action="store_true", help="pictures: also measure the FID (needs torch-fidelity)")
    score.add_argument(
        "--lenses", nargs="*", metavar="NAME",
        help="points: also look through lenses, on at most 2,000 points: holes, dimension, ... (default: all)",
    )  # fmt: skip
    score.add_argument(
        "--repeat", type=seeded, default=0, help="number of the held-out sample to score against (default 0)"
    )
    score.add_argument("--json", action="store_true", help="print JSON")
    score.add_argument(
        "--on", type=Path, nargs="+", metavar="FOLDER",
        help="super-resolution: on all original pictures below these folders, beside bicubic interpolation",
    )  # fmt: skip
    score.add_argument(
        "--no-perceptual", action="store_true",
        help="with --on: leave out perceptual distances, which take 20 core seconds for each megapixel and network",
    )  # fmt: skip
    score.add_argument(
        "--csv", type=Path, metavar="FILE", help="with --on: write means and the scores of every picture"
    )
    score.add_argument("--latex", type=Path, metavar="FILE", help="with --on: write a table of the means")
    sample = command(
        "sample", sample_command, "generate: FILE.npy for one network, a folder for all; of pictures FILE.png too"
    )
    sample.add_argument("-n", type=int, default=1000, help="number of samples (default 1000)")
    sample.add_argument("--out", required=True, metavar="FILE.npy|FILE.png|DIR", help="file or folder to write")
    sample.add_argument("--variant", help="variant to write into a file (default: the last)")
    sample.add_argument(
        "--member-seed",
        type=int,
        metavar="SEED",
        help="training seed to write into a file (default: the first)",
    )
    sample.add_argument("--seed", type=seeded, default=0, help="seed of the noise (default 0)")
    sample.add_argument("--best", action="store_true", help="use the best generators instead of the last ones")
    export = command("export", export_command, "figures for a paper, with their numbers and recipes", run=False)
    export.add_argument("runs", metavar="RUN", nargs="+", help="names of runs or of sweeps, or folders of runs")
    figures, venues = _offered() if command.arguments[:1] == ["export"] else ("", "")
    export.add_argument(
        "--figure", nargs="+", metavar="NAME",
        help=f"{figures} or all (default of runs); sweep: those of Sweeps (default of sweeps); film or supplement",
    )  # fmt: skip
    export.add_argument("--venue", default="neurips", help=f"{venues} (default neurips)")
    export.add_argument("--wide", action="store_true", help="span both columns, where the venue has two")
    export.add_argument(
        "--format", nargs="+", metavar="KIND", help="pdf (default), svg, png; of a film mp4 (default), webm, gif"
    )
    export.add_argument(
        "--dpi", type=int, default=300, help="resolution of PNG, and of points in PDF and SVG (default 300)"
    )
    export.add_argument("--step", type=int, help="show the runs at this step (default: their last snapshots)")
    export.add_argument("--seed", type=int, help="training seed whose samples are shown (default: the first)")
    export.add_argument("--form", default="distance", help="form of the spectrum: distance or mds (default distance)")
    export.add_argument(
        "--quantity", metavar="KEY", help="quantity of curves, or score of a sweep, such as d_c, w2_ratio or coverage"
    )
    export.add_argument(
        "--over", nargs="+", default=[], metavar="SETTING", help="heatmap: settings of its columns and its rows"
    )
    axes = "of curves: step, share, seconds or examples (default step)"
    export.add_argument("--axis", default="step", help=axes)
    export.add_argument(
        "--text", action="append", default=[], metavar="OLD=NEW", help="replace a title, label or legend entry"
    )
    export.add_argument("--rank", type=int, default=2, help="rank of the eigenvector that modes shows (default 2)")
    export.add_argument("--lens", default="holes", metavar="NAME", help="what the figure lens shows (default holes)")
    export.add_argument(
        "--size",
        default="large",
        help="size of a film: large (1920 x 1080, default), small (960 x 540) or tiny (640 x 360)",
    )
    export.add_argument("--dark", action="store_true", help="make a film on a dark background")
    export.add_argument("--panels", nargs="+", default=["data"], help="panels of a film: data (default), umap, or both")
    kinds = "or FILE.zip, .pdf, .svg, .png; of a film .mp4, .webm, .gif; of a supplement .html"
    export.add_argument("--out", required=True, type=Path, metavar="FOLDER|FILE", help=kinds)
    mlflow = command("mlflow", mlflow_command, "finished runs into MLflow (needs mlflow-skinny)", run=False)
    mlflow.add_argument("runs", metavar="RUN", nargs="+", help="names of runs, or their folders")
    mlflow.add_argument(
        "--uri", help="address of the store, such as http://localhost:5000 or file:FOLDER (default: MLflow's)"
    )
    mlflow.add_argument("--experiment", default="mvm", metavar="NAME", help="the MLflow experiment (default mvm)")
    claims = command("claims", claims_command, "measure the paper's claims, with a verdict on each", run=False)
    claims.add_argument("--quick", action="store_true", help="few steps, to try the command; the verdicts mean nothing")
    claims.add_argument("--processes", type=int, help="trainings to run at once (default: the CPU cores)")
    claims.add_argument("--json", action="store_true", help="print JSON")
    claims.add_argument("--survey", action="store_true", help="the survey's results instead, as on the page Exhibits")
    claims.add_argument("--markdown", action="store_true", help="with --survey: print a table in Markdown")
    claims.add_argument("--seeds", type=int, default=5, help="with --survey: how many (default 5)")
    claims.add_argument("--only", nargs="+", metavar="NAME", help="with --survey: some exhibits only")


def _offered() -> tuple[str, str]:
    """Names of figures, each with its source, and names of venues; their modules take a second to import."""
    from mvm.figures import FIGURES
    from mvm.figures.venues import VENUES

    return ", ".join(f"{name} ({figure.source})" for name, figure in FIGURES.items()), ", ".join(VENUES)


def score_command(options: argparse.Namespace) -> None:
    """Print the scores of a run."""
    from mvm.runs.evaluate import FINAL, score_run

    if options.on:
        _score_on(options)
        return
    if options.csv or options.latex:
        raise ConfigError("--csv, --latex: tables of scores on folders of pictures; give --on FOLDER")
    if not 16 <= options.n <= MOST:
        raise ConfigError(f"-n: give 16 to {MOST:,} points, got {options.n:,}")
    run = Run.named(options.run)
    asked = {"n": options.n, "best": options.best, "repeat": options.repeat, "inception": options.inception}
    with progress_bar("sample", layout="{l_bar}{bar}| {elapsed} passed, {remaining} left") as show:
        rows = score_run(run, **asked, on_progress=show)
    if run.scores_are_outdated() and asked == {"n": FINAL, "best": False, "repeat": 0, "inception": False}:
        run.write_scores(rows)
    if options.lenses is not None:
        rows = _with_lenses(run, rows, options)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    noun = KINDS[run.config.kind].noun
    steps = " to ".join(map(str, sorted({min(row["step"] for row in rows), max(row["step"] for row in rows)})))
    evaluations = f"{run.config.evaluations:,} network evaluation{'s' * (run.config.evaluations > 1)}"
    size = f"n = {rows[0]['n']:,} {noun} in each sample, {evaluations} per sample"
    print_line(f"{run.name}: step {steps}, {size}{_how(rows[0])}")
    _print_scores(rows) if set(TABLE) <= rows[0].keys() else _print_all_scores(rows, _names(run))
    if options.lenses is not None:
        _print_lenses([row["lenses"] for row in rows], _names(run))


def _with_lenses(run: Run, rows: list[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows with what the asked lenses see, under the key `lenses`."""
    from mvm.lenses import LENSES
    from mvm.studies.lenses import measure

    with progress_bar("lens", layout="{l_bar}{bar}| {elapsed} passed, {remaining} left") as show:
        found = measure(
            run, options.lenses or list(LENSES), n=options.n, best=options.best, repeat=options.repeat, on_progress=show
        )
    return [row | {"lenses": lenses} for row, lenses in zip(rows, found, strict=True)]


def _print_lenses(rows: list[dict[str, Any]], names: list[str]) -> None:
    """A table for each lens: one line per number with its truth, one column per generator, baselines in brackets."""
    for lens in rows[0]:
        of = [row[lens] for row in rows]
        widths = [max(16, len(name)) for name in names]
        print_line("")
        print_line(f"{f'{lens}: value (baseline)':32} {'truth':>8} " + _columns(names, widths))
        for key in dict.fromkeys(key for each in of for key in each if f"{key}_floor" in each):
            values = [f"{_number(each.get(key))} ({_number(each.get(f'{key}_floor'))})" for each in of]
            truth = next((each[f"{key}_truth"] for each in of if f"{key}_truth" in each), None)
            print_line(f"{key:32} {_number(truth):>8} " + _columns(values, widths))
        for reason in dict.fromkeys(each["not_measured"] for each in of if "not_measured" in each):
            print_line(f"not measured: {reason}")


def _names(run: Run) -> list[str]:
    """What tables call each member."""
    from mvm.studies.labels import own_title

    titles = {variant: own_title(run.config, variant) for variant in run.config.variants}
    return [f"{titles[variant]}, seed {seed}" for variant, seed in run.config.members]


def _score_on(options: argparse.Namespace) -> None:
    """Print the scores of every generator on folders of original pictures, and write tables of them."""
    from mvm.figures.superres_tables import superres_csv, superres_latex
    from mvm.runs.benchmark import score_on

    run, rows, notes = Run.named(options.run), list[dict[str, Any]](), dict[str, None]()
    settings = {
        name: _upscale(run, variant, seed, options.best)
        for name, (variant, seed) in zip(_names(run), run.config.members, strict=True)
    }
    for folder in options.on:
        with progress_bar("picture", layout="{l_bar}{bar}| {elapsed} passed, {remaining} left") as show:
            found = score_on(settings, folder, perceptual=not options.no_perceptual, on_progress=show)
        rows += found.rows
        notes |= dict.fromkeys(f"skipped {name}: {reason}" for name, reason in found.skipped)
        notes |= dict.fromkeys(f"not measured: {reason}" for reason in found.missing.values())
    for path, write in ((options.csv, superres_csv), (options.latex, superres_latex)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, write(rows).encode())
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    _print_means(rows)
    for line in (*notes, *(f"written: {path}" for path in (options.csv, options.latex) if path is not None)):
        print_line(line)


def _upscale(run: Run, variant: str, seed: int, best: bool) -> Callable[[Tensor], Tensor]:
    """The network of one member, from pictures `(h, w, 3)` uint8 to `(4h, 4w, 3)` uint8."""
    import torch

    from mvm.runs.trained import load

    upscale = load(run.path, variant=variant, seed=seed, best=best).upscale
    return lambda low: torch.from_numpy(upscale(low.numpy()))


def _print_means(rows: list[dict[str, Any]]) -> None:
    """One line per data set and setting, one column per score: means over the pictures."""
    from mvm.figures.superres_tables import LABELS, score_text, superres_means

    means = superres_means(rows)
    keys = [key for key in means if key not in (*LABELS, "pictures")]
    print_line(f"{'data':16} {'pictures':>8} {'setting':28} " + " ".join(f"{key:>13}" for key in keys))
    for row in means.to_dict("records"):
        values = " ".join(f"{score_text(key, row[key]):>13}" for key in keys)
        print_line(f"{row['data']:16} {row['pictures']:>8} {row['setting']:28} {values}")


def _how(row: dict[str, Any]) -> str:
    """What a reader must know of the scores in a row, if anything."""
    from mvm.scoring.points import MATCHED

    standardised = ", in standardised coordinates" if row["coordinates"] == "standardised" else ""
    matched = f"; w2 of {MATCHED:,} drawn from them" if "w2" in row and row["n"] > MATCHED else ""
    return standardised + matched


def _print_scores(rows: list[dict[str, Any]]) -> None:
    """One line per generator, one column per score, the baselines above them: they are the same for all."""
    keys = (*TABLE, *(key for key in OF_DENSITY if any(row.get(key) is not None for row in rows)))
    baselines = {key: rows[0].get(f"{key}_floor") for key in keys}
    print_line(f"{'variant':28} {'seed':>6} " + " ".join(f"{key:>18}" for key in keys))
    print_line(
        f"{'baseline: real against real':28} {'':6} " + " ".join(f"{_number(baselines[key]):>18}" for key in keys)
    )
    for row in rows:
        values = " ".join(f"{_number(row[key]):>18}" for key in keys)
        print_line(f"{row['variant']:28} {row['seed']:>6} {values}")


def _print_all_scores(rows: list[dict[str, Any]], names: list[str]) -> None:
    """One line per score, one column per generator, the baseline beside them; last the quality where that is a gain."""
    from mvm.figures.superres_tables import score_text
    from mvm.scoring.images import describe
    from mvm.scoring.superres import SUPERRES_SCORES
    from mvm.studies.compare import in_words, is_gain, quality

    keys = [key for key in rows[0] if f"{key}_floor" in rows[0]]
    baseline = describe(keys[0]).baseline if keys else "baseline"
    widths = [max(22, len(name)) for name in names]
    print_line(f"{'score':26} {baseline:>12} " + _columns(names, widths))
    for key in keys:
        text: Callable[[float | None], str] = partial(score_text, key) if key in SUPERRES_SCORES else _number
        print_line(
            f"{key:26} {text(rows[0][f'{key}_floor']):>12} " + _columns([text(row[key]) for row in rows], widths)
        )
    if is_gain(key := quality(rows[0])[0]):
        gains = [_number(None) if (gain := quality(row)[1]) is None else in_words(gain, key) for row in rows]
        print_line(f"{key:26} {'':12} " + _columns(gains, widths))


def _columns(cells: list[str], widths: list[int]) -> str:
    """Cells of a line, right-aligned."""
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"


def sample_command(options: argparse.Namespace) -> None:
    """Write generated points, in the data's own units, or pictures."""
    from mvm.look.sheets import write_sheet
    from mvm.runs.evaluate import check_samples, sample_run

    run, out = Run.named(options.run), Path(options.out)
    check_samples(run)
    if options.n < 1:
        raise ConfigError(f"-n: at least one, got {options.n}")
    members, kind = run.config.members, KINDS[run.config.kind]
    variant = options.variant or members[-1][0]
    if variant not in run.config.variants:
        raise ConfigError(f"variant: {run.name} has no {variant!r}; it has {', '.join(run.config.variants)}")
    seeds = run.config.seeds
    chosen = seeds[0] if options.member_seed is None else options.member_seed
    if chosen not in seeds:
        raise ConfigError(f"member-seed: {run.name} has no seed {chosen}; it has {', '.join(map(str, seeds))}")
    if out.suffix and out.suffix not in kind.sample_formats:
        raise ConfigError(f"out: {out} must end in {' or '.join(kind.sample_formats)}, or be a folder")
    writers = {".npy": write_array, ".png": write_sheet}
    made = sample_run(run, options.n, seed=options.seed, best=options.best).numpy()
    if out.suffix:
        out.parent.mkdir(parents=True, exist_ok=True)
        array = made[members.index((variant, chosen))]
        writers[out.suffix](out, array)
        print_line(f"{out}: {options.n} {kind.noun} of {variant}, seed {chosen}")
        return
    out.mkdir(parents=True, exist_ok=True)
    for (name, seed), array in zip(members, made, strict=True):
        for ending in kind.sample_formats:
            writers[ending](out / f"{name}-seed{seed}{ending}", array)
    print_line(f"{out}: {options.n} {kind.noun} of each of {len(members)} generators")


def export_command(options: argparse.Namespace) -> None:
    """Write figures with their numbers and recipes, and list what could not be made."""
    from mvm.figures.export import export

    runs, of_sweeps = _runs_of(options.runs)
    figures = options.figure or ["sweep" if of_sweeps else "all"]
    with progress_bar(layout="{desc:10}{bar}| {n_fmt}/{total_fmt}, {elapsed} passed") as show:
        made = export(
            figures, runs, out=options.out, venue=options.venue, wide=options.wide, formats=options.format,
            dpi=options.dpi, step=options.step, seed=options.seed, form=options.form,
            quantity=options.quantity, axis=options.axis, rank=options.rank, lens=options.lens,
            over=[name.replace("-", "_") for name in options.over],
            texts=_texts(options.text), on_progress=show, size=options.size,
            ground="dark" if options.dark else "light", panels=options.panels,
        )  # fmt: skip
    print_line(f"{options.out}: {', '.join(made.files)}")
    for run in runs:
        if options.step is not None and options.step > (last := run.snapshot_steps()[-1]):
            print_line(f"{run.name} is shown at step {last:,}: it has nothing of step {options.step:,}")
    for name, reason in made.skipped.items():
        print_line(f"skipped {name}: {reason.removeprefix(f'{name}: ')}")
    if made.skipped and "all" not in figures:
        raise ConfigError(f"figure: these runs do not give {', '.join(made.skipped)}; the others are made")


def _runs_of(names: list[str]) -> tuple[list[Run], bool]:
    """Runs of these names; a sweep of a name without a run stands for its scored runs. And whether all are sweeps."""
    from mvm.sweeps.results import scored_runs
    from mvm.sweeps.sweep import all_sweeps, sweep_named

    runs, sweeps = list[Run](), 0
    for name in names:
        if not (checkpoints() / name).exists() and name in all_sweeps():
            found = scored_runs(sweep_named(name))
            if not found:
                raise RunError(f"sweep: no run of {name} has finished yet; `mvm sweep {name} --status` shows them")
            runs, sweeps = runs + found, sweeps + 1
        else:
            runs.append(Run.named(name))
    return runs, sweeps == len(names)


def _texts(pairs: list[str]) -> dict[str, str]:
    """Texts to replace, from OLD=NEW."""
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ConfigError(f"--text: give OLD=NEW, such as 'both=ours', got {pair!r}")
    return {old: new for old, _, new in (pair.partition("=") for pair in pairs)}


def mlflow_command(options: argparse.Namespace) -> None:
    """Write runs into MLflow, and say which were there already."""
    from mvm.runs.mlflow import export

    runs = [Run.named(name) for name in options.runs]
    with progress_bar("network") as show:
        exported = export(runs, uri=options.uri, experiment=options.experiment, on_progress=show)
    for name, made in exported.made.items():
        known = exported.known[name]
        there = f", {known} there already" if known and made else " there already" if known else ""
        print_line(f"{name}: {made or known} of {made + known} networks{there}, in experiment {options.experiment}")


def claims_command(options: argparse.Namespace) -> None:
    """Train what the claims still lack, and print every verdict with its numbers."""
    if options.survey:
        _survey(options)
        return
    if options.markdown or options.only:
        raise ConfigError("--markdown, --only: for the survey's results; add --survey")
    from mvm.studies.claims import CLAIMS, RULE, Plan, findings, to_json, train

    processes = options.processes if options.processes is not None else os.cpu_count() or 1
    if processes < 1:
        raise ConfigError(f"--processes: at least 1, got {processes}")
    plan = Plan.quick() if options.quick else Plan()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its trainings end with it
    with progress_bar(layout="{l_bar}{bar}| {elapsed} passed, {remaining} left") as show:
        train(plan, processes=processes, on_progress=lambda share: show(100 * share, 100))
    found = findings(plan)
    if options.json:
        print(to_json(found, plan, f"{processes} CPU processes, one thread each"))
        return
    print(RULE)
    if options.quick:
        print("A quick run shows that it works: of too few seeds and steps, its verdicts mean nothing.")
    for finding in found:
        claim = CLAIMS[finding.claim]
        verdicts = ", ".join(f"{recipe} recipe: {verdict}" for recipe, verdict in finding.verdicts.items())
        print(f"\n{claim.title} ({claim.source})\n  {verdicts}\n  measured: {claim.measure}")
        for row in finding.rows:
            words = [
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            ]
            print("    " + "; ".join(words))


def _survey(options: argparse.Namespace) -> None:
    """Measure the exhibits that are not measured yet, and print every verdict with its numbers."""
    from mvm.studies.exhibits import EXHIBITS
    from mvm.studies.exhibits.results import QUICK, in_numbers, measure, table_of, to_json, to_markdown

    share = QUICK if options.quick else 1.0
    with progress_bar(layout="{l_bar}{bar}| {elapsed} passed") as show:
        results = measure(
            options.only or EXHIBITS, seeds=options.seeds, share=share, on_progress=lambda done: show(100 * done, 100)
        )
    if options.json:
        print(to_json(results, "one CPU thread"))
        return
    if options.markdown:
        print(to_markdown(results))
        return
    if options.quick:
        print("A quick run shows that it works: of so few steps, its verdicts mean nothing.")
    for result in results:
        exhibit = EXHIBITS[result.exhibit]
        print(f"\n{exhibit.title} ({exhibit.source})\n  {result.verdict}: {exhibit.criterion}")
        print(f"  medians: {in_numbers(result)}" if exhibit.shown else table_of(result))
