"""Entries as a person would add them: a method with three players, a kind of data, and both for pairs.

Flags and settings are made from the registries when `mvm.config` is imported, so an entry that is not in the registry's
file must be there before. All of this therefore runs in a process of its own.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch.nn import functional as F

from mvm.data.kind import Kind
from mvm.data.kinds import KINDS
from mvm.methods import METHODS
from mvm.methods.draws import Pair
from mvm.methods.method import Loss, Method, peer_recipes
from mvm.networks.mlp import Perceptrons
from mvm.settings import Settings

# -- a method with three players ---------------------------------------------------------------------------------------


class AAESettings(Settings):
    """AAE: adversarial autoencoder."""

    prior: float = Field(0.1, ge=0, le=10, description="weight of the encoder's loss against the critic of codes")


class AAE(Method[AAESettings]):
    """Adversarial autoencoder (Makhzani et al., 2016): codes that reconstruct, and look Gaussian to a critic."""

    title = "AAE"
    settings_type = AAESettings
    recipes = peer_recipes(lr=1e-3, betas=(0.5, 0.9))
    players = {"encoder": ("encoder",), "decoder": ("decoder",), "critic": ("critic",)}  # noqa: RUF012
    averaged, learns_metric = ("decoder",), False

    def build(self, architecture):
        decoder = architecture.generator(architecture.embedding_dim)
        return {"encoder": architecture.metric(), "decoder": decoder, "critic": architecture.readout(1)}

    @property
    def noise_dim(self):
        return self.task.architecture.embedding_dim

    def updates(self, draws):
        x, (encoder, decoder, critic) = draws.real(self.batch), self.networks.values()
        error = (decoder(encoder(x)) - x).square().mean((-2, -1))
        yield "decoder", Loss(error, {"reconstruction": error})

        code = encoder(x)
        error, fooled = (decoder(code) - x).square().mean((-2, -1)), F.softplus(-critic(code)).mean((-2, -1))
        yield "encoder", Loss(error + self.settings.prior * fooled, {"fooled": fooled})

        on_noise, on_code = critic(draws.noise(self.batch)), critic(encoder(x).detach())
        unsure = (F.softplus(-on_noise) + F.softplus(on_code)).mean((-2, -1))
        yield "critic", Loss(unsure, {"unsure": unsure})

    def sample(self, networks, noise):
        return networks["decoder"](noise)


METHODS["aae"] = AAE


# -- a kind of data ----------------------------------------------------------------------------------------------------


class Waves:
    """Sine waves of 8 numbers; a wave's input is where on the circle it begins."""

    manifold, scores_metric, dim = None, False, 8

    def __init__(self, n, *, view=0, seed=1):
        phases = math.tau * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed))
        self.inputs, self.train = torch.cat([phases.cos(), phases.sin()], dim=1), torch.sin(phases + torch.arange(8))
        self.view, self.train_size = Waves(view, seed=2).train if view else None, n

    def table(self, device, dtype):
        return self.train.to(device=device, dtype=dtype)

    def standardise(self, points):
        return points

    restore = standardise

    def copied(self):
        return None

    shown_once = copied

    def snapshot(self, fake, noise, generate):
        return {"real": self.view, "fake": fake.cpu()}

    def reference(self, n, *, repeat=0, inception=False, on_progress=None):
        return Spread(*(Waves(n, seed=10 * repeat + seed).train for seed in (3, 4)))


class Spread:
    """Distance between the standard deviations of fakes and reals."""

    criterion, coordinates = "spread", "own"

    def __init__(self, real, floor):
        self.real, self.floor, self.size = real, floor, len(real)

    def score(self, fake, **metrics):
        sets = {"spread": fake, "spread_floor": self.floor}
        return {key: float((points.std(0) - self.real.std(0)).norm()) for key, points in sets.items()}


class Sequences(Kind):
    """Sequences of 8 numbers."""

    name, title, noun = "sequences", "Sequences", "sequences"
    network_settings = KINDS["points"].network_settings

    def accepts(self, data):
        return data == "waves"

    def load(self, settings, *, own=None):
        return Waves(settings.points, view=settings.view_points)

    def units(self, settings, *, own, shown):
        return Waves(0)

    def architecture(self, data, settings, members, *, bf16):
        return Perceptrons(settings, data.dim, members.streams, copies=members.copies)


pictures = KINDS.pop("images")  # accepts every name, so it comes last
KINDS |= {"sequences": Sequences(), "images": pictures}


# -- pairs: a table, and a method that learns from them ----------------------------------------------------------------


class PairTable:
    """Rows are pairs of an input and its target."""

    streamed = False

    def __init__(self, inputs, targets):
        self.inputs, self.targets, self.device, self.dtype = inputs, targets, targets.device, targets.dtype

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, rows):
        return Pair(self.inputs[rows], self.targets[rows])


class PairedWaves(Waves):
    """Waves with their inputs."""

    def table(self, device, dtype):
        return PairTable(*(side.to(device=device, dtype=dtype) for side in (self.inputs, self.train)))


class Pairs(Sequences):
    """Sequences with their inputs."""

    name, title, noun = "pairs", "Pairs", "pairs"

    def accepts(self, data):
        return data == "paired_waves"

    def load(self, settings, *, own=None):
        return PairedWaves(settings.points, view=settings.view_points)


class Regression(Method[Settings]):
    """Least squares: every target's input is known."""

    title, settings_type, recipes = "Regression", Settings, peer_recipes(lr=3e-3, betas=(0.9, 0.999))
    kinds, players, learns_metric, noise_dim = ("pairs",), {"generator": ("generator",)}, False, 2

    def build(self, architecture):
        return {"generator": architecture.generator(self.noise_dim)}

    def updates(self, draws):
        inputs, targets = draws.pair(self.batch)
        error = (self.networks["generator"](inputs) - targets).square().mean((-2, -1))
        yield "generator", Loss(error, {"error": error})


METHODS["regression"] = Regression
KINDS |= {"pairs": Pairs(), "images": KINDS.pop("images")}
