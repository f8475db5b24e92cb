"""Displacements of trained vectors from their start: energy by direction, agreement of two runs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.models.base_model import BaseModel
from peftlens.vocab.trained_vectors import TrainedVectors
from peftlens.vocab.vocabulary import vocabulary

COMPONENTS = 50


@dataclass(frozen=True)
class TopComponents:
    """The strongest principal components of the vocabulary's table.

    Attributes:
        axes: orthonormal axes, shape (k, d); k is 50, or d in a narrower table.
        tokens: share of a token's energy in them, mean over the tokens.
    """

    axes: torch.Tensor
    tokens: float

    @property
    def isotropic(self) -> float:
        """Expected share of the energy of a random direction: k / d."""
        return self.axes.shape[0] / self.axes.shape[1]

    def energy(self, vectors: torch.Tensor) -> NDArray[np.float64]:
        """Compute the share of each vector's squared length in the components, shape (n,).

        Args:
            vectors: shape (n, d); the share of a vector of zeros is NaN.
        """
        within = (vectors @ self.axes.T).square().sum(dim=1)
        return (within / vectors.square().sum(dim=1)).double().cpu().numpy()


def top_components(base: BaseModel, vectors: TrainedVectors) -> TopComponents:
    """Compute the strongest components of the table in the space of vectors; cached."""

    def components() -> TopComponents:
        rows = vectors.table[torch.from_numpy(vocabulary(base).usable)]
        rows = rows - rows.mean(dim=0)
        # eigenvalues ascend
        axes = torch.linalg.eigh((rows.T @ rows).double()).eigenvectors[:, -COMPONENTS:].T.float()
        return TopComponents(axes, float(np.nanmean(TopComponents(axes, np.nan).energy(rows))))

    return base.derived("top components", components, key=vectors.space, most=2)


@dataclass(frozen=True)
class Agreement:
    """Agreement of the displacements of two runs.

    Attributes:
        cosine: mean cosine at equal positions.
        elsewhere: mean cosine at unequal positions; NaN for prompts of one vector.
        random_sd: standard deviation of `cosine`, whose mean is 0, if either prompt's displacements
            are turned by a random rotation, which keeps the angles between them.
    """

    cosine: float
    elsewhere: float
    random_sd: float


def agreement(one: torch.Tensor, other: torch.Tensor) -> Agreement:
    """Compare displacements, shape (n, d) each, none of them zero.

    For a random rotation R, the variance of trace(R M) is the sum of M's squared entries over d.
    With M = Σ vᵢ uᵢᵀ for unit vectors u and v, that is Σᵢⱼ (uᵢ·uⱼ)(vᵢ·vⱼ) / d: n / d, so a standard
    deviation of 1 / √(d n), if each prompt's displacements are orthogonal.
    """
    u, v = (torch.nn.functional.normalize(vectors.double()) for vectors in (one, other))
    cosines, n = u @ v.T, len(u)
    equal = cosines.diagonal().sum()
    squares = ((u @ u.T) * (v @ v.T)).sum().clamp(min=0)
    return Agreement(
        cosine=float(equal / n),
        elsewhere=float((cosines.sum() - equal) / (n * (n - 1))) if n > 1 else float("nan"),
        random_sd=float((squares / u.shape[1]).sqrt() / n),
    )
