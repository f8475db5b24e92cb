import numpy as np
import pytest

from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.probes.intruder_dimensions import Config, _row, measure


@pytest.fixture
def before():
    """A weight with a known spectrum, falling from 10 to 1, that spans 40 of 200 dimensions."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.normal(size=(200, 40)))[0], np.linalg.qr(rng.normal(size=(40, 40)))[0]
    return (u * np.linspace(10, 1, 40) @ v.T).astype(np.float32)


def orthogonal(weight, count):
    """Directions of the output that the weight does not have."""
    drawn = np.random.default_rng(1).normal(size=(len(weight), count))
    own = np.linalg.svd(weight, full_matrices=False)[0]
    return np.linalg.qr(drawn - own @ (own.T @ drawn))[0]


def planted(weight, count, strength):
    right = np.linalg.qr(np.random.default_rng(2).normal(size=(weight.shape[1], count)))[0]
    return (strength * orthogonal(weight, count) @ right.T).astype(np.float32)


def test_the_weight_itself_has_no_intruder(before):
    row = _row(DeltaWeight(name="w", before=before, change=0.1 * before), Config())
    assert row["intruders"] == 0
    assert row["first_intruder"] is None
    assert row["lowest_cosine"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_planted_intruders_are_found(before, count):
    row = _row(DeltaWeight(name="w", before=before, change=planted(before, count, 30.0)), Config())
    assert (row["intruders"], row["first_intruder"]) == (count, 0)
    assert row["lowest_cosine"] < 0.5


def test_a_weak_one_is_not_among_the_strongest(before):
    assert (
        _row(DeltaWeight(name="w", before=before, change=planted(before, 1, 0.1)), Config())[
            "intruders"
        ]
        == 0
    )


def test_how_many_are_looked_at_is_an_option(before):
    update = DeltaWeight(name="w", before=before, change=planted(before, 3, 30.0))
    assert _row(update, Config(directions=2))["intruders"] == 2
    assert _row(update, Config(threshold=1e-9))["intruders"] == 0


def test_random_directions_come_as_near_as_the_table_says(before):
    own = np.linalg.svd(before, full_matrices=False)[0]
    drawn = np.linalg.qr(np.random.default_rng(3).normal(size=(200, 200)))[0]
    near = np.abs(drawn.T @ own).max(axis=1).mean()
    assert _row(DeltaWeight(name="w", before=before, change=before), Config())[
        "random"
    ] == pytest.approx(near, rel=0.2)


def test_a_run_hardly_trained_has_none(context, trained):
    rows = measure(context, trained("lora", rank=2, learning_rate=1e-4), Config())
    assert set(rows["intruders"]) == {0}
    assert rows["first_intruder"].isna().all()
