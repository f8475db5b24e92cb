"""Divergence of any model's predictions from another's on the same texts: KL(one || other).

Both models read each batch, so that neither has to be attached to the other's base, and nothing of
the size of the vocabulary is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Batch, Collator, scoring_batches
from peftlens.evaluation.head_scores import head_logits
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.evaluation.token_chunks import chunks, token_loss
from peftlens.io.progress import track


@dataclass(frozen=True)
class TokenScores:
    """Scores of one model on the t scored tokens of some texts.

    Attributes:
        loss: negative log-probability of the token in the text, nats, shape (t,); NaN for outputs
            of a head.
        kl: KL(reference || model), nats, shape (t,).
    """

    loss: NDArray[np.float64]
    kl: NDArray[np.float64]


def kl_of_logits(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Compute KL(one || other) of every token, nats, shape (t,), from logits of shape (t, V).

    The other model can have more tokens; to these the first gives no probability.
    """
    found, both = [], min(one.shape[-1], other.shape[-1])
    with torch.inference_mode():
        for logits in chunks(one, other):
            p, q = (part.log_softmax(dim=-1)[:, :both] for part in logits)
            found.append((p.exp() * (p - q)).sum(dim=-1))
    return torch.cat(found)


@torch.inference_mode()
def compare_models(
    models: Sequence[Callable[[], nn.Module]],
    collator: Collator,
    rows: Sequence,
    description: str = "Comparing models",
) -> list[TokenScores]:
    """Score several models on the same rows, each beside the first.

    Args:
        models: functions that activate a model and return it; it need not stay valid when another
            is activated. The first is the reference.
        collator: collator of their common base.
        rows: tokenized answers, or texts with the right outputs of a head.
        description: what is shown with the progress.
    """
    scores: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in models]
    for indices in track(list(scoring_batches(rows, collator.at_once)), description):
        batch = collator.batch([rows[index] for index in indices])
        reference = _logits(models[0](), collator, batch)  # (tokens, V)
        for place, model in enumerate(models):
            logits = _logits(model(), collator, batch) if place else reference
            scores[place].append((_loss(logits, collator, batch), kl_of_logits(reference, logits)))
    return [
        TokenScores(*(torch.cat(side).cpu().double().numpy() for side in zip(*one, strict=True)))
        for one in scores
    ]


def _logits(model: nn.Module, collator: Collator, batch: Batch) -> torch.Tensor:
    return (head_logits if collator.has_head else answer_logits)(model, batch)


def _loss(logits: torch.Tensor, collator: Collator, batch: Batch) -> torch.Tensor:
    if collator.has_head:
        return logits.new_full(logits.shape[:1], float("nan"))
    return token_loss(logits, batch.targets)
