"""What a snapshot shows of each kind of data."""

from __future__ import annotations

import torch
from torch import Tensor

from mvm.files import write_array
from mvm.runs.run import Run
from mvm.training.experiment import Experiment

__all__ = ["ImageView", "PointView"]


GRID = 21  # lines each way of the generator's warped grid


class PointView:
    """What a screen shows of points: clouds, in the data's own units, and how the generator bends a grid.

    Args:
        experiment: what is trained.
        noise: the fixed generator inputs that are shown, `(n, m)`.

    Attributes:
        live: how many of them the live view shows; all if None.
    """

    live: int | None = None

    def __init__(self, experiment: Experiment, noise: Tensor) -> None:
        self.experiment, self.grid = experiment, _grid(experiment.noise_dim).to(noise)
        self.real = self._own(experiment.data.view)

    def prepare(self, run: Run) -> None:
        """Write what does not change."""

    def tensors(self, fake: Tensor) -> dict[str, Tensor]:
        """Reals `(n, D)`, fakes `(V, n, D)` and the warped grid `(V, GRID, GRID, D)`."""
        grid = self._own(self.experiment.generate(self.grid)).unflatten(1, (GRID, GRID))
        return {"real": self.real, "fake": self._own(fake), "grid": grid}

    def _own(self, points: Tensor) -> Tensor:
        return self.experiment.data.restore(points.cpu().float())


class ImageView:
    """What a screen shows of pictures: fakes of the averaged generator, and some of the one in training.

    Args, attributes: as for `PointView`.
    """

    live: int | None = 64

    def __init__(self, experiment: Experiment, noise: Tensor) -> None:
        self.experiment, self.noise = experiment, noise[: self.live]

    def prepare(self, run: Run) -> None:
        """Write the reals once, `real.npy`."""
        if not (run.path / "real.npy").exists():
            write_array(run.path / "real.npy", self.experiment.data.view_images.numpy())

    def tensors(self, fake: Tensor) -> dict[str, Tensor]:
        """Fakes `(V, n, size, size, 3)` uint8, and at most 64 without averaging."""
        restore = self.experiment.data.restore
        return {"fake": restore(fake), "raw": restore(self.experiment.generate(self.noise, averaged=False))}


def _grid(noise_dim: int) -> Tensor:
    """A square of generator inputs in the first two noise dimensions, `(GRID², m)`, to draw how f_θ warps space."""
    side = torch.linspace(-2, 2, GRID)
    grid = torch.zeros(GRID, GRID, noise_dim)
    grid[..., 0] = side[:, None]
    if noise_dim > 1:
        grid[..., 1] = side
    return grid.flatten(0, 1)
