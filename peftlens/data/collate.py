"""Collator: pad rows of token ids and collate them into batches; which rows go together.

Rows are always padded on the right, regardless of the tokenizer's setting: causal attention then
never sees padding, and positions count from the row's start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from peftlens.data.chat_template import ChatTemplate
from peftlens.data.head_tokenization import HeadTokenizer
from peftlens.data.task import Chat, ChatPair, Example
from peftlens.data.tokenization import ExampleTokenizer, TokenizedAnswer, TokenizedExample
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import Head
from peftlens.models.model_kind import require_language_model

_LOGITS = 2**26  # upper limit in a batch that is scored, so that no vocabulary exceeds memory


@dataclass(frozen=True)
class Batch:
    """Tensors of several rows.

    Attributes:
        inputs: keyword arguments of the model's forward pass; ids have shape (batch, seq).
        scored: (batch, seq) bool, True where the hidden state predicts a token of the answer, or
            the tag of a word; seq is the decoder's length in an encoder-decoder. (batch,) where a
            head has one output for each text.
        targets: (n,) ids of these tokens, in the order of the True entries of `scored`; for a head
            ids of classes, or numbers.
    """

    inputs: dict[str, torch.Tensor]
    scored: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Collator:
    """Collator of one base model: pads rows into batches.

    Attributes:
        example_tokenizer: tokenizes the examples.
        decoder_start: id of the decoder's first token, if there is a decoder.
        device: torch device of the batches.
    """

    example_tokenizer: ExampleTokenizer | HeadTokenizer
    decoder_start: int | None
    device: str

    @classmethod
    def of(cls, base: BaseModel, max_length: int) -> "Collator":
        """Build the collator of a base model.

        Its rows are at most half of the context: a soft prompt needs room in front.

        Raises:
            NotLanguageModelError: the base is an encoder without a head for the task.
        """
        config: Any = base.model.config
        context = getattr(config, "max_position_embeddings", None) or 2 * max_length
        most = min(max_length, context // 2)
        if base.head:
            return cls(HeadTokenizer.of(base, base.head, most), None, base.device)
        require_language_model(base.kind, base.reference)
        return cls(
            ExampleTokenizer(base.tokenizer, config.is_encoder_decoder, most),
            getattr(config, "decoder_start_token_id", None),
            base.device,
        )

    @classmethod
    def of_states(cls, base: BaseModel, max_length: int) -> "Collator":
        """Build a collator whose batches are run for their hidden states alone.

        Any model has them, an encoder without a head for the task, too.
        """
        if base.kind == "encoder" and not base.head:
            bare = Head(task_type="FEATURE_EXTRACTION")
            base = replace(base, head=bare)
        return cls.of(base, max_length)

    @property
    def seq2seq(self) -> bool:
        """Whether the prompt goes to an encoder and the answer to a decoder."""
        return self.example_tokenizer.seq2seq

    @property
    def has_head(self) -> bool:
        """Whether a new head predicts labels, and no text is predicted."""
        return isinstance(self.example_tokenizer, HeadTokenizer)

    def chat_template(self, example: Chat | ChatPair) -> ChatTemplate:
        """Return the template of a conversation; see `ExampleTokenizer.chat_template`.

        Raises:
            InputError: there is none, or a head predicts labels.
        """
        if isinstance(self.example_tokenizer, HeadTokenizer):
            raise InputError("a head predicts labels, and writes no answers in conversations")
        return self.example_tokenizer.chat_template(example)

    @property
    def at_once(self) -> int:
        """Maximum padded tokens in a scored batch, whose logits (tokens, V) must fit in memory."""
        return min(1024, max(64, _LOGITS // len(self.example_tokenizer.tokenizer)))

    def items(self, examples: Sequence[Example]) -> tuple[list[TokenizedExample], dict[str, int]]:
        """Tokenize each example; see `ExampleTokenizer.tokenize`."""
        return self.example_tokenizer.tokenize(examples)

    def batch(self, rows: Sequence[TokenizedAnswer]) -> Batch:
        """Collate rows into a batch; the answers' last tokens predict nothing and are left out."""
        if isinstance(self.example_tokenizer, HeadTokenizer):
            return self._labeled_batch(rows)
        if self.seq2seq:
            return self._seq2seq_batch(rows)
        inputs = [[*row.prompt, *row.answer[:-1]] for row in rows]
        ids, mask = self.pad(inputs)
        scored = torch.zeros_like(mask)
        for index, (row, ids_of_row) in enumerate(zip(rows, inputs, strict=True)):
            before = len(ids_of_row) - len(row.answer)  # a token is predicted where the last ends
            scored[index, [before + at for at in row.scored_places]] = True
        targets = [token for row in rows for token in row.targets]
        return self._batch({"input_ids": ids, "attention_mask": mask.long()}, scored, targets)

    def _labeled_batch(self, rows: Sequence[Any]) -> Batch:
        ids, mask = self.pad([[*row.prompt] for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if rows[0].types is not None:
            inputs["token_type_ids"], _ = self.pad([[*row.types] for row in rows])
            inputs["token_type_ids"][~mask] = 0
        if rows[0].places is None:
            scored = torch.ones(len(rows), dtype=torch.bool)
        else:
            scored = torch.zeros_like(mask)
            for index, row in enumerate(rows):
                scored[index, [*row.places]] = True
        return self._batch(inputs, scored, [label for row in rows for label in row.labels])

    def _seq2seq_batch(self, rows: Sequence[TokenizedAnswer]) -> Batch:
        ids, mask = self.pad([[*row.prompt] for row in rows])
        decoder_ids, scored = self.pad([[self.decoder_start, *row.answer[:-1]] for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask.long(), "decoder_input_ids": decoder_ids}
        return self._batch(inputs, scored, [token for row in rows for token in row.answer])

    def pad(self, rows: list[list[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad rows on the right; return ids (batch, seq) and a mask, True where not padded."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.example_tokenizer.tokenizer.pad_token_id or 0)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        return ids, mask

    def _batch(
        self, inputs: dict[str, torch.Tensor], scored: torch.Tensor, targets: list[Any]
    ) -> Batch:
        return Batch(
            {name: tensor.to(self.device) for name, tensor in inputs.items()},
            scored.to(self.device),
            torch.tensor(targets, device=self.device),
        )


def length(row: TokenizedAnswer) -> int:
    """Count the tokens of this row in the model's input."""
    return row.input_length


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
