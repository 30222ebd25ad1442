"""Training methods by name. A method is one file, a subclass of `Method`, and one line here."""

from typing import Any

from mvm.methods.draws import Draws
from mvm.methods.flow_matching import FlowMatching
from mvm.methods.method import Loss, Method, Task
from mvm.methods.mvm import MvM
from mvm.methods.sngan import SNGAN
from mvm.methods.swgan import SWGAN
from mvm.methods.wgan import WGAN
from mvm.methods.wgan_gp import WGANGP

__all__ = ["METHODS", "Draws", "Loss", "Method", "Task"]

METHODS: dict[str, type[Method[Any]]] = {
    "mvm": MvM,
    "wgan": WGAN,
    "wgan_gp": WGANGP,
    "sngan": SNGAN,
    "swgan": SWGAN,
    "flow_matching": FlowMatching,
}
