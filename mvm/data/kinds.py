"""Kinds of data by name. A kind is one file, a subclass of `Kind`, and one line here."""

from __future__ import annotations

from pathlib import Path

from mvm.data.images import Images
from mvm.data.kind import Dataset, DataSettings, Kind
from mvm.data.pairs import Superres
from mvm.data.points import Points
from mvm.data.tables import POINT_FILES
from mvm.errors import ConfigError

__all__ = ["KINDS", "kind_of", "load_data"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Points(), Superres(), Images())}


def kind_of(data: str) -> Kind:
    """Kind of a config's `data`: the first entry that accepts it; pictures, the last entry, accept every name."""
    return next(kind for kind in KINDS.values() if kind.accepts(data))


def load_data(settings: DataSettings, *, own: Path | None = None) -> Dataset:
    """Load the data set named by the settings; arguments as in `Kind.load`.

    Raises:
        ConfigError: as for `Kind.load`; or a switch for files of points is set, and the data are none.
    """
    if not settings.data.lower().endswith(POINT_FILES) and (given := [k for k, v in settings.switches.items() if v]):
        raise ConfigError(f"{', '.join(given)}: only a file of points is read with it, not {settings.data}")
    return kind_of(settings.data).load(settings, own=own)
