import numpy as np
import pytest

from peftlens.numerics.mixed_model import Estimate, crossed_estimate
from peftlens.results.estimate_columns import estimate_of, noise, noise_columns


def test_an_estimate_comes_back_from_its_columns():
    one = crossed_estimate(np.random.default_rng(0).normal(size=(3, 20)))
    row = {"gap": one.value, "gap_ci_low": one.low, "gap_ci_high": one.high} | noise(one, "x_")
    again = estimate_of(row, "gap", "x_")
    assert again.components == one.components
    assert (again.value, again.low, again.p_above(0)) == (one.value, one.low, one.p_above(0))
    assert {column.name for column in noise_columns("x_")} == noise(one, "x_").keys()


def test_an_interval_alone_is_that_of_a_normal_distribution():
    one = estimate_of({"gap": 1.0, "gap_ci_low": 1 - 1.959964, "gap_ci_high": 2.959964}, "gap")
    assert one.standard_error == pytest.approx(1)
    assert one.p_above(0) == pytest.approx(0.158655, abs=1e-6)


def test_without_an_interval_there_is_no_test():
    assert estimate_of({"gap": 1.0, "gap_ci_low": None, "gap_ci_high": float("nan")}, "gap") == (
        Estimate(1.0)
    )


def test_one_seed_has_no_components():
    found = noise(crossed_estimate(np.random.default_rng(0).normal(size=(1, 20))))
    assert found["seed_variance"] is None
    assert found["standard_error"] > 0
