"""A data set of the Hugging Face hub: `hub:org/name`, or a local folder in the hub's layout.

Keys: those of `file`, and those below. Needs the extra `[hub]`. One split of the data set is read
and divided again, so that the three parts are disjoint and fixed by a seed, regardless of the
published splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import ArrowException

from peftlens.data.column_roles import read_with_roles
from peftlens.data.formatting import Columns, examples
from peftlens.data.task import Split, Task, build
from peftlens.errors import InputError
from peftlens.io.extras import install_command
from peftlens.io.records import Records, require_rows
from peftlens.io.rows import class_names

ARGUMENT = "source"


@dataclass(frozen=True, kw_only=True)
class Config(Columns):
    """Options of the task, in addition to those of `Columns`.

    Attributes:
        source: id of the data set, filled in from the task's name.
        subset: configuration of the data set, where it has several.
        revision: branch, tag or commit of the data set.
        published_split: split of the data set to read.
        split: shares, sizes and seed of the splits.
    """

    source: str = ""
    subset: str | None = None
    revision: str | None = None
    published_split: str = "train"
    split: Split = Split()


def load(config: Config) -> Task:
    """Download or open the data set.

    Raises:
        InputError: the extra is missing, there is no such data set or split, or no network.
    """
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise InputError(f"hub tasks need an extra: {install_command('hub')}") from error
    name = f"hub:{config.source}"
    failures = (OSError, ValueError, RuntimeError, ImportError, DatasetsError, ArrowException)
    try:
        data = datasets.load_dataset(
            config.source, config.subset, revision=config.revision, split=config.published_split
        )
        require_rows(len(data), config.max_rows)
        records = read_with_roles(config, lambda used: _records(name, data, used))
    except InputError:
        raise
    # what datasets raises for missing, damaged and unsupported data; a defect is none of these
    except failures as error:
        raise InputError(
            f"task {name!r} can't be opened: {' '.join(str(error).split())[:200]}"
        ) from error
    return build(
        name, config.kind, examples(records, config), config.split, config.answers, config.new_head
    )


def _records(name: str, data: Any, used: Sequence[str]) -> Records:
    names = [column for column in data.column_names if column in used]
    return Records(
        name=name,  # without columns, datasets would have no rows
        rows=[dict(row) for row in data.select_columns(names)] if names else [{}] * len(data),
        columns=data.column_names,
        class_names=class_names(data),
    )
