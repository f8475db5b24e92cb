"""What a training reads: the task's tokens, batch by batch, and from which block on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np

from peftlens.data.collate import Encoder, Item, Row, training_batches
from peftlens.data.task import Task
from peftlens.errors import BadInput
from peftlens.models.base_model import Base
from peftlens.runs.config import TrainingConfig
from peftlens.training.frozen_block_cache import Lower


@dataclass(frozen=True)
class Read:
    """A task as token ids.

    Attributes:
        encoder: that made them.
        train: the examples to train on.
        validation: those that are scored in the end.
        changed: how many of each split were cut or left out, by reason.
    """

    encoder: Encoder
    train: list[Item]
    validation: list[Item]
    changed: dict[str, dict[str, int]]

    @classmethod
    def of(cls, base: Base, task: Task, max_length: int) -> "Read":
        """Tokenize a task, once for all runs that follow each other on it.

        Raises:
            BadInput: no text is left to train on; see also `Encoder.items`.
        """
        key = (base.sha256, base.device, task.sha256, max_length)
        if key not in _READ:
            encoder = Encoder.of(base, max_length)
            parts = {name: encoder.items(part) for name, part in task.splits.items()}
            changed = {name: counts for name, (_, counts) in parts.items()}
            train, validation = parts["train"][0], parts["validation"][0]
            if not train or not validation:
                raise BadInput(f"task {task.name!r}: no text is left to train on; {changed}")
            _READ.clear()
            _READ[key] = cls(encoder, train, validation, changed)
        return _READ[key]


_READ: dict[tuple[str, str, str, int], Read] = {}  # the last one


@dataclass(frozen=True)
class Feed:
    """What a training reads.

    Attributes:
        rows: the examples with their right answers.
        config: how they are put into batches.
        lower: the blocks whose states are held; none where they are computed anew each time.
    """

    encoder: Encoder
    rows: list[Row]
    config: TrainingConfig
    lower: Lower | None = None

    @classmethod
    def of(cls, encoder: Encoder, items: list[Item], config: TrainingConfig) -> "Feed":
        """The right answers of a split, in the order of the examples."""
        return cls(encoder, [item.rows[item.correct] for item in items], config)

    @property
    def epochs(self) -> float:
        """How often each row is read."""
        config = self.config
        return config.steps * config.accumulation * config.batch_size / len(self.rows)

    def steps(self, seed: int) -> Iterator[list[list[Row]]]:
        """Without end, the rows of each forward pass of one optimizer step."""
        batches = training_batches(self.rows, self.config.batch_size, np.random.default_rng(seed))
        while True:
            yield list(islice(batches, self.config.accumulation))

    def reading(self, rows: list[Row]) -> AbstractContextManager[None]:
        """While a forward pass reads these rows, from where on they have to be read."""
        return nullcontext() if self.lower is None else self.lower.given(rows)
