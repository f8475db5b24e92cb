"""Linear mixed model of scores with crossed random effects of seeds and items; intervals, Holm.

A score y_si of seed s on item i is μ + a_s + b_i + e_si: the seeds are random, because another
training run would end elsewhere, and so are the items, because another test would ask other
questions. Of two configurations with the same seeds and items the differences follow this model,
whose mean is the difference of the two. The variance components come from the mean squares of the
two-way analysis of variance, the degrees of freedom from Satterthwaite's approximation.

Sources: Searle, Casella & McCulloch 1992, Variance Components, section 4.3 (method of moments);
Satterthwaite 1946, Biometrics Bulletin 2, 110-114; Holm 1979, Scandinavian Journal of Statistics
6, 65-70.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of the random effects of one score, in the squared unit of the scores.

    Attributes:
        seed: variance of the seeds' effects.
        item: variance of the items' effects.
        residual: variance of what remains.
        contrasts: number of contrasts of configurations over which the seeds' is pooled.
    """

    seed: float
    item: float = 0.0
    residual: float = 0.0
    contrasts: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty; all but the value are None where the data can't give them.

    Attributes:
        value: the mean.
        low: lower end of its confidence interval.
        high: upper end.
        p_value: two-sided p of a mean of zero.
        degrees_of_freedom: of Student's t, by Satterthwaite's approximation.
        standard_error: standard error of the mean.
        components: variances from which the standard error of other numbers of seeds and items
            follows; None with a single seed.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    degrees_of_freedom: float | None = None
    standard_error: float | None = None
    components: VarianceComponents | None = None

    def at_level(self, level: float) -> "Estimate":
        """Return the estimate with an interval of another level, such as 0.9."""
        if self.standard_error is None or self.degrees_of_freedom is None:
            return self
        half = t.ppf((1 + level) / 2, self.degrees_of_freedom) * self.standard_error
        return replace(self, low=float(self.value - half), high=float(self.value + half))

    def __neg__(self) -> "Estimate":
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, value=-self.value, low=low, high=high)

    def p_above(self, bound: float) -> float:
        """One-sided p of a mean above a bound, against one of at most the bound.

        At 0.025 it agrees with the lower end of the 95 % interval; 1 where there is no interval.
        """
        if self.standard_error is None or self.degrees_of_freedom is None:
            return 1.0
        if self.standard_error == 0:
            return float(self.value <= bound)
        return float(t.sf((self.value - bound) / self.standard_error, self.degrees_of_freedom))

    def p_below(self, bound: float) -> float:
        """One-sided p of a mean below a bound, against one of at least the bound."""
        return (-self).p_above(-bound)

    def detectable(self, power: float = POWER, level: float = LEVEL) -> float | None:
        """Return the least true mean whose interval would exclude zero with this probability.

        By the sum of two quantiles of t (Cohen 1988, Statistical Power Analysis, chapter 2).
        """
        if self.standard_error is None or self.degrees_of_freedom is None:
            return None
        quantiles = t.ppf([(1 + level) / 2, power], self.degrees_of_freedom)
        return float(quantiles.sum() * self.standard_error)


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of a two-way analysis of variance without repetition, with their freedoms.

    Attributes:
        seed: of the seeds' means.
        item: of the items' means.
        residual: of what remains.
        seed_freedom: degrees of freedom of `seed`; 0 for a single seed.
        item_freedom: of `item`.
    """

    seed: float
    item: float
    residual: float
    seed_freedom: float
    item_freedom: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "MeanSquares":
        """Compute them for values of shape (seeds, items)."""
        n_seeds, n_items = values.shape
        rows, columns = values.mean(axis=1), values.mean(axis=0)
        rest = values - rows[:, None] - columns + values.mean()
        freedom = n_seeds - 1, n_items - 1
        return cls(
            seed=n_items * rows.var(ddof=1) if freedom[0] else 0.0,
            item=n_seeds * columns.var(ddof=1),
            residual=float(np.square(rest).sum() / (freedom[0] * freedom[1])) if freedom[0] else 0,
            seed_freedom=freedom[0],
            item_freedom=freedom[1],
        )


def crossed_estimate(
    values: ArrayLike, level: float = LEVEL, seed: tuple[float, float] | None = None
) -> Estimate:
    """Estimate a mean over seeds and items; paired if the values are differences.

    A negative estimate of the items' variance counts as zero. With one seed the interval is that
    over items alone, and with fewer than two items there is none. Values that are all equal have an
    interval of no width, however few they are: always show the numbers of seeds and items with it.

    Args:
        values: shape (seeds, items).
        level: level of the interval.
        seed: mean square of the seeds and its degrees of freedom, from `pooled_seeds`; by default
            those of the values.
    """
    array = np.asarray(values, float)
    mean = float(array.mean())
    if array.shape[1] < 2:
        return Estimate(mean)
    squares = MeanSquares.of(array)
    if seed is not None and squares.seed_freedom:
        squares = replace(squares, seed=seed[0], seed_freedom=seed[1])
    variance, freedom = _variance_of_mean(squares)
    error = float(np.sqrt(variance / array.size))
    p = 2 * t.sf(abs(mean) / error, freedom) if error > 0 else float(mean == 0)
    components = _components(squares, array.shape)
    return Estimate(mean, None, None, float(p), freedom, error, components).at_level(level)


def _components(squares: MeanSquares, shape: tuple[int, ...]) -> VarianceComponents | None:
    """Return the variance components of values of shape (seeds, items); a negative one is zero."""
    n_seeds, n_items = shape
    if n_seeds < 2:
        return None
    return VarianceComponents(
        seed=max(float(squares.seed - squares.residual) / n_items, 0.0),
        item=max(float(squares.item - squares.residual) / n_seeds, 0.0),
        residual=float(squares.residual),
        contrasts=squares.seed_freedom / (n_seeds - 1),
    )


def _variance_of_mean(squares: MeanSquares) -> tuple[float, float]:
    """Return the variance of the mean, times the number of values, and its degrees of freedom.

    The seeds' mean square holds their own noise and the residual's, with the seeds' few degrees of
    freedom. Where it is below the residual it is not replaced by the residual, with its many
    degrees of freedom: intervals that are narrow wherever a few seeds happen to be alike don't
    cover. Seeds of exactly equal means leave a twentieth of the residual, and not certainty.
    """
    if not squares.seed_freedom:
        return squares.item, squares.item_freedom
    item = max(squares.item - squares.residual, 0.0)
    seed = max(squares.seed, squares.residual / 20)
    variance = seed + item
    uncertainty = seed**2 / squares.seed_freedom
    if item:
        rest = squares.seed_freedom * squares.item_freedom
        uncertainty += squares.item**2 / squares.item_freedom + squares.residual**2 / rest
    least = min(squares.seed_freedom, squares.item_freedom)
    return variance, max(variance**2 / uncertainty, least) if uncertainty else least


def pooled_seeds(differences: Sequence[ArrayLike], n_configurations: int) -> tuple[float, float]:
    """Pool the seeds' mean square over the pairs of several configurations.

    Three seeds leave two degrees of freedom, whose interval is 2.2 times as wide as with many.
    Configurations that are alike, such as the ranks of one method, vary alike: their pairs share
    one estimate.

    Args:
        differences: scores of one configuration minus those of another, shape (seeds, items), for
            every pair.
        n_configurations: number of configurations in these pairs.

    Returns:
        Mean square, and its degrees of freedom: those of the contrasts between configurations.
    """
    arrays = [np.asarray(one, float) for one in differences]
    squares = [MeanSquares.of(one).seed for one in arrays]
    return float(np.mean(squares)), (n_configurations - 1) * (len(arrays[0]) - 1)


def covariance_of_means(values: ArrayLike) -> NDArray[np.float64]:
    """Estimate the covariance of several configurations' means over shared seeds and items.

    Args:
        values: shape (configurations, seeds, items), at least two items.

    Returns:
        Shape (configurations, configurations); with one seed, over items alone.
    """
    array = np.asarray(values, float)
    _, n_seeds, n_items = array.shape
    mean = array.mean(axis=(1, 2), keepdims=True)
    rows, columns = array.mean(axis=2, keepdims=True), array.mean(axis=1, keepdims=True)
    item = n_seeds * _products(columns - mean) / (n_items - 1)
    if n_seeds == 1:
        return item / n_items
    rest = _products(array - rows - columns + mean) / ((n_seeds - 1) * (n_items - 1))
    seed = n_items * _products(rows - mean) / (n_seeds - 1)
    return (rest + _positive(seed - rest) + _positive(item - rest)) / (n_seeds * n_items)


def _products(values: NDArray[np.float64]) -> NDArray[np.float64]:
    flat = values.reshape(len(values), -1)
    return flat @ flat.T


def _positive(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest matrix without negative eigenvalues: a variance can't be negative."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(min=0)) @ vectors.T


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of several tests: those at most α reject with a joint error of α.

    Args:
        p_values: shape (n,).

    Returns:
        Adjusted p-values in the same order, at most 1.

    Source: Holm 1979.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted
