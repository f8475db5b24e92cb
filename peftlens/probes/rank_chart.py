"""What size buys: rank and parameters against accuracy, each configuration at its best rate.

The rate is chosen on validation examples, the accuracy is that on test examples (`sweeps`).
Intervals resample seeds and test examples together, and are paired in differences.

*Enough*: within a method, whether a configuration comes within a margin of that method's best one.
"yes" if the interval of the difference lies above minus the margin, "no" if below it, otherwise
"undecided". The smallest one with a yes is where accuracy saturates. The best is chosen by test
accuracy, which favors it: a yes is a careful one.

*On the front*: no other configuration has at most as many parameters and a higher accuracy;
`p_front` is how often that holds when seeds and examples are resampled.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.numerics.resampling import crossed_means
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sweep import TABLES, BestConfiguration, best_configurations
from peftlens.results.table import Chart, Column

INPUTS = TABLES
VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        margin: accuracy that may be missing to the best for a configuration to be enough.
    """

    margin: float = 0.01


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("family", "method and the options that are no numbers: what differs within it is size"),
    Column("rank", "nominal rank; missing for methods that have none"),
    Column("learning_rate", "the best of those tried, by validation accuracy"),
    Column("n_learning_rates", "learning rates that were tried"),
    Column("trainable_parameters", "parameters that the optimizer changes", "1", "lower"),
    Column("adapter_bytes", "size of the adapter on disk", "bytes", "lower"),
    Column("step_seconds", "time of a training step, median over seeds", "s", "lower"),
    Column("peak_memory_bytes", "memory of training over the loaded base, median over seeds",
           "bytes", "lower"),
    Column("validation_accuracy", "at that rate, mean over seeds", "1", "higher"),
    Column("accuracy", "share of test examples answered right, mean over seeds", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over seeds and examples", "1"),
    Column("ci_high", "upper end", "1"),
    Column("seeds_ci_low", "lower end of the 95 % interval over seeds alone (Student's t)", "1"),
    Column("seeds_ci_high", "upper end", "1"),
    Column("diff_vs_best", "accuracy minus that of the method's best configuration", "1", "higher"),
    Column("diff_vs_best_ci_low", "lower end of its paired 95 % interval", "1"),
    Column("diff_vs_best_ci_high", "upper end", "1"),
    Column("within_margin", "yes, no or undecided: whether it is within the margin of the best"),
    Column("is_saturation_point", "the smallest of the method's configurations that is enough"),
    Column("pareto_optimal", "no smaller configuration is as accurate"),
    Column("p_pareto_optimal", "share of resamples in which that holds", "1"),
    Column("matched_lora", "the LoRA whose number of parameters is nearest; missing for LoRA itself"),
    Column("diff_vs_matched_lora", "accuracy minus that LoRA's", "1", "higher"),
    Column("diff_vs_matched_lora_ci_low", "lower end of its paired 95 % interval", "1"),
    Column("diff_vs_matched_lora_ci_high", "upper end", "1"),
    Column("n_seeds", "runs"),
    Column("n_items", "test examples"),
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
            ("peak_memory_bytes", "memory of training", True, None),
            ("step_seconds", "the time of a step", False, None),
        )
    ),
)  # fmt: skip


def combine(tables: Mapping[str, pd.DataFrame], config: Config) -> pd.DataFrame:
    """A row for each configuration, a method's by size; none where nothing can be chosen."""
    found, families = best_configurations(tables), _families(tables[CONFIGURATIONS])
    rows = [
        one.row
        | {"family": families[one.name]}
        | _against_best(one, found, config.margin)
        | _like(one, found)
        | front
        for one, front in zip(found, _front(found), strict=True)
    ]
    enough = [row["method"] if row["within_margin"] == "yes" else None for row in rows]
    for index, row in enumerate(rows):  # a method's rows come by size
        row["is_saturation_point"] = enough.index(row["method"]) == index
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _families(configurations: pd.DataFrame) -> dict[str, str]:
    """Of each sweep: its method, and the options without numbers that vary within the method."""
    found = {}
    sweeps = configurations.drop_duplicates("sweep").set_index("sweep")
    for method, own in sweeps.drop(columns="configuration").groupby("method"):
        words = own.select_dtypes(exclude="number")
        varying = words.loc[:, words.nunique(dropna=False) > 1].dropna(axis="columns", how="all")
        for name, row in varying.T.items():
            texts = (f"{key}={value}" for key, value in row.dropna().items())
            found[name] = " ".join([str(method), *texts])
    return found


def _against_best(
    one: BestConfiguration, found: list[BestConfiguration], margin: float
) -> dict[str, Any]:
    peers = [other for other in found if other.row["method"] == one.row["method"]]
    best = max(peers, key=lambda other: (other.row["accuracy"], -other.size))
    told = one.minus(best, "diff_vs_best")
    low, high = told.get("diff_vs_best_ci_low"), told.get("diff_vs_best_ci_high")
    if one is best or (low is not None and low > -margin):
        return told | {"within_margin": "yes"}
    return told | {"within_margin": "no" if high is not None and high < -margin else "undecided"}


def _like(one: BestConfiguration, found: list[BestConfiguration]) -> dict[str, Any]:
    others = [other for other in found if other.row["method"] == "lora"]
    if one.row["method"] == "lora" or not others or not one.size:
        return {}
    nearest = min(others, key=lambda other: abs(math.log(other.size / one.size)))
    return {"matched_lora": nearest.name} | one.minus(nearest, "diff_vs_matched_lora")


def _front(found: list[BestConfiguration]) -> Iterator[dict[str, Any]]:
    """Whether each is on the front, and how often in resamples, where they are paired."""
    sizes = np.array([one.size for one in found], int)
    here = _undominated(sizes, np.array([[one.row["accuracy"] for one in found]]))[0]
    shares: Any = [None] * len(found)
    if found and all(one.pairs_with(found[0]) for one in found):
        right = np.stack([one.right.to_numpy() for one in found])
        drawn = crossed_means(right, np.random.default_rng(0))
        shares = _undominated(sizes, drawn).mean(axis=0)
    for on, share in zip(here, shares, strict=True):
        yield {"pareto_optimal": bool(on), "p_pareto_optimal": share}


def _undominated(sizes: NDArray[np.int64], means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For means of shape (n, settings): whether no setting of at most this size does better.

    Of two with equal accuracy the smaller one dominates.
    """
    smaller = sizes[None, :] < sizes[:, None]
    not_larger = sizes[None, :] <= sizes[:, None]
    better = means[:, None, :] > means[:, :, None]
    equal = means[:, None, :] == means[:, :, None]
    return ~((better & not_larger) | (equal & smaller)).any(axis=2)
