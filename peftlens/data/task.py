"""Task: checked examples without duplicates, in disjoint train, validation and test splits."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from peftlens.errors import InputError
from peftlens.io.files import canonical_json, sha256_text

Kind = Literal[
    "classification", "multiple_choice", "language_modeling", "chat", "generation", "preference",
    "regression", "token_classification",
]  # fmt: skip
HeadKind = Literal["classification"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One question with its candidate answers.

    Attributes:
        prompt: text before the answer; empty for language modeling.
        answers: candidate answers, each with a leading space; for language modeling only the text.
        correct: index of the right answer.
    """

    prompt: str
    answers: tuple[str, ...]
    correct: int = 0


@dataclass(frozen=True)
class SentencePair(Example):
    """Two texts with a class, such as a question and a passage, for a head.

    Attributes:
        second: the second text, which a tokenizer puts after its separator.
    """

    second: str = ""


@dataclass(frozen=True)
class Rating(SentencePair):
    """A text, or a pair of texts, with a number; `answers` is the number as text.

    Attributes:
        value: the number.
    """

    value: float = 0.0


@dataclass(frozen=True)
class TaggedWords(Example):
    """Words with a tag each; `prompt` is the words, and `answers` the tags, joined by spaces.

    Attributes:
        words: the words.
        tags: tag of each word, such as B-PER.
    """

    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenQuestion(Example):
    """A question whose answer is written and compared as text; trained on its first reference.

    Attributes:
        references: right answers, as they are compared.
    """

    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chat(Example):
    """A conversation, in which the assistant's text is trained.

    `prompt` is all that comes before the last answer, as plain text; `answers` is that answer.

    Attributes:
        messages: messages in order, each with role and content; the last is the assistant's.
        tools: descriptions of tools for the chat template.
        chat_template: file or name of the template; None for the tokenizer's own.
        turns: which of the assistant's messages are trained: all or last.
        references: right answers, where the last message is compared as text.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Any, ...] | None = None
    chat_template: str | None = None
    turns: Literal["all", "last"] = "all"
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextPair(Example):
    """A prompt with a preferred and a rejected text, which are `answers`; both have an end."""


@dataclass(frozen=True)
class ChatPair(Example):
    """A conversation with a preferred and a rejected answer, which are `answers`.

    Attributes:
        messages: messages before the answer, each with role and content.
        chat_template: file or name of the template; None for the tokenizer's own.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    chat_template: str | None = None


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How answers are generated and compared.

    Attributes:
        score: score of a written answer: exact_match, f1, number, rouge1, rouge2, rougeL, bleu or
            chrf.
        max_new_tokens: largest number of generated tokens.
        stop: strings that end an answer.
    """

    score: str = "exact_match"
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """What a user may not expect of the examples, such as labels that were merged.

    Attributes:
        text: one sentence.
    """

    text: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """Split of a source, fixed by a separate seed, so that every run has the same test examples.

    Attributes:
        seed: seed of the shuffle before dividing.
        validation: share of validation examples, between 0 and 1.
        test: share of test examples, between 0 and 1.
        max_train: largest number of training examples; None keeps all that the shares leave.
        max_validation: largest number of validation examples; None keeps all of the share.
        max_test: largest number of test examples; None keeps all of the share.
    """

    seed: int = 0
    validation: float = 0.1
    test: float = 0.2
    max_train: int | None = None
    max_validation: int | None = None
    max_test: int | None = None


@dataclass(frozen=True)
class Task:
    """A data set with its kind of scoring.

    Attributes:
        name: name of the task, as the user wrote it.
        kind: classification, multiple_choice, language_modeling, chat, generation, preference,
            regression or token_classification.
        labels: classes as written in answers, or tags; empty unless a classification.
        splits: train, validation and test examples; no prompt is in two of them.
        dropped: number of dropped examples of the source, by reason.
        sha256: hex digest of all examples in their splits.
        notes: what a user may not expect of the data, such as labels that were merged.
        answers: how answers are generated and compared; None unless the kind is generation.
        head: classification if a new head predicts the class; None if it is written as text.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    splits: Mapping[str, tuple[Example, ...]]
    dropped: Mapping[str, int]
    sha256: str
    notes: tuple[str, ...] = ()
    answers: AnswerOptions | None = None
    head: HeadKind | None = None

    @property
    def needs_head(self) -> bool:
        """Whether a new head predicts the class, the number or the tags, and no text is written."""
        return self.head is not None or self.kind in ("regression", "token_classification")

    @property
    def has_choices(self) -> bool:
        """Whether examples have candidate answers, of which one is right."""
        return self.kind in ("classification", "multiple_choice", "preference")

    @property
    def has_chats(self) -> bool:
        """Whether examples are conversations, which a chat template renders."""
        return isinstance(self.splits["train"][0], (Chat, ChatPair))


def with_shuffled_labels(task: Task, seed: int) -> Task:
    """Shuffle the right answers of the training examples, among those with equally many answers.

    Raises:
        InputError: the task has one answer per example.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    train = list(task.splits["train"])
    for index, example in enumerate(train):
        groups[len(example.answers)].append(index)
    if max(groups) == 1:
        raise InputError(f"shuffle_labels: task {task.name!r} has no answers to choose from")
    source = random.Random(f"labels {seed}")
    for members in groups.values():
        shuffled = source.sample([train[index].correct for index in members], len(members))
        for index, correct in zip(members, shuffled, strict=True):
            train[index] = replace(train[index], correct=correct)
    digest = sha256_text(f"{task.sha256} with labels shuffled by {seed}")
    return replace(task, splits={**task.splits, "train": tuple(train)}, sha256=digest)


def build(  # noqa: PLR0913  # a part of a task each
    name: str,
    kind: Kind,
    examples: Iterable[Example | str | Note],
    split: Split | None = None,
    answers: AnswerOptions | None = None,
    head: HeadKind | None = None,
) -> Task:
    """Check the examples, drop duplicates, and divide them.

    Args:
        name: name of the task, for messages.
        kind: kind of scoring.
        examples: examples in any order; a string is the reason for a dropped example.
        split: shares and sizes of the splits.
        answers: how answers are generated and compared, for generation.
        head: classification if a new head predicts the class of a classification.

    Raises:
        InputError: too few usable examples, or fewer than two classes.
    """
    _require_classes(name, kind, head)
    split = split or Split()
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    by_text: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        match example:
            case str():
                dropped[example] += 1
            case Note():
                notes.append(example.text)
            case _:
                by_text[_input(example)].append(example)
    unique = []
    for group in by_text.values():
        different = {example.answers[example.correct] for example in group}
        if kind in (
            "chat",
            "generation",
            "preference",
        ):  # several answers may be right: one is kept
            dropped["same prompt as another row"] += len(group) - 1
            unique.append(min(group, key=_texts))
        elif len(different) > 1:
            dropped["same text, different answers"] += len(group)
        else:
            dropped["duplicate"] += len(group) - 1
            unique.append(min(group, key=_texts))
    counts = {reason: count for reason, count in sorted(dropped.items()) if count}
    if len(unique) < 3:
        raise InputError(
            f"task {name!r} has {len(unique)} usable examples and needs at least 3, one for each "
            f"split; left out: {counts or 'none'}"
        )
    labels = _labels(name, kind, unique)
    splits = _divide(unique, split)
    digest = sha256_text(canonical_json([kind, {k: [*map(asdict, v)] for k, v in splits.items()}]))
    return Task(name, kind, labels, splits, counts, digest, tuple(notes), answers, head)


def _require_classes(name: str, kind: Kind, head: HeadKind | None) -> None:
    if head and kind != "classification":
        raise InputError(f"task {name!r}: head={head!r} is for kind = 'classification', not {kind}")


def _input(example: Example) -> str:
    """Return the text that is read, by which duplicates are found."""
    second = getattr(example, "second", "")
    return f"{example.prompt}\n{second}" if second else example.prompt or example.answers[0]


def _texts(example: Example) -> tuple[str, ...]:
    second = getattr(example, "second", "")
    return (example.prompt, *example.answers, *([second] if second else []))


def _labels(name: str, kind: Kind, examples: list[Example]) -> tuple[str, ...]:
    if kind not in ("classification", "token_classification"):
        return ()
    if kind == "classification":
        seen = {example.answers[example.correct] for example in examples}
    else:
        seen = {tag for one in examples if isinstance(one, TaggedWords) for tag in one.tags}
    if len(seen) < 2:
        raise InputError(
            f"task {name!r} has one class only ({seen.pop()!r}); nothing can be learned"
        )
    return examples[0].answers if kind == "classification" else tuple(sorted(seen))


def _divide(examples: list[Example], split: Split) -> dict[str, tuple[Example, ...]]:
    """Divide the examples; sorted before the shuffle, so that the source's order has no effect."""
    if not (0 < split.validation < 1 and 0 < split.test < 1 and split.validation + split.test < 1):
        raise InputError(
            f"split shares validation={split.validation:g} and test={split.test:g} must lie "
            "between 0 and 1 and leave something to train on"
        )
    for name in SPLITS:
        if (most := getattr(split, f"max_{name}")) is not None and most < 1:
            raise InputError(f"split: max_{name}={most} must be at least 1")
    ordered = sorted(examples, key=_texts)
    random.Random(split.seed).shuffle(ordered)
    n_test = max(1, int(len(ordered) * split.test))
    n_validation = max(1, int(len(ordered) * split.validation))
    parts = {
        "test": ordered[:n_test][: split.max_test],
        "validation": ordered[n_test : n_test + n_validation][: split.max_validation],
        "train": ordered[n_test + n_validation :][: split.max_train],
    }
    if not parts["train"]:
        raise InputError(f"the split of {len(ordered)} examples leaves none to train on")
    return {name: tuple(parts[name]) for name in SPLITS}
