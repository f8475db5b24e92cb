"""Progress bars on standard error, shown only to a terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(stderr=True, highlight=False)


class Bar:
    """A bar that is moved by hand, with a note behind it such as the loss."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")

    def advance(self, note: str = "") -> None:
        """One step further; the note replaces the last one."""
        self._progress.update(self._task, advance=1, note=note)


@contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs; it vanishes afterwards."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield Bar(progress, description, total)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """The items one by one, with a bar."""
    with bar(description, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def say(line: str) -> None:
    """One plain line about the progress, for terminals and logs alike."""
    console.print(line, markup=False, soft_wrap=True)
