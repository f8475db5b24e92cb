import numpy as np
import pandas as pd

from peftlens.probes.sequence_scores import COLUMNS, combine


def items(run, task, right, majority_right):
    return [
        {
            "run": run, "configuration": f"lora task={run}", "method": "lora", "seed": 0,
            "shared_configuration": "lora", "trained_on": "a", "continue_from": None, "task": task,
            "item": item, "right": one, "base_right": 1 - one, "majority_right": majority_right,
        }
        for item, one in enumerate(right)
    ]  # fmt: skip


def test_shares_of_right_answers_per_run_and_task():
    table = pd.DataFrame(
        items("y", "b", [1, 0, 1, 1], 1.0) + items("y", "a", [0, 1], np.nan)
        + items("x", "b", [0, 0, 0, 1], 1.0)
    )  # fmt: skip
    found = combine({"sequence_items": table})
    assert list(found) == [column.name for column in COLUMNS]
    assert list(zip(found["run"], found["task"], strict=True)) == [
        ("y", "b"), ("y", "a"), ("x", "b")
    ]  # fmt: skip
    assert found["accuracy"].tolist() == [0.75, 0.5, 0.25]
    assert found["base_accuracy"].tolist() == [0.25, 0.5, 0.75]
    assert found["majority_accuracy"].isna().tolist() == [False, True, False]
    assert found["n_items"].tolist() == [4, 2, 4]
    assert found["continue_from"].isna().all()
    assert combine({"sequence_items": table.head(0)}).empty
