"""What commands print: tables for people, JSON for scripts, and how to go on."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from peftlens.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def print_json(value: Any) -> None:
    """JSON, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_frame(frame: Any) -> None:
    """A data frame as a table; columns without a single value are left out."""
    frame = frame.dropna(axis="columns", how="all")
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    print_table([str(column) for column in frame.columns], rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"  # NaN alone differs from itself
    return "" if str(value) == "<NA>" or value is None else str(value)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """A table; cells are plain text, whatever marks they hold."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=SIMPLE)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # nothing is cut where the output goes to a file
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def open_in_browser(page: Path) -> None:
    """Open a page.

    Raises:
        InputError: there is no browser.
    """
    if typer.launch(page.resolve().as_uri()):
        raise InputError(f"no browser could be started here; open {page} yourself")


@contextmanager
def resumable() -> Iterator[None]:
    """On Ctrl-C or SIGTERM, say how to go on."""
    from peftlens.studies.scheduler import Stopped

    def terminated(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # what cleans up now is not disturbed
        raise Stopped(128 + number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stopped:
        command = shlex.join(["peftlens", *sys.argv[1:]])
        print(f"Stopped; finished runs are kept. To go on: {command}", file=sys.stderr)
        raise typer.Exit(stopped.code if isinstance(stopped, Stopped) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
