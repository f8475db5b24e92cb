"""Output of commands: tables for people, JSON for scripts, and hints for resuming."""

import json
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftlens.errors import InputError
from peftlens.io.escaping import visible

if TYPE_CHECKING:
    from rich.console import Console

    from peftlens.data.class_balance import ClassBalance
    from peftlens.training.token_counts import TokenCounts

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON; characters that a terminal would obey are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print(
        "".join(one if one == "\n" or one.isprintable() else json.dumps(one)[1:-1] for one in text)
    )


def print_frame(frame: Any) -> None:
    """Print a data frame as a table without its empty columns."""
    frame = frame.dropna(axis="columns", how="all")
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    print_table([visible(str(column), keep="") for column in frame.columns], rows)


def shared_rows(frame: Any) -> Any:
    """Return the rows of one run if all runs have the same, as facts of the base are; else None."""
    identity = [name for name in ("run", "configuration", "method", "seed") if name in frame]
    if "run" not in identity or frame["run"].nunique() < 2:
        return None
    groups = [
        rows.drop(columns=identity).reset_index(drop=True)
        for _, rows in frame.groupby("run", sort=False)
    ]
    return groups[0] if all(one.equals(groups[0]) for one in groups[1:]) else None


def _cell(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(_cell, value))
    if isinstance(value, float):
        return "" if value != value else f"{value:z.4g}"  # NaN alone differs from itself
    return "" if str(value) == "<NA>" or value is None else visible(str(value))


def print_token_counts(counts: Mapping[str, "TokenCounts"]) -> None:
    """Print a line for each task of a study."""
    for name, one in counts.items():
        print(visible(f"{name}: {one.in_words()}"))


def print_class_balances(balances: Mapping[str, "ClassBalance"]) -> None:
    """Print the class balance and the majority baseline of each task of a study."""
    for name, one in balances.items():
        for sentence in one.in_words():
            print(visible(f"{name}: {sentence}"))


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table of plain text; markup and control characters in cells are not interpreted."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from peftlens.io.escaping import visible

    table = Table(*header, box=SIMPLE)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    _console().print(table)


def print_groups(header: list[str], groups: Mapping[str, list[list[str]]]) -> None:
    """Print groups of rows under titles, with aligned columns; only the last column is wrapped.

    Args:
        header: titles of the columns, printed once.
        groups: rows by title of the group; an empty title is not printed.
    """
    from rich.table import Column, Table
    from rich.text import Text

    everything = [header, *(row for rows in groups.values() for row in rows)]
    *widths, _ = (max(map(len, column)) for column in zip(*everything, strict=True))
    console = _console()
    for number, (title, rows) in enumerate(groups.items()):
        columns = [
            Column(name, width=width, no_wrap=True)
            for name, width in zip(header[:-1], widths, strict=True)
        ]
        table = Table(
            *columns,
            header[-1],
            box=None,
            show_header=number == 0,
            padding=(0, 2, 0, 0),
            pad_edge=False,
        )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        if title:
            console.print(Text(title, style="bold"))
        console.print(table)
        console.print()


def print_text(text: str, indent: int = 0) -> None:
    """Print paragraphs, wrapped at the terminal's width; indented paragraphs keep their lines."""
    from rich.padding import Padding
    from rich.text import Text

    wrapped = [
        paragraph if "\n " in paragraph else " ".join(paragraph.split())
        for paragraph in text.split("\n\n")
    ]
    _console().print(Padding(Text("\n\n".join(wrapped)), (0, 0, 0, indent), expand=False))


def _console() -> "Console":
    """Create a console for the terminal, or a wide one if the output goes to a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 240, highlight=False)


def open_in_browser(page: Path) -> None:
    """Open a page in the browser.

    Raises:
        InputError: no browser could be started.
    """
    if typer.launch(page.resolve().as_uri()):
        raise InputError(f"no browser could be started here; open {page} yourself")


@contextmanager
def resumable() -> Iterator[None]:
    """Print the command for resuming after Ctrl-C or SIGTERM, and exit."""
    from peftlens.studies.scheduler import Stopped

    def terminated(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # further signals must not interrupt the cleanup
        raise Stopped(128 + number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stopped:
        command = shlex.join(["peftlens", *sys.argv[1:]])
        print(f"Stopped; finished runs are kept. To resume: {command}", file=sys.stderr)
        raise typer.Exit(stopped.code if isinstance(stopped, Stopped) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
