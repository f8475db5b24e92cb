r"""A table of the user's: `file:PATH` reads CSV, TSV, JSON, JSONL, Parquet or Excel files.

Its columns have names. Of a table with two columns, such as a text and a class, it finds out which
is which where that is obvious, and says so. Otherwise options name them: `file:reviews.csv` with
`template = "{review}\nRating:"` and `label = "stars"`. Text files may be compressed (`.csv.gz`);
`.xlsx` needs the extra `[xlsx]`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from peftlens.data.column_roles import read_with_roles
from peftlens.data.formatting import Columns, examples
from peftlens.data.task import Split, Task, build
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions

ARGUMENT = "source"


@dataclass(frozen=True, kw_only=True)
class Config(Columns):
    """Options of the task, in addition to those of `Columns`.

    Attributes:
        source: path of the file, filled in from the task's name.
        separator: character between the cells of a CSV file; a comma by default, a tab in .tsv; a
            .txt file has none by default.
        quotes: whether cells of a CSV file may stand in double quotes; false if quotes are text.
        encoding: encoding of a text file, such as cp1252 or utf-16; UTF-8 by default.
        sheet: sheet of an Excel file; by default the only one that is not empty.
        split: shares, sizes and seed of the splits.
    """

    source: str = ""
    separator: str | None = None
    quotes: bool = True
    encoding: str = "utf-8"
    sheet: str | None = None
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the file.

    Raises:
        InputError: no such file, not a table, a missing column, or too few rows.
    """
    path = Path(config.source).expanduser()
    options = ReadOptions(
        separator=config.separator,
        quotes=config.quotes,
        encoding=config.encoding,
        sheet=config.sheet,
        max_rows=config.max_rows,
    )
    records = read_with_roles(config, lambda used: read(path, replace(options, used=used)))
    return build(
        f"file:{config.source}",
        config.kind,
        examples(records, config),
        config.split,
        config.answers,
        config.new_head,
    )
