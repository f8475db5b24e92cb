"""Divergence of a tuned model's predictions from its base's, token by token: KL(base || tuned).

The base's predictions for thousands of tokens don't fit into memory. Kept is the input of its
output head, from which the logits are computed again, batch by batch, beside the tuned model's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Batch, Collator, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_states
from peftlens.evaluation.retention import MAX_LENGTH, Suite, output_head, reference
from peftlens.evaluation.token_chunks import chunks
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable

EXPECTED = 3  # most probable tokens that are kept for every position


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model for t tokens.

    Attributes:
        probability: probability of the token that follows in the text, shape (t,).
        expected: ids of the most probable tokens, most probable first, shape (t, 3).
        probabilities: probabilities of these, shape (t, 3).
    """

    probability: NDArray[np.float64]
    expected: NDArray[np.int64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class TokenDivergence:
    """Divergence at t tokens of texts, in the order of the texts.

    Attributes:
        kl: KL(base || tuned), nats, shape (t,).
        row: index of each token's text, shape (t,).
        place: index of each token in the answer of its row, shape (t,).
        base: predictions of the base.
        tuned: predictions of the tuned model.
    """

    kl: NDArray[np.float64]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    base: Predictions
    tuned: Predictions


@dataclass(frozen=True)
class BaseReading:
    """What the base's head read at every scored token of some texts.

    Attributes:
        rows: the texts as token ids.
        states: input of the head for each batch of rows, shape (tokens of the batch, d).
        head: weight (V, d) and bias (V,) or None of the head.
    """

    rows: Sequence[TokenizedAnswer]
    states: list[torch.Tensor]
    head: tuple[torch.Tensor, torch.Tensor | None]

    @classmethod
    def of(cls, base: BaseModel, rows: Sequence[TokenizedAnswer]) -> "BaseReading":
        """Let the base read texts, without any adapter attached.

        Raises:
            NotApplicable: its output head is no linear layer.
        """
        head = _head(base)
        with restored_after(base.model) as model, torch.inference_mode():
            states = [answer_states(model, batch)[0] for _, batch in text_batches(base, rows)]
        return cls(rows, states, head)

    @classmethod
    def of_suite(cls, base: BaseModel, texts: Suite) -> "BaseReading":
        """Read the texts of a retention suite, which are kept on disk from the first time on.

        Raises:
            NotApplicable: see `of`.
        """
        head, rows = _head(base), [item.rows[item.correct] for item in texts.items]
        kept = reference(base, texts).states
        if kept is None:  # a suite of questions
            return cls.of(base, rows)
        by_row = kept.split([row.scored for row in rows])
        batches = text_batches(base, rows)
        return cls(rows, [torch.cat([by_row[i] for i in indices]) for indices, _ in batches], head)


def _head(base: BaseModel) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the weight (V, d) and bias (V,) or None of the base's output head.

    Raises:
        NotApplicable: it is no linear layer.
    """
    if (head := output_head(base.model)) is None:
        raise NotApplicable("the base's output head is no linear layer")
    return head


def token_divergence(model: nn.Module, base: BaseModel, reading: BaseReading) -> TokenDivergence:
    """Compare a tuned model with its base, token by token.

    Args:
        model: tuned model, attached to the base.
        base: the base model.
        reading: what the base read of the texts.
    """
    by_row: dict[int, tuple[torch.Tensor, ...]] = {}
    batches = zip(text_batches(base, reading.rows), reading.states, strict=True)
    for (indices, batch), states in batches:
        compared = _compare(model, batch, states, reading.head)
        lengths = [reading.rows[index].scored for index in indices]
        parts = zip(*(one.split(lengths) for one in compared), strict=True)
        by_row |= zip(indices, parts, strict=True)
    in_order = zip(*(by_row[index] for index in sorted(by_row)), strict=True)
    kl, *rest = (torch.cat(one).cpu().numpy() for one in in_order)
    places = [row.scored_places for row in reading.rows]
    return TokenDivergence(
        kl=kl,
        row=np.repeat(np.arange(len(places)), [len(one) for one in places]),
        place=np.concatenate(places),
        base=Predictions(*rest[:3]),
        tuned=Predictions(*rest[3:]),
    )


def text_batches(
    base: BaseModel, rows: Sequence[TokenizedAnswer]
) -> Iterator[tuple[list[int], Batch]]:
    """Yield batches of the texts that a base reads, with the indices of their texts."""
    collator = Collator.of(base, MAX_LENGTH)
    for indices in scoring_batches(rows, collator.at_once):
        yield indices, collator.batch([rows[index] for index in indices])


@torch.inference_mode()
def _compare(
    model: nn.Module,
    batch: Batch,
    states: torch.Tensor,
    head: tuple[torch.Tensor, torch.Tensor | None],
) -> list[torch.Tensor]:
    """Return KL and both models' predictions for a batch of t tokens: seven tensors of length t."""
    _, tuned = answer_states(model, batch)  # (t, V)
    base = logits_after_head(model, batch, nn.functional.linear(states, *head))  # (t, V)
    both = min(base.shape[-1], tuned.shape[-1])  # the base gives no probability to added tokens
    found = []
    for base_part, tuned_part, targets in chunks(base, tuned, batch.targets.to(base.device)):
        p, q = base_part.log_softmax(dim=-1), tuned_part.log_softmax(dim=-1)  # (few, V)
        kl = (p[:, :both].exp() * (p[:, :both] - q[:, :both])).sum(dim=-1)
        found.append([kl.double(), *_predictions(p, targets), *_predictions(q, targets)])
    return [torch.cat(one) for one in zip(*found, strict=True)]


def _predictions(logs: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
    """Read log-probabilities (t, V): of the targets (t,), and the most probable tokens."""
    of_target = logs.gather(1, targets[:, None])[:, 0]
    top = logs.topk(EXPECTED, dim=-1)
    return [of_target.double().exp(), top.indices, top.values.double().exp()]


def logits_after_head(model: nn.Module, batch: Batch, outputs: torch.Tensor) -> torch.Tensor:
    """Compute the base's logits (t, V) from the outputs of its head.

    They replace the head's in a pass over one token, so that what the model does with them (scales,
    soft caps) follows. A method may have changed the head itself, but nothing behind it.
    """
    owner: Any = model
    handle = owner.get_output_embeddings().register_forward_hook(lambda *_: outputs)
    one_token = {name: tensor[:1, :1] for name, tensor in batch.inputs.items()}
    try:
        return model(**one_token, use_cache=False).logits
    finally:
        handle.remove()
