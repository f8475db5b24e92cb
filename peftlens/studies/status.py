"""Progress of a study, read from its folder while other processes work on it."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from peftlens.results import failures
from peftlens.results.sequential import CONFIRMATION, RATES, SELECTION, read_rows
from peftlens.results.study_index import INDEX, read_index
from peftlens.runs import store
from peftlens.runs.lock import lock_owners
from peftlens.runs.run import CorruptedRunError, Run


@dataclass(frozen=True)
class ActiveRun:
    """Run under construction.

    Attributes:
        run: id of the run.
        what: configuration and seed of the run.
        host: name of the machine.
        pid: process id on that machine.
        seconds: seconds since the process began the run.
    """

    run: str
    what: str
    host: str
    pid: int
    seconds: float


@dataclass(frozen=True)
class StudyStatus:
    """Progress of a study.

    Attributes:
        done: number of finished runs.
        running: runs under construction.
        failed: summaries of failures, by run id or probe.
        damaged: reasons of damage to finished runs, by run id.
        left: number of runs that are neither finished nor running nor failed.
        seconds_left: estimated remaining training time at the present number of simultaneous runs;
            None before any run is finished.
    """

    done: int
    running: tuple[ActiveRun, ...]
    failed: dict[str, str]
    damaged: dict[str, str]
    left: int
    seconds_left: float | None


def study_status(out: Path) -> StudyStatus:
    """Read the progress of a study from its folder, without locks or changes.

    Raises:
        InputError: the folder holds no study, or a later version wrote it.
    """
    index = read_index(out)
    names, runs = index["names"], out / "runs"
    done, damaged = store.finished(runs, names)
    failed = failures.recorded(out)
    running = tuple(
        ActiveRun(run, names[run], owner.host, owner.pid, time.time() - owner.since)
        for run, owner in lock_owners(runs).items()
        if run in names and run not in done
    )
    active = [one.run for one in running]
    counted = {*done, *failed, *active}
    left = [run for run in names if run not in counted]
    durations = _durations([Run(runs / run) for run in done], index["configurations"])
    remaining = [index["configurations"][run] for run in (*left, *active)]
    elapsed = sum(one.seconds for one in running)
    seconds = _remaining_seconds(durations, remaining, elapsed) if durations else None
    return StudyStatus(
        done=len(done),
        running=running,
        failed=failed,
        damaged=damaged,
        left=len(left),
        seconds_left=None if seconds is None else seconds / max(1, len(running)),
    )


def stages_status(out: Path) -> dict[str, StudyStatus]:
    """Read the progress of a study that runs until its claims are decided, by stage.

    Once the race is over, the rates that it dropped are not left to train.
    """
    stages = {
        stage: study_status(out / stage)
        for stage in (SELECTION, CONFIRMATION)
        if (out / stage / INDEX).is_file()
    }
    if SELECTION in stages and not read_rows(out, RATES).empty:
        stages[SELECTION] = replace(stages[SELECTION], left=0, seconds_left=None)
    return stages


def _durations(runs: Iterable[Run], configurations: dict[str, str]) -> dict[str, float]:
    """Return the median training time of a run in seconds, by configuration."""
    durations: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        try:
            seconds = float(run.timing()[-1]["seconds"])
            durations[configurations[run.path.name]].append(seconds)
        except (CorruptedRunError, LookupError, TypeError, ValueError):
            continue  # the estimate leaves this run out
    return {configuration: median(seconds) for configuration, seconds in durations.items()}


def _remaining_seconds(durations: dict[str, float], remaining: list[str], elapsed: float) -> float:
    """Estimate the remaining training time; untrained configurations take the median time."""
    typical = median(durations.values())
    total = sum(durations.get(configuration, typical) for configuration in remaining)
    return max(0.0, total - elapsed)
