"""Tables of made-up studies of one task, whose true accuracies and best rates are known.

A configuration is a method with hyperparameters, written as in a study: "lora rank=8". Scores have
crossed noise of seeds and test examples; all configurations share both.
"""

import numpy as np
import pandas as pd

from peftlens.results.sweep import paired_differences

RATES = (1e-4, 1e-3, 1e-2)
SIZES = {"full": 10**8, "lora": 10**6, "prompt_tuning": 10**4}
NUMBERS = ("rank", "alpha", "max_steps", "batch_size", "gradient_accumulation_steps")


def hyperparameters(name):
    """The method and hyperparameters in a name, with those that every run has."""
    method, *words = name.split()
    given = dict(word.split("=", 1) for word in words)
    plain = {key: float(one) if key in NUMBERS else one for key, one in given.items()}
    return {"method": method, "task": "bbc_topic", "max_steps": 100.0, "batch_size": 8.0,
            "gradient_accumulation_steps": 1.0} | plain  # fmt: skip


def scores(accuracies, rng, seeds=6, items=60, seed_sd=0.005, residual_sd=0.25):
    """Scores of each configuration, shape (seeds, items), with the true means given."""
    shape = seeds, items
    shared = rng.normal(0, 0.3, (1, items)) + rng.normal(0, 0.01, (seeds, 1))
    return {
        name: pd.DataFrame(
            accuracy + shared + rng.normal(0, seed_sd, (seeds, 1))
            + rng.normal(0, residual_sd, shape)
        )
        for name, accuracy in accuracies.items()
    }  # fmt: skip


def study(accuracies, rng=None, at_edge=(), validation=None, sizes=None, **noise):
    """Tables of the runs' probes, and all of `charts`, whose arguments these are."""
    found = scores(accuracies, rng or np.random.default_rng(0), **noise)
    best = {name: RATES[2 if name in at_edge else 1] for name in accuracies}
    large = _sizes(accuracies, sizes)
    tables = _charts(found, best, accuracies | (validation or {}), large)
    return tables | _of_runs(found, best, accuracies | (validation or {}), large)


def charts(accuracies, rng=None, at_edge=(), validation=None, sizes=None, **noise):
    """Tables of `rank_chart`, `paired_accuracy`, `base_parameters` and `configurations`.

    Args:
        accuracies: true accuracy by the name of the configuration.
        at_edge: names whose best rate is the highest of their grid.
        validation: validation accuracies by name; by default the true ones.
        sizes: numbers of trainable parameters by name; by default by the method.
    """
    found = scores(accuracies, rng or np.random.default_rng(0), **noise)
    best = {name: RATES[2 if name in at_edge else 1] for name in accuracies}
    return _charts(found, best, accuracies | (validation or {}), _sizes(accuracies, sizes))


def _sizes(accuracies, sizes):
    return {name: SIZES.get(name.split()[0], 10**6) for name in accuracies} | (sizes or {})


def _charts(found, best, validated, large):
    """Tables that show each configuration at its best rate."""
    tables = {}
    tables["configurations"] = pd.DataFrame(
        [
            {"configuration": f"{name} learning_rate={rate}", "sweep": name, "learning_rate": rate}
            | hyperparameters(name)
            for name in found for rate in RATES
        ]
    )  # fmt: skip
    tables["rank_chart"] = pd.DataFrame(
        [
            {"configuration": name, "method": name.split()[0], "learning_rate": best[name],
             "validation_accuracy": validated[name], "accuracy": float(one.to_numpy().mean()),
             "trainable_parameters": large[name], "rank": hyperparameters(name).get("rank"),
             "n_seeds": one.shape[0], "n_items": one.shape[1]}
            for name, one in found.items()
        ]
    )  # fmt: skip
    pairs = paired_differences(found, {name: name.split()[0] for name in found})
    tables["paired_accuracy"] = pd.DataFrame(
        [
            {"configuration": one, "other": other, "difference": gap.value,
             "difference_ci_low": gap.low, "difference_ci_high": gap.high,
             "standard_error": gap.standard_error, "degrees_of_freedom": gap.degrees_of_freedom,
             "n_seeds": found[one].shape[0], "n_items": found[one].shape[1]}
            for (one, other), gap in pairs.items()
        ]
    )  # fmt: skip
    tables["base_parameters"] = pd.DataFrame({"part": ["attention", "other"],
                                              "parameters": [4 * 10**7, 9 * 10**7]})  # fmt: skip
    return tables


def _of_runs(found, best, validated, large):
    """Tables of the runs: the best rate of each configuration has its scores."""
    costs, counts, items = [], [], []
    for name, frame in found.items():
        for rate in RATES:
            label = f"{name} learning_rate={rate}"
            for seed in frame.index:
                about = {"run": f"{label} {seed}", "configuration": label,
                         "method": name.split()[0], "seed": seed}  # fmt: skip
                is_best = rate == best[name]
                costs.append(about | {"learning_rate": rate, "step_seconds": 1.0,
                                      "peak_memory_bytes": 1,
                                      "validation_accuracy": validated[name] - 0.1 * (not is_best),
                                      "validation_loss": 1.0})  # fmt: skip
                counts.append(about | {"rank": None, "trainable_parameters": large[name],
                                       "adapter_bytes": 4 * large[name]})  # fmt: skip
                if is_best:
                    own = {"item": frame.columns, "score": frame.loc[seed].to_numpy(),
                           "chosen": 0, "correct": 0}  # fmt: skip
                    items.append(pd.DataFrame(about | own))
    return {"cost": pd.DataFrame(costs), "parameter_count": pd.DataFrame(counts),
            "task_items": pd.concat(items)}  # fmt: skip


def grids(rng=None):
    """Three decades around 1e-4 (full) and 1e-3, in steps of 0.3; from anywhere, if drawn."""
    shift = rng.uniform(0, 0.3, 2) if rng else (0, 0)
    return {
        "full": np.arange(-5.5, -2.5, 0.3) + shift[0],
        "lora": np.arange(-4.5, -1.5, 0.3) + shift[1],
    }


def rates(optima, rng, seeds=6, seed_sd=0.1, grid=None):
    """Tables `cost` and `configurations` of sweeps with known best rates.

    Args:
        optima: log10 of the true best rate by the name of the configuration.
        seed_sd: standard deviation of a seed's own best rate, in decades.
        grid: log10 of the rates, by method; by default those of `grids`.
    """
    grid = grid or grids()
    configurations, costs = [], []
    for name, optimum in optima.items():
        method = name.split()[0]
        own = optimum + rng.normal(0, seed_sd, seeds)
        for log in grid[method]:
            rate = float(10**log)
            label = f"{name} learning_rate={rate}"
            configurations.append({"configuration": label, "sweep": name, "learning_rate": rate}
                                  | hyperparameters(name))  # fmt: skip
            costs += [
                {"run": f"{label} {seed}", "configuration": label, "method": method, "seed": seed,
                 "learning_rate": rate, "validation_accuracy": 0.8 - 0.02 * (log - own[seed]) ** 2,
                 "validation_loss": 1.0}
                for seed in range(seeds)
            ]  # fmt: skip
    return {"cost": pd.DataFrame(costs), "configurations": pd.DataFrame(configurations)}


def outcomes(verdict, draw, studies=200):
    """Share of each outcome over studies that `draw` makes of a random generator."""
    rng = np.random.default_rng(0)
    found = [verdict(draw(rng))[0] for _ in range(studies)]
    return {name: found.count(name) / studies for name in ("supported", "contradicted")}
