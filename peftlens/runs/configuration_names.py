"""Names of configurations: what runs have in common that differ in their seeds alone.

A run that goes on from another is named by the tasks of the runs before it, since ids of runs
differ from seed to seed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from peftlens.io.files import canonical_json, sha256_text
from peftlens.runs.config import UNKNOWN_TASK, RunConfig


def configurations(runs: Iterable[Any]) -> dict[str, str]:
    """Name the configuration of each run, by run id; runs share it if only their seeds differ.

    Where the names of two configurations coincide, their differing values are appended.

    Args:
        runs: records or plans of runs.
    """
    return _labels({run.id: run for run in runs}, {"seed"})


def sweeps(runs: Iterable[Any]) -> dict[str, str]:
    """Name the sweep of each run, by run id; runs share it if only seed and rate differ.

    A sweep is a configuration at all its learning rates, which its name leaves out.

    Args:
        runs: records or plans of runs.
    """
    return _labels({run.id: run for run in runs}, {"seed", "learning_rate"})


def _labels(runs: Mapping[str, Any], ignored: set[str]) -> dict[str, str]:
    """Name each group of runs with equal values apart from the ignored keys."""
    first: dict[str, str] = {}
    labels = {}
    for run in runs.values():
        identity = _identity(run, ignored, runs)
        labels[run.id] = first.setdefault(identity, _base_name(run, ignored))
    for describe in (_values, _hashes):
        about = {run.id: describe(run, ignored, runs) for run in runs.values()}
        _append_differences(labels, about)
    _append_differences(labels, _repeated(labels, runs))
    return labels


def _repeated(labels: Mapping[str, str], runs: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Tell runs of one name, seed and rate apart, which go on from runs of several seeds."""
    keys = {
        id_: (labels[id_], run.config.seed, run.config.training.learning_rate)
        for id_, run in runs.items()
    }
    times = Counter(keys.values())
    names = {labels[id_] for id_, key in keys.items() if times[key] > 1}
    return {
        id_: {"continue_from": str(run.config.continue_from)} if labels[id_] in names else {}
        for id_, run in runs.items()
    }


def _identity(run: Any, ignored: set[str], runs: Mapping[str, Any]) -> str:
    """Return a key shared by the runs of one group; other programs' runs only have a name."""
    name = run.configuration if run.config.task == UNKNOWN_TASK else None
    before = runs.get(run.config.continue_from)
    earlier = [_identity(before, ignored, runs)] if before else []
    return canonical_json([name, _values(run, ignored, runs), run.depends_on, *earlier])


def _base_name(run: Any, ignored: set[str]) -> str:
    if "learning_rate" not in ignored:
        return run.configuration
    rate = f" learning_rate={run.config.training.learning_rate} "
    return f"{run.configuration} ".replace(rate, " ").rstrip()  # wherever the grid has it


def _append_differences(labels: dict[str, str], about: Mapping[str, dict[str, str]]) -> None:
    """Append the values that differ between runs of equal names, such as `max_steps=100`.

    Args:
        labels: names of the runs, by id, to which they are appended.
        about: values of the runs, by id.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for run, name in labels.items():
        groups[name].append(run)
    for members in groups.values():
        described = [about[run] for run in members]
        keys = dict.fromkeys(key for values in described for key in values)
        varying = [key for key in keys if len({values.get(key) for values in described}) > 1]
        for run, values in zip(members, described, strict=True):
            texts = [f"{key}={' '.join(values[key].split())}" for key in varying if key in values]
            labels[run] = " ".join([labels[run], *texts])


def _values(run: Any, ignored: set[str], runs: Mapping[str, Any]) -> dict[str, str]:
    values = {key: value for key, value in flat(run).items() if key not in ignored}
    del values["continue_from"]
    earlier = tasks_before(run, runs)
    return values | ({"after": earlier} if earlier else {})


def tasks_before(run: Any, runs: Mapping[str, Any]) -> str:
    """Join the tasks of the runs that a run goes on from, the first one first.

    Args:
        run: record or plan of a run.
        runs: records or plans, by id. A run before that is missing is named by its id.
    """
    names: list[str] = []
    while run and run.config.continue_from:
        id_ = run.config.continue_from
        run = runs.get(id_)
        names.insert(0, run.config.task if run else id_)
    return ",".join(names)


def _hashes(run: Any, ignored: set[str], runs: Mapping[str, Any]) -> dict[str, str]:
    values = {key: canonical_json(value) for key, value in run.depends_on.items()}
    if before := runs.get(run.config.continue_from):
        values["before"] = _identity(before, ignored, runs)
    return {key: sha256_text(value)[:8] for key, value in values.items()}


def hyperparameters(config: RunConfig) -> dict[str, Any]:
    """Flatten a configuration without its seed; nested keys keep only their last part."""
    values = config.model_dump(mode="json", exclude={"seed"})
    nested = [values.pop(name) for name in ("method_config", "task_config", "training")]
    keep = nested[2].pop("keep", {})
    kept = {"keep" if key == "kind" else f"keep_{key}": value for key, value in keep.items()}
    return values | nested[0] | nested[1] | nested[2] | kept


def flat(run: Any) -> dict[str, str]:
    """Flatten a run's configuration without its seed, with values as text."""
    return {key: text(value) for key, value in hyperparameters(run.config).items()}


def text(value: Any) -> str:
    """Convert a value of a configuration to text, independent of the order of a table's keys."""
    return canonical_json(value) if isinstance(value, dict) else str(value)
