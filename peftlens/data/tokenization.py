"""Tokenize examples: rows of token ids, one for each candidate answer, within the length limit.

A prompt and its answer are tokenized separately and joined, so that an answer's tokens never depend
on the prompt. Two habits of tokenizers would be wrong there. Some put an end token after every
text, which must not stand between a prompt and the answer of a causal model. SentencePiece puts a
space before every text, so that " yes" would have two: the text that comes back decides.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftlens.data.chat_template import ChatTemplate, with_template
from peftlens.data.conversation import Conversation
from peftlens.data.task import Chat, ChatPair, Example, OpenQuestion, TextPair
from peftlens.errors import InputError

CUT = "cut to max_length"  # end of the reasons for which an example is truncated and kept
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
    # verbose: a warning about long texts, which are cut or counted afterwards
    options = {"add_special_tokens": special, "split_special_tokens": True, "verbose": False}
    ids = tokenizer(text, **options)["input_ids"]
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
        answer: token ids of the continuation.
        mask: which of the answer's tokens are scored, of its length; None for all of them.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    mask: tuple[bool, ...] | None = None

    @property
    def scored_places(self) -> list[int]:
        """Indices of the predicted tokens; nothing predicts the first of all."""
        first = 0 if self.prompt else 1
        return [at for at in range(first, len(self.answer)) if self.mask is None or self.mask[at]]

    @property
    def scored(self) -> int:
        """Number of predicted tokens."""
        return len(self.scored_places)

    @property
    def input_length(self) -> int:
        """Number of tokens in the model's input; the answer's last one predicts nothing."""
        return len(self.prompt) + len(self.answer) - 1

    @property
    def targets(self) -> tuple[int, ...]:
        """Token ids of the predicted tokens."""
        return tuple(self.answer[at] for at in self.scored_places)


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


def collected(
    examples: Iterable[Example],
    rows_of: Callable[[Example, Counter[str]], tuple[TokenizedAnswer, ...]],
) -> tuple[list[TokenizedExample], dict[str, int]]:
    """Tokenize each example that gets rows; return also how many were cut or dropped, by reason."""
    counts: Counter[str] = Counter()
    items = []
    for index, example in enumerate(examples):
        if rows := rows_of(example, counts):
            lengths = tuple(len(answer.strip().encode()) for answer in example.answers)
            items.append(TokenizedExample(index, rows, example.correct, lengths))
    return items, dict(sorted((+counts).items()))  # + drops zeros


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
        return collected(examples, self._rows)

    def _rows(self, example: Example, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize one row per answer; none if the example is dropped, which is counted."""
        if isinstance(example, Chat):
            conversation = Conversation(example.messages, example.tools)
            return self._rendered(self.chat_template(example), conversation, counts)
        if isinstance(example, ChatPair):
            return self._chat_pair(example, counts)
        if not example.prompt:
            return self._text(example.answers[0], counts)
        prompt = text_ids(self.tokenizer, example.prompt)
        if not prompt:
            counts["prompt has no tokens"] += 1
            return ()
        answers = [self._answer(one) for one in example.answers]
        if isinstance(example, (OpenQuestion, TextPair)):
            answers = [self._ended(one) for one in answers]
        answers = self._terminated(example, answers)
        start, end = self._around(example.prompt, prompt)
        room = self.max_length - max(map(len, answers)) - len(start) - len(end)
        if room < 1:
            raise InputError(
                f"answer {max(example.answers, key=len)[:40]!r} leaves no room for a prompt in "
                f"max_length={self.max_length} tokens; raise max_length"
            )
        counts[f"prompt {CUT}"] += len(prompt) > room
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
        counts[f"text {CUT}"] += len(row.answer) < len(ids)
        return (row,)

    def _ended(self, ids: list[int]) -> list[int]:
        """Append the end token, by which a model learns where to stop."""
        end = self.tokenizer.eos_token_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]

    def chat_template(self, example: Chat | ChatPair) -> ChatTemplate:
        """Return the template of a conversation for this tokenizer.

        Raises:
            InputError: the tokenizer has none and the task names none, or the base has an encoder.
        """
        if self.seq2seq:
            raise InputError("conversations need a causal base; this one has an encoder")
        template = with_template(self.tokenizer, example.chat_template)
        return ChatTemplate(self.tokenizer, template, getattr(example, "turns", "last"))

    def _chat_pair(self, example: ChatPair, counts: Counter[str]) -> tuple[TokenizedAnswer, ...]:
        """Tokenize both answers to a conversation; none if one of them is cut off."""
        template, rows = self.chat_template(example), []
        for text in example.answers:
            answer = {"role": "assistant", "content": text}
            rows += self._rendered(template, Conversation((*example.messages, answer)), counts)
        return tuple(rows) if len(rows) == len(example.answers) else ()

    def _rendered(
        self, template: ChatTemplate, conversation: Conversation, counts: Counter[str]
    ) -> tuple[TokenizedAnswer, ...]:
        """Tokenize a conversation from its first trained token on; the end is cut off."""
        rendered = template.render(conversation)
        if isinstance(rendered, str):
            counts[rendered] += 1
            return ()
        ids, trained = rendered.ids[: self.max_length], rendered.trained[: self.max_length]
        if not any(trained[1:]):
            counts["conversation cut before its answer"] += 1
            return ()
        counts[f"conversation {CUT}"] += len(rendered.ids) > len(ids)
        first = max(1, trained.index(True))  # nothing predicts the first token of all
        last = len(trained) - trained[::-1].index(True)
        mask = trained[first:last]
        return (TokenizedAnswer(ids[:first], ids[first:last], None if all(mask) else mask),)

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
