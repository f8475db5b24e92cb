"""The nearest tokens of a soft prompt are related to its task.

Rule: a prompt counts if `soft_prompt_task_words` finds the words nearest to its displacement from
the start (to its vectors, if the start is unknown) closer to its task's words, relative to other
tasks' words, than after random rotations of the prompt, at 5 %. Contradicted if the 95 % interval
of the share of such prompts lies below one half, and in every prompt a cosine of 0.4 to the task's
words would have been found with power 0.8. Supported if the interval lies above one half, and the
prompts are closer to their own task's words than prompts of other tasks, or trained on shuffled
labels, are to the same words: an exact or Monte Carlo permutation test at 5 %. Gradients have
directions of their own, to which random ones are no comparison.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, by_half, trained_prompts, without_power
from peftlens.numerics.resampling import p_value

CLAIM = "The nearest tokens of a soft prompt are related to its task."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 7"
NEEDS = ("soft_prompt_task_words",)
TO_MEASURE = (
    "train prompt_tuning with six seeds or more, with and without shuffle_labels, and measure the "
    "probe soft_prompt_task_words"
)
CRITERION = (
    "in most prompts the nearest words are closer to the task's than by chance, and than in "
    "prompts of other tasks or shuffled labels; it fails only if such words would have been "
    "found with power 0.8"
)
PRACTICE = {
    "supported": "The words that a prompt's vectors moved toward hint at its task.",
    "contradicted": "Don't infer a prompt's task from its nearest words.",
}
ANALYSIS = "soft_prompts"
CONTROLS = True
LEVEL = 0.05
EFFECT = 0.4  # cosine to a word of the task
POWER = 0.8
_PERMUTATIONS = 9999


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the share of prompts that are related to the task."""
    rows = trained_prompts(tables["soft_prompt_task_words"])
    if "contrast" not in rows:
        return Judgment(
            "not measured", "The table has no contrast between tasks; measure it again."
        )
    rows = rows[(rows["kind"] == "soft prompt") & rows["position"].isna()]
    own = rows[rows["own"].astype(bool)].set_index("run")
    trained = own[~own["shuffled_labels"].astype(bool)]
    if trained.empty:
        return Judgment("not measured", "No prompt was trained.")
    related = (trained["p"] <= LEVEL).astype(float)
    words = "the words are closer to the task's than chance"
    outcome, sentence, share = by_half(related, words, alpha)
    power = trained[f"power_at_{EFFECT}"].astype(float).min()
    sentence = (
        f"{sentence} Mean closeness to the task's words minus that to other tasks' words: "
        f"{trained['contrast'].mean():+z.3f} in the space of the vectors. Prompts with a cosine of "
        f"{EFFECT} to words of the task would be found with power {min(power, 0.99):.2f} or more."
    )
    if outcome == "contradicted":
        if not power >= POWER:
            return without_power(sentence, power, POWER, share)
        return Judgment(outcome, sentence, share)
    p = _against_controls(rows, own)
    if p is None:
        sentence += " No prompts of another task or of shuffled labels to compare them with."
    else:
        sentence += f" Compared with prompts of other tasks or shuffled labels: p = {p:.3g}."
    if outcome == "supported" and not (p is not None and p <= 2 * alpha):
        outcome = "insufficient evidence"
    return Judgment(outcome, sentence, share)


def _against_controls(rows: pd.DataFrame, own: pd.DataFrame) -> float | None:
    """Permute which prompts were trained on a task; None without prompts to compare with.

    A prompt's closeness to a task is that of its row minus the mean of its other rows, in standard
    deviations of its rotations. The statistic is the mean over tasks of the difference between the
    prompts of the task and the other prompts.
    """
    close = rows.pivot_table(index="run", columns="task", values="standardized")
    n = close.notna().sum(axis=1)
    others = close.rsub(close.sum(axis=1), axis=0).div(n - 1, axis=0)
    contrasts = close - others
    # a control has a kind of its own, that of no task
    kinds = own["task"].where(~own["shuffled_labels"].astype(bool), "shuffled labels")
    kinds = kinds.reindex(contrasts.index).to_numpy()
    if len({*kinds}) < 2:
        return None
    tasks = [task for task in {*kinds} if task in contrasts]
    values = {task: contrasts[task].to_numpy() for task in sorted(tasks)}

    def statistic(assigned: np.ndarray) -> float:
        differences = []
        for task, column in values.items():
            there = ~np.isnan(column)
            mine = assigned == task
            if (there & mine).any() and (there & ~mine).any():
                differences.append(column[there & mine].mean() - column[there & ~mine].mean())
        return float(np.mean(differences)) if differences else np.nan

    observed = statistic(kinds)
    if np.isnan(observed):
        return None
    rng = np.random.default_rng(0)
    return p_value(observed, [statistic(rng.permutation(kinds)) for _ in range(_PERMUTATIONS)])
