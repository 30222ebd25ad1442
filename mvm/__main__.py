"""The command line: `python -m mvm COMMAND`. Exit status 0, 2 (bad use: one line) or 1 (failed: the reason)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import types
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mvm import parallel
from mvm.background import TRAINING, give_way
from mvm.config import RECIPES, Config, ConfigError
from mvm.files import append_line, locked, write_array
from mvm.runs import Diverged, Run, RunError, Stopped, all_runs

TABLE = ("w2_ratio", "distance_mean", "precision", "recall", "coverage", "geodesic_spearman")


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments).parse_args(arguments)
    try:
        options.command(options)
    except (ConfigError, RunError) as error:
        return _fail(str(error), 2)
    except Diverged as reason:
        return _fail(str(reason), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; all that was saved is kept", 130)
    except OSError as error:
        return _fail(f"{error.filename or 'files'}: {error.strerror or error}; all that was saved is kept", 1)
    except RuntimeError as error:
        return _fail(_runtime_reason(error), 1)
    return 0


def _parser(arguments: list[str]) -> Parser:
    parser = Parser(prog="mvm", description="Manifold matching via deep metric learning: train, watch, score.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: typing.Callable, text: str, *, run: bool = True) -> Parser:
        added = commands.add_parser(name, help=text, description=text, formatter_class=_Help)
        added.set_defaults(command=function)
        if run:
            added.add_argument("run", metavar="RUN", help="name of a run, or its folder")
        return added

    train = command("train", train_command, "train variants side by side; a run folder keeps everything", run=False)
    train.add_argument("--name", help="name of the run; one is made when left out")
    train.add_argument("--run", metavar="DIR", help="a run folder: continue it, or make it here")
    train.add_argument("--queue", action="store_true", help="wait for a free device slot, as the app's trainings do")
    add_fields(train, Config, defaults=_defaults(arguments))
    score = command("score", score_command, "score every variant, each score beside its real-vs-real floor")
    score.add_argument("--best", action="store_true", help="the best generators instead of the last ones")
    score.add_argument("-n", type=int, default=2000, help="points of each sample (default 2000)")
    score.add_argument("--inception", action="store_true", help="pictures: the FID, too (needs torch-fidelity)")
    score.add_argument("--repeat", type=int, default=0, help="another held-out sample for another number")
    runs = command("runs", runs_command, "list the runs", run=False)
    for listing in (score, runs):
        listing.add_argument("--json", action="store_true", help="print JSON")
    command("pause", pause_command, "pause a running training")
    command("resume", resume_command, "continue a paused training, or train on where a stopped or killed one was saved")
    command("stop", stop_command, "save a running training and end it")
    sample = command(
        "sample", sample_command, "generate: FILE.npy for one variant, a folder for all; of pictures FILE.png too"
    )
    sample.add_argument("-n", type=int, default=1000, help="how many (default 1000)")
    sample.add_argument("--out", required=True, metavar="FILE.npy|FILE.png|DIR", help="where to")
    sample.add_argument("--variant", help="which variant goes into a file (default: the last)")
    sample.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    sample.add_argument("--best", action="store_true", help="the best generators instead of the last ones")
    prepare = command("prepare", prepare_command, "make a cache of pictures to train on", run=False)
    prepare.add_argument("kind", choices=["celeba", "lsun", "images"], help="what SOURCE holds")
    prepare.add_argument("source", metavar="SOURCE", type=Path, help="a ZIP, a folder of pictures or Parquet, an LMDB")
    prepare.add_argument("--size", type=int, default=64, help="pixels each way (default 64)")
    prepare.add_argument("--crop", type=int, help="centred pixels taken of each (default: the largest square)")
    prepare.add_argument("--name", help="of the cache (default: made from kind and size)")
    prepare.add_argument("--partition", type=Path, help="celeba: list_eval_partition.txt, if it is not found by itself")
    prepare.add_argument("--processes", type=int, help="that decode (default: the CPU cores)")
    export = command("export", export_command, "figures for a paper, with their numbers and recipes", run=False)
    export.add_argument("runs", metavar="RUN", nargs="+", help="names of runs, or their folders")
    figures = "spectrum (Fig. 5), samples (Fig. 6), distances (Fig. 7), batch (Table 2) or all (default)"
    export.add_argument("--figure", nargs="+", default=["all"], metavar="NAME", help=figures)
    export.add_argument("--venue", default="neurips", help="neurips, icml, iclr, cvpr, eccv or tmlr (default neurips)")
    export.add_argument("--wide", action="store_true", help="across both columns, where the venue has two")
    export.add_argument("--format", nargs="+", metavar="pdf|svg|png", help="one or more (default pdf)")
    export.add_argument("--dpi", type=int, default=300, help="of PNG, and of points in PDF and SVG (default 300)")
    export.add_argument("--step", type=int, help="what the runs held at this step (default: their last snapshots)")
    export.add_argument("--seed", type=int, help="whose samples are shown (default: the first)")
    export.add_argument("--form", default="distance", help="of the spectrum: distance or mds (default distance)")
    export.add_argument("--out", required=True, type=Path, metavar="FOLDER|FILE", help="or FILE.zip, .pdf, .svg, .png")
    claims = command("claims", claims_command, "measure the paper's claims, with a verdict on each", run=False)
    claims.add_argument("--quick", action="store_true", help="a short form, to see it work; its verdicts mean nothing")
    claims.add_argument("--processes", type=int, help="trainings at once (default: the CPU cores)")
    claims.add_argument("--json", action="store_true", help="print JSON")
    return parser


# -- commands ----------------------------------------------------------------------------------------------------------


def train_command(options: argparse.Namespace) -> None:
    """Make a run, or open the one in --run, and train it here."""
    with parallel.together() as first:
        train_here(_same_run(_wanted_run(options) if first else None), queue=options.queue)


def _wanted_run(options: argparse.Namespace) -> Run:
    """A new run, or the one in --run."""
    given = given_fields(options, Config)
    path = Path(options.run) if options.run else None
    if path and (path / "config.json").exists():
        if given:
            raise ConfigError(
                f"--run {path} has its config already; leave out {', '.join('--' + name for name in given)}"
            )
        return Run(path)
    return Run.create(Config.make(**nested(given)), name=options.name, path=path)


def resume_command(options: argparse.Namespace) -> None:
    """Wake a paused trainer, or become the trainer of a run that has none."""
    with parallel.together() as first:
        run = _same_run(_resumable(options.run) if first else None)
        if run is not None:
            train_here(run)


def _resumable(name: str) -> Run | None:
    """The run of this name, if it is for us to train; one that another process trains is woken."""
    run = Run.named(name)
    if run.alive():
        run.ask(pause_at=None)
        print(f"{run.name}: continues")
        return None
    if run.status().state == "finished":
        raise RunError(f"run: {run.name} is finished at step {run.config.steps}; there is nothing to resume")
    run.ask(pause_at=None)  # a new run may have been asked to wait
    return run


def pause_command(options: argparse.Namespace) -> None:
    """Ask the trainer to pause, and wait until it has."""
    run = _living(options.run)
    run.ask(pause_at=0)
    if run.status().state == "queued":
        print(f"{run.name}: waits in the queue, and will pause before its first step")
    else:
        _await(run, "paused")


def stop_command(options: argparse.Namespace) -> None:
    """Ask the trainer to save and leave, and wait until it has."""
    run = _living(options.run)
    run.ask(stop=True)
    _await(run, "stopped", "finished", "diverged", "interrupted")


def score_command(options: argparse.Namespace) -> None:
    """Print the scores of a run."""
    from mvm.evaluation import score_run

    if options.n < 16:
        raise ConfigError(f"-n: at least 16 points are needed for scores, got {options.n}")
    run = Run.named(options.run)
    rows = score_run(run, n=options.n, best=options.best, repeat=options.repeat, inception=options.inception)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    if run.config.is_images:
        _print_image_scores(rows)
        return
    print(f"{'variant':28} {'seed':>6} " + " ".join(f"{key:>18}" for key in TABLE))
    for row in rows:
        values = " ".join(f"{_number(row[key]):>18}" for key in TABLE)
        print(f"{row['variant']:28} {row['seed']:>6} {values}")


def _print_image_scores(rows: list[dict[str, Any]]) -> None:
    """One line per score, one column per generator, the floor beside them."""
    names = [f"{row['variant']}, seed {row['seed']}" for row in rows]
    print(f"{'score':26} {'floor':>12} " + " ".join(f"{name:>22}" for name in names))
    for key in (key for key in rows[0] if f"{key}_floor" in rows[0]):
        values = " ".join(f"{_number(row[key]):>22}" for row in rows)
        print(f"{key:26} {_number(rows[0][f'{key}_floor']):>12} {values}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"


def runs_command(options: argparse.Namespace) -> None:
    """List every run with what it is doing."""
    rows = []
    for run in all_runs():
        status = run.status()
        row = {"name": run.name, "status": status.state, "step": status.step, "steps": status.steps}
        row |= {"data": run.config.data, "method": run.config.method, "variants": list(run.config.variants)}
        rows.append(row | {"seeds": list(run.config.seeds), "seconds": status.seconds, "reason": status.reason})
    if options.json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print("no runs yet; `python -m mvm train --data circle` makes one")
    else:
        print(f"{'name':32} {'status':12} {'step':>15}  {'data':20} variants")
        for row in rows:
            progress = f"{row['step']}/{row['steps']}"
            print(f"{row['name']:32} {row['status']:12} {progress:>15}  {row['data']:20} {' '.join(row['variants'])}")


def sample_command(options: argparse.Namespace) -> None:
    """Write generated points, in the data's own units, or pictures."""
    from mvm.evaluation import sample_run
    from mvm.sheets import write_sheet

    run, out = Run.named(options.run), Path(options.out)
    if options.n < 1:
        raise ConfigError(f"-n: at least one, got {options.n}")
    members, what = run.config.members, "pictures" if run.config.is_images else "points"
    variant = options.variant or members[-1][0]
    if variant not in run.config.variants:
        raise ConfigError(f"variant: {run.name} has no {variant!r}; it has {', '.join(run.config.variants)}")
    known = [".npy", ".png"] if run.config.is_images else [".npy"]
    if out.suffix and out.suffix not in known:
        raise ConfigError(f"out: {out} must end in {' or '.join(known)}, or be a folder")
    made = sample_run(run, options.n, seed=options.seed, best=options.best).numpy()
    if out.suffix:
        out.parent.mkdir(parents=True, exist_ok=True)
        chosen = made[[name for name, _ in members].index(variant)]
        write_array(out, chosen) if out.suffix == ".npy" else write_sheet(out, chosen)
        print(f"{out}: {options.n} {what} of {variant}")
        return
    out.mkdir(parents=True, exist_ok=True)
    for (name, seed), array in zip(members, made, strict=True):
        write_array(out / f"{name}-seed{seed}.npy", array)
        if run.config.is_images:
            write_sheet(out / f"{name}-seed{seed}.png", array)
    print(f"{out}: {options.n} {what} of each of {len(members)} generators")


def prepare_command(options: argparse.Namespace) -> None:
    """Decode a collection of pictures into a cache, and list what was skipped."""
    from tqdm import tqdm

    from mvm.data.images import Lmdb, find_partition, open_source, prepare
    from mvm.preparing import cache_path, sole

    path = options.source
    if options.kind == "celeba" and (path / "img_align_celeba.zip").is_file():
        path = path / "img_align_celeba.zip"
    source = open_source(path)
    if options.kind == "lsun" and not isinstance(source, Lmdb):
        raise ConfigError(f"source: {path} is no LMDB export of LSUN: a folder with data.mdb in it")
    out = cache_path(options.kind, path, options.size, options.name)
    partition = options.partition or (find_partition(path) if options.kind == "celeba" else None)
    with sole(out), tqdm(unit="file", disable=None if sys.stderr.isatty() else True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = prepare(
            source, out, size=options.size, crop=options.crop, partition=partition, processes=options.processes,
            on_progress=show,
        )  # fmt: skip
    parts = ", ".join(f"{name} {last - first:,}" for name, (first, last) in made.splits.items())
    print(f"{out}: {made.count:,} pictures of {made.size} x {made.size} ({parts}) in {made.seconds} s")
    if made.converted:
        print("converted to RGB: " + ", ".join(f"{count} {mode}" for mode, count in made.converted.items()))
    if made.skipped:
        kinds = ", ".join(f"{count} {reason}" for reason, count in made.reasons.items())
        print(f"skipped {len(made.skipped):,}: {kinds}; each is listed in {out.with_suffix('.json')}")


def export_command(options: argparse.Namespace) -> None:
    """Write figures with their numbers and recipes, and list what could not be made."""
    from tqdm import tqdm

    from mvm.export import export

    runs = [Run.named(name) for name in options.runs]
    shape = "{desc:10}{bar}| {n_fmt}/{total_fmt}, {elapsed} passed"
    with tqdm(bar_format=shape, disable=None if sys.stderr.isatty() else True) as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description_str(what, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        made = export(
            options.figure, runs, out=options.out, venue=options.venue, wide=options.wide, formats=options.format,
            dpi=options.dpi, step=options.step, seed=options.seed, form=options.form, on_progress=show,
        )  # fmt: skip
    print(f"{options.out}: {', '.join(made.files)}")
    for name, reason in made.skipped.items():
        print(f"skipped {name}: {reason.removeprefix(f'{name}: ')}")


def claims_command(options: argparse.Namespace) -> None:
    """Train what the claims still lack, and print every verdict with its numbers."""
    from tqdm import tqdm

    from mvm.claims import CLAIMS, Plan, findings, to_json, train

    processes = options.processes if options.processes is not None else os.cpu_count() or 1
    if processes < 1:
        raise ConfigError(f"--processes: at least 1, got {processes}")
    plan = Plan.quick() if options.quick else Plan()
    shape = "{l_bar}{bar}| {elapsed} passed, {remaining} left"
    with tqdm(total=100, bar_format=shape, disable=None if sys.stderr.isatty() else True) as bar:
        train(plan, processes=processes, on_progress=lambda share: bar.update(100 * share - bar.n))
    found = findings(plan)
    if options.json:
        print(to_json(found, plan, f"{processes} CPU processes, one thread each"))
        return
    for finding in found:
        claim = CLAIMS[finding.claim]
        verdicts = ", ".join(f"{recipe} recipe: {verdict}" for recipe, verdict in finding.verdicts.items())
        print(f"\n{claim.title} ({claim.source})\n  {verdicts}\n  measured: {claim.measure}")
        for row in finding.rows:
            words = [
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            ]
            print("    " + "; ".join(words))


def _same_run(run: Run | None) -> Run | None:
    """The first process's run, in all that train together."""
    path = parallel.tell(str(run.path.absolute()) if run else None)
    return run or (Run(Path(path)) if path else None)


def train_here(run: Run, *, queue: bool = False) -> None:
    """Train a run in this process to its end, with a progress bar.

    Raises:
        RunBusy: another trainer holds it.
    """
    from mvm.slots import slot

    if parallel.rank():
        from mvm.recorder import follow

        follow(run)
        return

    with locked(run.path / "lock"), contextlib.ExitStack() as held:
        log = run.path / "scalars.jsonl"
        with _failures_recorded(run):
            if not queue:  # `launch` has done it, and what was asked since then holds
                run.forget_wishes()
            else:
                give_way(TRAINING)
                waiting = {"step": 0, "event": "queued", "time": time.time()}
                got = held.enter_context(
                    slot(give_up=lambda: run.control().stop, on_wait=lambda: append_line(log, waiting))
                )
                if not got:
                    append_line(log, {"step": 0, "event": "stopped", "time": time.time()})
                    run.ask(stop=False)
                    return
            _train(run)


def _train(run: Run) -> None:
    from tqdm import tqdm

    from mvm.recorder import train

    print(f"{run.name}: {len(run.config.members)} networks on {run.config.data}, in {run.path}")
    with tqdm(total=run.config.steps, unit="step", disable=None if sys.stderr.isatty() else True) as bar:
        try:
            for step in train(run):
                bar.update(step.number - bar.n)
        except Diverged:
            raise
        except Stopped as reason:
            print(reason)
            return
    print(f"{run.name}: finished; `python -m mvm score {run.name}`")


@contextlib.contextmanager
def _failures_recorded(run: Run) -> Iterator[None]:
    """Leave the reason in the run, if its disk still takes a line."""
    try:
        yield
    except (ConfigError, RunError, OSError, RuntimeError) as error:
        reason = _runtime_reason(error) if isinstance(error, RuntimeError) else str(error)
        with contextlib.suppress(OSError):
            step = run.records.poll().step
            append_line(
                run.path / "scalars.jsonl", {"step": step, "event": "failed", "time": time.time(), "reason": reason}
            )
        raise


def _living(name: str) -> Run:
    run = Run.named(name)
    if not run.alive():
        raise RunError(f"run: {run.name} is not being trained (it is {run.status().state})")
    return run


def _await(run: Run, *states: str) -> None:
    for _ in range(600):
        status = run.status()
        if status.state in states or not status.alive:
            print(f"{run.name}: {status.state} at step {status.step}")
            return
        time.sleep(0.05)
    raise RunError(f"run: {run.name} did not answer within 30 s; is its machine another one?")


def _runtime_reason(error: RuntimeError) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "out of memory" in text:
        return "out of memory on the device; use a smaller --batch, fewer --variants or --seeds, or --device cpu"
    return text


def _fail(message: str, status: int) -> int:
    print(f"mvm: {message}", file=sys.stderr)
    return status


# -- flags from the config model ---------------------------------------------------------------------------------------


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults in the help text, but not for the flags that have none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help


def add_fields(
    parser: argparse.ArgumentParser, model: type[BaseModel], *, defaults: BaseModel, prefix: str = ""
) -> None:
    """One flag per field of a config model, nested ones as --parent.field; values are checked by the model."""
    group = parser.add_argument_group((model.__doc__ or model.__name__).strip().splitlines()[0])
    for name, field in model.model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            add_fields(parser, type(value), defaults=value, prefix=f"{prefix}{name}.")
        elif name != "schema_version":
            flag = "--" + f"{prefix}{name}".replace("_", "-")
            text = f"{field.description}{_bounds(field)}; default: {_shown(value)}".replace("%", "%%")
            group.add_argument(flag, dest=f"config.{prefix}{name}", help=text, metavar=_metavar(field), **_arity(value))


def given_fields(options: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """The config fields that were given as flags, by dotted name; a dictionary's words are paired."""
    given = {}
    for key, value in vars(options).items():
        if not key.startswith("config.") or value is None:
            continue
        name = key.removeprefix("config.")
        if name == "settings":
            if len(value) % 2:
                raise ConfigError(f"settings: give pairs of NAME VALUE, got {' '.join(value)}")
            value = dict(zip(value[::2], value[1::2], strict=True))
        given[name] = value
    return given


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} to {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for dotted, value in flat.items():
        *parents, last = dotted.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return result


def _asked(arguments: list[str], flag: str, default: str) -> str:
    """The value given to a flag, before parsing, so that --help shows the defaults that it brings."""
    for word, following in pairwise([*arguments, ""]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return default


def _defaults(arguments: list[str]) -> Config:
    """The config that the asked method and recipe begin with; that of no flags where they are no known pair."""
    asked = {"method": "mvm", "recipe": "stabilised", "data": "circle"}
    asked = {name: _asked(arguments, f"--{name}", default) for name, default in asked.items()}
    return Config.make(**asked) if asked["recipe"] in RECIPES.get(asked["method"], ()) else Config.make()


def _arity(value: Any) -> dict[str, Any]:
    return {"nargs": "+"} if isinstance(value, tuple | dict) else {}


def _metavar(field: FieldInfo) -> str:
    literals = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    if literals:
        return "|".join(map(str, literals))
    kinds = {int: "N", float: "X", bool: "true|false"}
    return kinds.get(field.annotation, "N" if int in _members(field.annotation) else "VALUE")


def _members(annotation: Any) -> tuple:
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if is_union else ()


def _bounds(field: FieldInfo) -> str:
    low = next((getattr(m, key) for m in field.metadata for key in ("ge", "gt") if hasattr(m, key)), None)
    high = next((getattr(m, key) for m in field.metadata for key in ("le", "lt") if hasattr(m, key)), None)
    return "" if low is None or high is None else f" ({low} to {high})"


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return "none" if value is None or value == {} else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
