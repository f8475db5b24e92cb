"""Progress bars: rich in a terminal, tqdm in a notebook, none elsewhere; and listeners."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from peftlens.io.escaping import visible

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

    def __init__(
        self, draw: Callable[[str], None], description: str, total: int, done: int
    ) -> None:
        self._draw = draw
        self._description, self._total = description, total
        self._done = done - 1
        self._notify()

    def advance(self, note: str = "") -> None:
        """One step further; the note replaces the last one."""
        self._draw(note)
        self._notify()

    def _notify(self) -> None:
        self._done += 1
        for listener in _listeners:
            listener(self._description, self._done, self._total)


@contextmanager
def bar(description: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show a bar while the block runs; it vanishes afterwards.

    Args:
        description: what is done.
        total: number of steps.
        done: number of steps taken before.
    """
    drawing = _notebook_bar if console.is_jupyter else _terminal_bar
    with drawing(description, total, done) as draw:
        yield Bar(draw, description, total, done)


@contextmanager
def _terminal_bar(description: str, total: int, done: int) -> Iterator[Callable[[str], None]]:
    with bars() as progress:
        task = progress.add_task(description, total=total, completed=done, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


@contextmanager
def _notebook_bar(description: str, total: int, done: int) -> Iterator[Callable[[str], None]]:
    from tqdm.auto import tqdm  # warns on import where a notebook lacks ipywidgets

    with tqdm(desc=description, total=total, initial=done, leave=False) as shown:

        def draw(note: str) -> None:
            shown.set_postfix_str(note, refresh=False)
            shown.update()

        yield draw


class _VisibleColumn(TextColumn):
    """Column of text from files and data, such as names of studies."""

    def render(self, task: Task) -> Text:
        """Render the text with its control characters as codes."""
        return Text(visible(super().render(task).plain))


def bars() -> Progress:
    """Create a display of several bars, each with a description, a count and a field `note`."""
    columns = (
        _VisibleColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        _VisibleColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Yield the items one by one, with a bar."""
    with bar(description, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def say_wrapped(text: str) -> None:
    """Print a sentence in lines of 80 columns, all but the first indented further."""
    first = len(text) - len(text.lstrip())
    indent = " " * (first + 2)
    for line in textwrap.wrap(text, 80, subsequent_indent=indent, break_on_hyphens=False):
        say(line)


def say(line: str) -> None:
    """Print one plain line on the progress, for terminals and logs alike."""
    console.print(visible(line), markup=False, soft_wrap=True)
