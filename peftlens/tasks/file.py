r"""A table of the user's: `file:PATH` reads CSV, TSV, JSON, JSONL or Parquet with named columns.

Example: `file:reviews.csv` with `template = "{review}\nRating:"` and `label = "stars"`.
"""

from dataclasses import dataclass
from pathlib import Path

from peftlens.data.formatting import Columns, examples
from peftlens.data.task import Split, Task, build
from peftlens.io.data_files import ReadOptions, read

ARGUMENT = "source"


@dataclass(frozen=True, kw_only=True)
class Config(Columns):
    """Options of the task, in addition to those of `Columns`.

    Attributes:
        source: path of the file, filled in from the task's name.
        separator: character between the cells of a CSV file; a comma by default, a tab in .tsv.
        quotes: whether cells of a CSV file may stand in double quotes; false if quotes are text.
        encoding: encoding of a text file, such as latin-1 or utf-16.
        split: shares, sizes and seed of the splits.
    """

    source: str = ""
    separator: str | None = None
    quotes: bool = True
    encoding: str = "utf-8"
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the file.

    Raises:
        InputError: no such file, not a table, a missing column, or too few rows.
    """
    options = ReadOptions(
        separator=config.separator,
        quotes=config.quotes,
        encoding=config.encoding,
        max_rows=config.max_rows,
        used=config.used(),
    )
    records = read(Path(config.source).expanduser(), options)
    return build(
        f"file:{config.source}",
        config.kind,
        examples(records, config),
        config.split,
        config.answers,
        config.new_head,
    )
