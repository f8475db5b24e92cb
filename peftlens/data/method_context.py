"""Method context: tokenizer, task and seed with which a method fills in its configuration."""

from dataclasses import dataclass
from typing import Any

from peftlens.data.common_tokens import common_tokens
from peftlens.data.task import Task
from peftlens.data.tokenization import continuation_ids, text_ids


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
        """Tokenize a text at the start of an input, without special tokens."""
        return text_ids(self.tokenizer, text)

    def continuation_ids(self, text: str) -> list[int]:
        """Tokenize a text that follows another, such as a label, without special tokens."""
        return continuation_ids(self.tokenizer, text)

    def common_ids(self) -> tuple[tuple[int, int], ...]:
        """Return the tokenizer's 5,000 most common ordinary tokens, as ranges of ids."""
        return common_tokens(self.tokenizer)
