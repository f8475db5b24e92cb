"""Reference pages and lists of methods, tasks, probes and claims, generated from their sources."""

import ast
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from peftlens import registry
from peftlens.errors import InputError, suggestion

if TYPE_CHECKING:  # it imports torch
    from peftlens.models.base_model import BaseModel

_FAMILIES = ("baseline", "selective", "reparametrization", "additive adapter", "soft prompt", "mix")


@dataclass(frozen=True)
class Row:
    """Row of the table of methods.

    Attributes:
        name: name of the method.
        family: family of the method.
        source: paper of the method.
        trainable: number of trainable parameters with the default options; None if not counted.
        why_not_counted: reason for a missing count; empty if counted, and without a base model.
        merges: yes, no, by type, or the condition for merging into the base model.
        learning_rate: default learning rate.
        exposes: properties of the method's runs that probes can require.
        probes: names of the probes that require these properties, joined by commas.
        summary: first line of the docstring.
        types: peft types of the method, if any.
        not_supported: unsupported types, each with the reason.
        doc: docstring of the method.
        options: options of the method's Config.
        example: command that trains the method.
    """

    name: str
    family: str
    source: str
    trainable: int | None
    why_not_counted: str
    merges: str
    learning_rate: float
    exposes: tuple[str, ...]
    probes: str
    summary: str
    types: tuple[str, ...]
    not_supported: tuple[tuple[str, str], ...]
    doc: str
    options: tuple[registry.Option, ...]
    example: str

    @property
    def counted(self) -> str:
        """Number of trainable parameters, or the reason for its absence."""
        return self.why_not_counted if self.trainable is None else f"{self.trainable:,}"


def methods(base: str | None, *, trust_remote_code: bool = False) -> list[Row]:
    """Return a row for each method, sorted by family.

    Args:
        base: base model for counting parameters, which takes seconds to load; None for no counts.
        trust_remote_code: whether to run Python code of the base model.

    Raises:
        InputError: there is no such base model.
    """
    model = _load(base, trust_remote_code) if base else None
    needs = _needs_of_probes()
    rows = [_row(name, needs, model) for name in registry.names("methods")]
    order = {family: place for place, family in enumerate(_FAMILIES)}
    return sorted(rows, key=lambda row: (order.get(row.family, len(order)), row.name))


def method(name: str) -> Row:
    """Return the row of one method.

    Raises:
        InputError: there is no such method.
    """
    return _row(name, _needs_of_probes(), None)


def select(
    rows: Sequence[Row],
    *,
    family: str | None = None,
    mergeable: bool | None = None,
    exposes: str | None = None,
) -> list[Row]:
    """Select rows by properties; methods whose type decides are included.

    Raises:
        InputError: no method has this family or exposes this property.
    """
    _check("family", family, (row.family for row in rows))
    _check("exposes", exposes, (one for row in rows for one in row.exposes))
    return [
        row
        for row in rows
        if family in (None, row.family)
        and (mergeable is None or row.merges == "by type" or mergeable == (row.merges != "no"))
        and (exposes is None or row.merges == "by type" or exposes in row.exposes)
    ]


def _check(flag: str, value: str | None, choices: Iterable[str]) -> None:
    names = sorted(set(choices))
    if value is not None and value not in names:
        raise InputError(f"--{flag} {value!r} fits no method; {suggestion(value, names)}")


def _load(base: str, trust: bool) -> "BaseModel":
    from peftlens.models.base_model import load_base_model

    return load_base_model(base, device="cpu", trust_remote_code=trust)


def _needs_of_probes() -> dict[str, set[str]]:
    """Return the properties that each probe requires of a run, by name of the probe."""
    return {
        name: set(registry.describe("probes", name).constants.get("REQUIRES") or ())
        for name in registry.names("probes")
    }


def _row(name: str, needs: dict[str, set[str]], base: "BaseModel | None") -> Row:
    about = registry.describe("methods", name)
    exposes: set[str] = {*(about.constants.get("EXPOSES") or ())}
    trainable, why = _count(name, base) if base else (None, "")
    by_type = "ARGUMENT" in about.constants
    return Row(
        name=f"{name}:TYPE" if by_type else name,
        family=about.constants["FAMILY"],
        source=about.source,
        trainable=trainable,
        why_not_counted=why,
        merges="by type" if by_type else _merges(about.constants, exposes),
        learning_rate=about.constants["LEARNING_RATE"],
        exposes=tuple(sorted(exposes)),
        probes=", ".join(probe for probe, need in needs.items() if need and need <= exposes),
        summary=about.summary,
        types=tuple(about.constants.get("TYPES") or ()),
        not_supported=tuple(
            (refused, reason)
            for constant in ("UNSUPPORTED", "UNSUPPORTED_STARTS")
            for refused, reason in (about.constants.get(constant) or {}).items()
        ),
        doc=about.doc,
        options=about.options,
        example=_example(about),
    )


def _merges(constants: dict[str, Any], exposes: set[str]) -> str:
    if "delta_weight" not in exposes:
        return "no"
    condition = constants.get("MERGES_IF")
    return f"if {condition}" if condition else "yes"


def _example(about: registry.Description) -> str:
    """Return a command that trains a method with its first type, or with its first option set."""
    if "ARGUMENT" in about.constants:
        (first, *_) = about.constants.get("TYPES") or ("TYPE",)
        return f"peftlens train {about.name}:{first}"
    if not about.options:
        return f"peftlens train {about.name}"
    option = about.options[0]
    default = ast.literal_eval(option.default)
    value = not default if isinstance(default, bool) else default or option.name.upper()
    assignment = f"{option.name}={json.dumps(value)}"
    return shlex.join(["peftlens", "train", about.name, "--set", assignment])


def _count(name: str, base: "BaseModel") -> tuple[int | None, str]:
    """Count trainable parameters with the default options, or return the reason for no count."""
    config, module = registry.configure("methods", name, {}), registry.load("methods", name)
    if hasattr(config, "options"):
        return None, "by type"
    if base.kind == "encoder" and getattr(module, "TRAINS_HEAD", False):
        return None, "the head of an encoder is as large as its task has classes"
    try:
        return module.trainable_parameters(config, base.shapes), ""
    except InputError as error:
        return None, str(error)


def scope(probe: registry.Description) -> str:
    """Describe the scope of a probe: all runs, runs with a property, or tables of other probes."""
    if tables := probe.constants.get("INPUTS"):
        return f"tables of {', '.join(f'`{one}`' for one in tables)}"
    if needs := probe.constants.get("REQUIRES"):
        return f"runs that expose {', '.join(f'`{one}`' for one in needs)}"
    return "every run"


def markdown(rows: Sequence[Row], base: str | None) -> str:
    """Return the page docs/methods.md."""
    lines = [
        "# Methods",
        "",
        "Generated by `peftlens methods --base smollm2-135m --format markdown`; checked by a test.",
        "",
        f"Trained parameters are counted on `{base}` with each method's default options. Mergeable "
        "methods amount to an update of the base's weights, which `peftlens merge` adds to them. "
        "Probes that need neither a weight update nor a soft prompt apply to every method.",
    ]
    for family in dict.fromkeys(row.family for row in rows):
        members = [row for row in rows if row.family == family]
        lines += ["", f"## {family.capitalize()}", ""]
        lines += ["| name | description | source | trained | mergeable | rate | probes |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_markdown_row(row) for row in members]
        lines += [line for row in members for line in _section(row)]
    if refused := [pair for row in rows for pair in row.not_supported]:
        lines += ["", "## Not supported", "", "| in peft | reason |", "|---|---|"]
        lines += [f"| `{name}` | {reason} |" for name, reason in refused]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Row) -> str:
    return _cells(f"`{row.name}`", row.summary, row.source, row.counted, row.merges,
                  f"{row.learning_rate:g}", row.probes)  # fmt: skip


def _section(row: Row) -> list[str]:
    """Return the section of one method."""
    lines = ["", f"### {row.name}", "", row.doc, "", f"Example: `{row.example}`"]
    if row.types:
        lines += ["", f"`TYPE` is one of {', '.join(row.types)}, or of the methods on this page."]
    return lines + _options(row.options)


def page(kind: Literal["tasks", "probes", "claims"]) -> str:
    """Return the page docs/tasks.md, docs/probes.md or docs/claims.md."""
    lines = [
        f"# {kind.capitalize()}",
        "",
        f"Generated by `peftlens {kind} --format markdown`; checked by a test.",
    ]
    for name in registry.names(kind):
        about = registry.describe(kind, name)
        lines += ["", f"## {name}", "", about.doc]
        if kind == "probes":
            lines += ["", f"Scope: {scope(about)}."]
        lines += _options(about.options)
        lines += {"probes": _columns, "claims": _judgement}.get(kind, lambda _: [])(about)
    return "\n".join(lines) + "\n"


def _options(options: Sequence[registry.Option]) -> list[str]:
    if not options:
        return []
    lines = ["", "| option | type | default | meaning |", "|---|---|---|---|"]
    return lines + [
        _cells(f"`{one.name}`", f"`{one.type}`", f"`{one.default}`", one.meaning) for one in options
    ]


def _columns(about: registry.Description) -> list[str]:
    lines = ["", "| column | meaning | unit |", "|---|---|---|"]
    columns = registry.load("probes", about.name).COLUMNS
    return lines + [_cells(f"`{one.name}`", one.meaning, one.unit or "") for one in columns]


def _judgement(about: registry.Description) -> list[str]:
    constants = about.constants
    # the table `configurations` is not a probe's: every study has it
    probes = [name for name in constants["NEEDS"] if name in registry.names("probes")]
    needs = ", ".join(f"[`{one}`](probes.md#{one})" for one in probes)
    practice = (f"If {outcome}: {advice}" for outcome, advice in constants["PRACTICE"].items())
    return ["", f"Source: {constants['SOURCE']}.", "",
            f"Judged by {needs}. To measure it: {constants['TO_MEASURE']}.", "",
            f"It holds if {constants['CRITERION']}. {' '.join(practice)}"]  # fmt: skip


def _cells(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
