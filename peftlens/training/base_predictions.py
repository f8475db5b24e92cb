"""Base predictions: the base's next-token distributions on training rows, and KL from them.

Only the inputs of the base's head are kept, computed before a method is attached: a second model
would double the memory, and the logits of a text are a hundred times larger. In bfloat16 the
batches of training round otherwise than those in which the states were computed, so a model that
equals its base has a KL of about 1e-4 nats per token and not of exactly 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from peftlens.data.collate import Batch, Collator, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.evaluation.log_likelihood import answer_states
from peftlens.evaluation.retention import output_head
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.training.frozen_block_cache import MOST, StateStore

MakeBatch = Callable[[Sequence[TokenizedAnswer]], Batch]


@dataclass(frozen=True)
class BasePredictions:
    """Predictions of a base at the scored positions of rows.

    Attributes:
        states: input of the base's head at these positions of each row, (n, d).
        weight: weight of the base's head, (V, d).
        bias: its bias, (V,), if there is one.
    """

    states: StateStore
    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    @torch.no_grad()
    def of(
        cls, base: BaseModel, collator: Collator, rows: Sequence[TokenizedAnswer], make: MakeBatch
    ) -> "BasePredictions":
        """Run the base over rows, before a method is attached to it.

        Args:
            base: base model.
            collator: collator of the rows.
            rows: rows; a repeated one is computed once.
            make: makes a batch of rows, whose `scored` marks the positions.

        Raises:
            InputError: the logits depend on more than the head's weight and bias.
        """
        head, states = output_head(base.model), StateStore(MOST)
        unique = list(dict.fromkeys(rows))
        base.model.eval()
        batches = list(scoring_batches(unique, collator.at_once))
        for indices in track(batches, "Predictions of the base, to keep the run near it"):
            batch = make([unique[index] for index in indices])
            found, logits = answer_states(base.model, batch)  # (n, d), (n, V)
            if head is None or not torch.allclose(
                nn.functional.linear(found, *head).float(), logits.float(), atol=1e-3
            ):
                raise InputError(
                    f"training.keep: the logits of {base.reference} are more than its output "
                    "head's, so the base can't be kept beside the run; take replay, ewc or l2sp"
                )
            counts = batch.scored.sum(dim=1).tolist()
            for index, own in zip(indices, found.split(counts), strict=True):
                states[unique[index]] = own.clone()
        if head is None:
            raise InputError("training.keep: there are no tokens on which to keep the base")
        return cls(states, *head)

    def divergence(self, rows: Sequence[TokenizedAnswer], logits: torch.Tensor) -> torch.Tensor:
        """Sum KL(base || trained) of the next token over the positions of rows, nats.

        Args:
            rows: rows in the order of the logits.
            logits: float32 logits of the trained model, (n, V) or with more tokens, to which the
                base gives no probability.
        """
        # some are in the accelerator's memory, and some on disk
        states = torch.cat([self.states[row].to(self.weight.device) for row in rows])  # (n, d)
        base = nn.functional.linear(states, self.weight, self.bias).float()  # (n, V)
        both = min(base.shape[-1], logits.shape[-1])
        tuned = logits.log_softmax(dim=-1)[:, :both]
        expected = base.log_softmax(dim=-1)[:, :both].to(tuned.device)
        return nn.functional.kl_div(tuned, expected, reduction="sum", log_target=True)


def other_tokens(batch: Batch) -> Batch:
    """Mark the positions that predict a token of the input which is no target, (batch, seq)."""
    return replace(batch, scored=batch.inputs["attention_mask"].bool() & ~batch.scored)
