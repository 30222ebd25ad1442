"""A trained network in three lines:

    import mvm
    trained = mvm.load("my-run")
    points = trained.generator(torch.randn(1000, trained.noise_dim))

No data set is needed: a run on a person's own points has its copy, and of pictures their size is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mvm.config import Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError
from mvm.runs.evaluate import load_experiment
from mvm.runs.run import Run
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
    """

    config: Config
    variant: str
    seed: int
    step: int
    noise_dim: int
    generator: Callable[[Tensor], Tensor]
    metric: Callable[[Tensor], Tensor]

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """n fakes, the same as `python -m mvm sample` makes of this seed."""
        return self.generator(torch.randn(n, self.noise_dim, generator=torch.Generator().manual_seed(seed)))


def load(run: str | Path, *, variant: str | None = None, seed: int | None = None, best: bool = False) -> Trained:
    """A run's generator and metric, ready to use.

    Args:
        run: name of a run, or its folder.
        variant: which of its variants; the last when None.
        seed: which of its seeds; the first when None.
        best: the best generator in place of the last one.

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
    experiment = load_experiment(opened, best=best, data=opened.units)
    member = config.members.index((variant, seed))
    step = int(opened.checkpoint(best=True)["step"][member]) if best else experiment.step
    embed, shape = embedding(experiment, member), experiment.data.restore(torch.zeros(1, experiment.data.dim)).shape[1:]

    def generator(noise: Tensor) -> Tensor:
        noise = _of_shape("noise", noise, (experiment.noise_dim,))
        return generated(experiment, noise)[member]

    def metric(points: Tensor) -> Tensor:
        return embed(_of_shape(KINDS[config.kind].noun, points, tuple(shape))).cpu().float()

    return Trained(config, variant, seed, step, experiment.noise_dim, generator, metric)


def _of_shape(what: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    values = torch.as_tensor(values)
    if tuple(values.shape[1:]) != shape:
        raise ValueError(f"{what}: (n, {', '.join(map(str, shape))}) wanted, got {tuple(values.shape)}")
    return values
