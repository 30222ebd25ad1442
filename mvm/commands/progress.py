"""Progress bars of long commands, drawn on a terminal only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

__all__ = ["Report", "progress_bar"]


class Report(Protocol):
    """Show how much is done, of how much, and what comes next."""

    def __call__(self, done: float, total: float, what: str | None = None) -> None: ...


@contextlib.contextmanager
def progress_bar(unit: str = "it", *, layout: str | None = None) -> Iterator[Report]:
    """A progress bar; yields the function that moves it.

    Args:
        unit: what is counted; "B" is shown as kB, MB, ...
        layout: tqdm's `bar_format`.
    """
    from tqdm import tqdm

    with tqdm(unit=unit, unit_scale=unit == "B", bar_format=layout, disable=not sys.stderr.isatty()) as bar:

        def report(done: float, total: float, what: str | None = None) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if what is not None:
                bar.set_description_str(what)

        yield report
