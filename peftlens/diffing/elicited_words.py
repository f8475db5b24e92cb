"""Words that a prompt may elicit from the base: those that state a task, and those typical of it.

A task is stated by its labels and by the words of its template, which no other task's template has.
Typical words are those of its training text; see vocab/task_words.py. A word counts by its first
token behind a space, so that one pass gives the probabilities of all.
"""

import re
from collections import Counter
from collections.abc import Mapping

from peftlens.data.task import Task
from peftlens.data.tokenization import continuation_ids
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.vocab.task_words import other_tasks, task_words

Targets = dict[str, tuple[int, ...]]  # first tokens of each task's words, the own task's first
_ROWS = 2000  # training prompts whose words are counted
_TYPICAL = 20  # words of a task
_WORD = re.compile(r"[^\W\d_]{3,}")


def target_words(task: Task, base: BaseModel) -> dict[str, Targets]:
    """Return the words that state a task and its typical words, beside those of other tasks.

    No token stands for two tasks. A kind that the task, or all but one of the others, lacks is
    left out.

    Raises:
        NotApplicable: none is left.
    """
    found = base.derived("targets", lambda: _targets(task, base), key=task.sha256, most=4)
    if not found:
        raise NotApplicable("no words of the task are known that other tasks don't have")
    return found


def _targets(task: Task, base: BaseModel) -> dict[str, Targets]:
    tasks = [task, *other_tasks(task)]
    templates = [template_words(one) for one in tasks]
    shared = Counter(word for words in templates for word in words)
    stated = {
        one.name: [*one.labels, *(f" {word}" for word in words if shared[word] == 1)]
        for one, words in zip(tasks, templates, strict=True)
    }
    ids = {name: [_first(base, text) for text in texts] for name, texts in stated.items()}
    kinds = {"stated": _apart(ids)}
    try:
        typical = task_words(task, base)
    except NotApplicable:
        typical = {}
    taken = {token for tokens in kinds["stated"].values() for token in tokens}
    kinds["typical"] = _apart(
        {
            name: [word[0] for word in words if word[0] not in taken][:_TYPICAL]
            for name, words in typical.items()
        }
    )
    return {kind: words for kind, words in kinds.items() if len(words) > 2 and task.name in words}


def template_words(task: Task) -> list[str]:
    """Return the words that all of a task's training prompts have, in their order."""
    prompts = [example.prompt for example in task.splits["train"][:_ROWS]]
    everywhere = set.intersection(*(set(_WORD.findall(prompt)) for prompt in prompts))
    return [word for word in dict.fromkeys(_WORD.findall(prompts[0])) if word in everywhere]


def _first(base: BaseModel, text: str) -> int:
    spaced = text if text.startswith(" ") else f" {text}"
    return continuation_ids(base.tokenizer, spaced)[0]


def _apart(ids: Mapping[str, list[int]]) -> Targets:
    """Drop tokens that several tasks have, and tasks without any."""
    tasks = Counter(token for tokens in ids.values() for token in set(tokens))
    alone = {
        name: tuple(token for token in dict.fromkeys(tokens) if tasks[token] == 1)
        for name, tokens in ids.items()
    }
    return {name: tokens for name, tokens in alone.items() if tokens}
