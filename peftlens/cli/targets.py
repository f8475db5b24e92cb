"""What a command was pointed at: a study, a run, a folder of runs, or an adapter."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftlens.errors import InputError

if TYPE_CHECKING:
    from peftlens.results.study_results import StudyResults

HELP = "Folder of a study, of a run, of runs, or of an adapter."
Base = Annotated[
    str | None, typer.Option(help="Base model of an adapter; the one that it names by default.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run Python that the model brings, or a configuration names."
    ),
]


def open_target(
    target: Path, base: str | None, *, trust_remote_code: bool = False
) -> "StudyResults":
    """The runs there that are whole; the others are named.

    Args:
        target: the folder.
        base: of an adapter; the one that it names by default.
        trust_remote_code: let an adapter's configuration name code to import.

    Raises:
        InputError: there is nothing.
    """
    from peftlens.results import study_results

    if (target / "adapter_config.json").exists():
        from peftlens.adapters.external import ExternalAdapter

        adapter = ExternalAdapter(target, base, trust_remote_code)
        names = {adapter.id: adapter.record.configuration}
        found = study_results.of_runs(target, target.resolve().name, [adapter], names, [])
    else:
        found = study_results.read(target)
    for reason in found.damaged.values():
        print(f"Left out: {reason}", file=sys.stderr)
    if not found.runs:
        raise InputError(f"{target} holds no finished run; train one with `peftlens train`")
    return found
