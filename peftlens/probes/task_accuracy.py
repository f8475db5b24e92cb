"""Test accuracy of each configuration, with separate intervals over examples and over seeds.

The interval over items estimates the variation with other test examples, the interval over seeds
that with other training runs. With one seed, there is no interval over seeds.

Three columns say how much of the accuracy is more than label format: the accuracy after correction
for the model's preference for some labels, the loss among the candidate answers alone, and the
accuracy without reading the input. See `task_items`.

Classes have macro F1 and Matthews correlation beside accuracy, numbers Spearman's correlation, and
tagged words the F1 of whole entities: each over all test examples of a run, then the mean over
seeds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.evaluation.label_scores import entity_f1, macro_f1, matthews, spearman
from peftlens.numerics.mixed_model import Estimate, crossed_estimate
from peftlens.numerics.resampling import few_interval, mean_interval
from peftlens.results.item_scores import item_scores
from peftlens.results.majority_baseline import baseline_accuracy
from peftlens.results.table import Chart, Column

INPUTS = ("task_items",)
VERSION = 7
COLUMNS = (
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("method", "name of the method"),
    Column(
        "accuracy",
        "share of test examples answered right, or mean score of written answers; mean over seeds",
        "1",
        "higher",
    ),
    Column("items_ci_low", "lower end of the 95 % interval over test examples", "1"),
    Column("items_ci_high", "upper end of the 95 % interval over test examples", "1"),
    Column("seeds_ci_low", "lower end of the 95 % interval over seeds; none with one seed", "1"),
    Column("seeds_ci_high", "upper end of the 95 % interval over seeds; none with one seed", "1"),
    Column(
        "accuracy_per_byte", "accuracy by log-probability per byte of the answer", "1", "higher"
    ),
    Column(
        "calibrated_accuracy",
        "accuracy after division of each label's probability by its mean over the split; none "
        "where examples have options of their own",
        "1",
        "higher",
    ),
    Column("calibrated_ci_low", "lower end of its 95 % interval over seeds and test examples", "1"),
    Column("calibrated_ci_high", "upper end of this interval", "1"),
    Column(
        "majority_accuracy",
        "accuracy of the training split's most frequent label, or of guessing among options",
        "1",
    ),
    Column("majority_class", "name of this label; none where examples have options of their own"),
    Column("macro_f1", "F1 of each class, mean over the classes and over seeds", "1", "higher"),
    Column("matthews", "Matthews correlation of the classes; mean over seeds", "1", "higher"),
    Column(
        "spearman",
        "Spearman's correlation of right and predicted numbers; mean over seeds",
        "1",
        "higher",
    ),
    Column("entity_f1", "F1 of whole entities, by seqeval; mean over seeds", "1", "higher"),
    Column(
        "loss",
        "negative log-probability of the right answer or tags, or squared error of a number",
        "nats per token or tag, or the number's unit squared",
        "lower",
    ),
    Column(
        "label_loss",
        "negative log-probability of the right answer among the candidate answers",
        "nats",
        "lower",
    ),
    Column(
        "label_loss_ci_low", "lower end of its 95 % interval over seeds and test examples", "nats"
    ),
    Column("label_loss_ci_high", "upper end of this interval", "nats"),
    Column(
        "tied",
        "share of test examples whose first of several equally probable answers was chosen",
        "1",
    ),
    Column("n_items", "number of test examples"),
    Column("n_seeds", "number of runs"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="accuracy",
        title="Accuracy on the test split (bars: 95 % interval over test examples)",
        low="items_ci_low",
        high="items_ci_high",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per configuration, in the study's order; tasks of texts have no accuracy."""
    items = tables["task_items"]
    rows = [_row(str(name), group) for name, group in items.groupby("configuration", sort=False)]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _row(configuration: str, group: pd.DataFrame) -> dict[str, object]:
    row: dict[str, object] = {
        "configuration": configuration,
        "method": group["method"].iloc[0],
        "loss": float(group["loss"].mean()),
        "n_items": group["item"].nunique(),
        "n_seeds": group["run"].nunique(),
    }
    row |= _scores_of_labels(group)
    right = item_scores(group)
    if right.isna().any():
        return row
    items = mean_interval(right.groupby(group["item"]).mean(), np.random.default_rng(0))
    seeds = few_interval(right.groupby(group["run"]).mean(), (0, 1))
    row |= {
        "accuracy": float(right.mean()),
        "items_ci_low": items.low,
        "items_ci_high": items.high,
        "seeds_ci_low": seeds.low,
        "seeds_ci_high": seeds.high,
    }
    if group["chosen"].isna().any():  # written answers
        return row
    label_loss = _estimate(group, group["label_loss"])
    row |= {
        "accuracy_per_byte": float((group["chosen_per_byte"] == group["correct"]).mean()),
        "majority_accuracy": _majority_accuracy(group),
        "majority_class": _only(group["majority_class"]),
        "label_loss": label_loss.value,
        "label_loss_ci_low": label_loss.low,
        "label_loss_ci_high": label_loss.high,
        "tied": float(group["tied"].mean()),
    }
    if group["chosen_calibrated"].isna().any():
        return row
    calibrated = _estimate(group, group["chosen_calibrated"] == group["correct"])
    ends = {"calibrated_ci_low": calibrated.low, "calibrated_ci_high": calibrated.high}
    within = {name: None if end is None else min(max(end, 0.0), 1.0) for name, end in ends.items()}
    return row | {"calibrated_accuracy": calibrated.value} | within


def _scores_of_labels(group: pd.DataFrame) -> dict[str, float]:
    """Score classes, numbers or tags over the test examples of each run; mean over the runs."""
    if _has(group, "tags"):
        scores = {"entity_f1": ("tags", "predicted_tags", entity_f1)}
    elif _has(group, "value"):
        scores = {"spearman": ("value", "predicted_value", spearman)}
    elif _has(group, "majority"):
        columns = ("correct", "chosen")
        scores = {"macro_f1": (*columns, macro_f1), "matthews": (*columns, matthews)}
    else:  # texts, written answers, and options of each example's own
        return {}
    means: dict[str, float] = {}
    for name, (right, predicted, score) in scores.items():
        by_run = [score([*one[right]], [*one[predicted]]) for _, one in group.groupby("run")]
        known = [value for value in by_run if value is not None]
        if len(known) == len(by_run):
            means[name] = float(np.mean(known))
    return means


def _has(group: pd.DataFrame, column: str) -> bool:
    return column in group and bool(group[column].notna().all())


def _estimate(group: pd.DataFrame, values: pd.Series) -> Estimate:
    """Estimate the mean of a value over runs and test examples."""
    return crossed_estimate(
        group.assign(value=values.astype(float)).pivot(index="run", columns="item", values="value")
    )


def _only(values: pd.Series) -> object:
    """Return the value of all rows; None where they differ."""
    return values.iloc[0] if values.nunique(dropna=False) == 1 else None


def _majority_accuracy(group: pd.DataFrame) -> float:
    if group["majority"].isna().any():
        return float((1 / group["n_answers"]).mean())
    return baseline_accuracy(group["majority"], group["correct"])
