"""What the `rebuild.py` of figures that were exported by version 0.1 imports."""

from mvm.figures.export import rebuild

__all__ = ["rebuild"]
