"""Pages of the docs that are read off the sources: methods, probes, claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftlens import registry
from peftlens.errors import InputError
from peftlens.results.configurations import CONFIGURATIONS

_FAMILIES = ("baseline", "selective", "reparametrization", "additive adapter", "soft prompt", "mix")


@dataclass(frozen=True)
class Row:
    """A method as the table shows it.

    Attributes:
        source: the paper.
        trainable: parameters that it would train with its default options; None if not known.
        why_not_counted: why it is not known; empty if it is, or if no base was named.
        merges: whether its update can be written into the base, and under which condition.
        probes: names of the probes that need what it exposes, by commas.
        types: those that it stands for, where it stands for several.
        not_supported: of its types, with the reasons.
    """

    name: str
    family: str
    source: str
    trainable: int | None
    why_not_counted: str
    merges: str
    learning_rate: float
    probes: str
    summary: str
    types: tuple[str, ...]
    not_supported: tuple[tuple[str, str], ...]

    @property
    def counted(self) -> str:
        """The number of trained parameters, or why it is not known."""
        return self.why_not_counted if self.trainable is None else f"{self.trainable:,}"


def methods(base: str | None, *, trust_remote_code: bool = False) -> list[Row]:
    """A row for each method, by family.

    Args:
        base: a base model to count on; opening it takes seconds, and the rest does not.
        trust_remote_code: let it bring Python.

    Raises:
        InputError: there is no such base.
    """
    needs: dict[str, set[str]] = {
        name: set(registry.describe("probes", name).constants.get("REQUIRES") or ())
        for name in registry.names("probes")
    }
    shapes = _shapes(base, trust_remote_code) if base else None
    rows = [_row(name, needs, shapes) for name in registry.names("methods")]
    order = {family: place for place, family in enumerate(_FAMILIES)}
    return sorted(rows, key=lambda row: (order.get(row.family, len(order)), row.name))


def _shapes(base: str, trust: bool):
    from peftlens.models.base_model import load_base_model

    return load_base_model(base, device="cpu", trust_remote_code=trust).shapes


def _row(name: str, needs: dict[str, set[str]], shapes: object) -> Row:
    about = registry.describe("methods", name)
    exposes: set[str] = {*(about.constants.get("EXPOSES") or ())}
    trainable, why = _count(name, shapes) if shapes else (None, "")
    by_type = "ARGUMENT" in about.constants
    return Row(
        name=f"{name}:TYPE" if by_type else name,
        family=about.constants["FAMILY"],
        source=about.source,
        trainable=trainable,
        why_not_counted=why,
        merges="by type" if by_type else _merges(about.constants, exposes),
        learning_rate=about.constants["LEARNING_RATE"],
        probes=", ".join(probe for probe, need in needs.items() if need and need <= exposes),
        summary=about.summary,
        types=tuple(about.constants.get("TYPES") or ()),
        not_supported=tuple(
            (refused, reason)
            for constant in ("UNSUPPORTED", "UNSUPPORTED_STARTS")
            for refused, reason in (about.constants.get(constant) or {}).items()
        ),
    )


def _merges(constants: dict[str, Any], exposes: set[str]) -> str:
    if "delta_weight" not in exposes:
        return "no"
    condition = constants.get("MERGES_IF")
    return f"if {condition}" if condition else "yes"


def _count(name: str, shapes: object) -> tuple[int | None, str]:
    """Trained parameters with the default options, or why they are not known."""
    config = registry.configure("methods", name, {})
    if hasattr(config, "options"):
        return None, "by type"
    try:
        return registry.load("methods", name).trainable_parameters(config, shapes), ""
    except InputError as error:
        return None, str(error)


def markdown(rows: Sequence[Row], base: str | None) -> str:
    """The page docs/methods.md."""
    lines = [
        "# Methods",
        "",
        "Written by `peftlens methods --base smollm2-135m --format markdown`. A test compares.",
        "",
        f"Trained parameters are counted on `{base}` with each method's default options. Mergeable "
        "methods amount to an update of the base's weights, which `peftlens merge` writes into "
        "them. Probes that need neither a weight update nor a soft prompt apply to every method.",
    ]
    for family in dict.fromkeys(row.family for row in rows):
        lines += ["", f"## {family.capitalize()}", ""]
        lines += ["| name | what | source | trained | mergeable | rate | probes |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_markdown_row(row) for row in rows if row.family == family]
        lines += [f"\n`TYPE` is one of {', '.join(row.types)}, or of those above."
                  for row in rows if row.family == family and row.types]  # fmt: skip
    if refused := [pair for row in rows for pair in row.not_supported]:
        lines += ["", "## Not supported", "", "| in peft | why |", "|---|---|"]
        lines += [f"| `{name}` | {reason} |" for name, reason in refused]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Row) -> str:
    return _cells(f"`{row.name}`", row.summary, row.source, row.counted, row.merges,
                  f"{row.learning_rate:g}", row.probes)  # fmt: skip


def page(kind: Literal["probes", "claims"]) -> str:
    """The page docs/probes.md or docs/claims.md: each in full."""
    lines = [
        f"# {kind.capitalize()}",
        "",
        f"Written by `peftlens {kind} --format markdown`. A test compares.",
    ]
    for name in registry.names(kind):
        about = registry.describe(kind, name)
        lines += ["", f"## {name}", "", about.doc, ""]
        lines += _of_probe(name, about) if kind == "probes" else _of_claim(about)
    return "\n".join(lines) + "\n"


def _of_probe(name: str, about: registry.Description) -> list[str]:
    if needs := about.constants.get("INPUTS"):
        lines = [f"Of the tables of {', '.join(f'`{one}`' for one in needs)}."]
    elif needs := about.constants.get("REQUIRES"):
        lines = [f"For runs that expose {', '.join(f'`{one}`' for one in needs)}."]
    else:
        lines = ["For every run."]
    if about.config:
        lines += ["", "| option | type | default |", "|---|---|---|"]
        lines += [_cells(f"`{one[0]}`", f"`{one[1]}`", f"`{one[2]}`") for one in about.config]
    lines += ["", "| column | what | unit |", "|---|---|---|"]
    columns = registry.load("probes", name).COLUMNS
    return lines + [_cells(f"`{one.name}`", one.meaning, one.unit or "") for one in columns]


def _of_claim(about: registry.Description) -> list[str]:
    constants = about.constants
    probes = [one for one in constants["NEEDS"] if one != CONFIGURATIONS]  # every study has that
    needs = ", ".join(f"[`{one}`](probes.md#{one})" for one in probes)
    return [f"Source: {constants['SOURCE']}.", "",
            f"Judged by {needs}. To measure it: {constants['TO_MEASURE']}."]  # fmt: skip


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
