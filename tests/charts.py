"""Rows of `rank_chart`, `paired_accuracy` and `configurations` with given figures."""

import itertools

import pandas as pd

LORA = {"rank": 8, "alpha": 16.0, "target_modules": "query_value"}
DEFAULTS = {
    "lora": LORA,
    "qlora": LORA | {"double_quant": True},
    "prompt_tuning": {"num_virtual_tokens": 20, "init": "vocabulary"},
    "bottleneck": {"bottleneck_size": 64, "placement": "feed_forward"},
}
NUMBERS = ("rank", "alpha", "num_virtual_tokens", "bottleneck_size", "max_steps")


def values(name):
    """What a configuration of this name has, its defaults filled in."""
    method, *words = name.split()
    set_by_user = dict(word.split("=", 1) for word in words)
    plain = {key: float(one) if key in NUMBERS else one for key, one in set_by_user.items()}
    return {"method": method, "max_steps": 100.0} | DEFAULTS.get(method, {}) | plain


def rows(settings):
    """The tables; a difference is that of the accuracies, give or take `width`."""
    table = []
    for name, given in settings.items():
        own = {
            "configuration": name,
            "method": name.split()[0],
            "accuracy": 0.8,
            "trainable_parameters": 100,
            "step_seconds": 1.0,
            "peak_memory_bytes": 10e6,
            "rank": values(name).get("rank"),
            "validation_accuracy": 0.8,
            "n_seeds": 3,
            "n_items": 300,
            "width": 0.005,
        }
        table.append(own | given)
    pairs = []
    for a, b in itertools.permutations(table, 2):
        gap = a["accuracy"] - b["accuracy"]
        pairs.append(
            {
                "configuration": a["configuration"],
                "other": b["configuration"],
                "difference": gap,
                "difference_ci_low": gap - a["width"],
                "difference_ci_high": gap + a["width"],
                "n_seeds": a["n_seeds"],
                "n_items": a["n_items"],
            }
        )
    ends = ["difference_ci_low", "difference_ci_high"]
    columns = ["configuration", "other", "difference", *ends, "n_seeds", "n_items"]
    return {
        "rank_chart": pd.DataFrame(table),
        "paired_accuracy": pd.DataFrame(pairs, columns=columns),
        "configurations": pd.DataFrame(
            [
                {"configuration": name, "sweep": name, "learning_rate": 1e-3} | values(name)
                for name in settings
            ]
        ),
    }
