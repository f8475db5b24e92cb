"""Find methods, tasks and probes by file name; there is no list to keep in step.

Listing them reads their source text and imports none of them: an import of peft or torch takes
seconds, and a table of names should not.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from peftlens.errors import BadInput, explain

Kind = Literal["methods", "tasks", "probes"]


@dataclass(frozen=True)
class Description:
    """What a plug-in's source says of itself.

    Attributes:
        summary: first line of the docstring.
        constants: the module's upper-case literals, such as FAMILY or EXPOSES.
        config: a row per field of Config: name, type and default, as written in the source.
    """

    name: str
    summary: str
    doc: str
    constants: dict[str, Any]
    config: tuple[tuple[str, str, str], ...]


def names(kind: Kind) -> list[str]:
    """Names of every plug-in of one kind, sorted; imports none of them."""
    package = import_module(f"peftlens.{kind}")
    return sorted(module.name for module in iter_modules(package.__path__))


def check(kind: Kind, name: str) -> None:
    """Refuse a name that no file has.

    Raises:
        BadInput: the message names the closest known ones.
    """
    known = names(kind)
    if name not in known:
        close = get_close_matches(name, known, cutoff=0.5)
        remedy = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise BadInput(f"no {kind[:-1]} named {name!r}; {remedy}")


def load(kind: Kind, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        BadInput: no such file.
    """
    check(kind, name)
    return import_module(f"peftlens.{kind}.{name}")


def configure(kind: Kind, name: str, values: dict[str, Any]) -> Any:
    """A plug-in's Config out of plain values.

    Raises:
        BadInput: an unknown key or a value of the wrong type.
    """
    config_class = load(kind, name).Config
    known = [field.name for field in fields(config_class)]
    for key in values:
        if key not in known:
            raise BadInput(f"{name} has no option {key!r}; it has {', '.join(known) or 'none'}")
    try:
        return TypeAdapter(config_class).validate_python(values)
    except ValidationError as error:
        raise BadInput(f"{name}: {explain(error)}") from error


def describe(kind: Kind, name: str) -> Description:
    """Read one plug-in's source without importing it.

    Raises:
        BadInput: no such file.
    """
    check(kind, name)
    package = import_module(f"peftlens.{kind}")
    tree = ast.parse(Path(package.__path__[0], f"{name}.py").read_text())
    doc = ast.get_docstring(tree) or ""
    constants = {
        node.targets[0].id: value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if (value := _literal(node.value)) is not None
    }
    return Description(name, doc.partition("\n")[0], doc, constants, tuple(_fields(tree, "Config")))


def _literal(node: ast.expr) -> Any:
    """A literal's value, `frozenset({...})` as a sorted list; None for anything computed."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "frozenset":
        return sorted(ast.literal_eval(node.args[0])) if node.args else []
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _fields(tree: ast.Module, class_name: str) -> Iterator[tuple[str, str, str]]:
    """Fields of a dataclass as the source writes them, those of imported parents first."""
    config = next(
        (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), None
    )
    if config is None:
        return
    for parent in (base.id for base in config.bases if isinstance(base, ast.Name)):
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and parent in {a.name for a in node.names}:
                file = Path(str(find_spec(str(node.module)).origin))  # pyright: ignore[reportOptionalMemberAccess]
                yield from _fields(ast.parse(file.read_text()), parent)
    for node in config.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), ast.unparse(node.annotation), ast.unparse(node.value)
