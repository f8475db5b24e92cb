"""Words of a task and of other tasks, to which trained vectors are compared.

A task's words are its labels and the words typical of its training text against that of the other
tasks, by log-odds with a Dirichlet prior (Monroe et al. 2008, Political Analysis 16).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.data.task import SentencePair, Task
from peftlens.data.tokenization import continuation_ids
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import log_odds
from peftlens.results.table import NotApplicable
from peftlens.tasks import load_task
from peftlens.vocab.null_tests import Ids, NeighborhoodSpace

MOST = 40  # words of a task
_FEWEST = 5
_BUILT_IN = ("bbc_topic", "boolq", "commonsenseqa", "openbookqa", "piqa", "word_sentiment")
_WORD = re.compile(r"[^\W\d_]{3,}")
Words = tuple[tuple[int, ...], ...]  # token ids of each word


def task_words(task: Task, base: BaseModel) -> Mapping[str, Words]:
    """Return the words of a task, first, and of each of the other built-in tasks; cached.

    Words are single tokens behind a space, labels any tokens. No other task has more words than
    this one, and none has a word of another task.

    Raises:
        NotApplicable: the task has fewer than five such words, or fewer than two others have.
    """
    return base.derived("task words", lambda: _task_words(task, base), key=task.sha256, most=4)


def other_tasks(task: Task) -> list[Task]:
    """Load the built-in tasks with prompts, except this one."""
    return [load_task(name, {}) for name in _BUILT_IN if name != task.name]


def _task_words(task: Task, base: BaseModel) -> dict[str, Words]:
    tasks = [task, *other_tasks(task)]
    counts = [_counts(one) for one in tasks]
    total = sum(counts, Counter())
    found: dict[str, Words] = {}
    taken: set[tuple[int, ...]] = set()
    most = max(MOST, len(task.labels))
    for one, own in zip(tasks, counts, strict=True):
        labels = [tuple(continuation_ids(base.tokenizer, label)) for label in one.labels]
        ranked = dict.fromkeys([*labels, *_typical(own, total - own, base)])
        words = tuple(ids for ids in ranked if ids not in taken)[:most]
        if len(words) >= _FEWEST:
            found[one.name] = words
        elif one is task:
            raise NotApplicable(f"the task has fewer than {_FEWEST} words that are one token each")
        most = min(most, len(words)) if one is task else most
        taken |= {*words}
    if len(found) < 3:
        raise NotApplicable("fewer than two other tasks have words that are one token each")
    return found


def _counts(task: Task) -> Counter[str]:
    """Count the words of the training text, without those of the template."""
    rows = range(len(task.splits["train"]))
    texts = [_WORD.findall(_text(task, row).casefold()) for row in rows]
    counts = Counter(word for words in texts for word in words)
    in_texts = Counter(word for words in texts for word in set(words))
    for word, n in in_texts.items():
        if n > len(texts) / 2:
            del counts[word]
    return counts


def _text(task: Task, index: int) -> str:
    example = task.splits["train"][index]
    if isinstance(example, SentencePair):
        return f"{example.prompt} {example.second}"
    if task.kind == "classification":
        return example.prompt
    return f"{example.prompt} {example.answers[example.correct]}"


def _typical(own: Counter[str], others: Counter[str], base: BaseModel) -> list[tuple[int, ...]]:
    """Rank the words that are one token by their log-odds."""
    words = sorted(own)
    everywhere = sorted({*own, *others})
    scores = log_odds([own[word] for word in everywhere], [others[word] for word in everywhere])
    score = dict(zip(everywhere, scores.tolist(), strict=True))
    # ties go to the smaller id: the more frequent word in the order of byte-pair merges
    ranked = sorted(
        (-score[word], *ids)
        for word in words
        if score[word] > 0 and len(ids := continuation_ids(base.tokenizer, f" {word}")) == 1
    )
    unknown = base.tokenizer.unk_token_id
    return [(ids,) for _, ids in ranked if ids != unknown]


@dataclass(frozen=True)
class TaskCloseness:
    """Closeness of every token to the words of each task, in two spaces.

    Attributes:
        words: words of each task; the first task is the own one.
        closeness: highest cosine of a token to a word of the task, shape (tasks, 2, V): in the
            space of the vectors and in the middle of the model.
    """

    words: Mapping[str, Words]
    closeness: NDArray[np.float32]

    @property
    def task(self) -> str:
        """Name of the own task."""
        return next(iter(self.words))

    @classmethod
    def of(cls, space: NeighborhoodSpace, words: Mapping[str, Words]) -> "TaskCloseness":
        """Compute the closeness in a space of neighborhoods."""
        closeness = [
            [_highest_cosine(rows, one) for rows in (space.rows, space.states)]
            for one in words.values()
        ]
        return cls(words, np.array(closeness))

    def of_neighborhoods(self, neighborhoods: Ids) -> NDArray[np.float64]:
        """Average over the words of neighborhoods (..., 5): shape (tasks, 2, ...)."""
        present = neighborhoods >= 0
        counts = np.maximum(present.sum(axis=-1), 1)
        return np.where(
            present.any(axis=-1),
            (self.closeness[..., neighborhoods] * present).sum(axis=-1) / counts,
            np.nan,
        )


def contrast(closeness: NDArray) -> NDArray:
    """Subtract the mean closeness to the other tasks' words from that to the own: (2, ...)."""
    return closeness[0] - closeness[1:].mean(axis=0)


def _highest_cosine(rows: NDArray[np.float32], words: Words) -> NDArray[np.float32]:
    targets = np.stack([rows[list(ids)].mean(axis=0) for ids in words])  # (words, d)
    targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
    return (rows @ targets.T).max(axis=1)


def word_vectors(table: torch.Tensor, words: Words) -> torch.Tensor:
    """Return each word's mean vector in a table, shape (words, d)."""
    return torch.stack([table[list(ids)].mean(dim=0) for ids in words])
