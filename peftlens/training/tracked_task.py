"""Task of a tracked training: rows on which probes score the tracked model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftlens.data.conversation import layout_of
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions
from peftlens.io.rows import save_rows
from peftlens.tasks import load_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peftlens.io.rows import Rows

_READING = (
    "separator",
    "quotes",
    "encoding",
    "sheet",
    "max_rows",
)  # options of a task that are of its file
_SPLIT = {"validation": 0.1, "test": 0.6}  # nothing is trained on these rows: most are scored


@dataclass(frozen=True)
class TrackedTask:
    """Task of a run that another program trains.

    Attributes:
        name: name of the task, as in RunConfig.
        config: values of the task's Config.
        task: the examples.
    """

    name: str
    config: dict[str, Any]
    task: Task

    @property
    def results(self) -> dict[str, Any]:
        """Entries of the run's results."""
        notes = {"data_notes": [*self.task.notes]} if self.task.notes else {}
        sizes = {name: len(split) for name, split in self.task.splits.items()}
        return {"examples": sizes, "n_dropped": dict(self.task.dropped), **notes}


def tracked_task(task: "str | Rows", config: "Mapping[str, Any] | None" = None) -> TrackedTask:
    """Load the task of a tracked training.

    Without a kind in `config`, rows with `chosen` and `rejected` are preferences, and those in a
    layout of conversations are chats.

    Args:
        task: name of a task, or rows: a pandas.DataFrame, a datasets.Dataset or a list of dicts,
            which are saved to a file in the cache.
        config: values of the task's Config.

    Raises:
        InputError: the rows have no answers, or can't be used as the configuration says.
    """
    name = task if isinstance(task, str) else f"file:{save_rows(task)}"
    values = dict(config or {})
    if name.startswith("file:"):
        values = {"split": _SPLIT} | values
        if "kind" not in values:
            values |= _kind(name, values)
    return TrackedTask(name, values, load_task(name, values))


def _kind(name: str, values: "Mapping[str, Any]") -> dict[str, str]:
    """Recognize preferences and conversations by their columns; nothing for other rows."""
    given = {key: values[key] for key in _READING if key in values}
    file = Path(name.removeprefix("file:")).expanduser()
    columns = read(file, ReadOptions(**given, used=())).columns
    if {"chosen", "rejected"} <= {*columns}:
        return {"kind": "preference"}
    if layout_of(columns):
        return {"kind": "chat"}
    if "prompt" in columns and "label" not in columns:
        raise InputError(
            f"the rows of the task have prompts without answers (columns {', '.join(columns)}); "
            "add a column `completion`, name the column with the answer by task_config = "
            "{'kind': 'generation', 'template': '{prompt}', 'label': ...}, or give no task, and "
            "prompts to the probe `generations`"
        )
    return {}
