"""PCA of embeddings as a film: the principal plane of the reals, turned onto the plane of the step before.

    plane       Y = (E − ē) B          B (k, 2): leading eigenvectors of the covariance of the reals E (n, k)
    turned      B ← B Q                Q = argmin_{QᵀQ = I} ‖Y Q − P‖ = U Vᵀ,   U Σ Vᵀ = Yᵀ P
    shares      Var(Y_i) / Var(E)      of variance along each axis; their sum is that of the two leading eigenvalues

P is Y of the step before. Eigenvectors have no sign, and no direction where eigenvalues coincide: unturned, the plot
would flip and spin while nothing moves. Fakes are projected onto the plane of the reals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["PrincipalPlane", "principal_plane"]


@dataclass(frozen=True)
class PrincipalPlane:
    """The principal planes of V sets of embeddings.

    Attributes:
        centre: means of the reals `(V, k)`.
        basis: orthonormal columns `(V, k, 2)`; the second is zero for k = 1.
        shares: of the reals' variance along the columns `(V, 2)`; zero where the reals coincide.
    """

    centre: np.ndarray
    basis: np.ndarray
    shares: np.ndarray

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """Coordinates `(V, m, 2)` of embeddings `(V, m, k)`, float32."""
        coordinates: np.ndarray = (embeddings - self.centre[:, None]) @ self.basis
        return coordinates.astype(np.float32)


def principal_plane(real: np.ndarray, *, previous: np.ndarray | None = None) -> PrincipalPlane:
    """Principal planes of reals, each turned or reflected onto its previous coordinates.

    Args:
        real: embeddings `(V, n, k)`, rows in the same order at every step.
        previous: coordinates `(V, n, 2)` of the same rows; None, or NaN for a set, keeps the eigenvectors, with the
            entry of largest magnitude positive.

    Returns:
        Planes; NaN for a set with an embedding that is not finite.
    """
    real = np.asarray(real, dtype=np.float64)
    finite = np.isfinite(real).all((1, 2))
    known = np.where(finite[:, None, None], real, 0.0)
    centre = known.mean(1)
    centred = known - centre[:, None]
    covariance = centred.swapaxes(1, 2) @ centred  # times n
    basis = _leading_axes(covariance)
    if previous is not None:
        turn = np.isfinite(previous).all((1, 2))
        u, _, vt = np.linalg.svd((centred @ basis).swapaxes(1, 2) @ np.where(turn[:, None, None], previous, 0.0))
        basis = np.where(turn[:, None, None], basis @ (u @ vt), basis)
    total = np.trace(covariance, axis1=1, axis2=2)[:, None]
    shares = np.einsum("vki,vkl,vli->vi", basis, covariance, basis) / np.where(total > 0, total, 1)
    lost = np.where(finite, 0.0, np.nan)
    return PrincipalPlane(centre + lost[:, None], basis + lost[:, None, None], shares + lost[:, None])


def _leading_axes(covariance: np.ndarray) -> np.ndarray:
    """Two leading eigenvectors of covariances `(V, k, k)`, as signed columns `(V, k, 2)`."""
    axes = np.linalg.eigh(covariance)[1][..., ::-1][..., :2]
    axes = np.pad(axes, [(0, 0), (0, 0), (0, 2 - axes.shape[-1])])
    peak = np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), axis=1)
    signed: np.ndarray = axes * np.where(peak < 0, -1, 1)
    return signed
