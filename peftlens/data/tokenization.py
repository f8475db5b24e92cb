"""Tokenize examples: rows of token ids, one for each candidate answer, within the length limit.

A prompt and its answer are tokenized separately and joined, so that an answer's tokens never depend
on the prompt.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peftlens.data.task import Example
from peftlens.errors import InputError


@dataclass(frozen=True)
class TokenizedAnswer:
    """One question with one answer.

    Attributes:
        prompt: token ids of the context; may be empty for a causal model.
        answer: token ids of the scored continuation.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def scored(self) -> int:
        """Number of predicted tokens: without a prompt, nothing predicts the answer's first."""
        return len(self.answer) - (not self.prompt)


@dataclass(frozen=True)
class TokenizedExample:
    """An example as token ids: one row for each candidate answer.

    Attributes:
        index: index of the example in the input.
        rows: one row per candidate answer.
        correct: index of the right answer's row.
        answer_bytes: length of each answer in UTF-8 bytes, without the leading space.
    """

    index: int
    rows: tuple[TokenizedAnswer, ...]
    correct: int
    answer_bytes: tuple[int, ...]


@dataclass(frozen=True)
class ExampleTokenizer:
    """Tokenizer of examples for one base model.

    Attributes:
        tokenizer: tokenizer of the base model.
        seq2seq: whether the prompt goes to an encoder and the answer to a decoder.
        max_length: maximum number of tokens of prompt and answer together.
    """

    tokenizer: Any
    seq2seq: bool
    max_length: int

    def tokenize(
        self, examples: Sequence[Example]
    ) -> tuple[list[TokenizedExample], dict[str, int]]:
        """Tokenize each example; count truncated and dropped examples by reason.

        Raises:
            InputError: an answer has no tokens, is too long, or two answers of one example have the
                same tokens.
        """
        counts: Counter[str] = Counter()
        items = []
        for index, example in enumerate(examples):
            if rows := self._rows(example, counts):
                lengths = tuple(len(answer.strip().encode()) for answer in example.answers)
                items.append(TokenizedExample(index, rows, example.correct, lengths))
        return items, dict(sorted((+counts).items()))  # + drops zeros

    def _ids(self, text: str, special: bool = False) -> list[int]:
        # special tokens written in a user's text stay text
        return self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)[
            "input_ids"
        ]

    def _rows(self, example: Example, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize one row per answer; none if the example is dropped, which is counted."""
        answers = [self._ids(answer) for answer in example.answers]
        if not example.prompt:
            return self._text(answers[0], counts)
        if not self._ids(example.prompt):
            counts["prompt has no tokens"] += 1
            return ()
        answers = self._terminated(example, answers)
        prompt = self._ids(example.prompt, special=True)
        room = self.max_length - max(map(len, answers))
        if room < 1:
            raise InputError(
                f"answer {max(example.answers, key=len)[:40]!r} leaves no room for a prompt in "
                f"max_length={self.max_length} tokens; raise max_length"
            )
        if len(prompt) > room:
            counts["prompt cut to max_length"] += 1
            prompt = self._cut(prompt, room)
        return tuple(TokenizedAnswer(tuple(prompt), tuple(answer)) for answer in answers)

    def _cut(self, prompt: list[int], room: int) -> list[int]:
        """Truncate the prompt to its end, after the special tokens that it starts with."""
        special = self._ids("", special=True)
        start = special if special and prompt[: len(special)] == special else []
        return [*start, *prompt[len(prompt) - room + len(start) :]]

    def _text(self, ids: list[int], counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize a text for language modeling; its first token is predicted only after a BOS."""
        start = self._ids("", special=True)
        if self.seq2seq and not start:  # an encoder needs at least one token
            start = [self.tokenizer.eos_token_id]
        row = TokenizedAnswer(tuple(start), tuple(ids[: self.max_length - len(start)]))
        if row.scored < 1:
            counts["text of fewer than two tokens"] += 1
            return ()
        counts["text cut to max_length"] += len(row.answer) < len(ids)
        return (row,)

    def _terminated(self, example: Example, answers: list[list[int]]) -> list[list[int]]:
        """Append an end token to all answers if one of them is a prefix of another.

        A prefix is always at least as probable as the longer answer, so the comparison would not be
        fair.
        """
        for text, ids in zip(example.answers, answers, strict=True):
            if not ids:
                raise InputError(f"answer {text!r} has no tokens; write another label")
            if answers.count(ids) > 1:
                raise InputError(f"answer {text!r} has the same tokens as another answer")
        has_prefix = any(a is not b and b[: len(a)] == a for a in answers for b in answers)
        if not has_prefix:
            return answers
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                f"one of the answers {example.answers} is the start of another and the tokenizer "
                "has no end token to distinguish them; write other labels"
            )
        return [[*answer, self.tokenizer.eos_token_id] for answer in answers]
