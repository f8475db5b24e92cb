import numpy as np
import pytest

from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.probes.delta_spectrum import _row, measure


def test_a_row_says_what_the_singular_values_do():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(20, 4)))[0] for _ in range(2))
    before = rng.normal(size=(20, 20)).astype(np.float32)
    row = _row(DeltaWeight(name="w", before=before, factors=(left * [4, 4, 2, 0], right.T), rank=4))
    assert row["stable_rank"] == pytest.approx(36 / 16)
    assert row["stable_rank_used"] == pytest.approx(36 / 16 / 4)
    p = np.array([0.4, 0.4, 0.2])
    assert row["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert (row["k90"], row["k90_used"]) == (3, 0.75)  # 32 of 36 is less than 90 %
    assert row["norm"] == pytest.approx(6)
    assert row["relative_norm"] == pytest.approx(6 / np.linalg.norm(before), rel=1e-5)
    assert row["captured"] == pytest.approx(1)
    assert row["exact"]


def test_a_run_of_lora_uses_at_most_its_rank(context, lora):
    rows = measure(context, lora)
    assert set(rows["step"]) == {4}  # at step 0 nothing has changed
    assert len(rows) == 6  # query and value of three blocks
    assert set(rows["rank"]) == {2}
    assert rows["effective_rank_used"].between(0.5, 1.0001).all()
    assert (rows["norm"] > 0).all()


def test_a_method_without_a_rank_has_no_share_of_it(context, full):
    rows = measure(context, full)
    assert rows["rank"].isna().all()
    assert rows["k90_used"].isna().all()
    assert rows["stable_rank"].gt(0).all()
