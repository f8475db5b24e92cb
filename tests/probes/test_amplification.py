import numpy as np
import pytest

from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.probes.amplification import Config, _row, measure


@pytest.fixture
def weight():
    return np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)


def test_an_update_along_the_weights_own_direction_amplifies_little(weight):
    u, s, vt = np.linalg.svd(weight)
    row = _row(
        DeltaWeight(name="w", before=weight, change=0.5 * s[0] * np.outer(u[:, 0], vt[0])), 1
    )
    assert row["in_update"] == pytest.approx(s[0], rel=1e-5)
    assert row["in_weight"] == pytest.approx(s[0], rel=1e-5)
    assert row["amplification"] == pytest.approx(0.5, rel=1e-5)


def test_an_update_along_what_the_weight_lacks_amplifies_much(weight):
    u, s, vt = np.linalg.svd(weight)
    row = _row(
        DeltaWeight(name="w", before=weight, change=0.5 * s[0] * np.outer(u[:, 19], vt[19])), 1
    )
    assert row["amplification"] == pytest.approx(0.5 * s[0] / s[19], rel=1e-4)


@pytest.mark.parametrize(("size", "own", "factor"), [(6.91, 0.32, 21.5), (3.57, 1.90, 1.9)])
def test_the_factor_is_that_of_hu_et_al(size, own, factor):
    """Table 7, r = 4 and 64; their numbers are rounded."""
    along = np.outer(np.eye(30)[0], np.eye(20)[0]).astype(np.float32)
    row = _row(DeltaWeight(name="w", before=own * along, change=size * along), 1)
    assert row["amplification"] == pytest.approx(factor, rel=0.02)


def test_directions_are_the_rank_or_what_holds_the_energy(weight):
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(30, 3)), rng.normal(size=(3, 20))
    assert _row(DeltaWeight(name="w", before=weight, factors=factors, rank=3), 0)["directions"] == 3
    dense = (factors[0] * [10, 1, 1]) @ factors[1]
    assert (
        _row(DeltaWeight(name="w", before=weight, change=dense.astype(np.float32)), 0)["directions"]
        == 1
    )
    assert _row(DeltaWeight(name="w", before=weight, factors=factors, rank=3), 2)["directions"] == 2


def test_a_random_update_does_as_a_random_one_should(weight):
    rng = np.random.default_rng(2)
    rows = [
        _row(
            DeltaWeight(
                name="w",
                before=weight,
                factors=(rng.normal(size=(30, 3)), rng.normal(size=(3, 20))),
            ),
            3,
        )
        for _ in range(50)
    ]
    inside = np.sqrt(np.mean([row["in_update"] ** 2 for row in rows]))
    assert inside == pytest.approx(rows[0]["in_random"], rel=0.1)


def test_a_row_for_each_weight_of_a_run(context, lora):
    rows = measure(context, lora, Config())
    assert len(rows) == 6
    assert rows["amplification"].gt(0).all()
