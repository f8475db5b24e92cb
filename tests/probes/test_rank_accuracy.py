import pandas as pd

from peftlens.probes import rank_accuracy


def test_only_what_has_a_rank_sorted_by_it():
    accuracy = pd.DataFrame(
        {
            "configuration": ["lora 8", "lora 2", "full"], "method": "m",
            "accuracy": [1.0, 0.5, 0.9],
            "items_low": 0.1, "items_high": 1.0, "n_items": 2, "n_seeds": 2,
        }
    )  # fmt: skip
    counts = pd.DataFrame(
        {
            "run": ["a0", "a1", "b0", "b1", "c0"],
            "configuration": ["lora 8", "lora 8", "lora 2", "lora 2", "full"],
            "method": "m",
            "rank": pd.array([8, 8, 2, 2, None], "Int64"),
            "trainable_parameters": [80, 80, 20, 20, 999],
            "adapter_bytes": [320, 320, 80, 80, 9999],
        }
    )
    table = rank_accuracy.combine({"task_accuracy": accuracy, "parameter_count": counts})
    assert table["rank"].tolist() == [2, 8]
    assert table["trainable_parameters"].tolist() == [20, 80]
    assert table["accuracy"].tolist() == [0.5, 1.0]
