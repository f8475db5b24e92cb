"""Tokenize examples for a head: one text or a pair, with a class, a number, or a tag for each word.

The tokenizer adds its special tokens, as in the model's pretraining. Long texts are cut where the
tokenizer cuts them, most often at the end. Of each word the first token is scored, as in the
named-entity experiments of BERT (Devlin et al. 2019, arXiv:1810.04805, section 5.3).
"""

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peftlens.data.task import Example, Rating, SentencePair, TaggedWords, Task
from peftlens.data.tokenization import (
    CUT,
    TokenizedAnswer,
    TokenizedExample,
    collected,
    require_rows,
)
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import Head
from peftlens.models.model_kind import HAS_HEAD, NotLanguageModelError


@dataclass(frozen=True)
class LabeledRow(TokenizedAnswer):
    """One input, which is `prompt`, with what a head is to predict of it; `answer` is empty.

    Attributes:
        labels: indices of classes, one or one for each scored word; or a number.
        places: positions of the scored tokens; None where the whole input has one output.
        types: segment of each token, 0 or 1; None where the model has no segments.
    """

    labels: tuple[float, ...] = ()
    places: tuple[int, ...] | None = None
    types: tuple[int, ...] | None = None

    @property
    def scored(self) -> int:
        """Number of labels."""
        return len(self.labels)

    @property
    def targets(self) -> tuple[int, ...]:
        """Indices of the classes."""
        return tuple(int(label) for label in self.labels)

    @property
    def input_length(self) -> int:
        """Number of tokens in the model's input."""
        return len(self.prompt)


def head_for(task: Task) -> Head | None:
    """Return the head that a task needs, if any."""
    if not task.needs_head:
        return None
    tags = task.kind == "token_classification"
    labels = tuple(label.strip() for label in task.labels)
    return Head(task_type="TOKEN_CLS" if tags else "SEQ_CLS", labels=labels)


@dataclass(frozen=True)
class HeadTokenizer:
    """Tokenizer of examples for a base model with a head.

    Attributes:
        tokenizer: tokenizer of the base model.
        head: head of the model.
        max_length: maximum number of tokens of an input.
        has_types: whether the model reads segments.
    """

    tokenizer: Any
    head: Head
    max_length: int
    has_types: bool
    seq2seq = False

    @classmethod
    def of(cls, base: BaseModel, head: Head, max_length: int) -> "HeadTokenizer":
        """Create the tokenizer of a base model with this head."""
        reads = "token_type_ids" in inspect.signature(base.model.forward).parameters
        has_types = reads and getattr(base.model.config, "type_vocab_size", 0) > 1
        return cls(base.tokenizer, head, max_length, has_types)

    def tokenize(
        self, examples: Sequence[Example]
    ) -> tuple[list[TokenizedExample], dict[str, int]]:
        """Tokenize each example; count cut and dropped examples by reason.

        Raises:
            NotLanguageModelError: examples of another kind, such as texts for a language model.
        """
        return collected(examples, self._rows)

    def _rows(self, example: Example, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Return one row for each class, or one with all labels."""
        self._require_fit(example)
        if isinstance(example, TaggedWords):
            return self._tagged(example, counts)
        second = example.second if isinstance(example, SentencePair) else ""
        encoded = self._encode(counts, example.prompt, *([second] if second else []))
        ids, types = (*encoded["input_ids"],), self._types(encoded)
        if isinstance(example, Rating):
            return (LabeledRow(ids, (), labels=(example.value,), types=types),)
        classes = range(len(self.head.labels))
        return tuple(LabeledRow(ids, (), labels=(k,), types=types) for k in classes)

    def text_row(self, text: str, second: str = "") -> LabeledRow:
        """Tokenize a text, or a pair, whose hidden states alone are read: it has no labels."""
        return self._text_row(self._encode(Counter(), text, *([second] if second else [])))

    def text_and_words(self, text: str) -> tuple[LabeledRow, list[int | None]]:
        """Tokenize a text; also give the index of each token's word, None of special tokens."""
        encoded = self._encode(Counter(), text)
        return self._text_row(encoded), encoded.word_ids()

    def _text_row(self, encoded: Any) -> LabeledRow:
        return LabeledRow((*encoded["input_ids"],), (), places=(), types=self._types(encoded))

    def _require_fit(self, example: Example) -> None:
        if self.head.task_type == "TOKEN_CLS":
            fits = isinstance(example, TaggedWords)
        elif self.head.is_regression:
            fits = isinstance(example, Rating)
        else:
            fits = tuple(answer.strip() for answer in example.answers) == self.head.labels
        if not fits:
            raise NotLanguageModelError(HAS_HEAD)

    def _encode(self, counts: Counter[str], *texts: str, **options: Any) -> Any:
        """Tokenize a text or a pair; a text that is too long is cut, which is counted."""
        # verbose: a warning about long texts, which are cut and counted here
        options = {"split_special_tokens": True, "verbose": False, **options}
        encoded = self.tokenizer(*texts, **options)
        if len(encoded["input_ids"]) > self.max_length:
            counts[f"text {CUT}"] += 1
            cut = {"truncation": "longest_first", "max_length": self.max_length}
            encoded = self.tokenizer(*texts, **options, **cut)
        require_rows(self.tokenizer, encoded["input_ids"])
        return encoded

    def _types(self, encoded: Any) -> tuple[int, ...] | None:
        if not self.has_types or "token_type_ids" not in encoded:
            return None
        return (*encoded["token_type_ids"],)

    def _tagged(self, example: TaggedWords, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Return a row whose labels are those of the words whose first token is in it."""
        if not self.tokenizer.is_fast:
            raise InputError(
                "token classification needs a fast tokenizer, which says where its tokens are in "
                "the text; save the base's tokenizer as tokenizer.json"
            )
        encoded = self._encode(counts, example.prompt, return_offsets_mapping=True)
        places = first_tokens(example.words, encoded["offset_mapping"])
        tagged = zip(places, example.tags, strict=True)
        kept = [(place, tag) for place, tag in tagged if place is not None]
        counts["words without a token"] += len(places) - len(kept)
        if not kept:
            counts["no word has a token"] += 1
            return ()
        row = LabeledRow(
            (*encoded["input_ids"],),
            (),
            labels=tuple(self.head.labels.index(tag) for _, tag in kept),
            places=tuple(place for place, _ in kept),
            types=self._types(encoded),
        )
        return (row,)


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """Find the first token of each word of a text, whose words are joined by single spaces.

    Args:
        words: words of the text.
        offsets: first and last character of each token; equal ones for special tokens.

    Returns:
        Position of the token; None for a word without one, as after a cut.
    """
    found: list[int | None] = []
    start = at = 0
    for word in words:
        end = start + len(word)
        while at < len(offsets) and (offsets[at][1] <= start or offsets[at][0] == offsets[at][1]):
            at += 1  # of an earlier word, or special
        inside = at < len(offsets) and offsets[at][0] < end
        found.append(at if inside else None)
        start = end + 1
    return found
