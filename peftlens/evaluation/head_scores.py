"""Losses and outputs of heads: classes, numbers, and tags of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Batch, Collator, scoring_batches
from peftlens.data.tokenization import TokenizedExample
from peftlens.io.progress import track


def head_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute float32 outputs (n, C) of a head for the batch's n targets; C = 1 for a number."""
    logits = model(**batch.inputs).logits.float()  # (batch, C), or (batch, seq, C) of tokens
    # what a soft prompt adds in front is not scored
    seen = logits[:, -batch.scored.shape[1] :] if batch.scored.dim() == 2 else logits
    return seen[batch.scored.to(seen.device)]


def head_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the summed loss: cross-entropy in nats, or the squared error of a number."""
    logits = head_logits(model, batch)
    if batch.targets.is_floating_point():
        return (logits[:, 0] - batch.targets).square().sum()
    return nn.functional.cross_entropy(logits, batch.targets, reduction="sum")


@dataclass(frozen=True)
class HeadOutputs:
    """Outputs of a head for n items.

    Attributes:
        scores: for each item the score of each of its rows: log-probability of each class, nats;
            of all tags, summed over the words; or minus the squared error of the number.
        predicted: for each item the index of the class, an array of those of its words, shape
            (words,), or the number.
    """

    scores: list[NDArray[np.float64]]
    predicted: list[Any]


@torch.inference_mode()
def head_outputs(
    model: nn.Module, collator: Collator, items: Sequence[TokenizedExample], description: str
) -> HeadOutputs:
    """Run the head on every item once."""
    rows: list[Any] = [item.rows[0] for item in items]
    scores: list[Any] = [None] * len(items)
    predicted: list[Any] = [None] * len(items)
    for indices in track(list(scoring_batches(rows, collator.at_once)), description):
        batch = collator.batch([rows[index] for index in indices])
        logits = head_logits(model, batch).cpu().double()  # (n, C)
        for index, part in zip(
            indices, logits.split([rows[index].scored for index in indices]), strict=True
        ):
            scores[index], predicted[index] = _one(part, items[index])
    return HeadOutputs(scores, predicted)


def _one(logits: torch.Tensor, item: TokenizedExample) -> tuple[NDArray[np.float64], Any]:
    """Score an item's rows by the outputs (words, C) of its input, one word without tags."""
    row: Any = item.rows[0]
    if logits.shape[1] == 1:  # a number
        value = float(logits[0, 0])
        return np.array([-((value - row.labels[0]) ** 2)]), value
    logs = logits.log_softmax(dim=-1)
    if row.places is None:
        return logs[0].numpy(), int(logs[0].argmax())
    right = logs.gather(1, torch.tensor(row.labels)[:, None])
    return np.array([float(right.sum())]), logs.argmax(dim=-1).numpy()
