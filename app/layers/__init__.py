"""Layers over the Lab's clouds that show why the points move as they do.

forces               arrows: the pull of each descriptor on each fake                          (mvm.geometry.forces)
metric               ellipses: points at equal metric distance, log area distortion            (mvm.geometry.pullback)
density              log density of a model that has one, with level curves               (mvm.studies.model_density)
geodesic             shortest path between two points under the metric, the straight line, the true geodesic
nearest              the points nearest to a clicked one under the metric, in space and along the data
eigenvector          points coloured by one eigenvector of their distance matrix               (mvm.geometry.spectrum)
trust, continuity    embeddings coloured by how far their neighbours are true           (mvm.geometry.neighbourhoods)

The metric comes from the last checkpoint up to the shown step. Computed values are kept for all browser tabs, under
keys that name everything that they depend on.
"""

from app.layers.choice import Choice, choice_of, colour_by_eigenvector, draw_controls, take_click
from app.layers.data_space import over_clouds
from app.layers.panels import Axes, Layered, draw_notes
from app.layers.projection import over_projection

__all__ = [
    "Axes",
    "Choice",
    "Layered",
    "choice_of",
    "colour_by_eigenvector",
    "draw_controls",
    "draw_notes",
    "over_clouds",
    "over_projection",
    "take_click",
]
