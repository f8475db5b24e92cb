"""Progress bars on standard error, shown only to a terminal, or told to whoever listens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(stderr=True, highlight=False)
Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []


@contextmanager
def progress_listener(listener: Listener) -> Iterator[None]:
    """While the block runs, tell of every step: what is done, how many of it, of how many."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def begin(what: str) -> None:
    """Tell listeners what comes now, without a count; people are not told."""
    for listener in _listeners:
        listener(what, 0, 0)


class Bar:
    """A bar that is moved by hand, with a note behind it such as the loss."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")
        self._about = description, total
        self._done = -1
        self._tell()

    def advance(self, note: str = "") -> None:
        """One step further; the note replaces the last one."""
        self._progress.update(self._task, advance=1, note=note)
        self._tell()

    def _tell(self) -> None:
        self._done += 1
        for listener in _listeners:
            listener(self._about[0], self._done, self._about[1])


@contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs; it vanishes afterwards."""
    with bars() as progress:
        yield Bar(progress, description, total)


def bars() -> Progress:
    """Several bars below each other, each with a description, a count and a field `note`."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """The items one by one, with a bar."""
    with bar(description, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def say(line: str) -> None:
    """One plain line about the progress, for terminals and logs alike."""
    console.print(line, markup=False, soft_wrap=True)
