"""Diagonal Fisher information of a model's weights: how much its predictions depend on each.

F_i = E[(∂ log p(y | x) / ∂θ_i)²], with y drawn from the model's own prediction p at every position
of the texts. The squared gradient of a text's summed log-probability estimates the sum over its
tokens, because independent draws have no covariance. So ½ Σ F_i δ_i² is, to second order and
without its mixed terms, the KL divergence per token of a model changed by δ. The right tokens of
the texts would give another matrix, the empirical Fisher (Kunstner et al. 2019, arXiv:1905.12558).
Source: Kirkpatrick et al. 2017, arXiv:1612.00796, section 2.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.io.progress import track


def fisher_diagonal(
    model: nn.Module,
    collator: Collator,
    rows: Sequence[TokenizedAnswer],
    weights: Sequence[nn.Parameter],
    seed: int,
) -> list[torch.Tensor]:
    """Estimate the diagonal Fisher information per predicted token.

    Args:
        model: model with an output head; set to evaluation, so that nothing is dropped at random.
        collator: collator of the rows.
        rows: rows of text.
        weights: weights, frozen or not.
        seed: seed of the drawn tokens.

    Returns:
        One float32 tensor for each weight, of its shape, per squared unit of the weight.
    """
    model.eval()
    draws = torch.Generator().manual_seed(seed)
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    tokens = 0
    with _requiring_gradients(weights):
        for row in track(rows, "Fisher information of the base"):
            logs = answer_logits(model, collator.batch([row])).log_softmax(dim=-1)  # (n, V)
            chosen = torch.multinomial(logs.detach().exp().cpu(), 1, generator=draws)  # (n, 1)
            gradients = torch.autograd.grad(
                logs.gather(1, chosen.to(logs.device)).sum(), weights, allow_unused=True
            )
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient.float() ** 2
            tokens += len(logs)
    return [total / tokens for total in sums]


@contextmanager
def _requiring_gradients(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, flag in zip(weights, before, strict=True):
            weight.requires_grad_(flag)
