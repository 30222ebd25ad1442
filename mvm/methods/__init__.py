"""Training methods by name. A method is one file with the verbs of `base.Method`, and one line here."""

from mvm.methods.base import Draws, Loss, Method
from mvm.methods.mvm import MvM

__all__ = ["METHODS", "Draws", "Loss", "Method"]

METHODS: dict[str, type[Method]] = {"mvm": MvM}
