"""Targets of commands: a study, a run, a folder of runs, or an adapter."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peftlens.errors import InputError
from peftlens.io.escaping import visible

if TYPE_CHECKING:
    from peftlens.results.study_results import StudyResults

HELP = "Folder of a study, of a run, of runs, or of an adapter."
Base = Annotated[
    str | None,
    typer.Option(help="Base model of an adapter; by default the one named in the adapter's files."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code of the model, or code named in a configuration.",
    ),
]


def open_target(
    target: Path, base: str | None, *, trust_remote_code: bool = False
) -> "StudyResults":
    """Open the undamaged runs of a folder; print the warnings about its files.

    Args:
        target: folder of a study, of a run, of runs, or of an adapter.
        base: base model of an adapter; None for the one named in the adapter's files.
        trust_remote_code: whether to import code named in an adapter's configuration.

    Raises:
        InputError: the folder holds no finished run.
    """
    from peftlens.results import study_results

    if (target / "adapter_config.json").exists():
        from peftlens.adapters.external import ExternalAdapter

        adapter = ExternalAdapter(target, base, trust_remote_code)
        names = {adapter.id: adapter.record.configuration}
        results = study_results.of_runs(target, target.resolve().name, [adapter], names, [])
    else:
        results = study_results.read(target)
    warn(results)
    if not results.runs:
        raise InputError(f"{target} holds no finished run; train one with `peftlens train`")
    return results


def warn(results: "StudyResults") -> None:
    """Print the warnings about the files of a study."""
    for line in results.warnings:
        print(visible(line, keep=""), file=sys.stderr)
