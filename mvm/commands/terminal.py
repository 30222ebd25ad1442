"""What commands print about runs and files, which others may have named: no text moves the cursor or colours it."""

from __future__ import annotations

import sys

from mvm.words import printable

__all__ = ["print_line"]


def print_line(line: object = "", *, error: bool = False) -> None:
    """Print one printable line, to the standard error if it is one."""
    print(printable(line), file=sys.stderr if error else sys.stdout)
