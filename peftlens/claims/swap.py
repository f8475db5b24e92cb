"""One base model serves many tasks: swap LoRA weights or soft prompts at inference.

Rule: a configuration with a new adapter for each of several tasks serves them if each adapter gains
accuracy on its task. The gain is the adapter's accuracy minus the baseline's: the better, on the
scored examples, of the base and the most frequent class of the training split, since a base that
always gives the same answer has learned nothing that an adapter could fall below. Its 95 % interval
generalizes over seeds and test examples. The claim is one of superiority, so that the margin is 0.
Supported if all gains of some configuration lie above zero, by Holm's correction over the
configurations; within one, all tasks must hold, and such an intersection-union test needs no
correction (Berger 1982, Technometrics 24, 295-300). Contradicted if every configuration has a task
whose interval lies below zero, by Holm's correction over its tasks. Full fine-tuning is excluded:
its adapter is a whole model. Swapped adapters forget nothing by construction: the base's weights do
not change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, difference_text, outcome_of, seeds
from peftlens.numerics.mixed_model import Estimate, crossed_estimate, holm
from peftlens.results.comparisons import Comparison

CLAIM = "One base model serves many tasks: swap LoRA weights or soft prompts at inference."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 1"
NEEDS = ("sequence_items",)
TO_MEASURE = "give the study a [continual] table of several tasks, over several seeds"
CRITERION = "every adapter of at least one configuration gains on its task"
PRACTICE = {
    "supported": "Serve several tasks by one base, and swap the adapter.",
    "contradicted": (
        "Before serving an adapter, check that it beats the base and the most frequent class."
    ),
}
ANALYSIS = "continual"
EFFECT = 0.06  # gain of accuracy, which a study should find


@dataclass(frozen=True)
class Gain:
    """Gain of one configuration's adapters on their task.

    Attributes:
        task: name of the task.
        estimate: mean difference of accuracy from the baseline, over seeds and test examples.
        baseline: name of the baseline.
        n_seeds: number of adapters.
        n_items: number of test examples.
    """

    task: str
    estimate: Estimate
    baseline: str
    n_seeds: int
    n_items: int

    @classmethod
    def of(cls, task: str, rows: pd.DataFrame) -> "Gain":
        """Estimate the gain from the answers of each seed's adapter to the task's examples."""
        names = {"base_right": "the base", "majority_right": "the most frequent class"}
        accuracies = rows[[*names]].astype(float).mean()  # NaN for tasks without classes
        better = str(accuracies.idxmax())
        gains = rows.assign(gain=rows["right"].astype(float) - rows[better].astype(float))
        values = gains.pivot(index="run", columns="item", values="gain").dropna(axis="columns")
        baseline = f"{names[better]}'s {accuracies[better]:.0%}"
        return cls(task, crossed_estimate(values), baseline, *values.shape)

    def comparison(self, configuration: str) -> Comparison:
        """Compare the gain of a configuration's adapters with none."""
        return Comparison(
            what=f"{configuration} on {self.task} against {self.baseline}",
            estimate=self.estimate,
            low=0.0,
            effect=EFFECT,
            n_seeds=self.n_seeds,
            n_items=self.n_items,
        )

    def __str__(self) -> str:
        return f"{self.task} {difference_text(self.estimate)}, over {self.baseline}"


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by each adapter's gain on its training task."""
    rows = tables["sequence_items"]
    matched = rows[rows["continue_from"].isna() & (rows["task"] == rows["trained_on"])]
    matched = matched[~matched["method"].isin(["full", "frozen"])]
    found = {
        str(name): [Gain.of(str(task), one) for task, one in group.groupby("task", sort=False)]
        for name, group in matched.groupby("shared_configuration", sort=False)
    }
    found = {
        name: gains
        for name, gains in found.items()
        if len(gains) > 1 and min(one.n_seeds for one in gains) > 1
    }
    if not found:
        return Judgment(
            "not measured",
            "No configuration has a new adapter for each of several tasks, over several seeds.",
        )
    estimates = [[one.estimate for one in gains] for gains in found.values()]
    better = holm([max(one.p_above(0) for one in each) for each in estimates]) <= alpha
    worse = [holm([one.p_below(0) for one in each]).min() <= alpha for each in estimates]
    every = [one for gains in found.values() for one in gains]
    texts = (f"{name} ({'; '.join(map(str, gains))})" for name, gains in found.items())
    sentence = (
        f"With one adapter per task, {better.sum()} of {len(found)} configurations answer more "
        "than the better of the base and the most frequent class on every task, by 95 % intervals "
        f"over {seeds(min(one.n_seeds for one in every))} and "
        f"{min(one.n_items for one in every)} examples or more per task: {'; '.join(texts)}."
    )
    holds = True if better.any() else False if all(worse) else None
    comparisons = tuple(gain.comparison(name) for name, gains in found.items() for gain in gains)
    return Judgment(outcome_of(holds), sentence, comparisons)
