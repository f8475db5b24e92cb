"""LoRA forgets less because most of the model is frozen.

Rule: in a sequence of tasks, forgetting is the mean over all tasks but the last of the accuracy
right after training on the task minus that at the end (BWT with the sign turned). LoRA, training
the head alone and full fine-tuning are compared over the same seeds and test examples. Supported if
LoRA and the head alone both forget less than full fine-tuning (95 % intervals below zero) and as
much as each other (two one-sided tests at 5 % within two points). Contradicted if one of the two
forgets more than full fine-tuning, or if they differ by more than two points (each one-sided at
0.025 after Holm's correction for the three), so that something else than freezing is at work. Of
several configurations of a method the one with the best accuracy right after training counts; these
accuracies are shown, because a method that learns nothing forgets nothing. Where each task has its
own head, the head alone forgets exactly nothing, by construction: then the rule asks whether LoRA's
frozen weights leave its small update harmless.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, difference_text, outcome_of, seeds
from peftlens.numerics.continual_metrics import (
    ONE,
    TaskSequence,
    backward_transfer,
    difference,
    estimate,
    learning_accuracy,
    sequences,
)
from peftlens.results.comparisons import Comparison, Margins, all_hold

CLAIM = "LoRA forgets less because most of the model is frozen."
SOURCE = "Pandey 2026, arXiv:2603.27707"
NEEDS = ("sequence_items",)
TO_MEASURE = (
    "train full, lora and head on a [continual] sequence of tasks with heads, over several seeds"
)
CRITERION = (
    "LoRA and the head alone both forget less than full fine-tuning, and as much as each "
    "other within two points"
)
PRACTICE = {
    "supported": "To forget less, freeze the base: LoRA then keeps as much as the head alone.",
    "contradicted": "Don't count on frozen weights alone against forgetting: measure each method.",
}
ANALYSIS = "continual"
MARGIN = 0.02  # accuracy
METHODS = ("full", "lora", "head")
LESS: Margins = {"high": 0.0, "effect": -MARGIN}
MARGINS: dict[tuple[str, str], Margins] = {
    ("lora", "full"): LESS,
    ("head", "full"): LESS,
    ("lora", "head"): {"low": -MARGIN, "high": MARGIN},
}


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the paired differences of forgetting between the three methods."""
    rows = tables["sequence_items"]
    found = {name: _best(rows[rows["method"] == name]) for name in METHODS}
    shared = set.intersection(*({one.seed for one in members} for members in found.values()))
    if len(shared) < 2:
        missing = [name for name, members in found.items() if not members]
        return Judgment(
            "not measured",
            f"No sequence of tasks was trained by {', '.join(missing)}."
            if missing
            else "The three methods share fewer than two seeds.",
        )
    chosen = {
        name: [one for one in members if one.seed in shared] for name, members in found.items()
    }
    forgot = {
        (one, other): -difference(chosen[one], chosen[other], backward_transfer)
        for one, other in MARGINS
    }
    minus = [f"{one} minus {other} {difference_text(by)}" for (one, other), by in forgot.items()]
    sentence = (
        f"{'; '.join(map(_text, chosen.values()))}. {'; '.join(minus)} "
        f"({seeds(len(shared))}, {min(one.n_items for one in chosen['full'])} examples or more "
        "per task)."
    )
    first = chosen["full"][0]
    comparisons = tuple(
        Comparison(
            what=f"forgetting of {one} against {other}",
            estimate=by,
            n_seeds=len(shared),
            n_items=first.n_items * (len(first.tasks) - 1),
            configurations=(chosen[one][0].setting, chosen[other][0].setting),
            **MARGINS[one, other],
        )
        for (one, other), by in forgot.items()
    )
    return Judgment(outcome_of(all_hold(comparisons, alpha)), sentence, comparisons)


def _best(rows: pd.DataFrame) -> list[TaskSequence]:
    """Return the sequences of a method's configuration that learns best; one for each seed."""
    by_name: dict[str, list[TaskSequence]] = {}
    for one in sequences(rows):
        if one.regime == ONE:
            by_name.setdefault(one.setting, []).append(one)
    return max(by_name.values(), key=_learned, default=[])


def _learned(members: list[TaskSequence]) -> float:
    return estimate(members, learning_accuracy).value


def _text(members: list[TaskSequence]) -> str:
    forgot = difference_text(-estimate(members, backward_transfer))
    return f"{members[0].setting} learns {_learned(members):.0%} and forgets {forgot}"
