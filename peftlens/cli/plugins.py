"""Commands that list plug-ins: methods, tasks, probes, claims."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from peftlens import registry
from peftlens.cli import reference_pages
from peftlens.cli.completion import (
    complete_claims,
    complete_methods,
    complete_probes,
    complete_tasks,
)
from peftlens.cli.options import pairs
from peftlens.cli.output import Json, print_groups, print_json, print_text
from peftlens.cli.targets import Trust

Format = Annotated[
    Literal["table", "markdown"],
    typer.Option("--format", help="table for reading, markdown for the page in docs/."),
]
_ONE = "Name of one entry, to show it in full."


def methods(  # noqa: PLR0913  # one argument per flag
    name: Annotated[str | None, typer.Argument(help=_ONE, autocompletion=complete_methods)] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Count each method's trainable parameters on this base model."),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help='Family of the listed methods, such as "mix".')
    ] = None,
    mergeable: Annotated[
        bool | None,
        typer.Option(
            "--mergeable/--not-mergeable", help="List only methods that merge into the base."
        ),
    ] = None,
    exposes: Annotated[
        str | None, typer.Option(help="Property of the listed methods' runs, such as delta_weight.")
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
    """Print methods by family; trainable parameters are counted only with a base model."""
    header = ["name", *(["trained"] if counted else []), "mergeable", "description"]
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


def tasks(  # noqa: PLR0913  # one argument per flag
    name: Annotated[str | None, typer.Argument(help=_ONE, autocompletion=complete_tasks)] = None,
    show: Annotated[
        int, typer.Option(min=0, help="Number of training examples to show, as tokens.")
    ] = 0,
    task_option: Annotated[
        list[str] | None,
        typer.Option("--task-set", help="Option of the task, KEY=VALUE, such as kind=chat."),
    ] = None,
    base: Annotated[str, typer.Option(help="Base model whose tokens are shown.")] = "smollm2-135m",
    output: Format = "table",
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """List the tasks, show one in full, or show examples with the trained tokens in ⟦⟧."""
    if name and show:
        from peftlens.cli.task_examples import trained_examples

        examples = trained_examples(name, pairs(task_option), base, show, trust_remote_code)
        if as_json:
            print_json([asdict(example) for example in examples])
        else:
            for example in examples:
                print(f"{example.n_trained} of {example.n_tokens} tokens are trained:")
                print(f"{example.text}\n")
        return
    _list("tasks", name, output, as_json)


def probes(
    name: Annotated[str | None, typer.Argument(help=_ONE, autocompletion=complete_probes)] = None,
    output: Format = "table",
    as_json: Json = False,
) -> None:
    """List the probes, or show one in full."""
    _list("probes", name, output, as_json)


def claims(
    name: Annotated[str | None, typer.Argument(help=_ONE, autocompletion=complete_claims)] = None,
    output: Format = "table",
    as_json: Json = False,
) -> None:
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
    descriptions = [registry.describe(kind, entry) for entry in registry.names(kind)]
    if as_json:
        print_json([asdict(description) for description in descriptions])
    elif kind == "probes":
        _print_probes(descriptions)
    else:
        rows = [[description.name, description.summary] for description in descriptions]
        print_groups(["name", "description"], {"": rows})
    if not as_json:
        print_text(f"`peftlens {kind} NAME` shows one in full.")


def _print_probes(descriptions: Sequence[registry.Description]) -> None:
    """Print probes by scope."""
    groups: dict[str, list[list[str]]] = {}
    for one in sorted(descriptions, key=_scope):
        default = "no" if one.constants.get("OPTIONAL") else "yes"
        groups.setdefault(_scope(one), []).append([one.name, default, one.summary])
    print_groups(["name", "default", "description"], groups)
    print_text("Probes that are not default are measured only if a study names them.")


def _scope(probe: registry.Description) -> str:
    scope = (
        "tables of other probes" if "INPUTS" in probe.constants else reference_pages.scope(probe)
    )
    return scope[0].upper() + scope[1:]


def _show(kind: registry.Kind, name: str, as_json: bool) -> None:
    """Print one plug-in in full: its docstring, properties and options."""
    about = registry.describe(kind, name.partition(":")[0])
    if as_json:
        print_json([asdict(about)])
        return
    print_text(about.doc)
    facts = [f"{label}: {text}" for label, text in _facts(kind, about)]
    if about.package != "peftlens":
        facts.append(f"Provided by the package {about.package}.")
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
    """Yield labels and texts of a plug-in's constants."""
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
        yield "It holds if", constants["CRITERION"]
        for outcome, advice in constants["PRACTICE"].items():
            yield f"If {outcome}", advice
