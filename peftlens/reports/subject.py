"""Subject of a study: base model, task, methods, runs, seeds, steps and date."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

from peftlens.numerics.counts import counted
from peftlens.reports.cells import compact
from peftlens.results.display_names import display_name, method_name
from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults
from peftlens.runs.config import UNKNOWN_TASK
from peftlens.runs.run import Run, is_id
from peftlens.runs.trained_model import TrainedModel

_SHOWN = 3  # methods, tasks or seeds by name
_REVISION = re.compile(r"(?<=@)[0-9a-f]{40}")


def title(one: StudyResults) -> str:
    """Name what a page is about; what lies in a folder named by a hash, by its configuration."""
    if one.text or one.index["runs"] or not (is_id(one.name) or _is_run(one)):
        return one.name
    if len(one.runs) != 1:
        return f"Adapter of {_of(one.runs, 'base_model')}" if one.runs else "Adapter"
    (run,) = one.runs
    name = display_name(one.configurations.get(run.id, run.record.configuration))
    return f"{name}, on {short(run.task)}" if run.task else name


def _is_run(one: StudyResults) -> bool:
    return len(one.runs) == 1 and isinstance(one.runs[0], Run)


def _of(runs: Sequence[TrainedModel], field: str) -> str:
    return listed(short(getattr(run.config, field)) for run in runs)


def subject(one: StudyResults) -> Iterator[tuple[str, str]]:
    """Yield name and value of each part of the line, as far as the runs tell it."""
    runs = one.runs
    if runs:
        yield "Base model", _of(runs, "base_model") + _size(runs)
        if tasks := [run for run in runs if run.config.task != UNKNOWN_TASK]:
            yield "Task", _of(tasks, "task")
        yield from _methods(one)
    yield ("Run", runs[0].id) if _is_run(one) and not one.text else ("Runs", _runs(one))
    trained = [run for run in runs if run.metrics()]
    if trained:
        seeds = sorted({run.config.seed for run in trained})
        yield "Seeds", f"1 (seed {seeds[0]})" if len(seeds) == 1 else _seeds(seeds)
        steps = {run.record.results.get("steps", 0) for run in trained} - {0}
        if steps:
            yield "Steps", _span(min(steps), max(steps))
    if dates := sorted({call["began"][:10] for call in one.calls}):
        yield "Date", " to ".join(dict.fromkeys((_day(dates[0]), _day(dates[-1]))))


def _size(runs: Sequence[TrainedModel]) -> str:
    sizes = {run.record.results.get("base_parameters") for run in runs} - {None}
    return f" ({compact(sizes.pop())} parameters)" if len(sizes) == 1 else ""


def _methods(one: StudyResults) -> Iterator[tuple[str, str]]:
    trained = [run for run in one.runs if not run.is_base] or one.runs
    methods = [*dict.fromkeys(run.config.method for run in trained)]
    shown = listed(map(method_name, methods))
    yield ("Method", shown) if len(methods) == 1 else (f"{len(methods)} methods", shown)
    in_sequence = any(run.config.continue_from for run in trained)  # one task after the other
    n = len(
        {run.record.configuration if in_sequence else one.configurations[run.id] for run in trained}
    )
    if n > len(methods):
        yield "Configurations", f"{n:,}"


def _runs(one: StudyResults) -> str:
    planned, trained = len(one.index["runs"]), len(one.runs)
    failed = sum(run in one.failed for run in one.index["runs"])
    if trained < planned:
        return f"{trained:,} of {planned:,}" + (f", {failed} failed" if failed else "")
    n_base = sum(run.is_base for run in one.runs)
    return f"{trained - n_base:,} and the base model" if 0 < n_base < trained else f"{trained:,}"


def _seeds(seeds: Sequence[int]) -> str:
    first, last = seeds[0], seeds[-1]
    if len(seeds) > 2 and seeds == [*range(first, last + 1)]:
        return f"{len(seeds)} ({first} to {last})"
    return f"{len(seeds)} ({listed(map(str, seeds))})"


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _day(text: str) -> str:
    """Write an ISO date in words, such as 29 November 2026; other text is unchanged."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{day.day} {day:%B} {day.year}"


def progress(one: StudyResults) -> Iterator[str]:
    """Yield how far a study is that is not at its end, and what its failed runs failed of."""
    if one.missing or one.unmeasured:
        trained, planned = len(one.runs), len(one.index["runs"])
        yield f"So far {trained} of {planned} runs {'is' if trained == 1 else 'are'} trained."
    reasons = [one.failed[run]["summary"] for run in one.index["runs"] if run in one.failed]
    if reasons:
        first, *others = dict.fromkeys(map(redacted, reasons))
        more = f" ({counted(len(others), 'other reason')} below)" if others else ""
        yield f"{counted(len(reasons), 'run')} failed: {first}{more}"


def short(reference: str) -> str:
    """Shorten the reference of a base model or task: a file or folder to its name, a revision."""
    plain = redacted(reference)
    if plain.startswith("file:") or Path(plain).is_absolute() or plain.startswith(("~", ".")):
        return Path(plain.removeprefix("file:")).name
    return _REVISION.sub(lambda found: found[0][:8], plain)


def listed(names: Iterable[str]) -> str:
    """Join distinct names, the first ones by name."""
    distinct = [*dict.fromkeys(names)]
    more = len(distinct) - _SHOWN
    if more > 1:
        return f"{', '.join(distinct[:_SHOWN])} and {more} more"
    *first, last = distinct
    return f"{', '.join(first)} and {last}" if first else last
