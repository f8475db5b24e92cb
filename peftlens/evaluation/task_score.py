"""Score of any model on the test examples of a task: loss of the right answers, and accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from peftlens.data.collate import Collator
from peftlens.data.task import Task
from peftlens.data.tokenization import TokenizedExample
from peftlens.errors import InputError
from peftlens.evaluation.answers import answer
from peftlens.evaluation.log_likelihood import choose
from peftlens.evaluation.retention import MAX_LENGTH
from peftlens.models.base_model import BaseModel
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of


@dataclass(frozen=True)
class TaskScore:
    """Score of a model on a task.

    Attributes:
        loss: loss of the right answers, nats per token, mean over the examples.
        accuracy: share of right answers, or mean score of written ones; None where the task has no
            answers to choose from, or predicts numbers or tags.
    """

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class ScoredTask:
    """Test examples of a task as a base reads them.

    Attributes:
        task: the task.
        collator: collator of the base.
        items: tokenized examples.
    """

    task: Task
    collator: Collator
    items: tuple[TokenizedExample, ...]

    @classmethod
    def of_run(cls, run: TrainedModel, base: BaseModel, most: int) -> "ScoredTask":
        """Read the first test examples of the task that a run was trained on; all for 0.

        Raises:
            NotApplicable: the task is unknown.
            InputError: see `task_of`.
        """
        return cls._of(task_of(run), base, run.config.training.sequence_length, most)

    @classmethod
    def named(cls, name: str, options: dict[str, Any], base: BaseModel, most: int) -> "ScoredTask":
        """Read the first test examples of a task by its name; all for 0.

        Raises:
            InputError: there is no such task, or none of its examples can be scored.
        """
        return cls._of(load_task(name, options), base, MAX_LENGTH, most)

    @classmethod
    def _of(cls, task: Task, base: BaseModel, length: int, most: int) -> "ScoredTask":
        collator = Collator.of(base, length)
        items, skipped = collator.items(task.splits["test"][: most or None])
        if not items:
            raise InputError(
                f"task {task.name!r} has no test example that can be scored: {skipped}"
            )
        return cls(task, collator, tuple(items))

    @property
    def right_rows(self) -> Sequence[Any]:
        """Rows with the right answers."""
        return [item.rows[item.correct if len(item.rows) > 1 else 0] for item in self.items]

    def score(self, model: nn.Module) -> TaskScore:
        """Score a model; written answers are generated."""
        choices = choose(model, self.collator, self.items, "Scoring the task")
        loss, accuracy = float(choices.loss.mean()), None
        if len(self.items[0].rows) > 1:
            accuracy = float((choices.by_sum == choices.correct).mean())
        elif self.task.answers:
            written = answer(model, self.collator, self.task, self.items)
            accuracy = sum(score for score, _ in written) / len(written)
        return TaskScore(loss, accuracy)
