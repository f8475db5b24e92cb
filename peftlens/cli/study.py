"""Commands for studies: run, status, verify, validate."""

import re
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from peftlens.cli.completion import complete_claims
from peftlens.cli.output import (
    Json,
    print_class_balances,
    print_frame,
    print_json,
    print_token_counts,
    resumable,
)
from peftlens.cli.targets import Trust
from peftlens.cli.until_decided import decide, print_status
from peftlens.errors import InputError, nearest
from peftlens.io.escaping import visible
from peftlens.numerics.counts import counted, duration

if TYPE_CHECKING:
    from peftlens.studies.status import StudyStatus

File = Annotated[Path, typer.Argument(help="TOML file with the grid.")]
Full = Annotated[
    bool,
    typer.Option("--full-scale", help="Run the larger study of the file's table [full_scale]."),
]
_SELECTION, _RESOURCES, _DECISIONS = "Selection of runs", "Resources", "Decisions"


class _DefaultToRun(TyperGroup):
    """Command group in which `study FILE` means `study run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `run` before arguments that start with neither a command nor --help."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            close = nearest(args[0], self.commands)
            if close and not args[0].startswith("-") and not Path(args[0]).exists():
                ctx.fail(f"No such command '{args[0]}'")
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_DefaultToRun,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train and measure a grid of runs: `peftlens study FILE` is `peftlens study run FILE`.",
)


@app.command("run")
def run(  # noqa: PLR0913  # one argument per flag
    file: File,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; studies/NAME OF THE FILE by default.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Runs trained at the same time; by default as many as cores, GPUs and memory "
            "allow. 0 trains in this process, for debugging.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads per worker; by default 1, or more if memory limits the workers.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    runs_per_pass: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs of one method (ranks, rates, seeds) trained in one pass over the base "
            "model; by default 8 on a GPU and 1 on a CPU, where batches are no faster.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    full: Full = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="local: processes on this machine; ray: a cluster; requires the extra `cluster`.",
            rich_help_panel=_RESOURCES,
        ),
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N for the I-th of N parts, from 1, for a job array of a scheduler.",
            rich_help_panel=_SELECTION,
        ),
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Pattern of configurations to run, such as 'lora*'; may be repeated.",
            rich_help_panel=_SELECTION,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Retry runs and probes that failed before.",
            rich_help_panel=_SELECTION,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            help="Continue the study in the folder; otherwise the folder must be empty.",
            rich_help_panel=_SELECTION,
        ),
    ] = True,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Race the learning rates, then confirm the best on fresh seeds, round by round, "
            "until every claim is decided; see the file's table [decisions].",
            rich_help_panel=_DECISIONS,
        ),
    ] = False,
    claims: Annotated[
        list[str] | None,
        typer.Option(
            help="Claim to decide; may be repeated. By default all whose tables the study has.",
            autocompletion=complete_claims,
            rich_help_panel=_DECISIONS,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time of training and measuring, such as 6h or 90m, that no round may overrun.",
            rich_help_panel=_DECISIONS,
        ),
    ] = None,
    stall_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Minutes without progress after which a run counts as hung; 0 for never.",
            rich_help_panel=_RESOURCES,
        ),
    ] = 60.0,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train and measure a grid of runs, and write tables and a report; finished runs are kept.

    Exit codes: 0: all is done; 1: a run or probe failed; 2: the input or the disk needs correction;
    130: Ctrl-C (once: present jobs are finished; twice: they are dropped); 143: SIGTERM. The same
    command resumes the study.
    """
    from peftlens.results.sequential import is_sequential
    from peftlens.studies.runner import StudyOptions

    folder = out or Path("studies") / file.stem
    if is_sequential(folder) and not until_decided:
        raise InputError(f"{folder} was begun with --until-decided; give it, or another --out")
    if not resume and ((folder / "study.json").exists() or is_sequential(folder)):
        raise InputError(
            f"{folder} holds a study already; give another --out, or leave --no-resume"
        )
    options = StudyOptions(
        workers=workers,
        threads=threads,
        runs_per_pass=runs_per_pass,
        full_scale=full,
        engine=engine,
        shard=_part(shard),
        filter=tuple(filter_ or ()),
        retry_failed=retry_failed,
        stall_timeout=60 * stall_timeout,
    )
    if until_decided:
        changes = {"claims": tuple(claims or ()), "budget": budget}
        decide(file, folder, options, changes, as_json=as_json, trust=trust_remote_code)
    elif claims or budget:
        raise InputError("--claims and --budget belong to --until-decided; give it, too")
    else:
        study(file, folder, options, as_json=as_json, trust=trust_remote_code)


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(
            f"--shard {shard}: give the part and the number of parts, such as 1/8 to 8/8"
        )
    return int(match[1]), int(match[2])


def study(
    file: Path, out: Path, options: Any = None, *, as_json: bool = False, trust: bool = False
) -> None:
    """Run a study, write its report and print a summary."""
    from peftlens.reports import page as report
    from peftlens.studies.runner import StudyOptions, run_study

    options = replace(options or StudyOptions(), show=partial(report.write_while_running, out))
    with resumable():
        outcome = run_study(file, out, options, trust_remote_code=trust)
    page = report.write(out) if (out / "tables").is_dir() else None
    if as_json:
        print_json(
            {
                "folder": str(outcome.folder),
                "report": page and str(page),
                "runs": [run.id for run in outcome.runs],
                "failed": list(outcome.failed),
                "left": outcome.left,
            }
        )
    else:
        _print_summary(out)
        if page:
            print(visible(f"\nReport: {page}"))
        for line in outcome.failed:
            print(visible(line), file=sys.stderr)
        if outcome.failed:
            hint = f"Tracebacks are in {out / 'failed'}; --retry-failed tries again"
            print(visible(hint), file=sys.stderr)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")], as_json: Json = False
) -> None:
    """Show the progress of a study: runs done, running, failed and left, and the remaining time.

    Changes nothing, so it can be called at any time.
    """
    from dataclasses import asdict

    from peftlens.results.sequential import is_sequential
    from peftlens.studies.status import study_status

    if is_sequential(folder):
        print_status(folder, _print_status, as_json=as_json)
    elif as_json:
        print_json(asdict(study_status(folder)))
    else:
        _print_status(study_status(folder))


def _print_status(progress: "StudyStatus") -> None:
    print(
        f"{progress.done} done, {len(progress.running)} running, {len(progress.failed)} failed, "
        f"{progress.left} left{_remaining_time(progress.seconds_left)}"
    )
    for one in progress.running:
        where = f"process {one.pid} on {one.host}"
        print(visible(f"  running: {one.what}, for {one.seconds:.0f} s ({where})"))
    for line in (*progress.failed.values(), *progress.damaged.values()):
        print(visible(f"  {line}", keep=""))


def _remaining_time(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f"; about {duration(max(seconds, 60))} of training left"


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, of runs or of a run.")],
    as_json: Json = False,
) -> None:
    """Verify a study's files: digests of all runs, weights included, and the tables' origin.

    Changes nothing, and takes as long as reading all weights. Exit code 1 if a file is damaged,
    has changed, or belongs to another run or study.
    """
    from dataclasses import asdict

    from peftlens.studies.verification import verify as verify_files

    found = verify_files(folder)
    if as_json:
        print_json(asdict(found) | {"folder": str(found.folder)})
    else:
        for problem in found.problems:
            print(visible(problem, keep=""))
        for note in found.notes:
            print(visible(f"Note: {note}", keep=""))
        verdict = counted(len(found.problems), "problem") if found.problems else "No problems"
        print(f"{verdict} in {counted(found.runs, 'run')} and {counted(found.tables, 'table')}")
    if found.problems:
        raise typer.Exit(1)


@app.command()
def validate(
    file: File, full: Full = False, as_json: Json = False, trust_remote_code: Trust = False
) -> None:
    """Validate a study file without training: names, grid, data, tokens, base model, disk space.

    `peftlens plan FILE` also trains three steps of each configuration to estimate the time.
    """
    from dataclasses import asdict

    from peftlens.data.class_balance import class_balance
    from peftlens.studies.grid import read_study
    from peftlens.training.token_counts import token_counts_by_task

    grid = read_study(file, full=full, trust_remote_code=trust_remote_code)
    counts = token_counts_by_task(grid.plans)
    tasks = {plan.config.task: plan.task for plan in grid.plans}
    balances = {name: found for name, task in tasks.items() if (found := class_balance(task))}
    free = shutil.disk_usage(Path.cwd()).free
    first = grid.plans[0].base
    summary = {
        "name": grid.study.name,
        "runs": len(grid.plans),
        "configurations": len(set(grid.labels.values())),
        "probes": list(grid.probes),
        "base": first.reference,
        "device": first.device,
        "dtype": first.dtype,
        "bytes_on_disk": grid.bytes_on_disk,
        "bytes_free": free,
        "bytes_per_run": grid.bytes_per_run,
        "tasks": {name: asdict(one) for name, one in counts.items()},
        "classes": {name: asdict(one) for name, one in balances.items()},
    }
    if as_json:
        print_json(summary)
    else:
        print_token_counts(counts)
        print_class_balances(balances)
        text = (
            f"{file}: {counted(len(grid.plans), 'run')} of "
            f"{counted(len(set(grid.labels.values())), 'configuration')}, on {first.reference} "
            f"({first.dtype}, {first.device}), {counted(len(grid.probes), 'probe')}; "
            f"at least {grid.bytes_on_disk / 1e6:,.0f} MB on disk, of {free / 1e6:,.0f} MB free; "
            f"up to {grid.bytes_per_run / 1e9:.1f} GB of memory per worker. No errors found."
        )
        print(visible(text))
    if grid.bytes_on_disk > free:
        raise InputError(
            f"{file}: its runs take at least {grid.bytes_on_disk / 1e6:,.0f} MB, and the disk has "
            f"{free / 1e6:,.0f} MB free; save fewer checkpoints, or free disk space"
        )


def _print_summary(out: Path) -> None:
    """Print accuracy, size and forgetting of each configuration, and what applies to no run."""
    from peftlens.results import majority_baseline, table
    from peftlens.results.table import last_steps, measured

    def read(name: str):
        with suppress(InputError):  # missing or damaged, as the report says
            return table.read(out / "tables" / f"{name}.parquet").frame

    for file in sorted((out / "tables").glob("*.parquet")):
        frame = read(file.stem)
        if frame is not None and len(frame) and measured(frame).empty:
            reason = frame["reason"].iloc[0]
            print(visible(f"{file.stem} was measured for no run: {reason}"))
    accuracy, counts, forgetting = map(read, ("task_accuracy", "parameter_count", "forgetting"))
    if accuracy is None:
        return
    shown = accuracy.set_index("configuration")[
        ["accuracy", "items_ci_low", "items_ci_high", "n_items", "n_seeds"]
    ]
    if counts is not None and len(counts := measured(counts)):
        shown = shown.join(
            counts.groupby("configuration")[["trainable_parameters", "adapter_bytes"]].first()
        )
    if forgetting is not None and len(forgetting := measured(forgetting)):
        shown = shown.join(last_steps(forgetting).groupby("configuration")["forgetting"].mean())
    print_frame(shown.reset_index())
    for sentence in majority_baseline.sentences(accuracy):
        print(visible(sentence))
