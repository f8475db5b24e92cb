"""Tables of a made-up sweep, whose true accuracies are known."""

import numpy as np
import pandas as pd

ITEMS = 400


def study(configurations, seeds=3):
    """Tables of runs whose true accuracies are given: {name: (method, parameters, accuracy)}."""
    rng = np.random.default_rng(0)
    difficulty = np.linspace(0, 1, ITEMS)
    items, counts, costs = [], [], []
    for name, (method, size, accuracy) in configurations.items():
        for seed in range(seeds):
            run = f"{name} {seed}"
            about = {"run": run, "configuration": name, "method": method, "seed": seed}
            right = difficulty + rng.normal(0, 0.02, ITEMS) < accuracy
            items.append(pd.DataFrame({**about, "item": range(ITEMS), "correct": 1,
                                       "chosen": right.astype(int)}))  # fmt: skip
            counts.append(about | {"rank": None, "trainable_parameters": size,
                                   "adapter_bytes": 4 * size})  # fmt: skip
            rate = float(name.partition("learning_rate=")[2] or 1e-3)
            costs.append(about | {"learning_rate": rate, "validation_accuracy": accuracy,
                                  "step_seconds": 1.0, "peak_memory_bytes": 10})  # fmt: skip
    tables = pd.concat(items), pd.DataFrame(counts), pd.DataFrame(costs)
    named = [{"configuration": name, "sweep": name.partition(" learning_rate=")[0],
              "method": method} | options(name)
             for name, (method, *_) in configurations.items()]  # fmt: skip
    names = ("task_items", "parameter_count", "cost", "configurations")
    return dict(zip(names, (*tables, pd.DataFrame(named)), strict=True))


def options(name):
    """The values in a name; those that read as numbers are numbers."""
    words = dict(word.split("=") for word in name.split()[1:])
    return {key: float(one) if one[0].isdigit() else one for key, one in words.items()}
