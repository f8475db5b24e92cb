"""Plug-in registry: methods, tasks, probes and claims, discovered by file name or entry point.

No list has to be maintained. Other packages add theirs by entry points in the groups
peftlens.methods, peftlens.tasks, peftlens.probes and peftlens.claims, each naming a module of the
same shape as the files here.

Listing them reads their source text and imports none of them: an import of peft or torch takes
seconds, and a table of names should not.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from peftlens.errors import InputError, validation_summary

_SOURCE = re.compile(r"Source:.*?(arXiv:\d{4}\.\d{5}|ICLR \d{4})", re.DOTALL)
Kind = Literal["methods", "tasks", "probes", "claims"]
# What a plug-in's module must have.
PARTS: dict[Kind, tuple[str, ...]] = {
    "methods": ("FAMILY", "EXPOSES", "LEARNING_RATE", "Config", "attach", "trainable_parameters"),
    "tasks": ("Config", "load"),
    "probes": ("VERSION", "COLUMNS", "CHARTS"),
    "claims": ("CLAIM", "SOURCE", "NEEDS", "TO_MEASURE", "verdict"),
}


@dataclass(frozen=True)
class Description:
    """Description of a plug-in, read from its source.

    Attributes:
        summary: first line of the docstring.
        constants: the module's upper-case literals, such as FAMILY or EXPOSES.
        config: name, type and default of each field of Config, as written in the source.
        package: distribution that provides the plug-in.
    """

    name: str
    summary: str
    doc: str
    constants: dict[str, Any]
    config: tuple[tuple[str, str, str], ...]
    package: str

    @property
    def source(self) -> str:
        """First paper named in the docstring, such as arXiv:2106.09685; empty without one."""
        found = _SOURCE.search(self.doc)
        return found[1] if found else ""


def _modules(kind: Kind) -> dict[str, tuple[str, EntryPoint | None]]:
    """Map each plug-in's name to its dotted module and, if another package's, its entry point.

    Raises:
        InputError: another package gives a plug-in a name that is taken.
    """
    package = import_module(f"peftlens.{kind}")
    found: dict[str, tuple[str, EntryPoint | None]] = {
        module.name: (f"{package.__name__}.{module.name}", None)
        for module in iter_modules(package.__path__)
    }
    for point in entry_points(group=package.__name__):
        if point.name in found:
            raise InputError(
                f"package {_distribution(point)} provides a {kind[:-1]} named {point.name!r}, "
                "but there is one already; uninstall the package or have it renamed"
            )
        found[point.name] = (point.module, point)
    return dict(sorted(found.items()))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def names(kind: Kind) -> list[str]:
    """List the names of all plug-ins of one kind, sorted; imports none of them."""
    return list(_modules(kind))


def check(kind: Kind, name: str) -> None:
    """Refuse a name that no plug-in has; the plug-in itself checks the part after a colon.

    Raises:
        InputError: no such plug-in; the message names the closest ones.
    """
    available, plugin = names(kind), name.partition(":")[0]
    if plugin not in available:
        close = get_close_matches(plugin, available, cutoff=0.5)
        remedy = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"choose from {', '.join(available)}"
        )
        raise InputError(f"no {kind[:-1]} named {plugin!r}; {remedy}")


def load(kind: Kind, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        InputError: no such plug-in, or another package's can't be used.
    """
    check(kind, name)
    dotted, point = _modules(kind)[name.partition(":")[0]]
    if point is None:
        return import_module(dotted)
    try:
        module = import_module(dotted)
    except ImportError as error:
        raise InputError(
            f"{kind[:-1]} {name!r} of package {_distribution(point)} can't be imported: {error}"
        ) from error
    if missing := [part for part in PARTS[kind] if not hasattr(module, part)]:
        raise InputError(
            f"{kind[:-1]} {name!r} of package {_distribution(point)} lacks {', '.join(missing)}"
        )
    return module


def versions(kind: Kind, name: str) -> dict[str, str]:
    """Return the versions of packages that one plug-in needs in addition to the common ones."""
    _, point = _modules(kind)[name.partition(":")[0]]
    packages: set[str] = {*getattr(load(kind, name), "PACKAGES", ())}
    if point and point.dist:
        packages.add(point.dist.name)
    return {package: version(package) for package in sorted(packages)}


def configure(kind: Kind, name: str, values: dict[str, Any]) -> Any:
    """Build a plug-in's Config from plain values.

    The part of the name after a colon is the value of the field that the plug-in calls its
    ARGUMENT. Where Config has a field `options`, unknown keys go there.

    Raises:
        InputError: an unknown key or a value of the wrong type.
    """
    plugin, colon, argument = name.partition(":")
    module = load(kind, name)
    known = [field.name for field in fields(module.Config)]
    if colon:
        if not hasattr(module, "ARGUMENT"):
            raise InputError(f"{plugin} takes no argument after a colon; remove it from {name!r}")
        values = values | {module.ARGUMENT: argument}
    if unknown := {key: value for key, value in values.items() if key not in known}:
        if "options" not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"{plugin} has no option {next(iter(unknown))!r}; it has {listed}")
        plain = {key: value for key, value in values.items() if key in known}
        values = plain | {"options": plain.get("options", {}) | unknown}
    try:
        return TypeAdapter(module.Config).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{plugin}: {validation_summary(error)}") from error


def exposed(method: str, values: dict[str, Any]) -> frozenset[str]:
    """Return the quantities that a method's runs expose to probes under this configuration."""
    module = load("methods", method)
    if hasattr(module, "exposes"):
        return module.exposes(configure("methods", method, values))
    return module.EXPOSES


def describe(kind: Kind, name: str) -> Description:
    """Read one plug-in's source without importing it.

    Raises:
        InputError: no such plug-in.
    """
    check(kind, name)
    dotted, point = _modules(kind)[name]
    tree = ast.parse(_source(dotted))
    doc = ast.get_docstring(tree) or ""
    constants = {
        node.targets[0].id: value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if (value := _literal(node.value)) is not None
    }
    return Description(
        name=name,
        summary=doc.partition("\n")[0],
        doc=doc,
        constants=constants,
        config=tuple(_fields(tree, "Config")),
        package=_distribution(point) if point else "peftlens",
    )


def _source(dotted: str) -> str:
    """Read a module's source; its parent packages are imported, the module is not.

    Raises:
        InputError: the module can't be found.
    """
    try:
        spec = find_spec(dotted)
    except ImportError as error:
        raise InputError(f"module {dotted} can't be imported: {error}") from error
    if spec is None or spec.origin is None:
        raise InputError(f"there is no module {dotted}; reinstall the package that names it")
    return Path(spec.origin).read_text()


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal, `frozenset({...})` as a sorted list; None for anything computed."""
    try:
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "frozenset":
            return sorted(ast.literal_eval(node.args[0])) if node.args else []
        return ast.literal_eval(node)
    except ValueError:
        return None


def _fields(tree: ast.Module, class_name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a dataclass as written in the source, those of imported parents first."""
    config = next(
        (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), None
    )
    if config is None:
        return
    for parent in (base.id for base in config.bases if isinstance(base, ast.Name)):
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and parent in {a.name for a in node.names}:
                yield from _fields(ast.parse(_source(str(node.module))), parent)
    for node in config.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), ast.unparse(node.annotation), ast.unparse(node.value)
