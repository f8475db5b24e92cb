"""Commands on a study: carry it out, check its file, say how far it is."""

import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from peftlens.cli.output import Json, print_frame, print_json, resumable
from peftlens.cli.targets import Trust
from peftlens.errors import InputError

File = Annotated[Path, typer.Argument(help="TOML file with the grid.")]
Full = Annotated[
    bool,
    typer.Option(
        "--full-scale", help="The larger study that the file's table [full_scale] describes."
    ),
]


class _RunUnlessTold(TyperGroup):
    """`study FILE` means `study run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before what is neither a command nor --help."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunUnlessTold,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train and measure a grid of runs: `peftlens study FILE` is `peftlens study run FILE`.",
)


@app.command("run")
def run(  # noqa: PLR0913  # a flag each
    file: File,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; studies/NAME OF THE FILE by default.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Runs trained at the same time; by default as many as cores, GPUs and memory have "
            "room for. 0 trains in this process, for debugging.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each worker; 1 by default, as far as memory goes.")
    ] = None,
    runs_per_pass: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs of one method (ranks, rates, seeds) trained in one pass over the base; 8 on "
            "a GPU by default, 1 on a CPU, where it does not pay.",
        ),
    ] = None,
    full: Full = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: processes here; ray: a cluster; it needs the extra `cluster`."),
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: the I-th of N parts, from 1, for a scheduler's array of jobs."),
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="Runs whose configuration fits, such as 'lora*'; may be repeated."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try once more what failed before.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with what is in the folder; otherwise it must be empty.")
    ] = True,
    stall_timeout: Annotated[
        float,
        typer.Option(
            min=0, help="Minutes without progress after which a run counts as hung; 0: never."
        ),
    ] = 60.0,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train a grid of runs, measure them, write tables and a report; finished runs are kept.

    Exit code: 0 when all is done, 1 when a run or probe failed, 2 when the input or the disk must
    be mended, 130 after Ctrl-C (once: what is under way is finished; twice: it is dropped), 143
    after SIGTERM. The same command goes on where the last one stopped.
    """
    from peftlens.studies.runner import StudyOptions

    folder = out or Path("studies") / file.stem
    if not resume and (folder / "study.json").exists():
        raise InputError(
            f"{folder} holds a study already; give another --out, or leave --no-resume"
        )
    how = StudyOptions(
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
    study(file, folder, how, as_json=as_json, trust=trust_remote_code)


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(
            f"--shard {shard}: give the part and the number of parts, such as 1/8 to 8/8"
        )
    return int(found[1]), int(found[2])


def study(
    file: Path, out: Path, how: Any = None, *, as_json: bool = False, trust: bool = False
) -> None:
    """Carry a study out and say what came of it."""
    from peftlens.reports import page as report
    from peftlens.studies import runner as studies

    with resumable():
        outcome = studies.run_study(file, out, how, trust_remote_code=trust)
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
            print(f"\nReport: {page}")
        for line in outcome.failed:
            print(line, file=sys.stderr)
        if outcome.failed:
            print(
                f"Tracebacks lie in {out / 'failed'}; --retry-failed tries again", file=sys.stderr
            )
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")], as_json: Json = False
) -> None:
    """Say how far a study is: what is done, running, failed and left, and how long that may take.

    It only reads, so it can be asked at any time.
    """
    from dataclasses import asdict

    from peftlens.studies.status import study_status

    found = study_status(folder)
    if as_json:
        print_json(asdict(found))
        return
    print(
        f"{found.done} done, {len(found.running)} running, {len(found.failed)} failed, "
        f"{found.left} left{_ahead(found.seconds_left)}"
    )
    for one in found.running:
        print(f"  running: {one.what}, for {one.seconds:.0f} s (process {one.pid} on {one.host})")
    for line in (*found.failed.values(), *found.damaged.values()):
        print(f"  {line}")


def _ahead(seconds: float | None) -> str:
    if not seconds:
        return ""
    minutes = seconds / 60
    told = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return f"; about {told if minutes >= 1 else 'a minute'} of training ahead"


@app.command()
def validate(
    file: File, full: Full = False, as_json: Json = False, trust_remote_code: Trust = False
) -> None:
    """Check a study's file without training anything: names, grid, data, base, room on the disk.

    `peftlens plan FILE` also tries three steps of each configuration, to say how long it takes.
    """
    from peftlens.adapters.run_context import RunContext
    from peftlens.studies.config import read_text
    from peftlens.studies.grid import plan_study

    text = read_text(file)
    context = RunContext(trust_remote_code=trust_remote_code)
    grid = plan_study(text, str(file), context, full=full)
    free = shutil.disk_usage(Path.cwd()).free
    first = grid.plans[0].base
    found = {
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
    }
    if as_json:
        print_json(found)
    else:
        print(
            f"{file}: {len(grid.plans)} runs of {found['configurations']} configurations, on "
            f"{first.reference} ({first.dtype}, {first.device}), {len(grid.probes)} probes; "
            f"at least {grid.bytes_on_disk / 1e6:,.0f} MB on disk, of {free / 1e6:,.0f} MB free; "
            f"up to {grid.bytes_per_run / 1e9:.1f} GB of memory a worker. No mistake found."
        )
    if grid.bytes_on_disk > free:
        raise InputError(
            f"{file}: its runs take at least {grid.bytes_on_disk / 1e6:,.0f} MB, and the disk has "
            f"{free / 1e6:,.0f} MB free; save fewer checkpoints, or make room"
        )


def _print_summary(out: Path) -> None:
    """Accuracy, size and forgetting of each configuration, side by side."""
    from peftlens.results import table
    from peftlens.results.table import last_steps

    def read(name: str):
        file = out / "tables" / f"{name}.parquet"
        return table.read(file).frame if file.exists() else None

    accuracy, counts, forgetting = map(read, ("task_accuracy", "parameter_count", "forgetting"))
    if accuracy is None:
        return
    shown = accuracy.set_index("configuration")[
        ["accuracy", "items_ci_low", "items_ci_high", "n_items", "n_seeds"]
    ]
    if counts is not None:
        shown = shown.join(
            counts.groupby("configuration")[["trainable_parameters", "adapter_bytes"]].first()
        )
    if forgetting is not None:
        shown = shown.join(last_steps(forgetting).groupby("configuration")["forgetting"].mean())
    print_frame(shown.reset_index())
