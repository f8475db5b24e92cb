"""Run probes over finished runs, keep what they measured, and join it into tables."""

from collections.abc import Sequence

import pandas as pd

from peftlens import registry
from peftlens.run import Run, configurations
from peftlens.table import IDENTITY, STATUS, NotApplicable, Table, not_applicable, read, write


def run_probe(run: Run, name: str) -> Table:
    """A probe's table of one run: read if this version of the probe measured it, else measured.

    A run that does not offer what the probe needs, or that diverged, gets one row that says so.

    Raises:
        BadInput: no such probe, or the run's files are damaged.
    """
    probe = registry.load("probes", name)
    file = run.path / "probes" / f"{name}.parquet"
    if not run.foreign and file.exists() and (known := read(file)).version == probe.VERSION:
        return known
    try:
        _check(run, probe.REQUIRES)
        frame = probe.measure(run).assign(status="measured", reason=None)
    except NotApplicable as reason:
        frame = not_applicable(probe.COLUMNS, str(reason))
    table = Table(name, probe.VERSION, (*probe.COLUMNS, *STATUS), probe.CHARTS, frame)
    if not run.foreign:  # whose folder is somebody else's
        file.parent.mkdir(exist_ok=True)
        write(table, file)
    return table


def _check(run: Run, required: frozenset[str]) -> None:
    if run.record.status == "diverged":
        raise NotApplicable("the run diverged: its loss was not finite")
    if missing := required - registry.exposed(run.config.method, run.config.method_config):
        raise NotApplicable(f"{run.config.method} has no {', '.join(sorted(missing))}")


def collect(runs: Sequence[Run], name: str, labels: dict[str, str] | None = None) -> Table:
    """A probe's table over several runs.

    Args:
        runs: finished runs, in the order that the rows should have.
        name: a probe that measures runs, or one that compares them.
        labels: name of each run's configuration by run id; made up from the runs by default.

    Raises:
        BadInput: no such probe, or a run's files are damaged.
    """
    probe = registry.load("probes", name)
    labels = configurations(run.record for run in runs) | (labels or {})
    if not hasattr(probe, "combine"):
        return _joined(runs, name, labels)
    tables = {source: _measured(collect(runs, source, labels)) for source in probe.FROM}
    frame = probe.combine(tables)
    return Table(name, probe.VERSION, probe.COLUMNS, probe.CHARTS, frame)


def _joined(runs: Sequence[Run], name: str, labels: dict[str, str]) -> Table:
    tables = [run_probe(run, name) for run in runs]
    frames = []
    for run, table in zip(runs, tables, strict=True):
        identity = {
            "run": run.id,
            "configuration": labels[run.id],
            "method": run.config.method,
            "seed": run.config.seed,
        }
        frames.append(table.frame.assign(**identity))
    columns = (*IDENTITY, *tables[0].columns)
    frame = _stack(frames)[[column.name for column in columns]]
    return Table(name, tables[0].version, columns, tables[0].charts, frame)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows below each other, in types that can be missing: some runs fill no columns."""
    nullable = {"i": "Int64", "u": "Int64", "f": "Float64", "b": "boolean"}
    types = {
        str(name): next((nullable[k] for k in _kinds(frames, str(name)) if k in nullable), "string")
        for name in frames[0]
    }
    return pd.concat([frame.astype(types) for frame in frames], ignore_index=True)


def _kinds(frames: list[pd.DataFrame], column: str) -> list[str]:
    return [frame[column].dtype.kind for frame in frames]


def _measured(table: Table) -> pd.DataFrame:
    frame = table.frame
    return frame[frame["status"] == "measured"] if "status" in frame else frame
