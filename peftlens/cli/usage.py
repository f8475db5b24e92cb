"""Help texts and errors of usage: help is literal and wraps, an error is one line with its remedy.

Typer reads help texts as Rich markup, in which [runs] is a tag, and keeps the line breaks of every
paragraph but the first. Its errors are panels, whose suggestions ignore other cases.
"""

import re
from typing import Any

import typer

from peftlens.errors import did_you_mean, nearest

UsageError: Any = typer.BadParameter.__base__  # of click, or of typer's copy of it

_TAG = re.compile(r"(\\*)(\[[a-z#/@][^\[]*?\])", re.IGNORECASE)  # markup of Rich
_NO_COMMAND = re.compile(r"No such command '(.*?)'")
_NO_CHOICE = re.compile(r"'([^']*)' is not one of ((?:'[^']*'(?:, )?)+)")


def with_literal_help(command: Any) -> Any:
    """Change the help texts of a command and all below it so that they are printed as written."""
    if command.help:
        command.help = _literal(command.help)
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = _literal(parameter.help)
    for below in getattr(command, "commands", {}).values():
        with_literal_help(below)
    return command


def _literal(text: str) -> str:
    """Join the lines of each paragraph and escape what Rich would read as a tag."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return _TAG.sub(lambda tag: f"{tag[1] * 2}\\{tag[2]}", "\n\n".join(paragraphs))


def usage_error(error: Any) -> str:
    """Describe an error of usage in one line, with the nearest right name if a name is wrong.

    Args:
        error: UsageError of click or typer.
    """
    message = error.format_message()
    command: Any = error.ctx.command if error.ctx else None
    question = ""
    if name := getattr(error, "option_name", None):
        if type(error).__name__ == "NoSuchOption":
            options = [one for parameter in command.params for one in _flags(parameter)]
            message, question = f"no option {name}", did_you_mean(nearest(name, options))
    elif match := _NO_COMMAND.search(message):
        message = f"no command {match[1]!r}"
        question = did_you_mean(nearest(match[1], getattr(command, "commands", ())))
    elif match := _NO_CHOICE.search(message):
        choices = re.findall(r"'([^']*)'", match[2])
        question = did_you_mean(nearest(match[1], choices))
    message = message.replace("Value error, ", "").rstrip(".")
    path = error.ctx.command_path if error.ctx else "peftlens"
    return f"{message}; {question or f'see `{path} --help`'}"


def _flags(parameter: Any) -> list[str]:
    return [one for one in (*parameter.opts, *parameter.secondary_opts) if one.startswith("--")]
