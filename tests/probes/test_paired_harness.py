import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from peftlens.probes.paired_harness import combine

RNG = np.random.default_rng(0)
SCORES = {name: RNG.random((1, 40)) + shift for name, shift in {"a": 0.0, "b": 0.3}.items()}


def table(scores, seeds=None):
    return pd.DataFrame(
        {"configuration": name, "method": "lora", "run": f"{name} {seed}", "task": "t",
         "metric": metric, "seed": (seeds or {}).get(name, 0) + seed, "item": item,
         "score": -value if metric == "loss" else value}
        for metric in ("acc", "loss") for name, rows in scores.items()
        for seed, row in enumerate(rows) for item, value in enumerate(row)
    )  # fmt: skip


def test_a_pair_is_compared_document_by_document():
    """With one seed it is Student's paired test."""
    found = combine({"harness_items": table(SCORES)})
    there, back, *other_metric = found.to_dict("records")
    expected = ttest_rel(SCORES["a"][0], SCORES["b"][0])
    interval = expected.confidence_interval()
    assert there["difference"] == pytest.approx(np.mean(SCORES["a"] - SCORES["b"]))
    assert there["p_value"] == pytest.approx(expected.pvalue)
    assert there["difference_ci_low"] == pytest.approx(interval.low)
    assert there["difference_ci_high"] == pytest.approx(interval.high)
    assert (back["configuration"], back["difference"]) == ("b", -there["difference"])
    assert (there["n_seeds"], there["n_items"]) == (1, 40)
    assert other_metric[0]["difference"] == pytest.approx(-there["difference"])


def test_other_seeds_are_not_paired():
    found = combine({"harness_items": table(SCORES, {"b": 5})})
    assert found["difference"].isna().all()


def test_one_configuration_has_no_pair():
    assert combine({"harness_items": table({"a": SCORES["a"]})}).empty
