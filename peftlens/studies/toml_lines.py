"""Lines of a TOML text: the line of each key and list item, for errors.

tomllib tells no positions of what it has read, and of a list or a table that does not end, or a key
that stands twice, not the place of the mistake. This scanner knows only as much of the syntax as
places need; tomllib decides what is valid.
"""

import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field

Place = tuple[str | int, ...]

MOST_LEVELS = 20  # of nested tables, lists and parts of a dotted key
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_SAME_LINE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2}(?!"))|\'\'\'.*?\'\'\'(?:\'{0,2}(?!\'))|'
    r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_WORD = re.compile(r"[\w-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")


@dataclass
class TomlLines:
    """Lines of a text's keys, as far as the scanner could read it.

    Attributes:
        lines: line of each key and list item by its place; of a list of tables the first header's.
        twice: place and the two lines of the first key or table that is written twice, if any.
        unclosed: line in which a list, a table or a text begins that has no end, if any.
        deep: line of a value that is nested too deeply, if any.
    """

    lines: dict[Place, int] = field(default_factory=dict)
    twice: tuple[Place, int, int] | None = None
    unclosed: int | None = None
    deep: int | None = None

    @classmethod
    def of(cls, text: str) -> "TomlLines":
        """Scan a text up to its end, or to the first place that can't be read."""
        found = cls()
        with suppress(_Unreadable):
            _Scanner(text, found).scan()
        return found

    def line(self, place: Place) -> int:
        """Return the line of a place, or of what contains it if it is missing; else 1."""
        return self.lines.get(self.written(place), 1)

    def written(self, place: Place) -> Place:
        """Return the longest beginning of a place that the text has."""
        while place and place not in self.lines:
            place = place[:-1]
        return place


class _Unreadable(Exception):
    """The text is no TOML from here on."""


class _Scanner:
    """Position in a text, and the tables that were opened."""

    def __init__(self, text: str, found: TomlLines) -> None:
        self._text = text
        self._found = found
        self._at = 0
        self._line, self._counted = 1, 0  # line number at an earlier position
        self._tables: dict[Place, int] = {}  # number of items of each list of tables
        self._written: dict[Place, int] = {}

    def scan(self) -> None:
        table: Place = ()
        while self._skip(_BLANK) and self._at < len(self._text):
            line = self._line_here()
            if self._text.startswith("[", self._at):
                table = self._header(line)
            else:
                self._pair(table, 0)

    def _header(self, line: int) -> Place:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        place: Place = ()
        *outer, last = self._key()
        for part in outer:
            self._found.lines.setdefault((*place, part), line)
            place = self._latest((*place, part))
        place = (*place, last)
        self._expect("]" * brackets)
        if brackets == 1:
            place = self._latest(place) if place in self._tables else place
            self._write(place, line)
            return place
        if place not in self._tables:
            self._write(place, line)
        self._tables[place] = self._tables.get(place, 0) + 1
        self._found.lines[self._latest(place)] = line
        return self._latest(place)

    def _latest(self, place: Place) -> Place:
        return (*place, self._tables[place] - 1) if place in self._tables else place

    def _pair(self, table: Place, depth: int) -> None:
        line = self._line_here()
        place = table
        for part in self._key():
            place = (*place, part)
            self._found.lines.setdefault(place, line)
        self._write(place, line)
        self._expect("=")
        self._value(place, depth)

    def _value(self, place: Place, depth: int) -> None:
        self._skip(_SAME_LINE)
        opening = self._text[self._at : self._at + 1]
        if opening in ("[", "{"):
            self._container(place, opening, depth + 1)
        elif opening in ("'", '"'):
            self._match(_STRING)
        else:
            self._match(_SCALAR)

    def _container(self, place: Place, opening: str, depth: int) -> None:
        started, index, end = self._line_here(), 0, {"[": "]", "{": "}"}[opening]
        if depth > 2 * MOST_LEVELS:
            self._found.deep = started
            raise _Unreadable
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith(end, self._at):
                self._at += 1
                return
            if self._at == len(self._text):
                self._found.unclosed = started
                raise _Unreadable
            if opening == "[":
                self._found.lines[(*place, index)] = self._line_here()
                self._value((*place, index), depth)
            else:
                self._pair(place, depth)
            index += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1
            elif not self._text.startswith(end, self._at):
                self._found.unclosed = started
                raise _Unreadable

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SAME_LINE)
            quoted = self._text.startswith(("'", '"'), self._at)
            part = self._match(_STRING if quoted else _WORD)
            parts.append(tomllib.loads(f"k = {part}")["k"] if quoted else part)
            self._skip(_SAME_LINE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _write(self, place: Place, line: int) -> None:
        if place in self._written and self._found.twice is None:
            self._found.twice = (place, self._written[place], line)
        self._written.setdefault(place, line)
        self._found.lines.setdefault(place, line)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        if match := pattern.match(self._text, self._at):
            self._at = match.end()
        return True

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            if self._text.startswith(("'", '"'), self._at):
                self._found.unclosed = self._line_here()
            raise _Unreadable
        self._at = match.end()
        return match[0]

    def _expect(self, text: str) -> None:
        self._skip(_SAME_LINE)
        if not self._text.startswith(text, self._at):
            raise _Unreadable
        self._at += len(text)

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
