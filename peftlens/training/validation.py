"""Validation: scores of a trained model on the validation split of its task."""

import math
from typing import Any

import numpy as np
from torch import nn

from peftlens.evaluation.label_scores import entity_f1, macro_f1, matthews, spearman
from peftlens.evaluation.log_likelihood import Choices, choose
from peftlens.training.data_loader import TokenizedTask


def validate(
    model: nn.Module, task: TokenizedTask, description: str = "Validating"
) -> dict[str, float]:
    """Compute the loss and what else the answers allow; empty if the loss is not finite.

    With several answers these are label loss and accuracy. A head adds macro F1 and Matthews
    correlation of classes, Spearman's correlation of numbers (whose loss is the mean squared
    error), and the F1 of entities and the accuracy of tags (whose loss is the mean over texts of
    the mean over their words).

    Args:
        model: model in evaluation mode.
        task: task with the validation examples.
        description: title of the progress bar.
    """
    choices = choose(model, task.collator, task.validation, description)
    scores = {"validation_loss": float(choices.loss.mean())}
    if not math.isfinite(scores["validation_loss"]):
        return {}
    if len(task.validation[0].rows) > 1:
        scores["validation_label_loss"] = float(choices.label_loss.mean())
        scores["validation_accuracy"] = float((choices.by_sum == choices.correct).mean())
    return scores | _scores_of_head(choices, task)


def _scores_of_head(choices: Choices, task: TokenizedTask) -> dict[str, float]:
    if choices.predicted is None:
        return {}
    head = task.collator.example_tokenizer.head  # pyright: ignore[reportAttributeAccessIssue]
    if head.is_regression:
        values = [row.labels[0] for row in _rows(task)]
        found = spearman(values, choices.predicted)
        return {} if found is None else {"validation_spearman": found}
    if head.task_type == "SEQ_CLS":
        return {
            "validation_macro_f1": macro_f1(choices.correct, choices.by_sum),
            "validation_matthews": matthews(choices.correct, choices.by_sum),
        }
    right = [[head.labels[k] for k in row.labels] for row in _rows(task)]
    chosen = [[head.labels[k] for k in tags] for tags in choices.predicted]
    flat = [np.array([tag for tags in side for tag in tags]) for side in (right, chosen)]
    return {
        "validation_accuracy": float((flat[0] == flat[1]).mean()),
        "validation_entity_f1": entity_f1(right, chosen),
    }


def _rows(task: TokenizedTask) -> list[Any]:
    return [item.rows[0] for item in task.validation]
