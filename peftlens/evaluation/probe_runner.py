"""Run probes over finished runs, keep what they measured, and join it into tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.results.configurations import CONFIGURATIONS, configurations_table
from peftlens.results.stack import join
from peftlens.results.table import (
    STATUS,
    NotApplicable,
    Table,
    measured,
    not_applicable,
    read,
    write,
)
from peftlens.results.table_cache import ProbeSpec
from peftlens.runs.run import configurations
from peftlens.runs.trained_model import TrainedModel

Options = Mapping[str, Mapping[str, Any]]  # of probes, by their names


def run_probe(
    context: RunContext, run: TrainedModel, name: str, options: Options | None = None
) -> Table:
    """A probe's table of one run: read if this version measured it with these options, or measured.

    A run that does not offer what the probe needs, or that diverged, gets one row that says so.

    Args:
        context: gives the run's base model.
        run: a finished run.
        name: a probe that measures runs.
        options: values for the probe's Config, by the probe's name; those of others are let be.

    Raises:
        InputError: no such probe or option, or the run's files are damaged.
    """
    probe = registry.load("probes", name)
    config = configure(name, (options or {}).get(name, {}))
    plain = _plain(config)
    file = run.table_folder and run.table_folder / f"{name}.parquet"
    if file and file.exists():
        known = read(file)
        if (known.version, known.config) == (probe.VERSION, plain):
            return known
    try:
        _check(run, probe.REQUIRES)
        frame = _call(probe.measure, config, context, run).assign(status="measured", reason=None)
    except NotApplicable as reason:
        frame = not_applicable(probe.COLUMNS, str(reason))
    table = Table(name, probe.VERSION, (*probe.COLUMNS, *STATUS), probe.CHARTS, frame, plain)
    if file:
        file.parent.mkdir(exist_ok=True)
        write(table, file)
    return table


def describe(name: str, options: Options) -> ProbeSpec:
    """What decides a probe's numbers beside the runs, and whether it measures one run at a time.

    Raises:
        InputError: no such probe or option.
    """
    probe = registry.load("probes", name)
    return ProbeSpec(
        name=name,
        each_run=hasattr(probe, "measure"),
        version=probe.VERSION,
        config=_plain(configure(name, options.get(name, {}))),
    )


def configure(name: str, values: Mapping[str, Any]) -> Any:
    """A probe's Config; None where it has none.

    Raises:
        InputError: an unknown option or a wrong value.
    """
    if hasattr(registry.load("probes", name), "Config"):
        return registry.configure("probes", name, dict(values))
    if values:
        raise InputError(f"probe {name} has no options, but {', '.join(values)} was given")
    return None


def _call(probe: Callable[..., pd.DataFrame], config: Any, *arguments: Any) -> pd.DataFrame:
    return probe(*arguments) if config is None else probe(*arguments, config)


def _plain(config: Any) -> dict[str, Any]:
    """The options as JSON has them."""
    return {} if config is None else json.loads(json.dumps(asdict(config)))


def _check(run: TrainedModel, required: frozenset[str]) -> None:
    if run.record.status == "diverged":
        raise NotApplicable("the run diverged: its loss was not finite")
    if missing := required - registry.exposed(run.config.method, run.config.method_config):
        raise NotApplicable(f"{run.config.method} has no {', '.join(sorted(missing))}")


def collect(
    context: RunContext,
    runs: Sequence[TrainedModel],
    name: str,
    labels: dict[str, str] | None = None,
    options: Options | None = None,
) -> Table:
    """A probe's table over several runs.

    Args:
        context: gives the runs' base models.
        runs: finished runs, in the order that the rows should have.
        name: a probe that measures runs, compares them, or combines what others measured.
        labels: name of each run's configuration by run id; made up from the runs by default.
        options: see `run_probe`.

    Raises:
        InputError: no such probe or option, or a run's files are damaged.
    """
    probe = registry.load("probes", name)
    labels = configurations(run.record for run in runs) | (labels or {})
    if hasattr(probe, "measure"):
        return join({run: run_probe(context, run, name, options) for run in runs}, labels)
    config = configure(name, (options or {}).get(name, {}))
    if hasattr(probe, "compare"):
        able = {run: labels[run.id] for run in runs if _applies(run, probe.REQUIRES)}
        frame = _call(probe.compare, config, context, able)
    else:
        tables = {
            one: measured(collect(context, runs, one, labels, options).frame)
            for one in probe.INPUTS
        }
        tables[CONFIGURATIONS] = configurations_table(runs, labels).frame
        frame = _call(probe.combine, config, tables)
    return Table(name, probe.VERSION, probe.COLUMNS, probe.CHARTS, frame, _plain(config))


def _applies(run: TrainedModel, required: frozenset[str]) -> bool:
    try:
        _check(run, required)
    except NotApplicable:
        return False
    return True
