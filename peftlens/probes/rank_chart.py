"""Accuracy against rank and parameters, with each configuration at its best learning rate.

The learning rate is selected on validation examples, and accuracy is measured on test examples.
Intervals are those of a mixed model with seeds and test examples as crossed random effects, and are
paired for differences.

*Within margin*: whether the accuracy of a configuration is within a margin of the method's best.
"yes" if the interval of the difference lies above minus the margin, "no" if below it, otherwise
"undecided"; the best one itself is "best". The smallest configuration with "yes" or "best" is an
upper bound of the saturation point, which may be a smaller configuration that is undecided. The
best one is selected by test accuracy, which favors it, so "yes" is conservative.

*Pareto-optimal*: no other configuration has at most as many parameters and a higher accuracy;
`p_pareto_optimal` is the share of draws for which that holds, from a normal distribution with the
covariance of the accuracies over seeds and examples.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.numerics.mixed_model import Estimate, covariance_of_means
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sweep import (
    TABLES,
    BestConfiguration,
    are_paired,
    best_configurations,
    interval_columns,
    paired_differences,
)
from peftlens.results.table import Chart, Column

INPUTS = TABLES
_DRAWS = 2000
_Differences = Mapping[tuple[str, str], Estimate]
VERSION = 5


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        margin: tolerated difference from the accuracy of the best configuration.
    """

    margin: float = 0.01


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("family", "method and its varying non-numeric options; sizes differ within it"),
    Column("rank", "nominal rank; missing for methods without a rank"),
    Column("learning_rate", "best learning rate by validation accuracy"),
    Column("n_learning_rates", "number of learning rates"),
    Column("trainable_parameters", "number of parameters changed by the optimizer", "1", "lower"),
    Column("adapter_bytes", "size of the adapter on disk", "bytes", "lower"),
    Column("step_seconds", "time of a training step, median over seeds", "s", "lower"),
    Column("peak_memory_bytes", "peak memory above the loaded base, median over seeds",
           "bytes", "lower"),
    Column("validation_accuracy", "validation accuracy, mean over seeds", "1", "higher"),
    Column("accuracy", "share of test examples answered right, mean over seeds", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over seeds and examples", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("seeds_ci_low", "lower end of the 95 % interval over seeds alone (Student's t)", "1"),
    Column("seeds_ci_high", "upper end of this interval", "1"),
    Column("diff_vs_best", "accuracy minus that of the method's best configuration", "1", "higher"),
    Column("diff_vs_best_ci_low", "lower end of its paired 95 % interval", "1"),
    Column("diff_vs_best_ci_high", "upper end of this interval", "1"),
    Column("within_margin", "accuracy within the margin of the best: best, yes, no or undecided"),
    Column("is_saturation_bound", "true for the method's smallest configuration with yes or best: "
           "saturation is at most there"),
    Column("pareto_optimal", "true if no configuration of at most this size is more accurate"),
    Column("p_pareto_optimal", "share of draws with pareto_optimal true", "1"),
    Column("matched_lora", "LoRA of the nearest number of parameters; missing for LoRA"),
    Column("diff_vs_matched_lora", "accuracy minus that of the matched LoRA", "1", "higher"),
    Column("diff_vs_matched_lora_ci_low", "lower end of its paired 95 % interval", "1"),
    Column("diff_vs_matched_lora_ci_high", "upper end of this interval", "1"),
    Column("n_seeds", "number of runs"),
    Column("n_items", "number of test examples"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="accuracy",
        title="Accuracy at the best rate (bars: 95 % interval over seeds and examples)",
        low="ci_low",
        high="ci_high",
    ),
    Chart(
        "line",
        x="trainable_parameters",
        y="accuracy",
        title="Accuracy against trainable parameters (bands: 95 % interval)",
        low="ci_low",
        high="ci_high",
        log_x=True,
        by="family",
    ),
    *(
        Chart("pareto", x=x, y="accuracy", title=f"Accuracy against {title}, with the Pareto front",
              low="ci_low", high="ci_high", log_x=log, by="method", text=share)
        for x, title, log, share in (
            ("trainable_parameters", "trainable parameters", True, "p_pareto_optimal"),
            ("peak_memory_bytes", "training memory", True, None),
            ("step_seconds", "the time of a step", False, None),
        )
    ),
)  # fmt: skip


def combine(tables: Mapping[str, pd.DataFrame], config: Config) -> pd.DataFrame:
    """Return one row per configuration, by size within a method; none without candidate answers."""
    best, families = best_configurations(tables), _families(tables[CONFIGURATIONS])
    differences = paired_differences(
        {one.name: one.right for one in best}, {one.name: one.row["method"] for one in best}
    )
    rows = [
        one.row
        | {"family": families[one.name]}
        | _diff_vs_best(one, best, differences, config.margin)
        | _diff_vs_matched_lora(one, best, differences)
        | front
        for one, front in zip(best, _front(best), strict=True)
    ]
    saturated = [row["method"] if row["within_margin"] in ("yes", "best") else None for row in rows]
    for index, row in enumerate(rows):  # rows of a method are sorted by size
        row["is_saturation_bound"] = saturated.index(row["method"]) == index
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _families(configurations: pd.DataFrame) -> dict[str, str]:
    """Name each sweep's family: its method and the varying non-numeric options of the method."""
    families = {}
    sweeps = configurations.drop_duplicates("sweep").set_index("sweep")
    for method, group in sweeps.drop(columns="configuration").groupby("method"):
        words = group.select_dtypes(exclude="number")
        varying = words.loc[:, words.nunique(dropna=False) > 1].dropna(axis="columns", how="all")
        for name, row in varying.T.items():
            texts = (f"{key}={value}" for key, value in row.dropna().items())
            families[name] = " ".join([str(method), *texts])
    return families


def _diff_vs_best(
    one: BestConfiguration,
    configurations: list[BestConfiguration],
    differences: _Differences,
    margin: float,
) -> dict[str, Any]:
    peers = [other for other in configurations if other.row["method"] == one.row["method"]]
    best = max(peers, key=lambda other: (other.row["accuracy"], -other.size))
    if one is best:
        return {"diff_vs_best": 0.0, "within_margin": "best"}
    estimate = differences.get((one.name, best.name))
    word = "undecided"
    if estimate is not None and estimate.low is not None and estimate.high is not None:
        word = "yes" if estimate.low > -margin else "no" if estimate.high < -margin else word
    return interval_columns("diff_vs_best", estimate) | {"within_margin": word}


def _diff_vs_matched_lora(
    one: BestConfiguration, configurations: list[BestConfiguration], differences: _Differences
) -> dict[str, Any]:
    others = [other for other in configurations if other.row["method"] == "lora"]
    if one.row["method"] == "lora" or not others or not one.size:
        return {}
    nearest = min(others, key=lambda other: abs(math.log(other.size / one.size)))
    estimate = differences.get((one.name, nearest.name))
    return {"matched_lora": nearest.name} | interval_columns("diff_vs_matched_lora", estimate)


def _front(configurations: list[BestConfiguration]) -> Iterator[dict[str, Any]]:
    """Yield each configuration's Pareto optimality, and its share over draws of the accuracies."""
    sizes = np.array([one.size for one in configurations], int)
    accuracies = np.array([[one.row["accuracy"] for one in configurations]])  # (1, n)
    optimal = _undominated(sizes, accuracies)[0]
    shares: Any = [None] * len(configurations)
    if (
        configurations
        and configurations[0].right.shape[1] > 1
        and all(are_paired(one.right, configurations[0].right) for one in configurations)
    ):
        right = np.stack([one.right.to_numpy() for one in configurations])
        drawn = np.random.default_rng(0).multivariate_normal(
            accuracies[0], covariance_of_means(right), _DRAWS, check_valid="ignore"
        )
        shares = _undominated(sizes, drawn).mean(axis=0)
    for is_optimal, share in zip(optimal, shares, strict=True):
        yield {"pareto_optimal": bool(is_optimal), "p_pareto_optimal": share}


def _undominated(sizes: NDArray[np.int64], means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark configurations that none of at most their size dominates, for means (n, configurations).

    Of two configurations with equal accuracy, the smaller one dominates.
    """
    smaller = sizes[None, :] < sizes[:, None]
    not_larger = sizes[None, :] <= sizes[:, None]
    better = means[:, None, :] > means[:, :, None]
    equal = means[:, None, :] == means[:, :, None]
    return ~((better & not_larger) | (equal & smaller)).any(axis=2)
