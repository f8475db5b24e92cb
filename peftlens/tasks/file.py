r"""A table of your own: `file:PATH` reads CSV, JSONL or Parquet with named columns.

Keys: `kind` (classification, multiple_choice, language_modelling), `template` (columns in braces),
`label`, `labels` (what to write for a class), `options` (columns with the options of a choice).
Example: `file:reviews.csv` with `template = "{review}\nRating:"` and `label = "stars"`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from peftlens.dataset import Split, Task, build
from peftlens.errors import BadInput
from peftlens.records import Columns, Row, examples

READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}


@dataclass(frozen=True, kw_only=True)
class Config(Columns):
    """Options of the task, beside those of `Columns`.

    Attributes:
        source: the file; filled in from the task's name.
        split: shares, sizes and seed of the splits.
    """

    source: str = ""
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the file.

    Raises:
        BadInput: no such file, not a table, a missing column, or too few rows.
    """
    path = Path(config.source).expanduser()
    if path.suffix not in READERS:
        raise BadInput(f"file {str(path)!r} must end in {', '.join(READERS)}")
    if not path.is_file():
        raise BadInput(f"no file {str(path)!r}; give a path from the folder you are in")
    if not path.stat().st_size:
        raise BadInput(f"file {str(path)!r} is empty")
    try:
        table = READERS[path.suffix](path)
    except ValueError as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        raise BadInput(f"file {str(path)!r} can't be read as {path.suffix[1:]}: {error}") from error
    rows: list[Row] = [
        {str(name): cell for name, cell in row.items()} for row in table.to_dict("records")
    ]
    name = f"file:{config.source}"
    return build(name, config.kind, examples(rows, config, str(path)), config.split)
