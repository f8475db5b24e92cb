"""Losses of single tokens of texts, from which scores of membership are made."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits, float32_head
from peftlens.evaluation.token_chunks import token_loss
from peftlens.io.progress import track


@torch.inference_mode()
def token_losses(
    model: nn.Module, collator: Collator, rows: Sequence[TokenizedAnswer], description: str
) -> list[NDArray[np.float64]]:
    """Compute the loss of every trained token of each row, nats, shape (tokens of the row,)."""
    losses: list[NDArray[np.float64]] = [np.empty(0)] * len(rows)
    with float32_head(model):
        for indices in track(list(scoring_batches(rows, collator.at_once)), description):
            batch = collator.batch([rows[index] for index in indices])
            logits = answer_logits(model, batch)  # (t, V)
            loss = token_loss(logits, batch.targets)  # (t,)
            parts = loss.double().cpu().split([rows[index].scored for index in indices])
            for index, part in zip(indices, parts, strict=True):
                losses[index] = part.numpy()
    return losses


def min_k(losses: NDArray[np.float64], share: float) -> float:
    """Mean log-probability of a text's least likely tokens, nats: Min-K% Prob.

    Args:
        losses: losses of the text's tokens, nats, shape (t,).
        share: share of the tokens, above 0 and at most 1; at least one token counts.

    Source: Shi et al. 2023, arXiv:2310.16789, section 3.
    """
    count = max(1, int(share * len(losses)))
    return -float(np.sort(losses)[-count:].mean())
