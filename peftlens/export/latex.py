"""LaTeX escaping: text that LaTeX, including pdfLaTeX, prints literally."""

import re
import unicodedata

from peftlens.io.escaping import visible

_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "–": r"\textendash{}",
    "—": r"\textemdash{}", "→": r"$\rightarrow$", "␣": r"\textvisiblespace{}", "[": "{[}",
    "]": "{]}", "\n": " ",
}  # fmt: skip


def escaped(text: str) -> str:
    """Escape text for LaTeX; a letter missing from pdfLaTeX's fonts becomes `<U+4E2D>`."""
    # two consecutive hyphens would become a dash
    return re.sub("-(?=-)", "-{}", "".join(map(_set, visible(text))))


def _set(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii() or unicodedata.name(character, "").startswith("LATIN "):
        return character
    return rf"\textless{{}}U+{ord(character):04X}\textgreater{{}}"
