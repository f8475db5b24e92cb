"""Provenance: base model, data, machine, versions, commands and runs of a study."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from peftlens.numerics.counts import counted, duration
from peftlens.reports.cells import NO_ROWS, Grid, grid
from peftlens.results.display_names import display_name
from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults
from peftlens.results.table import Column
from peftlens.runs.trained_model import TrainedModel

_RUNS = (
    Column("configuration", "method and its options"),
    Column("seed", "seed of the run"),
    Column("status", "finished, or diverged if the loss was not finite"),
    Column("steps", "optimizer steps"),
    Column("learning_rate", "peak learning rate"),
    Column("training_seconds", "time of the training", "s", "lower"),
    Column("run", "id of the run, the name of its folder"),
    Column("adapter_sha256", "start of the SHA-256 of the adapter's weights"),
)


def origins(one: StudyResults) -> Iterator[tuple[str, str]]:
    """Yield name and value of each item of provenance, each distinct value once."""
    records = [run.record for run in one.runs]
    yield from _each(
        "base model", (_hashed(r.config.base_model, r.depends_on, "base") for r in records)
    )
    yield from _each("task", (_hashed(r.config.task, r.depends_on, "data") for r in records))
    yield from _each("examples", (_counts(r.results.get("examples", {})) for r in records))
    yield from _each("computed in", (f"{r.config.dtype} on {r.config.device}" for r in records))
    trained = [r for r in records if r.environment]
    yield from _each("machine", (_machine(r.environment) for r in trained))
    yield from _each("versions", (_versions(r.environment) for r in trained))
    if trained:
        seconds = sum(run.timing()[-1]["seconds"] for run in one.runs)
        yield "training", f"{duration(seconds)} in total, {counted(len(records), 'run')}"
        seeds = sorted({r.config.seed for r in records})
        yield "seeds", ", ".join(map(str, seeds))
    yield from _calls(one.calls)
    yield "result tables", f"SHA-256 {one.sha256}"


def _hashed(name: str, depends_on: dict[str, Any], what: str) -> str:
    """Write a name with its recorded hash, if any."""
    digest = depends_on.get(what)
    return redacted(name) + (f", SHA-256 {digest[:16]}…" if digest else "")


def _each(name: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for value in dict.fromkeys(values):
        if value:
            yield name, value


def _counts(examples: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in examples.items())


def _machine(environment: dict[str, Any]) -> str:
    threads = counted(environment["threads"], "thread")
    return (
        f"{environment['device']}, {threads} per run, "
        f"{counted(environment['cpu_cores'], 'core')}, "
        f"{environment['machine']}, {environment['system']}"
    )


def _versions(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return f"Python {environment['python']}, {packages}"


def _calls(calls: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for call in calls:
        yield "command", f"{call['command']} ({call['began']}, peftlens {call['peftlens']})"
    yield from _each("code", (f"peftlens at commit {c['code']}" for c in calls if c.get("code")))
    yield from _each("folder", (f"at commit {c['folder']}" for c in calls if c.get("folder")))
    yield from _each("processor", (
        f"{c['processor']}, {c['cores']} cores, {c['memory_bytes'] / 2**30:.0f} GB, {c['system']}"
        for c in calls
    ))  # fmt: skip


def run_grid(one: StudyResults) -> Grid:
    """Return a table with a row for each run."""
    # an external adapter has no training to describe
    rows = [_row(run, one.configurations[run.id]) for run in one.runs if run.timing()]
    names = [column.name for column in _RUNS]
    return grid(pd.DataFrame(rows, columns=names), _RUNS) if rows else NO_ROWS


def _row(run: TrainedModel, configuration: str) -> list[Any]:
    return [
        display_name(configuration),
        run.config.seed,
        run.record.status,
        run.record.results["steps"],
        run.config.training.learning_rate,
        run.timing()[-1]["seconds"],
        run.id,
        run.digests.get("adapter/adapter_model.safetensors", "–")[:16],
    ]
