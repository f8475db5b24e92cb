"""Keeping a run near its base: penalties beside the loss, and steps orthogonal to earlier tasks.

The base is the model without the method, in a sequence of tasks, too: what is kept is what the base
could do before the first task. Only `orthogonal` keeps what earlier tasks taught.

    kl         KL(base || trained) of the next token, mean over the tokens of general text
    masked_kl  the same over the tokens of the step's training rows that are no targets
    replay     loss of general text, mean over its tokens: general rows mixed into the data
    ewc        ½ Σ F_i δ_i², F the diagonal of the base's Fisher information per token of general
               text (Kirkpatrick et al. 2017, arXiv:1612.00796, equation 3)
    l2sp       ½ Σ δ_i² (Li et al. 2018, arXiv:1802.01483, equation 2)
    orthogonal see orthogonal_steps.py

δ is the change of a weight of the base: for LoRA of the weight with which the model computes,
s B A, and not of A and B. A quadratic in A and B would be small or large by how a product is
split in two, and the Fisher information of B at its start of zero says nothing of later steps. See
weight_updates.py for what δ is in other methods.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import nn

from peftlens.data.collate import Batch, Collator, training_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.evaluation.keep_text import text_rows
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import is_in_head
from peftlens.runs.config import Keep
from peftlens.runs.run import Run
from peftlens.training.attention_backend import attention_backend
from peftlens.training.base_predictions import BasePredictions, other_tokens
from peftlens.training.data_loader import TrainingLoader
from peftlens.training.fisher import fisher_diagonal
from peftlens.training.orthogonal_steps import Projection, projection_off
from peftlens.training.run_plan import RunPlan
from peftlens.training.weight_updates import (
    WeightUpdate,
    trained_outside,
    weight_updates,
    weights_of,
)

FISHER_ROWS = 128  # rows of general text of which the Fisher information is estimated
_TEXT_STREAM = 1  # apart from the order of the training rows, which the seed alone draws

Attached = Callable[[nn.Module], "KeepTerm"]  # completes a term for the model with its method


@dataclass(eq=False, kw_only=True)
class KeepTerm:
    """What keeps one run near its base.

    Attributes:
        weight: factor of the penalty.
        penalty: computes the penalty of a step, nats, apart from the step's rows, in parts whose
            gradients are taken one after the other: in full fine-tuning, all at once would hold
            several copies of the weights.
        others: base's predictions of the training rows' tokens that are no targets.
        text: batches of general text of the penalty, one for each step.
        projection: projection of the steps off earlier tasks.
        counts: sizes, for the record.
        seconds: time before the first step, s.
        value: penalty of the last step without its weight, nats; None without a penalty.
    """

    weight: float = 0.0
    penalty: Callable[[], Iterator[torch.Tensor]] | None = None
    others: BasePredictions | None = None
    text: Iterator[list[TokenizedAnswer]] = field(default_factory=lambda: iter(()))
    projection: Projection | None = None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    value: float | None = None
    _targets: int = 0
    _others: int = 1

    def start_step(self, passes: Sequence[Sequence[TokenizedAnswer]]) -> None:
        """Begin a step, given the rows of all its forward passes."""
        self.value = None
        if self.others:
            rows = [row for one in passes for row in one]
            self._targets = sum(row.scored for row in rows)
            self._others = max(1, sum(row.input_length - row.scored for row in rows))

    def skip_steps(self, steps: int) -> None:
        """Leave out the text of steps that were taken before."""
        for _ in islice(self.text, steps):
            pass

    @property
    def in_loss(self) -> float:
        """Part of a step's loss that is the penalty, nats per target."""
        return self.weight * self.value if self.others and self.value else 0.0

    def add_gradient(self) -> None:
        """Add the gradient of a penalty that is apart from the step's rows."""
        if self.penalty:
            parts = []
            for part in self.penalty():
                (self.weight * part).backward()
                parts.append(part.detach())
            self.value = torch.stack(parts).sum().item()

    def loss_with_others(
        self,
        others: BasePredictions,
        model: nn.Module,
        batch: Batch,
        rows: Sequence[TokenizedAnswer],
    ) -> torch.Tensor:
        """Compute a batch's loss with the penalty on all other tokens, in one forward pass.

        Returns:
            The sum over targets; divided by the step's number of targets, the penalty's part of it
            is the weight times the mean KL over the step's other tokens.
        """
        both = batch.scored | other_tokens(batch).scored  # (batch, seq)
        logits = answer_logits(model, replace(batch, scored=both))  # (n, V)
        is_target = batch.scored[both]  # (n,)
        loss = nn.functional.cross_entropy(logits[is_target], batch.targets, reduction="sum")
        divergence = others.divergence(rows, logits[~is_target])
        self.value = (self.value or 0.0) + divergence.item() / self._others
        return loss + self.weight * self._targets / self._others * divergence


def prepare(
    planned: RunPlan, loader: TrainingLoader, previous: Run | None = None
) -> Attached | None:
    """Read the base, before the run's method is attached; None for a run that is not kept.

    Args:
        planned: plan of the run.
        loader: loader of its training rows.
        previous: run that it continues.

    Raises:
        InputError: the general text or the base can't be used.
    """
    keep, started = planned.config.training.keep, time.perf_counter()
    if keep is None or not planned.config.training.max_steps:
        return None
    make = {"kl": _text, "replay": _text, "masked_kl": _masked, "ewc": _weights, "l2sp": _weights}
    if keep.kind == "orthogonal":
        attached = partial(_orthogonal, planned.base, previous)
    else:
        attached = make[keep.kind](planned, keep, loader)
    before = time.perf_counter() - started

    def complete(model: nn.Module) -> KeepTerm:
        started = time.perf_counter()
        term = attached(model)
        term.seconds = before + time.perf_counter() - started
        return term

    return complete


def _text(planned: RunPlan, keep: Keep, loader: TrainingLoader) -> Attached:
    """Prepare KL or loss on general text: as many rows a step as a forward pass of the task."""
    config, collator = planned.config, loader.collator
    rows = text_rows(planned.base, str(keep.data))
    rng = np.random.default_rng([config.seed, _TEXT_STREAM])
    every = training_batches(rows, config.training.batch_size, rng)
    batches = list(islice(every, config.training.max_steps))
    used = [row for batch in batches for row in batch]
    predictions = None
    if keep.kind == "kl":
        predictions = BasePredictions.of(planned.base, collator, used, collator.batch)
    text = iter(batches)
    return lambda model: KeepTerm(
        weight=keep.weight or 0.0,
        penalty=partial(text_penalty, model, collator, text, predictions),
        text=text,
        counts={"text_tokens": sum(row.scored for row in used)},
    )


def text_penalty(
    model: nn.Module,
    collator: Collator,
    batches: Iterator[list[TokenizedAnswer]],
    predictions: BasePredictions | None,
) -> Iterator[torch.Tensor]:
    """Compute the penalty of the next batch of text in one part, nats per token.

    Args:
        model: model in training.
        collator: collator of the batches.
        batches: rows of each step.
        predictions: the base's, for KL from it; None for the loss of the text itself.
    """
    rows = next(batches)
    batch = collator.batch(rows)
    with attention_backend(batch):
        logits = answer_logits(model, batch)  # (n, V)
    if predictions:
        yield predictions.divergence(rows, logits) / len(logits)
    else:
        yield nn.functional.cross_entropy(logits, batch.targets)


def _masked(planned: RunPlan, keep: Keep, loader: TrainingLoader) -> Attached:
    """Prepare KL on the training rows, by the base's predictions of those that will be read."""
    config, collator = planned.config, loader.collator
    steps = islice(loader.steps(config.seed), config.training.max_steps)
    used = list(dict.fromkeys(row for passes in steps for rows in passes for row in rows))
    others = BasePredictions.of(
        planned.base, collator, used, lambda rows: other_tokens(collator.batch(rows))
    )
    return lambda _: KeepTerm(weight=keep.weight or 0.0, others=others)


def _weights(planned: RunPlan, keep: Keep, loader: TrainingLoader) -> Attached:
    """Prepare a quadratic penalty on the update of the weights."""
    originals = weights_of(planned.base.model)
    rows = text_rows(planned.base, str(keep.data)) if keep.data else []

    def attached(model: nn.Module) -> KeepTerm:
        updates = [
            update for update in weight_updates(model, planned.base.model, originals)
            if not is_in_head(update.name, planned.base.model)
        ]  # fmt: skip
        if not updates:
            raise InputError(
                f"training.keep: {keep.kind} keeps weights near the base, and "
                f"{planned.config.method} trains a new head alone; leave keep out"
            )
        fisher = None
        if keep.kind == "ewc":
            fisher = _fisher(planned, model, loader.collator, rows, updates)
        return KeepTerm(
            weight=keep.weight or 0.0,
            penalty=partial(weight_penalty, updates, fisher),
            counts={"weights": sum(update.value().numel() for update in updates)},
        )

    return attached


def _fisher(
    planned: RunPlan,
    model: nn.Module,
    collator: Collator,
    rows: Sequence[TokenizedAnswer],
    updates: Sequence[WeightUpdate],
) -> list[torch.Tensor]:
    """Estimate the Fisher information of the updated weights.

    Raises:
        InputError: the method trains more than weights of the base.
    """
    if outside := next(trained_outside([*updates]), None):
        raise InputError(
            f"training.keep: ewc penalizes changes of the base's weights, and "
            f"{planned.config.method} trains {outside}, which is none; take l2sp, kl or replay"
        )
    seed = planned.config.seed
    drawn = np.random.default_rng([seed, _TEXT_STREAM]).permutation(len(rows))[:FISHER_ROWS]
    weights = [update.weight for update in updates if update.weight is not None]
    return fisher_diagonal(model, collator, [rows[index] for index in drawn], weights, seed)


def weight_penalty(
    updates: Sequence[WeightUpdate], fisher: Sequence[torch.Tensor] | None
) -> Iterator[torch.Tensor]:
    """Compute half the squared length of each update, its entries weighted by their information."""
    for at, update in enumerate(updates):
        square = update.value() ** 2
        yield 0.5 * (square if fisher is None else fisher[at] * square).sum()


def _orthogonal(base: BaseModel, previous: Run | None, model: nn.Module) -> KeepTerm:
    """Project off the tasks of the runs that this one continues; nothing for a first task."""
    if previous is None:
        return KeepTerm(counts={"directions": 0})
    projection = projection_off(model, base, previous)
    return KeepTerm(projection=projection, counts={"directions": len(projection.directions)})
