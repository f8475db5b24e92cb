import pandas as pd

from peftlens.probes import rank_accuracy


def test_only_what_has_a_rank_sorted_by_it():
    items = pd.DataFrame(
        {
            "run": ["r8", "r8", "r2", "r2", "none", "none"],
            "configuration": ["lora 8"] * 2 + ["lora 2"] * 2 + ["full"] * 2,
            "item": [0, 1] * 3, "correct": 1, "chosen": [1, 1, 1, 0, 1, 1],
        }
    )  # fmt: skip
    counts = pd.DataFrame(
        {
            "run": ["r8", "r2", "none"], "rank": pd.array([8, 2, None], "Int64"),
            "trainable_parameters": [80, 20, 999], "adapter_bytes": [320, 80, 9999],
        }
    )  # fmt: skip
    table = rank_accuracy.combine({"task_items": items, "parameter_count": counts})
    assert table["rank"].tolist() == [2, 8]
    assert table["trainable_parameters"].tolist() == [20, 80]
    assert table["accuracy"].tolist() == [0.5, 1.0]
