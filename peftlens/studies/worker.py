"""What a worker does: plan a study, train a run, measure it, write a table. It holds the base.

    python -m peftlens.studies.worker SECONDS

Its tasks come from `supervising`; SECONDS without progress end it (0: never).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.io.progress import begin
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.results import table as tables
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.studies import worker_protocol
from peftlens.studies.grid import inventory
from peftlens.training import batched_trainer, trainer
from peftlens.training.run_plan import RunPlan, plan_run


def train(
    config: Mapping[str, Any], run: str, runs: str, trust: bool, *, base_models: BaseModelCache
) -> str:
    """Train a run below the folder `runs`; returns what came out, in words.

    Raises:
        InputError: planned here, it is another run than `run`.
        RunLockedError: another process is training it.
    """
    context = RunContext(base_models=base_models, trust_remote_code=trust)
    return _in_words(trainer.train_run(_planned(config, run, context), Path(runs)))


def train_together(
    configs: Mapping[str, Mapping[str, Any]],
    runs: str,
    trust: bool,
    *,
    base_models: BaseModelCache,
) -> dict[str, str]:
    """Train runs in one pass, each given by its id; returns what came out, in words.

    What another process is training is left out.

    Raises:
        InputError: see `train`.
    """
    context = RunContext(base_models=base_models, trust_remote_code=trust)
    plans = [_planned(config, run, context) for run, config in configs.items()]
    return {run.id: _in_words(run) for run in batched_trainer.train_runs(plans, Path(runs))}


def _planned(config: Mapping[str, Any], run: str, context: RunContext) -> RunPlan:
    planned = plan_run(RunConfig.model_validate(config), context)
    if planned.id != run:
        raise InputError(
            "base, data or packages are not those that the study was planned with: "
            f"it is run {planned.id} here"
        )
    return planned


def _in_words(run: Run) -> str:
    results = run.record.results
    if run.record.status == "diverged":
        return "diverged"
    score = results.get("validation_accuracy")
    shown = f"loss {results['validation_loss']:.3f}" if score is None else f"accuracy {score:.3f}"
    return f"{shown} on validation, {run.timing()[-1]['seconds']:.0f} s of training"


def measure(
    run: str,
    probes: Sequence[str],
    options: probe_runner.Options,
    trust: bool,
    *,
    base_models: BaseModelCache,
) -> dict[str, dict[str, Any]]:
    """Measure probes on a finished run; returns the outcome of each that was not done.

    What is wrong with the run or the disk is wrong for all that follow: they are not tried.
    """
    context = RunContext(base_models=base_models, trust_remote_code=trust)
    wrong: dict[str, dict[str, Any]] = {}
    for name in probes:
        begin(name)
        task = {"do": "probe", "with": {"run": run, "name": name, "options": options}}
        outcome = worker_protocol.perform(task, {"probe": partial(_probe, context)})
        if "done" not in outcome:
            wrong[name] = outcome
            if "failed" not in outcome:
                break
    return wrong


def _probe(context: RunContext, run: str, name: str, options: probe_runner.Options) -> None:
    probe_runner.run_probe(context, Run(Path(run)), name, options)


def table(  # noqa: PLR0913  # what decides a table
    name: str,
    runs: Sequence[str],
    labels: dict[str, str],
    options: probe_runner.Options,
    file: str,
    trust: bool,
    *,
    base_models: BaseModelCache,
) -> None:
    """Write a probe's table over finished runs, given by their folders."""
    found = [Run(Path(run)) for run in runs]
    context = RunContext(base_models=base_models, trust_remote_code=trust)
    target = Path(file)
    target.parent.mkdir(exist_ok=True)
    tables.write(probe_runner.collect(context, found, name, labels, options), target)


def actions() -> worker_protocol.Actions:
    """Return the actions of one worker, which share the base model that it holds."""
    base_models = BaseModelCache()
    return {
        "plan": partial(inventory, base_models=base_models),
        "train": partial(train, base_models=base_models),
        "train_together": partial(train_together, base_models=base_models),
        "measure": partial(measure, base_models=base_models),
        "table": partial(table, base_models=base_models),
    }


if __name__ == "__main__":
    worker_protocol.main(actions())
