"""Commands that list methods, tasks, probes and claims."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from peftlens import registry
from peftlens.cli import reference_pages
from peftlens.cli.output import Json, print_groups, print_json, print_text
from peftlens.cli.targets import Trust

Format = Annotated[
    Literal["table", "markdown"],
    typer.Option("--format", help="table for reading, markdown for the page in docs/."),
]
Name = Annotated[str | None, typer.Argument(help="Show this one in full.")]


def methods(  # noqa: PLR0913  # a flag each
    name: Name = None,
    base: Annotated[
        str | None, typer.Option(help="Count what each method would train on this base.")
    ] = None,
    family: Annotated[str | None, typer.Option(help='Only this family, such as "mix".')] = None,
    mergeable: Annotated[
        bool | None,
        typer.Option("--mergeable/--not-mergeable", help="Only those that merge into the base."),
    ] = None,
    exposes: Annotated[
        str | None, typer.Option(help="Only those whose runs offer this, such as delta_weight.")
    ] = None,
    output: Format = "table",
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """List the fine-tuning methods, or show one in full."""
    if name:
        _show("methods", name, as_json)
        return
    rows = reference_pages.select(
        reference_pages.methods(base, trust_remote_code=trust_remote_code),
        family=family,
        mergeable=mergeable,
        exposes=exposes,
    )
    if as_json:
        print_json([asdict(row) for row in rows])
    elif output == "markdown":
        print(reference_pages.markdown(rows, base), end="")
    else:
        _print_methods(rows, counted=base is not None)


def _print_methods(rows: Sequence[reference_pages.Row], counted: bool) -> None:
    """By family; trained parameters are known on a base only."""
    header = ["name", *(["trained"] if counted else []), "mergeable", "what"]
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        trained = "-" if row.trainable is None else f"{row.trainable:,}"
        merges = "if ..." if row.merges.startswith("if ") else row.merges
        cells = [row.name, *([trained] if counted else []), merges, row.summary]
        groups.setdefault(row.family.capitalize(), []).append(cells)
    print_groups(header, groups)
    for row in rows:
        if counted and row.why_not_counted:
            print_text(f"{row.name} is not counted: {row.why_not_counted}.")
        if row.types:
            print_text(f"{row.name} is one of {', '.join(row.types)}, or of those in this list.")
    print_text(
        "`peftlens methods NAME` shows options, the condition for merging and an example."
        + ("" if counted else " `--base smollm2-135m` counts trained parameters.")
    )


def tasks(name: Name = None, output: Format = "table", as_json: Json = False) -> None:
    """List the tasks, or show one in full."""
    _list("tasks", name, output, as_json)


def probes(name: Name = None, output: Format = "table", as_json: Json = False) -> None:
    """List the probes, or show one in full."""
    _list("probes", name, output, as_json)


def claims(name: Name = None, output: Format = "table", as_json: Json = False) -> None:
    """List the claims that a report judges, or show one in full, with its rule."""
    _list("claims", name, output, as_json)


def _list(
    kind: Literal["tasks", "probes", "claims"], name: str | None, output: str, as_json: bool
) -> None:
    if name:
        _show(kind, name, as_json)
        return
    if output == "markdown":
        print(reference_pages.page(kind), end="")
        return
    found = [registry.describe(kind, one) for one in registry.names(kind)]
    if as_json:
        print_json([asdict(description) for description in found])
    elif kind == "probes":
        _print_probes(found)
    else:
        print_groups(["name", "what"], {"": [[one.name, one.summary] for one in found]})
    if not as_json:
        print_text(f"`peftlens {kind} NAME` shows one in full.")


def _print_probes(found: Sequence[registry.Description]) -> None:
    """By what they can be measured on."""
    groups: dict[str, list[list[str]]] = {}
    for one in sorted(found, key=_scope):
        default = "no" if one.constants.get("OPTIONAL") else "yes"
        groups.setdefault(_scope(one), []).append([one.name, default, one.summary])
    print_groups(["name", "default", "what"], groups)
    print_text("Probes that are no default are measured where a study names them.")


def _scope(probe: registry.Description) -> str:
    scope = (
        "tables of other probes" if "INPUTS" in probe.constants else reference_pages.scope(probe)
    )
    return scope[0].upper() + scope[1:]


def _show(kind: registry.Kind, name: str, as_json: bool) -> None:
    """One plug-in in full: its docstring, its properties, its options."""
    about = registry.describe(kind, name.partition(":")[0])
    if as_json:
        print_json([asdict(about)])
        return
    print_text(about.doc)
    facts = [f"{label}: {text}" for label, text in _facts(kind, about)]
    if about.package != "peftlens":
        facts.append(f"Brought by the package {about.package}.")
    if facts:
        print()
    for fact in facts:
        print_text(fact)
    if about.options:
        print("\nOptions:")
    for option in about.options:
        print_text(f"{option.name}: {option.type} = {option.default}", indent=2)
        print_text(option.meaning, indent=6)
    if kind == "methods":
        print(f"\nExample: {reference_pages.method(about.name).example}")


def _facts(kind: registry.Kind, about: registry.Description) -> Iterator[tuple[str, str]]:
    """Labels and texts of the constants that a reader needs."""
    constants = about.constants
    if kind == "methods":
        row = reference_pages.method(about.name)
        reason = constants.get("UNMERGEABLE")
        yield "Family", row.family
        yield "Mergeable", f"no, {reason}" if row.merges == "no" and reason else row.merges
        yield "Learning rate", f"{row.learning_rate:g} by default"
        if not row.types:
            yield "Exposes", ", ".join(row.exposes) or "nothing"
            yield "Probes that need this", row.probes or "none"
        if row.types:
            yield "Types", ", ".join(row.types)
        for refused, why in row.not_supported:
            yield f"Not supported: {refused}", why
    if kind == "probes":
        yield "Scope", reference_pages.scope(about)
        yield "Default", "no, only where named" if constants.get("OPTIONAL") else "yes"
    if kind == "claims":
        yield "Source", constants["SOURCE"]
        yield "Judged by", ", ".join(constants["NEEDS"])
        yield "To measure it", constants["TO_MEASURE"]
