"""Token counts: how many rows and tokens a run trains on in one pass over its data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from peftlens.data.tokenization import CUT
from peftlens.numerics.counts import counted
from peftlens.training.data_loader import TokenizedTask
from peftlens.training.run_plan import RunPlan


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Sizes of a training split.

    Attributes:
        rows: number of rows; an example of preferences has two where both answers are trained.
        tokens: number of their tokens, without padding.
        trained_tokens: number of the tokens whose loss is trained.
        max_length: highest number of tokens of a row.
        rows_cut: number of prompts, texts or conversations that are cut to it.
        examples_dropped: number of examples without a token to train on, such as conversations that
            are cut before their first answer.
    """

    rows: int
    tokens: int
    trained_tokens: int
    max_length: int
    rows_cut: int
    examples_dropped: int

    def in_words(self) -> str:
        """Describe the counts in one sentence."""
        cut = f"{self.rows_cut:,} cut" if self.rows_cut else "none cut"
        dropped = f", {self.examples_dropped:,} dropped" if self.examples_dropped else ""
        return (
            f"{counted(self.rows, 'training row')} of {counted(self.tokens, 'token')}, of which "
            f"{self.trained_tokens:,} are trained; at most {self.max_length:,} tokens in a row: "
            f"{cut}{dropped}"
        )


def token_counts(task: TokenizedTask, loss: Literal["sft", "dpo"]) -> TokenCounts:
    """Count the tokens of a training split.

    Args:
        task: task as token ids.
        loss: loss of the training; DPO trains on rejected answers, too.
    """
    rows = [
        row
        for example in task.train
        for row in (example.rows if loss == "dpo" else [example.rows[example.correct]])
    ]
    reasons = task.truncated["train"].items()
    return TokenCounts(
        rows=len(rows),
        tokens=sum(len(row.prompt) + len(row.answer) for row in rows),
        trained_tokens=sum(row.scored for row in rows),
        max_length=task.collator.example_tokenizer.max_length,
        rows_cut=sum(count for reason, count in reasons if reason.endswith(CUT)),
        examples_dropped=task.n_train - len(task.train),
    )


def token_counts_by_task(plans: Iterable[RunPlan]) -> dict[str, TokenCounts]:
    """Count the tokens of each task of planned runs, by the task's name.

    Where runs differ in length or loss, the name tells which.
    """
    kinds = {}
    for plan in plans:
        training = plan.config.training
        kinds.setdefault((plan.depends_on["data"], training.sequence_length, training.loss), plan)
    counts = {}
    for (data, length, loss), plan in kinds.items():
        same = [other for other in kinds if other[0] == data]
        name = plan.config.task if len(same) == 1 else f"{plan.config.task} ({length}, {loss})"
        counts[name] = token_counts(TokenizedTask.of(plan.base, plan.task, length), loss)
    return counts
