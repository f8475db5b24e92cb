"""Hard prompts: short texts that state a task, or are words of one, for the own and other tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from peftlens.data.task import Task
from peftlens.diffing.elicited_words import template_words
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.vocab.task_words import Words, other_tasks, task_words

_LABELS = 10  # of a task
_OWN_WORDS, _OTHER_WORDS = 12, 4  # typical words of the own task, and of each other one


@dataclass(frozen=True)
class HardPrompt:
    """A text before the input.

    Attributes:
        text: the text; empty for the base without a prompt.
        kind: none, instruction, label or word.
        task: task that it belongs to; empty for none.
    """

    text: str
    kind: str
    task: str


def hard_prompts(task: Task, base: BaseModel) -> list[HardPrompt]:
    """List the texts without repeats, the base without a prompt first."""
    try:
        typical: Mapping[str, Words] = task_words(task, base)
    except NotApplicable:
        typical = {}
    found = [HardPrompt("", "none", "")]
    for one in (task, *other_tasks(task)):
        count = _OWN_WORDS if one is task else _OTHER_WORDS
        labels = {label.strip() for label in one.labels}
        words = [base.tokenizer.decode([*ids]).strip() for ids in typical.get(one.name, ())]
        found += _of_task(one, [word for word in words if word not in labels][:count])
    first: dict[str, HardPrompt] = {}
    for one in found:
        first.setdefault(one.text, one)
    return list(first.values())


def _of_task(task: Task, words: list[str]) -> Iterator[HardPrompt]:
    labels = [label.strip() for label in task.labels][:_LABELS]
    if labels:
        text = f"Answer with one of these words: {', '.join(labels)}.\n"
        yield HardPrompt(text, "instruction", task.name)
    if template := template_words(task):
        yield HardPrompt(f"The task: {', '.join(template)}.\n", "instruction", task.name)
    yield from (HardPrompt(f"{label}\n", "label", task.name) for label in labels)
    yield from (HardPrompt(f"{word}\n", "word", task.name) for word in words)
