"""Commands that list methods, tasks, probes and claims."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from peftlens import registry
from peftlens.cli.output import Json, print_json, print_table
from peftlens.cli.targets import Trust

Format = Annotated[
    Literal["table", "markdown"],
    typer.Option("--format", help="table for reading, markdown for the page in docs/."),
]
Name = Annotated[str | None, typer.Argument(help="Show this one in full.")]


def methods(
    name: Name = None,
    base: Annotated[
        str | None, typer.Option(help="Count what each method would train on this base.")
    ] = None,
    output: Format = "table",
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """List the fine-tuning methods, or show one in full."""
    if name:
        _show("methods", name, as_json)
        return
    from peftlens.cli import reference_pages

    rows = reference_pages.methods(base, trust_remote_code=trust_remote_code)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif output == "markdown":
        print(reference_pages.markdown(rows, base), end="")
    else:
        _print_methods(rows, counted=base is not None)


def _print_methods(rows: Sequence[Any], counted: bool) -> None:
    """What is trained is known on a base only."""
    header = ["name", "family", "source", "mergeable", "probes", "what"]
    cells = [[r.name, r.family, r.source, r.merges, r.probes, r.summary] for r in rows]
    if counted:
        header.insert(3, "trained")
        for row, line in zip(rows, cells, strict=True):
            line.insert(3, row.counted)
    print_table(header, cells)
    print("Probes that need neither a weight update nor a soft prompt apply to every method.")
    for row in rows:
        if row.types:
            print(f"{row.name} is one of {', '.join(row.types)}, or of those with a row here.")
        for refused, reason in row.not_supported:
            print(f"Not supported in {row.name}: {refused}: {reason}.")
    if not counted:
        print("`--base smollm2-135m` counts what each would train.")


def tasks(name: Name = None, as_json: Json = False) -> None:
    """List the tasks, or show one in full."""
    _list("tasks", name, as_json)


def probes(name: Name = None, output: Format = "table", as_json: Json = False) -> None:
    """List the probes, or show one in full."""
    if output == "markdown":
        from peftlens.cli import reference_pages

        print(reference_pages.page("probes"), end="")
    else:
        _list("probes", name, as_json, "REQUIRES")


def claims(name: Name = None, output: Format = "table", as_json: Json = False) -> None:
    """List the claims that a report judges, or show one in full, with its rule."""
    if output == "markdown":
        from peftlens.cli import reference_pages

        print(reference_pages.page("claims"), end="")
    else:
        _list("claims", name, as_json, "NEEDS")


def _list(kind: registry.Kind, name: str | None, as_json: bool, *constants: str) -> None:
    if name:
        _show(kind, name, as_json)
        return
    found = [registry.describe(kind, one) for one in registry.names(kind)]
    if as_json:
        print_json([asdict(description) for description in found])
        return
    rows = [
        [d.name, *(", ".join(d.constants.get(constant) or ()) for constant in constants), d.summary]
        for d in found
    ]
    print_table(["name", *(c.lower() for c in constants), "what"], rows)


def _show(kind: registry.Kind, name: str, as_json: bool) -> None:
    """One plug-in: what it is, where it comes from, its options."""
    found = registry.describe(kind, name.partition(":")[0])
    if as_json:
        print_json([asdict(found)])
        return
    print(found.doc)
    if found.package != "peftlens":
        print(f"\nBrought by the package {found.package}.")
    for option, annotation, default in found.config:
        print(f"\n  {option}: {annotation} = {default}", end="")
    print()
