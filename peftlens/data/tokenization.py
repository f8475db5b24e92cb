"""Tokenize examples: rows of token ids, one for each candidate answer, within the length limit.

A prompt and its answer are tokenized separately and joined, so that an answer's tokens never depend
on the prompt. Two habits of tokenizers would be wrong there. Some put an end token after every
text, which must not stand between a prompt and the answer of a causal model. SentencePiece puts a
space before every text, so that " yes" would have two: the text that comes back decides.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peftlens.data.task import Example
from peftlens.errors import InputError

_CONTEXTS = ("\n", ":", "a")  # some tokenizers drop a line break, or merge a sign with a word


def text_ids(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    """Tokenize a text at the start of a sequence; special tokens written in it stay text.

    Args:
        tokenizer: tokenizer of transformers.
        text: text of any length.
        special: whether to add the special tokens that the tokenizer puts around a text.

    Raises:
        InputError: the text has a token without a row in the model's embedding table.
    """
    ids = tokenizer(text, add_special_tokens=special, split_special_tokens=True)["input_ids"]
    return require_rows(tokenizer, ids)


def require_rows(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return token ids, all of which have a row in the model's embedding table.

    Raises:
        InputError: one has none: tokens were added to the tokenizer alone.
    """
    rows = getattr(tokenizer, "embedding_rows", None)  # set where a base model is loaded
    if rows is not None and ids and (largest := max(ids)) >= rows:
        raise InputError(
            f"token {tokenizer.convert_ids_to_tokens(largest)!r} has the id {largest}: the "
            f"tokenizer has {len(tokenizer)} tokens and the base model's embedding table {rows} "
            "rows; enlarge the table by model.resize_token_embeddings, or change the text"
        )
    return ids


def continuation_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokenize a text that follows another, such as an answer or a label: " yes".

    Its own tokens are kept where decoding them behind another text gives both texts back. Where a
    space has been added, it is tokenized behind another text, whose tokens are cut off.

    Args:
        tokenizer: tokenizer of transformers.
        text: text with the space, if any, that separates it from what comes before.
    """
    alone = text_ids(tokenizer, text)
    for context in _CONTEXTS:
        before, joined = text_ids(tokenizer, context), text_ids(tokenizer, context + text)
        if before and joined[: len(before)] == before:  # else the tokens of both texts merge
            back = tokenizer.decode([*before, *alone], clean_up_tokenization_spaces=False)
            return alone if back == context + text else joined[len(before) :]
    return alone


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
        answers: token ids of the answers so far, by text.
    """

    tokenizer: Any
    seq2seq: bool
    max_length: int
    answers: dict[str, list[int]] = field(default_factory=dict, repr=False, compare=False)

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

    def _rows(self, example: Example, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize one row per answer; none if the example is dropped, which is counted."""
        if not example.prompt:
            return self._text(example.answers[0], counts)
        prompt = text_ids(self.tokenizer, example.prompt)
        if not prompt:
            counts["prompt has no tokens"] += 1
            return ()
        answers = self._terminated(example, [self._answer(one) for one in example.answers])
        start, end = self._around(example.prompt, prompt)
        room = self.max_length - max(map(len, answers)) - len(start) - len(end)
        if room < 1:
            raise InputError(
                f"answer {max(example.answers, key=len)[:40]!r} leaves no room for a prompt in "
                f"max_length={self.max_length} tokens; raise max_length"
            )
        counts["prompt cut to max_length"] += len(prompt) > room
        ids = (*start, *prompt[-room:], *end)  # the end of a prompt asks for the answer
        return tuple(TokenizedAnswer(ids, tuple(answer)) for answer in answers)

    def _answer(self, text: str) -> list[int]:
        """Tokenize an answer; a decoder with an encoder starts with it."""
        if text not in self.answers:
            tokenize = text_ids if self.seq2seq else continuation_ids
            self.answers[text] = tokenize(self.tokenizer, text)
        return self.answers[text]

    def _around(self, text: str, ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the special tokens before and after a text; only an encoder reads those after."""
        whole = text_ids(self.tokenizer, text, special=True)
        for at in range(len(whole) - len(ids) + 1):
            if whole[at : at + len(ids)] == ids:
                return whole[:at], whole[at + len(ids) :] if self.seq2seq else []
        return [], []

    def _text(self, text: str, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize a text for language modeling; its first token is predicted only after a BOS."""
        ids = text_ids(self.tokenizer, text)
        start, end = self._around(text, ids)
        prompt = [*start, *end]
        if self.seq2seq and not prompt:  # an encoder needs at least one token
            prompt = [self.tokenizer.eos_token_id]
        row = TokenizedAnswer(tuple(prompt), tuple(ids[: self.max_length - len(prompt)]))
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
        end = require_rows(self.tokenizer, [self.tokenizer.eos_token_id])
        return [[*answer, *end] for answer in answers]
