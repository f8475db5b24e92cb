"""Method context: tokenizer, task and seed with which a method fills in its configuration."""

from dataclasses import dataclass
from typing import Any

from peftlens.data.common_tokens import common_tokens
from peftlens.data.task import Task


@dataclass(frozen=True)
class MethodContext:
    """Context of a run in which a method fills in its configuration.

    Attributes:
        tokenizer: tokenizer of the base model.
        task: task of the run; a method may read its labels and training examples only.
        seed: random seed of the run; the method creates a separate generator from it.
        max_steps: number of optimizer steps.
    """

    tokenizer: Any
    task: Task
    seed: int
    max_steps: int

    def token_ids(self, text: str) -> list[int]:
        """Tokenize a text without special tokens; those written in the text stay text."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]

    def common_ids(self) -> tuple[tuple[int, int], ...]:
        """Return the tokenizer's 5,000 most common ordinary tokens, as ranges of ids."""
        return common_tokens(self.tokenizer)
