"""Spectrum of a set of embeddings: the eigenvalues of its distances (Figure 5 of the paper).

    distance    λ(D / mean D)           D[i, j] = ‖e_i − e_j‖, mean over all n² entries; by magnitude, signed
    mds         λ(B) / Σ λ(B)           B = −½ J D² J, J = I − 11ᵀ/n (classical MDS); descending, sum 1

B is the Gram matrix of the centred embeddings, B = E_c E_cᵀ, and shares its nonzero eigenvalues with the small
E_cᵀ E_c: the `mds` spectrum is exact in O(n·dim²) without any n x n matrix. A Euclidean distance matrix has one
positive eigenvalue: the `distance` spectrum is one positive value followed by negative ones.

    uniformity  H(p) / log k            p: the k leading magnitudes normalised to sum 1, H: Shannon entropy

An eigenvector assigns a number to each point, and Nyström's formula extends it to a new point y:

    v(y) = 1/λ Σ_j κ(y, e_j) v_j        κ(y, e_j): the matrix entry of y and e_j; v(e_j) = v_j

Source: Bengio et al. 2004 (Nyström's formula).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mvm.geometry.distances import pairwise

__all__ = [
    "MOST_RANKS",
    "SPECTRUM_FORMS",
    "Modes",
    "Spectrum",
    "SpectrumForm",
    "distance_spectrum",
    "eigenpairs",
    "eigenvalues",
    "mds_spectrum",
    "modes",
    "modes_shown",
    "uniformity",
]

MOST_RANKS = 10  # eigenvectors offered for display
NEAR = 256  # reals whose eigenvectors colour points


@dataclass(frozen=True)
class Spectrum:
    """Leading eigenvalues and, on request, eigenvectors.

    Attributes:
        values: `(..., k)`; padded with zeros if there are fewer than k eigenvalues.
        vectors: `(..., n, k)`, unit columns in the order of `values`, signed so that the entry of largest magnitude is
            positive; zero columns past the last eigenvalue. None if only values were requested.
    """

    values: Tensor
    vectors: Tensor | None = None


@dataclass(frozen=True)
class Modes:
    """Leading eigenvalues, and their eigenvectors' values at each point.

    Attributes:
        values: `(..., k)`, as `eigenvalues` gives them.
        real: `(..., k, n)`, unit rows in the order of `values`, signed as in `Spectrum`.
        fake: `(..., k, m)`, the same modes extended to further points; None without further points.
    """

    values: Tensor
    real: Tensor
    fake: Tensor | None = None


def distance_spectrum(embeddings: Tensor, *, k: int = 10, vectors: bool = False) -> Spectrum:
    """The k eigenvalues of D / mean(D) of largest magnitude, signs kept.

    Args:
        embeddings: `(..., n, dim)`, at least float32.
        k: how many.
        vectors: also return the eigenvectors.
    """
    matrix = pairwise(embeddings)
    mean = matrix.mean((-2, -1), keepdim=True)
    matrix = matrix / mean.where(mean > 0, 1)
    if vectors:
        values, columns = torch.linalg.eigh(matrix)
    else:
        values, columns = torch.linalg.eigvalsh(matrix), None
    order = values.abs().argsort(dim=-1, descending=True, stable=True)[..., :k]
    if columns is not None:
        columns = columns.gather(-1, order.unsqueeze(-2).expand(*columns.shape[:-1], -1))
    return _padded(values.gather(-1, order), columns, k)


def mds_spectrum(embeddings: Tensor, *, k: int = 10, vectors: bool = False) -> Spectrum:
    """The k largest eigenvalues of −½ J D² J as shares of their sum: the shares of variance of PCA.

    Args:
        embeddings: `(..., n, dim)`, at least float32.
        k: how many.
        vectors: also return the eigenvectors, the principal components of the points.
    """
    centred = embeddings - embeddings.mean(-2, keepdim=True)
    if vectors:
        columns, singular, _ = torch.linalg.svd(centred, full_matrices=False)
        values = singular.square()
        columns = columns[..., :k]
    else:
        n, dim = centred.shape[-2:]
        gram = centred.mT @ centred if dim <= n else centred @ centred.mT
        values, columns = torch.linalg.eigvalsh(gram).flip(-1).clamp_min(0), None
    total = values.sum(-1, keepdim=True)
    return _padded((values / total.where(total > 0, 1))[..., :k], columns, k)


def _distance_kernel(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    return pairwise(fake, real), pairwise(real).mean((-2, -1), keepdim=True)


def _mds_kernel(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    centre = real.mean(-2, keepdim=True)
    return (fake - centre) @ (real - centre).mT, (real - centre).square().sum((-2, -1), keepdim=True)


@dataclass(frozen=True)
class SpectrumForm:
    """One matrix of distances with its spectrum.

    Attributes:
        spectrum: embeddings `(..., n, dim)`, `k` and `vectors` to their `Spectrum`.
        kernel: `(..., m, dim), (..., n, dim)` to κ `(..., m, n)` and its divisor `(..., 1, 1)`.
        title: name of the matrix.
        label: what an axis of its eigenvalues says.
    """

    spectrum: Callable[..., Spectrum]
    kernel: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    title: str
    label: str


SPECTRUM_FORMS: dict[str, SpectrumForm] = {
    "distance": SpectrumForm(
        distance_spectrum, _distance_kernel, "distance matrix", "eigenvalue magnitude, D / mean D"
    ),
    "mds": SpectrumForm(mds_spectrum, _mds_kernel, "classical MDS", "share of variance (MDS)"),
}


def eigenvalues(embeddings: Tensor, *, k: int = 10, form: str = "distance") -> Tensor:
    """The k leading eigenvalues of a set of embeddings.

    Equal embeddings have an all-zero spectrum; a variant with a non-finite embedding gets NaN and does not affect the
    other variants.

    Args:
        embeddings: `(..., n, dim)`; leading dimensions are independent variants. Half precision is computed in float32.
        k: how many.
        form: a name in `SPECTRUM_FORMS`.

    Returns:
        `(..., k)`, padded with zeros if there are fewer than k eigenvalues.

    Raises:
        ValueError: unknown form, or k < 1.
    """
    return _spectrum(embeddings, k, form, vectors=False).values


def eigenpairs(embeddings: Tensor, *, k: int = 10, form: str = "distance") -> Spectrum:
    """Like `eigenvalues`, with the eigenvectors: column i weighs the points for eigenvalue i."""
    return _spectrum(embeddings, k, form, vectors=True)


def modes(real: Tensor, fake: Tensor | None = None, *, k: int = 10, form: str = "distance") -> Modes:
    """The eigenvectors of a set of embeddings, evaluated at its points and at others.

    Args:
        real: `(..., n, dim)`, the set whose spectrum is computed.
        fake: `(..., m, dim)`, other points (Nyström); NaN at points that are not finite.
        k: how many.
        form: a name in `SPECTRUM_FORMS`.

    Returns:
        Modes; zero at fakes where the eigenvalue is zero up to rounding.

    Raises:
        ValueError: unknown form, or k < 1.
    """
    pairs = eigenpairs(real, k=k, form=form)
    assert pairs.vectors is not None
    vectors = pairs.vectors.mT
    if fake is None:
        return Modes(pairs.values, vectors)
    real, fake = real.to(vectors), fake.to(vectors)
    kernel, scale = SPECTRUM_FORMS[form].kernel(fake, real)
    kernel = kernel / scale.where(scale > 0, 1)
    values = pairs.values.unsqueeze(-1)
    rounding = real.shape[-2] * torch.finfo(values.dtype).eps * values.abs().amax(-2, keepdim=True)
    zero = values.abs() <= rounding
    extended = (vectors @ kernel.mT / values.where(~zero, 1)).masked_fill(zero, 0)
    return Modes(pairs.values, vectors, extended.where(fake.isfinite().all(-1).unsqueeze(-2), torch.nan))


def modes_shown(real: Tensor, fake: Tensor, *, k: int = 10) -> Modes:
    """Modes of D / mean D that colour points: of the first `NEAR` reals, extended to all others by Nyström's formula.

    Args:
        real, fake: embeddings `(n, dim)` and `(m, dim)`.
        k: how many.

    Returns:
        Modes at all `n` and `m` points, scaled to mean square 1 at the first reals.
    """
    near = min(NEAR, len(real))
    found = modes(real[:near], torch.cat([real[near:], fake]), k=k)
    assert found.fake is not None
    others, fakes = found.fake.split([len(real) - near, len(fake)], dim=-1)
    return Modes(found.values, torch.cat([found.real, others], dim=-1) * near**0.5, fakes * near**0.5)


def uniformity(shares: Tensor) -> Tensor:
    """Normalised Shannon entropy of k leading eigenvalues: 1 when all are equal, 0 when one holds everything.

    Args:
        shares: `(..., k)`; signed values count by magnitude and need not sum to 1.

    Returns:
        `(...)` in [0, 1]; 0 for an all-zero (collapsed) spectrum, 1 for k = 1, NaN for a NaN spectrum.
    """
    shares = shares.abs()
    total = shares.sum(-1, keepdim=True)
    if shares.shape[-1] == 1:
        return (total / total.where(total != 0, 1)).squeeze(-1)
    p = shares / total.where(total != 0, 1)
    return -torch.xlogy(p, p).sum(-1) / math.log(shares.shape[-1])


def _spectrum(embeddings: Tensor, k: int, form: str, *, vectors: bool) -> Spectrum:
    """Check the arguments; NaN for each variant that has an embedding that is not finite."""
    if form not in SPECTRUM_FORMS:
        raise ValueError(f"unknown spectrum form {form!r}: choose one of {', '.join(SPECTRUM_FORMS)}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if torch.finfo(embeddings.dtype).bits < 32:
        embeddings = embeddings.float()
    finite = embeddings.isfinite().all(-1).all(-1)[..., None]
    spectrum = SPECTRUM_FORMS[form].spectrum(embeddings.where(finite[..., None], 0), k=k, vectors=vectors)
    values = spectrum.values.where(finite, torch.nan)
    if spectrum.vectors is None:
        return Spectrum(values)
    return Spectrum(values, spectrum.vectors.where(finite[..., None], torch.nan))


def _padded(values: Tensor, columns: Tensor | None, k: int) -> Spectrum:
    """k values and signed columns, with zeros for those that are missing."""
    missing = k - values.shape[-1]
    values = torch.nn.functional.pad(values, (0, missing))
    if columns is None:
        return Spectrum(values)
    peak = columns.gather(-2, columns.abs().argmax(-2, keepdim=True))
    columns = columns * torch.where(peak < 0, -1, 1).to(columns.dtype)
    return Spectrum(values, torch.nn.functional.pad(columns, (0, missing)))
