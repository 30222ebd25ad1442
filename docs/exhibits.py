"""Write docs/exhibits.md and its pictures from the measurement that the package ships. `python docs/exhibits.py`.

The measurement itself: `python -m mvm claims --survey --json > mvm/studies/exhibits/exhibits.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvm.look.palette import FAKE, QUIET, REAL, VARIANTS
from mvm.studies.exhibits import EXHIBITS, SURVEY, Panel, Result
from mvm.studies.exhibits.results import shipped, to_markdown

COLOURS = {"real": REAL, "fake": FAKE, "quiet": QUIET} | dict(zip(("first", "second", "third"), VARIANTS, strict=False))
PANEL, DPI = 2.6, 110  # inches, dots per inch
MOST_COLUMNS = 4
HEAD = """# Why manifolds: the survey's results as exhibits

The survey ({survey})
says what follows for generative models if data lie near a manifold of low dimension. The page *Exhibits* measures
{count} of its results on toy data, where the manifold is known. Each verdict counts the random seeds for which
its criterion is met; the criteria and all numbers are on the page. Networks are small and trainings short (up to 2,000
steps of 128 points), so the numbers rank models in this setting only. Criteria and settings were not fixed in advance:
after first trials the training of *weak losses* was lengthened (3 of 5 seeds had passed), the range of σ of *the score*
was narrowed, and *noise* compares medians rather than means.

*W₂* is the Wasserstein distance to held-out data, its *baseline* that between two real samples; the lowest median of a
column is bold. MvM, manifold matching, is the model of this lab.

`python -m mvm claims --survey --markdown` measures what is missing and prints the table. Shipped results: five seeds;
{minutes:.0f} minutes of processor time on {device}. This page is written by `python docs/exhibits.py`.
"""


def main() -> None:
    """Draw the pictures and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out: Path = parser.parse_args().out
    found, device = shipped()
    (out / "exhibits").mkdir(parents=True, exist_ok=True)
    minutes = sum(result.seconds for result in found.values()) / 60
    parts = [
        HEAD.format(survey=SURVEY, count=len(found), device=device, minutes=minutes),
        to_markdown([*found.values()]),
    ]
    for name, result in found.items():
        draw(result, out / "exhibits" / f"{name}.png")
        exhibit, value = EXHIBITS[name], list(result.pictures)[-1]
        parts.append(f"## {exhibit.title}\n\n{exhibit.description}\n")
        parts.append(
            f"![{exhibit.title}](exhibits/{name}.png)\n\n*Shown: {exhibit.knob} {value}.* **{result.verdict}**: "
        )
        parts[-1] += f"{exhibit.criterion}."
    (out / "exhibits.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    print(f"{out / 'exhibits.md'}: {len(found)} exhibits")


def draw(result: Result, path: Path) -> None:
    """The panels of the knob's last value as a PNG."""
    panels = list(result.pictures.values())[-1]
    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL * columns, (PANEL + 0.3) * rows), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        draw_panel(axes, panel)
    for axes in places[len(panels) :]:
        axes.remove()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Curves or clouds on axes."""
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.x, fontsize=8)
    axes.set_ylabel(panel.y, fontsize=8)
    axes.tick_params(labelsize=7)
    for series in panel.series:
        colour, label = COLOURS[series.colour], series.name or None
        if series.mark == "points":
            axes.plot(series.x, series.y, "o", color=colour, markersize=2.2 if len(series.x) > 1 else 6, label=label)
        else:
            axes.plot(series.x, series.y, "--" if series.mark == "dashed" else "-", color=colour, lw=1.3, label=label)
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")
    if panel.is_cloud:
        axes.set_aspect("equal", adjustable="datalim")
    if any(series.name for series in panel.series):
        axes.legend(fontsize=6.5, frameon=False)


if __name__ == "__main__":
    main()
