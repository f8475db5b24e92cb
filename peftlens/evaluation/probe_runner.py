"""Execution of probes on finished runs, with cached results joined into tables."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.io.files import sha256_file
from peftlens.io.progress import say
from peftlens.models.model_kind import NotLanguageModelError
from peftlens.results.configurations import CONFIGURATIONS, configurations_table
from peftlens.results.stack import join, joined
from peftlens.results.table import (
    STATUS,
    NotApplicable,
    Table,
    failed,
    measured,
    not_applicable,
    read_of,
    write,
)
from peftlens.results.table_cache import ProbeSpec
from peftlens.runs.configuration_names import configurations
from peftlens.runs.run import CorruptedRunError, Run
from peftlens.runs.store import DISK
from peftlens.runs.trained_model import TrainedModel

Options = Mapping[str, Mapping[str, Any]]  # option values per probe name


def run_probe(
    context: RunContext, run: TrainedModel, name: str, options: Options | None = None
) -> Table:
    """Return a probe's table for one run, from disk if version and options match, else measured.

    A run that diverged or lacks a property the probe requires gets one row with the reason. A file
    that is damaged, has changed or is another run's is reported and made again.

    Args:
        context: source of the run's base model.
        run: finished run.
        name: name of a probe with `measure`.
        options: values for the probe's Config, by the probe's name; other probes' are ignored.

    Raises:
        InputError: the probe or option does not exist, or the run's files are damaged.
    """
    probe = registry.load("probes", name)
    config = _configured(name, options)
    values = _json_values(probe, config)
    file = run.table_folder and run.table_folder / f"{name}.parquet"
    cached = _saved(file, name, run) if file and file.exists() else None
    if cached and (cached.version, cached.config) == (probe.VERSION, values):
        return cached
    try:
        _check(run, probe.REQUIRES)
        frame = _call(probe.measure, config, context, run).assign(status="measured", reason=None)
    except (NotApplicable, NotLanguageModelError) as reason:
        frame = not_applicable(probe.COLUMNS, str(reason))
    columns = (*probe.COLUMNS, *STATUS)
    table = Table(name, probe.VERSION, columns, probe.CHARTS, frame, values, (run.id,))
    if file:
        file.parent.mkdir(exist_ok=True)
        write(table, file)
    return table


def _saved(file: Path, name: str, run: TrainedModel) -> Table | None:
    """Read a run's table; report a file that can't be used."""
    try:
        return read_of(file, name, [run.id])
    except InputError as error:
        say(f"{str(error).removesuffix('; delete it')}; measuring again")
        return None


def describe(name: str, options: Options) -> ProbeSpec:
    """Return a probe's version and configuration, and how it is measured.

    Raises:
        InputError: the probe or option does not exist.
    """
    probe = registry.load("probes", name)
    return ProbeSpec(
        name=name,
        each_run=hasattr(probe, "measure"),
        version=probe.VERSION,
        config=_json_values(probe, _configured(name, options)),
        measured_with=getattr(probe, "MEASURED_WITH", None),
    )


def configure(name: str, values: Mapping[str, Any]) -> Any:
    """Build a probe's Config, or None for a probe without options.

    Raises:
        InputError: an option does not exist, or a value is invalid.
    """
    if hasattr(registry.load("probes", name), "Config"):
        return registry.configure("probes", name, dict(values))
    if values:
        raise InputError(f"probe {name} has no options, but {', '.join(values)} was given")
    return None


def _configured(name: str, options: Options | None) -> Any:
    """Build a probe's Config; values of its own precede those of the probe it shares them with."""
    given = options or {}
    shared = getattr(registry.load("probes", name), "OPTIONS_OF", name)
    return configure(name, {**given.get(shared, {}), **given.get(name, {})})


def _call(probe: Callable[..., pd.DataFrame], config: Any, *arguments: Any) -> pd.DataFrame:
    return probe(*arguments) if config is None else probe(*arguments, config)


def _json_values(probe: ModuleType, config: Any) -> dict[str, Any]:
    """Convert the options to JSON types, with digests of the files that the probe reads.

    A file that isn't there has none; the probe tells so.
    """
    values = {} if config is None else json.loads(json.dumps(asdict(config)))
    for option in getattr(probe, "FILES", ()):
        path = Path(values[option]).expanduser()
        if path.is_file():
            values[f"{option}_sha256"] = sha256_file(path)
    return values


def _check(run: TrainedModel, required: frozenset[str]) -> None:
    if run.record.status == "diverged":
        raise NotApplicable("the run diverged: its loss was not finite")
    if missing := required - registry.exposed(run.config.method, run.config.method_config):
        raise NotApplicable(f"{run.config.method} has no {', '.join(sorted(missing))}")


def collect(  # noqa: PLR0913  # the runs, the probe, and what is known of both
    context: RunContext,
    runs: Sequence[TrainedModel],
    name: str,
    labels: dict[str, str] | None = None,
    options: Options | None = None,
    unmeasured: Mapping[str, Mapping[str, str]] | None = None,
) -> Table:
    """Return a probe's table over several runs.

    A run on which the probe raises an error has a row with the reason and the status failed, which
    is not kept in the run's folder: the next call measures it again.

    Args:
        context: source of the runs' base models.
        runs: finished runs, in the order of the table's rows.
        name: name of a probe with `measure`, `compare` or `combine`.
        labels: name of each run's configuration by run id; by default derived from the runs.
        options: values for the probes' Config, by probe name.
        unmeasured: reasons of the runs that are not to be measured, as a probe has just failed on
            them, by probe and run id.

    Raises:
        InputError: the probe or option does not exist, or a run's files are damaged.
        Exception: the error of the first run, if the probe fails on all of them.
    """
    probe = registry.load("probes", name)
    labels = configurations(run.record for run in runs) | (labels or {})
    unmeasured = unmeasured or {}
    if hasattr(probe, "measure"):
        return join(_measure(context, runs, name, options, unmeasured.get(name, {})), labels)
    config, stays = _configured(name, options), False
    if hasattr(probe, "compare"):
        applicable = {run: labels[run.id] for run in runs if _applies(run, probe.REQUIRES)}
        frame = _call(probe.compare, config, context, applicable)
        # a run that was left out, or a row that failed, is measured again beside the next runs
        whole = len(applicable) == len(runs) and frame.get("reason", pd.Series()).isna().all()
        stays = getattr(probe, "OF_CONFIGURATIONS", False) and whole
    else:
        tables = {
            source: measured(collect(context, runs, source, labels, options, unmeasured).frame)
            for source in probe.INPUTS
        }
        also = saved_tables(runs, getattr(probe, "ALSO_READS", ()), labels)
        tables |= {source: measured(one.frame) for source, one in also.items()}
        tables[CONFIGURATIONS] = configurations_table(runs, labels).frame
        frame = _call(probe.combine, config, tables)
    ids = tuple(run.id for run in runs)
    values = _json_values(probe, config)
    names = tuple(labels[run] for run in ids) if stays else None
    return Table(name, probe.VERSION, probe.COLUMNS, probe.CHARTS, frame, values, ids, names)


def saved_or_collected(
    context: RunContext,
    runs: Sequence[TrainedModel],
    name: str,
    labels: Mapping[str, str],
    options: Options,
) -> Table:
    """Return the table that all runs have on disk, whatever its options, or else measure it.

    Args:
        context: source of the runs' base models.
        runs: finished runs or adapters.
        name: name of a probe with `measure`.
        labels: names of the configurations, by run id; by default derived from the runs.
        options: values for the probe's Config if it is measured, by its name.

    Raises:
        InputError: see `collect`.
    """
    labels = configurations(run.record for run in runs) | {**labels}
    saved = saved_tables(runs, [name], labels).get(name)
    if saved and saved.runs == tuple(run.id for run in runs):
        return saved
    return collect(context, runs, name, labels, options)


def saved_tables(
    runs: Sequence[TrainedModel], names: Iterable[str], labels: Mapping[str, str]
) -> dict[str, Table]:
    """Return the tables of those probes that runs have on disk; none is measured for it."""
    on_disk = [run for run in runs if isinstance(run, Run)]
    tables = {name: joined(on_disk, name, labels)[0] for name in names}
    return {name: one for name, one in tables.items() if one}


def _measure(
    context: RunContext,
    runs: Sequence[TrainedModel],
    name: str,
    options: Options | None,
    reasons: Mapping[str, str],
) -> dict[TrainedModel, Table]:
    """Measure each run; those on which the probe fails, or has failed, get a row of the reason."""
    tables: dict[TrainedModel, Table] = {}
    errors: dict[TrainedModel, Exception] = {
        run: RuntimeError(reasons[run.id]) for run in runs if run.id in reasons
    }
    for run in runs:
        if run in errors:
            continue
        try:
            tables[run] = run_probe(context, run, name, options)
        except Exception as error:  # one run's failure must not cost the rows of the others
            if isinstance(error, CorruptedRunError) or getattr(error, "errno", None) in DISK:
                raise
            errors[run] = error
    if not tables:
        raise next(errors[run] for run in runs)
    measured_one = next(iter(tables.values()))
    columns = registry.load("probes", name).COLUMNS
    for run, error in errors.items():
        row = failed(columns, " ".join(str(error).split()) or type(error).__name__)
        tables[run] = replace(measured_one, frame=row)
    return {run: tables[run] for run in runs}


def _applies(run: TrainedModel, required: frozenset[str]) -> bool:
    try:
        _check(run, required)
    except NotApplicable:
        return False
    return True
