"""Collator: tokenize examples, pad rows and collate them into batches of token ids.

A prompt and its answer are tokenized separately and joined, so that an answer's tokens never depend
on the prompt. Rows are always padded on the right, regardless of the tokenizer's setting: causal
attention then never sees padding, and positions count from the row's start.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peftlens.data.task import Example
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel

_LOGITS = 2**26  # upper limit in a batch that is scored, so that no vocabulary exceeds memory


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
class Batch:
    """Tensors of several rows.

    Attributes:
        inputs: keyword arguments of the model's forward pass; ids have shape (batch, seq).
        scored: (batch, seq) bool, True where the hidden state predicts a token of the answer; seq
            is the decoder's length in an encoder-decoder.
        targets: (n,) ids of these tokens, in the order of the True entries of `scored`.
    """

    inputs: dict[str, torch.Tensor]
    scored: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Collator:
    """Collator of one base model: tokenizes examples and pads rows into batches.

    Attributes:
        tokenizer: tokenizer of the base model.
        seq2seq: whether the prompt goes to an encoder and the answer to a decoder.
        decoder_start: id of the decoder's first token, if there is a decoder.
        max_length: maximum number of tokens of prompt and answer together.
        device: torch device of the batches.
    """

    tokenizer: Any
    seq2seq: bool
    decoder_start: int | None
    max_length: int
    device: str

    @classmethod
    def of(cls, base: BaseModel, max_length: int) -> "Collator":
        """Build the collator of a base model.

        Its rows are at most half of the context: a soft prompt needs room in front.
        """
        config: Any = base.model.config
        context = getattr(config, "max_position_embeddings", None) or 2 * max_length
        return cls(
            base.tokenizer,
            config.is_encoder_decoder,
            getattr(config, "decoder_start_token_id", None),
            min(max_length, context // 2),
            base.device,
        )

    @property
    def at_once(self) -> int:
        """Maximum padded tokens in a scored batch, whose logits (tokens, V) must fit in memory."""
        return min(1024, max(64, _LOGITS // len(self.tokenizer)))

    def items(self, examples: Sequence[Example]) -> tuple[list[TokenizedExample], dict[str, int]]:
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

    def batch(self, rows: Sequence[TokenizedAnswer]) -> Batch:
        """Collate rows into a batch; the answers' last tokens predict nothing and are left out."""
        if self.seq2seq:
            return self._seq2seq_batch(rows)
        inputs = [[*row.prompt, *row.answer[:-1]] for row in rows]
        ids, mask = self.pad(inputs)
        scored = torch.zeros_like(mask)
        for index, (row, ids_of_row) in enumerate(zip(rows, inputs, strict=True)):
            scored[index, len(ids_of_row) - row.scored : len(ids_of_row)] = True
        targets = [token for row in rows for token in row.answer[len(row.answer) - row.scored :]]
        return self._batch({"input_ids": ids, "attention_mask": mask.long()}, scored, targets)

    def _seq2seq_batch(self, rows: Sequence[TokenizedAnswer]) -> Batch:
        ids, mask = self.pad([[*row.prompt] for row in rows])
        decoder_ids, scored = self.pad([[self.decoder_start, *row.answer[:-1]] for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask.long(), "decoder_input_ids": decoder_ids}
        return self._batch(inputs, scored, [token for row in rows for token in row.answer])

    def pad(self, rows: list[list[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad rows on the right; return ids (batch, seq) and a mask, True where not padded."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id or 0)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        return ids, mask

    def _batch(
        self, inputs: dict[str, torch.Tensor], scored: torch.Tensor, targets: list[int]
    ) -> Batch:
        return Batch(
            {name: tensor.to(self.device) for name, tensor in inputs.items()},
            scored.to(self.device),
            torch.tensor(targets, device=self.device),
        )


def length(row: TokenizedAnswer) -> int:
    """Count the tokens of this row in the model's input."""
    return len(row.prompt) + len(row.answer) - 1


def training_batches(
    rows: Sequence[TokenizedAnswer], batch_size: int, rng: np.random.Generator
) -> Iterator[list[TokenizedAnswer]]:
    """Yield training batches forever, epoch after epoch, each of rows of similar length.

    Every epoch shuffles the rows, sorts each window of 50 batches (or a quarter of the rows, but at
    least 8 batches) by length, and shuffles the batches. Padding is then about 2 %, where random
    batches have a quarter (headlines) to two thirds (passages), and the order of batches does not
    depend on length. Except for the minimum of 8, it is transformers' LengthGroupedSampler.
    """
    window = batch_size * max(8, min(50, len(rows) // (4 * batch_size)))
    while True:
        order = rng.permutation(len(rows))
        batches: list[list[TokenizedAnswer]] = []
        for start in range(0, len(order), window):
            chunk = sorted(order[start : start + window], key=lambda index: length(rows[index]))
            batches += [
                [rows[index] for index in chunk[at : at + batch_size]]
                for at in range(0, len(chunk), batch_size)
            ]
        for index in rng.permutation(len(batches)):
            yield batches[index]


def scoring_batches(rows: Sequence[TokenizedAnswer], tokens: int) -> Iterator[list[int]]:
    """Yield row indices, shortest row first, in batches of at most `tokens` padded tokens."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: (length(rows[index]), index)):
        if batch and (len(batch) + 1) * length(rows[index]) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
