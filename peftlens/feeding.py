"""What a training reads, batch by batch, and from which block of the model on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np

from peftlens.encoding import Encoder, Item, Row, training_batches
from peftlens.lower import Lower
from peftlens.run import TrainingConfig


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
