"""Experiment run: a run as trackers see it, with hyperparameters, history and results."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from peftlens.errors import InputError
from peftlens.io.extras import install_command
from peftlens.io.files import canonical_json, sha256_text
from peftlens.results.invocations import redacted
from peftlens.results.item_scores import item_scores
from peftlens.results.study_results import StudyResults
from peftlens.results.table import measured
from peftlens.runs.configuration_names import hyperparameters
from peftlens.runs.trained_model import TrainedModel

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """A run in the words of experiment trackers.

    Attributes:
        id: id of the run.
        name: configuration and seed.
        group: configuration, which the runs of all seeds share.
        study: title of the study or of the folder of runs.
        method: name of the method.
        status: finished or diverged.
        hyperparameters: values of the configuration, with seed, study and status; lists are JSON
            text.
        history: values of the logged steps, by step, in order.
        results: final values.
        started: seconds since 1970 at which training began, as far as the files' times tell.
        seconds: duration of the training.
    """

    id: str
    name: str
    group: str
    study: str
    method: str
    status: str
    hyperparameters: Mapping[str, Value]
    history: Mapping[int, Mapping[str, float]]
    results: Mapping[str, float]
    started: float
    seconds: float

    @property
    def last_step(self) -> int:
        """Last step of the history; 0 without one."""
        return max(self.history, default=0)

    def time_of(self, step: int) -> float:
        """Return the time of a step in seconds since 1970, as if all steps took equally long."""
        return self.started + self.seconds * (step / self.last_step if self.last_step else 1)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of everything but the times, which copying a folder changes."""
        values = asdict(self)
        del values["started"], values["seconds"]
        return sha256_text(canonical_json(values))


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export has written.

    Attributes:
        place: folder or address of the tracker's files.
        written: number of runs that were written.
        unchanged: number of runs that were there already.
        hint: how to go on, such as the command that shows the runs.
    """

    place: str
    written: int
    unchanged: int = 0
    hint: str


def experiment_runs(results: StudyResults) -> list[ExperimentRun]:
    """Read the runs of a study, of a folder of runs, or a single run.

    Raises:
        InputError: there is no finished run.
    """
    if not results.runs:
        raise InputError(f"{results.folder} holds no finished run; train one, or run the study")
    scores, forgetting = _test_scores(results), _forgetting(results)
    return [
        _experiment_run(results, run, scores.get(run.id, {}), forgetting.get(run.id, {}))
        for run in results.runs
    ]


def _experiment_run(
    results: StudyResults,
    run: TrainedModel,
    scores: Mapping[str, float],
    forgetting: Mapping[int, Mapping[str, float]],
) -> ExperimentRun:
    record, name = run.record, results.index["names"][run.id]
    totals = _totals(run)
    seconds = totals.get("training_seconds", 0.0)
    lines = [*run.metrics(), *(line for line in run.timing() if "step" in line)]
    lines += [{"step": step, **values} for step, values in forgetting.items()]
    return ExperimentRun(
        id=run.id,
        name=redacted(name),
        group=redacted(results.configurations[run.id]),
        study=redacted(results.name),
        method=run.config.method,
        status=record.status,
        hyperparameters=_hyperparameters(results, run),
        history=_history(lines),
        results={**dict(_numbers(record.results)), **totals, **scores},
        started=(run.path / "run.json").stat().st_mtime - seconds,
        seconds=seconds,
    )


def _hyperparameters(results: StudyResults, run: TrainedModel) -> dict[str, Value]:
    about = {"seed": run.config.seed, "study": results.name, "status": run.record.status}
    values = hyperparameters(run.config) | about
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Value:
    """Keep numbers; convert everything else to text without home folders and secrets."""
    if isinstance(value, (bool, int, float)):
        return value
    return redacted(value if isinstance(value, str) else canonical_json(value))


def _history(lines: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Merge lines of one step, which trackers expect at once and in order."""
    history: dict[int, dict[str, float]] = {}
    for line in sorted(lines, key=lambda line: line["step"]):
        values = {name: value for name, value in _numbers(line) if name != "step"}
        if values:
            history.setdefault(line["step"], {}).update(values)
    return history


def _totals(run: TrainedModel) -> dict[str, float]:
    """Duration and peak memory of the whole training."""
    lines = [line for line in run.timing() if "step" not in line]
    totals = {name: value for line in lines for name, value in _numbers(line)}
    seconds = {"training_seconds": totals.pop("seconds")} if "seconds" in totals else {}
    return seconds | totals


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a mapping, with nested names joined by slashes."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, value


def _test_scores(results: StudyResults) -> dict[str, dict[str, float]]:
    """Mean score of the test examples, by run, if they were measured."""
    if "task_items" not in results.tables:
        return {}
    items = measured(results.tables["task_items"].frame)
    means = item_scores(items).groupby(items["run"]).mean().dropna()
    return {str(run): {"test_score": float(score)} for run, score in means.items()}


def _forgetting(results: StudyResults) -> dict[str, dict[int, dict[str, float]]]:
    """Increase of the loss on each suite at the checkpoints, by run and step, if measured."""
    if "forgetting" not in results.tables:
        return {}
    rows = measured(results.tables["forgetting"].frame).dropna(subset=["forgetting"])
    found: dict[str, dict[int, dict[str, float]]] = {}
    for run, step, suite, value in rows[["run", "step", "suite", "forgetting"]].to_numpy():
        steps = found.setdefault(str(run), {})
        steps.setdefault(int(step), {})[f"forgetting/{suite}"] = float(value)
    return found


def tracker(module: str, extra: str) -> Any:
    """Import a tracker's package.

    Args:
        module: module to import.
        extra: extra of peftlens that installs it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"the export to {extra} needs an extra: {install_command(extra)}"
        ) from error
