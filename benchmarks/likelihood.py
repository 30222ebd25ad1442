"""What a likelihood says of a curve: a normalizing flow on a von Mises circle, as it is and with noise.

    python -m benchmarks.likelihood          two minutes of one core

The data lie on a curve with the density p(t) ∝ exp(κ cos t). A density of the plane can gain likelihood without end by
closing in on the curve; its density along the curve is another matter (Loaiza-Ganem et al., TMLR 2022). Rows:

    as it is           no noise
    with noise         trained on points with Gaussian noise σ, in standard deviations of the data
    denoised           the same network, whose samples are moved by Tweedie's formula x + σ² ∇ log q(x)

Every seed is scored on the same fresh points, which no training saw.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.cells import REPEAT, markdown, write_section

SIGMA = 0.1
POINTS = 512
COLUMNS = {
    "log_likelihood": "test log-likelihood (nats)",
    "off": "off-manifold (mean, standardised)",
    "total_variation": "TV of density",
    "total_variation_samples": "TV of counts",
}


def main() -> None:
    """Train, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 400, 1200], help="at which it is scored")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=SIGMA, help=f"σ (default {SIGMA})")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.md")
    options = parser.parse_args()
    rows = measure(noise=0.0, steps=options.steps, seeds=options.seeds)
    rows += measure(noise=options.noise, steps=options.steps, seeds=options.seeds)
    lines = [[row["label"], f"{row['step']:,}", *(_cell(row[key]) for key in COLUMNS)] for row in rows]
    floor = rows[0]["total_variation_samples_floor"]
    words = (
        f"Medians of {options.seeds} seeds and their extremes; {POINTS} fresh points. Baselines, real against real: "
        f"off-manifold 0, TV of density 0, TV of counts {floor:.3f}. The likelihood of a density with noise is that of "
        "clean points under it. Denoising moves samples only: the network and its density are those of the noise."
    )
    command = f"python -m benchmarks.likelihood --steps {' '.join(map(str, options.steps))} --seeds {options.seeds}"
    command += f" --noise {options.noise:g}" * (options.noise != SIGMA)
    table = markdown(["flow", "step", *COLUMNS.values()], lines)
    write_section(options.out, "likelihood", "Likelihood on a von Mises circle", command, words, table)


def measure(*, noise: float, steps: list[int], seeds: int) -> list[dict[str, Any]]:
    """Scores at some steps of one training of all seeds: one row for each kind of sample, lists over seeds."""
    from mvm.config import Config
    from mvm.data.points import load_points
    from mvm.devices import use_cpu
    from mvm.training.experiment import Experiment, fit
    from mvm.training.sampling import generated, log_densities

    flow = {"noise": noise}
    config = Config.make(
        data="von_mises_circle", method="normalizing_flow", normalizing_flow=flow, steps=max(steps),
        seeds=tuple(range(seeds)), device="cpu",
    )  # fmt: skip
    use_cpu(config.cpu_threads)
    data = load_points(config)
    experiment = Experiment(config, data)
    reference = data.reference(POINTS, repeat=REPEAT)
    samples = {f"with noise {noise:g}": False, "denoised": True} if noise else {"as it is": False}
    rows = []
    for step in fit(experiment):
        if step.number not in steps:
            continue
        densities = log_densities(experiment, reference)
        assert densities is not None
        for label, denoise in samples.items():
            experiment.method.settings = experiment.method.settings.model_copy(update={"denoise": denoise})
            fakes = generated(experiment, experiment.view_inputs(POINTS, repeat=REPEAT))
            scores = [reference.score(*each[:1], log_density=each[1]) for each in zip(fakes, densities, strict=True)]
            row: dict[str, Any] = {key: [score.get(key) for score in scores] for key in COLUMNS}
            row["off"] = [_over(score["distance_mean"], float(data.scale[0])) for score in scores]
            if denoise:
                row |= {"log_likelihood": [], "total_variation": []}
            floor = reference.floors["total_variation_samples_floor"]
            rows.append({"label": label, "step": step.number, "total_variation_samples_floor": floor} | row)
    return sorted(rows, key=lambda row: [*samples].index(row["label"]))


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _cell(values: list[float | None]) -> str:
    """Median, and extremes in brackets; a dash where a seed has no value."""
    if not values or (known := [value for value in values if value is not None]) != values:
        return "–"
    low, middle, high = min(known), statistics.median(known), max(known)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})" if len(known) > 1 else f"{middle:.3g}"


if __name__ == "__main__":
    main()
