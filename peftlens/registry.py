"""Plug-in registry: methods, tasks, probes and claims, discovered by file name or entry point.

No list has to be maintained. Other packages add theirs by entry points in the groups
peftlens.methods, peftlens.tasks, peftlens.probes and peftlens.claims, each naming a module of the
same shape as the files here.

Listing them reads their source text and imports none of them: an import of peft or torch takes
seconds, and a table of names should not.
"""

import ast
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from peftlens.errors import InputError, suggestion, validation_summary
from peftlens.options import option_values

_SOURCE = re.compile(r"Source:.*?(arXiv:\d{4}\.\d{5}|ICLR \d{4})", re.DOTALL)
LONGEST_TITLE = 32  # letters before a docstring's colon that are a name
Kind = Literal["methods", "tasks", "probes", "claims"]
# Required names of a plug-in's module.
PARTS: dict[Kind, tuple[str, ...]] = {
    "methods": ("FAMILY", "EXPOSES", "LEARNING_RATE", "Config", "attach", "trainable_parameters"),
    "tasks": ("Config", "load"),
    "probes": ("VERSION", "COLUMNS", "CHARTS"),
    "claims": ("CLAIM", "SOURCE", "NEEDS", "TO_MEASURE", "CRITERION", "PRACTICE", "verdict"),
}


@dataclass(frozen=True)
class Option:
    """A field of a dataclass of options.

    Attributes:
        name: name of the field.
        type: annotation of the field, as written in the source.
        default: default of the field, as written in the source.
        meaning: description of the field below `Attributes:` in the docstring of the class.
    """

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Description:
    """Self-description of a plug-in, read from its source.

    Attributes:
        name: name of the plug-in.
        summary: first line of the docstring.
        doc: the whole docstring.
        constants: upper-case literals of the module, such as FAMILY or EXPOSES.
        options: fields of Config.
        package: name of the distribution that contains the plug-in.
    """

    name: str
    summary: str
    doc: str
    constants: dict[str, Any]
    options: tuple[Option, ...]
    package: str

    @property
    def title(self) -> str:
        """Name in words: what stands before the docstring's first colon, if it is short."""
        head, colon, _ = self.summary.partition(": ")
        is_name = colon and len(head) <= LONGEST_TITLE
        return head if is_name else self.name.replace("_", " ").capitalize()

    @property
    def source(self) -> str:
        """First paper named in the docstring, such as arXiv:2106.09685; empty without one."""
        match = _SOURCE.search(self.doc)
        return match[1] if match else ""


def _modules(kind: Kind) -> Mapping[str, tuple[str, EntryPoint | None]]:
    """Map each plug-in's name to its dotted module and, if another package's, its entry point.

    Raises:
        InputError: another package provides a plug-in with a name that exists already.
    """
    package = import_module(f"peftlens.{kind}")
    folders = tuple(dict.fromkeys((*package.__path__, *sys.path)))
    return _modules_in(package.__name__, tuple((folder, _changed(folder)) for folder in folders))


def _changed(folder: str) -> int | None:
    """Return when a folder's list of entries last changed; None if there is no such folder."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


# Reading the metadata of every installed package takes 20 ms, and planning one run asks nine times.
@lru_cache(maxsize=8)
def _modules_in(
    group: str,
    stamp: tuple[tuple[str, int | None], ...],  # noqa: ARG001  # only a cache key
) -> Mapping[str, tuple[str, EntryPoint | None]]:
    modules: dict[str, tuple[str, EntryPoint | None]] = {
        module.name: (f"{group}.{module.name}", None)
        for module in iter_modules(import_module(group).__path__)
    }
    for point in entry_points(group=group):
        if point.name in modules:
            raise InputError(
                f"package {_distribution(point)} provides a {group.rpartition('.')[2][:-1]} named "
                f"{point.name!r}, but this name exists already; uninstall the package, or ask for "
                "another name"
            )
        modules[point.name] = (point.module, point)
    return dict(sorted(modules.items()))


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
        remedy = suggestion(plugin, available)
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
        InputError: an unknown key, with the nearest right one, or a value of the wrong type.
    """
    plugin, colon, argument = name.partition(":")
    module = load(kind, name)
    if colon:
        if not hasattr(module, "ARGUMENT"):
            raise InputError(f"{plugin} takes no argument after a colon; remove it from {name!r}")
        values = values | {module.ARGUMENT: argument}
    values = option_values(plugin, module.Config, values)
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
    module = _Module(dotted)
    doc = ast.get_docstring(module.tree) or ""
    return Description(
        name=name,
        summary=doc.partition("\n")[0],
        doc=doc,
        constants=module.constants(),
        options=tuple(module.options("Config").values()),
        package=_distribution(point) if point else "peftlens",
    )


class _Module:
    """Syntax tree of a module; imported names are looked up in their modules."""

    def __init__(self, dotted: str) -> None:
        self.tree = _tree(_source(dotted))
        followed = {"peftlens", dotted.partition(".")[0]}  # others are large and hold no constants
        self.assigned: dict[str, ast.expr] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        for node in self.tree.body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    self.assigned[name] = value
                case ast.ImportFrom(module=str(origin)) if origin.partition(".")[0] in followed:
                    self.imported |= {a.asname or a.name: (origin, a.name) for a in node.names}
                case ast.ClassDef(name=name):
                    self.classes[name] = node

    def constants(self) -> dict[str, Any]:
        """Return the upper-case constants with literal values, including imported ones."""
        literals: dict[str, Any] = {}
        for name, node in self.assigned.items():
            if name.isupper():
                with suppress(ValueError):  # computed
                    literals[name] = self._literal(node)
        return literals

    def _literal(self, node: ast.expr) -> Any:
        """Evaluate an expression without operators; a set becomes a sorted list.

        Raises:
            ValueError: the expression is computed.
        """
        value = ast.literal_eval(self.inlined(node))
        return sorted(value) if isinstance(value, set) else value

    def inlined(self, node: ast.expr) -> ast.expr:
        """Replace the names of constants in an expression by their values."""
        return _Inlined(self).visit(deepcopy(node))

    def definition(self, name: str) -> ast.expr | None:
        """Return the expression assigned to a constant of this module or an imported one."""
        if name in self.assigned:
            return self.inlined(self.assigned[name])
        if name in self.imported:
            origin, original = self.imported[name]
            return _Module(origin).definition(original)
        return None

    def options(self, class_name: str) -> dict[str, Option]:
        """Return a dataclass's fields by name: parents' first, nested ones as `field.key`."""
        if class_name in self.imported:
            origin, original = self.imported[class_name]
            return _Module(origin).options(original)
        if class_name not in self.classes:
            return {}
        node = self.classes[class_name]
        options: dict[str, Option] = {}
        for base in node.bases:
            options |= self.options(ast.unparse(base))
        meanings = _attributes(ast.get_docstring(node) or "")
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and field.value is not None:
                name = ast.unparse(field.target)
                annotation, default = self.inlined(field.annotation), self.inlined(field.value)
                inherited = options[name].meaning if name in options else ""
                options[name] = Option(
                    name, ast.unparse(annotation), _default(default), meanings.get(name, inherited)
                )
                options |= self._nested(name, annotation, default)
        return options

    def _nested(self, name: str, annotation: ast.expr, default: ast.expr) -> dict[str, Option]:
        """Return the options of a field of a dataclass type, with the defaults of this field."""
        overrides = {one.arg: one.value for one in getattr(default, "keywords", ())}
        return {
            f"{name}.{key}": replace(
                option,
                name=f"{name}.{key}",
                default=ast.unparse(overrides[key]) if key in overrides else option.default,
            )
            for key, option in self.options(ast.unparse(annotation)).items()
        }


class _Inlined(ast.NodeTransformer):
    """Transformer that replaces constants' names by values, and `frozenset(...)` by a set."""

    def __init__(self, module: _Module) -> None:
        self._module = module

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._module.definition(node.id) or node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="frozenset"), args=[]):
                return ast.Call(
                    ast.Name("set"), [], []
                )  # the only empty set that literal_eval accepts
            case ast.Call(func=ast.Name(id="frozenset"), args=[members]):
                members = self.visit(members)
                return ast.Set(members.elts) if hasattr(members, "elts") else node
        return node


def _default(node: ast.expr) -> str:
    """Write a field's default as source text; a factory as a call."""
    match node:
        case ast.Call(
            func=ast.Name(id="field"), keywords=[ast.keyword("default_factory", factory)]
        ):
            return f"{ast.unparse(factory)}()"
    return ast.unparse(node)


def _attributes(doc: str) -> dict[str, str]:
    """Parse the lines below `Attributes:` in a docstring, by name."""
    _, _, section = doc.partition("Attributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]  # up to a line without indentation
    lines = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in lines}


@lru_cache(maxsize=256)
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


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
        raise InputError(f"there is no module {dotted}; reinstall the package that provides it")
    return Path(spec.origin).read_text(encoding="utf-8")
