"""Lenses: ways to look at generated points beside real ones, each beside the baseline of a second real sample.

    LENSES["holes"].look(Subject(real, fake, baseline, manifold))     numbers, and pictures of the three clouds

A further lens is a function of a `Subject` that returns a `Reading`, and one entry here.
"""

from __future__ import annotations

from mvm.lenses.learned import measure_autoencoder, measure_embeddings, measure_score, measure_seeds
from mvm.lenses.lens import Layer, Lens, Networks, Number, Picture, Reading, Subject
from mvm.lenses.maps import measure_diffusion_map, measure_isomap
from mvm.lenses.nearest import measure_nearest
from mvm.lenses.shape import measure_dimension, measure_holes, measure_spanning_tree, measure_tangents

__all__ = ["LENSES", "Layer", "Lens", "Networks", "Number", "Picture", "Reading", "Subject"]

LENSES: dict[str, Lens] = {
    "holes": Lens(
        "Holes",
        "Dots far from the diagonal are components, loops and voids that last over many scales; fakes should have "
        "those of the reals, at the same places.",
        measure_holes,
        needs=("space",),
        slow=True,
    ),
    "dimension": Lens(
        "Intrinsic dimension",
        "Dimension depends on scale: noise fills the space at small ones. The fakes' curve should follow the reals'.",
        measure_dimension,
        slow=True,
    ),
    "tangents": Lens(
        "Tangents",
        "Left: do neighbouring fakes line up with the manifold? Right: how far off it are they? A curve further left "
        "is better; the baseline is what noise alone gives.",
        measure_tangents,
        needs=("manifold",),
    ),
    "isomap": Lens(
        "Isomap",
        "The data unrolled, colour along the manifold: fakes should give the reals' map. Correlations near 1: "
        "distances on the map are those along the manifold.",
        measure_isomap,
        slow=True,
    ),
    "diffusion_map": Lens(
        "Diffusion map",
        "Points that many short paths connect lie together; components fall apart, bridges pull them together.",
        measure_diffusion_map,
        slow=True,
    ),
    "spanning_tree": Lens(
        "Minimum spanning tree",
        "The shortest net that joins all points: a long longest edge is a gap, missing between components it is a "
        "bridge; a length below the baseline's: points are clumped.",
        measure_spanning_tree,
    ),
    "embeddings": Lens(
        "Spread of embeddings",
        "Along how many directions the metric spreads each cloud: fakes should have the reals' curve.",
        measure_embeddings,
        needs=("metric",),
    ),
    "seeds": Lens(
        "Agreement of seeds",
        "Cosines between the same points under two seeds' metrics: on the diagonal, both learned one metric, up to a "
        "rotation. Compare with the untrained pair.",
        measure_seeds,
        needs=("metric", "seeds"),
    ),
    "autoencoder": Lens(
        "Autoencoder",
        "Arrows: where decoding and encoding again moves a latent; none where the autoencoder is consistent.",
        measure_autoencoder,
        needs=("autoencoder",),
    ),
    "score": Lens(
        "Score network",
        "Left: near a manifold the score's norm tells its dimension, against the noise level. Right: directions with "
        "values near 1 are normal, those near 0 tangential.",
        measure_score,
        needs=("score",),
    ),
    "nearest": Lens(
        "Nearest points",
        "The ten points nearest to one by three distances; a good metric chooses those along the manifold.",
        measure_nearest,
        slow=True,
    ),
}
