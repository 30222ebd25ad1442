"""Training methods by name. A method is one file, a subclass of `Method`, and one line here."""

from typing import Any

from mvm.methods.autoencoder import VAE
from mvm.methods.diffusion import Diffusion
from mvm.methods.draws import Draws
from mvm.methods.ebm import EBM
from mvm.methods.flow_matching import FlowMatching
from mvm.methods.implicit import Implicit
from mvm.methods.method import PAIRED_KINDS, Loss, Method, Task
from mvm.methods.moment_matching import MomentMatching
from mvm.methods.mvm import MvM
from mvm.methods.normalizing_flow import NormalizingFlow
from mvm.methods.sngan import SNGAN
from mvm.methods.superres import ESRGAN, GAN, L1, SRGAN, EnhanceNet, NatSR, PairedMvM
from mvm.methods.swgan import SWGAN
from mvm.methods.two_step import TwoStep
from mvm.methods.wgan import WGAN
from mvm.methods.wgan_gp import WGANGP

__all__ = ["METHODS", "Draws", "Loss", "Method", "Task", "method_on"]

METHODS: dict[str, type[Method[Any]]] = {
    "mvm": MvM,
    "wgan": WGAN,
    "wgan_gp": WGANGP,
    "sngan": SNGAN,
    "swgan": SWGAN,
    "flow_matching": FlowMatching,
    "diffusion": Diffusion,
    "normalizing_flow": NormalizingFlow,
    "vae": VAE,
    "two_step": TwoStep,
    "moment_matching": MomentMatching,
    "ebm": EBM,
    "implicit": Implicit,
    "l1": L1,
    "gan": GAN,
    "srgan": SRGAN,
    "enhancenet": EnhanceNet,
    "esrgan": ESRGAN,
    "natsr": NatSR,
}
ON_PAIRS: dict[str, type[Method[Any]]] = {"mvm": PairedMvM}  # methods that also learn pairs, by other losses


def method_on(kind: str, name: str) -> type[Method[Any]]:
    """Class of the method `name` on a kind of data."""
    return ON_PAIRS.get(name, METHODS[name]) if kind in PAIRED_KINDS else METHODS[name]
