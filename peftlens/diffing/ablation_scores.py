"""Scores of a run with some of its changes switched off: loss, accuracy, and KL from the run.

Models that differ only in upper blocks share the states below: see `models.partial_forward`.
"""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.tokenization import TokenizedExample
from peftlens.diffing.ablation import Ablation, Unit
from peftlens.evaluation.head_scores import head_logits
from peftlens.evaluation.log_likelihood import Copies, answer_logits, float32_head
from peftlens.models.partial_forward import recorded_inputs, resumed, returns_states_alone

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of n examples.

    Attributes:
        loss: loss of the right answer, nats per token, shape (n,).
        kl: KL(run || model) of the next token, mean over the answer's tokens, nats, shape (n,).
        label_loss: negative log-probability of the right answer among the example's candidates,
            nats, shape (n,); None unless those of every example differ in their last token alone.
        correct: 1 where the right answer is the most probable one, else 0, shape (n,); None
            likewise.
    """

    loss: Values
    kl: Values
    label_loss: Values | None
    correct: Values | None


@dataclass(frozen=True)
class Pass:
    """Forward passes with one set of active units.

    Attributes:
        units: the active units.
        scores: scores of the examples.
        states: for each batch, the states that entered each block, (batch, seq, d); none where
            passes can't be resumed.
    """

    units: frozenset[Unit]
    scores: Scores
    states: tuple[list[torch.Tensor], ...]


class AblationScorer:
    """Scorer of a run's ablations on tokenized examples.

    Args:
        ablation: the attached run.
        collator: collator of the base model.
        items: the examples.
    """

    def __init__(
        self, ablation: Ablation, collator: Collator, items: Sequence[TokenizedExample]
    ) -> None:
        self.ablation = ablation
        self.items = items
        base = ablation.base
        self._names = ablation.blocks
        rows = [item.rows[item.correct] for item in items]
        batches = scoring_batches(rows, collator.at_once)
        self._batches = [
            (indices, collator.batch([rows[i] for i in indices])) for indices in batches
        ]
        # an encoder's blocks are apart, and a prefix moves the positions of all tokens
        self._resumes = not (
            base.kind != "decoder" or ablation.has_prefix
        ) and returns_states_alone(base.model, self._names[0])
        self._has_candidates = all(map(_share_context, items))
        self._heads: Copies = {}  # a copy for each pass would take a fifth of its time
        self._head = base.head
        self._run = [logs for logs, _ in self._passes(ablation.model, None, 0)]

    def score(self, units: Collection[Unit], like: Pass | None = None) -> Pass:
        """Score the run with these units active.

        Args:
            units: the active units.
            like: passes of another set, of which the blocks below the first difference are kept.
        """
        chosen = frozenset(units)
        at = self._first_difference(chosen, like.units) if like and like.states else 0
        with self.ablation.active(chosen) as model:
            logs, states = zip(*self._passes(model, like, at), strict=True)
        return Pass(chosen, self._scores(logs), states if self._resumes else ())

    def score_model(self, model: nn.Module) -> Scores:
        """Score any model with the base's vocabulary, attached to the base or not.

        The ablation may have been closed.
        """
        return self._scores([logs for logs, _ in self._passes(model, None, 0)])

    def _first_difference(self, units: frozenset[Unit], others: frozenset[Unit]) -> int:
        """Return the index of the lowest block that differs, 0 for a part outside the blocks."""
        last = len(self._names) - 1
        return max(0, min((unit.block for unit in units ^ others), default=last))

    @torch.inference_mode()
    def _passes(
        self, model: nn.Module, like: Pass | None, at: int
    ) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Return for each batch the log-probabilities (n, V), and the states that enter blocks."""
        base, done = self.ablation.base.model, []
        with nullcontext() if self._head else float32_head(model, self._heads):
            for index, (_, batch) in enumerate(self._batches):
                below = like.states[index][:at] if like and at else []
                start = (
                    resumed(base, self._names, at, like.states[index][at])
                    if like and at
                    else nullcontext()
                )
                recorded = self._names[at:] if self._resumes else []
                with start, recorded_inputs(base, recorded) as entered:
                    logits = (head_logits if self._head else answer_logits)(model, batch)
                    logs = logits.log_softmax(dim=-1)
                done.append((logs, [*below, *entered]))
        return done

    def _scores(self, logs_of_batches: Sequence[torch.Tensor]) -> Scores:
        loss, kl, label_loss, correct = (np.zeros(len(self.items)) for _ in range(4))
        for (indices, batch), logs, run in zip(
            self._batches, logs_of_batches, self._run, strict=True
        ):
            items = [self.items[i] for i in indices]
            sizes = [item.rows[item.correct].scored for item in items]
            token_loss = -logs.gather(1, batch.targets[:, None])[:, 0]  # (n,)
            token_kl = (run.exp() * (run - logs)).sum(dim=1)  # (n,)
            loss[indices] = _means(token_loss, sizes)
            kl[indices] = _means(token_kl, sizes)
            if self._has_candidates:
                last = logs[np.cumsum(sizes) - 1]  # (rows, V), of a head (rows, classes)
                label_loss[indices], correct[indices] = _choices(items, last)
        labels = (label_loss, correct) if self._has_candidates else (None, None)
        return Scores(loss, kl, *labels)


def _choices(items: Sequence[TokenizedExample], logs: torch.Tensor) -> tuple[Values, Values]:
    """Return the loss among the candidates, nats, and whether the right one is most probable.

    Args:
        items: examples whose candidates differ in their last token.
        logs: log-probabilities of that token, shape (examples, V).
    """
    losses, right = [], []
    for item, row in zip(items, logs, strict=True):
        candidates = row[[one.targets[-1] for one in item.rows]].double().log_softmax(dim=0)
        losses.append(-candidates[item.correct].item())
        right.append(candidates.argmax().item() == item.correct)
    return np.array(losses), np.array(right, float)


def _means(values: torch.Tensor, sizes: Sequence[int]) -> list[float]:
    """Average the values of each row's tokens."""
    return [part.double().mean().item() for part in values.split([*sizes])]


def _share_context(item: TokenizedExample) -> bool:
    """Whether an example has several answers, which differ in their last token alone."""
    contexts = {(row.prompt, row.answer[:-1], row.mask) for row in item.rows}
    return len(contexts) == 1 and len(item.rows) > 1
