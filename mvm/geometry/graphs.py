"""Graphs over a point cloud: geodesics along it, maps that keep them, and its minimum spanning tree.

graph geodesic   shortest path over edges between the k nearest neighbours           (Tenenbaum et al., Science 2000)
Isomap           classical MDS of graph geodesics                                                 (the same)
diffusion map    eigenvectors of the random walk with weights exp(−d²/ε), density divided out (Coifman & Lafon 2006)
spanning tree    the longest edge shows a gap or a bridge; the total length shows how evenly the points lie
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvm.geometry.distances import pairwise
from mvm.geometry.neighbourhoods import neighbours

__all__ = ["SpanningTree", "diffusion_map", "graph_geodesics", "isomap", "spanning_tree"]


@dataclass(frozen=True)
class SpanningTree:
    """Minimum spanning tree of n points.

    Attributes:
        edges: pairs of points `(n − 1, 2)`, the longest first.
        lengths: of the edges `(n − 1,)`, falling.
    """

    edges: np.ndarray
    lengths: np.ndarray

    @property
    def longest(self) -> float:
        """Length of the longest edge."""
        return float(self.lengths[0])

    @property
    def length(self) -> float:
        """Total length."""
        return float(self.lengths.sum())


def graph_geodesics(points: Tensor, *, k: int | None = None) -> np.ndarray:
    """Lengths of shortest paths over the graph of k nearest neighbours, `(n, D)` to `(n, n)`; inf if there is none."""
    from scipy.sparse.csgraph import shortest_path
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points.double().numpy(), k or neighbours(len(points)), mode="distance")
    return np.asarray(shortest_path(graph.maximum(graph.T), directed=False))


def isomap(points: Tensor, *, dim: int = 2, k: int | None = None) -> np.ndarray:
    """Isomap coordinates `(n, dim)` of points `(n, D)`; components are joined by their shortest edge first."""
    from sklearn.manifold import Isomap

    found = Isomap(n_neighbors=k or neighbours(len(points)), n_components=dim, eigen_solver="dense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several components
        return np.asarray(found.fit_transform(points.double().numpy()))


def diffusion_map(points: Tensor, *, dim: int = 2) -> np.ndarray:
    """Diffusion coordinates `(n, dim)` of points `(n, D)`, each eigenvector times its eigenvalue.

    The bandwidth ε is the median squared distance to the `neighbours(n)`-th neighbour, times 2.
    """
    squares = pairwise(points.double(), squared=True).numpy()
    k = neighbours(len(points))
    epsilon = 2 * np.median(np.partition(squares, k, axis=1)[:, k])
    kernel = np.exp(-squares / epsilon)
    density = kernel.sum(1)
    kernel /= np.outer(density, density)
    root = np.sqrt(kernel.sum(1))
    values, vectors = np.linalg.eigh(kernel / np.outer(root, root))
    leading = slice(-2, -2 - dim, -1)  # the last is constant
    return np.asarray(vectors[:, leading] / root[:, None] * values[leading] * np.sqrt(root @ root))


def spanning_tree(points: Tensor) -> SpanningTree:
    """Minimum spanning tree of points `(n, D)`; of coinciding points one counts."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    distinct = torch.from_numpy(np.unique(points.double().numpy(), axis=0))
    tree = minimum_spanning_tree(pairwise(distinct).numpy()).tocoo()
    order = np.argsort(-tree.data)
    return SpanningTree(np.stack([tree.row, tree.col], axis=1)[order], tree.data[order])
