"""Log-probabilities of answers, and the loss that training minimises.

The output head is applied only where the loss is. A slice of the hidden states would be slower than
all logits in bfloat16 (it becomes a batched product that copies the head's weight for each row), so
the states are gathered to two dimensions first; a hook on the head does this for any model and any
method, whatever wraps them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.encoding import Batch, Encoder, Item, Row, scoring_batches
from peftlens.progress import track


@contextmanager
def _gathered(model: nn.Module, scored: torch.Tensor) -> Iterator[None]:
    """The head sees only the scored positions, as (n, d).

    Soft prompts lengthen the hidden states in front; positions count from the end.
    """

    def gather(_: nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        return args[0][:, -scored.shape[1] :][scored]

    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def answer_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits (n, V) in float32 at the batch's scored positions, n = number of targets."""
    with _gathered(model, batch.scored):
        return model(**batch.inputs).logits.float()


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Summed cross-entropy of the answers' tokens, nats, float32.

    Divided by the number of targets it is the loss that transformers computes from `labels`.
    """
    return nn.functional.cross_entropy(answer_logits(model, batch), batch.targets, reduction="sum")


@torch.inference_mode()
def log_probabilities(
    model: nn.Module, encoder: Encoder, rows: Sequence[Row], description: str
) -> NDArray[np.float64]:
    """Log-probability of each row's answer given its prompt, nats, summed over tokens.

    Candidate answers that differ only in their last token share one forward pass, as single-token
    labels do.
    """
    shared: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        # where the prompt ends matters too: it decides which positions are scored
        shared.setdefault((len(row.prompt), *row.prompt, *row.answer[:-1]), []).append(index)
    groups = list(shared.values())
    firsts = [rows[group[0]] for group in groups]
    sums = np.zeros(len(rows))
    for indices in track(list(scoring_batches(firsts)), description):
        batch = encoder.batch([firsts[index] for index in indices])
        logs = answer_logits(model, batch).log_softmax(dim=-1)
        ends = np.cumsum([firsts[index].scored for index in indices])
        for index, end in zip(indices, ends, strict=True):
            first = firsts[index]
            own = logs[end - first.scored : end]
            for member in groups[index]:
                targets = torch.tensor(rows[member].answer[-first.scored :], device=own.device)
                sums[member] = own.gather(1, targets[:, None]).cpu().double().sum().item()
    return sums


@dataclass(frozen=True)
class Choices:
    """Which answer the model prefers for each item, by two scores.

    Attributes:
        correct: index of the right answer, shape (n,).
        by_sum: index of the answer with the highest summed log-probability (lm-eval's `acc`).
        by_byte: the same per UTF-8 byte of the answer (lm-eval's `acc_norm`).
        loss: negative log-probability of the right answer per token, nats.
    """

    correct: NDArray[np.int64]
    by_sum: NDArray[np.int64]
    by_byte: NDArray[np.int64]
    loss: NDArray[np.float64]


def choose(
    model: nn.Module, encoder: Encoder, items: Sequence[Item], description: str = "Scoring"
) -> Choices:
    """Score every candidate answer of every item in full; ties go to the first."""
    rows = [row for item in items for row in item.rows]
    sums = log_probabilities(model, encoder, rows, description)
    by_sum, by_byte, loss = [], [], []
    start = 0
    for item in items:
        scores = sums[start : start + len(item.rows)]
        start += len(item.rows)
        by_sum.append(int(scores.argmax()))
        by_byte.append(int((scores / np.array(item.answer_bytes)).argmax()))
        loss.append(-scores[item.correct] / item.rows[item.correct].scored)
    correct = [item.correct for item in items]
    return Choices(np.array(correct), np.array(by_sum), np.array(by_byte), np.array(loss))
