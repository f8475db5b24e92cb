"""Command that plans a study: its cost before it is trained, or the size that decides claims."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from peftlens.cli import study
from peftlens.cli.completion import complete_claims
from peftlens.cli.output import (
    Json,
    print_frame,
    print_json,
    print_table,
    print_text,
    print_token_counts,
)
from peftlens.cli.targets import Trust
from peftlens.errors import InputError
from peftlens.io.escaping import visible


def plan(  # noqa: PLR0913  # one argument per flag
    file: Annotated[
        Path,
        typer.Argument(help="TOML file with the grid; with --claims the folder of a pilot study."),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="With --claims, the claims to plan for; by default all that the pilot measures.",
            autocompletion=complete_claims,
            show_default=False,
        ),
    ] = None,
    claims: Annotated[
        bool,
        typer.Option(
            "--claims",
            help="Plan the seeds and test examples that decide claims, by the noise of a pilot.",
        ),
    ] = False,
    looks: Annotated[
        int,
        typer.Option(
            min=1, max=20, help="With --claims, number of times that the claims will be judged."
        ),
    ] = 1,
    full: study.Full = False,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Estimate tokens, time, memory and disk space of a study before it is trained.

    Trains each configuration for three steps without saving it. The time is for training alone,
    without validation and probes.

    With --claims: how many seeds, runs and hours decide each claim with power 0.8, and how many
    test examples, by the variances that a finished study of a few seeds has seen.
    """
    if claims:
        plan_claims(file, names, looks, as_json=as_json)
        return
    if names:
        raise InputError(f"{names[0]}: names of claims need --claims and the folder of a study")
    if file.is_dir():
        raise InputError(f"{file} is a folder; give a study file, or --claims to plan by its noise")
    plan_cost(file, full=full, as_json=as_json, trust_remote_code=trust_remote_code)


def plan_cost(file: Path, *, full: bool, as_json: bool, trust_remote_code: bool) -> None:
    """Estimate the cost of a study file, and print it."""
    from dataclasses import asdict

    from peftlens.studies.estimate import estimate, in_words
    from peftlens.studies.grid import read_study
    from peftlens.training.token_counts import token_counts_by_task

    grid = read_study(file, full=full, trust_remote_code=trust_remote_code)
    counts, frame = token_counts_by_task(grid.plans), estimate(grid)
    if as_json:
        tasks = {name: asdict(one) for name, one in counts.items()}
        rows = json.loads(frame.to_json(orient="records"))  # None where a value is missing
        print_json({"configurations": rows, "tasks": tasks})
    else:
        print_frame(frame)
        print()
        print_token_counts(counts)
        print(in_words(frame, Path.cwd()))


def plan_claims(folder: Path, names: list[str] | None, looks: int, *, as_json: bool) -> None:
    """Plan the study that decides claims, and print it."""
    from peftlens.results import study_results
    from peftlens.studies.claim_plan import claim_plan

    frame = claim_plan(study_results.read(folder), names, looks)
    if as_json:
        print_json(json.loads(frame.to_json(orient="records")))
        return
    measured = frame if names else frame[frame["outcome"] != "not measured"]
    if measured.empty:
        raise InputError(f"{folder} measures no claim; `peftlens claims NAME` says what would")
    header = ["claim", "verdict", "now", "seeds", "or", "runs", "hours"]
    print_table(header, [_cells(row) for row in measured.to_dict("records")])
    for row in measured.dropna(subset=["comparison"]).to_dict("records"):
        print(visible(f"{row['claim']}: {row['comparison']}: {_interval(row)}"))
    print_text(
        "now: seeds x examples of the pilot; seeds: number that decides with power 0.8, with as "
        "many examples; or: seeds x examples that decide, too; runs, hours: further ones for the "
        "seeds, at all learning rates, training alone. Below the table the widest comparison of "
        "each claim."
    )


def _cells(row: dict[Any, Any]) -> list[str]:
    if _is_missing(row["comparison"]):
        return [str(row["claim"]), str(row["outcome"]), "", "", "", "", ""]
    seconds = row["more_seconds"]
    return [
        str(row["claim"]),
        str(row["outcome"]),
        _size(row["n_seeds"], row["n_items"]),
        _number(row["seeds_needed"]),
        _size(row["items_at_seeds"], row["items_needed"]),
        _number(row["more_runs"]),
        "" if _is_missing(seconds) else f"{seconds / 3600:.2g}",
    ]


def _size(seeds: Any, items: Any) -> str:
    return _number(seeds) if _is_missing(items) else f"{seeds} x {items:,}"


def _number(value: Any) -> str:
    return "" if _is_missing(value) else f"{value:,}"


def _interval(row: dict[Any, Any]) -> str:
    factor, unit = (100, "points") if row["unit"] == "1" else (1, row["unit"])
    text = f"{factor * row['estimate']:+.3g}"
    if not _is_missing(row["ci_low"]):
        text += f" ({factor * row['ci_low']:+.3g} to {factor * row['ci_high']:+.3g})"
    return f"{text} {unit}"


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
