import numpy as np
import pytest

from peftlens.numerics.rank_budget import allocate_ranks, rounding_floor


def test_the_strongest_values_for_each_parameter_come_first():
    # energies for each parameter: 9/2, 4/2, 1/2 of the first; 16/8, 9/8 of the second
    values = [np.array([3.0, 2.0, 1.0]), np.array([4.0, 3.0])]
    found = [allocate_ranks(values, [2, 8], budget) for budget in (1, 2, 4, 12, 20, 100)]
    assert found == [[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [3, 2]]


@pytest.mark.parametrize("shape", [(30, 200), (100, 100)])
def test_rounding_stays_below_the_floor_and_a_small_update_above(shape):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(np.float32)
    update = np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1])) * 1e-4
    change = (weight + update).astype(np.float32) - weight
    values = np.linalg.svd(change.astype(float), compute_uv=False)
    floor = rounding_floor(weight, change)
    assert values[1] < floor < 10 * values[1]
    assert values[0] > 100 * floor
