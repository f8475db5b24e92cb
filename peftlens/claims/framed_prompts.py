"""A prompt trained inside sentences says more of its task, for at most two points of accuracy.

Rule: framed_prompt_tuning against prompt_tuning, equal in all hyperparameters that both have and
started from common tokens, pair by pair of the same task and seed. What a prompt says of its task
is the contrast of `prompt_elicitation` in standard deviations of random prompts' contrasts, the
mean over both kinds of words. A framed prompt says more if the mean difference over the pairs is
above zero (Student's t over three pairs or more). It says no more if the mean is below zero; or
below one, if prompts in which a quarter of the vectors are words of the task would be found with
power 0.8. Its cost is the paired difference of test accuracies over seeds and examples, the mean
over tasks; two points are the margin. Supported if some share of framed passes says more and costs
less than two points, contradicted if each says no more or costs more (Bonferroni for the two). Each
at one-sided 0.025 after Holm's correction for the number of configurations.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, Outcome, difference_text
from peftlens.numerics.mixed_model import POWER, Estimate, crossed_estimate, holm
from peftlens.results.comparisons import Comparison
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.item_scores import item_scores
from peftlens.results.run_evidence import Evidence, mean_over_runs

CLAIM = (
    "A prompt trained inside sentences says more of its task, for at most two points of accuracy."
)
SOURCE = (
    "after Khashabi et al. 2022, arXiv:2112.08348, section 3, whose prompts near a given text lose "
    "less than two points"
)
NEEDS = ("prompt_elicitation", "task_items", CONFIGURATIONS)
TO_MEASURE = (
    "train framed_prompt_tuning and prompt_tuning alike over the same three seeds or more on two "
    "tasks, and measure the probes prompt_elicitation and task_items"
)
CRITERION = "such a prompt says more of its task and costs less than two points"
PRACTICE = {
    "supported": "Train prompts inside sentences if people are to read them.",
    "contradicted": "Train prompts as usual: framed ones say little more, or cost over two points.",
}
ANALYSIS = "lens"
MARGIN = 0.02  # of accuracy
LEVEL = 0.05  # of q-values
EFFECT = 1.0  # standard deviations of random prompts' contrasts
PLANTED = 0.25  # share of the vectors that are words of the task
FRAMED, PLAIN = "framed_prompt_tuning", "prompt_tuning"
# hyperparameters of the frames, and names
_DIFFERENT = ("method", "configuration", "sweep", "framed_share", "frames", "frame_ids")


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the differences of what prompts say, and of accuracies, at equal tasks and seeds."""
    prompts = _prompts(tables["prompt_elicitation"])
    scores = _scores(tables["task_items"])
    evidence, shown, comparisons = [], [], []
    for framed, plain in _alike(tables[CONFIGURATIONS]).items():
        pairs = _pairs(prompts, framed, plain)
        cost = _cost(scores, pairs)
        if cost is not None:
            says = mean_over_runs(pairs["says"] - pairs["says_plain"])
            evidence.append(_evidence(says, cost, pairs))
            shown.append(f"{framed} against {plain}: {_text(says, cost, pairs)}")
            comparisons += _comparisons((framed, plain), says, cost, len(pairs))
    if not evidence:
        return Judgment(
            "not measured", "No framed and plain prompts are alike in all else and in the seeds."
        )
    sentence = f"At equal tasks and seeds, {'; '.join(shown)}."
    return Judgment(_decide(evidence, alpha), sentence, tuple(comparisons))


def _comparisons(
    names: tuple[str, str], says: Estimate, cost: Estimate, n_pairs: int
) -> Iterator[Comparison]:
    """Yield the comparisons of what the prompts say, and of the accuracies."""
    both = " against ".join(names)
    yield Comparison(
        what=f"what {both} says",
        estimate=says,
        low=0.0,
        effect=EFFECT,
        unit="standard deviations",
        n_seeds=n_pairs,
        noun="pair",
        configurations=names,
    )
    yield Comparison(
        what=f"accuracy of {both}",
        estimate=cost,
        low=-MARGIN,
        n_seeds=n_pairs,
        noun="pair",
        configurations=names,
    )


def _decide(evidence: list[Evidence], alpha: float) -> Outcome:
    if (holm([one.holds for one in evidence]) <= alpha).any():
        return "supported"
    refuted = (holm([one.fails for one in evidence]) <= alpha).all()
    return "contradicted" if refuted else "insufficient evidence"


def _prompts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per prompt: what it says of its task, whether that is found, and the power."""
    own = rows[rows["own"].astype(bool)]
    runs = own.groupby(["configuration", "task", "seed", "run"], sort=False)
    frame = pd.DataFrame(
        {
            "says": runs["standardized"].mean().astype(float),
            "found": runs["q"].min().astype(float) <= LEVEL,
            "power": runs[f"power_at_{PLANTED}"].min().astype(float),
        }
    )
    return frame.reset_index()


def _scores(items: pd.DataFrame) -> dict[str, pd.Series]:
    """Return each run's scores of the test examples."""
    known = items.assign(score=item_scores(items)).dropna(subset=["score"])
    return {str(run): one.set_index("item")["score"] for run, one in known.groupby("run")}


def _alike(frame: pd.DataFrame) -> dict[str, str]:
    """Map each framed configuration to the plain one that is equal in all that both have."""
    framed = frame[frame["method"] == FRAMED]
    plain = frame[frame["method"] == PLAIN]
    framed = framed[framed["framed_share"].astype(float) > 0] if len(framed) else framed
    for name, start in (("init", "vocabulary"), ("anchor_weight", 0)):
        if name in plain:  # as framed prompts start, and without their anchor
            plain = plain[plain[name].fillna(start) == start]
    found = {}
    for one in framed.to_dict("records"):
        for other in plain.to_dict("records"):
            if all(_equal(one[key], other[key]) for key in one.keys() - {*_DIFFERENT}):
                found[str(one["configuration"])] = str(other["configuration"])
    return found


def _equal(one: Any, other: Any) -> bool:
    return bool(pd.isna(one) or pd.isna(other) or one == other)


def _pairs(prompts: pd.DataFrame, framed: str, plain: str) -> pd.DataFrame:
    """Return a row per task and seed that both configurations have."""
    one, other = (prompts[prompts["configuration"] == name] for name in (framed, plain))
    return one.merge(other, on=["task", "seed"], suffixes=("", "_plain"))


def _cost(scores: Mapping[str, pd.Series], pairs: pd.DataFrame) -> Estimate | None:
    """Estimate the difference of accuracies, the mean over tasks; None if a run has no scores."""
    runs = {*pairs["run"], *pairs["run_plain"]}
    if pairs.empty or not runs <= scores.keys():
        return None
    each = []
    for _, task in pairs.groupby("task"):
        gaps = [
            scores[one] - scores[other]
            for one, other in zip(task["run"], task["run_plain"], strict=True)
        ]
        table = pd.concat(gaps, axis=1).dropna()  # (items, seeds)
        each.append(crossed_estimate(table.to_numpy().T))
    return mean_over_tasks(each)


def mean_over_tasks(each: list[Estimate]) -> Estimate:
    """Average independent estimates, with Satterthwaite's degrees of freedom.

    Args:
        each: estimate on each task.
    """
    value = float(np.mean([one.value for one in each]))
    errors = np.array([one.standard_error or 0.0 for one in each])
    freedoms = np.array([one.degrees_of_freedom or 0.0 for one in each])
    variances = errors**2
    if not freedoms.all():
        return Estimate(value)
    spread = (variances**2 / freedoms).sum()
    freedom = float(variances.sum() ** 2 / spread) if spread else float(freedoms.sum())
    error = float(np.sqrt(variances.sum()) / len(each))
    return Estimate(value, degrees_of_freedom=freedom, standard_error=error).at_level(0.95)


def _evidence(says: Estimate, cost: Estimate, pairs: pd.DataFrame) -> Evidence:
    power = float(pairs[["power", "power_plain"]].to_numpy().min())  # NaN if one is unknown
    no_more = says.p_below(EFFECT) if power >= POWER else says.p_below(0)
    return Evidence(
        holds=max(says.p_above(0), cost.p_above(-MARGIN)),
        fails=min(1.0, 2 * min(no_more, cost.p_below(-MARGIN))),
    )


def _text(says: Estimate, cost: Estimate, pairs: pd.DataFrame) -> str:
    text = f"what the prompt says of its task differs by {says.value:+z.2f}"
    if says.low is not None and says.high is not None:
        text += f" ({says.low:+z.2f} to {says.high:+z.2f})"
    found, plain = int(pairs["found"].sum()), int(pairs["found_plain"].sum())
    power = float(pairs[["power", "power_plain"]].to_numpy().min())
    return (
        f"{text} standard deviations of random prompts, accuracy by {difference_text(cost)} (found "
        f"in {found} against {plain} of {len(pairs)} prompts, power {power:.2f})"
    )
