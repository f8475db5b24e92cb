"""Rows of `rank_chart` and `paired_accuracy` with given figures."""

import itertools

import pandas as pd


def rows(settings):
    """Both tables; a difference is that of the accuracies, give or take `width`."""
    table = []
    for name, given in settings.items():
        own = {"configuration": name, "method": name.split()[0], "accuracy": 0.8, "within_margin": "yes",
               "trainable_parameters": 100, "step_seconds": 1.0, "peak_memory_bytes": 10e6,
               "rank": None, "diff_vs_best": 0.0, "diff_vs_best_ci_low": 0.0,
               "diff_vs_best_ci_high": 0.0, "n_seeds": 3, "n_items": 300, "width": 0.005}  # fmt: skip
        table.append(own | given)
    pairs = []
    for a, b in itertools.permutations(table, 2):
        gap = a["accuracy"] - b["accuracy"]
        pairs.append({"configuration": a["configuration"], "other": b["configuration"], "difference": gap,
                      "difference_ci_low": gap - a["width"],
                      "difference_ci_high": gap + a["width"]})  # fmt: skip
    columns = ["configuration", "other", "difference", "difference_ci_low", "difference_ci_high"]
    return {
        "rank_chart": pd.DataFrame(table),
        "paired_accuracy": pd.DataFrame(pairs, columns=columns),
    }
