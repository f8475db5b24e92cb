import pandas as pd

from peftlens.probes.continual_matrix import combine


def test_cells_and_the_base_above_them():
    runs = (("x", "a", None, (0.9, 0.4)), ("y", "b", "x", (0.6, 0.8)))
    table = pd.DataFrame(
        [
            {
                "run": run,
                "shared_configuration": "full",
                "seed": 0,
                "trained_on": trained,
                "continue_from": after,
                "task": task,
                "accuracy": accuracy,
                "base_accuracy": 0.5,
                "n_items": 10,
            }
            for run, trained, after, both in runs
            for task, accuracy in zip("ab", both, strict=True)
        ]
    )
    found = combine({"sequence_scores": table})
    cells = found.set_index(["after_task", "task"])["accuracy"].to_dict()
    assert cells == {
        ("base", "a"): 0.5, ("base", "b"): 0.5, ("a", "a"): 0.9, ("a", "b"): 0.4,
        ("b", "a"): 0.6, ("b", "b"): 0.8,
    }  # fmt: skip
    assert found["ci_low"].isna().all()
    assert combine({"sequence_scores": table[table["run"] == "x"]}).empty
