"""Data loader of a run: tokenized examples, batch by batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np

from peftlens.data.collate import Collator, training_batches
from peftlens.data.task import Task
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.runs.config import TrainingConfig
from peftlens.training.frozen_block_cache import FrozenBlockCache


@dataclass(frozen=True)
class TokenizedTask:
    """A task as token ids.

    Attributes:
        collator: collator that tokenized the task.
        train: training examples.
        validation: validation examples.
        truncated: number of truncated or dropped examples of each split, by reason.
        n_train: number of training examples before those without a token to train on are dropped.
    """

    collator: Collator
    train: list[TokenizedExample]
    validation: list[TokenizedExample]
    truncated: dict[str, dict[str, int]]
    n_train: int

    @classmethod
    def of(cls, base: BaseModel, task: Task, max_length: int) -> "TokenizedTask":
        """Tokenize a task, once for consecutive runs on it.

        Raises:
            InputError: no text is left to train on; see also `Collator.items`.
        """

        def tokenize() -> TokenizedTask:
            collator = Collator.of(base, max_length)
            splits = {name: collator.items(split) for name, split in task.splits.items()}
            truncated = {name: counts for name, (_, counts) in splits.items()}
            train, validation = splits["train"][0], splits["validation"][0]
            if not train or not validation:
                raise InputError(f"task {task.name!r}: no text is left to train on; {truncated}")
            return cls(collator, train, validation, truncated, len(task.splits["train"]))

        return base.derived("tokenized task", tokenize, key=(task.sha256, max_length))


@dataclass(frozen=True)
class TrainingLoader:
    """Loader of training batches.

    Attributes:
        collator: collator of the batches.
        rows: training examples with their correct answers.
        config: batch size, accumulation and number of steps.
        cache: cache of the frozen blocks' hidden states; None without a cache.
    """

    collator: Collator
    rows: list[TokenizedAnswer]
    config: TrainingConfig
    cache: FrozenBlockCache | None = None

    @classmethod
    def of(
        cls, collator: Collator, examples: list[TokenizedExample], config: TrainingConfig
    ) -> "TrainingLoader":
        """Create a loader of the correct answers of examples."""
        return cls(collator, [example.rows[example.correct] for example in examples], config)

    @property
    def epochs(self) -> float:
        """Number of passes over the rows in the whole training."""
        config = self.config
        return (
            config.max_steps
            * config.gradient_accumulation_steps
            * config.batch_size
            / len(self.rows)
        )

    def steps(self, seed: int) -> Iterator[list[list[TokenizedAnswer]]]:
        """Yield optimizer steps forever: the rows of each of their forward passes."""
        batches = training_batches(self.rows, self.config.batch_size, np.random.default_rng(seed))
        while True:
            yield list(islice(batches, self.config.gradient_accumulation_steps))

    def skipping_frozen_blocks(self, rows: list[TokenizedAnswer]) -> AbstractContextManager[None]:
        """Start forward passes of these rows above the cached blocks, within a `with` block."""
        return nullcontext() if self.cache is None else self.cache.skipping(rows)
