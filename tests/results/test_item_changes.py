import numpy as np
import pandas as pd
import pytest

from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.numerics.resampling import few_interval
from peftlens.results.item_changes import by_seed, item_changes

STUDIES, SEEDS, TEXTS = 300, 3, 60
RISE = 0.4  # nats per token


@pytest.fixture(scope="module")
def studies():
    """Changes of texts of 50 to 256 tokens in many studies: text, seed and their product vary."""
    rng = np.random.default_rng(0)
    shape = STUDIES, SEEDS, TEXTS
    study, seed, item = np.indices(shape).reshape(3, -1)
    tokens = rng.integers(50, 257, (STUDIES, 1, TEXTS)) + np.zeros(shape, int)
    rate = (RISE + rng.normal(0, 0.01, (STUDIES, SEEDS, 1))
            + rng.normal(0, 0.1, (STUDIES, 1, TEXTS)) + rng.normal(0, 0.05, shape))  # fmt: skip
    items = {"run": study * SEEDS + seed, "step": 8, "suite": "s", "seed": seed, "item": item,
             "base_loss": 3.0 * tokens.ravel(), "loss": ((3 + rate) * tokens).ravel(),
             "tokens": tokens.ravel(), "base_right": None, "right": None}  # fmt: skip
    return item_changes(pd.DataFrame(items)).groupby(study)


def test_the_mean_over_texts_is_the_loss_per_token(studies):
    for _, rows in studies.__iter__().__next__()[1].groupby("run"):
        rise = (rows["loss"] - rows["base_loss"]).sum() / rows["tokens"].sum()
        assert rows["forgetting"].mean() == pytest.approx(rise)


def test_intervals_cover(studies):
    """Those over seeds alone hold the truth in 60 of 100 studies, where 95 are meant."""
    both, alone = [], []
    for _, rows in studies:
        values = by_seed(rows, "forgetting")
        for found, of in ((both, crossed_estimate(values)),
                          (alone, few_interval(values.mean(axis=1)))):  # fmt: skip
            found.append(of.low < RISE < of.high)
    assert 0.92 < np.mean(both) < 0.98
    assert np.mean(alone) < 0.85


def test_questions_have_no_tokens():
    rows = {"run": "a", "step": 0, "suite": "q", "seed": 0, "item": [0, 1, 2], "base_loss": 1.0,
            "loss": 2.0, "tokens": None, "base_right": [1, 1, 0], "right": [1, 0, 1]}  # fmt: skip
    found = item_changes(pd.DataFrame(rows))
    assert found["accuracy_change"].tolist() == [0, -1, 1]
    assert found["forgetting"].isna().all()
    assert by_seed(found, "accuracy_change").to_numpy().tolist() == [[0, -1, 1]]
