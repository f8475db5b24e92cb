"""Texts on which base and tuned model are compared: general, of the task, and the user's own."""

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from peftlens.data.task import Example, Task
from peftlens.diffing.word_relevance import WordScores, has_words
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of

_GENERAL = "passages"  # its test split is read, and the words of its training split are counted
_ROWS = 2000  # training rows whose words are counted
_WORD = re.compile(r"\w+")


def general_texts(items: int) -> list[str]:
    """Return general texts, none of which has to do with a task."""
    return example_texts(load_task(_GENERAL, {}).splits["test"][:items])


def task_texts(run: TrainedModel, items: int) -> list[str]:
    """Return test examples of a run's task: prompts with their right answers.

    Raises:
        NotApplicable: the run has no task.
    """
    return example_texts(task_of(run).splits["test"][:items])


def own_texts(path: str) -> list[str]:
    """Read texts from a file of the user's, one on each line.

    Raises:
        InputError: it can't be read as text, or has no line.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"texts {path!r} is not a text file; give one text a line") from error
    if lines := [line for line in text.splitlines() if line.strip()]:
        return lines
    raise InputError(f"texts {path!r} has no text; give one a line")


def example_texts(examples: Sequence[Example]) -> list[str]:
    """Join prompts with their right answers, as in training."""
    return [one.prompt + one.answers[one.correct] for one in examples]


def word_scores(run: TrainedModel, base: BaseModel, training_text: str = "") -> WordScores:
    """Score the vocabulary's words for the text on which a run was trained; cached.

    Args:
        run: a run.
        base: the run's base model.
        training_text: file with the training text, one a line, for an adapter whose task is
            unknown; empty for the text of the run's task.

    Raises:
        NotApplicable: the task is unknown, and no training text was given.
        InputError: see `own_texts`.
    """
    if training_text:
        texts = own_texts(training_text)
        key = sha256("\n".join(texts).encode()).hexdigest()  # the file may change in a session
    elif run.task is None:
        raise NotApplicable("its training text is unknown; give training_text")
    else:
        task = task_of(run)
        texts, key = without_template(task), task.sha256
    return base.derived(
        "word scores",
        lambda: WordScores.of(base, texts, example_texts(load_task(_GENERAL, {}).splits["train"])),
        key=key,
        most=4,
    )


def known_word_scores(run: TrainedModel, base: BaseModel, training_text: str) -> WordScores | None:
    """Return `word_scores`, or None: the training text is unknown, or no token is a word."""
    if (run.task is None and not training_text) or not has_words(base):
        return None
    return word_scores(run, base, training_text)


def without_template(task: Task) -> list[str]:
    """Return the training text without the words that more than half of its rows have.

    Those of a template, or of the frame around all texts, say nothing of the task's content. Labels
    and chosen answers stay, however common they are.
    """
    examples = task.splits["train"][:_ROWS]
    chosen = task.kind in ("classification", "multiple_choice")
    answers = [example.answers[example.correct] for example in examples]
    texts = [example.prompt for example in examples]
    if not chosen:
        texts = [f"{prompt} {answer}" for prompt, answer in zip(texts, answers, strict=True)]
    rows = [_WORD.findall(text) for text in texts]
    labels = {word.casefold() for label in task.labels for word in _WORD.findall(label)}
    shares = Counter(word for row in rows for word in {word.casefold() for word in row})
    template = {word for word, n in shares.items() if n > len(rows) / 2} - labels
    kept = [" ".join(word for word in row if word.casefold() not in template) for row in rows]
    return [row + answer for row, answer in zip(kept, answers, strict=True)] if chosen else kept
