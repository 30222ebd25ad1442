"""Figures and tables for a paper, made from runs.

    paper       spectrum      Fig. 5     ten leading eigenvalues of the real embeddings' distances over training
                samples       Fig. 6     generated points, or pictures, and UMAP of the embeddings, per descriptor
                distances     Fig. 7     d_c, d_g and d_H over training; bands span the quartiles of the seeds
                              Fig. 10    the same and d_p, on pairs
                batch         Table 2    quality and time by batch size, from several runs
    panels      eigenvalues   Lab        the same eigenvalues before training and now
                scores        Lab        every score over its baseline, real against real; minus that of bicubic
                loss          Lab        losses of the players
                density       Lab        generated points along the manifold, over the data's density
                lens          Lab        what one lens sees: holes, dimension, tangents, ... (mvm.lenses)
                factors       Faces      coverage of each factor of toy faces
    pictures    sheet         Faces      generated pictures beside real ones
                nearest       Faces      generated pictures beside the training pictures nearest to them
                walk          Faces      pictures between two noise vectors
    upscaling   upscaled      Fig. 9     held-out crops: LR, bicubic, each setting, HR (Fig. 11, too)
                similarity    Table 3    PSNR, SSIM and NIQE beside bicubic, by backbone and setting (Table 5, too)
                settings      Table 6    perceptual part, pretrained or not, discriminator
    layers      forces        Lab        forces of the matched descriptors on generated points
                metric        Lab        pull-back of the learned metric on the plane
                likelihood    Lab        log density of a model that has one, with level curves
                modes         Lab        points coloured by an eigenvector of the real embeddings' distances
                honesty       Lab        UMAP coloured by its trustworthiness
    comparing   curves        Runs       any recorded quantity over training, several runs overlaid
                ablation      Runs       score beside its baseline by matched descriptors and data
                branches      Runs       distance between a fork and its run
    sweeps      heatmap       Sweeps     score over two settings; seeds and other settings are pooled
                parallel      Sweeps     every training as a line over its settings and its score
                best          Sweeps     settings from the best on, with the spread over seeds
                importance    Sweeps     share of the score's variance that each setting explains

Figures and tables refer to Dai & Hang 2021; Lab, Faces and Runs are pages of the app. A figure is a table of numbers
from runs, a drawing of that table, and in most cases a LaTeX table. Runs are shown as series: one for each variant and
combination of differing settings. Runs that differ in their seeds alone are pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mvm.errors import check_known
from mvm.figures import comparing, density, layers, lens, panels, paper, pictures, sweeps, upscaling
from mvm.figures.drawing import settled
from mvm.figures.selection import Definition, NoFigure, Selection
from mvm.figures.texts import edit, edit_latex, texts_of
from mvm.figures.venues import Venue, styled, venue_of
from mvm.runs.run import Run
from mvm.studies.compare import Series, footnote_of
from mvm.studies.labels import MARK
from mvm.words import tex

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "Definition",
    "NoFigure",
    "Selection",
    "Series",
    "data",
    "drawn",
    "figure_of",
    "latex",
    "latex_of",
    "render",
]

FIGURES: dict[str, Definition] = {
    "spectrum": Definition(
        "Leading eigenvalues of the real embeddings over training",
        "Fig. 5",
        paper.spectrum_data,
        paper.draw_spectrum,
        paper.spectrum_latex,
        uses=("snapshots",),
        options=("form",),
    ),
    "samples": Definition(
        "Samples and UMAP of the embeddings for each set of descriptors",
        "Fig. 6",
        paper.samples_data,
        paper.draw_samples,
        None,
        uses=("snapshot", "frame"),
        options=("seed",),
    ),
    "distances": Definition(
        "Distances between real and generated embeddings over training",
        "Figs. 7 and 10",
        paper.distances_data,
        paper.draw_distances,
        paper.distances_latex,
        uses=("records",),
    ),
    "batch": Definition(
        "Quality and time by batch size",
        "Table 2",
        paper.batch_data,
        paper.draw_batch,
        paper.batch_latex,
        uses=("records", "scores"),
    ),
    "eigenvalues": Definition(
        "Leading eigenvalues of the real embeddings now and before training",
        "Lab",
        panels.eigenvalues_data,
        panels.draw_eigenvalues,
        panels.eigenvalues_latex,
        uses=("snapshots",),
        options=("form",),
    ),
    "scores": Definition(
        "Every score over its baseline, real against real; photographs: minus that of bicubic interpolation",
        "Lab and Faces",
        panels.scores_data,
        panels.draw_scores,
        panels.scores_latex,
        uses=("records", "scores"),
    ),
    "loss": Definition(
        "Losses of the players over training",
        "Lab",
        panels.loss_data,
        panels.draw_loss,
        None,
        uses=("records",),
    ),
    "density": Definition(
        "Density of generated points along the manifold",
        "Lab",
        density.density_data,
        density.draw_density,
        density.density_latex,
        uses=("snapshot",),
        options=("seed",),
    ),
    "lens": Definition(
        "What a lens sees of generated points beside real ones",
        "Lab",
        lens.lens_data,
        lens.draw_lens,
        lens.lens_latex,
        uses=("snapshot", "metric"),
        options=("seed", "lens"),
    ),
    "forces": Definition(
        "Where each descriptor would move generated points",
        "Lab",
        layers.forces_data,
        layers.draw_forces,
        None,
        uses=("snapshot", "metric"),
        options=("seed",),
    ),
    "metric": Definition(
        "The learned metric of the plane: how it stretches space",
        "Lab",
        layers.metric_data,
        layers.draw_metric,
        None,
        uses=("snapshot", "metric"),
        options=("seed",),
    ),
    "likelihood": Definition(
        "Density of the model in data space",
        "Lab",
        layers.likelihood_data,
        layers.draw_likelihood,
        None,
        uses=("snapshot", "metric"),
        options=("seed",),
    ),
    "modes": Definition(
        "Points coloured by an eigenvector of the real embeddings' distances",
        "Lab",
        layers.modes_data,
        layers.draw_modes,
        None,
        uses=("snapshot", "frame"),
        options=("seed", "rank"),
    ),
    "honesty": Definition(
        "UMAP of the embeddings coloured by its trustworthiness",
        "Lab",
        layers.trust_data,
        layers.draw_trust,
        layers.trust_latex,
        uses=("snapshot", "frame"),
        options=("seed",),
    ),
    "sheet": Definition(
        "Generated pictures beside real ones",
        "Faces",
        pictures.sheet_data,
        pictures.draw_sheet,
        None,
        uses=("snapshot", "reals"),
        options=("seed",),
    ),
    "nearest": Definition(
        "Generated pictures and the training pictures nearest to them",
        "Faces",
        pictures.nearest_data,
        pictures.draw_nearest,
        None,
        uses=("snapshot", "training"),
        options=("seed",),
    ),
    "walk": Definition(
        "Pictures on the way between two noises",
        "Faces",
        pictures.walk_data,
        pictures.draw_walk,
        None,
        uses=("checkpoint", "reals"),
        options=("seed",),
    ),
    "upscaled": Definition(
        "Held-out crops: low resolution, bicubic, each setting, high resolution",
        "Figs. 9 and 11",
        upscaling.upscaled_data,
        upscaling.draw_upscaled,
        None,
        uses=("snapshot", "reals"),
        options=("seed",),
    ),
    "similarity": Definition(
        "Similarity and naturalness of upscaled photographs beside bicubic interpolation",
        "Tables 3 and 5",
        upscaling.similarity_data,
        upscaling.draw_similarity,
        upscaling.similarity_latex,
        uses=("records", "scores"),
    ),
    "settings": Definition(
        "Settings of super-resolution: perceptual part, pretrained or not, discriminator",
        "Table 6",
        upscaling.settings_data,
        upscaling.draw_settings,
        upscaling.settings_latex,
        uses=(),
    ),
    "factors": Definition(
        "How much of each factor of toy faces is covered",
        "Faces",
        panels.factors_data,
        panels.draw_factors,
        panels.factors_latex,
        uses=("records", "scores"),
    ),
    "curves": Definition(
        "A recorded quantity over training, several runs overlaid",
        "Runs",
        comparing.curves_data,
        comparing.draw_curves,
        comparing.curves_latex,
        uses=("records",),
        options=("quantity", "axis"),
    ),
    "ablation": Definition(
        "Score beside its baseline by what is matched and data",
        "Runs",
        comparing.ablation_data,
        comparing.draw_ablation,
        comparing.ablation_latex,
        uses=("records", "scores"),
    ),
    "branches": Definition(
        "How far a fork and its run have parted",
        "Runs",
        comparing.branches_data,
        comparing.draw_branches,
        comparing.branches_latex,
        uses=("snapshots", "origin"),
    ),
    "heatmap": Definition(
        "Score over two settings of a sweep, seeds pooled",
        "Sweeps",
        sweeps.heatmap_data,
        sweeps.draw_heatmap,
        sweeps.heatmap_latex,
        uses=("scores",),
        options=("quantity", "over"),
    ),
    "parallel": Definition(
        "Every training of a sweep over its settings and its score",
        "Sweeps",
        sweeps.parallel_data,
        sweeps.draw_parallel,
        None,
        uses=("scores",),
        options=("quantity",),
    ),
    "best": Definition(
        "Best settings of a sweep, with the spread over seeds",
        "Sweeps",
        sweeps.best_data,
        sweeps.draw_best,
        sweeps.best_latex,
        uses=("scores",),
        options=("quantity",),
    ),
    "importance": Definition(
        "How much of the score's variance each setting of a sweep explains",
        "Sweeps",
        sweeps.importance_data,
        sweeps.draw_importance,
        sweeps.importance_latex,
        uses=("scores",),
        options=("quantity",),
    ),
}


def figure_of(name: str) -> Definition:
    """The figure with this name.

    Raises:
        ConfigError: it is unknown.
    """
    check_known("figure", name, FIGURES)
    return FIGURES[name]


def data(name: str, runs: Sequence[Run], **options: Any) -> pd.DataFrame:
    """Numbers of a figure, one row each.

    Args:
        name: name of the figure.
        runs: one or more.
        options: arguments of `Selection.of`.

    Raises:
        ConfigError, RunError: as for `Selection.of`.
        NoFigure: these runs cannot give it.
    """
    return figure_of(name).data(Selection.of(runs, **options))


def latex(name: str, runs: Sequence[Run], **options: Any) -> str | None:
    """LaTeX table of a figure, for the package booktabs; None if it has none. Arguments as for `data`."""
    definition, selection = figure_of(name), Selection.of(runs, **options)
    return latex_of(definition, definition.data(selection), selection)


def latex_of(
    definition: Definition, table: pd.DataFrame, selection: Selection, *, texts: Mapping[str, str] | None = None
) -> str | None:
    """LaTeX table of a figure from its numbers, with the footnotes of its labels; None if it has none.

    texts: as for `drawn`; they replace whole cells.
    """
    text = definition.latex and definition.latex(table, selection)
    if text and tex(MARK) in text:
        note = rf"  \par\smallskip\footnotesize {tex(footnote_of(selection.series()))}"
        text = text.replace("\\end{table}", f"{note}\n\\end{{table}}")
    return text and edit_latex(text, texts or {})


def render(
    name: str,
    runs: Sequence[Run],
    *,
    venue: str = "neurips",
    wide: bool = False,
    texts: Mapping[str, str] | None = None,
    **options: Any,
) -> Figure:
    """Draw a figure at its true width; `mvm.figures.export.encoded` makes a file of it. Arguments as for `data`, and

    venue: sets widths and font sizes.
    wide: spans both columns, if the venue has two.
    texts: texts to replace, {old: new}.
    """
    definition, selection = figure_of(name), Selection.of(runs, **options)
    return drawn(definition, definition.data(selection), selection, venue=venue_of(venue), wide=wide, texts=texts)


def drawn(
    definition: Definition,
    table: pd.DataFrame,
    selection: Selection,
    *,
    venue: Venue,
    wide: bool = False,
    texts: Mapping[str, str] | None = None,
    known: dict[str, None] | None = None,
) -> Figure:
    """Draw a figure from its numbers, with some texts replaced as by `edit`; its own texts are added to `known`."""
    with styled(venue):
        from matplotlib.figure import Figure
        from matplotlib.text import Text

        figure = Figure(figsize=(venue.width(wide=wide), 1), layout="constrained")
        definition.draw(figure, table, selection)
        if known is not None:
            known |= dict.fromkeys(texts_of(figure))
        edit(figure, texts or {})
        marked = any(MARK in text.get_text() for text in figure.findobj(Text))
        settled(figure, footnote_of(selection.series()) if marked else "")
        return figure
