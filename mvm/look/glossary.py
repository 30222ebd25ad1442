"""The lab's terms, each said in one sentence: the same words in every tooltip, figure and document.

    TERMS["baseline"]            what the word means, for tooltips
    HOW_TO_READ["spectrum"]      what to look for in a panel, for the line below its title

Descriptors, scores and settings have their sentence where they are defined; here they are found under their name.
"""

from __future__ import annotations

from mvm.geometry.descriptors import DESCRIPTORS
from mvm.methods import METHODS
from mvm.scoring.images import FACTOR_SCORES, IMAGE_SCORES
from mvm.scoring.points import SCORES
from mvm.scoring.superres import SUPERRES_SCORES

__all__ = ["HOW_TO_READ", "SCORE_TERMS", "TERMS"]


def _sentence(text: str | None) -> str:
    """A help of a registry or a setting as a sentence."""
    text = (text or "").strip()
    first = text[:2] if text[:2] in ("d_", "α:", "γ:") or text[:1] in "0123456789" else text[:2].capitalize()
    return first + text[2:].removesuffix(".") + "."


def _setting(name: str) -> str:
    return _sentence(METHODS["mvm"].settings_type.model_fields[name].description)


TERMS: dict[str, str] = {
    "real": "A point of the data, on the manifold that the generator should find; green.",
    "fake": "A point that the generator made from noise; orange.",
    "manifold": "The curve or surface that the data lie on.",
    "generator": "The network that turns noise into fakes; it learns to place them where the reals are.",
    "metric network": "The network that embeds reals and fakes; distances between embeddings are the learned metric.",
    "embedding": "A point as the metric network sees it: its output, a vector of some ten numbers.",
    "descriptor": "A number that describes a set of embedded points as a whole, such as its centroid.",
    **{descriptor.title: _sentence(descriptor.help) for descriptor in DESCRIPTORS.values()},
    "gap": "How far the fakes' descriptor is from the reals'; the generator descends the weighted sum of the gaps.",
    "d_c": "Centroid gap: distance between the means of the real and the fake embeddings.",
    "d_g": "2-diameter gap: difference of the root mean square distances within the reals and within the fakes.",
    "d_H": "Hausdorff distance: how far the worst-matched embedding is from the nearest one of the other side.",
    "d_p": "Pair distance: mean distance between the embeddings of an upscaled patch and of its original.",
    "baseline": "A score between two samples of real data: what a perfect generator would get.",
    "W₂": "2-Wasserstein distance: how far fakes must be moved, on the root mean square, to become the reals.",
    "coverage": _sentence(SCORES["coverage"].meaning),
    "precision": _sentence(SCORES["precision"].meaning),
    "recall": _sentence(SCORES["recall"].meaning),
    "density": _sentence(SCORES["density"].meaning),
    "spectrum": "Eigenvalues of the matrix of distances between the real embeddings: along how many directions they "
    "spread, and how evenly.",
    "UMAP": "A map of the embeddings in the plane that keeps neighbours together; its distances and axes mean nothing.",
    "PCA": "The embeddings seen along the directions in which they spread most; unlike UMAP, a plain projection.",
    "Isomap": "The embeddings unrolled: distances on it are those along the embeddings, from neighbour to neighbour.",
    "Diffusion map": "A map on which points that many short paths connect lie together.",
    "Eigenvectors": "Each point's entries in two eigenvectors of the reals' distance matrix, whose eigenvalues are the "
    "spectrum; fakes are placed among the reals by Nyström's formula.",
    "variant": "One column: a generator and a metric network of its own, trained to match its own set of descriptors; "
    "all variants start from the same weights and see the same batches and noise.",
    "recipe": "A set of defaults for every setting: recommended (this lab's), the paper's, or its authors' code's.",
    "seed": "Fixes the initial weights, batches and noise; each variant is trained once per seed, all together.",
    "step": "One update of the generator and of the metric network.",
    "snapshot": "The reals, fakes and embeddings of one step, saved so that the timeline can go back to it.",
    "fork": "A run that goes back to a saved step of another run and continues from there with some settings changed.",
    "collapse": "The fakes shrink to nearly one point, and stay there.",
    "divergence": "Losses or weights grow without limit; the training of the variant has ended.",
    "anchor": "The first point of a triplet; the metric pulls its positive (same side) closer than its negative "
    "(other side). In the recommended recipe anchors are fakes, which shows what the generator leaves out.",
    "triplet": "An anchor, a positive from its own side and a negative from the other, real against fake: what the "
    "metric network learns from.",
    "margin α": _setting("alpha"),
    "direction weight γ": _setting("gamma"),
    "slope penalty": _setting("lipschitz"),
    "EMA": "Exponential moving average of the generator's weights: the generator that is shown and scored.",
    "geodesic": "The shortest path between two points along the manifold, or under the learned metric.",
    "log-likelihood": _sentence(SCORES["log_likelihood"].meaning),
    "total variation": "Half the area between two densities: 0 if they are the same, 1 if they share no place.",
    "log density": "Natural logarithm of the density of the model's samples at a place, in standardised coordinates.",
    "log area distortion": "By how much the learned metric stretches or shrinks a small area, as a logarithm.",
}
"""What each term means, in a sentence."""

SCORE_TERMS: dict[str, str] = {
    key: _sentence(score.meaning)
    for scores in (SCORES, IMAGE_SCORES, FACTOR_SCORES, SUPERRES_SCORES)
    for key, score in scores.items()
}
"""What each score measures, in a sentence, by its key."""

HOW_TO_READ: dict[str, str] = {
    "data": "Orange should lie on green, and cover all of it.",
    "density": "1 is the density of real data; below the band, a part of the manifold is missed; above it, crowded.",
    "lenses": "One way at a time to look at the fakes' shape; its baseline is a second sample of reals.",
    "embeddings": "The same points as the metric network sees them; mixed colours: it can't tell fakes from reals.",
    "pca": "The same points along the metric's own main directions; here distances can be compared.",
    "gaps": "All fall as the fakes come to have the centroid and the diameter of the reals under the learned metric.",
    "pair_gaps": "All fall as upscaled patches come to lie like the originals; d_p compares each with its own.",
    "spectrum": "Few large eigenvalues: the metric uses few directions; even ones: it spreads the reals out.",
    "scores": "Compare each with its baseline, which is real data against real data: closer is better, below it is "
    "sampling noise.",
    "pair_scores": "Compare each with bicubic interpolation, which has learned nothing.",
    "samples": "Each place keeps its noise for the whole run: watch it become sharp, and look for repeated ones.",
    "neighbours": "The reals nearest to a fake: alike is good, the same picture means that it was memorised.",
    "interpolation": "A walk between two noises: faces should change smoothly, and stay faces all the way.",
    "upscaled": "Look for detail that bicubic blurs and the original has; detail that only the upscaled picture has is "
    "invented.",
    "sampling": "How each fake moves from noise to where it ends; play it, or drag the handle.",
    "parallel": "Each line is a training; yellow ones score best. Drag along an axis to keep the lines that cross it.",
    "importance": "The share of the score's variance that each setting explains by itself; the rest is due to "
    "seeds and to combinations of settings.",
    "timeline": "Drag it to go back to any saved step; marks are events, such as a weight that was moved.",
}
"""How to read each panel, in a line."""
