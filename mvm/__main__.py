"""The command line: `python -m mvm COMMAND`. Exit status 0, 2 (bad use: one line) or 1 (failed: the reason)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mvm.commands import data, library, results, training
from mvm.commands.flags import Commands, Parser
from mvm.commands.training import TRAINERS, reason_of
from mvm.errors import ConfigError, Diverged, RunError

FAMILIES = (training, results, library, data)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments).parse_args(arguments)
    try:
        options.command(options)
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


def _parser(arguments: list[str]) -> Parser:
    parser = Parser(prog="mvm", description="Manifold matching via deep metric learning: train, watch, score.")
    commands = Commands(parser, arguments)
    for family in FAMILIES:
        family.add(commands)
    return parser


def _file_reason(error: OSError, options: argparse.Namespace) -> str:
    """One line: which file, what the system says, and what becomes of a training or of --out."""
    reason = f"{error.filename or 'files'}: {error.strerror or error}"
    if options.command in TRAINERS:
        return f"{reason}; all that was saved is kept"
    if error.filename and (out := getattr(options, "out", None)):
        out, named = Path(out).absolute(), Path(error.filename).absolute()
        if named == out or named in out.parents or out in named.parents:
            return f"out: cannot write {reason}"
    return reason


def _fail(message: str, status: int) -> int:
    print(f"mvm: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
