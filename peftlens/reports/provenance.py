"""Provenance: base model, data, machine, versions, commands and runs of a study."""

from collections.abc import Iterable, Iterator
from typing import Any

from peftlens.numerics.counts import counted, duration
from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults
from peftlens.runs.trained_model import TrainedModel

RUN_HEADER = ["run", "configuration", "seed", "status", "steps", "learning rate",
              "training seconds", "adapter's SHA-256"]  # fmt: skip


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


def run_rows(one: StudyResults) -> Iterator[list[str]]:
    """Yield a row of text for each run, with the columns of RUN_HEADER."""
    for run in one.runs:
        if run.timing():  # an external adapter has no training to describe
            yield _row(run, one.configurations[run.id])


def _row(run: TrainedModel, configuration: str) -> list[str]:
    rate = run.config.training.learning_rate
    return [
        run.id,
        configuration,
        str(run.config.seed),
        run.record.status,
        str(run.record.results["steps"]),
        f"{rate:g}" if rate is not None else "–",
        f"{run.timing()[-1]['seconds']:.1f}",
        run.digests.get("adapter/adapter_model.safetensors", "–")[:16],
    ]
