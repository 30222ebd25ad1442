"""Operations of one training step that compute or copy: on a GPU, each is at least one kernel.

    python -m benchmarks.operations     pictures of 32 and 64 pixels, in float32 and in bfloat16

PyTorch's dispatcher counts them, on the CPU and without timing; views and allocations are left out. The count does not
depend on channels or batch, which are small here. A GPU's convolutions take several kernels, so kernels are more.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cells import markdown, write_section
from mvm.config import Config
from mvm.data.kinds import load_data
from mvm.training.experiment import Experiment

__all__ = ["count_operations", "main", "step_of"]

NO_KERNEL = {  # views that do not say so, and allocations
    "aten._unsafe_view.default", "aten.empty.memory_format", "aten.empty_like.default", "aten.empty_strided.default",
}  # fmt: skip
CASTS, NORMS = "aten._to_copy.default", "batch_norm"


def count_operations(compute: Callable[[], Any]) -> Counter[str]:
    """Count the operations of a function by name, views and allocations left out."""
    counts: Counter[str] = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            views = any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)
            if not views and str(function) not in NO_KERNEL:
                counts[str(function)] += 1
            return function(*args, **(kwargs or {}))

    with Counting():
        compute()
    return counts


def step_of(**values: Any) -> Callable[[], Any]:
    """A training step on toy faces, after one that was not counted."""
    small = {"points": 64, "view_points": 16, "batch": 4, "network": {"channels": 8, "metric_channels": 4}}
    config = Config.make(**{"data": "faces", "device": "cpu", "threads": 1} | small | values)
    experiment = Experiment(config, load_data(config))
    experiment.advance()
    experiment.prepare()
    return experiment.compute


def main() -> None:
    """Count, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md")
    options = parser.parse_args()
    rows = []
    for size in (32, 64):
        for precision in ("float32", "bf16"):
            counts = count_operations(step_of(size=size, precision=precision))
            norms = sum(count for name, count in counts.items() if NORMS in name)
            rows.append([f"{size}", precision, f"{counts.total():,}", f"{counts[CASTS]}", f"{norms}"])
            print(" ".join(rows[-1]), flush=True)
    table = markdown(["pixels", "precision", "operations", "of these, casts", "batch normalisations"], rows)
    note = "One step of the default recipe: one update of the generator, three of the metric."
    write_section(options.out, "operations", "Operations of a step", "python -m benchmarks.operations", note, table)


if __name__ == "__main__":
    main()
