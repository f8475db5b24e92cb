"""General text on which runs are kept near their base, apart from the text that suites score.

Training reads the training split of a task, retention suites read test splits: of one task they
share no text. Two tasks can share some, such as two files of a user; a run is then not scored on
that suite.
"""

from collections.abc import Mapping
from typing import Any

from peftlens.data.collate import Collator
from peftlens.data.task import Example, Task
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.evaluation.harness_suite import PREFIX
from peftlens.evaluation.retention import MAX_LENGTH
from peftlens.models.base_model import BaseModel
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task

ROW_TOKENS = 64  # tokens of a row; longer texts are several rows, up to MAX_LENGTH tokens
_SHORTENED = {"passages_short": "passages"}  # test splits of one task that another trains on
_COLUMNS = {"kind": "language_modeling", "template": "{text}"}  # of a file or a data set


def keep_task(name: str) -> Task:
    """Load the task whose training split is general text.

    Args:
        name: name of a task of running text, or file:PATH or hub:org/name with a column `text`.

    Raises:
        InputError: there is no such task, or it is not running text.
    """
    if name in _SHORTENED:
        raise InputError(
            f"training.keep: data={name!r} is a shortened test set; name {_SHORTENED[name]!r}"
        )
    task = load_task(name, _COLUMNS if name.startswith(("file:", "hub:")) else {})
    if task.kind != "language_modeling":
        raise InputError(
            f"training.keep: data={name!r} is {task.kind}; name running text, such as 'passages', "
            "or file:PATH with a column `text`"
        )
    return task


def text_rows(base: BaseModel, name: str) -> list[TokenizedAnswer]:
    """Tokenize the first 256 tokens of each text in rows of 64 or less, all of them predicted.

    Raises:
        InputError: see `keep_task`; or no text has two tokens.
    """
    task, collator = keep_task(name), Collator.of(base, MAX_LENGTH)

    def tokenize() -> list[TokenizedAnswer]:
        texts = [Example("", (_text(one),)) for one in task.splits["train"]]
        whole = [item.rows[0] for item in collator.items(texts)[0]]
        pieces = [
            TokenizedAnswer(row.prompt, row.answer[at : at + ROW_TOKENS])
            for row in whole
            for at in range(0, len(row.answer), ROW_TOKENS)
        ]
        return [piece for piece in pieces if piece.scored]

    rows = base.derived("general text", tokenize, key=task.sha256)
    if not rows:
        raise InputError(f"training.keep: data={name!r} has no text of two tokens to train on")
    return rows


def require_apart(run: TrainedModel, suites: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse suites that score text on which the run was kept near its base.

    Args:
        run: run to score.
        suites: options of each suite's task, by the suite's name.

    Raises:
        InputError: a suite has such text; the message says how many.
    """
    keep = run.config.training.keep
    if keep is None or keep.data is None:
        return
    trained = {_normalized(one) for one in keep_task(keep.data).splits["train"]}
    for name, options in suites.items():
        if shared := len(trained & _scored(name, options)):
            raise InputError(
                f"{shared} texts of the suite {name!r} are among those on which run {run.id} was "
                f"kept near its base (training.keep.data = {keep.data!r}); name another suite"
            )


def _scored(name: str, options: Mapping[str, Any]) -> set[str]:
    if name.startswith(PREFIX):
        return set()  # documents of lm-evaluation-harness are not running text
    task = load_task(name, dict(options))
    return {*map(_normalized, task.splits["test"])} if task.kind == "language_modeling" else set()


def _text(example: Example) -> str:
    return example.prompt + example.answers[example.correct]


def _normalized(example: Example) -> str:
    return " ".join(_text(example).split()).casefold()
