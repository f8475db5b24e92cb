"""One base model serves many tasks: swap LoRA weights or soft prompts at inference.

Rule: for every configuration with a new adapter per task of a sequence, each task's adapter must
answer more of the task's examples correctly than the base: the 95 % interval of the gain over seeds
lies above zero. Full fine-tuning is excluded: its adapter is a whole model. Supported if this holds
on all tasks for some configuration, contradicted if every configuration has a task with an interval
below zero. Swapped adapters forget nothing by construction: the base's weights do not change.
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
    """Judge by each adapter's gain on its training task."""
    rows = tables["sequence_scores"]
    matched = rows[rows["continue_from"].isna() & (rows["task"] == rows["trained_on"])]
    matched = matched[~matched["method"].isin(["full", "frozen"])]
    if matched["task"].nunique() < 2:
        return "not measured", "No new adapter was trained on each of several tasks."
    gains = matched.assign(gain=matched["accuracy"] - matched["base_accuracy"])
    texts, better, worse = [], 0, 0
    for configuration, group in gains.groupby("shared_configuration", sort=False):
        intervals = [few_interval(one["gain"]) for _, one in group.groupby("task")]
        better += all(one.low is not None and one.low > 0 for one in intervals)
        worse += any(one.high is not None and one.high < 0 for one in intervals)
        each = (
            f"{task} {one['gain'].mean():+.0%}" for task, one in group.groupby("task", sort=False)
        )
        texts.append(f"{configuration} ({', '.join(each)})")
    n = gains["shared_configuration"].nunique()
    runs = matched.groupby(["shared_configuration", "task"]).size().min()
    sentence = (
        f"With one adapter per task, {better} of {n} configurations answer more than the base on "
        f"every task, by 95 % intervals over {seeds(runs)} of {matched['n_items'].min()} examples "
        f"or more per task: {'; '.join(texts)}."
    )
    if better:
        return "supported", sentence
    return ("contradicted" if worse == n else "insufficient evidence"), sentence
