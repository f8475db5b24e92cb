"""Actions of a worker process: plan a study, train a run, measure it, write a table.

    python -m peftlens.studies.worker SECONDS

The worker keeps the base model in memory. It exits after SECONDS without progress (0: never).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.io.progress import begin
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.results import table
from peftlens.results.outcomes import Done, Failed, Outcome
from peftlens.runs.config import RunConfig
from peftlens.runs.paused import PausedRun
from peftlens.runs.run import Run
from peftlens.studies import worker_protocol
from peftlens.studies.grid import plan_study
from peftlens.studies.plan import StudyPlan
from peftlens.studies.worker_protocol import (
    MeasureRequest,
    PlanRequest,
    TableRequest,
    TrainBatchRequest,
    TrainRequest,
)
from peftlens.training import batched_trainer, trainer
from peftlens.training.partial_training import train_runs_until, train_until
from peftlens.training.run_plan import RunPlan, plan_run


def plan(context: RunContext, request: PlanRequest) -> StudyPlan:
    """Plan a study.

    Raises:
        InputError: the file, or anything it names, can't be used.
    """
    return plan_study(
        request.text,
        request.source,
        context,
        full=request.full_scale,
        dtypes=request.dtypes,
    ).to_plan(request.compiled)


def train(context: RunContext, request: TrainRequest) -> str:
    """Train a run, to its end or until a step; return a one-line summary of its results.

    Raises:
        InputError: the worker's plan of the run has a different id, or it can't be paused there.
        RunLockedError: another process is training it.
    """
    planned = _planned(context, request.config, request.run)
    planned = replace(planned, compiled=request.compiled)
    if request.until is None:
        return _summary(trainer.train_run(planned, request.folder))
    return _summary(train_until(planned, request.folder, request.until))


def train_batch(context: RunContext, request: TrainBatchRequest) -> dict[str, str]:
    """Train runs in one pass; return one-line summaries of their results, by id.

    Runs that another process is training are left out.

    Raises:
        InputError: see `train`.
    """
    plans = [_planned(context, config, run) for run, config in request.configs.items()]
    if request.until is None:
        runs = batched_trainer.train_runs(plans, request.folder)
    else:
        runs = train_runs_until(plans, request.folder, request.until)
    return {run.id: _summary(run) for run in runs}


def _planned(context: RunContext, config: RunConfig, run: str) -> RunPlan:
    planned = plan_run(config, context)
    if planned.id != run:
        raise InputError(
            "base model, data or packages differ from those of the study's plan: "
            f"the run's id is {planned.id} here"
        )
    return planned


def _summary(run: Run | PausedRun) -> str:
    if isinstance(run, PausedRun):
        return f"paused after step {run.step}, {_score(run.scores)}"
    results = run.record.results
    if run.record.status == "diverged":
        return "diverged"
    return f"{_score(results)}, {run.timing()[-1]['seconds']:.0f} s of training"


def _score(results: Mapping[str, Any]) -> str:
    if "validation_accuracy" in results:
        return f"accuracy {results['validation_accuracy']:.3f} on validation"
    if "validation_loss" in results:
        return f"loss {results['validation_loss']:.3f} on validation"
    return "no finite loss on validation"


def measure(context: RunContext, request: MeasureRequest) -> dict[str, Outcome]:
    """Measure probes on a finished run; return the outcomes of unfinished probes, by name.

    Measuring ends at a corrupted run or a full disk, where all later probes would fail too.
    """
    unfinished: dict[str, Outcome] = {}
    for name in request.probes:
        begin(name)
        outcome = worker_protocol.perform(
            probe_runner.run_probe, context, Run(request.run), name, request.probe_options
        )
        if not isinstance(outcome, Done):
            unfinished[name] = outcome
            if not isinstance(outcome, Failed):
                break
    return unfinished


def write_table(context: RunContext, request: TableRequest) -> dict[str, str]:
    """Write a probe's table over finished runs; return the reasons of its failed runs, by id."""
    runs = [Run(folder) for folder in request.runs]
    request.file.parent.mkdir(exist_ok=True)
    joined = probe_runner.collect(
        context, runs, request.probe, request.labels, request.probe_options, request.unmeasured
    )
    table.write(joined, request.file)
    return table.failures(joined.frame)


def actions() -> worker_protocol.Actions:
    """Return the actions of one worker, which share its base model."""
    base_models = BaseModelCache()
    by_kind = {"plan": plan, "train": train, "train_batch": train_batch, "measure": measure,
               "table": write_table}  # fmt: skip
    return {kind: partial(_in_context, action, base_models) for kind, action in by_kind.items()}


def _in_context(
    action: Callable[[RunContext, Any], Any], base_models: BaseModelCache, request: Any
) -> Any:
    context = RunContext(base_models=base_models, trust_remote_code=request.trust_remote_code)
    return action(context, request)


if __name__ == "__main__":
    worker_protocol.main(actions())
