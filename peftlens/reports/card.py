"""Card: one headline figure at the top of a page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One headline figure.

    Attributes:
        title: what the figure is.
        value: the figure; empty where it was not measured.
        name: configuration that it belongs to; empty for none.
        details: further sentences, such as the interval and the untrained model's value.
        link: anchor of the part of the page with more; empty for none.
    """

    title: str
    value: str
    name: str = ""
    details: tuple[str, ...] = ()
    link: str = ""

    @property
    def number(self) -> str:
        """First word of the figure, if it is a number; else all of it."""
        return self._parts[0]

    @property
    def unit(self) -> str:
        """Unit of the figure; empty without one."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        first, _, rest = self.value.partition(" ")
        is_number = first[:1].isdigit() or first[:1] in "+-"
        return (first, rest) if is_number else (self.value, "")
