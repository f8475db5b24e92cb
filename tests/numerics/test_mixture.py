import numpy as np
import pytest

from peftlens.numerics.mixture import mean_kl, mixed, mixture_weights


def distributions(*shape, seed=0, sharpness=2.0):
    logits = sharpness * np.random.default_rng(seed).standard_normal(shape)
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)


def test_a_planted_mixture_is_recovered():
    p = distributions(20, 12, 50)
    planted = np.zeros(20)
    planted[[3, 7, 11]] = 0.5, 0.3, 0.2
    found = mixture_weights(mixed(planted, p), p)
    np.testing.assert_allclose(found, planted, atol=0.02)
    assert found.sum() == pytest.approx(1)
    assert mean_kl(mixed(planted, p), mixed(found, p)) < 1e-4


def expectation_maximization(q, p, steps=3000):
    """The textbook's fixed point: every weight times its component's mean responsibility."""
    weights = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        weights = weights * np.tensordot(p, q / mixed(weights, p), axes=2) / len(q)
    return weights


def test_the_optimum_is_that_of_expectation_maximization():
    """Of targets that no mixture gives."""
    p, q = distributions(6, 5, 9), distributions(5, 9, seed=1)
    found, expected = mixture_weights(q, p), expectation_maximization(q, p)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert mean_kl(q, mixed(found, p)) == pytest.approx(mean_kl(q, mixed(expected, p)), abs=1e-6)


def test_components_that_are_almost_alike_are_told_apart():
    """All within 1e-3 nats of each other."""
    p = distributions(4, 8, 30, sharpness=0.03)
    assert mean_kl(p[0], p[1]) < 1e-3
    np.testing.assert_allclose(mixture_weights(p[2], p), [0, 0, 1, 0], atol=0.02)


def test_the_divergence_is_the_textbook_s():
    q, p = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.5, 0.25]])
    assert mean_kl(q, p) == pytest.approx(0.5 * np.log(2))
    assert mean_kl(q, q) == 0


def test_one_component_has_all_the_weight():
    p = distributions(1, 3, 4)
    assert mixture_weights(distributions(3, 4, seed=1), p).tolist() == [1]
