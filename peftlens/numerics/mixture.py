"""Mixture weights: the mixture of given distributions that is closest to others in KL.

With the components fixed the problem is convex, and most weights of its optimum are zero. Solved by
scipy's sequential quadratic programming (SLSQP), in hundredths of a second for dozens of
components, where expectation maximization takes seconds.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

_LEAST = 1e-30  # probability; keeps logarithms finite where all components have none


def mixture_weights(
    targets: NDArray[np.floating], components: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Find the weights w >= 0, Σ w = 1, that minimize the mean of KL(target || Σ w component).

    Args:
        targets: distributions, shape (n, v).
        components: distribution of each of K components for each target, shape (K, n, v).

    Returns:
        Weights, shape (K,).
    """
    q, p = np.ravel(targets) / len(targets), np.reshape(components, (len(components), -1))
    # divided by the mean component, logarithms are small where components are alike
    ratio = p / np.maximum(p.mean(axis=0), _LEAST)  # (K, n v)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixture = np.maximum(weights @ ratio, _LEAST)
        return float(-(q * np.log(mixture)).sum()), -(ratio @ (q / mixture))

    found = minimize(
        loss,
        np.full(len(p), 1 / len(p)),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(p),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    ).x
    weights = np.clip(found, 0, None)
    return weights / weights.sum()


def mixed(weights: NDArray[np.float64], components: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mix components (K, n, v) by their weights (K,): shape (n, v)."""
    return np.tensordot(weights, components, axes=1)


def mean_kl(targets: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Average KL(target || other) over n pairs of distributions, both (n, v), nats."""
    q, p = np.asarray(targets, float), np.asarray(others, float)
    terms = np.where(q > 0, q * np.log(np.maximum(q, _LEAST) / np.maximum(p, _LEAST)), 0.0)
    return float(terms.sum(axis=1).mean())
