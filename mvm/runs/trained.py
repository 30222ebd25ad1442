"""A trained network in three lines:

    import mvm
    trained = mvm.load("my-run")
    points = trained.generator(torch.randn(1000, trained.noise_dim))

No data set is needed: a run on a person's own points has its copy, and of pictures their size is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError
from mvm.imaging.tiles import TILE
from mvm.methods.method import PAIRED_KINDS
from mvm.runs.evaluate import load_experiment
from mvm.runs.run import Run
from mvm.runs.upscale import Upscaler
from mvm.training.sampling import embedding, generated

__all__ = ["Trained", "load"]


@dataclass(frozen=True)
class Trained:
    """One member of a run's variant axis.

    Attributes:
        config: of its run.
        variant, seed: which member.
        step: at which its weights were saved; of the best generator, at which it was the best.
        noise_dim: m, the generator's inputs: independent, normal.
        generator: averaged f_θ: noise `(n, m)` to points `(n, D)` in the data's own units, or to pictures
            `(n, size, size, 3)` uint8.
        metric: g_w: such points or pictures to embeddings `(n, k)`.
        network: averaged f_θ of a run on pairs: `(1, 3, h, w)` in [0, 1], on the CPU, to `(1, 3, 4h, 4w)`; None of
            other runs.
        receptive_field: input pixels on each side that an output pixel of `network` depends on.
    """

    config: Config
    variant: str
    seed: int
    step: int
    noise_dim: int
    generator: Callable[[Tensor], Tensor]
    metric: Callable[[Tensor], Tensor]
    network: Callable[[Tensor], Tensor] | None = None
    receptive_field: int = 0

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """n fakes, the same as `python -m mvm sample` makes of this seed."""
        return self.generator(torch.randn(n, self.noise_dim, generator=torch.Generator().manual_seed(seed)))

    def upscaler(self, *, tile: int = TILE, ensemble: bool = False) -> Upscaler:
        """The network, ready for pictures of any size; arguments as for `mvm.runs.upscale.Upscaler`.

        Raises:
            ConfigError: the run is not one of super-resolution.
        """
        if self.network is None:
            noun = KINDS[self.config.kind].noun
            raise ConfigError(f"run: it generates {noun}; to upscale takes a run of super-resolution: train --data sr")
        return Upscaler(self.network, self.receptive_field, tile=tile, ensemble=ensemble)

    @overload
    def upscale(self, picture: np.ndarray, *, tile: int = ..., ensemble: bool = ...) -> np.ndarray: ...
    @overload
    def upscale(self, picture: Image | str | Path, *, tile: int = ..., ensemble: bool = ...) -> Image: ...
    def upscale(
        self, picture: Image | str | Path | np.ndarray, *, tile: int = TILE, ensemble: bool = False
    ) -> Image | np.ndarray:
        """Upscale a picture ×4: an array `(h, w)` or `(h, w, C)` of its dtype, an image of Pillow's, or a file's path.

        Args:
            picture: uint8, uint16, or floating point in [0, 1]; alpha is the last of 2 or 4 channels.
            tile: input pixels each way that are upscaled at a time.
            ensemble: take the mean over the eight turns and flips.

        Raises:
            ConfigError: the run is not one of super-resolution.
            OSError: the file cannot be read.
            ValueError: the picture is none, or of values that are not converted.
        """
        return self.upscaler(tile=tile, ensemble=ensemble).upscale(picture)


def load(
    run: str | Path,
    *,
    variant: str | None = None,
    seed: int | None = None,
    best: bool = False,
    device: str | None = None,
) -> Trained:
    """A run's generator and metric, ready to use.

    Args:
        run: name of a run, or its folder.
        variant: which of its variants; the last when None.
        seed: which of its seeds; the first when None.
        best: the best generator in place of the last one.
        device: auto, cpu or cuda; the run's own when None.

    Raises:
        RunError: there is no such run, or it has no checkpoint yet.
        ConfigError: it has no such variant or seed.
    """
    opened = Run(run) if isinstance(run, Path) else Run.named(run)
    config = opened.config
    variant = variant if variant is not None else config.variants[-1]
    seed = seed if seed is not None else config.seeds[0]
    for what, wanted, known in (("variant", variant, config.variants), ("seed", seed, config.seeds)):
        if wanted not in known:
            raise ConfigError(f"{what}: {opened.name} has no {wanted!r}; it has {', '.join(map(str, known))}")
    experiment = load_experiment(opened, best=best, data=opened.units, device=device)
    member = config.members.index((variant, seed))
    step = int(opened.checkpoint(best=True)["step"][member]) if best else experiment.step
    embed, shape = embedding(experiment, member), experiment.data.restore(torch.zeros(1, experiment.data.dim)).shape[1:]

    def generator(noise: Tensor) -> Tensor:
        noise = _of_shape("noise", noise, (experiment.noise_dim,))
        return generated(experiment, noise)[member]

    def metric(points: Tensor) -> Tensor:
        return embed(_of_shape(KINDS[config.kind].noun, points, tuple(shape))).cpu().float()

    trained = Trained(config, variant, seed, step, experiment.noise_dim, generator, metric)
    if config.kind not in PAIRED_KINDS:
        return trained
    upscale = experiment.upscaler(member)
    return replace(trained, network=lambda x: upscale(x).cpu(), receptive_field=experiment.receptive_field)


def _of_shape(what: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    values = torch.as_tensor(values)
    if tuple(values.shape[1:]) != shape:
        raise ValueError(f"{what}: (n, {', '.join(map(str, shape))}) wanted, got {tuple(values.shape)}")
    return values
