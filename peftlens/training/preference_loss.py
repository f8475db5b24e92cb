"""Direct preference optimization: raise the right answer's probability over a rejected one's.

L = -log σ(β ((log π(y) - log π₀(y)) - (log π(y') - log π₀(y')))), y the right answer and y' the
rejected one, π the trained model and π₀ the base without the method, averaged over pairs. The
base's log-probabilities are computed once, before the method is attached, so that no second model
is held. Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.errors import InputError
from peftlens.evaluation.log_likelihood import answer_logits, log_probabilities


@dataclass(frozen=True)
class PreferencePairs:
    """Pairs of a right and a rejected answer, with the base's log-probabilities.

    Attributes:
        rejected: rejected answer of each right one.
        reference: log-probability of each answer under the base, nats.
        beta: β, how strongly the model is kept near the base.
    """

    rejected: Mapping[TokenizedAnswer, TokenizedAnswer]
    reference: Mapping[TokenizedAnswer, float]
    beta: float

    @classmethod
    def of(
        cls, base: nn.Module, collator: Collator, items: Sequence[TokenizedExample], beta: float
    ) -> "PreferencePairs":
        """Pair each right answer with the first other one, and score both by the base.

        Args:
            base: base model without the method.
            collator: collator of the items.
            items: training examples with candidate answers.
            beta: β.

        Raises:
            InputError: an example has one answer only.
        """
        if any(len(item.rows) < 2 for item in items):
            raise InputError(
                "loss = 'dpo' needs a right and a rejected answer for each example; give a task of "
                "preferences or with candidate answers"
            )
        rejected = {item.rows[item.correct]: item.rows[0 if item.correct else 1] for item in items}
        rows = list(dict.fromkeys([*rejected, *rejected.values()]))
        base.eval()
        scores = log_probabilities(base, collator, rows, "Scoring the pairs by the base")
        return cls(rejected, dict(zip(rows, scores.tolist(), strict=True)), beta)

    def loss(
        self, model: nn.Module, collator: Collator, rows: Sequence[TokenizedAnswer]
    ) -> torch.Tensor:
        """Sum the loss over the pairs of right answers, nats, float32."""
        both = [*rows, *(self.rejected[row] for row in rows)]
        batch = collator.batch(both)
        losses = nn.functional.cross_entropy(
            answer_logits(model, batch), batch.targets, reduction="none"
        )  # (targets,)
        parts = losses.split([row.scored for row in both])
        logs = -torch.stack([part.sum() for part in parts])  # (2 pairs,)
        gains = logs - logs.new_tensor([self.reference[row] for row in both])
        right, wrong = gains.chunk(2)
        return -nn.functional.logsigmoid(self.beta * (right - wrong)).sum()
