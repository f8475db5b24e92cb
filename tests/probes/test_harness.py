import pandas as pd
import pytest

from peftlens.probes.harness import combine


def test_flips_are_counted_by_hand():
    """Two seeds, four documents: 1 to 0 once, 0 to 1 three times."""
    base = [1, 0, 0, 1]
    tuned = {"a": [0, 1, 0, 1], "b": [1, 1, 1, 1]}
    rows = [
        {"configuration": "c", "method": "lora", "run": run, "task": "t", "metric": "acc",
         "item": item, "base_score": base[item], "score": score}
        for run, scores in tuned.items() for item, score in enumerate(scores)
    ]  # fmt: skip
    (row,) = combine({"harness_items": pd.DataFrame(rows)}).to_dict("records")
    assert row["base_score"] == 0.5
    assert row["score"] == 0.75
    assert row["change"] == pytest.approx(0.25)
    assert (row["became_wrong"], row["became_right"]) == (1 / 8, 3 / 8)
    assert (row["n_items"], row["n_seeds"]) == (4, 2)
    assert row["ci_low"] < 0.25 < row["ci_high"]
