"""Command that trains one run: train."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftlens.cli.completion import complete_bases, complete_methods, complete_tasks
from peftlens.cli.options import pairs
from peftlens.cli.output import Json, print_json, resumable
from peftlens.cli.targets import Trust
from peftlens.errors import InputError, validation_summary
from peftlens.io.escaping import visible

if TYPE_CHECKING:
    from peftlens.runs.run import Run
    from peftlens.training.run_plan import RunPlan

_MODEL, _TRAINING, _OUTPUT = "Model and data", "Training", "Output"


def train(  # noqa: PLR0913  # one argument per flag
    method: Annotated[
        str,
        typer.Argument(help="See `peftlens methods`.", autocompletion=complete_methods),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="A task, file:PATH or hub:org/name.",
            autocompletion=complete_tasks,
            rich_help_panel=_MODEL,
        ),
    ] = "bbc_topic",
    task_option: Annotated[
        list[str] | None,
        typer.Option(
            "--task-set",
            help="Option of the task, KEY=VALUE, such as label=stars or split.max_train=100.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            help="Built-in name, hub id with @revision, folder, or .gguf file.",
            autocompletion=complete_bases,
            rich_help_panel=_MODEL,
        ),
    ] = "smollm2-135m",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_MODEL)
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=_MODEL)
    ] = "auto",
    trust_remote_code: Trust = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of the method, KEY=VALUE, such as target_modules=attention; "
            "`peftlens methods NAME` lists them.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="Rank, of methods that have one: --set rank=N.", rich_help_panel=_TRAINING
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="Peak learning rate; the method's default if omitted.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps.", rich_help_panel=_TRAINING)] = 100,
    batch_size: Annotated[
        int, typer.Option(help="Examples per step.", rich_help_panel=_TRAINING)
    ] = 16,
    seed: Annotated[
        int, typer.Option(help="Random seed of the run.", rich_help_panel=_TRAINING)
    ] = 0,
    training_option: Annotated[
        list[str] | None,
        typer.Option(
            "--training-option",
            help="Option of the training, KEY=VALUE, such as warmup_ratio=0.1.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs.", rich_help_panel=_OUTPUT)] = Path(
        "runs"
    ),
    untrained: Annotated[
        bool,
        typer.Option(
            help="Also validate the untrained model, once for each base and task.",
            rich_help_panel=_OUTPUT,
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Train one method on one task, and save it as a run folder.

    Ends with the scores on the validation split beside those of the untrained model, and with the
    commands to go on with.
    """
    from pydantic import ValidationError

    from peftlens.runs.config import RunConfig

    options = _with_flag(pairs(option), "rank", rank, "--set")
    training = _with_flag(
        pairs(training_option), "learning_rate", learning_rate, "--training-option"
    )
    try:
        config = RunConfig.model_validate(
            {
                "method": method,
                "task": task,
                "base_model": base,
                "method_config": options,
                "task_config": pairs(task_option),
                "training": {"max_steps": steps, "batch_size": batch_size} | training,
                "seed": seed,
                "device": device,
                "dtype": dtype,
            }
        )
    except ValidationError as error:
        raise InputError(validation_summary(error, RunConfig)) from error
    from peftlens import registry
    from peftlens.tasks import load_task

    # report errors in names and in the task before torch is imported
    registry.check("methods", config.method)
    load_task(config.task, config.task_config)
    from peftlens.adapters.run_context import RunContext
    from peftlens.results.untrained import write_untrained
    from peftlens.training.run_plan import plan_run
    from peftlens.training.trainer import train_run
    from peftlens.training.untrained_scores import untrained_scores

    with resumable():
        planned = plan_run(config, RunContext(trust_remote_code=trust_remote_code))
        run = train_run(planned, out)
        finished = run.record.status == "finished"
        compared = finished and untrained and run.record.results["steps"]
        scores = untrained_scores(planned) if compared else {}
        if scores:
            write_untrained(run, scores)
    if as_json:
        results = {"run": str(run.path), "status": run.record.status, **run.record.results}
        print_json(results | ({"untrained": scores} if scores else {}))
    else:
        _print_run(run, planned, scores)
    if not finished:
        raise typer.Exit(1)


def _with_flag(values: dict[str, Any], name: str, value: Any, option: str) -> dict[str, Any]:
    """Add the value of a flag to options of the same name.

    Raises:
        InputError: the option is given, too.
    """
    if value is None:
        return values
    if name in values:
        flag = f"--{name.replace('_', '-')}"
        raise InputError(f"{flag} and {option} {name} are the same; give one of them")
    return {name: value} | values


def _print_run(run: "Run", planned: "RunPlan", untrained: Mapping[str, float]) -> None:
    """Print counts, the scores beside those of the untrained model, and the next commands."""
    results = run.record.results
    print(visible(f"run: {run.path}"))
    print(f"status: {run.record.status}")
    for key, value in results.items():
        if not key.startswith("validation_") and value != {}:
            print(visible(f"{key}: {_in_words(value)}"))
    if run.record.status == "finished":
        _print_scores(results, untrained, _scored_answers(planned))
        print("\nNext:")
        for command in next_commands(run.path, writes_text=planned.base.head is None):
            print(visible(f"  {command}"))


def _in_words(value: Any) -> str:
    """Write a table of counts as `train 84, test 24`, without empty ones."""
    if not isinstance(value, Mapping):
        return str(value)
    parts = (f"{key} {_in_words(one)}" for key, one in value.items() if one != {})
    return ", ".join(parts) or "none"


def _scored_answers(planned: "RunPlan") -> int:
    """Return the number of validation examples whose answer is right or wrong; else 0."""
    from peftlens.training.untrained_scores import validated_task

    return len(validated_task(planned).validation) if planned.task.has_choices else 0


def _print_scores(results: Mapping[str, Any], untrained: Mapping[str, float], n: int) -> None:
    """Print a table of scores; of accuracies with 95 % intervals over the n examples."""
    from peftlens.cli.output import print_table

    names = [name for name in results if name.startswith("validation_")]
    header = ["score", "this run", *(["untrained model"] if untrained else [])]
    rows = [
        [
            f"{name.removeprefix('validation_').replace('_', ' ')}{_unit(name)}",
            _score(name, results[name], n),
            *([_score(name, untrained.get(name), n)] if untrained else []),
        ]
        for name in names
    ]
    print_table(header, rows)
    interval = f", {n} examples; brackets: 95 % intervals over them" if n else ""
    print(f"Validation split{interval}.")


def _unit(name: str) -> str:
    if name == "validation_loss":
        return ", nats per token"
    return ", nats" if name == "validation_label_loss" else ""


def _score(name: str, value: float | None, n: int) -> str:
    from peftlens.numerics.resampling import share_interval

    if value is None:
        return ""
    if name != "validation_accuracy" or not n:
        return f"{value:.3f}"
    interval = share_interval(round(value * n), n)
    return f"{value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def next_commands(run: Path, *, writes_text: bool) -> Iterator[str]:
    """Yield the commands that go on with a trained run.

    Args:
        run: folder of the run.
        writes_text: whether the model continues texts.
    """
    yield shlex.join(["peftlens", "report", str(run), "--open"])
    if writes_text:
        yield shlex.join(["peftlens", "generate", str(run), "A text to go on with"])
    yield shlex.join(["peftlens", "inspect", str(run)])
    yield shlex.join(["peftlens", "probe", "task_accuracy", str(run)])
