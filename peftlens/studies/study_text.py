"""Text of a study file, for errors that name the line of a mistake."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from peftlens.errors import InputError
from peftlens.studies.toml_lines import Place, TomlLines

# a key with its value or problem, `rank=0 must`, `keep.kind: Input`, or a name in quotes
_MENTION = re.compile(r"([\w.-]+)(?:=(?P<value>[\w.-]*)|: )|'([^']+)'")


@dataclass(frozen=True)
class StudyText:
    """Text of a study file.

    Attributes:
        text: text of the file.
        source: name of the file.
        full: whether the larger study is meant, whose keys in [full_scale] replace others.
    """

    text: str
    source: str
    full: bool = False

    @cached_property
    def _lines(self) -> TomlLines:
        return TomlLines.of(self.text)

    def line(self, place: Place) -> int:
        """Return the line of a place in the study, or of what contains it if it is missing."""
        if self.full:
            larger = ("full_scale", *place)
            depth = len(self._lines.written(larger)) - 1
            if depth and depth >= len(self._lines.written(place)):
                return self._lines.line(larger)
        return self._lines.line(place)

    def error(self, place: Place, message: str) -> InputError:
        """Return an error that names the file, and the line of a place unless it is the whole."""
        where = f", line {self.line(place)}" if place else ""
        return InputError(f"{self.source}{where}: {message}")

    @contextmanager
    def located(self, place: Place) -> Iterator[None]:
        """Name the file and the line of a place in errors about its value."""
        try:
            yield
        except InputError as error:
            raise self.error(place, str(error)) from error

    def error_in(self, tables: Sequence[Place], message: str) -> InputError:
        """Return an error in the line of the key or value that it names, or of the first table.

        Args:
            tables: places of the tables that may hold the key, the likeliest first.
            message: error about a value in one of them: `rank=0 must ...`, `no option 'rnk'`.
        """
        places = [one for table in tables for one in self._places(table) if one != tables[0]]
        mentions = _MENTION.findall(message)
        found = [self._of_key(key or quoted, value, places) for key, value, quoted in mentions]
        found += [self._of_value(quoted, places) for _, _, quoted in mentions]
        return self.error(next(filter(None, found), tables[0]), message)

    def _of_key(self, key: str, value: str, places: Sequence[Place]) -> Place | None:
        """Return the place of a dotted key, or of its value if that is an item of a list."""
        parts = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        ends = [parts[start:end] for end in range(len(parts), 0, -1) for start in range(end)]
        of_key = (place for end in ends for place in places if place[-len(end) :] == end)
        place = next(of_key, None)
        items = [one for one in places if place and one[: len(place)] == place != one]
        return self._of_value(value, items) or place

    def _of_value(self, value: str, places: Sequence[Place]) -> Place | None:
        if not value:
            return None
        pattern = re.compile(rf"(?<![\w.]){re.escape(value)}(?![\w.])")
        lines = self.text.splitlines()
        return next((one for one in places if pattern.search(lines[self.line(one) - 1])), None)

    def _places(self, table: Place) -> list[Place]:
        """Return the places in a table, of tables and lists in it, too."""
        found = [place for place in self._lines.lines if place[: len(table)] == table]
        if self.full:
            larger = ("full_scale", *table)
            found += [place[1:] for place in self._lines.lines if place[: len(larger)] == larger]
        return [place for place in found if place]
