"""What a method may know of a run, beside the model, when it fills in its configuration."""

from dataclasses import dataclass
from typing import Any

from peftlens.data.task import Task


@dataclass(frozen=True)
class MethodContext:
    """Where a run takes place.

    Attributes:
        tokenizer: the base model's.
        task: its labels and its training examples may be looked at, the others not.
        seed: of the run; draws from it are the method's own.
        max_steps: optimizer steps to come.
    """

    tokenizer: Any
    task: Task
    seed: int
    max_steps: int

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens; those written in it stay text."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
