"""What the model writes: texts of the base and of the run's model side by side.

The same prompts are continued greedily by both: test examples of the task, general questions, and
prompts of your own. A number says whether answers became right, a text shows how.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import AnswerOptions, Example, Task
from peftlens.errors import InputError
from peftlens.evaluation.answer_scores import score
from peftlens.evaluation.answers import prompt_ids, references
from peftlens.evaluation.side_by_side import Pair, prompts_of, side_by_side
from peftlens.models.base_model import BaseModel
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # writing takes a CPU seconds for each prompt
FILES = ("prompts",)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        items: number of test examples of the run's task.
        general: task with general questions; empty for none.
        general_items: number of general questions.
        prompts: text file with a prompt on each line; empty for none.
        max_new_tokens: largest number of generated tokens.
    """

    items: int = 8
    general: str = "nq_open"
    general_items: int = 4
    prompts: str = ""
    max_new_tokens: int = 48


COLUMNS = (
    Column("source", "where the prompt comes from: task, general, or own"),
    Column("item", "index of the prompt in its source"),
    Column("prompt", "text before the answer"),
    Column("reference", "right answer; the first of several"),
    Column("base", "text that the base writes"),
    Column("tuned", "text that the run's model writes"),
    Column("base_score", "score of the base's text, if the source has a score", "1", "higher"),
    Column("score", "score of the text of the run's model", "1", "higher"),
    Column("differs_at", "index of the first character in which they differ; none if equal"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per prompt."""
    base = context.base_model(run)
    base.require_text()
    rows = [row for source in _sources(run, base, config) for row in source]
    if not rows:
        raise NotApplicable("it has no task with prompts, and no prompts were given")
    stop = next((row["options"].stop for row in rows if row["options"]), ())
    pairs = side_by_side(
        context, run, [row["ids"] for row in rows],
        max_new_tokens=config.max_new_tokens, stop=stop,
    )  # fmt: skip
    cells = [_row(row, pair) for row, pair in zip(rows, pairs, strict=True)]
    return pd.DataFrame(cells, columns=[column.name for column in COLUMNS])


def _sources(run: TrainedModel, base: BaseModel, config: Config) -> Iterator[list[dict[str, Any]]]:
    encoder = Collator.of(base, run.config.training.sequence_length)
    with suppress(NotApplicable):  # a run of another program
        yield _examples("task", task_of(run), encoder, config.items)
    if config.general and config.general_items:
        yield _examples("general", load_task(config.general, {}), encoder, config.general_items)
    if config.prompts:
        texts = _lines(config.prompts)
        ids = prompts_of(run, base, texts)
        yield [
            {"source": "own", "item": at, "prompt": text, "ids": row, "example": None,
             "options": None}
            for at, (text, row) in enumerate(zip(texts, ids, strict=True))
        ]  # fmt: skip


def _examples(source: str, task: Task, encoder: Collator, count: int) -> list[dict[str, Any]]:
    examples = [one for one in task.splits["test"][:count] if one.prompt]
    items, _ = encoder.items(examples)
    return [
        {"source": source, "item": item.index, "prompt": examples[item.index].prompt,
         "ids": prompt_ids(encoder, examples[item.index], item), "example": examples[item.index],
         "options": task.answers}
        for item in items
    ]  # fmt: skip


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"prompts {path!r} is not a text file; give one prompt a line") from error
    if lines := [line for line in text.splitlines() if line.strip()]:
        return lines
    raise InputError(f"prompts {path!r} has no prompt; give one a line")


def _row(row: dict[str, Any], pair: Pair) -> dict[str, Any]:
    cells = {"base": pair.base, "tuned": pair.tuned, "differs_at": pair.differs_at}
    example: Example | None = row["example"]
    if example is not None:
        right = references(example)
        cells["reference"] = right[0]
        if options := row["options"]:
            cells |= {
                "base_score": _score(options, pair.base, right),
                "score": _score(options, pair.tuned, right),
            }
    return {key: row[key] for key in ("source", "item", "prompt")} | cells


def _score(options: AnswerOptions, text: str, right: Sequence[str]) -> float:
    return score(options.score, text.strip(), right)
