"""Linear algebra: SVD of products, stable and effective rank, principal angles, linear CKA.

A weight has shape (d_out, d_in): its left singular vectors are directions of the output. Results
have the precision of the input.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.linalg import eigh, subspace_angles
from scipy.special import erf, gammaln

Matrix = NDArray[np.floating]


@dataclass(frozen=True)
class Svd:
    """Singular value decomposition U diag(s) Vᵀ, largest singular value first.

    Attributes:
        u: left singular vectors, shape (m, r).
        s: singular values, shape (r,).
        vt: right singular vectors, shape (r, n).
    """

    u: Matrix
    s: Matrix
    vt: Matrix


def product_svd(b: ArrayLike, a: ArrayLike) -> Svd:
    """Compute the exact SVD of B A without forming the product.

    QR of B and of Aᵀ leaves an r x r matrix to decompose: O((m + n) r²), not O(m n min(m, n)).

    Args:
        b: shape (m, r).
        a: shape (r, n); scale one of the two factors if the update is scaled.

    Returns:
        The decomposition, with min(r, m, n) singular values.
    """
    left, upper = np.linalg.qr(np.asarray(b))
    right, lower = np.linalg.qr(np.asarray(a).T)
    u, s, vt = np.linalg.svd(upper @ lower.T, full_matrices=False)
    return Svd(left @ u, s, vt @ right.T)


def gram_svd(matrix: ArrayLike) -> Svd:
    """Compute the SVD by the eigenvectors of the smaller Gram matrix, in float64.

    Several times as fast as a direct SVD. A singular value s has an absolute error of about
    2⁻⁵³ s₁² / s, s₁ the largest, so that those below some 1e-8 of it are noise. The product is
    exact at full rank: U diag(s) Vᵀ = U Uᵀ M, or M V Vᵀ for a tall matrix (Golub & Van Loan 2013,
    section 8.6.3).

    Args:
        matrix: shape (m, n), any float dtype.
    """
    wide = np.asarray(matrix, float)
    if wide.shape[0] > wide.shape[1]:
        turned = gram_svd(wide.T)
        return Svd(turned.vt.T, turned.s, turned.u.T)
    _, u = eigh(wide @ wide.T)
    u = u[:, ::-1]  # largest first, (m, m)
    rows = u.T @ wide  # (m, n)
    s = np.linalg.norm(rows, axis=1)
    return Svd(u, s, rows / np.where(s > 0, s, 1)[:, None])


def stable_rank(s: ArrayLike) -> float:
    """Stable rank ‖M‖_F² / ‖M‖₂²: between 1 and the rank, insensitive to small singular values.

    Args:
        s: singular values, shape (r,), not all zero.

    Source: Rudelson & Vershynin 2007, J. ACM 54(4), section 1.
    """
    values = np.asarray(s, float)
    return float((values**2).sum() / values.max() ** 2)


def effective_rank(s: ArrayLike) -> float:
    """Effective rank: exp of the entropy of p = s / Σs.

    Args:
        s: singular values, shape (r,), not all zero.

    Source: Roy & Vetterli 2007, EUSIPCO, section 2.
    """
    values = np.asarray(s, float)
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def energy_rank(s: ArrayLike, share: float = 0.9) -> int:
    """Count the largest singular values that hold this share of ‖M‖_F².

    Args:
        s: singular values, shape (r,), not all zero.
        share: fraction of ‖M‖_F², between 0 and 1.
    """
    energy = np.sort(np.asarray(s, float) ** 2)[::-1].cumsum()
    return int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12)) + 1)


def subspace_similarity(one: ArrayLike, other: ArrayLike) -> float:
    """Subspace similarity φ = ‖Aᵀ B‖_F² / min(i, j): 0 if orthogonal, 1 if one contains the other.

    Args:
        one: i orthonormal columns, shape (d, i).
        other: j orthonormal columns, shape (d, j).

    Source: Hu et al. 2021, arXiv:2106.09685, section 7.2 and appendix G.
    """
    a, b = np.asarray(one), np.asarray(other)
    return float(np.linalg.norm(a.T @ b) ** 2 / min(a.shape[1], b.shape[1]))


def random_similarity(i: int, j: int, d: int) -> float:
    """Mean of φ for two random subspaces of i and j dimensions in d dimensions: max(i, j) / d."""
    return max(i, j) / d


def principal_angles(one: ArrayLike, other: ArrayLike) -> Matrix:
    """Principal angles between two subspaces, radians, smallest first.

    Args:
        one: basis vectors in the columns, shape (d, i).
        other: basis vectors in the columns, shape (d, j).

    Source: Knyazev & Argentati 2002, SIAM J. Sci. Comput. 23(6), by scipy.
    """
    return subspace_angles(np.asarray(one), np.asarray(other))[::-1]


def nearest_cosines(vectors: ArrayLike, among: ArrayLike) -> Matrix:
    """Largest |cos| of each unit column of one matrix with any column of another, shape (k,).

    Args:
        vectors: unit columns, shape (d, k).
        among: unit columns, shape (d, m).
    """
    return np.abs(np.asarray(vectors).T @ np.asarray(among)).max(axis=1)


def random_cosine(d: int, among: int) -> float:
    """Compute the expected largest |cos| of a random direction with m orthonormal others.

    The cosines are m coordinates of z / ‖z‖ for a standard normal z in d dimensions. Its length is
    independent of its direction, so the expectation is E max |z_i| / E ‖z‖, exactly.

    Args:
        d: number of dimensions.
        among: m, the number of orthonormal directions, at most d.
    """
    # E max |z_i| is the integral of P(max |z_i| > t), which vanishes in float64 beyond 10
    largest = quad(lambda t: 1 - erf(t / math.sqrt(2)) ** among, 0, 10, points=[1, 2, 3, 4, 5])[0]
    length = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    return largest / length


def projected(u: ArrayLike, vt: ArrayLike, weight: ArrayLike) -> Matrix:
    """Projection Uᵀ W V of a weight onto k directions on each side, shape (k, k)."""
    return np.asarray(u).T @ np.asarray(weight) @ np.asarray(vt).T  # (k, m) (m, n) (n, k)


def random_projection(norm: float, rank: int, shape: tuple[int, int]) -> float:
    """Approximate ‖Uᵀ W V‖_F for r random directions on each side: r ‖W‖_F / sqrt(m n).

    Args:
        norm: ‖W‖_F.
        rank: r.
        shape: (m, n), the shape of W.
    """
    return rank * norm / math.sqrt(shape[0] * shape[1])


def linear_cka(one: ArrayLike, other: ArrayLike) -> float:
    """Linear CKA of two representations of the same n items: 1 if equal up to rotation and scale.

    The debiased estimate: its mean for unrelated representations is 0 at every width, so it may lie
    slightly below 0. Computed from d x d products, never n x n.

    Args:
        one: shape (n, p), n at least 4.
        other: shape (n, q).

    Raises:
        ValueError: fewer than four items.

    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3, with the unbiased HSIC of Song et
    al. 2012, JMLR 13, equation 5.
    """
    x, y = np.asarray(one, float), np.asarray(other, float)
    if len(x) < 4:
        raise ValueError(f"{len(x)} items are too few; debiased CKA needs 4")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(_hsic(x, y) / math.sqrt(_hsic(x, x) * _hsic(y, y)))


def _hsic(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased HSIC of linear kernels, times n (n - 3).

    With K = X Xᵀ, K₀ the same without its diagonal k, and L likewise: tr(K₀ L₀) = ‖Xᵀ Y‖² - k·l,
    and K₀ 1 = -k, the columns being centered.
    """
    n = len(x)
    k, l = (x**2).sum(axis=1), (y**2).sum(axis=1)  # noqa: E741  # as in the paper
    trace = np.linalg.norm(x.T @ y) ** 2 - k @ l
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    return float(trace + sums - 2 / (n - 2) * (k @ l))
