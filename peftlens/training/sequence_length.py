"""Sequence length of a run: the 99th percentile of its training rows, in tokens.

A choice is scored by its answers, and texts by any of their tokens: there 256 tokens are the
default. A written answer or a conversation that is cut is another one, so their length is measured.
"""

import numpy as np

from peftlens.data.collate import Collator
from peftlens.data.task import Task
from peftlens.io.progress import say
from peftlens.models.base_model import BaseModel
from peftlens.runs.config import DEFAULT_LENGTH, TrainingConfig

PERCENTILE = 99
_SAMPLE = 2000  # training rows that are measured; their order in a split is random
_MULTIPLE = 64  # to which the length is rounded up
_MEASURED = ("chat", "generation", "preference")
_UNLIMITED = 2**20  # tokens


def resolved_length(training: TrainingConfig, base: BaseModel, task: Task) -> int:
    """Return the highest number of tokens of a row: as configured, or as the data have it.

    Raises:
        InputError: the length is measured, and the task can't be tokenized.
    """
    if isinstance(training.max_length, int):
        return training.max_length
    measured = training.max_length == "auto" or task.kind in _MEASURED
    return measured_length(base, task) if measured else DEFAULT_LENGTH


def measured_length(base: BaseModel, task: Task) -> int:
    """Return a length in which 99 of 100 training rows fit whole.

    It is at least 256, which costs nothing: batches are padded to their longest row. It is at most
    half of the base's context, as all rows are.
    """
    return base.derived(
        "sequence length", lambda: _measured_length(base, task), key=task.sha256, most=8
    )


def _measured_length(base: BaseModel, task: Task) -> int:
    collator = Collator.of(base, _UNLIMITED)
    room = collator.example_tokenizer.max_length
    items, _ = collator.items(task.splits["train"][:_SAMPLE])
    rows = [max(len(row.prompt) + len(row.answer) for row in item.rows) for item in items]
    if not rows:  # training says so
        return min(DEFAULT_LENGTH, room)
    percentile = int(np.percentile(rows, PERCENTILE, method="higher"))
    rounded = -(-percentile // _MULTIPLE) * _MULTIPLE
    length = min(max(DEFAULT_LENGTH, rounded), room)
    say(
        f"Sequence length of {task.name}: {length:,} tokens ({PERCENTILE} % of the training rows "
        f"have at most {percentile:,}); max_length sets another"
    )
    return length
