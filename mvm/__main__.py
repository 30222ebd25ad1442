"""The command line: `mvm COMMAND`, or `python -m mvm COMMAND`. Exit status: 0, 2 (bad use) or 1 (failed)."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mvm import __version__
from mvm.commands.terminal import print_line
from mvm.commands.waiting import place
from mvm.errors import ConfigError, Diverged, RunError, line_of, reason_of
from mvm.files import NO_RIGHT, advice, checkpoints
from mvm.jobs.process import print_any_text, set_training_environment

if TYPE_CHECKING:
    from mvm.commands.flags import Parser

__all__ = ["main"]

FAMILIES = {  # modules of `mvm.commands`, and the commands that each adds
    "training": ("train", "pause", "resume", "stop", "fork"),
    "sweeps": ("sweep", "work"),
    "results": ("score", "sample", "export", "mlflow", "claims"),
    "upscale": ("upscale",),
    "library": ("runs", "compare", "note", "rename", "delete", "pack", "unpack"),
    "data": ("prepare",),
    "app": ("app",),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    print_any_text()
    set_training_environment()  # before torch is imported, which reads it
    is_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    options = argparse.Namespace(command=None)
    try:
        _check_text([*arguments, str(checkpoints())])
        with place(arguments, is_process=is_process) as found:
            if found.has_turn and found.slot is None:  # asked to stop while it waited
                return 0
            from mvm.runs.library import sweep_runs

            options = _parser(arguments).parse_args(arguments)
            options.place = found
            sweep_runs()
            options.command(options)
        if sys.stdout is not None:  # it was closed: `mvm runs >&-`
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, RunError) as error:
        return _fail(str(error), 2)
    except Diverged as reason:
        return _fail(str(reason), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; all that was saved is kept", 130)
    except OSError as error:
        return _fail(_file_reason(error, options), 1)
    except (RuntimeError, MemoryError) as error:
        return _fail(reason_of(error), 1)
    return 0


def _check_text(words: list[str]) -> None:
    """Check that arguments and folders are text.

    Raises:
        ConfigError: a file's name has bytes that are not; it could not be written into a run, nor printed.
    """
    for word in words:
        shown = word.encode("utf-8", "backslashreplace").decode()
        if shown != word:
            raise ConfigError(f"{shown}: the name is not in UTF-8; rename the file or folder")


def _parser(arguments: list[str]) -> Parser:
    """Parser of the asked command's family, which need not load what the others import; of all for help or an error."""
    from mvm.commands.flags import Commands, Parser

    asked = [family for family, names in FAMILIES.items() if {*names} & {*arguments[:1]}]

    parser = Parser(prog="mvm", description="Manifold matching via deep metric learning: train, watch, score.")
    parser.add_argument("--version", action="version", version=f"mvm {__version__}")
    commands = Commands(parser, arguments)
    for family in asked or FAMILIES:
        import_module(f"mvm.commands.{family}").add(commands)
    return parser


def _file_reason(error: OSError, options: argparse.Namespace) -> str:
    """One line: the file, the system's reason, and what it means for a training or for --out."""
    from mvm.commands.training import TRAINERS

    reason = f"{error.filename or 'files'}: {line_of(error)}"
    if options.command in TRAINERS and error.errno not in NO_RIGHT:
        return f"{reason}; all that was saved is kept"
    if error.filename and (out := getattr(options, "out", None)):
        out, named = Path(out).absolute(), Path(error.filename).absolute()
        if named == out or named in out.parents or out in named.parents:
            return f"out: cannot write {reason}"
    return reason + advice(error)


def _fail(message: str, status: int) -> int:
    print_line(f"mvm: {message}", error=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
