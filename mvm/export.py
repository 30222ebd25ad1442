"""The module that a `rebuild.py` exported by version 0.1 imports; newer ones import `mvm.rebuild`."""

from mvm import rebuild

__all__ = ["rebuild"]
