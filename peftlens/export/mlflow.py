"""MLflow: an experiment per study, with metrics by step, parameters and tags of its runs."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.export.experiment_run import ExperimentRun, Exported, tracker

# limits of MLflow's log_batch, and of its keys and values
_MOST_METRICS, _MOST_PARAMS = 1000, 100
_LONGEST_KEY, _LONGEST_VALUE = 250, 6000
_NOT_IN_KEYS = re.compile(r"[^\w\-. /]")
_RUN, _SHA256 = "peftlens.run", "peftlens.sha256"  # tags


def export(
    runs: Sequence[ExperimentRun], place: Path | None = None, project: str | None = None
) -> Exported:
    """Write the runs; those that are there with the same values stay as they are.

    Args:
        runs: runs to write.
        place: SQLite file; by default the store that MLFLOW_TRACKING_URI or MLflow itself names.
        project: name of the experiment; the study's by default.

    Raises:
        InputError: mlflow is not installed, or its store can't be used.
    """
    mlflow = tracker("mlflow", "mlflow")
    if place:
        place.absolute().parent.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{place.absolute()}" if place else mlflow.get_tracking_uri()
    written = 0
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        for run in runs:
            name = project or run.study
            found = client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else client.create_experiment(name)
            if not _is_there(client, experiment, run):
                _write(mlflow.entities, client, experiment, run)
                written += 1
    except (mlflow.exceptions.MlflowException, *_database_errors()) as error:
        raise InputError(f"MLflow's store {uri}: {' '.join(str(error).split())}") from error
    return Exported(
        place=uri,
        written=written,
        unchanged=len(runs) - written,
        hint=f"mlflow ui --backend-store-uri {uri} shows them",
    )


def _database_errors() -> tuple[type[Exception], ...]:
    """Return what a store in a file raises: it may be damaged, or its package missing."""
    try:
        return (ImportError, import_module("sqlalchemy.exc").SQLAlchemyError)
    except ImportError:  # not needed for a server
        return (ImportError,)


def _is_there(client: Any, experiment: str, run: ExperimentRun) -> bool:
    """Look for the run with the same values; delete it with other or incomplete ones."""
    is_there = False
    for found in client.search_runs([experiment], f"tags.`{_RUN}` = '{run.id}'"):
        if found.data.tags.get(_SHA256) == run.sha256 and not is_there:
            is_there = True
        else:
            client.delete_run(found.info.run_id)
    return is_there


def _write(entities: Any, client: Any, experiment: str, run: ExperimentRun) -> None:
    tags = {_RUN: run.id, "peftlens.group": run.group, "peftlens.study": run.study}
    started = client.create_run(
        experiment, start_time=round(1000 * run.started), tags=tags, run_name=run.name
    )
    number = started.info.run_id
    params = [
        entities.Param(_key(name), str(value)[:_LONGEST_VALUE])
        for name, value in run.hyperparameters.items()
    ]
    for at in range(0, len(params), _MOST_PARAMS):
        client.log_batch(number, params=params[at : at + _MOST_PARAMS])
    metrics = [*_metrics(entities, run)]
    for at in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(number, metrics=metrics[at : at + _MOST_METRICS])
    client.set_tag(number, _SHA256, run.sha256)  # last: it says that the run is complete
    end = round(1000 * (run.started + run.seconds))
    client.set_terminated(number, "FINISHED" if run.status == "finished" else "FAILED", end)


def _metrics(entities: Any, run: ExperimentRun) -> Iterator[Any]:
    """Yield the metrics by step, and the results at the last step."""
    for step, values in run.history.items():
        time = round(1000 * run.time_of(step))
        for name, value in values.items():
            yield entities.Metric(_key(name), value, time, step)
    time = round(1000 * run.time_of(run.last_step))
    for name, value in run.results.items():
        yield entities.Metric(_key(f"results/{name}"), value, time, run.last_step)


def _key(name: str) -> str:
    """Replace characters that MLflow refuses in names."""
    return _NOT_IN_KEYS.sub("_", name)[:_LONGEST_KEY]
