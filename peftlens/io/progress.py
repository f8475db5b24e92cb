"""Progress bars on standard error, shown only in a terminal, and listeners for other displays."""

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
    """Call the listener at every step within the block: description, steps done, total steps."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def begin(what: str) -> None:
    """Announce to listeners a stage that has no count; a terminal shows nothing."""
    for listener in _listeners:
        listener(what, 0, 0)


class Bar:
    """A bar that the caller advances, followed by a note such as the loss."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")
        self._description, self._total = description, total
        self._done = -1
        self._notify()

    def advance(self, note: str = "") -> None:
        """Advance by one step; the note replaces the last one."""
        self._progress.update(self._task, advance=1, note=note)
        self._notify()

    def _notify(self) -> None:
        self._done += 1
        for listener in _listeners:
            listener(self._description, self._done, self._total)


@contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs; it disappears afterwards."""
    with bars() as progress:
        yield Bar(progress, description, total)


def bars() -> Progress:
    """Create a display of several bars, each with a description, a count and a field `note`."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Yield the items one by one, with a bar."""
    with bar(description, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def say(line: str) -> None:
    """Print one plain line on the progress, for terminals and logs alike."""
    console.print(line, markup=False, soft_wrap=True)
