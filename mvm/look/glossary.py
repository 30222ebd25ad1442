"""The lab's terms, each said in one sentence: the same words in every tooltip, figure and document.

TERMS["baseline"]            what the word means, for tooltips
HOW_TO_READ["spectrum"]      what to look for in a panel, for the line below its title
"""

from __future__ import annotations

__all__ = ["HOW_TO_READ", "TERMS"]

TERMS = {
    "baseline": "A score between two samples of real data: what a perfect generator would get.",
}

HOW_TO_READ = {
    "data": "Orange should lie on green, and cover all of it.",
    "embeddings": "The same points as the metric network sees them; mixed colours: it can't tell fakes from reals.",
    "gaps": "All fall as the fakes come to have the centroid and the diameter of the reals under the learned metric.",
    "density": "1 is the density of real data; below the band, a part of the manifold is missed; above it, crowded.",
    "spectrum": "Few large eigenvalues: the metric uses few directions; even ones: it spreads the reals out.",
    "scores": "Compare each with its baseline, which is real data against real data.",
}
