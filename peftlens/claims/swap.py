"""One base model serves many tasks: swap LoRA weights or soft prompts at inference.

Rule: of every configuration that was trained anew on each task of a sequence, each task's adapter
must answer more of the task's examples than the base does: the 95 % interval of the gain over seeds
lies above zero, for every task. Full fine-tuning is left out: its adapter is a whole model.
Supported if a configuration does so on all tasks, contradicted if every configuration has a task on
which the interval lies below zero. That a swapped adapter forgets nothing needs no measurement: the
base's weights are not changed.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, seeds
from peftlens.numerics.resampling import few_interval

CLAIM = "One base model serves many tasks: swap LoRA weights or soft prompts at inference."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 1"
NEEDS = ("sequence_scores",)
TO_MEASURE = "give the study a [continual] table of several tasks, over several seeds"
ANALYSIS = "continual"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by each adapter's gain on its own task."""
    rows = tables["sequence_scores"]
    own = rows[rows["continue_from"].isna() & (rows["task"] == rows["trained_on"])]
    own = own[~own["method"].isin(["full", "frozen"])]
    if own["task"].nunique() < 2:
        return "not measured", "No adapter was trained anew on each of several tasks."
    gains = own.assign(gain=own["accuracy"] - own["base_accuracy"])
    told, better, worse = [], 0, 0
    for setting, group in gains.groupby("shared_configuration", sort=False):
        intervals = [few_interval(one["gain"]) for _, one in group.groupby("task")]
        better += all(one.low is not None and one.low > 0 for one in intervals)
        worse += any(one.high is not None and one.high < 0 for one in intervals)
        each = (
            f"{task} {one['gain'].mean():+.0%}" for task, one in group.groupby("task", sort=False)
        )
        told.append(f"{setting} ({', '.join(each)})")
    n = gains["shared_configuration"].nunique()
    runs = own.groupby(["shared_configuration", "task"]).size().min()
    sentence = (
        f"With one adapter a task, {better} of {n} configurations answer more than the base on "
        f"every task, by 95 % intervals over {seeds(runs)} of {own['n_items'].min()} examples or "
        f"more a task: {'; '.join(told)}."
    )
    if better:
        return "supported", sentence
    return ("contradicted" if worse == n else "insufficient evidence"), sentence
