"""What a training reads: the task's tokens, batch by batch, and from which block on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np

from peftlens.data.collate import Collator, TokenizedAnswer, TokenizedExample, training_batches
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.runs.config import TrainingConfig
from peftlens.training.frozen_block_cache import FrozenBlockCache


@dataclass(frozen=True)
class TokenizedTask:
    """A task as token ids.

    Attributes:
        encoder: that made them.
        train: the examples to train on.
        validation: those that are scored in the end.
        changed: how many of each split were cut or left out, by reason.
    """

    encoder: Collator
    train: list[TokenizedExample]
    validation: list[TokenizedExample]
    changed: dict[str, dict[str, int]]

    @classmethod
    def of(cls, base: BaseModel, task: Task, max_length: int) -> "TokenizedTask":
        """Tokenize a task, once for all runs that follow each other on it.

        Raises:
            InputError: no text is left to train on; see also `Encoder.items`.
        """

        def tokenize() -> TokenizedTask:
            encoder = Collator.of(base, max_length)
            parts = {name: encoder.items(part) for name, part in task.splits.items()}
            changed = {name: counts for name, (_, counts) in parts.items()}
            train, validation = parts["train"][0], parts["validation"][0]
            if not train or not validation:
                raise InputError(f"task {task.name!r}: no text is left to train on; {changed}")
            return cls(encoder, train, validation, changed)

        return base.derived("tokenized task", tokenize, key=(task.sha256, max_length))


@dataclass(frozen=True)
class TrainingLoader:
    """What a training reads.

    Attributes:
        rows: the examples with their right answers.
        config: how they are put into batches.
        lower: the blocks whose states are held; none where they are computed anew each time.
    """

    encoder: Collator
    rows: list[TokenizedAnswer]
    config: TrainingConfig
    lower: FrozenBlockCache | None = None

    @classmethod
    def of(
        cls, encoder: Collator, items: list[TokenizedExample], config: TrainingConfig
    ) -> "TrainingLoader":
        """The right answers of a split, in the order of the examples."""
        return cls(encoder, [item.rows[item.correct] for item in items], config)

    @property
    def epochs(self) -> float:
        """How often each row is read."""
        config = self.config
        return (
            config.max_steps
            * config.gradient_accumulation_steps
            * config.batch_size
            / len(self.rows)
        )

    def steps(self, seed: int) -> Iterator[list[list[TokenizedAnswer]]]:
        """Without end, the rows of each forward pass of one optimizer step."""
        batches = training_batches(self.rows, self.config.batch_size, np.random.default_rng(seed))
        while True:
            yield list(islice(batches, self.config.gradient_accumulation_steps))

    def reading(self, rows: list[TokenizedAnswer]) -> AbstractContextManager[None]:
        """While a forward pass reads these rows, from where on they have to be read."""
        return nullcontext() if self.lower is None else self.lower.skipping(rows)
