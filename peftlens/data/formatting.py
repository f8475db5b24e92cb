"""Formatting: turn rows with named columns into examples, by a prompt template."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import Formatter
from typing import Any

from peftlens.data.cells import as_text, unusable, unusable_label
from peftlens.data.chat_template import Turns
from peftlens.data.choices import LabelFormat, Question, question, right_options
from peftlens.data.conversation import (
    CONVERSATION_COLUMNS,
    LAYOUTS,
    Conversation,
    conversation,
    layout_of,
    require_layout,
)
from peftlens.data.labels import Classes, find_classes
from peftlens.data.preference import PREFERENCE_COLUMNS, preference
from peftlens.data.tagging import rating, tagged_words
from peftlens.data.task import (
    AnswerOptions,
    Chat,
    Example,
    HeadKind,
    Kind,
    Note,
    OpenQuestion,
    SentencePair,
)
from peftlens.errors import InputError
from peftlens.io.records import Records
from peftlens.io.rows import MOST_ROWS

Row = Mapping[str, Any]
_WIDEST = 10_000  # characters to which a template may pad a text


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Mapping from columns to examples.

    Attributes:
        kind: classification, multiple_choice, language_modeling, generation (answers are written
            and compared as text), chat (conversations, of which the assistant's text is trained),
            preference (columns prompt, chosen and rejected, texts or messages), regression (a
            number, by a new head) or token_classification (a tag for each word, by a new head).
        template: prompt with columns in braces; for language modeling the whole text; by default
            {text}, and where the answer is written as text, a line "Answer:".
        pair: second text of a pair, with columns in braces; needs a head.
        head: classification if a new head predicts the class, the default of encoders; by default
            the label is written as text.
        words: for token classification, the column with a list of words.
        label: column with the class; for multiple choice, the right option, its letter or number;
            for generation, the answer, or a list of right answers; for regression, the number; for
            token classification, a list of tags.
        labels: text for each class, where it differs from the class itself.
        options: for multiple choice, columns with one option each, or one column with a list.
        label_format: for multiple choice, how the label names the right option: text, letter,
            from_0 or from_1 (its number, counted from 0 or 1); found from all labels by default.
        max_rows: largest number of rows; more are refused.
        chat_template: for conversations, a Jinja file, or one of chatml and plain; by default that
            of the base's tokenizer.
        turns: for chat, which of the assistant's messages are trained: all or last.
        score: for generation, exact_match, f1, number, rouge1, rouge2, rougeL, bleu or chrf.
        max_new_tokens: for generation, largest number of generated tokens.
        stop: for generation, strings that end an answer.
    """

    kind: Kind = "classification"
    template: str | None = None
    pair: str | None = None
    head: HeadKind | None = None
    words: str = "tokens"
    label: str = "label"
    labels: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    label_format: LabelFormat | None = None
    max_rows: int = MOST_ROWS
    chat_template: str | None = None
    turns: Turns = "all"
    score: str = "exact_match"
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """Template of the prompt, or of the first text of a pair."""
        if self.template is not None:
            return self.template
        return "{text}" if self.new_head or self.kind == "regression" else "{text}\nAnswer:"

    @property
    def new_head(self) -> HeadKind | None:
        """Head of a classification: as configured, or because only a head reads a pair."""
        pairs = self.pair is not None and self.kind == "classification"
        return "classification" if pairs else self.head

    @property
    def answers(self) -> AnswerOptions | None:
        """How answers are generated and compared, if they are."""
        if self.kind != "generation":
            return None
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens={self.max_new_tokens} must be at least 1")
        return AnswerOptions(
            score=self.score, max_new_tokens=self.max_new_tokens, stop=tuple(self.stop)
        )

    def used(self) -> list[str]:
        """List the columns that the examples need.

        Raises:
            InputError: the template can't be filled or uses no column, or there are no options.
        """
        fixed = {
            "chat": [*CONVERSATION_COLUMNS],
            "preference": [*PREFERENCE_COLUMNS],
            "token_classification": [self.words, self.label],
        }
        if self.kind in fixed:
            return fixed[self.kind]
        shown = self._shown()
        if self.kind == "language_modeling":
            return shown
        if self.kind == "generation":
            return [*dict.fromkeys([*shown, self.label, *CONVERSATION_COLUMNS])]
        if self.kind in ("classification", "regression"):
            return [*dict.fromkeys([*shown, self.label])]
        if not self.options:
            raise InputError("multiple_choice needs options: the columns that hold the options")
        return [*dict.fromkeys([*shown, *self.options, self.label])]

    def _shown(self) -> list[str]:
        """List the columns that the templates show."""
        if self.pair is not None and not (self.new_head or self.kind == "regression"):
            raise InputError(
                f"pair={self.pair!r} is for a head, of kind = 'classification' or 'regression', "
                f"not {self.kind}; write both columns in template"
            )
        names: list[str] = []
        for template in (self.prompt, *([] if self.pair is None else [self.pair])):
            if not fields_of(template):
                raise InputError(f"template {template!r} uses no column; write one in braces")
            names += fields_of(template)
        return [*dict.fromkeys(names)]


def fill(template: str, texts: Mapping[str, str | None]) -> str:
    """Fill in a template: each name in braces is replaced by its text.

    Raises:
        InputError: the template has another name, pads too much, or its braces do not match.
    """
    fields_of(template)
    try:
        return template.format_map(texts)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        names = ", ".join(f"{{{name}}}" for name in texts)
        raise InputError(f"template {template!r} can't be filled; it may use {names}") from error


@lru_cache(maxsize=64)
def fields_of(template: str) -> tuple[str, ...]:
    """List the names in braces.

    Raises:
        InputError: the braces do not match, or a format would make texts of any length.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise InputError(
            f"template {template!r}: {error}; write {{{{ for a literal brace"
        ) from error
    for _, name, spec, _ in parts:
        if "{" in (spec or "") or any(int(n) > _WIDEST for n in re.findall(r"\d+", spec or "")):
            raise InputError(
                f"template {template[:100]!r}: the format {(spec or '')[:40]!r} of {{{name}}} may "
                f"have no braces, and no number above {_WIDEST:,}"
            )
    return tuple(str(name) for _, name, _, _ in parts)


def examples(records: Records, columns: Columns) -> Iterator[Example | str | Note]:
    """Yield one example per row, or the reason why that row can't be used; and notes.

    Raises:
        InputError: a column is missing, a class is not in `labels` although others are, or the
            labels of a multiple choice can be read in two ways.
    """
    if not records.rows:
        raise InputError(f"{records.name} has no rows")
    yield from map(Note, records.notes)
    if columns.kind == "chat" or _asks_in_conversations(records, columns):
        yield from _conversations(records, columns)
        return
    _require_columns(records, columns)
    rows = [_named(row, records, columns) for row in records.rows]
    match columns.kind:
        case "classification":
            yield from _classified(rows, records, columns)
        case "multiple_choice":
            yield from _choices(rows, records, columns)
        case _:
            yield from (_by_itself(row, columns) for row in rows)


def _by_itself(row: Row, columns: Columns) -> Example | str:
    """Return the example of a row that does not depend on other rows."""
    match columns.kind:
        case "generation":
            return _open_question(row, columns)
        case "preference":
            return preference(row, columns.chat_template)
        case "regression":
            return _rating(row, columns)
        case "token_classification":
            return tagged_words(row.get(columns.words), row.get(columns.label))
        case _:
            return _text(row, columns.prompt)


def _require_columns(records: Records, columns: Columns) -> None:
    """Refuse missing columns; of conversations, with the kind that reads them."""
    needed = columns.used()
    if columns.kind == "generation":
        needed = [*fields_of(columns.prompt), columns.label]
    layout = layout_of(records.columns)
    if layout and columns.kind != "preference" and not {*needed} <= {*records.columns}:
        raise InputError(
            f"the rows of {records.name} are conversations in the layout of {LAYOUTS[layout]}: "
            "these look like free answers; set kind = 'chat' to train on them, or kind = "
            "'generation' to compare the last answer"
        )
    if columns.kind == "preference" and "prompt" not in records.columns:
        needed = ["chosen", "rejected"]  # whole conversations
    records.require_columns(needed)


def _text(row: Row, template: str) -> Example | str:
    prompt, reason = _prompt(row, template)
    return reason or Example("", (prompt,))


def _asks_in_conversations(records: Records, columns: Columns) -> bool:
    """Whether rows of a generation task are conversations, and no columns that a template names."""
    if columns.kind != "generation" or layout_of(records.columns) is None:
        return False
    return not {*fields_of(columns.prompt), columns.label} <= {*records.columns}


def _conversations(records: Records, columns: Columns) -> Iterator[Example | str | Note]:
    layout = require_layout(records.columns, records.name)
    yield Note(f"the rows are conversations in the layout of {LAYOUTS[layout]}")
    for row in records.rows:
        found = conversation(row, layout)
        yield found if isinstance(found, str) else _chat(found, columns)


def _chat(found: Conversation, columns: Columns) -> Example:
    *before, last = found.messages
    references = (last["content"],) if columns.kind == "generation" else ()
    return Chat(
        prompt="\n".join(f"{one['role']}: {one['content']}" for one in before) or "assistant:",
        answers=(last["content"],),
        messages=found.messages,
        tools=found.tools,
        chat_template=columns.chat_template,
        turns="last" if references else columns.turns,
        references=references,
    )


def _open_question(row: Row, columns: Columns) -> Example | str:
    prompt, reason = _prompt(row, columns.prompt)
    if reason:
        return reason
    cell = row.get(columns.label)
    cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    texts = [as_text(one) for one in cells]
    if not texts:
        return "no answer"
    if reason := next(filter(None, map(unusable, texts)), None):
        return "no answer" if reason in ("missing", "empty") else f"an answer is {reason}"
    references = tuple(dict.fromkeys(text.strip() for text in texts))
    return OpenQuestion(prompt, (f" {references[0]}",), references=references)


def _named(row: Row, records: Records, columns: Columns) -> Row:
    """Replace ids of classes by their names; the id of an option is its index and stays."""
    is_choice = columns.kind == "multiple_choice"
    named = {
        column: names[row[column]] if 0 <= row[column] < len(names) else None
        for column, names in records.class_names.items()
        if isinstance(row.get(column), int) and not (is_choice and column == columns.label)
    }
    return {**row, **named} if named else row


def _prompt(row: Row, template: str) -> tuple[str, str | None]:
    """Fill in the template; return an empty text and the reason where a cell can't be used."""
    texts = {name: as_text(row.get(name)) for name in fields_of(template)}
    if reason := next(filter(None, map(unusable, texts.values())), None):
        return "", reason
    prompt = fill(template, texts)
    return prompt, unusable(prompt)


def _classified(rows: Sequence[Row], records: Records, columns: Columns) -> Iterator[Any]:
    labels = [as_text(row.get(columns.label)) for row in rows]
    counts = Counter(label for label in labels if not unusable(label))
    ids = records.class_names.get(columns.label, ())
    classes = find_classes(counts, columns.labels, ids, records.name)
    yield from map(Note, classes.notes)
    for row, label in zip(rows, labels, strict=True):
        yield _classified_one(row, label, classes, columns)


def _classified_one(row: Row, label: Any, classes: Classes, columns: Columns) -> Example | str:
    prompt, second, reason = _both_texts(row, columns)
    if reason or (reason := unusable_label(label)):
        return reason
    if second:
        return SentencePair(prompt, classes.answers, classes.index[label], second)
    return Example(prompt, classes.answers, classes.index[label])


def _rating(row: Row, columns: Columns) -> Example | str:
    prompt, second, reason = _both_texts(row, columns)
    return reason or rating(prompt, second, row.get(columns.label))


def _both_texts(row: Row, columns: Columns) -> tuple[str, str, str | None]:
    """Fill in the templates of both texts, the second empty without a pair; see `_prompt`."""
    prompt, reason = _prompt(row, columns.prompt)
    if reason or columns.pair is None:
        return prompt, "", reason
    return prompt, *_prompt(row, columns.pair)


def _choices(rows: Sequence[Row], records: Records, columns: Columns) -> Iterator[Example | str]:
    questions: list[tuple[str, Question]] = []
    for row in rows:
        prompt, reason = _prompt(row, columns.prompt)
        cells = [row.get(name) for name in columns.options]
        found = reason or question(cells, row.get(columns.label), columns.options)
        if isinstance(found, str):
            yield found
        else:
            questions.append((prompt, found))
    is_id = columns.label in records.class_names  # an index, whatever the classes are called
    label_format = columns.label_format or ("from_0" if is_id else None)
    right = right_options([one for _, one in questions], label_format, records.name)
    for (prompt, one), index in zip(questions, right, strict=True):
        if isinstance(index, str):
            yield index
        else:
            yield Example(prompt, tuple(f" {option}" for option in one.options), index)
